"""Check folders of models of other programs (config.json, model.safetensors) before transformers reads them."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..weights.errors import WeightsError
from ..weights.messages import shown, shown_name
from ..weights.safe_paths import inside, is_folder
from ..weights.tensor_files import check_tensor_file
from .errors import SetupError
from .text import escape
from .text_files import read_json

MAX_MODEL_FILES = 100  # files of parameters in a folder
_INDEX = "model.safetensors.index.json"
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


def _check_types(path: Path) -> None:
    check_tensor_file(path)
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - not a dictionary
            kind = file.get_slice(name).get_dtype()
            if kind not in _TYPES:
                raise ValueError(f"{shown(path.name)}: {shown_name(name)} holds {kind}, which are not parameters")
