"""Files of tensors from strangers: what is not numbers of a network is refused before it costs memory or time."""

from __future__ import annotations

import io
import json
import pickle
import random
import resource
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avvp.weights import WeightsError
from avvp.weights import load as load_module
from avvp.weights import tensor_files as tensor_files_module
from avvp.weights.load import read_state_dict
from avvp.weights.locate import MAX_FILE_BYTES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _cheap() -> Iterator[None]:
    """No file here is allowed to cost much memory or time."""
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.monotonic() - started < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 1024, "KiB"


def saved(content: Any, *, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def rewritten(content: bytes, change: Callable[[str, bytes], bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    """The archive with other records."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w", kind) as new:
        for record in old.infolist():
            new.writestr(record.filename, change(record.filename, old.read(record)))
    return target.getvalue()


def with_pickle(code: bytes) -> bytes:
    return rewritten(saved({"a": torch.ones(2)}), lambda name, data: code if name.endswith(".pkl") else data)


def call(function: str, argument: bytes) -> bytes:
    """A pickle that calls a function, with protocol 2 as torch demands."""
    return b"\x80\x02c" + function.encode() + b"\n" + argument + b"\x85R."


def number(value: int) -> bytes:
    return b"\x8a\x08" + value.to_bytes(8, "little")


def header(entries: Any, size: int = 64, length: int | None = None) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(size)


def entry(start: int, end: int, shape: Any = (4,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


STRIDED = torch.zeros(1).as_strided((10**9,), (0,))
PT: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "one byte": lambda: b"P",
    "web page": lambda: b"<html>quota exceeded</html>",
    "zeros": lambda: bytes(1000),
    "end of an archive": lambda: b"PK\5\6" + bytes(18),
    "archive that is torn": lambda: saved({"a": torch.ones(1000)})[:-200],
    "archive without a pickle": lambda: rewritten(saved({"a": torch.ones(2)}), lambda *_: b""),
    "compressed records": lambda: rewritten(
        saved({"a": torch.ones(2)}),
        lambda name, data: bytes(64 * MIB) if name.endswith("data/0") else data,
        zipfile.ZIP_DEFLATED,
    ),
    "more numbers than a record has": lambda: rewritten(
        saved({"a": torch.arange(300.0)}),
        lambda _, data: data.replace(b"M\x2c\x01", b"J" + struct.pack("<i", 2**30)),
    ),
    "view that repeats a number": lambda: saved({"a": STRIDED}),
    "views that repeat all numbers": lambda: saved({f"a{index}": BIG for index in range(300)}),
    "call that allocates bytes": lambda: with_pickle(call("builtins bytearray", number(2**36))),
    "call that allocates bytes, in Python 2's name": lambda: with_pickle(call("__builtin__ bytearray", number(2**36))),
    "call that allocates a tensor": lambda: with_pickle(call("torch FloatTensor", number(2**34))),
    "call of a program": lambda: with_pickle(call("os system", b"X\1\0\0\0x")),
    "call in the opcode of protocol 4": lambda: with_pickle(b"\x80\x04\x8c\x02os\x8c\x06system\x93."),
    "extension": lambda: with_pickle(b"\x80\x02\x82\x01."),
    "pickle without end": lambda: with_pickle(b"\x80\x02" + b"]" * 1000),
    "pickle that nests deeply": lambda: with_pickle(b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."),
    "long string": lambda: with_pickle(b"\x80\x02X\xff\xff\xff\xffx."),
    "text with a backslash": lambda: with_pickle(b"\x80\x02S'\\o'\n."),
    "stack that is empty": lambda: with_pickle(b"\x80\x02a."),
    "old format that is torn": lambda: saved({"a": torch.ones(1000)}, legacy=True)[:-100],
    "old format with a call": lambda: saved({"a": torch.ones(2)}, legacy=True).replace(
        b"ctorch._utils\n_rebuild_tensor_v2\n", b"cbuiltins\nbytearray\n"
    ),
    "old format that claims much": lambda: saved({"a": torch.arange(300.0)}, legacy=True).replace(
        b"M\x2c\x01", b"\x8a\x06" + (2**40).to_bytes(6, "little")
    ),
    "old format, first pickle alone": lambda: saved({}, legacy=True)[:15],
    "integer as the key": lambda: saved({1: torch.ones(2)}),
    "list": lambda: saved([torch.ones(2)]),
    "number": lambda: saved(3),
    "not only tensors": lambda: saved({"a": torch.ones(2), "b": 3}),
    "model in a network": lambda: saved({"state_dict": {"model": {"a": torch.ones(2)}}}),
    "dictionary in a dictionary": lambda: saved({"state_dict": {"a": {"b": torch.ones(2)}}}),
    "long name": lambda: saved({"k" * 100_000: torch.ones(2)}),
    "name with control characters": lambda: saved({"\x1b[31m\n\u202e": torch.tensor([float("nan")])}),
    "complex": lambda: saved({"a": torch.zeros(2, dtype=torch.complex64)}),
    "sparse": lambda: saved({"a": torch.eye(3).to_sparse()}),
    "sparse with an index outside": lambda: saved({"a": torch.eye(3).to_sparse()}).replace(
        (2).to_bytes(8, "little"), (2**40).to_bytes(8, "little")
    ),
    "meta": lambda: saved({"a": torch.zeros(2, device="meta")}),
    "float8": lambda: saved({"a": torch.zeros(2).to(torch.float8_e4m3fn)}),
    "NaN": lambda: saved({"a": torch.tensor([1.0, float("nan")])}),
    "infinity in half precision": lambda: saved({"a": torch.tensor([float("-inf")], dtype=torch.float16)}),
    "float64 that is rounded": lambda: saved({"a": torch.tensor([0.1], dtype=torch.float64)}),
    "float64 out of range": lambda: saved({"a": torch.tensor([1e300], dtype=torch.float64)}),
}  # fmt: skip
BIG = torch.zeros(MIB * 4)
SAFETENSORS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "seven bytes": lambda: bytes(7),
    "header beyond the file": lambda: header({"a": entry(0, 16)}, length=10**6),
    "huge header": lambda: header({}, length=2**63),
    "long header": lambda: header({"a": entry(0, 16)}, length=17 * MIB),
    "header that nests deeply": lambda: header(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "metadata that nests deeply": lambda: header(b'{"__metadata__":' + b'{"a":' * 100_000 + b"}" * 100_001),
    "header that is not JSON": lambda: header(b"{" * 100),
    "header that is no text": lambda: header(b"\xff" * 100),
    "list as the header": lambda: header([]),
    "overlapping tensors": lambda: header({"a": entry(0, 16), "b": entry(8, 24)}, 24),
    "tensors with a gap": lambda: header({"a": entry(0, 16), "b": entry(32, 48)}, 48),
    "tensor beyond the file": lambda: header({"a": entry(0, 16)}, 8),
    "bytes beyond the tensors": lambda: header({"a": entry(0, 16)}, 1000),
    "shape that does not fit": lambda: header({"a": entry(0, 16, [10**9])}, 16),
    "shape that overflows": lambda: header({"a": entry(0, 16, [2**62, 2**62])}, 16),
    "negative shape": lambda: header({"a": entry(0, 16, [-4])}, 16),
    "negative place": lambda: header({"a": entry(-16, 0)}, 16),
    "end before the start": lambda: header({"a": entry(16, 0)}, 16),
    "unknown type": lambda: header({"a": entry(0, 16, dtype="F999")}, 16),
    "type that is a list": lambda: header({"a": {"dtype": [], "shape": [4], "data_offsets": [0, 16]}}, 16),
    "integers of 16 bits without a sign": lambda: header({"a": entry(0, 8, dtype="U16")}, 8),
    "pickle": lambda: saved({"a": torch.ones(2)}),
    "NaN": lambda: save({"a": torch.tensor([float("nan")])}),
    "complex": lambda: save({"a": torch.zeros(2, dtype=torch.complex64)}),
    "float64 that is rounded": lambda: save({"a": torch.tensor([0.1], dtype=torch.float64)}),
    "long name": lambda: save({"k" * 100_000: torch.ones(2)}),
}


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as error:
        read_state_dict(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert len(message) < 1000
    return message


@pytest.mark.parametrize("kind", PT)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, about making sparse tensors
def test_files_of_pytorch_that_are_no_parameters(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x.pt").write_bytes(PT[kind]())
    refused(tmp_path / "x.pt")


@pytest.mark.parametrize("kind", SAFETENSORS)
def test_safetensors_that_are_no_parameters(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x.safetensors").write_bytes(SAFETENSORS[kind]())
    refused(tmp_path / "x.safetensors")


def test_numbers_of_numpy_are_skipped_whatever_they_claim(tmp_path: Path) -> None:
    """NumPy would allocate 64 GB for the second, and change the data type of all others for the third."""
    state = {"a": torch.ones(2)}
    code = (
        b"cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\nX\x0c\0\0\0V64000000000\x85R\x85R",
        b"cnumpy\ndtype\nX\2\0\0\0f8\x89\x89\x87R(K\3X\1\0\0\0>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb",
    )
    for extra in code:
        content = saved({"state_dict": state, "best": 7})
        patched = rewritten(
            content, lambda name, data, extra=extra: data.replace(b"K\x07", extra) if name.endswith(".pkl") else data
        )
        assert patched != content
        (tmp_path / "x.pt").write_bytes(patched)
        torch.testing.assert_close(read_state_dict(tmp_path / "x.pt"), state)
    assert np.dtype("f8").newbyteorder("=") == np.dtype(float)
    assert np.array([1.0]).tobytes() == struct.pack("<d", 1.0)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("entry_name", ["model", "state_dict"])
def test_files_of_training_runs_with_the_states_of_random_numbers(
    tmp_path: Path, entry_name: str, legacy: bool
) -> None:
    """What the programs of JoMoLD, CMPAE, CoLeaF and LSLD save; NumPy 1 has another name of the module."""
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight])
    optimizer.zero_grad()
    weight.sum().backward()
    optimizer.step()
    state = {"a": weight.detach(), "n": torch.tensor(3)}
    content = saved(
        {
            "torch_rng": torch.get_rng_state(), "random_rng": random.getstate(), "numpy_rng": np.random.get_state(),
            entry_name: state, "optimizer": optimizer.state_dict(), "scheduler": {"step_size": 6}, "epochs": 20,
        },
        legacy=legacy,
    )  # fmt: skip
    assert b"_reconstruct" in content
    older = content.replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n")
    (tmp_path / "x.pt").write_bytes(content if legacy else rewritten(content, lambda _, data: data))
    torch.testing.assert_close(read_state_dict(tmp_path / "x.pt"), state)
    if legacy:
        (tmp_path / "x.pt").write_bytes(older)
        torch.testing.assert_close(read_state_dict(tmp_path / "x.pt"), state)


def test_arrays_of_numpy_are_not_made_whatever_they_claim(tmp_path: Path) -> None:
    """NumPy's own function would allocate 1 TB for this one, before its state says what it holds."""
    state = {"a": torch.ones(2)}
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x8a\x06" + (2**40).to_bytes(6, "little")
    array += b"\x85X\1\0\0\0b\x87R"
    content = saved({"model": state, "best": 7})
    patched = rewritten(content, lambda name, data: data.replace(b"K\x07", array) if name.endswith(".pkl") else data)
    assert patched != content
    (tmp_path / "x.pt").write_bytes(patched)
    torch.testing.assert_close(read_state_dict(tmp_path / "x.pt"), state)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_numbers_that_float32_holds_are_read_exactly(tmp_path: Path, dtype: torch.dtype, legacy: bool) -> None:
    values = torch.tensor([1.0, -0.5, 2.0**-14, 0.0], dtype=dtype)
    state = {"a": values, "parameter": torch.nn.Parameter(values), "n": torch.tensor(3), "empty": values[:0]}
    (tmp_path / "x.pt").write_bytes(saved(state, legacy=legacy))
    found = read_state_dict(tmp_path / "x.pt")
    assert found.keys() == state.keys()
    assert found.pop("n").dtype == torch.int64
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    assert torch.equal(found["a"].double(), values.double())
    assert not any(tensor.requires_grad for tensor in found.values())
    (tmp_path / "x.safetensors").write_bytes(save({"a": values}))
    assert torch.equal(read_state_dict(tmp_path / "x.safetensors")["a"], values.float())


def test_tensors_that_share_their_numbers_are_read(tmp_path: Path) -> None:
    """As in the published files, which store convolutions under two names."""
    values = torch.arange(6.0)
    (tmp_path / "x.pt").write_bytes(saved({"a": values, "b": values, "c": values[2:].view(2, 2).T}))
    found = read_state_dict(tmp_path / "x.pt")
    assert torch.equal(found["a"], found["b"])
    assert found["c"].tolist() == [[2, 4], [3, 5]]


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_a_file_that_is_cut_later_does_not_matter(tmp_path: Path, name: str) -> None:
    """Numbers of a mapped file would be gone, and reading them would end the program by a signal."""
    state = {"a": torch.ones(MIB)}
    (tmp_path / name).write_bytes(save(state) if name.endswith("safetensors") else saved(state))
    found = read_state_dict(tmp_path / name)
    with (tmp_path / name).open("r+b") as file:
        file.truncate(0)
    assert torch.equal(found["a"], state["a"])


def test_numbers_of_tensors_and_bytes_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.pt").write_bytes(saved({f"a{index}": torch.ones(2) for index in range(12)}))
    monkeypatch.setattr(load_module, "MAX_PARAMETERS", 23)
    assert "24 numbers, more than 23" in refused(tmp_path / "x.pt")
    monkeypatch.setattr(load_module, "MAX_TENSORS", 11)
    assert "12 tensors, more than 11" in refused(tmp_path / "x.pt")
    monkeypatch.setattr(tensor_files_module, "MAX_HEADER_BYTES", 100)
    assert "more than 100" in refused(tmp_path / "x.pt")
    with (tmp_path / "large.pt").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert f"larger than {MAX_FILE_BYTES >> 30} GiB" in refused(tmp_path / "large.pt")


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_what_is_no_file(tmp_path: Path, name: str) -> None:
    assert "No such file" in refused(tmp_path / name)
    (tmp_path / name).mkdir()
    assert "Is a directory" in refused(tmp_path / name)


_GOOD = {
    "x.pt": saved({"a": torch.ones(3), "b": torch.arange(4)}),
    "old.pt": saved({"a": torch.ones(3), "b": torch.arange(4)}, legacy=True),
    "x.safetensors": save({"a": torch.ones(3), "b": torch.arange(4)}),
}


@settings(
    derandomize=True, deadline=None, max_examples=300, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    name=st.sampled_from(sorted(_GOOD)),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=9), st.booleans()), max_size=6),
    length=st.one_of(st.none(), st.floats(0, 1)),
)
def test_damaged_files_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, name: str, edits: list[tuple[float, bytes, bool]], length: float | None
) -> None:
    content = bytearray(_GOOD[name])
    for place, replacement, insert in edits:
        start = int(place * len(content))
        content[start : start + (0 if insert else len(replacement))] = replacement
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content if length is None else content[: int(length * len(content))])
    try:
        state = read_state_dict(path)
    except WeightsError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 1000
    else:
        assert all(tensor.dtype.is_floating_point <= bool(tensor.isfinite().all()) for tensor in state.values())


def test_a_pickle_is_not_executed_to_be_checked(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.mkdir, (tmp_path / "owned",)

    for protocol in range(6):
        (tmp_path / "x.pt").write_bytes(pickle.dumps({"a": Evil()}, protocol))
        refused(tmp_path / "x.pt")
    assert not (tmp_path / "owned").exists()
