"""The promises of the layout: arrows between packages, public names, flat folders."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "weights": set(),
    "models": set(),
    "extractors": {"weights"},
    "pipeline": {"weights", "models", "extractors"},
}
PUBLIC = {
    "avvp.pipeline": ["parse_video", "extract_features", "Event", "Timeline", "FeatureSet"],
    "avvp.extractors": ["build_extractor"],
    "avvp.models": ["ParserConfig", "build_parser", "load_published"],
    "avvp.weights": ["WeightsError", "load_bundle", "fetch_file"],
}


def imports(path: Path) -> list[tuple[int, str]]:
    """(level, module) of every relative import of a file."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [(node.level, node.module or "") for node in nodes if isinstance(node, ast.ImportFrom) and node.level]


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_what_they_may(package: str) -> None:
    for path in (ROOT / package).glob("*.py"):
        reached = {module.split(".")[0] for level, module in imports(path) if level == 2}
        assert reached <= ALLOWED[package], path.name


@pytest.mark.parametrize("package", ALLOWED)
def test_nobody_imports_from_the_package_s_own_init(package: str) -> None:
    for path in (ROOT / package).glob("*.py"):
        assert (1, "") not in imports(path), path.name


@pytest.mark.parametrize("package", ALLOWED)
def test_modules_form_no_cycle(package: str) -> None:
    """Imports inside functions are exempt: they are how a factory reaches what is built on it."""
    graph: dict[str, set[str]] = {}
    for path in (ROOT / package).glob("*.py"):
        if path.stem != "__init__":
            body = ast.parse(path.read_text(encoding="utf-8")).body
            own = [node.module for node in body if isinstance(node, ast.ImportFrom) and node.level == 1]
            graph[path.stem] = {module for module in own if module}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above, name])
        if name not in done:
            for below in graph[name]:
                visit(below, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize(("module", "names"), list(PUBLIC.items()))
def test_public_names(module: str, names: list[str]) -> None:
    package = importlib.import_module(module)
    for name in names:
        assert name in package.__all__
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError):
        _ = package.nonsense


@pytest.mark.parametrize("module", ["avvp.pipeline", "avvp.weights", "avvp.pipeline.cli"])
def test_nothing_slow_at_import(module: str) -> None:
    code = f"import sys, {module}; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'rich', 'requests')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("package", ALLOWED)
def test_every_file_is_short_enough_to_read(package: str) -> None:
    for path in (ROOT / package).glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path.name
