"""Load both teachers, CLIP and CLAP, with their text prompts encoded, onto the devices of the batch engine."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..devices import ComputePrecision, resolve_devices
from ..inference.bundle import DeviceNetworks
from .clap_teacher import CLAP_MODEL, load_clap
from .clip_teacher import CLIP_MODEL, load_clip
from .hub import load_all, load_transformers
from .prompts import Prompts


@dataclass(frozen=True)
class LoadedTeachers:
    """Teachers on their devices.

    Attributes:
        networks: per device: the teachers by stream.
        hashes: "CLIP" and "CLAP" -> hash of the model's files.
    """

    networks: tuple[DeviceNetworks, ...]
    hashes: Mapping[str, str]

    @property
    def device(self) -> torch.device:
        """First of the devices."""
        return self.networks[0][0]


def load_teachers(
    prompts: Prompts,
    *,
    clip: str = CLIP_MODEL,
    clap: str = CLAP_MODEL,
    offline: bool = False,
    device: str = "auto",
    precision: ComputePrecision,
) -> LoadedTeachers:
    """Load both teachers and encode the text prompts.

    Args:
        prompts: of the classes.
        clip: folder, or name on the Hugging Face hub.
        clap: the same, or LAION's own file with the suffix .pt.
        offline: use only files on this machine.
        device: a name that `resolve_devices` accepts.
        precision: of the models' parameters.

    Returns:
        A copy of both teachers on each device.

    Raises:
        SetupError: transformers or files are missing; the message names all of them.
    """
    transformers = load_transformers()
    devices = resolve_devices(device)
    for resolved in devices:
        precision.prepare(resolved)
    with torch.inference_mode():
        (clap_teacher, clap_hash), (clip_teacher, clip_hash) = load_all(
            partial(load_clap, transformers, clap, prompts.audio_prompts, offline=offline),
            partial(load_clip, transformers, clip, prompts.visual_prompts, offline=offline),
        )
    teachers = [clap_teacher, clip_teacher]
    copies = [teachers, *(copy.deepcopy(teachers) for _ in devices[1:])]
    networks: tuple[Any, ...] = tuple(
        (target, {teacher.stream: teacher.arrange(target, precision.dtype) for teacher in copied})
        for target, copied in zip(devices, copies, strict=True)
    )
    return LoadedTeachers(networks, {"CLAP": clap_hash, "CLIP": clip_hash})
