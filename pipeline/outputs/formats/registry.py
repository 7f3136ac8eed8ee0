"""Registry of event file formats, and reading and writing files in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from ...errors import FormatError, SetupError
from ...event_limits import read_event_bytes
from ...files import write_atomic
from ...text import escape
from ...text_files import Text, decode_text
from ...timeline import Timeline
from . import (
    activitynet,
    audacity,
    captions,
    chapters,
    csv_tsv,
    dcase,
    elan,
    events_json,
    label_studio,
    llp,
    otio,
    parquet,
    raven,
    rttm,
    textgrid,
)

Writer = Callable[[Timeline], Sequence[bytes]]
Reader = Callable[[Mapping[str, str], str], Sequence[Timeline]]  # suffix -> text, name -> timelines


def _decode_any(content: bytes) -> Text:
    return decode_text(content, legacy=True)


@dataclass(frozen=True)
class Format:
    """A file format of events, which may use several files per timeline."""

    name: str
    suffixes: tuple[str, ...]  # of its files, in the order in which `write` returns their contents
    write: Writer
    # Takes the text of the files that exist, by suffix, and the name that they share; raises ValueError for content
    # that is not in the format. None: the format is only written.
    read: Reader | None = None
    aliases: Mapping[str, str] | None = None  # other suffix that is read -> the suffix that it stands for
    keeps_scores: bool = True  # False: events that are read have score 1
    keeps_warnings: bool = False  # True: warnings are a part of the file; False: they are about reading it
    decode: Callable[[bytes], Text] = _decode_any
    # In place of `read` for a format of one binary file: content, name -> timelines; raises ValueError as `read` does.
    read_bytes: Callable[[bytes, str], Sequence[Timeline]] | None = None
    # Optional dependencies: name of the package that is imported, and of the extra of this package that installs it.
    needs: tuple[str, str] | None = None

    @property
    def is_readable(self) -> bool:
        """Whether files of the format can be read back."""
        return self.read is not None or self.read_bytes is not None

    @property
    def is_installed(self) -> bool:
        """Whether the package that the format needs is there."""
        return self.needs is None or find_spec(self.needs[0]) is not None

    def require(self) -> None:
        """Raise SetupError if the package that the format needs is not installed."""
        if self.needs is not None and not self.is_installed:
            package, extra = self.needs
            raise SetupError(f"the format {self.name} needs {package}; install it with: pip install 'avvp[{extra}]'")

    def files(self, base: Path) -> list[Path]:
        """Return the paths that the format writes: `base` with each suffix."""
        return [base.with_name(f"{base.name}.{suffix}") for suffix in self.suffixes]


FORMATS = {
    event_format.name: event_format
    for event_format in (
        Format(
            "json", ("json",), events_json.write, events_json.read, {"events.json": "json"}, keeps_warnings=True,
            decode=decode_text,
        ),
        Format("csv", ("csv",), csv_tsv.write_csv, csv_tsv.read),
        Format("tsv", ("tsv",), csv_tsv.write_tsv, csv_tsv.read),
        Format("llp", llp.SUFFIXES, llp.write, llp.read, keeps_scores=False),
        Format("vtt", ("audio.vtt", "visual.vtt"), captions.write_vtt),
        Format("srt", ("audio.srt", "visual.srt"), captions.write_srt),
        Format(
            "audacity", audacity.SUFFIXES, audacity.write, audacity.read, {"txt": "audio.txt"}, keeps_scores=False,
        ),
        Format("textgrid", ("TextGrid",), textgrid.write, textgrid.read, keeps_scores=False),
        Format("eaf", ("eaf",), elan.write, elan.read, keeps_scores=False, decode=elan.decode),
        Format("rttm", rttm.SUFFIXES, rttm.write, rttm.read, {"rttm": "audio.rttm"}),
        Format("raven", ("selections.txt",), raven.write, raven.read),
        Format(
            "activitynet", activitynet.SUFFIXES, activitynet.write, activitynet.read,
            {"activitynet.json": "visual.activitynet.json"}, decode=decode_text,
        ),
        Format("dcase", dcase.SUFFIXES, dcase.write, dcase.read, {"dcase.tsv": "audio.dcase.tsv"}, keeps_scores=False),
        Format("label-studio", label_studio.SUFFIXES, label_studio.write, label_studio.read, decode=decode_text),
        Format("otio", ("otio",), otio.write, otio.read, decode=decode_text),
        Format(
            "ffmetadata", ("ffmetadata.txt",), chapters.write_ffmetadata, chapters.read_ffmetadata,
            {"ffmetadata": "ffmetadata.txt"}, keeps_scores=False,
        ),
        Format("chapters", ("chapters.vtt",), chapters.write_vtt),
        Format("parquet", ("parquet",), parquet.write, read_bytes=parquet.read, needs=("pyarrow", "table")),
    )
}  # fmt: skip


def find_format(path: Path) -> tuple[Format, str, str] | None:
    """Find the format of a file by its name.

    Args:
        path: need not exist.

    Returns:
        The format, the suffix of the name that decided, and the name before that suffix; None where no suffix of a
        format fits.
    """
    matches = [
        (event_format, suffix)
        for event_format in FORMATS.values()
        for suffix in (*event_format.suffixes, *(event_format.aliases or ()))
        if path.name.casefold().endswith(suffix.casefold())
        and path.name[: -len(suffix)][-1:] in {"", ".", "_", "-"}
    ]  # fmt: skip
    if not matches:
        return None
    event_format, suffix = max(matches, key=lambda match: len(match[1]))
    return event_format, suffix, path.name[: -len(suffix) - 1]


def read_events(path: Path) -> list[Timeline]:
    """Read the timelines of a file and, in a format of several files, of the files that belong to it.

    Args:
        path: any file of the format's group; its name decides the format.

    Returns:
        One timeline, or one for each clip in the file. What is to be known about reading them is in their warnings.

    Raises:
        FormatError: the name is not that of a readable format, the content is not in the format, or the file cannot
            be read.
    """
    match = find_format(path)
    if match is None or not match[0].is_readable:
        readable = (event_format for event_format in FORMATS.values() if event_format.is_readable)
        patterns = ", ".join(f"*.{suffix}" for event_format in readable for suffix in event_format.suffixes)
        raise FormatError(path, f"not a readable event format; readable: {patterns}")
    event_format, suffix, base = match
    if event_format.read is None:
        return _read_binary(path, event_format, base or path.stem)
    stands_for = (event_format.aliases or {}).get(suffix, suffix)
    files = {stands_for: path}
    if stands_for == suffix:
        files |= dict(_siblings(path, event_format, suffix))
    texts = {part: _read_text(file, event_format) for part, file in files.items()}
    try:
        timelines = event_format.read({part: text.text for part, text in texts.items()}, base or path.stem)
    except (ValueError, OverflowError, RecursionError) as error:
        raise FormatError(path, f"not valid {event_format.name} events: {error}") from error
    notices = [f"{escape(files[part].name)}: {notice}" for part, text in texts.items() for notice in text.notices]
    if event_format.keeps_warnings:
        return [replace(timeline, warnings=(*timeline.warnings, *notices)) for timeline in timelines]
    return [_name_warnings(timeline, path, notices) for timeline in timelines]


def _read_binary(path: Path, event_format: Format, name: str) -> list[Timeline]:
    assert event_format.read_bytes is not None
    try:
        event_format.require()
        content = read_event_bytes(path)
    except (ValueError, SetupError) as error:
        raise FormatError(path, f"cannot be read: {error}") from error
    try:
        timelines = event_format.read_bytes(content, name)
    except (ValueError, OverflowError) as error:
        raise FormatError(path, f"not valid {event_format.name} events: {error}") from error
    return [_name_warnings(timeline, path) for timeline in timelines]


def _name_warnings(timeline: Timeline, path: Path, notices: Sequence[str] = ()) -> Timeline:
    warnings = (f"{escape(path.name)}: {warning}" for warning in timeline.warnings)
    return replace(timeline, warnings=(*notices, *warnings))


def all_files(path: Path) -> list[Path]:
    """Return an event file and the existing files that `read_events` reads with it."""
    match = find_format(path)
    return [path] if match is None else [path, *(sibling for _, sibling in _siblings(path, match[0], match[1]))]


def _siblings(path: Path, event_format: Format, suffix: str) -> list[tuple[str, Path]]:
    """Return the other existing files of the same group with their suffixes."""
    if suffix not in event_format.suffixes:
        return []
    base = path.name[: -len(suffix)]
    others = [(other, path.with_name(base + other)) for other in event_format.suffixes if other != suffix]
    return [(other, sibling) for other, sibling in others if sibling.is_file()]


def _read_text(path: Path, event_format: Format) -> Text:
    try:
        return event_format.decode(read_event_bytes(path))
    except ValueError as error:
        raise FormatError(path, f"cannot be read: {error}") from error


def write_events(timeline: Timeline, event_format: Format, paths: Sequence[Path]) -> None:
    """Write a timeline in one format, each file atomically.

    Args:
        timeline: the events.
        event_format: one of `FORMATS`.
        paths: one for each of the format's suffixes, in their order.

    Raises:
        OutputError: a file cannot be written.
    """
    for path, content in zip(paths, event_format.write(timeline), strict=True):
        write_atomic(path, content)
