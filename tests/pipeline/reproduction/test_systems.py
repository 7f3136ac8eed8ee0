"""The registry of systems: what it names exists, and its figures are the paper's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from avvp.models.files.published_parsers import FAMILIES
from avvp.pipeline.reproduction.paper_tables import PAPER_TABLES
from avvp.pipeline.reproduction.systems import NO_LICENCE, PSEUDO, SYSTEMS, System, describe_system, system_of
from avvp.pipeline.training.recipe import list_recipes, load_recipe
from support.command import Result
from support.paths import SHARED

PAPER, ZOO = SHARED / "PAPER.md", SHARED / "ZOO.md"
ALL = list(SYSTEMS.values())


def ids(system: System) -> str:
    return system.name


@pytest.mark.parametrize("system", ALL, ids=ids)
def test_recipes_and_families_exist(system: System) -> None:
    assert system.family in {None, *FAMILIES}
    for recipe in filter(None, (system.recipe, *system.variants)):
        assert recipe in list_recipes()
        loaded = load_recipe(recipe, system.changes if recipe == system.recipe else ())
        assert loaded.task == "avvp"
        assert (PSEUDO in system.needs) == (loaded.objective.targets == "pseudo")  # type: ignore[union-attr]
    assert system.recipe is not None or not system.variants
    assert len(system.figures) == len(system.clip_figures) == 10


def test_status_follows_from_what_there_is() -> None:
    expected = {"trains": "han", "loads": None, "paper's figures only": None}
    assert {system.status for system in ALL} <= set(expected)
    assert (SYSTEMS["HAN"].status, SYSTEMS["LSLD"].status) == ("trains", "loads")
    assert [SYSTEMS[name].status for name in ("BPS", "PPL", "MUG")] == ["paper's figures only"] * 3


def test_every_recipe_is_of_one_system() -> None:
    named = [recipe for system in ALL for recipe in (system.recipe, *system.variants) if recipe]
    shared = {recipe for recipe in named if named.count(recipe) > 1}
    assert shared == {"leap-published"}  # on HAN with changes
    assert system_of("leap-published") is SYSTEMS["MM-Pyr + LEAP"]
    assert system_of("han") is SYSTEMS["HAN"]
    assert system_of("demo") is None


def test_selection_splits() -> None:
    splits = {name: SYSTEMS[name].selection_split for name in ("CVCMS", "MA", "JoMoLD", "CMPAE", "BPS")}
    assert splits == {"CVCMS": "test", "MA": "none", "JoMoLD": "val", "CMPAE": "val", "BPS": "?"}


def test_descriptions_name_licence_and_selection() -> None:
    assert "licence MIT; its program chooses the epoch by mean of the ten on validation." in describe_system(
        SYSTEMS["CMPAE"]
    )
    assert "no licence is stated; its program chooses the epoch not at all: it takes the last one." in describe_system(
        SYSTEMS["MA"]
    )
    assert "in a way that is not known" in describe_system(SYSTEMS["BPS"])
    assert SYSTEMS["MA"].licence == NO_LICENCE


def test_table4_has_the_rows_of_the_paper() -> None:
    names = [run.name for run in PAPER_TABLES["table4"].runs]
    assert names == [system.name for system in ALL if system.in_table4]
    assert len(names) == 12
    assert all(len(run.paper) == 10 for run in PAPER_TABLES["table4"].runs)


@pytest.mark.skipif(not PAPER.is_file(), reason=f"no copy of the paper's tables at {PAPER}")
def test_figures_are_those_of_table_4() -> None:
    section = PAPER.read_text(encoding="utf-8").partition("## Table 4")[2].partition("\n## ")[0]
    printed = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        numbers = tuple(float(cell) for cell in cells[2:] if re.fullmatch(r"\d+\.\d", cell))
        if len(numbers) == 10:
            printed[cells[0].removesuffix(" (on HAN)")] = (cells[1], numbers)
    assert list(printed) == [system.name for system in ALL if system.in_table4]
    for name, (venue, numbers) in printed.items():
        system = SYSTEMS[name]
        assert system.figures == numbers
        assert venue == f"{system.venue.removeprefix('ACM ')} {system.year}"


@pytest.mark.skipif(not ZOO.is_file(), reason=f"no notes on the other systems at {ZOO}")
def test_later_figures_are_those_of_the_notes() -> None:
    text = ZOO.read_text(encoding="utf-8")
    for system in ALL:
        for figures in (system.figures, system.clip_figures):
            if figures[3] is not None and not system.in_table4:
                assert f"{figures[3]}/{figures[4]}, {figures[8]}/{figures[9]}" in text, system.name


def test_import_needs_no_torch() -> None:
    code = "import sys, avvp.pipeline.reproduction.systems; sys.exit(any(m in sys.modules for m in ('torch', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_model_info_names_licence_and_selection(run: Callable[..., Result]) -> None:
    result = run("model-info", "--recipe", "mmpyr")
    assert result.status == 0, result.err
    assert "licence MIT (README); its program chooses the epoch by segment Type@AV on validation" in result.out
    assert SYSTEMS["MM-Pyr"].caveats[0] in result.out
    document = json.loads(run("model-info", "--recipe", "han", "-f", "json").out)
    assert document["system"]["licence"] == "GPL-3.0 (README)"
    for arguments in (("--recipe", "demo"), ("--recipe", "han", "--set", "model.encoder=mmpyr")):
        assert "system" not in json.loads(run("model-info", *arguments, "-f", "json").out)
