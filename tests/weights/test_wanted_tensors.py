"""Some of the tensors of a file: the others of a safetensors file are not read, and its header is not believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from avvp.weights.errors import WeightsError
from avvp.weights.load import read_state_dict
from safetensors.torch import save_file

TENSORS = {f"{half}.{index}": torch.full((2, 3), 10.0 * index + (half == "b")) for half in "ab" for index in range(3)}


def of_a(key: str) -> bool:
    return key.startswith("a.")


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_wanted_tensors_are_those_of_the_whole_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights.{suffix}"
    save_file(TENSORS, path, {"format": "pt"}) if suffix == "safetensors" else torch.save(TENSORS, path)
    read = read_state_dict(path, keep=of_a)
    assert set(read) == {"a.0", "a.1", "a.2"}
    assert all(torch.equal(read[key], TENSORS[key]) for key in read)
    assert read_state_dict(path, keep=lambda _: False) == {}


def test_bfloat16_is_converted(tmp_path: Path) -> None:
    save_file({key: tensor.bfloat16() for key, tensor in TENSORS.items()}, tmp_path / "half.safetensors")
    read = read_state_dict(tmp_path / "half.safetensors", keep=of_a)
    assert read["a.2"].dtype == torch.float32
    assert torch.equal(read["a.2"], TENSORS["a.2"])


def spoil(header: dict[str, Any], name: str, value: object) -> None:
    header["a.1"][name] = value


@pytest.mark.parametrize(
    "change",
    [
        lambda header: spoil(header, "data_offsets", [0, 1 << 40]),
        lambda header: spoil(header, "data_offsets", [-24, 0]),
        lambda header: spoil(header, "data_offsets", [48, 24]),
        lambda header: spoil(header, "data_offsets", [24]),
        lambda header: spoil(header, "data_offsets", ["0", "24"]),
        lambda header: spoil(header, "dtype", "F99"),
        lambda header: spoil(header, "shape", [1 << 40, 3]),
        lambda header: header.update({"a.1": 5}),
        lambda header: header.update({f"a.many{index}": header["a.1"] for index in range(10)}),  # the same numbers
    ],
)
def test_headers_that_lie_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    save_file(TENSORS, tmp_path / "good.safetensors")
    content = (tmp_path / "good.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    described = json.dumps(header).encode()
    path = tmp_path / "bad.safetensors"
    path.write_bytes(len(described).to_bytes(8, "little") + described + content[8 + length :])
    with pytest.raises(WeightsError, match="damaged, or not a weight file"):
        read_state_dict(path, keep=of_a)


@pytest.mark.parametrize("header", [b"[]", b"null", b"{", b"[" * 100_000])
def test_files_without_a_header_are_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(WeightsError, match="damaged, or not a weight file"):
        read_state_dict(path, keep=of_a)
