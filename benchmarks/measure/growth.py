"""How a cost grows with a size: curves, their exponents, tables and a picture."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Above this exponent a cost grows faster than its size: caches and a busy machine make 1.1 of a straight line.
STEEPEST = 1.25
_NEGLIGIBLE = 0.05  # processor seconds, of what is added, below which nothing is said of a slope
_VARYING = 0.2  # share of the smallest cost, such as of starting a program, by which it varies on a busy machine
_COLOURS = ("#1b6ca8", "#a3195b", "#37701b", "#c46a00", "#5b4b9a", "#00807a", "#7a3b12", "#333333")
_PALE = "#b9c0c9"


@dataclass(frozen=True)
class Curve:
    """What one thing costs at several sizes.

    Attributes:
        axis: what grows: "minutes", "files", "classes", "megapixels" or "cores".
        name: of what is measured.
        sizes: ascending.
        costs: of each size: processor seconds; of cores, seconds.
        memory: MiB of each size, the peak of the program; empty where it is not measured.
        background: drawn pale, without a name of its own.
        expected: exponent by design; a cost that is steeper than this and `STEEPEST` is reported.
    """

    axis: str
    name: str
    sizes: tuple[float, ...]
    costs: tuple[float, ...]
    memory: tuple[float, ...] = ()
    background: bool = False
    expected: float = 1.0

    @property
    def exponent(self) -> float | None:
        """Exponent p of what is added to the smallest cost, as size^p; None where too little is added to tell."""
        return growth_exponent(self.sizes, self.costs)

    @property
    def is_too_steep(self) -> bool:
        """Whether the cost grows faster than its size, or than the design says."""
        return self.exponent is not None and self.exponent > self.expected * STEEPEST


def growth_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """Return p, where a cost grows as a + b size^p between the last two sizes.

    What starting costs, a, drops out: for a straight line p is 1 whatever a is.

    Args:
        sizes: ascending, at least three.
        costs: of the sizes.

    Returns:
        The exponent; None where the last two add too little to the first.
    """
    if len(sizes) < 3:
        return None
    added = [cost - costs[0] for cost in costs[-2:]]
    least = max(_VARYING * costs[0], 1e-6)
    if added[0] < least or added[1] < max(least, _NEGLIGIBLE):
        return None
    return math.log(added[1] / added[0]) / math.log((sizes[-1] - sizes[0]) / (sizes[-2] - sizes[0]))


def processor_seconds(call: Callable[[], object], repeats: int) -> float:
    """Return the least processor time of some calls: other programs only ever add to it."""
    least = math.inf
    gc.collect()
    for _ in range(repeats):
        started = time.process_time()
        call()
        least = min(least, time.process_time() - started)
        if least > 1:
            break
    return least


def measure_steps(
    axis: str,
    sizes: Sequence[float],
    make_steps: Callable[[float], Mapping[str, Callable[[], object]]],
    *,
    repeats: int,
) -> list[Curve]:
    """Measure the steps that this process computes, at each size.

    Args:
        axis: see `Curve`.
        sizes: ascending.
        make_steps: prepares the steps of a size; their names are those of the curves.
        repeats: calls of each step, of which the least counts.

    Returns:
        A curve for each step.
    """
    costs: dict[str, list[float]] = {}
    for size in sizes:
        for name, step in make_steps(size).items():
            costs.setdefault(name, []).append(processor_seconds(step, repeats))
    return [Curve(axis, name, tuple(sizes), tuple(values)) for name, values in costs.items()]


def print_table(curves: Iterable[Curve]) -> None:
    """Print the costs of each curve with its exponent, one table for each axis and its sizes."""
    header: tuple[str, tuple[float, ...]] | None = None
    for curve in curves:
        axis = curve.axis
        if header != (axis, curve.sizes):
            header = axis, curve.sizes
            print(f"\n{axis}{' ' * (34 - len(axis))}{''.join(f'{size:>10.4g}' for size in curve.sizes)}  exponent")
        exponent = "" if axis == "cores" else "small" if curve.exponent is None else f"{curve.exponent:.2f}"
        mark = "  TOO STEEP" if curve.is_too_steep else ""
        print(f"{curve.name:<34}{''.join(f'{cost:>9.3g}s' for cost in curve.costs)}{exponent:>10}{mark}")
        if curve.memory:
            ratio = curve.memory[-1] / curve.memory[0]
            print(f"{'  peak memory, MiB':<34}{''.join(f'{peak:>10.0f}' for peak in curve.memory)}     x{ratio:.2f}")


def draw_curves(curves: Sequence[Curve]) -> Figure:
    """Draw costs against sizes, both relative to the smallest: a panel for each axis, and one for memory.

    Args:
        curves: of any axes.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    axes_names = list(dict.fromkeys(curve.axis for curve in curves))
    panels = len(axes_names) + any(curve.memory for curve in curves)
    columns = min(3, panels)
    rows = math.ceil(panels / columns)
    figure = Figure((4.1 * columns, 3.5 * rows), layout="constrained", facecolor="white")
    places = iter(figure.subplots(rows, columns, squeeze=False).flat)
    for name in axes_names:
        shown = [curve for curve in curves if curve.axis == name]
        draw = _draw_speedup if name == "cores" else _draw_growth
        draw(next(places), shown, name)
    if any(curve.memory for curve in curves):
        _draw_memory(next(places), [curve for curve in curves if curve.memory])
    for unused in places:
        unused.set_axis_off()
    return figure


