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


def modules(package: str) -> dict[str, Path]:
    """Dotted name below the package -> file; packages within it (`synth`, `outputs`) go by their modules."""
    folder = ROOT / package
    paths = [*folder.glob("*.py"), *folder.glob("*/*.py")]
    return {".".join(path.relative_to(folder).with_suffix("").parts): path for path in paths}


def imports(name: str, path: Path, *, at_the_top: bool = False) -> list[tuple[int, str]]:
    """Of every relative import of a module: packages above its own top (0: from within), and the dotted name there."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if at_the_top else ast.walk(tree)
    depth = name.count(".")
    found = []
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = name.split(".")[: max(0, depth - node.level + 1)]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found += [(max(0, node.level - 1 - depth), ".".join([*base, *one.split(".")])) for one in names]
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_what_they_may(package: str) -> None:
    for name, path in modules(package).items():
        reached = {module.split(".")[0] for above, module in imports(name, path) if above}
        assert reached <= ALLOWED[package], path.name


@pytest.mark.parametrize("package", ALLOWED)
def test_nobody_imports_from_the_package_s_own_init(package: str) -> None:
    """What is imported is a module of the package, never the package itself."""
    known = modules(package)
    for name, path in known.items():
        assert {module for above, module in imports(name, path) if not above} <= known.keys(), path.name


@pytest.mark.parametrize("package", ALLOWED)
def test_modules_form_no_cycle(package: str) -> None:
    """Imports inside functions are exempt: they are how a factory reaches what is built on it."""
    graph = {
        name: {module for above, module in imports(name, path, at_the_top=True) if not above}
        for name, path in modules(package).items()
    }
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


@pytest.mark.parametrize("module", [*PUBLIC, "avvp.pipeline.cli"])
def test_nothing_slow_at_import(module: str) -> None:
    code = f"import sys, {module}; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'rich', 'requests')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("package", ALLOWED)
def test_every_file_is_short_enough_to_read(package: str) -> None:
    for path in modules(package).values():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path.name
