"""Parsing as a batch run: a timeline, `<id>.events.json`, of every video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ...extractors.sampling import STREAMS
from ..inference.bundle import LoadedBundle, load_networks
from ..inference.parse_video import decide_timeline
from ..inference.predict import predict_video
from ..inference.thresholds import Thresholds, ThresholdTables, apply_tables
from ..outputs.formats.events_json import SCHEMA_VERSION
from ..outputs.formats.registry import FORMATS, Format
from ..outputs.postprocess import NO_REFINEMENT, PostProcessing, refine
from ..timeline import Timeline
from .journal import hash_values
from .plan import OutputSpec
from .storage import Storage
from .task import BundleTask, per_second_features
from .work import PendingVideo, VideoOutputs

EVENTS = "events"
EVENTS_SUFFIX = "events.json"


@dataclass(frozen=True, kw_only=True)
class ParseTask(BundleTask[LoadedBundle]):
    """Timelines. tables, levels: as `thresholds.apply_tables` takes them. segments: per-second probabilities go into
    the result, too. formats: of the results, names in `FORMATS`; refinement: what is done to events afterwards."""

    loader = staticmethod(load_networks)
    tables: ThresholdTables = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)
    segments: bool = False
    formats: tuple[str, ...] = ("json",)
    refinement: PostProcessing = NO_REFINEMENT

    def thresholds(self, loaded: LoadedBundle) -> Thresholds:
        """For the classes of the bundle. Raises as `apply_tables`."""
        return apply_tables(self.tables, loaded.parser.config.labels, **self.levels)

    def products(self, loaded: LoadedBundle) -> dict[str, OutputSpec]:
        parameters = {
            "features": self.stream_parameters(loaded.extractors),
            "weights": dict(loaded.hashes),
            "thresholds": self.thresholds(loaded).to_dict(),
            "segments": self.segments,
            "schema": SCHEMA_VERSION,
        }
        if asked := self.refinement.to_dict():
            parameters["refinement"] = asked
        hashed = hash_values(parameters)
        return {name: OutputSpec(f"{{id}}.{suffix}", hashed, STREAMS) for name, (suffix, _, _) in self._files().items()}

    def _files(self) -> dict[str, tuple[str, Format, int]]:
        """Product -> suffix, the form that it is in, which of that form's files it is."""
        files = {}
        for form in (FORMATS[name] for name in self.formats):
            for place, suffix in enumerate(form.suffixes):
                files |= {EVENTS: (EVENTS_SUFFIX, form, place)} if suffix == "json" else {suffix: (suffix, form, place)}
        return files

    def make(
        self, loaded: LoadedBundle, products: Mapping[str, OutputSpec], storage: Storage, video: PendingVideo
    ) -> VideoOutputs:
        assert video.summary is not None
        facts, warnings = video.summary.facts, video.summary.warnings
        audio, frames, clips = (np.concatenate(parts) for parts in zip(*per_second_features(video), strict=True))
        probabilities = predict_video(loaded.parser, (audio, frames, clips), loaded.device)
        timeline = decide_timeline(
            probabilities,
            loaded,
            self.thresholds(loaded),
            duration=facts.duration,
            media=facts,
            warnings=warnings,
            resampler=self.settings.decoding.resampler,
        )
        timeline = refine(timeline, self.refinement)
        kept = timeline if self.segments else timeline.without_probabilities()
        contents = {name: FORMATS[name].write(kept) for name in self.formats}
        outputs = {
            product: storage.store(products[product].place(video.work.id), partial(_put, contents[form.name][place]))
            for product, (_, form, place) in self._files().items()
            if product in video.work.products
        }
        return VideoOutputs(outputs, warnings, asdict(facts), _note(timeline))


def _put(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _note(timeline: Timeline) -> str:
    """The classes that were found, in a line."""
    found = {
        sense: sorted({event.label for event in timeline.events if event.modality == modality})
        for sense, modality in (("heard", "audio"), ("seen", "visual"))
    }
    return "; ".join(f"{sense}: {', '.join(labels) or 'nothing'}" for sense, labels in found.items())
