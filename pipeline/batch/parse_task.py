"""Batch parsing: a timeline, `<id>.events.json` and other formats, for every video."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...models.config import ParserConfig
from ...weights.source import DownloadProgress
from ..decode.container.media_facts import MediaFacts
from ..embeddings.embeddings import Embeddings
from ..embeddings.files import FOLDER, MAX_FILE_BYTES, SUFFIX, parse_embeddings, write_embeddings
from ..errors import DatasetError
from ..inference.bundle import LoadedBundle, load_networks
from ..inference.parse_video import decide_timeline
from ..inference.predict import predict_video
from ..inference.thresholds import DecisionRule, Thresholds, ThresholdTables
from ..open_vocabulary.network import OpenVocabulary
from ..outputs.formats.events_json import SCHEMA_VERSION
from ..outputs.formats.registry import FORMATS, Format
from ..outputs.postprocess import NO_REFINEMENT, PostProcessing, refine
from ..text import escape
from ..timeline import MODALITY_WORDS, Timeline
from .engine_stages import WRITERS
from .journal import hash_values
from .plan import OutputSpec
from .storage import OutputFingerprint
from .task import BundleTask, RunContext, per_second_features
from .work import PendingVideo, VideoJob, VideoOutputs

EVENTS = "events"
EVENTS_SUFFIX = "events.json"
EMBEDDINGS = "embeddings"
_EMBEDDINGS_TEMPLATE = f"{FOLDER}/{{id}}{SUFFIX}"


@dataclass(frozen=True, kw_only=True)
class ParseTask(BundleTask[LoadedBundle]):
    """Write timelines.

    Attributes:
        tables: thresholds by class, in place of those of the bundle, see `Thresholds.changed`.
        levels: "segment" and "video" thresholds of all classes that the tables do not name; as far as they are given.
        segments: include per-second probabilities in the JSON.
        formats: keys of `FORMATS`.
        refinement: post-processing of the events.
        embeddings: keep those of an open bundle, and make timelines of those that are kept.
    """

    loader = staticmethod(load_networks)
    tables: ThresholdTables = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)
    segments: bool = False
    formats: tuple[str, ...] = ("json",)
    refinement: PostProcessing = NO_REFINEMENT
    embeddings: bool = True

    def outline(self, progress: DownloadProgress | None = None) -> LoadedBundle:
        """Load the networks but those that compute features, for features that are kept. Raises as `load`."""
        return self._load(progress, outline=True)

    def identify(self, progress: DownloadProgress | None = None) -> LoadedBundle:
        return self.outline(progress) if self.bundle.is_open and self.embeddings else self.load(progress)

    def complete(
        self, run: RunContext[LoadedBundle], progress: DownloadProgress | None = None
    ) -> RunContext[LoadedBundle]:
        if not run.loaded.extractors.is_outline:
            return run
        return self.start(self.load(progress), run.storage)

    def compile(self, run: RunContext[LoadedBundle]) -> RunContext[LoadedBundle]:
        return replace(run, loaded=run.loaded.compile_parser(WRITERS))

    def thresholds(self, loaded: LoadedBundle) -> Thresholds:
        """Return the thresholds of the bundle's classes. Raises SetupError for unknown classes."""
        return loaded.thresholds.changed(self.tables, **self.levels)

    def warnings(self, loaded: LoadedBundle) -> tuple[str, ...]:
        if not isinstance(loaded.parser, OpenVocabulary):
            return ()
        return loaded.parser.warnings_with(self.thresholds(loaded).of_segments())

    def output_specs(self, loaded: LoadedBundle) -> dict[str, OutputSpec]:
        parameters = {
            "features": self.stream_parameters(loaded.extractors),
            "weights": dict(loaded.hashes),
            "thresholds": self.thresholds(loaded).to_dict(),
            "segments": self.segments,
            "schema": SCHEMA_VERSION,
        }
        if loaded.parts:
            parameters["parts"] = [part.to_dict() for part in loaded.parts]
        if (rule := DecisionRule.of(loaded.parser.config)) != DecisionRule():
            parameters["rule"] = rule.to_dict()
        if isinstance(loaded.parser, OpenVocabulary):
            parameters["open_vocabulary"] = loaded.parser.describe(self.thresholds(loaded).of_segments())
        if refinement := self.refinement.to_dict():
            parameters["refinement"] = refinement
        digest, streams = hash_values(parameters), loaded.extractors.spec.streams
        files = _files(self.formats)
        kept = isinstance(loaded.parser, OpenVocabulary) and self.embeddings
        source = EMBEDDINGS if kept else ""
        specs = {name: OutputSpec(_template(suffix), digest, streams, source) for name, (suffix, _, _) in files.items()}
        if kept:
            of_features = {"features": parameters["features"], "spec": loaded.extractors.spec.to_dict()}
            specs[EMBEDDINGS] = OutputSpec(_EMBEDDINGS_TEMPLATE, hash_values(of_features), streams)
        return specs

    def path_templates(self, loaded: LoadedBundle) -> dict[str, str]:  # noqa: ARG002 - the same for every bundle
        own = {name: _template(suffix) for name, (suffix, _, _) in _files(FORMATS).items()}
        return {**own, EMBEDDINGS: _EMBEDDINGS_TEMPLATE}

    def write_outputs(self, run: RunContext[LoadedBundle], video: PendingVideo) -> VideoOutputs:
        assert video.summary is not None
        facts, warnings = video.summary.facts, video.summary.warnings
        config, spec = run.loaded.parser.config, run.loaded.extractors.spec
        needs_frames = isinstance(config, ParserConfig) and config.needs_frames
        blocks = per_second_features(video, spec, frames=needs_frames)
        parts = zip(*blocks, strict=True)
        streams = [np.concatenate(rows).reshape(-1, width) for rows, width in zip(parts, spec.dims, strict=True)]
        files = {}
        if EMBEDDINGS in video.job.output_names:
            files[EMBEDDINGS] = self._keep(run, video, streams)
        return self._write(run, video.job, streams, facts, warnings=warnings, files=files)

    def remake_outputs(self, run: RunContext[LoadedBundle], job: VideoJob) -> VideoOutputs:
        content = run.storage.read(job.source, limit=MAX_FILE_BYTES)
        if content is None:
            raise DatasetError(f"{escape(job.source)}: the embeddings are gone")
        kept = parse_embeddings(content, job.source)
        if kept.spec != run.loaded.extractors.spec:
            raise DatasetError(f"{escape(job.source)}: the embeddings are of other networks")
        facts = replace(kept.media, path=str(job.path))
        return self._write(run, job, [kept.audio, kept.visual], facts, warnings=kept.warnings, files={})

    def _keep(
        self, run: RunContext[LoadedBundle], video: PendingVideo, streams: Sequence[NDArray[np.float32]]
    ) -> OutputFingerprint:
        """Write the embeddings of a video. Raises MediaError, OutputError."""
        assert video.summary is not None
        extractors, job = run.loaded.extractors, video.job
        embeddings = Embeddings.of_rows(
            *streams,
            name=job.id,
            spec=extractors.spec,
            media=video.summary.facts,
            warnings=video.summary.warnings,
            teachers={**extractors.weight_ids},
            resampler=self.settings.decoding.resampler,
        )
        path = run.specs[EMBEDDINGS].path(job.id)
        return run.storage.store(path, partial(write_embeddings, embeddings=embeddings))

    def _write(
        self,
        run: RunContext[LoadedBundle],
        job: VideoJob,
        streams: Sequence[NDArray[np.floating]],
        facts: MediaFacts,
        *,
        warnings: tuple[str, ...],
        files: Mapping[str, OutputFingerprint],
    ) -> VideoOutputs:
        """Write the timeline of a video in all formats; `files` are written already."""
        probabilities = predict_video(run.loaded.predictor, streams, run.loaded.device)
        timeline = decide_timeline(
            probabilities,
            run.loaded,
            self.thresholds(run.loaded),
            duration=facts.duration,
            media=facts,
            warnings=warnings,
            resampler=self.settings.decoding.resampler,
        )
        timeline = refine(timeline, self.refinement)
        kept = timeline if self.segments else timeline.without_probabilities()
        contents = {name: FORMATS[name].write(kept) for name in self.formats}
        written = {
            output: run.storage.store(run.specs[output].path(job.id), partial(_write_bytes, contents[form.name][place]))
            for output, (_, form, place) in _files(self.formats).items()
            if output in job.output_names
        }
        return VideoOutputs({**files, **written}, warnings, facts.to_dict(), _note(timeline))


def _files(formats: Iterable[str]) -> dict[str, tuple[str, Format, int]]:
    """Return output name -> suffix, format, and which of the format's files it is."""
    files = {}
    for form in (FORMATS[name] for name in formats):
        for place, suffix in enumerate(form.suffixes):
            files |= {EVENTS: (EVENTS_SUFFIX, form, place)} if suffix == "json" else {suffix: (suffix, form, place)}
    return files


def _template(suffix: str) -> str:
    return f"{{id}}.{suffix}"


def _write_bytes(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _note(timeline: Timeline) -> str:
    """Return one line with the classes that were found."""
    classes = {
        MODALITY_WORDS[modality]: sorted({event.label for event in timeline.events if event.modality == modality})
        for modality in timeline.lanes
    }
    return "; ".join(f"{word}: {', '.join(labels) or 'nothing'}" for word, labels in classes.items())
