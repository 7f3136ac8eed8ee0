"""Command avvp pack: pack feature files into one store."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import click

from ....weights.messages import file_size
from ...errors import DatasetError
from ...text import escape
from ..options.command import ANY_PATH, EXISTING_FOLDER, argument, command, exit_1_on_error, exit_2_on_error, option
from ..options.groups import MessageOptions


@dataclass(frozen=True, kw_only=True)
class PackOptions(MessageOptions):
    """Options of avvp pack."""

    features: Path = field(metadata=argument(type=EXISTING_FOLDER))
    store: Path = field(metadata=argument(type=ANY_PATH))
    dtype: str = field(
        metadata=option(
            "--dtype",
            type=click.Choice(["float32", "float16"]),
            default="float32",
            help="float16 halves the store and rounds the features to three digits.",
        )
    )
    skip_bad: bool = field(
        metadata=option(
            "--skip-bad", is_flag=True, help="Leave out and list clips whose files cannot be used; exit status 1."
        )
    )


@command(PackOptions, examples=("avvp pack feats/ feats.packed --dtype float16",))
def pack(options: PackOptions) -> int:
    """Pack feature files into one store, which training reads fast.

    Training reads STORE faster than the thousands of .npy files in FEATURES. The frames of each second are averaged,
    which changes no result of a parser.
    """
    with exit_2_on_error(debug=options.debug):
        from ...features.npy_folders import FeatureFolders
        from ...features.packed_store import INDEX_FILE
        from ...features.packing import check_target, pack_features
        from ..console import Console

        if (options.features / INDEX_FILE).exists():
            raise DatasetError(f"{escape(options.features)}: is a packed store already")
        check_target(options.store)
        source = FeatureFolders(options.features)
    console = Console(quiet=options.quiet)
    with exit_1_on_error(debug=options.debug), console:
        packed = pack_features(
            source,
            options.store,
            dtype=options.dtype,
            skip_bad=options.skip_bad,
            progress=console.count_progress("packing"),
        )
    for problem in packed.left_out:
        click.echo(f"left out: {problem}", err=True)
    console.info(f"{packed.clips} clips, {file_size(packed.bytes)}: {escape(options.store)}")
    return 1 if packed.left_out else 0
