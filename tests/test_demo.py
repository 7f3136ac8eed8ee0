"""The shipped demo model on clips it has never met; and that these scores can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from avvp.extractors import inputs
from avvp.extractors.inputs import InputFormat
from avvp.extractors.sampling import Stream
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.decode.audio import AudioReader
from avvp.pipeline.decode.options import DecodeOptions
from avvp.pipeline.evaluation.evaluate_timelines import evaluate_timelines
from avvp.pipeline.metrics import Scores, score
from avvp.pipeline.preprocess.media_summary import MediaSummary
from avvp.pipeline.preprocess.network_inputs import NetworkInputs
from avvp.pipeline.synthetic.dataset import SynthJob, write_dataset
from avvp.weights import load_bundle
from support.command import Result

CLIPS = 24
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of a seed that was in no training."""
    folder = tmp_path_factory.mktemp("held-out") / "set"
    folder.mkdir()
    write_dataset(folder, SynthJob({"test": CLIPS}, seed=77), workers=2)
    return folder


@pytest.fixture
def parse(run: Run, held_out: Path, tmp_path: Path) -> Callable[[], Scores]:
    def call() -> Scores:
        result = run("parse", held_out / "videos", "--output-dir", tmp_path / "events", "--weights", "demo", "-q")
        assert result.status == 0, result.err
        scores = evaluate_timelines(tmp_path / "events", read_annotations(held_out / "annotations"), "test").scores
        assert isinstance(scores, Scores)
        return scores

    return call


def good(scores: Scores) -> bool:
    """What is asked of the model on a hundred clips, with a margin for few."""
    segment, event = scores.segment, scores.event
    return (
        min(segment.audio, segment.visual) >= 82
        and min(segment.type_av, segment.event_av) >= 77
        and event.type_av >= 67
    )


def test_demo_model_on_unseen_clips(parse: Callable[[], Scores]) -> None:
    scores = parse()
    assert good(scores), scores


class TestTheScoresCanFail:
    """Decode in this process, so that tests can change what is decoded."""

    @pytest.fixture
    def plain(self, held_out: Path) -> Callable[[], tuple[np.ndarray, ...]]:
        from avvp.pipeline.inference.bundle import load_networks
        from avvp.pipeline.inference.parse_video import parse_video

        bundle, annotations = load_networks("demo", device="cpu"), read_annotations(held_out / "annotations")
        split = annotations.split("test")
        truth = [annotations.modality_labels(split, modality, 10) for modality in ("audio", "visual")]

        def call() -> tuple[np.ndarray, ...]:
            found = np.zeros((2, CLIPS, 10, len(LLP_LABELS)), bool)
            for index, filename in enumerate(split.filenames):
                timeline = parse_video(held_out / "videos" / f"{filename.rsplit('_', 2)[0]}.mp4", weights=bundle)
                for event in timeline.events:
                    for place, modality in enumerate(("audio", "visual")):
                        if event.modality == modality:
                            label = LLP_LABELS.index(event.label)
                            found[place, index, round(event.onset) : round(event.offset), label] = True
            return (*found, *truth)

        return call

    @pytest.fixture
    def in_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Decode in this process, where a test can replace functions."""

        def decode(
            path: Path,
            formats: Sequence[InputFormat],
            put: Callable[[Stream, np.ndarray], None],
            *,
            profile: str,
            decoding: DecodeOptions,
            **_: object,
        ) -> MediaSummary:
            reader = NetworkInputs(path, formats, profile=profile, options=decoding)
            for stream, arrays in reader:
                put(stream, arrays)
            return reader.summary

        monkeypatch.setattr("avvp.pipeline.features.extract.decode_inputs", decode)

    @pytest.mark.usefixtures("in_process")
    def test_demo_model_with_late_audio(
        self, plain: Callable[[], tuple[np.ndarray, ...]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = AudioReader.__iter__

        def late(reader: AudioReader) -> Iterator[np.ndarray]:
            samples = np.concatenate([np.zeros(8000), *read(reader)])
            return iter(samples[: len(samples) // 16000 * 16000].reshape(-1, 16000))

        monkeypatch.setattr(AudioReader, "__iter__", late)
        spoilt = score(*plain())
        assert not good(spoilt), spoilt

    @pytest.mark.usefixtures("in_process")
    def test_demo_model_with_swapped_colours(
        self, plain: Callable[[], tuple[np.ndarray, ...]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("resize", "resize_and_crop"):
            work = getattr(inputs, name)
            monkeypatch.setattr(
                inputs, name, lambda frames, *a, work=work, **k: work(frames[..., ::-1].copy(), *a, **k)
            )
        spoilt = score(*plain())
        assert not good(spoilt), spoilt

    def test_demo_model_with_swapped_modalities(self, plain: Callable[[], tuple[np.ndarray, ...]]) -> None:
        audio, visual, true_heard, true_seen = plain()
        assert not good(score(visual, audio, true_heard, true_seen))


def test_demo_bundle_is_small_and_documented() -> None:
    bundle = load_bundle("demo")
    assert bundle.root is not None
    assert sum(path.stat().st_size for path in bundle.root.iterdir()) < 20e6
    assert "generated clips" in bundle.description
    assert "generated clips" in (bundle.root / "README.md").read_text(encoding="utf-8")


def test_demo_parse_shows_the_truth(run: Run, held_out: Path, tmp_path: Path) -> None:
    video = sorted((held_out / "videos").iterdir())[0]
    common = ("parse", video, "--weights", "demo", "-o", tmp_path / "events.json", "--annotations")
    result = run(*common, held_out / "annotations")
    assert result.status == 0
    assert " truth " in result.err
    assert "F-scores per second A" in result.err
    (tmp_path / "other.mp4").write_bytes(video.read_bytes())
    result = run("parse", tmp_path / "other.mp4", "--weights", "demo", "--annotations", held_out / "annotations")
    assert (result.status, "no labels per second for other" in result.err) == (2, True)
    result = run(
        "parse", video, "--weights", "demo", "--annotations", held_out / "annotations", "--output-dir", tmp_path
    )
    assert (result.status, "avvp evaluate --timelines" in result.err) == (2, True)
