"""A person's own sounds and pictures in place of the generated ones.

FOLDER/<class>/*.wav|mp3|flac|...    sounds of the class
FOLDER/<class>/*.png|jpg|...         pictures of it
FOLDER/<class>/*.mp4|mkv|...         films of it; their sound is a sound of the class, too
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from ...extractors.profiles import get_profile
from ...extractors.sampling import FRAMES_PER_SEGMENT
from ..decode.audio import AudioReader
from ..decode.per_second import open_seconds
from ..decode.probe import probe
from ..decode.process import DEFAULT_TIMEOUT
from ..errors import MediaError, SetupError
from ..files import SOUND_SUFFIXES, VIDEO_SUFFIXES
from ..text import escape
from .waveforms import RATE, Sound, level

_PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_MOST_SECONDS = 30  # of a file that are used
_SILENCE = 1e-3  # of full scale
_SIDE = 128  # pixels that films are kept at
_PROFILE = "clean"


@dataclass(frozen=True, eq=False)
class FrameLoop:
    """Pictures that follow one another at `rate` a second, again and again."""

    pictures: Sequence[Image.Image]
    rate: float

    def at(self, time: float) -> Image.Image:
        """The picture at a time, in seconds."""
        return self.pictures[int(time * self.rate) % len(self.pictures)]


@dataclass(frozen=True)
class Sources:
    """Files by class; read when they are needed. A file that cannot be read is a MediaError that names it."""

    sounds: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    sights: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    def describe(self) -> list[str]:
        """Class, name and size of every file, sorted."""
        files = {path for found in (self.sounds, self.sights) for some in found.values() for path in some}
        return sorted(f"{path.parent.name}/{path.name} {path.stat().st_size}" for path in files)

    def sound(self, label: str, rng: np.random.Generator, length: int) -> Sound | None:
        """So many samples of one of the class's files, from somewhere in it; None where there is none."""
        if not self.sounds.get(label):
            return None
        seconds = _read_sound(self.sounds[label][int(rng.integers(len(self.sounds[label])))])
        start, count = int(rng.integers(len(seconds))), -(-length // RATE)
        chosen = [seconds[(start + number) % len(seconds)] for number in range(count)]
        return level(np.concatenate(chosen)[:length])

    def sight(self, label: str, rng: np.random.Generator) -> FrameLoop | None:
        """One of the class's pictures or films; None where there is none."""
        if not self.sights.get(label):
            return None
        return _read_sight(self.sights[label][int(rng.integers(len(self.sights[label])))])


NO_SOURCES = Sources()


def find_sources(folder: Path, labels: Sequence[str]) -> Sources:
    """The files below a folder. Raises SetupError for folders that are no class, and where nothing is found;
    MediaError for files that cannot be read, and for silent sounds."""
    if not folder.is_dir():
        raise SetupError(f"{escape(folder)}: no such folder of sources")
    unknown = [entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name not in labels]
    if unknown:
        raise SetupError(f"{escape(folder)}: {escape(unknown[0])} is no class; known: {', '.join(labels)}")
    sounds: dict[str, list[Path]] = {}
    sights: dict[str, list[Path]] = {}
    for label in labels:
        films = {path: probe(path) for path in _files(folder / label, VIDEO_SUFFIXES)}
        sounds[label] = _files(folder / label, SOUND_SUFFIXES) + [path for path, film in films.items() if film.audio]
        sights[label] = _files(folder / label, _PICTURE_SUFFIXES) + [path for path, film in films.items() if film.video]
    found = Sources(sounds, sights)
    if not any(found.sounds.values()) and not any(found.sights.values()):
        raise SetupError(f"{escape(folder)}: no sounds, pictures or films in folders named by class")
    for path in {path for some in found.sounds.values() for path in some}:
        _read_sound(path)
    for path in {path for some in found.sights.values() for path in some}:
        _read_sight(path)
    return found


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in suffixes)


@cache
def _read_sound(path: Path) -> list[Sound]:
    """The seconds in which something is heard: what is labelled is there."""
    seconds: list[Sound] = []
    for second in itertools.islice(AudioReader(probe(path), get_profile(_PROFILE).sound), _MOST_SECONDS):
        seconds.append(np.asarray(second, np.float64))
    loudest = max((float(np.abs(second).max()) for second in seconds), default=0.0)
    heard = [second for second in seconds if np.abs(second).max() > max(_SILENCE, loudest / 30)]
    if not heard:
        raise MediaError(path, "nothing is heard in it")
    return heard


@cache
def _read_sight(path: Path) -> FrameLoop:
    if path.suffix.lower() in _PICTURE_SUFFIXES:
        try:
            with Image.open(path) as picture:
                return FrameLoop([picture.convert("RGB").resize((_SIDE, _SIDE))], 1)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise MediaError(path, f"is not a picture that can be read: {escape(error)}") from error
    pictures: list[Image.Image] = []
    opened = open_seconds(
        probe(path),
        get_profile(_PROFILE),
        decoder="auto",
        heard=0.0,
        timeout=DEFAULT_TIMEOUT,
        tell=lambda *_: None,
    )
    with contextlib.closing(opened) as seconds:
        for frames in itertools.islice(seconds, _MOST_SECONDS):
            pictures += [Image.fromarray(frame).resize((_SIDE, _SIDE)) for frame in frames]
    if not pictures:
        raise MediaError(path, "holds no picture")
    return FrameLoop(pictures, FRAMES_PER_SEGMENT)
