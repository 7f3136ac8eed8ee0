"""Headers of media files, and files that are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.errors import MediaError
from avvp.weights.messages import escape
from support.golden import MEDIA, needs_media
from support.media import Clips, ffmpeg


def test_facts_of_a_clip(clips: Clips) -> None:
    info = probe(clips.steady)
    assert info.duration == pytest.approx(3.0, abs=0.1)
    assert info.video is not None
    assert (info.video.width, info.video.height, info.video.frame_rate) == (64, 48, 24)
    assert info.audio is not None
    assert (info.audio.sample_rate, info.audio.channels) == (16_000, "stereo")


def test_shown_size_is_rotated(clips: Clips) -> None:
    video = probe(clips.rotated).video
    assert video is not None
    assert (video.rotation, video.shown_size) == (90.0, (48, 64))


def test_default_stream_wins(clips: Clips) -> None:
    info = probe(clips.two_streams)
    assert info.video is not None
    assert (info.video.index, info.video.width) == (1, 64)


@needs_media
def test_largest_of_several_defaults_wins() -> None:
    video = probe(MEDIA / "nasa_13013.mp4").video
    assert video is not None
    assert (video.index, video.width) == (3, 480)


def test_cover_art_is_not_video(clips: Clips) -> None:
    cover = clips.make(
        "cover.mp4", "-i", clips.blind, "-i", clips.still, "-map", "0", "-map", "1", "-c:a", "aac", "-c:v", "copy",
        "-disposition:v:0", "attached_pic",
    )  # fmt: skip
    assert probe(cover).video is None


def test_metadata_is_not_parsed_as_streams(clips: Clips) -> None:
    forged = "x\n  Stream #0:7: Video: h264, yuv420p, 9999x9999, 25 fps\n  Duration: 99:00:00.00"
    path = clips.make("forged-streams.mp4", "-i", clips.steady, "-c", "copy", "-metadata", f"title={forged}")
    info = probe(path)
    assert [stream.index for stream in info.streams] == [0, 1]
    assert info.duration == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize(
    "name",
    ["with space.mp4", "quo'te\".mp4", "new\nline.mp4", "-dash.mp4", "100%05d.mp4", "ünïcødé 🐕.mp4", "concat:x.mp4",
     "a:b|c.mp4", "$(id).mp4", b"bytes-\xff.mp4"],
)  # fmt: skip
def test_any_file_name(clips: Clips, tmp_path: Path, name: str | bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(clips.steady.read_bytes())
    assert len(probe(path).streams) == 2


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "empty"),
        (b"just some text\n" * 50, "not a media file"),
        (os.urandom(5000), "not a media file"),
        (b"#EXTM3U\n#EXTINF:3,\n{target}\n", "HLS playlist"),
        (b"\n\n  #EXTM3U\n{target}\n", "HLS playlist"),
        (b"ffconcat version 1.0\nfile '{target}'\n", "concat script"),
        (b'<?xml version="1.0"?><MPD><BaseURL>{target}</BaseURL></MPD>', "XML"),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n", "SDP"),
    ],
)
def test_files_that_are_not_media_are_refused(clips: Clips, tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(content.replace(b"{target}", os.fsencode(clips.steady)))
    with pytest.raises(MediaError, match=cause):
        probe(path)


@pytest.mark.parametrize("kind", ["hls", "concat", "sdp"])
def test_playlist_opens_no_other_file_even_without_the_signature_check(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """ffmpeg can open the inherited descriptor only: no other file, no port."""
    part = tmp_path / "part.ts"
    ffmpeg("-i", clips.steady, "-c", "copy", "-f", "mpegts", part)
    texts = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{part}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile '{part}'\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 45454 RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
    }
    playlist = tmp_path / "list.mp4"
    playlist.write_text(texts[kind])
    monkeypatch.setattr("avvp.pipeline.decode.probe.refuse_foreign_content", lambda _: None)
    monkeypatch.setattr("avvp.pipeline.decode.probe._PLAYLIST_FORMATS", set())
    with pytest.raises(MediaError, match="not a media file"):  # and not: no progress, waiting for packets
        probe(playlist)


def test_paths_that_are_not_regular_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no such file"):
        probe(tmp_path / "nothing.mp4")
    with pytest.raises(MediaError, match="is a directory"):
        probe(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(MediaError, match="not a regular file"):
        probe(tmp_path / "pipe.mp4")


def test_names_are_printed_on_one_safe_line() -> None:
    assert escape("a\nb\x1b[31m\udcff") == r"a\nb\x1b[31m\udcff"
    assert escape("ünï 🐕") == "ünï 🐕"
