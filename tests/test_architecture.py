"""The promises of the layout: who may import whom, no circles, public names, nothing slow at import, short files."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("weights", "models", "extractors", "pipeline")

# Folder -> the folders it may import from besides itself. Imports inside functions count.
# `pipeline` stands for the modules directly in it: data types and pure arithmetic.
_GROUND = {"pipeline", "extractors"}
_DECODE = {"pipeline.decode", "pipeline.decode.container"}
_MODELS = {"models", "models.files", "models.localizers", "models.loss_terms", "models.open"}
_DATA = {*_GROUND, *_MODELS, "weights", "pipeline.features", "pipeline.datasets"}
_INFERENCE = {
    *_DATA,
    *_DECODE,
    "pipeline.backends",
    "weights.remote",
    "pipeline.preprocess",
    "pipeline.inference",
    "pipeline.open_vocabulary",
    "extractors.texts",
}
MAY_IMPORT: dict[str, set[str]] = {
    "weights": set(),
    "weights.remote": {"weights"},
    "models.loss_terms": set(),
    "models": {"models.loss_terms", "weights"},
    "models.files": {*_MODELS, "weights"},
    "models.localizers": {"models", "models.loss_terms", "weights"},
    "models.open": {"models", "weights"},
    "extractors": {"weights"},
    "extractors.texts": {"extractors", "weights"},
    "pipeline": {"extractors", "weights", "weights.remote"},
    "pipeline.decode": {*_GROUND, "pipeline.decode.container"},
    "pipeline.decode.container": _GROUND,
    "pipeline.preprocess": {*_GROUND, *_DECODE},
    "pipeline.backends": {*_GROUND, "weights"},
    "pipeline.computing": {*_GROUND, *_MODELS, "pipeline.backends", "pipeline.decode", "weights"},
    "pipeline.features": {*_GROUND, *_DECODE, "weights", "pipeline.preprocess"},
    "pipeline.datasets": _DATA,
    "pipeline.open_vocabulary": {*_GROUND, "extractors.texts", "models", "weights", "pipeline.datasets"},
    "pipeline.inference": _INFERENCE,
    "pipeline.embeddings": _INFERENCE,
    "pipeline.embeddings.search": {*_INFERENCE, "pipeline.embeddings"},
    "pipeline.sharing": {
        *_GROUND,
        *_MODELS,
        "extractors.texts",
        "pipeline.open_vocabulary",
        "weights",
        "weights.remote",
    },
    "pipeline.synthetic": {*_GROUND, *_MODELS, "weights", "pipeline.datasets", "pipeline.decode"},
    "pipeline.outputs": {"pipeline"},
    "pipeline.outputs.formats": {"pipeline", "pipeline.datasets", "pipeline.outputs"},
    "pipeline.outputs.plots": {*_INFERENCE, "pipeline.outputs"},
    "pipeline.outputs.search": {"pipeline", "pipeline.outputs", "pipeline.outputs.formats"},
    "pipeline.outputs.cuts": {
        "pipeline",
        "weights",
        *_DECODE,
        "pipeline.outputs.plots",
        "pipeline.outputs.search",
    },
    "pipeline.outputs.found": {
        "pipeline",
        "pipeline.embeddings.search",
        "pipeline.outputs.html",
        "pipeline.outputs.plots",
        "pipeline.outputs.search",
    },
    "pipeline.outputs.html": {"pipeline", "pipeline.outputs", "pipeline.outputs.formats", "pipeline.outputs.plots"},
    "pipeline.export": {*_INFERENCE, "pipeline.synthetic"},
    "pipeline.quantization": {*_INFERENCE, "pipeline.sharing"},
    "pipeline.evaluation": {*_INFERENCE, "pipeline.embeddings"},
    "pipeline.calibration": {*_INFERENCE, "pipeline.embeddings", "pipeline.evaluation"},
    "pipeline.comparison": {*_INFERENCE, "pipeline.evaluation"},
    "pipeline.training.batches": _INFERENCE,
    "pipeline.training.settings": {*_INFERENCE, "pipeline.evaluation"},
    "pipeline.training": {
        *_INFERENCE,
        "pipeline.computing",
        "pipeline.evaluation",
        "pipeline.training.batches",
        "pipeline.training.settings",
    },
    "pipeline.training.stages": {
        *_INFERENCE,
        "pipeline.evaluation",
        "pipeline.training",
        "pipeline.training.settings",
    },
    "pipeline.reproduction": {*_INFERENCE, "pipeline.evaluation", "pipeline.training", "pipeline.training.stages"},
    "pipeline.diagnosis": {"pipeline.computing", *_GROUND, *_DECODE, "weights", "weights.remote", "pipeline.training"},
    "pipeline.batch.monitor": {"pipeline", "pipeline.batch"},
    "pipeline.batch": {*_INFERENCE, "pipeline.embeddings", "pipeline.outputs", "pipeline.outputs.formats"},
    "pipeline.download": {"pipeline", "pipeline.batch", "pipeline.datasets", *_DECODE, "weights"},
    "pipeline.serve.jobs": {
        *_INFERENCE,
        "pipeline.batch",
        "pipeline.computing",
        "pipeline.embeddings",
        "pipeline.outputs.formats",
        "pipeline.outputs.html",
    },
    "pipeline.serve": {
        "pipeline",
        "pipeline.outputs.formats",
        "pipeline.outputs.html",
        "pipeline.serve.jobs",
        "weights",
    },
    "pipeline.pseudo_labeling": {*_INFERENCE, "pipeline.batch", "pipeline.outputs.html"},
}
MAY_IMPORT["pipeline.api"] = {
    *_INFERENCE,
    "pipeline.embeddings",
    "pipeline.embeddings.search",
    "pipeline.computing",
    "pipeline.batch",
    "pipeline.outputs.formats",
    "pipeline.outputs.plots",
}
MAY_IMPORT["pipeline.cli.options"] = set(MAY_IMPORT)
MAY_IMPORT["pipeline.cli.commands"] = {*MAY_IMPORT, "pipeline.cli"}
MAY_IMPORT["pipeline.cli.commands.training"] = {*MAY_IMPORT, "pipeline.cli"}
MAY_IMPORT["pipeline.cli"] = set(MAY_IMPORT)
MOST_FILES = 22
MOST_LINES = 400

PUBLIC = {
    "avvp": ["parse_video", "extract_features", "Timeline", "Event", "FeatureSet", "__version__"],
    "avvp.pipeline": ["parse_video", "extract_features", "Event", "Timeline", "FeatureSet"],
    "avvp.extractors": ["build_extractor"],
    "avvp.models": [
        "ParserConfig",
        "build_parser",
        "load_published",
        "LocalizerConfig",
        "EventLocalizer",
        "LocalizerOutput",
        "LocalizationTargets",
        "LocalizationObjective",
        "localization_terms",
        "build_localizer",
    ],
    "avvp.weights": ["WeightsError", "load_bundle", "fetch_file"],
}


def read_modules() -> dict[str, Path]:
    """Dotted name, without `avvp.`, -> file of every module but the public face, which only names others."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}
    return {name: path for name, path in modules.items() if not name.startswith("pipeline.public.")}


