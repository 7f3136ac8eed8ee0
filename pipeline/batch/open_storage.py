"""Open a storage by path or address."""

from __future__ import annotations

from pathlib import Path

from ..errors import SetupError
from ..files import make_folder
from ..text import escape
from .local_storage import LocalStorage, refusals_as_output_error
from .storage import Storage


def open_storage(location: str | Path) -> Storage:
    """Open a storage.

    Args:
        location: a folder, created if it does not exist, or an address that fsspec supports (s3://bucket/folder).

    Raises:
        SetupError: the path is not a folder, or the address cannot be used.
        OutputError: the folder cannot be created.
    """
    if "://" in str(location):
        from .remote_storage import RemoteStorage

        return RemoteStorage(str(location))
    root = Path(location)
    with refusals_as_output_error(root, "created"):
        if root.exists() and not root.is_dir():
            raise SetupError(f"{escape(root)}: is not a folder")
        exists = root.is_dir()
    if not exists:
        make_folder(root)
    return LocalStorage(root)


def open_existing_storage(location: str | Path) -> Storage:
    """Open a storage to read; nothing is created.

    Args:
        location: a folder, or an address that fsspec supports.

    Raises:
        SetupError: there is no such folder, or the address cannot be used.
    """
    if "://" not in str(location) and not Path(location).is_dir():
        raise SetupError(f"{escape(location)}: no such folder")
    return open_storage(location)
