"""Features to timelines: windows, decisions, documents, bundles."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from avvp.models import dump_checkpoint, load_checkpoint
from avvp.models.labels import stack_label_embeddings
from avvp.pipeline import SetupError, parse_video
from avvp.pipeline.devices import resolve_device
from avvp.pipeline.errors import FeatureMismatchError
from avvp.pipeline.features.extract import FeatureSet
from avvp.pipeline.inference.bundle import UNTRAINED_WARNING, LoadedBundle, load_networks
from avvp.pipeline.inference.parse_video import make_timeline, parse_features
from avvp.pipeline.inference.thresholds import DecisionRule, Thresholds
from avvp.pipeline.outputs.formats.events_json import load_schema, to_document, to_json
from avvp.weights import WeightsError
from avvp.weights.load import read_state_dict
from support.bundles import LABELS, copy_bundle, write_tiny_bundle
from support.golden import MEDIA, needs_media
from support.media import Clips
from support.parsers import published_state


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> LoadedBundle:
    return load_networks(str(tiny_bundle), device="cpu")


def features_of(bundle: LoadedBundle, segments: int, seed: int = 0) -> FeatureSet:
    rng = np.random.default_rng(seed)
    counts = (segments, 8 * segments, segments)
    spec = bundle.extractors.spec
    rows = [rng.standard_normal((n, dim), np.float32) for n, dim in zip(counts, spec.dims, strict=True)]
    return FeatureSet(*rows, spec=spec, duration=float(segments))


def forward(bundle: LoadedBundle, features: FeatureSet, start: int, stop: int) -> dict[str, np.ndarray]:
    cut = (features.audio[start:stop], features.visual_2d[8 * start : 8 * stop], features.visual_3d[start:stop])
    with torch.no_grad():
        output = bundle.trained_parser(*(torch.from_numpy(rows)[None] for rows in cut))
    return {
        "audio": output.audio_segment_probs[0].numpy(), "visual": output.visual_segment_probs[0].numpy(),
        "audio_video": output.audio_video_probs.numpy(), "visual_video": output.visual_video_probs.numpy(),
    }  # fmt: skip


@pytest.mark.parametrize("segments", [1, 4, 10])
def test_up_to_the_trained_length_it_is_one_forward_pass(bundle: LoadedBundle, segments: int) -> None:
    features = features_of(bundle, segments)
    got = parse_features(features, bundle.parser)
    for name, expected in forward(bundle, features, 0, segments).items():
        np.testing.assert_allclose(getattr(got, name), np.broadcast_to(expected, got.audio.shape), atol=1e-6)


def test_longer_videos_are_the_mean_over_overlapping_windows(bundle: LoadedBundle) -> None:
    features = features_of(bundle, 17)
    got = parse_features(features, bundle.parser)
    windows = {start: forward(bundle, features, start, start + 10) for start in (0, 5, 7)}
    for name in ("audio", "visual"):
        np.testing.assert_allclose(getattr(got, name)[2], windows[0][name][2], atol=1e-6)
        expected = (windows[0][name][8] + windows[5][name][3] + windows[7][name][1]) / 3
        np.testing.assert_allclose(getattr(got, name)[8], expected, atol=1e-6)
        np.testing.assert_allclose(getattr(got, name)[16], windows[7][name][9], atol=1e-6)
    expected = (windows[0]["audio_video"][0] + windows[5]["audio_video"][0]) / 2
    np.testing.assert_allclose(got.audio_video[6], expected, atol=1e-6)


def test_hours_are_parsed_in_batches_of_windows(bundle: LoadedBundle) -> None:
    features = features_of(bundle, 400)
    got = parse_features(features, bundle.parser)
    np.testing.assert_allclose(got.audio[:5], forward(bundle, features, 0, 10)["audio"][:5], atol=1e-6)
    np.testing.assert_allclose(got.audio[395:], forward(bundle, features, 390, 400)["audio"][5:], atol=1e-6)


def test_timeline_of_a_clip(bundle: LoadedBundle, clips: Clips) -> None:
    timeline = parse_video(clips.steady, weights=bundle, thresholds=0.0)
    assert timeline.segments == 3
    assert timeline.labels == LABELS
    assert len(timeline.events) == 9  # everything, always, in each modality
    assert {(event.onset, event.offset) for event in timeline.events} == {(0.0, 3.0)}
    assert timeline.warnings == ()


def test_video_threshold_applies_separately(bundle: LoadedBundle, clips: Clips) -> None:
    assert parse_video(clips.steady, weights=bundle, thresholds=Thresholds.uniform(LABELS, 0.0, 1.0)).events == ()


@pytest.mark.parametrize(("clip", "missing"), [("silent", "audio"), ("blind", "visual")])
def test_a_missing_stream_has_no_events(bundle: LoadedBundle, clips: Clips, clip: str, missing: str) -> None:
    timeline = parse_video(getattr(clips, clip), weights=bundle, thresholds=0.0)
    modalities = {event.modality for event in timeline.events}
    assert modalities == {"audio", "visual"} - {missing}
    assert timeline.warnings


def test_documents_follow_the_schema(bundle: LoadedBundle, clips: Clips) -> None:
    schema = load_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for clip in (clips.steady, clips.silent, clips.blind):
        timeline = parse_video(clip, weights=bundle)
        document = json.loads(to_json(timeline, segments=True))
        jsonschema.validate(document, schema)
        assert document == json.loads(json.dumps(to_document(timeline, segments=True)))
        assert np.shape(document["segments"]["audio"]) == (timeline.segments, 3)
        jsonschema.validate(to_document(timeline), schema)
        assert "segments" not in to_document(timeline)
    document["provenance"]["rule"] = DecisionRule("own", strict=True).to_dict()
    jsonschema.validate(document, schema)
    document["events"].append({"modality": "smell"})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


def test_undecodable_file_names_are_kept(bundle: LoadedBundle, clips: Clips, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"clip-\xff.mp4")
    path.write_bytes(clips.blink.read_bytes())
    document = json.loads(to_json(parse_video(path, weights=bundle)))
    assert os.fsencode(document["media"]["path"]) == os.fsencode(path)


def test_provenance_names_weights_and_thresholds(bundle: LoadedBundle) -> None:
    timeline = make_timeline(features_of(bundle, 2), bundle, Thresholds.uniform(LABELS, 0.4, 0.6))
    assert timeline.provenance["thresholds"] == {
        "audio_segment": 0.4, "visual_segment": 0.4, "audio_video": 0.6, "visual_video": 0.6, "video": 0.6,
    }  # fmt: skip
    assert set(timeline.provenance["weights"]) == {
        "vggish.safetensors", "resnet.safetensors", "r2plus1d.safetensors", "parser.safetensors",
    }  # fmt: skip
    assert all(len(digest) == 64 for digest in timeline.provenance["weights"].values())
    assert timeline.provenance["untrained"] is False


@needs_media
@pytest.mark.full_size
def test_parse_video_at_full_size() -> None:
    """Full-size networks with random parameters, and the warning about them."""
    timeline = parse_video(MEDIA / "realshort.mp4", weights="untrained", device="cpu")
    assert timeline.segments == 1
    assert timeline.warnings == (UNTRAINED_WARNING,)
    assert timeline.provenance["features"]["dims"] == [128, 2048, 512]
    assert timeline.provenance["untrained"] is True
    assert timeline.probabilities is not None
    assert timeline.probabilities.audio.shape == (1, 25)
    jsonschema.validate(json.loads(to_json(timeline)), load_schema())


class TestBadBundles:
    def test_truncated_parser(self, tiny_bundle: Path, tmp_path: Path) -> None:
        folder = copy_bundle(tiny_bundle, tmp_path / "b")
        file = folder / "parser.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(SetupError, match=r"parser\.safetensors"):
            load_networks(str(folder))

    def test_features_of_another_profile(self, tiny_bundle: Path, tmp_path: Path) -> None:
        folder = copy_bundle(tiny_bundle, tmp_path / "b")
        text = (folder / "bundle.toml").read_text()
        (folder / "bundle.toml").write_text(text.replace('"clean"', '"llp"'))
        with pytest.raises(FeatureMismatchError, match="profile: clean / llp"):
            load_networks(str(folder))

    def test_features_of_another_width(self, tiny_bundle: Path, tmp_path: Path) -> None:
        folder = copy_bundle(tiny_bundle, tmp_path / "b")
        checkpoint = load_checkpoint(folder / "parser.safetensors")
        spec = {**checkpoint.feature_spec, "dims": [16, 64, 65]}
        (folder / "parser.safetensors").write_bytes(dump_checkpoint(checkpoint.parser, spec, {}))
        with pytest.raises(FeatureMismatchError, match="dims"):
            load_networks(str(folder))

    def test_pickled_code_is_refused(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> tuple:
                return (os.mkdir, (str(tmp_path / "owned"),))

        torch.save({"a": Evil()}, tmp_path / "evil.pt")
        with pytest.raises(WeightsError, match="damaged, or not a weight file"):
            read_state_dict(tmp_path / "evil.pt")
        assert not (tmp_path / "owned").exists()

    def test_half_precision_is_widened_and_nan_is_refused(self, tmp_path: Path) -> None:
        torch.save({"a": torch.ones(2, dtype=torch.float16), "n": torch.zeros((), dtype=torch.long)}, tmp_path / "h.pt")
        state = read_state_dict(tmp_path / "h.pt")
        assert [tensor.dtype for tensor in state.values()] == [torch.float32, torch.long]
        torch.save({"a": torch.tensor([1.0, float("nan")])}, tmp_path / "n.pt")
        with pytest.raises(WeightsError, match="a holds values that are not finite"):
            read_state_dict(tmp_path / "n.pt")

    def test_unusable_label_vectors(self, tmp_path: Path) -> None:
        (tmp_path / "glove.pt").write_bytes(b"garbage")
        with pytest.raises(WeightsError, match="damaged, or not a weight file"):
            read_state_dict(tmp_path / "glove.pt")
        with pytest.raises(ValueError, match="expected 3 label vectors of equal width, found 2"):
            stack_label_embeddings({"a": torch.zeros(4), "b": torch.zeros(4)}, LABELS)

    def test_files_without_tensors(self, tmp_path: Path) -> None:
        torch.save({"epoch": 3}, tmp_path / "x.pt")
        with pytest.raises(WeightsError, match="plain dictionary of tensors"):
            read_state_dict(tmp_path / "x.pt")

    def test_a_missing_extractor(self, tiny_bundle: Path, tmp_path: Path) -> None:
        folder = copy_bundle(tiny_bundle, tmp_path / "b")
        text = (folder / "bundle.toml").read_text()
        (folder / "bundle.toml").write_text(text.replace(', resnet_tiny = "resnet.safetensors"', ""))
        with pytest.raises(SetupError, match="one extractor for each"):
            load_networks(str(folder))

    def test_files_of_one_name_in_two_folders_keep_their_hashes(self, tiny_bundle: Path, tmp_path: Path) -> None:
        """Results of a run are recognized by them."""
        folder = copy_bundle(tiny_bundle, tmp_path / "b")
        text = (folder / "bundle.toml").read_text()
        for name in ("vggish", "resnet", "r2plus1d"):
            (folder / name).mkdir()
            (folder / f"{name}.safetensors").rename(folder / name / "weights.safetensors")
            text = text.replace(f"{name}.safetensors", f"{name}/weights.safetensors")
        (folder / "bundle.toml").write_text(text)
        loaded, plain = load_networks(str(folder), device="cpu"), load_networks(str(tiny_bundle), device="cpu")
        assert loaded.extractors.weight_ids == plain.extractors.weight_ids
        assert len(loaded.hashes) == 4
        assert set(loaded.hashes.values()) == set(plain.hashes.values())

    @pytest.mark.parametrize("parser", ['{checkpoint = ""}', '{family = "leap", file = ""}', "{}", '{family = ""}'])
    def test_a_parser_without_a_file(self, tiny_bundle: Path, tmp_path: Path, parser: str) -> None:
        folder = copy_bundle(tiny_bundle, tmp_path / "b")
        text = (folder / "bundle.toml").read_text().split("parser =")[0]
        (folder / "bundle.toml").write_text(f'{text}labels = "llp"\nparser = {parser}\n')
        with pytest.raises((SetupError, WeightsError), match=r"its parser needs either|name of the family"):
            load_networks(str(folder), device="cpu")


def test_published_files_make_a_bundle(tmp_path: Path) -> None:
    """The files of `leap-llp`: a plain state dict under the published keys, and a dict of label vectors."""
    folder = write_tiny_bundle(tmp_path / "b", "llp")
    state = published_state()
    for key, width in (("fc_a.weight", 16), ("fc_v.weight", 64), ("fc_st.weight", 64)):
        state[key] = state[key][:, :width].clone()
    torch.save(state, folder / "leap.pt")
    torch.save({f"label {i}": torch.randn(300) for i in range(25)}, folder / "glove.pt")
    (folder / "bundle.toml").write_text(
        (folder / "bundle.toml").read_text().split("parser =")[0]
        + 'labels = "llp"\nparser = { family = "leap", file = "leap.pt", label_embeddings = "glove.pt" }\n'
    )
    bundle = load_networks(str(folder), device="cpu")
    assert len(bundle.parser.config.labels) == 25
    assert "leap.pt" in bundle.hashes


@pytest.mark.parametrize("threshold", [50, -1, float("nan")])
def test_thresholds_outside_of_zero_to_one(bundle: LoadedBundle, clips: Clips, threshold: float) -> None:
    with pytest.raises(ValueError, match="numbers from 0 to 1"):
        parse_video(clips.blink, weights=bundle, thresholds=threshold)


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "mps", "cuda:x", "cpu:3"])
def test_unavailable_devices_are_refused(name: str) -> None:
    with pytest.raises(SetupError, match="device"):
        resolve_device(name)


def test_auto_device() -> None:
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
