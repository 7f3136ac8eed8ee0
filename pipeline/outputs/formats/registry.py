"""The forms in which events are written and read: one registry, a writer each, a reader where one makes sense."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import FormatError
from ...files import write_atomic
from ...timeline import Timeline
from . import audacity, captions, events_json, llp, rttm, textgrid
from . import csv_tsv as spreadsheet
from . import elan as eaf

Writer = Callable[[Timeline], Sequence[bytes]]
Reader = Callable[[Mapping[str, bytes], str], Sequence[Timeline]]  # suffix -> content, name -> timelines
_MAX_BYTES = 256 << 20


@dataclass(frozen=True)
class Format:
    """A form of events.

    suffixes: of its files, in the order in which `write` gives their contents. reads: suffixes that are also read, ->
    the one that they stand for. read: gets what is there of a group of files and the name that they share; raises
    ValueError for what it cannot understand. scores: whether they survive; where not, what is read has score 1.
    """

    name: str
    about: str
    suffixes: tuple[str, ...]
    write: Writer
    read: Reader | None = None
    reads: Mapping[str, str] | None = None
    scores: bool = True

    def files(self, base: Path) -> list[Path]:
        """Where it writes to: `base` with its suffixes."""
        return [base.with_name(f"{base.name}.{suffix}") for suffix in self.suffixes]


FORMATS = {
    form.name: form
    for form in (
        Format(
            "json", "everything, by the schema", ("json",), events_json.write, events_json.read,
            {"events.json": "json"},
        ),
        Format("csv", "a row for each event", ("csv",), spreadsheet.write_csv, spreadsheet.read_csv),
        Format("tsv", "the same, between tabs", ("tsv",), spreadsheet.write_tsv, spreadsheet.read_tsv),
        Format(
            "llp", "the annotation files of LLP, whole seconds", llp.SUFFIXES, llp.write, llp.read, scores=False,
        ),
        Format("vtt", "WebVTT captions, heard and seen", ("audio.vtt", "visual.vtt"), captions.write_vtt),
        Format("srt", "SubRip captions, heard and seen", ("audio.srt", "visual.srt"), captions.write_srt),
        Format(
            "audacity", "label tracks", audacity.SUFFIXES, audacity.write, audacity.read, {"txt": "audio.txt"},
            scores=False,
        ),
        Format("textgrid", "Praat", ("TextGrid",), textgrid.write, textgrid.read, scores=False),
        Format("eaf", "ELAN", ("eaf",), eaf.write, eaf.read, scores=False),
        Format("rttm", "NIST's rich transcription, for scorers", ("audio.rttm", "visual.rttm"), rttm.write),
    )
}  # fmt: skip


def find_format(path: Path) -> tuple[Format, str, str] | None:
    """The format of a file by its name, the suffix that says so, and what is before it; None for other files."""
    found = [
        (form, suffix)
        for form in FORMATS.values()
        for suffix in (*form.suffixes, *(form.reads or ()))
        if path.name.casefold().endswith(suffix.casefold())
        and path.name[: -len(suffix)][-1:] in {"", ".", "_", "-"}
    ]  # fmt: skip
    if not found:
        return None
    form, suffix = max(found, key=lambda pair: len(pair[1]))
    return form, suffix, path.name[: -len(suffix) - 1]


def read_events(path: Path) -> list[Timeline]:
    """The timelines of a file: several where it knows several clips. Raises FormatError.

    A format that is made of several files is read from any of them; those beside it that there are belong to it.
    """
    found = find_format(path)
    if found is None or found[0].read is None:
        known = ", ".join(f"*.{suffix}" for form in FORMATS.values() if form.read for suffix in form.suffixes)
        raise FormatError(path, f"not a form of events that can be read back ({known})")
    form, suffix, base = found
    assert form.read is not None
    stands_for = (form.reads or {}).get(suffix, suffix)
    contents = {stands_for: _read(path)}
    if stands_for == suffix:
        contents |= {other: _read(sibling) for other, sibling in _siblings(path, form, suffix)}
    try:
        return list(form.read(contents, base or path.stem))
    except (ValueError, OverflowError, RecursionError) as error:
        raise FormatError(path, f"not {form.name} events: {error}") from error


def all_files(path: Path) -> list[Path]:
    """A file of events and those beside it that `read_events` reads with it."""
    found = find_format(path)
    return [path] if found is None else [path, *(sibling for _, sibling in _siblings(path, found[0], found[1]))]


def _siblings(path: Path, form: Format, suffix: str) -> list[tuple[str, Path]]:
    """Other files of the same group that there are, by suffix."""
    if suffix not in form.suffixes:
        return []
    begin = path.name[: -len(suffix)]
    others = [(other, path.with_name(begin + other)) for other in form.suffixes if other != suffix]
    return [(other, sibling) for other, sibling in others if sibling.is_file()]


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise FormatError(path, f"more than {_MAX_BYTES >> 20} MiB, which no timeline is")
        return path.read_bytes()
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror or error}") from error


def write_events(timeline: Timeline, form: Format, paths: Sequence[Path]) -> None:
    """Write a timeline's files in one form, each whole or not at all. Raises OutputError."""
    for path, content in zip(paths, form.write(timeline), strict=True):
        write_atomic(path, content)
