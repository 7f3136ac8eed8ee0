"""Commands, Python examples, names and links in the documentation."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from avvp.pipeline.cli import main
from avvp.pipeline.cli.commands import weights as cli_weights
from avvp.pipeline.inference.bundle import load_parser
from avvp.pipeline.outputs.formats.events_json import from_document
from avvp.pipeline.outputs.formats.registry import FORMATS
from avvp.pipeline.timeline import Event, Timeline
from avvp.weights import list_bundles
from support.bundles import LABELS, copy_bundle
from support.command import Result, subcommands
from support.llp_like import Recipe, generate
from support.media import Clips
from support.paths import ROOT
from support.speeds import remember_rates

DOCS = ROOT / "docs"
ROOT_PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*ROOT_PAGES, *sorted(DOCS.glob("*.md"))]
DEVELOPER_PAGES = [
    DOCS / "architecture.md",
    DOCS / "README.md",
    ROOT / "CONTRIBUTING.md",
]  # they name files of the code


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(language: str, *without: Path) -> Iterator[str]:
    for page in PAGES:
        if page not in without:
            yield from code(page, language)


def code(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


TRAINING = ROOT / "docs" / "training.md"
DEMO_MODEL = ROOT / "docs" / "demo-model.md"
OUTPUTS = ROOT / "docs" / "outputs.md"
FOLDERS = ROOT / "docs" / "folders.md"
OWN_DATA = ROOT / "docs" / "own-data.md"  # run by test_own_data
AVEL = ROOT / "docs" / "avel.md"  # run by test_avel_page
EXTENDING = ROOT / "docs" / "extending.md"  # run by test_extending
ZOO = ROOT / "docs" / "zoo.md"  # run by test_zoo_page
EXPORT = ROOT / "docs" / "export.md"  # run by test_export_page
TEACHER = ROOT / "docs" / "teacher.md"  # run by test_teacher_page
ANY_CLASS = ROOT / "docs" / "any-class.md"  # run by test_any_class_page
ALONE = blocks(
    "bash", TRAINING, DEMO_MODEL, OUTPUTS, FOLDERS, OWN_DATA, AVEL, EXTENDING, EXPORT, ZOO, TEACHER, ANY_CLASS
)  # the commands of these pages build on each other
COMMANDS = list(dict.fromkeys(line for block in ALONE for line in block.splitlines() if line))


@pytest.fixture
def desk(clips: Clips, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the documentation mentions."""
    (tmp_path / "video.mp4").write_bytes(clips.blink.read_bytes())
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "one.mp4").write_bytes(clips.blink.read_bytes())
    thresholds = next(block for block in blocks("toml") if "[audio.segment]" in block)
    (tmp_path / "thresholds.toml").write_text(thresholds.replace("Dog", "Violin_fiddle"))
    generate(
        tmp_path, Recipe({"train": 6, "val": 3, "test": 3}, labels=LABELS, dims=load_parser(str(tiny_bundle)).spec.dims)
    )
    for made, name in (("annotations", "llp"), ("features", "feats"), ("pseudo_labels", "valor")):
        (tmp_path / made).rename(tmp_path / name)
    np.save(tmp_path / "vectors.npy", np.eye(len(LABELS), dtype=np.float32))
    (tmp_path / "runs").mkdir()
    copy_bundle(tiny_bundle, tmp_path / "runs" / "tiny")
    remember_rates(9, 17, 9, 19)  # what is chosen automatically is not measured for each command
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("line", COMMANDS)
def test_commands(
    line: str, run: Callable[..., Result], desk: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the tiny bundle in place of the published one, and downloads that only say what they would fetch."""
    asked: list[str] = []
    monkeypatch.setattr(
        cli_weights, "fetch_file", lambda file, folder, **_: (asked.append(file.key), (Path(f"{folder}"), "0" * 64))[1]
    )
    program, *arguments = shlex.split(line)
    if program == "python":
        subprocess.run([sys.executable, *arguments], check=True)
        return
    if program == "avvp-parse":
        arguments = ["parse", *arguments, "--weights", str(tiny_bundle)]
    if arguments[0] == "train":
        arguments += ["--label-embeddings", "vectors.npy", "--epochs", "1", "--set", "model.hidden_dim=16"]
    if arguments[0] == "evaluate":
        arguments += ["--weights", "runs/tiny"]
    if arguments[0] == "extract" or line.startswith("avvp parse"):
        arguments += ["--weights", str(tiny_bundle)]
    result = run(*arguments)
    assert result.status == 0, result.err
    if "fetch" in arguments and "--dry-run" not in arguments:
        assert asked
    if program == "avvp-parse" and "-o" in arguments:
        assert (desk / "events.json").is_file()
    if "--output-dir" in arguments:
        assert [path.name for path in (desk / "events").glob("*.*")] == ["one.events.json"]


@pytest.mark.full_size
@pytest.mark.parametrize("program", list(blocks("python")), ids=lambda text: text.split("\n", 1)[0][:40])
def test_python_examples(program: str, desk: Path) -> None:
    assert desk.is_dir()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "documentation", "exec"), {})  # noqa: S102
    assert printed.getvalue()


def test_readme_begins_with_the_two_commands_that_the_makefile_has() -> None:
    head = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:5]
    for target in ("demo", "test"):
        assert any(f"make {target}" in line for line in head)
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


def test_ci_runs_make_test() -> None:
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "run: .ci/run\n" in (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:`|^ {4})make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_in_running_text_exist(page: Path) -> None:
    """Commands in back-ticks are not run; their names and options must exist."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for program, text in re.findall(r"`(avvp|avvp-parse) ([^`]+)`", prose):
        words = text.split()
        command: click.Command = main.avvp if program == "avvp" else subcommands(main.avvp)["parse"]
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            name = words.pop(0)
            assert name in subcommands(command), f"{program} {text}"
            command = subcommands(command)[name]
        known = {"--help", *(option for parameter in command.params for option in parameter.opts)}
        assert {word for word in words if word.startswith("-") and word != "-"} <= known, f"{program} {text}"


@pytest.mark.parametrize("page", DEVELOPER_PAGES, ids=page_name)
def test_files_and_names_of_the_code_exist(page: Path) -> None:
    """`folder/`, `folder/file.py` and `folder/file.py:NAME`, from the root of the repository."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    folders = r"weights|extractors|models|pipeline|tests|benchmarks|docs|\.ci|\.github"
    named = re.findall(rf"`((?:{folders})/[\w./-]*)(?::([\w.]+))?`", prose)
    assert named
    for path, name in named:
        assert (ROOT / path).exists(), path
        for part in filter(None, name.split(".")):
            definition = rf"^ *(?:def|class) {part}\b|^ *{part}\b *[:=]"
            assert re.search(definition, (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), f"{path}:{name}"


def test_architecture_answers_at_least_twelve_questions() -> None:
    rows = re.findall(r"^\| (.+\?) \| `", (DOCS / "architecture.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) >= 12


