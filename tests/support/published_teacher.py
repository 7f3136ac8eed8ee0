"""Parameters and inputs of the golden values of UWAV's temporal teacher."""

from __future__ import annotations

import numpy as np
import torch

from support.golden import SEED, fill, load_json


def published_state() -> dict[str, torch.Tensor]:
    shapes = {key: tuple(shape) for key, shape in load_json("uwav_official.json")["teacher_state_dict"].items()}
    scales = {"a_logit_scale": torch.tensor(3.2912), "v_logit_scale": torch.tensor(4.6052)}
    return fill({key: shape for key, shape in shapes.items() if shape}) | scales


def published_inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Text features of both modalities, CLAP, CLIP and the truth, drawn in this order."""
    rng = np.random.default_rng(SEED + 5)

    def unit(*shape: int) -> torch.Tensor:
        rows = rng.standard_normal(shape)
        return torch.from_numpy((rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype("f4"))

    text = torch.cat([unit(30, 512), unit(30, 768)], dim=1)
    audio, visual = unit(3, 12, 512), unit(3, 12, 768)
    return text, audio, visual, torch.from_numpy((rng.random((3, 12, 30)) < 0.1).astype("f4"))