def folder_of(module: str) -> str:
    """The row of `MAY_IMPORT` that a module belongs to."""
    return module.rsplit(".", 1)[0]


def imported_modules(name: str, path: Path, known: set[str]) -> set[str]:
    """Modules of ours that a module imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = ".".join([*name.split(".")[: -node.level], *filter(None, [node.module])])
            found |= {base} if base in known else {f"{base}.{alias.name}" for alias in node.names}
    return found


MODULES = read_modules()
IMPORTS = {name: imported_modules(name, path, set(MODULES)) for name, path in MODULES.items()}


def find_circle(graph: dict[str, set[str]]) -> list[str]:
    """The names along a circle, empty where there is none."""
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> list[str]:
        if name in above:
            return [*above[above.index(name) :], name]
        if name not in done:
            for below in sorted(graph.get(name, ())):
                if circle := visit(below, (*above, name)):
                    return circle
            done.add(name)
        return []

    return next(filter(None, (visit(name, ()) for name in sorted(graph))), [])


def test_find_circle_names_the_modules_of_a_circle() -> None:
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_every_folder_has_a_row_in_the_table() -> None:
    assert {folder_of(name) for name in MODULES} == set(MAY_IMPORT)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_folder_imports_only_what_it_may(folder: str) -> None:
    allowed = {folder, *MAY_IMPORT[folder]}
    broken = {
        f"{name} -> {other}"
        for name, others in IMPORTS.items()
        if folder_of(name) == folder
        for other in others
        if folder_of(other) not in allowed
    }
    assert not broken


def test_nobody_imports_from_an_init() -> None:
    """What is imported is a module, never a package that hands names on."""
    for name, others in IMPORTS.items():
        assert others <= MODULES.keys(), name


def test_files_form_no_circle() -> None:
    assert not find_circle(IMPORTS)


def test_folders_form_no_circle() -> None:
    folders: dict[str, set[str]] = defaultdict(set)
    for name, others in IMPORTS.items():
        folders[folder_of(name)] |= {folder_of(other) for other in others} - {folder_of(name)}
    assert not find_circle(folders)


def test_no_folder_is_crowded() -> None:
    counts = defaultdict(list)
    for path in MODULES.values():
        counts[path.parent].append(path.name)
    assert {folder.name: len(names) for folder, names in counts.items() if len(names) > MOST_FILES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_is_short_enough_to_read(package: str) -> None:
    for name, path in MODULES.items():
        if name.startswith(package):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES, name


@pytest.mark.parametrize(("module", "names"), list(PUBLIC.items()))
def test_public_names(module: str, names: list[str]) -> None:
    package = importlib.import_module(module)
    for name in names:
        assert name in package.__all__
    for name in package.__all__:
        assert getattr(package, name) is not None
        assert name in dir(package)
    with pytest.raises(AttributeError):
        _ = package.nonsense


@pytest.mark.parametrize("module", [*PUBLIC, "avvp.pipeline.cli.main"])
def test_nothing_slow_at_import(module: str) -> None:
    code = f"import sys, {module}; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'rich', 'requests')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "module",
    [
        "comparison.read_systems",
        "datasets.from_timelines",
        "evaluation.evaluate_timelines",
        "outputs.html.page",
        "outputs.search.search",
        "outputs.cuts.make_cuts",
    ],
)
def test_files_of_events_need_no_torch(module: str) -> None:
    """Its import takes seconds and half a gigabyte, more than most files of events."""
    code = f"import sys, avvp.pipeline.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
