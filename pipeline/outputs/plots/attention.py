"""LEAP's label-to-segment attention by block and modality, as arrays and as heat maps.

The LEAP paper shows it in Figs. 5 and 6, classes by seconds, before the softmax (its sigmoid predicts the segments)
and after it (the weights by which label embeddings aggregate segments).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....models.localizers.localizer import EventLocalizer
from ...errors import SetupError
from ...features.extract import FeatureSet
from ...files import write_atomic
from ...inference.networks import Network
from ...inference.output_tables import to_finite_array
from ...inference.predict import average_windows
from ...text import escape
from .attention_maps import MAP_SUFFIXES, AttentionMaps, maps_to_npz

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DEFAULT_CLASSES = 8  # number of classes in a plot without a choice of classes
_MAX_COLUMNS = 600  # of a heat map; a panel has fewer pixels than that
_MAX_LOGIT = 6.0  # end of the colour scale: beyond it the probability is within 0.3 % of 0 or 1
_MAX_NAME_LENGTH = 32  # characters of a class name
_MEMORIES = {"audio": "audio", "visual": "visual", "fused": "both"}  # what people read
_FONT = "DejaVu Sans"  # comes with matplotlib
_DPI = 150
_CELL = 0.24  # inches: height of a class's row, width of a second of a short video
_COLOUR_BAR_HEIGHT = 0.12  # inches
_PANEL_WIDTHS = (2.4, 4.5)  # inches, minimum and maximum


def check_explainable(parser: Network) -> None:
    """Raise SetupError for a parser or a localizer whose decoder has no label-to-segment attention."""
    if parser.config.decoder == "leap":
        return
    if isinstance(parser, EventLocalizer):
        raise SetupError(
            f"this localizer ({escape(parser.config.system)}) has its own classifier, which has no"
            " label-to-segment attention; choose one with LEAP in its place, of a recipe whose name ends in -leap"
        )
    raise SetupError(
        f"this parser's decoder is {escape(parser.config.decoder)}, which has no label-to-segment attention;"
        " choose a bundle whose decoder is leap"
    )


def explain_features(features: FeatureSet, parser: Network, device: torch.device | str = "cpu") -> AttentionMaps:
    """Compute the attention of a network on a video of any length, with the windows of `predict.predict_video`.

    Args:
        features: of one video.
        parser: with LEAP, or a localizer with LEAP, on `device`; it is set to evaluation mode.
        device: where the features are moved to.

    Raises:
        SetupError: the decoder has no label-to-segment attention, or its attention is not finite.
    """
    check_explainable(parser)
    parser.eval()
    labels = parser.config.labels

    def attention(*batch: Tensor) -> NDArray[np.float32]:
        by_memory = parser.attention_maps(*batch)
        found = by_memory.values() if isinstance(by_memory, dict) else by_memory
        logits = torch.stack([one[:, :, : len(labels)] for one in found], dim=1)  # without the background's query
        maps = torch.stack([logits, logits.softmax(dim=-1)], dim=1)  # (B, kind, memory, blocks, C, T)
        return to_finite_array(maps.flatten(1, 3).transpose(2, 3))

    memories = parser.attention_memories if isinstance(parser, EventLocalizer) else ("audio", "visual")
    names = [f"{memory}_{kind}" for kind in ("logits", "weights") for memory in memories]
    streams = list(features.arrays().values())
    averaged = average_windows(attention, streams, parser.config.segments, torch.device(device))
    arrays = averaged.reshape(len(names), -1, *averaged.shape[1:]).swapaxes(2, 3)  # (kind and memory, blocks, C, T)
    return AttentionMaps(labels, **dict(zip(names, np.ascontiguousarray(arrays), strict=True)))


def write_maps(maps: AttentionMaps, path: Path, *, classes: Sequence[str] = ()) -> None:
    """Write maps as arrays or as a plot; equal maps give equal bytes.

    Args:
        maps: attention on one video.
        path: `.npz` for the arrays of all classes (`labels` and those of `AttentionMaps`, without pickle), or
            `.png`, `.svg` or `.pdf` for heat maps.
        classes: of a plot, from top to bottom. By default the 8 classes with the largest probability in any second of
            either modality, by the logits of the last block.

    Raises:
        ValueError: the suffix or a class is unknown.
        OutputError: the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in MAP_SUFFIXES:
        raise ValueError(f"{escape(path)}: attention maps are written to {', '.join(MAP_SUFFIXES)} files")
    is_plot = suffix != ".npz"
    write_atomic(path, _save_plot(maps, _class_indices(maps, classes), suffix[1:]) if is_plot else maps_to_npz(maps))


