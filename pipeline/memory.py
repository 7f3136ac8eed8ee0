"""Memory that this process may still use, and errors that say which option needs less of it."""

from __future__ import annotations

import contextlib
import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import SetupError
from .text import escape

# PyTorch raises RuntimeError for a CPU: from its allocator, from C++ and from oneDNN.
_MESSAGES = re.compile(r"can't allocate memory|not enough memory|out of memory|bad_alloc|could not create a memory")
_UNLIMITED = 1 << 60  # bytes; cgroups without a limit state a number above this, or "max"


def available_memory(root: Path = Path("/")) -> int | None:
    """Return how much memory this process can still allocate before the system refuses it or kills the process.

    The least of what the machine has left, what the control groups of the process allow (version 1 and 2; a container
    has one), and the limit of its address space.

    Args:
        root: of the file system that `proc` and `sys` are in. The address space is that of this process anyway.

    Returns:
        Bytes, at least 0; None where the system does not tell.
    """
    limits = [_left_on_machine(root / "proc/meminfo"), *_left_in_control_groups(root), _left_of_address_space()]
    known = [limit for limit in limits if limit is not None]
    return max(0, min(known)) if known else None


def _left_on_machine(meminfo: Path) -> int | None:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _content(meminfo), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _left_in_control_groups(root: Path) -> Iterator[int]:
    """Yield what is left in each control group that the process is in and in those above."""
    for line in _content(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            mount, limit, usage = root / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            mount, limit, usage = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        folder = mount / group.lstrip("/")
        for place in (folder, *folder.parents):
            most, used = _content(place / limit).strip(), _content(place / usage).strip()
            if most.isdigit() and used.isdigit() and int(most) < _UNLIMITED:
                # Files that were read count as used, and are dropped when memory is needed.
                cache = re.search(r"^(?:total_)?inactive_file (\d+)$", _content(place / "memory.stat"), re.MULTILINE)
                yield int(most) - int(used) + (int(cache[1]) if cache else 0)
            if place == mount:
                break


def _left_of_address_space() -> int | None:
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = re.search(r"^VmSize:\s+(\d+) kB", _content(Path("/proc/self/status")), re.MULTILINE)
    return most - int(used[1]) * 1024 if most != resource.RLIM_INFINITY and used else None


def _content(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory, of the machine or of a GPU, could not be allocated."""
    of_gpu = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)  # torch need not be imported
    if isinstance(error, MemoryError) or of_gpu:
        return True
    return isinstance(error, RuntimeError) and bool(_MESSAGES.search(str(error)))


@contextlib.contextmanager
def converting_out_of_memory(convert: Callable[[BaseException], Exception]) -> Iterator[None]:
    """Turn an error about memory within the context into another one.

    Args:
        convert: returns the error to raise for one that says that memory could not be allocated.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise convert(error) from error


def name_option_when_out_of_memory(option: str) -> contextlib.AbstractContextManager[None]:
    """Turn an error about memory within a context into a SetupError that names what to lower.

    Args:
        option: what to lower, such as "--batch-size".

    Returns:
        The context manager.
    """
    return converting_out_of_memory(lambda error: SetupError(out_of_memory_message(option, error)))


def out_of_memory_message(option: str, error: BaseException) -> str:
    """Return the message that names what to lower.

    Args:
        option: what to lower, such as "--batch-size".
        error: about memory.
    """
    reason = escape(str(error).split("\n", 1)[0]) or "no memory is left"
    return f"out of memory; use a smaller {option} ({reason})"