def test_every_folder_is_in_the_architecture() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for package in ("weights", "extractors", "models", "pipeline"):
        for folder in {path.parent for path in (ROOT / package).rglob("*.py")}:
            assert f"`{folder.relative_to(ROOT).as_posix()}/`" in page, folder


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_have_a_target(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        linked = page.parent / name
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^##+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings]


def test_the_weights_page_names_every_bundle() -> None:
    text = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    for name in list_bundles():
        assert f"`{name}`" in text


def test_benchmarks_that_the_pages_name_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"benchmarks/\w+\.py", page.read_text(encoding="utf-8")):
            assert (ROOT / name).is_file()


def test_the_outputs_page_from_top_to_bottom(run: Callable[..., Result], desk: Path, tiny_bundle: Path) -> None:
    for line in "".join(code(OUTPUTS, "bash")).splitlines():
        program, *arguments = shlex.split(line)
        if "parse" in line.split(" -", 1)[0]:
            arguments = ["parse"] * (program == "avvp-parse") + [*arguments, "--weights", str(tiny_bundle)]
        result = run(*arguments)
        assert result.status == 0, (line, result.err)
    made = {path.name for path in desk.iterdir()}
    assert {"events.audio.vtt", "video.TextGrid", "timeline.svg", "attention.png", "report.html", "tidy.json"} <= made
    assert (desk / "site" / "one.html").is_file()
    assert (desk / "my-training" / "pseudo_labels").is_dir()


