"""The tour of someone whose video is no file yet: standard input, an address, and a part of a long video."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import pytest
from avvp.pipeline.download import spool
from avvp.pipeline.errors import MediaError, SetupError
from avvp.pipeline.outputs.formats.events_json import load_schema
from support.clock_media import frames, numbered, tones
from support.command import Result
from support.media import Clips, ffmpeg
from support.media_server import MediaServer

PARSE = [str(Path(sys.executable).with_name("avvp-parse"))]


@pytest.fixture
def server(clips: Clips) -> Iterator[MediaServer]:
    pytest.importorskip("yt_dlp", reason="needs avvp[web]")
    media = MediaServer()
    media.files["a/My clip.mp4"] = media.files["a/My%20clip.mp4"] = clips.steady.read_bytes()
    yield media
    media.close()


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s with a keyframe every 2 s."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    sources = (*frames(), *tones(0, 12, rate=16_000))
    coded = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", 50, "-c:a", "aac")
    ffmpeg(*sources, *coded, path, feed=numbered(0, 300))
    return path


def test_a_real_pipe(clips: Clips, tiny_bundle: Path, tmp_path: Path, run: Callable[..., Result]) -> None:
    with clips.steady.open("rb") as file:
        feeder = subprocess.Popen(["/bin/cat"], stdin=file, stdout=subprocess.PIPE)
        command = [*PARSE, "-", "--weights", str(tiny_bundle), "--segments", "-q"]
        parsed = subprocess.run(
            command,
            stdin=feeder.stdout,
            check=False,
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        assert feeder.stdout is not None
        feeder.stdout.close()
        feeder.wait()
    assert (parsed.returncode, parsed.stderr) == (0, b"")
    document = json.loads(parsed.stdout)
    assert document["media"]["path"] == "stdin"
    assert list(tmp_path.iterdir()) == []  # the copy is gone
    page = tmp_path / "page.html"
    command = [*PARSE, "-", "--weights", str(tiny_bundle), "--html", str(page), "-q"]
    subprocess.run(command, input=clips.steady.read_bytes(), check=True, capture_output=True)
    written = page.read_text()
    assert "avvp-stdin" not in written  # no link to a file that is gone, but a film of it
    assert "The video came from standard input and is not kept." in written
    assert '"film":' in written
    whole = json.loads(run("parse", clips.steady, "--weights", tiny_bundle, "--segments", "-q").out)
    assert document["events"] == whole["events"]
    assert document["segments"] == whole["segments"]


def test_pipes_that_are_empty_or_no_media(tiny_bundle: Path) -> None:
    for content, message in ((b"", "standard input is empty"), (b"text", "is not a media file")):
        command = [*PARSE, "-", "--weights", str(tiny_bundle)]
        parsed = subprocess.run(command, input=content, check=False, capture_output=True)
        assert parsed.returncode == 1
        assert parsed.stderr.decode().startswith("Error: stdin: ")
        assert message in parsed.stderr.decode()


def test_terminal_as_standard_input(tiny_bundle: Path) -> None:
    master, terminal = pty.openpty()
    parsed = subprocess.run(
        [*PARSE, "-", "--weights", str(tiny_bundle)], stdin=terminal, check=False, capture_output=True, timeout=60
    )
    os.close(master)
    os.close(terminal)
    assert parsed.returncode == 2
    assert b"- is standard input, and that is a terminal; pipe a media file into it" in parsed.stderr


def test_a_pipe_that_does_not_wait_is_read_to_its_end() -> None:
    source, sink = os.pipe()
    os.set_blocking(source, False)

    def feed() -> None:
        with os.fdopen(sink, "wb", buffering=0) as pipe:
            for _ in range(3):
                pipe.write(bytes(1000))
                time.sleep(0.05)

    feeder = threading.Thread(target=feed)
    feeder.start()
    with os.fdopen(source, "rb") as stream, spool.spooled(stream) as path:
        assert path.stat().st_size == 3000
    feeder.join()


def test_limits_of_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MAX_STDIN_BYTES", 1 << 20)
    with pytest.raises(MediaError, match="stdin: has more than"), spool.spooled(io.BytesIO(bytes(3 << 20))):
        pass
    monkeypatch.setattr(spool, "free_bytes", lambda _: 1000)
    with pytest.raises(SetupError, match=r"the disk of .* is full"), spool.spooled(io.BytesIO(bytes(5000))):
        pass


def test_address(
    server: MediaServer, clips: Clips, tiny_bundle: Path, tmp_path: Path, run: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    address = f"{server.url}/a/My%20clip.mp4?token=secret"
    parsed = run("parse", address, "--weights", tiny_bundle)
    assert parsed.status == 0, parsed.err
    document = json.loads(parsed.out)
    assert document["media"]["path"] == "My_20clip.mp4"
    assert document["provenance"]["address"] == f"{server.url}/a/My%20clip.mp4?token=***"
    assert document["media"]["segments"] == 3
    jsonschema.validate(document, load_schema())
    assert "secret" not in parsed.out + parsed.err
    assert not [path for path in tmp_path.iterdir() if "web" in path.name]

    kept = tmp_path / "kept"
    parsed = run("parse", address, "--weights", tiny_bundle, "--keep-download", kept, "-q")
    assert json.loads(parsed.out)["media"]["path"] == str(kept / "My_20clip.mp4")
    assert (kept / "My_20clip.mp4").read_bytes() == clips.steady.read_bytes()
    again = run("parse", address, "--weights", tiny_bundle, "--keep-download", kept, "-q")
    assert again.status == 1
    assert "exists; parse it, or keep the download in another folder" in again.err
    assert [path.name for path in kept.iterdir()] == ["My_20clip.mp4"]


def test_address_without_media(server: MediaServer, tiny_bundle: Path, run: Callable[..., Result]) -> None:
    parsed = run("parse", f"{server.url}/gone.mp4", "--weights", tiny_bundle)
    assert parsed.status == 1
    assert parsed.err == f"Error: {server.url}/gone.mp4: {parsed.err.split('gone.mp4: ')[1]}"
    assert "404" in parsed.err


def test_addresses_and_standard_input_are_parsed_alone(
    server: MediaServer, clips: Clips, tiny_bundle: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    two = run("parse", clips.steady, f"{server.url}/x.mp4", "--weights", tiny_bundle)
    assert two.status == 2
    assert "- and addresses are parsed alone; avvp download fetches many" in two.err
    many = run("parse", f"{server.url}/x.mp4", "-", "--output-dir", tmp_path / "out", "--weights", tiny_bundle)
    assert many.status == 2
    assert "an address is parsed alone, by avvp-parse; avvp download fetches many" in many.err
    assert "-: standard input is parsed alone, by avvp-parse -" in many.err
    assert server.requests == []


def test_part_of_a_video(long_clip: Path, tiny_bundle: Path, run: Callable[..., Result]) -> None:
    arguments = ("--weights", tiny_bundle, "--segments", "-q", "--threshold", 0)  # every second is active
    parsed = run("parse", long_clip, "--start", "0:05.5", "--end", 7.2, *arguments)
    assert parsed.status == 0, parsed.err
    document = json.loads(parsed.out)
    assert document["media"]["parsed"] == [5, 8]
    assert (document["media"]["segments"], document["media"]["duration"]) == (8, 8.0)
    assert {(event["onset"], event["offset"]) for event in document["events"]} == {(5.0, 8.0)}
    assert document["schema_version"] == "1.3"
    jsonschema.validate(document, load_schema())
    audio = document["segments"]["audio"]
    assert len(audio) == 8
    assert not any(any(row) for row in audio[:5])
    assert all(all(row) for row in audio[5:])
    assert "only 0:05 to 0:08 was parsed" in document["warnings"]
    piped = subprocess.run(
        [*PARSE, "-", "--start", "5", "--end", "8", *map(str, arguments)],
        input=long_clip.read_bytes(),
        check=False,
        capture_output=True,
    )
    assert json.loads(piped.stdout)["segments"] == document["segments"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--start", "x"), "'x' is not a time; expected seconds, m:ss or h:mm:ss"),
        (("--start", 5, "--end", 5), "not a part of a file"),
        (("--start", 5, "--explain", "a.npz"), "leave out --start"),
        (("--end", 5, "--output-dir", "out"), "--end is for one file"),
    ],
)
def test_parts_that_cannot_be(
    clips: Clips, tiny_bundle: Path, run: Callable[..., Result], arguments: tuple[object, ...], message: str
) -> None:
    parsed = run("parse", clips.steady, "--weights", tiny_bundle, *arguments)
    assert parsed.status == 2
    assert message in parsed.err


def test_part_behind_the_end(clips: Clips, tiny_bundle: Path, run: Callable[..., Result]) -> None:
    parsed = run("parse", clips.steady, "--weights", tiny_bundle, "--start", "1:00")
    assert parsed.status == 1
    assert "ends at 3.00 s, before the part that begins at 60 s" in parsed.err
