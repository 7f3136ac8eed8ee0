"""Labels of scores, a data set to train on, and the record of it all."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...models.labels import LLP_LABELS
from ..batch.journal import Journal
from ..batch.storage import Storage
from ..datasets.annotations import LABEL_FILE, SPLIT_FILES, read_clip_names
from ..datasets.pseudo_labels import FOLDERS
from ..errors import SetupError
from ..text import count_of, escape
from ..timeline import Timeline
from .calibrate import choose_thresholds
from .prompts import parse_prompts
from .record import digests_of, mark_unfinished, read_record, refuse_foreign_files, write_record
from .review_pages import REVIEW, TeacherScores, to_timeline
from .threshold_scores import SENSES, TEACHERS, LabelingConfig, Scored, decide
from .weak_labels import WeakLabels, matching_names

PROMPTS_FILE = "prompts.toml"
_TRAIN = SPLIT_FILES["train"]


def check_storage(storage: Storage, rules: LabelingConfig) -> None:
    """Raises SetupError where labels, tables or prompts would take the place of somebody else's."""
    refuse_foreign_files(storage, [PROMPTS_FILE, *([_TRAIN, LABEL_FILE] if rules.data_set else [])])


def make_labels(storage: Storage, rules: LabelingConfig, scored: Scored, made_with: Mapping[str, Any]) -> str:
    """Labels of every clip that has scores and should have labels; returns what was done. made_with: for the record.

    Labels that an earlier run made of clips that are no longer among them are removed.
    """
    prompts = choose_thresholds(rules, scored, partial(read_scores, storage))
    chosen = [name for name in scored if rules.weak is None or name in rules.weak]
    counts = {modality: np.zeros(len(prompts.labels), int) for modality in TEACHERS}
    made: dict[str, dict[str, NDArray[np.uint8]]] = {}
    present: dict[str, NDArray[np.bool_]] = {}  # clip -> classes that it has, (C,)
    for name in chosen:
        labels = decide(prompts, rules.weak, name, read_scores(storage, name), scored[name])
        known = np.zeros(len(prompts.labels), bool) if rules.weak is None else rules.weak[name]
        present[name] = np.any([known, *(table.any(axis=0) for table in labels.values())], axis=0)
        made[name] = {modality: table.astype(np.uint8) for modality, table in labels.items()}
        for modality, table in labels.items():
            counts[modality] += table.sum(axis=0)
    files, kept_out = {PROMPTS_FILE: prompts.to_toml().encode()}, set[str]()
    if rules.data_set:
        kept_out = matching_names(present, _scored_clips(storage))
        shown = {name: has for name, has in present.items() if name not in kept_out}
        files |= _train_split(prompts.labels, shown)
    notes = [*rules.notes, *([f"{count_of(kept_out, 'clip')} of val or test: not in {_TRAIN}"] if kept_out else [])]
    record = mark_unfinished(storage, files, chosen)
    tables = () if rules.in_place else (_TRAIN, LABEL_FILE)  # of earlier runs, or that will be written now
    stale = [file for file in tables if file in record.get("wrote", {}) and file not in files]
    storage.clear([*(folder.as_posix() for folder in FOLDERS.values()), REVIEW])
    for name, by_modality in made.items():
        for modality, table in by_modality.items():
            storage.store(_place(modality, name), partial(save_table, table))
    gone = set(map(str, record.get("labelled", ()))).difference(chosen)
    for name in gone:
        for modality in TEACHERS:
            storage.remove(_place(modality, name))
    for file, content in files.items():
        storage.write(file, content)
    for file in stale:
        storage.remove(file)
    write_record(storage, {
        **made_with,
        "origin": dict(rules.origin),
        "prompts": asdict(prompts),
        "thresholds": rules.calibration or "as given",
        "weak_labels": rules.weak is not None,
        "clips": len(chosen),
        "active_seconds": {m: dict(zip(prompts.labels, count.tolist(), strict=True)) for m, count in counts.items()},
        "notes": notes,
        "wrote": {f: known for f, known in record.get("wrote", {}).items() if f not in stale} | digests_of(files),
        "labelled": chosen,
        "review": record.get("review", []),
    })  # fmt: skip
    return "; ".join(_summary(rules, scored, chosen, gone, notes[len(rules.notes) :]))


