"""Journals that somebody has edited: no line ends in a traceback, none is trusted, none leads out of the folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline.batch.journal import MAX_RUN, JournalEntry
from avvp.pipeline.batch.storage import MAX_LINE_BYTES
from support.command import Result, Run
from support.fake_engine import use_fake_engine

Values = dict[str, Any]
MODES = ((), ("--dry-run-list",), ("--overwrite",), ("--retry-failed",))


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    use_fake_engine(monkeypatch)


@pytest.fixture
def extract(run: Run, tmp_path: Path, tiny_bundle: Path) -> Callable[..., Result]:
    """Run avvp extract over two good files and a bad one."""
    (tmp_path / "in").mkdir()
    for name, content in {"a.mp4": b"one", "b.mp4": b"two", "c.mp4": b"bad"}.items():
        (tmp_path / "in" / name).write_bytes(content)
    return lambda *more: run("extract", tmp_path / "in", "-o", tmp_path / "out", "--weights", tiny_bundle, *more)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def results(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(folder).items() if name.endswith(".npy")}


def edit(folder: Path, change: Callable[[str], str | bytes], *, status: str = "done", name: str = "a") -> None:
    """Change the journal's line of an input."""
    (path,) = (folder / "journal").glob("*.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    place = next(
        place
        for place, line in enumerate(lines)
        if (json.loads(line)["id"], json.loads(line)["status"]) == (name, status)
    )
    changed = change(lines[place].rstrip("\n"))
    changed = changed if isinstance(changed, bytes) else changed.encode("utf-8", "surrogatepass")
    path.write_bytes("".join(lines[:place]).encode() + changed + b"\n" + "".join(lines[place + 1 :]).encode())


def with_value(*keys: str, value: Any) -> Callable[[str], str]:
    """Return an edit that replaces a value of a line; `...` removes it."""

    def change(line: str) -> str:
        document = json.loads(line)
        holder = document
        for key in keys[:-1]:
            holder = holder[key]
        if value is ...:
            del holder[keys[-1]]
        else:
            holder[keys[-1]] = value
        return json.dumps(document)

    return change


