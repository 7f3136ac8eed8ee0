"""A second look at the same file with other classes: nothing is decoded, no network is loaded, results are equal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from avvp.extractors.registry import build_extractor
from avvp.pipeline.embeddings.files import iterate_embeddings
from avvp.pipeline.inference import arranged_extractors
from avvp.pipeline.preprocess.worker_process import DecodeWorker
from support.command import Result
from support.stand_in_teachers import TRUST, make_film, write_stand_ins

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_ins(tmp_path_factory.mktemp("open") / "stand-ins")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red with a low tone, nothing, blue with a high tone."""
    scenes = [("red", "low tone", 3), (None, None, 2), ("blue", "high tone", 4)]
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", scenes)


class Work:
    """Counts files that are decoded, and extractors that get parameters."""

    def __init__(self) -> None:
        self.decoded = self.loaded = 0

    def reset(self) -> None:
        self.decoded = self.loaded = 0


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    counted = Work()
    decode = DecodeWorker.decode

    def counting_decode(self: DecodeWorker, *args: Any, **options: Any) -> Any:
        counted.decoded += 1
        return decode(self, *args, **options)

    def counting_build(*args: Any, **options: Any) -> Any:
        counted.loaded += 1
        return build_extractor(*args, **options)

    monkeypatch.setattr(DecodeWorker, "decode", counting_decode)
    monkeypatch.setattr(arranged_extractors, "build_extractor", counting_build)
    return counted


Parse = Callable[..., dict[str, Any]]


@pytest.fixture
def parse(run: Run, bundle: Path, film: Path, tmp_path: Path) -> Parse:
    def parse(*options: object, weights: Path = bundle, media: Path = film) -> dict[str, Any]:
        output = tmp_path / "e.json"
        result = run("parse", media, "--weights", weights, *TRUST, "--segments", "-o", output, *options)
        assert result.status == 0, result.err
        return json.loads(output.read_text())

    return parse


def test_other_classes_decode_nothing(parse: Parse, work: Work) -> None:
    fresh = parse("--classes", "blue", "--no-embeddings")
    parse("--classes", "red, low tone")
    assert work.decoded == 2
    kept = parse("--classes", "blue")
    assert work.decoded == 2
    assert kept == fresh
    assert any(event["label"] == "blue" for event in kept["events"])


def test_other_decisions_decode_nothing(parse: Parse, work: Work) -> None:
    options = ("--classes", "red, high tone, blue, green", "--rule", "fixed", "--threshold", "0.7", "--merge-gap", "2")
    parse("--classes", "blue", "--background", "none")
    work.reset()
    kept = parse(*options)
    assert work.decoded == 0
    assert kept == parse(*options, "--no-embeddings")


def test_networks_of_pictures_and_sounds_are_not_loaded(parse: Parse, work: Work, tmp_path: Path) -> None:
    """With encoders of this program's own: a part of another package encodes sentences itself."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "bundle.toml").write_text(
        'profile = "clip-clap"\nseed = 3\nparser = {}\nextractors = { clap_tiny = "", clip_tiny = "" }\n'
        'texts = { clap_tiny = "", clip_tiny = "" }\n'
    )
    first = parse("--classes", "red", weights=folder)
    assert work.loaded == 2
    work.reset()
    assert parse("--classes", "red", weights=folder) == first
    parse("--classes", "blue, dog", weights=folder)
    assert (work.decoded, work.loaded) == (0, 0)


def test_parts_of_a_file_are_kept_apart(parse: Parse, work: Work) -> None:
    fresh = parse("--classes", "blue", "--start", "4", "--end", "8", "--no-embeddings")
    parse("--classes", "blue")
    work.reset()
    parse("--classes", "red", "--start", "4", "--end", "8")
    assert work.decoded == 1
    assert parse("--classes", "blue", "--start", "4", "--end", "8") == fresh
    assert work.decoded == 1


@pytest.mark.parametrize("missing", ["audio", "video"])
def test_a_missing_stream_stays_missing(parse: Parse, work: Work, tmp_path: Path, missing: str) -> None:
    media = make_film(tmp_path / "half.mp4", [("red", "low tone", 3)], **{missing: False})
    first = parse("--classes", "red, low tone", media=media)
    work.reset()
    assert parse("--classes", "red, low tone", media=media) == first
    assert work.decoded == 0
    assert any(f"no {missing} stream" in warning for warning in first["warnings"])


def test_a_folder_of_ones_own(parse: Parse, work: Work, tmp_path: Path) -> None:
    parse("--classes", "blue", "--embeddings", tmp_path / "mine")
    assert [video.seconds for _, video in iterate_embeddings(tmp_path / "mine")] == [9]
    work.reset()
    parse("--classes", "red", "--embeddings", tmp_path / "mine")
    assert work.decoded == 0
    parse("--classes", "red")  # the user's cache has nothing
    assert work.decoded == 1


def test_damaged_embeddings_are_made_again(parse: Parse, work: Work, tmp_path: Path) -> None:
    first = parse("--classes", "blue", "--embeddings", tmp_path / "mine")
    (kept,) = (tmp_path / "mine").glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-1])
    work.reset()
    assert parse("--classes", "blue", "--embeddings", tmp_path / "mine") == first
    assert work.decoded == 1
    assert len(list(iterate_embeddings(tmp_path / "mine"))) == 1


def test_another_name_of_the_same_film_is_named(parse: Parse, work: Work, film: Path, tmp_path: Path) -> None:
    parse("--classes", "blue")
    work.reset()
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(film.read_bytes())
    assert parse("--classes", "blue", media=copy)["media"]["path"] == str(copy)
    assert work.decoded == 0


def test_options_of_embeddings_go_with_open_bundles(run: Run, film: Path, tmp_path: Path) -> None:
    result = run("parse", film, "--weights", "demo", "--no-embeddings")
    assert result.status == 2
    assert "--no-embeddings goes with --classes" in result.err
    result = run(
        "parse", film, "--weights", "untrained-open", "--classes", "a", "--embeddings", tmp_path, "--no-embeddings"
    )
    assert result.status == 2
    assert "exclude each other" in result.err


def test_a_folder_that_is_set_for_good_gives_way(
    parse: Parse, run: Run, film: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To what is typed, and to a folder of results."""
    mine = tmp_path / "mine"
    monkeypatch.setenv("AVVP_PARSE_EMBEDDINGS", str(mine))
    parse("--classes", "blue", "--no-embeddings")
    assert not mine.exists()
    batch = ("parse", film, "--weights", bundle, *TRUST, "--classes", "blue", "--output-dir", tmp_path / "out")
    assert run(*batch, "--dry-run").status == 0
    parse("--classes", "blue")
    assert len(list(iterate_embeddings(mine))) == 1
    monkeypatch.setenv("AVVP_PARSE_NO_EMBEDDINGS", "1")
    parse("--classes", "blue", "--embeddings", tmp_path / "typed")
    assert len(list(iterate_embeddings(tmp_path / "typed"))) == 1
    both = run("parse", film, "--weights", bundle, *TRUST, "--classes", "blue")
    assert both.status == 2
    assert "exclude each other" in both.err
