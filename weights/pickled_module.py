"""Read the tensors of a whole module that old releases of PyTorch pickled (before 1.6, no zip archive).

Such a file has five pickles, of which the fourth is the module, and then the numbers of its storages. Runs in a process
of its own, see `module_process`.
"""

from __future__ import annotations

import io
import math
import resource
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .inert_pickle import Inert, InertPickleError, Machine, Storage, View
from .messages import first_line, shown
from .process_limits import limit_memory, lower_limit
from .tensor_files import MAX_KEY, MAX_TENSORS

MAX_MODULE_BYTES = 64 << 20  # of such a file; the largest published one has 7 MB
MAX_MODULES = 2_000
MAX_MODULE_DEPTH = 32  # modules in modules
CPU_SECONDS = 30  # of the process that reads it
REFUSED = 3  # status of the process for a file that cannot be read
_MEMORY = 256 << 20  # bytes that the process may need beside what it has at its start and three times the file
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001  # of the file; that of its pickles is 2
_COUNT_BYTES = 8  # before the numbers of each storage


class ModuleFileError(Exception):
    """The file is damaged, or not a pickled module of the known form. The message does not name the file."""


def read_module(content: bytes) -> dict[str, NDArray[Any]]:
    """Read the parameters and buffers of a pickled module.

    Args:
        content: of the file.

    Returns:
        Key, as of `Module.state_dict` -> array, contiguous.

    Raises:
        ModuleFileError: it is no such file, is damaged, or is larger than a limit of this module.
    """
    if len(content) > MAX_MODULE_BYTES:
        raise ModuleFileError(f"larger than {MAX_MODULE_BYTES >> 20} MiB, the most that a pickled module may have")
    if content[:2] == b"PK":
        raise ModuleFileError("a zip archive, not the format of old releases of PyTorch")
    machine, stream = Machine(), io.BytesIO(content)
    try:
        if machine.load(stream) != _MAGIC or machine.load(stream) != _PROTOCOL:
            raise ModuleFileError("not a file of PyTorch: its first numbers are others")
        system = machine.load(stream)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise ModuleFileError("its numbers are not little-endian")
        module = machine.load(stream)
        views = dict(_named_views(module))
        storages = _find_storages(machine.storages, machine.load(stream), stream.tell(), content)
        if sum(math.prod(view.shape) * view.storage.dtype.itemsize for view in views.values()) > len(content):
            raise ModuleFileError("its tensors have more numbers than the file: they repeat them")
        return {name: _cut(view, storages) for name, view in views.items()}
    except InertPickleError as error:
        raise ModuleFileError(str(error)) from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise ModuleFileError(f"damaged, or not a pickle: {first_line(error)}") from error


def _find_storages(known: dict[str, Storage], keys: Any, start: int, content: bytes) -> dict[str, NDArray[Any]]:
    """Return the numbers of every storage; they follow the pickles, each with its count before it."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(known):
        raise ModuleFileError("its list of storages is not that of its tensors")
    found: dict[str, NDArray[Any]] = {}
    for key in keys:
        storage = known[key]
        end = start + _COUNT_BYTES
        count = int.from_bytes(content[start:end], "little")
        start, end = end, end + storage.total * storage.dtype.itemsize
        if count != storage.total or end > len(content):
            raise ModuleFileError(f"cut off, or damaged: its storage {shown(key)} has other numbers than it states")
        found[key] = np.frombuffer(content, storage.dtype, storage.total, start)
        start = end
    if start != len(content):
        raise ModuleFileError(f"has {len(content) - start:,} bytes after its last storage")
    return found


def _named_views(module: Any) -> Iterator[tuple[str, View]]:
    """Yield the parameters and buffers of a module and the modules in it, as `Module.state_dict` names them."""
    if not isinstance(module, Inert) or not isinstance(module.attributes.get("_modules"), dict):
        raise ModuleFileError("holds no module, but something else; tensors alone are read from other files")
    waiting: list[tuple[str, Any, int]] = [("", module, 0)]
    modules = tensors = 0
    while waiting:
        prefix, inner, depth = waiting.pop()
        modules += 1
        if modules > MAX_MODULES or depth > MAX_MODULE_DEPTH:
            raise ModuleFileError(f"has more than {MAX_MODULES:,} modules, or {MAX_MODULE_DEPTH} in one another")
        for kind, content in (("_parameters", View), ("_buffers", View), ("_modules", Inert)):
            table = inner.attributes.get(kind)
            if not isinstance(table, dict):
                raise ModuleFileError(f"its module {shown(prefix)} ({shown(inner.made_of.text)}) has no {kind}")
            for name, value in table.items():
                if value is None:
                    continue
                if not isinstance(value, content) or not isinstance(name, str):
                    raise ModuleFileError(f"its module {shown(prefix)} has something else in its {kind}")
                if len(prefix) + len(name) > MAX_KEY:
                    raise ModuleFileError(f"a name has more than {MAX_KEY} characters")
                tensors += isinstance(value, View)
                if tensors > MAX_TENSORS or len(waiting) > MAX_MODULES:
                    raise ModuleFileError(f"has more than {MAX_TENSORS:,} tensors or {MAX_MODULES:,} modules")
                if isinstance(value, View):
                    yield f"{prefix}{name}", value
                else:
                    waiting.append((f"{prefix}{name}.", value, depth + 1))


def _cut(view: View, storages: dict[str, NDArray[Any]]) -> NDArray[Any]:
    storage = view.storage
    numbers = storages[storage.key][storage.first : storage.first + storage.length]
    steps = tuple(stride * storage.dtype.itemsize for stride in view.strides)
    if 0 in view.shape:
        return np.empty(view.shape, storage.dtype)
    return np.array(np.lib.stride_tricks.as_strided(numbers[view.offset :], view.shape, steps), order="C")


def _limit(size: int) -> None:
    """Limit the memory and the time of this process; memory counts from what it has now, with its libraries."""
    lower_limit(resource.RLIMIT_CPU, CPU_SECONDS)
    limit_memory(_MEMORY + 3 * size)


def main() -> None:
    """Read a module from standard input and write a safetensors file to standard output.

    Exits with status `REFUSED` and one line on standard error where the file cannot be read.
    """
    from safetensors.numpy import save

    content = sys.stdin.buffer.read(MAX_MODULE_BYTES + 1)
    _limit(len(content))
    try:
        written = save(read_module(content))
    except ModuleFileError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(REFUSED)
    sys.stdout.buffer.write(written)
    sys.stdout.buffer.flush()
