"""Times in EAF: offsets of media, slots without a time, annotations that refer to others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from avvp.pipeline.errors import FormatError
from avvp.pipeline.outputs.formats.registry import FORMATS, read_events
from avvp.pipeline.timeline import Event, Timeline

Found = list[tuple[str, float, float]]


def media(name: str, origin: int | str | None = None) -> str:
    offset = "" if origin is None else f' TIME_ORIGIN="{origin}"'
    return f'<MEDIA_DESCRIPTOR MEDIA_URL="file:///films/{name}" MIME_TYPE="video/mp4"{offset}/>'


def slots(*times: int | None) -> str:
    """Slots ts1, ts2, ... with times in milliseconds; None: without a time."""
    values = ("" if time is None else f' TIME_VALUE="{time}"' for time in times)
    return "".join(f'<TIME_SLOT TIME_SLOT_ID="ts{n}"{value}/>' for n, value in enumerate(values, 1))


def aligned(number: int, label: str, start: int, stop: int) -> str:
    attributes = f'ANNOTATION_ID="a{number}" TIME_SLOT_REF1="ts{start}" TIME_SLOT_REF2="ts{stop}"'
    return f"<ALIGNABLE_ANNOTATION {attributes}><ANNOTATION_VALUE>{label}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION>"


def ref(number: int, label: str, parent: int, previous: int | None = None) -> str:
    after = "" if previous is None else f' PREVIOUS_ANNOTATION="a{previous}"'
    attributes = f'ANNOTATION_ID="a{number}" ANNOTATION_REF="a{parent}"{after}'
    return f"<REF_ANNOTATION {attributes}><ANNOTATION_VALUE>{label}</ANNOTATION_VALUE></REF_ANNOTATION>"


def tier(name: str, *annotations: str, parent: str | None = None) -> str:
    reference = "" if parent is None else f' PARENT_REF="{parent}"'
    content = "".join(f"<ANNOTATION>{annotation}</ANNOTATION>" for annotation in annotations)
    return f'<TIER LINGUISTIC_TYPE_REF="t" TIER_ID="{name}"{reference}>{content}</TIER>'


def write(path: Path, header: str, order: str, *tiers: str, units: str = "milliseconds") -> Path:
    path.write_text(
        f'<?xml version="1.0" encoding="UTF-8"?><ANNOTATION_DOCUMENT><HEADER TIME_UNITS="{units}">{header}</HEADER>'
        f"<TIME_ORDER>{order}</TIME_ORDER>{''.join(tiers)}</ANNOTATION_DOCUMENT>"
    )
    return path


def found(path: Path) -> Found:
    (timeline,) = read_events(path)
    return [(event.label, event.onset, event.offset) for event in timeline.events if event.modality == "audio"]


ONE = (slots(1000, 4000), tier("audio", aligned(1, "Dog", 1, 2)))


@pytest.mark.parametrize(
    ("descriptors", "expected", "warned"),
    [
        ([], (1, 4), ""),
        ([("clip.mp4", None)], (1, 4), ""),
        ([("clip.mp4", 0)], (1, 4), ""),
        ([("clip.mp4", 2000)], (3, 6), ""),
        ([("clip.mp4", -500)], (0.5, 3.5), ""),
        ([("other.mp4", 2000)], (3, 6), ""),
        ([("a.mp4", 2000), ("b.wav", 2000)], (3, 6), ""),
        ([("other.mp4", 5000), ("clip.mp4", 2000)], (3, 6), "those of clip.mp4"),
        ([("a.mp4", 5000), ("b.mp4", 2000)], (6, 9), "those of a.mp4"),
        ([("other.wav", None), ("CLIP.MP4", 2000)], (3, 6), "those of CLIP.MP4"),
    ],
)
def test_times_are_those_of_the_media(
    descriptors: Sequence[tuple[str, int | None]], expected: tuple[float, float], warned: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "clip.eaf", "".join(media(*entry) for entry in descriptors), *ONE)
    assert found(path) == [("Dog", *expected)]
    (timeline,) = read_events(path)
    assert len(timeline.warnings) == bool(warned)
    assert all(warning.startswith("clip.eaf: ") and warned in warning for warning in timeline.warnings)


@pytest.mark.parametrize(
    ("order", "tiers", "expected"),
    [
        # A subdivision: three parts of 1 to 4 s share two slots without a time.
        (
            slots(1000, None, None, 4000),
            [tier("audio", aligned(1, "Dog", 1, 2), aligned(2, "Cat", 2, 3), aligned(3, "Dog", 3, 4))],
            [("Dog", 1, 2), ("Cat", 2, 3), ("Dog", 3, 4)],
        ),
        # Slots of another tier lie between them in the order of all slots: those of the chain count.
        (
            slots(1000, None, None, 1500, 2500, 4000),
            [
                tier("audio", aligned(1, "Dog", 1, 2), aligned(2, "Cat", 2, 3), aligned(3, "Dog", 3, 6)),
                tier("notes", aligned(4, "x", 4, 5)),
            ],
            [("Dog", 1, 2), ("Cat", 2, 3), ("Dog", 3, 4)],
        ),
        # Two chains, each with its own ends.
        (
            slots(0, None, 2000, 5000, None, 8000),
            [tier("audio", *(aligned(n, "Dog", a, a + 1) for n, a in enumerate((1, 2, 4, 5))))],
            [("Dog", 0, 1), ("Dog", 1, 2), ("Dog", 5, 6.5), ("Dog", 6.5, 8)],
        ),
        # A part of a part: the inner tier is listed first and needs the outer one's times.
        (
            slots(0, None, None, 8000),
            [
                tier("audio", aligned(1, "Dog", 1, 2), aligned(2, "Cat", 2, 3), parent="outer"),
                tier("outer", aligned(3, "x", 1, 3), aligned(4, "y", 3, 4)),
            ],
            [("Dog", 0, 2), ("Cat", 2, 4)],
        ),
        # Slots that no chain connects lie between their neighbours in the order of all slots.
        (
            slots(0, None, None, 3000),
            [tier("audio", aligned(1, "Dog", 1, 2), aligned(2, "Cat", 3, 4))],
            [("Dog", 0, 1), ("Cat", 2, 3)],
        ),
    ],
)
def test_slots_without_a_time_lie_evenly_between_their_neighbours(
    order: str, tiers: list[str], expected: Found, tmp_path: Path
) -> None:
    assert found(write(tmp_path / "a.eaf", "", order, *tiers)) == expected


def test_annotations_that_refer_to_others_divide_their_time(tmp_path: Path) -> None:
    """Symbolic association: the whole of the parent; subdivision: even parts, in the order that they name."""
    path = write(
        tmp_path / "a.eaf",
        media("a.mp4", 1000),
        slots(1000, 4000),
        tier("audio word", ref(3, "Cat", 1, 2), ref(2, "Dog", 1), ref(4, "Car", 1, 3), parent="sentence"),
        tier("audio part", ref(5, "Banjo", 3), ref(6, "Cello", 3, 5), parent="audio word"),
        tier("audio whole", ref(7, "Speech", 1), parent="sentence"),
        tier("sentence", aligned(1, "x", 1, 2)),
    )
    assert sorted(found(path)) == [
        ("Banjo", 3, 3.5), ("Car", 4, 5), ("Cat", 3, 4), ("Cello", 3.5, 4), ("Dog", 2, 3), ("Speech", 2, 5),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("header", "order", "annotation", "said"),
    [
        ("", slots(1000, None), aligned(1, "Dog", 1, 2), "annotation 'a1' has no time slots with a time around it"),
        ("", slots(None, 1000), aligned(1, "Dog", 1, 2), "annotation 'a1' has no time slots with a time around it"),
        ("", slots(1000), aligned(1, "Dog", 1, 2), "annotation 'a1' has no time slots"),
        ("", slots(0, 1), ref(1, "Dog", 9), "annotation 'a1' has no time, nor has 'a9'"),
        ("", slots(0, 1), ref(1, "Dog", 1), "annotation 'a1' has no time"),
        (
            "",
            '<TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1,5"/>',
            aligned(1, "Dog", 1, 1),
            "'ts1': '1,5' is not a number",
        ),
        (media("a.mp4", "x"), slots(0, 1), aligned(1, "Dog", 1, 2), "TIME_ORIGIN: 'x' is not a number"),
        (media("a.mp4", -9000), slots(0, 1), aligned(1, "Dog", 1, 2), "is not an interval"),
    ],
)
def test_times_that_cannot_be_known(header: str, order: str, annotation: str, said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.eaf", header, order, tier("audio", annotation))
    with pytest.raises(FormatError, match=said):
        read_events(path)
    write(path, header, order, tier("notes", annotation), tier("audio"))
    if said.startswith("annotation"):  # on tiers that are skipped it does not matter
        assert found(path) == []


def test_other_units_than_milliseconds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="its times are in PAL-frames, expected milliseconds"):
        read_events(write(tmp_path / "a.eaf", "", *ONE, units="PAL-frames"))


def test_long_chains_take_no_time(tmp_path: Path) -> None:
    count = 20_000
    order = slots(0, *[None] * (count - 1), 20_000_000)
    parts = (aligned(n, "Dog", n, n + 1) for n in range(1, count + 1))
    path = write(tmp_path / "a.eaf", "", order, tier("audio", *parts))
    events = found(path)
    assert (len(events), events[0], events[-1]) == (count, ("Dog", 0, 1), ("Dog", 19_999, 20_000))


def test_written_files_have_no_offset(tmp_path: Path) -> None:
    timeline = Timeline.of_events([Event("audio", "Dog", 1, 4, 1.0)], path="clip.mp4", duration=5.0)
    (content,) = FORMATS["eaf"].write(timeline)
    assert b"TIME_ORIGIN" not in content
    (tmp_path / "clip.eaf").write_bytes(content)
    assert found(tmp_path / "clip.eaf") == [("Dog", 1, 4)]
