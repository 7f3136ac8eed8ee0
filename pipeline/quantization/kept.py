"""Quantized networks that runs have calibrated on their own first clips, kept in the user's cache folder.

<cache>/avvp/quantized/KEY/   a bundle as `write_quantized` writes it; complete or absent
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import platformdirs

from ...weights.errors import WeightsError
from ...weights.manifest import Bundle, read_bundle
from ...weights.quantized import identify_calibration
from ...weights.source import ANYWHERE, WeightSource
from ..decode.options import DEFAULT_OPTIONS, DecodeOptions
from ..durable import PART_PREFIX, sync_folder
from ..errors import OutputError
from ..files import hash_file, make_folder
from ..text import escape
from .calibration import Progress
from .write import Quantization, quantize_bundle, write_quantized

RUN_CLIPS = 20  # at the beginning of a run that its networks are calibrated on
MAX_KEPT = 20  # bundles in the folder; the least recently used are removed
_ABANDONED = 86_400  # seconds after which what a killed process has begun is removed


def kept_folder() -> Path:
    """Return the folder of calibrated networks, which need not exist."""
    return Path(platformdirs.user_cache_dir("avvp")) / "quantized"


def find_kept(bundle: Bundle, calibration: str) -> Bundle | None:
    """Find networks that an earlier run has calibrated.

    Args:
        bundle: that they were quantized from.
        calibration: identifies them, as a specification of features does.

    Returns:
        The bundle of quantized networks under the name of the original; None if they are gone, or damaged.
    """
    folder = kept_folder() / calibration
    try:
        found = read_bundle(folder)
        hashes = {name: hash_file(folder / file) for name, file in found.extractors.items()}
        sound = all(hash_file(folder / file) == digest for file, digest in found.sha256.items())
    except (WeightsError, OSError):
        return None
    if not sound or identify_calibration(hashes) != calibration:
        return None
    with contextlib.suppress(OSError):
        os.utime(folder)  # when it was last used
    return replace(found, name=bundle.name, description=bundle.description)


def calibrate_on(
    bundle: Bundle,
    clips: Sequence[Path],
    *,
    source: WeightSource = ANYWHERE,
    decoding: DecodeOptions = DEFAULT_OPTIONS,
    progress: Progress = lambda *_: None,
) -> tuple[Bundle, str, Quantization]:
    """Quantize the extractors of a bundle on the first clips of a run, and keep them.

    Args:
        bundle: with `check_quantizable`.
        clips: inputs of the run, in their order.
        source: where weight files may come from.
        decoding: decoder, resampler and time limit.
        progress: called with what is done, how much of it, and of how much.

    Returns:
        The bundle of quantized networks under the name of the original, what identifies its calibration, and how it
        was made.

    Raises:
        SetupError: no clip can be decoded, or a network cannot be quantized.
        OutputError: the cache folder cannot be written.
        WeightsError: weight files are missing or damaged.
    """
    made = quantize_bundle(bundle, clips, wanted=RUN_CLIPS, source=source, decoding=decoding, progress=progress)
    root = kept_folder()
    make_folder(root)
    try:
        part = Path(tempfile.mkdtemp(prefix=PART_PREFIX, dir=root))
        try:
            written = write_quantized(made, part, source=source)
            hashes = {name: hash_file(part / file) for name, file in written.extractors.items()}
            calibration = identify_calibration(hashes)
            if find_kept(bundle, calibration) is None:
                shutil.rmtree(root / calibration, ignore_errors=True)  # a damaged one
                with contextlib.suppress(FileExistsError):  # another process has made the same meanwhile
                    part.rename(root / calibration)
                sync_folder(root)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{escape(root)}: cannot be written: {error.strerror or error}") from error
    _shrink(root, keep=calibration)
    found = find_kept(bundle, calibration)
    if found is None:
        raise OutputError(f"{escape(root / calibration)}: was removed or changed while it was written; try again")
    return found, calibration, made


def _shrink(root: Path, *, keep: str) -> None:
    """Remove what killed processes have left, and the least recently used beyond `MAX_KEPT`."""
    places: list[tuple[float, Path]] = []
    for place in root.iterdir():
        with contextlib.suppress(OSError):  # removed by another process
            places.append((place.stat().st_mtime, place))
    left = 0
    for used, place in sorted(places, reverse=True):
        if place.name.startswith(PART_PREFIX):
            if used < time.time() - _ABANDONED:
                shutil.rmtree(place, ignore_errors=True)
            continue
        left += 1
        if left > MAX_KEPT and place.name != keep:
            shutil.rmtree(place, ignore_errors=True)
