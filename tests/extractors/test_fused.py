"""The fast arrangement of the networks is held to the plain one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from avvp.extractors.base import Extractor
from avvp.extractors.cuda_graphs import record_graph
from avvp.extractors.fused import FusedConv, fuse
from avvp.extractors.registry import build_extractor, extractor_shapes
from avvp.weights.untrained import untrained_state
from torch import Tensor, nn

TINY = ("vggish_tiny", "resnet_tiny", "r2plus1d_tiny", "vgg19_tiny", "clip_tiny", "clap_tiny")
FULL = ("vggish", "resnet152", "r2plus1d_18", "vgg19")


def make(name: str) -> tuple[Extractor, Tensor]:
    """A network whose batch norms do something, and inputs that differ from each other."""
    torch.manual_seed(3)
    plain = build_extractor(name, untrained_state(extractor_shapes(name), 5))
    count = 3
    shape = plain.input_format.shape
    if plain.input_format.stream == "audio":
        return plain, torch.randn(count, *shape)
    levels = torch.linspace(20, 230, count).view(count, *[1] * len(shape))
    values = (levels + 20 * torch.randn(count, *shape)).clamp(0, 255)
    return plain, values.to(torch.uint8) if plain.input_format.dtype is np.uint8 else values / 255


def error(rows: Tensor, expected: Tensor) -> float:
    """Relative to what distinguishes the rows."""
    return float((rows - expected).norm() / (expected - expected.mean(0)).norm())


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("name", [*TINY, *(pytest.param(name, marks=pytest.mark.full_size) for name in FULL)])
def test_fused_rows_equal_those_of_the_plain_network(name: str, onednn: bool) -> None:
    plain, reduced = make(name)
    fused = fuse(plain, onednn=onednn)
    with torch.inference_mode():
        expected = plain(plain.prepare(reduced))
        assert error(fused(fused.prepare(reduced)), expected) < 1e-4
        assert torch.equal(plain(plain.prepare(reduced)), expected), "the plain network was changed"
    assert (fused.stream, fused.dim, fused.input_format) == (plain.stream, plain.dim, plain.input_format)


@pytest.mark.parametrize("name", TINY)
def test_fused_row_does_not_depend_on_its_batch(name: str) -> None:
    """To the bit: files are put into batches as they come, and results must not tell."""
    plain, reduced = make(name)
    fused = fuse(plain)
    with torch.inference_mode():
        rows = fused(fused.prepare(reduced))
        turned = fused(fused.prepare(reduced.flip(0)))
        alone = reduced.clone()
        alone[1:] = 0
        assert torch.equal(turned.flip(0), rows)
        assert torch.equal(fused(fused.prepare(alone))[0], rows[0])


@pytest.mark.parametrize("name", TINY)
def test_fused_bfloat16_is_close_to_float32(name: str) -> None:
    plain, reduced = make(name)
    fused = fuse(plain, dtype=torch.bfloat16)
    with torch.inference_mode():
        rows, expected = fused(fused.prepare(reduced)), plain(plain.prepare(reduced))
    assert rows.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(rows, expected).min() > 0.99
    assert not torch.equal(rows, expected)


def test_fuse_replaces_every_convolution() -> None:
    plain, reduced = make("resnet_tiny")
    fused = fuse(plain)
    convolutions = sum(isinstance(module, nn.Conv2d) for module in plain.modules())
    assert sum(isinstance(module, FusedConv) for module in fused.modules()) == convolutions
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    with torch.inference_mode():
        assert not any(part.requires_grad for part in fused.parameters())
        assert fused(fused.prepare(reduced)).shape == (3, plain.dim)


def test_fuse_rejects_other_networks() -> None:
    class Other(Extractor):
        pass

    with pytest.raises(ValueError, match="no fused form of Other; known: ResNet, R2Plus1D, VGGish, VGG19"):
        fuse(Other(4))


def test_convolutions_that_cudnn_does_not_have_are_pytorchs() -> None:
    """It has none on a CPU; tests/gpu holds those of a GPU to the plain networks."""
    plain, reduced = make("resnet_tiny")
    fused = fuse(plain, onednn=False)
    convolutions = [module for module in fused.modules() if isinstance(module, FusedConv)]
    with torch.inference_mode():
        expected = fused(fused.prepare(reduced))
        for convolution in convolutions:
            convolution.cudnn = True
        assert torch.equal(fused(fused.prepare(reduced)), expected)
    without_relu = sum(convolution.cudnn for convolution in convolutions)
    assert without_relu < len(convolutions) / 2


def test_memory_that_is_short_is_no_missing_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "cudnn_convolution_relu", fail)
    plain, reduced = make("resnet_tiny")
    fused = fuse(plain, onednn=False)
    convolutions = [module for module in fused.modules() if isinstance(module, FusedConv)]
    for convolution in convolutions:
        convolution.cudnn = True
    with torch.inference_mode(), pytest.raises(torch.OutOfMemoryError):
        fused(fused.prepare(reduced))
    assert all(convolution.cudnn for convolution in convolutions)


def test_extractors_that_may_read_values_back_are_not_recorded() -> None:
    plain, _ = make("resnet_tiny")
    fused_clap = fuse(make("clap_tiny")[0])
    for extractor in (plain, fused_clap):
        assert record_graph(extractor, 4, torch.device("cuda")) is extractor
