"""Command avvp convert: write event files in other formats, or as the annotations of a data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import SetupError
from ...files import is_file, make_folder
from ...text import escape
from ..options.command import ANY_PATH, OUTPUT_FOLDER, argument, command, exit_1_on_error, exit_2_on_error, option
from ..options.event_outputs import (
    FormatOptions,
    PostProcessingOptions,
    check_outputs,
    name_targets,
    output_path,
    print_bytes,
    print_written,
    read_timelines,
    refuse_inputs,
    write_target,
)
from ..options.groups import MessageOptions

if TYPE_CHECKING:
    from ...outputs.formats.read_folders import EventFiles
    from ...outputs.formats.targets import OutputFiles
    from ...timeline import Timeline


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(FormatOptions, PostProcessingOptions, MessageOptions):
    """Options of avvp convert."""

    inputs: tuple[Path, ...] = field(metadata=argument(nargs=-1, required=True, type=ANY_PATH, metavar="EVENTS..."))
    output: str | None = field(
        metadata=option(
            "-o",
            "--output",
            metavar="FILE",
            show_default="-",
            help="File for a single timeline, or a table (csv, tsv, parquet) of many; '-' is standard output.",
        )
    )
    output_dir: Path | None = field(
        metadata=option("--output-dir", type=OUTPUT_FOLDER, help="Folder for any number of timelines.")
    )
    data_set: Path | None = field(
        metadata=option(
            "--data-set",
            type=OUTPUT_FOLDER,
            help="Folder for annotations in the format of LLP; all timelines become one split.",
        )
    )
    split: str | None = field(
        metadata=option("--split", type=click.Choice(["train", "val", "test"]), help="Split of the data set to write.")
    )
    seconds: int | None = field(
        metadata=option("--seconds", type=click.IntRange(1), help="Length of clips whose event files do not hold it.")
    )
    overwrite: bool = field(metadata=option("--overwrite", is_flag=True, help="Replace existing files in the folder."))


@command(
    ConvertOptions,
    examples=(
        "avvp convert events.json -f vtt -o video.vtt",
        "avvp convert events.json -f all -o out/video",
        "avvp convert events/ -f csv -o all.csv",
        "avvp convert events/ -f csv,textgrid --output-dir tables/",
        "avvp convert events.json --merge-gap 1 --min-duration 2 -o tidy.json",
        "avvp convert labels.TextGrid -o events.json",
        "avvp convert corrected/ --data-set my-data/ --split val",
    ),
    notes="Reads all formats but vtt, srt and chapters; the file name determines the format.",
)
def convert(options: ConvertOptions) -> int:
    """Convert event files to other formats, or to a data set.

    EVENTS are files or folders of event files. Events can be merged and filtered first.
    """
    with exit_2_on_error(debug=options.debug):
        _check_usage(options)
        if options.data_set is not None and options.split is not None:
            return _write_data_set(options.data_set, options.split, options)
        if options.output_dir is None:
            return _convert_to_one(options)
        events = read_timelines(options.inputs, options.post_processing(), quiet=options.quiet)
        planned = _plan_files(options.output_dir, events, options)
    with exit_1_on_error(debug=options.debug):
        for timeline, targets in planned:
            for target in targets:
                write_target(timeline, target)
    count = sum(len(targets) for _, targets in planned)
    _print_note(options, f"{options.output_dir}: {len(planned)} timelines, {count} files or groups")
    return 0


def _check_usage(options: ConvertOptions) -> None:
    if sum(place is not None for place in (options.output, options.output_dir, options.data_set)) > 1:
        raise click.UsageError("-o, --output-dir and --data-set exclude each other")
    if (options.data_set is None) != (options.split is None):
        raise click.UsageError("--data-set and --split go together")
    if options.data_set is not None and options.formats:
        raise click.UsageError("a data set has its own format: leave out --format")
    if options.seconds is not None and options.data_set is None:
        raise click.UsageError("--seconds goes with --data-set")
    if options.overwrite and options.data_set is None and options.output_dir is None:
        raise click.UsageError("--overwrite goes with --output-dir and --data-set; -o always replaces its file")


def _write_data_set(folder: Path, split: str, options: ConvertOptions) -> int:
    from ...datasets.from_timelines import write_data_set

    timelines = read_timelines(options.inputs, options.post_processing(), quiet=options.quiet).timelines
    write_data_set(folder, timelines, split, seconds=options.seconds, overwrite=options.overwrite)
    _print_note(options, f"{folder}: {len(timelines)} clips, the {split} split")
    return 0


def _convert_to_one(options: ConvertOptions) -> int:
    """Write one file per format: of a single timeline, or a table of many."""
    from ...outputs.formats.event_tables import TABLES

    targets = name_targets(output_path(options.output), options.formats)
    only_tables = all(target.format.name in TABLES for target in targets)
    events = read_timelines(options.inputs, options.post_processing(), quiet=options.quiet, events_only=only_tables)
    refuse_inputs((path for target in targets for path in target.paths), events.files)
    if len(events.timelines) > 1 and not only_tables:
        tables = ", ".join(TABLES)
        raise SetupError(
            f"{len(events.timelines)} timelines need --output-dir or --data-set; one file of many timelines is a table:"
            f" -f {tables}"
        )
    (first, *others) = events.timelines.values()
    check_outputs(path for target in targets for path in target.paths)
    with exit_1_on_error(debug=options.debug):
        for target in targets:
            if others:
                _write_table(events, target)
            else:
                write_target(first, target)
    if others and options.output is not None:
        count = sum(len(timeline.events) for timeline in events.timelines.values())
        _print_note(options, f"{options.output}: {len(events.timelines)} timelines, {count} events")
        return 0
    print_written((path for target in targets for path in target.paths), quiet=options.quiet)
    return 0


def _write_table(events: EventFiles, target: OutputFiles) -> None:
    from ...files import make_folder_of, write_atomic
    from ...outputs.formats.event_tables import write_table

    content = write_table(events.timelines, target.format.name)
    if target.paths:
        make_folder_of(target.paths[0])
        write_atomic(target.paths[0], content)
    else:
        print_bytes(content)


def _plan_files(folder: Path, events: EventFiles, options: ConvertOptions) -> list[tuple[Timeline, list[OutputFiles]]]:
    """Choose the files of each timeline. Raises SetupError for a file that exists, or is an input."""
    from ...outputs.formats.registry import FORMATS
    from ...outputs.formats.targets import OutputFiles, describe_left_out, parse_formats, result_path

    formats = parse_formats(options.formats) or (FORMATS["json"],)
    if note := describe_left_out(options.formats):
        _print_note(options, note)
    suffixes = {item.name: ("events.json",) if item.name == "json" else item.suffixes for item in formats}
    planned = []
    for name, timeline in events.timelines.items():
        targets = [
            OutputFiles(item, tuple(result_path(folder, name, f".{suffix}") for suffix in suffixes[item.name]))
            for item in formats
        ]
        planned.append((timeline, targets))
    outputs = [path for _, targets in planned for target in targets for path in target.paths]
    refuse_inputs(outputs, events.files)
    if not options.overwrite and (existing := [path for path in outputs if is_file(path)]):
        raise SetupError(f"{escape(existing[0])}: exists already; --overwrite replaces it")
    make_folder(folder)
    return planned


def _print_note(options: ConvertOptions, text: str) -> None:
    if not options.quiet:
        click.echo(escape(text), err=True)
