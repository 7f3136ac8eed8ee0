"""Methods of a timeline that files, tables, plots and notebooks are made with.

Their code is in folders that are built on this one and import it, so it is not imported here: `PRESENTERS` names it,
and a method imports it when it is called. `tests/pipeline/api/test_timeline_methods.py` checks every entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

PRESENTERS = {  # name -> "module:function" within this folder; the function takes the timeline and the arguments
    "save": "api.timeline_files:save",
    "load": "api.timeline_files:load",
    "load_all": "api.timeline_files:load_all",
    "to_dict": "api.timeline_files:to_dict",
    "from_dict": "api.timeline_files:from_dict",
    "to_dataframe": "api.timeline_files:to_dataframe",
    "plot": "api.pictures:plot",
    "html": "api.notebook:timeline_html",
}

Self = TypeVar("Self", bound="TimelineMethods")


def find_presenter(name: str) -> Any:
    """Import a function of `PRESENTERS`.

    Args:
        name: key in `PRESENTERS`.

    Returns:
        The function.
    """
    module, function = PRESENTERS[name].split(":")
    return getattr(import_module(f".{module}", __package__), function)


class Picture:
    """A picture in PNG format, which a notebook shows."""

    def __init__(self, render: Callable[[], bytes]) -> None:
        """Keep what draws the picture.

        Args:
            render: returns the bytes of the file; called once, when they are needed.
        """
        self._render = render

    @cached_property
    def png(self) -> bytes:
        """The bytes of the file."""
        return self._render()

    def __repr__(self) -> str:
        return "Picture in PNG format; .png are its bytes"

    def _repr_png_(self) -> bytes:
        return self.png


class TimelineMethods:
    """Files, tables, plots and notebook views of a timeline."""

    def save(
        self, path: str | PathLike[str], *, format: str | None = None, probabilities: bool = True
    ) -> tuple[Path, ...]:
        """Write the timeline to a file, atomically; folders are made.

        Args:
            path: the file. A format of several files writes them beside it, `events.audio.vtt` and `events.visual.vtt`
                for `events.vtt`.
            format: name of the format, such as `json`, `csv` or `textgrid`; by default the suffix of `path` decides.
            probabilities: include the probabilities per second, in JSON. Other formats hold the events alone.

        Returns:
            The files that were written.

        Raises:
            SetupError: the format or the suffix is unknown, or the format needs a package that is not installed.
            OutputError: a file cannot be written.
        """
        return find_presenter("save")(self, path, format=format, probabilities=probabilities)

    @classmethod
    def load(cls: type[Self], path: str | PathLike[str]) -> Self:
        """Read the timeline of an event file in any readable format; its suffix decides.

        Args:
            path: the file; other files of the same timeline are read with it.

        Returns:
            The timeline. Only JSON keeps probabilities and provenance.

        Raises:
            FormatError: the file cannot be read, or holds no timeline or several (`load_all` reads those).
        """
        return find_presenter("load")(path)

    @classmethod
    def load_all(cls: type[Self], path: str | PathLike[str]) -> list[Self]:
        """Read all timelines of an event file: a table may have those of many clips.

        Args:
            path: as for `load`.

        Returns:
            The timelines in the order of the file.

        Raises:
            FormatError: the file cannot be read.
        """
        return find_presenter("load_all")(path)

    def to_dict(self, *, probabilities: bool = True) -> dict[str, Any]:
        """Convert the timeline to a mapping that JSON can hold, the document that `save` writes.

        Args:
            probabilities: include the probabilities per second, where the timeline has them.

        Returns:
            The document; `events.schema.json` describes it. Scores and probabilities have six decimals.
        """
        return find_presenter("to_dict")(self, probabilities=probabilities)

    @classmethod
    def from_dict(cls: type[Self], document: Mapping[str, Any]) -> Self:
        """Make a timeline of a mapping as `to_dict` returns; only `events` is required.

        Args:
            document: from `to_dict`, or parsed JSON.

        Returns:
            The timeline.

        Raises:
            ValueError: the document is not valid.
        """
        return find_presenter("from_dict")(document)

    def to_dataframe(self) -> pandas.DataFrame:
        """Make a table of the events, one row each, in their order.

        Returns:
            Columns `modality`, `label`, `onset`, `offset`, `duration` (seconds), `score` and `comment`.

        Raises:
            SetupError: pandas is not installed.
        """
        return find_presenter("to_dataframe")(self)

    @overload
    def plot(
        self, path: str | PathLike[str] | None = None, *, ax: None = None, media: str | PathLike[str] | None = None
    ) -> Picture: ...

    @overload
    def plot(self, path: None = None, *, ax: Axes, media: None = None) -> Axes: ...

    def plot(
        self,
        path: str | PathLike[str] | None = None,
        *,
        ax: Axes | None = None,
        media: str | PathLike[str] | None = None,
    ) -> Picture | Axes:
        """Plot audio and visual events over one time axis.

        Args:
            path: file to write, `.png`, `.svg` or `.pdf`.
            ax: axes of matplotlib to draw on instead: one row for each class and modality.
            media: adds a strip of frames and the sound of this file, the one that was parsed.

        Returns:
            A picture, which a notebook shows; with `ax`, the axes.

        Raises:
            ValueError: the suffix is not that of a plot, or `ax` is combined with `path` or `media`.
            MediaError: the media cannot be read.
            OutputError: the plot cannot be written.
        """
        return find_presenter("plot")(self, path, ax=ax, media=media)

    def _repr_html_(self) -> str:
        return find_presenter("html")(self)
