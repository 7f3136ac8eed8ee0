"""Small pictures of media files, beside the index that shows them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from ...errors import MediaError, SetupError
from ...files import is_file, make_folder, write_atomic
from ...text import escape
from .bands import jpeg_within

THUMBNAILS = "thumbnails"
_COMMENT = b"avvp"  # in the JPEG file, by which a picture of this program is told from others
_HEAD = 256  # bytes of a picture in which the comment stands
_BYTES = 5_000  # of a picture: 192 x 108 pixels


def thumbnail_path(page: Path) -> Path:
    """Return the path of the picture of a page."""
    return page.parent / THUMBNAILS / f"{page.stem}.jpg"


def check_thumbnails(pages: Iterable[Path]) -> None:
    """Raise SetupError where the picture of a page would replace a file that avvp did not write."""
    for path in map(thumbnail_path, pages):
        if is_file(path) and not _is_thumbnail(path):
            raise SetupError(f"{escape(path)}: was not written by avvp; choose another folder")


def _is_thumbnail(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b"\xff\xfe\x00\x06" + _COMMENT in file.read(_HEAD)
    except OSError:
        return False


def write_thumbnail(page: Path, media: Path | None, seconds: float) -> bool:
    """Write the picture of a page, or remove that of an earlier run where its media have none any more.

    Args:
        page: the page.
        media: its media file; None where there is none.
        seconds: the time of which the picture is.

    Returns:
        Whether the media have a picture; audio and broken files have none.

    Raises:
        OutputError: the picture cannot be written.
    """
    from PIL import Image

    from ..plots.film import key_frame

    frame = None
    if media is not None and is_file(media):
        with contextlib.suppress(MediaError):  # the page says what is wrong
            frame = key_frame(media, seconds)
            if frame is None:  # the video is shorter than its file says
                frame = key_frame(media, 0.0)
    path = thumbnail_path(page)
    if frame is None:
        if _is_thumbnail(path):
            path.unlink()
        return False
    make_folder(path.parent)
    write_atomic(path, jpeg_within(Image.fromarray(frame), _BYTES, comment=_COMMENT))
    return True
