"""Cut events out of media files into a folder, with an index and contact sheets; a run can be killed and goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from ...decode.process import DEFAULT_TIMEOUT
from ...errors import MediaError, SetupError
from ...files import exclusive_lock, make_folder, remove_parts, write_atomic
from ...text import escape
from .contact_sheet import draw_sheets, sheet_count, sheet_name
from .containers import copy_container, exact_container
from .cut_index import INDEX_NAMES, write_index
from .journal import CutJournal, FinishedCut, cut_key, refuse_link
from .plan import Cut
from .write_cuts import Part, WrittenPart, copy_parts, encode_parts


@dataclass(frozen=True)
class CutOptions:
    """How cuts are made.

    Attributes:
        exact: encode anew, so that a cut begins at its start; else packets are copied, from a key frame on.
        index: key of `INDEX_NAMES`.
        sheet: draw contact sheets.
        overwrite: replace files that exist.
        timeout: seconds that a cut may take, and as much again for every 10 s of media.
    """

    exact: bool = False
    index: str = "csv"
    sheet: bool = True
    overwrite: bool = False
    timeout: float = DEFAULT_TIMEOUT


@dataclass
class CutResult:
    """What a run has done.

    Attributes:
        done: cuts that exist now.
        kept: number of those that an earlier run had written.
        failures: one for each cut that could not be written.
    """

    done: list[tuple[Cut, FinishedCut]] = field(default_factory=list)
    kept: int = 0
    failures: list[MediaError] = field(default_factory=list)


def cut_suffix(media: Path, *, exact: bool) -> str:
    """Return the suffix of the cuts of a media file."""
    return (exact_container(media) if exact else copy_container(media)).suffix


@contextmanager
def open_cut_folder(folder: Path, cuts: Sequence[Cut], options: CutOptions) -> Iterator[CutFolder]:
    """Prepare a folder for cuts, and lock it.

    Args:
        folder: created if it does not exist.
        cuts: of `plan_cuts`.
        options: how they are made.

    Yields:
        The folder; call its `write`.

    Raises:
        SetupError: another process uses the folder, or a file exists there that was not written as a cut, or as
            another one.
        OutputError: the folder cannot be created.
    """
    make_folder(folder)
    with exclusive_lock(folder):
        opened = CutFolder(folder, cuts, options)
        try:
            yield opened
        finally:
            remove_parts(folder)  # of a process that was killed


class CutFolder:
    """Cuts, and the locked folder that they are written to. See `open_cut_folder`."""

    def __init__(self, folder: Path, cuts: Sequence[Cut], options: CutOptions) -> None:
        """Compare the folder with the cuts; the arguments are those of `open_cut_folder`. Raises SetupError."""
        self._folder, self._cuts, self._options = folder, cuts, options
        self._journal = CutJournal(folder)
        self._result = CutResult()
        self._keys = {cut.name: key for cut in cuts if (key := self._key(cut)) is not None}
        self._finished = {} if options.overwrite else self._complete()
        self._result.kept = len(self._finished)
        self._check_existing()

    def _key(self, cut: Cut) -> str | None:
        try:
            return cut_key(cut, exact=self._options.exact)
        except OSError as error:
            self._result.failures.append(MediaError(cut.media, f"cannot be opened: {error.strerror or error}"))
            return None

    def _complete(self) -> dict[str, FinishedCut]:
        keys, journal = self._keys, self._journal
        return {name: journal.finished[name] for name in keys if journal.is_complete(self._folder, name, keys[name])}

    def _check_existing(self) -> None:
        """Raise SetupError for a file that would be replaced and is not ours, or is another cut; links are never."""
        sheets = range(sheet_count(len(self._cuts)) if self._options.sheet else 0)
        cuts = [cut.name for cut in self._cuts if cut.name not in self._finished]
        for name in (*cuts, INDEX_NAMES[self._options.index], *map(sheet_name, sheets)):
            path = self._folder / name
            refuse_link(path)
            if self._options.overwrite or not path.exists():
                continue
            if name not in self._journal.own:
                raise SetupError(f"{escape(path)}: was not written by avvp clips; --overwrite replaces it")
            if name in self._journal.finished:
                problem = "was cut from another file or with other options, or has changed"
                raise SetupError(f"{escape(path)}: {problem}; --overwrite replaces it")

    def write(self, progress: Callable[[int, int], None] = lambda done, total: None) -> CutResult:  # noqa: ARG005
        """Write the cuts, their index and contact sheets, each file atomically; complete cuts are kept.

        Args:
            progress: called with the number of cuts that are done and in total.

        Returns:
            What was done, also where single media failed.

        Raises:
            OutputError: a file cannot be written.
        """
        result = self._result
        progress(len(self._finished), len(self._cuts))
        todo = [cut for cut in self._cuts if cut.name in self._keys and cut.name not in self._finished]
        for media, group in groupby(todo, key=lambda cut: cut.media):
            for cut, written in self._cut_media(media, list(group)):
                if isinstance(written, MediaError):
                    result.failures.append(written)
                else:
                    self._finish(cut, written)
                progress(len(self._finished) + len(result.failures), len(self._cuts))
        result.done = [(cut, self._finished[cut.name]) for cut in self._cuts if cut.name in self._finished]
        self._write_overview()
        return result

    def _cut_media(self, media: Path, cuts: Sequence[Cut]) -> Iterator[tuple[Cut, WrittenPart | MediaError]]:
        for cut in cuts:
            self._journal.begin(cut.name)
        parts = [Part(cut.start, cut.end, self._folder / cut.name) for cut in cuts]
        write, container = (encode_parts, exact_container) if self._options.exact else (copy_parts, copy_container)
        written = write(media, parts, muxer=container(media).muxer, timeout=self._options.timeout)
        yield from zip(cuts, written, strict=True)

    def _finish(self, cut: Cut, written: WrittenPart) -> None:
        size = (self._folder / cut.name).stat().st_size
        entry = FinishedCut(cut.name, self._keys[cut.name], written.start, written.end, size)
        self._journal.finish(entry)
        self._finished[cut.name] = entry

    def _write_overview(self) -> None:
        options, result = self._options, self._result
        self._replace(INDEX_NAMES[options.index], write_index(result.done, options.index, exact=options.exact))
        sheets = draw_sheets([cut for cut, _ in result.done], timeout=options.timeout) if options.sheet else ()
        for number, content in enumerate(sheets):
            self._replace(sheet_name(number), content)

    def _replace(self, name: str, content: bytes) -> None:
        self._journal.begin(name)
        write_atomic(self._folder / name, content)
