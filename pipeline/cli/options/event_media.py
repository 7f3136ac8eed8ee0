"""The media files of timelines: those that the user names or that lie beside the events, never others."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from ....weights.safe_paths import UnsafePathError, inside
from ...errors import SetupError
from ...files import MEDIA_SUFFIXES, is_file
from ...text import escape, shorten

if TYPE_CHECKING:
    from ...timeline import Timeline


class MediaFinder:
    """Search for the media of timelines.

    The path in a file of events may be anything, also that of a private file: only its last part is used.
    """

    def __init__(self, media: Path | None) -> None:
        """Choose where to look.

        Args:
            media: the file of a single timeline, or a folder; None looks beside each file of events.
        """
        self._media = media

    def find(self, timeline: Timeline, source: Path) -> Path | None:
        """Find the file of a timeline.

        Args:
            timeline: names its media.
            source: the file it was read from.

        Returns:
            The file that the user named; a file with the stated name in the folder that the user named, else one with
            the name of the timeline; a file with the stated name beside `source`, unless it is a link that leads out
            of that folder. None where there is none.

        Raises:
            SetupError: the folder cannot be listed.
        """
        name = _media_name(timeline)
        if self._media is None:
            try:
                beside = inside(source.parent, name)
            except UnsafePathError:
                return None
            return beside if beside.suffix.lower() in MEDIA_SUFFIXES and is_file(beside) else None
        if not self._media.is_dir():
            return self._media
        if name and is_file(self._media / name):
            return self._media / name
        return self._by_stem.get(timeline.name)

    @cached_property
    def _by_stem(self) -> Mapping[str, Path]:
        """Name without suffix -> the first media file of the folder that has it."""
        assert self._media is not None
        try:
            paths = sorted(self._media.iterdir(), reverse=True)
        except OSError as error:
            raise SetupError(f"{escape(self._media)}: cannot be listed: {error.strerror}") from error
        return {path.stem: path for path in paths if path.suffix.lower() in MEDIA_SUFFIXES and is_file(path)}

    def describe_missing(self, timeline: Timeline, source: Path) -> str:
        """Say where the media of a timeline, which were not found, were looked for."""
        name = shorten(_media_name(timeline) or timeline.name)
        folder = source.parent if self._media is None else self._media
        return f"there is no video {name} in {escape(folder.resolve().name) or '/'}"


def _media_name(timeline: Timeline) -> str:
    name = PurePath(str(timeline.media.get("path", ""))).name
    return "" if name == ".." or "\0" in name else name
