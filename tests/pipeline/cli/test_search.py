"""`avvp search` through the command line, over embeddings that `avvp parse` has kept of small films."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import avvp.pipeline.embeddings.search.run as search_run
import pytest
import torch
from avvp.pipeline.embeddings.files import load_embeddings, write_embeddings
from avvp.pipeline.embeddings.search.search import search_all
from avvp.pipeline.inference.bundle import load_networks
from safetensors.torch import save_file
from support.command import Run, find_faults
from support.cut_media import opened
from support.stand_in_teachers import TRUST, make_film, write_stand_ins

FILMS = {
    "one": [("red", "low tone", 3), (None, None, 2), ("blue", "high tone", 4)],
    "two": [("green", None, 3), ("green", "high tone", 2), (None, "low tone", 2)],
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_ins(tmp_path_factory.mktemp("open") / "stand-ins")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name, scenes in FILMS.items():
        make_film(folder / f"{name}.mp4", scenes)
    make_film(folder / "mute.mp4", [("blue", None, 3)], audio=False)
    return folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"": tmp_path_factory.mktemp("kept") / "events"}


@pytest.fixture
def folder(kept: dict[str, Path], run: Run, videos: Path, bundle: Path) -> Path:
    """Results of a run for another class, made once."""
    if not (folder := kept[""]).exists():
        result = run("parse", videos, "--weights", bundle, *TRUST, "--classes", "violet", "--output-dir", folder, "-q")
        assert result.status == 0, result.err
    return folder


@pytest.fixture
def search(run: Run, bundle: Path) -> Run:
    def call(*arguments: object) -> Any:
        return run("search", *arguments, "--weights", bundle, *TRUST)

    return call


def found(text: str) -> set[tuple[str, str, str, float, float]]:
    rows = csv.DictReader(io.StringIO(text))
    return {(row["file"], row["label"], row["modality"], float(row["onset"]), float(row["offset"])) for row in rows}


def test_a_text_is_found_where_it_is_seen_or_heard(search: Run, folder: Path) -> None:
    result = search(folder, "blue", "low tone", "-f", "csv")
    assert result.status == 0, result.err
    assert found(result.out) == {
        ("one", "blue", "visual", 5, 9),
        ("mute", "blue", "visual", 0, 3),
        ("one", "low tone", "audio", 0, 3),
        ("two", "low tone", "audio", 5, 7),
    }
    assert "4 moments in 19 s of 3 videos" in result.err


def test_senses_and_texts_together(search: Run, folder: Path) -> None:
    assert found(search(folder, "blue", "-f", "csv", "--heard").out) == set()
    assert found(search(folder, "low tone", "-f", "csv", "--seen").out) == set()
    assert found(search(folder, "blue", "-f", "csv", "--both").out) == set()
    together = search(folder, "green", "high tone", "--all", "-f", "csv")
    assert found(together.out) == {("two", "green + high tone", "audio_visual", 3, 5)}
    assert search(folder, "blue", "--seen", "--heard").status == 2


def test_a_table_to_read_with_the_best_first(search: Run, folder: Path) -> None:
    result = search(folder, "blue", "red", "--top", "2")
    lines = [line.split() for line in result.out.splitlines() if "0:0" in line]
    assert len(lines) == 2
    assert float(lines[0][0]) >= float(lines[1][0]) > 2
    assert all(line[5] == "visual" for line in lines)
    assert result.out.endswith("2 of 3 moments in 19 s of 3 videos\n")


def test_json_says_what_was_searched_and_z_of_both_senses(search: Run, folder: Path, tmp_path: Path) -> None:
    result = search(folder, "red", "-o", tmp_path / "found.json")
    assert (result.status, result.out) == (0, "")
    assert f"wrote {tmp_path / 'found.json'}" in result.err
    document = json.loads((tmp_path / "found.json").read_text())
    assert (document["files"], document["seconds"], document["total"], document["sense"]) == (3, 19, 1, "either")
    (moment,) = document["moments"]
    assert (moment["onset"], moment["offset"], moment["file"]) == (0, 3, "one")
    assert moment["z"] == moment["seen"] > 2 > moment["heard"]
    assert 0.5 < moment["score"] <= 1
    assert moment["source"] == str(folder / "embeddings" / "one.safetensors")


def test_nothing_found_says_what_would_be(search: Run, folder: Path) -> None:
    result = search(folder, "blue", "--min-z", "50")
    assert result.status == 0
    assert "nothing in 19 s of 3 videos has z 50 or more; the highest z is " in result.out
    least = result.out.rsplit("--min-z=", 1)[1].split()[0]
    assert "moment" in search(folder, "blue", f"--min-z={least}").out
    assert search(folder, "an elephant").out.startswith("nothing in 19 s")


def test_hostile_names_in_embeddings_are_text(search: Run, folder: Path, videos: Path, tmp_path: Path) -> None:
    kept = load_embeddings(folder / "embeddings" / "one.safetensors")
    place = tmp_path / "events" / "embeddings"
    place.mkdir(parents=True)
    for number, (name, path) in enumerate((
        ("\x1b[31m../\ud800\n", "/etc/passwd"), ("", "x" * 5_000), ("c", "<script>/\0.mp4"), ("/", "..")
    )):  # fmt: skip
        media = replace(kept.media, path=path)
        write_embeddings(place / f"{number}.safetensors", replace(kept, name=name, media=media))
    for form in ("text", "csv", "json"):
        page = tmp_path / f"{form}.html"
        result = search(tmp_path / "events", "red", "-f", form, "--html", page, "--media", videos)
        assert result.status == 0, result.err
        assert find_faults(result) == []
        assert "\x1b" not in result.out
        assert "<script>/" not in page.read_text()
    result = search(tmp_path / "events", "red", "--clips", tmp_path / "cuts", "--media", videos)
    assert result.status == 2
    assert "there are no videos of these moments" in result.err


def test_neither_frames_are_decoded_nor_teachers_loaded(
    search: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def load(*arguments: Any, **options: Any) -> Any:
        asked.append(options["outline"])
        return load_networks(*arguments, **options)

    monkeypatch.setattr("avvp.pipeline.embeddings.search.texts.load_networks", load)
    monkeypatch.setattr("avvp.pipeline.decode.open_media.open_media", None)
    assert search(folder, "red").status == 0
    assert asked == [True]


def test_single_files_are_searched_without_a_folder(
    search: Run, run: Run, videos: Path, bundle: Path, tmp_path: Path
) -> None:
    nothing = search("red")
    assert nothing.status == 2
    assert "no kept embeddings; avvp parse keeps them with --classes" in nothing.err
    run("parse", videos / "one.mp4", "--weights", bundle, *TRUST, "--classes", "x", "-o", tmp_path / "e.json")
    result = search("red", "-f", "csv", "--html", tmp_path / "found.html", "--clips", tmp_path / "cuts")
    assert result.status == 0, result.err
    assert found(result.out) == {("one", "red", "visual", 0, 3)}
    assert [path.name for path in (tmp_path / "cuts").glob("*.mp4")] == ["one_0.00-3.00_red_visual.mp4"]


def test_single_files_are_found_from_another_folder(
    search: Run, run: Run, videos: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(videos)
    run("parse", "one.mp4", "--weights", bundle, *TRUST, "--classes", "x", "-o", tmp_path / "e.json")
    monkeypatch.chdir(tmp_path)
    result = search("red", "-f", "csv", "--clips", "cuts")
    assert result.status == 0, result.err
    assert found(result.out) == {("one", "red", "visual", 0, 3)}
    assert [path.name for path in (tmp_path / "cuts").glob("*.mp4")] == ["one_0.00-3.00_red_visual.mp4"]


def test_a_folder_of_kept_embeddings_can_be_the_default(
    search: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVVP_SEARCH_EMBEDDINGS", str(folder / "embeddings"))
    assert found(search("red", "-f", "csv").out) == {("one", "red", "visual", 0, 3)}
    assert "no kept embeddings" in search(tmp_path, "red").err
    both = search(folder, "red", "--embeddings", folder)
    assert both.status == 2
    assert "--embeddings is the folder that is searched where no other is named" in both.err


def test_the_csv_is_events_of_other_commands(search: Run, run: Run, folder: Path, videos: Path, tmp_path: Path) -> None:
    search(folder, "red", "-o", tmp_path / "found.csv")
    again = run("find", tmp_path / "found.csv", "--visual", "red", "-f", "json", "-q")
    assert [match["file"] for match in json.loads(again.out)["matches"]] == ["one"]
    assert run("clips", tmp_path / "found.csv", "--media", videos, "-o", tmp_path / "cuts").status == 0
    assert (tmp_path / "cuts" / "one_0.00-3.00_red_visual.mp4").is_file()


def test_moments_are_cut_out_and_shown(search: Run, folder: Path, videos: Path, tmp_path: Path) -> None:
    page, cuts = tmp_path / "pages" / "found.html", tmp_path / "cuts"
    result = search(folder, "low tone", "--clips", cuts, "--html", page, "--media", videos, "--pad", "1")
    assert result.status == 0, result.err
    assert f"{cuts}: 2 of 2 cuts" in result.err
    names = {path.name for path in cuts.iterdir()}
    assert {"one_0.00-3.00_low_tone_audio.mp4", "two_5.00-7.00_low_tone_audio.mp4", "cuts.csv"} <= names
    assert "contact-sheet.jpg" in names
    with opened(cuts / "one_0.00-3.00_low_tone_audio.mp4") as cut:
        assert cut.duration is not None
        assert 3 <= cut.duration / 1e6 <= 5
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 2
    assert os.path.relpath(videos / "one.mp4", page.parent) in text
    assert search(folder, "low tone", "--clips", cuts, "--media", videos, "--pad", "1").status == 0  # they are kept


def test_moments_without_their_video(search: Run, folder: Path, tmp_path: Path) -> None:
    """The path in a file of embeddings may be a stranger's: it is not opened."""
    result = search(folder, "red", "--html", tmp_path / "found.html")
    assert result.status == 0
    assert "1 of 1 moments without their video; name its folder with --media" in result.err
    assert "data:image" not in (tmp_path / "found.html").read_text()
    result = search(folder, "red", "--clips", tmp_path / "cuts")
    assert result.status == 2
    assert "name their folder with --media" in result.err
    assert not (tmp_path / "cuts").exists()


