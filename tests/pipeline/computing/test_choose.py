"""Which backend and precision "auto" becomes: the fastest that is wanted, possible and exact enough."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from avvp.pipeline.backends.registry import BACKENDS
from avvp.pipeline.computing import choose as chooser
from avvp.pipeline.computing.choose import choose
from avvp.pipeline.computing.measure_extraction import measure_extraction, measured_ways
from avvp.pipeline.devices import ComputePrecision
from avvp.pipeline.errors import SetupError
from avvp.pipeline.precisions import AUTO, default_backend
from support.speeds import WAYS, remember_rates

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way is possible on any processor; nothing is measured."""
    for backend in BACKENDS.values():
        monkeypatch.setattr(type(backend), "obstacle", lambda *_: "")

    def refuse(*_: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(chooser, "measure_extraction", refuse)


def chosen(precision: str, backend: str, *, compiled: bool = False) -> str:
    return str(choose(ComputePrecision(precision, compiled, backend), CPU).precision)


def test_what_is_clear_is_not_measured() -> None:
    for wanted in (ComputePrecision(), ComputePrecision("bf16"), ComputePrecision("int8", backend="openvino")):
        assert choose(wanted, CPU) == chooser.Choice(wanted)
    assert chosen("int8", AUTO) == "int8 by openvino"
    assert chosen("fp16", AUTO) == "fp16"
    assert chosen("fp32", AUTO, compiled=True) == "fp32"


@pytest.mark.parametrize(
    ("rates", "fp32", "anything", "by_torch", "by_openvino"),
    [
        # Rates of fp32 and bf16 by torch, then by openvino.
        ((9, 17, 9.2, 19), "fp32", "bf16 by openvino", "bf16", "bf16 by openvino"),
        ((9, 5, 12, 11), "fp32 by openvino", "fp32 by openvino", "fp32", "fp32 by openvino"),
        ((9, 9.3, 9.4, 9.2), "fp32", "fp32", "fp32", "fp32 by openvino"),  # none is worth it
        ((9, 30, 9, 20), "fp32", "bf16", "bf16", "bf16 by openvino"),
        ((9, 30), "fp32", "bf16", "bf16", "fp32 by openvino"),  # openvino was not measured
    ],
)
def test_the_fastest(rates: tuple[float, ...], fp32: str, anything: str, by_torch: str, by_openvino: str) -> None:
    remember_rates(*rates)
    assert chosen("fp32", AUTO) == fp32
    assert chosen(AUTO, AUTO) == anything
    assert chosen(AUTO, "torch") == by_torch
    assert chosen(AUTO, "openvino") == by_openvino
    assert chosen(AUTO, AUTO, compiled=True) == by_torch


def test_what_is_not_exact_is_not_chosen() -> None:
    remember_rates(9, 100, 100, 100, errors=(0.0, 0.5, 2e-4, float(chooser.MAX_ERRORS["bf16"]) * 1.01))
    assert chosen(AUTO, AUTO) == "fp32"
    remember_rates(9, 100, 100, 50, errors=(0.0, 0.5, 9e-5, 0.009))
    assert chosen(AUTO, AUTO) == "fp32 by openvino"


def test_what_the_machine_cannot_do_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    remember_rates(9, 17, 30, 40)
    monkeypatch.setattr(type(BACKENDS["openvino"]), "obstacle", lambda *_: "it is not installed")
    assert chosen(AUTO, AUTO) == "bf16"
    assert chosen("fp32", AUTO) == "fp32"
    for precision, backend in ((AUTO, "openvino"), ("int8", AUTO)):
        with pytest.raises(SetupError, match="it is not installed"):
            chosen(precision, backend)


@pytest.mark.parametrize(
    ("precision", "backend", "message"),
    [
        ("tf32", AUTO, "tf32 needs an NVIDIA GPU"),
        ("fp8", AUTO, "unknown precision 'fp8'"),
        (AUTO, "tensorrt", "unknown backend 'tensorrt'"),
    ],
)
def test_impossible_wishes(precision: str, backend: str, message: str) -> None:
    with pytest.raises(SetupError, match=message):
        chosen(precision, backend)


def test_the_reason_tells_the_gain() -> None:
    remember_rates(10, 17, 12, 21)
    choice = choose(ComputePrecision(AUTO, backend=AUTO), CPU)
    assert choice.reason == "computing in bf16 by openvino, 2.1 times as fast as fp32 by torch (measured before)"
    remember_rates(10, 5, 5, 5)
    assert choose(ComputePrecision(AUTO, backend=AUTO), CPU).reason == "computing in fp32 (measured before)"


def test_cores_are_measured_apart() -> None:
    remember_rates(9, 30, cores=1)
    remember_rates(9, 2, cores=7)
    wanted = ComputePrecision(AUTO)
    assert choose(wanted, CPU, 1).precision.name == "bf16"
    assert choose(wanted, CPU, 7).precision.name == "fp32"


def test_a_gpu_has_ways_of_its_own() -> None:
    assert [str(way) for way in measured_ways(CPU)] == ["fp32", "bf16", "fp32 by openvino", "bf16 by openvino"]
    assert {way.name for way in measured_ways(GPU) if way.backend == "torch"} == {"fp32", "tf32", "bf16"}
    assert tuple((way.backend, way.name) for way in measured_ways(CPU)) == WAYS


def test_default_backends() -> None:
    assert [default_backend(name) for name in ("fp32", "bf16", "tf32", "int8", AUTO)] == [
        "torch", "torch", "torch", "openvino", "torch",
    ]  # fmt: skip


def test_measurement_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a network of one block a stage: what is measured is not the speed of the suite's machine."""
    monkeypatch.undo()
    monkeypatch.setattr("avvp.pipeline.computing.measure_extraction._STAGES", (1, 1))
    monkeypatch.setattr("avvp.pipeline.computing.measure_extraction._CPU_PICTURES", 2)
    monkeypatch.setattr("avvp.pipeline.computing.measure_extraction._SECONDS", 0.0)
    threads = torch.get_num_threads()
    measurement = measure_extraction(CPU, 1)
    assert torch.get_num_threads() == threads
    by_way = {(speed.backend, speed.precision): speed for speed in measurement.speeds}
    assert len(by_way) + len(measurement.failed) == len(WAYS)
    assert all(speed.rate > 0 and chooser.is_exact(speed) for speed in measurement.speeds)
    assert by_way["torch", "fp32"].error < 1e-5
    again = choose(ComputePrecision(AUTO, backend=AUTO), CPU, 1)  # from what is remembered
    assert again.reason.endswith("(measured before)")


def test_a_measurement_that_cannot_be_kept_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(chooser, "measure_extraction", lambda *_: remember_rates(10, 17, 12, 21))
    reason = choose(ComputePrecision(AUTO, backend=AUTO), CPU).reason
    assert reason.endswith(f"(measured now, and each time: {tmp_path}/file/avvp/speeds.json cannot be written)")
