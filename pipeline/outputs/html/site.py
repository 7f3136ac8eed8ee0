"""Pages of one folder: they share one program and style, and what most of them say alike."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...files import make_folder, write_atomic
from ...timeline import Timeline
from .page_data import page_data
from .web_files import NO_FORMS, fill_template, json_for_script, page_parts, read_web

PROGRAM_FILES = ("page.css", "page.js")
_MARK = "/* avvp: shared by the pages of a folder */\n"
_PROGRAM_FOLDER = re.compile(r"assets-[0-9a-f]{16}")
_HEAD = 4096  # bytes of a page in which the address of its program stands
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; media-src 'self' file: data: blob:;"
    f" {NO_FORMS}"
)
# Fields that every page has, and that are often equal in all pages of a folder.
_SHARED_FIELDS = (
    "labels", "classes", "words", "has", "threshold", "threshold_words", "rule", "segments", "part", "duration",
    "refinements", "truth", "warnings", "summary",
)  # fmt: skip
_SHARED_IN_DOCUMENT = ("schema_version", "provenance", "warnings", "labels")


@dataclass(frozen=True)
class SharedProgram:
    """Program and style that the pages of a folder load.

    Attributes:
        name: of the folder that holds them, in the folder of the pages.
        defaults: data of the pages that do not say otherwise.
    """

    name: str
    defaults: Mapping[str, Any]

    def render(self, title: str, data: Mapping[str, Any]) -> bytes:
        """Render a page.

        Args:
            title: of the page.
            data: of its script, as for a page of its own.

        Returns:
            The page, UTF-8, without what it shares with others.
        """
        parts = {
            "TITLE": html.escape(title),
            "CSP": _POLICY,
            "PROGRAM": self.name,
            "DATA": json_for_script(self._shorten(data)),
        }
        return fill_template(read_web("shared.html"), parts)

    def _shorten(self, data: Mapping[str, Any]) -> dict[str, Any]:
        own = _without(data, self.defaults)
        own["document"] = _without(data["document"], self.defaults["document"])
        if data["probabilities"] is not None:
            own["probabilities"] = {
                name: _first_of_equal_rows(table, data["segments"]) for name, table in data["probabilities"].items()
            }
        return own


def _without(mapping: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key not in defaults or value != defaults[key]}


def _first_of_equal_rows(table: str, rows: int) -> str:
    """Return the first row of a table whose rows are equal, as those of a whole video are; base64 before and after."""
    content = base64.b64decode(table)
    first = content[: len(content) // rows]
    return base64.b64encode(first).decode() if first * rows == content else table


def write_program(folder: Path, sample: Timeline) -> SharedProgram:
    """Write program and style of the pages of a folder.

    Args:
        folder: of the pages.
        sample: one of their timelines; what others have alike is not repeated in their pages.

    Returns:
        The program, named by its content: pages that were written before keep theirs.

    Raises:
        OutputError: a file cannot be written.
    """
    data = page_data(sample)
    defaults: dict[str, Any] = {key: data[key] for key in _SHARED_FIELDS}
    defaults["document"] = {key: data["document"][key] for key in _SHARED_IN_DOCUMENT}
    program = page_parts()
    text = json.dumps(json_for_script(defaults))  # parsed there: a literal would lose a key "__proto__"
    shared = f"const DEFAULTS = JSON.parse({text});\nconst BODY = {json_for_script(program.body)};\n"
    script = f"{_MARK}(() => {{\n{shared}{read_web('shared.js')}{program.script}\n}})();\n"
    contents = [text.encode("utf-8", "backslashreplace") for text in (_MARK + program.style, script)]
    name = f"assets-{hashlib.sha256(b''.join(contents)).hexdigest()[:16]}"
    make_folder(folder / name)
    for file, content in zip(PROGRAM_FILES, contents, strict=True):
        write_atomic(folder / name / file, content)
    return SharedProgram(name, defaults)


def remove_unused_programs(folder: Path) -> None:
    """Remove programs of earlier runs that no page of a folder loads any more.

    Args:
        folder: of the pages. Files that this module did not write stay.
    """
    programs = [path for path in folder.iterdir() if _PROGRAM_FOLDER.fullmatch(path.name) and _is_program(path)]
    if len(programs) < 2:
        return
    used: set[str] = set()
    for page in folder.glob("*.html"):
        with page.open("rb") as file:
            used |= set(_PROGRAM_FOLDER.findall(file.read(_HEAD).decode("utf-8", "replace")))
    for program in programs:
        if program.name not in used:
            for name in PROGRAM_FILES:
                (program / name).unlink()
            program.rmdir()


def _is_program(folder: Path) -> bool:
    """Return whether a folder, no link, holds the files of a shared program and nothing else."""
    if folder.is_symlink() or not folder.is_dir() or {path.name for path in folder.iterdir()} != {*PROGRAM_FILES}:
        return False
    for name in PROGRAM_FILES:
        path = folder / name
        if path.is_symlink() or not path.is_file() or not path.read_bytes().startswith(_MARK.encode()):
            return False
    return True
