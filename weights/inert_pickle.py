"""Interpret pickles of PyTorch without making or calling anything that they name.

A pickle is a list of operations over a stack. Here each of them makes plain values, views of numbers, or objects that
only remember what they were to be: nothing is imported, nothing is called, and whatever a pickle says cannot change
that. A normal unpickler imports and calls what it is told to.
"""

from __future__ import annotations

import io
import pickletools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .messages import shown

MAX_OPERATIONS = 200_000  # of the pickles of a file; those of the published modules have a few thousand
_DIMENSIONS = 8  # of a tensor
_MAX_SIZE = 1 << 40  # of a dimension or a stride; all lie in the file, except where a dimension is 0
_TYPES = {
    "Float": np.float32, "Double": np.float64, "Half": np.float16, "Long": np.int64, "Int": np.int32, "Short": np.int16,
    "Char": np.int8, "Byte": np.uint8, "Bool": np.bool_,
}  # fmt: skip
_STORAGES = {
    f"{room} {kind}Storage": np.dtype(dtype) for room in ("torch", "torch.cuda") for kind, dtype in _TYPES.items()
}
_TENSORS = {"torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2"}
_PARAMETERS = {
    "torch._utils _rebuild_parameter", "torch.nn.parameter Parameter", "torch.autograd.variable Variable",
}  # fmt: skip
_DICTIONARY = "collections OrderedDict"
_PLAIN = (str, int, float, type(None))  # keys of dictionaries; others would have to be hashed, to any depth


