"""The commands of docs/any-class.md, from top to bottom, with stand-ins for CLIP and CLAP."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from avvp.pipeline.cli import main
from support.command import Result, subcommands
from support.paths import ROOT
from support.stand_in_teachers import TRUST, make_film, write_stand_ins

PAGE = (ROOT / "docs" / "any-class.md").read_text(encoding="utf-8")
# The classes of the page are not what the stand-ins know.
KNOWN = {"dog barking": "low tone", "applause": "high tone", "skateboard": "red"}


def code(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    for name, known in KNOWN.items():
        found = [block.replace(name, known) for block in found]
    return found


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the page mentions."""
    write_stand_ins(tmp_path / "stand-ins")
    film = make_film(tmp_path / "video.mp4", [("red", "low tone", 4), (None, None, 2), ("blue", "high tone", 4)])
    for folder, name in (("clips", "one"), ("clips", "two"), ("checked", "three")):
        (tmp_path / folder).mkdir(exist_ok=True)
        shutil.copy(film, tmp_path / folder / f"{name}.mp4")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_stand_ins(words: list[str]) -> list[str]:
    """The words of a command, with the stand-ins where it takes a bundle, and without much training."""
    if words[0] == "weights":  # of bundles that nobody downloads here
        return words
    words = ["stand-ins" if word == "open" else word for word in words]
    command: click.Command = subcommands(main.avvp)[words[0]]
    options = {option for parameter in command.params for option in parameter.opts}
    if "--trust-parts" in options:
        words += TRUST
        if "--weights" in options and "--weights" not in words:
            words += ["--weights", "stand-ins"]
    return [*words, "--epochs", "2"] if words[0] == "train" else words


@pytest.mark.timeout(900)
def test_the_page_from_top_to_bottom(run: Callable[..., Result], desk: Path) -> None:
    for line in "".join(code("bash")).splitlines():
        program, *words = shlex.split(line)
        assert program == "avvp"
        result = run(*with_stand_ins(words))
        assert result.status == 0, (line, result.err)
    assert '"red"' in (desk / "events.json").read_text()
