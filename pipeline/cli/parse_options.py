"""Options of avvp parse, and the task that they describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import SetupError
from .options.batch_options import BatchOptions, CompileOptions, DecoderOptions, read_settings
from .options.command import EXISTING_FOLDER, OUTPUT_FILE, FiniteRange, argument, option
from .options.embedding_options import EmbeddingOptions
from .options.event_outputs import FormatOptions, PlotOptions, PostProcessingOptions
from .options.groups import (
    BUNDLE_OPTION,
    PROFILE_OPTION,
    THRESHOLD_OPTION,
    THRESHOLDS_OPTION,
    DownloadOptions,
    RunningOptions,
    VerboseOptions,
)
from .options.media_options import PartOptions, WebOptions
from .options.open_options import OpenOptions

if TYPE_CHECKING:
    from ...weights.manifest import Bundle
    from ..batch.parse_task import ParseTask
    from ..inference.thresholds import ThresholdTables
    from ..outputs.postprocess import PostProcessing


@dataclass(frozen=True, kw_only=True)
class ParseOptions(
    OpenOptions,
    EmbeddingOptions,
    FormatOptions,
    PostProcessingOptions,
    PlotOptions,
    PartOptions,
    WebOptions,
    DecoderOptions,
    CompileOptions,
    BatchOptions,
    DownloadOptions,
    RunningOptions,
    VerboseOptions,
):
    """Options of avvp parse."""

    inputs: tuple[str, ...] = field(metadata=argument(nargs=-1, metavar="INPUT..."))
    output: str | None = field(
        metadata=option(
            "-o",
            "--output",
            metavar="FILE",
            show_default="-, unless that is a terminal",
            help="Result of a single input; '-' is standard output.",
        )
    )
    output_dir: str | None = field(
        metadata=option(
            "--output-dir", metavar="FOLDER", help="Folder or s3:// address for the results of many inputs."
        )
    )
    segments: bool = field(
        metadata=option("--segments", is_flag=True, help="Add the probabilities per second to the JSON result.")
    )
    keep_classes: str | None = field(
        metadata=option("--keep-classes", metavar="NAME,...", help="Keep only the events of these classes.")
    )
    weights: str = field(metadata=BUNDLE_OPTION)
    profile: str | None = field(metadata=PROFILE_OPTION)
    threshold: float | None = field(metadata=THRESHOLD_OPTION)
    video_threshold: float | None = field(
        metadata=option(
            "--video-threshold",
            type=FiniteRange(0, 1),
            show_default="--threshold",
            help="Decision threshold per video.",
        )
    )
    thresholds: Path | None = field(metadata=THRESHOLDS_OPTION)
    annotations: Path | None = field(
        metadata=option(
            "--annotations",
            type=EXISTING_FOLDER,
            help="Annotations of the input in the format of LLP, shown beside the result.",
        )
    )
    explain: Path | None = field(
        metadata=option(
            "--explain",
            type=OUTPUT_FILE,
            help="LEAP's attention over the seconds, for each class and block: png, svg, pdf or npz.",
        )
    )


@dataclass(frozen=True)
class Decisions:
    """What is decided and written, as the options state it.

    Attributes:
        formats: names of formats.
        post_processing: of the events.
        tables: thresholds by class.
        levels: thresholds of the other classes, "segment" and "video", as far as they are given.
    """

    formats: tuple[str, ...]
    post_processing: PostProcessing
    tables: ThresholdTables
    levels: Mapping[str, float]

    def check(self, labels: tuple[str, ...]) -> None:
        """Raise SetupError for a class that is not among `labels`."""
        from ..inference.thresholds import Thresholds

        Thresholds.uniform(labels).changed(self.tables)
        self.post_processing.check(labels)


def read_bundle(options: ParseOptions) -> Bundle:
    """Return the bundle of --weights under the profile of --profile, with the classes of --classes.

    Raises:
        click.UsageError, SetupError, WeightsError: there is none, or the classes cannot be read.
    """
    from ..inference.other_profile import with_profile

    _, bundle = options.find_bundle(options.weights, options.source())
    return options.with_classes(with_profile(bundle, options.profile))


def require_parser(bundle: Bundle) -> None:
    """Raise SetupError if a bundle has extractors alone, before anybody waits for their files."""
    try:
        bundle.check_worth_loading()
        bundle.check_has_classes()
    except ValueError as error:
        raise SetupError(str(error)) from error


def read_decisions(bundle: Bundle, options: ParseOptions) -> Decisions:
    """Read what can be checked before weights are downloaded and torch is imported.

    Args:
        bundle: of --weights.
        options: of the current command.

    Returns:
        Formats, thresholds and steps.

    Raises:
        click.UsageError: --segments without a JSON result.
        SetupError: the bundle has no parser, or a format is unknown, or a class of a set of labels that is known by
            name.
    """
    require_parser(bundle)
    from ...models.labels import LABEL_SETS
    from ..inference.thresholds import read_thresholds
    from ..outputs.formats.targets import describe_left_out, parse_formats

    post_processing = options.post_processing()
    formats = tuple(item.name for item in parse_formats(options.formats)) or ("json",)
    if options.output_dir is not None and not options.quiet and (note := describe_left_out(options.formats)):
        click.echo(note, err=True)
    if options.segments and options.output_dir is not None and "json" not in formats:
        raise click.UsageError("--segments goes into the JSON result, and none is asked for")
    tables = read_thresholds(options.thresholds) if options.thresholds else {}
    video = options.threshold if options.video_threshold is None else options.video_threshold
    asked = {"segment": options.threshold, "video": video}
    levels = {level: threshold for level, threshold in asked.items() if threshold is not None}
    if bundle.is_open:
        _check_per_second(options, tables)
        levels.pop("video", None)
    decisions = Decisions(formats, post_processing, tables, levels)
    if bundle.labels in LABEL_SETS:
        decisions.check(LABEL_SETS[bundle.labels])
    return decisions


def _check_per_second(options: ParseOptions, tables: ThresholdTables) -> None:
    """Raise SetupError for thresholds per video of classes by their names, which are decided per second."""
    if options.video_threshold is not None:
        raise SetupError("--video-threshold: classes by their names are decided per second; set --threshold")
    if options.thresholds is not None:
        from ..inference.thresholds import check_per_second

        check_per_second(tables, options.thresholds)


def make_parse_task(bundle: Bundle, options: ParseOptions, decisions: Decisions) -> ParseTask:
    """Build the task; check everything that can be checked before weights are loaded.

    Args:
        bundle: of --weights.
        options: of the current command.
        decisions: of `read_decisions`.

    Returns:
        The task.

    Raises:
        SetupError: a class is unknown, or the decoder cannot decode for the bundle, or its networks cannot compute in
            the precision.
    """
    from ..batch.parse_task import ParseTask
    from ..inference.bundle import known_labels
    from .calibrated_run import settle_precision

    if (labels := known_labels(bundle, options.weights_dir)) is not None:
        decisions.check(labels)
    return ParseTask(
        bundle=bundle,
        settings=settle_precision(
            bundle, read_settings(bundle.profile, options, decoder=options, compiled=options.compile)
        ),
        source=options.source(),
        tables=decisions.tables,
        levels=decisions.levels,
        segments=options.segments,
        formats=decisions.formats,
        refinement=decisions.post_processing,
        embeddings=not options.no_embeddings,
    )
