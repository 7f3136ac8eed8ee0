"""Options and output of commands that write events: formats, post-processing, plots and pages."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from ...errors import OutputError, SetupError
from ...files import check_folder_of, is_device_or_pipe, is_file, make_folder_of
from ...text import escape
from .command import OUTPUT_FILE, STDOUT, CommandOptions, FiniteRange, check_name, is_given, option

if TYPE_CHECKING:
    from ...outputs.formats.read_folders import EventFiles
    from ...outputs.formats.targets import OutputFiles
    from ...outputs.plots.attention_maps import AttentionMaps
    from ...outputs.postprocess import PostProcessing
    from ...timeline import GroundTruth, Timeline


@dataclass(frozen=True, kw_only=True)
class FormatOptions(CommandOptions):
    """Formats of event files."""

    heading: ClassVar[str] = "Events"
    formats: tuple[str, ...] = field(
        metadata=option(
            "-f",
            "--format",
            multiple=True,
            metavar="NAME,...",
            show_default="by the suffix of the output, else json",
            help="json, csv, tsv, llp, vtt, srt, audacity, textgrid, eaf, rttm, raven, activitynet, dcase, "
            "label-studio, otio, ffmetadata, chapters, parquet or all.",
        )
    )


@dataclass(frozen=True, kw_only=True)
class PostProcessingOptions(CommandOptions):
    """Changes to events before they are written; each file of events records them."""

    heading: ClassVar[str] = "Events"
    keep_classes: str | None = field(
        metadata=option(
            "--keep-classes", "--classes", metavar="NAME,...", help="Keep only the events of these classes."
        )
    )
    merge_gap: float | None = field(
        metadata=option(
            "--merge-gap",
            type=FiniteRange(0),
            metavar="SECONDS",
            help="Merge events of a class at most this far apart.",
        )
    )
    min_duration: float | None = field(
        metadata=option("--min-duration", type=FiniteRange(0), metavar="SECONDS", help="Drop shorter events.")
    )
    min_score: float | None = field(
        metadata=option(
            "--min-score", type=FiniteRange(0, 1), metavar="PROBABILITY", help="Drop events with a lower score."
        )
    )

    def post_processing(self) -> PostProcessing:
        """Return the steps to apply. Raises SetupError for an empty list of classes."""
        from ...outputs.postprocess import PostProcessing

        classes = None
        if self.keep_classes is not None:
            classes = tuple(name.strip() for name in self.keep_classes.split(",") if name.strip())
        if classes == ():
            raise SetupError("--keep-classes: name at least one")
        return PostProcessing(classes, self.merge_gap, self.min_duration, self.min_score)


@dataclass(frozen=True, kw_only=True)
class PlotOptions(CommandOptions):
    """Plots and pages of a timeline."""

    heading: ClassVar[str] = "Plots and pages"
    plot: Path | None = field(
        metadata=option("--plot", type=OUTPUT_FILE, help="Plot of the timeline: png, svg or pdf.")
    )
    html: Path | None = field(
        metadata=option("--html", type=OUTPUT_FILE, help="Page that plays the video beside its timeline.")
    )
    embed_video: bool = field(
        metadata=option(
            "--embed-video",
            is_flag=True,
            help="Store the video inside the page, as base64: a third larger than the file.",
        )
    )

    bands: bool = field(
        metadata=option(
            "--bands/--no-bands",
            default=True,
            help="Decode the media for a film, a waveform and a spectrogram above the timeline of a page.",
        )
    )

    def check_page_options(self, *, pages: bool) -> None:
        """Raise SetupError for an option of pages where no page is written."""
        if self.embed_video and not pages:
            raise SetupError("--embed-video goes with --html")
        if not self.bands and not pages and is_given("bands"):
            raise SetupError("--no-bands goes with --html")

    def plot_files(self) -> list[Path]:
        """Return the files of --plot and --html. Raises SetupError for an unknown suffix."""
        from ...outputs.html.page import PAGE_SUFFIXES

        if self.html is not None:
            check_suffix("--html", self.html, PAGE_SUFFIXES)
        if self.plot is not None:
            from ...outputs.plots.figure import PLOT_SUFFIXES

            check_suffix("--plot", self.plot, PLOT_SUFFIXES)
        return [path for path in (self.plot, self.html) if path is not None]


def check_suffix(flag: str, path: Path, suffixes: Iterable[str]) -> None:
    """Raise SetupError for a file name whose suffix is not among `suffixes`."""
    if path.suffix.lower() not in suffixes:
        raise SetupError(f"{flag} {escape(path)}: expected a name that ends in {', '.join(suffixes)}")


def check_outputs(files: Iterable[Path]) -> None:
    """Raise click.UsageError for a file that cannot be created; folders that do not exist are made when it is."""
    for file in files:
        try:
            check_folder_of(file)
        except OutputError as error:
            raise click.UsageError(str(error)) from error


def print_written(files: Iterable[Path], *, quiet: bool) -> None:
    """Name the files that were written, on standard error."""
    for file in files:
        if not quiet and not is_device_or_pipe(file):
            click.echo(f"wrote {escape(file)}", err=True)


def output_path(output: str | None) -> Path | None:
    """Return the path of an --output option, None for standard output. Raises click.UsageError."""
    if output is None or output == STDOUT:
        return None
    if fault := check_name(output) or (f"{output} is a folder" if Path(output).name in {"", ".."} else ""):
        raise click.UsageError(f"--output: {fault}")
    return Path(output)


def read_timelines(
    inputs: Iterable[Path], post_processing: PostProcessing, *, quiet: bool, events_only: bool = False
) -> EventFiles:
    """Read and post-process event files; report skipped files on standard error.

    Args:
        inputs: files and folders.
        post_processing: the steps to apply to every timeline.
        quiet: do not report skipped files.
        events_only: leave out the probabilities, most of the memory of many timelines.

    Returns:
        The timelines and the files they were read from.

    Raises:
        SetupError: there are no event files, two timelines have one name, or a class is unknown.
        FormatError: a file is malformed.
    """
    from ...outputs.formats.read_folders import read_event_files
    from ...outputs.postprocess import refine

    def change(timeline: Timeline) -> Timeline:
        refined = refine(timeline, post_processing)
        return refined.without_probabilities() if events_only else refined

    events = read_event_files(inputs, change)
    if not quiet:
        for note in events.notes:
            click.echo(note, err=True)
    return events


def name_targets(output: Path | None, formats: tuple[str, ...]) -> list[OutputFiles]:
    """Return the files to write for one timeline.

    Args:
        output: value of --output; None for standard output.
        formats: values of --format.

    Returns:
        One per format; for standard output a single one without files.

    Raises:
        SetupError: a format is unknown, or several files are asked for without a name.
    """
    from ...outputs.formats.registry import FORMATS
    from ...outputs.formats.targets import OutputFiles, describe_left_out, parse_formats, resolve_targets

    event_formats = parse_formats(formats)
    if note := describe_left_out(formats):
        click.echo(note, err=True)
    if output is not None:
        return resolve_targets(output, event_formats)
    if len(event_formats) > 1 or any(len(item.suffixes) > 1 for item in event_formats):
        names = " and ".join(item.name for item in event_formats)
        raise SetupError(f"{names}: several files need a name: -o FILE")
    return [OutputFiles(event_formats[0] if event_formats else FORMATS["json"], ())]


def refuse_inputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raise SetupError if an output would overwrite an input, or another output."""
    input_files = {_file_identity(path) for path in inputs if is_file(path)}
    taken = set[Path]()
    for path in outputs:
        if is_file(path) and _file_identity(path) in input_files:
            raise SetupError(f"{escape(path)} is an input; the result would overwrite it")
        if path.absolute() in taken:
            raise SetupError(f"{escape(path)}: two results would be written to it")
        taken.add(path.absolute())


