"""Every object of the public API is shown on one screen, whatever it holds."""

from __future__ import annotations

from pathlib import Path

import avvp
import numpy as np
import pytest
import torch
from avvp.models.config import ParserConfig
from avvp.pipeline.decode.container.media_info import MediaInfo, StreamInfo
from avvp.pipeline.descriptions import describe, describe_columns, describe_decision
from avvp.pipeline.inference.bundle import load_networks
from support.bundles import LABELS

SCREEN = (24, 100)  # lines, columns


def fits(shown: str) -> bool:
    lines = shown.splitlines()
    return len(lines) <= SCREEN[0] and max(map(len, lines)) <= SCREEN[1] and shown.isascii() and "\x1b" not in shown


def test_describe_counts_what_it_leaves_out() -> None:
    shown = describe("T", [str(n) for n in range(20)], more="events", warnings=["w"] * 5).splitlines()
    assert shown[:3] == ["T", "  0", "  1"]
    assert shown[12:] == ["  11", "  ... and 8 more events", *["  warning: w"] * 3, "  ... and 2 more warnings"]
    assert describe("T", ["a"], of=3_000, more="events") == "T\n  a\n  ... and 2,988 more events"


def test_long_lines_are_cut_and_warnings_are_wrapped() -> None:
    lines = describe("T" * 500, ["x" * 500], warnings=["word " * 200]).splitlines()
    assert lines[0] == "T" * 97 + "..."
    assert lines[1] == "  " + "x" * 95 + "..."
    assert [line[:11] for line in lines[2:]] == ["  warning: ", "    word wo"]


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert describe_columns([("a", "bb", "c"), ("aaa", "b", "")]) == ["a    bb  c", "aaa  b"]
    assert describe_columns([]) == []


def hostile_timeline() -> avvp.Timeline:
    events = [avvp.Event("visual", "\x1b[31m" * 100, float(n), n + 2.5, 0.5) for n in range(3_000)]
    timeline = avvp.Timeline.of_events(events, path="folder/\x1b[2J" + "x" * 200 + ".mp4")
    return avvp.Timeline(
        **{**vars(timeline), "warnings": tuple("\x1b]0;title\x07 " * 100 for _ in range(50))}  # pyright: ignore[reportArgumentType]
    )


def test_a_timeline_of_thousands_of_hostile_events_fits_one_screen() -> None:
    shown = repr(hostile_timeline())
    assert fits(shown), shown
    assert "... and 2,988 more events" in shown
    assert "... and 47 more warnings" in shown


def test_a_timeline_shows_times_modalities_and_scores() -> None:
    events = [avvp.Event("audio", "Dog", 0.0, 3.0, 0.91), avvp.Event("audio_visual", "Violin_fiddle", 1.0, 2.0, 0.75)]
    assert str(avvp.Timeline.of_events(events, path="a/clip.mp4", duration=10.0)).splitlines() == [
        "Timeline of clip: 10.0 s, 1 audio, 0 visual, 1 both",
        "  0.00 to 3.00 s  audio  0.91  Dog",
        "  1.00 to 2.00 s  both   0.75  Violin fiddle",
    ]


def test_networks_features_scores_and_media_fit_one_screen(tiny_bundle: Path) -> None:
    bundle = load_networks(str(tiny_bundle), device="cpu")
    audio, visual_2d, visual_3d = bundle.extractors.spec.dims
    with torch.inference_mode():
        output = bundle.trained_parser(
            torch.zeros(1, 4, audio), torch.zeros(1, 32, visual_2d), torch.zeros(1, 4, visual_3d)
        )
    rows = [np.zeros((n, dim), np.float32) for n, dim in zip((4, 32, 4), bundle.extractors.spec.dims, strict=True)]
    features = avvp.FeatureSet(*rows, spec=bundle.extractors.spec, duration=4.0, warnings=("w" * 5_000,) * 9)
    streams = tuple(StreamInfo(n, "audio", "aac", default=False, sample_rate=16_000) for n in range(500))
    media = MediaInfo(Path("many.mkv"), "matroska,webm", 12.5, 0.0, streams)
    score = avvp.score(*np.ones((4, 2, 3, 5)))
    for shown in (bundle, output, features, media, score):
        assert fits(repr(shown)), repr(shown)
    assert f"visual_2d  (32, {visual_2d})" in repr(features)
    assert f"parser mmpyr, leap: {len(LABELS)} classes, windows of 10 s" in repr(bundle)
    assert "audio_segment_probs   (1, 4, 3)" in repr(output)
    assert repr(media).splitlines()[:2] == [
        "MediaInfo of many.mkv: matroska,webm, 12.50 s",
        "  0: audio aac, 16000 Hz, decoded",
    ]
    assert repr(score).splitlines()[2].split() == ["segment", *["100.0"] * 5]


@pytest.mark.parametrize("duration", [0.0, 3.0])
def test_a_timeline_without_events(duration: float) -> None:
    empty = avvp.Timeline.of_events([], path="quiet.mp4", duration=duration)
    assert repr(empty) == f"Timeline of quiet: {duration:.1f} s, 0 audio, 0 visual, 0 both"


@pytest.mark.parametrize(
    ("decoder", "words"),
    [
        ("leap", "the video's, of either modality,"),
        ("mmil", "the video's, pooled over both modalities,"),
        ("package:Decoder", "the video's, pooled if the decoder pools, else of either modality,"),
    ],
)
def test_the_default_filter_of_a_decoder(decoder: str, words: str) -> None:
    described = describe_decision(ParserConfig(labels=("Dog",), decoder=decoder))
    assert described == f"a probability of the second at least 0.5, and {words} at least 0.5"
