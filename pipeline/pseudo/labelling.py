"""Pseudo labels as a batch run: teachers' scores of every video, and from those, at the end, labels.

CLIP/scores/<id>.npy                  (T, C) float32: logits of what is seen
CLAP/scores/<id>.npy                  (T, C) of what is heard
CLIP/features/<id>.npy                (T, D) float32, normalised; on request, CLAP/features/ likewise
CLIP|CLAP/segment_pseudo_labels/      (T, C) uint8: logit above the threshold, and the video has the class
prompts.toml, pseudo_labels.json      sentences and thresholds; the record of what the labels were made with
AVVP_train.csv, labels.txt            where the weak labels came from no data set: the clips as one, to train on

Scores take hours and are journalled; labels take seconds and are made anew at the end of every run, so thresholds and
weak labels can be changed without decoding anything again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...models.labels import LLP_LABELS
from ...weights.fetch import Progress
from ..annotations import LABEL_FILE, SPLIT_FILES
from ..batch import Product
from ..dataset import clip_id
from ..engine import Made, Video
from ..errors import SetupError, printable
from ..journal import Journal, hash_values
from ..pseudo_labels import FOLDERS
from ..storage import Storage
from ..tasks import Task, check_finite
from ..timeline import Timeline
from .calibrate import best_threshold, split_threshold
from .prompts import Prompts, parse_prompts
from .review import Judged, to_timeline
from .teachers import CLAP_MODEL, CLIP_MODEL, LoadedTeachers, load_teachers
from .weak_labels import WeakLabels

_TEACHERS = {"audio": "CLAP", "visual": "CLIP"}
_STREAMS = {"audio": "audio", "visual": "visual_2d"}
_SENSES = {"audio": "heard", "visual": "seen"}
PROMPTS_FILE, CARD = "prompts.toml", "pseudo_labels.json"
_VERSION = 1  # grows when the same teachers would give other scores


@dataclass(frozen=True, eq=False)
class DenseTruth:
    """What is known by second of a clip, to choose thresholds by: (T, C) each."""

    heard: NDArray[np.bool_]
    seen: NDArray[np.bool_]

    def of(self, modality: str) -> NDArray[np.bool_]:
        return self.heard if modality == "audio" else self.seen


@dataclass(frozen=True, kw_only=True)
class PseudoLabelTask(Task[LoadedTeachers]):
    """Scores and labels. weak: the classes of each video, None for labels from scores alone.

    calibration: None for the thresholds of the prompts, "distribution", or "dense" by `dense`, clip -> truth, whose
    clips get scores and no labels unless they are in `weak`.
    """

    prompts: Prompts
    clip: str = CLIP_MODEL
    clap: str = CLAP_MODEL
    features: bool = False
    weak: WeakLabels | None = None
    calibration: str | None = None
    dense: Mapping[str, DenseTruth] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    data_set: bool = False  # write the clips down as the training split of a data set

    def check(self, loaded: LoadedTeachers, storage: Storage, *, overwrite: bool) -> None:  # noqa: ARG002
        """Raises SetupError where the annotations of somebody else would be overwritten."""
        train = SPLIT_FILES["train"]
        if self.data_set and not overwrite and storage.exists(train) and not storage.exists(CARD):
            where = printable(storage.where)
            raise SetupError(f"{where}: has an {train} that this command has not made; choose another folder")

    def load(self, progress: Progress | None = None) -> LoadedTeachers:  # noqa: ARG002 - the hub has bars of its own
        settings = self.settings
        return load_teachers(
            self.prompts, clip=self.clip, clap=self.clap, offline=self.offline, device=settings.device,
            arithmetic=settings.arithmetic,
        )  # fmt: skip

    def elsewhere(self) -> PseudoLabelTask:
        here = {name: str(Path(value).absolute()) if Path(value).exists() else value
                for name, value in (("clip", self.clip), ("clap", self.clap))}  # fmt: skip
        return replace(self, **here)

    def products(self, loaded: LoadedTeachers) -> dict[str, Product]:
        common = {"version": _VERSION, "hashes": dict(loaded.hashes), "precision": loaded.arithmetic.precision}
        made = {}
        for modality, teacher in _TEACHERS.items():
            sentences = getattr(self.prompts, _SENSES[modality])
            hashed = hash_values({**common, "sentences": sentences})
            for kind in ("scores", "features") if self.features else ("scores",):
                made[f"{modality} {kind}"] = Product(f"{teacher}/{kind}/{{id}}.npy", hashed, (_STREAMS[modality],))  # type: ignore[arg-type]
        return made

    def make(self, loaded: LoadedTeachers, products: Mapping[str, Product], storage: Storage, video: Video) -> Made:  # noqa: ARG002
        outputs = {}
        classes = len(self.prompts.labels)
        for product in video.work.products:
            place, stream = products[product].place(video.work.id), products[product].streams[0]
            rows = np.concatenate([*video.blocks(stream)])
            check_finite(video, rows)
            kept = rows[:, :classes] if product.endswith("scores") else rows[:, classes:]
            outputs[product] = storage.store(place, partial(_save, np.ascontiguousarray(kept, np.float32)))
        assert video.summary is not None
        return Made(outputs, video.summary.warnings, asdict(video.summary.facts))

    def conclude(
        self, loaded: LoadedTeachers, products: Mapping[str, Product], storage: Storage, journal: Journal
    ) -> str | None:
        """Thresholds, then labels of every video that has scores by these teachers."""
        scored = _scored(products, journal)
        prompts = self._calibrated(storage, scored)
        chosen = [name for name in scored if self.weak is None or name in self.weak]
        counts = {modality: np.zeros(len(prompts.labels), int) for modality in _TEACHERS}
        present: dict[str, NDArray[np.bool_]] = {}  # clip -> classes that it has, (C,)
        for name in chosen:
            present[name] = np.zeros(len(prompts.labels), bool) if self.weak is None else self.weak[name]
            for modality, scores in _read_scores(storage, name).items():
                labels = self.decide(prompts, modality, name, scores, scored[name])
                counts[modality] += labels.sum(axis=0)
                present[name] = present[name] | labels.any(axis=0)
                storage.store(f"{FOLDERS[modality].as_posix()}/{name}.npy", partial(_save, labels.astype(np.uint8)))
        storage.write(PROMPTS_FILE, prompts.to_toml().encode())
        storage.write(CARD, self._card(loaded, prompts, chosen, counts))
        if self.data_set:
            _write_train_split(storage, prompts.labels, present)
        left = len(scored) - len(chosen)
        note = f"; {left} others have scores alone" if left else ""
        return f"{len(chosen)} clips have pseudo labels{note}"

    def decide(
        self, prompts: Prompts, modality: str, name: str, scores: NDArray[np.float32], media: Mapping[str, Any]
    ) -> NDArray[np.bool_]:
        """(T, C): the logit is above the threshold, and the video has the class; nothing of a stream that it lacks."""
        thresholds = getattr(prompts, f"{_SENSES[modality]}_threshold")
        labels = scores > np.array(thresholds, np.float32)
        if self.weak is not None:
            labels &= self.weak[name]
        codec = "audio_codec" if modality == "audio" else "video_codec"
        return labels & (media.get(codec) is not None)

    def sample(
        self, storage: Storage, named: Mapping[str, Path], count: int
    ) -> dict[str, tuple[Path | None, Timeline]]:
        """So many of the clips that have labels, evenly from all of them: their media, and the labels as a timeline."""
        prompts = parse_prompts(storage.read(PROMPTS_FILE) or b"", PROMPTS_FILE)
        journal = Journal(storage)
        there = [
            name for name in sorted(named)
            if all(storage.exists(f"{folder.as_posix()}/{name}.npy") for folder in FOLDERS.values())
        ]  # fmt: skip
        places = np.unique(np.linspace(0, len(there) - 1, min(count, len(there))).round().astype(int)) if there else []
        found = {}
        for name in (there[place] for place in places):
            scores, media = _read_scores(storage, name), journal.records[name].media
            judged = {
                modality: Judged(
                    table, getattr(prompts, f"{_SENSES[modality]}_threshold"),
                    self.decide(prompts, modality, name, table, media),
                )
                for modality, table in scores.items()
            }  # fmt: skip
            weak = None if self.weak is None else self.weak[name]
            timeline = to_timeline(prompts.labels, str(named[name]), judged["audio"], judged["visual"], weak)
            found[name] = (named[name], timeline)
        return found

    def _calibrated(self, storage: Storage, scored: Mapping[str, Mapping[str, Any]]) -> Prompts:
        """The prompts with thresholds chosen as asked for; a class of which nothing is known keeps its own."""
        if self.calibration is None:
            return self.prompts
        chosen: dict[str, list[float]] = {modality: list(getattr(self.prompts, f"{sense}_threshold"))
                                          for modality, sense in _SENSES.items()}  # fmt: skip
        dense = self.calibration == "dense"
        names = [name for name in scored if (name in self.dense if dense else self.weak is None or name in self.weak)]
        tables = [(name, _read_scores(storage, name)) for name in names]
        for modality, thresholds in chosen.items():
            for index, threshold in enumerate(thresholds):
                if dense:
                    pairs = [_common(scores[modality][:, index], self.dense[name].of(modality)[:, index])
                             for name, scores in tables]  # fmt: skip
                    if pairs:
                        values, truth = (np.concatenate(part) for part in zip(*pairs, strict=True))
                        thresholds[index] = best_threshold(values, truth, threshold)
                else:  # of videos that have the class: of the others it says nothing
                    has = [name for name in names if self.weak is None or self.weak[name][index]]
                    own = [scores[modality][:, index] for name, scores in tables if name in has]
                    thresholds[index] = split_threshold(np.concatenate(own) if own else np.empty(0), threshold)
        return self.prompts.with_thresholds(chosen["visual"], chosen["audio"])

    def _card(
        self, loaded: LoadedTeachers, prompts: Prompts, clips: Sequence[str], counts: Mapping[str, NDArray[Any]]
    ) -> bytes:
        active = {
            modality: dict(zip(prompts.labels, map(int, count), strict=True)) for modality, count in counts.items()
        }
        card = {
            "program": "avvp",
            "version": version("avvp"),
            "teachers": {"visual": self.clip, "audio": self.clap},
            "hashes": dict(loaded.hashes),
            "precision": loaded.arithmetic.precision,
            "prompts": asdict(prompts),
            "thresholds": self.calibration or "as given",
            "weak_labels": self.weak is not None,
            "clips": len(clips),
            "active_seconds": active,
            "notes": list(self.notes),
        }
        return json.dumps(card, indent=1).encode() + b"\n"


def _write_train_split(storage: Storage, labels: Sequence[str], present: Mapping[str, NDArray[np.bool_]]) -> None:
    """Without clips that the data set's val or test has: what is scored must not be trained on."""
    scored: set[str] = set()
    for split in ("val", "test"):
        lines = (storage.read(SPLIT_FILES[split]) or b"").decode("utf-8-sig").splitlines()
        scored |= {clip_id(line.split("\t", 1)[0]) for line in lines[1:]}
    lines = ["filename\tevent_labels"]
    for name, has in present.items():
        if name not in scored:
            lines.append(f"{name}\t{','.join(labels[int(index)] for index in np.flatnonzero(has))}")
    storage.write(SPLIT_FILES["train"], "".join(f"{line}\n" for line in lines).encode())
    if tuple(labels) != LLP_LABELS:
        storage.write(LABEL_FILE, "".join(f"{label}\n" for label in labels).encode())


def _scored(products: Mapping[str, Product], journal: Journal) -> dict[str, Mapping[str, Any]]:
    """Clips with scores of both teachers as they are now, and the facts of their media."""
    wanted = {name: product.parameters for name, product in products.items() if name.endswith("scores")}
    return {
        name: record.media
        for name, record in sorted(journal.records.items())
        if all(n in record.outputs and record.parameters.get(n) == hashed for n, hashed in wanted.items())
    }


def _read_scores(storage: Storage, name: str) -> dict[str, NDArray[np.float32]]:
    return {modality: _load(storage, f"{teacher}/scores/{name}.npy") for modality, teacher in _TEACHERS.items()}


def _load(storage: Storage, place: str) -> NDArray[np.float32]:
    return np.load(io.BytesIO(storage.read(place) or b""), allow_pickle=False)


def _save(table: NDArray[Any], path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, table)


def _common(scores: NDArray[Any], truth: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The seconds that both have."""
    length = min(len(scores), len(truth))
    return scores[:length], truth[:length]
