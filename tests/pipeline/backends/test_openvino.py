"""What is particular to OpenVINO: no reports over the network, refusals, other packages' networks, memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.extractors.base import Extractor
from avvp.extractors.inputs import LOG_MEL
from avvp.extractors.registry import build_extractor, extractor_shapes, meta_extractor
from avvp.pipeline import extract_features
from avvp.pipeline.backends import openvino_backend, openvino_import
from avvp.pipeline.backends.base import ExtractorSource
from avvp.pipeline.backends.convert import convert
from avvp.pipeline.backends.openvino_backend import OpenVINOBackend
from avvp.pipeline.backends.openvino_extractor import OpenVINOExtractor
from avvp.pipeline.backends.registry import prepare_backend
from avvp.pipeline.decode.options import DecodeOptions
from avvp.pipeline.devices import ComputePrecision
from avvp.pipeline.errors import SetupError
from avvp.pipeline.features import batch_memory
from avvp.weights.parts import Part
from avvp.weights.untrained import untrained_state
from support.golden import MEDIA, fill, load_npz, needs_golden, needs_media
from torch import Tensor, nn

CPU = torch.device("cpu")
FP32 = ComputePrecision(backend="openvino")

WATCHED = """
import sys
def watch(event, arguments):
    if event.startswith("socket."):
        print(event, arguments, flush=True)
sys.addaudithook(watch)
from avvp.pipeline.backends.convert import convert
from avvp.pipeline.backends.openvino_extractor import OpenVINOExtractor
from avvp.extractors.registry import build_extractor
import torch
plain = build_extractor("vggish_tiny")
extractor = OpenVINOExtractor(plain, convert(plain), "fp32")
extractor(torch.zeros(1, 96, 64))
assert "openvino_telemetry" not in sys.modules
import openvino_telemetry
"""


class Scaled(Extractor):
    """A network of another package, which prepares its inputs by a parameter."""

    input_format = LOG_MEL

    def __init__(self) -> None:
        super().__init__(4)
        self.scale = nn.Parameter(torch.full((64,), 3.0))
        self.linear = nn.Linear(64, 4)

    def prepare(self, reduced: Tensor) -> Tensor:
        return reduced * self.scale

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.mean(dim=1))


class OfBatch(Scaled):
    """A network whose rows depend on the number of its inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (2 if len(x) == 2 else 1)


class OfSets(Scaled):
    """A network that no tracer can follow."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).cumsum_(0) * torch.linalg.eigvals(x[0, :4, :4]).abs().sum()


def source_of(build: Callable[[], Extractor], *, part: bool = True) -> ExtractorSource:
    def load() -> Extractor:
        extractor = build().eval().requires_grad_(False)
        if part:
            extractor.part = Part("extractor", "own:Net", build, "own", "1.0", "")
        return extractor

    return ExtractorSource(load, load, "seed 1")


def test_nothing_is_sent_over_the_network(tmp_path: Path) -> None:
    """Not even tried: no socket is made, no address is looked up."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", WATCHED], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""


def test_what_was_imported_before_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    own = object()
    monkeypatch.setitem(sys.modules, "openvino_telemetry", own)
    with openvino_import.without_reports(), pytest.raises(ImportError):
        import openvino_telemetry  # noqa: F401
    assert sys.modules["openvino_telemetry"] is own


def test_without_openvino_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_backend, "has_openvino", lambda: False)
    with pytest.raises(SetupError, match=r"backend openvino needs OpenVINO, .*: pip install 'avvp\[openvino\]'"):
        prepare_backend(FP32, CPU)
    monkeypatch.setattr(openvino_import, "has_openvino", lambda: False)
    with pytest.raises(SetupError, match=r"pip install 'avvp\[openvino\]'"):
        openvino_import.import_openvino()


def test_an_openvino_that_cannot_be_imported_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_import, "has_openvino", lambda: True)
    monkeypatch.setitem(sys.modules, "openvino", None)  # type: ignore[arg-type] - as Python marks it
    with pytest.raises(SetupError, match=r"OpenVINO cannot be used here \(.*openvino.*\); reinstall it"):
        openvino_import.import_openvino()


def test_on_a_gpu_the_device_is_named() -> None:
    with pytest.raises(SetupError, match="the backend openvino computes on the CPU, which --device cpu chooses"):
        prepare_backend(FP32, torch.device("cuda"))


def test_a_cpu_without_bf16_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_backend, "computes_bfloat16", lambda: False)
    assert prepare_backend(FP32, CPU).name == "openvino"
    with pytest.raises(SetupError, match=r"no instructions for bf16, .* use fp32"):
        prepare_backend(ComputePrecision("bf16", backend="openvino"), CPU)


