"""Bundles of small random networks, on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from avvp.extractors.profiles import FeatureSpec, feature_spec
from avvp.extractors.registry import build_extractor, extractor_shapes
from avvp.models.config import ParserConfig
from avvp.models.files.checkpoint import dump_checkpoint
from avvp.models.localizers.config import LocalizerConfig
from avvp.models.localizers.localizer import build_localizer
from avvp.models.parser import build_parser
from avvp.weights.untrained import untrained_state
from safetensors.torch import save_file
from torch import Tensor

TINY = {"vggish_tiny": "vggish", "resnet_tiny": "resnet", "r2plus1d_tiny": "r2plus1d"}
LABELS = ("Dog", "Speech", "Violin_fiddle")
TINY_AVE = {"vggish_tiny": "vggish", "vgg19_tiny": "vgg19"}
AVE_LABELS = ("Church bell", "Male speech, man speaking", "Bark")


def write_tiny_bundle(folder: Path, profile: str, *, seed: int = 7) -> Path:
    """Write a complete bundle of small random networks."""
    states = {name: untrained_state(extractor_shapes(name), seed) for name in TINY}
    extractors = {name: build_extractor(name, state) for name, state in states.items()}
    spec = feature_spec(profile, extractors)
    audio, visual_2d, visual_3d = spec.dims
    config = ParserConfig(
        labels=LABELS, audio_dim=audio, visual_2d_dim=visual_2d, visual_3d_dim=visual_3d, hidden_dim=16,
        feedforward_dim=16, heads=2, levels=2, label_embedding_dim=5, leap_blocks=1, leap_heads=2,
    )  # fmt: skip
    torch.manual_seed(seed)
    parser = build_parser(config, torch.randn(len(LABELS), 5))
    files = {TINY[name]: state for name, state in states.items()}
    return _write_bundle(folder, spec, files, dump_checkpoint(parser, spec.to_dict(), {"made_by": "tests"}))


def write_tiny_localizer(folder: Path, *, profile: str = "ave", seed: int = 7, **settings: Any) -> Path:
    """Write a complete bundle of a small random localizer; settings are fields of `LocalizerConfig`."""
    states = {name: untrained_state(extractor_shapes(name), seed) for name in TINY_AVE}
    spec = feature_spec(profile, {name: build_extractor(name, state) for name, state in states.items()})
    audio, visual_map = spec.dims
    sizes = {
        "attention_dim": 8, "hidden_dim": 16, "classifier_dim": 5, "feedforward_dim": 12, "heads": 4, "leap_heads": 4,
        "interaction_heads": 2, "label_embedding_dim": 5, "leap_feedforward_dim": 8,
    }  # fmt: skip
    given = {"labels": AVE_LABELS, "system": "ave", "audio_dim": audio, "visual_dim": visual_map // 49}
    config = LocalizerConfig(**{**given, **sizes, **settings})
    torch.manual_seed(seed)
    localizer = build_localizer(config, torch.randn(len(config.embedding_labels), 5))
    files = {TINY_AVE[name]: state for name, state in states.items()}
    return _write_bundle(folder, spec, files, dump_checkpoint(localizer, spec.to_dict(), {"made_by": "tests"}))


def _write_bundle(
    folder: Path, spec: FeatureSpec, states: Mapping[str, Mapping[str, Tensor]], checkpoint: bytes
) -> Path:
    """Write a bundle; states: parameters of the extractors by the name of their file, in the order of `spec`."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, state in states.items():
        save_file(dict(state), folder / f"{file}.safetensors")
    (folder / "parser.safetensors").write_bytes(checkpoint)
    entries = ", ".join(f'{name} = "{file}.safetensors"' for name, file in zip(spec.extractors, states, strict=True))
    (folder / "bundle.toml").write_text(
        f'profile = "{spec.profile}"\nextractors = {{ {entries} }}\nparser = {{ checkpoint = "parser.safetensors" }}\n'
    )
    return folder


def copy_bundle(source: Path, target: Path) -> Path:
    """Copy a bundle to another folder, for a test to change."""
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target
