"""An index of many seconds: FAISS finds those nearest to a text, and their files alone are compared.

    part-<hash>.json           the files of a part, and the first row of each
    part-<hash>.audio.faiss    rows of sounds, grouped by centroids
    part-<hash>.visual.faiss   rows of pictures

New files go to new parts. A part is made again if a file of it has changed, and with new files if it is small.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from ...errors import SetupError
from ...files import exclusive_lock, make_folder, replacing, write_atomic
from ...text import escape
from ...timeline import SINGLE_MODALITIES, Modality
from .kept import Archive, KeptFile, rows_of
from .query import SearchQuery, SearchSettings
from .scores import unit_rows
from .search import Progress, Ranking, SearchOutcome, search_each

INDEX_SECONDS = 1_000_000  # of fewer seconds, all are compared
PART_BYTES = 1 << 30  # of files of a part: 420,000 seconds of CLIP and CLAP
MAX_INDEXES = 8  # of sets of folders, that are kept
_INDEX_NAME = re.compile("[0-9a-f]{16}")
_VERSION = 1  # of the layout
_GROUPS_READ = 16  # one of so many groups of rows is compared with a text
_LEAST_GROUPS = 8
_TRAINED_ROWS = 40  # rows for each centroid
_FIRST_ROWS = 1000  # that are asked for at first
_GROWTH = 8
_HALF_ROUNDING = 2.0**-11  # of float16, relative
_ATTEMPTS = 3  # to open an index that another process changes at the same time, or that is damaged
_PART_KEYS = {"files", "seconds", "others", "damaged", *SINGLE_MODALITIES}
_SUFFIXES: Mapping[Modality, str] = {modality: f".{modality}.faiss" for modality in SINGLE_MODALITIES}


def import_faiss() -> Any:
    """Import faiss. Raises SetupError where it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise SetupError("an index of embeddings needs faiss: pip install 'avvp[search]'") from error
    return faiss


def index_folder(folders: Sequence[Path], teachers: Mapping[str, str]) -> Path:
    """Return the folder of the index of what these teachers made in folders of results, in the user's cache."""
    names = sorted(os.fsdecode(folder.resolve()) for folder in folders)
    digest = hashlib.sha256(json.dumps([names, {**teachers}], sort_keys=True).encode()).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("avvp")) / "search" / digest