def read_operations(stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    """Yield the name and the argument of each operation of the pickle that begins here; none is done.

    Args:
        stream: of the file; it is left behind the pickle.

    Raises:
        ValueError: it is cut off, or not a pickle.
    """
    operations = pickletools.genops(stream)
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # about backslashes in texts: a file is no source code
            operation = next(operations, None)
        if operation is None:
            return
        yield operation[0].name, operation[1]


class InertPickleError(Exception):
    """The pickle is damaged, or not one of PyTorch. The message does not name the file."""


class Name(NamedTuple):
    """A class or function that a pickle names, as "module name"; it is neither imported nor called."""

    text: str


@dataclass(eq=False)
class Inert:
    """What a pickle makes of anything but the few known names."""

    made_of: Name
    attributes: dict[Any, Any] = field(default_factory=dict)


class Storage(NamedTuple):
    """Numbers of the file, `length` of them from `first` on, of the `total` that it has under its key."""

    key: str
    dtype: np.dtype[Any]
    total: int
    first: int
    length: int


class View(NamedTuple):
    """A tensor: numbers of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_MARK = object()


class Machine:
    """Interpreter of the operations that PyTorch's pickles of protocol 2 consist of.

    Args:
        operations: how many it may do in all its pickles.
    """

    def __init__(self, operations: int = MAX_OPERATIONS) -> None:
        self.storages: dict[str, Storage] = {}
        self._left = operations

    def load(self, stream: io.BytesIO) -> Any:
        """Return the value of the pickle that begins here.

        Args:
            stream: of the file; it is left behind the pickle.

        Raises:
            InertPickleError: an operation or a name is not used by such files, or the stack does not fit it.
            ValueError: it is cut off, or not a pickle.
        """
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        for name, argument in read_operations(stream):
            self._spend(1)
            do = _OPERATIONS.get(name)
            if do is None:
                raise InertPickleError(f"its pickle has the operation {name}, which such files do not have")
            try:
                do(self, argument)
            except (IndexError, KeyError, TypeError) as error:
                raise InertPickleError(f"its operation {name} does not fit what is before it") from error
        if len(self._stack) != 1 or self._stack[0] is _MARK:
            raise InertPickleError("its pickle does not make one value")
        return self._stack.pop()

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise InertPickleError(f"its pickles take more than {MAX_OPERATIONS:,} operations")

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise IndexError
        return value

    def top(self) -> Any:
        if self._stack[-1] is _MARK:
            raise IndexError
        return self._stack[-1]

    def pop_to_mark(self) -> list[Any]:
        """Remove and return the values above the last mark, and the mark."""
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is _MARK:
                values = self._stack[place + 1 :]
                del self._stack[place:]
                return values
        raise IndexError

    def push_tuple(self, count: int) -> None:
        self.push(tuple([self.pop() for _ in range(count)][::-1]))

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Inert):  # of an inert object's own items, no tensor is read
            raise TypeError

    def set_items(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, Inert):
            return
        if not isinstance(target, dict) or len(values) % 2:
            raise TypeError
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[key if isinstance(key, _PLAIN) else object()] = value

    def put(self, place: int) -> None:
        self._memo[place] = self.top()

    def get(self, place: int) -> None:
        self.push(self._memo[place])

    def make(self) -> None:
        """Make what a call would return: of a known name a dictionary, tuple or tensor, else an inert object."""
        arguments, name = self.pop(), self.pop()
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise TypeError
        if name.text in _TENSORS:
            self.push(_make_view(arguments))
        elif name.text in _PARAMETERS:
            if not arguments or not isinstance(arguments[0], View):
                raise TypeError
            self.push(arguments[0])
        elif name.text == _DICTIONARY:
            self.push({})
            self.set_items([value for pair in self._list_of(arguments) for value in _check_pair(pair)])
        elif name.text == "torch Size":
            self.push(tuple(self._list_of(arguments)))
        else:
            self.push(Inert(name))

    def _list_of(self, arguments: tuple[Any, ...]) -> list[Any]:
        """Return the only argument of a call, a list or tuple that is copied; nothing where there is none."""
        copied = list(arguments[0]) if arguments and isinstance(arguments[0], (list, tuple)) else []
        if len(arguments) > 1 or (arguments and not isinstance(arguments[0], (list, tuple))):
            raise TypeError
        self._spend(len(copied))
        return copied

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Inert):
            if isinstance(state, dict):
                target.attributes = state
        elif not isinstance(target, (View, dict)):  # what their states say is not about numbers
            raise TypeError

    def persistent(self) -> None:
        """Push what the file keeps beside its pickle: a storage, or a class with its source, which is not read."""
        match self.pop():
            case ("module", Name() as name, _, _):
                self.push(name)
            case ("storage", Name(text), str(key), _, int(total), *view) if text in _STORAGES and len(view) <= 1:
                if total < 0:
                    raise InertPickleError(f"its storage {shown(key)} has {shown(total)} numbers")
                whole = Storage(key, _STORAGES[text], total, 0, total)
                if self.storages.setdefault(key, whole) != whole:
                    raise InertPickleError(f"it describes its storage {shown(key)} in two ways")
                self.push(_part_of(whole, view[0] if view else None))
            case _:
                raise InertPickleError("it refers to something other than storages and the classes of modules")


def _check_protocol(protocol: int) -> None:
    if protocol != 2:
        raise InertPickleError(f"its pickle has protocol {protocol}, expected 2")


def _check_pair(pair: Any) -> tuple[Any, Any]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise TypeError
    return pair[0], pair[1]


def _part_of(whole: Storage, part: Any) -> Storage:
    """Return the part of a storage that a reference describes as (name, first number, count); None is all of it."""
    match part:
        case None:
            return whole
        case (_, int(first), int(count)) if first >= 0 and count >= 0 and first + count <= whole.total:
            return whole._replace(first=first, length=count)
        case _:
            raise InertPickleError(f"it refers to a part of its storage {shown(whole.key)} that is not there")


def _make_view(arguments: tuple[Any, ...]) -> View:
    """Check that a tensor lies inside its storage."""
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, Storage) or not len(shape) == len(strides) <= _DIMENSIONS:
        raise TypeError
    if not all(type(size) is int and 0 <= size < _MAX_SIZE for size in (offset, *shape, *strides)):
        raise TypeError
    if 0 not in shape:
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if last >= storage.length:
            raise InertPickleError(f"its tensor of shape {shown(shape)} lies outside of its storage")
    return View(storage, offset, tuple(shape), tuple(strides))


_OPERATIONS: dict[str, Callable[[Machine, Any], object]] = {
    "PROTO": lambda _, protocol: _check_protocol(protocol),
    "STOP": lambda *_: None,
    "MARK": lambda machine, _: machine.push(_MARK),
    "POP": lambda machine, _: machine.pop(),
    "POP_MARK": lambda machine, _: machine.pop_to_mark(),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
        Machine.push,
    ),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "TUPLE1": lambda machine, _: machine.push_tuple(1),
    "TUPLE2": lambda machine, _: machine.push_tuple(2),
    "TUPLE3": lambda machine, _: machine.push_tuple(3),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), Machine.put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), Machine.get),
    "GLOBAL": lambda machine, name: machine.push(Name(name)),
    "REDUCE": lambda machine, _: machine.make(),
    "NEWOBJ": lambda machine, _: machine.make(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.persistent(),
}
