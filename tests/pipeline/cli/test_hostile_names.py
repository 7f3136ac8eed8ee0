"""Names that lead to no usable file, and standard streams that are not there: one clear line, and never a wait."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from avvp.pipeline.cli.main import avvp
from support.command import Result, Run, find_faults, subcommands
from support.dense_data import SETTINGS
from support.hostile_kinds import KINDS, clear_outputs

_READERS = (
    "features.json", "pseudo label", "journal", "config.json", "timeline", "prompts", "weak labels", "recipe",
    "thresholds (TOML)", "input list",
)  # fmt: skip
_REPRODUCE = ("reproduce", "table2", "--annotations", "{}/annotations", "--features", "{}/features", "--dry-run")
_EVENTS = "{}/events/val00000000.events.json"
# Without weights that could be downloaded: paths are read before those are asked for.
_OPEN = ("--classes", "@{}/annotations/labels.txt", "--offline", "--weights-dir", "{}/empty")
COMMANDS = {
    **{f"{name} {number}": command for name in _READERS for number, command in enumerate(KINDS[name].commands)},
    "find": ("find", _EVENTS, "-o", "{}/out/found.csv"),
    "search": ("search", "{}/events", "--text", "x", "--weights", "{}/bundle", "-o", "{}/out/found.csv"),
    "clips": ("clips", _EVENTS, "--media", "{}/clip.mp4", "--no-sheet", "-o", "{}/out/cuts"),
    "parse": ("parse", "{}/clip.mp4", "--weights", "{}/bundle", "-o", "{}/out/events.json"),
    "download": ("download", "--annotations", "{}/annotations/AVVP_test_pd.csv", "-o", "{}/out/videos", "--dry-run"),
    "synth": ("synth", "{}/out/synth", "--clips", "1", "--shares", "50,50,0", "--sources", "{}/annotations"),
    "train-extractors": ("train-extractors", "{}/empty", "--annotations", "{}/annotations", "-o", "{}/out/bundle"),
    "reproduce": (*_REPRODUCE, "--pseudo-labels", "{}/pseudo_labels", "-o", "{}/out/runs"),
    "status": ("status", "{}/features"),
    "calibrate": ("calibrate", "{}/clip.mp4", "--annotations", "{}/annotations", *_OPEN, "-o", "{}/out/classes.toml"),
    "export": ("export", "{}/bundle", "--parser-only", "-o", "{}/out/exported"),
    "weights": ("weights", "verify", "--weights-dir", "{}/bundle", "demo"),
    "quantize": ("weights", "quantize", "{}/bundle", "--clips", "{}/empty", "-o", "{}/out/int8"),
}
# No server is to start: the address is of a network for documentation, and none of this machine's.
_SERVE = ("serve", "{}/empty", "--weights", "{}/bundle", "-o", "{}/out/serve", "--token-file", "{}/empty")
_TEACHER = ("train-teacher", "--annotations", "{}/dense/unav.json", "--features", "{}/dense/features")
_TEXT = ("--text-features", "{}/dense/text_features.safetensors", *SETTINGS, "--epochs", "1", "--device", "cpu")
COMMANDS["train-teacher"] = (*_TEACHER, *_TEXT, "-o", "{}/out/teacher")
COMMANDS["serve"] = (*_SERVE, "--host", "203.0.113.1")
_COMPARE = ("compare", "{}/bundle", "{}/events", "--annotations", "{}/annotations", "--features", "{}/features")
COMMANDS["compare"] = (*_COMPARE, "--split", "val", "-o", "{}/out/compared.txt", "--plot", "{}/out/compared.png")
_OUTPUTS = {"-o", "--output", "--output-dir", "--html", "--plot", "--data-set", "--tune-thresholds"}
LONG, SURROGATE = "a" * 5_000, "clip\udcff\udc80.mp4"


def hostile_paths(folder: Path) -> dict[str, str]:
    """Return paths that lead to nothing usable, by kind."""
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "file").write_bytes(b"x")
    return {
        "too long": LONG, "long name": f"{folder}/{'b' * 300}", "not UTF-8": f"{folder}/{SURROGATE}", "empty": "",
        "newline": f"{folder}/a\nb\x1b[31m", "link to itself": f"{folder}/loop", "pipe": f"{folder}/pipe",
        "device": "/dev/null", "memory": "/proc/self/mem", "folder": str(folder), "below a file": f"{folder}/file/x",
        "file": f"{folder}/file",
    }  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_path_of_every_command(
    name: str, run: Run, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replace each path of a command by each hostile one."""
    monkeypatch.setattr("avvp.weights.unicode.PIPE_SECONDS", 0.02)
    monkeypatch.chdir(tmp_path)
    (workspace / "empty").mkdir(exist_ok=True)
    command = COMMANDS[name]
    places = [index for index, part in enumerate(command) if part.startswith("{}")]
    for kind, path in hostile_paths(tmp_path).items():
        for place in places:
            if kind == "pipe" and command[place - 1] in _OUTPUTS:
                continue  # waits for its reader, as every program does
            clear_outputs(workspace)
            parts = [
                path if index == place else part.replace("{}", str(workspace)) for index, part in enumerate(command)
            ]
            result = run(*parts)
            assert not find_faults(result), f"{kind} as {command[place - 1]}\n{result.err[-2_000:]}"


