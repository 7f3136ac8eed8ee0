"""Contact sheets: a tile for each cut, with the frame of its events."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline.outputs.cuts import contact_sheet
from avvp.pipeline.outputs.cuts.contact_sheet import draw_sheets, sheet_count, sheet_name
from avvp.pipeline.outputs.cuts.plan import Cut
from PIL import Image
from support.media import Clips, read_number


def cut(media: Path, onset: float, offset: float, label: str = "Dog") -> Cut:
    return Cut("x.mp4", media.stem, media, label, "audio", onset, offset, 0.5, 1, onset, offset)


def tile(sheet: Image.Image, index: int) -> np.ndarray:
    """The picture of a tile, (144, 192, 3), as wide as a frame of 4:3."""
    left, top = 12 + index % 5 * 268, 12 + index // 5 * 204
    return np.asarray(sheet)[top : top + 144, left + 32 : left + 224]


def test_each_tile_has_the_frame_in_the_middle_of_its_events(clips: Clips) -> None:
    times = [(0.0, 1.0), (1.0, 1.5), (2.0, 2.5), (0.25, 0.3), (2.8, 2.9), (0.1, 0.2)]
    (content,) = draw_sheets([cut(clips.steady, *time) for time in times], timeout=60)
    sheet = Image.open(io.BytesIO(content))
    assert sheet.size == (5 * 268 + 12, 2 * 204 + 12)
    for index, (onset, offset) in enumerate(times):
        assert read_number(tile(sheet, index)) == int((onset + offset) / 2 * 24 + 1e-6)
        caption = np.asarray(sheet.convert("L"))[12 + index // 5 * 204 + 146 :][:44, 12 + index % 5 * 268 :][:, :256]
        assert (caption < 100).sum() > 50


def test_media_without_picture_or_that_cannot_be_decoded(clips: Clips, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("nothing")
    (content,) = draw_sheets([cut(clips.tone, 0, 1), cut(broken, 0, 1), cut(clips.steady, 0, 1)], timeout=60)
    sheet = Image.open(io.BytesIO(content))
    assert [int(tile(sheet, index).min()) > 60 for index in range(3)] == [True, True, False]


def test_hostile_and_long_names_stay_in_their_tile(clips: Clips) -> None:
    labels = ["W" * 1000, "\x1b[2J\n\udcff", "\u72ac" * 50, ""]
    (content,) = draw_sheets([cut(clips.tone, 0, 86_400, label) for label in labels], timeout=60)
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    gaps = [pixels[:, 268 * index : 268 * index + 11] for index in range(5)]
    assert all((gap > 240).all() for gap in gaps)


def test_many_cuts_take_several_sheets(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact_sheet, "TILES_PER_SHEET", 2)
    assert len(list(draw_sheets([cut(clips.tone, 0, 1)] * 5, timeout=60))) == sheet_count(5) == 3
    assert [sheet_name(number) for number in range(2)] == ["contact-sheet.jpg", "contact-sheet-2.jpg"]
    assert sheet_count(0) == 0
