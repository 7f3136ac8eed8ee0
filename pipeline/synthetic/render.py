"""Render a clip plan to an mp4 file with ffmpeg. The same plan gives the same bytes."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ..decode.ffmpeg import ffmpeg_binary
from ..errors import OutputError
from ..files import replacing
from .class_sounds import generate_audio
from .class_visuals import Appearance, draw_visual
from .clip_plan import ClipPlan, PlannedEvent
from .drawing import Drawing, hsv_color
from .user_sources import NO_SOURCES, Sources
from .waveforms import RATE, Waveform, noise

WIDTH, HEIGHT = 320, 240
FRAME_RATE = 16  # frames per second
_FADE = 0.02  # seconds over which the audio of an event fades in and out
_CELL = 104  # pixels of one event's cell; four fill the centre of the frame, six all of it
_ROWS = 2  # of cells
_AUDIO_SEED, _VISUAL_SEED = 1, 2  # appended to the plan's seed; `dataset` has 0 and 3


class _Placement(NamedTuple):
    """Position and appearance of one visual event."""

    x: float  # of the centre, in pixels
    y: float
    size: float  # pixels
    mirrored: bool
    appearance: Appearance


def render(plan: ClipPlan, path: Path, labels: Sequence[str], sources: Sources = NO_SOURCES) -> None:
    """Render a clip to an mp4 file, which is written whole or not at all.

    Args:
        plan: events of the clip.
        path: the mp4 file to write.
        labels: the C classes that the plan's indices refer to.
        sources: user files that replace generated content; by default none.

    Raises:
        OutputError: the file cannot be written, or ffmpeg fails.
        MediaError: a source file cannot be read.
    """
    waveform = mix_audio(plan, labels, sources)
    with tempfile.TemporaryDirectory(prefix="avvp-synth-") as folder, replacing(path) as target:
        samples = Path(folder) / "audio.s16"
        samples.write_bytes((waveform * 32767).astype("<i2").tobytes())
        command = [ffmpeg_binary(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
        command += ["-s", f"{WIDTH}x{HEIGHT}", "-r", str(FRAME_RATE), "-i", "pipe:0"]
        command += ["-f", "s16le", "-ar", str(RATE), "-ac", "1", "-i", str(samples)]
        command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "26", "-pix_fmt", "yuv420p", "-threads", "1"]
        command += ["-c:a", "aac", "-b:a", "64k", "-map_metadata", "-1", "-fflags", "+bitexact"]
        command += ["-flags:v", "+bitexact", "-flags:a", "+bitexact", "-f", "mp4", str(target)]
        log = Path(folder) / "ffmpeg.log"
        with log.open("wb") as stderr, subprocess.Popen(command, stdin=subprocess.PIPE, stderr=stderr) as encoder:
            assert encoder.stdin is not None
            try:
                for frame in draw_frames(plan, labels, sources):
                    encoder.stdin.write(frame.tobytes())
                encoder.stdin.close()
            except BrokenPipeError:
                pass  # ffmpeg has ended; the reason is in its log
        message = log.read_text(errors="replace").strip()
        if encoder.returncode:
            reason = message.splitlines()[-1] if message else f"exit status {encoder.returncode}"
            raise OutputError(f"{path}: ffmpeg could not encode the clip: {reason}")


def end_with_parent() -> None:
    """Make a worker process exit as soon as its parent has ended, for whatever reason."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def mix_audio(plan: ClipPlan, labels: Sequence[str], sources: Sources = NO_SOURCES) -> Waveform:
    """Mix the audio events of a clip over background noise.

    Args:
        plan: events of the clip.
        labels: the C classes that the plan's indices refer to.
        sources: user files that replace generated audio; by default none.

    Returns:
        (T x 16000,) mono waveform in [-1, 1].

    Raises:
        MediaError: a source file cannot be read.
    """
    total_length = plan.length * RATE
    rng = np.random.default_rng([*plan.seed, _AUDIO_SEED])
    total = 10 ** (rng.uniform(-52, -38) / 20) * noise(rng, total_length, 20, 7800, rng.uniform(0, 1))
    edge = int(_FADE * RATE)
    for event in plan.audio:
        length = (event.offset - event.onset) * RATE
        waveform = sources.sample_audio(labels[event.label], rng, length)
        waveform = generate_audio(labels[event.label], rng, length) if waveform is None else waveform
        fade = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / edge)
        gain = 10 ** (rng.uniform(-24, -15) / 20)
        total[event.onset * RATE : event.offset * RATE] += gain * waveform * fade
    return np.clip(total, -1, 1)