def test_the_folders_page_from_top_to_bottom(run: Callable[..., Result], desk: Path) -> None:
    (desk / "events").mkdir()
    events = [
        Event("audio", "Dog", 0.0, 0.2, 0.9),
        Event("visual", "Vacuum_cleaner", 0.1, 0.2, 0.7),
        Event("visual", "Car", 0.0, 0.2, 0.7),
    ]
    timeline = Timeline.of_events(events, path="one.mp4", duration=1.0, labels=("Dog", "Car", "Vacuum_cleaner"))
    (desk / "events" / "one.events.json").write_bytes(FORMATS["json"].write(timeline)[0])
    for line in "".join(code(FOLDERS, "bash")).splitlines():
        program, *arguments = shlex.split(line)
        result = run(*arguments)
        assert (program, result.status) == ("avvp", 0), (line, result.err)
    assert len((desk / "found.csv").read_text().splitlines()) == 3
    for folder in ("cuts", "exact"):
        assert {"cuts.csv", "contact-sheet.jpg", "one_0.00-0.20_Dog_audio.mp4"} <= {
            path.name for path in (desk / folder).iterdir()
        }
    assert (desk / "all.parquet").is_file()


def test_every_format_is_described_with_an_example() -> None:
    """Written anew from the one in JSON."""
    page = OUTPUTS.read_text(encoding="utf-8")
    examples = dict(re.findall(r"^`example\.(\S+)`\n\n```\w+\n(.*?)```$", page, re.DOTALL | re.MULTILINE))
    timeline = from_document(json.loads(examples["json"]), "example")
    assert all(f"`{form.name}`" in page for form in FORMATS.values())
    for form in (form for form in FORMATS.values() if not form.read_bytes):
        written = [content.decode().replace("\r\n", "\n") for content in form.write(timeline)]
        assert [examples.pop(suffix) for suffix in form.suffixes] == written
    assert not examples


@pytest.mark.timeout(600)
def test_the_training_page_from_top_to_bottom(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command in order; afterwards LEAP has learned, and the tables are there."""
    monkeypatch.chdir(tmp_path)
    recipe = next(block for block in code(TRAINING, "toml") if "[training]" in block)
    (tmp_path / "small.toml").write_text(recipe, encoding="utf-8")
    printed: dict[str, str] = {}
    for line in (line for block in code(TRAINING, "bash") for line in block.splitlines()):
        program, *arguments = shlex.split(line)
        if program == "python":
            subprocess.run([sys.executable, str(ROOT / arguments[0]), *arguments[1:]], check=True)
            continue
        result = run(*arguments)
        assert result.status == 0, (line, result.err)
        printed[line] = result.out
    evaluations = [text for line, text in printed.items() if line.startswith("avvp evaluate")]
    mean = re.search(r"all clips \(120\).* ([\d.]+) *\n", evaluations[0])
    assert mean is not None
    assert float(mean[1]) > 60
    assert (tmp_path / "mmil.md").read_text().startswith("**mmil, test split**")
    assert "[audio.segment]" in (tmp_path / "thresholds.toml").read_text()
    assert any("MM-Pyr + LEAP: paper" in text for text in printed.values())


def test_the_page_of_the_demo_model(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = []
    for line in (line for block in code(DEMO_MODEL, "bash") for line in block.splitlines()):
        _, *arguments = shlex.split(line)
        result = run(*arguments)
        assert result.status == 0, result.err
        printed += [result.out] if arguments[0] == "evaluate" else []
    parsed, localized = printed
    assert "all clips (2)" in parsed
    assert "background everywhere" in localized
