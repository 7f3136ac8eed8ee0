"""Names that a file of a stranger holds: inside its folder, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from avvp.weights.safe_paths import UnsafePathError, inside


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files, links that stay in it, and links that lead out."""
    root = tmp_path / "root"
    (root / "below").mkdir(parents=True)
    (root / "file").write_bytes(b"")
    (root / "below" / "file").write_bytes(b"")
    (root / "to-file").symlink_to("below/file")
    (root / "to-below").symlink_to("below")
    (root / "out").symlink_to(tmp_path)
    (root / "out-file").symlink_to("/etc/hostname")
    (root / "to-nothing-outside").symlink_to("../nothing")
    (root / "loop").symlink_to("loop")
    (root / "far").symlink_to("out")
    return root


@pytest.mark.parametrize(
    "name",
    ["file", "below/file", "./file", "below//file", "to-file", "to-below/file", "new", "new/er", "...", "a..b", "~"],
)
def test_names_inside_are_returned(folder: Path, name: str) -> None:
    assert inside(folder, name) == folder / name


def test_the_folder_itself_may_be_a_link_or_missing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert inside(tmp_path / "link", "file") == tmp_path / "link" / "file"
    assert inside(tmp_path / "none", "file") == tmp_path / "none" / "file"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../root/file", "leads out"),
        ("below/../../x", "leads out"),
        ("below/../file", "leads out"),
        ("..", "leads out"),
        ("/etc/passwd", "leads out"),
        ("//etc/passwd", "leads out"),
        ("out/x", "link"),
        ("out/root/../x", "leads out"),
        ("out-file", "link"),
        ("to-nothing-outside", "link"),
        ("far/x", "link"),
        ("loop", "link"),
        ("loop/x", "link"),
        ("", "not the name"),
        (".", "not the name"),
        ("./", "not the name"),
        ("a\0b", "not the name"),
        ("a" * 300, "too long"),
        ("a/" * 3000 + "b", "too long"),
        (None, "found NoneType"),
        (7, "found int"),
        (["file"], "found list"),
        (b"file", "found bytes"),
    ],
)
def test_names_that_lead_out_are_refused(folder: Path, name: object, reason: str) -> None:
    with pytest.raises(UnsafePathError, match=reason) as error:
        inside(folder, name)
    assert len(str(error.value)) < 400
