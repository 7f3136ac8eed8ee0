"""Where LEAP looks: its label-to-segment attention by block and modality, as numbers and as pictures.

The LEAP paper shows it in Figs. 5 and 6, classes by seconds, before the softmax (whose sigmoid predicts the segments)
and after it (what the label embeddings gather from).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....models.parser import AVParser
from ...errors import SetupError
from ...features.extract import FeatureSet
from ...files import write_atomic
from ...inference.predict import average_windows, finite_numbers
from ...text import escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAP_SUFFIXES = (".npz", ".png", ".svg", ".pdf")

_MOST_CLASSES = 8  # in a picture of which nobody said what it should show
_MOST_COLUMNS = 600  # of a heat map: more than a panel has pixels for
_SURE = 6.0  # a logit beyond which the probability is within 0.3 % of 0 or 1, and the colour no longer changes
_MOST_LETTERS = 32  # of a class name
_FONT = "DejaVu Sans"  # comes with matplotlib
_DPI = 150
_CELL = 0.24  # inches; a class's row is as high, and a second of a short video as wide
_BAR = 0.12  # inches: a colour bar's height
_PANEL_WIDTHS = (2.4, 4.5)  # inches, least and most


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """Label-to-segment attention on one video of T seconds: N blocks, C classes. Raises ValueError for other shapes.

    Where the video is longer than the parser's window, each second has the mean over the windows that hold it. The
    weights of a class sum to 1 over the seconds of a window, so over such a video they do not.
    """

    labels: tuple[str, ...]  # C
    audio_logits: NDArray[np.float32]  # (N, C, T), before the softmax
    visual_logits: NDArray[np.float32]
    audio_weights: NDArray[np.float32]  # (N, C, T), after it, in [0, 1]
    visual_weights: NDArray[np.float32]

    def __post_init__(self) -> None:
        shape = self.audio_logits.shape
        for name, array in self.arrays().items():
            if array.ndim != 3 or array.shape != shape or array.shape[1] != len(self.labels) or not array.size:
                raise ValueError(f"{name} is {array.shape}, expected (blocks, {len(self.labels)}, seconds) in all four")

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The four, by name."""
        return {name: array for name, array in vars(self).items() if name != "labels"}


def check_explainable(parser: AVParser) -> None:
    """Raises SetupError for a parser that has no attention to show."""
    if parser.config.decoder != "leap":
        raise SetupError(
            f"this parser's decoder is {escape(parser.config.decoder)}, which has no label-to-segment attention;"
            " take a bundle whose decoder is leap"
        )


def explain_features(features: FeatureSet, parser: AVParser, device: torch.device | str = "cpu") -> AttentionMaps:
    """The attention of a parser on this device over a video of any length, in the windows of `predict.predict_video`.

    Raises SetupError where the parser has no attention to show, or answers with what is no number.
    """
    check_explainable(parser)
    parser.eval()

    def look(audio: Tensor, visual_2d: Tensor, visual_3d: Tensor) -> NDArray[np.float32]:
        logits = torch.stack(parser.attention_maps(audio, visual_2d, visual_3d), dim=1)
        both = torch.stack([logits, logits.softmax(dim=-1)], dim=1)  # (B, kind, modality, N, C, T)
        return finite_numbers(both.flatten(1, 3).transpose(2, 3))

    streams = (features.audio, features.visual_2d, features.visual_3d)
    averaged = average_windows(look, streams, parser.config.segments, torch.device(device))  # (4 N, T, C)
    by_part = averaged.reshape(4, -1, *averaged.shape[1:]).swapaxes(2, 3)
    return AttentionMaps(parser.config.labels, *np.ascontiguousarray(by_part))


