"""Which container a cut is written in: that of its media where packets can be copied into it, else Matroska."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...files import AUDIO_SUFFIXES


@dataclass(frozen=True)
class Container:
    """A container of cuts: the suffix of its files, and FFmpeg's name of it."""

    suffix: str
    muxer: str


# Suffix of the media -> container. FLAC is not among them: its header has a checksum of all samples.
_SAME = {
    ".3g2": Container(".3g2", "3g2"),
    ".3gp": Container(".3gp", "3gp"),
    ".aac": Container(".aac", "adts"),
    ".asf": Container(".asf", "asf"),
    ".avi": Container(".avi", "avi"),
    ".m2ts": Container(".ts", "mpegts"),
    ".m4a": Container(".m4a", "ipod"),
    ".m4b": Container(".m4a", "ipod"),
    ".m4v": Container(".mp4", "mp4"),
    ".mov": Container(".mov", "mov"),
    ".mp3": Container(".mp3", "mp3"),
    ".mp4": Container(".mp4", "mp4"),
    ".mts": Container(".ts", "mpegts"),
    ".oga": Container(".ogg", "ogg"),
    ".ogg": Container(".ogg", "ogg"),
    ".opus": Container(".opus", "opus"),
    ".qt": Container(".mov", "mov"),
    ".ts": Container(".ts", "mpegts"),
    ".wav": Container(".wav", "wav"),
    ".weba": Container(".webm", "webm"),
    ".webm": Container(".webm", "webm"),
    ".wma": Container(".wma", "asf"),
    ".wmv": Container(".wmv", "asf"),
}
_VIDEO, _AUDIO = Container(".mkv", "matroska"), Container(".mka", "matroska")
EXACT_VIDEO, EXACT_AUDIO = Container(".mp4", "mp4"), Container(".m4a", "ipod")


def copy_container(media: Path) -> Container:
    """Return the container of cuts whose packets are copied from a file, chosen by its suffix."""
    suffix = media.suffix.lower()
    return _SAME.get(suffix, _AUDIO if suffix in AUDIO_SUFFIXES else _VIDEO)


def exact_container(media: Path) -> Container:
    """Return the container of cuts that are encoded anew, chosen by the suffix of a file."""
    return EXACT_AUDIO if media.suffix.lower() in AUDIO_SUFFIXES else EXACT_VIDEO
