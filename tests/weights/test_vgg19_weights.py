"""Weights of VGG19 from elsewhere: Keras' file, and those of torchvision, which fit and are wrong."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avvp.extractors.registry import build_extractor, extractor_shapes
from avvp.weights import Bundle, WeightsError, list_files
from avvp.weights.load import read_state_dict
from avvp.weights.manifest import list_refused
from avvp.weights.remote import gather as gather_module
from avvp.weights.remote.gather import gather_files
from avvp.weights.source import WeightSource
from avvp.weights.vgg19 import check_caffe_weights, read_keras

h5py = pytest.importorskip("h5py", reason="h5py, of the extra avel, is not installed")

SMALL = ((2, 4), (3,))
NAMES = {"block1_conv1": (3, 2), "block1_conv2": (2, 4), "block2_conv1": (4, 3)}  # width in and out


def write_keras(path: Path, spoil: Any = None, *, wrapped: bool = False) -> dict[str, Any]:
    """Write a small file in the form of Keras' first releases, or of later ones; return its arrays."""
    arrays: dict[str, Any] = {}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in NAMES]
        for name, (width, out) in NAMES.items():
            kernel = np.arange(9 * width * out, dtype="f4").reshape(3, 3, width, out) + len(arrays)
            bias = np.arange(out, dtype="f4") + 0.5
            group = file.create_group(name)
            group = group.create_group(name) if wrapped else group
            names = ("kernel:0", "bias:0") if wrapped else (f"{name}_W_1:0", f"{name}_b_1:0")
            group[names[0]], group[names[1]] = kernel, bias
            arrays[name] = (kernel, bias)
        file.create_group("block1_pool")
        if spoil is not None:
            spoil(file)
    return arrays


@pytest.mark.parametrize("wrapped", [False, True])
def test_kernels_are_turned_to_the_order_of_torch(wrapped: bool, tmp_path: Path) -> None:
    arrays = write_keras(tmp_path / "x.h5", wrapped=wrapped)
    state = read_keras(tmp_path / "x.h5", SMALL)
    assert list(state) == [f"features.{place}.{kind}" for place in (0, 2, 5) for kind in ("weight", "bias")]
    for place, (kernel, bias) in zip((0, 2, 5), arrays.values(), strict=True):
        weight = state[f"features.{place}.weight"]
        assert weight.is_contiguous()
        for row, column, source, target in np.ndindex(kernel.shape):
            assert weight[target, source, row, column] == kernel[row, column, source, target]
        assert state[f"features.{place}.bias"].tolist() == bias.tolist()


def test_names_and_shapes_are_those_of_the_extractor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from avvp.weights import vgg19

    shapes = extractor_shapes("vgg19")
    layers = [shape for key, shape in shapes.items() if key.endswith("weight")]
    assert [shape[0] for shape in layers] == [out for block in vgg19.CHANNELS for out in block]
    sizes = [((3, 3, shape[1], shape[0]), (shape[0],)) for shape in layers]
    arrays = [{size: np.zeros(size, "f4") for size in pair} for pair in sizes]
    monkeypatch.setattr(vgg19, "_read_layer", lambda *_: arrays.pop(0))
    write_keras(tmp_path / "x.h5")
    state = read_keras(tmp_path / "x.h5")
    assert {key: tuple(value.shape) for key, value in state.items()} == shapes
    assert sum(value.numel() for value in state.values()) == 20_024_384


def _external(file: Any) -> None:
    del file["block1_conv1"]
    file["block1_conv1"] = h5py.ExternalLink("secret.h5", "/block1_conv1")


def _soft(file: Any) -> None:
    file.move("block1_conv1", "elsewhere")
    file["block1_conv1"] = h5py.SoftLink("/elsewhere")


def _replace(name: str, data: Any, **options: Any) -> Any:
    def spoil(file: Any) -> None:
        del file[name]
        file.create_dataset(name, data=data, **options)

    return spoil


