"""The manifest: which weight files and bundles exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .errors import WeightsError
from .toml import parse_toml

DEFAULT_BUNDLE = "leap-llp"
BUNDLE_FILE = "bundle.toml"


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """One downloadable file. `sha256` may be the prefix that its publisher gives, or empty where there is none."""

    key: str  # its name in the manifest
    name: str  # its name on disk
    urls: tuple[str, ...]
    licence: str
    source: str
    mib: float
    sha256: str = ""
    bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What `--weights` names: a profile, an extractor for each stream, a parser.

    Values of `extractors` and the parser's entries are keys of manifest files or paths relative to `root`; with a
    `seed` there are no files and the parameters are random.
    """

    name: str
    description: str
    profile: str
    extractors: Mapping[str, str]  # extractor name -> file
    parser: Mapping[str, str]  # "checkpoint" of our own, or "family", "file" and "label_embeddings"
    labels: str | None = None  # name of the label set, where the parser's file does not hold it
    seed: int | None = None
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
        """Every file the bundle needs."""
        parser = (self.parser.get(part, "") for part in ("checkpoint", "file", "label_embeddings"))
        return tuple(file for file in (*self.extractors.values(), *parser) if file)


@cache
def _manifest() -> dict[str, Any]:
    return parse_toml(Path(__file__).with_name("manifest.toml").read_text(encoding="utf-8"))


def list_files() -> dict[str, WeightFile]:
    """Every file of the manifest by key."""
    files = _manifest()["files"].items()
    return {key: WeightFile(key=key, **{**entry, "urls": tuple(entry["urls"])}) for key, entry in files}


def list_bundles() -> dict[str, Bundle]:
    """Every bundle that has a name: those of the manifest, and those whose files are shipped beside it."""
    listed = {name: Bundle(name=name, **entry) for name, entry in _manifest()["bundles"].items()}
    shipped = (folder for folder in Path(__file__).parent.iterdir() if (folder / BUNDLE_FILE).is_file())
    return listed | {folder.name: _read_bundle(folder) for folder in sorted(shipped)}


def load_bundle(name_or_folder: str) -> Bundle:
    """The bundle of that name, or the one that a folder holds (`bundle.toml`).

    Raises WeightsError for what is neither, and for a bundle.toml that cannot be understood.
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
        raise WeightsError(f"{folder}: no {BUNDLE_FILE} in this folder; it is not a bundle")
    return _read_bundle(folder)


def _read_bundle(folder: Path) -> Bundle:
    description = folder / BUNDLE_FILE
    try:
        entry = parse_toml(description.read_text(encoding="utf-8"))
        return Bundle(**{"name": folder.name, "description": "", **entry, "root": folder})
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{description}: not a bundle description: {error}") from error
