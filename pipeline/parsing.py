"""Parsing as a batch run: a timeline, `<id>.events.json`, of every video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from ..extractors.rates import STREAMS
from .batch import Product
from .bundle import LoadedBundle, load_networks
from .engine import Made, Video
from .export import SCHEMA_VERSION, to_json
from .journal import hash_values
from .parse import decide_timeline
from .predict import predict_video
from .storage import Storage
from .tasks import Task, second_rows
from .thresholds import Tables, Thresholds, apply_tables
from .timeline import Timeline

EVENTS = "events"
EVENTS_SUFFIX = ".events.json"


@dataclass(frozen=True)
class ParseTask(Task[LoadedBundle]):
    """Timelines. tables, levels: as `thresholds.apply_tables` takes them. segments: per-second probabilities go into
    the result, too."""

    loader = staticmethod(load_networks)
    tables: Tables = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)
    segments: bool = False

    def thresholds(self, loaded: LoadedBundle) -> Thresholds:
        """For the classes of the bundle. Raises as `apply_tables`."""
        return apply_tables(self.tables, loaded.parser.config.labels, **self.levels)

    def products(self, loaded: LoadedBundle) -> dict[str, Product]:
        parameters = {
            "features": self.stream_parameters(loaded),
            "weights": dict(loaded.hashes),
            "thresholds": self.thresholds(loaded).to_dict(),
            "segments": self.segments,
            "schema": SCHEMA_VERSION,
        }
        return {EVENTS: Product(f"{{id}}{EVENTS_SUFFIX}", hash_values(parameters), STREAMS)}

    def make(self, loaded: LoadedBundle, products: Mapping[str, Product], storage: Storage, video: Video) -> Made:
        assert video.summary is not None
        facts, warnings = video.summary.facts, video.summary.warnings
        audio, frames, clips = (np.concatenate(parts) for parts in zip(*second_rows(video), strict=True))
        probabilities = predict_video(loaded.parser, (audio, frames, clips), loaded.device)
        timeline = decide_timeline(
            probabilities, loaded, self.thresholds(loaded), duration=facts.duration, media=facts, warnings=warnings
        )
        content = to_json(timeline, segments=self.segments)
        place = products[EVENTS].place(video.work.id)
        output = storage.store(place, lambda path: path.write_bytes(content))
        return Made({EVENTS: output}, warnings, asdict(facts), _note(timeline))


def _note(timeline: Timeline) -> str:
    """The classes that were found, in a line."""
    found = {
        sense: sorted({event.label for event in timeline.events if event.modality == modality})
        for sense, modality in (("heard", "audio"), ("seen", "visual"))
    }
    return "; ".join(f"{sense}: {', '.join(labels) or 'nothing'}" for sense, labels in found.items())
