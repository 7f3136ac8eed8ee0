"""Servers of any classes: a file is decoded once, whatever classes later requests name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline.embeddings.files import iterate_embeddings
from avvp.pipeline.embeddings.store import user_folder
from avvp.pipeline.open_vocabulary.classes import read_vocabulary
from avvp.pipeline.serve.jobs.engine import Engine
from support.command import Result
from support.paths import ROOT
from support.serve import SETTINGS
from support.stand_in_teachers import TRUST, make_film, write_stand_ins


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_ins(tmp_path_factory.mktemp("open") / "stand-ins")


def test_a_file_is_decoded_for_its_first_classes(
    stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    film = make_film(tmp_path / "film.mp4", [("red", "low tone", 3), ("blue", "high tone", 3)])
    settings = replace(
        SETTINGS,
        weights=str(stand_ins),
        threads=1,
        threshold=None,
        trust=(TRUST[1],),
        vocabulary=read_vocabulary(["red"], name="fixed").to_dict(),
        embeddings=str(tmp_path / "kept"),
    )
    engine, stages, found = Engine(settings), list[set[str]](), list[set[str]]()
    try:
        for classes in ((), ("blue", "low tone")):
            seen: set[str] = set()
            engine.parse(
                film,
                "shown.mp4",
                tmp_path / "out.json",
                report=lambda progress, seen=seen: seen.add(progress.stage),
                is_stopped=lambda: False,
                seconds=60,
                classes=classes,
            )
            stages.append(seen)
            document = json.loads((tmp_path / "out.json").read_bytes())
            assert document["media"]["path"] == "shown.mp4"
            found.append({event["label"] for event in document["events"]})
    finally:
        engine.close()
    assert stages[0] > stages[1] == {"events", "film"}
    assert found == [{"red"}, {"blue", "low tone"}]
    assert [name for name, _ in iterate_embeddings(tmp_path / "kept")] == ["shown.mp4"]


@pytest.mark.parametrize("option", ["", "--embeddings", "--no-embeddings"])
def test_the_command_says_where(
    run: Callable[..., Result], stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    served: list[Any] = []
    monkeypatch.setattr("avvp.pipeline.serve.server.serve", lambda _socket, *settings, **_: served.append(settings))
    monkeypatch.chdir(tmp_path)
    options = {"": (), "--embeddings": (option, tmp_path / "mine"), "--no-embeddings": (option,)}[option]
    result = run("serve", "--port", 0, "--weights", stand_ins, *TRUST, "--classes", "red", *options)
    assert result.status == 0, result.err
    (_, desk), *_ = served
    where = {"": str(user_folder()), "--embeddings": str(tmp_path / "mine"), "--no-embeddings": None}
    assert desk.engine.embeddings == where[option]
