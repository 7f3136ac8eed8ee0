"""Quantization of extractors: near to fp32, refused where it is not, and silent on the network."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from avvp.extractors.base import Extractor
from avvp.extractors.registry import meta_extractor
from avvp.pipeline.backends.quantized import load_quantized
from avvp.pipeline.errors import SetupError
from avvp.pipeline.quantization import quantize
from avvp.weights.quantized import QuantizedFile, dump_quantized
from support.quantized import make_inputs, plain, quantize_tiny
from torch.nn import functional

NAMES = ("vggish_tiny", "resnet_tiny", "r2plus1d_tiny", "vgg19_tiny")


def rows_of(extractor: Extractor, inputs: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        return extractor(extractor.prepare(torch.from_numpy(inputs)))


@pytest.mark.parametrize("name", NAMES)
def test_quantized_features_are_near_to_fp32(name: str) -> None:
    original = plain(name)
    inputs = make_inputs(original, 5, seed=3)
    quantized = load_quantized(meta_extractor(name), quantize_tiny(name))
    expected, rows = rows_of(original, inputs), rows_of(quantized, inputs)
    assert rows.dtype == torch.float32
    assert rows.shape == expected.shape
    assert quantized.stream == original.stream
    assert functional.cosine_similarity(rows, expected).min() > 0.99
    assert not torch.equal(rows, expected)  # of int8


def test_files_have_integers_and_are_smaller() -> None:
    file = quantize_tiny("r2plus1d_tiny")
    parameters = sum(tensor.numel() for tensor in plain("r2plus1d_tiny").state_dict().values())
    assert 'element_type="i8"' in file.program
    assert len(file.constants) < 2 * parameters  # of 4 bytes each in float32
    assert file.record["inputs"] == 8
    assert file.record["ranges"] == "extremes"


def test_equal_inputs_give_equal_files() -> None:
    """Whatever was converted before in the process: the hash identifies a calibration."""
    extractor = plain("vgg19_tiny")
    again = quantize.quantize_extractor("vgg19_tiny", extractor, make_inputs(extractor, 8))
    assert dump_quantized(again) == dump_quantized(quantize_tiny("vgg19_tiny"))


def test_networks_that_compute_something_else_in_int8_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "_LEAST_COSINE", 0.99999)
    extractor = plain("vgg19_tiny")
    with pytest.raises(SetupError, match=r"vgg19_tiny cannot be quantized: in int8 it computes something else here"):
        quantize.quantize_extractor("vgg19_tiny", extractor, make_inputs(extractor, 4))


def test_the_nearest_of_all_methods_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "GOOD_COSINE", 1.1)  # nothing is good enough, so all are tried
    tried: list[str] = []
    original = quantize._quantize

    def watch(nncf: object, name: str, extractor: Extractor, inputs: np.ndarray, method: str) -> QuantizedFile:
        tried.append(method)
        return original(nncf, name, extractor, inputs, method)

    monkeypatch.setattr(quantize, "_quantize", watch)
    extractor = plain("vgg19_tiny")
    inputs = make_inputs(extractor, 4)
    best = quantize.quantize_extractor("vgg19_tiny", extractor, inputs)
    assert tried == ["extremes", "means"]
    expected = rows_of(extractor, inputs)
    monkeypatch.setattr(quantize, "GOOD_COSINE", -1.0)
    first = quantize.quantize_extractor("vgg19_tiny", extractor, inputs)
    means = [
        functional.cosine_similarity(rows_of(load_quantized(extractor, file), inputs), expected).mean()
        for file in (best, first)
    ]
    assert means[0] >= means[1]


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("resnet_tiny", "r2plus1d_tiny", "expected"),
        ("vggish_tiny", "resnet_tiny", "expected"),
    ],
)
def test_networks_of_other_extractors_are_refused(name: str, other: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_quantized(meta_extractor(other), quantize_tiny(name))


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("MAX_LAYER_VALUES", r"a layer computes [\d,]+ values, more than 1,000"),
        ("MAX_NETWORK_VALUES", r"its layers compute [\d,]+ values, more than 1,000"),
        ("MAX_MULTIPLY_ADDS", r"it takes [\d,]+ multiply-adds, more than 1,000"),
    ],
)
def test_large_networks_are_refused(monkeypatch: pytest.MonkeyPatch, limit: str, message: str) -> None:
    from avvp.pipeline.backends import quantized

    monkeypatch.setattr(quantized, limit, 1000)
    with pytest.raises(ValueError, match=message):
        load_quantized(meta_extractor("resnet_tiny"), quantize_tiny("resnet_tiny"))


_PROGRAM = """
import socket, sys, urllib.request
tried = []
def refuse(*arguments, **options):
    tried.append(arguments)
    raise OSError("no network in tests")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = refuse
sys.path.insert(0, sys.argv[1])
from support.quantized import quantize_tiny
quantize_tiny("vgg19_tiny")
assert sys.modules.get("openvino_telemetry") is None
assert "nncf" in sys.modules
print("output:", len(tried))
"""


def test_nothing_is_sent_and_nothing_is_printed(request: pytest.FixtureRequest) -> None:
    """In a process of its own: NNCF sends nothing where pytest has been imported."""
    tests = str(request.config.rootpath / "tests")
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", _PROGRAM, tests],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "output: 0\n"
    assert done.stderr == ""
