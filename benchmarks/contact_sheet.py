"""What generated classes look and sound like, on one picture: two moments of each sight, two seconds of each sound.

python benchmarks/contact_sheet.py [docs/classes.png]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from avvp.extractors.mel import log_mel
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.synthetic.class_sounds import make_sound
from avvp.pipeline.synthetic.class_visuals import Appearance, draw_sight
from avvp.pipeline.synthetic.drawing import Brush
from avvp.pipeline.synthetic.waveforms import RATE
from PIL import Image, ImageDraw

CELL, SOUND_HEIGHT, TITLE, ACROSS = 96, 64, 16, 5
WALL = (150, 146, 136)


def draw_class(label: str) -> Image.Image:
    """One class: its name, two moments, and a log-mel spectrogram, low frequencies below."""
    rng = np.random.default_rng(len(label))
    cell = Image.new("RGB", (2 * CELL, TITLE + CELL + SOUND_HEIGHT), WALL)
    ImageDraw.Draw(cell).text((3, 2), label, fill=(0, 0, 0))
    look = Appearance(0, 1, 1, 0.1)
    for number, time in enumerate((0.05, 0.3)):
        brush = Brush(cell, CELL * (number + 0.5), TITLE + CELL / 2 + 2, 0.82 * CELL)
        draw_sight(label, brush, look, time)
    rows = log_mel(0.12 * make_sound(label, rng, 2 * RATE)).T[::-1]
    grey = np.clip(255 * (rows + 4.6) / 7, 0, 255).astype(np.uint8)
    cell.paste(Image.fromarray(grey).resize((2 * CELL - 4, SOUND_HEIGHT - 4)), (2, TITLE + CELL + 2))
    return cell


def main() -> None:
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/classes.png")
    cells = [draw_class(label) for label in LLP_LABELS]
    width, height = cells[0].size
    sheet = Image.new("RGB", (ACROSS * (width + 4), -(-len(cells) // ACROSS) * (height + 4)), (255, 255, 255))
    for number, cell in enumerate(cells):
        sheet.paste(cell, (number % ACROSS * (width + 4) + 2, number // ACROSS * (height + 4) + 2))
    sheet.convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
