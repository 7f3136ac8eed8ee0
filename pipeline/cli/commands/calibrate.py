"""Command avvp calibrate: thresholds of an open bundle's classes by annotated clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ....weights.manifest import OPEN_BUNDLE
from ....weights.remote.bundles import load_bundle
from ..missing_weights import provide_weights
from ..options.batch_options import DecoderOptions, InputOptions
from ..options.command import (
    EXISTING_FOLDER,
    OUTPUT_FILE,
    argument,
    command,
    exit_1_on_error,
    exit_2_on_error,
    option,
)
from ..options.embedding_options import EmbeddingOptions
from ..options.event_outputs import print_written
from ..options.groups import DecodeTimeoutOptions, DownloadOptions, RunningOptions, set_torch_threads
from ..options.inputs import collect_inputs
from ..options.open_options import OpenOptions
from ..options.table_output import TableOptions, write_result

if TYPE_CHECKING:
    from ....weights.manifest import Bundle
    from ...calibration.calibrate import Calibration
    from ...datasets.annotations import Annotations
    from ..console import Console


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(
    OpenOptions,
    EmbeddingOptions,
    InputOptions,
    DecoderOptions,
    DecodeTimeoutOptions,
    TableOptions,
    DownloadOptions,
    RunningOptions,
):
    """Options of avvp calibrate."""

    inputs: tuple[str, ...] = field(metadata=argument(nargs=-1, required=True, metavar="CLIPS..."))
    annotations: Path = field(
        metadata=option(
            "--annotations",
            type=EXISTING_FOLDER,
            required=True,
            help="Annotations with labels per second, in the form of LLP, AVE, UnAV-100 or OV-AVEBench.",
        )
    )
    split: str = field(
        metadata=option(
            "--split", type=click.Choice(["train", "val", "test"]), default="val", help="Split whose clips choose."
        )
    )
    weights: str = field(
        metadata=option("--weights", default=OPEN_BUNDLE, metavar="NAME|FOLDER", help="Bundle without a parser.")
    )
    output: Path = field(
        metadata=option(
            "-o", "--output", type=OUTPUT_FILE, required=True, help="TOML file for --classes @FILE of other commands."
        )
    )


@command(
    CalibrateOptions,
    examples=(
        'avvp calibrate clips/ --annotations mine/ --classes "dog barking, applause" -o classes.toml',
        "avvp calibrate events/ --annotations mine/ --classes @classes.toml --rule fixed -o classes.toml",
        "avvp parse more/ --classes @classes.toml --output-dir events/",
    ),
    notes="Exit status: 0 success; 1 the file cannot be written; 2 wrong usage, or unusable data.",
)
def calibrate(options: CalibrateOptions) -> int:
    """Choose thresholds of classes that were never trained, by annotated clips.

    CLIPS are media files and their folders, called as the annotations call them, or folders of results with embeddings,
    of which nothing is decoded. Without --classes, the classes are those of the annotations.

    Each class with 20 annotated seconds or more gets a threshold of its own, the others one offset together; every
    threshold is tried through the whole rule. The scores that count are those of clips left out: each fifth of the
    videos is scored with thresholds that the others choose.
    """
    with exit_2_on_error(debug=options.debug):
        from ...files import check_folder_of
        from ..console import Console
        from ..options.user_annotations import read_user_annotations

        check_folder_of(options.output)
        data = read_user_annotations(options.annotations, quiet=options.quiet)
        data.split(options.split)
        bundle = _read_bundle(options, data.labels)
        options.check_embeddings(bundle)
        folders, files = _collect(options)
        console = Console(quiet=options.quiet)
        provide_weights(bundle, options, console)
        with console:
            console.busy("loading sentences")
            set_torch_threads(options.threads)
            result = _calibrate(bundle, data, folders, files, options=options, console=console)
    from ...calibration.tables import calibration_tables
    from ...files import make_folder_of, write_atomic

    with exit_1_on_error(debug=options.debug):
        make_folder_of(options.output)
        write_atomic(options.output, result.vocabulary.to_toml().encode())
    write_result(result.to_dict(), calibration_tables(result), options)
    print_written([options.output], quiet=options.quiet)
    return 0


def _read_bundle(options: CalibrateOptions, labels: Sequence[str]) -> Bundle:
    """Return the bundle of --weights for the classes of --classes, or of the annotations."""
    from ...calibration.calibrate import calibratable

    bundle = load_bundle(options.weights, options.source())
    return calibratable(options.with_classes(bundle, labels))


def _collect(options: CalibrateOptions) -> tuple[list[Path], list[Path]]:
    """Return folders of embeddings, and media files. Raises click.UsageError."""
    from ...calibration.gather import has_embeddings

    folders = [Path(name) for name in options.inputs if has_embeddings(Path(name))]
    others = [name for name in options.inputs if Path(name) not in folders]
    files, problems = collect_inputs(others, recursive=options.recursive, quiet=options.quiet)
    if problems:
        raise click.UsageError("\n  ".join(["some inputs cannot be used:", *problems]))
    return folders, files


def _calibrate(
    bundle: Bundle,
    annotations: Annotations,
    folders: Sequence[Path],
    files: Sequence[Path],
    *,
    options: CalibrateOptions,
    console: Console,
) -> Calibration:
    from dataclasses import replace

    from ...calibration.calibrate import calibrate as choose_thresholds
    from ...calibration.gather import ClipGatherer
    from ...decode.options import DecodeOptions
    from ...inference.bundle import LoadedBundle, load_networks
    from ...inference.similar_pictures import record_similar_pictures

    def load(*, outline: bool = False) -> LoadedBundle:
        source = options.source(console.download_progress)
        loaded = load_networks(bundle, source=source, device=options.device, outline=outline)
        return record_similar_pictures(loaded, decoding)

    decoding = DecodeOptions(
        decoder=options.decoder,
        resampler=options.resampler,
        similar_pictures=options.similar_pictures,
        timeout=options.decode_timeout,
        debug=options.debug,
    )
    outline = load(outline=True)
    gatherer = ClipGatherer(
        outline,
        load,
        decoding,
        options.embedding_store(bundle),
        tell=console.info,
        progress=console.count_progress("computing embeddings"),
    )
    clips, notes = gatherer.gather(folders, files, annotations, options.split)
    progress = console.count_progress("choosing thresholds")
    result = choose_thresholds(outline, annotations, options.split, clips, progress)
    return replace(result, notes=(*notes, *result.notes))
