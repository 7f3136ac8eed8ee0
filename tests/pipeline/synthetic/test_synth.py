"""Generated clips: plans, audio, visuals, files, and the dataset of them."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from avvp.extractors.mel import log_mel
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.pseudo_labels import read_pseudo_labels
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.errors import MediaError
from avvp.pipeline.preprocess.network_inputs import NetworkInputs
from avvp.pipeline.synthetic.class_sounds import AUDIO_GENERATORS, generate_audio
from avvp.pipeline.synthetic.class_visuals import VISUAL_PAINTERS, Appearance, draw_visual
from avvp.pipeline.synthetic.clip_plan import MAX_SIMULTANEOUS, ClipPlan, PlannedEvent, plan_clip
from avvp.pipeline.synthetic.dataset import SynthJob
from avvp.pipeline.synthetic.drawing import Drawing
from avvp.pipeline.synthetic.parsing_set import corrupt_labels
from avvp.pipeline.synthetic.render import draw_frames, mix_audio
from avvp.pipeline.synthetic.waveforms import RATE
from PIL import Image
from support.command import Result, find_faults
from support.media import Clips
from support.synth import write_clips

CLASSES = len(LLP_LABELS)
Run = Callable[..., Result]


def test_every_class_has_audio_and_visuals() -> None:
    assert tuple(AUDIO_GENERATORS) == tuple(VISUAL_PAINTERS) == LLP_LABELS


def test_plans_follow_from_their_seed_and_are_never_crowded() -> None:
    plans = [plan_clip("a", (1, 0, number), 10, CLASSES) for number in range(200)]
    assert plans[3] == plan_clip("a", (1, 0, 3), 10, CLASSES) != plan_clip("a", (2, 0, 3), 10, CLASSES)
    kinds = set()
    for plan in plans:
        audio, visual = plan.segment_labels(CLASSES)
        assert max(audio.sum(axis=1).max(), visual.sum(axis=1).max()) <= MAX_SIMULTANEOUS
        assert (audio | visual).any()
        kinds |= {(bool(h), bool(s)) for h, s in zip(*np.any([audio, visual], axis=1).tolist(), strict=True)}
        both = audio.any(axis=0) & visual.any(axis=0)
        kinds |= {"apart" for index in np.flatnonzero(both) if (audio[:, index] != visual[:, index]).any()}
    assert kinds == {(True, True), (True, False), (False, True), (False, False), "apart"}


@pytest.mark.parametrize("label", LLP_LABELS)
def test_audio_has_its_length_and_level_and_always_differs(label: str) -> None:
    first, second = (generate_audio(label, np.random.default_rng(seed), 2 * RATE) for seed in (0, 1))
    for sound in (first, second):
        assert sound.shape == (2 * RATE,)
        assert np.isfinite(sound).all()
        assert 0.02 < np.sqrt(np.mean(sound**2)) < 1.3
        for second_ in sound.reshape(2, RATE):  # every second of an event is audible
            assert np.abs(second_).max() > 0.3
    assert not np.allclose(first, second, atol=0.1)
    assert len(generate_audio(label, np.random.default_rng(0), 1000)) == 1000


def test_audio_of_classes_can_be_told_apart_by_measurement() -> None:
    """The nearest of 25 class means, of the spectrum and its changes, is nearly always the right class."""

    def measure(label: str, seed: int) -> np.ndarray:
        rows = log_mel(0.1 * generate_audio(label, np.random.default_rng([seed, len(label)]), 3 * RATE))
        parts = [rows.mean(0), rows.std(0), np.abs(np.diff(rows, axis=0)).mean(0)]
        return np.concatenate(parts)

    known = np.stack([np.mean([measure(label, seed) for seed in range(6)], axis=0) for label in LLP_LABELS])
    right = sum(
        int(np.argmin(np.linalg.norm(known - measure(label, 100 + seed), axis=1))) == index
        for index, label in enumerate(LLP_LABELS)
        for seed in range(4)
    )
    assert right >= 92, f"{right} of 100"


@pytest.mark.parametrize("label", LLP_LABELS)
def test_visuals_are_drawn_in_their_place_and_move(label: str) -> None:
    frames = []
    for time in (0.0, 0.13, 0.29, 0.41):
        picture = Image.new("RGB", (200, 200), (1, 2, 3))
        draw_visual(label, Drawing(picture, 100, 100, 100), Appearance(0, 1, 1, 0.1), time)
        frames.append(np.asarray(picture).astype(int))
    drawn = (frames[0] != (1, 2, 3)).any(axis=2)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    assert drawn.sum() > 800
    assert min(rows.min(), columns.min()) >= 35
    assert max(rows.max(), columns.max()) <= 165
    assert max(np.abs(frames[0] - other).sum() for other in frames[1:]) > 5000


def test_events_are_audible_and_visible_in_their_seconds_only() -> None:
    plan = ClipPlan("a", 6, (PlannedEvent(LLP_LABELS.index("Fire_alarm"), 1, 3),), (PlannedEvent(1, 3, 5),), (7,))
    nothing = ClipPlan("a", 6, (), (), (7,))
    loud = np.abs(mix_audio(plan, LLP_LABELS)).reshape(6, RATE).max(axis=1)
    assert set(np.flatnonzero(loud > 0.05)) == {1, 2}
    with_car, without = (np.stack(list(draw_frames(p, LLP_LABELS))) for p in (plan, nothing))
    assert with_car.shape == (96, 240, 320, 3)
    changed = (with_car != without).any(axis=(1, 2, 3)).reshape(6, 16)
    assert changed[3:5].all()
    assert not changed[[0, 1, 2, 5]].any()


def test_errors_stay_inside_the_labels_of_the_video() -> None:
    errors = count = 0
    for number in range(100):
        plan = plan_clip("a", (3, 0, number), 10, CLASSES)
        inside = np.logical_or(*plan.segment_labels(CLASSES)).any(axis=0)
        for modality, labels in corrupt_labels(plan, CLASSES).items():
            assert not labels[:, ~inside].any()
            errors += int((labels != plan.segment_labels(CLASSES).of(modality)).sum())
            count += 10 * int(inside.sum())
    assert errors / count == pytest.approx(0.1, abs=0.02)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    job = SynthJob({"train": 3, "val": 2, "test": 2}, seed=5, seconds=4)
    return write_clips(tmp_path_factory.mktemp("synth") / "set", job)


class TestDataset:
    def test_it_is_read_as_any_other(self, made: Path) -> None:
        annotations = read_annotations(made / "annotations")
        job = SynthJob({"train": 3, "val": 2, "test": 2}, seed=5, seconds=4)
        names = [name for split in annotations.splits.values() for name in split.filenames]
        assert sorted(path.stem for path in (made / "videos").iterdir()) == sorted(n.rsplit("_", 2)[0] for n in names)
        split = annotations.split("test")
        for modality in ("audio", "visual"):
            truth = annotations.modality_labels(split, modality, 4)
            planned = [plan.segment_labels(CLASSES).of(modality) for plan in job.plans("test")]
            np.testing.assert_array_equal(truth, planned)
            ids = [plan.name for plan in job.plans("train")]
            labels, problems = read_pseudo_labels(made / "pseudo_labels", modality, ids, [4] * 3, CLASSES)
            assert problems == []
            expected = [corrupt_labels(plan, CLASSES)[modality] for plan in job.plans("train")]
            np.testing.assert_array_equal(labels, expected)

    def test_files_are_what_they_promise(self, made: Path) -> None:
        path = next((made / "videos").iterdir())
        media = probe(path)
        assert media.audio is not None
        assert media.video is not None
        assert (media.video.codec, media.audio.codec, media.video.width) == ("h264", "aac", 320)
        inputs = NetworkInputs(path, [], profile="clean")
        list(inputs)
        assert inputs.summary.warnings == ()
        assert inputs.summary.facts.duration == pytest.approx(4, abs=0.1)

    def test_the_same_seed_gives_the_same_bytes_in_any_number_of_processes(
        self, run: Run, made: Path, tmp_path: Path
    ) -> None:
        common = ("synth", tmp_path / "again", "--clips", 7, "--seed", 5, "--seconds", 4, "--shares", "40,30,30")
        result = run(*common, "--workers", 2)
        assert (result.status, "3 train, 2 val, 2 test; 7 clips rendered, 0 were there" in result.err) == (0, True)
        for path in (made / "videos").iterdir():
            assert (tmp_path / "again/videos" / path.name).read_bytes() == path.read_bytes()
        path = min((made / "videos").iterdir())
        (tmp_path / "again/videos" / path.name).unlink()
        assert "1 clips rendered, 6 were there" in run(*common).err
        assert (tmp_path / "again/videos" / path.name).read_bytes() == path.read_bytes()
        other = run(*common[:-1], "50,25,25")
        assert (other.status, "made with other settings" in other.err) == (1, True)

    @pytest.mark.parametrize("shares", ["70,30", "a,b,c", "70,40,-10", "50,20,20"])
    def test_shares_that_cannot_be(self, run: Run, tmp_path: Path, shares: str) -> None:
        result = run("synth", tmp_path, "--clips", 4, "--shares", shares)
        assert (result.status, "three percentages that make 100" in result.err) == (2, True)


class TestSources:
    """User files in place of generated audio and visuals."""

    @pytest.fixture
    def sources(self, clips: Clips, tmp_path: Path) -> Path:
        for label, source in (("Dog", clips.blind), ("Cat", clips.numbered("n.mkv", 16, 8)), ("Car", clips.steady)):
            (tmp_path / "own" / label).mkdir(parents=True)
            shutil.copy(source, tmp_path / "own" / label)
        Image.new("RGB", (50, 80), (255, 0, 255)).save(tmp_path / "own/Dog/purple.png")
        return tmp_path / "own"

    def test_they_take_the_place_of_generated_ones(self, sources: Path) -> None:
        from avvp.pipeline.synthetic.user_sources import find_sources

        found = find_sources(sources, LLP_LABELS)
        dog, cat, car = (LLP_LABELS.index(label) for label in ("Dog", "Cat", "Car"))
        plan = ClipPlan(
            "a",
            3,
            (PlannedEvent(dog, 0, 3), PlannedEvent(cat, 0, 3)),
            (PlannedEvent(dog, 0, 3), PlannedEvent(cat, 1, 3)),
            (7,),
        )
        frames = np.stack(list(islice(draw_frames(plan, LLP_LABELS, found), 4)))
        assert ((frames == (255, 0, 255)).all(axis=3).sum(axis=(1, 2)) > 3000).all()
        assert not np.allclose(mix_audio(plan, LLP_LABELS, found), mix_audio(plan, LLP_LABELS))
        assert found.audio[LLP_LABELS[cat]] == []  # its video has no audio stream
        assert len(found.audio[LLP_LABELS[car]]) == len(found.visual[LLP_LABELS[car]]) == 1

    def test_the_command(self, run: Run, sources: Path, tmp_path: Path) -> None:
        common = ("synth", tmp_path / "set", "--clips", 2, "--seconds", 2)
        assert run(*common, "--sources", sources).status == 0
        assert "made with other settings" in run(*common).err

    def test_what_cannot_be_used_is_named(self, run: Run, sources: Path, tmp_path: Path) -> None:
        (sources / "Wolf").mkdir()
        assert "Wolf is not a class" in run("synth", tmp_path / "set", "--clips", 1, "--sources", sources).err
        (tmp_path / "none").mkdir()
        assert (
            "no audio files, images" in run("synth", tmp_path / "set", "--clips", 1, "--sources", tmp_path / "none").err
        )


def test_a_long_clip_has_room_for_all_visual_events() -> None:
    """One event overlaps four others in a row."""
    seen = (
        PlannedEvent(0, 4, 6),
        PlannedEvent(1, 6, 8),
        PlannedEvent(2, 8, 10),
        PlannedEvent(3, 2, 4),
        PlannedEvent(4, 2, 10),
    )
    for seed in range(30):
        plan = ClipPlan("a", 12, (), seen, (seed,))
        assert next(draw_frames(plan, LLP_LABELS)).shape == (240, 320, 3)


def test_what_is_there_is_never_overwritten(run: Run, tmp_path: Path) -> None:
    truth = tmp_path / "llp/annotations/AVVP_test_pd.csv"
    truth.parent.mkdir(parents=True)
    truth.write_text("precious")
    result = run("synth", tmp_path / "llp", "--clips", 1)
    assert (result.status, "holds files that avvp synth has not made" in result.err) == (1, True)
    assert truth.read_text() == "precious"


@pytest.mark.parametrize("place", ["/proc/nowhere", "{file}", "{file}/below"])
def test_folders_that_cannot_be(run: Run, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    result = run("synth", place.format(file=tmp_path / "file"), "--clips", 1)
    assert (result.status, "Traceback" not in result.err, "cannot be written" in result.err) == (1, True, True)


def test_a_source_that_cannot_be_read_is_named(run: Run, clips: Clips, tmp_path: Path) -> None:
    (tmp_path / "own/Dog").mkdir(parents=True)
    common = ("synth", tmp_path / "set", "--clips", 4, "--sources", tmp_path / "own", "--workers", 2)
    (tmp_path / "own/Dog/junk.wav").write_bytes(b"junk")
    assert "junk.wav: " in run(*common).err
    (tmp_path / "own/Dog/junk.wav").unlink()
    clips.make("quiet.wav", "-f", "lavfi", "-i", "anullsrc=r=16000:d=2")
    shutil.copy(clips.folder / "quiet.wav", tmp_path / "own/Dog")
    assert "quiet.wav: is silent" in run(*common).err


def test_errors_of_media_come_from_other_processes() -> None:
    error = pickle.loads(pickle.dumps(MediaError(Path("a"), "b")))  # noqa: S301
    assert (type(error), error.path, error.cause, str(error)) == (MediaError, Path("a"), "b", "a: b")


class TestImagesOfStrangers:
    @pytest.mark.parametrize("name", ["bomb", "eps", "truncated", "text", "empty", "pipe"])
    def test_are_refused_by_name(self, run: Run, tmp_path: Path, name: str) -> None:
        path = tmp_path / "own" / "Dog" / "x.png"
        path.parent.mkdir(parents=True)
        if name == "bomb":  # 400 megapixels in 50 kB
            Image.new("1", (20_000, 20_000)).save(path)
        elif name == "eps":  # Pillow would start Ghostscript for it
            Image.new("RGB", (8, 8)).save(path, "EPS")
        elif name == "truncated":
            Image.new("RGB", (64, 64), "red").save(path)
            path.write_bytes(path.read_bytes()[:90])
        elif name == "pipe":
            os.mkfifo(path)
        else:
            path.write_bytes(b"not an image" if name == "text" else b"")
        result = run("synth", tmp_path / "set", "--clips", 1, "--sources", tmp_path / "own")
        assert result.status == 2
        assert "x.png: is not a readable image" in result.err
        assert not find_faults(result)

    def test_settings_of_another_program(self, run: Run, tmp_path: Path) -> None:
        """A file of any size at the place of the settings is compared, not read."""
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "synth.json").symlink_to("/dev/zero")
        result = run("synth", tmp_path / "set", "--clips", 1)
        assert (result.status, "made with other settings" in result.err) == (1, True)
