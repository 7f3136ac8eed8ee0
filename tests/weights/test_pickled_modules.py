"""Whole modules that old releases of PyTorch pickled: their tensors are read, and nothing of them is executed."""

from __future__ import annotations

import io
import os
import pickle
import resource
import struct
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avvp.weights import WeightsError, list_files, module_process
from avvp.weights import load as load_module
from avvp.weights.inert_pickle import MAX_OPERATIONS
from avvp.weights.load import read_state_dict
from avvp.weights.module_process import read_module_file
from avvp.weights.pickled_module import (
    MAX_MODULE_BYTES,
    MAX_MODULE_DEPTH,
    ModuleFileError,
    read_module,
)
from torch import nn

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
MIB = 1 << 20


class Net(nn.Module):
    """What the published files hold: recurrent and linear layers, layers in a list, and one without parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm_audio = nn.LSTM(6, 4, 1, batch_first=True, bidirectional=True)
        self.affine_h = nn.Linear(5, 1, bias=False)
        self.fa = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        self.layer_norm = nn.LayerNorm(3)
        self.norm = nn.BatchNorm1d(2)
        self.relu = nn.ReLU()


def saved(module: Any) -> bytes:
    file = io.BytesIO()
    torch.save(module, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


# --- Files that are put together by hand, operation by operation, as torch 0.3 wrote them. ---


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value) if abs(value) < 2**31 else b"\x8a\x10" + value.to_bytes(16, "little")


def sequence(*values: bytes) -> bytes:
    return b"(" + b"".join(values) + b"t"


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def ordered(pairs: dict[str, bytes]) -> bytes:
    items = b"".join(text(key) + value for key, value in pairs.items())
    return name("collections", "OrderedDict") + b")R(" + items + b"u"


FLOATS = name("torch.cuda", "FloatStorage")


def storage(count: int, *, kind: bytes = FLOATS, key: str = "7", view: bytes = b"N") -> bytes:
    return sequence(text("storage"), kind, text(key), text("cuda:0"), integer(count), view) + b"Q"


def tensor(numbers: bytes, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    sizes = [sequence(*map(integer, values)) for values in (shape, strides)]
    return name("torch._utils", "_rebuild_tensor") + sequence(numbers, integer(offset), *sizes) + b"R"


def parameter(data: bytes) -> bytes:
    state = sequence(b"\x88", b"\x89", ordered({}))
    return name("torch.nn.parameter", "Parameter") + b"(" + data + b"tR" + state + b"b"


def module(
    parameters: bytes = b"}", modules: bytes = b"}", buffers: bytes = b"}", *, made: bytes = name("models", "att_Net")
) -> bytes:
    """An object of a class of the program, with the state that all modules have."""
    state = {"_backend": name("torch.nn.backends.thnn", "_get_thnn_function_backend") + b")R", "training": b"\x88"}
    state |= {"_parameters": parameters, "_buffers": buffers, "_modules": modules}
    source = sequence(text("module"), made, text("models.py"), text("class att_Net:\n    pass\n")) + b"Q"
    return source + b")\x81}(" + b"".join(text(key) + value for key, value in state.items()) + b"ub"


def file_of(
    code: bytes, numbers: dict[str, bytes] | None = None, *, magic: int = MAGIC, protocol: int = PROTOCOL,
    system: Any = SYSTEM, keys: list[str] | None = None,
) -> bytes:  # fmt: skip
    """A file whose content is a pickle; numbers of each storage after their count."""
    numbers = {} if numbers is None else numbers
    head = b"".join(pickle.dumps(value, 2) for value in (magic, protocol, system))
    tail = pickle.dumps(list(numbers) if keys is None else keys, 2)
    return head + b"\x80\x02" + code + b"." + tail + b"".join(numbers.values())


def floats(*values: float, count: int | None = None) -> bytes:
    return struct.pack("<q", len(values) if count is None else count) + np.array(values, "<f4").tobytes()


SIX = {"7": floats(0, 1, 2, 3, 4, 5)}
WHOLE = storage(6)


WHOLE_TENSOR = tensor(WHOLE, (6,), (1,))


def with_tensor(data: bytes, numbers: dict[str, bytes] | None = None) -> bytes:
    return file_of(module(ordered({"w": parameter(data)})), SIX if numbers is None else numbers)


def test_torch_03_files_are_read() -> None:
    """Two views of one storage, as cuDNN's recurrent layers have them, in a module in a module."""
    inner = module(
        ordered({"weight_ih_l0": parameter(tensor(b"h\x05", (2, 2), (2, 1))), "bias": b"N",
                 "bias_ih_l0_reverse": parameter(tensor(b"h\x05", (2,), (1,), 4))}),
        made=name("torch.nn.modules.rnn", "LSTM"),
    )  # fmt: skip
    code = WHOLE + b"q\x050" + module(modules=ordered({"lstm_audio": inner, "none": b"N"}))
    found = read_module(file_of(code, SIX))
    assert {key: value.tolist() for key, value in found.items()} == {
        "lstm_audio.weight_ih_l0": [[0, 1], [2, 3]], "lstm_audio.bias_ih_l0_reverse": [4, 5],
    }  # fmt: skip