def test_int8_needs_quantized_networks(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="int8 needs networks that avvp weights quantize has made"):
        OpenVINOBackend(tmp_path).arrange(source_of(Scaled), ComputePrecision("int8", backend="openvino"), CPU)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_network_of_another_package(tmp_path: Path, precision: str) -> None:
    source = source_of(Scaled)
    plain = source.load()
    fixed = ExtractorSource(lambda: plain, lambda: plain, "seed 1")
    extractor = OpenVINOBackend(tmp_path).arrange(fixed, ComputePrecision(precision, backend="openvino"), CPU)
    assert extractor.part is plain.part
    inputs = torch.randn(3, 96, 64)
    rows, expected = extractor(extractor.prepare(inputs)), plain(plain.prepare(inputs))
    assert rows.dtype == torch.float32
    np.testing.assert_allclose(rows, expected, rtol=1e-5 if precision == "fp32" else 0.05, atol=1e-2)


def test_a_network_that_is_not_stored_keeps_its_parameters(tmp_path: Path) -> None:
    """Where the store cannot be written, the model shares memory with a network that nobody else has."""
    (tmp_path / "file").write_text("not a folder")
    source = ExtractorSource(
        lambda: build_extractor("vggish_tiny", untrained_state(extractor_shapes("vggish_tiny"), 5)),
        partial(meta_extractor, "vggish_tiny"),
        "seed 5",
        (told := []).append,
    )
    extractor = OpenVINOBackend(tmp_path / "file").arrange(source, FP32, CPU)
    others = [torch.full((1 << 18,), float(number)) for number in range(50)]  # would overwrite what is free
    inputs = torch.randn(3, 96, 64)
    expected = source.load()(inputs)
    np.testing.assert_allclose(extractor(inputs), expected, rtol=1e-4, atol=1e-5)
    assert (len(others), len(told)) == (50, 1)


@pytest.mark.parametrize(
    ("network", "message"), [(OfBatch, r"differs as an OpenVINO model .* relative\)"), (OfSets, "cannot be converted")]
)
def test_a_network_that_cannot_be_converted(tmp_path: Path, network: type[Scaled], message: str) -> None:
    with pytest.raises(SetupError, match=f"extractor own:Net {message}.*; use --backend torch") as caught:
        OpenVINOBackend(tmp_path).arrange(source_of(network), FP32, CPU)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_models_are_compiled_for_two_sizes_at_most() -> None:
    plain = build_extractor("vggish_tiny")
    extractor = OpenVINOExtractor(plain, convert(plain), "fp32")
    extractor.network.compile(3)
    for size in (1, 3, 1, 5, 2, 3):
        assert extractor(torch.zeros(size, 96, 64)).shape == (size, 16)
        assert len(extractor.network._compiled) <= 2


def test_the_largest_layer_is_that_of_the_plain_network() -> None:
    """Within a factor of two: operations are not divided in the same way."""
    for name in ("vggish_tiny", "resnet_tiny", "r2plus1d_tiny", "vgg19_tiny"):
        plain = build_extractor(name)
        measured = batch_memory._largest_layer(plain)
        known = OpenVINOExtractor(plain, convert(plain), "fp32").largest_layer()
        assert measured / 2 <= known <= measured * 2, name


@needs_golden
@needs_media
@pytest.mark.full_size
def test_published_features_golden(tmp_path: Path) -> None:
    """The published path at full size through OpenVINO in fp32, two of ten seconds: as exact as through PyTorch."""
    backend = OpenVINOBackend(tmp_path)
    extractors = {
        name: backend.arrange(
            ExtractorSource(
                lambda name=name: build_extractor(name, fill(extractor_shapes(name))),
                partial(meta_extractor, name),
                "golden",
            ),
            FP32,
            CPU,
        )
        for name in ("vggish", "resnet152", "r2plus1d_18")
    }
    part = DecodeOptions(start=0, end=2)
    features = extract_features(MEDIA / "BjCEufrlXm4.mp4", extractors, profile="llp", decoding=part)
    golden = load_npz("features_BjCEufrlXm4.npz")
    ours = {"vggish": features.audio, "res152": features.visual_2d[::8], "r2plus1d_18": features.visual_3d}
    for name, rows in ours.items():
        expected = golden[name]
        assert rows.shape == expected[:2].shape
        spread = np.linalg.norm(expected - expected.mean(0)) * (2 / len(expected)) ** 0.5
        assert np.linalg.norm(rows - expected[:2]) / spread < 1e-5, name