KERNEL = "block1_conv1/block1_conv1_W_1:0"
SPOILT = {
    "a layer that is missing": lambda file: file.__delitem__("block1_conv1"),
    "a layer that is numbers": _replace("block1_conv1", np.zeros(3)),
    "a link to another file": _external,
    "a link to another layer": _soft,
    "a kernel of another shape": _replace(KERNEL, np.zeros((2, 3, 3, 3), "f4")),
    "a kernel in float64": _replace(KERNEL, np.zeros((3, 3, 3, 2))),
    "a kernel that is missing": lambda file: file.__delitem__(KERNEL),
    "a kernel that is text": _replace(KERNEL, "x"),
    "three arrays": lambda file: file["block1_conv1"].create_dataset("x", data=np.zeros(3, "f4")),
    "values in another file": lambda file: (
        file.__delitem__(KERNEL),
        file.create_dataset(KERNEL, (3, 3, 3, 2), "f4", external=[("secret.bin", 0, 216)]),
    ),
    "an array of 2 ** 40 numbers": lambda file: (
        file.__delitem__(KERNEL), file.create_dataset(KERNEL, (2**40,), "f4", chunks=(1024,))
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", SPOILT)
def test_other_files_are_refused(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.bin").write_bytes(bytes(216))
    write_keras(tmp_path / "secret.h5")
    write_keras(tmp_path / "x.h5", SPOILT[what])
    with pytest.raises(WeightsError, match=r"x\.h5: not Keras' weights of VGG19: ") as error:
        read_keras(tmp_path / "x.h5", SMALL)
    assert str(error.value).isprintable()


def test_files_that_are_not_hdf5_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_text("<html>quota exceeded</html>")
    with pytest.raises(WeightsError, match="not Keras' weights"):
        read_keras(tmp_path / "x.h5")


def test_without_h5py_the_error_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(WeightsError, match=r"HDF5 files need h5py: pip install 'avvp\[avel\]'; or .* vgg19_caffe"):
        read_keras(tmp_path / "x.h5")


def test_only_keras_own_file_is_read(tmp_path: Path) -> None:
    """Its size and its md5 are checked before anything of it is read."""
    file = list_files()["vgg19"]
    write_keras(tmp_path / file.name)
    with pytest.raises(WeightsError, match="bytes, expected 80134624"):
        read_state_dict(tmp_path / file.name)
    with (tmp_path / file.name).open("r+b") as stream:
        stream.truncate(file.size)
    with pytest.raises(WeightsError, match=r"wrong hash: md5 [0-9a-f]{16}…, expected 253f8cb515780f3b"):
        read_state_dict(tmp_path / file.name)
    write_keras(tmp_path / "mine.h5")
    with pytest.raises(WeightsError, match=r"mine\.h5: .*Keras"):
        read_state_dict(tmp_path / "mine.h5")


def torchvision_weights() -> dict[str, torch.Tensor]:
    """The values by which they are recognized, as torch prints them, with noise of the size of their rounding."""
    first = torch.zeros(64, 3, 3, 3)
    first[0, 0] = torch.tensor(
        [[-0.053474, -0.049257, -0.067942], [0.015314, 0.045068, 0.0021444], [0.036226, 0.019999, 0.019864]]
    )
    return {"features.0.weight": first * 1.0002, "features.0.bias": torch.zeros(64)}


def test_torchvisions_weights_are_recognized_by_their_values() -> None:
    state = torchvision_weights()
    for dtype in (torch.float32, torch.float16):
        with pytest.raises(ValueError, match="torchvision's weights of VGG19"):
            check_caffe_weights({key: value.to(dtype) for key, value in state.items()})
    with pytest.raises(ValueError, match=r"torchvision's weights of VGG19.*avvp weights fetch vgg19"):
        build_extractor("vgg19", state)
    state["features.0.weight"][0, 0, 0, 0] *= 1.01
    check_caffe_weights(state)
    check_caffe_weights({"features.0.weight": torch.zeros(4, 3, 3, 3)})
    check_caffe_weights({})


def test_torchvisions_weights_are_refused_by_name_and_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gather(name: str) -> str:
        torch.save({"a": torch.ones(2)}, tmp_path / name)
        bundle = Bundle(name="b", description="", profile="ave", extractors={"vgg19": name}, parser={}, root=tmp_path)
        return gather_files(bundle, WeightSource(offline=True))[1][name]

    reason = "torchvision's weights of VGG19 were trained anew, on RGB"
    with pytest.raises(WeightsError, match=rf"vgg19-dcbb9e9d\.pth: {reason}"):
        gather("vgg19-dcbb9e9d.pth")
    digest = gather("mine.pth")
    known = {key: replace(refused, sha256=digest[:8]) for key, refused in list_refused().items()}
    monkeypatch.setattr(gather_module, "list_refused", lambda: known)
    with pytest.raises(WeightsError, match=rf"mine\.pth: {reason}"):
        gather("mine.pth")
