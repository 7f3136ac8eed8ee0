"""Every container with every fault of its streams: each time of a file holds the sound and the picture of that time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline.decode.open_media import open_media
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.decode.readers import build_reader
from avvp.pipeline.errors import MediaError
from support.clock_media import FAULTS, H264, MPEG2, TOLERANCE, VP8, Container, read_numbers

_AAC, _INTRA = ("-c:a", "aac"), ("-q:v", 2, "-g", 1)
_FIXED_RATE = "a fixed number of edit units, which all streams share"
_NO_TIMES = "has no time stamps"
CONTAINERS = {
    "mp4": Container(_AAC, H264),
    "mov": Container(_AAC, H264),
    "mkv": Container(_AAC, H264),
    "webm": Container(("-c:a", "libopus"), VP8),
    "ts": Container(_AAC, H264),
    "m2ts": Container(_AAC, H264),
    "mpg": Container(("-c:a", "mp2"), MPEG2),
    "ogv": Container(
        ("-c:a", "libvorbis"), ("-c:v", "libtheora", "-q:v", 8, "-g", 1), options=("-page_duration", 1),
        cannot={"hole in picture": "FFmpeg takes the time of the first frame behind a hole from the frame before"},
    ),
    "flv": Container(_AAC, ("-c:v", "flv", *_INTRA), rate=44_100),
    "avi": Container(
        ("-c:a", "libmp3lame"),
        ("-c:v", "mpeg4", *_INTRA),
        cannot={
            "late sound": "sound begins at zero",
            "hole in sound": "sound is counted, not timed",
            "late start": "both streams begin at zero",
        },
    ),
    "asf": Container(("-c:a", "wmav2"), ("-c:v", "wmv2", *_INTRA), rate=44_100, base="mkv"),
    "3gp": Container(_AAC, ("-c:v", "h263", *_INTRA), size=(176, 144)),
    "mxf": Container(
        ("-c:a", "pcm_s16le"), MPEG2, cannot=dict.fromkeys(FAULTS.keys() - {"none", "late start"}, _FIXED_RATE)
    ),
    "wav": Container(("-c:a", "pcm_s16le"), cannot=dict.fromkeys(FAULTS, _NO_TIMES)),
    "aiff": Container(("-c:a", "pcm_s16be"), cannot=dict.fromkeys(FAULTS, _NO_TIMES)),
    "flac": Container(("-c:a", "flac"), cannot=dict.fromkeys(FAULTS, _NO_TIMES)),
    "mp3": Container(("-c:a", "libmp3lame"), cannot=dict.fromkeys(FAULTS, _NO_TIMES)),
    "ogg": Container(("-c:a", "libvorbis"), options=("-page_duration", 1)),
    "m4a": Container(_AAC),
}  # fmt: skip
SOUND_FAULTS = {"none", "hole in sound", "late start"}  # that a file without pictures can have
# Their video codecs do not fit into the file that decord gets.
NOT_FOR_DECORD = {"ogv", "flv", "asf", "3gp"}

Clip = Callable[[str, str], Path]


def cases() -> list[tuple[str, str]]:
    """Containers with the faults that they can hold."""
    return [
        (name, fault)
        for name, container in CONTAINERS.items()
        for fault in FAULTS
        if (container.video or fault in SOUND_FAULTS) and (fault == "none" or fault not in container.cannot)
    ]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Files by container and fault, each made once."""
    folder = tmp_path_factory.mktemp("clock")

    @cache
    def encoded(name: str) -> Path:
        container = CONTAINERS[name]
        return container.encode(folder / f"{name}.base.{container.base}")

    @cache
    def make(name: str, fault: str) -> Path:
        path = folder / f"{fault.replace(' ', '-')}.{name}"
        return CONTAINERS[name].make(encoded(name), path, FAULTS[fault])

    return make


@pytest.mark.parametrize("profile", ["clean", "llp", "ave"])
@pytest.mark.parametrize(("name", "fault"), cases())
def test_each_time_holds_what_it_held_when_it_was_recorded(clip: Clip, name: str, fault: str, profile: str) -> None:
    pictures = bool(CONTAINERS[name].video)
    stated = FAULTS[fault].check(clip(name, fault), profile, pictures=pictures).facts.container_duration
    assert stated is None or stated < 6.5


@pytest.mark.parametrize(
    ("name", "fault", "profile"),
    [
        ("ts", "late sound", "clean"),
        ("mkv", "short picture", "clean"),
        ("mp4", "short sound", "llp"),
        ("ogg", "hole in sound", "clean"),
    ],
)
def test_the_process_gives_the_same(clip: Clip, name: str, fault: str, profile: str) -> None:
    content, pictures = FAULTS[fault], bool(CONTAINERS[name].video)
    with open_media(clip(name, fault), profile) as media:
        seconds = list(media)
    content.check_seconds(seconds, profile, pictures=pictures)
    content.check_warnings(media.warnings, pictures=pictures)
    assert all(second.audio is not None and (second.frames is not None) == pictures for second in seconds)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (name, "late picture" if "late picture" not in container.cannot else "none")
        for name, container in CONTAINERS.items()
        if container.video
    ],
)
def test_decord_shows_the_same_frames(clip: Clip, name: str, fault: str) -> None:
    media = probe(clip(name, fault))
    ffmpeg, decord = build_reader(media, "ffmpeg"), build_reader(media, "decord")
    expected = read_numbers(np.concatenate(list(ffmpeg)))
    try:
        shown = read_numbers(np.concatenate(list(decord)))
    except MediaError as error:
        assert name in NOT_FOR_DECORD, error
        assert "--decoder ffmpeg" in error.cause
        return
    FAULTS[fault].check_numbers(shown, TOLERANCE)
    np.testing.assert_array_equal(shown, expected)
    assert decord.report.decoded == ffmpeg.report.decoded
    assert decord.report.end == pytest.approx(ffmpeg.report.end, abs=0.01)
