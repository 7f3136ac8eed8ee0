"""Contact sheets: a picture with a thumbnail, the class and the time of each cut."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...clock import format_clock
from ...errors import MediaError
from ...text import display_label, escape
from ...timeline import MODALITY_WORDS, Modality
from ..plots.thumbnails import frames_at
from .plan import Cut

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image, ImageDraw

TILES_PER_SHEET = 200  # cuts of one sheet; more go to further sheets
_COLUMNS = 5
_WIDTH, _HEIGHT, _CAPTION, _GAP = 256, 144, 48, 12  # pixels
_QUALITY = 88  # of JPEG
_PAPER, _EMPTY, _INK, _PALE = "#ffffff", "#e8ebee", "#1f2328", "#59636e"
_COLOURS: dict[Modality, str] = {"audio": "#0b6e8a", "visual": "#9a3a86", "audio_visual": "#3f7d20"}
_FONT_SIZE = 15


def sheet_name(number: int) -> str:
    """Return the name of a sheet, the first one being 0."""
    return "contact-sheet.jpg" if number == 0 else f"contact-sheet-{number + 1}.jpg"


def sheet_count(cuts: int) -> int:
    """Return the number of sheets for a number of cuts."""
    return -(-cuts // TILES_PER_SHEET)


def draw_sheets(cuts: Sequence[Cut], *, timeout: float) -> Iterator[bytes]:
    """Draw contact sheets.

    A thumbnail is the frame in the middle of the events. Media without video, and frames that cannot be decoded, have
    an empty tile.

    Args:
        cuts: in order; those of one media file follow each other.
        timeout: seconds without progress after which a decoder is stopped.

    Yields:
        The JPEG file of each sheet, with at most `TILES_PER_SHEET` cuts.
    """
    for first in range(0, len(cuts), TILES_PER_SHEET):
        chosen = cuts[first : first + TILES_PER_SHEET]
        yield _draw_sheet(chosen, _thumbnails(chosen, timeout))


def _thumbnails(cuts: Sequence[Cut], timeout: float) -> list[NDArray[np.uint8] | None]:
    times: dict[Path, list[float]] = {}
    for cut in cuts:
        times.setdefault(cut.media, []).append((cut.onset + cut.offset) / 2)
    frames = {media: iter(_frames(media, moments, timeout)) for media, moments in times.items()}
    return [next(frames[cut.media]) for cut in cuts]


def _frames(media: Path, times: Sequence[float], timeout: float) -> Sequence[NDArray[np.uint8] | None]:
    try:
        return frames_at(media, times, height=_HEIGHT, timeout=timeout)
    except MediaError:  # the cuts themselves are complete
        return [None] * len(times)


def _draw_sheet(cuts: Sequence[Cut], frames: Sequence[NDArray[np.uint8] | None]) -> bytes:
    from PIL import Image, ImageDraw

    columns = min(_COLUMNS, len(cuts))
    rows = -(-len(cuts) // columns)
    size = (columns * (_WIDTH + _GAP) + _GAP, rows * (_HEIGHT + _CAPTION + _GAP) + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw, fonts = ImageDraw.Draw(sheet), _fonts()
    for index, (cut, frame) in enumerate(zip(cuts, frames, strict=True)):
        left = _GAP + index % columns * (_WIDTH + _GAP)
        top = _GAP + index // columns * (_HEIGHT + _CAPTION + _GAP)
        draw.rectangle((left, top, left + _WIDTH - 1, top + _HEIGHT - 1), fill=_EMPTY)
        if frame is None:
            draw.text((left + _WIDTH / 2, top + _HEIGHT / 2), "no picture", _PALE, fonts[1], anchor="mm")
        else:
            _paste(sheet, Image.fromarray(frame), left, top)
        _write_caption(draw, cut, left, top + _HEIGHT, fonts)
    content = io.BytesIO()
    sheet.save(content, "JPEG", quality=_QUALITY)
    return content.getvalue()


def _fonts() -> tuple[Any, Any]:
    """Return a bold and a regular font. DejaVu comes with matplotlib, and has most alphabets."""
    import matplotlib
    from PIL import ImageFont

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    bold = ImageFont.truetype(folder / "DejaVuSans-Bold.ttf", _FONT_SIZE)
    return bold, ImageFont.truetype(folder / "DejaVuSans.ttf", _FONT_SIZE - 2)


def _paste(sheet: Image.Image, frame: Image.Image, left: int, top: int) -> None:
    """Paste a frame into the middle of its tile, made smaller where it is wider."""
    frame.thumbnail((_WIDTH, _HEIGHT))
    sheet.paste(frame, (left + (_WIDTH - frame.width) // 2, top + (_HEIGHT - frame.height) // 2))


def _write_caption(draw: ImageDraw.ImageDraw, cut: Cut, left: int, top: int, fonts: tuple[Any, Any]) -> None:
    word = MODALITY_WORDS[cut.modality]
    word_width = draw.textlength(word, fonts[1])
    label = _shorten(draw, display_label(cut.label), fonts[0], _WIDTH - word_width - _GAP)
    draw.text((left, top + 5), label, _INK, fonts[0])
    draw.text((left + _WIDTH - word_width, top + 7), word, _COLOURS[cut.modality], fonts[1])
    times = f"{format_clock(cut.onset, decimals=1)} - {format_clock(cut.offset, decimals=1)}"
    space = _WIDTH - draw.textlength(times, fonts[1]) - _GAP
    draw.text((left, top + 27), times, _PALE, fonts[1])
    video = _shorten(draw, escape(cut.video), fonts[1], space)
    draw.text((left + _WIDTH - draw.textlength(video, fonts[1]), top + 27), video, _PALE, fonts[1])


def _shorten(draw: ImageDraw.ImageDraw, text: str, font: Any, width: float) -> str:
    text = text[:_WIDTH]
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(f"{text}...", font) > width:
        text = text[:-1]
    return f"{text}..."
