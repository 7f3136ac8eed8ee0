"""Find, download where missing, and verify the weight files of a bundle."""

from __future__ import annotations

from pathlib import Path

from ..errors import WeightsError
from ..locate import bundle_paths, sha256_of, verify_file
from ..manifest import Bundle, list_files, list_refused
from ..messages import escape
from ..source import ANYWHERE, WeightSource
from .fetch import fetch_file
from .missing import missing_message


def gather_files(bundle: Bundle, source: WeightSource = ANYWHERE) -> tuple[dict[str, Path], dict[str, str]]:
    """Find, download where missing, and verify the files of a bundle.

    Args:
        bundle: the bundle.
        source: search folder, whether to download, progress callback.

    Returns:
        Path by key of the manifest (or by name, for a file in the bundle's folder), and sha256 by `file_name`.

    Raises:
        WeightsError: a file is damaged, unknown or cannot be downloaded. For missing files the message lists their
            addresses and the folder to put them into.
    """
    paths, missing = bundle_paths(bundle, source.folder)
    if missing and source.offline:
        raise WeightsError(missing_message(missing, source.folder))
    known, hashes = list_files(), {}
    for key, path in paths.items():
        in_bundle = bundle.root is not None and path == bundle.root / key
        expected = bundle.downloads.get(key) if in_bundle else known[key]
        hashes[file_name(key, path)] = sha256_of(path) if expected is None else verify_file(expected, path)
    for file in missing:
        try:
            paths[file.key], hashes[file.name] = fetch_file(file, source.folder, progress=source.progress)
        except WeightsError as error:
            raise WeightsError(f"{error}\n{missing_message(missing, source.folder)}") from error
    for key, path in paths.items():
        for refused in list_refused().values():
            if path.name == refused.name or hashes[file_name(key, path)].startswith(refused.sha256):
                raise WeightsError(f"{escape(path)}: {refused.reason}")
        if (digest := hashes[file_name(key, path)]) != bundle.sha256.get(key, digest):
            raise WeightsError(
                f"{escape(path)}: sha256 {digest[:16]}…, but the bundle states {bundle.sha256[key][:16]}…: the file is"
                " damaged or a different one"
            )
    return paths, hashes


def file_name(key: str, path: Path) -> str:
    """Return the name of a file in results: its path in the bundle's folder, or the name of a file of the manifest.

    Args:
        key: name of the file in the bundle.
        path: of the file.
    """
    return key if Path(key).name == path.name else path.name
