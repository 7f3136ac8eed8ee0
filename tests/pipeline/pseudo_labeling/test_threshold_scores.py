"""Inputs of pseudo-labelling: prompts, thresholds, weak labels, and matching videos with clips."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.batch.local_storage import LocalStorage
from avvp.pipeline.datasets.pseudo_labels import check_record
from avvp.pipeline.errors import DatasetError, SetupError
from avvp.pipeline.pseudo_labeling.calibrate import best_threshold, otsu_threshold
from avvp.pipeline.pseudo_labeling.prompts import parse_prompts, read_prompts
from avvp.pipeline.pseudo_labeling.review_pages import page_names
from avvp.pipeline.pseudo_labeling.score_files import read_scores
from avvp.pipeline.pseudo_labeling.weak_labels import match_videos, matching_names, read_table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.golden import load_npz, needs_golden
from support.hostile_values import edit_bytes, edit_npy
from support.teachers import CLASSES, PROMPTS


def test_valor_has_prompts_for_every_class() -> None:
    prompts = read_prompts()
    assert prompts.labels == LLP_LABELS
    assert prompts.visual_prompts[LLP_LABELS.index("Vacuum_cleaner")] == "A photo of a vaccum cleaner."
    assert prompts.audio_prompts[LLP_LABELS.index("Baby_cry_infant_cry")] == "This is a sound of baby cry, infant cry"
    assert prompts.audio_prompts[LLP_LABELS.index("Frying_(food)")] == "This is a sound of frying (food)"
    assert (sum(prompts.visual_thresholds), sum(prompts.audio_thresholds)) == (394, 44)
    assert (prompts.visual_thresholds[-1], prompts.audio_thresholds[5]) == (18, -2)
    assert parse_prompts(prompts.to_toml().encode(), "again") == prompts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", r"has no \[\[class\]\]"),
        ("[[class", "not a TOML file of prompts"),
        ('[[class]]\nlabel = "a"', "class 1: seen is None, expected a text"),
        (PROMPTS.replace("= -1", '= "x"'), "class 2: seen_threshold is 'x', expected a number"),
        (PROMPTS.replace('"Speech"', '"Dog"'), "class Dog is listed twice"),
        (PROMPTS.replace('"Speech"', '"Speech, loud"'), "invalid class name 'Speech, loud': it contains a comma"),
        (PROMPTS.replace('"Speech"', '"Spee\\rch"'), "it contains a comma, a tab or a newline"),
        (PROMPTS.replace('"Speech"', '" Speech"'), "or begins or ends with whitespace"),
        (PROMPTS.replace("= -1", "= 1e300"), "expected a number"),
        (PROMPTS.replace("= -1", "= nan"), "expected a number"),
        (PROMPTS.replace("= -1", "= 1" + "0" * 400), "expected a number"),
        ("\x00", "not a TOML file"),
    ],
)
def test_unusable_prompts(text: str, said: str) -> None:
    with pytest.raises(SetupError, match=said):
        parse_prompts(text.encode(), "x.toml")


def test_best_threshold_by_hand() -> None:
    """Active at 3 and 1, inactive at 2 and 0: F1 is 0.8 for all above 0.5 and 2/3 for the first alone."""
    scores, truth = np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False])
    assert best_threshold(scores, truth, 9) == 0.5
    assert best_threshold(scores, np.zeros(4, bool), 9) == 9
    assert best_threshold(np.array([1.0, 1.0]), np.array([True, False]), 9) == 0.5
    assert best_threshold(np.array([2.0, 1.0]), np.array([True, False]), 9) == 1.5
    assert best_threshold(scores, np.zeros(4)) == -np.inf


def test_best_threshold_separates_neighbouring_numbers() -> None:
    upper = np.float32(1)
    lower = np.nextafter(upper, np.float32(0))
    threshold = best_threshold(np.array([upper, lower]), np.array([True, False]))
    assert lower <= threshold < upper


@needs_golden
def test_best_threshold_is_that_of_the_published_program() -> None:
    golden = load_npz("uwav_official.npz")
    for scores, truth, expected, f1 in zip(
        *(golden[f"thresholds/{name}"] for name in ("scores", "truth", "best", "f1")), strict=True
    ):
        threshold = best_threshold(scores, truth)
        assert threshold == expected
        found = scores > threshold
        assert 2 * (found & (truth > 0)).sum() / (found.sum() + truth.sum()) == pytest.approx(f1, abs=1e-6)


def test_otsu_threshold_lies_between_the_groups() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(10, 0.5, 300), rng.normal(20, 0.5, 100)])
    assert 12 < otsu_threshold(scores, 0) < 18
    assert otsu_threshold(np.full(5, 3.0), 7) == 7
    assert otsu_threshold(np.empty(0), 7) == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a;b\n", "no columns filename and event_labels, but 'a;b'"),
        ("x" * 200_000, "field larger|has no columns"),
        (
            "filename,event_labels\nx.mp4,Dog,Speech\n",
            "line 2: 3 columns, expected 2; put several classes in quotes",
        ),
        ("filename,event_labels\nx.mp4\n", "line 2: 1 columns, expected 2"),
        ("filename,event_labels\na/x.mp4,Dog\nb/x,Dog\na/x,Dog\n", "line 4: 'a/x' is listed twice"),
        ("filename,event_labels\n,Dog\n", "line 2: no filename"),
        ("filename,event_labels\n", "lists no clip"),
        ("filename,onset,offset,event_labels\nx,0,1,Dog\n", "has labels per second; expected the classes"),
        ("filename,event_labels\nx,Cow\n", "line 2: unknown class Cow"),
        ("filename\tevent_labels\nx.mp4\tDog\nx\tDog\n", "line 3: 'x' is listed twice"),
    ],
)
def test_unusable_weak_labels(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DatasetError, match=said):
        read_table(tmp_path / "x.csv", CLASSES)


def test_names_of_clips() -> None:
    """The whole name counts before the id; names with other times are other clips."""
    assert match_videos(["cam_1_10", "cam_10_20"], ["cam_1_10", "cam_10_20"]) == {
        "cam_1_10": "cam_1_10", "cam_10_20": "cam_10_20",
    }  # fmt: skip
    assert match_videos(["abc", "x"], ["abc_30_40"]) == {"abc": "abc_30_40"}
    assert match_videos(["abc_0_10"], ["abc"]) == {"abc_0_10": "abc"}
    assert match_videos(["films/abc"], ["abc"]) == {"films/abc": "abc"}
    assert match_videos(["abc"], ["films/abc"]) == {"abc": "films/abc"}
    assert match_videos(["abc", "abc_0_10"], ["abc"]) == {"abc": "abc"}
    assert match_videos(["cam_10_20"], ["cam_0_10"]) == {}
    assert match_videos(["cam_0_10", "cam_10_20"], ["cam_0_10"]) == {"cam_0_10": "cam_0_10"}
    both = ["a/x", "b/x"]
    assert match_videos(both, both) == {"a/x": "a/x", "b/x": "b/x"}
    assert match_videos(["c/x"], both) == {}
    assert match_videos(["vid", "vid_0_10"], ["vid_0_10", "vid_10_20"]) == {"vid_0_10": "vid_0_10"}
    assert match_videos(["x", "a/x"], both) == {"a/x": "a/x"}
    with pytest.raises(DatasetError, match="abc_0_10 and abc_5_15: both names fit the clip abc"):
        match_videos(["abc_0_10", "abc_5_15"], ["abc"])
    with pytest.raises(DatasetError, match="cam: the name fits the clips cam_0_10 and cam_5_15"):
        match_videos(["cam"], ["cam_5_15", "cam_0_10"])
    with pytest.raises(DatasetError, match="x: the name fits the clips a/x and b/x"):
        match_videos(["x"], both)


def test_dots_in_names(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("filename,event_labels\ntake.1.mp4,Dog\ntake.2,Dog\n")
    assert list(read_table(tmp_path / "x.csv", CLASSES)) == ["take.1", "take.2"]


def test_conflicts_among_videos_of_earlier_runs_are_no_errors() -> None:
    """A better match counts, from whichever run the video is."""
    assert match_videos(["vid"], ["vid_0_10"], ["vid_0_10"]) == {"vid_0_10": "vid_0_10"}
    assert match_videos(["one"], ["one", "vid"], ["vid_0_10", "vid_10_20"]) == {"one": "one", "vid_0_10": "vid"}
    assert match_videos(["one"], ["one", "vid_0_10", "vid_5_15"], ["vid"]) == {"one": "one"}


def test_names_that_fit_clips() -> None:
    names = ["dog", "dog_1_1", "dog_9_9", "films/dog", "cat"]
    assert matching_names(names, ["dog_9_9", "dog_8_8"]) == {"dog", "dog_9_9", "films/dog"}
    assert matching_names(names, ["cat_1_2", "a/dog"]) == {"dog", "dog_1_1", "dog_9_9", "cat"}


@pytest.mark.parametrize("name", ["AVVP_val_pd.csv", "AVVP_test_pd.csv"])
def test_tables_of_val_and_test_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("filename\tevent_labels\nx\tDog\n")
    with pytest.raises(DatasetError, match="pass its folder and --split"):
        read_table(tmp_path / name, CLASSES)
    (tmp_path / "AVVP_train.csv").write_text("filename\tevent_labels\nx\tDog\n")
    assert list(read_table(tmp_path / "AVVP_train.csv", CLASSES)) == ["x"]


def test_prompts_of_some_classes() -> None:
    prompts = parse_prompts(PROMPTS.encode(), "x.toml")
    swapped = prompts.select(["Speech", "Dog"])
    assert swapped.labels == ("Speech", "Dog")
    assert (swapped.visual_thresholds, swapped.audio_thresholds) == ((-1, 0.5), (0.1, -0.25))
    assert swapped.visual_prompts[0] == "A photo of people talking."
    assert prompts.select(CLASSES) == prompts


def test_classes_of_the_record_are_checked(tmp_path: Path) -> None:
    assert check_record(tmp_path, CLASSES) == []  # foreign labels have no record
    record = tmp_path / "pseudo_labels.json"
    for content, said in (
        ('{"prompts": {"labels": ["Dog", "Speech"]}}', None),
        ('{"prompts": {"labels": ["Speech", "Dog"]}}', "have another order of classes than"),
        ('{"prompts": {"labels": ["Dog", "Cow"]}}', r"have other classes \(Cow is not in both\)"),
        ('{"prompts": {"labels": ["Dog"]}}', r"have other classes \(Speech is not in both\)"),
        ('{"prompts": {"labels": null}}', "not a readable record"),
        ('{"unfinished": true}', "did not finish"),
        ("[1]", "not a readable record"),
        ("{", "not a readable record"),
    ):
        record.write_text(content)
        problems = check_record(tmp_path, CLASSES)
        assert len(problems) == (said is not None)
        assert said is None or re.search(said, problems[0])


def test_page_names_are_unique() -> None:
    names = page_names(["index", "a/b", "a_b", "A_B"])
    assert len(page_names(["ä/" * 300])["ä/" * 300].encode()) < 210
    assert names == {"index": "index_.html", "a/b": "a_b.html", "a_b": "a_b_.html", "A_B": "A_B__.html"}


class TestScoreFiles:
    @pytest.fixture
    def storage(self, tmp_path: Path) -> LocalStorage:
        for teacher in ("CLIP", "CLAP"):
            (tmp_path / teacher / "scores").mkdir(parents=True)
            np.save(tmp_path / teacher / "scores" / "a.npy", np.ones((4, 2), np.float32))
        return LocalStorage(tmp_path)

    @given(rng=st.randoms(use_true_random=False))
    @settings(
        max_examples=100, derandomize=True, deadline=None, database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )  # fmt: skip
    def test_hostile_ones_are_refused_or_fit(self, storage: LocalStorage, rng: random.Random) -> None:
        path = storage.root / "CLAP" / "scores" / "a.npy"
        np.save(path, np.ones((4, 2), np.float32))
        path.write_bytes(rng.choice((edit_npy, edit_bytes))(path.read_bytes(), rng))
        try:
            scores = read_scores(storage, 2, "a")
        except SetupError as error:
            assert "--verify" in str(error)
        else:
            assert {table.shape for table in scores.values()} == {(4, 2)}
            assert np.isfinite(scores["audio"]).all()

    @pytest.mark.parametrize(
        "table", [np.ones((4, 3)), np.ones((5, 2)), np.ones(8), np.full((4, 2), np.nan), np.ones((4, 2), int)]
    )
    def test_other_tables_are_refused(self, storage: LocalStorage, table: np.ndarray) -> None:
        np.save(storage.root / "CLIP" / "scores" / "a.npy", table)
        with pytest.raises(SetupError, match="run again on its video with --verify"):
            read_scores(storage, 2, "a")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PROMPTS.replace("A photo of a dog.", "x" * 1_001), "class 1: seen is longer than 1,000 characters"),
        (PROMPTS.replace('"Speech"', f'"{"x" * 1_001}"'), "class 2: label is longer than 1,000 characters"),
        ("class = [" + "{label = 'a'}," * 10_001 + "]", "has 10001 classes, more than 10,000"),
    ],
)
def test_prompts_are_bounded(text: str, said: str) -> None:
    with pytest.raises(SetupError, match=said):
        parse_prompts(text.encode(), "x.toml")


def test_prompts_are_no_templates() -> None:
    """A format specifier of a stranger stays what it is."""
    text = PROMPTS.replace("A photo of a dog.", "{0.__class__} %s $HOME")
    assert parse_prompts(text.encode(), "x.toml").visual_prompts[0] == "{0.__class__} %s $HOME"
