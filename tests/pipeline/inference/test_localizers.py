"""Localizers in the place of parsers: bundles, windows, decisions, timelines."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from avvp.extractors.profiles import FeatureSpec
from avvp.models import LocalizerOutput
from avvp.models.files.checkpoint import dump_checkpoint, load_checkpoint
from avvp.models.labels import AVE_LABELS
from avvp.models.localizers.localizer import EventLocalizer
from avvp.pipeline import SetupError, parse_video
from avvp.pipeline.datasets.clips import SplitDataset
from avvp.pipeline.errors import FeatureMismatchError
from avvp.pipeline.features.extract import FeatureSet
from avvp.pipeline.inference.bundle import LoadedBundle, load_networks, load_parser
from avvp.pipeline.inference.localize import decide_one_class, join_windows, stack_localized, to_probabilities
from avvp.pipeline.inference.parse_video import make_timeline, parse_features
from avvp.pipeline.inference.predict import predict_clips, predict_video
from avvp.pipeline.inference.thresholds import Thresholds
from avvp.pipeline.outputs.formats.events_json import load_schema, to_json
from safetensors.torch import save_file
from support.bundles import AVE_LABELS as LABELS
from support.bundles import copy_bundle, write_tiny_bundle, write_tiny_localizer
from support.golden import needs_golden
from support.localizers import KINDS, clip_inputs, golden_state, kind_name, tiny_localizer
from support.media import Clips


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_localizer(tmp_path_factory.mktemp("localizers") / "tiny-ave")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> LoadedBundle:
    return load_networks(str(folder), device="cpu")


def thresholds_of(localizer: EventLocalizer, level: float = 0.5) -> Thresholds:
    return Thresholds.uniform(localizer.config.labels, level, level)


def classes(labels: np.ndarray) -> np.ndarray:
    """(..., T, C) labels -> the class of each second, C for none. No second has two."""
    assert (labels.sum(axis=-1) <= 1).all()
    return np.where(labels.any(axis=-1), labels.argmax(axis=-1), labels.shape[-1])


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
def test_decisions_at_one_half_are_the_predictions(kind: dict[str, str], double: bool) -> None:
    """Also of clips with padded seconds, of equal inputs, and of CMBS's and CPSP's parameters in float64."""
    torch.manual_seed(0)
    for seed in range(3):
        localizer = tiny_localizer(3, seed, **kind)
        localizer = localizer if double else localizer.float()
        audio, visual = clip_inputs(6, 5, seed=seed)
        audio[-1], visual[-1] = 0, 0
        lengths = torch.tensor([5, 4, 1, 5, 2, 5])
        dtype = torch.float64 if double else torch.float32
        with torch.inference_mode():
            output = localizer(3 * audio.to(dtype), 3 * visual.to(dtype), lengths=lengths)
        probabilities = to_probabilities(stack_localized(output)[:, 0].numpy())
        labels = decide_one_class(probabilities, thresholds_of(localizer))
        np.testing.assert_array_equal(classes(labels.audio), output.predictions.numpy())
        np.testing.assert_array_equal(labels.audio, labels.visual)


def make_output(logits: list[list[float]]) -> LocalizerOutput:
    tensor = torch.tensor([logits])
    nothing = torch.zeros(1, len(logits), 1)
    return LocalizerOutput(
        valid=torch.ones(1, len(logits), dtype=torch.bool), audio_hidden=nothing, visual_hidden=nothing, fused=nothing,
        spatial_attention=nothing[..., None], segment_logits=tensor,
    )  # fmt: skip


def test_of_equal_logits_the_first_class_is_decided() -> None:
    logits = [[1, 1, 0], [0, 1, 1], [2, 0, 2], [0, 0, 0], [1, 2, 3], [0, 4, 1]]  # the last column is the background
    output = make_output([[float(value) for value in row] for row in logits])
    labels = ("a", "b")
    probabilities = to_probabilities(stack_localized(output)[0, 0].numpy())
    assert classes(decide_one_class(probabilities, Thresholds.uniform(labels)).audio).tolist() == [0, 1, 0, 0, 2, 1]
    # By hand: sigmoid(logit - the largest other); a lower threshold adds the best class of a second of background.
    np.testing.assert_allclose(probabilities.audio[4], [1 / (1 + np.e**2), 1 / (1 + np.e)], atol=1e-6)
    np.testing.assert_allclose(probabilities.audio[5], [1 / (1 + np.e**4), 1 / (1 + np.e**-3)], atol=1e-6)
    np.testing.assert_array_equal(probabilities.audio_video, np.tile(probabilities.audio.max(axis=0), (6, 1)))
    lower = decide_one_class(probabilities, Thresholds.uniform(labels, 0.2, 0.2))
    assert classes(lower.audio).tolist() == [0, 1, 0, 0, 1, 1]
    assert not decide_one_class(probabilities, Thresholds.uniform(labels, 0.5, 0.99)).audio.any()


def features_of(bundle: LoadedBundle, segments: int, seed: int = 0) -> FeatureSet:
    rng = np.random.default_rng(seed)
    spec = bundle.extractors.spec
    rows = {stream: np.maximum(rng.standard_normal((segments, dim), np.float32), 0)
            for stream, dim in zip(spec.streams, spec.dims, strict=True)}  # fmt: skip
    none = np.zeros((0, 0), np.float32)
    return FeatureSet(
        audio=rows["audio"], visual_2d=none, visual_3d=none, visual_map=rows["visual_map"], spec=spec,
        duration=float(segments),
    )  # fmt: skip


def forward(localizer: EventLocalizer, features: FeatureSet, start: int, stop: int) -> np.ndarray:
    with torch.inference_mode():
        output = localizer(*(torch.from_numpy(rows[start:stop])[None] for rows in features.arrays().values()))
    return output.segment_probs[0].numpy()


def test_long_videos_are_the_mean_over_overlapping_windows(bundle: LoadedBundle) -> None:
    assert isinstance(bundle.parser, EventLocalizer)
    features = features_of(bundle, 17)
    got = parse_features(features, bundle.parser)
    windows = {start: forward(bundle.parser, features, start, start + 10) for start in (0, 5, 7)}
    np.testing.assert_allclose(got.audio[2], windows[0][2], atol=1e-6)
    np.testing.assert_allclose(got.audio[8], (windows[0][8] + windows[5][3] + windows[7][1]) / 3, atol=1e-6)
    np.testing.assert_array_equal(got.audio, got.visual)
    np.testing.assert_array_equal(got.audio_video, np.tile(got.audio.max(axis=0), (17, 1)))
    short = parse_features(features_of(bundle, 6), bundle.parser)
    np.testing.assert_array_equal(short.audio, forward(bundle.parser, features_of(bundle, 6), 0, 6))


def test_windows_that_disagree_have_the_class_of_the_more_probable_event() -> None:
    """CMBS gives a window one class: at 0.9 and 0.6 two windows agree that there is an event, with 0.75."""
    config = tiny_localizer(system="cmbs").config
    averaged = np.array([[0.45, 0.3, 0], [0.1, 0.1, 0], [0, 0, 0.8]], np.float32)
    joined = join_windows(averaged, config)
    np.testing.assert_allclose(joined, [[0.75, 0, 0], [0.2, 0, 0], [0, 0, 0.8]], atol=1e-6)
    np.testing.assert_array_equal(join_windows(averaged, tiny_localizer(system="psp").config), averaged)


@pytest.mark.parametrize("system", ["ave", "cmbs"])
def test_each_second_of_a_long_video_has_one_class_at_most(system: str, tmp_path: Path) -> None:
    bundle = load_networks(str(write_tiny_localizer(tmp_path / "b", system=system, segments=4)))
    features = features_of(bundle, 60)
    for level in (0.0, 0.2, 0.5):
        timeline = make_timeline(features, bundle, Thresholds.uniform(LABELS, level, level))
        assert {event.modality for event in timeline.events} <= {"audio_visual"}
        active = timeline.per_second_labels(LABELS)
        assert (active.audio.sum(axis=1) <= 1).all()
        if level == 0:
            assert active.audio.any(axis=1).all()


class Stored:
    """Features of clips of several lengths in memory."""

    frames = False

    def __init__(self, spec: FeatureSpec, rows: dict[str, np.ndarray]) -> None:
        self.spec, self.rows = spec, rows

    def read(self, name: str) -> np.ndarray:
        return self.rows[name]

    def release(self) -> None:
        pass


def test_clips_are_predicted_like_videos(bundle: LoadedBundle) -> None:
    """Batches with padding, and a clip that is longer than a window."""
    lengths = {"a": 10, "b": 3, "c": 16, "d": 1}
    found = {name: features_of(bundle, length, seed=length) for name, length in lengths.items()}
    rows = {name: np.concatenate(list(one.arrays().values()), axis=1) for name, one in found.items()}
    clips = SplitDataset(
        "test", tuple(lengths), tuple(lengths), np.array(list(lengths.values())), np.zeros((4, len(LABELS)), bool),
        Stored(bundle.extractors.spec, rows),  # type: ignore[arg-type]
    )  # fmt: skip
    table = predict_clips(bundle.trained_parser, clips, torch.device("cpu"))
    assert table.audio.shape == (4, 16, len(LABELS))
    for index, (name, length) in enumerate(lengths.items()):
        alone = predict_video(bundle.parser, list(found[name].arrays().values()), torch.device("cpu"))
        np.testing.assert_allclose(table.audio[index, :length], alone.audio, atol=1e-6)
        np.testing.assert_allclose(table.audio_video[index, 0], alone.audio_video[0], atol=1e-6)
        assert not table.audio[index, length:].any()


def test_timelines_have_audio_visual_events_only(bundle: LoadedBundle, clips: Clips) -> None:
    timeline = parse_video(clips.steady, weights=bundle, thresholds=0.0)
    assert {event.modality for event in timeline.events} == {"audio_visual"}
    assert timeline.provenance["task"] == "avel"
    assert timeline.lanes == ("audio_visual",)
    assert sum(event.duration for event in timeline.events) == timeline.segments == 3
    jsonschema.validate(json.loads(to_json(timeline, segments=True)), load_schema())
    assert parse_video(clips.steady, weights=bundle, thresholds=1.0).events == ()
    assert repr(bundle).splitlines()[3].strip() == "localizer ave, full supervision, dch: 3 classes, windows of 10 s"


@pytest.mark.parametrize(("clip", "missing"), [("silent", "sound"), ("blind", "picture")])
def test_a_missing_stream_has_no_events_and_says_so(
    bundle: LoadedBundle, clips: Clips, clip: str, missing: str
) -> None:
    timeline = parse_video(getattr(clips, clip), weights=bundle, thresholds=0.0)
    assert timeline.events == ()
    assert timeline.warnings[-1] == (
        f"no events: the weights find what is heard and seen at once, and there is no {missing}"
    )


def test_parts_of_a_file_have_their_own_times(bundle: LoadedBundle, clips: Clips) -> None:
    from avvp.pipeline.decode.options import DecodeOptions

    timeline = parse_video(clips.steady, weights=bundle, thresholds=0.0, decoding=DecodeOptions(start=1, end=3))
    assert min(event.onset for event in timeline.events) == 1
    assert max(event.offset for event in timeline.events) == 3
    assert timeline.lanes == ("audio_visual",)


class TestBundles:
    def test_untrained_ones_have_no_files(self, tmp_path: Path) -> None:
        (tmp_path / "bundle.toml").write_text(
            'profile = "ave"\nlabels = "ave"\nseed = 3\nextractors = { vggish_tiny = "", vgg19_tiny = "" }\n'
            'parser = { family = "psp", supervision = "weak", file = "" }\n'
        )
        loaded = load_networks(str(tmp_path))
        config = loaded.parser.config
        assert (config.labels, loaded.untrained) == (AVE_LABELS, True)
        assert repr(loaded).splitlines()[3].strip().startswith("localizer psp, weak supervision, dch: 28 classes")
        assert load_parser(str(tmp_path)).parser.config == config

    @pytest.mark.parametrize("family", ["leap", "ave"])
    def test_features_of_the_other_task_are_refused(self, tmp_path: Path, family: str) -> None:
        """A parser does not read maps, and a localizer needs them; the message names both sides."""
        profile, extractors = "ave", 'vggish_tiny = "", vgg19_tiny = ""'
        if family == "ave":
            profile, extractors = "clean", 'vggish_tiny = "", resnet_tiny = "", r2plus1d_tiny = ""'
        (tmp_path / "bundle.toml").write_text(
            f'profile = "{profile}"\nlabels = "ave"\nseed = 3\nextractors = {{ {extractors} }}\n'
            f'parser = {{ family = "{family}", file = "" }}\n'
        )
        kind = "parser reads audio (128), visual_2d (2048), visual_3d (512)"
        kind = kind if family == "leap" else "localizer reads audio (128), visual_map (25088)"
        has = "audio (16), visual_map (392)" if family == "leap" else "audio (16), visual_2d (64), visual_3d (64)"
        with pytest.raises(FeatureMismatchError) as refused:
            load_networks(str(tmp_path))
        assert str(refused.value).endswith(f"the {kind}, but the features of profile '{profile}' have {has}")

    def test_checkpoints_of_the_other_task_are_refused(self, folder: Path, tmp_path: Path) -> None:
        copied = copy_bundle(folder, tmp_path / "b")
        other = write_tiny_bundle(tmp_path / "llp", "clean")
        (copied / "parser.safetensors").write_bytes((other / "parser.safetensors").read_bytes())
        with pytest.raises(FeatureMismatchError, match=r"profile: clean / ave; .*visual_3d'\] / .*visual_map"):
            load_networks(str(copied))

    def test_widths_that_contradict_the_network_are_refused(self, folder: Path, tmp_path: Path) -> None:
        copied = copy_bundle(folder, tmp_path / "b")
        checkpoint = load_checkpoint(copied / "parser.safetensors")
        spec = {**checkpoint.feature_spec, "dims": [16, 441]}
        (copied / "parser.safetensors").write_bytes(dump_checkpoint(checkpoint.parser, spec, {}))
        with pytest.raises(FeatureMismatchError, match="dims"):
            load_networks(str(copied))
        with pytest.raises(FeatureMismatchError, match=r"localizer reads widths \(16, 392\), not \(16, 441\)"):
            load_parser(str(copied))

    @needs_golden
    @pytest.mark.parametrize(("family", "variant"), [("ave", "weak"), ("cmbs", "weak")])
    def test_published_files(self, tmp_path: Path, family: str, variant: str) -> None:
        self.write_published(tmp_path, family, variant)
        loaded = load_parser(str(tmp_path))
        assert (loaded.parser.config.labels, loaded.spec.dims) == (AVE_LABELS, (128, 25088))
        assert loaded.parser.config.supervision == variant  # type: ignore[union-attr]

    @needs_golden
    def test_the_published_decision_of_weak_cmbs_finds_events_everywhere(self, tmp_path: Path) -> None:
        self.write_published(tmp_path, "cmbs", "weak")
        text = (tmp_path / "bundle.toml").read_text()
        (tmp_path / "bundle.toml").write_text(text.replace("family", 'decision = "published", family'))
        localizer = load_parser(str(tmp_path)).parser
        assert isinstance(localizer, EventLocalizer)
        audio, maps = torch.rand(2, 10, 128), torch.rand(2, 10, 25088)
        with torch.inference_mode():
            output = localizer(audio, maps)
        assert ((output.predictions < 28) == (output.video_probs.argmax(dim=-1) < 28)[:, None]).all()  # type: ignore[union-attr]
        assert output.event_logits is not None

    @staticmethod
    def write_published(folder: Path, family: str, variant: str) -> None:
        save_file(
            {key: value.contiguous() for key, value in golden_state(family, variant).items()}, folder / "p.safetensors"
        )
        entry = f'family = "{family}", supervision = "{variant}", file = "p.safetensors"'
        (folder / "bundle.toml").write_text(
            f'profile = "ave"\nlabels = "ave"\nextractors = {{ vggish = "", vgg19 = "" }}\nparser = {{ {entry} }}\n'
        )


DECISION = """
from avvp.pipeline.timeline import SegmentLabels

def every_second(probabilities, thresholds):
    active = probabilities.audio >= 0
    return SegmentLabels(active, active)
"""


def test_a_decision_of_another_package(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_decision_avel.py").write_text(DECISION)
    monkeypatch.syspath_prepend(tmp_path)
    copied = copy_bundle(folder, tmp_path / "b")
    text = (copied / "bundle.toml").read_text()
    (copied / "bundle.toml").write_text(
        text.replace("parser = { ", 'parser = { decision = "own_decision_avel:every_second", ')
    )
    with pytest.raises(SetupError, match="own_decision_avel"):
        load_networks(str(copied))
    from avvp.weights.source import WeightSource

    loaded = load_networks(str(copied), source=WeightSource(trust=("own_decision_avel",)))
    timeline = make_timeline(features_of(loaded, 4), loaded, Thresholds.uniform(LABELS))
    assert [(event.modality, event.label, event.duration) for event in timeline.events] == [
        ("audio_visual", label, 4.0) for label in LABELS
    ]
