"""Describe weight files that are on no disk: where they come from, and where they belong."""

from __future__ import annotations

from pathlib import Path

from ..locate import describe_demo, search_folders
from ..manifest import WeightFile
from ..messages import escape, file_size
from .drive import DRIVE_FILE, DRIVE_FOLDER
from .hub import SCHEME, web_address


def missing_message(files: list[WeightFile], weights_dir: Path | None = None) -> str:
    """Describe missing files for the user.

    Args:
        files: the missing files.
        weights_dir: as in `search_folders`.

    Returns:
        Several lines: the bundle that needs none of them, then each file with its addresses, and the folder to put it
        into.
    """
    one = len(files) == 1
    lines = [
        f"{len(files)} weight file{' is' if one else 's are'} missing, {file_size(sum(file.size for file in files))}:",
        f"  without a download: {describe_demo()}",
    ]
    if keys := [file.key for file in files if file.folder is None and file.urls]:
        lines.append(f"  with network access: avvp weights fetch {' '.join(keys)}")
    folders = dict.fromkeys(escape(file.folder or search_folders(weights_dir)[0]) for file in files)
    lines.append(f"  or put {'it' if one else 'them'} into {', '.join(folders)}:")
    for file in files:
        addresses = ", ".join(map(readable_url, file.urls)) or "shipped with the program; reinstall it"
        lines.append(f"    {file.name} ({file_size(file.size)}): {addresses}")
    return "\n".join(lines)


def readable_url(url: str) -> str:
    """Return an address that a browser can open.

    Args:
        url: as in the manifest; "gdrive:ID" is a Google Drive file, "gdrive-folder:ID/NAME" one in a folder there,
            "hf://" one of a hub.

    Returns:
        An http(s) address.
    """
    if url.startswith(SCHEME):
        return web_address(url)
    kind, _, identifier = url.partition(":")
    if kind == DRIVE_FOLDER:
        return f"https://drive.google.com/drive/folders/{identifier.partition('/')[0]}"
    return f"https://drive.google.com/file/d/{identifier}/view" if kind == DRIVE_FILE else url
