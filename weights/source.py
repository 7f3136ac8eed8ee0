"""Where weight files may come from: a folder, the network or not, and who watches a download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DownloadProgress = Callable[[int, "int | None"], None]  # bytes so far, bytes in all where the server names them


@dataclass(frozen=True)
class WeightSource:
    """Where weight files may come from.

    Attributes:
        folder: searched before AVVP_WEIGHTS_DIR, the user's cache folder and the files shipped with the program.
        offline: never download; a missing file is an error that says where it can be had.
        progress: called while a file is downloaded.
    """

    folder: Path | None = None
    offline: bool = False
    progress: DownloadProgress | None = None


ANYWHERE = WeightSource()  # the default of functions: the usual folders, then the network
