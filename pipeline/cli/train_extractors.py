"""Command avvp train-extractors: train small feature extractors on densely labelled clips."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...extractors.profiles import PROFILES
from ..errors import SetupError
from ..text import escape
from .options.command import ANY_PATH, EXISTING_FOLDER, argument, command, exit_1_on_error, exit_2_on_error, option
from .options.groups import AnnotationOptions, DecodeTimeoutOptions, DeviceOptions, MessageOptions, set_torch_threads

if TYPE_CHECKING:
    import torch

    from ..datasets.annotations import Annotations
    from .console import Console


@dataclass(frozen=True, kw_only=True)
class TrainExtractorsOptions(AnnotationOptions, DecodeTimeoutOptions, DeviceOptions, MessageOptions):
    """Options of avvp train-extractors."""

    videos: Path = field(metadata=argument(type=EXISTING_FOLDER))
    output: Path = field(
        metadata=option("-o", "--output", type=ANY_PATH, required=True, help="Folder of the new bundle.")
    )
    splits: tuple[str, ...] = field(
        metadata=option(
            "--split",
            multiple=True,
            type=click.Choice(["val", "test"]),
            show_default="val",
            help="Split to train on. Do not score on the same split.",
        )
    )
    profile: str = field(
        metadata=option("--profile", type=click.Choice(sorted(PROFILES)), default="clean", help="How to decode.")
    )
    epochs: int | None = field(
        metadata=option(
            "--epochs",
            type=click.IntRange(1),
            show_default="as the demo bundle was trained",
            help="Epochs per extractor.",
        )
    )
    seed: int = field(
        metadata=option(
            "--seed",
            type=click.IntRange(0),
            default=0,
            help="Random seed of the parameters and the order of examples.",
        )
    )
    workers: int | None = field(
        metadata=option(
            "--workers", type=click.IntRange(1), show_default="one per CPU core", help="Decoding processes."
        )
    )


@command(
    TrainExtractorsOptions,
    examples=(
        "avvp synth synth/ --clips 1500 --seed 101 --shares 0,0,100",
        "avvp train-extractors synth/videos --annotations synth/annotations -o extractors/ --split test",
        "avvp extract clips/ -o feats/ --weights extractors/",
    ),
)
def train_extractors(options: TrainExtractorsOptions) -> int:
    """Train small feature extractors on clips with dense labels.

    VIDEOS holds <id>.mp4 (or another suffix) for each clip of the annotations' val and test splits. vggish_small,
    resnet_small and r2plus1d_small learn to classify single seconds. Their classifiers are then removed; the rest is a
    bundle of extractors.
    """
    with exit_2_on_error(debug=options.debug):
        if options.annotations is None:
            raise click.UsageError("missing --annotations: the folder with the labels")
        from ..devices import resolve_device
        from ..training.run_folder import create_folder
        from .console import Console
        from .options.user_annotations import read_user_annotations

        console = Console(quiet=options.quiet)
        device = resolve_device(options.device)
        set_torch_threads(options.threads)
        annotations = read_user_annotations(options.annotations, quiet=options.quiet)
        videos = _find_videos(options.videos, quiet=options.quiet)
        create_folder(options.output)
    with exit_1_on_error(debug=options.debug), console:
        data_set = options.annotations.resolve().parent.name
        _train(videos, annotations, options, console, data_set=data_set, device=device)
    console.info(f"{options.output}: a bundle of extractors, for avvp extract --weights and avvp train --extractors")
    return 0


def _find_videos(folder: Path, *, quiet: bool) -> dict[str, Path]:
    """Map clip ids to the videos of a folder. Raises SetupError for two videos of one clip."""
    from ..files import VIDEO_SUFFIXES
    from .options.inputs import collect_inputs

    files, problems = collect_inputs([str(folder)], suffixes=VIDEO_SUFFIXES, kind="videos", quiet=quiet)
    if problems:
        raise SetupError(problems[0])
    videos = {path.stem: path for path in files}
    if len(videos) < len(files):
        first = next(path for path in files if videos[path.stem] != path)
        raise SetupError(f"{escape(first)} and {escape(videos[first.stem])} belong to one clip; remove one of them")
    return videos


def _train(
    videos: dict[str, Path],
    annotations: Annotations,
    options: TrainExtractorsOptions,
    console: Console,
    *,
    data_set: str,
    device: torch.device,
) -> None:
    from ..decode.options import DecodeOptions
    from ..decode.process import available_cores
    from ..preprocess.worker_process import DecodeWorker
    from ..training.extractor_examples import decode_examples
    from ..training.train_extractors import EXTRACTOR_CONFIGS, SMALL, train_extractor, write_extractors

    splits = options.splits or ("val",)
    states = {}
    decoding = DecodeOptions(timeout=options.decode_timeout, debug=options.debug)
    with tempfile.TemporaryDirectory(dir=options.output, prefix=".avvp-examples-") as folder:
        examples = decode_examples(
            videos,
            annotations,
            splits,
            Path(folder),
            partial(DecodeWorker, options.profile, decoding),
            workers=options.workers or available_cores(),
            progress=console.count_progress("decoding"),
        )
        for stream, name in SMALL.items():
            config = replace(EXTRACTOR_CONFIGS[stream], seed=options.seed)
            if options.epochs is not None:
                config = replace(config, epochs=options.epochs)

            def on_epoch(epoch: int, epochs: int, loss: float, name: str = name) -> None:
                console.info(f"{name}: epoch {epoch}/{epochs}, loss {loss:.4f}")

            states[name] = train_extractor(name, examples[stream], config, device=device, on_epoch=on_epoch)
        seconds = len(examples["audio"].labels)
    description = (
        f"small extractors trained by avvp train-extractors on {seconds} seconds of the {' and '.join(splits)} split"
        f" of {data_set}"
    )
    write_extractors(options.output, options.profile, states, description)
