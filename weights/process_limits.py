"""Limits that a child process sets on itself before it reads a file of strangers."""

from __future__ import annotations

import resource
from pathlib import Path

_STATUS = Path("/proc/self/statm")  # of Linux


def lower_limit(kind: int, limit: int) -> None:
    """Set a limit of this process, unless the one that it has is lower.

    Args:
        kind: a constant of `resource`, such as `RLIMIT_CPU`.
        limit: in the units of the kind.
    """
    before = resource.getrlimit(kind)[1]
    lowest = limit if before == resource.RLIM_INFINITY else min(limit, before)
    resource.setrlimit(kind, (lowest, lowest))


def limit_memory(further: int) -> None:
    """Allow no more memory than now and some bytes; nothing where the system does not say what is used.

    Args:
        further: bytes.
    """
    if _STATUS.is_file():
        used = int(_STATUS.read_bytes().split()[0]) * resource.getpagesize()
        lower_limit(resource.RLIMIT_AS, used + further)
