"""The timeline on a terminal, character for character."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from avvp.pipeline.outputs.terminal import print_timeline, render_timeline
from avvp.pipeline.text import display_label
from avvp.pipeline.timeline import Event, SegmentProbabilities, Timeline
from rich.console import Console


def timeline(segments: int, *events: Event, labels: tuple[str, ...] = ("Dog", "Cat"), path: str = "a.mp4") -> Timeline:
    nothing = np.zeros((segments, len(labels)), np.float32)
    media = {"path": path, "duration": segments + 0.04}
    return Timeline(events, labels, SegmentProbabilities(*[nothing] * 4), media, {}, ("it is \x1b[31mred\n",))


def text(shown: Timeline, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width, record=True, highlight=False)
    console.print(render_timeline(shown, width), soft_wrap=True)
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_bars_are_aligned_with_the_ruler() -> None:
    events = Event("audio", "Dog", 1, 3, 0.75), Event("audio_visual", "Dog", 2, 3, 0.5)
    assert text(timeline(4, *events)) == [
        "a.mp4  4.0 s   1 audio, 0 visual, 1 both",
        " " * 34 + "0:00    0:02    0:04",
        "  Dog                      audio  ····████████···· 0.75",
        "  Dog                      both   ········████···· 0.50",
        r"  ! it is \x1b[31mred\n",
    ]


def test_a_part_is_shown_alone() -> None:
    shown = timeline(8, Event("audio", "Dog", 5, 6, 0.75), Event("audio", "Dog", 7, 8, 0.5))
    shown = replace(shown, media={**shown.media, "parsed": [4, 8]})
    assert text(shown)[:3] == [
        "a.mp4  0:04 to 0:08   2 audio, 0 visual, 0 both",
        " " * 34 + "0:04    0:06    0:08",
        "  Dog                      audio  ····████····████ 0.75",
    ]


def test_a_part_that_cannot_be_is_not_used() -> None:
    shown = replace(timeline(4), media={"path": "a.mp4", "duration": 4.0, "parsed": [7, 9]})
    assert shown.parsed == (0, 4)
    assert text(shown)[0].startswith("a.mp4  4.0 s")


def test_terminals_without_unicode() -> None:
    """The same timeline in ASCII, with a label that is cut."""
    shown = timeline(2, Event("audio", "A" * 30, 1, 2, 0.75), labels=("A" * 30,))
    console = Console(file=io.TextIOWrapper(io.BytesIO(), "ascii"), width=100, record=True, highlight=False)
    print_timeline(shown, console)
    assert console.export_text().splitlines()[2] == f"  {'A' * 23}~ audio  ....#### 0.75"


def test_rows_are_in_the_order_of_the_labels() -> None:
    rows = text(timeline(4, Event("audio", "Cat", 0, 1, 1), Event("audio", "Dog", 2, 3, 1)))[2:4]
    assert [row.split()[0] for row in rows] == ["Dog", "Cat"]


def test_no_events() -> None:
    assert "  no events" in text(timeline(4))


def test_long_warnings_are_wrapped_between_words() -> None:
    shown = replace(timeline(4), warnings=("the model was trained on generated clips only: its results mean nothing",))
    assert text(shown, 40)[-2:] == [
        "  ! the model was trained on generated",
        "    clips only: its results mean nothing",
    ]


@pytest.mark.parametrize("width", [20, 80, 200])
@pytest.mark.parametrize("segments", [1, 9, 61, 3_700, 20_000])
def test_every_length_fits_and_the_last_second_is_last(segments: int, width: int) -> None:
    row = text(timeline(segments, Event("visual", "Dog", segments - 1, segments, 0.9)), width)[2]
    bar = row[34:].rsplit(" ", 1)[0]
    assert bar.endswith("█")
    assert bar.count("█") <= 4
    assert len(row) <= max(width, 60)


def test_hours_on_the_ruler() -> None:
    assert "1:00:00" in text(timeline(2 * 3600, Event("visual", "Dog", 0, 1, 0.9)))[1]


def test_long_and_hostile_labels() -> None:
    label = "[bold]x\n" + "y" * 40
    (row,) = [line for line in text(timeline(4, Event("audio", label, 0, 1, 1), labels=(label, "z"))) if "bold" in line]
    assert row.startswith(r"  [bold]x\nyyyyyyyyyyyyyy… audio  ████")


def test_classes_are_written_for_people() -> None:
    written = {"Vacuum_cleaner": "Vacuum cleaner", "dog": "Dog", "TV_static": "TV static", "": "", "ß": "ß"}
    assert {label: display_label(label) for label in written} == written
    assert display_label("a\nb") == r"A\nb"
