"""Find weight files on disk and verify them.

Folders are searched in this order: `--weights-dir`, AVVP_WEIGHTS_DIR, the user's cache folder, the folder shipped with
the program. Downloads go to the first of the first three that is set.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import platformdirs

from .errors import WeightsError
from .manifest import Bundle, WeightFile, list_files

SHIPPED = Path(__file__).resolve().parent


def search_folders(weights_dir: Path | None = None) -> list[Path]:
    """Return the folders that are searched for weight files, in order.

    Args:
        weights_dir: searched first; None for the default folders only.

    Returns:
        At least two folders, which need not exist; downloads go to the first.
    """
    variable = os.environ.get("AVVP_WEIGHTS_DIR")
    folders = [weights_dir, Path(variable) if variable else None, Path(platformdirs.user_cache_dir("avvp")) / "weights"]
    return [folder for folder in folders if folder is not None] + [SHIPPED]


def find_file(file: WeightFile, weights_dir: Path | None = None) -> Path | None:
    """Find the first copy of a file in the search folders, without verifying it.

    Args:
        file: of the manifest.
        weights_dir: searched first; None for the default folders only.

    Returns:
        Its path, None when there is no copy.
    """
    candidates = (folder / file.name for folder in search_folders(weights_dir))
    return next((path for path in candidates if path.is_file()), None)


def sha256_of(path: Path) -> str:
    """Compute the sha256 of a file.

    Args:
        path: the file.

    Returns:
        64 hexadecimal digits.

    Raises:
        WeightsError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _looks_like_tensors(path: Path) -> bool:
    """Return whether a file starts like PyTorch's: with the magic bytes of a zip archive or of pickle protocol 2."""
    with path.open("rb") as stream:
        return stream.read(4).startswith((b"PK", b"\x80\x02"))


def verify_file(file: WeightFile, path: Path) -> str:
    """Check the size and the hash of a file against the manifest.

    A file without a published hash must at least start like a PyTorch file.

    Args:
        file: the expected file.
        path: the file on disk.

    Returns:
        Its full sha256, 64 hexadecimal digits.

    Raises:
        WeightsError: the file cannot be read, or is not the expected one.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
    if file.bytes is not None and size != file.bytes:
        raise WeightsError(f"{path}: {size} bytes, expected {file.bytes}: delete it and run `avvp weights fetch`")
    if not file.sha256 and not _looks_like_tensors(path):
        raise WeightsError(f"{path}: not a PyTorch file (perhaps a web page): delete it and run `avvp weights fetch`")
    digest = sha256_of(path)
    if not digest.startswith(file.sha256):
        raise WeightsError(
            f"{path}: wrong hash: sha256 {digest[:16]}…, expected {file.sha256[:16]}"
            ": the file is damaged or a different one; delete it and run `avvp weights fetch`"
        )
    return digest


def bundle_paths(bundle: Bundle, weights_dir: Path | None = None) -> tuple[dict[str, Path], list[WeightFile]]:
    """Find the files of a bundle on disk.

    Args:
        bundle: the bundle.
        weights_dir: searched first; None for the default folders only.

    Returns:
        Path by name in the bundle, and the files of the manifest that are on no disk.

    Raises:
        WeightsError: a file is neither in the bundle's folder nor in the manifest.
    """
    paths: dict[str, Path] = {}
    missing: list[WeightFile] = []
    known = list_files()
    for name in bundle.files:
        if bundle.root is not None and (bundle.root / name).is_file():
            paths[name] = bundle.root / name
        elif name not in known:
            raise WeightsError(
                f"bundle {bundle.name!r} needs {name!r}, which is neither in its folder nor in the manifest"
            )
        elif path := find_file(known[name], weights_dir):
            paths[name] = path
        else:
            missing.append(known[name])
    return paths, missing


def missing_message(files: list[WeightFile], weights_dir: Path | None = None) -> str:
    """Describe missing files for the user.

    Args:
        files: the missing files.
        weights_dir: as in `search_folders`.

    Returns:
        Several lines: each file with its addresses, and the folder to put it into.
    """
    lines = [f"{len(files)} weight file(s) missing:"]
    for file in files:
        lines.append(f"  {file.name} ({file.mib:.0f} MiB): {', '.join(readable_url(url) for url in file.urls)}")
    lines.append(f"Put them into {search_folders(weights_dir)[0]}, or run `avvp weights fetch` with network access.")
    return "\n".join(lines)


def readable_url(url: str) -> str:
    """Return an address that a browser can open.

    Args:
        url: as in the manifest; "gdrive:ID" is a Google Drive file.

    Returns:
        An http(s) address.
    """
    drive_id = url.removeprefix("gdrive:")
    return url if drive_id == url else f"https://drive.google.com/file/d/{drive_id}/view"
