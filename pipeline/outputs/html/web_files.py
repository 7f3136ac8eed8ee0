"""Parts of pages that the browser runs, and how they are put together."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

PAGE_SCRIPTS = (
    "basics.js", "events.js", "dom.js", "player.js", "bands.js", "shades.js", "timeline.js", "corrections.js",
    "drag.js", "editor.js", "list.js", "keys.js", "page.js",
)  # fmt: skip
GENERATOR = '<meta name="generator" content="avvp">'  # by which a page of this program is told from others
_WEB = Path(__file__).with_name("web")
_BODY = re.compile('<body>\n(.*?)<script type="application/json" id="data">', re.DOTALL)


NO_FORMS = "base-uri 'none'; form-action 'none'"  # of a content security policy


class PageParts(NamedTuple):
    """The parts of web/page.html that all pages share."""

    style: str  # CSS
    script: str  # JavaScript
    body: str  # HTML before the data


def page_parts() -> PageParts:
    """Read the style, the script and the body of the page."""
    body = _BODY.search(read_web("page.html"))
    assert body is not None, "web/page.html has its data after its body"
    return PageParts(read_web("page.css"), "".join(read_web(name) for name in PAGE_SCRIPTS), body[1])


def read_web(name: str) -> str:
    """Return the text of a file in `web/`."""
    return (_WEB / name).read_text(encoding="utf-8")


def json_for_script(data: Any) -> str:
    """Serialize data as JSON for a <script> element; "<" is escaped, so that no text can end the element."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def fill_template(template: str, parts: Mapping[str, str]) -> bytes:
    """Replace each @NAME@ of a template by its part, in one pass: an @NAME@ inside of a part is not replaced."""
    return re.sub("@([A-Z]+)@", lambda match: parts[match[1]], template).encode("utf-8", "backslashreplace")


def own_sources(script: str, style: str) -> str:
    """Return the part of a content security policy that allows a page's own script and style alone."""
    return f"script-src {hash_source(script)}; style-src {hash_source(style)}"


def hash_source(text: str) -> str:
    """Return the source expression of a content security policy that allows this text alone."""
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
