"""Command avvp pack: pack feature files into one store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from ....weights.messages import file_size
from ...errors import DatasetError
from ...text import escape
from ..options.command import (
    ANY_PATH,
    EXISTING_FILE,
    EXISTING_FOLDER,
    argument,
    command,
    exit_1_on_error,
    exit_2_on_error,
    option,
)
from ..options.groups import MessageOptions

if TYPE_CHECKING:
    from ...features.packing import PackResult

_FOLDER_DTYPE, _H5_DTYPE = "float32", "float16"


@dataclass(frozen=True, kw_only=True)
class H5Options(MessageOptions):
    """Options of avvp pack for published files."""

    heading: ClassVar[str] = "Published features of AVE"

    from_h5: tuple[Path, Path] | None = field(
        metadata=option(
            "--from-h5",
            type=EXISTING_FILE,
            nargs=2,
            metavar="VISUAL AUDIO",
            help="HDF5 files in place of FEATURES, of all rows of the annotations: visual_feature.h5 audio_feature.h5.",
        )
    )
    noisy_h5: tuple[Path, Path] | None = field(
        metadata=option(
            "--noisy-h5",
            type=EXISTING_FILE,
            nargs=2,
            metavar="VISUAL AUDIO",
            help="HDF5 files of the clips without an event, for weak training.",
        )
    )
    annotations: Path | None = field(
        metadata=option(
            "--annotations",
            type=EXISTING_FOLDER,
            help="Folder with Annotations.txt, which names the clips of the files.",
        )
    )


@dataclass(frozen=True, kw_only=True)
class PackOptions(H5Options):
    """Options of avvp pack."""

    features: Path | None = field(metadata=argument(type=EXISTING_FOLDER, required=False))
    store: Path | None = field(metadata=argument(type=ANY_PATH, required=False))
    output: Path | None = field(
        metadata=option("-o", "--output", type=ANY_PATH, metavar="STORE", help="The store, in place of the argument.")
    )
    dtype: str | None = field(
        metadata=option(
            "--dtype",
            type=click.Choice(["float32", "float16"]),
            show_default=f"{_FOLDER_DTYPE}; {_H5_DTYPE} with --from-h5",
            help="float16 halves the store and rounds the features to three digits.",
        )
    )
    frames: bool = field(
        metadata=option(
            "--frames",
            is_flag=True,
            help="Keep each frame, not the mean of a second: for parsers with the stem elu (CMPAE). LLP's features take"
            " six times the space.",
        )
    )
    skip_bad: bool = field(
        metadata=option(
            "--skip-bad", is_flag=True, help="Leave out and list clips whose files cannot be used; exit status 1."
        )
    )


@command(
    PackOptions,
    examples=(
        "avvp pack feats/ feats.packed --dtype float16",
        "avvp pack feats/ feats.frames --frames --dtype float16",
        "avvp pack --from-h5 visual_feature.h5 audio_feature.h5 --annotations AVE/ -o ave.packed",
    ),
)
def pack(options: PackOptions) -> int:
    """Pack feature files into one store, which training reads fast.

    Training reads STORE faster than the thousands of .npy files in FEATURES. The frames of each second are averaged,
    which changes no result of a parser, unless its stem is elu: that needs --frames.
    """
    with contextlib.ExitStack() as files:
        with exit_2_on_error(debug=options.debug):
            from ...features.packing import check_target
            from ..console import Console

            store = _check_usage(options)
            check_target(store)
            write = _prepare_folder(options, store) if options.from_h5 is None else _prepare_h5(options, store, files)
        console = Console(quiet=options.quiet)
        with exit_1_on_error(debug=options.debug), console:
            packed = write(console.count_progress("packing"))
    for problem in packed.left_out:
        click.echo(f"left out: {problem}", err=True)
    console.info(f"{packed.clips} clips, {file_size(packed.bytes)}: {escape(store)}")
    return 1 if packed.left_out else 0


def _check_usage(options: PackOptions) -> Path:
    """Return the store. Raises click.UsageError for options that do not go together."""
    if options.from_h5 is None:
        for name, flag in (("annotations", "--annotations"), ("noisy_h5", "--noisy-h5")):
            if getattr(options, name) is not None:
                raise click.UsageError(f"{flag} goes with --from-h5")
        if options.features is None:
            raise click.UsageError("Missing argument 'FEATURES', or --from-h5.")
    elif options.frames:
        raise click.UsageError("--frames is for FEATURES: published files of AVE have the mean of each second")
    elif options.features is not None:
        raise click.UsageError("FEATURES and --from-h5 are two inputs: give one; the store of --from-h5 is named by -o")
    elif options.annotations is None:
        raise click.UsageError("--from-h5 needs --annotations: the files do not name their clips")
    if options.store is not None and options.output is not None:
        raise click.UsageError("STORE and -o name two stores: give one")
    store = options.store or options.output
    if store is None:
        raise click.UsageError("Missing option '-o'." if options.from_h5 else "Missing argument 'STORE'.")
    return store


Progress = Callable[[int, int], None]


def _prepare_folder(options: PackOptions, store: Path) -> Callable[[Progress], PackResult]:
    """Check a feature folder; return a function that packs it."""
    from ...features.npy_folders import FeatureFolders
    from ...features.packed_store import INDEX_FILE
    from ...features.packing import pack_features

    assert options.features is not None
    if (options.features / INDEX_FILE).exists():
        raise DatasetError(f"{escape(options.features)}: is a packed store already")
    source, dtype = FeatureFolders(options.features, frames=options.frames), options.dtype or _FOLDER_DTYPE
    return lambda progress: pack_features(source, store, dtype=dtype, skip_bad=options.skip_bad, progress=progress)


def _prepare_h5(options: PackOptions, store: Path, files: contextlib.ExitStack) -> Callable[[Progress], PackResult]:
    """Open and check HDF5 files, which `files` closes; return a function that packs them."""
    from ...datasets.ave_annotations import AVE_FILE, NOISY_LABELS, NOISY_TEXT, read_ave
    from ...features.h5_files import check_h5py
    from ...features.pack_h5 import open_h5_features, pack_h5
    from ..options.user_annotations import print_notices

    folder = options.annotations
    assert options.from_h5 is not None
    assert folder is not None
    check_h5py(options.from_h5[0])
    if not (folder / AVE_FILE).exists():
        raise DatasetError(f"{escape(folder / AVE_FILE)}: no such file; it names the clips of the features")
    annotations = read_ave(folder)
    print_notices(annotations.notices, quiet=options.quiet)
    clips = [clip.filename for clip in annotations.clips]
    parts = [files.enter_context(open_h5_features(*options.from_h5, clips, AVE_FILE))]
    if options.noisy_h5 is not None:
        if not annotations.noisy:
            raise DatasetError(f"{escape(folder)}: no {NOISY_LABELS} and no {NOISY_TEXT} lists the noisy clips")
        listed_in = f"the split noisy of {escape(folder)}"
        parts.append(files.enter_context(open_h5_features(*options.noisy_h5, annotations.noisy, listed_in)))
    dtype = options.dtype or _H5_DTYPE
    return lambda progress: pack_h5(store, parts, dtype=dtype, skip_bad=options.skip_bad, progress=progress)