def test_an_index_finds_the_same(search: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = search(folder, "blue", "low tone", "-f", "csv").out
    monkeypatch.setattr(search_run, "INDEX_SECONDS", 1)
    monkeypatch.setattr(search_run, "search_all", None)
    indexed = search(folder, "blue", "low tone", "-f", "csv")
    assert indexed.out == plain
    assert (Path(os.environ["XDG_CACHE_HOME"]) / "avvp" / "search").is_dir()
    monkeypatch.setattr(search_run, "search_all", search_all)
    monkeypatch.setattr(search_run, "search_index", None)
    assert search(folder, "blue", "low tone", "-f", "csv", "--exact").out == plain
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    without = search(folder, "blue", "low tone", "-f", "csv")
    assert without.out == plain
    assert "every second was compared: an index of embeddings needs faiss" in without.err


def test_what_other_networks_have_made_is_left_out(search: Run, run: Run, folder: Path, tmp_path: Path) -> None:
    other = write_stand_ins(tmp_path / "other")
    save_file({"scale": torch.ones(1)}, other / "colours.safetensors", {"made": "anew"})
    result = run("search", folder, "red", "--weights", other, *TRUST)
    assert result.status == 2, result.err
    assert "no embeddings that can be searched: left out, as other networks made them: 3 files (mute, one, two)" in (
        result.err
    )
    copy = tmp_path / "events"
    shutil.copytree(folder, copy)
    (copy / "embeddings" / "two.safetensors").write_bytes(b"no embeddings")
    partly = search(copy, "red", "-f", "csv")
    assert partly.status == 0
    assert "left out: " in partly.err
    assert "two.safetensors: damaged" in partly.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{}",), "is a folder: avvp search FOLDER"),
        ((), "name a text to search for"),
        (("nowhere/", "red"), "'nowhere': no such folder; --text TEXT searches for a text with a slash"),
        (("{}", "red", "--text", "blue"), "'red': no such folder"),
        (("{}", "a\x1bb"), "it contains a control character"),
        (("{}", "b" * 2_000), "longer than"),
        (("{}", "red", "--media", "{}"), "--media goes with --html or --clips"),
        (("{}", "red", "--pad", "1"), "--pad goes with --clips"),
        (("{}", "red", "--html", "page.txt"), "expected a name that ends in .html"),
        (("{}", "red", "--min-z", "nan"), "not a finite number"),
        (("{}", "red", "--top", "0"), "--top"),
    ],
)
def test_usage(
    arguments: tuple[str, ...], message: str, search: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = search(*(item.replace("{}", str(folder)) for item in arguments))
    assert result.status == 2
    assert message in result.err
    assert find_faults(result) == []


def test_a_text_with_a_slash_and_the_same_text_twice(search: Run, folder: Path) -> None:
    result = search(folder, "--text", "red/rot", "--text", "RED/rot", "-f", "csv")
    assert found(result.out) == {("one", "red/rot", "visual", 0, 3)}


def test_a_background_of_ones_own(search: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text('both = ["a room", "other"]')
    assert found(search(folder, "red", "--background", tmp_path / "b.toml", "-f", "csv").out) == {
        ("one", "red", "visual", 0, 3)
    }
    (tmp_path / "b.toml").write_text('both = ["a room"]')
    result = search(folder, "red", "--background", tmp_path / "b.toml")
    assert result.status == 2
    assert "needs two entries" in result.err


def test_a_bundle_without_text_encoders(run: Run, folder: Path) -> None:
    result = run("search", folder, "red", "--weights", "demo")
    assert result.status == 2
    assert "bundle 'demo' has no text encoders; a search needs one that has, such as open" in result.err
