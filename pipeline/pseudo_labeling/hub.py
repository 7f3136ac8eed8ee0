"""Load models and tokenizers of transformers, from folders or from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...extractors.transformers_import import import_transformers
from ...weights.messages import first_line
from ...weights.parameters import check_parameters
from ...weights.safe_paths import is_file, is_folder
from ..batch.journal import hash_values
from ..errors import SetupError
from ..files import hash_file, list_files
from ..model_folders import check_model_folder, find_hub_fault
from ..text import escape

_ONLY_DATA = {"trust_remote_code": False}  # without it, transformers asks whether to run a model's own program


def load_transformers() -> Any:
    """Return the module transformers. Raises SetupError if it is not installed."""
    try:
        return import_transformers()
    except ValueError as error:
        raise SetupError(str(error)) from error


def load_all(*loaders: Callable[[], Any]) -> list[Any]:
    """Return the results of all loaders. Raises one SetupError with the messages of all that failed."""
    results, problems = [], []
    for load in loaders:
        try:
            results.append(load())
        except SetupError as error:
            problems.append(str(error))
    if problems:
        raise SetupError("\n  ".join(problems))
    return results


def load_pretrained(model_class: Any | None, tokenizer_class: Any, name: str, *, offline: bool) -> tuple[Any, Any]:
    """Load a model and its tokenizer.

    Args:
        model_class: of transformers; None loads only the tokenizer.
        tokenizer_class: of transformers.
        name: a folder, or a name on the hub.
        offline: use only files on this machine.

    Returns:
        The model in eval mode or None, and the tokenizer.

    Raises:
        SetupError: files are missing or damaged, or lack parameters, which transformers would initialize at random.
    """
    model, info = None, {}
    if model_class is not None:
        check_model_folder(Path(name))
    fault = "" if offline else find_hub_fault(name)
    local = {**_ONLY_DATA, "local_files_only": offline or bool(fault)}
    try:
        if model_class is not None:
            options = {**local, "use_safetensors": True, "output_loading_info": True}
            model, info = model_class.from_pretrained(name, **options)
        tokenizer = tokenizer_class.from_pretrained(name, **local)
    except Exception as error:  # files that do not fit raise errors of any kind in transformers
        files = "config.json, tokenizer files" + (", model.safetensors" if model_class is not None else "")
        raise _not_loaded(name, files, fault or first_line(error), offline=offline) from error
    if faults := sorted(map(str, [*info.get("missing_keys", ()), *info.get("mismatched_keys", ())])):
        what = f"{len(faults)} parameters are missing or have another shape ({faults[0]}, ...)"
        raise SetupError(f"{escape(name)}: does not fit the model: {escape(what)}")
    if model is not None:
        _check_numbers(name, model)
    return None if model is None else model.eval(), tokenizer


def _check_numbers(name: str, model: Any) -> None:
    """Raise SetupError for parameters that are not finite, and for negative variances."""
    parameters = {key: tensor for key, tensor in model.state_dict().items() if tensor.is_floating_point()}
    shapes = {key: tensor.shape for key, tensor in parameters.items()}
    try:
        check_parameters(parameters, shapes, dtypes={tensor.dtype for tensor in parameters.values()})
    except ValueError as error:
        raise SetupError(f"{escape(name)}: {escape(error)}") from error


def fetch_file(name: str, *, offline: bool) -> Path:
    """Return the path of a single file, downloaded if necessary.

    Args:
        name: a path, or OWNER/REPOSITORY/FILE on the hub.
        offline: use only files on this machine.

    Returns:
        A path on this machine.

    Raises:
        SetupError: there is no such file.
    """
    if is_file(Path(name)):
        return Path(name)
    from huggingface_hub import hf_hub_download

    repository, _, file = name.rpartition("/")
    if repository.count("/") != 1:
        raise SetupError(f"{escape(name)}: no such file, and not OWNER/REPOSITORY/FILE on the Hugging Face hub")
    fault = "" if offline else find_hub_fault(name)
    try:
        return Path(hf_hub_download(repository, file, local_files_only=offline or bool(fault)))
    except Exception as error:  # of the hub, or of the connection
        raise _not_loaded(name, file, fault or first_line(error), offline=offline) from error


def hash_model(name: str, model: Any) -> str:
    """Return a hash of a model's folder, or the revision of a model on the hub."""
    folder = Path(name)
    if not is_folder(folder):
        return str(getattr(model.config, "_commit_hash", None) or name)
    files = [path for path in list_files(folder) if path.suffix in {".json", ".safetensors", ".txt"}]
    return hash_values({path.name: hash_file(path) for path in files})


def _not_loaded(name: str, files: str, reason: str, *, offline: bool) -> SetupError:
    if is_folder(Path(name)) or is_file(Path(name)):
        return SetupError(f"{escape(name)}: cannot be loaded ({files}): {reason}")
    advice = "download it without --offline" if offline else "download it into a folder and pass the folder"
    return SetupError(f"{escape(name)}: not found ({files}); {advice}: {reason}")