def test_views_of_a_storage_that_is_a_view() -> None:
    part = storage(6, view=sequence(text("v"), integer(2), integer(3)))
    found = read_module(with_tensor(tensor(part, (2,), (2,))))
    assert found["w"].tolist() == [2, 4]


def test_python_2_files_are_read() -> None:
    """Short strings in their own operation, and dictionaries that are made of pairs."""
    pairs = name("collections", "OrderedDict") + b"(](](U\x01w" + tensor(WHOLE, (3,), (1,)) + b"eetR"
    assert read_module(file_of(module(pairs), SIX))["w"].tolist() == [0, 1, 2]


def test_transposed_and_empty_and_single_numbers() -> None:
    data = {"t": tensor(WHOLE, (3, 2), (1, 3)), "empty": tensor(WHOLE, (0, 3), (3, 1)), "one": tensor(WHOLE, (), (), 5)}
    found = read_module(file_of(module(ordered(data)), SIX))
    assert found["t"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert (found["empty"].shape, found["one"].shape, found["one"].item()) == ((0, 3), (), 5)


def test_modules_of_this_torch_are_read_exactly(tmp_path: Path) -> None:
    network = Net().double()
    (tmp_path / "x.pt").write_bytes(saved(network))
    found, expected = read_module_file(tmp_path / "x.pt"), network.state_dict()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value)


# --- Hostile files. ---


