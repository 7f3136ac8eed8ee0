"""Open a storage by path or address."""

from __future__ import annotations

from pathlib import Path

from ..errors import SetupError
from ..text import escape
from .local_storage import LocalStorage, _told
from .storage import Storage


def open_storage(location: str | Path) -> Storage:
    """A folder, made where there is none, or an address such as s3://bucket/folder. Raises SetupError, OutputError."""
    if "://" in str(location):
        from .remote_storage import RemoteStorage

        return RemoteStorage(str(location))
    root = Path(location)
    if root.exists() and not root.is_dir():
        raise SetupError(f"{escape(root)}: is not a folder")
    with _told(root, "created"):
        root.mkdir(parents=True, exist_ok=True)
    return LocalStorage(root)
