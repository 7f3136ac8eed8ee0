"""Labels of scores: thresholds, the mask of weak labels, a data set to train on, and the record of it all.

What is written beside the scores is known again by its checksum in the record; other people's files are not replaced.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...models.labels import LLP_LABELS
from ..annotations import LABEL_FILE, SPLIT_FILES
from ..dataset import clip_id
from ..errors import SetupError, printable
from ..journal import Journal
from ..pseudo_labels import FOLDERS
from ..storage import Storage
from ..timeline import Timeline
from .calibrate import best_threshold, split_threshold
from .prompts import Prompts, parse_prompts
from .review import Judged, to_timeline
from .weak_labels import WeakLabels

TEACHERS = {"audio": "CLAP", "visual": "CLIP"}
SENSES = {"audio": "heard", "visual": "seen"}
_CODECS = {"audio": "audio_codec", "visual": "video_codec"}
PROMPTS_FILE, CARD = "prompts.toml", "pseudo_labels.json"
_TRAIN = SPLIT_FILES["train"]

Scored = Mapping[str, Mapping[str, Any]]  # clip with scores of both teachers -> facts of its media


@dataclass(frozen=True, eq=False)
class DenseTruth:
    """What is known by second of a clip, to choose thresholds by: (T, C) each."""

    heard: NDArray[np.bool_]
    seen: NDArray[np.bool_]

    def of(self, modality: str) -> NDArray[np.bool_]:
        return self.heard if modality == "audio" else self.seen


@dataclass(frozen=True, kw_only=True)
class LabelRules:
    """How scores become labels. weak: the classes of each clip, None for labels from scores alone.

    calibration: None for the thresholds of the prompts, "distribution", or "dense" by `dense`, clip -> truth.
    data_set: write the clips down as the training split of a data set, too. notes: for the record.
    """

    prompts: Prompts
    weak: WeakLabels | None = None
    calibration: str | None = None
    dense: Mapping[str, DenseTruth] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    data_set: bool = False


def check_storage(storage: Storage, rules: LabelRules) -> None:
    """Raises SetupError where labels, tables or prompts would take the place of somebody else's."""
    wrote = _read_card(storage).get("wrote", {})
    files = [PROMPTS_FILE, *([_TRAIN, LABEL_FILE] if rules.data_set else [])]
    foreign = [file for file in files if storage.exists(file) and wrote.get(file) != _digest(storage, file)]
    if not wrote:
        foreign += [f"{folder.as_posix()}/" for folder in FOLDERS.values() if storage.names(folder.as_posix(), ".npy")]
    if foreign:
        where = printable(f"{storage.where}/{foreign[0]}")
        raise SetupError(f"{where}: was not made by this command; --overwrite replaces it, another folder keeps it")


def make_labels(storage: Storage, rules: LabelRules, scored: Scored, made_with: Mapping[str, Any]) -> str:
    """Labels of every clip that has scores and should have labels; returns what was done. made_with: for the record.

    Labels that an earlier run made of clips that are no longer among them are removed.
    """
    prompts = _calibrated(storage, rules, scored)
    chosen = [name for name in scored if rules.weak is None or name in rules.weak]
    counts = {modality: np.zeros(len(prompts.labels), int) for modality in TEACHERS}
    present: dict[str, NDArray[np.bool_]] = {}  # clip -> classes that it has, (C,)
    for name in chosen:
        present[name] = np.zeros(len(prompts.labels), bool) if rules.weak is None else rules.weak[name]
        for modality, scores in read_scores(storage, name).items():
            labels = _decide(prompts, rules.weak, modality, name, scores, scored[name])
            counts[modality] += labels.sum(axis=0)
            present[name] = present[name] | labels.any(axis=0)
            storage.store(_place(modality, name), partial(save_table, labels.astype(np.uint8)))
    for name in set(_read_card(storage).get("labelled", [])).difference(chosen):
        for modality in TEACHERS:
            storage.remove(_place(modality, str(name)))
    storage.write(PROMPTS_FILE, prompts.to_toml().encode())
    written = [PROMPTS_FILE, *(_write_train_split(storage, prompts.labels, present) if rules.data_set else [])]
    card = {
        **made_with,
        "prompts": asdict(prompts),
        "thresholds": rules.calibration or "as given",
        "weak_labels": rules.weak is not None,
        "clips": len(chosen),
        "active_seconds": {m: dict(zip(prompts.labels, count.tolist(), strict=True)) for m, count in counts.items()},
        "notes": list(rules.notes),
        "wrote": {file: _digest(storage, file) for file in written},
        "labelled": chosen,
    }
    storage.write(CARD, json.dumps(card, indent=1).encode() + b"\n")
    left = len(scored) - len(chosen)
    return f"{len(chosen)} clips have pseudo labels" + (f"; {left} others have scores alone" if left else "")