class Evil:
    """Calls a function where it is unpickled, by whatever its `__reduce__` says."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def owned(folder: str = "owned") -> bytes:
    return b"(" + text(folder) + b"t"


MKDIR = name("os", "mkdir")
CALLS: dict[str, bytes] = {
    "REDUCE": MKDIR + owned() + b"R",
    "REDUCE of builtins": name("builtins", "exec") + b"(" + text("import os; os.mkdir('owned')") + b"tR",
    "REDUCE of __builtin__": name("__builtin__", "eval") + b"(" + text("__import__('os').mkdir('owned')") + b"tR",
    "REDUCE of a part of a module": name("os", "path.os.mkdir") + owned() + b"R",
    "NEWOBJ": MKDIR + owned() + b"\x81",
    "NEWOBJ_EX": MKDIR + owned() + b"}\x92",
    "STACK_GLOBAL": text("os") + text("mkdir") + b"\x93" + owned() + b"R",
    "INST": b"(" + text("owned") + b"ios\nmkdir\n",
    "OBJ": b"(" + MKDIR + text("owned") + b"o",
    "BUILD with __setstate__": name("models", "att_Net") + b")\x81}(" + text("__setstate__") + MKDIR + b"ub"
    + text("owned") + b"b",
    "BUILD of slots": name("models", "att_Net") + b")\x81N}(" + text("a") + MKDIR + b"u\x86b",
    "BUILD of a list": b"]}b",
    "EXT1": b"\x82\x01",
    "EXT2": b"\x83\x01\x00",
    "EXT4": b"\x84\x01\x00\x00\x00",
    "PERSID": b"Pos.mkdir\n",
    "BINPERSID of text": text("owned") + b"Q",
    "BINPERSID of a call": sequence(text("reduce"), MKDIR, text("owned")) + b"Q",
    "module that is a call": sequence(text("module"), MKDIR + owned() + b"R", text(""), text("")) + b"Q",
    "call of a result": MKDIR + owned() + b"R" + owned() + b"R",
    "call of text": text("os.mkdir") + owned() + b"R",
    "call without a tuple": MKDIR + text("owned") + b"R",
    "tensor of other things": name("torch._utils", "_rebuild_tensor") + b"(NNNNtR",
    "tensor of too few": name("torch._utils", "_rebuild_tensor") + b")R",
    "parameter of text": name("torch.nn.parameter", "Parameter") + owned() + b"R",
    "parameter of nothing": name("torch.nn.parameter", "Parameter") + b")R",
    "dictionary of text": name("collections", "OrderedDict") + owned() + b"R",
    "size of text": name("torch", "Size") + owned() + b"R",
    "next buffers": b"\x97\x98",
    "frame": b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
    "bytes of 8 EiB": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    "text of 4 GiB": b"X\xff\xff\xff\xffx",
    "integer of 2 GiB": b"\x8b\xff\xff\xff\x7f",
    "integer in a million digits": b"I" + b"9" * 10**6 + b"\n",
    "text with an escape": b"S'\\x'\n",
    "stack that is empty": b"a",
    "mark that is missing": b"t",
    "mark that is used": b"(R",
    "mark as a value": b"](a",
    "memo that is not there": b"h\x01",
    "items of a tuple": b")(NNu",
    "an odd number of items": b"}(Nu",
    "items of text": text("x") + b"Na",
    "nothing": b"",
    "two values": b"NN",
    "a mark alone": b"(",
    "bytes without a meaning": b"\xff\xfe",
}  # fmt: skip
INERT = {
    "REDUCE", "REDUCE of builtins", "REDUCE of __builtin__", "REDUCE of a part of a module", "NEWOBJ",
    "BUILD with __setstate__", "BUILD of slots",
}  # fmt: skip
NAMED = {"_parameters": b"}", "_buffers": b"}", "_modules": b"}"}


def state_of(**tables: bytes) -> bytes:
    """A module with other tables than it should have."""
    items = b"".join(text(key) + value for key, value in {**NAMED, **tables}.items() if value)
    return name("models", "att_Net") + b")\x81}(" + items + b"ub"


def nested(depth: int) -> bytes:
    inner = module()
    for _ in range(depth):
        inner = module(modules=ordered({"m": inner}))
    return inner


def doubled(depth: int) -> bytes:
    """Modules whose two children are the same: 2 ** depth names of one tensor, in a few hundred bytes."""
    code = module(ordered({"w": tensor(WHOLE, (1,), (1,))})) + b"q\x00"
    for _ in range(depth):
        code += b"0" + module(modules=ordered({"a": b"h\x00", "b": b"h\x00"})) + b"q\x00"
    return code


def repeated_memo(depth: int) -> bytes:
    """Lists of ten times the list before: 10 ** depth items, were it written out."""
    code = b"]q\x00"
    for _ in range(depth):
        code += b"0](" + b"h\x00" * 10 + b"eq\x00"
    return code


def zipped() -> bytes:
    file = io.BytesIO()
    torch.save(nn.Linear(2, 2), file)
    return file.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    **{what: (lambda code=code: file_of(code)) for what, code in CALLS.items()},
    "dictionary of tensors": lambda: saved({"a": torch.ones(3)}),
    "a number": lambda: file_of(b"K\x01"),
    "a text": lambda: file_of(text("x")),
    "an object": lambda: file_of(name("models", "att_Net") + b")\x81"),
    "modules that are text": lambda: file_of(state_of(_modules=text("x"))),
    "modules of text": lambda: file_of(state_of(_modules=ordered({"a": text("x")}))),
    "modules that are tensors": lambda: file_of(state_of(_modules=ordered({"a": tensor(WHOLE, (1,), (1,))})), SIX),
    "parameters that are modules": lambda: file_of(state_of(_parameters=ordered({"a": module()}))),
    "parameters of numbers": lambda: file_of(state_of(_parameters=ordered({"a": b"K\x01"}))),
    "no parameters": lambda: file_of(state_of(_parameters=b"")),
    "a name that is a number": lambda: file_of(state_of(_modules=b"}(K\x01" + module() + b"u")),
    "a long name": lambda: with_tensor_named("n" * 501),
    "a module in itself": lambda: file_of(
        name("models", "att_Net") + b")\x81q\x01}(" + text("_parameters") + b"}" + text("_buffers") + b"}"
        + text("_modules") + ordered({"m": b"h\x01"}) + b"ub"
    ),
    "modules that nest deeply": lambda: file_of(nested(MAX_MODULE_DEPTH + 1)),
    "modules that double": lambda: file_of(doubled(20), SIX),
    "lists that multiply": lambda: file_of(repeated_memo(12)),
    "lists that nest deeply": lambda: file_of(b"]" * 50_000 + b"a" * 49_999),
    "tuples that nest deeply": lambda: file_of(b")" + b"\x85" * 100_000),
    "tuples that nest deeply, as a key": lambda: file_of(b"})" + b"\x85" * 100_000 + b"Ns"),
    "more operations than there are": lambda: file_of(b"N0" * (MAX_OPERATIONS // 2) + module()),
    "many dictionaries": lambda: file_of(b"}0" * (MAX_OPERATIONS // 2) + module()),
    "lists that are copied": lambda: file_of(
        b"](" + b"]q\x02(K\x01K\x02e0" * 10 + b"".join(b"h\x02" for _ in range(1000)) + b"eq\x010"
        + (name("collections", "OrderedDict") + b"h\x01\x85R0") * 1000 + module()
    ),
    "tensors that repeat the numbers": lambda: file_of(
        module(ordered({f"w{index}": tensor(storage(5000), (5000,), (1,)) for index in range(30)})),
        {"7": floats(*[0.0] * 5000)},
    ),
    "a tensor that repeats a number": lambda: with_tensor(tensor(WHOLE, (2**40 - 1, 2**40 - 1, 2**39), (0, 0, 0))),
    "sizes whose product is 0 in 64 bits": lambda: with_tensor(tensor(WHOLE, (2**32, 2**32), (0, 0))),
    "a tensor outside of its storage": lambda: with_tensor(tensor(WHOLE, (2, 3), (3, 1), 1)),
    "a tensor before its storage": lambda: with_tensor(tensor(WHOLE, (2,), (1,), -1)),
    "negative sizes": lambda: with_tensor(tensor(WHOLE, (-2,), (1,))),
    "negative strides": lambda: with_tensor(tensor(WHOLE, (2,), (-1,), 5)),
    "sizes without strides": lambda: with_tensor(tensor(WHOLE, (2, 3), (1,))),
    "huge sizes": lambda: with_tensor(tensor(WHOLE, (2**100,), (1,))),
    "huge sizes of nothing": lambda: with_tensor(tensor(WHOLE, (0, 2**39, 2**39, 2**39), (1, 1, 1, 1))),
    "many dimensions": lambda: with_tensor(tensor(WHOLE, (1,) * 100, (1,) * 100)),
    "a storage of 2 ** 60 numbers": lambda: with_tensor(tensor(storage(2**60), (1,), (1,))),
    "a storage of a negative size": lambda: with_tensor(tensor(storage(-6), (0,), (1,))),
    "a storage that is not in the file": lambda: with_tensor(tensor(storage(6, key="8"), (1,), (1,))),
    "a storage of two kinds": lambda: with_tensor(
        tensor(WHOLE, (1,), (1,)) + b"0" + tensor(storage(6, kind=name("torch", "LongStorage")), (1,), (1,))
    ),
    "a storage of unknown numbers": lambda: with_tensor(tensor(storage(6, kind=name("torch", "QStorage")), (1,), (1,))),
    "a part outside of a storage": lambda: with_tensor(
        tensor(storage(6, view=sequence(text("v"), integer(4), integer(3))), (1,), (1,))
    ),
    "a part that is text": lambda: with_tensor(tensor(storage(6, view=text("v")), (1,), (1,))),
    "a count that differs": lambda: with_tensor(tensor(WHOLE, (6,), (1,)), {"7": floats(*range(6), count=5)}),
    "a count of 2 ** 62": lambda: with_tensor(tensor(WHOLE, (6,), (1,)), {"7": floats(*range(6), count=2**62)}),
    "bytes at the end": lambda: with_tensor(tensor(WHOLE, (6,), (1,))) + bytes(8),
    "a storage twice": lambda: file_of(module(ordered({"w": tensor(WHOLE, (1,), (1,))})), SIX, keys=["7", "7"]),
    "storages that are text": lambda: file_of(module(), keys="7"),  # pyright: ignore[reportArgumentType]
    "wrong magic": lambda: file_of(module(), magic=7),
    "magic that is a list": lambda: file_of(module(), magic=[MAGIC]),  # pyright: ignore[reportArgumentType]
    "wrong protocol": lambda: file_of(module(), protocol=1000),
    "big-endian": lambda: file_of(module(), system={**SYSTEM, "little_endian": False}),
    "system that is text": lambda: file_of(module(), system="x"),
    "pickle of protocol 4": lambda: file_of(module()).replace(b"\x80\x02", b"\x80\x04"),
    "zip archive": zipped,
    "web page": lambda: b"<html>quota exceeded</html>",
    "empty": lambda: b"",
    "zeros": lambda: bytes(1000),
}  # fmt: skip


def with_tensor_named(key: str) -> bytes:
    return file_of(module(ordered({key: tensor(WHOLE, (1,), (1,))})), SIX)


@pytest.fixture
def _nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No file here imports or calls anything, or costs much memory or time."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.py").write_text("import os\nos.mkdir('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loaded = set(sys.modules)
    yield
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "imported").exists()
    assert "models" not in set(sys.modules) - loaded
    assert time.monotonic() - started < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024, "KiB"


@pytest.mark.usefixtures("_nothing_happens")
@pytest.mark.parametrize("what", FILES)
def test_hostile_files_are_refused_in_one_line(what: str) -> None:
    with pytest.raises(ModuleFileError) as error:
        read_module(FILES[what]())
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


@pytest.mark.usefixtures("_nothing_happens")
@pytest.mark.parametrize("what", CALLS)
def test_calls_beside_the_parameters_are_not_made(what: str) -> None:
    """The tensors are read where the file is one of PyTorch, for the call is nothing that they need."""
    code = name("models", "att_Net") + b")\x81}(" + text("hook") + CALLS[what]
    code += b"".join(text(key) + value for key, value in {**NAMED, "_parameters": ordered({"w": WHOLE_TENSOR})}.items())
    content = file_of(code + b"ub", SIX)
    if what in INERT:
        assert read_module(content)["w"].tolist() == [0, 1, 2, 3, 4, 5]
    else:
        with pytest.raises(ModuleFileError):
            read_module(content)


@pytest.mark.usefixtures("_nothing_happens")
@pytest.mark.parametrize("reduced", [(os.mkdir, ("owned",)), (OrderedDict, (), Evil(os.mkdir, ("owned",)))])
def test_calls_in_a_real_module_are_not_made(reduced: tuple[Any, ...], tmp_path: Path) -> None:
    """The tensors are read, for the call is nothing that they need; torch's own reader would have made it."""
    network = Net()
    vars(network)["extra"] = Evil(*reduced)
    (tmp_path / "x.pt").write_bytes(saved(network))
    assert read_module_file(tmp_path / "x.pt").keys() == network.state_dict().keys()


