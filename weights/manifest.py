"""Manifest of weight files and bundles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .errors import WeightsError
from .toml import parse_toml, read_toml, toml_string

DEFAULT_BUNDLE = "leap-llp"
BUNDLE_FILE = "bundle.toml"


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """Downloadable weight file."""

    key: str  # name in the manifest
    name: str  # file name on disk
    urls: tuple[str, ...]  # tried in order; "gdrive:ID" is a Google Drive file
    licence: str
    source: str  # publisher
    mib: float  # approximate size
    sha256: str = ""  # or the prefix that the publisher gives; empty when none is published
    bytes: int | None = None  # exact size; None when unknown


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Everything that `--weights` selects: a profile, one extractor per stream, a parser.

    Files are named by their key in the manifest or by a path relative to `root`.

    Raises:
        TypeError: a field has the wrong type.
    """

    name: str
    description: str
    profile: str  # key in `PROFILES`
    extractors: Mapping[str, str]  # extractor name -> file
    parser: Mapping[str, str]  # "checkpoint" -> file; or "family" -> name, "file" and "label_embeddings" -> files
    labels: str | None = None  # name of the label set, when the parser's file does not hold its labels
    seed: int | None = None  # of random parameters; there are no files then
    root: Path | None = None  # folder of a bundle on disk

    def __post_init__(self) -> None:
        for name in ("extractors", "parser"):
            table = getattr(self, name)
            if not isinstance(table, Mapping) or not all(isinstance(value, str) for value in table.values()):
                raise TypeError(f"{name} must be a table of names and files")
        for name, kinds in (("profile", str), ("labels", str | None), ("seed", int | None)):
            if not isinstance(getattr(self, name), kinds):
                raise TypeError(f"{name} is {getattr(self, name)!r}")

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files that the bundle needs."""
        parser = (self.parser.get(part, "") for part in ("checkpoint", "file", "label_embeddings"))
        return tuple(file for file in (*self.extractors.values(), *parser) if file)


@cache
def _manifest() -> dict[str, Any]:
    return parse_toml(Path(__file__).with_name("manifest.toml").read_text(encoding="utf-8"))


def list_files() -> dict[str, WeightFile]:
    """Return every file of the manifest by key."""
    files = _manifest()["files"].items()
    return {key: WeightFile(key=key, **{**entry, "urls": tuple(entry["urls"])}) for key, entry in files}


def list_bundles() -> dict[str, Bundle]:
    """Return every named bundle: those of the manifest, and those shipped in folders beside it."""
    listed = {name: Bundle(name=name, **entry) for name, entry in _manifest()["bundles"].items()}
    shipped = (folder for folder in Path(__file__).parent.iterdir() if (folder / BUNDLE_FILE).is_file())
    return listed | {folder.name: _read_bundle(folder) for folder in sorted(shipped)}


def load_bundle(name_or_folder: str) -> Bundle:
    """Load a bundle by name or from a folder.

    Args:
        name_or_folder: name of a bundle, or path of a folder with a `bundle.toml`. Names take precedence.

    Returns:
        The bundle; its files are not checked.

    Raises:
        WeightsError: there is no such bundle or folder, or its `bundle.toml` is invalid.
    """
    bundles = list_bundles()
    if name_or_folder in bundles:
        return bundles[name_or_folder]
    folder = Path(name_or_folder)
    if not folder.is_dir():
        raise WeightsError(
            f"unknown bundle {name_or_folder!r}: neither a folder nor one of {', '.join(bundles)} (avvp weights list)"
        )
    if not (folder / BUNDLE_FILE).is_file():
        raise WeightsError(f"{folder}: not a bundle: the folder has no {BUNDLE_FILE}")
    return _read_bundle(folder)


def format_bundle(bundle: Bundle) -> str:
    """Format a `bundle.toml` that `load_bundle` reads.

    Args:
        bundle: a bundle; its name is not written, because that is the folder's.

    Returns:
        The content of the file.
    """
    lines = [f"{key} = {toml_string(getattr(bundle, key))}" for key in ("description", "profile")]
    for key in ("extractors", "parser"):
        entries = ", ".join(f"{toml_string(k)} = {toml_string(v)}" for k, v in getattr(bundle, key).items())
        lines.append(f"{key} = {{ {entries} }}" if entries else f"{key} = {{}}")
    if bundle.labels is not None:
        lines.append(f"labels = {toml_string(bundle.labels)}")
    if bundle.seed is not None:
        lines.append(f"seed = {bundle.seed}")
    return "".join(f"{line}\n" for line in lines)


def _read_bundle(folder: Path) -> Bundle:
    description = folder / BUNDLE_FILE
    try:
        entry = read_toml(description)
        return Bundle(**{"name": folder.name, "description": "", **entry, "root": folder})
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{description}: not a bundle description: {error}") from error
