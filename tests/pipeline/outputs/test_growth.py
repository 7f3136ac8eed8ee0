"""What is written and processed of long timelines and many classes: the same as the plain way, without its cost."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from avvp.pipeline.outputs.formats.events_json import to_document, to_json
from avvp.pipeline.outputs.postprocess import PostProcessing, refine
from avvp.pipeline.timeline import Event, SegmentProbabilities, Timeline

CLASSES = 400


class CountedLabel(str):
    """A class name that counts how often it is compared with another one."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        CountedLabel.compared += 1
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        return str.__hash__(self)


def make_timeline(probabilities: SegmentProbabilities, **fields: Any) -> Timeline:
    labels = tuple(f"Class {index}" for index in range(probabilities.audio.shape[1]))
    events = (Event("audio", labels[0], 0.0, 1.0, 0.5),)
    media = {"path": "a\n}b.mp4", "duration": float(len(probabilities.audio))}
    return Timeline(events, labels, probabilities, media, {}, **fields)


def test_each_event_is_not_compared_with_each_class() -> None:
    labels = tuple(CountedLabel(f"Class {index}") for index in range(CLASSES))
    events = tuple(Event("audio", label, 0.0, 1.0, 0.5) for label in labels)
    timeline = Timeline(events, labels, None, {"path": "clip.mp4", "duration": 10.0}, {})
    chosen = tuple(map(CountedLabel, reversed(labels)))
    CountedLabel.compared = 0
    assert refine(timeline, PostProcessing(classes=chosen)).events == events
    assert CountedLabel.compared < 20 * CLASSES


def test_tables_are_what_the_json_encoder_writes() -> None:
    rng = np.random.default_rng(0)
    ties = rng.integers(0, 2**7, (5, 3)) / 2**7  # of seven binary digits: halves of the sixth decimal place, too
    tables = [ties, rng.random((5, 3)), 1e-6 * rng.random((5, 3)), np.array([[0.0, 1.0, 0.0000005]] * 5)]
    probabilities = SegmentProbabilities(*(table.astype(np.float32) for table in tables))
    for fields in ({}, {"processing": ({"step": "anything"},), "warnings": ("one\n}",)}):
        timeline = make_timeline(probabilities, **fields)
        document = to_document(timeline, segments=True)
        assert to_json(timeline, segments=True).decode() == json.dumps(document, indent=2) + "\n"
        for name, table in probabilities.arrays().items():
            assert document["segments"][name] == [[round(float(value), 6) for value in row] for row in table]


def test_a_table_without_classes() -> None:
    probabilities = SegmentProbabilities(*[np.zeros((2, 0), np.float32)] * 4)
    timeline = Timeline((), (), probabilities, {"path": "clip.mp4", "duration": 2.0}, {})
    document = to_document(timeline, segments=True)
    assert to_json(timeline, segments=True).decode() == json.dumps(document, indent=2) + "\n"
