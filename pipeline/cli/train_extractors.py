"""`avvp train-extractors`: small extractors from clips with labels by second."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...extractors.profiles import PROFILES
from ..errors import SetupError
from ..text import escape
from .options import (
    annotations_option,
    debug_option,
    decode_timeout_option,
    device_option,
    exit_1_on_error,
    exit_2_on_error,
    quiet_option,
    set_threads,
    threads_option,
)

if TYPE_CHECKING:
    from ..datasets.annotations import Annotations
    from .console import Console


@click.command(
    "train-extractors",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  avvp synth synth/ --clips 1500 --seed 101 --shares 0,0,100
  avvp train-extractors synth/videos --annotations synth/annotations -o extractors/ --split test
  avvp extract clips/ -o feats/ --weights extractors/""",
)
@click.argument("videos", type=click.Path(exists=True, file_okay=False, path_type=Path))
@annotations_option
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the new bundle.")
@click.option(
    "--split",
    "splits",
    multiple=True,
    type=click.Choice(["val", "test"]),
    help="Whose labels; by default val. What is trained on cannot be scored.",
)
@click.option(
    "--profile", type=click.Choice(sorted(PROFILES)), default="clean", show_default=True, help="How to decode."
)
@click.option("--epochs", type=click.IntRange(1), help="Of each extractor; by default as the demo's were trained.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of parameters and of order.")
@click.option("--workers", type=click.IntRange(1), help="Decoding processes; by default one for each core.")
@decode_timeout_option
@device_option
@threads_option
@quiet_option
@debug_option
def train_extractors(videos: Path, **options: Any) -> int:
    """Train vggish_small, resnet_small and r2plus1d_small on the clips of VIDEOS that have labels by second.

    VIDEOS holds <id>.mp4 (or another suffix) for each clip of the annotations' val and test splits. Each network learns
    to tell the classes of single seconds; its classifier is thrown away, and the rest is a bundle of extractors.
    """
    with exit_2_on_error(debug=options["debug"]):
        if options["annotations"] is None:
            raise click.UsageError("--annotations: which folder holds the labels?")
        from ..datasets.annotations import read_annotations
        from ..devices import resolve_device
        from ..files import VIDEO_SUFFIXES
        from ..training.run_folder import create_folder
        from .console import Console
        from .inputs import collect_inputs

        console = Console(quiet=options["quiet"], verbose=False)
        device = resolve_device(options["device"])
        set_threads(options["threads"])
        annotations = read_annotations(options["annotations"])
        splits = options["splits"] or ("val",)
        paths, problems = collect_inputs([str(videos)])
        if problems:
            raise SetupError(problems[0])
        files = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
        named = {path.stem: path for path in files}
        if len(named) < len(files):
            twice = next(path for path in files if named[path.stem] != path)
            raise SetupError(f"{escape(twice)} and {escape(named[twice.stem])}: which is the clip?")
        create_folder(options["output"])
    with exit_1_on_error(debug=options["debug"]), console:
        _train(named, annotations, splits, {**options, "device": device}, console)
    console.say(f"{options['output']}: a bundle of extractors, for avvp extract --weights and avvp train --extractors")
    return 0


def _train(
    videos: dict[str, Path],
    annotations: Annotations,
    splits: Sequence[str],
    options: dict[str, Any],
    console: Console,
) -> None:
    from ..decode.options import DecodeOptions
    from ..decode.process import available_cores
    from ..preprocess.worker_process import DecodeWorker
    from ..training.extractor_examples import decode_examples
    from ..training.train_extractors import EXTRACTOR_CONFIGS, SMALL, train_extractor, write_extractors

    states = {}
    decoding = DecodeOptions(timeout=options["decode_timeout"], debug=options["debug"])
    with tempfile.TemporaryDirectory(dir=options["output"], prefix=".avvp-examples-") as folder:
        examples = decode_examples(
            videos,
            annotations,
            splits,
            Path(folder),
            partial(DecodeWorker, options["profile"], decoding),
            workers=options["workers"] or available_cores(),
            progress=console.count("decoding"),
        )
        for stream, name in SMALL.items():
            schedule = replace(EXTRACTOR_CONFIGS[stream], seed=options["seed"])
            if options["epochs"] is not None:
                schedule = replace(schedule, epochs=options["epochs"])

            def told(epoch: int, epochs: int, loss: float, name: str = name) -> None:
                console.say(f"{name}: epoch {epoch}/{epochs}, loss {loss:.4f}")

            states[name] = train_extractor(name, examples[stream], schedule, device=options["device"], told=told)
        seconds = len(examples["audio"].labels)
    described = (
        f"{seconds} seconds of the {' and '.join(splits)} split of {options['annotations'].resolve().parent.name}"
    )
    description = f"small extractors trained by avvp train-extractors on {described}"
    write_extractors(options["output"], options["profile"], states, description)
