"""The figure of a timeline and what is drawn of its media. What it looks like is for eyes; here is what it holds."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.decode.ffmpeg_reader import FFmpegReader
from avvp.pipeline.decode.options import Part
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.errors import MediaError, OutputError
from avvp.pipeline.outputs.plots.figure import PLOT_SUFFIXES
from avvp.pipeline.outputs.plots.thumbnails import frames_at, log_mel_spectrogram, waveform_envelope
from avvp.pipeline.outputs.plots.timeline import plot_timeline
from avvp.pipeline.timeline import (
    Event,
    GroundTruth,
    SegmentLabels,
    SegmentProbabilities,
    Timeline,
    all_events,
    sort_events,
)
from PIL import Image
from support import media

LABELS = ("Dog", "Cat", "Frying_(food)")
EVENTS = (
    Event("audio", "Dog", 1, 3, 0.75), Event("visual", "Dog", 2, 4, 0.5), Event("audio_visual", "Dog", 2, 3, 0.5),
)  # fmt: skip
STARTS = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF-"}


def known(events: tuple[Event, ...] = EVENTS, *, segments: int = 4) -> Timeline:
    """With probabilities, two warnings and a duration that is not a whole number."""
    arrays = [np.linspace(0, 1, segments * 3, dtype=np.float32).reshape(segments, 3)] * 4
    facts = {"path": "folder/a.mp4", "duration": segments + 0.04}
    return Timeline(events, LABELS, SegmentProbabilities(*arrays), facts, {}, ("one", "two"))


def words(path: Path) -> list[str]:
    """Every text of an svg file, from the top of the file."""
    return [text for element in ET.parse(path).iter() if (text := (element.text or "").strip())]  # noqa: S314


def drawn(folder: Path, timeline: Timeline, **options: object) -> list[str]:
    path = folder / "plot.svg"
    plot_timeline(timeline, path, **options)  # type: ignore[arg-type]
    return words(path)


def colours(path: Path) -> set[tuple[int, int, int]]:
    with Image.open(path) as image:
        return {colour[:3] for _, colour in image.convert("RGBA").getcolors(1 << 24) or ()}


@pytest.mark.parametrize("suffix", PLOT_SUFFIXES)
def test_plot_format_follows_the_suffix(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"plot{suffix.upper()}"
    plot_timeline(known(), path)
    assert path.read_bytes().startswith(STARTS[suffix[1:]])
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    first = path.read_bytes()
    plot_timeline(known(), path)
    assert path.read_bytes() == first  # no date, no chance


def test_png_has_the_colours_of_both_modalities(tmp_path: Path) -> None:
    plot_timeline(known(), tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.format == "PNG"
        assert image.size[0] == 1760
        corners = [image.convert("RGB").getpixel(place) for place in ((0, 0), (1759, image.size[1] - 1))]
    assert corners == [(255, 255, 255)] * 2
    assert {(0x2A, 0xA7, 0xD8), (0xA3, 0x19, 0x5B)} <= colours(tmp_path / "plot.png")


def test_svg_has_text(tmp_path: Path) -> None:
    found = drawn(tmp_path, known())
    assert {"a.mp4", "4.0 s: 1 audio, 1 visual, 1 both", "2 warnings", "audio", "visual", "0:00", "0:04"} <= {*found}
    assert found.count("Dog") == 2  # heard, and seen
    assert "Cat" not in found
    assert {"event", "both at once", "probability"} <= {*found}


def test_a_part_is_drawn_alone(tmp_path: Path, clips: media.Clips) -> None:
    """The axis, the film, and the sound: 3 s of 440 Hz."""
    whole = known(segments=3)
    part = replace(whole, media={**whole.media, "parsed": [2, 3]})
    found = drawn(tmp_path, part, media=clips.steady)
    assert "0:02 to 0:03: 1 audio, 1 visual, 1 both" in found
    assert {"0:02", "0:03", "film", "log-mel"} <= {*found}
    assert "0:00" not in found
    second = Part(2, 3)
    mel = log_mel_spectrogram(clips.steady)
    of_part = log_mel_spectrogram(clips.steady, part=second)
    assert mel is not None
    assert of_part is not None
    np.testing.assert_array_equal(of_part[:90], mel[200:290])
    envelope = waveform_envelope(clips.steady, 6, duration=3.0)
    assert envelope is not None
    assert (waveform_envelope(clips.steady, 2, duration=1.0, part=second) == envelope[4:]).all()


def test_without_probabilities(tmp_path: Path) -> None:
    found = drawn(tmp_path, Timeline.of_events(EVENTS, path="b.mp4", duration=9.6, labels=LABELS))
    assert found.count("Dog") == 2
    assert "probability" not in found
    assert "0:10" in found  # the axis goes on to the end of the last segment


def test_audio_visual_events_alone_are_drawn_in_both_panels(tmp_path: Path) -> None:
    found = drawn(tmp_path, Timeline.of_events([Event("audio_visual", "Dog", 0, 2, 1)], path="b.mp4"))
    assert found.count("Dog") == 2


def test_truth_adds_missed_events_and_agreement(tmp_path: Path) -> None:
    audio, visual = np.zeros((4, 3), bool), np.zeros((4, 3), bool)
    audio[1:3, 1] = True  # Cat, which the timeline has not
    agreement = "agreement with the annotator: " + ", ".join(f"number {n}" for n in range(12)) + ", the last"
    found = drawn(tmp_path, known(), truth=GroundTruth(SegmentLabels(audio, visual), agreement))
    assert found.count("Cat") == 1
    assert "truth" in found
    lines = [line for line in found if "number" in line]
    assert len(lines) > 1  # it is too long for one
    assert " ".join(lines) == agreement


def test_no_events(tmp_path: Path) -> None:
    found = drawn(tmp_path, known(()))
    assert {"4.0 s: no events", "no audio events", "no visual events"} <= {*found}
    assert drawn(tmp_path, Timeline.of_events([], path="c.mp4"))  # an empty timeline of no length


def test_hostile_names_are_only_names(tmp_path: Path) -> None:
    labels = ("<script>alert(1)</script>", "$x$", "$\\frac{", "dog \N{DOG FACE}", "a\nb\x1b[31m", "\ud800", "%s {0}")
    events = sort_events([Event("audio", label, 0, 1, 0.5) for label in labels], labels)
    name = "$\\alpha$ & <b>\N{DOG FACE}\n.mp4"
    timeline = Timeline(events, labels, None, {"path": f"x/{name}", "duration": 4.0}, {})
    found = drawn(tmp_path, timeline)
    for label in (
        *labels[:3],
        "Dog \N{DOG FACE}",
        r"A\nb\x1b[31m",
        r"\ud800",
        "%s {0}",
        "$\\alpha$ & <b>\N{DOG FACE}\\n.mp4",
    ):
        assert label in found
    assert b"<script" not in (tmp_path / "plot.svg").read_bytes()
    for suffix in (".png", ".pdf"):
        plot_timeline(timeline, tmp_path / f"plot{suffix}")


def test_long_names_are_cut_and_many_classes_counted(tmp_path: Path) -> None:
    labels = tuple(f"class {number:03d} {'long ' * 30}" for number in range(100))
    events = sort_events([Event("visual", label, 0, 1 + k, 0.5) for k, label in enumerate(labels)], labels)
    found = drawn(tmp_path, Timeline(events, labels, None, {"path": "y" * 300, "duration": 100.0}, {}))
    assert "visual (the 60 classes with the most seconds of 100)" in found
    rows = [text for text in found if text.startswith("Class")]
    assert [row[:9] for row in rows] == [f"Class {number:03d}" for number in range(40, 100)]
    assert all(row.endswith("…") and len(row) < 50 for row in rows)
    assert any(text.endswith("y…") and len(text) < 150 for text in found)


def test_an_hour_of_two_thousand_events_is_fast_and_of_legible_size(tmp_path: Path) -> None:
    chance = np.random.default_rng(1).random((3600, len(LLP_LABELS))).astype(np.float32)
    probabilities = SegmentProbabilities(*[chance] * 4)
    active = np.zeros(chance.shape, bool)
    active[::4, 3], active[1::6, 5] = True, True
    events = all_events(SegmentLabels(active, active), probabilities, LLP_LABELS)
    assert len(events) >= 2000
    timeline = Timeline(events, LLP_LABELS, probabilities, {"path": "hour.mp4", "duration": 3600.4}, {})
    started = time.monotonic()
    plot_timeline(timeline, tmp_path / "plot.png")
    assert time.monotonic() - started < 20
    with Image.open(tmp_path / "plot.png") as image:
        assert image.size[0] == 1760
        assert 300 < image.size[1] < 1000
    assert {"0:00:00", "0:10:00", "1:00:00", "1:00:00: 1500 audio, 1500 visual, 1500 both"} <= {
        *drawn(tmp_path, timeline)
    }


@pytest.mark.parametrize("clip", ["steady", "silent", "blind", "blink", "rotated", "damaged", "still", "dot"])
def test_media_above_the_panels(clip: str, clips: media.Clips, tmp_path: Path) -> None:
    path = getattr(clips, clip)
    plain, info = drawn(tmp_path, known()), probe(path)
    found = drawn(tmp_path, known(), media=path)
    assert ("film" in found) == (info.video is not None and clip != "still")
    assert ("log-mel" in found) == (info.audio is not None)
    assert [text for text in found if text not in {"film", "log-mel"}] == plain


def test_long_media_have_a_waveform(clips: media.Clips, tmp_path: Path) -> None:
    path = clips.make("long.wav", "-f", "lavfi", "-i", "sine=f=440:r=16000:d=62")
    assert log_mel_spectrogram(path) is None
    assert "waveform" in drawn(tmp_path, known(segments=62), media=path)


def test_invalid_plots_are_refused(clips: media.Clips, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown plot format '\.jpg'; known: \.png, \.svg, \.pdf"):
        plot_timeline(known(), tmp_path / "plot.jpg")
    with pytest.raises(MediaError, match="no such file"):
        plot_timeline(known(), tmp_path / "plot.png", media=tmp_path / "none.mp4")
    with pytest.raises(MediaError, match="is incomplete"):
        plot_timeline(known(), tmp_path / "plot.png", media=clips.headless)
    with pytest.raises(OutputError, match="cannot be written"):
        plot_timeline(known(), tmp_path / "none" / "plot.png")
    assert not list(tmp_path.iterdir())


def test_failed_plot_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plot.svg"
    path.write_text("before")

    def full(_: Path, __: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="No space left on device"):
        plot_timeline(known(), path)
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["plot.svg"]


def test_matplotlib_is_not_loaded_before_it_draws() -> None:
    code = "import sys, avvp.pipeline.outputs.plots.timeline; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("clip", ["steady", "variable", "rotated", "two_streams", "late_video", "odd"])
def test_frames_at_equals_the_frame_reader(clip: str, clips: media.Clips) -> None:
    info = probe(getattr(clips, clip))
    expected = np.concatenate(list(FFmpegReader(info)))
    chosen = range(0, len(expected), 5)
    found = frames_at(info.path, [(k + 0.5) / 8 for k in chosen], height=expected.shape[1])
    np.testing.assert_array_equal(np.stack([frame for frame in found if frame is not None]), expected[chosen])


@pytest.fixture(scope="module")
def slides(clips: media.Clips) -> Path:
    """Red for 10 s, green for 10 s, blue for 10 s, at one frame each second and one key frame in all."""
    shown = [f"-f lavfi -i color={colour}:s=80x40:r=1:d=10".split() for colour in ("red", "lime", "blue")]
    joined = ("-filter_complex", "[0][1][2]concat=n=3", "-c:v", "libx264", "-g", 1000, "-sc_threshold", 0)
    return clips.make("slides.mp4", *[word for words in shown for word in words], *joined)


def test_frames_at_of_a_clip_that_changes_size(slides: Path) -> None:
    found = frames_at(slides, [25.5, 0.0, 9.99, 10.0, 29.9, 31.0, -1.0, 15.0], height=20)
    assert [frame is None for frame in found] == [False] * 5 + [True] * 2 + [False]
    frames = [frame for frame in found if frame is not None]
    assert all(frame.shape == (20, 40, 3) and frame.dtype == np.uint8 for frame in frames)
    assert ["rgb"[int(frame.mean(axis=(0, 1)).argmax())] for frame in frames] == list("brrgbg")


def test_frames_at_have_the_display_shape(clips: media.Clips) -> None:
    wide = clips.make("wide.mkv", "-f", "lavfi", "-i", "testsrc=s=72x57:r=8:d=1", "-vf", "setsar=64/45", "-c:v", "ffv1")
    strip = clips.make("strip.mkv", "-f", "lavfi", "-i", "testsrc=s=640x2:r=8:d=1", "-c:v", "ffv1")
    shapes = [frames_at(path, [0.5], height=40)[0] for path in (wide, strip, clips.rotated)]
    assert [frame.shape[:2] for frame in shapes if frame is not None] == [(40, 72), (40, 160), (40, 30)]


def test_media_without_video_or_audio(clips: media.Clips, tmp_path: Path) -> None:
    assert frames_at(clips.blind, [0, 1], height=20) == [None, None]
    assert waveform_envelope(clips.silent, 10) is None
    assert log_mel_spectrogram(clips.silent) is None
    for reach in (
        lambda path: frames_at(path, [0], height=20),
        lambda path: waveform_envelope(path, 4),
        log_mel_spectrogram,
    ):
        with pytest.raises(MediaError, match="no such file"):
            reach(tmp_path / "none.mp4")


def test_loudness_by_hand(clips: media.Clips) -> None:
    """A second of silence, a second of a square wave between -0.25 and 0.5, half a second of silence."""
    wave = np.concatenate([np.zeros(16_000), np.tile(np.repeat([0.5, -0.25], 8), 1_000), np.zeros(8_000)])
    raw = ("-f", "s16le", "-ar", 16_000, "-ac", 1, "-i", "-")
    path = clips.make("square.wav", *raw, feed=(wave * 32768).astype("<i2").tobytes())
    silence, tone = [0.0, 0.0], [-0.25, 0.5]
    assert (waveform_envelope(path, 5) == np.array([silence, silence, tone, tone, silence], np.float32)).all()
    assert (waveform_envelope(path, 4, duration=4.0) == np.array([silence, tone, silence, silence], np.float32)).all()
    assert (
        waveform_envelope(path, 3, duration=1.5) == np.array([silence, silence, tone], np.float32)
    ).all()  # the rest is left out
    one = waveform_envelope(path, 1)
    assert one is not None
    assert one.tolist() == [tone]
    assert one.dtype == np.float32


def test_loudness_keeps_to_its_range_and_counts_every_sample_once(clips: media.Clips) -> None:
    found = waveform_envelope(clips.damaged, 7)
    assert found is not None
    assert np.abs(found).max() <= 1
    assert (found[:, 0] <= found[:, 1]).all()


def test_the_spectrogram_has_its_energy_at_the_tone(clips: media.Clips) -> None:
    found = log_mel_spectrogram(clips.blind)  # 2 s of 440 Hz
    assert found is not None
    assert found.shape == (1 + (32_000 - 400) // 160, 64)

    def mel(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    band = round((mel(440) - mel(125)) / (mel(7500) - mel(125)) * 65) - 1  # the band whose middle is nearest
    assert set(found.argmax(axis=1)) == {band}
