"""What Python puts into a page: the data of its script, its policy, and how much of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from avvp.pipeline.outputs.html.page import SaveTarget, render_page
from avvp.pipeline.timeline import Event, Timeline


def dog(path: str = "clip.mp4", **options: Any) -> Timeline:
    """A timeline of one event."""
    return Timeline.of_events([Event("audio", "Dog", 1.0, 4.0, 0.8)], path=path, duration=10.0, **options)


def data_of(page: bytes) -> dict[str, Any]:
    """The data of a page's script."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.decode(), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def policy_of(page: bytes) -> str:
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page.decode())
    assert found is not None
    return found[1]


def test_a_page_on_a_server_plays_and_saves_there() -> None:
    page = render_page(dog(), media_url="/media/7", save=SaveTarget("/timelines/7", "v1"))
    data = data_of(page)
    assert data["media"]["url"] == "/media/7"
    assert data["media"]["kind"] == "video"
    assert data["save"] == {"url": "/timelines/7", "version": "v1"}
    assert policy_of(page).endswith("; connect-src 'self'")


def test_a_page_that_saves_nowhere_may_connect_nowhere(tmp_path: Path) -> None:
    page = render_page(dog(), folder=tmp_path, media=tmp_path / "videos" / "a b.m4a")
    data = data_of(page)
    assert "save" not in data
    assert data["media"]["url"] == "videos/a%20b.m4a"
    assert data["media"]["kind"] == "audio"
    assert "connect-src" not in policy_of(page)
    assert policy_of(page).startswith("default-src 'none'")
