"""The program, Python, the packages that it needs or can use, and the machine. Only PyTorch is imported."""

from __future__ import annotations

import importlib
import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from ...weights.messages import first_line
from ..computing.machine import processor_name
from ..memory import available_memory
from ..text import escape
from .section import Section

_PROGRAM = Path(__file__).resolve().parents[1]
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")
_PIN = re.compile(r"^torch\s*\(?\s*==\s*([0-9.]+)")
SHOWN = ("torch", "torchvision", "torchaudio", "numpy", "av", "decord", "imageio-ffmpeg", "ffmpeg-python", "resampy")

# Extra of the installation -> what it is for. Extras for work on the program itself are not listed.
EXTRAS = {
    "text": "label embeddings from BERT and CLIP",
    "pseudo": "avvp pseudo-label",
    "pe-av": "avvp parse --weights open-pe-av",
    "tensorboard": "avvp train --tensorboard",
    "trackio": "training metrics in trackio",
    "wandb": "training metrics in Weights & Biases",
    "hub": "bundles of a Hugging Face hub",
    "ray": "--engine ray: batch runs on a cluster",
    "table": "Parquet files",
    "avel": "published HDF5 files of AVE",
    "pandas": "Timeline.to_dataframe",
    "otio": "EDL and FCPXML of .otio files",
    "serve": "avvp serve",
    "web": "http addresses as inputs, avvp download",
    "onnx": "export to ONNX",
    "openvino": "--backend openvino, export to OpenVINO",
    "search": "avvp search over more than a million seconds",
    "int8": "--precision int8, avvp weights quantize",
}


def find_version(package: str) -> str | None:
    """Return the version of an installed package, without importing it; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def list_requirements() -> Iterator[tuple[str, str | None, str]]:
    """Yield the packages that avvp's installation names.

    Yields:
        Name, the extra that needs it (None: always needed), and the requirement as written.
    """
    for text in metadata.requires("avvp") or ():
        requirement, _, marker = text.partition(";")
        name, extra = _NAME.match(requirement.strip()), _EXTRA.search(marker)
        if name is not None and (extra is not None or not marker):  # other markers are of platforms
            yield name[0], extra[1] if extra else None, requirement.strip()


def check_packages() -> Section:
    """List versions of the program, of Python and of packages; find those that are missing or do not fit."""
    section = Section("Installation")
    version = metadata.version("avvp")
    versions = {name: find_version(name) for name in SHOWN}
    section.facts = {
        "avvp": {"version": version, "folder": str(_PROGRAM)},
        "python": {"version": platform.python_version(), "program": sys.executable, "platform": platform.platform()},
        "packages": versions,
    }
    section.add(f"avvp {version} in {escape(_PROGRAM)}")
    section.add(f"Python {platform.python_version()} ({escape(sys.executable)}) on {platform.platform()}")
    section.add(", ".join(f"{name} {found}" for name, found in versions.items() if found))
    for name, extra, requirement in list_requirements():
        if extra is None and find_version(name) is None:
            section.add(f"{name} is not installed", "broken", f"pip install '{requirement}'")
    torch = (versions["torch"] or "").partition("+")[0]
    pins = [_PIN.match(text) for text in _requires("torchvision")]
    if torch and (pin := next(filter(None, pins), None)) and pin[1] != torch:
        section.add(
            f"torchvision {versions['torchvision']} is made for torch {pin[1]}, and {torch} is installed",
            "note",
            f"pip install torch=={pin[1]}, or the torchvision of torch {torch}",
        )
    return section


def _requires(package: str) -> list[str]:
    try:
        return metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return []


def check_extras() -> Section:
    """List the optional extras: installed or not, what for, and the command that installs them."""
    section = Section("Optional extras")
    packages: dict[str, list[str]] = {}
    for name, extra, _ in list_requirements():
        if extra in EXTRAS:
            packages.setdefault(extra, []).append(name)
    for extra, names in packages.items():
        missing = [name for name in names if find_version(name) is None]
        install = f"pip install 'avvp[{extra}]'"
        section.facts[extra] = {
            "installed": not missing, "for": EXTRAS[extra], "missing": missing, "install": install,
        }  # fmt: skip
        if missing:
            section.add(f"{extra}: not installed; {EXTRAS[extra]}", "note", install)
        else:
            section.add(f"{extra}: installed; {EXTRAS[extra]}")
    return section


def check_machine() -> Section:
    """List cores, memory and devices. Imports PyTorch, and finds out whether that works."""
    section = Section("Machine")
    cores, memory = len(os.sched_getaffinity(0)), available_memory()
    section.facts = {"cores": cores, "memory_available": memory, "devices": []}
    text = "unknown" if memory is None else f"{memory / 1e9:.1f} GB"
    section.add(f"{cores} CPU cores, {text} of memory available")
    try:
        torch: Any = importlib.import_module("torch")
        section.facts["devices"] = [{"name": "cpu", "model": processor_name(), "memory": memory, "free": memory}]
        section.facts["devices"] += _list_gpus(torch)
    except Exception as error:  # of the dynamic loader, of CUDA: whatever keeps PyTorch from working
        section.add(
            f"PyTorch does not work: {first_line(error)}",
            "broken",
            "pip install --force-reinstall torch",
        )
        return section
    for device in section.facts["devices"]:
        if device["name"] != "cpu":
            free, most = device["free"] / 1e9, device["memory"] / 1e9
            section.add(f"{device['name']}: {escape(device['model'])}, {free:.1f} of {most:.1f} GB free")
    if len(section.facts["devices"]) == 1:
        _explain_missing_gpu(section, torch)
    return section


def _list_gpus(torch: Any) -> list[dict[str, Any]]:
    devices = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, most = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        devices.append({"name": f"cuda:{index}", "model": name, "memory": most, "free": free})
    return devices


def _explain_missing_gpu(section: Section, torch: Any) -> None:
    if not Path("/proc/driver/nvidia/version").exists():
        section.add("no NVIDIA GPU: networks run on the CPU")
    elif torch.version.cuda is None:
        section.add(
            "there is an NVIDIA driver, but this PyTorch is built without CUDA",
            "note",
            "install PyTorch with CUDA to use the GPU",
        )
    else:
        section.add(
            f"there is an NVIDIA driver, but PyTorch (CUDA {torch.version.cuda}) finds no GPU",
            "note",
            "compare the version with the one that nvidia-smi prints; look at CUDA_VISIBLE_DEVICES",
        )
