"""Draw an overview of the generated classes: two moments of each class's visuals, two seconds of its audio.

    python benchmarks/contact_sheet.py [docs/classes.png]

Prints the size of the image file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from avvp.extractors.mel import log_mel
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.synthetic.class_sounds import generate_audio
from avvp.pipeline.synthetic.class_visuals import Appearance, draw_visual
from avvp.pipeline.synthetic.drawing import Drawing
from avvp.pipeline.synthetic.waveforms import RATE
from measure.options import make_parser
from PIL import Image, ImageDraw

CELL, AUDIO_HEIGHT, TITLE, COLUMNS, MARGIN = 96, 64, 16, 5, 4  # pixels, but for the number of columns
BACKGROUND = (150, 146, 136)
_DOCS = Path(__file__).resolve().parents[1] / "docs"


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("target", nargs="?", type=Path, default=_DOCS / "classes.png")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / "classes.png" if options.smoke else options.target
        draw_sheet(LLP_LABELS[:2] if options.smoke else LLP_LABELS).save(target, optimize=True)
        print(f"{target}: {target.stat().st_size / 1024:.0f} KiB")


def draw_sheet(labels: Sequence[str]) -> Image.Image:
    """Draw the classes in rows of five, in 128 colours."""
    cells = [draw_class(label) for label in labels]
    width, height = (length + MARGIN for length in cells[0].size)
    sheet = Image.new("RGB", (COLUMNS * width, -(-len(cells) // COLUMNS) * height), (255, 255, 255))
    for number, cell in enumerate(cells):
        row, column = divmod(number, COLUMNS)
        sheet.paste(cell, (column * width + MARGIN // 2, row * height + MARGIN // 2))
    return sheet.convert("P", palette=Image.Palette.ADAPTIVE, colors=128)


def draw_class(label: str) -> Image.Image:
    """Draw one class: its name, two moments, and a log-mel spectrogram with low frequencies at the bottom."""
    rng = np.random.default_rng(len(label))
    cell = Image.new("RGB", (2 * CELL, TITLE + CELL + AUDIO_HEIGHT), BACKGROUND)
    ImageDraw.Draw(cell).text((3, 2), label, fill=(0, 0, 0))
    appearance = Appearance(0, 1, 1, 0.1)
    for number, time in enumerate((0.05, 0.3)):
        draw = Drawing(cell, CELL * (number + 0.5), TITLE + CELL / 2 + 2, 0.82 * CELL)
        draw_visual(label, draw, appearance, time)
    bands = log_mel(0.12 * generate_audio(label, rng, 2 * RATE)).T[::-1]
    grey = np.clip(255 * (bands + 4.6) / 7, 0, 255).astype(np.uint8)
    cell.paste(Image.fromarray(grey).resize((2 * CELL - 4, AUDIO_HEIGHT - 4)), (2, TITLE + CELL + 2))
    return cell


if __name__ == "__main__":
    main()
