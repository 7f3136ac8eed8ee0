"""Manifest of weight files and bundles."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from .errors import WeightsError
from .messages import MAX_SHOWN, escape, first_line, shown
from .parts import is_reference
from .safe_paths import inside, is_file, is_folder
from .toml import MAX_TOML, parse_toml, read_toml, toml_string

DEFAULT_BUNDLE = "leap-llp"
OPEN_BUNDLE = "open"  # any classes by their names
DEMO_BUNDLE = "demo"  # shipped with the program
BUNDLE_FILE = "bundle.toml"
MAX_BUNDLE = 64 << 10  # characters of a bundle.toml
MAX_DESCRIPTION = 1000  # characters
MAX_EXTRACTORS = 16
MAX_SEED = 2**32 - 1  # of random parameters
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".h5")
FORMS = {
    "tensors": "tensors by name",
    "module": "a whole pickled module, of which the tensors are read in a process of its own",
    "keras": "Keras' weights of VGG19",
    "tokenizer": "the tokens of a text encoder, in JSON",
}
SUPERVISIONS = ("full", "weak")  # of localizers
# Extractors give files and folders their names: no separators, no hidden files, at most 64 characters.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ .+-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PARSER_FILES = ("checkpoint", "file", "label_embeddings", "thresholds", "classes")
THRESHOLDS_SUFFIX = ".toml"  # of the file of thresholds that a bundle may have
CLASSES_SUFFIXES = (".toml", ".txt")  # of the file of classes that an open bundle may have
TOKENS_SUFFIX = ".json"
MAX_TOKENS_FILE = 16 << 20  # bytes of a tokenizer.json
MAX_CLASSES_FILE = 16 << 20  # bytes of a file of classes; fewer characters of it are read
_PARSER_KEYS = ("family", "supervision", "decision", *_PARSER_FILES)


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """Downloadable weight file."""

    key: str  # name in the manifest
    name: str  # file name on disk
    urls: tuple[str, ...]  # tried in order; "gdrive:ID" is a Google Drive file, "hf://" one of a hub
    licence: str
    source: str  # publisher
    mib: float  # approximate size
    sha256: str = ""  # or the prefix that the publisher gives; empty when none is published
    md5: str = ""  # where the publisher gives no other hash
    bytes: int | None = None  # exact size; None when unknown
    git_hash: str = ""  # git's hash of the content, or its first digits, where there is no sha256
    form: str = "tensors"  # what it holds, see `FORMS`
    folder: Path | None = None  # where it belongs; None: the folders that are searched for weight files

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"form is {shown(self.form)}; known: {', '.join(FORMS)}")

    @property
    def is_hashed(self) -> bool:
        """Whether a hash is published, so that the file can be told from any other."""
        return bool(self.sha256 or self.git_hash or self.md5)

    @property
    def size(self) -> int:
        """Bytes, approximate where the exact size is not known."""
        return round(self.mib * (1 << 20)) if self.bytes is None else self.bytes


@dataclass(frozen=True, kw_only=True)
class RefusedFile:
    """Weight file that fits a network of ours, but gives other results than the published ones."""

    name: str  # file name
    sha256: str  # its first digits
    reason: str  # and what to use


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Everything that `--weights` selects: a profile, one extractor per stream, a parser.

    An open bundle has text encoders in place of a parser: it finds whatever classes the user names, see `classes`.

    Files are named by their key in the manifest or by a path relative to `root`, which stays inside `root`.

    Raises:
        TypeError: a field has the wrong type.
        ValueError: a value is out of range, a key is unknown, or a file is outside `root`.
    """

    name: str
    description: str
    profile: str  # key in `PROFILES`
    extractors: Mapping[str, str]  # extractor name -> file
    parser: Mapping[str, str]  # "checkpoint" -> file; or "family" -> name, "file" and "label_embeddings" -> files;
    # with "supervision" -> "full" or "weak" for localizers; "decision" -> part in place of the checkpoint's; and
    # "thresholds" -> file of thresholds in place of the configuration's; open: "classes" -> file of classes,
    # and "checkpoint" -> file of an adapter
    parts: Mapping[str, str] = field(default_factory=dict)  # extractor name -> "module:Name" of another package
    labels: str | None = None  # name of the label set, when the parser's file does not hold its labels
    seed: int | None = None  # of random parameters; there are no files then
    warning: str | None = None  # what users of its results have to know; the first of their warnings
    sha256: Mapping[str, str] = field(default_factory=dict)  # file in `root` -> hash that it must have
    root: Path | None = None  # folder of a bundle on disk
    downloads: Mapping[str, WeightFile] = field(default_factory=dict)  # files of `root` that may not be there yet
    texts: Mapping[str, str] = field(default_factory=dict)  # open: extractor name -> file of its text encoder's tokens
    classes: Mapping[str, Any] | None = None  # open: what the user looks for, see `open_vocabulary.vocabulary`

    def __post_init__(self) -> None:
        self._check_types()
        for name, text in (("description", self.description), ("warning", self.warning or "")):
            if len(text) > MAX_DESCRIPTION:
                raise ValueError(f"{name} has {len(text)} characters, more than {MAX_DESCRIPTION}")
        if self.seed is not None and not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed is {shown(self.seed)}, not from 0 to {MAX_SEED}")
        if len(self.extractors) > MAX_EXTRACTORS:
            raise ValueError(f"{len(self.extractors)} extractors, more than {MAX_EXTRACTORS}")
        for what, name in self._names():
            if not _NAME.fullmatch(name):
                rule = "letters, digits, spaces and _ . + - only, at most 64"
                raise ValueError(f"{shown(name)} cannot be the name of {what}: {rule}")
        self._check_parts()
        self._check_parser()
        if wrong := [digest for digest in self.sha256.values() if not _SHA256.fullmatch(digest)]:
            raise ValueError(f"{shown(wrong[0])} is no sha256: 64 hexadecimal digits in lower case")
        if self.root is not None:
            for file in self.files:
                inside(self.root, file)
        if wrong := [file for file in self.files if not file.isprintable()]:  # a terminal would obey it
            raise ValueError(
                f"{shown(wrong[0])} cannot be the name of a file: it has characters that are not printable"
            )

    def _check_types(self) -> None:
        """Raise TypeError for a field of another type than it is declared with."""
        tables = {"extractors": "files", "parser": "files", "sha256": "hashes", "parts": "parts", "texts": "files"}
        for name, values in tables.items():
            table = getattr(self, name)
            if not isinstance(table, Mapping) or not all(isinstance(value, str) for value in table.values()):
                raise TypeError(f"{name} must be a table of names and {values}")
        kinds_of = {"description": str, "profile": str, "labels": str | None, "seed": int | None, "warning": str | None}
        for name, kinds in kinds_of.items():
            value = getattr(self, name)
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise TypeError(f"{name} is {shown(value)}")

    def _check_parts(self) -> None:
        """Raise ValueError for the part of another package of no extractor, or without a module."""
        for name, part in self.parts.items():
            if name not in self.extractors:
                raise ValueError(f"parts has {shown(name)}, which is not one of its extractors")
            if not is_reference(part):
                raise ValueError(f"the part of {name} is {shown(part)}, expected module:Name")

    def _check_parser(self) -> None:
        """Raise ValueError for an entry of the parser that cannot be."""
        if self.texts and set(self.parser) - {"classes", "checkpoint"}:
            raise ValueError("it has `texts`, to find any classes, and a parser of its own; leave one of them out")
        self._check_texts()
        if unknown := sorted(set(self.parser) - set(_PARSER_KEYS)):
            raise ValueError(f"parser has an unknown key {shown(unknown[0])}; known: {', '.join(_PARSER_KEYS)}")
        if not self.parser.get("thresholds", THRESHOLDS_SUFFIX).endswith(THRESHOLDS_SUFFIX):
            found = shown(self.parser["thresholds"])
            raise ValueError(f"thresholds is {found}, expected a file with the suffix {THRESHOLDS_SUFFIX}")
        supervision = self.parser.get("supervision", SUPERVISIONS[0])
        if supervision not in SUPERVISIONS:
            raise ValueError(f"supervision is {shown(supervision)}, expected {' or '.join(SUPERVISIONS)}")

    def _check_texts(self) -> None:
        """Raise ValueError for text encoders, or a file of classes, that cannot be."""
        if unknown := sorted(set(self.texts) - set(self.extractors)):
            raise ValueError(f"texts has {shown(unknown[0])}, which is not one of its extractors")
        classes = self.parser.get("classes")
        if not self.texts:
            if classes is not None:
                raise ValueError("its parser has a file of classes, which goes with `texts`, to find any classes")
            return
        if missing := sorted(set(self.extractors) - set(self.texts)):
            raise ValueError(f"texts lacks {shown(missing[0])}: to find any classes, every extractor encodes sentences")
        if self.labels is not None:
            raise ValueError("it has `texts`, to find any classes, and `labels` of its own; leave one of them out")
        if self.parser.get("checkpoint") == "":
            raise ValueError("checkpoint names no file of an adapter")
        if classes is not None and not classes.endswith(CLASSES_SUFFIXES):
            raise ValueError(f"classes is {shown(classes)}, expected a file with the suffix .toml or .txt")
        for name, tokens in self.texts.items():
            if name in self.parts or self.seed is not None:
                if tokens:
                    raise ValueError(f"texts names a file for {name}, which needs none")
            elif not tokens:
                raise ValueError(f"texts names no file of tokens for {name}, its tokenizer.json")
            elif self.root is not None and "." in tokens and not tokens.endswith(TOKENS_SUFFIX):
                raise ValueError(f"the tokens of {name} are {shown(tokens)}, expected a file with the suffix .json")

    def most_bytes(self, file: str) -> int | None:
        """Return how large a file of text may be: of thresholds, classes or tokens; None for weight files.

        Args:
            file: one of `files`.
        """
        if file in self.extractors.values():
            return None
        if file == self.parser.get("thresholds"):
            return 4 * MAX_TOML  # of as many characters
        if file == self.parser.get("classes"):
            return MAX_CLASSES_FILE
        return MAX_TOKENS_FILE if file in self.texts.values() else None

    def _names(self) -> list[tuple[str, str]]:
        """Return what is named, and its name: extractors, the profile, the label set, the parser's family."""
        named = [("an extractor", name) for name in self.extractors]
        optional = {"the profile": self.profile, "the labels": self.labels, "the family": self.parser.get("family")}
        return [*named, *((what, name) for what, name in optional.items() if name is not None)]

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files that the bundle needs, each once: networks may be in one file."""
        parser = (self.parser.get(part, "") for part in _PARSER_FILES)
        return tuple(file for file in dict.fromkeys((*self.extractors.values(), *self.texts.values(), *parser)) if file)

    @property
    def is_open(self) -> bool:
        """Whether it finds any classes by their names."""
        return bool(self.texts)

    @property
    def is_adapted(self) -> bool:
        """Whether it finds any classes with a temporal adapter, which was trained on some."""
        return self.is_open and "checkpoint" in self.parser

    def check_worth_loading(self) -> None:
        """Raise ValueError if it has extractors alone, before anybody waits for its files, which may be large.

        In a folder that has its files, these are checked first.
        """
        if self.root is None or self.downloads:
            self.check_has_parser()

    def check_has_parser(self) -> None:
        """Raise ValueError if it has extractors alone."""
        if not self.parser and not self.is_open:
            raise ValueError(
                f"bundle {shown(self.name)}: it has extractors alone, no parser: it is for avvp extract, and for avvp"
                " train --extractors; for parsing, its parser needs either a checkpoint, or a file and its family"
            )

    def check_has_classes(self) -> None:
        """Raise ValueError if it finds any classes, and none are named."""
        if self.is_open and self.classes is None and "classes" not in self.parser:
            raise ValueError(
                f"bundle {shown(self.name)} finds the classes that you name, such as --classes 'dog barking, applause'"
            )

    def without_extractors(self) -> Bundle:
        """Return the bundle with its parser alone: what scores need, of features that are already extracted.

        Of an open one nothing is left out: its text encoders are in the files of its extractors.
        """
        return self if self.is_open else replace(self, extractors={}, parts={})


_KEYS = {entry.name for entry in fields(Bundle)} - {"name", "root", "downloads", "classes"}  # of a bundle.toml


@cache
def _manifest() -> dict[str, Any]:
    return parse_toml(Path(__file__).with_name("manifest.toml").read_text(encoding="utf-8"))


def list_files() -> dict[str, WeightFile]:
    """Return every file of the manifest by key."""
    files = _manifest()["files"].items()
    return {key: WeightFile(key=key, **{**entry, "urls": tuple(entry["urls"])}) for key, entry in files}


def list_refused() -> dict[str, RefusedFile]:
    """Return the files that are not used in place of one that they resemble, by key."""
    return {key: RefusedFile(**entry) for key, entry in _manifest()["refused"].items()}


def list_bundles() -> dict[str, Bundle]:
    """Return every named bundle: those of the manifest, and those shipped in folders beside it."""
    listed = {name: Bundle(name=name, **entry) for name, entry in _manifest()["bundles"].items()}
    shipped = (folder for folder in Path(__file__).parent.iterdir() if (folder / BUNDLE_FILE).is_file())
    return listed | {folder.name: read_bundle(folder) for folder in sorted(shipped)}


def read_named_bundle(name_or_folder: str) -> Bundle:
    """Read a bundle by name or from a folder; `bundles.load_bundle` reads those of a hub as well.

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
    if not is_folder(folder):
        close = difflib.get_close_matches(name_or_folder[:MAX_SHOWN], bundles, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise WeightsError(
            f"unknown bundle {shown(name_or_folder)}: neither a folder nor one of {', '.join(bundles)}"
            f" (avvp weights list){hint}"
        )
    if not is_file(folder / BUNDLE_FILE):
        raise WeightsError(f"{escape(folder)}: not a bundle: the folder has no {BUNDLE_FILE}")
    return read_bundle(folder)


def format_bundle(bundle: Bundle) -> str:
    """Format a `bundle.toml` that `read_bundle` reads.

    Args:
        bundle: a bundle; its name is not written, because that is the folder's.

    Returns:
        The content of the file.
    """
    lines = [f"{key} = {toml_string(getattr(bundle, key))}" for key in ("description", "profile")]
    for key in ("extractors", "parser", *(key for key in ("parts", "texts") if getattr(bundle, key))):
        entries = ", ".join(f"{toml_string(k)} = {toml_string(v)}" for k, v in getattr(bundle, key).items())
        lines.append(f"{key} = {{ {entries} }}" if entries else f"{key} = {{}}")
    if bundle.labels is not None:
        lines.append(f"labels = {toml_string(bundle.labels)}")
    if bundle.seed is not None:
        lines.append(f"seed = {bundle.seed}")
    if bundle.warning is not None:
        lines.append(f"warning = {toml_string(bundle.warning)}")
    if bundle.sha256:
        lines.append("\n[sha256]")
        lines += [f"{toml_string(name)} = {toml_string(digest)}" for name, digest in bundle.sha256.items()]
    return "".join(f"{line}\n" for line in lines)


def read_bundle(folder: Path) -> Bundle:
    """Read the `bundle.toml` of a folder; the bundle has the folder's name. Raises WeightsError."""
    try:
        entry = read_toml(inside(folder, BUNDLE_FILE), limit=MAX_BUNDLE)
        if unknown := sorted(entry.keys() - _KEYS):
            raise ValueError(f"unknown key {shown(unknown[0])}; known: {', '.join(sorted(_KEYS))}")
        if missing := sorted({"profile", "extractors", "parser"} - entry.keys()):
            raise ValueError(f"lacks {', '.join(missing)}")
        return Bundle(**{"name": folder.name, "description": "", **entry, "root": folder})
    except (ValueError, TypeError) as error:
        reason = first_line(error)
        raise WeightsError(f"{escape(folder / BUNDLE_FILE)}: not a bundle description: {reason}") from error