def _file_identity(path: Path) -> tuple[int, int]:
    """Return device and inode, which all names of a file share."""
    status = path.stat()
    return status.st_dev, status.st_ino


def write_target(timeline: Timeline, target: OutputFiles) -> None:
    """Write a timeline to its files, or to standard output. Raises OutputError."""
    from ...outputs.formats.registry import write_events

    if target.paths:
        for path in target.paths:
            make_folder_of(path)
        write_events(timeline, target.format, target.paths)
    else:
        (content,) = target.format.write(timeline)
        print_bytes(content)


def print_bytes(content: bytes) -> None:
    """Write to standard output. Raises OutputError."""
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputError(f"standard output cannot be written: {error.strerror}") from error


def write_plots(
    timeline: Timeline,
    options: PlotOptions,
    *,
    media: Path | None,
    truth: GroundTruth | None = None,
    attention: AttentionMaps | None = None,
    kept: bool = True,
    note: str = "",
) -> None:
    """Write the files of --plot and --html.

    Args:
        timeline: the events.
        options: of the current command.
        media: file with the frames and the audio; None leaves them out.
        truth: drawn beside the events.
        attention: of the parser, for the page.
        kept: whether the file stays where it is, so that a page can play it.
        note: shown on the page in place of the player.

    Raises:
        MediaError: the media cannot be decoded.
        SetupError: the attention is of another video.
        OutputError: a file cannot be written.
    """
    if options.plot is not None:
        from ...outputs.plots.timeline import plot_timeline

        make_folder_of(options.plot)
        plot_timeline(timeline, options.plot, media=media, truth=truth)
    if options.html is not None:
        from ...outputs.html.page import write_page

        make_folder_of(options.html)
        write_page(
            timeline, options.html, media=media, truth=truth, attention=attention, embed=options.embed_video,
            bands=options.bands, kept=kept, note=note,
        )  # fmt: skip