def write_maps(maps: AttentionMaps, path: Path, *, shown: Sequence[str] = ()) -> None:
    """Write all maps as arrays (`.npz`) or some as a picture (`.png`, `.svg`, `.pdf`); the same maps, the same bytes.

    The arrays are `labels` and the four of `AttentionMaps`; no pickle. shown: the classes of the picture, from top to
    bottom; where none are given, the 8 that the last block's logits give the largest probability in any second of
    either modality. Raises ValueError for another suffix or an unknown class, OutputError for what cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in MAP_SUFFIXES:
        raise ValueError(f"{escape(path)}: attention maps are written to {', '.join(MAP_SUFFIXES)} files")
    content = io.BytesIO()
    if suffix == ".npz":
        arrays: dict[str, Any] = {"labels": np.array(maps.labels, dtype=np.str_), **maps.arrays()}
        np.savez_compressed(content, **arrays)
    else:
        _save_picture(maps, _choose(maps, shown), content, suffix[1:])
    write_atomic(path, content.getvalue())


def _choose(maps: AttentionMaps, shown: Sequence[str]) -> list[int]:
    """Indices of the classes of a picture."""
    if unknown := [label for label in shown if label not in maps.labels]:
        raise ValueError(f"not among the classes of the maps: {', '.join(map(escape, unknown))}")
    if shown:
        return [maps.labels.index(label) for label in dict.fromkeys(shown)]
    peaks = np.maximum(maps.audio_logits[-1], maps.visual_logits[-1]).max(axis=-1)
    return np.argsort(-peaks, kind="stable")[:_MOST_CLASSES].tolist()


def _save_picture(maps: AttentionMaps, chosen: list[int], content: io.BytesIO, kind: str) -> None:
    import matplotlib as mpl

    with mpl.rc_context():  # a person's own settings (TeX, fonts) must not decide whether a picture can be made
        mpl.rcdefaults()
        mpl.rcParams.update({"font.family": _FONT, "font.size": 8, "svg.fonttype": "none", "svg.hashsalt": "avvp"})
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        _draw(maps, chosen).savefig(content, format=kind, dpi=_DPI, metadata=dates.get(kind))


def _draw(maps: AttentionMaps, chosen: list[int]) -> Figure:
    """Heat maps: a row for each modality; on the left the blocks' logits, on the right their softmax."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    blocks, _, seconds = maps.audio_logits.shape
    width = float(np.clip(_CELL * seconds, *_PANEL_WIDTHS))
    height = max(1.0, _CELL * len(chosen))
    figure = Figure(figsize=(1.8 + 2 * blocks * width, 1.6 + 2 * height), layout="constrained")
    grid = figure.add_gridspec(3, 2 * blocks, height_ratios=(height, height, _BAR))
    panels: dict[tuple[int, int], Axes] = {}
    arrays = np.stack(list(maps.arrays().values())).reshape(2, 2, *maps.audio_logits.shape)
    step = -(-seconds // _MOST_COLUMNS)
    # Every few seconds of a long video share a column: the largest, since a mean would hide a short event.
    arrays = np.maximum.reduceat(arrays[:, :, :, chosen], np.arange(0, seconds, step), axis=-1)
    reach = min(float(abs(arrays[0]).max()) or 1.0, _SURE)
    halves = (
        ("logits", "before the softmax; above 0, the probability is above 1/2", "RdBu_r", -reach, reach),
        ("weights", "after the softmax over a window's seconds", "viridis", 0.0, float(arrays[1].max())),
    )
    for half, (what, meaning, colours, lowest, highest) in enumerate(halves):
        for row, block in np.ndindex(2, blocks):
            column = half * blocks + block
            first = panels.get((0, 0))
            panel = panels[row, column] = figure.add_subplot(grid[row, column], sharex=first, sharey=first)
            panel.imshow(
                arrays[half, row, block],
                cmap=colours,
                vmin=lowest,
                vmax=highest,
                aspect="auto",
                interpolation="nearest",
                extent=(0, step * arrays.shape[-1], len(chosen), 0),
            )
            panel.tick_params(axis="y", length=0, labelleft=column == 0)
            panel.tick_params(axis="x", labelbottom=row == 1)
            panel.set_title(f"block {block + 1}, {what}" if row == 0 else "")
            panel.set_xlabel(("seconds" if step == 1 else f"seconds; a column is the largest of {step}") if row else "")
            panel.set_ylabel(("audio", "visual")[row] if column == 0 else "", fontweight="bold")
        bar = figure.add_subplot(grid[2, half * blocks : (half + 1) * blocks])
        beyond = "both" if what == "logits" and reach == _SURE else "neither"
        figure.colorbar(
            panels[0, half * blocks].images[0], cax=bar, orientation="horizontal", label=meaning, extend=beyond
        )
    panels[0, 0].set_xlim(0, seconds)
    panels[0, 0].xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    names = [_drawable(maps.labels[index]) for index in chosen]
    for row in range(2):  # ticks are shared, their text's properties are not: a $ in a stranger's name is no formula
        panels[row, 0].set_yticks(np.arange(len(names)) + 0.5, names, parse_math=False)
    return figure


def _drawable(name: str) -> str:
    """A class name on one line, not endless, in characters that the font has; others as backslash escapes."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont(_FONT))
    short = escape(name if len(name) <= _MOST_LETTERS else name[: _MOST_LETTERS - 1] + "…")
    return "".join(
        letter if font.get_char_index(ord(letter)) else letter.encode("unicode_escape").decode() for letter in short
    )
