"""Generated clips of one audio-visual event: plans, media against the written truth, files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.datasets.annotations import Annotations, read_annotations
from avvp.pipeline.decode.open_media import open_media
from avvp.pipeline.synthetic.clip_plan import ClipPlan, PlannedEvent
from avvp.pipeline.synthetic.dataset import SynthJob
from avvp.pipeline.synthetic.event_plan import find_event, plan_event_clip, plan_noisy_clip
from avvp.pipeline.synthetic.localization_set import EVENT_LABELS, plan_localization_clip
from avvp.pipeline.synthetic.render import draw_frames
from support.command import Result
from support.media import Clips
from support.synth import write_clips

CLASSES = range(8)
JOB = SynthJob({"train": 3, "val": 3, "test": 8, "noisy": 2}, seed=10, seconds=4, task="avel")
SHARES = "21.5,21.5,57"  # of 14 clips
Run = Callable[..., Result]


def plan_many(count: int, length: int = 10) -> list[ClipPlan]:
    return [plan_event_clip("a", (1, 0, number), length, number % 8, CLASSES) for number in range(count)]


class TestPlans:
    def test_one_class_is_both_heard_and_seen_in_the_event_only(self) -> None:
        full = 0
        for number, plan in enumerate(plan_many(400)):
            event = find_event(plan)
            assert event is not None
            expected = np.zeros((10, 8), bool)
            expected[event.onset : event.offset, number % 8] = True
            np.testing.assert_array_equal(plan.segment_labels(8).audio_visual, expected)
            full += event.offset - event.onset == 10
        assert full / 400 == pytest.approx(0.66, abs=0.06)

    def test_neither_modality_alone_tells_where_the_event_is(self) -> None:
        """Outside events, the own class is heard alone, and seen alone, and so are others."""
        kinds = dict.fromkeys(("own heard", "own seen", "other heard", "other seen", "nothing", "bystander"), 0)
        for number, plan in enumerate(plan_many(400)):
            own, labels = number % 8, plan.segment_labels(8)
            outside = ~labels.audio_visual.any(axis=1)
            others = [index for index in CLASSES if index != own]
            kinds["own heard"] += int(labels.audio[outside, own].sum())
            kinds["own seen"] += int(labels.visual[outside, own].sum())
            kinds["other heard"] += int(labels.audio[outside][:, others].any(axis=1).sum())
            kinds["other seen"] += int(labels.visual[outside][:, others].any(axis=1).sum())
            kinds["nothing"] += int((~labels.audio[outside].any(axis=1) & ~labels.visual[outside].any(axis=1)).sum())
            kinds["bystander"] += int(labels.visual[:, others].all(axis=0).any())
        assert min(kinds.values()) >= 50, kinds

    def test_they_follow_from_their_seed(self) -> None:
        assert plan_many(20) == plan_many(20)
        assert plan_event_clip("a", (2, 0, 3), 10, 3, CLASSES) != plan_many(4)[3]
        again = plan_localization_clip("train", 3, "a", (1, 0, 3), 10)
        assert {LLP_LABELS[event.label] for event in again.audio if event in again.visual} <= set(EVENT_LABELS)

    @pytest.mark.parametrize(("length", "classes"), [(1, 8), (2, 3), (10, 1), (10, 2), (60, 8)])
    def test_any_length_and_number_of_classes(self, length: int, classes: int) -> None:
        for number in range(30):
            plan = plan_event_clip("a", (number,), length, 0, range(classes))
            event = find_event(plan)
            assert event is not None
            assert 0 <= event.onset < event.offset <= length
            assert plan.segment_labels(classes).audio_visual.any(axis=1).sum() == event.offset - event.onset

    def test_noisy_clips_are_of_other_classes(self) -> None:
        plans = [plan_noisy_clip("a", (number,), 10, [8, 9, 10]) for number in range(60)]
        assert {event.label for plan in plans for event in (*plan.audio, *plan.visual)} == {8, 9, 10}
        events = [find_event(plan) for plan in plans]
        assert any(event is None for event in events)
        assert any(event is not None for event in events)
        made = plan_localization_clip("noisy", 0, "a", (1,), 10)
        assert not {LLP_LABELS[event.label] for event in (*made.audio, *made.visual)} & set(EVENT_LABELS)


def test_an_event_is_where_sound_and_sight_meet() -> None:
    def plan(sound: PlannedEvent, sight: PlannedEvent) -> ClipPlan:
        return ClipPlan("a", 10, (PlannedEvent(5, 0, 10), sound), (sight,), (1,))

    assert find_event(plan(PlannedEvent(2, 1, 6), PlannedEvent(2, 4, 9))) == PlannedEvent(2, 4, 6)
    assert find_event(plan(PlannedEvent(2, 1, 4), PlannedEvent(2, 4, 9))) is None
    assert find_event(plan(PlannedEvent(2, 1, 6), PlannedEvent(3, 4, 9))) is None


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("synth") / "set", JOB)


@pytest.fixture(scope="module")
def truth(made: Path) -> Annotations:
    """Everything that is heard and seen, as written."""
    return read_annotations(made / "heard_and_seen")


def events_in(path: Path) -> dict[str, tuple[str, int, int]]:
    """Clip -> class, onset and offset."""
    rows = [line.split("&") for line in path.read_text(encoding="utf-8").splitlines()]
    assert {row[2] for row in rows[1:]} <= {"good"}
    return {name: (label, int(onset), int(offset)) for label, name, _, onset, offset in rows if name != "VideoID"}


class TestFiles:
    def test_every_split_has_the_rows_of_its_clips(self, made: Path) -> None:
        found = {name: events_in(made / f"{name}Set.txt") for name in ("train", "val", "test")}
        assert {name: len(rows) for name, rows in found.items()} == {"train": 3, "val": 3, "test": 8}
        rows = events_in(made / "Annotations.txt")
        assert rows == {name: row for split in found.values() for name, row in split.items()}
        assert list(dict.fromkeys(label for label, _, _ in rows.values())) == list(EVENT_LABELS)
        noisy = (made / "noisySet.txt").read_text(encoding="utf-8").split()
        assert sorted(path.stem for path in (made / "AVE").iterdir()) == sorted([*rows, *noisy])

    def test_they_are_read_as_a_data_set_of_the_task(self, made: Path, truth: Annotations) -> None:
        annotations = read_annotations(made)
        assert (annotations.task, annotations.labels, annotations.segments) == ("avel", EVENT_LABELS, 4)
        for split in ("train", "val", "test"):
            clips = annotations.split(split)
            assert clips.filenames == truth.split(split).filenames
            both = truth.segment_labels(truth.split(split), 4).audio_visual
            for labels in annotations.segment_labels(clips, 4):
                np.testing.assert_array_equal(labels, both)
        assert annotations.split("noisy").filenames == ("s0010300000", "s0010300001")
        assert not annotations.split("noisy").labels.any()

    def test_events_are_what_is_both_heard_and_seen(self, made: Path, truth: Annotations) -> None:
        rows = events_in(made / "Annotations.txt")
        assert truth.labels == EVENT_LABELS
        for split in ("train", "val", "test"):
            clips = truth.split(split)
            both = truth.segment_labels(clips, 4).audio_visual
            for name, table in zip(clips.filenames, both, strict=True):
                label, onset, offset = rows[name]
                expected = np.zeros((4, 8), bool)
                expected[onset:offset, EVENT_LABELS.index(label)] = True
                np.testing.assert_array_equal(table, expected)

    def test_media_sound_and_show_what_is_written(self, made: Path, truth: Annotations) -> None:
        """In each second of the mp4 files: how loud it is, and how many pixels differ from the empty background."""
        clips = truth.split("test")
        labels = truth.segment_labels(clips, 4)
        loud: dict[bool, list[float]] = {True: [], False: []}
        drawn: dict[bool, list[float]] = {True: [], False: []}
        for plan, heard, seen in zip(JOB.plans("test"), labels.audio, labels.visual, strict=True):
            empty = np.stack(list(draw_frames(replace(plan, audio=(), visual=()), LLP_LABELS))).reshape(
                4, 16, 240, 320, 3
            )
            with open_media(made / "AVE" / f"{plan.name}.mp4", "clean") as media:
                for second, content in enumerate(media):
                    assert content.audio is not None
                    assert content.frames is not None
                    loud[bool(heard[second].any())].append(float(np.abs(content.audio).max()))
                    change = np.abs(content.frames[4].astype(int) - empty[second, 8]).max(axis=2)
                    drawn[bool(seen[second].any())].append(float((change > 60).sum()))
        assert min(len(loud[False]), len(drawn[False])) > 3
        assert min(loud[True]) > 2 * max(loud[False])
        assert min(drawn[True]) > 300 > 10 * max(drawn[False])

    def test_objects_stand_anywhere(self) -> None:
        columns = set()
        for plan in SynthJob({"test": 40}, seed=1, seconds=1, task="avel").plans("test"):
            with_objects, empty = (next(draw_frames(p, LLP_LABELS)) for p in (plan, replace(plan, visual=())))
            where = np.flatnonzero((with_objects != empty).any(axis=(0, 2)))
            columns |= set((where // 107).tolist())
        assert columns == {0, 1, 2}


class TestCommand:
    COMMON = ("--task", "avel", "--clips", 14, "--shares", SHARES, "--noisy", 2, "--seed", 10, "--seconds", 4)

    def test_the_same_seed_gives_the_same_bytes_and_what_is_missing_is_made(
        self, run: Run, made: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(made, tmp_path / "set")
        removed = ["AVE/s0010000002.mp4", "AVE/s0010300001.mp4", "Annotations.txt", "noisySet.txt"]
        for name in removed:
            (tmp_path / "set" / name).unlink()
        result = run("synth", tmp_path / "set", *self.COMMON, "--workers", 2)
        assert (result.status, "3 train, 3 val, 8 test, 2 noisy; 2 clips rendered, 14 were there" in result.err) == (
            0,
            True,
        )
        for name in removed:
            assert (tmp_path / "set" / name).read_bytes() == (made / name).read_bytes()

    def test_sets_of_two_tasks_are_not_mixed(self, run: Run, made: Path) -> None:
        before = sorted(made.rglob("*"))
        result = run("synth", made, "--clips", 14, "--shares", SHARES, "--seed", 10, "--seconds", 4)
        assert (result.status, "made with other settings" in result.err) == (1, True)
        assert sorted(made.rglob("*")) == before

    def test_what_is_there_is_never_overwritten(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "Annotations.txt").write_text("precious")
        result = run("synth", tmp_path, "--task", "avel", "--clips", 1)
        assert (result.status, "Annotations.txt: holds files that avvp synth has not made" in result.err) == (1, True)
        assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["Annotations.txt"]

    def test_clips_without_event_are_of_one_task(self, run: Run, tmp_path: Path) -> None:
        result = run("synth", tmp_path / "set", "--clips", 1, "--noisy", 3)
        assert (result.status, "--noisy 3: only --task avel" in result.err) == (2, True)
        assert not (tmp_path / "set").exists()
        assert "'--task'" in run("synth", tmp_path / "set", "--clips", 1, "--task", "ave").err

    def test_own_sounds_and_pictures(self, run: Run, clips: Clips, tmp_path: Path) -> None:
        (tmp_path / "own/Dog").mkdir(parents=True)
        shutil.copy(clips.steady, tmp_path / "own/Dog")
        result = run("synth", tmp_path / "set", *self.COMMON[:2], "--clips", 1, "--sources", tmp_path / "own")
        assert (result.status, "1 clips rendered" in result.err) == (0, True)
