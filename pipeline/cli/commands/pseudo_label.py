"""Command avvp pseudo-label: segment-level pseudo labels from CLIP and CLAP."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ....weights.manifest import OPEN_BUNDLE
from ....weights.source import WeightSource
from ...errors import SetupError
from ...text import count_of, escape
from ..batch_run import run_batch
from ..calibrated_run import settle_precision
from ..missing_weights import provide_weights
from ..options.batch_options import BatchOptions, collect_named_inputs, read_settings
from ..options.command import (
    EXISTING_FILE,
    EXISTING_PATH,
    argument,
    command,
    exit_2_on_error,
    given_flags,
    is_given,
    option,
)
from ..options.groups import DownloadOptions, WeightOptions
from ..options.open_options import OpenOptions

if TYPE_CHECKING:
    from ....weights.manifest import Bundle
    from ...batch.storage import Storage
    from ...pseudo_labeling.open_task import OpenLabelTask
    from ...pseudo_labeling.prompts import Prompts
    from ...pseudo_labeling.task import PseudoLabelTask
    from ...pseudo_labeling.threshold_scores import LabelingConfig
    from ...pseudo_labeling.weak_labels import WeakLabels
    from ...timeline import SegmentLabels
    from ..console import Console


@dataclass(frozen=True, kw_only=True)
class PseudoLabelOptions(BatchOptions, OpenOptions, DownloadOptions):
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
        metadata=option(
            "--save-features",
            is_flag=True,
            help="Also save the features of CLIP and CLAP; with --classes they always are.",
        )
    )
    weights: str | None = field(
        metadata=option(
            "--weights",
            metavar="NAME|FOLDER",
            show_default=OPEN_BUNDLE,
            help="With --classes, bundle of the teachers, in place of --clip-model and --clap-model.",
        )
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
        'avvp pseudo-label clips/ --no-weak-labels --classes "dog barking, applause" -o data/ --review 20',
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

    With --classes, the classes are any that you name, and --rule decides them as in avvp parse --classes. The folder
    then has the features, too: avvp train --features FOLDER --pseudo-labels FOLDER.
    """
    with exit_2_on_error(debug=options.debug):
        _check_usage(options)
        from ...batch.journal import Journal
        from ...batch.open_storage import open_storage
        from ...pseudo_labeling.review_pages import check_review

        prompts = _read_prompts(options)
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
            task = _make_task(config, options, console)
            status = run_batch(task, inputs, storage, options, console)
            if options.review is not None and not options.plans_only:
                console.info(_write_review(config.weak, videos, storage, options.output, options.review))
        return status


def _read_prompts(options: PseudoLabelOptions) -> Prompts:
    if options.classes is not None:
        from ...open_vocabulary.vocabulary import Vocabulary
        from ...pseudo_labeling.open_prompts import OpenPrompts

        bundle = _open_bundle(options)
        assert bundle.classes is not None
        return OpenPrompts.of(Vocabulary.from_dict(bundle.classes))
    from ...pseudo_labeling.prompts import VALOR, read_prompts

    prompts = read_prompts(options.prompts or VALOR)
    if options.teacher is not None and options.prompts is None:  # VALOR's thresholds are of CLIP and CLAP
        zeros = (0.0,) * len(prompts.labels)
        prompts = prompts.with_thresholds({"audio": zeros, "visual": zeros})
    return prompts


def _open_bundle(options: PseudoLabelOptions) -> Bundle:
    """Return the bundle of --weights, with the classes of --classes."""
    _, bundle = options.find_bundle(options.weights, options.source())
    return options.with_classes(bundle)


def _check_usage(options: PseudoLabelOptions) -> None:
    _check_classes(options)
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


def _check_classes(options: PseudoLabelOptions) -> None:
    """Raise click.UsageError for options that go with --classes alone, or without it."""
    if options.classes is None:
        flags = given_flags(OpenOptions, DownloadOptions, WeightOptions)
        if flags := [*flags, *(["--weights"] if is_given("weights") else [])]:
            raise click.UsageError(f"{flags[0]} goes with --classes")
        return
    if options.prompts is not None:
        raise click.UsageError("--classes and --prompts exclude each other: --classes @FILE reads sentences, too")
    if options.teacher is not None:
        raise click.UsageError("--teacher scores by --prompts: leave out --classes")
    if options.calibrate is not None:
        raise click.UsageError("--calibrate is for --prompts; avvp calibrate finds the thresholds of --classes")
    models = {"--clip-model": options.clip_model, "--clap-model": options.clap_model}
    given = [flag for flag, model in models.items() if model is not None]
    if given and options.weights is not None:
        raise click.UsageError(f"--weights has teachers of its own: leave out {' and '.join(given)}")


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
        flag = "--prompts" if options.classes is None else "--classes"
        raise SetupError(f"{escape(path)}: no prompt for the class {escape(unknown[0])}; add it to {flag}")
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
    from ...pseudo_labeling.weak_labels import match_named_videos

    weak, dense, notes, videos = labels.weak, labels.dense, list(labels.notes), dict(named)
    if options.teacher is not None and options.prompts is None and options.calibrate is None:
        notes.append("every threshold of the temporal teacher is 0; better ones are chosen by --calibrate dense")
    if weak is not None:
        annotated = weak.keys() | dense.keys()
        clips = match_named_videos(named, annotated, scored, keep_suffix=options.keep_suffix)
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


def _make_task(
    config: LabelingConfig, options: PseudoLabelOptions, console: Console
) -> PseudoLabelTask | OpenLabelTask:
    if options.classes is not None:
        return _make_open_task(config, options, console)
    with console:
        console.busy("loading networks")
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


def _make_open_task(config: LabelingConfig, options: PseudoLabelOptions, console: Console) -> OpenLabelTask:
    bundle, models = _open_bundle(options), None
    if options.clip_model is None and options.clap_model is None:
        provide_weights(bundle, options, console)
    with console:
        console.busy("loading networks")
        from ...pseudo_labeling.clap_teacher import CLAP_MODEL
        from ...pseudo_labeling.clip_teacher import CLIP_MODEL
        from ...pseudo_labeling.open_prompts import OpenPrompts
        from ...pseudo_labeling.open_task import OpenLabelTask

        if options.clip_model is not None or options.clap_model is not None:
            models = (options.clap_model or CLAP_MODEL, options.clip_model or CLIP_MODEL)
        assert isinstance(config.prompts, OpenPrompts)
        bundle = replace(
            bundle, classes=config.prompts.vocabulary.to_dict()
        )  # those of the annotations, in their order
        settings = read_settings(bundle.profile, options)
        return OpenLabelTask(
            settings=settings if models else settle_precision(bundle, settings),
            source=options.source(),
            bundle=bundle,
            config=config,
            models=models,
        )


def _write_review(
    weak: WeakLabels | None, videos: Mapping[str, Path], storage: Storage, output: str, count: int
) -> str:
    from ...pseudo_labeling.review_pages import find_labelled, sample_labels, write_review

    clips = sample_labels(storage, weak, find_labelled(storage), videos, count)
    return f"{write_review(storage, Path(output), clips)}: {len(clips)} clips to check"
