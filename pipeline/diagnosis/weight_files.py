"""Which bundles are complete on this machine, and what the files that are missing take to download."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import platformdirs

from ...weights.errors import WeightsError
from ...weights.locate import bundle_paths, search_folders
from ...weights.manifest import Bundle, WeightFile, list_bundles
from ...weights.messages import file_size
from ...weights.remote.bundles import load_bundle
from ...weights.source import WeightSource
from ..text import escape, shorten
from .section import Section

_MAX_FILES = 100_000  # of the cache that are looked at


def check_weights(name: str, source: WeightSource) -> Section:
    """List the bundles, the files that are missing, the folders, and the size of the cache.

    Args:
        name: of the bundle that is to be used: of the manifest, a folder, or an address of a hub.
        source: where weight files may come from. Nothing is downloaded; `offline` says whether the user would.

    Returns:
        The section; files that are missing are broken if they may not be downloaded, files of a wrong size always.
    """
    section = Section("Weights")
    folders = search_folders(source.folder)
    cache = Path(platformdirs.user_cache_dir("avvp"))
    size = _size_of(cache)
    section.facts = {
        "bundle": name, "complete": False, "bundles": {}, "folders": [str(folder) for folder in folders],
        "cache": {"folder": str(cache), "bytes": size},
    }  # fmt: skip
    try:
        chosen = load_bundle(name, WeightSource(source.folder, True, None))
    except WeightsError as error:
        chosen = None
        section.add(str(error), "broken", "avvp weights list names the bundles")
    bundles = list(list_bundles().values())
    if chosen is not None and chosen.name not in {bundle.name for bundle in bundles}:
        bundles.append(chosen)
    absent: list[str] = []
    for bundle in sorted(bundles, key=lambda bundle: chosen is None or bundle.name != chosen.name):
        is_chosen = chosen is not None and bundle.name == chosen.name
        section.facts["bundles"][bundle.name] = facts = _check_bundle(section, bundle, source, is_chosen=is_chosen)
        if is_chosen:
            section.facts["complete"] = facts["complete"]
        elif bundle.files and len(facts["missing"]) == len(_weights_of(bundle)):
            absent.append(f"{escape(bundle.name)} ({file_size(facts['download_bytes'])})")
    if absent:
        section.add(f"not downloaded: {', '.join(absent)}", "note", "avvp weights fetch NAME")
    section.add(f"downloads go to {escape(folders[0])}{_describe_disk(folders[0])}")
    section.add(f"the cache {escape(cache)} has {file_size(size)}")
    return section


def _check_bundle(section: Section, bundle: Bundle, source: WeightSource, *, is_chosen: bool) -> dict[str, Any]:
    use = " (in use)" if is_chosen else ""
    try:
        paths, missing = bundle_paths(bundle, source.folder)
    except WeightsError as error:
        section.add(f"{shorten(bundle.name)}{use}: {error}", "broken" if is_chosen else "note")
        return {"complete": False, "missing": [], "download_bytes": 0}
    wrong = _wrong_sizes(bundle, paths)
    reported = {finding.text for finding in section.findings}  # bundles share files; the one in use comes first
    for text in wrong:
        if text not in reported:
            section.add(text, "broken" if is_chosen else "note", "delete it and run avvp weights fetch")
    total, count = sum(map(_bytes_of, missing)), len(_weights_of(bundle))
    if missing and (is_chosen or len(missing) < count):
        files = ", ".join(f"{file.name} ({file_size(_bytes_of(file))})" for file in missing)
        section.add(
            f"{escape(bundle.name)}{use}: {len(missing)} of {count} files are missing, {file_size(total)}: {files}",
            "broken" if is_chosen and source.offline else "note",
            f"avvp weights fetch {escape(bundle.name)}",
        )
    elif not missing and not wrong:
        section.add(f"{escape(bundle.name)}{use}: complete")
    return {
        "complete": not missing and not wrong,
        "missing": [{"name": file.name, "bytes": _bytes_of(file)} for file in missing],
        "download_bytes": total,
    }


def _weights_of(bundle: Bundle) -> list[str]:
    """Return the names of a bundle's weight files: a file of thresholds, shipped or small, is not one to wait for."""
    return [file for file in bundle.files if file != bundle.parser.get("thresholds")]


def _wrong_sizes(bundle: Bundle, paths: dict[str, Path]) -> list[str]:
    """Describe the files whose size is not the published one; hashes are for avvp weights verify."""
    from ...weights.manifest import list_files

    known, wrong = list_files(), []
    for name, path in paths.items():
        expected = known[name].bytes if name in known and bundle.root is None else None
        try:
            size = path.stat().st_size
        except OSError as error:
            wrong.append(f"{escape(path)}: {error.strerror}")
            continue
        if expected is not None and size != expected:
            wrong.append(f"{escape(path)} has {size} bytes, expected {expected}")
    return wrong


def _bytes_of(file: WeightFile) -> int:
    """Return the size of a file; an estimate where the manifest does not have the exact one."""
    return file.bytes if file.bytes is not None else int(file.mib * (1 << 20))


def _describe_disk(folder: Path) -> str:
    """Return how much is free where a folder is, or will be, and whether it can be written to."""
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        return ", which cannot be written to"
    return f" ({file_size(shutil.disk_usage(existing).free)} free)"


def _size_of(folder: Path) -> int:
    """Return the bytes of the files below a folder; links are not followed."""
    total = files = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            files += 1
            if files > _MAX_FILES:
                return total
            try:
                total += (Path(parent) / name).lstat().st_size
            except OSError:
                continue
    return total
