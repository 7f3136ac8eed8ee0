"""One search of folders: every second, or an index of them where they are many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import SetupError
from ...text import count_of, escape
from ..store import user_folder
from .index import INDEX_SECONDS, import_faiss, index_folder, open_index, search_index
from .kept import Archive, KeptFile, list_kept
from .query import SearchSettings
from .search import Progress, SearchOutcome, scaled_query, search_all
from .texts import LoadedTexts


def list_embeddings(folders: Sequence[Path]) -> list[KeptFile]:
    """List the kept embeddings of folders.

    Args:
        folders: of results, or of embeddings; none for those of the user's cache.

    Returns:
        The files, at least one.

    Raises:
        SetupError: there are no embeddings.
        DatasetError: a folder cannot be listed.
    """
    places = folders or [user_folder()]
    if files := list_kept(places):
        return files
    where = ", ".join(map(escape, places))
    raise SetupError(f"{where}: no kept embeddings; avvp parse keeps them with --classes, and with --output-dir FOLDER")


def search_folders(
    folders: Sequence[Path],
    texts: LoadedTexts,
    settings: SearchSettings,
    *,
    exact: bool = False,
    progress: Progress = lambda done, total: None,  # noqa: ARG005
) -> SearchOutcome:
    """Search the kept embeddings of folders.

    Args:
        folders: of results, or of embeddings; none for those of the user's cache.
        texts: what is searched for.
        settings: what is found.
        exact: compare every second also where they are more than `INDEX_SECONDS`.
        progress: called with what is done and in total.

    Returns:
        The best moments, with notes about what was left out.

    Raises:
        SetupError: there are no embeddings that the texts can be compared with.
        DatasetError: a folder cannot be listed.
        OutputError: the index cannot be written.
    """
    archive = Archive(list_embeddings(folders), texts.teachers)
    query = scaled_query(texts.query, archive)
    notes = list[str]()
    if exact or not _needs_index(archive, query.width, notes):
        outcome = search_all(archive, query, settings, progress)
    else:
        index = open_index(index_folder(folders or [user_folder()], archive.teachers), archive, progress)
        outcome = search_index(index, archive, query, settings)
    if archive.others:
        names = count_of((path.stem for path in archive.others), "file")
        notes.append(f"left out, as other networks made them: {names}; --weights names theirs")
    if archive.damaged:
        notes.append(f"left out: {next(iter(archive.damaged.values()))}" + _and_more(len(archive.damaged)))
    if not outcome.files:
        raise SetupError(f"no embeddings that can be searched: {'; '.join(notes)}")
    return replace(outcome, notes=(*texts.warnings, *notes))


def _and_more(count: int) -> str:
    return f" and {count - 1} more" if count > 1 else ""


def _needs_index(archive: Archive, width: int, notes: list[str]) -> bool:
    """Return whether the seconds are so many that an index is used; note where it would be and is not installed."""
    if sum(file.size for file in archive.files) <= 2 * width * INDEX_SECONDS:
        return False
    try:
        import_faiss()
    except SetupError as error:
        notes.append(f"every second was compared: {error}")
        return False
    return True
