"""`avvp pseudo-label`: labels to train on, by teachers that have seen and heard more."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...weights.source import WeightSource
from ..errors import SetupError
from ..text import count_of, escape
from .batch_options import DEFAULT_NETWORK_OPTIONS, collect_named_inputs, engine_options, read_settings
from .batch_run import run_batch
from .options import debug_option, device_option, exit_2_on_error, offline_option, quiet_option, threads_option

if TYPE_CHECKING:
    from ..batch.storage import Storage
    from ..pseudo_labeling.prompts import Prompts
    from ..pseudo_labeling.task import PseudoLabelTask
    from ..pseudo_labeling.threshold_scores import LabelingConfig
    from ..pseudo_labeling.weak_labels import WeakLabels
    from ..timeline import SegmentLabels


@click.command(
    "pseudo-label",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  avvp pseudo-label clips/ --annotations llp/ -o data/
  avvp pseudo-label clips/ --annotations labels.csv --prompts mine.toml --calibrate distribution -o data/
  avvp pseudo-label clips/ --no-weak-labels -o data/ --review 20

The same command again continues where it stopped; other thresholds or weak labels cost seconds, not hours. Exit
status: 0 all well; 1 some input failed (named at the end); 2 wrong usage or a run that cannot start.""",
)
@click.argument("inputs", nargs=-1, metavar="VIDEOS...")
@click.option(
    "--annotations",
    type=click.Path(exists=True, path_type=Path),
    help="Which classes each video has: a table of filename and event_labels, or a folder in the form of LLP.",
)
@click.option("--no-weak-labels", is_flag=True, help="Label from scores alone; many labels will be wrong.")
@click.option(
    "--split",
    "splits",
    multiple=True,
    type=click.Choice(["train", "val", "test"]),
    help="Of the folder; by default train alone. Labels of the others are made with what they are scored by.",
)
@click.option("-o", "--output", required=True, metavar="FOLDER", help="For scores and labels: a folder, or an address.")
@click.option(
    "--prompts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file with the sentences and thresholds of your classes; by default VALOR's for LLP.",
)
@click.option(
    "--calibrate",
    type=click.Choice(["dense", "distribution"]),
    help="Choose thresholds anew: by the validation split's labels by second, or by how the scores are spread.",
)
@click.option("--save-features", is_flag=True, help="Keep the teachers' features, too.")
@click.option("--clip-model", metavar="NAME|FOLDER", help="Instead of openai/clip-vit-large-patch14.")
@click.option("--clap-model", metavar="NAME|FOLDER|FILE.pt", help="Instead of LAION's 630k-fusion-best.pt.")
@click.option("--review", type=click.IntRange(1), metavar="N", help="Pages of so many clips, to look at and correct.")
@click.option("--recursive", is_flag=True, help="Also look in the folders below a folder.")
@engine_options
@device_option
@threads_option
@offline_option
@quiet_option
@debug_option
def pseudo_label(inputs: tuple[str, ...], **options: Any) -> int:
    """Make segment-level pseudo labels of VIDEOS with CLIP on frames and CLAP on sound, as VALOR does.

    A class is on in a second where its logit exceeds its threshold and the video has the class. avvp train
    --pseudo-labels takes the folder. Needs the extra [pseudo].
    """
    with exit_2_on_error(debug=options["debug"]):
        _check_usage(options)
        from ..batch.journal import Journal
        from ..batch.open_storage import open_storage
        from ..pseudo_labeling.prompts import VALOR, read_prompts
        from ..pseudo_labeling.review_pages import check_review

        prompts = read_prompts(options["prompts"] or VALOR)
        named = collect_named_inputs(inputs, options)
        known = _read_known(prompts, options)
        storage = open_storage(options["output"])
        from .console import Console

        console = Console(quiet=options["quiet"], verbose=False)
        with storage.exclusive_lock():
            earlier = [name for name, record in Journal(storage).records.items() if record.outputs]
            named, rules = _choose(named, earlier, known, options)
            for note in rules.notes:
                console.say(note)
            if options["review"] is not None:
                check_review(storage)
            task = _task(rules, options)
            status = run_batch(task, named, storage, options, console)
            if options["review"] is not None and not options["dry_run"]:
                console.say(_review(rules.weak, named, storage, options))
        return status


def _check_usage(options: Mapping[str, Any]) -> None:
    if (options["annotations"] is None) != options["no_weak_labels"]:
        raise click.UsageError("name the classes of the videos with --annotations, or say --no-weak-labels")
    folder = options["annotations"] is not None and options["annotations"].is_dir()
    if options["splits"] and not folder:
        raise click.UsageError("--split goes with --annotations FOLDER")
    if options["calibrate"] == "dense" and not folder:
        raise click.UsageError("--calibrate dense needs --annotations FOLDER, with a validation split")
    if options["review"] is not None and "://" in options["output"]:
        raise click.UsageError("--review needs a folder on this machine")


