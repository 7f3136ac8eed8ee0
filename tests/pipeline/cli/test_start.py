"""What `avvp-parse` imports before the first file is decoded, and which of it is never imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.media import Clips

# Writes what is imported when a decode worker starts, and at the end.
PROGRAM = """
import json, sys

found = {"python": sorted(sys.modules), "workers": []}

def watch(event, arguments):
    if event == "subprocess.Popen" and any("worker_main" in str(argument) for argument in arguments[1]):
        found["workers"].append(sorted(sys.modules))

sys.addaudithook(watch)
from avvp.pipeline.cli.main import parse_main
try:
    parse_main()
finally:
    found["end"] = sorted(sys.modules)
    open(sys.argv[-1] + ".modules", "w").write(json.dumps(found))
"""
# attr: rich imports it where it is installed.
BEFORE_DECODING = {"attr", "PIL", "av", "avvp", "click", "lazy_loader", "numpy", "platformdirs", "rich", "tomli"}
NEVER = ("decord", "matplotlib", "numba", "requests", "resampy", "scipy", "torch._dynamo", "torchaudio", "torchvision")


@pytest.fixture(scope="module")
def imported(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Modules at the start of each decode worker, and at the end."""
    output = tmp_path_factory.mktemp("start") / "events.json"
    arguments = [clips.steady, "--weights", "demo", "-q", "-o", output]
    subprocess.run([sys.executable, "-c", PROGRAM, *map(str, arguments)], check=True)
    assert json.loads(output.read_text())["events"] is not None
    return json.loads(Path(f"{output}.modules").read_text())


def test_decoding_starts_before_torch_is_imported(imported: dict[str, Any]) -> None:
    modules = set(imported["workers"][0]) - set(imported["python"])
    packages = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names
    compiled = {name for name in packages if "cython" in name}
    assert packages - compiled <= BEFORE_DECODING


def test_a_file_is_decoded_by_the_worker_that_began_with_it(imported: dict[str, Any]) -> None:
    """A second worker would be started for a file that the first has not been given."""
    assert len(imported["workers"]) == 1


@pytest.mark.parametrize("module", NEVER)
def test_never_imported_for_one_file(imported: dict[str, Any], module: str) -> None:
    assert "torch" in imported["end"]
    assert not [name for name in imported["end"] if name == module or name.startswith(f"{module}.")]


def test_help_imports_nothing_slow() -> None:
    """All commands in one process: what one of them imports, another would find imported."""
    code = """
import contextlib, os, sys
from avvp.pipeline.cli.main import avvp
with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
    for name in avvp.list_commands(None):
        avvp.main([name, "--help"], prog_name="avvp", standalone_mode=False)
        if slow := {"torch", "numpy"} & sys.modules.keys():
            sys.exit(f"avvp {name} --help imports {slow}")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
