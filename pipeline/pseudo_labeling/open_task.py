"""Pseudo-labelling of classes by their names as a batch run: features of every video; labels from all at the end.

CLIP|CLAP/features/<id>.npy           (T, D) float32, normalized; features.json describes them, so that avvp train
                                      reads the folder as one of features
CLIP|CLAP/scores/<id>.npy             (T, C) float32: logits of the rule's scores
CLIP|CLAP/segment_pseudo_labels/      (T, C) uint8: the rule's decision, and the video has the class
prompts.toml, pseudo_labels.json      classes, sentences and thresholds; the record of the labels' provenance
AVVP_train.csv, labels.txt            the clips as a training split, unless the weak labels came from a data set

Features take hours and are journalled. Scores and labels take seconds and are rewritten at the end of every run, so
that classes, rule, thresholds and weak labels can be changed without decoding again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import version

from ...weights.addresses import hide_credentials
from ...weights.manifest import Bundle
from ...weights.source import DownloadProgress
from ..batch.extract_task import ExtractTask, check_spec
from ..batch.journal import Journal
from ..batch.plan import OutputSpec
from ..batch.task import BundleTask, RunContext
from ..batch.work import PendingVideo, VideoOutputs
from ..inference.bundle import LoadedBundle, load_networks
from ..inference.extractors import LoadedExtractors
from ..inference.similar_pictures import record_similar_pictures
from .named_teachers import load_named_teachers
from .open_labels import make_open_labels, warnings_of
from .open_prompts import OpenPrompts
from .record import check_kind
from .task import absolute_model, find_scored
from .threshold_scores import TEACHERS, LabelingConfig
from .write_labels import check_storage


@dataclass(frozen=True, kw_only=True)
class OpenLabelTask(BundleTask[LoadedBundle]):
    """Batch task: extract the features of every video, then make labels from all of them.

    Attributes:
        config: how scores become labels; its prompts are `OpenPrompts`, of the bundle's classes.
        models: CLAP and CLIP as folders or names on the Hugging Face hub, in place of the bundle's; None for these.
    """

    loader = staticmethod(load_networks)
    config: LabelingConfig
    models: tuple[str, str] | None = None

    @property
    def _extract(self) -> ExtractTask:
        """The task that writes the features."""
        return ExtractTask(settings=self.settings, source=self.source, bundle=self.bundle)

    def load(self, progress: DownloadProgress | None = None) -> LoadedBundle:
        if self.models is None:
            return super().load(progress)
        prompts = self.config.prompts
        assert isinstance(prompts, OpenPrompts)
        clap, clip = self.models
        loaded = load_named_teachers(
            prompts.vocabulary, clip=clip, clap=clap, offline=self.source.offline, device=self.settings.device,
            precision=self.settings.precision,
        )  # fmt: skip
        return record_similar_pictures(loaded, self.settings.decoding)

    def warnings(self, loaded: LoadedBundle) -> tuple[str, ...]:
        return warnings_of(loaded)

    def for_other_machines(self) -> OpenLabelTask:
        task = super().for_other_machines()
        assert isinstance(task, OpenLabelTask)
        if self.models is None:
            return task
        clap, clip = map(absolute_model, self.models)
        return replace(task, models=(clap, clip))

    def output_specs(self, loaded: LoadedBundle) -> dict[str, OutputSpec]:
        return self._extract.output_specs(loaded.extractors)

    def path_templates(self, loaded: LoadedBundle) -> dict[str, str]:
        return self._extract.path_templates(loaded.extractors)

    def check(self, run: RunContext[LoadedBundle], *, overwrite: bool) -> None:
        check_spec(run.storage, run.loaded.extractors.spec, run.specs)
        if not overwrite:
            check_kind(run.storage, by_rule=True)
            check_storage(run.storage, self.config)

    def prepare(self, run: RunContext[LoadedBundle]) -> None:
        self._extract.prepare(_of_extractors(run))

    def write_outputs(self, run: RunContext[LoadedBundle], video: PendingVideo) -> VideoOutputs:
        return self._extract.write_outputs(_of_extractors(run), video)

    def finalize(self, run: RunContext[LoadedBundle], journal: Journal) -> str | None:
        """Make the labels of every video that has features from these teachers."""
        loaded = run.loaded
        provenance = {
            "program": "avvp",
            "version": version("avvp"),
            "teachers": _describe_teachers(self.bundle, self.models),
            "hashes": dict(loaded.hashes),
            "precision": loaded.extractors.precision.name,
            "backend": loaded.extractors.precision.backend,
        }
        return make_open_labels(run.storage, self.config, loaded, find_scored(run.specs, journal), provenance)

    def describe_finalize(self) -> str:
        return "the labels"


def _of_extractors(run: RunContext[LoadedBundle]) -> RunContext[LoadedExtractors]:
    """Return the context of the task that writes the features."""
    return RunContext(run.loaded.extractors, run.specs, run.storage)


def _describe_teachers(bundle: Bundle, models: tuple[str, str] | None) -> dict[str, str]:
    """Return modality -> teacher, for the record."""
    names = (
        dict.fromkeys(TEACHERS, f"bundle {bundle.name}") if models is None else dict(zip(TEACHERS, models, strict=True))
    )
    return {modality: hide_credentials(name) for modality, name in names.items()}