@dataclass(frozen=True)
class _Known:
    """What is known of clips before the teachers are asked: their classes (None: of none), some seconds."""

    prompts: Prompts
    weak: WeakLabels | None = None
    dense: Mapping[str, SegmentLabels] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _read_known(prompts: Prompts, options: Mapping[str, Any]) -> _Known:
    from ..datasets.annotations import read_annotations
    from ..pseudo_labeling.weak_labels import annotated_labels, read_table

    given, splits = options["annotations"], options["splits"] or ("train",)
    if given is None:
        return _Known(prompts, notes=("made without weak labels, from scores alone: expect many wrong ones",))
    if not given.is_dir():
        return _Known(prompts, read_table(given, prompts.labels), origin={"annotations": given.name})
    annotations = read_annotations(given)
    labels = annotations.labels
    if unknown := [label for label in labels if label not in prompts.labels]:
        raise SetupError(f"{escape(given)}: nothing is asked of the class {escape(unknown[0])}; see --prompts")
    left = set(prompts.labels).difference(labels)
    notes = (f"{count_of(left, 'class')} of the prompts not in {escape(given)}: not asked for",) if left else ()
    dense = {}
    if options["calibrate"] == "dense":
        val = annotations.split("val")
        truth = annotations.segment_labels(val, annotations.segments)
        dense = {name: truth.select(index) for index, name in enumerate(val.filenames)}
    origin = {"annotations": given.resolve().name, "splits": list(splits)}
    return _Known(prompts.of(labels), annotated_labels(annotations, splits), dense, origin, notes)


def _choose(
    named: Mapping[str, Path], earlier: Collection[str], known: _Known, options: Mapping[str, Any]
) -> tuple[dict[str, Path], LabelingConfig]:
    """The videos that labels are wanted of, and how those are made. earlier: videos that have scores in the output."""
    from ..datasets.annotations import usable_clip_name
    from ..pseudo_labeling.threshold_scores import LabelingConfig
    from ..pseudo_labeling.weak_labels import match_videos

    weak, dense, notes = known.weak, known.dense, list(known.notes)
    if weak is not None:
        asked = weak.keys() | dense.keys()
        clips = match_videos(named, asked, [name for name in earlier if name not in named])
        wanted = {video: path for video, path in named.items() if video in clips}
        if not wanted:
            raise SetupError("no video is named like a clip of the annotations")
        if left := named.keys() - wanted:
            notes.append(f"{count_of(left, 'video')} not among the annotated clips that are asked for: left out")
        if missing := weak.keys() - set(clips.values()):
            notes.append(f"{count_of(missing, 'annotated clip')} without a video")
        weak = {video: weak[clip] for video, clip in clips.items() if clip in weak}
        dense = {video: dense[clip] for video, clip in clips.items() if clip in dense}
        if options["calibrate"] == "dense" and not dense:
            raise SetupError("--calibrate dense: none of the videos is a clip of the validation split")
        named = wanted
    given = options["annotations"]
    data_set = given is None or not given.is_dir()
    if data_set and (wrong := [name for name in named if not usable_clip_name(name)]):
        where = escape(named[wrong[0]])
        raise SetupError(f"{where}: a clip of a data set cannot be called {wrong[0]!r}; rename the file")
    return dict(named), LabelingConfig(
        prompts=known.prompts, weak=weak, calibration=options["calibrate"], dense=dense, data_set=data_set,
        in_place=given is not None and given.resolve() == Path(options["output"]).resolve(),
        origin=known.origin, notes=tuple(notes),
    )  # fmt: skip


def _task(rules: LabelingConfig, options: Mapping[str, Any]) -> PseudoLabelTask:
    from ..pseudo_labeling.task import PseudoLabelTask
    from ..pseudo_labeling.teachers import CLAP_MODEL, CLIP_MODEL

    return PseudoLabelTask(
        settings=read_settings("llp", {**DEFAULT_NETWORK_OPTIONS, **options}),
        source=WeightSource(offline=options["offline"]),
        rules=rules,
        clip=options["clip_model"] or CLIP_MODEL,
        clap=options["clap_model"] or CLAP_MODEL,
        features=options["save_features"],
    )


def _review(weak: WeakLabels | None, named: Mapping[str, Path], storage: Storage, options: Mapping[str, Any]) -> str:
    from ..pseudo_labeling.review_pages import write_review
    from ..pseudo_labeling.write_labels import find_labelled, sample_labels

    clips = sample_labels(storage, weak, find_labelled(storage), named, options["review"])
    return f"{write_review(storage, Path(options['output']), clips)}: {len(clips)} clips to look at"
