"""Parts of files: their seconds equal the same seconds of the whole file, bit for bit."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import avvp
import numpy as np
import pytest
from avvp.extractors.inputs import INPUT_FORMATS
from avvp.extractors.profiles import get_profile
from avvp.extractors.sampling import rows_per_segment
from avvp.pipeline.decode.container import clean_starts
from avvp.pipeline.decode.container.clean_starts import is_clean_start
from avvp.pipeline.decode.media_seconds import DecodedSecond, MediaSeconds
from avvp.pipeline.decode.options import DecodeOptions, Part
from avvp.pipeline.errors import MediaError
from avvp.pipeline.preprocess.base import is_groups
from avvp.pipeline.preprocess.network_inputs import NetworkInputs
from support.clock_media import frames, numbered, tones
from support.media import ffmpeg

SECONDS = 12
_X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-qp", 20)
_VARIABLE = ("-vf", "setpts='round((N/25+0.37*mod(N,7)/25)/TB)'", "-fps_mode", "passthrough")
_GOP = ("-g", 20, "-sc_threshold", 0)

# Name of a file -> how it is made: options of the video, options of the audio, further options.
FILES: dict[str, tuple[Sequence[object], Sequence[object]]] = {
    "plain.mp4": ((*_X264, *_GOP, "-bf", 2), ("-c:a", "aac")),
    "long-gop.mp4": ((*_X264, "-g", 1000, "-sc_threshold", 0, "-bf", 2), ("-c:a", "aac")),
    "open-gop.mkv": ((*_X264, *_GOP, "-bf", 3, "-x264-params", "open-gop=1"), ("-c:a", "libopus")),
    "refresh.mkv": ((*_X264, *_GOP, "-x264-params", "intra-refresh=1"), ("-c:a", "libmp3lame")),
    "odd-start.mp4": ((*_X264, *_GOP, "-output_ts_offset", 3.37), ("-c:a", "aac")),
    "odd-start.ts": ((*_X264, *_GOP, "-output_ts_offset", 3.37), ("-c:a", "mp2")),
    "variable.mkv": ((*_X264, *_GOP, *_VARIABLE), ("-c:a", "flac", "-ar", 44_100)),
    "screen.mkv": ((*_X264, "-g", 2, "-r", 0.5), ("-c:a", "pcm_s16le")),
    "vp9.webm": (("-c:v", "libvpx-vp9", *_GOP, "-deadline", "realtime", "-cpu-used", 8), ("-c:a", "libvorbis")),
    "hevc.mp4": (("-c:v", "libx265", "-x265-params", "keyint=20:log-level=error"), ("-c:a", "aac")),
    "mpeg2.mpg": (("-c:v", "mpeg2video", "-g", 12, "-bf", 2), ("-c:a", "mp2")),
    "mpeg4.avi": (("-c:v", "mpeg4", "-g", 12, "-bf", 2), ("-c:a", "libmp3lame")),
    "every-frame.mov": (("-c:v", "mjpeg"), ("-c:a", "pcm_s16be")),
}
PARTS = [Part(5, 8), Part(0, 3), Part(9, None), Part(1, 2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts")


def make(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.exists():
        video, audio = FILES[name]
        pictures = numbered(0, 25 * SECONDS)
        sources = (*frames(), *tones(0, SECONDS))
        ffmpeg(*sources, *video, *audio, path, feed=pictures)
    return path


def decode(path: Path, part: Part, profile: str = "clean", **options: Any) -> tuple[MediaSeconds, list[DecodedSecond]]:
    decoded = MediaSeconds(path, get_profile(profile), DecodeOptions(start=float(part.start), end=part.end, **options))
    return decoded, list(decoded)


@functools.cache
def whole(path: Path, profile: str = "clean") -> list[DecodedSecond]:
    return decode(path, Part(), profile)[1]


def assert_equal(part: Sequence[DecodedSecond], expected: Sequence[DecodedSecond]) -> None:
    assert [second.index for second in part] == [second.index for second in expected]
    for own, other in zip(part, expected, strict=True):
        for name in ("audio", "frames"):
            first, second = getattr(own, name), getattr(other, name)
            assert (first is None) == (second is None), f"{name} of second {own.index}"
            if first is not None:
                np.testing.assert_array_equal(first, second, err_msg=f"{name} of second {own.index}")


@pytest.mark.parametrize("name", FILES)
def test_seconds_of_a_part_are_those_of_the_whole_file(folder: Path, name: str) -> None:
    path = make(folder, name)
    seconds = whole(path)
    assert len(seconds) >= SECONDS
    for part in PARTS:
        decoded, found = decode(path, part)
        assert_equal(found, seconds[part.start : part.end])
        assert decoded.facts.parsed == (part.start, part.end or len(seconds))
        assert decoded.segments == (part.end or len(seconds))
        assert not [text for text in decoded.warnings if "damaged" in text or "video ends at" in text], decoded.warnings


@pytest.mark.parametrize("profile", ["llp", "ave"])
@pytest.mark.parametrize("name", ["plain.mp4", "odd-start.ts", "variable.mkv", "screen.mkv"])
def test_frames_chosen_by_their_number_are_those_of_the_whole_file(folder: Path, name: str, profile: str) -> None:
    path = make(folder, name)
    for part in [*PARTS[:3], Part(11)]:
        assert_equal(decode(path, part, profile)[1], whole(path, profile)[part.start : part.end])


def test_decord_reads_the_same_part(folder: Path) -> None:
    pytest.importorskip("decord")
    path = make(folder, "plain.mp4")
    assert_equal(decode(path, Part(5, 8), decoder="decord")[1], whole(path)[5:8])


def test_audio_alone_at_another_rate(folder: Path) -> None:
    path = folder / "alone.flac"
    ffmpeg(*tones(0, 9, rate=44_100), path)
    expected = decode(path, Part())[1][4:7]
    decoded, seconds = decode(path, Part(4, 7))
    assert_equal(seconds, expected)
    assert decoded.facts.duration == decoded.facts.audio_duration == 7.0


def test_only_packets_near_the_part_are_decoded(folder: Path) -> None:
    path = make(folder, "plain.mp4")  # a clean start every 0.8 s
    decoded, _ = decode(path, Part(8, 9))
    # The first frames until one comes out, those from 8.0 s on (its clean start is there), and one behind the part.
    assert 25 <= decoded.facts.frames_decoded <= 25 + 2 + 4
    for name in ("long-gop.mp4", "open-gop.mkv", "refresh.mkv", "mpeg4.avi"):  # these have no other clean start
        assert decode(make(folder, name), Part(8, 9))[0].facts.frames_decoded > 9 * 25 - 5, name


def test_packets_that_are_too_many_to_keep_are_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(folder, "plain.mp4")
    monkeypatch.setattr(clean_starts, "_MAX_BYTES", 1000)
    decoded, seconds = decode(path, Part(8, 9))
    assert_equal(seconds, whole(path)[8:9])
    assert decoded.facts.frames_decoded > 100


# A stream that ends before the part: what is held then, and the row of features that is repeated.
@pytest.mark.parametrize(
    ("audio", "video"), [(12.0, 3.4), (12.0, 0.3), (3.4, 12.0), (12.0, 4.96)], ids=["video", "still", "audio", "late"]
)
@pytest.mark.parametrize("profile", ["clean", "llp", "ave", "fast"])
def test_streams_that_end_before_the_part(folder: Path, audio: float, video: float, profile: str) -> None:
    path = folder / f"ends-{audio}-{video}.mkv"
    if not path.exists():
        pictures = numbered(0, round(25 * video))
        sources = (*frames(), *tones(0, audio))
        ffmpeg(*sources, "-c:v", "libx264", "-g", 5, "-bf", 0, "-c:a", "pcm_s16le", path, feed=pictures)
    for start in (5, 7, 11):
        rows = {}
        for options in (DecodeOptions(), DecodeOptions(start=float(start), end=start + 2.0)):
            reader = NetworkInputs(path, _formats(profile), profile=profile, options=options)
            given: dict[str, list[np.ndarray]] = {}
            groups: list[np.ndarray] = []
            for stream, inputs in reader:
                (groups if is_groups(inputs) else given.setdefault(stream, [])).append(inputs)
            inputs = {stream: np.concatenate(parts) for stream, parts in given.items()}
            if groups:
                inputs["visual_map"] = inputs["visual_map"][np.concatenate(groups)]
            rows[options.start] = {stream: inputs[stream][numbers] for stream, numbers in reader.summary.rows.items()}
        for stream, found in rows[float(start)].items():
            width = rows_per_segment(stream, get_profile(profile).rows_per_segment)
            stop = min(start + 2, SECONDS)
            np.testing.assert_array_equal(found, rows[0.0][stream][start * width : stop * width], err_msg=stream)


def _formats(profile: str) -> list[Any]:
    by_stream = {input_format.stream: input_format for input_format in INPUT_FORMATS.values()}
    return [by_stream[stream] for stream in get_profile(profile).streams]


@pytest.mark.parametrize(("audio", "video"), [(9.0, 3.4), (3.4, 9.0)])
def test_open_media_holds_what_ended_before_the_part(folder: Path, audio: float, video: float) -> None:
    path = folder / f"open-{audio}-{video}.mkv"
    sources = (*frames(), *tones(0, audio))
    ffmpeg(*sources, "-c:v", "libx264", "-c:a", "pcm_s16le", path, feed=numbered(0, round(25 * video)))
    with avvp.open_media(path) as media:
        expected = list(media)[6:8]
    with avvp.open_media(path, decoding=DecodeOptions(start=6.2, end=7.5)) as media:
        found = list(media)
    assert [second.index for second in found] == [6, 7]
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(own.frames, other.frames)
        np.testing.assert_array_equal(own.audio, other.audio)
    assert media.facts.parsed == (6, 8)
    assert media.facts.to_dict()["parsed"] == [6, 8]


def test_frames_keep_the_size_of_the_first(folder: Path) -> None:
    path, parts = folder / "sizes.ts", []
    for size in ((96, 64), (192, 128)):
        parts.append(folder / f"{size[0]}.ts")
        ffmpeg(*frames(size=size), *_X264, *_GOP, parts[-1], feed=numbered(0, 150, size))
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    seconds = whole(path)
    _, found = decode(path, Part(9, 11))
    assert found[0].frames is not None
    assert found[0].frames.shape == (8, 64, 96, 3)
    assert_equal(found, seconds[9:11])


def test_damage_outside_the_part_is_not_reported(folder: Path) -> None:
    plain = make(folder, "plain.mp4")
    path = folder / "torn.ts"
    ffmpeg("-i", plain, "-c", "copy", path)
    content = bytearray(path.read_bytes())
    middle = len(content) * 4 // SECONDS  # at about 4 s
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    damaged, seconds = decode(path, Part())
    assert damaged.facts.frames_damaged
    for part in (Part(0, 2), Part(8, 11)):
        decoded, found = decode(path, part)
        assert_equal(found, seconds[part.start : part.end])
        assert not decoded.facts.frames_damaged
        assert not [text for text in decoded.warnings if "damaged" in text and "the file is" not in text]


def test_a_silent_track_is_compared_with_others_up_to_the_end_of_the_part(folder: Path) -> None:
    path = folder / "silent.mkv"
    silence = ("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono:d=8")
    late = ("-f", "lavfi", "-i", "aevalsrc=gt(t\\,5)*sin(2000*t):s=16000:d=8")
    ffmpeg(*silence, *late, "-map", 0, "-map", 1, "-c:a", "pcm_s16le", path)
    warning = "audio stream 0 is silent, but stream 1 is not"
    for part, is_told in ((Part(), True), (Part(0, 3), False), (Part(2, 7), True), (Part(6, None), True)):
        assert (warning in decode(path, part)[0].warnings) == is_told, part


def test_part_behind_the_end_is_an_error(folder: Path) -> None:
    with pytest.raises(MediaError, match=r"ends at 12\.0\d s, before the part that begins at 20 s"):
        decode(make(folder, "plain.mp4"), Part(20, 30))
    path = folder / "short.wav"
    ffmpeg(*tones(0, 2.3), path)
    with pytest.raises(MediaError, match=r"ends at 2\.30 s, less than half a second into the part that begins at 2 s"):
        decode(path, Part(2))


@pytest.mark.parametrize(("start", "end"), [(-1, None), (5, 5), (5, 4), (0, 1e9), (float("nan"), None), (1e9, None)])
def test_options_that_are_no_part(start: float, end: float | None) -> None:
    with pytest.raises(ValueError, match="not a part of a file"):
        DecodeOptions(start=start, end=end)


def test_parts_are_whole_seconds() -> None:
    assert DecodeOptions(start=1.9, end=3.1).part == Part(1, 4)
    assert DecodeOptions(start=2.0, end=3.0).part == Part(2, 3)
    assert DecodeOptions().part.is_whole
    assert not DecodeOptions(end=3).part.is_whole
    assert DecodeOptions(start=1, end=3).for_whole_files() == DecodeOptions()


class _FakePacket:
    """A packet of H.264."""

    def __init__(self, content: bytes, *, key: bool = True, corrupt: bool = False) -> None:
        self.content, self.is_keyframe, self.is_corrupt = content, key, corrupt

    def __bytes__(self) -> bytes:
        return self.content


class _FakeCodec:
    def __init__(self, name: str, extradata: bytes | None = None) -> None:
        self.name, self.extradata = name, extradata


AVCC = b"\x01\x64\x00\x1f\xff"  # lengths of four bytes


@pytest.mark.parametrize(
    ("codec", "packet", "expected"),
    [
        (_FakeCodec("h264"), _FakePacket(b"\0\0\0\1\x09\xf0\0\0\1\x65rest"), True),  # a delimiter, then IDR
        (_FakeCodec("h264"), _FakePacket(b"\0\0\0\1\x09\xf0\0\0\1\x41rest"), False),
        (_FakeCodec("h264", AVCC), _FakePacket(b"\0\0\0\2\x06x\0\0\0\5\x65rest"), True),
        (_FakeCodec("h264", AVCC), _FakePacket(b"\0\0\0\2\x06x\0\0\0\5\x41rest"), False),
        (_FakeCodec("h264", AVCC), _FakePacket(b"\xff\xff\xff\xff\x06"), False),  # a length beyond the packet
        (_FakeCodec("h264", AVCC[:3]), _FakePacket(b"\0\0\0\5\x65rest"), False),
        (_FakeCodec("h264"), _FakePacket(b"\0\0\1\x65", key=False), False),
        (_FakeCodec("h264"), _FakePacket(b"\0\0\1\x65", corrupt=True), False),
        (_FakeCodec("vp9"), _FakePacket(b"x"), True),
        (_FakeCodec("mpeg4"), _FakePacket(b"x"), False),
    ],
)
def test_clean_starts(codec: Any, packet: Any, expected: bool) -> None:
    assert is_clean_start(packet, codec) == expected
