"""Read what systems say of the clips of a split: networks that parse features, folders of event files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np

from ..datasets.annotations import Annotations
from ..errors import FeatureMismatchError
from ..evaluation.evaluate_timelines import read_decisions
from ..text import escape
from ..timeline import SegmentLabels
from .compare import SystemDecisions

if TYPE_CHECKING:  # files of events need no torch, whose import takes seconds
    from ..inference.bundle import LoadedParser
    from ..inference.thresholds import Thresholds

Progress = Callable[[str], Callable[[int, int], None]]


def read_timelines_of(
    folder: Path, name: str, annotations: Annotations, split: str, *, allow_missing: bool = False
) -> SystemDecisions:
    """Read the event files of a folder as one system.

    Args:
        folder: with a file for each clip, see `read_decisions`.
        name: of the system.
        annotations: of the data set.
        split: "val" or "test".
        allow_missing: leave out clips without a file.

    Returns:
        Its decisions; it counts as a localizer where the data set, or all files, have one event a second.

    Raises:
        DatasetError: files are missing or invalid; the message lists all of them.
    """
    found = read_decisions(folder, annotations, split, allow_missing=allow_missing)
    truth = annotations.segment_labels(annotations.split(split), annotations.segments).select(list(found.rows))
    return SystemDecisions(
        name=name,
        rows=found.rows,
        decisions=found.labels,
        truth=truth,
        lengths=np.full(len(found.rows), annotations.segments),
        localized=annotations.task == "avel" or found.localized,
    )


def run_network(
    loaded: LoadedParser,
    name: str,
    *,
    annotations: Path,
    features: Sequence[Path],
    split: str,
    thresholds: Thresholds,
    progress: Progress,
) -> SystemDecisions:
    """Parse the features of a split with a network.

    Args:
        loaded: the parser or the localizer.
        name: of the system.
        annotations: folder of the annotations; their classes must be the network's.
        features: folders or packed stores; those of the network's extractors are read.
        split: "val" or "test".
        thresholds: of its decisions.
        progress: see `ParserEvaluator`.

    Returns:
        Its decisions on all clips of the split.

    Raises:
        DatasetError: annotations or features cannot be read.
        FeatureMismatchError: no features, or no classes, are the network's.
    """
    from ..evaluation.evaluate_parser import ParserEvaluator

    evaluator = ParserEvaluator(loaded, annotations, _choose(features, loaded), progress=progress)
    clips, decisions = evaluator.decide(split, thresholds)
    truth = evaluator.annotations.segment_labels(evaluator.annotations.split(split), int(clips.lengths.max()))
    inside = (np.arange(truth.audio.shape[1]) < clips.lengths[:, None])[:, :, None]
    return SystemDecisions(
        name=name,
        rows=tuple(range(len(clips))),
        decisions=decisions,
        truth=SegmentLabels(truth.audio & inside, truth.visual & inside),
        lengths=clips.lengths,
        localized=clips.events is not None,
    )


def _choose(features: Sequence[Path], loaded: LoadedParser) -> Path:
    """Return the features that a network was made for, else some that approximate them.

    Raises FeatureMismatchError if there are none.
    """
    from ..features.packed_store import open_features
    from ..inference.bundle import check_features

    causes: list[str] = []
    approximate: list[Path] = []
    for path in features:
        try:
            warnings = check_features(loaded, open_features(path).spec, path)
        except FeatureMismatchError as error:
            causes.append(str(error))
        else:
            if not warnings:
                return path
            approximate.append(path)
    if approximate:
        return approximate[0]
    raise FeatureMismatchError("\n".join(causes))


def distinct_names(systems: Sequence[str]) -> list[str]:
    """Name systems by the ends of their paths, as many parts as tell them apart.

    Args:
        systems: names of bundles, addresses, or paths of folders; all of them different.

    Returns:
        A name for each, escaped: "leap" and "mmil" for runs/leap and runs/mmil, "a/leap" and "b/leap" for a/leap and
        b/leap.
    """
    parts = [PurePath(system).parts or (system,) for system in systems]
    longest = max(map(len, parts))
    for length in range(1, longest + 1):
        names = ["/".join(path[-length:]) for path in parts]
        if len(set(names)) == len(names):
            return list(map(escape, names))
    return list(map(escape, systems))
