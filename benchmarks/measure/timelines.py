"""Timelines of any length and number of classes, and what is done with one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from avvp.models.config import ParserConfig
from avvp.models.parser import build_parser
from avvp.pipeline.inference.predict import predict_video
from avvp.pipeline.inference.thresholds import Thresholds
from avvp.pipeline.metrics import score
from avvp.pipeline.outputs.formats.registry import FORMATS, read_events, write_events
from avvp.pipeline.outputs.html.page import render_page
from avvp.pipeline.outputs.plots.timeline import plot_timeline
from avvp.pipeline.outputs.postprocess import PostProcessing, refine
from avvp.pipeline.timeline import SegmentProbabilities, Timeline, all_events

_EVENT_SECONDS = 5  # of which each has a probability of its own
_RARITY = 8  # power of uniform numbers: one in twelve is above 0.5
_WIDTHS, _RATES = (16, 32, 24), (1, 8, 1)  # of generated features, and their rows per second
_small_config = partial(
    ParserConfig,
    audio_dim=_WIDTHS[0],
    visual_2d_dim=_WIDTHS[1],
    visual_3d_dim=_WIDTHS[2],
    hidden_dim=64,
    feedforward_dim=64,
    levels=3,
)


def make_probabilities(seconds: int, classes: int) -> SegmentProbabilities:
    """Generate probabilities, (T, C); each class has an event in one of twelve intervals of five seconds."""
    rng = np.random.default_rng(0)
    intervals = rng.random((2, -(-seconds // _EVENT_SECONDS), classes)).astype(np.float32) ** _RARITY
    audio, visual = np.repeat(intervals, _EVENT_SECONDS, axis=1)[:, :seconds]
    video = np.ones_like(audio)
    return SegmentProbabilities(audio, visual, video, video)


def make_timeline(seconds: int, classes: int) -> Timeline:
    """Generate a timeline with its probabilities."""
    labels = tuple(f"Class {number}" for number in range(classes))
    probabilities, thresholds = make_probabilities(seconds, classes), Thresholds.uniform(labels)
    events = all_events(thresholds.decide(probabilities), probabilities, labels)
    media = {"path": "clip.mp4", "duration": float(seconds), "audio_codec": "aac", "video_codec": "h264"}
    return Timeline(events, labels, probabilities, media, {"thresholds": thresholds.to_dict()})


def parser_steps(seconds: int, classes: int, decoders: Mapping[str, str]) -> dict[str, Callable[[], object]]:
    """Return calls that parse random features with small parsers.

    Args:
        seconds: of the video.
        classes: of the parsers.
        decoders: name of the step -> decoder.
    """
    labels = tuple(f"Class {number}" for number in range(classes))
    rng = np.random.default_rng(0)
    streams = [rng.random((seconds * rate, width), np.float32) for rate, width in zip(_RATES, _WIDTHS, strict=True)]
    steps: dict[str, Callable[[], object]] = {}
    for name, decoder in decoders.items():
        config = _small_config(labels=labels, decoder=decoder)
        embeddings = torch.randn(classes, config.label_embedding_dim) if config.needs_label_embeddings else None
        parser = build_parser(config, embeddings).eval()
        steps[name] = lambda parser=parser: predict_video(parser, streams, torch.device("cpu"))
    return steps


def timeline_steps(seconds: int, classes: int, folder: Path) -> dict[str, Callable[[], object]]:
    """Return calls that decide, process, draw and score a timeline.

    Args:
        seconds: of the timeline.
        classes: of it.
        folder: for plots.
    """
    timeline = make_timeline(seconds, classes)
    labels, probabilities = timeline.labels, make_probabilities(seconds, classes)
    thresholds = Thresholds.uniform(labels)
    active = thresholds.decide(probabilities)
    tables = [table[None] for table in (active.audio, active.visual, active.visual, active.audio)]
    every_step = PostProcessing(classes=labels, merge_gap=2.0, min_duration=2.0, min_score=0.3)
    return {
        "decide events": lambda: all_events(thresholds.decide(probabilities), probabilities, labels),
        "post-process events": lambda: refine(timeline, every_step),
        "page": lambda: render_page(timeline, bands=False),
        "plot": lambda: plot_timeline(timeline, folder / "plot.png"),
        "score": lambda: score(*tables),
    }


def format_steps(seconds: int, classes: int, folder: Path) -> dict[str, Callable[[], object]]:
    """Return calls that write a timeline in each format, and read it where that can be read.

    Args:
        seconds: of the timeline.
        classes: of it.
        folder: for the files.
    """
    timeline, steps = make_timeline(seconds, classes), dict[str, Callable[[], object]]()
    for name, event_format in FORMATS.items():
        if event_format.is_installed:
            steps[f"write {name}"] = lambda event_format=event_format: event_format.write(timeline)
            if event_format.is_readable:
                paths = event_format.files(folder / name)
                write_events(timeline, event_format, paths)
                steps[f"read {name}"] = lambda path=paths[0]: read_events(path)
    return steps
