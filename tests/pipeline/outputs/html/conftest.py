"""Pages that are opened for tests, in the browser of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from support.pages import Opened, Show, open_page


@pytest.fixture
def show(browser: Browser) -> Iterator[Show]:
    """Opens a page; afterwards nothing must have been complained of or fetched from a network."""
    opened: list[Opened] = []

    def show_page(path: Path, **options: Any) -> Opened:
        opened.append(open_page(browser, path.as_uri(), **options))
        return opened[-1]

    yield show_page
    for one in opened:
        assert one.complaints == []
        assert [url for url in one.requests if not url.startswith(("file:", "data:", "blob:"))] == []
        one.page.context.close()


@pytest.fixture
def clip(clips: Any) -> Path:
    return clips.steady
