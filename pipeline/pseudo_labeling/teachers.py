"""Load CLIP and CLAP with their text prompts encoded, and a temporal teacher, onto the devices of the batch engine."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...models.teacher import TemporalTeacher
from ..backends.registry import prepare_backend
from ..devices import ComputePrecision, resolve_devices
from ..errors import SetupError
from ..inference.extractors import DeviceNetworks
from ..inference.teacher import score_modality
from ..precisions import QUANTIZED
from .clap_teacher import CLAP_MODEL, load_clap
from .clip_teacher import CLIP_MODEL, load_clip
from .hub import load_all, load_transformers
from .prompts import Prompts
from .temporal import load_temporal

TEMPORAL = "temporal"  # name of the temporal teacher in hashes and in the record


@dataclass(frozen=True)
class LoadedTeachers:
    """Teachers on their devices.

    Attributes:
        networks: per device: the teachers by stream.
        hashes: "CLIP" and "CLAP" -> hash of the model's files, and `TEMPORAL` -> that of the temporal teacher's.
        temporal: temporal teacher on the first device; None for the logits of CLIP and CLAP.
        notes: of what computes them, for the user.
    """

    networks: tuple[DeviceNetworks, ...]
    hashes: Mapping[str, str]
    temporal: TemporalTeacher | None = None
    notes: tuple[str, ...] = ()

    @property
    def device(self) -> torch.device:
        """First of the devices."""
        return self.networks[0][0]

    def score(self, modality: str, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score a clip by the temporal teacher, see `score_modality`; arguments and result as there."""
        assert self.temporal is not None
        return score_modality(self.temporal, modality, features, self.device)


def load_teachers(
    prompts: Prompts,
    *,
    clip: str = CLIP_MODEL,
    clap: str = CLAP_MODEL,
    offline: bool = False,
    device: str = "auto",
    precision: ComputePrecision,
    temporal: Path | None = None,
) -> LoadedTeachers:
    """Load both teachers and encode the text prompts.

    Args:
        prompts: of the classes.
        clip: folder, or name on the Hugging Face hub.
        clap: the same, or LAION's own file with the suffix .pt.
        offline: use only files on this machine.
        device: a name that `resolve_devices` accepts.
        precision: of the models' parameters; the temporal teacher computes in fp32.
        temporal: temporal teacher, see `load_temporal`.

    Returns:
        A copy of CLIP and CLAP on each device, and the temporal teacher on the first.

    Raises:
        SetupError: transformers or files are missing; the message names all of them. Or the teachers cannot be computed
            in this precision here.
    """
    if precision.name in QUANTIZED:
        raise SetupError(f"the teachers are not quantized, so that they cannot compute in {precision.name}; use bf16")
    transformers = load_transformers()
    devices = resolve_devices(device)
    for resolved in devices:
        prepare_backend(precision, resolved)
    with torch.inference_mode():
        (clap_teacher, clap_hash), (clip_teacher, clip_hash) = load_all(
            partial(load_clap, transformers, clap, prompts.audio_prompts, offline=offline),
            partial(load_clip, transformers, clip, prompts.visual_prompts, offline=offline),
        )
    teachers = [clap_teacher, clip_teacher]
    copies = [teachers, *(copy.deepcopy(teachers) for _ in devices[1:])]
    weights = {clap_teacher.stream: clap_hash, clip_teacher.stream: clip_hash}
    notes: list[str] = []
    networks: tuple[Any, ...] = tuple(
        (target, {one.stream: one.arrange(target, precision, weights[one.stream], notes.append) for one in copied})
        for target, copied in zip(devices, copies, strict=True)
    )
    hashes = {"CLAP": clap_hash, "CLIP": clip_hash}
    if temporal is None:
        return LoadedTeachers(networks, hashes, notes=tuple(dict.fromkeys(notes)))
    texts = clap_teacher.text_embeddings.float(), clip_teacher.text_embeddings.float()
    teacher, hashes[TEMPORAL] = load_temporal(temporal, prompts.labels, *texts)
    return LoadedTeachers(networks, hashes, teacher.to(devices[0]), tuple(dict.fromkeys(notes)))
