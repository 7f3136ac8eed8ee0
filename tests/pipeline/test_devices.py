"""Devices by name, and how they are cut into lanes. No GPU is needed: what PyTorch would say of one is put in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from avvp.extractors.base import Extractor
from avvp.extractors.inputs import LOG_MEL
from avvp.extractors.sampling import Stream
from avvp.pipeline.batch import compute_workers
from avvp.pipeline.batch.compute_workers import (
    batch_sizes,
    decode_workers,
    record_graphs,
    thread_networks,
    warm_up,
)
from avvp.pipeline.devices import FP32, ComputePrecision, resolve_devices
from avvp.pipeline.errors import SetupError
from avvp.pipeline.inference.bundle import load_parser
from avvp.pipeline.training.extractor_examples import Examples
from avvp.pipeline.training.settings.extractor_settings import ExtractorTrainingConfig
from avvp.pipeline.training.train_extractors import train_extractor
from torch import Tensor

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
def test_resolve_devices_of_several_gpus() -> None:
    assert resolve_devices("cuda:0, cuda:1") == (torch.device("cuda:0"), torch.device("cuda:1"))
    assert resolve_devices("cuda:1") == (torch.device("cuda:1"),)
    for wrong in ("cuda:0,cuda:0", "cuda,cuda:1", "cpu,cuda:0", "cuda:0,cuda:2", "cuda:0,"):
        with pytest.raises(SetupError):
            resolve_devices(wrong)


def test_compute_threads_and_batch_sizes() -> None:
    both = [(GPU, {}), (torch.device("cuda:1"), {})]
    assert [device.index for device, _ in thread_networks(both, 2)] == [0, 1, 0, 1]
    assert batch_sizes(GPU) == {"audio": 128, "visual_2d": 256, "visual_3d": 32, "visual_map": 128}
    assert batch_sizes(CPU) == {"audio": 32, "visual_2d": 8, "visual_3d": 1, "visual_map": 4}
    assert batch_sizes(CPU, profile="clip-clap")["audio"] == batch_sizes(CPU, profile="clip-clap-3d")["visual_3d"] == 4
    assert batch_sizes(GPU, profile="clip-clap")["visual_2d"] == 64
    assert batch_sizes(GPU, 7, "clip-clap")["visual_2d"] == 7
    assert batch_sizes(CPU, 20) == {"audio": 80, "visual_2d": 160, "visual_3d": 20, "visual_map": 80}
    assert (decode_workers(GPU, 16), decode_workers(CPU, 16), decode_workers(CPU, 1)) == (15, 2, 2)


@pytest.fixture
def rounding() -> Iterator[None]:
    """What PyTorch keeps for the whole process is as it was before."""
    kept = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = kept


@pytest.mark.usefixtures("rounding")
def test_tf32_is_off_by_default() -> None:
    FP32.prepare(GPU)
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (False, False)
    ComputePrecision("tf32").prepare(GPU)
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (True, True)
    assert ComputePrecision("tf32").dtype == torch.float32


def test_unsupported_precisions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr("shutil.which", lambda _: None)
    for arithmetic, device in (
        (ComputePrecision("bf16"), GPU),
        (ComputePrecision("tf32"), CPU),
        (ComputePrecision(compiled=True), CPU),
        (ComputePrecision("int4"), CPU),
    ):
        with pytest.raises(SetupError):
            arithmetic.prepare(device)


class Hungry(Extractor):
    """Needs more memory than a GPU has."""

    input_format = LOG_MEL

    def forward(self, x: Tensor) -> Tensor:
        del x
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB")


def test_batches_that_do_not_fit_name_the_option_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    networks: dict[Stream, Extractor] = {"audio": Hungry(4)}
    with pytest.raises(SetupError, match=r"use a smaller --batch-size \(CUDA out of memory"):
        warm_up([(CPU, networks)], {"audio": 2})
    monkeypatch.setattr(compute_workers, "record_graph", lambda network, *_: network(torch.zeros(1)))
    with pytest.raises(SetupError, match=r"use a smaller --batch-size \(CUDA out of memory"):
        record_graphs((GPU, networks), {"audio": 2})
    assert record_graphs((CPU, networks), {"audio": 2}) == (CPU, networks)


def test_networks_without_a_choice_of_precision_compute_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's default would let a GPU compute convolutions and LSTMs in TF32."""
    prepared: list[tuple[str, str]] = []

    def prepare(precision: ComputePrecision, device: torch.device) -> None:
        prepared.append((precision.name, device.type))

    monkeypatch.setattr(ComputePrecision, "prepare", prepare)
    load_parser("demo", device="cpu")
    examples = Examples(np.zeros((2, *LOG_MEL.shape), np.float32), np.zeros((2, 2), bool))
    train_extractor("vggish_tiny", examples, ExtractorTrainingConfig(epochs=1))
    assert prepared == [("fp32", "cpu")] * 2
