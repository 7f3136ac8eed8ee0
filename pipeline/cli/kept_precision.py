"""What a folder of results was computed with, for later runs and other shards that are to choose automatically.

journal/precision.json   {"precision": "bf16", "backend": "openvino"} of the last run
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import torch

from ...extractors.profiles import FeatureSpec
from ..backends.registry import prepare_backend
from ..batch.storage import JOURNAL_FOLDER, Storage
from ..batch.task import Task
from ..computing.choose import Choice, choose
from ..devices import FP32, ComputePrecision, resolve_devices
from ..errors import SetupError
from ..features.npy_folders import SPEC_FILE
from ..precisions import AUTO, BACKENDS, QUANTIZED, TORCH
from ..text import escape
from ..text_files import parse_json

FILE = f"{JOURNAL_FOLDER}/precision.json"
_MAX_BYTES = 1 << 12
_MAX_SPEC_BYTES = 1 << 16


def choose_for_run(task: Task[Any], storage: Storage, *, on_cluster: bool = False) -> tuple[Task[Any], str]:
    """Choose what the user leaves open of a task's precision: as the results in the storage have been computed, if any.

    Args:
        task: of the run.
        storage: of its results.
        on_cluster: the networks run on other machines, perhaps on GPUs; this one chooses for all of them.

    Returns:
        The task with a precision that is chosen, and a line for the user, or nothing.

    Raises:
        SetupError: this machine cannot compute in the precision that is wanted, or in that of the results.
    """
    wanted = task.settings.precision
    if wanted.is_chosen:
        return task, ""
    kept = _read(storage)
    if kept is not None and _fits(kept, wanted):
        choice = _as_before(kept, wanted, task, storage, on_cluster=on_cluster)
    elif on_cluster:
        if wanted.backend == AUTO and task.settings.device != "cpu":
            wanted = replace(wanted, backend=TORCH)  # it computes on GPUs, too
        choice = choose(wanted, torch.device("cpu"))
    else:
        choice = choose(wanted, resolve_devices(task.settings.device)[0], task.settings.threads)
    return replace(task, settings=replace(task.settings, precision=choice.precision)), choice.reason


def keep_precision(storage: Storage, wanted: ComputePrecision, precision: ComputePrecision) -> None:
    """Write what a run computes in, before its first result.

    Args:
        storage: of its results, locked by the caller.
        wanted: by the user.
        precision: that was chosen.

    Raises:
        SetupError: another shard, on another machine, has chosen something else meanwhile.
        OutputError: the storage cannot be written.
    """
    with storage.list_lock():
        if not wanted.is_chosen:
            kept = _read(storage)
            if kept is not None and _fits(kept, wanted) and kept.parameters != precision.parameters:
                raise SetupError(
                    f"{escape(storage.where)}: another shard computes in {kept} and has begun at the same moment as"
                    f" this one, in {precision}; start this shard again"
                )
        content = json.dumps({"precision": precision.name, "backend": precision.backend}).encode() + b"\n"
        if storage.read(FILE, limit=_MAX_BYTES) != content:
            storage.write(FILE, content)


def _as_before(
    kept: ComputePrecision, wanted: ComputePrecision, task: Task[Any], storage: Storage, *, on_cluster: bool
) -> Choice:
    """Return what the results of a storage were computed with. Raises SetupError if this machine cannot."""
    same = replace(kept, compiled=wanted.compiled)
    if not on_cluster:
        try:
            prepare_backend(same, resolve_devices(task.settings.device)[0])
        except SetupError as error:
            raise SetupError(
                f"{escape(storage.where)}: its results were computed in {same}: {error}; choose another folder"
            ) from error
    return Choice(same, f"computing in {same}, as the results in {escape(storage.where)} were")


def _fits(kept: ComputePrecision, wanted: ComputePrecision) -> bool:
    """Return whether a user who leaves something open may get what results were computed with; int8 has to be named."""
    return kept.name not in QUANTIZED and wanted.name in {AUTO, kept.name} and wanted.backend in {AUTO, kept.backend}


def _read(storage: Storage) -> ComputePrecision | None:
    """Return what the results of a storage were computed with; None if there are none."""
    if (content := storage.read(FILE, limit=_MAX_BYTES)) is not None:
        try:
            values = parse_json(content)
            if values["precision"] in BACKENDS[values["backend"]]:
                return ComputePrecision(values["precision"], backend=values["backend"])
        except (ValueError, TypeError, KeyError):
            pass
        where = escape(f"{storage.where}/{FILE}")
        raise SetupError(f"{where}: does not say what the results were computed with; name --precision and --backend")
    if (content := storage.read(SPEC_FILE, limit=_MAX_SPEC_BYTES)) is not None:
        try:
            spec = FeatureSpec.from_dict(parse_json(content))
            return ComputePrecision(spec.precision, backend=spec.backend)
        except (ValueError, TypeError):
            return None  # the run refuses such a folder
    # Versions that did not keep it computed in fp32, unless the user asked for something else.
    return FP32 if storage.names(JOURNAL_FOLDER, ".jsonl") else None
