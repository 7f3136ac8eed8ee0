"""Load a temporal teacher: a run of `avvp train-teacher`, or a file of UWAV's program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...models.files.checkpoint import load_teacher
from ...models.files.published_teacher import load_published_teacher
from ...models.teacher import TemporalTeacher
from ...weights.errors import WeightsError
from ...weights.load import read_state_dict
from ...weights.messages import first_line
from ...weights.safe_paths import inside, is_file, is_folder
from ..errors import SetupError
from ..files import hash_file
from ..text import escape

_BEST_FILE = "best.safetensors"  # of a run
_CHECKPOINT_SUFFIX = ".safetensors"


def load_temporal(path: Path, labels: Sequence[str], audio: Tensor, visual: Tensor) -> tuple[TemporalTeacher, str]:
    """Load a temporal teacher for classes that need not be those of its training.

    Args:
        path: folder of a run, its file best.safetensors or last.safetensors, or a PyTorch file of UWAV's program.
        labels: C class names.
        audio: (C, A) float, CLAP's text features of the classes, of length 1.
        visual: (C, V) float, CLIP's.

    Returns:
        The teacher in eval mode on the CPU, and the hash of its file.

    Raises:
        SetupError: there is no such teacher, its file cannot be used, or it reads features of other widths.
    """
    file = _find_file(path)
    try:
        text = torch.cat([audio, visual], dim=1).cpu()
        if file.suffix == _CHECKPOINT_SUFFIX:
            teacher = load_teacher(file).teacher
            _check_widths(teacher, audio, visual)
            return teacher.with_classes(labels, text), hash_file(file)
        return load_published_teacher(read_state_dict(file), labels=labels, text=text), hash_file(file)
    except (ValueError, WeightsError) as error:
        reason = first_line(error).removeprefix(f"{file}: ")
        raise SetupError(f"{escape(file)}: cannot be used as a temporal teacher: {escape(reason)}") from error


def _find_file(path: Path) -> Path:
    """Return the file of a teacher. Raises SetupError."""
    try:
        file = inside(path, _BEST_FILE) if is_folder(path) else path
    except ValueError as error:
        raise SetupError(f"{escape(path)}: {escape(error)}") from error
    if not is_file(file):
        raise SetupError(f"{escape(path)}: no temporal teacher, which avvp train-teacher makes: no {escape(file.name)}")
    return file


def _check_widths(teacher: TemporalTeacher, audio: Tensor, visual: Tensor) -> None:
    """Raise ValueError unless a teacher reads features of these widths."""
    expected = (teacher.config.audio_dim, teacher.config.visual_dim)
    found = (audio.shape[1], visual.shape[1])
    if found != expected:
        raise ValueError(
            f"it reads {expected[0]} values of CLAP and {expected[1]} of CLIP, but these models give {found[0]} and"
            f" {found[1]}; name those it was trained with, by --clap-model and --clip-model"
        )