@pytest.mark.usefixtures("_nothing_happens")
def test_files_that_are_cut_off_are_refused() -> None:
    for content in (saved(Net()), with_tensor(tensor(WHOLE, (6,), (1,)))):
        assert read_module(content)
        for twentieth in range(20):
            with pytest.raises(ModuleFileError):
                read_module(content[: twentieth * len(content) // 20])
        with pytest.raises(ModuleFileError, match=r"cut off, or damaged"):
            read_module(content[:-1])


@pytest.mark.usefixtures("_nothing_happens")
def test_damaged_files_are_read_or_refused() -> None:
    content = saved(Net())
    generator = np.random.default_rng(20240)
    refused = 0
    for _ in range(400):
        damaged = bytearray(content)
        for place in generator.integers(0, len(content) - 1000, 3):
            damaged[place] = generator.integers(256)
        try:
            read_module(bytes(damaged))
        except ModuleFileError as error:
            assert str(error).isprintable()
            refused += 1
    assert refused > 100


# --- Its process, and the files that are read in this way. ---


def limited(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(module_process, "_PROGRAM", program)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import time; time.sleep(60)", r"took more than 1 s and was stopped"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", r"ended with status -9"),
        ("import sys; sys.exit(1)", r"ended with status 1"),
        ("print('no tensors')", r"gave no tensors"),
        ("import sys; sys.stderr.write('a warning\\n\\x1b[31mreason\\n'); sys.exit(3)", r"read: \\x1b\[31mreason$"),
    ],
)
def test_a_process_that_fails_is_one_line(
    program: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.pt").write_bytes(file_of(module()))
    limited(monkeypatch, program)
    monkeypatch.setattr(module_process, "SECONDS", 1)
    with pytest.raises(WeightsError, match=message) as error:
        read_module_file(tmp_path / "x.pt")
    assert str(error.value).startswith(f"{tmp_path / 'x.pt'}: ")


def test_memory_and_time_of_the_process_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.pt").write_bytes(file_of(module()))
    start = "from avvp.weights import pickled_module as m; m.CPU_SECONDS = 1; m._limit(1000)"
    for work, status in (("x = bytearray(2 ** 29)", 1), ("while True: pass", -9)):
        limited(monkeypatch, f"{start}\n{work}")
        with pytest.raises(WeightsError, match=f"ended with status {status}"):
            read_module_file(tmp_path / "x.pt")


def test_files_that_are_too_large_or_no_files(tmp_path: Path) -> None:
    with (tmp_path / "large.pt").open("wb") as file:
        file.truncate(MAX_MODULE_BYTES + 1)
    for place, message in (("large.pt", "larger than 64 MiB"), ("none.pt", "not a file"), (".", "not a file")):
        with pytest.raises(WeightsError, match=message):
            read_module_file(tmp_path / place)
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(WeightsError, match="not a file"):
        read_module_file(tmp_path / "pipe.pt")


def test_only_files_of_the_manifest_are_read_in_this_way(tmp_path: Path) -> None:
    content = saved(Net())
    for file in ("DMRN.pt", "PSP_fully.pt", "PSP_weakly.pt"):  # those without a published hash
        (tmp_path / file).write_bytes(content)
        assert read_state_dict(tmp_path / file).keys() == Net().state_dict().keys()
    (tmp_path / "mine.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"a whole pickled module .* save its state_dict\(\) instead"):
        read_state_dict(tmp_path / "mine.pt")
    torch.save(Net(), tmp_path / "mine.pt")
    with pytest.raises(WeightsError, match=r"a whole pickled module"):
        read_state_dict(tmp_path / "mine.pt")
    (tmp_path / "AV_att.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"wrong hash: git's hash [0-9a-f]{16}…, expected 8e7224d0"):
        read_state_dict(tmp_path / "AV_att.pt")


def test_what_a_module_holds_is_checked_like_all_parameters(tmp_path: Path) -> None:
    (tmp_path / "DMRN.pt").write_bytes(with_tensor(WHOLE_TENSOR, {"7": floats(0, 1, 2, float("nan"), 4, 5)}))
    with pytest.raises(WeightsError, match=r"DMRN\.pt: w holds values that are not finite"):
        read_state_dict(tmp_path / "DMRN.pt")


def test_the_manifest_names_the_published_modules() -> None:
    named = {file.name for file in list_files().values() if file.form == "module"}
    assert named == {"AV_att.pt", "AV_att_weak.pt", "DMRN.pt", "PSP_fully.pt", "PSP_weakly.pt"}
    assert set(load_module._READERS) == {"module", "keras"}
