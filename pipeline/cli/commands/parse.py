"""Command avvp parse: parse one video, or many with a journal."""

from __future__ import annotations

import shlex
from functools import partial

import click

from ..batch_run import run_batch
from ..calibrated_run import calibrate_run
from ..missing_weights import provide_weights
from ..options.batch_options import BatchOptions, CompileOptions, RayOptions, collect_named_inputs, read_decoding
from ..options.command import command, exit_2_on_error, given_flags, is_given, version_option
from ..options.media_options import CookieOptions, PartOptions, WebOptions
from ..parse_file import parse_one
from ..parse_options import ParseOptions, make_parse_task, read_bundle, read_decisions


@version_option("avvp-parse")
@command(
    ParseOptions,
    examples=(
        "avvp-parse video.mp4 -o events.json",
        'avvp-parse video.mp4 --classes "dog barking, applause" -o events.json',
        "avvp-parse video.mp4 --segments -q | jq .events",
        "avvp-parse video.mp4 -o events.json -f json,csv,vtt --merge-gap 1",
        "avvp-parse video.mp4 -o events.json --plot timeline.png --html report.html",
        "avvp-parse film.mkv --start 1:02:00 --end 1:03:30 -o events.json",
        "ssh camera cat today.mkv | avvp-parse - -o today.json",
        "avvp-parse 'https://www.youtube.com/watch?v=BjCEufrlXm4' --keep-download videos/",
        "avvp-parse clips/ --recursive --output-dir events/",
        'avvp-parse -- "-odd name.mp4"',
    ),
    notes="To resume an interrupted run with --output-dir, repeat the command. Exit status: 0 success; 1 an input"
    " failed (listed at the end); 2 wrong usage, or the run cannot start.",
)
def parse(options: ParseOptions) -> int:
    """Find which events are heard and seen in videos, and when.

    INPUT is a media file, "-" for media on standard input, or an address, which yt-dlp downloads; with --output-dir
    also a folder, a pattern, or several of them. The result is JSON unless --format names another format: events with
    modality (audio, visual, audio_visual), label, onset, offset and score, facts about the file, and the weights and
    settings that were used. --classes finds any classes by their names, without training. The timeline of a single file
    is printed on the terminal, in place of a result that neither a file nor a program is to get. With --output-dir, a
    journal records finished videos, so a repeated command skips them.
    """
    with exit_2_on_error(debug=options.debug):
        if options.output_dir is not None:
            return _parse_batch(options.output_dir, options)
        if flags := given_flags(CompileOptions, BatchOptions, RayOptions):
            raise click.UsageError(f"{flags[0]} goes with --output-dir")
        return parse_one(options)


def _parse_batch(output_dir: str, options: ParseOptions) -> int:
    if options.output is not None:
        raise click.UsageError("-o and --output-dir exclude each other")
    if options.annotations is not None:
        raise click.UsageError("--annotations is for one file; avvp evaluate --timelines scores a folder of results")
    if flags := given_flags(PartOptions, CookieOptions, WebOptions):
        raise click.UsageError(f"{flags[0]} is for one file")
    plots = {
        "--plot": options.plot,
        "--html": options.html,
        "--explain": options.explain,
        "--embed-video": options.embed_video or None,
        "--no-bands": True if is_given("bands") and not options.bands else None,
    }
    if flags := [flag for flag, value in plots.items() if value is not None]:
        raise click.UsageError(f"{flags[0]} is for one file; avvp report draws a folder of results")
    named = collect_named_inputs(options.inputs, options)

    from ...batch.open_storage import open_storage

    bundle = read_bundle(options)
    options.check_embeddings(bundle)
    if is_given("embeddings"):
        raise click.UsageError("--embeddings is for one file; with --output-dir they are kept beside the results")
    storage = open_storage(output_dir)
    from ..console import Console

    with storage.exclusive_lock(options.shard):
        console = Console(quiet=options.quiet, verbose=options.verbose)
        decisions = read_decisions(bundle, options)
        provide_weights(bundle, options, console)
        bundle = calibrate_run(
            bundle,
            named,
            storage,
            options,
            console,
            source=options.source(),
            decoding=partial(read_decoding, bundle.profile, options, options),
        )
        with console:
            console.busy("loading networks")
            task = make_parse_task(bundle, options, decisions)
        if bundle.warning is not None and not options.plans_only:
            console.info(f"! {bundle.warning}")
        status = run_batch(task, named, storage, options, console)
        if console.is_terminal and not options.plans_only:
            folder = shlex.quote(output_dir)
            console.info(f"next: avvp find {folder}; avvp report {folder} --media VIDEOS/ --output-dir site/")
        return status
