"""The wheel and the sdist hold the files of git, and the wheel runs in a fresh environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.paths import ROOT

pytestmark = pytest.mark.wheel
PACKAGES = ("pipeline", "extractors", "models", "weights")
BUILD = "from setuptools import build_meta; build_meta.build_{kind}({target!r})"


@dataclass
class Built:
    """What `pip wheel` and `python -m build` would make of the files of git."""

    wheel: Path
    sdist: Path
    log: str


def git_files() -> list[str]:
    """Paths of the files that git tracks."""
    listing = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout, so there is no list of files to compare with")
    return [name for name in listing.stdout.split("\0") if name and (ROOT / name).exists()]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build both from a copy of the tracked files, so that nothing else on the disk gets in."""
    copy, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in git_files():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    log = ""
    for kind in ("sdist", "wheel"):
        command = [sys.executable, "-c", BUILD.format(kind=kind, target=str(target))]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        result = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        log += result.stdout + result.stderr
    return Built(next(target.glob("*.whl")), next(target.glob("*.tar.gz")), log)


def test_build_gives_no_warnings(built: Built) -> None:
    words = re.sub(r"[\w.-]*/[\w./'-]*", "", built.log.lower())  # without names of files, which may be warnings.py
    assert [line for line in words.splitlines() if "warning" in line or "deprecat" in line] == []


def test_wheel_holds_every_file_of_the_packages(built: Built) -> None:
    expected = {
        "avvp/" + name.removeprefix("pipeline/public/") for name in git_files() if name.split("/")[0] in PACKAGES
    }
    with zipfile.ZipFile(built.wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == expected


def test_sdist_holds_every_file(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        packed = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert set(git_files()) <= packed


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(built.wheel)], check=True)
    site = next((folder / "lib").glob("python3*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def run_installed(installed: Path, cwd: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(installed / command[0]), *command[1:]],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_installed_package_is_the_wheel_s(installed: Path, tmp_path: Path) -> None:
    code = "import avvp, pathlib; print(pathlib.Path(avvp.__file__).resolve()); print(avvp.__version__)"
    where, version = run_installed(installed, tmp_path, "python", "-c", code).stdout.split("\n")[:2]
    assert Path(where).is_relative_to(installed.parent.resolve())
    for command in (("avvp", "--version"), ("avvp-parse", "--version"), ("python", "-m", "avvp", "--version")):
        assert f"version {version}" in run_installed(installed, tmp_path, *command).stdout


def test_installed_package_checks_vggish(installed: Path, tmp_path: Path) -> None:
    """The published answers are in the wheel; a network with other parameters does not give them."""
    verify = run_installed(installed, tmp_path, "avvp", "weights", "verify", "vggish")
    assert (verify.returncode, verify.stderr) == (1, "")
    assert "not on this machine" in verify.stdout
    code = (
        "from avvp.extractors import build_extractor; from avvp.pipeline.inference.vggish_check import check_vggish;"
        "print(sorted(check_vggish(build_extractor('vggish'))))"
    )
    check = run_installed(installed, tmp_path, "python", "-W", "error", "-c", code)
    assert check.stdout == "['silence', 'sine_1khz']\n", check.stderr


def test_installed_package_parses_with_the_demo_model(installed: Path, tmp_path: Path) -> None:
    synth = run_installed(
        installed, tmp_path, "avvp", "synth", "clips", "--clips", "1", "--seed", "2113", "--shares", "0,0,100", "-q"
    )
    assert synth.returncode == 0, synth.stderr
    parse = run_installed(
        installed, tmp_path, "avvp-parse", "clips/videos/s2113200000.mp4", "--weights", "demo", "-o", "events.json",
        "--plot", "timeline.png", "--html", "report.html", "-f", "json,csv,textgrid",
    )  # fmt: skip
    assert parse.returncode == 0, parse.stderr
    for name in ("events.json", "events.csv", "timeline.png", "report.html"):
        assert (tmp_path / name).stat().st_size > 100, name
