"""Fixtures: a local server with media."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.media import Clips
from support.media_server import MediaServer


@pytest.fixture
def server(clips: Clips) -> Iterator[MediaServer]:
    """A server with the clip "steady.mp4"."""
    pytest.importorskip("yt_dlp", reason="needs avvp[web]")
    media = MediaServer()
    media.files["steady.mp4"] = clips.steady.read_bytes()
    yield media
    media.close()
