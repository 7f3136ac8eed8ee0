"""Extractors on a GPU are held to the plain ones on the CPU: fused, in each precision, compiled, recorded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from avvp.extractors.base import Extractor
from avvp.extractors.clap import CLAP
from avvp.extractors.cuda_graphs import GraphedExtractor, record_graph
from avvp.extractors.fused import FusedExtractor, fuse
from avvp.extractors.registry import build_extractor, extractor_shapes
from avvp.models import ParserConfig, build_parser
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.batch.compute_workers import batch_sizes
from avvp.pipeline.devices import ComputePrecision
from avvp.pipeline.inference.predict import predict_video
from avvp.weights.untrained import untrained_state
from torch import Tensor

pytestmark = pytest.mark.gpu
GPU, CPU = torch.device("cuda"), torch.device("cpu")
TINY = ("vggish_tiny", "resnet_tiny", "r2plus1d_tiny", "vgg19_tiny", "clip_tiny", "clap_tiny")
OPEN_TINY = ("clap_unfused_tiny", "pe_av_audio_tiny", "pe_av_video_tiny")
FULL = ("vggish", "resnet152", "r2plus1d_18", "vgg19", "clip", "clap", "clip_b32", "clap_unfused", "pe_av_audio")
COSINES = {"fp32": 0.999999, "tf32": 0.999, "bf16": 0.99, "fp16": 0.999}


@pytest.fixture(autouse=True)
def _kept_switches() -> Iterator[None]:
    kept = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = kept


def make(name: str, count: int = 4) -> tuple[Extractor, Tensor]:
    """A plain network on the CPU, and reduced inputs that differ from each other."""
    plain = build_extractor(name, untrained_state(extractor_shapes(name), 5))
    rng = np.random.default_rng(3)
    form = plain.input_format
    if form.stream == "audio":
        return plain, torch.from_numpy(rng.standard_normal((count, *form.shape)).astype(np.float32))
    levels = np.linspace(20, 230, count).reshape(-1, *[1] * len(form.shape))
    values = np.clip(levels + 20 * rng.standard_normal((count, *form.shape)), 0, 255)
    return plain, torch.from_numpy(values.astype(np.uint8) if form.dtype is np.uint8 else (values / 255).astype("f4"))


def on_gpu(plain: Extractor, precision: str = "fp32", *, compiled: bool = False) -> FusedExtractor:
    chosen = ComputePrecision(precision, compiled)
    chosen.prepare(GPU)
    fused = fuse(plain.to(GPU), dtype=chosen.dtype, compiled=compiled)
    assert isinstance(fused, FusedExtractor)
    return fused


def rows_of(network: Extractor, reduced: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(network.prepare(reduced)).cpu()


def error(rows: Tensor, expected: Tensor) -> float:
    """Relative to what distinguishes the rows."""
    return float((rows - expected).norm() / (expected - expected.mean(0)).norm())


@pytest.mark.parametrize(
    "name", [*TINY, *OPEN_TINY, *(pytest.param(name, marks=pytest.mark.full_size) for name in FULL)]
)
def test_rows_equal_those_of_the_cpu(name: str) -> None:
    plain, reduced = make(name)
    expected = rows_of(plain, reduced)
    rows = rows_of(on_gpu(plain), reduced.to(GPU))
    assert rows.dtype == torch.float32
    assert error(rows, expected) < 1e-4


@pytest.mark.parametrize("precision", COSINES)
@pytest.mark.parametrize("name", [*TINY, *OPEN_TINY])
def test_rows_in_each_precision_are_close_to_those_of_the_cpu(name: str, precision: str) -> None:
    plain, reduced = make(name)
    expected = rows_of(plain, reduced)
    rows = rows_of(on_gpu(plain, precision), reduced.to(GPU))
    assert rows.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(rows, expected).min() > COSINES[precision]


@pytest.mark.parametrize("name", ["vggish_tiny", "resnet_tiny", "r2plus1d_tiny"])
def test_compiled_rows_equal_those_of_the_cpu(name: str) -> None:
    plain, reduced = make(name)
    expected = rows_of(plain, reduced)
    assert error(rows_of(on_gpu(plain, compiled=True), reduced.to(GPU)), expected) < 1e-4


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", TINY)
def test_recorded_rows_equal_those_of_the_network(name: str, precision: str) -> None:
    plain, reduced = make(name)
    fused = on_gpu(plain, precision)
    recorded = record_graph(fused, len(reduced), GPU)
    assert isinstance(recorded, GraphedExtractor) == (fused.network is not CLAP)
    assert (recorded.stream, recorded.dim, recorded.input_format) == (fused.stream, fused.dim, fused.input_format)
    expected, turned = rows_of(fused, reduced.to(GPU)), rows_of(recorded, reduced.flip(0).to(GPU))
    again = rows_of(recorded, reduced.to(GPU))
    tolerance = 1e-5 if precision == "fp32" else 1e-2
    assert error(again, expected) < tolerance
    assert error(turned.flip(0), expected) < tolerance


def test_recorded_networks_refuse_other_sizes() -> None:
    plain, reduced = make("vggish_tiny")
    recorded = record_graph(on_gpu(plain), 3, GPU)
    with pytest.raises(ValueError, match=r"recorded for inputs of shape \(3, 96, 64\), not \(4, 96, 64\)"):
        rows_of(recorded, reduced.to(GPU))


@pytest.mark.parametrize("name", ["vggish_tiny", "resnet_tiny", "r2plus1d_tiny"])
def test_a_row_does_not_depend_on_its_batch(name: str) -> None:
    """To the bit, in batches of one size."""
    plain, reduced = make(name)
    recorded = record_graph(on_gpu(plain), len(reduced), GPU)
    rows = rows_of(recorded, reduced.to(GPU))
    alone = reduced.clone()
    alone[1:] = 0
    assert torch.equal(rows_of(recorded, alone.to(GPU))[0], rows[0])


def test_batches_are_larger_than_on_a_cpu() -> None:
    assert batch_sizes(GPU)["visual_2d"] > batch_sizes(CPU)["visual_2d"]


def test_a_parser_gives_the_probabilities_of_the_cpu() -> None:
    """At its published size, on a video of several windows."""
    ComputePrecision().prepare(GPU)
    torch.manual_seed(2)
    parser = build_parser(ParserConfig(labels=LLP_LABELS), torch.randn(len(LLP_LABELS), 300)).eval()
    rng = np.random.default_rng(4)
    streams = [np.abs(rng.standard_normal((23, width))).astype(np.float32) for width in (128, 2048, 512)]
    expected = predict_video(parser, streams, CPU).arrays()
    for name, table in predict_video(parser.to(GPU), streams, GPU).arrays().items():
        np.testing.assert_allclose(table, expected[name], atol=2e-5, err_msg=name)
