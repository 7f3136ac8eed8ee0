"""The ffmpeg that AVVP_FFMPEG names: used everywhere, or an error that says what to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from avvp.pipeline.decode import ffmpeg as ffmpeg_module
from avvp.pipeline.decode.ffmpeg import ffmpeg_binary, ffmpeg_command, ffmpeg_input
from avvp.pipeline.errors import SetupError
from support.command import Result
from support.media import Clips

Run = Callable[..., Result]
BUNDLED = ffmpeg_binary()


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str | Path], None]]:
    """Set AVVP_FFMPEG."""

    def set_variable(program: str | Path) -> None:
        monkeypatch.setenv("AVVP_FFMPEG", str(program))
        ffmpeg_binary.cache_clear()

    yield set_variable
    ffmpeg_binary.cache_clear()


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_it_replaces_the_bundled_one(name: Callable[[str | Path], None], tmp_path: Path) -> None:
    system = script(tmp_path / "my ffmpeg", f'exec {BUNDLED} "$@"')
    name(system)
    assert ffmpeg_binary() == str(system)
    command = ffmpeg_command(ffmpeg_input(5).output("pipe:1", f="null"), log_level="error")
    assert command[0] == str(system)
    assert command[command.index("-protocol_whitelist") + 1] == "fd"


def test_files_are_decoded_with_it(
    name: Callable[[str | Path], None], run: Run, clips: Clips, tiny_llp_bundle: Path, tmp_path: Path
) -> None:
    """Profile llp encodes its frames with ffmpeg, in a process below the decode worker."""
    log = tmp_path / "log"
    name(script(tmp_path / "ffmpeg", f'echo "$@" >> {log}; exec {BUNDLED} "$@"'))
    arguments = ("parse", clips.steady, "--weights", tiny_llp_bundle, "-q", "-o")
    assert run(*arguments, tmp_path / "named.json").status == 0
    assert "mjpeg" in log.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "it cannot be run (No such file or directory); correct or unset the variable"),
        ("exit 3", "it cannot be run (Command"),
        ("echo file pipe", "it cannot read open descriptors; expected ffmpeg 6.0 or newer"),
        ("exec sleep 60", "it did not end within 1 s; unset the variable"),
    ],
)
def test_a_program_that_is_no_ffmpeg(
    name: Callable[[str | Path], None],
    run: Run,
    clips: Clips,
    tiny_bundle: Path,
    tmp_path: Path,
    text: str | None,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ffmpeg_module, "_CHECK_SECONDS", 1)
    program = tmp_path / "program"
    if text is not None:
        script(program, text)
    name(program)
    result = run("parse", clips.steady, "--weights", tiny_bundle, "-o", tmp_path / "events.json")
    assert (result.status, result.out) == (2, "")
    assert f"AVVP_FFMPEG={program}: {message}" in result.err
    assert "Traceback" not in result.err


def test_a_folder_and_a_relative_path(name: Callable[[str | Path], None], tmp_path: Path) -> None:
    name(tmp_path)
    with pytest.raises(SetupError, match=r"cannot be run \(Permission denied\)"):
        ffmpeg_binary()
    for relative in ("ffmpeg", os.path.relpath(BUNDLED)):
        name(relative)
        with pytest.raises(SetupError, match="expected the absolute path of an ffmpeg"):
            ffmpeg_binary()


def test_an_empty_variable_is_none(name: Callable[[str | Path], None]) -> None:
    name("")
    assert ffmpeg_binary() == BUNDLED