def find_labelled(storage: Storage) -> Scored:
    """The clips that the last run labelled, and the facts of their media."""
    records = Journal(storage).records
    names = [str(name) for name in _read_card(storage).get("labelled", [])]
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
        judged = {
            modality: Judged(
                scores, getattr(prompts, f"{SENSES[modality]}_threshold"),
                _decide(prompts, weak, modality, name, scores, scored[name]),
            )
            for modality, scores in read_scores(storage, name).items()
        }  # fmt: skip
        own = None if weak is None else weak[name]
        found[name] = (
            named[name],
            to_timeline(prompts.labels, str(named[name]), judged["audio"], judged["visual"], own),
        )
    return found


def _decide(  # noqa: PLR0917
    prompts: Prompts, weak: WeakLabels | None, modality: str, name: str, scores: NDArray[np.float32],
    media: Mapping[str, Any],
) -> NDArray[np.bool_]:  # fmt: skip
    """(T, C): the logit is above the threshold, and the video has the class; nothing of a stream that it lacks."""
    labels = scores > np.array(getattr(prompts, f"{SENSES[modality]}_threshold"), np.float32)
    if weak is not None:
        labels &= weak[name]
    return labels & (media.get(_CODECS[modality]) is not None)


def _calibrated(storage: Storage, rules: LabelRules, scored: Scored) -> Prompts:
    """The prompts with thresholds chosen as asked for; a class of which nothing is known keeps its own.

    Streams that a file lacks say nothing: their scores are those of silence and of black.
    """
    if rules.calibration is None:
        return rules.prompts
    dense, weak = rules.calibration == "dense", rules.weak
    chosen: dict[str, list[float]] = {}
    for modality, sense in SENSES.items():
        named = [name for name, media in scored.items() if media.get(_CODECS[modality]) is not None]
        named = [name for name in named if (name in rules.dense if dense else weak is None or name in weak)]
        tables = {name: _load(storage, f"{TEACHERS[modality]}/scores/{name}.npy") for name in named}
        chosen[modality] = list(getattr(rules.prompts, f"{sense}_threshold"))
        for index, threshold in enumerate(chosen[modality]):
            if dense:
                pairs = [_common(tables[n][:, index], rules.dense[n].of(modality)[:, index]) for n in named]
                values, truth = (
                    np.concatenate([*part, []]) for part in (zip(*pairs, strict=True) if pairs else ((), ()))
                )
                chosen[modality][index] = best_threshold(values, truth.astype(bool), threshold)
            else:  # of videos that have the class: of the others it says nothing
                own = [tables[name][:, index] for name in named if weak is None or weak[name][index]]
                chosen[modality][index] = split_threshold(np.concatenate([*own, []]), threshold)
    return rules.prompts.with_thresholds(chosen["visual"], chosen["audio"])


def _common(scores: NDArray[Any], truth: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The seconds that both have."""
    length = min(len(scores), len(truth))
    return scores[:length], truth[:length]


def _write_train_split(storage: Storage, labels: Sequence[str], present: Mapping[str, NDArray[np.bool_]]) -> list[str]:
    """Without clips that the data set's val or test has: what is scored must not be trained on. Returns the files."""
    scored: set[str] = set()
    for split in ("val", "test"):
        lines = (storage.read(SPLIT_FILES[split]) or b"").decode("utf-8-sig").splitlines()
        for line in lines[1:]:
            scored |= {line.split("\t", 1)[0], clip_id(line.split("\t", 1)[0])}
    lines = ["filename\tevent_labels"]
    for name, has in present.items():
        if not scored & {name, clip_id(name)}:
            lines.append(f"{name}\t{','.join(labels[int(index)] for index in np.flatnonzero(has))}")
    storage.write(_TRAIN, "".join(f"{line}\n" for line in lines).encode())
    if tuple(labels) == LLP_LABELS:
        storage.remove(LABEL_FILE)  # of an earlier run with other classes
        return [_TRAIN]
    storage.write(LABEL_FILE, "".join(f"{label}\n" for label in labels).encode())
    return [_TRAIN, LABEL_FILE]


def _place(modality: str, name: str) -> str:
    return f"{FOLDERS[modality].as_posix()}/{name}.npy"


def read_scores(storage: Storage, name: str) -> dict[str, NDArray[np.float32]]:
    """Of a clip, by modality: (T, C). Raises SetupError where they are gone."""
    return {modality: _load(storage, f"{teacher}/scores/{name}.npy") for modality, teacher in TEACHERS.items()}


def _load(storage: Storage, place: str) -> NDArray[np.float32]:
    try:
        return np.load(io.BytesIO(storage.read(place) or b""), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise SetupError(
            f"{printable(f'{storage.where}/{place}')}: is gone or damaged; --verify makes it anew"
        ) from error


def save_table(table: NDArray[Any], path: Path) -> None:
    """As .npy."""
    with path.open("wb") as file:
        np.save(file, table)


def _read_card(storage: Storage) -> dict[str, Any]:
    try:
        card = json.loads(storage.read(CARD) or b"{}")
    except ValueError:
        return {}
    return card if isinstance(card, dict) else {}


def _digest(storage: Storage, file: str) -> str:
    return hashlib.sha256(storage.read(file) or b"").hexdigest()
