"""Small clips in many containers, and damaged copies of them that a seed determines."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

from .inputs import run_ffmpeg

_VIDEO = "testsrc2=s=96x64:r=10:d={seconds:g}"
_AUDIO = "sine=f=440:r=44100:d={seconds:g}"
_H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10", "-c:a", "aac")
_CONTAINERS: Mapping[str, tuple[str, ...]] = {
    "mp4": _H264,
    "mkv": (*_H264, "-c:a", "ac3"),
    "webm": ("-c:v", "libvpx", "-g", "10", "-c:a", "libopus", "-ar", "48000"),
    "ts": _H264,
    "mpg": ("-c:v", "mpeg2video", "-r", "25", "-c:a", "mp2"),
    "ogv": ("-c:v", "libtheora", "-g", "10", "-c:a", "libvorbis"),
    "flv": ("-c:v", "flv", "-g", "10", "-c:a", "libmp3lame"),
    "avi": ("-c:v", "mpeg4", "-g", "10", "-c:a", "libmp3lame"),
    "asf": ("-c:v", "wmv2", "-g", "10", "-c:a", "wmav2"),
    "mp3": ("-vn", "-c:a", "libmp3lame"),
    "wav": ("-vn", "-c:a", "pcm_s16le"),
    "flac": ("-vn", "-c:a", "flac"),
    "ogg": ("-vn", "-c:a", "libvorbis"),
}
_HEADER = 1024  # bytes at each end of a file that hold most of its header
_INTEGERS = (0, 1, 0x7F, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 0x7FFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF)

Mutation = Callable[[bytearray, random.Random], None]


def make_clips(folder: Path, *, seconds: float) -> list[Path]:
    """Make one clip in each container; the same version of ffmpeg makes the same bytes.

    Args:
        folder: for the clips.
        seconds: their length.

    Returns:
        The clips.
    """
    clips: list[Path] = []
    for container, options in _CONTAINERS.items():
        clip = folder / f"clip.{container}"
        inputs = (source.format(seconds=seconds) for source in (_VIDEO, _AUDIO))
        arguments = [argument for source in inputs for argument in ("-f", "lavfi", "-i", source)]
        run_ffmpeg(*arguments, *options, "-threads", 1, "-fflags", "+bitexact", "-flags", "+bitexact", clip)
        clips.append(clip)
    return clips


def mutate(clip: bytes, chance: random.Random) -> tuple[str, bytes]:
    """Damage a clip once or twice.

    Args:
        clip: content of a file.
        chance: decides everything.

    Returns:
        What was done, and the damaged content, never empty.
    """
    content, names = bytearray(clip), chance.choices(list(_MUTATIONS), k=chance.choice((1, 1, 2)))
    for name in names:
        _MUTATIONS[name](content, chance)
    return "+".join(names), bytes(content) or b"\0"


def _flip_bytes(content: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 4, 16, 64))):
        if content:
            content[chance.randrange(len(content))] ^= chance.randrange(1, 256)


def _zero(content: bytearray, chance: random.Random) -> None:
    start, stop = _block(content, chance)
    content[start:stop] = bytes(stop - start)


def _cut_end(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(1, len(content) + 1) :]


def _remove_block(content: bytearray, chance: random.Random) -> None:
    start, stop = _block(content, chance)
    del content[start:stop]


def _duplicate_block(content: bytearray, chance: random.Random) -> None:
    start, stop = _block(content, chance)
    content[stop:stop] = content[start:stop]


def _swap_blocks(content: bytearray, chance: random.Random) -> None:
    a, b, c = sorted(chance.randrange(len(content) + 1) for _ in range(3))
    content[a:c] = content[b:c] + content[a:b]


def _edit_integer(content: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 2, 4))):
        size = chance.choice((1, 2, 4, 8))
        start = chance.randrange(min(_HEADER, len(content)))
        if chance.random() < 0.5:
            start = max(0, len(content) - start - size)
        value = chance.choice((*_INTEGERS, chance.getrandbits(64))) % 256**size
        content[start : start + size] = value.to_bytes(size, chance.choice(("big", "little")))


def _block(content: bytearray, chance: random.Random) -> tuple[int, int]:
    """Choose a range of bytes that is anything from a byte to a third of the content."""
    length = min(len(content), round((max(3, len(content)) / 3) ** chance.random()))
    start = chance.randrange(len(content) - length + 1)
    return start, start + length


_MUTATIONS: Mapping[str, Mutation] = {
    "flip": _flip_bytes,
    "zero": _zero,
    "cut": _cut_end,
    "remove": _remove_block,
    "duplicate": _duplicate_block,
    "swap": _swap_blocks,
    "integer": _edit_integer,
}
