"""The pages of the Python interface: a site that works offline, a section for each name, a notebook that runs."""

from __future__ import annotations

import base64
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import avvp
import nbformat
import pytest
from nbclient import NotebookClient
from support.paths import ROOT

NOTEBOOK = ROOT / "docs" / "notebooks" / "first-steps.ipynb"
MOST_BYTES = 300_000  # of the notebook with its pictures


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it; a warning is an error. Four seconds of one core."""
    folder = tmp_path_factory.mktemp("site")
    program = Path(sys.executable).with_name("mkdocs")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [program, "build", "--strict", "--quiet", "--site-dir", folder]
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_public_name_has_a_section_with_a_description(site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    for name in avvp.__all__:
        if name != "__version__":
            assert f'id="avvp.{name}"' in page, name
    for name in ("Parser.parse", "Timeline.save", "Timeline.plot", "OpenMedia.close"):
        assert f'id="avvp.{name}"' in page, name
    text = re.sub(r"<[^>]+>", "", page)
    assert "seconds on the file's clock, rounded down" in text.replace("&#39;", "'")


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        loaded = re.findall(
            r"""<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=["']?([^"' >]+)""", page.read_text()
        )
        assert not [address for address in loaded if address.startswith(("http:", "https:", "//"))], page
    for style in site.rglob("*.css"):
        assert not re.findall(r"url\(['\"]?(?:https?:)?//|@import", style.read_text()), style


def test_links_out_of_the_folder_become_names(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    assert "README (<code>README.md</code>)" in page
    assert 'href="../' not in page


def test_make_docs_is_what_the_site_is_built_with() -> None:
    plan = subprocess.run(["make", "-n", "docs"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "mkdocs build --strict" in plan
    assert "'.[docs]'" in (ROOT / "Makefile").read_text()


def kinds(notebook: Any) -> list[list[str]]:
    """The kinds of what each cell shows."""
    return [
        [kind for output in cell.get("outputs", []) for kind in sorted(output.get("data", {"stream": ""}))]
        for cell in notebook.cells
    ]


@pytest.mark.full_size
def test_the_notebook_runs_and_shows_what_it_has(tmp_path: Path) -> None:
    committed = nbformat.read(NOTEBOOK, as_version=4)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    assert kinds(notebook) == kinds(committed)
    tables = [
        re.sub(r"0\.\d\d\b", "", output["data"]["text/plain"])  # scores, which another processor rounds otherwise
        for each in (notebook, committed)
        for cell in each.cells
        for output in cell.get("outputs", [])
        if "onset" in output.get("data", {}).get("text/plain", "")
    ]
    assert len(tables) == 2
    assert tables[0] == tables[1]
    assert (tmp_path / "first-steps" / "events.csv").is_file()


def test_the_notebook_is_small_and_names_no_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < MOST_BYTES
    assert not re.search(r"/(?:home|root|tmp|work|Users)/", text)
    pictures = re.findall(r'"image/png": "([^"]+)"', text)
    assert len(pictures) == 2
    for picture in pictures:
        header = base64.b64decode(picture)[:24]
        assert header.startswith(b"\x89PNG")
        assert all(100 < side < 4_000 for side in struct.unpack(">II", header[16:24]))
