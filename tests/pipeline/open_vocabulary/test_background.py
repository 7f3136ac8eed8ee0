"""The background: what classes are compared with, and what is never reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from avvp.pipeline.errors import SetupError
from avvp.pipeline.open_vocabulary.background import read_background
from avvp.pipeline.open_vocabulary.classes import read_vocabulary
from avvp.pipeline.open_vocabulary.vocabulary import OpenClass
from support.command import Result
from support.stand_in_teachers import TRUST, make_film, write_stand_ins

Run = Callable[..., Result]

# What people look for in videos: no entry may have one of its words.
LOOKED_FOR = (
    "dog barking", "dog", "cat", "skateboard", "applause", "glass breaking", "baby crying", "gunshot", "siren",
    "rain", "thunder", "car", "motorcycle", "helicopter", "guitar", "piano", "singing", "laughter", "cheering",
    "fire alarm", "chainsaw", "frying", "basketball", "goal", "explosion", "doorbell", "typing", "bicycle",
    "bird singing", "train",
)  # fmt: skip


def test_the_shipped_background_is_general() -> None:
    entries, name = read_background(None)
    assert name == "shipped"
    assert len(entries) == 62
    assert sum(bool(entry.seen) for entry in entries) == sum(bool(entry.heard) for entry in entries) == 36
    words = {word for entry in entries for name in entry.names for word in name.split()}
    assert not {word for name in LOOKED_FOR for word in name.split()} & words


def test_it_is_compared_and_not_reported() -> None:
    found = read_vocabulary("skateboard")
    assert found.labels == ("skateboard",)
    assert len(found.everything) == 63
    assert found.thresholds("audio") == [0.9]


@pytest.mark.parametrize("rule", ["av2a", "fixed"])
def test_more_is_asked_for_beside_a_longer_list(rule: str) -> None:
    """AV2A's 0.75 goes for as many classes as LLP has; entries that are heard alone are not compared with pictures."""
    names = [f"class {number}" for number in range(25)]
    alone = read_vocabulary(names, background="none", name=rule)
    assert alone.thresholds("visual") == [0.75] * 25
    assert read_vocabulary([*names, "z"], background="none", name=rule).thresholds("visual") == [0.9] * 26
    heard = replace(alone, background=(OpenClass("hum", (), ("a hum",)),))
    assert (heard.thresholds("visual")[0], heard.thresholds("audio")[0]) == (0.75, 0.9)
    assert read_vocabulary(["z"], name="scope").thresholds("audio") == [0.75]


@pytest.mark.parametrize("name", ["Speech", "people_talking", "SILENCE", "A crowd"])
def test_a_class_takes_the_place_of_the_entry_that_has_its_name(name: str) -> None:
    found = read_vocabulary([name, "skateboard"])
    assert len(found.everything) == 63
    assert read_vocabulary("skateboard").background_hash == found.background_hash


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('both = ["other"]\nseen = [["a desk", "a table"]]\nheard = ["a fan"]\n')
    entries, name = read_background(str(path))
    assert name == "mine.toml"
    assert entries == (
        OpenClass("other", ("A photo of other.",), ("This is a sound of other.",)),
        OpenClass("a desk", ("A photo of a desk.", "A photo of a table."), (), also=("a table",)),
        OpenClass("a fan", (), ("This is a sound of a fan.",)),
    )


def test_a_text_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("# my lab\nother\n\n a desk \n")
    assert read_background(str(path))[0] == (OpenClass.named("other"), OpenClass.named("a desk"))


def test_none() -> None:
    assert read_background("none") == ((), "none")
    assert read_vocabulary("a", background="none").everything == (OpenClass.named("a"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("seen", "not a background: Expected '='"),
        ("sen = []", "unknown key 'sen'; known: both, seen, heard"),
        ('seen = "a"', "seen is 'a', not a list of names"),
        ("seen = [1]", r"seen has 1, which is neither a name nor a list"),
        ("seen = [[]]", r"seen has \[\], which is neither"),
        ('seen = [""]', "'' cannot be a name: it is empty"),
        ('seen = ["a\\u0007"]', "control character"),
        ('seen = ["A b"]\nheard = ["a_b"]', "'a_b', or another name for it, is there twice"),
        ('seen = [["a", "b"], ["c", "B"]]', "'c', or another name for it, is there twice"),
        ("", "has 0 entries, expected 1 to 10,000; --background none goes without"),
        (f"seen = {[[str(index) for index in range(65)]]}", "65 names for the same, more than 64"),
        (f"seen = {[str(index) for index in range(10_001)]}", "has 10,001 entries, expected 1 to 10,000"),
    ],
)
def test_bad_files_are_named_with_the_fault(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "b.toml"
    path.write_text(content)
    with pytest.raises(SetupError, match=message) as raised:
        read_background(str(path))
    assert str(raised.value).startswith(f"{path}: not a background: ")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(SetupError, match=r"/no/such\.toml: not a background: No such file"):
        read_background("/no/such.toml")


def test_something_else_wins(run: Run, tmp_path: Path) -> None:
    """Of red and green, a blue picture is a little more like one of them; with blue in the background, neither is."""
    write_stand_ins(tmp_path / "bundle")
    film = make_film(tmp_path / "film.mp4", [("red", None, 3), ("blue", None, 3)])
    (tmp_path / "blue.txt").write_text("blue\nan elephant\na teapot\na lamp\na map\na rope\n")
    options = (
        "--weights",
        tmp_path / "bundle",
        *TRUST,
        "--classes",
        "red, green",
        "--background",
        tmp_path / "blue.txt",
    )
    assert run("parse", film, *options, "-o", tmp_path / "e.json").status == 0
    timeline = json.loads((tmp_path / "e.json").read_text())
    assert [(event["label"], event["onset"], event["offset"]) for event in timeline["events"]] == [("red", 0, 3)]
    assert timeline["labels"] == ["red", "green"]
    assert timeline["provenance"]["open_vocabulary"]["background"]["name"] == "blue.txt"
