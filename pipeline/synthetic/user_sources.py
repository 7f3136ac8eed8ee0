"""User files that replace generated audio and visuals.

FOLDER/<class>/*.wav|mp3|flac|...    audio of the class
FOLDER/<class>/*.png|jpg|...         images of the class
FOLDER/<class>/*.mp4|mkv|...         videos of the class: visuals, and audio where they have an audio stream
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from ...extractors.sampling import FRAMES_PER_SEGMENT
from ...weights.messages import first_line
from ..decode.open_media import open_media
from ..errors import MediaError, SetupError
from ..files import AUDIO_SUFFIXES, VIDEO_SUFFIXES, is_hidden, list_files
from ..text import escape
from .waveforms import RATE, Waveform, normalize_rms

_IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_IMAGE_FORMATS = ("BMP", "JPEG", "PNG", "WEBP")  # Pillow has others, some of which start programs
MAX_SOURCE_FILES = 10_000  # of all classes; each is read before the first clip is rendered
MAX_IMAGE_PIXELS = 36_000_000  # of an image, as of a frame of a video
_KEPT = 64  # files of each kind that are kept decoded, a video as 12 MB
_MAX_SOURCE_SECONDS = 30  # read from the beginning of a file
_SILENCE = 1e-3  # of full scale
_SIDE = 128  # pixels that images and frames are scaled to
_PROFILE = "clean"


@dataclass(frozen=True, eq=False)
class FrameLoop:
    """Frames that repeat endlessly."""

    frames: Sequence[Image.Image]
    rate: float  # frames per second

    def frame_at(self, time: float) -> Image.Image:
        """Return the frame at a time in seconds."""
        return self.frames[int(time * self.rate) % len(self.frames)]


@dataclass(frozen=True)
class Sources:
    """User files of each class. They are read on first use; the last ones are kept in memory."""

    audio: Mapping[str, Sequence[Path]] = field(default_factory=dict)  # class -> files with audio
    visual: Mapping[str, Sequence[Path]] = field(default_factory=dict)  # class -> images and videos

    def describe(self) -> list[str]:
        """List class, name and size of every file, sorted."""
        files = {
            path for by_class in (self.audio, self.visual) for class_files in by_class.values() for path in class_files
        }
        return sorted(f"{path.parent.name}/{path.name} {path.stat().st_size}" for path in files)

    def sample_audio(self, label: str, rng: np.random.Generator, length: int) -> Waveform | None:
        """Cut audio from a random file of a class, from a random second on.

        Args:
            label: name of the class.
            rng: source of randomness.
            length: samples at `RATE`; a shorter file repeats.

        Returns:
            (length,) waveform at the level that `normalize_rms` gives, or None where the class has no audio file.

        Raises:
            MediaError: the file cannot be read.
        """
        if not self.audio.get(label):
            return None
        seconds = _read_audio(self.audio[label][int(rng.integers(len(self.audio[label])))])
        start, count = int(rng.integers(len(seconds))), -(-length // RATE)
        excerpt = [seconds[(start + number) % len(seconds)] for number in range(count)]
        return normalize_rms(np.concatenate(excerpt)[:length])

    def sample_visual(self, label: str, rng: np.random.Generator) -> FrameLoop | None:
        """Choose a random image or video of a class.

        Args:
            label: name of the class.
            rng: source of randomness.

        Returns:
            Its frames, or None where the class has no image or video.

        Raises:
            MediaError: the file cannot be read.
        """
        if not self.visual.get(label):
            return None
        return _read_visual(self.visual[label][int(rng.integers(len(self.visual[label])))])


NO_SOURCES = Sources()


def find_sources(folder: Path, labels: Sequence[str]) -> Sources:
    """Find the source files below a folder and read each once.

    Args:
        folder: holds one folder for each class that has sources.
        labels: the C classes.

    Returns:
        The files of every class; a class without files has empty lists.

    Raises:
        SetupError: there is no such folder, a folder in it is not named by a class, or no source file is found.
        MediaError: a file cannot be read, or its audio is silent.
    """
    if not folder.is_dir():
        raise SetupError(f"{escape(folder)}: no such folder of sources")
    unknown = [entry.name for entry in folder.iterdir() if _is_unknown(entry, labels)]
    if unknown:
        raise SetupError(f"{escape(folder)}: {escape(unknown[0])} is not a class; known: {', '.join(labels)}")
    audio: dict[str, list[Path]] = {}
    visual: dict[str, list[Path]] = {}
    for label in labels:
        videos = {path: _find_streams(path) for path in _list_files(folder / label, VIDEO_SUFFIXES)}
        with_audio = [path for path, (has_audio, _) in videos.items() if has_audio]
        with_video = [path for path, (_, has_video) in videos.items() if has_video]
        audio[label] = _list_files(folder / label, AUDIO_SUFFIXES) + with_audio
        visual[label] = _list_files(folder / label, _IMAGE_SUFFIXES) + with_video
    if not any(audio.values()) and not any(visual.values()):
        raise SetupError(f"{escape(folder)}: no audio files, images or videos in folders named by class")
    if (count := sum(map(len, (*audio.values(), *visual.values())))) > MAX_SOURCE_FILES:
        raise SetupError(f"{escape(folder)}: holds {count} source files, more than {MAX_SOURCE_FILES:,}")
    for path in {path for paths in audio.values() for path in paths}:
        _read_audio(path)
    for path in {path for paths in visual.values() for path in paths}:
        _read_visual(path)
    return Sources(audio, visual)


def _list_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    files = list_files(folder) if folder.is_dir() else []
    return [path for path in files if path.suffix.lower() in suffixes]


def _find_streams(path: Path) -> tuple[bool, bool]:
    """Return whether a file has audio, and whether it has video."""
    with open_media(path, _PROFILE) as media:
        return media.has_audio, media.has_video


def _is_unknown(entry: Path, labels: Sequence[str]) -> bool:
    return entry.is_dir() and entry.name not in labels and not is_hidden(entry.name)


@lru_cache(_KEPT)
def _read_audio(path: Path) -> list[Waveform]:
    """Read the seconds of a file that are not silent: labelled seconds must contain their event."""
    with open_media(path, _PROFILE, streams=["audio"]) as media:
        if not media.has_audio:
            raise MediaError(path, "has no audio stream")
        decoded = [second.audio for second in itertools.islice(media, _MAX_SOURCE_SECONDS)]
    seconds = [second.astype(np.float64) for second in decoded if second is not None]
    peak = max((float(np.abs(second).max()) for second in seconds), default=0.0)
    audible = [second for second in seconds if np.abs(second).max() > max(_SILENCE, peak / 30)]
    if not audible:
        raise MediaError(path, "is silent")
    return audible


@lru_cache(_KEPT)
def _read_visual(path: Path) -> FrameLoop:
    if path.suffix.lower() in _IMAGE_SUFFIXES:
        return FrameLoop([_read_image(path)], 1)
    images: list[Image.Image] = []
    with open_media(path, _PROFILE, streams=["video"]) as media:
        for second in itertools.islice(media, _MAX_SOURCE_SECONDS):
            frames = () if second.frames is None else second.frames
            images += [Image.fromarray(frame).resize((_SIDE, _SIDE)) for frame in frames]
    if not images:
        raise MediaError(path, "has no frames")
    return FrameLoop(images, FRAMES_PER_SEGMENT)


def _read_image(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # there is a limit below
        try:
            if not path.is_file():
                raise ValueError("not a regular file")  # opening a pipe would wait for a writer
            with Image.open(path, formats=_IMAGE_FORMATS) as image:
                if image.width * image.height > MAX_IMAGE_PIXELS:
                    raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_IMAGE_PIXELS:,}")
                return image.convert("RGB").resize((_SIDE, _SIDE))
        except Exception as error:  # what Pillow raises for damaged files is not documented
            raise MediaError(path, f"is not a readable image: {first_line(error)}") from error