def _class_indices(maps: AttentionMaps, classes: Sequence[str]) -> list[int]:
    """Return the indices of the classes of a plot."""
    if unknown := [label for label in classes if label not in maps.labels]:
        raise ValueError(f"not among the classes of the maps: {', '.join(map(escape, unknown))}")
    if classes:
        return [maps.labels.index(label) for label in dict.fromkeys(classes)]
    peaks = np.max([logits[-1] for logits in maps.logits().values()], axis=0).max(axis=-1)
    return np.argsort(-peaks, kind="stable")[:_DEFAULT_CLASSES].tolist()


def _save_plot(maps: AttentionMaps, indices: list[int], file_format: str) -> bytes:
    import matplotlib as mpl

    content = io.BytesIO()
    with mpl.rc_context():  # the user's matplotlib settings (TeX, fonts) could make the plot fail
        mpl.rcdefaults()
        mpl.rcParams.update({"font.family": _FONT, "font.size": 8, "svg.fonttype": "none", "svg.hashsalt": "avvp"})
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        _draw(maps, indices).savefig(content, format=file_format, dpi=_DPI, metadata=dates.get(file_format))
    return content.getvalue()


def _draw(maps: AttentionMaps, indices: list[int]) -> Figure:
    """Draw heat maps, a row for each memory; logits of each block on the left, their softmax on the right."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    blocks, _, seconds = maps.shape
    memories = [_MEMORIES[name] for name in maps.logits()]
    rows = len(memories)
    width = float(np.clip(_CELL * seconds, *_PANEL_WIDTHS))
    height = max(1.0, _CELL * len(indices))
    figure = Figure(figsize=(1.8 + 2 * blocks * width, 1.6 + rows * height), layout="constrained")
    grid = figure.add_gridspec(rows + 1, 2 * blocks, height_ratios=(*[height] * rows, _COLOUR_BAR_HEIGHT))
    panels: dict[tuple[int, int], Axes] = {}
    arrays = np.stack(list(maps.arrays().values())).reshape(2, rows, *maps.shape)
    step = -(-seconds // _MAX_COLUMNS)
    # In a long video several seconds share a column: their maximum, since a mean would hide a short event.
    arrays = np.maximum.reduceat(arrays[:, :, :, indices], np.arange(0, seconds, step), axis=-1)
    limit = min(float(abs(arrays[0]).max()) or 1.0, _MAX_LOGIT)
    halves = (
        ("logits", "before the softmax; above 0, the probability is above 1/2", "RdBu_r", -limit, limit),
        ("weights", "after the softmax over a window's seconds", "viridis", 0.0, float(arrays[1].max())),
    )
    for half, (quantity, meaning, colour_map, lowest, highest) in enumerate(halves):
        for row, block in np.ndindex(rows, blocks):
            column = half * blocks + block
            first = panels.get((0, 0))
            panel = panels[row, column] = figure.add_subplot(grid[row, column], sharex=first, sharey=first)
            panel.imshow(
                arrays[half, row, block],
                cmap=colour_map,
                vmin=lowest,
                vmax=highest,
                aspect="auto",
                interpolation="nearest",
                extent=(0, step * arrays.shape[-1], len(indices), 0),
            )
            panel.tick_params(axis="y", length=0, labelleft=column == 0)
            panel.tick_params(axis="x", labelbottom=row == rows - 1)
            panel.set_title(f"block {block + 1}, {quantity}" if row == 0 else "")
            panel.set_xlabel(
                ("seconds" if step == 1 else f"seconds; a column is the largest of {step}") if row == rows - 1 else ""
            )
            panel.set_ylabel(memories[row] if column == 0 else "", fontweight="bold")
        bar = figure.add_subplot(grid[rows, half * blocks : (half + 1) * blocks])
        extend = "both" if quantity == "logits" and limit == _MAX_LOGIT else "neither"
        figure.colorbar(
            panels[0, half * blocks].images[0], cax=bar, orientation="horizontal", label=meaning, extend=extend
        )
    panels[0, 0].set_xlim(0, seconds)
    panels[0, 0].xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    names = [_drawable(maps.labels[index]) for index in indices]
    for row in range(rows):  # shared axes share ticks, not text properties: a $ in a class name is not a formula
        panels[row, 0].set_yticks(np.arange(len(names)) + 0.5, names, parse_math=False)
    return figure


def _drawable(name: str) -> str:
    """Return a class name as one short line; characters that the font lacks become backslash escapes."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont(_FONT))
    short = escape(name if len(name) <= _MAX_NAME_LENGTH else name[: _MAX_NAME_LENGTH - 1] + "…")
    return "".join(
        character if font.get_char_index(ord(character)) else character.encode("unicode_escape").decode()
        for character in short
    )
