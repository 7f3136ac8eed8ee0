"""Search kept embeddings from Python: `avvp.search`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ...weights.manifest import OPEN_BUNDLE
from ...weights.remote.bundles import load_bundle
from ...weights.source import DownloadProgress, WeightSource
from ..embeddings.search.query import JOINED_GAP, MIN_Z, SearchSettings, Sense
from ..embeddings.search.run import list_embeddings, search_folders
from ..embeddings.search.search import SearchOutcome
from ..embeddings.search.texts import load_texts, with_texts
from ..features.compute_lanes import one_core


def search(
    texts: str | Sequence[str],
    folders: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    *,
    sense: Sense = "either",
    together: bool = False,
    top: int = 20,
    min_z: float = MIN_Z,
    gap: int = JOINED_GAP,
    exact: bool = False,
    weights: str | os.PathLike[str] = OPEN_BUNDLE,
    background: str | os.PathLike[str] | None = None,
    weights_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    download_progress: DownloadProgress | None = None,
    trust_parts: Sequence[str] = (),
) -> SearchOutcome:
    """Search kept embeddings of videos for what texts say; no video is decoded.

    Examples:
        >>> found = avvp.search("glass breaking", "events/")
        >>> for moment in found.moments:
        ...     print(moment.name, moment.onset, moment.offset, moment.z)

    Args:
        texts: one, or several.
        folders: of results of `avvp parse --output-dir` with classes, or of embeddings; none for the user's cache.
        sense: "heard" or "seen"; "either", the higher z of both; or "both", the lower one.
        together: find moments that have all texts, in place of those of each text.
        top: most moments to return, the best ones.
        min_z: least z of the seconds of a moment: of standard deviations above the mean of the background.
        gap: longest gap within a moment, in seconds.
        exact: compare every second, also where an index would be used.
        weights: name or folder of the bundle whose networks made the embeddings.
        background: TOML file that the texts are compared with; None for the shipped one.
        weights_dir: folder to search for weight files first.
        offline: never download.
        download_progress: called during downloads.
        trust_parts: packages whose code the bundle may name.

    Returns:
        The moments, and what was searched.

    Raises:
        SetupError: there are no embeddings that the texts can be compared with, or a text cannot be one.
        DatasetError: a folder cannot be listed.
        ValueError: a setting is out of range.
        WeightsError: the bundle is unknown, or files are missing or damaged.
    """
    settings = SearchSettings(sense, together, min_z, gap, top)
    listed = [folders] if isinstance(folders, str | os.PathLike) else folders
    places = [Path(folder) for folder in listed]
    source = WeightSource(
        None if weights_dir is None else Path(weights_dir), offline, download_progress, tuple(trust_parts)
    )
    wanted = [texts] if isinstance(texts, str) else list(texts)
    named = None if background is None else os.fspath(background)
    bundle = with_texts(load_bundle(os.fspath(weights), source), wanted, named)
    list_embeddings(places)
    with one_core():
        loaded = load_texts(bundle, source)
    return search_folders(places, loaded, settings, exact=exact)
