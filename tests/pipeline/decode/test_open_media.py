"""The public access to the seconds of a media file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import avvp
import numpy as np
import pytest
from avvp.extractors.profiles import get_profile
from avvp.pipeline.decode.media_seconds import MediaSeconds
from avvp.pipeline.decode.open_media import open_media
from avvp.pipeline.decode.options import DecodeOptions
from avvp.pipeline.errors import MediaError
from support.media import Clips, read_number


@pytest.mark.parametrize("profile", ["clean", "llp", "ave-4"])
def test_seconds_are_those_of_the_pipeline(clips: Clips, profile: str) -> None:
    inside = list(MediaSeconds(clips.steady, get_profile(profile), DecodeOptions()))
    with avvp.open_media(clips.steady, profile) as media:
        seconds = list(media)
    assert [second.index for second in seconds] == [0, 1, 2]
    for own, other in zip(inside, seconds, strict=True):
        assert own.frames is not None
        assert own.audio is not None
        assert other.frames is not None
        assert other.audio is not None
        shape = (4, 224, 224, 3) if profile == "ave-4" else (8, 48, 64, 3)
        assert (other.frames.shape, other.frames.dtype) == (shape, np.uint8)
        assert (other.audio.shape, other.audio.dtype) == ((16_000,), np.float32)
        np.testing.assert_array_equal(other.frames, own.frames)
        np.testing.assert_array_equal(other.audio, own.audio.astype(np.float32))
    assert media.warnings == ()
    assert (media.facts.video_codec, media.facts.audio_codec, media.facts.frames_decoded) == ("h264", "aac", 72)
    assert media.facts.path == str(clips.steady)


def test_what_the_headers_tell_is_known_before_decoding(clips: Clips) -> None:
    with open_media(clips.rotated) as media:
        assert (media.has_audio, media.has_video, media.shown_size) == (True, True, (48, 64))
        assert media.duration == pytest.approx(3.0, abs=0.1)
        with pytest.raises(RuntimeError, match="all seconds"):
            _ = media.facts
        with pytest.raises(RuntimeError, match="all seconds"):
            _ = media.warnings


def test_missing_stream_is_none(clips: Clips) -> None:
    with open_media(clips.tone) as media:
        assert [(second.frames, second.audio is None) for second in media] == [(None, False)] * 2
    assert media.warnings == ("the file has no video stream: no visual events",)
    with open_media(clips.silent) as media:
        assert [(second.frames is None, second.audio) for second in media] == [(False, None)] * 3


def test_one_kind_of_stream_can_be_left_out(clips: Clips) -> None:
    with open_media(clips.steady, streams=["audio"]) as media:
        assert all(second.frames is None and second.audio is not None for second in media)
    with open_media(clips.steady, streams=["video"]) as media:
        assert all(second.frames is not None and second.audio is None for second in media)


def test_shorter_stream_is_filled_up(clips: Clips) -> None:
    """Three seconds of frames, one of audio."""
    path = clips.make("short_audio.mp4", "-i", clips.steady, "-c:v", "copy", "-af", "atrim=end=1", "-c:a", "aac")
    with open_media(path) as media:
        seconds = list(media)
    assert [second.audio is not None and bool(second.audio.any()) for second in seconds] == [True, False, False]
    longer = clips.make("short_video.mkv", "-i", clips.numbered("one.mkv", 8, 8), "-i", clips.tone, "-c", "copy")
    with open_media(longer) as media:
        first, second = media
    assert first.frames is not None
    assert second.frames is not None
    assert [read_number(frame) for frame in first.frames] == list(range(8))
    assert [read_number(frame) for frame in second.frames] == [7] * 8
    assert not second.frames.flags.owndata  # eight views of one frame


def test_it_is_iterated_once_and_can_be_left_early(clips: Clips) -> None:
    with open_media(clips.long) as media:
        assert next(iter(media)).index == 0
        with pytest.raises(RuntimeError, match="once"):
            next(iter(media))
        process = media._process._process
    assert process.poll() is not None


def test_errors_name_the_file(clips: Clips, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no such file"):
        open_media(tmp_path / "gone.mp4")
    (tmp_path / "text.mp4").write_text("not media")
    with pytest.raises(MediaError, match=r"text\.mp4: is not a media file"):
        open_media(tmp_path / "text.mp4")
    with pytest.raises(ValueError, match="unknown profile"):
        open_media(clips.steady, "best")
    with pytest.raises(ValueError, match="decord"):
        open_media(clips.steady, "llp", decoding=DecodeOptions("decord"))


def test_names_that_are_no_text(clips: Clips, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9 -i %d.mp4")
    path.write_bytes(clips.steady.read_bytes())
    with open_media(path) as media:
        assert len(list(media)) == 3


def test_neither_caller_nor_decoder_imports_torch(clips: Clips) -> None:
    code = (
        "import sys, avvp\n"
        f"with avvp.open_media({str(clips.resampled)!r}) as media: print(len(list(media)))\n"
        "assert not {'torch', 'av'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"
    decoder = (
        "import sys; from avvp.pipeline.decode import media_main;"
        'media_main.main(sys.argv[1], \'{"profile": "clean", "options": {}, "streams": ["audio"]}\');'
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", decoder, clips.resampled], capture_output=True, check=True)
