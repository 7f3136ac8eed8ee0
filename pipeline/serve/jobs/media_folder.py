"""The folder whose media may be parsed: what is listed of it, and which names lead to a file in it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ....weights.messages import shown
from ....weights.safe_paths import UnsafePathError, inside, is_file
from ...errors import MediaError
from ...files import MEDIA_SUFFIXES, is_hidden
from .limits import MAX_LISTED


@dataclass(frozen=True)
class Listing:
    """Media files of a folder.

    Attributes:
        names: paths relative to the folder, with "/" between folders, sorted.
        complete: False where the folder has more files than are looked at, or a folder in it cannot be listed.
    """

    names: tuple[str, ...]
    complete: bool


class MediaFolder:
    """A folder of media files, and the folders below it. Links that lead out of it lead nowhere."""

    def __init__(self, root: Path, *, without: Iterable[Path]) -> None:
        """Name the folder.

        Args:
            root: the folder.
            without: folders whose files are not listed: what the server keeps, which may be inside.
        """
        self.root = root
        self._without = {folder.resolve() for folder in without}

    def find(self, name: object) -> Path:
        """Return the file of a name.

        Raises:
            MediaError: the name leads out of the folder, or to no file in it.
        """
        try:
            path = inside(self.root, name)
        except UnsafePathError as error:
            raise MediaError(Path(str(name)[:200]), str(error)) from error
        if not is_file(path) or any(map(path.resolve().is_relative_to, self._without)):
            raise MediaError(Path(str(name)), f"no such file in the folder of this server: {shown(name)}")
        return path

    def list(self, search: str = "") -> Listing:
        """List media files by their suffix, without hidden ones.

        Args:
            search: part of the names, in any case.
        """
        found: list[str] = []
        seen, failed = 0, list[OSError]()
        for folder, folders, files in os.walk(self.root, onerror=failed.append):
            here = Path(folder)
            folders[:] = sorted(
                name for name in folders if not is_hidden(name) and (here / name).resolve() not in self._without
            )
            for name in sorted(files):
                seen += 1
                if seen > MAX_LISTED:
                    return Listing(tuple(sorted(found)), complete=False)
                if self._is_media(here / name):
                    relative = (here / name).relative_to(self.root).as_posix()
                    if search.casefold() in relative.casefold():
                        found.append(relative)
        return Listing(tuple(sorted(found)), complete=not failed)

    def _is_media(self, path: Path) -> bool:
        if is_hidden(path.name) or path.suffix.lower() not in MEDIA_SUFFIXES or not is_file(path):
            return False
        if not path.is_symlink():
            return True
        try:
            inside(self.root, path.relative_to(self.root).as_posix())
        except UnsafePathError:
            return False
        return True