def _summary(
    rules: LabelingConfig, scored: Scored, chosen: Sequence[str], gone: set[str], notes: Sequence[str]
) -> Iterator[str]:
    yield f"{len(chosen)} clips have pseudo labels"
    yield from notes
    if others := len(scored) - len(chosen):
        yield f"{others} others have scores alone"
    lost = {name for name in gone if rules.weak is None or name in rules.weak}
    if lost:
        why = "their scores are by other teachers or sentences; name their videos again"
        yield f"labels of {count_of(lost, 'clip')} were removed: {why}"
    if gone - lost:
        yield f"labels of {count_of(gone - lost, 'clip')} were removed: they are not asked for any more"


def find_labelled(storage: Storage) -> Scored:
    """The clips that the last run labelled, and the facts of their media."""
    records = Journal(storage).entries
    names = [str(name) for name in read_record(storage).get("labelled", [])]
    return {name: records[name].media for name in names if name in records}


def sample_labels(
    storage: Storage, weak: WeakLabels | None, scored: Scored, named: Mapping[str, Path], count: int
) -> dict[str, tuple[Path, Timeline]]:
    """So many of the clips that have labels, evenly from all of them: their media, and the labels as a timeline."""
    prompts = parse_prompts(storage.read(PROMPTS_FILE) or b"", PROMPTS_FILE)
    there = [name for name in scored if name in named and (weak is None or name in weak)]
    places = np.linspace(0, len(there) - 1, min(count, len(there))).round().astype(int).tolist()
    found = {}
    for name in (there[place] for place in dict.fromkeys(places)):
        scores = read_scores(storage, name)
        labels = decide(prompts, weak, name, scores, scored[name])
        judged = {
            modality: TeacherScores(scores[modality], getattr(prompts, f"{sense}_threshold"), labels[modality])
            for modality, sense in SENSES.items()
        }
        own = None if weak is None else weak[name]
        timeline = to_timeline(prompts.labels, str(named[name]), judged["audio"], judged["visual"], own)
        found[name] = (named[name], timeline)
    return found


def read_scores(storage: Storage, name: str) -> dict[str, NDArray[np.float32]]:
    """Of a clip, by modality: (T, C). Raises SetupError where they are gone."""
    return {modality: _load(storage, f"{teacher}/scores/{name}.npy") for modality, teacher in TEACHERS.items()}


def save_table(table: NDArray[Any], path: Path) -> None:
    """As .npy."""
    with path.open("wb") as file:
        np.save(file, table)


def _scored_clips(storage: Storage) -> list[str]:
    """Those of val and test of a data set that lies in the storage: they must not be trained on."""
    files = {file: storage.read(file) for file in (SPLIT_FILES["val"], SPLIT_FILES["test"])}
    return [name for file, content in files.items() if content for name in read_clip_names(content, file)]


def _train_split(labels: Sequence[str], present: Mapping[str, NDArray[np.bool_]]) -> dict[str, bytes]:
    lines = ["filename\tevent_labels"]
    for name, has in present.items():
        lines.append(f"{name}\t{','.join(labels[int(index)] for index in np.flatnonzero(has))}")
    files = {_TRAIN: "".join(f"{line}\n" for line in lines).encode()}
    if tuple(labels) != LLP_LABELS:
        files[LABEL_FILE] = "".join(f"{label}\n" for label in labels).encode()
    return files


def _place(modality: str, name: str) -> str:
    return f"{FOLDERS[modality].as_posix()}/{name}.npy"


def _load(storage: Storage, place: str) -> NDArray[np.float32]:
    try:
        return np.load(io.BytesIO(storage.read(place) or b""), allow_pickle=False)
    except (ValueError, EOFError) as error:
        where = escape(f"{storage.where}/{place}")
        raise SetupError(
            f"{where}: is gone or damaged; name its video again, with --verify, and it is made anew"
        ) from error
