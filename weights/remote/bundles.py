"""Open a bundle by name: of the manifest, of a folder, or of a repository of a hub.

A bundle of a hub lies in `hub/USER--REPOSITORY/COMMIT/` of the folder for weight files: its bundle.toml; `hub.json`
with size and hash of every file that it names, as the hub gave them; and the files, once they have been needed.
`hub/USER--REPOSITORY/refs/REVISION` holds the commit that a branch or tag had when the hub was last asked.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import WeightsError
from ..locate import MAX_FILE_BYTES, SHIPPED, search_folders
from ..manifest import BUNDLE_FILE, MAX_BUNDLE, Bundle, WeightFile, read_bundle, read_named_bundle
from ..messages import escape, first_line, shown
from ..safe_paths import is_file
from ..source import ANYWHERE, WeightSource
from .fetch import fetch_file
from .hub import (
    HubAddress,
    HubFile,
    HubUnreachableError,
    file_address,
    is_hub_address,
    is_offline,
    list_hub_files,
    parse_address,
    resolve_commit,
)

HUB_SUFFIX = ".safetensors"  # of weight files that are read from a hub
_HUB_FOLDER = "hub"
_RECORD = "hub.json"
_MAX_RECORD = 1 << 16  # characters
_COMMIT_DIGITS = 40
_logger = logging.getLogger("avvp.weights")


def load_bundle(name: str, source: WeightSource = ANYWHERE) -> Bundle:
    """Load a bundle by name, from a folder or from a repository of a hub.

    Args:
        name: of a bundle; path of a folder with a `bundle.toml`; or an address, see `hub.parse_address`. Names take
            precedence over folders.
        source: where a bundle of a hub is kept, and whether the hub may be asked.

    Returns:
        The bundle. Its weight files are neither downloaded nor checked; `load.gather_files` does that. The name of one
        of a hub has the commit.

    Raises:
        WeightsError: there is no such bundle, folder or repository, its `bundle.toml` is invalid, or it names files of
            a repository that are not safetensors.
    """
    if not is_hub_address(name):
        return read_named_bundle(name)
    address = parse_address(name)
    offline = source.offline or is_offline()
    roots = [folder.absolute() / _HUB_FOLDER for folder in search_folders(source.folder) if folder != SHIPPED]
    folders = [root / address.repo.replace("/", "--") for root in roots]
    commit = address.revision if address.is_pinned else _find_commit(address, folders, offline=offline)
    pinned = replace(address, revision=commit)
    places = [folder / commit / address.subfolder for folder in folders]
    place = next((place for place in places if is_file(place / _RECORD)), None)
    if place is None:
        if offline:
            raise WeightsError(f"{pinned}: not on this machine, and the network is not to be used")
        place = places[0]
        _fetch_description(pinned, place, source)
    return _open_cached(pinned, place)


def _find_commit(address: HubAddress, folders: list[Path], *, offline: bool) -> str:
    """Ask the hub for the commit of a branch or tag; without network, the last one known is used."""
    name = quote(address.revision, safe="")
    references = [folder / "refs" / name for folder in folders]
    if offline:
        commit = _read_reference(references)
        if commit is None:
            raise WeightsError(f"{address}: not on this machine, and the network is not to be used")
        return commit
    try:
        commit = resolve_commit(address)
    except HubUnreachableError as error:
        commit = _read_reference(references)
        if commit is None:
            raise
        _logger.warning("%s; commit %s from the cache is used", error, commit)
        return commit
    if _read_reference(references) != commit:  # a cache that has it already may be read-only
        _write(references[0], commit)
    return commit


def _read_reference(references: list[Path]) -> str | None:
    for path in references:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            commit = path.read_text(encoding="ascii").strip()
            if len(commit) == _COMMIT_DIGITS and commit.isalnum():
                return commit
    return None


def _fetch_description(address: HubAddress, place: Path, source: WeightSource) -> None:
    """Download bundle.toml, and ask the hub for sizes and hashes of the files that it names."""
    commit = address.revision
    found = list_hub_files(address, commit, [BUNDLE_FILE]).get(BUNDLE_FILE)
    if found is None:
        raise WeightsError(f"{address}: not a bundle of avvp: it has no {BUNDLE_FILE}")
    if found.size > 4 * MAX_BUNDLE:  # bytes of as many characters
        raise WeightsError(f"{address}: its {BUNDLE_FILE} has {found.size} bytes, more than such a file may have")
    fetch_file(_weight_file(address, place, BUNDLE_FILE, found), source.folder)
    bundle = read_bundle(place)
    files = list_hub_files(address, commit, sorted(set(bundle.files)))
    for name, file in files.items():
        most = bundle.most_bytes(name)
        if most is None and not name.endswith(HUB_SUFFIX):
            raise WeightsError(f"{address}: {shown(name)} is not read from a hub: only files of safetensors are")
        if file.size > (MAX_FILE_BYTES if most is None else most):
            raise WeightsError(f"{address}: {shown(name)} has {file.size} bytes, more than such a file may have")
    record = {"repository": address.repo, "commit": commit, "files": {k: list(v) for k, v in files.items()}}
    _write(place / _RECORD, json.dumps(record, indent=1) + "\n")


def _open_cached(address: HubAddress, place: Path) -> Bundle:
    """Read a bundle from the cache; its files are those that the hub described."""
    record_path = place / _RECORD
    try:
        with record_path.open(encoding="utf-8") as stream:
            record: Any = json.loads(stream.read(_MAX_RECORD))
        entries = record["files"].items()
        files = {name: _weight_file(address, place, name, HubFile(*entry)) for name, entry in entries}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{escape(record_path)}: damaged ({first_line(error)}); delete its folder") from error
    return replace(read_bundle(place), name=str(address), downloads=files)


def _weight_file(address: HubAddress, place: Path, name: str, file: HubFile) -> WeightFile:
    return WeightFile(
        key=name,
        name=name,
        urls=(file_address(address, address.revision, name),),
        licence="see the repository",
        source=str(address),
        mib=file.size / (1 << 20),
        sha256=file.sha256,
        bytes=file.size,
        git_hash=file.git_hash,
        folder=place,
    )


def _write(path: Path, text: str) -> None:
    """Write a small file atomically, readable as the umask says: users share caches. Raises WeightsError."""
    temporary = path.with_name(f".avvp-{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("x", encoding="utf-8") as stream:
                stream.write(text)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise WeightsError(f"{escape(path)}: cannot be written: {first_line(error)}") from error
