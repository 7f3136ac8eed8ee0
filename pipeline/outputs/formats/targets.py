"""From what a person asks for (`-f csv,vtt -o events.json`) to the files that are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import SetupError
from .registry import FORMATS, Format

ALL = "all"


@dataclass(frozen=True)
class OutputFiles:
    """The files of one form."""

    form: Format
    paths: tuple[Path, ...]


def parse_formats(given: Iterable[str]) -> tuple[Format, ...]:
    """Of names, several between commas; "all" is every one. Raises SetupError for an unknown name."""
    names = dict.fromkeys(name.strip().lower() for part in given for name in part.split(",") if name.strip())
    if ALL in names:
        return tuple(FORMATS.values())
    if unknown := [name for name in names if name not in FORMATS]:
        raise SetupError(f"unknown format {unknown[0]!r}; known: {', '.join(FORMATS)}, {ALL}")
    return tuple(FORMATS[name] for name in names)


def resolve_targets(output: Path, formats: Sequence[Format]) -> list[OutputFiles]:
    """Where the formats go when the person says `-o output`.

    A single file has that very name. Several files lie side by side: the name without the suffix of a format, and the
    suffix of each; the one format whose suffix `output` has keeps the name. Without formats, the suffix tells (JSON,
    where it tells nothing).
    """
    if not formats:
        formats = (_by_suffix(output) or FORMATS["json"],)
    if len(formats) == 1 and len(formats[0].suffixes) == 1:
        return [OutputFiles(formats[0], (output,))]
    own = _by_suffix(output)
    base = _without_suffix(output, own) if own is not None else output
    return [
        OutputFiles(form, (output,) if form is own and len(form.suffixes) == 1 else tuple(form.files(base)))
        for form in formats
    ]


def _suffixes(form: Format) -> list[str]:
    """Of its files, and what they have in common: "audio.vtt", "visual.vtt", "vtt"; the longest first."""
    known = {*form.suffixes, *(form.reads or ()), *(suffix.rsplit(".", 1)[-1] for suffix in form.suffixes)}
    return sorted(known, key=lambda suffix: (-len(suffix), suffix))


def _by_suffix(path: Path) -> Format | None:
    """The first in the registry of those with the longest suffix that fits."""
    found = [
        (len(suffix), form)
        for form in FORMATS.values()
        for suffix in _suffixes(form)
        if path.name.casefold().endswith(f".{suffix}".casefold())
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _without_suffix(path: Path, form: Format) -> Path:
    suffix = next(s for s in _suffixes(form) if path.name.casefold().endswith(f".{s}".casefold()))
    return path.with_name(path.name[: -len(suffix) - 1]) if len(path.name) > len(suffix) + 1 else path
