"""Command avvp pseudo-label: segment-level pseudo labels from CLIP and CLAP."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ....weights.source import WeightSource
from ...errors import SetupError
from ...files import without_media_suffix
from ...text import count_of, escape
from ..batch_run import run_batch
from ..options.batch_options import BatchOptions, collect_named_inputs, read_settings
from ..options.command import EXISTING_FILE, EXISTING_PATH, argument, command, exit_2_on_error, option
from ..options.groups import OfflineOptions

if TYPE_CHECKING:
    from ...batch.storage import Storage
    from ...pseudo_labeling.prompts import Prompts
    from ...pseudo_labeling.task import PseudoLabelTask
    from ...pseudo_labeling.threshold_scores import LabelingConfig
    from ...pseudo_labeling.weak_labels import WeakLabels
    from ...timeline import SegmentLabels


@dataclass(frozen=True, kw_only=True)
class PseudoLabelOptions(BatchOptions, OfflineOptions):
    """Options of avvp pseudo-label."""

    inputs: tuple[str, ...] = field(metadata=argument(nargs=-1, metavar="VIDEOS..."))
    annotations: Path | None = field(
        metadata=option(
            "--annotations",
            type=EXISTING_PATH,
            help="Classes of each video (weak labels): a table with the columns filename and event_labels, or a folder"
            " in the format of LLP.",
        )
    )
    no_weak_labels: bool = field(
        metadata=option(
            "--no-weak-labels", is_flag=True, help="Label from the scores alone; many labels will be wrong."
        )
    )
    splits: tuple[str, ...] = field(
        metadata=option(
            "--split",
            multiple=True,
            type=click.Choice(["train", "val", "test"]),
            show_default="train",
            help="Splits of the annotations folder to label. Do not train on labels of val and test: they use the"
            " ground truth.",
        )
    )
    output: str = field(
        metadata=option(
            "-o", "--output", required=True, metavar="FOLDER", help="Folder or address for scores and labels."
        )
    )
    prompts: Path | None = field(
        metadata=option(
            "--prompts",
            type=EXISTING_FILE,
            show_default="VALOR's for LLP",
            help="TOML file with text prompts and thresholds of your classes.",
        )
    )
    calibrate: str | None = field(
        metadata=option(
            "--calibrate",
            type=click.Choice(["dense", "distribution"]),
            help="Choose new thresholds: dense maximises F1 on the dense labels of the validation split; distribution"
            " uses the scores alone.",
        )
    )
    teacher: Path | None = field(
        metadata=option(
            "--teacher",
            type=EXISTING_PATH,
            help="Run of avvp train-teacher, or a file of UWAV's: it scores each second with the whole clip as context,"
            " in place of CLIP and CLAP alone.",
        )
    )
    save_features: bool = field(
        metadata=option("--save-features", is_flag=True, help="Also save the features of CLIP and CLAP.")
    )
    clip_model: str | None = field(
        metadata=option(
            "--clip-model", metavar="NAME|FOLDER", show_default="openai/clip-vit-large-patch14", help="CLIP model."
        )
    )
    clap_model: str | None = field(
        metadata=option(
            "--clap-model",
            metavar="NAME|FOLDER|FILE.pt",
            show_default="LAION's 630k-fusion-best.pt",
            help="CLAP model.",
        )
    )
    review: int | None = field(
        metadata=option(
            "--review", type=click.IntRange(1), metavar="N", help="Write pages of N clips for checking and correcting."
        )
    )


@command(
    PseudoLabelOptions,
    examples=(
        "avvp pseudo-label clips/ --annotations llp/ -o data/",
        "avvp pseudo-label clips/ --annotations labels.csv --prompts mine.toml --calibrate distribution -o data/",
        "avvp pseudo-label clips/ --no-weak-labels -o data/ --review 20",
        "avvp pseudo-label clips/ --annotations llp/ --teacher runs/teacher --calibrate dense -o data/",
    ),
    notes="To resume an interrupted run, repeat the command; with other thresholds or weak labels it reuses the scores"
    " and takes seconds. Exit status: 0 success; 1 an input failed (listed at the end); 2 wrong usage, or the run"
    " cannot start.",
)
def pseudo_label(options: PseudoLabelOptions) -> int:
    """Label each second of videos with CLIP and CLAP, as VALOR does.

    CLIP scores the frames of VIDEOS, CLAP the audio. A class is active in a second if its logit exceeds its threshold
    and the video has the class. The folder is for avvp train --pseudo-labels. Needs the extra [pseudo].

    With --teacher, a temporal teacher scores their features, as UWAV does. Its logits are 0 where a class is as likely
    as not, which is the threshold without --calibrate and --prompts.
    """
    with exit_2_on_error(debug=options.debug):
        _check_usage(options)
        from ...batch.journal import Journal
        from ...batch.open_storage import open_storage
        from ...pseudo_labeling.prompts import VALOR, read_prompts
        from ...pseudo_labeling.review_pages import check_review

        prompts = read_prompts(options.prompts or VALOR)
        if options.teacher is not None and options.prompts is None:  # VALOR's thresholds are of CLIP and CLAP
            zeros = (0.0,) * len(prompts.labels)
            prompts = prompts.with_thresholds({"audio": zeros, "visual": zeros})
        named = collect_named_inputs(options.inputs, options)
        labels = _read_known_labels(prompts, options)
        storage = open_storage(options.output)
        from ..console import Console

        console = Console(quiet=options.quiet)
        with storage.exclusive_lock(options.shard):
            scored = [name for name, entry in Journal(storage).entries.items() if entry.outputs]
            videos, config = _select_videos(named.files, scored, labels, options)
            for note in config.notes:
                console.info(note)
            if options.review is not None:
                check_review(storage)
            inputs = replace(named, files=videos)
            with console:
                console.busy("loading networks")
                task = _make_task(config, options)
            status = run_batch(task, inputs, storage, options, console)
            if options.review is not None and not options.plans_only:
                console.info(_write_review(config.weak, videos, storage, options.output, options.review))
        return status


def _check_usage(options: PseudoLabelOptions) -> None:
    if (options.annotations is None) != options.no_weak_labels:
        raise click.UsageError("name the classes of the videos with --annotations, or say --no-weak-labels")
    is_folder = options.annotations is not None and options.annotations.is_dir()
    if options.splits and not is_folder:
        raise click.UsageError("--split goes with --annotations FOLDER")
    if options.calibrate == "dense" and not is_folder:
        raise click.UsageError("--calibrate dense needs --annotations FOLDER, with a validation split")
    if options.review is not None and options.shard is not None:
        raise click.UsageError("--review needs the labels of all inputs: leave out --shard, once all shards are done")
    if options.review is not None and "://" in options.output:
        raise click.UsageError("--review needs a folder on this machine")


@dataclass(frozen=True)
class _KnownLabels:
    """Labels of clips that exist before the teachers run.

    Attributes:
        prompts: of the classes to label.
        weak: clip -> its classes; None without --annotations.
        dense: clip -> labels per second, for --calibrate dense.
        origin: recorded in the output: where the weak labels come from.
        notes: for the user.
    """

    prompts: Prompts
    weak: WeakLabels | None = None
    dense: Mapping[str, SegmentLabels] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _read_known_labels(prompts: Prompts, options: PseudoLabelOptions) -> _KnownLabels:
    from ...pseudo_labeling.weak_labels import annotated_labels, read_table
    from ..options.user_annotations import print_notices, read_user_annotations

    path, splits = options.annotations, options.splits or ("train",)
    if path is None:
        return _KnownLabels(prompts, notes=("made without weak labels, from scores alone: expect many wrong ones",))
    if not path.is_dir():
        notices: list[str] = []
        weak = read_table(path, prompts.labels, notices)
        print_notices(notices, quiet=options.quiet)
        return _KnownLabels(prompts, weak, origin={"annotations": path.name})
    annotations = read_user_annotations(path, quiet=options.quiet)
    labels = annotations.labels
    if unknown := [label for label in labels if label not in prompts.labels]:
        raise SetupError(f"{escape(path)}: no prompt for the class {escape(unknown[0])}; add it to --prompts")
    unused = set(prompts.labels).difference(labels)
    notes = (f"{count_of(unused, 'class')} of the prompts not in {escape(path)}: ignored",) if unused else ()
    dense = {}
    if options.calibrate == "dense":
        val = annotations.split("val")
        truth = annotations.segment_labels(val, annotations.segments)
        dense = {name: truth.select(index) for index, name in enumerate(val.filenames)}
    origin = {"annotations": path.resolve().name, "splits": list(splits)}
    return _KnownLabels(prompts.select(labels), annotated_labels(annotations, splits), dense, origin, notes)


def _select_videos(
    named: Mapping[str, Path], scored: Collection[str], labels: _KnownLabels, options: PseudoLabelOptions
) -> tuple[dict[str, Path], LabelingConfig]:
    """Select the annotated videos and build the labelling configuration. scored: videos with scores in the output."""
    from ...datasets.annotation_cells import usable_clip_name
    from ...pseudo_labeling.threshold_scores import LabelingConfig

    weak, dense, notes, videos = labels.weak, labels.dense, list(labels.notes), dict(named)
    if options.teacher is not None and options.prompts is None and options.calibrate is None:
        notes.append("every threshold of the temporal teacher is 0; better ones are chosen by --calibrate dense")
    if weak is not None:
        annotated = weak.keys() | dense.keys()
        clips = _match_videos(named, annotated, scored, keep_suffix=options.keep_suffix)
        videos = {video: path for video, path in named.items() if video in clips}
        if not videos:
            raise SetupError("no video is named like a clip of the annotations")
        if left_out := named.keys() - videos:
            notes.append(f"{count_of(left_out, 'video')} not among the annotated clips: left out")
        if missing := weak.keys() - set(clips.values()):
            notes.append(f"{count_of(missing, 'annotated clip')} without a video")
        weak = {video: weak[clip] for video, clip in clips.items() if clip in weak}
        dense = {video: dense[clip] for video, clip in clips.items() if clip in dense}
        if options.calibrate == "dense" and not dense:
            raise SetupError("--calibrate dense: none of the videos is a clip of the validation split")
    annotations = options.annotations
    data_set = annotations is None or not annotations.is_dir()
    if data_set and (unusable := [name for name in videos if not usable_clip_name(name)]):
        path = escape(videos[unusable[0]])
        raise SetupError(f"{path}: a clip of a data set cannot be called {unusable[0]!r}; rename the file")
    return videos, LabelingConfig(
        prompts=labels.prompts,
        weak=weak,
        calibration=options.calibrate,
        dense=dense,
        data_set=data_set,
        in_place=annotations is not None and annotations.resolve() == Path(options.output).resolve(),
        origin=labels.origin,
        notes=tuple(notes),
    )


def _match_videos(
    named: Mapping[str, Path], annotated: Collection[str], scored: Collection[str], *, keep_suffix: bool
) -> dict[str, str]:
    """Match videos of this run and of earlier ones with clips. Clips are called by names without media suffix."""
    from ...pseudo_labeling.weak_labels import match_videos

    others = [name for name in scored if name not in named]
    if not keep_suffix:
        return match_videos(named, annotated, others)
    plain = {video: video if video in annotated else without_media_suffix(video) for video in (*named, *others)}
    videos: dict[str, str] = {}
    rivals: dict[str, str] = {}
    for video, name in plain.items():
        if videos.setdefault(name, video) != video and video in named:
            rivals[name] = video
    required = {plain[video] for video in named}
    clips = match_videos(filter(required.__contains__, videos), annotated, videos.keys() - required)
    if rival := next((name for name in rivals if name in clips), None):
        both = f"{escape(videos[rival])} and {escape(rivals[rival])}"
        raise SetupError(f"{both}: both names fit the clip {escape(clips[rival])}; name one of them alone")
    return {videos[name]: clip for name, clip in clips.items()}


def _make_task(config: LabelingConfig, options: PseudoLabelOptions) -> PseudoLabelTask:
    from ...pseudo_labeling.clap_teacher import CLAP_MODEL
    from ...pseudo_labeling.clip_teacher import CLIP_MODEL
    from ...pseudo_labeling.task import PseudoLabelTask

    return PseudoLabelTask(
        settings=read_settings("clip-clap", options),
        source=WeightSource(offline=options.offline),
        config=config,
        clip=options.clip_model or CLIP_MODEL,
        clap=options.clap_model or CLAP_MODEL,
        features=options.save_features,
        temporal="" if options.teacher is None else str(options.teacher),
    )


def _write_review(
    weak: WeakLabels | None, videos: Mapping[str, Path], storage: Storage, output: str, count: int
) -> str:
    from ...pseudo_labeling.review_pages import find_labelled, sample_labels, write_review

    clips = sample_labels(storage, weak, find_labelled(storage), videos, count)
    return f"{write_review(storage, Path(output), clips)}: {len(clips)} clips to check"
