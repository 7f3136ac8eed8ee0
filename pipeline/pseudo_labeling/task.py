"""Pseudo-labelling as a batch run: scores of both teachers for every video; labels from all scores at the end.

CLIP/scores/<id>.npy                  (T, C) float32: CLIP's logits, of the frames; or those of a temporal teacher
CLAP/scores/<id>.npy                  (T, C) float32: CLAP's logits, of the audio; or those of a temporal teacher
CLIP|CLAP/features/<id>.npy           (T, D) float32, normalized; only if requested
CLIP|CLAP/segment_pseudo_labels/      (T, C) uint8: logit above the threshold, and the video has the class
prompts.toml, pseudo_labels.json      text prompts and thresholds; the record of the labels' provenance
AVVP_train.csv, labels.txt            the clips as a training split, unless the weak labels came from a data set

Scores take hours and are journalled. Labels take seconds and are rewritten at the end of every run, so thresholds and
weak labels can be changed without decoding again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from ...extractors.sampling import Stream
from ...weights.addresses import hide_credentials
from ...weights.source import DownloadProgress
from ..batch.journal import Journal, hash_values
from ..batch.plan import OutputSpec
from ..batch.task import RunContext, Task, check_finite
from ..batch.work import PendingVideo, VideoOutputs
from .clap_teacher import CLAP_MODEL
from .clip_teacher import CLIP_MODEL
from .record import check_kind
from .score_files import save_table
from .teachers import TEMPORAL, LoadedTeachers, load_teachers
from .threshold_scores import TEACHERS, LabelingConfig, ScoredClips
from .write_labels import check_storage, make_labels

_STREAMS: dict[str, Stream] = {"audio": "audio", "visual": "visual_2d"}
# Output -> path template.
_TEMPLATES = {
    f"{modality} {kind}": f"{teacher}/{kind}/{{id}}.npy"
    for modality, teacher in TEACHERS.items()
    for kind in ("scores", "features")
}
_VERSION = 1  # to be increased when the same teachers would give other scores


@dataclass(frozen=True, kw_only=True)
class PseudoLabelTask(Task[LoadedTeachers]):
    """Batch task: score every video with CLIP and CLAP, then make labels from all scores.

    Attributes:
        config: text prompts, and how scores become labels.
        clip: CLIP model, a folder or a name on the Hugging Face hub.
        clap: CLAP model, the same or LAION's own file with the suffix .pt.
        features: also write the teachers' features.
        temporal: temporal teacher, which scores the features of a whole clip, see `temporal.load_temporal`; empty for
            the logits of CLIP and CLAP.
    """

    config: LabelingConfig
    clip: str = CLIP_MODEL
    clap: str = CLAP_MODEL
    features: bool = False
    temporal: str = ""

    @property
    def profile(self) -> str:
        return "clip-clap"

    def check(self, run: RunContext[LoadedTeachers], *, overwrite: bool) -> None:
        if not overwrite:
            check_kind(run.storage, by_rule=False)
            check_storage(run.storage, self.config)

    def load(self, progress: DownloadProgress | None = None) -> LoadedTeachers:  # noqa: ARG002 - the hub shows its own bars
        settings = self.settings
        return load_teachers(
            self.config.prompts, clip=self.clip, clap=self.clap, offline=self.source.offline, device=settings.device,
            precision=settings.precision, temporal=Path(self.temporal) if self.temporal else None,
        )  # fmt: skip

    def for_other_machines(self) -> PseudoLabelTask:
        return replace(
            self,
            clip=absolute_model(self.clip),
            clap=absolute_model(self.clap),
            temporal=self.temporal and absolute_model(self.temporal),
        )

    def batch_sizes(self, device: torch.device) -> dict[Stream, int]:
        """Return the inputs in a batch; each stream has one per second."""
        sizes = super().batch_sizes(device)
        return {stream: sizes[stream] for stream in _STREAMS.values()}

    def output_specs(self, loaded: LoadedTeachers) -> dict[str, OutputSpec]:
        specs = {}
        for modality, teacher in TEACHERS.items():
            parameters = {
                "version": _VERSION,
                "teacher": loaded.hashes[teacher],
                **self.settings.precision.parameters,
                "sentences": self.config.prompts.prompts(modality),
            }
            by_kind = {"scores": parameters | {name: loaded.hashes[name] for name in (TEMPORAL,) if loaded.temporal}}
            if self.features:
                by_kind["features"] = parameters
            for kind, values in by_kind.items():
                name = f"{modality} {kind}"
                specs[name] = OutputSpec(_TEMPLATES[name], hash_values(values), (_STREAMS[modality],))
        return specs

    def path_templates(self, loaded: LoadedTeachers) -> dict[str, str]:  # noqa: ARG002 - the same for all teachers
        return dict(_TEMPLATES)

    def write_outputs(self, run: RunContext[LoadedTeachers], video: PendingVideo) -> VideoOutputs:
        files = {}
        classes = len(self.config.prompts.labels)
        for output in video.job.output_names:
            path, stream = run.specs[output].path(video.job.id), run.specs[output].streams[0]
            rows = np.concatenate([*video.blocks(stream)])
            check_finite(video, rows)
            table = rows[:, classes:]
            if output.endswith("scores"):
                modality = output.split()[0]
                table = run.loaded.score(modality, table) if run.loaded.temporal else rows[:, :classes]
            files[output] = run.storage.store(path, partial(save_table, np.ascontiguousarray(table, np.float32)))
        assert video.summary is not None
        return VideoOutputs(files, video.summary.warnings, video.summary.facts.to_dict())

    def finalize(self, run: RunContext[LoadedTeachers], journal: Journal) -> str | None:
        """Make the labels of every video that has scores from these teachers and prompts."""
        provenance = {
            "program": "avvp",
            "version": version("avvp"),
            "teachers": {"visual": hide_credentials(self.clip), "audio": hide_credentials(self.clap)}
            | ({TEMPORAL: Path(self.temporal).name} if self.temporal else {}),
            "hashes": dict(run.loaded.hashes),
            "precision": self.settings.precision.name,
            "backend": self.settings.precision.backend,
        }
        return make_labels(run.storage, self.config, find_scored(run.specs, journal), provenance)

    def describe_finalize(self) -> str:
        return "the labels"


def find_scored(specs: Mapping[str, OutputSpec], journal: Journal) -> ScoredClips:
    """Find the clips whose scores are up to date; of a task without scores, those whose features are.

    Args:
        specs: of the task; the hashes of their parameters must be those in the journal. Features beside scores may be
            missing.
        journal: of the run.

    Returns:
        Clip -> facts of its media file, sorted by clip.
    """
    expected = {output: spec for output, spec in specs.items() if not output.endswith("features")}
    return {
        name: entry.media
        for name, entry in sorted(journal.entries.items())
        if all(
            output in entry.outputs
            and entry.outputs[output].path == spec.path(name)
            and entry.parameters.get(output) == spec.parameters
            for output, spec in expected.items()
        )
    }


def absolute_model(model: str) -> str:
    """Return an absolute path for a path that exists; a name on the hub stays as it is."""
    return str(Path(model).absolute()) if Path(model).exists() else model
