"""Completion in the shell: what the program answers to the scripts of bash, zsh and fish."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.cli import main
from avvp.weights.manifest import list_bundles
from support.command import Run

Complete = Callable[[str], list[str]]


@pytest.fixture
def complete(run: Run, monkeypatch: pytest.MonkeyPatch) -> Complete:
    """Complete the last word of a line as bash asks for it; return the answer's lines, "type,value"."""

    def call(line: str) -> list[str]:
        monkeypatch.setenv("_AVVP_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        result = run()
        assert (result.status, result.err) == (0, "")
        return list(filter(None, result.out.splitlines()))

    return call


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("avvp doct", ["plain,doctor"]),
        ("avvp train", ["plain,train", "plain,train-extractors", "plain,train-teacher"]),
        ("avvp weights fet", ["plain,fetch"]),
        ("avvp parse --vid", ["plain,--video-threshold"]),
        ("avvp parse --decoder d", ["plain,decord"]),
        ("avvp parse --weights dem", ["dir,dem", "plain,demo", "plain,demo-avel"]),
        ("avvp train --extractors dem", ["dir,dem", "plain,demo", "plain,demo-avel"]),
        ("avvp extract --extractors dem", []),
        ("avvp parse -f js", ["plain,json"]),
        ("avvp convert x.json --format json,vt", ["plain,json,vtt"]),
        ("avvp convert x.json --classes Dog,Cat,Cel", ["plain,Dog,Cat,Cello"]),
        ("avvp find events/ --audio Ba", [f"plain,{name}" for name in LLP_LABELS if name.startswith("Ba")]),
        ("avvp model-info --recipe leap-pu", ["file,leap-pu", "plain,leap-published"]),
        ("avvp parse --device c", ["plain,cpu", "plain,cuda"]),
        ("avvp weights fetch resn", ["plain,resnet152"]),
        ("avvp parse vid", ["file,vid"]),
        ("avvp parse -o eve", ["file,eve"]),
        ("avvp parse --output-dir eve", ["dir,eve"]),
        ("avvp find eve", ["file,eve"]),
        ("avvp train --annotations ll", ["dir,ll"]),
    ],
)
def test_names_of_the_program_and_files_are_completed(line: str, answer: list[str], complete: Complete) -> None:
    assert complete(line) == answer


def test_all_bundles_are_completed(complete: Complete) -> None:
    assert complete("avvp parse --weights ") == ["dir,", *(f"plain,{name}" for name in list_bundles())]


def test_a_wrong_file_of_defaults_is_not_in_the_way(
    complete: Complete, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("avvp.toml").write_text("[prase]\nthreshold = 1\n")
    assert complete("avvp parse --vid") == ["plain,--video-threshold"]


def test_zsh_gets_whole_summaries_and_fish_names(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_AVVP_COMPLETE", "zsh_complete")
    monkeypatch.setenv("COMP_WORDS", "avvp doc")
    monkeypatch.setenv("COMP_CWORD", "1")
    kind, name, text = run().out.splitlines()
    assert (kind, name) == ("plain", "doctor")
    assert text.replace("\\", "") == main.avvp.get_command(main.click.Context(main.avvp), "doctor").help.split("\n")[0]  # pyright: ignore
    monkeypatch.setenv("_AVVP_COMPLETE", "fish_complete")
    monkeypatch.setenv("COMP_CWORD", "doc")
    assert "doctor" in run().out


def test_avvp_parse_completes_its_own_options() -> None:
    """In a process of its own: the script asks the program by its name."""
    program = str(Path(sys.executable).with_name("avvp-parse"))
    environment = {**os.environ, "COMP_WORDS": "avvp-parse --vid", "COMP_CWORD": "1"}
    done = subprocess.run(
        [program],
        env=environment | {"_AVVP_PARSE_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "plain,--video-threshold\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("program", ["avvp", "avvp-parse"])
def test_the_documented_lines_print_a_script(
    shell: str, program: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"_{program.upper().replace('-', '_')}_COMPLETE"
    page = (Path(__file__).parents[3] / "docs" / "settings.md").read_text(encoding="utf-8")
    assert f"{variable}={shell}_source {program}" in page
    monkeypatch.setenv(variable, f"{shell}_source")
    if program == "avvp":
        assert f"{variable}={shell}_complete" in run().out
    else:
        monkeypatch.setattr(sys, "argv", [program])
        with pytest.raises(SystemExit) as leaving:
            main.parse_main()
        assert not leaving.value.code
