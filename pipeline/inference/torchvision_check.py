"""Check of the visual networks against torchvision's own, which defined and published them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...extractors.fused import fuse
from ...extractors.registry import build_extractor

_POSITIONS = 49  # of VGG19's maps
TOLERANCE = 1e-4  # relative; float32 of differently ordered sums gives 1e-6


def check_visual(name: str, state: Mapping[str, Tensor]) -> float:
    """Compare the rows that this machine computes with those of torchvision's network.

    Args:
        name: `resnet152`, `r2plus1d_18` or `vgg19`.
        state: all tensors of its published file; of VGG19, the classifier may be missing.

    Returns:
        The norm of the difference, divided by that of torchvision's rows.

    Raises:
        ImportError: torchvision is not installed, or does not import beside the installed torch.
        ValueError: the tensors do not fit the network.
    """
    reference = _torchvision_network(name)
    extractor = build_extractor(name, state)
    head = "classifier" if name == "vgg19" else "fc"
    setattr(reference, head, nn.Identity())
    try:
        reference.load_state_dict(
            {key: tensor for key, tensor in state.items() if not key.startswith(f"{head}.")}, assign=True
        )
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit torchvision's {name}") from error
    fused = fuse(extractor)
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (1, *extractor.input_format.shape), dtype=torch.uint8, generator=generator)
    with torch.inference_mode():
        expected = reference.eval()(extractor.prepare(frames))
        if name == "vgg19":  # torchvision flattens maps with their channels first
            expected = expected.unflatten(1, (-1, _POSITIONS)).transpose(1, 2).flatten(1)
        return float((fused(fused.prepare(frames)) - expected).norm() / expected.norm())


def _torchvision_network(name: str) -> nn.Module:
    try:
        from torchvision.models import resnet152, vgg19
        from torchvision.models.video import r2plus1d_18
    except Exception as error:  # its operators raise RuntimeError beside another torch
        raise ImportError(f"torchvision does not import: {error}") from error
    with torch.device("meta"):
        return {"resnet152": resnet152, "r2plus1d_18": r2plus1d_18, "vgg19": vgg19}[name]()
