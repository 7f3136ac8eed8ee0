"""Lists of inputs, and names of lists that lead nowhere."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from avvp.pipeline.cli.options.input_lists import read_list, split_lines
from avvp.pipeline.cli.options.inputs import name_inputs
from avvp.pipeline.errors import SetupError
from avvp.pipeline.features.npy_folders import FeatureFolders
from support.command import Result
from support.media import Clips
from support.paths import make_files

Run = Callable[..., Result]


class TestLists:
    def names(self, here: Path, content: bytes, name: str = "list.txt") -> list[str]:
        (here / name).write_bytes(content)
        return read_list(name)

    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("a\nb\n", ["a", "b", ""]),
            ("a\r\nb\r\n", ["a", "b", ""]),
            ("a\rb", ["a", "b"]),
            ("a\rb\nc", ["a\rb", "c"]),
            ("a\u2028b\x85c\x0cd\x0be\x1cf\u2029g\n", ["a\u2028b\x85c\x0cd\x0be\x1cf\u2029g", ""]),
        ],
    )
    def test_names_end_at_newlines_only(self, text: str, names: list[str]) -> None:
        assert split_lines(text) == names

    @pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0c", "\x0b", "\x1c", "\x1e"])
    def test_names_with_other_separators(self, plan: Run, here: Path, separator: str) -> None:
        make_files(here, f"rain{separator}snow.mp4")
        (here / "list.txt").write_text(f"rain{separator}snow.mp4\n", encoding="utf-8")
        result = plan("--list", "list.txt")
        assert result.status == 0
        assert "1 to compute" in result.err

    def test_standard_input_is_bytes(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        name = os.fsdecode(b"caf\xe9 \xe2\x80\xa8.mp4")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbf" + os.fsencode(name) + b"\r\n\n")))
        assert read_list("-") == [name]
        assert here.exists()

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
    def test_encodings(self, here: Path, encoding: str) -> None:
        assert self.names(here, "Grüße.mp4\r\nb.mp4\r\n".encode(encoding)) == ["Grüße.mp4", "b.mp4"]

    def test_older_encodings_where_such_a_file_exists(self, here: Path) -> None:
        latin = "Grüße.mp4".encode("latin-1")
        assert self.names(here, latin) == [os.fsdecode(latin)]
        make_files(here, "Grüße.mp4")
        assert self.names(here, latin + b"\nb.mp4") == ["Grüße.mp4", "b.mp4"]
        assert self.names(here, b"path;n\n" + latin + b";1\n", "list.csv") == ["Grüße.mp4"]
        make_files(here, os.fsdecode(latin))
        assert self.names(here, latin) == [os.fsdecode(latin)]

    @pytest.mark.parametrize(
        ("content", "names"),
        [
            ("path,label\na.mp4,x\n", ["a.mp4"]),
            ("path;label\na.mp4;x\n", ["a.mp4"]),
            ("label\tFile\r\nx\ta.mp4\r\n", ["a.mp4"]),
            ('"Video" ; "x"\n"a;b.mp4";1\n', ["a;b.mp4"]),
            ("sep=;\r\npath;x\r\na, b.mp4;1\r\n", ["a, b.mp4"]),
            ('path,x\n"new\nline.mp4",1\n"say ""a"".mp4",2\n\n', ["new\nline.mp4", 'say "a".mp4']),
            ("path\nrain, snow; hail.mp4\n", ["rain, snow; hail.mp4"]),
            ("path;x\nr\u2028s.mp4;1\n;2\n", ["r\u2028s.mp4"]),
        ],
    )
    def test_tables(self, here: Path, content: str, names: list[str]) -> None:
        assert self.names(here, content.encode(), "list.csv") == names

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"name;label\na;b\n", "list.csv: no column path, file, video (found: name, label)"),
            (b"", "list.csv: no column path, file, video (found: none)"),
            (b"path,label\na,b,c\n", "list.csv: line 2: 3 columns, expected 2"),
            (b'path,label\n"a,b\n', "list.csv: the double quote in line 2 is never closed"),
        ],
    )
    def test_unusable_tables_are_one_line(self, here: Path, content: bytes, message: str) -> None:
        with pytest.raises(SetupError) as error:
            self.names(here, content, "list.csv")
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)


class TestMissingNames:
    LOST: ClassVar = {
        "gone.mp4": "no such file",
        "folder/gone.mp4": "no such file",
        "a.mp4/b.mp4": "Not a directory",
        "lost.mp4": "no such file (a link to nowhere.mp4)",
        f"{'x' * 300}.mp4": "File name too long",
        "d/" * 2500 + "a.mp4": "File name too long",
        "nul\0byte.mp4": "no such file (its name contains a null byte)",
        "no-*.mp4": "no such file",
        "bare": "no media files in this folder (--recursive includes its subfolders)",
        "loop.mp4": "Too many levels of symbolic links",
        "caf\udce9.mp4": "no such file",
    }

    def make_list(self, here: Path, clips: Clips) -> None:
        shutil.copy(clips.blink, here / "a.mp4")
        make_files(here, "bare/notes.txt")
        (here / "lost.mp4").symlink_to("nowhere.mp4")
        (here / "loop.mp4").symlink_to("loop.mp4")
        (here / "list.txt").write_bytes(os.fsencode("\n".join([*self.LOST, "a.mp4"])))

    def test_fail_alone(self, run: Run, here: Path, clips: Clips, tiny_bundle: Path) -> None:
        self.make_list(here, clips)
        common = ("extract", "--list", "list.txt", "-o", "feats", "--weights", tiny_bundle)
        for options in ((), (), ("--retry-failed",), ("--json-log", "log.jsonl")):
            result = run(*common, *options)
            assert result.status == 1
            assert f"{len(self.LOST)} failed" in result.err
            assert "Traceback" not in result.err
            failures = (here / "feats/failures.csv").read_text()
            for reason in self.LOST.values():
                assert f": {reason}\n" in result.err
                assert f",{reason}\n" in failures
            assert FeatureFolders(here / "feats").ids() == {"a"}
        entries = [json.loads(line) for line in (here / "log.jsonl").read_text().splitlines()]
        assert [entry["left"] for entry in entries] == list(reversed(range(len(self.LOST))))

    def test_are_named_by_dry_runs(self, plan: Run, here: Path, clips: Clips) -> None:
        self.make_list(here, clips)
        result = plan("--list", "list.txt")
        assert result.status == 1
        assert f"1 to compute, 0 done before, 0 failed before, {len(self.LOST)} cannot be used" in result.err
        for reason in self.LOST.values():
            assert f": {reason}\n" in result.out

    def test_are_computed_once_they_exist(self, run: Run, here: Path, clips: Clips, tiny_bundle: Path) -> None:
        common = ("extract", "--list", "list.txt", "-o", "feats", "--weights", tiny_bundle)
        (here / "list.txt").write_text("a.mp4\n")
        assert run(*common).status == 1
        shutil.copy(clips.blink, here / "a.mp4")
        assert "1 done, 0 done before, 0 failed" in run(*common).err
        assert not (here / "feats/failures.csv").exists()

    def test_keep_the_results_of_deleted_files(self, run: Run, here: Path, clips: Clips, tiny_bundle: Path) -> None:
        common = ("extract", "--list", "list.txt", "-o", "feats", "--weights", tiny_bundle)
        shutil.copy(clips.blink, here / "a.mp4")
        (here / "list.txt").write_text("a.mp4\n")
        assert run(*common).status == 0
        (here / "a.mp4").rename(here / "away.mp4")
        result = run(*common)
        assert (result.status, "a.mp4: no such file" in result.err) == (1, True)
        assert FeatureFolders(here / "feats").ids() == {"a"}
        (here / "away.mp4").rename(here / "a.mp4")
        assert "0 done, 1 done before, 0 failed" in run(*common).err

    def test_do_not_clash_with_others(self, here: Path) -> None:
        make_files(here, "a.mp4")
        named = name_inputs(["a.mp4"], ["x/a.mp4", "y/a.mp4", "../x/a.mp4", "x_a.mp4"])
        assert list(named.files) == ["a"]
        assert list(named.unusable) == ["x_a.mp4", "y_a.mp4", "_x_a.mp4", "x_a"]

    def test_fail_fast(self, run: Run, here: Path, clips: Clips, tiny_bundle: Path) -> None:
        self.make_list(here, clips)
        result = run("extract", "--list", "list.txt", "-o", "feats", "--weights", tiny_bundle, "--fail-fast")
        assert (result.status, f"0 done, 0 done before, 1 failed, {len(self.LOST)} not tried" in result.err) == (
            1,
            True,
        )

    @pytest.mark.parametrize("name", [name for name in LOST if name not in {"lost.mp4", "loop.mp4", "nul\0byte.mp4"}])
    def test_on_the_command_line_are_errors_of_usage(self, plan: Run, here: Path, clips: Clips, name: str) -> None:
        self.make_list(here, clips)
        result = plan("a.mp4", name)
        assert result.status == 2
        assert result.err.splitlines()[-1].endswith(self.LOST[name])
        assert not (here / "feats").exists()

    def test_parse(self, run: Run, here: Path, clips: Clips, tiny_bundle: Path) -> None:
        self.make_list(here, clips)
        result = run("parse", "--list", "list.txt", "--output-dir", "events", "--weights", tiny_bundle, "-q")
        assert (result.status, (here / "events/a.events.json").exists()) == (1, True)
