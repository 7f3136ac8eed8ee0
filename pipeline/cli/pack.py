"""Command avvp pack: pack feature files into one memory-mapped store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import DatasetError
from ..text import escape
from .options import debug_option, exit_1_on_error, exit_2_on_error, quiet_option


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Example:
  avvp pack feats/ feats.packed --dtype float16""",
)
@click.argument("features", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("store", type=click.Path(path_type=Path))
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="float16 halves the store and rounds the features to three digits.",
)
@click.option("--skip-bad", is_flag=True, help="Leave out clips whose files cannot be used, and say which.")
@quiet_option
@debug_option
def pack(features: Path, store: Path, **options: Any) -> int:
    """Pack the .npy files of FEATURES into one memory-mapped STORE, for training without thousands of small reads.

    The frames of each second are averaged, which changes nothing that a parser computes.
    """
    with exit_2_on_error(debug=options["debug"]):
        from ..features.npy_folders import FeatureFolders
        from ..features.packed_store import INDEX_FILE, check_target, pack_features
        from .console import Console

        if (features / INDEX_FILE).exists():
            raise DatasetError(f"{escape(features)}: is a packed store already")
        check_target(store)
        source = FeatureFolders(features)
    console = Console(quiet=options["quiet"], verbose=False)
    with exit_1_on_error(debug=options["debug"]), console:
        packed = pack_features(
            source, store, dtype=options["dtype"], skip_bad=options["skip_bad"], progress=console.count("packing")
        )
    for problem in packed.left_out:
        click.echo(f"left out: {problem}", err=True)
    console.say(f"{packed.clips} clips, {packed.bytes / 2**20:.1f} MiB: {escape(store)}")
    return 1 if packed.left_out else 0
