"""Features of CLAP and CLIP as `avvp pseudo-label --save-features` writes them, and as UWAV publishes them.

FOLDER/CLAP/features/<id>.npy              (T, A), of length 1, a row for each second
FOLDER/CLIP/features/<id>.npy              (T, V)
FOLDER/feats_CLAP/segment_feats/<id>.npy   the names of UWAV
FOLDER/feats_CLIP/segment_feats/<id>.npy
"""

from __future__ import annotations

from pathlib import Path

from ...extractors.profiles import FeatureSpec
from ...extractors.sampling import CLAP_RATE, CLIP_CLAP_STREAMS
from ..errors import DatasetError
from ..text import escape
from .npy_files import read_header
from .npy_folders import FeatureFolders, list_clips

_PROFILE = "clip-clap"
_LAYOUTS = (
    (Path("CLAP/features"), Path("CLIP/features")),
    (Path("feats_CLAP/segment_feats"), Path("feats_CLIP/segment_feats")),
)


def has_saved_features(root: Path) -> bool:
    """Return whether a folder holds features of CLAP and CLIP in one of the layouts."""
    return _find(root) is not None


class SavedFeatures(FeatureFolders):
    """Features of CLAP and CLIP in one of the layouts, see `FeatureSource`."""

    def __init__(self, root: Path) -> None:
        """Find the folders and read the widths from the header of a file in each.

        Args:
            root: a folder for which `has_saved_features` is True.

        Raises:
            DatasetError: a folder has no files, or a file cannot be read.
        """
        folders = _find(root)
        assert folders is not None
        self.root = root
        self.frames = False  # a second has one
        self.folders = list(folders)
        widths = tuple(map(_read_width, folders))
        self.spec = FeatureSpec(
            _PROFILE,
            1,
            ("clap", "clip"),
            widths,
            frames_per_segment=1,
            sample_rate=CLAP_RATE,
            streams=CLIP_CLAP_STREAMS,
        )


def _find(root: Path) -> tuple[Path, Path] | None:
    for audio, visual in _LAYOUTS:
        if (root / audio).is_dir() and (root / visual).is_dir():
            return root / audio, root / visual
    return None


def _read_width(folder: Path) -> int:
    """Return the width of the features in a folder. Raises DatasetError."""
    clips = list_clips(folder)
    if not clips:
        raise DatasetError(f"{escape(folder)}: holds no features (.npy files)")
    path = folder / f"{min(clips)}.npy"
    shape = read_header(path).shape
    if len(shape) != 2:
        raise DatasetError(f"{escape(path)}: shape {shape}, expected (T, width), a row for each second")
    return shape[1]
