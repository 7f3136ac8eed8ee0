"""What several commands share: options, and how an error that a person can mend is shown."""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from ...weights.errors import WeightsError
from ...weights.source import WeightSource
from ..errors import AVVPError

Command = TypeVar("Command", bound=Callable[..., Any])

weights_dir_option = click.option(
    "--weights-dir", type=click.Path(path_type=Path), help="Folder to look for weight files in first."
)
offline_option = click.option("--offline", is_flag=True, help="Never download; say what is missing instead.")
device_option = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]", help="Where networks run."
)
threads_option = click.option(
    "--threads", type=click.IntRange(1), help="Threads for the networks; by default all cores."
)
debug_option = click.option("--debug", is_flag=True, help="Show tracebacks.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress, no notes; errors and results only.")
annotations_option = click.option(
    "--annotations",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with AVVP_train.csv, AVVP_val_pd.csv, AVVP_test_pd.csv, AVVP_eval_audio.csv, AVVP_eval_visual.csv;"
    " and labels.txt, where the classes are not those of LLP.",
)
features_option = click.option(
    "--features",
    type=click.Path(exists=True, path_type=Path),
    help="Folder with vggish/, res152/ and r2plus1d_18/, or a packed store.",
)


pseudo_labels_option = click.option(
    "--pseudo-labels",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with CLIP/segment_pseudo_labels/ and CLAP/segment_pseudo_labels/, for recipes that learn from them.",
)


def read_source(options: Mapping[str, Any]) -> WeightSource:
    """Read --weights-dir and --offline."""
    return WeightSource(options["weights_dir"], options["offline"])


def running_options(command: Command) -> Command:
    """What every command has that runs a parser: where it runs, where weights are, how much is said."""
    options = (device_option, threads_option, weights_dir_option, offline_option, quiet_option, debug_option)
    for option in reversed(options):
        command = option(command)
    return command


class FiniteRange(click.FloatRange):
    """A range that NaN and infinity are outside of."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


decoder_option = click.option(
    "--decoder",
    type=click.Choice(["auto", "ffmpeg", "decord"]),
    default="auto",
    show_default=True,
    help="Frame reader.",
)
resampler_option = click.option(
    "--resampler",
    type=click.Choice(["torchaudio", "resampy"]),
    default="torchaudio",
    show_default=True,
    help="Audio filter to 16 kHz, for bundles of profile clean.",
)
decode_timeout_option = click.option(
    "--decode-timeout",
    type=FiniteRange(0, min_open=True),
    default=60,
    show_default=True,
    help="Seconds without progress after which decoding is stopped.",
)


class StartError(click.ClickException):
    """Shown as one error; exit status 2, for nothing was done."""

    exit_code = 2


class RunError(click.ClickException):
    """Shown as one error; exit status 1: something was done, and failed."""

    exit_code = 1


@contextlib.contextmanager
def exit_2_on_error(*, debug: bool) -> Iterator[None]:
    """What a person can mend before anything is done ends the command with status 2."""
    with _shown(StartError, debug=debug):
        yield


@contextlib.contextmanager
def exit_1_on_error(*, debug: bool) -> Iterator[None]:
    """What a person can mend once work has begun ends the command with status 1."""
    with _shown(RunError, debug=debug):
        yield


@contextlib.contextmanager
def _shown(kind: type[click.ClickException], *, debug: bool) -> Iterator[None]:
    try:
        yield
    except (AVVPError, WeightsError) as error:
        if debug:
            traceback.print_exc()
        raise kind(str(error)) from error


def set_threads(threads: int | None) -> None:
    """Before the networks run."""
    if threads:
        import torch

        torch.set_num_threads(threads)
