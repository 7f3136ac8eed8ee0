"""docs/zoo.md: its tables are the registry's, its commands are run, and the system that it adds works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from avvp.models import load_published
from avvp.models.files import published_parsers
from avvp.models.parser import AVParser
from avvp.pipeline.reproduction import paper_tables, systems
from avvp.pipeline.reproduction.systems import SYSTEMS, System
from avvp.pipeline.training.recipe import load_recipe
from support.command import Result
from support.golden import SEED, fill
from support.parsers import PUBLISHED_KEYS, family_state
from support.paths import ROOT

Run = Callable[..., Result]
PAGE = ROOT / "docs" / "zoo.md"
TEXT = PAGE.read_text(encoding="utf-8")
SMALL = (
    "--set", "model.hidden_dim=16", "--set", "model.feedforward_dim=16", "--epochs", "1", "--device", "cpu",
)  # fmt: skip
RENAMED = {
    "self_attn": "attention", "linear1": "inner", "linear2": "outer", "norm1": "norm_a", "norm2": "norm_b",
}  # fmt: skip
FEWER = {"200": "14", "40": "6", "60": "8"}  # clips


def code(language: str, section: str = "") -> list[str]:
    start = TEXT.index(f"\n## {section}\n") if section else 0
    end = TEXT.find("\n## ", start + 1) if section else len(TEXT)
    return re.findall(rf"```{language}\n(.*?)```", TEXT[start : end if end > 0 else len(TEXT)], re.DOTALL)


def commands(section: str) -> list[list[str]]:
    return [shlex.split(line) for block in code("bash", section) for line in block.splitlines() if line]


def totals(figures: tuple[float | None, ...]) -> str:
    """Type@AV and Event@AV of segments, then of events."""
    values = [figures[index] for index in (3, 4, 8, 9)]
    return "-" if None in values else "{}/{}, {}/{}".format(*values)


def expected_rows() -> list[str]:
    rows = []
    for system in SYSTEMS.values():
        recipes = ", ".join(f"`{name}`" for name in (system.recipe, *system.variants) if name) or "-"
        if system.changes:
            recipes += ", changed"
        cells = (
            f"{system.name}, {system.venue} {system.year}", system.status,
            f"`{system.family}`" if system.family else "-", recipes, ", ".join(system.needs) or "-",
            system.selection, system.licence, totals(system.figures), totals(system.clip_figures),
        )  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def expected_caveats() -> list[str]:
    return [f"- **{system.name}**: {' '.join(system.caveats)}" for system in SYSTEMS.values() if system.caveats]


def test_the_table_is_the_registry() -> None:
    assert [line for line in TEXT.splitlines() if re.match(r"\| .*(19|20)\d\d \|", line)] == expected_rows()


def test_what_is_known_against_figures_is_on_the_page() -> None:
    flat = " ".join(TEXT.split())
    for line in expected_caveats():
        assert line in flat


def test_the_walk_through(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of the page in order, on fewer clips and with narrow networks of one epoch."""
    monkeypatch.setattr("avvp.pipeline.reproduction.time_estimate._MEASURED_SECONDS", 0.05)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    for program, *arguments in [*commands("Train, score, compare"), *commands("Table 4")]:
        if program == "python":
            fewer = [FEWER.get(word, word) for word in arguments]
            subprocess.run([sys.executable, *fewer], check=True, capture_output=True)
            continue
        narrow = SMALL if arguments[0] == "train" else ()
        if arguments[0] == "reproduce":
            narrow = SMALL
        result = run(*arguments, *narrow)
        assert result.status == 0, (arguments, result.err)
        if arguments[0] == "reproduce" and "--dry-run" not in arguments:
            assert "HAN: ours" in result.out
            assert "BPS: paper (figures only)" in result.out
    assert (tmp_path / "compared.svg").is_file()
    assert "\\toprule" in (tmp_path / "compared.tex").read_text()


def test_loading_a_published_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(family_state("han"), "HAN.pt")
    (program,) = code("py", "Load")
    names: dict[str, object] = {}
    exec(compile(program, "zoo.md", "exec"), names)  # noqa: S102
    assert isinstance(names["parser"], AVParser)
    assert names["parser"].config.encoder == "han"


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system that the page adds, in the registries and in a folder."""
    rules, entry = code("py", "Add the next system")
    (recipe,) = code("toml", "Add the next system")
    names: dict[str, object] = {}
    exec(compile(rules, "rules", "exec"), published_parsers.__dict__ | {"__name__": "avvp.models.files.twostep"}, names)  # noqa: S102
    monkeypatch.setitem(published_parsers.FAMILIES, "twostep", names["TWOSTEP"])  # type: ignore[arg-type]
    (tmp_path / "twostep.toml").write_text(recipe)
    monkeypatch.chdir(tmp_path)
    exec(compile(entry, "entry", "exec"), systems.__dict__ | {"__name__": "avvp.pipeline.reproduction.x"}, names)  # noqa: S102
    system = names["TWO_STEP"]
    assert isinstance(system, System)
    monkeypatch.setitem(SYSTEMS, system.name, system)
    table = paper_tables.PAPER_TABLES["table4"]
    run = paper_tables.PaperRun(system.name, recipe="twostep.toml")
    monkeypatch.setitem(
        paper_tables.PAPER_TABLES, "table4", paper_tables.PaperTable(table.title, (*table.runs, run), table.rows)
    )
    return tmp_path


@pytest.mark.usefixtures("added")
def test_the_added_system_loads_its_files() -> None:
    """The files of the invented program: HAN's parameters of two layers, under its own names."""
    config = load_recipe("twostep.toml").model
    assert config["layers"] == 2
    shapes: dict[str, tuple[int, ...]] = {}
    for key, shape in PUBLISHED_KEYS["han"].items():
        if key.startswith("fc_"):
            shapes[key] = tuple(shape)
        for ours, theirs in RENAMED.items():
            if key.startswith(start := f"hat_encoder.layers.0.{ours}."):
                shapes |= {key.replace(start, f"enc.{layer}.{theirs}."): tuple(shape) for layer in range(2)}
    shapes["old_head.weight"] = (25, 512)
    state = fill(shapes, SEED)
    parser = load_published(state, family="twostep")
    assert parser.config.layers == 2
    assert parser.unused_keys == ("old_head.weight",)
    torch.testing.assert_close(parser.get_parameter("stem.audio.weight"), state["fc_a.weight"])
    with pytest.raises(ValueError, match="not a published TwoStep"):
        load_published({key: value for key, value in state.items() if "norm_b" not in key}, family="twostep")


def test_the_added_system_is_trained_and_compared(added: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avvp.pipeline.reproduction.time_estimate._MEASURED_SECONDS", 0.05)
    (added / "tests").symlink_to(ROOT / "tests")
    data = commands("Train, score, compare")[0][1:]
    subprocess.run([sys.executable, *(FEWER.get(word, word) for word in data)], check=True, capture_output=True)
    for _, *arguments in commands("Add the next system"):
        result = run(*arguments, *(SMALL if arguments[0] in {"train", "reproduce"} else ()))
        assert result.status == 0, (arguments, result.err)
        if arguments[0] == "reproduce":
            assert "TwoStep: ours" in result.out