def draw_frames(plan: ClipPlan, labels: Sequence[str], sources: Sources = NO_SOURCES) -> Iterator[NDArray[np.uint8]]:
    """Draw the frames of a clip, `FRAME_RATE` per second.

    Args:
        plan: events of the clip.
        labels: the C classes that the plan's indices refer to.
        sources: user files that replace generated visuals; by default none.

    Yields:
        (240, 320, 3) uint8 RGB.

    Raises:
        MediaError: a source file cannot be read.
    """
    rng = np.random.default_rng([*plan.seed, _VISUAL_SEED])
    background = _background(rng)
    drift = rng.uniform(-0.3, 0.3)  # radians per second of the camera's swing
    placements = _place_events(plan, rng)
    loops = [sources.sample_visual(labels[event.label], rng) for event in plan.visual]
    for number in range(plan.length * FRAME_RATE):
        time = number / FRAME_RATE
        left = round(WIDTH / 2 * (1 + np.sin(drift * time)))
        image = background.crop((left, 0, left + WIDTH, HEIGHT))
        for event, (x, y, size, mirrored, appearance), loop in zip(plan.visual, placements, loops, strict=True):
            if not event.onset <= time < event.offset:
                continue
            if loop is not None:
                frame = loop.frame_at(time - event.onset).resize((int(size), int(size)))
                image.paste(frame, (int(x - size / 2), int(y - size / 2)))
                continue
            draw = Drawing(image, x, y, size, tilt=0.08 * appearance.swing(time, 0.2), mirrored=mirrored)
            draw_visual(labels[event.label], draw, appearance, time)
        yield np.asarray(image)


def _place_events(plan: ClipPlan, rng: np.random.Generator) -> list[_Placement]:
    """Draw a placement for each visual event; events that overlap in time do not cover each other."""
    placements = []
    for cell in _assign_cells(plan.visual, plan.columns * _ROWS, rng):
        x = WIDTH / 2 + (cell % plan.columns - (plan.columns - 1) / 2) * _CELL + rng.uniform(-5, 5)
        y = HEIGHT / 2 + (cell // plan.columns - (_ROWS - 1) / 2) * _CELL + rng.uniform(-5, 5)
        appearance = Appearance(rng.uniform(-0.02, 0.02), rng.uniform(0.85, 1.12), rng.uniform(0.8, 1.2), rng.random())
        size, mirrored = _CELL * rng.uniform(0.72, 0.98), bool(rng.random() < 0.5)
        placements.append(_Placement(x, y, size, mirrored, appearance))
    return placements


def _assign_cells(events: Sequence[PlannedEvent], count: int, rng: np.random.Generator) -> list[int]:
    """Draw one of `count` cells, at least four, for each event; at most three events are visible at once."""
    cells: dict[int, int] = {}
    for order in (range(len(events)), sorted(range(len(events)), key=lambda index: events[index].onset)):
        cells.clear()
        for index in order:
            event = events[index]
            occupied = {
                cell
                for other, cell in cells.items()
                if event.onset < events[other].offset and events[other].onset < event.offset
            }
            if len(occupied) == count:  # a long event over four in a row: assigning by onset always succeeds
                break
            cells[index] = int(rng.choice([cell for cell in range(count) if cell not in occupied]))
        if len(cells) == len(events):
            break
    return [cells[index] for index in range(len(events))]


def _background(rng: np.random.Generator) -> Image.Image:
    """Draw a dull, blurred background, twice as wide as the frame; its right half mirrors the left."""
    high, hue = rng.uniform(0.35, 0.75), rng.random()
    top, bottom = hsv_color(hue, 0.2, high), hsv_color(hue + rng.uniform(-0.1, 0.1), 0.25, high * rng.uniform(0.5, 0.9))
    slope = np.linspace(0, 1, HEIGHT)[:, None, None]
    image = Image.fromarray(
        np.broadcast_to((1 - slope) * top + slope * bottom, (HEIGHT, WIDTH, 3)).astype(np.uint8).copy()
    )
    for _ in range(rng.integers(3, 9)):
        draw = Drawing(image, rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT), rng.uniform(30, 160), rng.uniform(0, 3))
        dull = hsv_color(hue + rng.uniform(-0.15, 0.15), 0.25, rng.uniform(0.25, 0.8))
        draw.box(-1, -rng.uniform(0.2, 1), 1, 1, dull)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(2, 6)))
    grain = rng.normal(0, rng.uniform(1, 6), (HEIGHT, WIDTH, 1))
    values = np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)
    return Image.fromarray(np.concatenate([values, values[:, ::-1]], axis=1))
