"""`avvp convert`: from files of events to files in other formats, and to data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .cli_options import debug_option, quiet_option, starting, working
from .cli_outputs import (
    formats_option,
    name_targets,
    read_refinement,
    read_timelines,
    refinement_options,
    refuse_inputs,
    write_target,
)
from .errors import SetupError, printable

if TYPE_CHECKING:
    from .outputs.refine import Refinement
    from .outputs.targets import Target
    from .timeline import Timeline

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
@refinement_options
@click.option("--overwrite", is_flag=True, help="Replace files in the folder.")
@quiet_option
@debug_option
def convert(inputs: tuple[Path, ...], **options: Any) -> int:
    """Write the EVENTS of files, or of all such files in folders, in other formats; tidied first, if asked for."""
    with starting(debug=options["debug"]):
        places = [name for name in ("output", "output_dir", "data_set") if options[name] is not None]
        if len(places) > 1:
            raise click.UsageError("-o, --output-dir and --data-set exclude each other")
        if (options["data_set"] is None) != (options["split"] is None):
            raise click.UsageError("--data-set and --split go together")
        if options["data_set"] is not None and options["formats"]:
            raise click.UsageError("a data set has a form of its own: leave out --format")
        refinement = read_refinement(options)
        if options["data_set"] is None and options["output_dir"] is None:
            return _convert_one(inputs, refinement, options)
        timelines = read_timelines(inputs, refinement)
        from .outputs.data_set import write_data_set  # noqa: PLC0415

        if options["data_set"] is not None:
            write_data_set(options["data_set"], timelines, options["split"], overwrite=options["overwrite"])
            _say(options, f"{options['data_set']}: {len(timelines)} clips, the {options['split']} split")
            return 0
        planned = _plan_all(timelines, inputs, options)
    with working(debug=options["debug"]):
        for timeline, targets in planned:
            for target in targets:
                write_target(timeline, target)
    _say(
        options, f"{options['output_dir']}: {len(planned)} timelines, {sum(len(t) for _, t in planned)} files or groups"
    )
    return 0


def _convert_one(inputs: tuple[Path, ...], refinement: Refinement, options: dict[str, Any]) -> int:
    output = None if options["output"] in {None, _STDOUT} else Path(options["output"])
    targets = name_targets(output, options["formats"])
    refuse_inputs((path for target in targets for path in target.paths), inputs)
    timelines = read_timelines(inputs, refinement)
    if len(timelines) > 1:
        raise SetupError(f"{len(timelines)} timelines need --output-dir or --data-set")
    (timeline,) = timelines.values()
    with working(debug=options["debug"]):
        for target in targets:
            write_target(timeline, target)
    return 0


def _plan_all(
    timelines: dict[str, Timeline], inputs: tuple[Path, ...], options: dict[str, Any]
) -> list[tuple[Timeline, list[Target]]]:
    """Which files each timeline becomes. Raises SetupError where one is there, or two timelines share a name."""
    folder = options["output_dir"]
    folder.mkdir(parents=True, exist_ok=True)
    planned, taken = [], set()
    for name, timeline in timelines.items():
        base = name.replace("/", "_").lstrip(".") or "_"
        if base in taken:
            raise SetupError(f"two timelines would be written to {printable(folder / base)}")
        taken.add(base)
        targets = name_targets(folder / f"{base}.events.json", options["formats"])
        written = [path for target in targets for path in target.paths]
        refuse_inputs(written, inputs)
        if not options["overwrite"] and (there := [path for path in written if path.exists()]):
            raise SetupError(f"{printable(there[0])}: is there already; --overwrite replaces it")
        planned.append((timeline, targets))
    return planned


def _say(options: dict[str, Any], text: str) -> None:
    if not options["quiet"]:
        click.echo(printable(text), err=True)
