"""The first minute of somebody with a video of their own: at a terminal, without weights, without network."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from avvp.pipeline.cli import missing_weights
from avvp.pipeline.cli.batch_run import ProgressReporter
from avvp.pipeline.cli.console import Console, TimeLeft
from avvp.pipeline.cli.options.groups import DownloadOptions
from avvp.pipeline.cli.options.table_output import render_text
from avvp.weights import WeightsError, load_bundle
from avvp.weights import locate as locate_module
from avvp.weights.manifest import Bundle
from rich.table import Table as RichTable
from support.command import Result
from support.media import Clips
from support.server import CONTENT, Server, weight_file
from support.terminal import run_in_terminal

Run = Callable[..., Result]
# A port that nobody listens on, in place of the network; no colours.
OFFLINE = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_COLOR": "1"}
TORCH_FREE = """
import sys, click
from avvp.pipeline.cli.main import avvp
try:
    avvp.main(sys.argv[1:], standalone_mode=False)
except click.ClickException as error:
    print(error.format_message(), file=sys.stderr)
print("torch" in sys.modules)
"""


@pytest.fixture
def video(clips: Clips, tmp_path: Path) -> Path:
    return Path(shutil.copy(clips.steady, tmp_path / "holiday.mp4"))


class TestAtTheTerminal:
    """The installed program, in a pseudo terminal."""

    def test_tour(self, run: Run, video: Path, tmp_path: Path) -> None:
        """Without weights the demo is named; it shows a timeline; -o makes a folder; a pipe gets JSON."""
        declined = run_in_terminal("avvp-parse", video, answers=("n",), environment=OFFLINE)
        assert declined.status == 2
        assert "leap-llp needs 4 weight files not on this machine: 871 MB, about 87 s at 10 MB/s" in declined.screen
        assert "Download 871 MB to " in declined.screen
        assert declined.screen.index("--weights demo") < declined.screen.index("https://")

        shown = run_in_terminal("avvp-parse", video, "--weights", "demo", environment=OFFLINE)
        assert shown.status == 0
        assert "loading networks" in shown.screen
        assert '"events"' not in shown.screen, "no JSON"
        assert any(line.startswith("holiday.mp4  3.0 s") for line in shown.lines)
        assert shown.lines[-2].startswith("-o events.json writes the events, --html page.html"), shown.lines

        result = tmp_path / "sub" / "dir" / "events.json"
        written = run_in_terminal("avvp-parse", video, "--weights", "demo", "-o", result, environment=OFFLINE)
        assert (written.status, f"wrote {result}" in written.lines) == (0, True)
        assert json.loads(result.read_text())["media"]["path"] == str(video)

        piped = run("parse", video, "--weights", "demo")
        assert json.loads(piped.out) == json.loads(result.read_text())

    def test_a_folder_of_results_has_the_warning_and_next_steps(self, video: Path, tmp_path: Path) -> None:
        out = tmp_path / "events"
        options = ("--weights", "demo", "--output-dir", out, "--dry-run")
        planned = run_in_terminal("avvp-parse", video, *options, environment=OFFLINE)
        assert (planned.status, "generated clips" in planned.screen, "next:" in planned.screen) == (0, False, False)
        shown = run_in_terminal("avvp-parse", video, "--weights", "demo", "--output-dir", out, environment=OFFLINE)
        assert shown.status == 0
        assert "trained on generated clips only" in shown.screen
        assert f"next: avvp find {out}; avvp report {out} --media VIDEOS/" in "".join(shown.lines), shown.lines

    def test_a_terminal_without_unicode_gets_ascii(self, video: Path) -> None:
        options = ("--weights", "demo", "--threshold", "0", "-f", "csv")
        shown = run_in_terminal("avvp-parse", video, *options, environment=OFFLINE | {"LC_ALL": "C"})
        assert shown.status == 0
        assert any(line.startswith("file,modality,label") for line in shown.lines), "the table that was asked for"
        assert shown.screen.isascii()
        assert "\\u" not in shown.screen
        assert any(line.startswith("  Dog ") and "####" in line for line in shown.lines)


def test_tables_have_lines_that_their_stream_has() -> None:
    def drawn(stream: io.TextIOWrapper | None) -> str:
        return render_text(lambda console: console.print(table), stream)

    table = RichTable("label")
    table.add_row("Hündin")
    assert "━" in drawn(None)
    ascii_only = drawn(io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert ascii_only.isascii()
    assert ascii_only.splitlines()[-2].strip() == "| H\\xfcndin |"


class TestBeforeTorch:
    """What is said before torch is imported: the import takes seconds."""

    def said(self, *arguments: object) -> str:
        command = [sys.executable, "-c", TORCH_FREE, *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        assert result.stdout == "False\n"
        return result.stderr

    @pytest.mark.parametrize("command", ["parse", "extract", "evaluate", "model-info"])
    def test_missing_weights(self, video: Path, tmp_path: Path, command: str) -> None:
        data = ("--annotations", tmp_path, "--features", tmp_path)
        arguments: dict[str, tuple[object, ...]] = {
            "parse": (video,), "extract": (video, "-o", tmp_path / "feats"),
            "evaluate": ("--weights", "leap-llp", *data), "model-info": ("--weights", "leap-llp"),
        }  # fmt: skip
        said = self.said(command, *arguments[command], "--offline")
        sizes = {"parse": "4 weight files are missing, 871 MB", "extract": "3 weight files are missing, 656 MB"}
        assert sizes.get(command, "1 weight file is missing, 215 MB") in said
        assert said.index("--weights demo") < said.index("https://")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--keep-classes", "Unicorn"), "Unicorn"),
            (("--merge-gap", "-1"), "--merge-gap"),
            (("-o", "out.xlsx"), "no format has the suffix .xlsx; known: .TextGrid, .csv"),
            (("-f", "nonsense"), "unknown format 'nonsense'"),
            (("--plot", "plot.bmp"), "--plot plot.bmp: expected a name that ends in"),
        ],
    )
    def test_what_is_wrong_is_said_first(self, video: Path, arguments: tuple[str, ...], message: str) -> None:
        assert message in self.said("parse", video, *arguments)

    def test_what_is_no_video_is_found_out_first(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "notes.mp4").write_text("no video")
        result = run("parse", tmp_path / "notes.mp4")
        assert (result.status, result.err.count("\n")) == (1, 1)
        assert "notes.mp4: is not a media file" in result.err


class TestDownloads:
    """Files that are missing, on a server of the test."""

    @pytest.fixture
    def server(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
        """A server with the only file of a bundle."""
        running = Server()
        monkeypatch.setattr(locate_module, "list_files", lambda: {"test": weight_file(running)})
        yield running
        running.close()

    @pytest.fixture
    def bundle(self) -> Bundle:
        return Bundle(name="b", description="", profile="llp", extractors={}, parser={"file": "test"}, labels="llp")

    @staticmethod
    def options(folder: Path, **changes: bool) -> DownloadOptions:
        settings = {"yes": False, "offline": False, **changes}
        return DownloadOptions(weights_dir=folder, trust_parts=(), **settings)

    def test_without_a_terminal_a_line_says_so(
        self, server: Server, bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        missing_weights.provide_weights(bundle, self.options(tmp_path), Console(quiet=False))
        assert (tmp_path / "weights.bin").read_bytes() == CONTENT
        lines = capsys.readouterr().err.splitlines()
        assert lines == [
            f"downloading 1.0 MB of weights to {tmp_path}, about 1 s at 10 MB/s", f"weights are in {tmp_path}",
        ]  # fmt: skip
        missing_weights.provide_weights(bundle, self.options(tmp_path, offline=True), Console(quiet=False))
        assert len(server.requests) == 1
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("answer", [True, False])
    def test_a_question_on_a_terminal(
        self, server: Server, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bool
    ) -> None:
        questions: list[str] = []
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
        monkeypatch.setattr("click.confirm", lambda text, **_: questions.append(text) or answer)
        if answer:
            missing_weights.provide_weights(bundle, self.options(tmp_path), Console(quiet=True))
        else:
            with pytest.raises(WeightsError, match=r"nothing was downloaded\n1 weight file is missing, 1\.0 MB"):
                missing_weights.provide_weights(bundle, self.options(tmp_path), Console(quiet=True))
        assert questions == [f"Download 1.0 MB to {tmp_path}?"]
        assert len(server.requests) == answer
        missing_weights.provide_weights(bundle, self.options(tmp_path, yes=True), Console(quiet=True))
        assert len(questions) == 1, "--yes asks nothing"

    def test_a_server_that_is_gone(self, server: Server, bundle: Bundle, tmp_path: Path) -> None:
        server.status = 500
        with pytest.raises(WeightsError) as error:
            missing_weights.provide_weights(bundle, self.options(tmp_path), Console(quiet=True))
        assert str(error.value).startswith("weights.bin could not be downloaded")
        assert str(error.value).index("--weights demo") < str(error.value).index("put it into")

    @pytest.mark.usefixtures("server")
    def test_a_disk_without_space(self, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1_000))
        with pytest.raises(WeightsError, match=r"1 kB free, and weights need 1\.0 MB; name another folder"):
            missing_weights.provide_weights(bundle, self.options(tmp_path / "a" / "b"), Console(quiet=True))
        assert not (tmp_path / "a").exists()

    def test_a_bundle_that_is_complete_asks_nothing(self, tmp_path: Path) -> None:
        demo = replace(load_bundle("demo"))
        missing_weights.provide_weights(demo, self.options(tmp_path, offline=True), Console(quiet=True))


class TestTimeLeft:
    """Hand-computed: a clock that the test sets."""

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [100.0]
        monkeypatch.setattr("time.monotonic", lambda: now[0])
        return now

    def test_slow_files(self, clock: list[float]) -> None:
        """Four files of 90 s each: 270 s after the first; rich's own column says nothing."""
        left = TimeLeft()
        left.update(0, 4)
        assert str(left) == ""
        clock[0] += 90
        left.update(1, 4)
        assert str(left) == "0:04:30 left"
        clock[0] += 30
        assert str(left) == "0:04:00 left", "it counts down between two files"
        clock[0] += 1000
        assert str(left) == "0:00:00 left"

    def test_a_run_that_goes_on(self, clock: list[float]) -> None:
        """From 50 of 100: ten in 20 s, so 40 in 80 s."""
        left = TimeLeft()
        left.update(50, 100)
        clock[0] += 20
        left.update(60, 100)
        assert str(left) == "0:01:20 left"

    def test_another_stage_begins_anew(self, clock: list[float]) -> None:
        left = TimeLeft()
        left.update(0, 10)
        clock[0] += 100
        left.update(10, 10)
        left.update(0, 10)
        assert str(left) == ""
        clock[0] += 1
        left.update(5, 10)
        assert str(left) == "0:00:01 left"

    def test_lines_between_the_files_of_a_folder_do_not_begin_anew(self, clock: list[float]) -> None:
        """Each file of a folder has a line, in place of which the bar is drawn again."""
        console = Console(quiet=True)
        console.busy("loading networks")
        console.move_bar("working", 0, 3, "0/3 files")
        clock[0] += 60
        console.info("one.mp4: audio: Dog")
        console.move_bar("working", 1, 3, "1/3 files")
        assert str(console._left) == "0:02:00 left"

    def test_unknown_totals(self, clock: list[float]) -> None:
        left = TimeLeft()
        left.update(0, None)
        clock[0] += 1
        left.update(5, None)
        assert str(left) == ""

    def test_the_bar_of_a_folder_begins_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        console, moves = Console(quiet=False), []
        monkeypatch.setattr(Console, "is_terminal", True)
        monkeypatch.setattr(console, "move_bar", lambda *arguments: moves.append(arguments))
        ProgressReporter(console, 3, None)
        assert moves == [("working", 0, 3, "0/3 files")]
