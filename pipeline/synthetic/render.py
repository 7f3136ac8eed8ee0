"""From a plan to a file: sound and pictures, coded by ffmpeg. The same plan gives the same bytes."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ..decode.ffmpeg import ffmpeg_binary
from ..errors import OutputError
from ..files import replacing
from .class_sounds import make_sound
from .class_visuals import Appearance, draw_sight
from .clip_plan import ClipPlan, Event
from .drawing import Brush, paint
from .user_sources import NO_SOURCES, Sources
from .waveforms import RATE, Sound, noise

WIDTH, HEIGHT, FRAMES_A_SECOND = 320, 240, 16
_FADE = 0.02  # seconds in which an event's sound comes and goes
_CELL = 104  # pixels of a place for a sight: four of them fill the middle, which is all that networks see


def render(plan: ClipPlan, path: Path, labels: Sequence[str], sources: Sources = NO_SOURCES) -> None:
    """Make the file, whole or not at all. Raises OutputError."""
    sound = mix_sound(plan, labels, sources)
    with tempfile.TemporaryDirectory(prefix="avvp-synth-") as folder, replacing(path) as target:
        samples = Path(folder) / "sound.s16"
        samples.write_bytes((sound * 32767).astype("<i2").tobytes())
        command = [ffmpeg_binary(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
        command += ["-s", f"{WIDTH}x{HEIGHT}", "-r", str(FRAMES_A_SECOND), "-i", "pipe:0"]
        command += ["-f", "s16le", "-ar", str(RATE), "-ac", "1", "-i", str(samples)]
        command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "26", "-pix_fmt", "yuv420p", "-threads", "1"]
        command += ["-c:a", "aac", "-b:a", "64k", "-map_metadata", "-1", "-fflags", "+bitexact"]
        command += ["-flags:v", "+bitexact", "-flags:a", "+bitexact", "-f", "mp4", str(target)]
        said = Path(folder) / "said"
        with said.open("wb") as errors, subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors) as coder:
            assert coder.stdin is not None
            try:
                for picture in draw_pictures(plan, labels, sources):
                    coder.stdin.write(picture.tobytes())
                coder.stdin.close()
            except BrokenPipeError:
                pass  # it says why
        message = said.read_text(errors="replace").strip()
        if coder.returncode:
            raise OutputError(f"{path}: ffmpeg could not code the clip: {message.splitlines()[-1] if message else '?'}")


def end_with_parent() -> None:
    """In a worker: leave when the process that started it is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def mix_sound(plan: ClipPlan, labels: Sequence[str], sources: Sources = NO_SOURCES) -> Sound:
    """The sound of a clip, (T x 16000,) in [-1, 1]: events over a noisy background."""
    total_length = plan.length * RATE
    rng = np.random.default_rng([*plan.seed, 1])
    total = 10 ** (rng.uniform(-52, -38) / 20) * noise(rng, total_length, 20, 7800, rng.uniform(0, 1))
    edge = int(_FADE * RATE)
    for event in plan.heard:
        length = (event.offset - event.onset) * RATE
        made = sources.sound(labels[event.label], rng, length)
        made = make_sound(labels[event.label], rng, length) if made is None else made
        ramp = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / edge)
        loudness = 10 ** (rng.uniform(-24, -15) / 20)
        total[event.onset * RATE : event.offset * RATE] += loudness * made * ramp
    return np.clip(total, -1, 1)


def draw_pictures(plan: ClipPlan, labels: Sequence[str], sources: Sources = NO_SOURCES) -> Iterator[NDArray[np.uint8]]:
    """The pictures of a clip, (240, 320, 3) RGB, sixteen a second."""
    rng = np.random.default_rng([*plan.seed, 2])
    wide = _background(rng)
    drift = rng.uniform(-0.3, 0.3)  # turns of a second, there and back
    actors = _place(plan.seen, rng)
    filmed = [sources.sight(labels[event.label], rng) for event in plan.seen]
    for number in range(plan.length * FRAMES_A_SECOND):
        time = number / FRAMES_A_SECOND
        left = round(WIDTH / 2 * (1 + np.sin(drift * time)))
        picture = wide.crop((left, 0, left + WIDTH, HEIGHT))
        for event, (x, y, size, mirrored, look), film in zip(plan.seen, actors, filmed, strict=True):
            if not event.onset <= time < event.offset:
                continue
            if film is not None:
                frame = film.at(time - event.onset).resize((int(size), int(size)))
                picture.paste(frame, (int(x - size / 2), int(y - size / 2)))
                continue
            brush = Brush(picture, x, y, size, tilt=0.08 * look.swing(time, 0.2), mirrored=mirrored)
            draw_sight(labels[event.label], brush, look, time)
        yield np.asarray(picture)


def _place(events: Sequence[Event], rng: np.random.Generator) -> list[tuple[float, float, float, bool, Appearance]]:
    """A place, size and look for each; those that are seen together do not cover each other."""
    placed = []
    for cell in _cells(events, rng):
        x = WIDTH / 2 + (cell % 2 - 0.5) * _CELL + rng.uniform(-5, 5)
        y = HEIGHT / 2 + (cell // 2 - 0.5) * _CELL + rng.uniform(-5, 5)
        look = Appearance(rng.uniform(-0.02, 0.02), rng.uniform(0.85, 1.12), rng.uniform(0.8, 1.2), rng.random())
        placed.append((x, y, _CELL * rng.uniform(0.72, 0.98), bool(rng.random() < 0.5), look))
    return placed


def _cells(events: Sequence[Event], rng: np.random.Generator) -> list[int]:
    """One of four cells for each event; at most three are seen at once."""
    cells: dict[int, int] = {}
    for order in (range(len(events)), sorted(range(len(events)), key=lambda index: events[index].onset)):
        cells.clear()
        for index in order:
            event = events[index]
            met = {
                cell
                for other, cell in cells.items()
                if event.onset < events[other].offset and events[other].onset < event.offset
            }
            if len(met) == 4:  # of a long event and four that come one after another: begin with the earliest
                break
            cells[index] = int(rng.choice([cell for cell in range(4) if cell not in met]))
        if len(cells) == len(events):
            break
    return [cells[index] for index in range(len(events))]


def _background(rng: np.random.Generator) -> Image.Image:
    """A dull, blurred picture twice as wide as the frame: a wall, a meadow, a street, out of focus."""
    high, hue = rng.uniform(0.35, 0.75), rng.random()
    top, bottom = paint(hue, 0.2, high), paint(hue + rng.uniform(-0.1, 0.1), 0.25, high * rng.uniform(0.5, 0.9))
    slope = np.linspace(0, 1, HEIGHT)[:, None, None]
    picture = Image.fromarray(
        np.broadcast_to((1 - slope) * top + slope * bottom, (HEIGHT, WIDTH, 3)).astype(np.uint8).copy()
    )
    for _ in range(rng.integers(3, 9)):
        brush = Brush(picture, rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT), rng.uniform(30, 160), rng.uniform(0, 3))
        dull = paint(hue + rng.uniform(-0.15, 0.15), 0.25, rng.uniform(0.25, 0.8))
        brush.box(-1, -rng.uniform(0.2, 1), 1, 1, dull)
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(2, 6)))
    grain = rng.normal(0, rng.uniform(1, 6), (HEIGHT, WIDTH, 1))
    values = np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)
    return Image.fromarray(np.concatenate([values, values[:, ::-1]], axis=1))
