"""Check folders of models of other programs (config.json, model.safetensors), and the hub, before transformers does."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..weights.errors import WeightsError
from ..weights.messages import shown, shown_name
from ..weights.remote.hub import endpoint, is_offline
from ..weights.safe_paths import inside, is_file, is_folder
from ..weights.tensor_files import check_tensor_file
from .errors import SetupError
from .text import escape
from .text_files import read_json

MAX_MODEL_FILES = 100  # files of parameters in a folder
_INDEX = "model.safetensors.index.json"
_HUB_SECONDS = 5.0  # for the hub's first answer
_REMEMBERED = 60.0  # seconds in which a hub that did not answer is not asked again
_unanswered: dict[str, tuple[float, str]] = {}  # address of a hub -> when it was asked in vain, and why
_TYPES = {"F32", "F16", "BF16", "I64"}  # of parameters, and of positions and counters; transformers converts others


def check_model_folder(folder: Path) -> None:
    """Check the files of parameters in a folder.

    Args:
        folder: of a model. Nothing happens if there is no such folder: the name may be that of a model on the hub.

    Raises:
        SetupError: a file is damaged, too large, leads out of the folder, or holds numbers of another type.
    """
    if not is_folder(folder):
        return
    try:
        names = [path.name for path in folder.glob("*.safetensors")]
        if (folder / _INDEX).is_file():
            index = read_json(inside(folder, _INDEX))
            table = index.get("weight_map") if isinstance(index, dict) else None
            if not isinstance(table, dict):
                raise ValueError(f"{_INDEX} has no table weight_map")
            names += [name for name in set(table.values()) if name not in names]
        if len(names) > MAX_MODEL_FILES:
            raise ValueError(f"{len(names)} files of parameters, more than {MAX_MODEL_FILES}")
        for name in names:
            _check_types(inside(folder, name))
    except (ValueError, TypeError, OSError, SafetensorError, WeightsError) as error:
        raise SetupError(f"{escape(folder)}: cannot be loaded: {escape(error)}") from error


def find_hub_fault(name: str) -> str:
    """Ask the Hugging Face hub for a sign of life: transformers tries each of its requests for 23 seconds.

    Args:
        name: of a model, as users state it.

    Returns:
        Why the hub cannot be asked for the model; an empty string where it answers, where the model is a file or a
        folder, and where HF_HUB_OFFLINE forbids to ask.
    """
    if is_offline() or is_folder(Path(name)) or is_file(Path(name)):
        return ""
    try:
        address = endpoint()
    except WeightsError as error:
        return str(error)
    asked, fault = _unanswered.get(address, (-_REMEMBERED, ""))
    if not fault or time.monotonic() - asked > _REMEMBERED:
        fault = _ask(address)
        _unanswered[address] = (time.monotonic(), fault)
    return fault


def _ask(address: str) -> str:
    """Return why an address does not answer, else an empty string. In a thread: looking a name up has no time limit."""
    import requests

    faults = [f"no answer in {_HUB_SECONDS:.0f} seconds"]

    def ask() -> None:
        try:
            requests.head(address, timeout=_HUB_SECONDS, allow_redirects=False)
            faults.append("")
        except requests.RequestException as error:
            faults.append(type(error).__name__)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_HUB_SECONDS)
    return faults[-1] and f"{escape(address)} cannot be reached ({faults[-1]})"


def _check_types(path: Path) -> None:
    check_tensor_file(path)
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - not a dictionary
            kind = file.get_slice(name).get_dtype()
            if kind not in _TYPES:
                raise ValueError(f"{shown(path.name)}: {shown_name(name)} holds {kind}, which are not parameters")
