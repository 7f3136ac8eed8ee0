"""Quantized networks that runs have calibrated on their own first clips, kept in the user's cache folder.

<cache>/avvp/quantized/CALIBRATION/          extractors as `write_quantized` writes them; complete or absent
<cache>/avvp/quantized/CALIBRATION-PARSER/   the same networks beside the files of a parser
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import platformdirs

from ...weights.errors import WeightsError
from ...weights.manifest import Bundle, read_bundle
from ...weights.quantized import identify_calibration
from ...weights.remote.gather import file_name, gather_files
from ...weights.safe_paths import inside
from ...weights.source import ANYWHERE, WeightSource
from ..decode.options import DEFAULT_OPTIONS, DecodeOptions
from ..durable import PART_PREFIX, rename_folder, sync_folder
from ..errors import OutputError
from ..files import hash_file, list_files, make_folder
from ..text import escape
from .calibration import Progress
from .write import Quantization, quantize_bundle, write_quantized

RUN_CLIPS = 20  # at the beginning of a run that its networks are calibrated on
MAX_KEPT = 20  # folders of networks; the least recently used are removed
_ABANDONED = 86_400  # seconds after which what a killed process has begun is removed


def kept_folder() -> Path:
    """Return the folder of calibrated networks, which need not exist."""
    return Path(platformdirs.user_cache_dir("avvp")) / "quantized"


def find_kept(bundle: Bundle, calibration: str, source: WeightSource = ANYWHERE) -> Bundle | None:
    """Find networks that an earlier run has calibrated.

    Args:
        bundle: that they were quantized from.
        calibration: identifies them, as a specification of features does.
        source: where files of the parser may come from.

    Returns:
        The bundle with the quantized networks in place of its own; None if they are gone, or damaged.

    Raises:
        OutputError: the cache folder cannot be written.
        WeightsError: files of the parser are missing or damaged.
    """
    folder = kept_folder() / calibration
    try:
        found = read_bundle(folder)
        hashes = {name: hash_file(folder / file) for name, file in found.extractors.items()}
    except (WeightsError, OSError):
        return None
    if identify_calibration(hashes) != calibration or found.extractors.keys() != bundle.extractors.keys():
        return None
    with contextlib.suppress(OSError):
        os.utime(folder)  # when it was last used
    networks = {file: hashes[name] for name, file in found.extractors.items()}
    quantized = replace(bundle, extractors=found.extractors, root=folder, sha256=networks, downloads={})
    return _join_parser(quantized, bundle, source) if bundle.parser else quantized


def _join_parser(quantized: Bundle, bundle: Bundle, source: WeightSource) -> Bundle:
    """Put the files of a bundle's own parser beside quantized networks, in a folder for the two. Raises OutputError."""
    paths, hashes = gather_files(bundle.without_extractors(), source)
    own = {name: path for name, path in paths.items() if bundle.root is not None and path == bundle.root / name}
    if not own:
        return quantized
    found = {name: hashes[file_name(name, path)] for name, path in own.items()}
    assert quantized.root is not None  # of `find_kept`
    place = quantized.root.with_name(f"{quantized.root.name}-{identify_calibration(found)}")
    files = {name: quantized.root / name for name in quantized.extractors.values()} | own
    if not _holds(place, {**quantized.sha256, **found}):
        shutil.rmtree(place, ignore_errors=True)  # a damaged one
        with _made_whole(place) as part:
            for name, path in files.items():
                target = inside(part, name)
                make_folder(target.parent)
                shutil.copyfile(path, target)
    with contextlib.suppress(OSError):
        os.utime(place)
    return replace(quantized, root=place, sha256={**quantized.sha256, **found})


def _holds(place: Path, hashes: Mapping[str, str]) -> bool:
    """Return whether a folder has files with these hashes."""
    try:
        return all(hash_file(inside(place, name)) == digest for name, digest in hashes.items())
    except OSError:
        return False


@contextlib.contextmanager
def _made_whole(place: Path) -> Iterator[Path]:
    """Give a new folder that becomes `place` at the end, unless another process was faster. Raises OutputError."""
    part = None
    try:
        part = Path(tempfile.mkdtemp(prefix=PART_PREFIX, dir=place.parent))
        yield part
        with contextlib.suppress(FileExistsError):
            rename_folder(part, place)
        sync_folder(place.parent)
    except OSError as error:
        raise OutputError(f"{escape(place)}: cannot be written: {error.strerror or error}") from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


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
    with tempfile.TemporaryDirectory(prefix=PART_PREFIX, dir=root) as temporary:
        networks = replace(made, bundle=replace(bundle, parser={}))
        written = write_quantized(networks, Path(temporary) / "bundle", source=source)
        assert written.root is not None  # of a bundle that was read from a folder
        calibration = identify_calibration(
            {name: hash_file(written.root / file) for name, file in written.extractors.items()}
        )
        if find_kept(replace(bundle, parser={}), calibration) is None:
            shutil.rmtree(root / calibration, ignore_errors=True)  # a damaged one
            with _made_whole(root / calibration) as part:
                for file in list_files(written.root):
                    shutil.copyfile(file, part / file.name)
    _shrink(root, keep=calibration)
    found = find_kept(bundle, calibration, source)
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
        if left > MAX_KEPT and place.name.partition("-")[0] != keep:
            shutil.rmtree(place, ignore_errors=True)
