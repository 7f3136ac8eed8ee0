"""Chapters: where they begin, in FFmpeg and in a WebVTT reader, and back."""

from __future__ import annotations

from pathlib import Path

import av
import av.container
import pytest
import webvtt
from avvp.pipeline.errors import FormatError
from avvp.pipeline.outputs.formats import chapters
from avvp.pipeline.outputs.formats.chapters import make_chapters
from avvp.pipeline.outputs.formats.registry import FORMATS, read_events
from avvp.pipeline.outputs.postprocess import TooManyEventsError, with_audio_visual
from avvp.pipeline.timeline import Event, Timeline
from support.media import ffmpeg

DOG = [Event("audio", "Dog", 1, 3, 1.0), Event("visual", "Dog", 2, 4, 1.0)]
CLEANER = Event("audio", "Vacuum_cleaner", 2.5, 3.5, 1.0)
TIMELINE = Timeline.of_events(with_audio_visual([*DOG, CLEANER]), path="clip.mp4", duration=6.0)
# By hand: onset, offset, title.
EXPECTED = [
    (0, 1, "No events"), (1, 2, "Dog (audio)"), (2, 2.5, "Dog (both)"), (2.5, 3, "Dog (both), Vacuum cleaner (audio)"),
    (3, 3.5, "Dog (visual), Vacuum cleaner (audio)"), (3.5, 4, "Dog (visual)"), (4, 6, "No events"),
]  # fmt: skip
SPECIAL = "a=b;c#d\\e\nf (audio), [CHAPTER] -->"


def test_chapters_neither_overlap_nor_leave_gaps() -> None:
    assert [(chapter.onset, chapter.offset, chapter.title) for chapter in make_chapters(TIMELINE)] == EXPECTED


def test_short_pauses_are_bridged_and_long_ones_are_chapters() -> None:
    events = [Event("audio", "Dog", start, start + 1, 1.0) for start in (0, 2, 5)]
    made = make_chapters(Timeline.of_events(events, path="x", duration=6.0))
    assert [(c.onset, c.offset, c.title) for c in made] == [
        (0, 3, "Dog (audio)"), (3, 5, "No events"), (5, 6, "Dog (audio)"),
    ]  # fmt: skip
    assert make_chapters(Timeline.of_events([], path="x", duration=2.0)) == [chapters.Chapter(0, 2, "No events")]
    assert make_chapters(Timeline.of_events([], path="x")) == []


def test_sums_of_seconds_leave_no_chapters_of_no_length() -> None:
    events = [Event("audio", "Dog", 0.1, 0.1 + 0.2, 1.0), Event("visual", "Car", 0.3, 1, 1.0)]
    made = make_chapters(Timeline.of_events(events, path="x"))
    assert [c.title for c in made] == ["No events", "Dog (audio)", "Car (visual)"]


def test_chapters_in_ffmpeg(tmp_path: Path) -> None:
    """Its reader of metadata, and a file that it copies with the chapters."""
    (tmp_path / "x.ffmetadata.txt").write_bytes(FORMATS["ffmetadata"].write(TIMELINE)[0])
    with av.open(str(tmp_path / "x.ffmetadata.txt"), format="ffmetadata") as container:
        assert read_chapters(container) == EXPECTED
    ffmpeg("-f", "lavfi", "-i", "testsrc=duration=6:size=64x64:rate=5", tmp_path / "clip.mp4")
    for suffix in ("mp4", "mkv"):
        made = tmp_path / f"made.{suffix}"
        ffmpeg("-i", tmp_path / "clip.mp4", "-i", tmp_path / "x.ffmetadata.txt", "-map", "0", "-map_chapters", "1",
               "-c", "copy", made)  # fmt: skip
        with av.open(str(made)) as container:
            assert read_chapters(container) == EXPECTED
    ffmpeg("-i", tmp_path / "made.mkv", "-f", "ffmetadata", tmp_path / "again.ffmetadata.txt")
    (back,) = read_events(tmp_path / "again.ffmetadata.txt")
    assert spans(back) == spans(TIMELINE, "Vacuum cleaner")


def read_chapters(container: av.container.InputContainer) -> list[tuple[float, float, str]]:
    return [
        (c["start"] * float(c["time_base"] or 0), c["end"] * float(c["time_base"] or 0), c["metadata"]["title"])
        for c in container.chapters()
    ]


