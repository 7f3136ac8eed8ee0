"""Options for finding and downloading weight files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DownloadProgress = Callable[[int, "int | None"], None]  # called with the bytes so far and the total, None when unknown


@dataclass(frozen=True)
class WeightSource:
    """Where weight files are searched, whether they may be downloaded, and whose parts they may name.

    Attributes:
        folder: searched before AVVP_WEIGHTS_DIR, the user's cache folder and the files shipped with the program.
        offline: never download; the error for a missing file lists its addresses.
        progress: callback during downloads.
        trust: packages whose parts a bundle or a checkpoint may name by "module:Name", which imports them; beside those
            in AVVP_TRUST_PARTS.
    """

    folder: Path | None = None
    offline: bool = False
    progress: DownloadProgress | None = None
    trust: tuple[str, ...] = ()


ANYWHERE = WeightSource()  # the default folders, then the network