def test_every_command_is_tried() -> None:
    tried = {command[0] for command in COMMANDS.values()} | {
        command[0] for kind in KINDS.values() for command in kind.commands
    }
    assert set(subcommands(avvp)) - tried == {
        "recipes",  # takes no names
        "doctor",  # its findings are its result, on standard output: test_doctor.py
    }


def shell(command: str, folder: Path, **environment: str) -> Result:
    """Run a shell command in a folder; `avvp` in it is the program."""
    program = Path(sys.executable).with_name("avvp")
    done = subprocess.run(
        ["bash", "-c", f"avvp() {{ '{program}' \"$@\"; }}; {command}"],
        cwd=folder, capture_output=True, timeout=60, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


STREAMS: dict[str, tuple[str, int, str]] = {
    "closed output": ("avvp weights list >&-", 1, "standard input or output: is closed"),
    "closed output of a file": ("avvp convert dog.events.json -o - >&-", 1, "is closed|cannot be written"),
    "full output": ("avvp convert dog.events.json -o - >/dev/full", 1, "No space left on device"),
    "full output of text": ("avvp --help >/dev/full", 1, "No space left on device"),
    "closed errors": ("avvp convert lost.json 2>&-", 2, ""),
    "full errors": ("avvp convert lost.json 2>/dev/full", 2, ""),
    "closed input": ("avvp extract --list - -o out <&-", 2, "no inputs"),
    "all closed": ("avvp convert lost.json <&- >&- 2>&-", 2, ""),
    "reader that ends": (
        "avvp convert dog.events.json -o - -f eaf | head -c 1 >/dev/null; exit ${PIPESTATUS[0]}",
        0,
        "",
    ),
    "working folder that is gone": (
        "mkdir gone; cd gone; rmdir ../gone; avvp parse x.mp4",
        2,
        "working folder does not",
    ),
    "ASCII": ("PYTHONIOENCODING=ascii PYTHONUTF8=0 avvp convert $'d\\xc3\\xb6g.json'", 2, "no such file"),
    "C locale": ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 avvp convert $'\\xff.json'", 2, "no such file"),
    "no environment": ('env -i "$(type -P true)"; unset HOME PATH XDG_CACHE_HOME; avvp weights list', 0, ""),
    "no temporary folder": ("TMPDIR=/lost avvp convert dog.events.json -o x.csv", 0, ""),
}


@pytest.mark.parametrize("name", STREAMS)
def test_standard_streams_and_environment(name: str, workspace: Path, tmp_path: Path) -> None:
    command, status, message = STREAMS[name]
    (tmp_path / "dog.events.json").write_bytes((workspace / "events" / "val00000000.events.json").read_bytes())
    result = shell(command, tmp_path)
    assert result.status == status, result.err
    assert not message or any(part in result.err for part in message.split("|")), result.err
    assert "Traceback" not in result.err
    assert "Exception ignored" not in result.err


def test_a_file_does_not_take_the_number_of_a_closed_stream(workspace: Path, tmp_path: Path) -> None:
    """What is printed would end up in the first file that is opened."""
    (tmp_path / "dog.events.json").write_bytes((workspace / "events" / "val00000000.events.json").read_bytes())
    result = shell("avvp convert dog.events.json -o x.csv <&- >&- 2>&-", tmp_path)
    assert result.status == 0
    assert (tmp_path / "x.csv").read_text().startswith("file,")


class TestUnexpectedErrors:
    @pytest.fixture
    def broken(self, monkeypatch: pytest.MonkeyPatch, run: Run) -> Callable[..., Result]:
        def call(error: BaseException, *options: str) -> Result:
            def fail(*_arguments: object, **_options: object) -> None:
                raise error

            monkeypatch.setattr("avvp.pipeline.cli.options.event_outputs.write_target", fail)
            monkeypatch.setattr("avvp.pipeline.cli.commands.convert.write_target", fail, raising=False)
            return run("convert", *options)

        return call

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (
                ZeroDivisionError("x\ny"),
                "Error: internal error, please report it (--debug shows where): ZeroDivisionError",
            ),
            (MemoryError(), "Error: there is not enough memory"),
            (OSError(5, "Input/output error", "/disk/x"), "Error: /disk/x: Input/output error"),
            (RecursionError("deep"), "Error: internal error"),
        ],
    )
    def test_end_with_one_line(
        self, broken: Callable[..., Result], workspace: Path, error: Exception, message: str
    ) -> None:
        result = broken(error, f"{workspace}/events/val00000000.events.json")
        assert result.status == 1
        assert result.err.startswith(message)
        assert "Traceback" not in result.err

    def test_debug_shows_where(self, broken: Callable[..., Result], workspace: Path) -> None:
        result = broken(ZeroDivisionError("x"), f"{workspace}/events/val00000000.events.json", "--debug")
        assert "Traceback (most recent call last)" in result.err
        assert result.status == 1


@pytest.mark.parametrize("output", ["", ".", "/", "..", "./."])
def test_outputs_without_a_name(run: Run, workspace: Path, here: Path, output: str) -> None:  # noqa: ARG001 - not here
    result = run("convert", f"{workspace}/events/val00000000.events.json", "-f", "all", "-o", output)
    assert result.status == 2
    assert not find_faults(result)


def test_long_and_hostile_messages_are_cut_and_escaped(run: Run, tmp_path: Path) -> None:
    result = run("convert", f"{tmp_path}/{'x' * 5_000}\x1b[31m\u202e.json")
    assert result.status
    assert not find_faults(result)
