"""Options of commands that process many videos: inputs, decoding, precision, resuming, Ray."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any, ClassVar

import click

from ...batch.storage import MAX_SHARDS, Shard
from ...errors import SetupError
from ...precisions import ALL_PRECISIONS, AUTO, BACKENDS, default_backend
from .command import CommandOptions, FiniteRange, given_flags, is_given, option
from .groups import DecodeTimeoutOptions, DeviceOptions, MessageOptions

if TYPE_CHECKING:
    from ...batch.task import ComputeSettings
    from ...decode.options import DecodeOptions
    from .inputs import NamedInputs

_SHARD = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class DecoderOptions(CommandOptions):
    """How frames and audio are decoded."""

    heading: ClassVar[str] = "Decoding and networks"
    decoder: str = field(
        metadata=option(
            "--decoder",
            type=click.Choice(["auto", "ffmpeg", "decord", "cuda"]),
            default="auto",
            help="Program that decodes frames; cuda is the decoder of an NVIDIA GPU.",
        )
    )
    resampler: str = field(
        metadata=option(
            "--resampler",
            type=click.Choice(["polyphase", "torchaudio", "resampy"]),
            default="polyphase",
            help="Filter that resamples audio to 16 kHz, for bundles of the profiles clean and ave.",
        )
    )
    similar_pictures: float | None = field(
        metadata=option(
            "--similar-pictures",
            type=FiniteRange(0, 255),
            metavar="LEVELS",
            show_default="2 under fast, else 0",
            help="Mean difference, of 255, up to which a picture counts as the one before; 0: equal pictures only.",
        )
    )


@dataclass(frozen=True, kw_only=True)
class CompileOptions(CommandOptions):
    """Whether networks are compiled."""

    heading: ClassVar[str] = "Decoding and networks"
    compile: bool = field(
        metadata=option(
            "--compile", is_flag=True, help="Compile the networks with torch.compile: takes minutes, then runs faster."
        )
    )


@dataclass(frozen=True, kw_only=True)
class PrecisionOptions(CommandOptions):
    """What networks compute in, and with what."""

    heading: ClassVar[str] = "Decoding and networks"
    precision: str = field(
        metadata=option(
            "--precision",
            type=click.Choice([*ALL_PRECISIONS, AUTO]),
            default="fp32",
            help="Precision of the feature networks; auto is the faster of fp32 and bf16 here. Results are float32.",
        )
    )
    backend: str | None = field(
        metadata=option(
            "--backend",
            type=click.Choice([*BACKENDS, AUTO]),
            show_default="torch; openvino for int8",
            help="What computes the feature networks; auto is the fastest here, by a measurement that is remembered.",
        )
    )

    @property
    def named_backend(self) -> str:
        """The backend that is wanted."""
        return self.backend or default_backend(self.precision)


@dataclass(frozen=True, kw_only=True)
class ComputeOptions(PrecisionOptions, DecodeTimeoutOptions, DeviceOptions, MessageOptions):
    """How networks compute."""

    heading: ClassVar[str] = "Decoding and networks"
    batch_size: int | None = field(
        metadata=option(
            "--batch-size",
            type=click.IntRange(1),
            show_default="depends on the device",
            help="Seconds of video per batch.",
        )
    )


@dataclass(frozen=True, kw_only=True)
class InputOptions(CommandOptions):
    """Which files of a folder are inputs."""

    heading: ClassVar[str] = "Many videos"
    recursive: bool = field(
        metadata=option(
            "--recursive", is_flag=True, help="Include the subfolders of folders, links too; hidden ones are left out."
        )
    )


class ShardType(click.ParamType):
    """Part K of N of the inputs, as "K/N"."""

    name = "K/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        """Read the two numbers; an error says how they are counted."""
        if isinstance(value, Shard):
            return value
        found = _SHARD.fullmatch(str(value).strip())
        if found is None or not 0 < int(found[2]) <= MAX_SHARDS:
            self.fail(f"{value!r} is not K/N with N from 1 to {MAX_SHARDS}, such as 3/16", param, ctx)
        number, count = int(found[1]), int(found[2])
        if number == 0:
            self.fail(
                f"{value!r}: shards are counted from 1 to {count}; add 1 to indices that begin with 0 (in a Slurm job,"
                f" --array=1-{count})",
                param,
                ctx,
            )
        if number > count:
            self.fail(f"{value!r}: there are {count} shards; the last is {count}/{count}", param, ctx)
        return Shard(number, count)


@dataclass(frozen=True, kw_only=True)
class RayOptions(CommandOptions):
    """A Ray cluster; None means Ray's or the cluster's default."""

    heading: ClassVar[str] = "Ray cluster"
    address: str | None = field(
        metadata=option(
            "--address",
            metavar="HOST:PORT",
            show_default="RAY_ADDRESS, or a new cluster on this machine",
            help="Address of the cluster.",
        )
    )
    actors: int | None = field(
        metadata=option(
            "--actors", type=click.IntRange(1), show_default="as many as fit", help="Actors; each loads all networks."
        )
    )
    cpus_per_actor: int | None = field(
        metadata=option(
            "--cpus-per-actor", type=click.IntRange(1), show_default="all of a node", help="CPU cores per actor."
        )
    )
    gpus_per_actor: float | None = field(
        metadata=option(
            "--gpus-per-actor", type=click.FloatRange(0), help="GPUs per actor; 0.5 shares one GPU between two."
        )
    )


@dataclass(frozen=True, kw_only=True)
class BatchOptions(InputOptions, RayOptions, ComputeOptions):
    """How a run over many videos goes."""

    heading: ClassVar[str] = "Many videos"
    listing: str | None = field(
        metadata=option(
            "--list",
            metavar="FILE",
            help="Text or CSV file that lists more inputs; '-' is standard input. A name that leads nowhere fails"
            " alone.",
        )
    )
    keep_tree: bool = field(
        metadata=option(
            "--keep-tree", is_flag=True, help="Name results by the path below the folder, not by the file name alone."
        )
    )
    keep_suffix: bool = field(
        metadata=option(
            "--keep-suffix", is_flag=True, help="Keep the suffix in the names of results: clip.mp4 beside clip.wav."
        )
    )
    workers: int | None = field(
        metadata=option(
            "--workers", type=click.IntRange(1), show_default="depends on the device", help="Decoding processes."
        )
    )
    retry_failed: bool = field(
        metadata=option("--retry-failed", is_flag=True, help="Retry inputs that failed in an earlier run.")
    )
    overwrite: bool = field(
        metadata=option(
            "--overwrite", is_flag=True, help="Compute everything again, and replace files that avvp did not write."
        )
    )
    verify: bool = field(
        metadata=option("--verify", is_flag=True, help="Compare the checksum of every existing result.")
    )
    hash_inputs: bool = field(
        metadata=option(
            "--hash-inputs", is_flag=True, help="Detect changed inputs by content, not by path, size and time."
        )
    )
    fail_fast: bool = field(metadata=option("--fail-fast", is_flag=True, help="Stop at the first input that fails."))
    json_log: IO[str] | None = field(
        metadata=option(
            "--json-log",
            type=click.File("a", lazy=False),
            metavar="FILE",
            help="Append a JSON line for each finished input; '-' is standard output.",
        )
    )
    dry_run: bool = field(
        metadata=option(
            "--dry-run", is_flag=True, help="Count what would be computed and why, with sizes; compute nothing."
        )
    )
    dry_run_list: bool = field(
        metadata=option("--dry-run-list", is_flag=True, help="The same, and list the inputs that are not done.")
    )
    shard: Shard | None = field(
        metadata=option(
            "--shard",
            type=ShardType(),
            metavar="K/N",
            show_default="all inputs",
            help="Work on part K of N of the inputs, while other processes work on the others: 1/16 to 16/16.",
        )
    )
    engine: str = field(
        metadata=option(
            "--engine",
            type=click.Choice(["local", "ray"]),
            default="local",
            help="Run on this machine or on a Ray cluster.",
        )
    )

    @property
    def plans_only(self) -> bool:
        """Whether nothing is to be computed."""
        return self.dry_run or self.dry_run_list


def collect_named_inputs(inputs: Sequence[str], options: BatchOptions) -> NamedInputs:
    """Expand files, folders, patterns and --list into named files; report what is left out of folders.

    Args:
        inputs: as typed by the user.
        options: of the current command.

    Returns:
        The files by id, and the names of the list that lead to none.

    Raises:
        click.UsageError: there are no inputs, or options of one engine are used with the other.
        SetupError: an input that is not in the list does not exist, or two files have the same id.
    """
    from .input_lists import read_list
    from .inputs import name_inputs

    if options.engine == "ray" and is_given("threads"):
        raise click.UsageError("--threads is for this machine; on a cluster, use --cpus-per-actor")
    if options.engine != "ray" and (flags := given_flags(RayOptions)):
        raise click.UsageError(f"{flags[0]} goes with --engine ray")
    if options.engine == "ray" and options.shard is not None:
        raise click.UsageError("--shard is for clusters without Ray; --engine ray distributes the inputs itself")
    listed = [] if options.listing is None else read_list(options.listing)
    if not inputs and not listed:
        raise click.UsageError("no inputs: name files or folders, or a --list of them")
    return name_inputs(
        inputs,
        listed,
        recursive=options.recursive,
        keep_tree=options.keep_tree,
        keep_suffix=options.keep_suffix,
        quiet=options.quiet,
    )


def read_decoding(profile: str, options: BatchOptions, decoder: DecoderOptions | None = None) -> DecodeOptions:
    """Build the options that files are decoded with; this does not import torch.

    Args:
        profile: name of the profile that files are decoded under.
        options: of the current command.
        decoder: of the current command; None for the defaults.

    Returns:
        The options.

    Raises:
        SetupError: the decoder or the resampler does not fit the profile, AVVP_FFMPEG names no ffmpeg, or no GPU
            decodes.
    """
    from ....extractors.profiles import get_profile
    from ...decode.ffmpeg import check_named_ffmpeg
    from ...decode.options import DecodeOptions, check_options

    decoding = DecodeOptions(timeout=options.decode_timeout, debug=options.debug)
    if decoder is not None:
        decoding = replace(
            decoding,
            decoder=decoder.decoder,
            resampler=decoder.resampler,
            similar_pictures=decoder.similar_pictures,
        )
    try:
        check_options(get_profile(profile), decoding)
    except ValueError as error:
        raise SetupError(str(error)) from error
    check_named_ffmpeg()  # before the first file
    if decoding.decoder == "cuda" and options.engine == "local":
        from ...decode.container.gpu import gpu_fault

        if (fault := gpu_fault()) is not None:
            raise SetupError(f"--decoder cuda: {fault}")
    return decoding


def read_settings(
    profile: str, options: BatchOptions, *, decoder: DecoderOptions | None = None, compiled: bool = False
) -> ComputeSettings:
    """Build the settings that each machine computes with.

    Args:
        profile: name of the profile that files are decoded under.
        options: of the current command.
        decoder: of the current command; None for the defaults.
        compiled: compile the networks.

    Returns:
        The settings.

    Raises:
        SetupError: the decoder or the resampler does not fit the profile.
    """
    from ...batch.task import ComputeSettings
    from ...devices import ComputePrecision

    return ComputeSettings(
        decoding=read_decoding(profile, options, decoder),
        device=options.device,
        precision=ComputePrecision(options.precision, compiled, options.named_backend),
        batch_size=options.batch_size,
        threads=options.threads if options.engine == "local" else None,  # a default of the user is for this machine
        workers=options.workers,
    )
