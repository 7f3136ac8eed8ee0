"""Lines of AVE's lists of clips: ``class&video&quality&start&end``."""

from __future__ import annotations

from typing import NamedTuple

_CELLS = 5
_SEPARATOR = "&"


class AveRow(NamedTuple):
    """Cells of a line, as written. The class may hold any character, also commas and the separator."""

    label: str
    video: str  # id of the video on YouTube
    quality: str  # "good"
    start: str  # seconds
    end: str

    @property
    def is_header(self) -> bool:
        """Whether the line names the columns: Category, VideoID, Quality, StartTime, EndTime."""
        return self.video.casefold() == "videoid"


def split_ave_row(line: str) -> AveRow | None:
    """Split a line into its cells.

    Args:
        line: of a list.

    Returns:
        The cells without surrounding whitespace, None for a line of another form.
    """
    cells = [cell.strip() for cell in line.rsplit(_SEPARATOR, _CELLS - 1)]
    return AveRow(*cells) if len(cells) == _CELLS else None
