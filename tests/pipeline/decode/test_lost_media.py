"""What recordings lose or change on the way: each kind keeps one clock, and what is missing is named."""

from __future__ import annotations

import os
import signal
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.audio.layout import AudioLayout
from avvp.extractors.profiles import get_profile
from avvp.pipeline.decode.media_seconds import MediaSeconds
from avvp.pipeline.decode.open_media import open_media
from avvp.pipeline.decode.options import DEFAULT_OPTIONS, DecodeOptions
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.errors import DecodeTimeoutError, MediaError
from support.clock_media import (
    H264,
    MPEG2,
    VP8,
    Container,
    Content,
    frames,
    numbered,
    read_numbers,
    read_tones,
    tones,
)
from support.media import ffmpeg

PROFILES = pytest.mark.parametrize("profile", ["clean", "llp", "ave"])
AAC = ("-c:a", "aac")
WRAP = 2**33 / 90_000  # seconds; of the time stamps of MPEG
JOIN = r"time stamps start anew at {}"
# Transport streams number their packets. Where two are joined, the numbers say that some between them are lost.
SPLICE = (r"^[12] damaged (frame|audio packet)s?\b",)


def recording(
    path: Path,
    video: tuple[int, int],
    audio: tuple[float, float],
    *options: object,
    size: tuple[int, int] = (96, 64),
    rate: int = 48_000,
    channels: int = 1,
) -> bytes:
    """Make a file whose streams both begin at zero: the frames and the tones of these seconds."""
    sources = (*frames(size=size), *tones(*audio, rate=rate, channels=channels))
    ffmpeg(*sources, *H264, *AAC, *options, path, feed=numbered(video[0] * 25, video[1] * 25, size))
    return path.read_bytes()


