"""Python: a file that was parsed for some classes is parsed for others without decoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import avvp
import numpy as np
import pytest
from avvp.pipeline.embeddings.files import iterate_embeddings
from avvp.pipeline.preprocess.worker_process import DecodeWorker
from support.stand_in_teachers import TRUST, make_film, write_stand_ins

OPTIONS: dict[str, Any] = {"trust_parts": [TRUST[1]]}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_ins(tmp_path_factory.mktemp("open") / "stand-ins")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    return [
        make_film(folder / f"{colour}.mp4", [(colour, "low tone", 3), (None, None, 2)]) for colour in ("red", "blue")
    ]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decoded."""
    found: list[Path] = []
    decode = DecodeWorker.decode

    def counting(self: DecodeWorker, path: Path, *args: Any, **options: Any) -> Any:
        found.append(path)
        return decode(self, path, *args, **options)

    monkeypatch.setattr(DecodeWorker, "decode", counting)
    return found


def same(one: avvp.Timeline, other: avvp.Timeline) -> bool:
    assert one.probabilities is not None
    assert other.probabilities is not None
    arrays = other.probabilities.arrays()
    equal = all(np.array_equal(rows, arrays[name]) for name, rows in one.probabilities.arrays().items())
    return equal and one.events == other.events and one.media == other.media and one.warnings == other.warnings


def test_files_are_decoded_once(bundle: Path, films: list[Path], decoded: list[Path]) -> None:
    with avvp.load(bundle, classes=["red", "blue"], embeddings=False, **OPTIONS) as parser:
        fresh = [parser.parse(film) for film in films]
    decoded.clear()
    with avvp.load(bundle, classes=["blue"], **OPTIONS) as parser:
        parser.parse(films[0])
        results = dict(parser.parse(films))  # one is kept, the other is not
        assert len(decoded) == 2
        assert [len(result.events) for result in results.values() if isinstance(result, avvp.Timeline)] == [0, 1]
    with avvp.load(bundle, classes=["red", "blue"], **OPTIONS) as parser:
        assert all(same(parser.parse(film), first) for film, first in zip(films, fresh, strict=True))
        again = parser.parse(films, errors="raise")
        assert all(same(result, first) for (_, result), first in zip(again, fresh, strict=True))
        assert len(decoded) == 2
        parser.parse(films[0], start=1)
        assert len(decoded) == 3
        parser.extract(films[0])  # features in float32 are none of the kept ones
        assert len(decoded) == 4
    kept = avvp.parse(films[0], weights=bundle, classes=["red", "blue"], **OPTIONS)
    assert len(decoded) == 4
    assert same(kept, fresh[0])


def test_a_folder_of_ones_own(bundle: Path, films: list[Path], decoded: list[Path], tmp_path: Path) -> None:
    for classes in (["red"], ["blue"]):
        avvp.parse(films[0], weights=bundle, classes=classes, embeddings=tmp_path / "mine", **OPTIONS)
    assert len(decoded) == 1
    assert [Path(name) for name, _ in iterate_embeddings(tmp_path / "mine")] == films[:1]


def test_progress_ends_for_a_file_that_is_kept(bundle: Path, films: list[Path], tmp_path: Path) -> None:
    stages: list[list[str]] = []
    for _ in range(2):
        seen: list[str] = []
        options: dict[str, Any] = {**OPTIONS, "classes": ["red"], "embeddings": tmp_path / "mine"}
        avvp.parse(films[0], weights=bundle, progress=lambda state, seen=seen: seen.append(state.stage), **options)
        stages.append(seen)
    assert len(stages[0]) > 1
    assert stages[0][-1:] == stages[1] == ["done"]


def test_a_folder_of_embeddings_that_would_not_be_used_is_refused(
    bundle: Path, films: list[Path], tmp_path: Path
) -> None:
    folder: dict[str, Any] = {"embeddings": tmp_path / "mine"}
    for call in (avvp.load, lambda **options: avvp.parse(films[0], **options)):
        with pytest.raises(ValueError, match="embeddings goes with classes: those of 'demo' are not kept"):
            call(weights="demo", **folder)
    with pytest.raises(ValueError, match="embeddings goes with load and parse"):
        avvp.extract(films[0], weights=bundle, **folder, **OPTIONS)
    with avvp.load("demo", embeddings=False) as parser:
        assert parser.labels


def test_a_kept_file_without_classes_says_what_is_missing(bundle: Path, films: list[Path]) -> None:
    avvp.parse(films[0], weights=bundle, classes=["red"], **OPTIONS)
    with pytest.raises(avvp.SetupError, match="finds the classes that you name"):
        avvp.parse(films[0], weights=bundle, **OPTIONS)
