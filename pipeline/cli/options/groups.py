"""Groups of options that several commands have: data, device, weights, messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import click

from ....extractors.profiles import PROFILES
from ....weights.manifest import DEFAULT_BUNDLE
from ....weights.parts import read_trust
from ....weights.source import DownloadProgress, WeightSource
from .command import (
    ANY_PATH,
    EXISTING_FILE,
    EXISTING_FOLDER,
    EXISTING_PATH,
    HELP_HEADING,
    CommandOptions,
    FiniteRange,
    option,
)

# Options of several commands, each of which has them at its own place in its help.
BUNDLE_OPTION = option(
    "--weights",
    default=DEFAULT_BUNDLE,
    metavar="NAME|FOLDER",
    help="Bundle of networks: see 'avvp weights list'; or hf://USER/REPOSITORY.",
)
PROFILE_OPTION = option(
    "--profile",
    type=click.Choice(sorted(name for name, profile in PROFILES.items() if profile.approximates)),
    show_default="the bundle's",
    help="Decode under a faster profile that approximates the bundle's.",
)
THRESHOLD_OPTION = option(
    "--threshold",
    type=FiniteRange(0, 1),
    show_default="the bundle's, mostly 0.5",
    help="Decision threshold of all classes, per second and per video.",
)
THRESHOLDS_OPTION = option(
    "--thresholds", type=EXISTING_FILE, help="TOML or JSON file with thresholds per class and modality."
)
MEDIA_OPTION = option(
    "--media",
    type=EXISTING_PATH,
    show_default="the video beside the event file",
    help="The video, or the folder with the videos. Paths that event files state are not opened.",
)


class PackageNames(click.ParamType):
    """Names of Python packages or modules, separated by commas."""

    name = "package"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check the names; the text stays as it is."""
        try:
            read_trust([value])
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return value


@dataclass(frozen=True, kw_only=True)
class DebugOptions(CommandOptions):
    """Whether tracebacks are printed."""

    heading: ClassVar[str] = HELP_HEADING
    debug: bool = field(metadata=option("--debug", is_flag=True, help="Show tracebacks."))


@dataclass(frozen=True, kw_only=True)
class MessageOptions(DebugOptions):
    """How much is printed on standard error."""

    heading: ClassVar[str] = HELP_HEADING
    quiet: bool = field(
        metadata=option("-q", "--quiet", is_flag=True, help="Print errors and results only: no progress, no notes.")
    )


@dataclass(frozen=True, kw_only=True)
class VerboseOptions(MessageOptions):
    """Whether details are printed as well."""

    heading: ClassVar[str] = HELP_HEADING
    verbose: bool = field(
        metadata=option(
            "-v",
            "--verbose",
            is_flag=True,
            help="Also print which weights and decoder were used, and how long it took.",
        )
    )


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(CommandOptions):
    """Where networks run."""

    heading: ClassVar[str] = "Device and weights"
    device: str = field(
        metadata=option("--device", default="auto", metavar="auto|cpu|cuda[:N]", help="Where networks run.")
    )
    threads: int | None = field(
        metadata=option(
            "--threads", type=click.IntRange(1), show_default="all cores", help="CPU threads of the networks."
        )
    )


@dataclass(frozen=True, kw_only=True)
class OfflineOptions(CommandOptions):
    """Whether files may be downloaded."""

    heading: ClassVar[str] = "Device and weights"
    offline: bool = field(
        metadata=option("--offline", is_flag=True, help="Never download; report which files are missing.")
    )


@dataclass(frozen=True, kw_only=True)
class WeightOptions(OfflineOptions):
    """Where weight files come from."""

    heading: ClassVar[str] = "Device and weights"
    weights_dir: Path | None = field(
        metadata=option("--weights-dir", type=ANY_PATH, help="Folder to search for weight files first.")
    )
    trust_parts: tuple[str, ...] = field(
        metadata=option(
            "--trust-parts",
            type=PackageNames(),
            multiple=True,
            help="Package of yours whose code a bundle or a run may name, and so run; repeatable.",
        )
    )

    def source(self, progress: DownloadProgress | None = None) -> WeightSource:
        """Return where weight files may come from, and whose parts they may name.

        Args:
            progress: called during downloads.
        """
        return WeightSource(self.weights_dir, self.offline, progress, read_trust(self.trust_parts))


@dataclass(frozen=True, kw_only=True)
class DownloadOptions(WeightOptions):
    """Whether the user is asked before weight files are downloaded."""

    heading: ClassVar[str] = "Device and weights"
    yes: bool = field(
        metadata=option("-y", "--yes", is_flag=True, help="Download missing weight files without a question.")
    )


@dataclass(frozen=True, kw_only=True)
class RunningOptions(DeviceOptions, WeightOptions, MessageOptions):
    """Options of every command that runs a parser."""

    heading: ClassVar[str] = "Device and weights"


@dataclass(frozen=True, kw_only=True)
class AnnotationOptions(CommandOptions):
    """Annotations of a data set; None if not given."""

    heading: ClassVar[str] = "Data"
    annotations: Path | None = field(
        metadata=option(
            "--annotations",
            type=EXISTING_FOLDER,
            help="Folder with AVVP_train.csv, AVVP_val_pd.csv, AVVP_test_pd.csv, AVVP_eval_audio.csv,"
            " AVVP_eval_visual.csv; and labels.txt if the classes are not those of LLP. Or with AVE's Annotations.txt"
            " and the files of its splits; with unav100_annotations.json of UnAV-100; or with the files of"
            " OV-AVEBench, ovave_dataset_meta.csv and ovavel_dataset_anno.json.",
        )
    )


@dataclass(frozen=True, kw_only=True)
class FeatureOptions(CommandOptions):
    """Extracted features of a data set; None if not given."""

    heading: ClassVar[str] = "Data"
    features: Path | None = field(
        metadata=option(
            "--features",
            type=EXISTING_PATH,
            help="Folder with vggish/, res152/ and r2plus1d_18/ (event localization: vggish/ and vgg19/), or a packed"
            " store.",
        )
    )


@dataclass(frozen=True, kw_only=True)
class DecodeTimeoutOptions(CommandOptions):
    """When a decoder that is too slow is stopped."""

    heading: ClassVar[str] = "Decoding and networks"
    decode_timeout: float = field(
        metadata=option(
            "--decode-timeout",
            type=FiniteRange(0, min_open=True),
            default=60,
            metavar="SECONDS",
            help="Stop decoding a file that takes longer than this, and as much again for every 10 s of media.",
        )
    )


def set_torch_threads(threads: int | None) -> None:
    """Set PyTorch's number of CPU threads, for the rest of this process.

    Args:
        threads: None leaves PyTorch's default, all cores.
    """
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
