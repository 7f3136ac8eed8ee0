"""A folder of media that a fake engine can parse, and a server for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.serve import Running, running


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Files in a folder, a folder below it, and links that lead out."""
    folder = tmp_path / "videos"
    (folder / "day two").mkdir(parents=True)
    (tmp_path / "secret.mp4").write_bytes(b"media secret")
    for name in ("a.mp4", "b.wav", "day two/c.mkv", "slow.mp4", "slower.mp4"):
        (folder / name).write_bytes(b"media " + name.encode())
    (folder / "broken.mp4").write_bytes(b"nothing")
    (folder / "notes.txt").write_bytes(b"media notes")
    (folder / ".hidden.mp4").write_bytes(b"media")
    (folder / "out.mp4").symlink_to(tmp_path / "secret.mp4")
    (folder / "far").symlink_to(tmp_path)
    return folder


@pytest.fixture
def server(tmp_path: Path, media: Path) -> Iterator[Running]:
    """A server on loopback without a token."""
    with running(tmp_path / "results", media) as opened:
        yield opened
