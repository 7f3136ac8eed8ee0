"""Find weight files on disk and verify them.

Folders are searched in this order: `--weights-dir`, AVVP_WEIGHTS_DIR, the user's cache folder, the folder shipped with
the program; for files of a Hugging Face hub then the cache that other programs fill. Downloads go to the first of the
first three that is set.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from .errors import WeightsError
from .manifest import DEMO_BUNDLE, WEIGHT_SUFFIXES, Bundle, WeightFile, list_bundles, list_files
from .messages import escape, first_line, shown
from .safe_paths import inside, is_file

SHIPPED = Path(__file__).resolve().parent
MAX_FILE_BYTES = 8 << 30  # of a weight file: 2,000 million numbers in float32; PE-AV's has 1,459 million
_HEADER = 8  # bytes before the JSON that a file of safetensors begins with
_BLOCK = 1 << 20  # bytes per read
_HUB_FILE = re.compile(r"https://huggingface\.co/([\w.-]+)/([\w.-]+)/resolve/[^/]+/([\w.-]+)")  # user, repository, file


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
    folders = search_folders(weights_dir) if file.folder is None else [file.folder]
    candidates = [folder / file.name for folder in folders]
    return next((path for path in (*candidates, *_hub_copies(file)) if is_file(path)), None)


def _hub_copies(file: WeightFile) -> Iterator[Path]:
    """Yield where other programs keep a file of a Hugging Face hub: CLIP has often been downloaded by one already."""
    addresses = [found for url in file.urls if (found := _HUB_FILE.fullmatch(url))] if file.folder is None else []
    if not addresses:
        return
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    for user, repository, name in (found.groups() for found in addresses):
        with contextlib.suppress(OSError, ValueError):
            for path in sorted(cache.glob(f"models--{user}--{repository}/snapshots/*/{name}")):
                if file.bytes is None or path.stat().st_size == file.bytes:  # else of another commit
                    yield path


def sha256_of(path: Path) -> str:
    """Compute the sha256 of a weight file.

    Args:
        path: the file.

    Returns:
        64 hexadecimal digits.

    Raises:
        WeightsError: the file cannot be read, or has more than `MAX_FILE_BYTES`.
    """
    return _digest(path, hashlib.sha256())


def _digest(path: Path, *digests: hashlib._Hash) -> str:
    """Feed a weight file to hashes; return the digits of the first."""
    read = 0
    try:
        with path.open("rb") as stream:
            too_large = os.fstat(stream.fileno()).st_size > MAX_FILE_BYTES
            while not too_large and (block := stream.read(_BLOCK)):
                for digest in digests:
                    digest.update(block)
                read += len(block)
                too_large = read > MAX_FILE_BYTES
    except (OSError, ValueError) as error:
        raise WeightsError(f"{escape(path)}: cannot be read: {first_line(error)}") from error
    if too_large:
        raise WeightsError(
            f"{escape(path)}: larger than {MAX_FILE_BYTES >> 30} GiB, the most that a weight file may have"
        )
    return digests[0].hexdigest()


def _check_beginning(file: WeightFile, path: Path, advice: str) -> None:
    """Raise WeightsError for a file that does not begin as its kind does: a web page, most often."""
    try:
        with path.open("rb") as stream:
            begin = stream.read(_HEADER + 1)
    except OSError as error:
        raise WeightsError(f"{escape(path)}: cannot be read: {first_line(error)}") from error
    if file.form == "tokenizer":
        kind, is_right = "JSON", begin.startswith(b"{")
    elif file.name.endswith(".safetensors"):
        kind, is_right = "a file of safetensors", begin[_HEADER:] == b"{"
    else:  # the magic bytes of a zip archive, and of pickle protocol 2
        kind, is_right = "a PyTorch file", begin.startswith((b"PK", b"\x80\x02"))
    if not is_right:
        raise WeightsError(f"{escape(path)}: not {kind} (perhaps a web page): {advice}")


def verify_file(file: WeightFile, path: Path) -> str:
    """Check the size and the hash of a file against the manifest.

    A file without a published hash must at least begin as its kind does: of PyTorch, of safetensors, or JSON of tokens.

    Args:
        file: the expected file.
        path: the file on disk.

    Returns:
        Its full sha256, 64 hexadecimal digits.

    Raises:
        WeightsError: the file cannot be read, or is not the expected one.
    """
    where, advice = escape(path), "delete it and run `avvp weights fetch`"
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        raise WeightsError(f"{where}: cannot be read: {first_line(error)}") from error
    if file.bytes is not None and size != file.bytes:
        raise WeightsError(f"{where}: {size} bytes, expected {file.bytes}: {advice}")
    if not file.is_hashed:
        _check_beginning(file, path, advice)
    # git hashes a header and the content. Neither it nor md5 is asked for by choice: nothing better is published.
    expected = {
        "sha256": (hashlib.sha256(), file.sha256),
        "git's hash": (hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False), file.git_hash),
        "md5": (hashlib.md5(usedforsecurity=False), file.md5),
    }
    used = {name: (digest, digits) for name, (digest, digits) in expected.items() if name == "sha256" or digits}
    _digest(path, *(digest for digest, _ in used.values()))
    for name, (digest, digits) in used.items():
        found = digest.hexdigest()
        if not found.startswith(digits):
            raise WeightsError(
                f"{where}: wrong hash: {name} {found[:16]}…, expected {digits[:16]}"
                f": the file is damaged or a different one; {advice}"
            )
    return used["sha256"][0].hexdigest()


def bundle_paths(bundle: Bundle, weights_dir: Path | None = None) -> tuple[dict[str, Path], list[WeightFile]]:
    """Find the files of a bundle on disk.

    Args:
        bundle: the bundle.
        weights_dir: searched first; None for the default folders only.

    Returns:
        Path by name in the bundle, and the files of the manifest and of a hub that are on no disk.

    Raises:
        WeightsError: a file is neither in the bundle's folder nor in the manifest, leads out of that folder, or does
            not have a suffix of weight files.
    """
    paths: dict[str, Path] = {}
    missing: list[WeightFile] = []
    known = list_files()
    for name in bundle.files:
        try:
            path = None if bundle.root is None else inside(bundle.root, name)
        except ValueError as error:
            raise WeightsError(f"bundle {shown(bundle.name)}: {error}") from error
        if path is not None and is_file(path):
            if path.suffix.lower() not in WEIGHT_SUFFIXES and bundle.most_bytes(name) is None:
                raise WeightsError(
                    f"bundle {shown(bundle.name)}: {shown(name)} is not a weight file;"
                    f" their names end with {', '.join(WEIGHT_SUFFIXES)}"
                )
            paths[name] = path
        elif name in bundle.downloads:
            missing.append(bundle.downloads[name])
        elif name not in known:
            raise WeightsError(
                f"bundle {shown(bundle.name)} needs {shown(name)}, which is neither in its folder nor in the manifest"
            )
        elif found := find_file(known[name], weights_dir):
            paths[name] = found
        else:
            missing.append(known[name])
    return paths, missing


def describe_demo() -> str:
    """Return one line on the bundle that is shipped with the program, for users who lack the files of another one."""
    return f"--weights {DEMO_BUNDLE}, {list_bundles()[DEMO_BUNDLE].description}"
