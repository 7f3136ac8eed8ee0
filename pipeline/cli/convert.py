"""`avvp convert`: from files of events to files in other formats, and to data sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import SetupError
from ..files import is_file, make_folder, safe_file_name
from ..text import escape
from .event_outputs import formats_option, name_targets, read_timelines, refinement_options, refuse_inputs, write_target
from .options import debug_option, exit_1_on_error, exit_2_on_error, quiet_option

if TYPE_CHECKING:
    from ..outputs.formats.read_folders import EventFiles
    from ..outputs.formats.targets import OutputFiles
    from ..timeline import Timeline

_STDOUT = "-"


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  avvp convert events.json -f vtt -o video.vtt
  avvp convert events.json -f all -o out/video
  avvp convert events/ -f csv,textgrid --output-dir tables/
  avvp convert events.json --merge-gap 1 --min-duration 2 -o tidy.json
  avvp convert labels.TextGrid -o events.json
  avvp convert corrected/ --data-set my-data/ --split val

Read are json, csv, tsv, llp, audacity, textgrid and eaf files; what they are is told by their names.""",
)
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="EVENTS...")
@formats_option
@click.option("-o", "--output", metavar="FILE", help="Of a single timeline; '-', the default, is standard output.")
@click.option("--output-dir", type=click.Path(file_okay=False, path_type=Path), help="For those of many.")
@click.option(
    "--data-set",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for annotations in the form of LLP, one split of all the timelines.",
)
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Of the data set.")
@click.option("--seconds", type=click.IntRange(1), help="Length of the clips, where files of events do not say.")
@refinement_options
@click.option("--overwrite", is_flag=True, help="Replace files in the folder.")
@quiet_option
@debug_option
def convert(inputs: tuple[Path, ...], **options: Any) -> int:
    """Write the EVENTS of files, or of all such files in folders, in other formats; tidied first, if asked for."""
    with exit_2_on_error(debug=options["debug"]):
        places = [name for name in ("output", "output_dir", "data_set") if options[name] is not None]
        if len(places) > 1:
            raise click.UsageError("-o, --output-dir and --data-set exclude each other")
        if (options["data_set"] is None) != (options["split"] is None):
            raise click.UsageError("--data-set and --split go together")
        if options["data_set"] is not None and options["formats"]:
            raise click.UsageError("a data set has a form of its own: leave out --format")
        if options["seconds"] is not None and options["data_set"] is None:
            raise click.UsageError("--seconds goes with --data-set")
        if options["data_set"] is None and options["output_dir"] is None:
            return _convert_one(inputs, options)
        found = read_timelines(inputs, options)
        if options["data_set"] is not None:
            return _write_data_set(found.timelines, options)
        planned = _plan_all(found, options)
    with exit_1_on_error(debug=options["debug"]):
        for timeline, targets in planned:
            for target in targets:
                write_target(timeline, target)
    _note(
        options, f"{options['output_dir']}: {len(planned)} timelines, {sum(len(t) for _, t in planned)} files or groups"
    )
    return 0


def _write_data_set(timelines: Mapping[str, Timeline], options: Mapping[str, Any]) -> int:
    from ..datasets.from_timelines import write_data_set

    folder, split = options["data_set"], options["split"]
    write_data_set(folder, timelines, split, seconds=options["seconds"], overwrite=options["overwrite"])
    _note(options, f"{folder}: {len(timelines)} clips, the {split} split")
    return 0


def _convert_one(inputs: tuple[Path, ...], options: Mapping[str, Any]) -> int:
    if options["overwrite"]:
        raise click.UsageError("--overwrite goes with --output-dir and --data-set; -o replaces what is there")
    output = None if options["output"] in {None, _STDOUT} else Path(options["output"])
    targets = name_targets(output, options["formats"])
    found = read_timelines(inputs, options)
    refuse_inputs((path for target in targets for path in target.paths), found.files)
    if len(found.timelines) > 1:
        raise SetupError(f"{len(found.timelines)} timelines need --output-dir or --data-set")
    (timeline,) = found.timelines.values()
    with exit_1_on_error(debug=options["debug"]):
        for target in targets:
            write_target(timeline, target)
    return 0


def _plan_all(found: EventFiles, options: Mapping[str, Any]) -> list[tuple[Timeline, list[OutputFiles]]]:
    """Which files each timeline becomes. Raises SetupError where one is there, or is an input."""
    from ..outputs.formats.registry import FORMATS
    from ..outputs.formats.targets import OutputFiles, parse_formats

    folder, formats = options["output_dir"], parse_formats(options["formats"]) or (FORMATS["json"],)
    make_folder(folder)
    planned = []
    for name, timeline in found.timelines.items():
        base = folder / safe_file_name(name)
        json_file = base.with_name(f"{base.name}.events.json")
        planned.append(
            (timeline, [OutputFiles(f, (json_file,) if f.name == "json" else tuple(f.files(base))) for f in formats])
        )
    written = [path for _, targets in planned for target in targets for path in target.paths]
    refuse_inputs(written, found.files)
    if not options["overwrite"] and (there := [path for path in written if is_file(path)]):
        raise SetupError(f"{escape(there[0])}: is there already; --overwrite replaces it")
    return planned


def _note(options: Mapping[str, Any], text: str) -> None:
    if not options["quiet"]:
        click.echo(escape(text), err=True)