DEEP = 200_000
FIRST = ("outputs", "audio")
EDITS: dict[str, Callable[[str], str | bytes]] = {
    "torn": lambda line: line[: len(line) // 2],
    "empty object": lambda _: "{}",
    "a number": lambda _: "7",
    "null": lambda _: "null",
    "a text": lambda _: '"done"',
    "a list": lambda line: f"[{line}]",
    "two objects": lambda line: line + line,
    "zeros": lambda line: b"\0" * len(line),
    "no UTF-8": lambda line: line.encode().replace(b"done", b"d\xffne"),
    "UTF-16": lambda line: line.encode("utf-16"),
    "too long": lambda line: line + " " * MAX_LINE_BYTES,
    "nested lists": lambda _: "[" * DEEP + "]" * DEEP,
    "nested objects": lambda _: '{"id":' * DEEP + "1" + "}" * DEEP,
    "nested value": lambda line: line.replace('"cause": ""', '"cause": ' + "[" * DEEP + "]" * DEEP),
    "huge integer": lambda line: line.replace('"seconds": 0.1', '"seconds": ' + "9" * 5000),
    "huge float": lambda line: line.replace('"seconds": 0.1', '"seconds": 1e999'),
    "NaN": lambda line: line.replace('"seconds": 0.1', '"seconds": NaN'),
    "infinity": lambda line: line.replace('"seconds": 0.1', '"seconds": -Infinity'),
    "id a number": with_value("id", value=3),
    "id a list": with_value("id", value=["a"]),
    "id empty": with_value("id", value=""),
    "id leads out": with_value("id", value="../a"),
    "id absolute": with_value("id", value="/a"),
    "id a surrogate": with_value("id", value="\ud800"),
    "status unknown": with_value("status", value="finished"),
    "status null": with_value("status", value=None),
    "input a text": with_value("input", value="a.mp4"),
    "input a list": with_value("input", value=[1, 2, 3, 4]),
    "input without size": with_value("input", "size", value=...),
    "input size a text": with_value("input", "size", value="3"),
    "input size negative": with_value("input", "size", value=-2),
    "input size true": with_value("input", "size", value=True),
    "input path a number": with_value("input", "path", value=1),
    "input path with NUL": with_value("input", "path", value="/a\0b"),
    "input time huge": with_value("input", "mtime_ns", value=1 << 80),
    "input hash a list": with_value("input", "sha256", value=[]),
    "parameters a list": with_value("parameters", value=[]),
    "parameters of numbers": with_value("parameters", value={"audio": 1}),
    "outputs a list": with_value("outputs", value=[]),
    "output null": with_value(*FIRST, value=None),
    "output without hash": with_value(*FIRST, "sha256", value=...),
    "output with more": with_value(*FIRST, "owner", value="me"),
    "output size a float": with_value(*FIRST, "size", value=12.0),
    "output size negative": with_value(*FIRST, "size", value=-1),
    "output size true": with_value(*FIRST, "size", value=True),
    "output path a list": with_value(*FIRST, "path", value=["a"]),
    "output path leads out": with_value(*FIRST, "path", value="../precious.txt"),
    "output path absolute": with_value(*FIRST, "path", value="/etc/hostname"),
    "output path with NUL": with_value(*FIRST, "path", value="vggish\0"),
    "output path too long": with_value(*FIRST, "path", value="x" * 5000),
    "output hash no hex": with_value(*FIRST, "sha256", value="x" * 64),
    "output state a number": with_value(*FIRST, "state", value=5),
    "cause a number": with_value("cause", value=0),
    "cause a surrogate": with_value("cause", value="\udfff"),
    "warnings a text": with_value("warnings", value="none"),
    "warnings of numbers": with_value("warnings", value=[1]),
    "media a list": with_value("media", value=[]),
    "media of lists": with_value("media", value={"duration": []}),
    "seconds a text": with_value("seconds", value="0.1"),
    "seconds negative": with_value("seconds", value=-1),
    "time a text": with_value("time", value="now"),
    "time true": with_value("time", value=True),
    "run a float": with_value("run", value=1.5),
    "run negative": with_value("run", value=-1),
    "run huge": with_value("run", value=MAX_RUN),
    "line a text": with_value("line", value="1"),
    "missing field": with_value("media", value=...),
    "another field": with_value("version", value=2),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_line_is_counted_and_not_trusted(extract: Callable[..., Result], tmp_path: Path, name: str) -> None:
    """Whatever is asked for: the input of the line is computed again, and the results are the same."""
    assert "2 done, 0 done before, 1 failed" in extract().err
    (tmp_path / "precious.txt").write_text("precious")
    before = results(tmp_path / "out")
    edit(tmp_path / "out", EDITS[name])
    shutil.move(tmp_path / "out", tmp_path / "edited")
    for mode in MODES:
        shutil.copytree(tmp_path / "edited", tmp_path / "out")
        result = extract(*mode)
        assert result.status == 1, result.err
        assert "1 unreadable lines of the journal are ignored" in result.err
        assert "Traceback" not in result.err
        if mode == ("--dry-run-list",):
            assert "compute  a  " in result.out
            assert "1 to compute, 1 done before, 1 failed before" in result.err
        else:
            assert ("2 done, 0" if "--overwrite" in mode else "1 done, 1 done before") in result.err
        assert results(tmp_path / "out") == before
        shutil.rmtree(tmp_path / "out")
    assert (tmp_path / "precious.txt").read_text() == "precious"


# Each is an entry, and what it says is not so.
LIES: dict[str, Callable[[str], str | bytes]] = {
    "output not listed": with_value(*FIRST, value=...),
    "parameters not listed": with_value("parameters", value={}),
    "another file": with_value(*FIRST, "path", value="vggish_tiny/b.npy"),
    "a file of another kind": with_value(*FIRST, "path", value="notes.txt"),
    "a folder": with_value(*FIRST, "path", value="vggish_tiny"),
    "another hash": with_value(*FIRST, "sha256", value="0" * 64),
    "another size": with_value(*FIRST, "size", value=10**15),
    "another input": with_value("input", "path", value="/nowhere/" + "x" * 3000),
    "an output of another name": with_value(
        "outputs", "../x", value={"path": "notes.txt", "size": 5, "mtime_ns": 0, "sha256": ""}
    ),
}


@pytest.mark.parametrize("name", LIES)
@pytest.mark.parametrize("change_input", [False, True])
def test_an_entry_that_lies_costs_nothing(
    extract: Callable[..., Result], tmp_path: Path, name: str, change_input: bool
) -> None:
    extract()
    before = results(tmp_path / "out")
    (tmp_path / "out/notes.txt").write_bytes(b"notes")
    edit(tmp_path / "out", LIES[name])
    if change_input:
        (tmp_path / "in/a.mp4").write_bytes(b"other")
    for mode in (("--dry-run-list",), (), ("--overwrite",)):
        result = extract(*mode)
        assert result.status in {1, 2}, result.err
        assert "Traceback" not in result.err
        assert (tmp_path / "out/notes.txt").read_bytes() == b"notes"
        assert (tmp_path / "out/vggish_tiny/b.npy").read_bytes() == before["vggish_tiny/b.npy"]
    expected = {file: b.replace(b"one", b"other") if change_input else b for file, b in before.items()}
    assert results(tmp_path / "out") == expected


@pytest.mark.parametrize(
    "path", ["../precious.txt", "in/../../precious.txt", "{}/precious.txt", "sub/../../precious.txt"]
)
@pytest.mark.parametrize("command", ["extract", "parse"])
def test_a_journal_of_a_stranger_removes_nothing_outside(
    run: Run, tmp_path: Path, tiny_bundle: Path, command: str, path: str
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"one")
    (tmp_path / "precious.txt").write_bytes(b"precious")
    option = "-o" if command == "extract" else "--output-dir"
    arguments = (command, tmp_path / "a.mp4", option, tmp_path / "out", "--weights", tiny_bundle)
    assert run(*arguments).status == 0
    file = {"path": path.format(tmp_path), "size": 8, "mtime_ns": 0, "sha256": "0" * 64}
    edit(tmp_path / "out", with_value("outputs", "vtt", value=file))
    for content in (b"two", b"bad"):
        (tmp_path / "a.mp4").write_bytes(content)
        assert run(*arguments).status == (1 if content == b"bad" else 0)
        assert (tmp_path / "precious.txt").read_bytes() == b"precious"


def test_files_that_are_no_results_stay_and_are_named(extract: Callable[..., Result], tmp_path: Path) -> None:
    extract()
    (tmp_path / "out/notes.txt").write_bytes(b"notes")
    file = {"path": "notes.txt", "size": 5, "mtime_ns": 0, "sha256": "0" * 64}
    edit(tmp_path / "out", with_value("outputs", "audio notes", value=file))
    (tmp_path / "in/a.mp4").write_bytes(b"bad")
    result = extract()
    assert "notes.txt: listed in the journal, but not results of this command; they stay" in result.err
    assert (tmp_path / "out/notes.txt").exists()
    assert not (tmp_path / "out/vggish_tiny/a.npy").exists()


def test_results_with_other_options_are_removed_with_their_input(run: Run, tmp_path: Path, tiny_bundle: Path) -> None:
    """They are results of this command too: of an extractor or a format that this run does not ask for."""
    (tmp_path / "a.mp4").write_bytes(b"one")
    arguments = ("parse", tmp_path / "a.mp4", "--output-dir", tmp_path / "out", "--weights", tiny_bundle)
    assert run(*arguments, "-f", "json,csv,vtt").status == 0
    assert {"a.csv", "a.events.json"} < {path.name for path in (tmp_path / "out").iterdir()}
    (tmp_path / "a.mp4").write_bytes(b"other")
    assert run(*arguments, "-f", "json").status == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.events.json", "journal"}


@pytest.mark.parametrize("cause", ["\x1b[31mred\nline", "s3://key:secret@bucket/x", "\udcff"])
def test_text_of_a_journal_is_printed_on_one_line(extract: Callable[..., Result], tmp_path: Path, cause: str) -> None:
    extract()
    edit(tmp_path / "out", with_value("cause", value=cause), status="failed", name="c")
    for mode in ((), ("--dry-run-list",)):
        result = extract(*mode)
        shown = result.out + result.err
        assert result.status == 1
        assert "\x1b" not in shown
        assert "secret" not in shown
        assert sum("c.mp4" in line or line.startswith("failed   c") for line in shown.splitlines()) == 1
    assert "secret" not in (tmp_path / "out/failures.csv").read_text()


@pytest.mark.parametrize("content", [b"", b"\n\n\n", b"\xff\xfe", b"{" * 1000])
def test_files_beside_the_journal_are_read(extract: Callable[..., Result], tmp_path: Path, content: bytes) -> None:
    extract()
    (tmp_path / "out/journal/other.jsonl").write_bytes(content)
    assert "0 done, 2 done before, 1 failed" in extract().err


HOSTILE_SPECS = [
    b"", b"7", b"[]", b"{}", b"[" * 200_000, b'{"profile": 1}', b"\0" * 50, b"\xff\xfe\xff", b"[1,2]",
    b'"' + b"x" * 10_000 + b'"',
    json.dumps({"profile": "x" * 10**6, "profile_version": [[1]], "extractors": "abc", "dims": "abc",
                "frames_per_segment": {"a": 1}, "sample_rate": "\x1b[2J\n"}).encode(),
    json.dumps({"profile": None, "profile_version": None, "extractors": 5, "dims": 5,
                "frames_per_segment": None, "sample_rate": None}).encode(),
    b'{"profile": ' + b"[" * 900 + b"]" * 900 + b', "profile_version": 1, "extractors": [], "dims": [],'
    b' "frames_per_segment": 1, "sample_rate": 1}',
]  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE_SPECS, ids=range(len(HOSTILE_SPECS)))
def test_features_json_of_a_stranger(extract: Callable[..., Result], tmp_path: Path, content: bytes) -> None:
    extract()
    (tmp_path / "out/features.json").write_bytes(content)
    result = extract()
    assert result.status == 2
    assert len(result.err.strip().splitlines()) == 1
    assert len(result.err) < 3000
    assert "\x1b" not in result.err


@pytest.mark.parametrize("name", ["features.json", "failures.csv", "journal/x.jsonl"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "link out", "link to itself"])
def test_what_is_no_file_in_a_results_folder(
    extract: Callable[..., Result], tmp_path: Path, name: str, kind: str
) -> None:
    extract()
    path = tmp_path / "out" / name
    path.unlink(missing_ok=True)
    {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "link out": lambda: path.symlink_to(tmp_path / "precious.txt"),
        "link to itself": lambda: path.symlink_to(path.name),
    }[kind]()
    (tmp_path / "precious.txt").write_bytes(b"precious")
    result = extract("--retry-failed")
    assert result.status in {1, 2}, result.err
    assert "Traceback" not in result.err
    assert (tmp_path / "precious.txt").read_bytes() == b"precious"
    if kind == "link out":
        assert f"{path} leads out of" in result.err
        assert result.status == 2


def test_reading_inverts_writing() -> None:
    from avvp.pipeline.batch.journal import InputFingerprint
    from avvp.pipeline.batch.storage import OutputFingerprint

    entry = JournalEntry(
        "sub/clip \udcff 'x' \U0001f600", "done", InputFingerprint("/in/\udcff", -1, -1), {"audio": "h"},
        {"audio": OutputFingerprint("vggish/a.npy", 0, 1 << 62, "0" * 64, "1-2")}, "", ("a warning",),
        {"duration": 1.5, "width": None, "codec": "x"}, 2.0, 3.5, 4, 5,
    )  # fmt: skip
    assert JournalEntry.from_json(entry.to_json()) == entry
