"""Where weight files are, and whether they are what they claim to be.

Looked for in this order: the folder given (`--weights-dir`), AVVP_WEIGHTS_DIR, the user's cache folder, the folder
shipped with the program. Downloads go to the first of the first three that is set.
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
    """The folders that are searched, in order."""
    variable = os.environ.get("AVVP_WEIGHTS_DIR")
    folders = [weights_dir, Path(variable) if variable else None, Path(platformdirs.user_cache_dir("avvp")) / "weights"]
    return [folder for folder in folders if folder is not None] + [SHIPPED]


def find_file(file: WeightFile, weights_dir: Path | None = None) -> Path | None:
    """The first copy on disk, unverified; None where there is none."""
    candidates = (folder / file.name for folder in search_folders(weights_dir))
    return next((path for path in candidates if path.is_file()), None)


def sha256_of(path: Path) -> str:
    """Hex digest of a file. Raises WeightsError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _looks_like_tensors(path: Path) -> bool:
    """Whether a file without a published hash at least begins as PyTorch's files do: a zip archive, or protocol 2."""
    with path.open("rb") as stream:
        return stream.read(4).startswith((b"PK", b"\x80\x02"))


def verify_file(file: WeightFile, path: Path) -> str:
    """The whole sha256 of a file that is what the manifest says. Raises WeightsError where it is not."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
    if file.bytes is not None and size != file.bytes:
        raise WeightsError(f"{path}: {size} bytes, {file.bytes} expected: delete it and run `avvp weights fetch`")
    if not file.sha256 and not _looks_like_tensors(path):
        raise WeightsError(f"{path}: not a PyTorch file (a web page, perhaps): delete it and run `avvp weights fetch`")
    digest = sha256_of(path)
    if not digest.startswith(file.sha256):
        raise WeightsError(
            f"{path}: wrong hash: sha256 {digest[:16]}…, expected {file.sha256[:16]}"
            ": the file is damaged or another one; delete it and run `avvp weights fetch`"
        )
    return digest


def bundle_paths(bundle: Bundle, weights_dir: Path | None = None) -> tuple[dict[str, Path], list[WeightFile]]:
    """Where the bundle's files are, and which of them are on no disk.

    Raises WeightsError for a file that is neither in the bundle's folder nor in the manifest.
    """
    found: dict[str, Path] = {}
    missing: list[WeightFile] = []
    known = list_files()
    for name in bundle.files:
        if bundle.root is not None and (bundle.root / name).is_file():
            found[name] = bundle.root / name
        elif name not in known:
            raise WeightsError(f"bundle {bundle.name!r} names {name!r}, which is in no folder and not in the manifest")
        elif path := find_file(known[name], weights_dir):
            found[name] = path
        else:
            missing.append(known[name])
    return found, missing


def missing_message(files: list[WeightFile], weights_dir: Path | None = None) -> str:
    """What is missing, where each file can be had and where to put it."""
    lines = [f"{len(files)} weight file(s) missing:"]
    for file in files:
        lines.append(f"  {file.name} ({file.mib:.0f} MiB): {', '.join(readable_url(url) for url in file.urls)}")
    lines.append(f"Put them into {search_folders(weights_dir)[0]}, or go online and run `avvp weights fetch`.")
    return "\n".join(lines)


def readable_url(url: str) -> str:
    """An address that a browser opens."""
    drive = url.removeprefix("gdrive:")
    return url if drive == url else f"https://drive.google.com/file/d/{drive}/view"
