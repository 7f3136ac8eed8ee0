"""What decodes media here: FFmpeg's libraries, the program ffmpeg, and decord. Each decodes a clip of one second."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...weights.messages import first_line
from ..text import escape
from .section import Section

CODECS = (
    "h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video", "prores", "mjpeg",
    "aac", "mp3", "opus", "vorbis", "flac", "ac3", "eac3", "pcm_s16le",
)  # fmt: skip
_FRAMES = 8  # of the clip, one second
_SIZE = 64  # pixels
_SPACE = 1 << 20  # bytes of the folder for temporary files that decoders need at the least
_TIMEOUT = 20.0  # seconds for a program or a decoder
# What decides which program is run, in order of precedence.
_VARIABLES = ("AVVP_FFMPEG", "IMAGEIO_FFMPEG_EXE")


def check_decoding() -> Section:
    """List the decoders with their codecs, and decode a small clip with each."""
    section = Section("Decoding")
    with contextlib.ExitStack() as stack:
        try:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="avvp-doctor-")))
            (folder / "space").write_bytes(bytes(_SPACE))
        except OSError as error:
            section.facts = dict.fromkeys(("pyav", "ffmpeg", "decord"))
            section.add(
                f"the folder for temporary files cannot be used: {first_line(error)}",
                "broken",
                "set TMPDIR to a folder that can be written to and has space",
            )
            return section
        clip = folder / "clip.mp4"
        made = _try(lambda: _write_clip(clip))
        section.facts["pyav"] = _check_pyav(section, clip, made)
        section.facts["ffmpeg"] = _check_ffmpeg(section, clip, made)
        section.facts["decord"] = _check_decord(section, clip, made)
    return section


def _try(step: Callable[[], Any]) -> str:
    """Return why a step fails, in one line; an empty string if it does not."""
    try:
        step()
    except Exception as error:  # whatever keeps a decoder from working is a finding
        return first_line(error)
    return ""


def _write_clip(path: Path) -> None:
    """Write a second of video with the encoder that every FFmpeg has."""
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=_FRAMES)
        stream.width = stream.height = _SIZE
        stream.pix_fmt = "yuv420p"
        for index in range(_FRAMES):
            picture = np.full((_SIZE, _SIZE, 3), 255 * index // _FRAMES, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _count_frames(clip: Path, decoder: str) -> None:
    """Decode a clip with a frame reader. Raises ValueError for another number of frames."""
    from ..decode.probe import probe
    from ..decode.readers import build_reader

    frames = sum(len(chunk) for chunk in build_reader(probe(clip), decoder, timeout=_TIMEOUT))
    if frames != _FRAMES:
        raise ValueError(f"{frames} of {_FRAMES} frames were decoded")


def _check_pyav(section: Section, clip: Path, made: str) -> dict[str, Any]:
    try:
        av: Any = importlib.import_module("av")
    except Exception as error:  # of the dynamic loader
        cause = first_line(error)
        section.add(f"PyAV does not work: {cause}", "broken", "pip install --force-reinstall av")
        return {"works": False, "error": cause, "version": None, "decodes": {}}
    decodes = {name: not _try(lambda name=name: av.codec.Codec(name, "r")) for name in CODECS}
    fault = made or _try(lambda: _count_frames(clip, "ffmpeg"))
    version = ".".join(map(str, av.library_versions["libavcodec"]))
    name = f"PyAV {av.__version__} (FFmpeg's libraries, libavcodec {version})"
    _describe(section, name, fault, decodes, advice="pip install --force-reinstall av")
    return {"works": not fault, "error": fault or None, "version": av.__version__, "decodes": decodes}


def _check_ffmpeg(section: Section, clip: Path, made: str) -> dict[str, Any]:
    variable = next((name for name in _VARIABLES if os.environ.get(name)), None)
    advice = "pip install --force-reinstall imageio-ffmpeg"
    if variable is not None:
        advice = f"unset {variable}, or let it name a program that works"
    try:
        from ..decode.ffmpeg import ffmpeg_binary

        program = ffmpeg_binary()
        head = _run(program, "-version").split("\n", 1)[0]
        listing = _run(program, "-hide_banner", "-codecs")
    except Exception as error:  # there is none, it cannot be run, or PyAV cannot be imported
        cause = first_line(error)
        section.add(f"the program ffmpeg does not run: {cause}", "broken", advice)
        return {"works": False, "error": cause, "path": None, "version": None, "source": None, "decodes": {}}
    found = set(re.findall(r"^ D[.A-Z]{5} (\S+)", listing, re.MULTILINE))
    decodes = {name: name in found for name in CODECS}
    fault = "" if made else _try(lambda: _run(program, "-v", "error", "-i", str(clip), "-f", "null", "-"))
    version = head.removeprefix("ffmpeg version ").split(" ", 1)[0]
    source = variable or ("imageio-ffmpeg" if "imageio_ffmpeg" in program else "PATH")
    name = f"the program ffmpeg {escape(version)} (of {source}: {escape(program)})"
    _describe(section, name, fault, decodes, advice=advice)
    return {
        "works": not fault, "error": fault or None, "path": program, "version": version, "source": source,
        "decodes": decodes,
    }  # fmt: skip


def _run(*command: str) -> str:
    """Run a program and return what it prints. Raises OSError and SubprocessError."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_TIMEOUT,
        stdin=subprocess.DEVNULL,
        check=True,
    )
    return done.stdout


def _check_decord(section: Section, clip: Path, made: str) -> dict[str, Any]:
    from .installation import find_version

    version = find_version("decord")
    if version is None:
        section.add("decord: not installed; --decoder decord and what falls back on it are missing", "note")
        return {"works": False, "error": "not installed", "version": None}
    fault = made or _try(lambda: _count_frames(clip, "decord"))
    if fault:
        section.add(f"decord {version} does not work: {fault}", "note", "pip install --force-reinstall decord")
    else:
        section.add(f"decord {version} works: for --decoder decord, and where FFmpeg decodes no frame")
    return {"works": not fault, "error": fault or None, "version": version}


def _describe(section: Section, name: str, fault: str, decodes: dict[str, bool], *, advice: str) -> None:
    if fault:
        section.add(f"{name} does not work: {fault}", "broken", advice)
        return
    missing = [codec for codec, known in decodes.items() if not known]
    section.add(f"{name} works; it decodes {', '.join(codec for codec, known in decodes.items() if known)}")
    if missing:
        section.add(f"{name} does not decode {', '.join(missing)}", "note")