def spans(timeline: Timeline, cleaner: str = "Vacuum_cleaner") -> list[tuple[str, str, float, float]]:
    return sorted(
        (e.modality, cleaner if e.label == "Vacuum_cleaner" else e.label, e.onset, e.offset) for e in timeline.events
    )


@pytest.mark.parametrize("label", ["Dog", SPECIAL, "a -> b", "<b>&amp;", "x" * 1_000])
def test_titles_in_other_readers(label: str, tmp_path: Path) -> None:
    timeline = Timeline.of_events([Event("audio", label, 0, 1.5, 1.0)], path="clip.mp4", duration=1.5)
    (chapter,) = make_chapters(timeline)
    for form in ("ffmetadata", "chapters"):
        (tmp_path / f"x.{form}").write_bytes(FORMATS[form].write(timeline)[0])
    with av.open(str(tmp_path / "x.ffmetadata"), format="ffmetadata") as container:
        assert read_chapters(container) == [(0, 1.5, chapter.title)]
    (tmp_path / "x.chapters").rename(tmp_path / "x.vtt")
    (cue,) = webvtt.read(str(tmp_path / "x.vtt"))
    assert (cue.start_in_seconds, cue.end_in_seconds) == (0, 1)
    assert cue.text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == chapter.title
    (back,) = read_events(tmp_path / "x.ffmetadata")
    assert [(e.modality, e.onset, e.offset) for e in back.events][:1] == [("audio", 0, 1.5)]


def test_webvtt_chapters_are_those(tmp_path: Path) -> None:
    (tmp_path / "x.chapters.vtt").write_bytes(FORMATS["chapters"].write(TIMELINE)[0])
    cues = webvtt.read(str(tmp_path / "x.chapters.vtt"))
    assert [cue.text for cue in cues] == [title for _, _, title in EXPECTED]
    assert (cues[2].start, cues[2].end) == ("00:00:02.000", "00:00:02.500")
    with pytest.raises(FormatError, match="not a readable event format"):
        read_events(tmp_path / "x.chapters.vtt")


def test_chapters_of_people_are_audio_visual(tmp_path: Path) -> None:
    """With FFmpeg's time base where there is none, global metadata, comments, streams and escaped lines."""
    (tmp_path / "x.ffmetadata.txt").write_text(
        ";FFMETADATA1\ntitle=film\n# note\n[CHAPTER]\nSTART=0\nEND=2500000000\ntitle=The \\\nbeg\\=in\n"
        "[STREAM]\ntitle=x\n[CHAPTER]\nTIMEBASE=1/10\nSTART=25\nEND=40\n"
    )
    (back,) = read_events(tmp_path / "x.ffmetadata.txt")
    assert [(e.label, e.onset, e.offset) for e in back.events if e.modality == "audio_visual"] == [
        ("The \nbeg=in", 0, 2.5), ("", 2.5, 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the first line is not ;FFMETADATA1"),
        (";FFMETADATA1\n\n[CHAPTER]\nSTART=0\n", "chapter in line 3: has no whole numbers for START and END"),
        (";FFMETADATA1\n[CHAPTER]\nSTART=0.5\nEND=1\n", "has no whole numbers"),
        (";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/0\nSTART=0\nEND=1\n", "no fraction for TIMEBASE"),
        (";FFMETADATA1\n[CHAPTER]\nSTART=2\nEND=1\n", "is not an interval"),
    ],
)
def test_metadata_that_are_refused(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.ffmetadata.txt").write_text(content)
    with pytest.raises(FormatError, match=r"x\.ffmetadata\.txt: not valid ffmetadata events") as error:
        read_events(tmp_path / "x.ffmetadata.txt")
    assert said in str(error.value)


def test_titles_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    nested = [Event("audio", f"class {number}", number, 100 - number, 1.0) for number in range(50)]
    timeline = Timeline.of_events(nested, path="x")
    assert len(make_chapters(timeline)) == 99
    monkeypatch.setattr(chapters, "MAX_CAPTION_SIZE", 10_000)
    with pytest.raises(TooManyEventsError, match="choose some with --keep-classes"):
        make_chapters(timeline)
