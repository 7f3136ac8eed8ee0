"""Lists of clips to download: annotations of LLP, AudioSet's and AVE's tables, and plain lists of ids or addresses."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...weights.unicode import TextError
from ..datasets.ave_rows import split_ave_row
from ..errors import DatasetError, SetupError
from ..segments import MAX_MEDIA_SECONDS
from ..tables import parse_table
from ..text import escape, shorten
from ..text_files import read_text
from .addresses import is_address, name_of

MAX_CLIPS = 3_000_000  # of all lists; AudioSet has 2.1 million
YOUTUBE = "https://www.youtube.com/watch?v={id}"
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_CUT_NAME = re.compile(r"(?P<video>.+)_(?P<start>\d{1,6}(?:\.\d{1,6})?)_(?P<end>\d{1,6}(?:\.\d{1,6})?)", re.ASCII)
_NAME_COLUMN = "filename"
_AUDIOSET_CELLS = 3  # id, start, end, and labels


@dataclass(frozen=True)
class Clip:
    """A clip to download.

    Attributes:
        id: name of its file, without suffix; letters, digits, dots, dashes and underscores.
        address: of the video that it is a part of.
        start: seconds in the video; None for the whole video.
        end: seconds in the video; None for the whole video.
        problem: why it cannot be downloaded, empty where nothing is known: LLP's test clips have ids that have lost
            characters.
    """

    id: str
    address: str
    start: float | None = None
    end: float | None = None
    problem: str = ""


def read_clips(
    paths: Sequence[Path], *, template: str = YOUTUBE, times: Mapping[str, tuple[float, float]] | None = None
) -> list[Clip]:
    """Read lists of clips, each clip once, in the order of the lists.

    A list is a table with a column `filename` (LLP: ``ID_start_end``), AVE's ``Annotations.txt`` (which needs `times`),
    AudioSet's table of segments, or a text with an id, an ``ID_start_end`` or an address in each line.

    Args:
        paths: text files.
        template: of addresses, with {id} in the place of the id of a video.
        times: id of a video -> start and end of its clip, for lists that do not state them, see `read_times`.

    Returns:
        The clips.

    Raises:
        DatasetError: a list cannot be read, or names something that is no clip; the message lists the lines.
        SetupError: the template has no {id}, or is no address.
    """
    if template.count("{id}") != 1 or not is_address(template):
        raise SetupError(f"{escape(template)}: an address template is https://host/path with one {{id}} in it")
    clips: dict[str, Clip] = {}
    problems: list[str] = []
    for path in paths:
        for line, text, alone in _names(path):
            if alone and not times:
                message = "names videos, and not where in them its clips are: give AudioSet's tables with --times"
                raise DatasetError(f"{escape(path)}: {message}")
            try:
                clip = _clip(text, template, times or {})
            except ValueError as error:
                problems.append(f"{escape(path)}, line {line}: {error}")
                continue
            if clips.setdefault(clip.id, clip) != clip:
                problems.append(f"{escape(path)}, line {line}: {clip.id} is the name of two clips")
    if problems:
        raise DatasetError.listing("some lines name no clip", problems)
    if not clips:
        raise DatasetError(f"{', '.join(map(escape, paths))}: no clips")
    if len(clips) > MAX_CLIPS:
        raise DatasetError(f"{len(clips):,} clips are more than {MAX_CLIPS:,}")
    return list(clips.values())


def read_times(path: Path) -> dict[str, tuple[float, float]]:
    """Read where in its video each clip is, from AudioSet's table: ``id, start, end, labels`` in each line.

    Args:
        path: the table; lines that begin with # are left out.

    Returns:
        Id of a video -> start and end in seconds.

    Raises:
        DatasetError: the file cannot be read, or has a line without id and times.
    """
    found: dict[str, tuple[float, float]] = {}
    for line, text in _lines(path):
        match = _audioset(text)
        if match is None:
            raise DatasetError(f"{escape(path)}, line {line}: expected id, start, end (AudioSet's table of segments)")
        video, start, end = match
        found[video] = start, end
    return found


def _names(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield the number of a line, what it names (an address, an id, ID_start_end), and whether it lacks the times.

    Raises DatasetError.
    """
    lines = list(_lines(path))
    header = lines[0][1].lower() if lines else ""
    if _NAME_COLUMN in re.split(r"[\t;,]", header.replace('"', "")):
        try:
            table = parse_table(read_text(path).text, (_NAME_COLUMN,))
        except TextError as error:
            raise DatasetError(f"{escape(path)}: {escape(error)}") from error
        if table.problems:
            raise DatasetError(f"{escape(path)}, line {table.problems[0].line}: {escape(table.problems[0].cause)}")
        yield from ((row.line, row.cells[_NAME_COLUMN], False) for row in table.rows)
        return
    for line, text in lines:
        row = split_ave_row(text)
        if is_address(text):
            yield line, text, False
        elif row is not None:
            if not row.is_header:
                yield line, row.video, True
        elif (segment := _audioset(text)) is not None:
            video, start, end = segment
            yield line, f"{video}_{start:g}_{end:g}", False
        else:
            yield line, text, False


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbers and the texts of lines that are neither empty nor comments. Raises DatasetError."""
    try:
        lines = read_text(path).lines()
    except TextError as error:
        raise DatasetError(f"{escape(path)}: {escape(error)}") from error
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not text.startswith("#"):
            yield number, text


def _audioset(text: str) -> tuple[str, float, float] | None:
    cells = [cell.strip() for cell in text.split(",")]
    if len(cells) < _AUDIOSET_CELLS or not _ID.fullmatch(cells[0]):
        return None
    try:
        start, end = float(cells[1]), float(cells[2])
    except ValueError:
        return None
    return (cells[0], start, end) if 0 <= start < end <= MAX_MEDIA_SECONDS and math.isfinite(end) else None


def _clip(text: str, template: str, times: Mapping[str, tuple[float, float]]) -> Clip:
    """Return the clip that a line names. Raises ValueError, with a message for users."""
    if is_address(text):
        return Clip(name_of(text), text)
    if not _ID.fullmatch(text):
        raise ValueError(f"{shorten(text)} is not an id: letters, digits, dots, dashes and underscores")
    video, start, end = text, None, None
    match = _CUT_NAME.fullmatch(text)
    if match and not (template == YOUTUBE and _YOUTUBE_ID.fullmatch(text)):  # an id may end with _1_2
        video, start, end = match["video"], float(match["start"]), float(match["end"])
        if not start < end <= MAX_MEDIA_SECONDS:
            raise ValueError(f"{shorten(text)} does not end after its start")
    elif text in times:
        start, end = times[text]
    elif times:
        raise ValueError(f"{shorten(text)} has no times in the table of segments")
    is_whole = template != YOUTUBE or _YOUTUBE_ID.fullmatch(video)
    problem = "" if is_whole else f"{shorten(video)} is not the id of a YouTube video, which has 11 characters"
    return Clip(text, template.replace("{id}", video), start, end, problem)
