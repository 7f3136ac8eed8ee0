"""The page on files of strangers: its tests exist, and its limits are those of the code."""

from __future__ import annotations

import importlib
import re

import pytest
from support.paths import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
LIMITS = re.findall(r"^\| `([\w./]+\.py):(\w+)` \| ([^|]+) \|", PAGE, re.MULTILINE)
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "million": 1_000_000, "hours": 3600, "days": 86_400}


def read_number(text: str) -> float:
    """The number of a cell such as "256 MiB", "24 hours" or "10,000"."""
    number, _, unit = text.strip().partition(" ")
    return float(number.replace(",", "")) * UNITS.get(unit, 1)


def test_tests_of_promises_exist() -> None:
    named = re.findall(r"`((?:tests|benchmarks)/[\w./]+\.py)`", PAGE)
    assert len(named) > 12
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_the_table_of_limits_is_long() -> None:
    assert len(LIMITS) > 40


@pytest.mark.parametrize(("path", "name", "value"), LIMITS, ids=lambda value: value.strip())
def test_limits_are_those_of_the_code(path: str, name: str, value: str) -> None:
    module = importlib.import_module(f"avvp.{path.removesuffix('.py').replace('/', '.')}")
    assert read_number(value) == getattr(module, name)