@dataclass(frozen=True)
class _Part:
    """A part of an index: its files, the first row of each by modality, and FAISS' indexes."""

    files: tuple[KeptFile, ...]
    firsts: Mapping[Modality, NDArray[np.int64]]
    indexes: Mapping[Modality, Any]
    counts: tuple[int, int]  # files that are in it, and their seconds

    def best_of_files(
        self, modality: Modality, scores: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> dict[KeptFile, float]:
        """Return file -> its highest z, of rows with their z, the highest first."""
        places = np.searchsorted(self.firsts[modality], rows, side="right") - 1
        known, first = np.unique(places, return_index=True)
        return {
            self.files[place]: float(scores[row]) for place, row in zip(known.tolist(), first.tolist(), strict=True)
        }


class SearchIndex:
    """Parts of an index that are on disk, mapped into memory. See `open_index`."""

    def __init__(self, parts: Sequence[_Part]) -> None:
        self._parts = tuple(parts)

    @property
    def counts(self) -> tuple[int, int]:
        """Number of files, and of their seconds."""
        return sum(part.counts[0] for part in self._parts), sum(part.counts[1] for part in self._parts)

    def nearest(
        self, vector: NDArray[np.float32], modality: Modality, count: int, *, exact: bool
    ) -> tuple[dict[KeptFile, float], float]:
        """Find the seconds with the highest z.

        Args:
            vector: (D,) of one text, of `SearchQuery.vectors`.
            modality: of the rows.
            count: of seconds to find.
            exact: compare all groups of rows, in place of the nearest.

        Returns:
            The files that have them, with their highest z; and the lowest z among the seconds, minus infinity if the
            groups have no others.
        """
        found = [_search_part(part, vector, modality, count, exact=exact) for part in self._parts]
        values = np.concatenate([scores for scores, _ in found]) if found else np.empty(0, np.float32)
        lowest = float(np.partition(values, -count)[-count]) if len(values) >= count else -math.inf
        files: dict[KeptFile, float] = {}
        for part, (scores, rows) in zip(self._parts, found, strict=True):
            chosen = scores >= lowest
            files |= part.best_of_files(modality, scores[chosen], rows[chosen])
        return files, lowest


def _search_part(
    part: _Part, vector: NDArray[np.float32], modality: Modality, count: int, *, exact: bool
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return z and rows of the best seconds of a part, at most `count`."""
    if (index := part.indexes.get(modality)) is None:
        return np.empty(0, np.float32), np.empty(0, np.int64)
    index.nprobe = index.nlist if exact else max(_LEAST_GROUPS, -(-index.nlist // _GROUPS_READ))
    scores, rows = index.search(vector[None], min(count, index.ntotal))  # the highest first
    known = rows[0] >= 0
    return scores[0][known], rows[0][known]


def open_index(folder: Path, archive: Archive, progress: Progress = lambda done, total: None) -> SearchIndex:  # noqa: ARG005
    """Open the index of an archive; parts whose files have changed are made again, and what is not used is removed.

    Args:
        folder: of the index.
        archive: kept embeddings.
        progress: called with what is done and in total, where parts are made.

    Returns:
        The index.

    Raises:
        SetupError: faiss is not installed, or another process makes parts.
        OutputError: the index cannot be written.
    """
    maker = _PartMaker(folder, archive, import_faiss())
    make_folder(folder)
    os.utime(folder)
    for _ in range(_ATTEMPTS):
        chosen = _choose_parts(folder, archive)
        if _missing(folder, chosen) or _unused(folder, chosen):
            with exclusive_lock(folder):
                chosen = _choose_parts(folder, archive)  # as the process before has left them
                missing = _missing(folder, chosen)
                total = maker.steps(chosen[stem] for stem in missing)
                for stem in missing:
                    maker.make(chosen[stem], stem, lambda done, total=total: progress(done, total))
                _remove(_unused(folder, chosen))
        parts = [maker.open(files, stem) for stem, files in chosen.items()]
        if None not in parts:
            _remove_old(folder.parent)
            return SearchIndex([part for part in parts if part is not None])
    raise SetupError(
        f"{escape(folder)}: the index is damaged, or other processes change it, each time that it is opened; --exact"
        " compares every second without it"
    )


def _missing(folder: Path, chosen: Iterable[str]) -> list[str]:
    """Return the names of the parts that are not on disk."""
    return [stem for stem in chosen if not (folder / f"{stem}.json").is_file()]


def _unused(folder: Path, chosen: Mapping[str, object]) -> list[Path]:
    """Return the files of other parts."""
    return [path for path in folder.glob("part-*") if path.name.partition(".")[0] not in chosen]


def _remove(paths: Sequence[Path]) -> None:
    """Remove files of parts, the lists of files first: a part that has one is complete."""
    for path in sorted(paths, key=lambda path: path.suffix != ".json"):
        path.unlink(missing_ok=True)


def _choose_parts(folder: Path, archive: Archive) -> dict[str, tuple[KeptFile, ...]]:
    """Return name -> files of the parts of an archive: those on disk that fit it, and new ones of the other files."""
    left = {json.dumps(_listed(file)): file for file in archive.files}
    chosen: dict[str, tuple[KeptFile, ...]] = {}
    for path in sorted(folder.glob("part-*.json")):
        names = [json.dumps(entry) for entry in _read_part(path)["files"]]
        if all(name in left for name in names):
            files = tuple(left[name] for name in names)
            large = sum(file.size for file in files) > PART_BYTES // 2
            if path.stem == _stem(files, archive) and (large or len(files) == len(left)):
                chosen[path.stem] = files
                left = {name: file for name, file in left.items() if name not in names}
    return chosen | {_stem(files, archive): files for files in _divide(left.values())}


def _divide(files: Iterable[KeptFile]) -> Iterator[tuple[KeptFile, ...]]:
    """Yield the files of each part."""
    part, size = list[KeptFile](), 0
    for file in files:
        if part and size + file.size > PART_BYTES:
            yield tuple(part)
            part, size = [], 0
        part.append(file)
        size += file.size
    if part:
        yield tuple(part)


def _listed(file: KeptFile) -> list[Any]:
    return [os.fsdecode(file.path.absolute()), file.size, file.changed]


def _stem(files: Sequence[KeptFile], archive: Archive) -> str:
    content = json.dumps([_VERSION, archive.teachers, [_listed(file) for file in files]], sort_keys=True)
    return f"part-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _read_part(path: Path) -> dict[str, Any]:
    """Return the description of a part; an empty one, and no file, if it is damaged."""
    try:
        description = json.loads(path.read_bytes())
        if description.keys() >= _PART_KEYS and all(isinstance(value, list) for value in description.values()):
            return description
    except (OSError, ValueError, AttributeError):
        pass
    path.unlink(missing_ok=True)
    return {key: [] for key in _PART_KEYS}


class _PartMaker:
    """Writes and opens the parts of an index."""

    def __init__(self, folder: Path, archive: Archive, faiss: Any) -> None:
        self._folder, self._archive, self._faiss = folder, archive, faiss
        self._done = 0

    @staticmethod
    def steps(parts: Iterable[Sequence[KeptFile]]) -> int:
        """Return the steps of progress of parts."""
        return len(SINGLE_MODALITIES) * sum(map(len, parts))

    def make(self, files: Sequence[KeptFile], stem: str, progress: Callable[[int], None]) -> None:
        """Write a part; its list of files comes last, so a part that has one is complete."""
        lengths = [self._lengths(file) for file in files]
        description: dict[str, Any] = {
            "files": [_listed(file) for file in files],
            "seconds": [max(length.values(), default=0) for length in lengths],
            "others": [place for place, file in enumerate(files) if file.path in self._archive.others],
            "damaged": [place for place, file in enumerate(files) if file.path in self._archive.damaged],
        }
        for modality in SINGLE_MODALITIES:
            rows = [length.get(modality, 0) for length in lengths]
            description[modality] = [0, *np.cumsum(rows).tolist()][:-1]
            path = self._folder / f"{stem}{_SUFFIXES[modality]}"
            path.unlink(missing_ok=True)  # of a process that was killed
            if count := sum(rows):
                index = self._train(files, modality, count)
                for file in files:
                    if len(found := self._rows(file, modality)):
                        index.add(unit_rows(found))
                    self._done += 1
                    progress(self._done)
                with replacing(path) as part:
                    self._faiss.write_index(index, os.fsdecode(part))
            else:
                self._done += len(files)
        write_atomic(self._folder / f"{stem}.json", json.dumps(description).encode())

    def _lengths(self, file: KeptFile) -> dict[Modality, int]:
        return {name: len(self._rows(file, name)) for name in SINGLE_MODALITIES}

    def _rows(self, file: KeptFile, modality: Modality) -> NDArray[np.float16]:
        """Return (T, D) rows, or none of a file without them."""
        embeddings = self._archive.open(file)
        rows = {} if embeddings is None else rows_of(embeddings)
        return rows.get(modality, np.empty((0, 0), np.float16))

    def _train(self, files: Sequence[KeptFile], modality: Modality, count: int) -> Any:
        """Return an index without rows, whose groups fit rows of these files."""
        groups = max(1, round(count**0.5))
        step = max(1, count // (_TRAINED_ROWS * groups))
        sample, seen = list[NDArray[np.float32]](), 0
        for file in files:
            rows = self._rows(file, modality)
            if len(chosen := rows[(-seen) % step :: step]):
                sample.append(unit_rows(chosen))
            seen += len(rows)
        trained = np.concatenate(sample)
        faiss, width = self._faiss, trained.shape[1]
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(width), width, groups, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False
        )
        index.cp.seed, index.cp.niter, index.cp.min_points_per_centroid = 0, 8, 1
        index.train(trained)
        return index

    def open(self, files: Sequence[KeptFile], stem: str) -> _Part | None:
        """Map a part into memory; None for one that is damaged, and then removed, or that another process removes."""
        place = self._folder / f"{stem}.json"
        description = _read_part(place)
        paths: dict[Modality, Path] = {
            modality: self._folder / f"{stem}{suffix}" for modality, suffix in _SUFFIXES.items()
        }
        try:
            indexes: dict[Modality, Any] = {
                modality: self._faiss.read_index(os.fsdecode(path), self._faiss.IO_FLAG_MMAP)
                for modality, path in paths.items()
                if path.is_file()
            }
        except RuntimeError:
            place.unlink(missing_ok=True)
            return None
        if not place.is_file():  # which is removed before the others
            return None
        for number in description["others"]:
            self._archive.others[files[number].path] = None
        for number in description["damaged"]:
            self._archive.open(files[number])  # for its error
        firsts: dict[Modality, NDArray[np.int64]] = {
            modality: np.array(description[modality], np.int64) for modality in SINGLE_MODALITIES
        }
        used = [seconds for seconds in description["seconds"] if seconds]
        return _Part(tuple(files), firsts, indexes, (len(used), sum(used)))


def _remove_old(folder: Path) -> None:
    """Remove the indexes that were not used for longest, beyond `MAX_INDEXES`; other folders and files stay."""
    with contextlib.suppress(OSError):  # another process removes one
        found = [path for path in folder.iterdir() if _INDEX_NAME.fullmatch(path.name) and path.is_dir()]
        found.sort(key=lambda path: path.stat().st_mtime)
        for path in found[:-MAX_INDEXES]:
            _remove(list(path.glob("part-*")))
            path.rmdir()


def search_index(
    index: SearchIndex, archive: Archive, query: SearchQuery, settings: SearchSettings, *, exact: bool = False
) -> SearchOutcome:
    """Find the best moments by an index; what it finds is compared as `search_all` does, and is the same.

    Args:
        index: of the archive.
        archive: kept embeddings.
        query: of `scaled_query`.
        settings: what is found.
        exact: let the index compare all rows; else it reads the groups nearest to a text, and may miss a moment.

    Returns:
        The best moments, without the number of others.
    """
    texts = query.texts[:1] if settings.together else query.texts  # a moment of all texts has the first one
    modalities: tuple[Modality, ...] = settings.modalities[:1] if settings.sense == "both" else settings.modalities
    vectors: dict[Modality, NDArray[np.float32]] = {modality: query.vectors(modality) for modality in modalities}
    rounding = _HALF_ROUNDING * max(float(np.linalg.norm(table, axis=0).max()) for table in vectors.values())
    count = max(_FIRST_ROWS, 10 * settings.top)
    while True:
        best: dict[KeptFile, float] = {}  # no second of a file has a higher z
        lowest = -math.inf  # no second of another file
        for modality, table in vectors.items():
            for place in range(len(texts)):
                files, bound = index.nearest(table[:, place], modality, count, exact=exact)
                lowest = max(lowest, bound + rounding)
                for file, z in files.items():
                    best[file] = max(best.get(file, -math.inf), z + rounding)
        ranking, enough = _search_best(archive, best, query, settings, lowest)
        complete = lowest < settings.min_z
        if enough or (complete and exact):
            total = ranking.total if complete and exact and not enough else None
            return SearchOutcome(ranking.moments(), total, *index.counts, ranking.best)
        exact = exact or complete  # the groups that are nearest to the texts have too few
        count *= _GROWTH


def _search_best(
    archive: Archive, best: Mapping[KeptFile, float], query: SearchQuery, settings: SearchSettings, lowest: float
) -> tuple[Ranking, bool]:
    """Compare files in the order of the highest z that they can have, until no other can have a better moment.

    Returns:
        The moments, and whether the best ones are among them.
    """
    ranking = Ranking(query, settings)
    ordered = sorted(best, key=lambda file: -best[file])
    bounds = [max(best[file], lowest) for file in ordered[1:]] + [lowest]
    for searched, bound in zip(search_each(archive, ordered, query, settings), bounds, strict=False):
        if searched is not None:
            ranking.add(searched)
        moments = ranking.moments()
        if len(moments) == settings.top and moments[-1].z >= bound:
            return ranking, True
    return ranking, False
