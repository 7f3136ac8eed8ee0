"""The walk-through of docs/avel.md, from generated clips to Table 5, with fewer and shorter clips."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from avvp.pipeline.timeline import Timeline
from support.command import Result
from support.paths import ROOT

PAGE = ROOT / "docs" / "avel.md"
FEWER = {"60": "24", "6": "2"}  # clips


def commands() -> list[list[str]]:
    lines = [line for block in re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
             for line in block.splitlines()]  # fmt: skip
    return [shlex.split(line) for line in lines]


def test_the_walk_through_ends_with_table_5(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = []
    for program, *written in commands():
        arguments = ["parse", *written] if program == "avvp-parse" else written
        if arguments[0] == "synth":
            arguments = [*(FEWER.get(word, word) for word in written), "--seconds", "4"]
        if arguments[0] == "train":
            arguments = [*written, "--epochs", "2"]
        result = run(*arguments)
        assert result.status == 0, (arguments, result.err)
        printed.append(result.out)
    scored, of_timelines, table = printed[3], printed[5], printed[6]
    assert "background everywhere" in scored
    assert "background everywhere" in of_timelines
    for system in ("AVE", "PSP", "CMBS"):
        for decoder in ("DCH", "LEAP"):
            for supervision in ("full", "weak"):
                assert f"{system} + {decoder}, {supervision}: ours" in table
    timelines = [Timeline.load(path) for path in sorted((tmp_path / "events").glob("*.json"))]
    assert len(timelines) == 26
    assert {event.modality for timeline in timelines for event in timeline.events} <= {"audio_visual"}
