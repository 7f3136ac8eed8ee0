"""Options of commands that process many files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import SetupError
from ..precisions import PRECISIONS
from .options import Command, decode_timeout_option, decoder_option, resampler_option

if TYPE_CHECKING:
    from ..batch.task import ComputeSettings

_RAY_ONLY = ("address", "actors", "cpus_per_actor", "gpus_per_actor")
_NETWORK_OPTIONS = (  # not for every network
    decoder_option,
    resampler_option,
    click.option(
        "--compile", is_flag=True, help="Compile the networks with torch.compile: minutes first, then faster."
    ),
)
_ENGINE_OPTIONS = (
    click.option(
        "--precision",
        type=click.Choice(list(PRECISIONS)),
        default="fp32",
        show_default=True,
        help="What the networks compute in; results are float32 in any case.",
    ),
    click.option(
        "--batch-size", type=click.IntRange(1), help="Seconds of video at once; by default as the device likes."
    ),
    decode_timeout_option,
    click.option("--list", "listing", metavar="FILE", help="More inputs: a text or CSV file; '-' is standard input."),
    click.option("--keep-tree", is_flag=True, help="Name outputs by their path below the folder, not by name alone."),
    click.option("--workers", type=click.IntRange(1), help="Decoding processes; by default as the device needs."),
    click.option("--retry-failed", is_flag=True, help="Try again what failed before."),
    click.option("--overwrite", is_flag=True, help="Do everything anew, and replace files of other programs."),
    click.option("--verify", is_flag=True, help="Read every output that is there and compare its checksum."),
    click.option("--hash-inputs", is_flag=True, help="Know inputs by their content, not by path, size and time."),
    click.option("--fail-fast", is_flag=True, help="Stop at the first input that fails."),
    click.option(
        "--json-log", type=click.File("a", lazy=False), help="Append a JSON line for each finished file; '-' is stdout."
    ),
    click.option("--dry-run", is_flag=True, help="Say what would be done, and why; compute nothing."),
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="This machine, or a Ray cluster.",
    ),
    click.option(
        "--address", metavar="HOST:PORT", help="Of the Ray cluster; by default RAY_ADDRESS, or a new one here."
    ),
    click.option("--actors", type=click.IntRange(1), help="Ray: engines in the cluster; by default as many as fit."),
    click.option("--cpus-per-actor", type=click.IntRange(1), help="Ray: cores of each; by default all of a node's."),
    click.option("--gpus-per-actor", type=click.FloatRange(0), help="Ray: GPUs of each, 0.5 for half of one."),
)
_LOCAL_TOO = (
    "listing", "keep_tree", "workers", "compile", "retry_failed", "overwrite", "verify", "hash_inputs", "fail_fast",
    "json_log", "dry_run", "engine",
)  # fmt: skip
BATCH_NAMES = _LOCAL_TOO + _RAY_ONLY
DEFAULT_NETWORK_OPTIONS = {"decoder": "auto", "resampler": "torchaudio", "compile": False}


def batch_options(command: Command) -> Command:
    """What every command has that runs a bundle's networks on many files."""
    return _add(_add(command, _ENGINE_OPTIONS), _NETWORK_OPTIONS)


def engine_options(command: Command) -> Command:
    """What every command has that works on many files; to `read_settings` it says `decoder` and `compile` itself."""
    return _add(command, _ENGINE_OPTIONS)


def _add(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def collect_named_inputs(inputs: Sequence[str], options: Mapping[str, Any]) -> dict[str, Path]:
    """Every input by its id. Raises UsageError for none, SetupError for names that lead nowhere or clash."""
    from .inputs import name_inputs, read_list

    on_ray = options["engine"] == "ray"
    for name in ("threads",) if on_ray else _RAY_ONLY:
        if options[name] is not None:
            hint = "is for this machine; on a cluster, use --cpus-per-actor" if on_ray else "goes with --engine ray"
            raise click.UsageError(f"--{name.replace('_', '-')} {hint}")
    listed = read_list(options["listing"]) if options["listing"] is not None else []
    if not inputs and not listed:
        raise click.UsageError("no inputs: name files or folders, or a --list of them")
    return name_inputs([*inputs, *listed], recursive=options["recursive"], keep_tree=options["keep_tree"])


def read_settings(profile: str, options: Mapping[str, Any]) -> ComputeSettings:
    """How each machine computes. Raises SetupError for a decoder that cannot serve the profile."""
    from ...extractors.profiles import get_profile
    from ..batch.task import ComputeSettings
    from ..decode.options import DecodeOptions, check_options
    from ..devices import ComputePrecision

    decoding = DecodeOptions(
        options["decoder"], options["decode_timeout"], debug=options["debug"], resampler=options["resampler"]
    )
    try:
        check_options(get_profile(profile), decoding)
    except ValueError as error:
        raise SetupError(str(error)) from error
    return ComputeSettings(
        decoding,
        options["device"],
        ComputePrecision(options["precision"], options["compile"]),
        options["batch_size"],
        options["threads"],
        options["workers"],
    )
