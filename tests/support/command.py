"""What tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

RUN_MARK = "AVVP_TEST_RUN"  # in the environment of the programs started here, and of what they start


@dataclass
class Result:
    status: int
    out: str
    err: str


Run: TypeAlias = Callable[..., Result]  # of the fixture `run`