def joined(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path


def decode(path: Path, profile: str = "clean") -> tuple[MediaSeconds, np.ndarray]:
    """Return the exhausted decoder and its samples."""
    decoded = MediaSeconds(path, get_profile(profile), DEFAULT_OPTIONS)
    seconds = [second.audio for second in decoded]
    return decoded, np.concatenate([np.zeros(16_000) if audio is None else audio for audio in seconds])


class TestTransportStreams:
    @PROFILES
    def test_joined_parts_of_unequal_streams_stay_in_step(self, tmp_path: Path, profile: str) -> None:
        first = recording(tmp_path / "a.ts", (0, 3), (0, 2.2))
        second = recording(tmp_path / "b.ts", (3, 6), (3, 6))
        content = Content(
            audio=((0, 2.2), (3, 6)), warnings=(JOIN.format("3.0"), "no audio from 2.2. to 3.0"), tolerated=SPLICE
        )
        content.check(joined(tmp_path / "j.ts", first, second), profile)

    @PROFILES
    def test_part_that_starts_an_hour_later(self, tmp_path: Path, profile: str) -> None:
        first = recording(tmp_path / "a.ts", (0, 3), (0, 3))
        second = recording(tmp_path / "b.ts", (3, 6), (3, 6), "-output_ts_offset", 3600)
        Content(warnings=(JOIN.format("3.0"),), tolerated=SPLICE).check(
            joined(tmp_path / "j.ts", first, second), profile
        )

    def test_three_parts(self, tmp_path: Path) -> None:
        parts = [recording(tmp_path / f"{k}.ts", (k, k + 2), (k, k + 2)) for k in (0, 2, 4)]
        Content(warnings=(JOIN.format(r"2\.0., 4\.0"),), tolerated=SPLICE).check(joined(tmp_path / "j.ts", *parts))

    @pytest.mark.parametrize("hole", [12, 70])
    @pytest.mark.parametrize("kind", ["audio", "video"])
    def test_jump_of_one_stream_is_a_hole(self, tmp_path: Path, hole: int, kind: str) -> None:
        end = hole + 4
        parts = ((0.0, 2.0), (2.0 + hole, float(end)))
        intervals = {"audio": ((0.0, float(end)),), "video": ((0.0, float(end)),), kind: parts}
        warnings = (rf"no audio from 2\.\d\d to {2 + hole}\.",) if kind == "audio" else ()
        content = Content(**intervals, warnings=warnings)
        container = Container(AAC, H264)
        base = container.encode(tmp_path / "base.nut", end)
        content.check(container.make(base, tmp_path / "hole.ts", content))

    @PROFILES
    @pytest.mark.parametrize("shift", [-2.0, 500.0])
    @pytest.mark.parametrize("identifier", [0x100, 0x101], ids=["picture", "sound"])
    def test_one_wrong_time_stamp(self, tmp_path: Path, identifier: int, shift: float, profile: str) -> None:
        content = bytearray(recording(tmp_path / "right.ts", (0, 6), (0, 6)))
        starts = [
            place + 4 + (content[place + 4] + 1 if content[place + 3] & 0x20 else 0)
            for place in range(0, len(content), 188)
            if int.from_bytes(content[place + 1 : place + 3], "big") == 0x4000 | identifier
        ]
        start = starts[len(starts) // 2]
        assert content[start : start + 3] == b"\0\0\1"
        for place in range(
            start + 9, start + (19 if content[start + 7] & 0x40 else 14), 5
        ):  # of presentation, decoding
            write_stamp(content, place, shift)
        path = joined(tmp_path / "wrong.ts", bytes(content))
        Content().check(path, profile)

    @PROFILES
    @pytest.mark.parametrize("before", [1.0, 3.0, 5.0])
    def test_time_stamps_that_wrap(self, tmp_path: Path, before: float, profile: str) -> None:
        path = tmp_path / "wrap.ts"
        recording(path, (0, 6), (0, 6), "-output_ts_offset", WRAP - 1.4 - before)
        Content().check(path, profile)

    @PROFILES
    @pytest.mark.parametrize(
        ("before", "after"),
        [({"channels": 2}, {"channels": 1}), ({"rate": 32_000}, {"rate": 48_000}), ({"channels": 1}, {"channels": 2})],
    )
    def test_sound_that_changes_its_form(
        self, tmp_path: Path, before: dict[str, Any], after: dict[str, Any], profile: str
    ) -> None:
        first = recording(tmp_path / "a.ts", (0, 3), (0, 3), **before)
        second = recording(tmp_path / "b.ts", (3, 6), (3, 6), "-output_ts_offset", 3, **after)
        path = joined(tmp_path / "j.ts", first, second)
        Content(tolerated=SPLICE).check(path, profile)
        _, samples = decode(path, profile)
        levels = [np.sqrt(np.mean(samples[k : k + 8_000] ** 2)) for k in (36_000, 84_000)]
        # The published path gets one channel through ffmpeg's stereo, 3 dB lower.
        lowered = [profile == "llp" and form.get("channels", 1) == 1 for form in (before, after)]
        expected = 0.4 / np.sqrt(2) * np.where(lowered, np.sqrt(0.5), 1)
        np.testing.assert_allclose(levels, expected, rtol=0.1)  # of the encoder

    @PROFILES
    def test_picture_that_changes_its_size(self, tmp_path: Path, profile: str) -> None:
        first = recording(tmp_path / "a.ts", (0, 3), (0, 3))
        second = recording(tmp_path / "b.ts", (3, 6), (3, 6), "-output_ts_offset", 3, size=(192, 128))
        Content(tolerated=SPLICE).check(joined(tmp_path / "j.ts", first, second), profile)

    @PROFILES
    def test_streams_that_move_to_other_identifiers(self, tmp_path: Path, profile: str) -> None:
        first = recording(tmp_path / "a.ts", (0, 3), (0, 3))
        moved = ("-output_ts_offset", 3, "-streamid", "0:600", "-streamid", "1:601", "-tables_version", 1)
        second = recording(tmp_path / "b.ts", (3, 6), (3, 6), *moved)
        Content(tolerated=SPLICE).check(joined(tmp_path / "j.ts", first, second), profile)

    @PROFILES
    def test_sound_of_the_programme_of_the_picture(self, tmp_path: Path, profile: str) -> None:
        recording(tmp_path / "a.mkv", (0, 4), (0, 4), size=(192, 128))
        recording(tmp_path / "b.mkv", (0, 4), (20, 24), channels=2)
        path = tmp_path / "two.ts"
        programmes = ("-program", "program_num=1:st=0:st=1", "-program", "program_num=2:st=2:st=3")
        inputs = ("-i", tmp_path / "a.mkv", "-i", tmp_path / "b.mkv", "-map", 0, "-map", 1)
        ffmpeg(*inputs, "-c", "copy", *programmes, path)
        whole = ((0.0, 4.0),)
        Content(whole, whole, warnings=("several programmes; number 1 is parsed, not 2",)).check(path, profile)


@PROFILES
@pytest.mark.parametrize(("name", "late"), [("ts", 12), ("mpg", 20), ("flv", 12)])
@pytest.mark.parametrize("kind", ["audio", "video"])
def test_stream_that_begins_late(tmp_path: Path, name: str, late: int, kind: str, profile: str) -> None:
    container = Container(("-c:a", "mp2"), MPEG2) if name == "mpg" else Container(AAC, H264, rate=44_100)
    end = float(late + 2)
    spans = {"audio": ((0.0, end),), "video": ((0.0, end),), kind: ((float(late), end),)}
    content = Content(audio=spans["audio"], video=spans["video"])
    base = container.encode(tmp_path / "base.nut", int(end))
    content.check(container.make(base, tmp_path / f"late.{name}", content), profile)


@PROFILES
def test_joined_programme_streams(tmp_path: Path, profile: str) -> None:
    parts: list[bytes] = []
    for start, sound in ((0, 2.2), (3, 3)):
        path = tmp_path / f"{start}.mpg"
        sources = (*frames(), *tones(start, start + sound))
        ffmpeg(*sources, *MPEG2, "-c:a", "mp2", path, feed=numbered(start * 25, start * 25 + 75))
        parts.append(path.read_bytes())
    content = Content(audio=((0, 2.2), (3, 6)), warnings=(JOIN.format("3.0"), "no audio from 2.2. to 3.0"))
    content.check(joined(tmp_path / "joined.mpg", *parts), profile)


@PROFILES
@pytest.mark.parametrize(
    ("before", "after"), [({"channels": 2}, {"channels": 1}), ({"rate": 32_000}, {"rate": 48_000})]
)
def test_mp3_that_changes_its_form(tmp_path: Path, before: dict[str, Any], after: dict[str, Any], profile: str) -> None:
    parts: list[bytes] = []
    for start, form in ((0, before), (3, after)):
        path = tmp_path / f"{start}.mp3"
        ffmpeg(*tones(start, start + 3, **form), "-b:a", "96k", "-write_xing", 0, "-id3v2_version", 0, path)
        parts.append(path.read_bytes())
    Content().check(joined(tmp_path / "j.mp3", *parts), profile, pictures=False)


@pytest.fixture(scope="module")
def webm(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Twelve seconds."""
    path = tmp_path_factory.mktemp("webm") / "whole.webm"
    ffmpeg(*frames(), *tones(0, 12), *VP8, "-c:a", "libopus", path, feed=numbered(0, 300))
    return path.read_bytes()


class TestDamage:
    @PROFILES
    def test_zeros_in_a_webm(self, tmp_path: Path, webm: bytes, profile: str) -> None:
        start, length = len(webm) // 2, len(webm) // 20
        path = joined(tmp_path / "damaged.webm", webm[:start], bytes(length), webm[start + length :])
        decoded, samples = decode(path, profile)
        assert decoded.facts.frames_damaged > 0
        assert any("the file is damaged" in warning for warning in decoded.warnings)
        assert any("no audio from" in warning for warning in decoded.warnings)
        heard = read_tones(samples)[8::16].tolist()
        assert heard[:5] == [0, 1, 2, 3, 4]
        assert heard[9:12] == [9, 10, 11]
        assert len(heard) == 12

    @PROFILES
    @pytest.mark.parametrize("name", ["cut.webm", "cut.ogv", "live.mkv"])
    def test_file_that_is_cut_off(self, tmp_path: Path, webm: bytes, name: str, profile: str) -> None:
        path = tmp_path / name
        if name == "cut.ogv":
            coded = ("-c:v", "libtheora", "-q:v", 8, "-g", 25, "-c:a", "libvorbis")
            ffmpeg(*frames(), *tones(0, 12), *coded, path, feed=numbered(0, 300))
        elif name == "live.mkv":
            recording(path, (0, 12), (0, 12), "-live", 1)
        else:
            path.write_bytes(webm)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        decoded, samples = decode(path, profile)
        end = decoded.facts.duration
        assert 5 < end < 9
        assert read_tones(samples)[8::16].tolist()[: int(end) - 1] == list(range(int(end) - 1))
        assert any("unreadable" in text or "container states" in text or "damaged" in text for text in decoded.warnings)

    @pytest.mark.parametrize(
        ("name", "codec"),
        [("ogg", "libvorbis"), ("opus", "libopus"), ("m4a", "aac"), ("mp3", "libmp3lame"), ("flac", "flac")],
    )
    def test_sound_that_is_cut_off(self, tmp_path: Path, name: str, codec: str) -> None:
        path = tmp_path / f"cut.{name}"
        ffmpeg(*tones(0, 8), "-c:a", codec, *(("-movflags", "+faststart") if name == "m4a" else ()), path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        decoded, samples = decode(path)
        assert read_tones(samples)[8::16].tolist()[:4] == [0, 1, 2, 3]
        assert any(f"at {decoded.facts.duration:.2f} s" in text for text in decoded.warnings)

    @PROFILES
    def test_ogg_whose_second_link_has_other_channels(self, tmp_path: Path, profile: str) -> None:
        parts: list[bytes] = []
        for start, channels in ((0, 2), (3, 1)):
            path = tmp_path / f"{start}.ogg"
            ffmpeg(*tones(start, start + 3, channels=channels), "-c:a", "libvorbis", path)
            parts.append(path.read_bytes())
        decoded, samples = decode(joined(tmp_path / "two.ogg", *parts), profile)
        heard = read_tones(samples)[8::16].tolist()
        assert heard in ([0, 1, 2, 3, 4, 5], [0, 1, 2])
        assert len(heard) == 6 or any("3.0" in warning for warning in decoded.warnings)

    def test_encrypted_file_says_so(self, tmp_path: Path) -> None:
        path = tmp_path / "secret.mp4"
        key = "0123456789abcdef" * 2
        options = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", key, "-encryption_kid", key[::-1])
        recording(path, (0, 2), (0, 2), *options)
        with pytest.raises(MediaError, match="encrypted"):
            decode(path)

    def test_unknown_codec_is_named(self, tmp_path: Path) -> None:
        content = recording(tmp_path / "known.mp4", (0, 2), (0, 2))
        assert content.count(b"avc1") >= 1
        head, _, tail = content.rpartition(b"avc1")
        path = joined(tmp_path / "unknown.mp4", head, b"zz9q", tail)
        decoded, samples = decode(path)
        assert any("no visual events" in text and "zz9q" in text for text in decoded.warnings)
        assert read_tones(samples)[8::16].tolist() == [0, 1]

    def test_drawing_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "drawing.mp4"
        path.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="1000000" height="1000000"/>')
        with pytest.raises(MediaError, match="SVG"):
            probe(path)

    @pytest.mark.parametrize("name", ["large.png", "large.mkv"])
    def test_huge_picture_is_refused_by_the_limit(self, tmp_path: Path, name: str) -> None:
        small = tmp_path / "small.png"
        ffmpeg("-f", "lavfi", "-i", "color=s=64x48:d=0.04", "-frames:v", 1, small)
        content = small.read_bytes()
        header = b"IHDR" + struct.pack(">II", 10_000, 10_000) + content[24:29]
        large = content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
        path = tmp_path / name
        if name.endswith("png"):
            path.write_bytes(large)
        else:
            ffmpeg("-i", small, "-c", "copy", path)
            path.write_bytes(path.read_bytes().replace(content, large))
        with pytest.raises(MediaError, match="10000x10000, and the limit is 36,000,000 pixels"):
            decode(path)

    def test_picture_that_becomes_huge_is_not_decoded(self, tmp_path: Path) -> None:
        first = recording(tmp_path / "a.ts", (0, 3), (0, 3))
        huge = ("-f", "lavfi", "-i", "color=s=8000x4600:r=5:d=1")
        ffmpeg(*huge, *tones(3, 4), *H264, *AAC, "-output_ts_offset", 3, "-streamid", "0:256", tmp_path / "b.ts")
        decoded, samples = decode(joined(tmp_path / "j.ts", first, (tmp_path / "b.ts").read_bytes()))
        assert decoded.facts.frames_decoded == 75
        assert read_tones(samples)[8::16].tolist() == [0, 1, 2, 3]
        assert any("36000000" in text for text in decoded.warnings)


class TestChannels:
    def test_opposite_phase_warns(self, tmp_path: Path) -> None:
        path = tmp_path / "phase.wav"
        write_wav(path, np.array([0.3, -0.3])[:, None] * sine())
        decoded, samples = decode(path)
        assert np.abs(samples).max() < 1e-3
        assert any("opposite phase" in text for text in decoded.warnings)

    @PROFILES
    def test_silent_track_beside_a_tone_warns(self, tmp_path: Path, profile: str) -> None:
        path = tmp_path / "silent.mkv"
        silence = ("-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo:d=3")
        ffmpeg(*silence, *tones(0, 3), "-map", 0, "-map", 1, "-disposition:a:0", "default", *AAC, path)
        decoded, samples = decode(path, profile)
        assert not samples.any()
        assert "audio stream 0 is silent, but stream 1 is not" in decoded.warnings

    @PROFILES
    @pytest.mark.parametrize("channels", [9, 20, 28, 32, 64])
    def test_many_channels_without_positions_are_averaged(self, tmp_path: Path, channels: int, profile: str) -> None:
        weights = np.arange(channels) / channels  # the mean is (channels - 1) / 2 channels
        path = tmp_path / "many.wav"
        write_wav(path, weights[:, None] * 0.8 * sine())
        _, samples = decode(path, profile)
        assert np.abs(samples).max() == pytest.approx(0.8 * (channels - 1) / 2 / channels, rel=0.01)
        assert np.sqrt(np.mean(samples[4_000:12_000] ** 2)) > 0.1

    @pytest.mark.parametrize("channels", range(1, 17))
    def test_equal_sound_keeps_its_level(self, tmp_path: Path, channels: int) -> None:
        path = tmp_path / "equal.wav"
        write_wav(path, np.repeat(0.999 * sine(), channels, axis=0))
        _, samples = decode(path)
        assert np.abs(samples).max() == pytest.approx(0.999, rel=0.01)
        assert np.abs(samples).max() <= 1

    @pytest.mark.parametrize(
        "layout", ["stereo", "2.1", "3.0", "4.0", "quad", "5.0", "5.1", "5.1(side)", "6.1", "7.1", "7.1(wide)"]
    )
    @PROFILES
    def test_equal_sound_in_a_named_layout(self, tmp_path: Path, layout: str, profile: str) -> None:
        path = tmp_path / "layout.wav"
        count = len(AudioLayout(layout).channels)
        source = "|".join(["0.3*sin(2*PI*500*t)"] * count)
        ffmpeg("-f", "lavfi", "-i", f"aevalsrc={source}:s=16000:d=1:c={layout}", path)
        _, samples = decode(path, profile)
        assert np.abs(samples).max() == pytest.approx(0.3, rel=0.01)

    @pytest.mark.parametrize(
        ("layout", "channel", "expected"),
        [  # by ITU-R BS.775; the weights of 5.1 sum to 1 + 1 + sqrt(2) + 2 sqrt(1/2) = 4.8284
            ("mono", 0, 1.0),
            ("stereo", 0, 0.5),
            ("stereo", 1, 0.5),
            ("3.0", 0, 1 / 3.4142),
            ("3.0", 2, 1.4142 / 3.4142),
            ("5.1", 0, 1 / 4.8284),
            ("5.1", 1, 1 / 4.8284),
            ("5.1", 2, 1.4142 / 4.8284),
            ("5.1", 3, 0.0),  # low frequency effects
            ("5.1", 4, 0.7071 / 4.8284),
            ("5.1", 5, 0.7071 / 4.8284),
            ("quad", 0, 1 / 3.4142),
            ("quad", 3, 0.7071 / 3.4142),
        ],
    )
    def test_sound_in_one_channel(self, tmp_path: Path, layout: str, channel: int, expected: float) -> None:
        path = tmp_path / "one.wav"
        count = {"mono": 1, "stereo": 2, "3.0": 3, "quad": 4, "5.1": 6}[layout]
        sources = ["0"] * count
        sources[channel] = "0.8*sin(2*PI*500*t)"
        ffmpeg("-f", "lavfi", "-i", f"aevalsrc={'|'.join(sources)}:s=16000:d=1:c={layout}", path)
        _, samples = decode(path)
        assert np.abs(samples).max() == pytest.approx(0.8 * expected, rel=0.01, abs=1e-4)


class TestPictures:
    @pytest.mark.parametrize(("aspect", "width"), [("16/11", 140), ("1/2", 48), ("12/11", 105)])
    def test_pixels_that_are_not_square(self, tmp_path: Path, aspect: str, width: int) -> None:
        path = tmp_path / "wide.mp4"
        recording(path, (0, 2), (0, 2), "-vf", f"setsar={aspect}")
        decoded = MediaSeconds(path, get_profile("clean"), DEFAULT_OPTIONS)
        first, second = decoded
        assert first.frames is not None
        assert first.frames.shape == (8, 64, width, 3)
        assert second.frames is not None
        assert read_numbers(second.frames)[0] in {26, 27}
        assert decoded.media.video is not None
        assert decoded.media.video.shown_size == (width, 64)

    @PROFILES
    def test_two_pictures_ten_hours_apart(self, tmp_path: Path, profile: str) -> None:
        path = tmp_path / "apart.mkv"
        pace = ("-vf", "setpts=N*36000/TB", "-fps_mode", "passthrough", "-enc_time_base", "1/1000")
        ffmpeg(*frames(), *pace, *H264, path, feed=numbered(0, 2))
        started = time.monotonic()
        decoded = MediaSeconds(path, get_profile(profile), DEFAULT_OPTIONS)
        count, numbers = 0, set[int]()
        for second in decoded:
            count += 1
            assert second.frames is not None
            if count % 1000 == 500:
                numbers |= set(read_numbers(second.frames).tolist())
        assert count in {36_000, 36_001}
        assert numbers == {0}
        assert time.monotonic() - started < 30


class TestLimits:
    @PROFILES
    def test_decode_slower_than_its_limit_stops(self, tmp_path: Path, profile: str) -> None:
        path = tmp_path / "slow.mp4"
        recording(path, (0, 2), (0, 2))
        with pytest.raises(DecodeTimeoutError, match="too slow"):
            list(MediaSeconds(path, get_profile(profile), DecodeOptions(timeout=1e-6)))
        with (
            open_media(path, profile, decoding=DecodeOptions(timeout=1e-6)) as media,
            pytest.raises(DecodeTimeoutError),
        ):
            list(media)

    def test_decoder_that_is_killed_is_an_error(self, tmp_path: Path) -> None:
        path = tmp_path / "killed.mp4"
        recording(path, (0, 6), (0, 6))
        with open_media(path) as media:
            seconds = iter(media)
            assert next(seconds).index == 0
            os.kill(media._process._process.pid, signal.SIGSEGV)
            with pytest.raises(MediaError, match="killed by signal 11"):
                list(seconds)


def write_stamp(content: bytearray, place: int, shift: float) -> None:
    """Shift a time stamp of MPEG, 33 bits in five bytes with marker bits between them."""
    a, b, c, d, e = content[place : place + 5]
    ticks = (a >> 1 & 7) << 30 | b << 22 | c >> 1 << 15 | d << 7 | e >> 1
    ticks = (ticks + round(shift * 90_000)) % 2**33
    fields = (
        a & 0xF1 | ticks >> 30 << 1,
        ticks >> 22 & 255,
        ticks >> 14 & 254 | 1,
        ticks >> 7 & 255,
        ticks << 1 & 254 | 1,
    )
    content[place : place + 5] = bytes(fields)


def sine(hertz: float = 500.0, rate: int = 16_000) -> np.ndarray:
    """One second of full scale, (1, rate)."""
    return np.sin(2 * np.pi * hertz * np.arange(rate) / rate)[None]


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000) -> None:
    """Write 16-bit WAVE whose channels (channels, n) have no positions."""
    data = np.round(samples.T * 32767).astype("<i2").tobytes()
    count = len(samples)
    pcm = bytes.fromhex("0100000000001000800000aa00389b71")  # KSDATAFORMAT_SUBTYPE_PCM
    form = struct.pack("<HHIIHHHHI", 0xFFFE, count, rate, 2 * count * rate, 2 * count, 16, 22, 16, 0) + pcm
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