def _draw_growth(axes: Axes, curves: Sequence[Curve], axis: str) -> None:
    colours = iter(_COLOURS * len(curves))
    for curve in sorted(curves, key=lambda curve: not curve.background):
        multiples = [cost / max(curve.costs[0], 1e-9) for cost in curve.costs]
        exponent = "" if curve.exponent is None else f" {curve.exponent:.2f}"
        if curve.background:
            axes.plot(curve.sizes, multiples, color=_PALE, linewidth=0.7, zorder=1)
        else:
            style = {"color": next(colours), "linewidth": 1.4, "marker": "o", "markersize": 3}
            axes.plot(curve.sizes, multiples, label=f"{curve.name}{exponent}", zorder=3, **style)
    if hidden := [curve for curve in curves if curve.background]:
        steepest = max((curve.exponent or 0.0 for curve in hidden), default=0.0)
        axes.plot([], [], color=_PALE, linewidth=0.7, label=f"{len(hidden)} formats, at most {steepest:.2f}")
    sizes = curves[0].sizes
    axes.plot(sizes, [size / sizes[0] for size in sizes], "--", color="#888888", linewidth=0.9, label="as the size: 1")
    axes.set(xscale="log", yscale="log", xlabel=axis, ylabel="processor time, times the smallest")
    axes.set_title(f"{axis}: exponents", fontsize=8)
    axes.legend(fontsize=5.5, frameon=False, loc="upper left")


def _draw_speedup(axes: Axes, curves: Sequence[Curve], axis: str) -> None:
    for curve, colour in zip(curves, _COLOURS * len(curves), strict=False):
        speedups = [curve.costs[0] / cost for cost in curve.costs]
        axes.plot(
            curve.sizes, speedups, color=colour, marker="o", markersize=3, label=f"{curve.name} x{speedups[-1]:.2f}"
        )
    axes.plot(curves[0].sizes, curves[0].sizes, "--", color="#888888", linewidth=0.9, label="as the cores")
    axes.set(xlabel=axis, ylabel="times as fast as one core", xticks=curves[0].sizes)
    axes.set_title("cores: speed", fontsize=8)
    axes.legend(fontsize=5.5, frameon=False, loc="upper left")


def _draw_memory(axes: Axes, curves: Sequence[Curve]) -> None:
    for curve, colour in zip(curves, _COLOURS * len(curves), strict=False):
        multiples = [size / curve.sizes[0] for size in curve.sizes]
        label = f"{curve.name}, {curve.axis} x{curve.memory[-1] / curve.memory[0]:.2f}"
        axes.plot(multiples, curve.memory, color=colour, marker="o", markersize=3, label=label)
    axes.set(xscale="log", xlabel="times the smallest size", ylabel="peak of the program, MiB")
    axes.set_ylim(0, 1.5 * max(peak for curve in curves for peak in curve.memory))
    axes.set_title("memory", fontsize=8)
    axes.legend(fontsize=5.5, frameon=False, loc="upper left")
