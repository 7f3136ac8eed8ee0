"""Exponents of growing costs: what is added to the smallest case."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from support.paths import ROOT

SIZES = (1.0, 10.0, 60.0, 180.0)


@pytest.fixture
def growth(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from measure import growth

    yield growth


@pytest.mark.parametrize("start", [0.0, 2.0, 50.0])
def test_a_straight_line_has_the_exponent_one_whatever_it_starts_with(start: float, growth: ModuleType) -> None:
    costs = tuple(start + 3 * size for size in SIZES)
    assert growth.growth_exponent(SIZES, costs) == pytest.approx(1)
    assert not growth.Curve("minutes", "line", SIZES, costs).is_too_steep


def test_a_square_is_too_steep(growth: ModuleType) -> None:
    curve = growth.Curve("minutes", "square", SIZES, tuple(5 + size**2 for size in SIZES))
    assert curve.exponent == pytest.approx(2, abs=0.05)
    assert curve.is_too_steep
    assert not growth.Curve("classes", "square", SIZES, curve.costs, expected=2.0).is_too_steep


@pytest.mark.parametrize(
    ("sizes", "costs"),
    [
        (SIZES, (2.0, 2.0, 2.01, 2.02)),  # what is added is lost in what varies
        (SIZES, (0.001, 0.002, 0.004, 0.02)),  # milliseconds
        (SIZES[:2], (1.0, 9.0)),
    ],
)
def test_nothing_is_said_of_small_costs(sizes: tuple[float, ...], costs: tuple[float, ...], growth: ModuleType) -> None:
    curve = growth.Curve("minutes", "small", sizes, costs)
    assert curve.exponent is None
    assert not curve.is_too_steep


def test_a_table_names_what_is_too_steep(growth: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    growth.print_table(
        [
            growth.Curve("files", "line", SIZES, SIZES, memory=(100.0, 100.0, 100.0, 150.0)),
            growth.Curve("files", "square", SIZES, tuple(size**2 for size in SIZES)),
        ]
    )
    _, _, line, memory, square = capsys.readouterr().out.splitlines()
    assert line.split()[-1] == "1.00"
    assert memory.endswith("x1.50")
    assert square.endswith("1.98  TOO STEEP")


def test_every_axis_has_a_panel(growth: ModuleType, tmp_path: Path) -> None:
    curves = [
        growth.Curve(axis, "line", SIZES, SIZES, memory=SIZES if axis == "files" else ())
        for axis in ("minutes", "files", "cores")
    ]
    figure = growth.draw_curves([*curves, growth.Curve("files", "csv", SIZES, SIZES, background=True)])
    figure.savefig(tmp_path / "scaling.png")
    titles = [axes.get_title() for axes in figure.axes if axes.axison]
    assert titles == ["minutes: exponents", "files: exponents", "cores: speed", "memory"]
    labels = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert labels == ["line 1.00", "1 formats, at most 1.00", "as the size: 1"]
