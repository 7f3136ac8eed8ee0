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

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from ...extractors.sampling import Stream
from ...weights.source import DownloadProgress
from ..batch.journal import Journal, hash_values
from ..batch.plan import OutputSpec
from ..batch.storage import Storage
from ..batch.task import Task, check_finite
from ..batch.work import PendingVideo, VideoOutputs
from .teachers import CLAP_MODEL, CLIP_MODEL, LoadedTeachers, load_teachers
from .threshold_scores import SENSES, TEACHERS, LabelingConfig, Scored
from .write_labels import check_storage, make_labels, save_table

_STREAMS: dict[str, Stream] = {"audio": "audio", "visual": "visual_2d"}
_CPU_SECONDS, _GPU_SECONDS = 4, 64  # in a batch
_VERSION = 1  # grows when the same teachers would give other scores


@dataclass(frozen=True, kw_only=True)
class PseudoLabelTask(Task[LoadedTeachers]):
    """Scores of every video, and labels by some rules. features: keep the teachers' features, too."""

    rules: LabelingConfig
    clip: str = CLIP_MODEL
    clap: str = CLAP_MODEL
    features: bool = False

    inputs: ClassVar[str] = "teachers"

    @property
    def profile(self) -> str:
        return "llp"

    def check(self, loaded: LoadedTeachers, storage: Storage, *, overwrite: bool) -> None:  # noqa: ARG002
        if not overwrite:
            check_storage(storage, self.rules)

    def load(self, progress: DownloadProgress | None = None) -> LoadedTeachers:  # noqa: ARG002 - the hub has bars of its own
        settings = self.settings
        return load_teachers(
            self.rules.prompts, clip=self.clip, clap=self.clap, offline=self.source.offline, device=settings.device,
            precision=settings.precision,
        )  # fmt: skip

    def for_other_machines(self) -> PseudoLabelTask:
        here = {name: str(Path(value).absolute()) if Path(value).exists() else value
                for name, value in (("clip", self.clip), ("clap", self.clap))}  # fmt: skip
        return replace(self, **here)

    def batch_sizes(self, device: torch.device) -> dict[Stream, int]:
        """Of each stream as many as seconds."""
        seconds = self.settings.batch_size or (_GPU_SECONDS if device.type == "cuda" else _CPU_SECONDS)
        return dict.fromkeys(_STREAMS.values(), seconds)

    def output_specs(self, loaded: LoadedTeachers) -> dict[str, OutputSpec]:
        made = {}
        for modality, teacher in TEACHERS.items():
            parameters = {
                "version": _VERSION,
                "teacher": loaded.hashes[teacher],
                "precision": self.settings.precision.name,
                "sentences": getattr(self.rules.prompts, SENSES[modality]),
            }
            for kind in ("scores", "features") if self.features else ("scores",):
                place = f"{teacher}/{kind}/{{id}}.npy"
                made[f"{modality} {kind}"] = OutputSpec(place, hash_values(parameters), (_STREAMS[modality],))
        return made

    def write_outputs(
        self,
        loaded: LoadedTeachers,  # noqa: ARG002 - every task is given its networks
        specs: Mapping[str, OutputSpec],
        storage: Storage,
        video: PendingVideo,
    ) -> VideoOutputs:
        outputs = {}
        classes = len(self.rules.prompts.labels)
        for output in video.job.output_names:
            place, stream = specs[output].path(video.job.id), specs[output].streams[0]
            rows = np.concatenate([*video.blocks(stream)])
            check_finite(video, rows)
            kept = rows[:, :classes] if output.endswith("scores") else rows[:, classes:]
            outputs[output] = storage.store(place, partial(save_table, np.ascontiguousarray(kept, np.float32)))
        assert video.summary is not None
        return VideoOutputs(outputs, video.summary.warnings, asdict(video.summary.facts))

    def finalize(
        self, loaded: LoadedTeachers, specs: Mapping[str, OutputSpec], storage: Storage, journal: Journal
    ) -> str | None:
        """Thresholds, then labels of every video that has scores by these teachers."""
        made_with = {
            "program": "avvp",
            "version": version("avvp"),
            "teachers": {"visual": self.clip, "audio": self.clap},
            "hashes": dict(loaded.hashes),
            "precision": self.settings.precision.name,
        }
        return make_labels(storage, self.rules, find_scored(specs, journal), made_with)


def find_scored(specs: Mapping[str, OutputSpec], journal: Journal) -> Scored:
    """Clips with scores of both teachers as these specs have them."""
    wanted = {name: output.parameters for name, output in specs.items() if name.endswith("scores")}
    return {
        name: record.media
        for name, record in sorted(journal.entries.items())
        if all(n in record.outputs and record.parameters.get(n) == hashed for n, hashed in wanted.items())
    }
