"""Choose thresholds, decide labels, write the label files and the record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...models.labels import LLP_LABELS
from ..batch.storage import Storage
from ..datasets.annotations import LABEL_FILE, SPLIT_FILES, read_clip_names
from ..datasets.pseudo_labels import FOLDERS
from ..datasets.soft_labels import MISSING_STREAMS
from ..text import count_of
from ..timeline import SegmentLabels
from .calibrate import choose_thresholds
from .prompts import PROMPTS_FILE, Prompts
from .record import REVIEW, digests_of, is_unchanged, mark_unfinished, refuse_foreign_files, write_record
from .score_files import read_scores, save_table
from .threshold_scores import TEACHERS, LabelingConfig, ScoredClips, decide_labels, has_stream
from .weak_labels import matching_names

_TRAIN = SPLIT_FILES["train"]


def check_storage(storage: Storage, config: LabelingConfig) -> None:
    """Raise SetupError where labels, tables or prompts would replace files that this command did not write."""
    refuse_foreign_files(storage, [PROMPTS_FILE, *([_TRAIN, LABEL_FILE] if config.data_set else [])])


def make_labels(storage: Storage, config: LabelingConfig, scored: ScoredClips, provenance: Mapping[str, Any]) -> str:
    """Make the labels of all scored clips in three steps: choose thresholds, decide labels, write files and record.

    Args:
        storage: of the run; it has the scores.
        config: how scores become labels.
        scored: clips with scores of both teachers.
        provenance: for the record: program, teachers, hashes, precision.

    Returns:
        A line for the user.

    Raises:
        SetupError: scores are missing or damaged.
        OutputError: a file cannot be written.
    """
    read = partial(read_scores, storage, len(config.prompts.labels))
    prompts = choose_thresholds(config, scored, read)
    labels = label_clips(config, prompts, scored, read)
    missing = {modality: [name for name in labels if not has_stream(modality, scored[name])] for modality in TEACHERS}
    written = write_labels(storage, config, prompts, labels, {**provenance, MISSING_STREAMS: missing})
    return "; ".join(summarize(config, scored, labels, written))


def label_clips(
    config: LabelingConfig,
    prompts: Prompts,
    scored: ScoredClips,
    read: Callable[[str], Mapping[str, NDArray[np.float32]]],
) -> dict[str, SegmentLabels]:
    """Label the scored clips that have weak labels; all of them if there are no weak labels.

    Args:
        config: its weak labels.
        prompts: thresholds to use.
        scored: clips with scores of both teachers.
        read: clip -> logits by modality, (T, C).

    Returns:
        Clip -> labels (T, C), in the order of `scored`.
    """
    weak = config.weak
    return {
        name: decide_labels(prompts, read(name), scored[name], None if weak is None else weak[name])
        for name in scored
        if weak is None or name in weak
    }


class WrittenLabels(NamedTuple):
    """Side results of `write_labels`.

    Attributes:
        removed: clips whose labels, written by an earlier run, were removed.
        notes: for the user and the record.
    """

    removed: frozenset[str]
    notes: tuple[str, ...]


def write_labels(
    storage: Storage,
    config: LabelingConfig,
    prompts: Prompts,
    labels: Mapping[str, SegmentLabels],
    provenance: Mapping[str, Any],
) -> WrittenLabels:
    """Write labels, prompts, training split and record; remove labels and tables of earlier runs that no longer hold.

    From the first to the last write the record says that the labels are unfinished.

    Args:
        storage: of the run.
        config: what is written besides the labels.
        prompts: with the thresholds that the labels were made with.
        labels: clip -> labels (T, C).
        provenance: for the record.

    Returns:
        The removed clips, and notes.
    """
    held_out = _find_held_out(storage, labels) if config.data_set else set()
    files = {PROMPTS_FILE: prompts.to_toml().encode()}
    if config.data_set:
        training = {name: active for name, active in labels.items() if name not in held_out}
        files |= split_files(config, prompts.labels, training)
    notes = (f"{count_of(held_out, 'clip')} of val or test: not in {_TRAIN}",) if held_out else ()
    earlier = mark_unfinished(storage, files, labels)
    removed = frozenset(map(str, earlier.get("labelled", ()))).difference(labels)
    stale = _find_stale(storage, config, earlier, files)
    storage.clear([*(folder.as_posix() for folder in FOLDERS.values()), REVIEW])
    for name, tables in labels.items():
        for modality in TEACHERS:
            table = tables.of(modality).astype(np.uint8)
            storage.store(_label_file(modality, name), partial(save_table, table))
    for name in removed:
        for modality in TEACHERS:
            storage.remove(_label_file(modality, name))
    for file, content in files.items():
        storage.write(file, content)
    for file in stale:
        storage.remove(file)
    kept = {file: digests for file, digests in earlier.get("wrote", {}).items() if file not in stale}
    write_record(storage, {
        **provenance,
        "origin": dict(config.origin),
        "prompts": prompts.to_record(),
        "thresholds": config.calibration or prompts.origin,
        "weak_labels": config.weak is not None,
        "clips": len(labels),
        "active_seconds": count_active_seconds(prompts.labels, labels),
        "notes": [*config.notes, *notes],
        "wrote": kept | digests_of(files),
        "labelled": list(labels),
        "review": earlier.get("review", []),
    })  # fmt: skip
    return WrittenLabels(removed, notes)


def split_files(
    config: LabelingConfig, classes: Sequence[str], labels: Mapping[str, SegmentLabels]
) -> dict[str, bytes]:
    """Format the clips as the training split of a data set.

    A clip has the classes of its weak labels; without weak labels, those that are active in a second.

    Args:
        config: its weak labels.
        classes: names of the C classes.
        labels: clip -> labels (T, C).

    Returns:
        File -> content: the table of the split and, for other classes than LLP's, the list of classes.
    """
    lines = ["filename\tevent_labels"]
    for name, active in labels.items():
        present = (active.audio | active.visual).any(axis=0) if config.weak is None else config.weak[name]
        lines.append(f"{name}\t{','.join(classes[int(index)] for index in np.flatnonzero(present))}")
    files = {_TRAIN: "".join(f"{line}\n" for line in lines).encode()}
    if tuple(classes) != LLP_LABELS:
        files[LABEL_FILE] = "".join(f"{label}\n" for label in classes).encode()
    return files


def count_active_seconds(classes: Sequence[str], labels: Mapping[str, SegmentLabels]) -> dict[str, dict[str, int]]:
    """Return by modality and class the seconds of all clips that are labelled."""
    counts = {}
    for modality in TEACHERS:
        seconds = sum((tables.of(modality).sum(axis=0) for tables in labels.values()), np.zeros(len(classes), int))
        counts[modality] = dict(zip(classes, seconds.tolist(), strict=True))
    return counts


def _find_held_out(storage: Storage, names: Mapping[str, Any]) -> set[str]:
    """Find the clips of val and test of a data set in the storage: they must not be in its training split."""
    contents = {file: storage.read(file) for file in (SPLIT_FILES["val"], SPLIT_FILES["test"])}
    held_out = [name for file, content in contents.items() if content for name in read_clip_names(content, file)]
    return matching_names(names, held_out)


def _find_stale(
    storage: Storage, config: LabelingConfig, record: Mapping[str, Any], files: Mapping[str, bytes]
) -> list[str]:
    """Find the tables of an earlier run that this run does not replace; those of a data set in place are input."""
    tables = () if config.in_place else (_TRAIN, LABEL_FILE)
    return [file for file in tables if file not in files and is_unchanged(storage, record, file)]


def _label_file(modality: str, name: str) -> str:
    return f"{FOLDERS[modality].as_posix()}/{name}.npy"


def summarize(
    config: LabelingConfig,
    scored: ScoredClips,
    labels: Mapping[str, SegmentLabels],
    written: WrittenLabels,
    kept: str = "scores",
) -> Iterator[str]:
    """Say what was written.

    Args:
        config: its weak labels.
        scored: clips with scores.
        labels: clip -> labels.
        written: side results.
        kept: what the other clips have.

    Yields:
        Parts of a line for the user.
    """
    yield f"{len(labels)} clips have pseudo labels"
    yield from written.notes
    if unlabelled := len(scored) - len(labels):
        yield f"{unlabelled} others have {kept} alone"
    outdated = {name for name in written.removed if config.weak is None or name in config.weak}
    if outdated:
        why = f"their {kept} are from other teachers or prompts; run again on their videos"
        yield f"labels of {count_of(outdated, 'clip')} were removed: {why}"
    if dropped := written.removed - outdated:
        yield f"labels of {count_of(dropped, 'clip')} were removed: no longer in the annotations"
