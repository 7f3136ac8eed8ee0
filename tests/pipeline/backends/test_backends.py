"""One contract for every backend, extractor and precision: the rows are those of the plain network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import cache, lru_cache, partial

import numpy as np
import pytest
import torch
from avvp.extractors.base import Extractor
from avvp.extractors.registry import EXTRACTORS, build_extractor, extractor_shapes, meta_extractor
from avvp.pipeline.backends.base import Backend, ExtractorSource
from avvp.pipeline.backends.convert import TOLERANCE
from avvp.pipeline.backends.openvino_backend import OpenVINOBackend
from avvp.pipeline.backends.registry import BACKENDS
from avvp.pipeline.devices import ComputePrecision
from avvp.pipeline.precisions import BACKENDS as BACKEND_PRECISIONS
from avvp.weights.untrained import untrained_state
from torch import Tensor

CPU = torch.device("cpu")
FULL = (
    *("vggish", "resnet152", "r2plus1d_18", "vgg19", "clip", "clap"),
    *("clip_b32", "clap_unfused", "pe_av_audio"),
)
TOO_LARGE = ("pe_av_video",)  # 400 GFLOP for each of the frames: minutes a test
SMALL = tuple(name for name in EXTRACTORS if name not in {*FULL, *TOO_LARGE})
FLOATS = tuple((backend, precision) for backend in BACKENDS for precision in ("fp32", "bf16"))
LEAST_COSINE = 0.99  # of rows in bf16

Arrange = Callable[[str, str, str], Extractor]


def build(name: str) -> Extractor:
    return build_extractor(name, untrained_state(extractor_shapes(name), 5))


plain_small, plain_full = cache(build), lru_cache(maxsize=1)(build)


def plain(name: str) -> Extractor:
    """A network as it is; of those in full size only the last is kept, as together they fill the memory."""
    return plain_full(name) if name in FULL else plain_small(name)


def reduced_inputs(name: str, count: int = 5) -> Tensor:
    """Inputs that differ from each other."""
    form = plain(name).input_format
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(count, *form.shape, generator=generator)
    if form.stream == "audio":
        return noise
    levels = torch.linspace(20, 230, count).view(count, *[1] * len(form.shape))
    values = (levels + 20 * noise).clamp(0, 255)
    return values.to(torch.uint8) if form.dtype is np.uint8 else values / 255


def error(rows: Tensor, expected: Tensor) -> float:
    """Relative to what distinguishes the rows."""
    return float((rows - expected).norm() / (expected - expected.mean(0)).norm())


def compute(extractor: Extractor, reduced: Tensor) -> Tensor:
    with torch.inference_mode():
        return extractor(extractor.prepare(reduced))


@pytest.fixture(scope="module")
def arrange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arrange]:
    """Arranged extractors by backend, name and precision; converted models are shared by the tests."""
    backends: dict[str, Backend] = {**BACKENDS, "openvino": OpenVINOBackend(tmp_path_factory.mktemp("models"))}

    def arrange_one(backend: str, name: str, precision: str) -> Extractor:
        source = ExtractorSource(partial(plain, name), partial(meta_extractor, name), "seed 5")
        return backends[backend].arrange(source, ComputePrecision(precision, backend=backend), CPU)

    arrange_small = cache(arrange_one)

    def arranged(backend: str, name: str, precision: str) -> Extractor:
        return (arrange_one if name in FULL else arrange_small)(backend, name, precision)

    yield arranged
    plain_small.cache_clear()
    plain_full.cache_clear()


def test_every_backend_is_in_the_table_of_precisions() -> None:
    assert set(BACKENDS) == set(BACKEND_PRECISIONS)
    assert all(backend.name == name for name, backend in BACKENDS.items())


@pytest.mark.parametrize(("backend", "precision"), FLOATS)
@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=pytest.mark.full_size) for name in FULL)])
def test_rows_are_those_of_the_plain_network(name: str, backend: str, precision: str, arrange: Arrange) -> None:
    extractor, original = arrange(backend, name, precision), plain(name)
    reduced = reduced_inputs(name, 3 if name in FULL else 5)
    expected, rows = compute(original, reduced), compute(extractor, reduced)
    assert rows.dtype == torch.float32
    assert rows.shape == expected.shape
    if precision == "fp32":
        assert error(rows, expected) < TOLERANCE
    else:
        assert torch.nn.functional.cosine_similarity(rows, expected).min() > LEAST_COSINE
        assert not torch.equal(rows, expected)
    facts = ("stream", "dim", "input_format", "part")
    assert [getattr(extractor, fact) for fact in facts] == [getattr(original, fact) for fact in facts]


@pytest.mark.parametrize(("backend", "precision"), FLOATS)
@pytest.mark.parametrize("name", SMALL)
def test_a_row_does_not_depend_on_its_batch(name: str, backend: str, precision: str, arrange: Arrange) -> None:
    """To the bit where the size is the same: files are put into batches as they come, and results must not tell.

    PE-AV's pictures are pooled by products of single rows, which MKL computes as their place in memory lets it: their
    rows are the same within rounding only.
    """
    extractor, reduced = arrange(backend, name, precision), reduced_inputs(name)
    rows = compute(extractor, reduced)

    def same(found: Tensor, expected: Tensor) -> bool:
        rounded = name == "pe_av_video_tiny" and precision == "fp32"
        return torch.allclose(found, expected, rtol=0, atol=1e-6) if rounded else torch.equal(found, expected)

    assert same(compute(extractor, reduced.flip(0)).flip(0), rows)
    alone = torch.zeros_like(reduced)
    alone[2] = reduced[2]
    assert same(compute(extractor, alone)[2], rows[2])
    for size in (1, 3):
        smaller = compute(extractor, reduced[:size])
        assert smaller.shape == (size, extractor.dim)
        if precision == "fp32":
            assert error(smaller, rows[:size]) < TOLERANCE or size == 1
            assert float((smaller - rows[:size]).norm() / rows[:size].norm()) < TOLERANCE


@pytest.mark.parametrize(("backend", "precision"), FLOATS)
@pytest.mark.parametrize("name", ["vggish_tiny", "resnet_tiny", "r2plus1d_tiny", "clap_tiny"])
def test_threads_compute_the_same_rows_beside_each_other(
    name: str, backend: str, precision: str, arrange: Arrange
) -> None:
    extractor, reduced = arrange(backend, name, precision), reduced_inputs(name)
    callers = 3
    extractor.expect_callers(callers)
    parts = [reduced.roll(shift, 0) for shift in range(callers)]
    expected = [compute(extractor, part) for part in parts]
    found: list[list[Tensor]] = [[] for _ in parts]
    start = threading.Barrier(callers)

    def call(index: int) -> None:
        start.wait(20)
        found[index] = [compute(extractor, parts[index]) for _ in range(4)]

    threads = [threading.Thread(target=call, args=(index,)) for index in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    extractor.expect_callers(1)
    assert [len(rows) for rows in found] == [4] * callers
    for rows, one in zip(found, expected, strict=True):
        assert all(torch.equal(row, one) for row in rows)
