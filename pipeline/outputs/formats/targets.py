"""Output files from command-line options: `-f csv,vtt -o events.json`."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import SetupError
from ...files import safe_file_name
from ...text import escape, shorten
from .registry import FORMATS, Format

ALL = "all"
_FORMATS_OF = {"elan": "eaf", "praat": "textgrid", "labelstudio": "label-studio", "opentimelineio": "otio"}  # program
_COMPARED = 100  # characters of an unknown name
MAX_FILE_NAME = 255  # bytes of the name of a result, with its suffix


@dataclass(frozen=True)
class OutputFiles:
    """The files to write in one format."""

    format: Format
    paths: tuple[Path, ...]  # one per suffix of the format; empty for standard output


def parse_formats(options: Iterable[str]) -> tuple[Format, ...]:
    """Parse the values of `--format`.

    Args:
        options: comma-separated names of formats; "all" stands for every format whose packages are installed.

    Returns:
        The formats without repetitions.

    Raises:
        SetupError: a name is unknown, or a format that is named needs a package that is not installed.
    """
    names = _names(options)
    if unknown := [name for name in names if name not in {*FORMATS, ALL}]:
        close = difflib.get_close_matches(unknown[0][:_COMPARED], FORMATS, 1)
        name = _FORMATS_OF.get(unknown[0].lower(), close[0] if close else None)
        hint = "" if name is None else f"; did you mean {name}?"
        raise SetupError(f"unknown format {unknown[0]!r}; known: {', '.join(FORMATS)}, {ALL}{hint}")
    for name in names:
        if name != ALL:
            FORMATS[name].require()
    if ALL in names:
        return tuple(form for form in FORMATS.values() if form.is_installed)
    return tuple(FORMATS[name] for name in names)


def describe_left_out(options: Iterable[str]) -> str:
    """Return a note on the formats that "all" leaves out because a package is not installed, "" for none."""
    missing = [form for form in FORMATS.values() if not form.is_installed] if ALL in _names(options) else []
    extras = sorted({form.needs[1] for form in missing if form.needs is not None})
    names = ", ".join(form.name for form in missing)
    return f"left out: {names}; install it with: pip install 'avvp[{','.join(extras)}]'" if missing else ""


def _names(options: Iterable[str]) -> dict[str, None]:
    return dict.fromkeys(name.strip().lower() for option in options for name in option.split(",") if name.strip())


def resolve_targets(output: Path, formats: Sequence[Format]) -> list[OutputFiles]:
    """Return the files to write for `-o OUTPUT`.

    Args:
        output: the name of the file where there is one. Several files share a base name, which is `output` without
            the suffix of its format, and have the suffixes of their formats; the format that `output` has the suffix
            of keeps the whole name.
        formats: may be empty: then the suffix of `output` decides, and a name without suffix gets JSON.

    Returns:
        The files of each format.

    Raises:
        SetupError: no format has the suffix, or the one that has it needs a package that is not installed.
    """
    if not formats:
        formats = (_by_suffix(output) or _default(output),)
        formats[0].require()
    if len(formats) == 1 and len(formats[0].suffixes) == 1:
        return [OutputFiles(formats[0], (output,))]
    named = _by_suffix(output)
    base = _without_suffix(output, named) if named is not None else output
    return [
        OutputFiles(
            event_format,
            (output,) if event_format is named and len(event_format.suffixes) == 1 else tuple(event_format.files(base)),
        )
        for event_format in formats
    ]


def result_path(folder: Path, name: str, suffix: str = "") -> Path:
    """Return the path of a result in a folder.

    Args:
        folder: for the results.
        name: of a timeline, as a file may state it: it leads to no other folder.
        suffix: of the result, with its dot.

    Returns:
        A path directly in the folder. Slashes, null bytes and what no file name can hold become underscores.

    Raises:
        SetupError: the name is too long.
    """
    stem = safe_file_name(name)
    try:
        encoded = os.fsencode(stem)
    except UnicodeEncodeError:  # half of a character
        stem = re.sub("[\ud800-\udfff]", "_", stem)
        encoded = os.fsencode(stem)
    if len(encoded) + len(suffix) > MAX_FILE_NAME:
        raise SetupError(f"the name {shorten(name)} is too long for the name of a result; rename the media in its file")
    return folder / f"{stem}{suffix}"


def _suffixes(event_format: Format) -> list[str]:
    """Return the suffixes of the files and their common end, longest first: "visual.vtt", "audio.vtt", "vtt"."""
    common = {suffix.rsplit(".", 1)[-1] for suffix in event_format.suffixes}
    return sorted(
        {*event_format.suffixes, *(event_format.aliases or ()), *common}, key=lambda suffix: (-len(suffix), suffix)
    )


def _by_suffix(path: Path) -> Format | None:
    """Return the format with the longest suffix that fits, the first one in the registry of several."""
    matches = [
        (len(suffix), event_format)
        for event_format in FORMATS.values()
        for suffix in _suffixes(event_format)
        if path.name.casefold().endswith(f".{suffix}".casefold())
    ]
    return max(matches, key=lambda match: match[0])[1] if matches else None


def _default(path: Path) -> Format:
    """Return the format of a name without suffix. Raises SetupError for a suffix, which is no format's."""
    if path.suffix:
        known = sorted({suffix for form in FORMATS.values() for suffix in _suffixes(form) if "." not in suffix})
        raise SetupError(
            f"{escape(path)}: no format has the suffix {escape(path.suffix)}; known: .{', .'.join(known)}; or name the"
            " format with --format"
        )
    return FORMATS["json"]


def _without_suffix(path: Path, event_format: Format) -> Path:
    suffix = next(s for s in _suffixes(event_format) if path.name.casefold().endswith(f".{s}".casefold()))
    return path.with_name(path.name[: -len(suffix) - 1]) if len(path.name) > len(suffix) + 1 else path
