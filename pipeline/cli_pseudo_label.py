"""`avvp pseudo-label`: labels to train on, by teachers that have seen and heard more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .cli_batch import batch_options, name_all, run_batch
from .cli_options import debug_option, device_option, offline_option, quiet_option, starting, threads_option
from .errors import SetupError, printable

if TYPE_CHECKING:
    from .pseudo.labelling import PseudoLabelTask
    from .pseudo.making import DenseTruth, LabelRules
    from .pseudo.prompts import Prompts
    from .pseudo.weak_labels import WeakLabels
    from .storage import Storage


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
@batch_options
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
    with starting(debug=options["debug"]):
        _check_usage(options)
        from .pseudo.making import LabelRules  # noqa: PLC0415
        from .pseudo.prompts import VALOR, read_prompts  # noqa: PLC0415
        from .storage import open_storage  # noqa: PLC0415

        prompts = read_prompts(options["prompts"] or VALOR)
        named = name_all(inputs, options)
        weak, dense = _read_labels(prompts, options)
        named, weak, dense, notes = _choose(named, weak, dense)
        storage = open_storage(options["output"])
        from .console import Messages  # noqa: PLC0415 - from here on, imports take seconds

        messages = Messages(quiet=options["quiet"], verbose=False)
        if weak is None:
            notes.append("made without weak labels, from scores alone: expect many wrong ones")
        for note in notes:
            messages.say(note)
        table = options["annotations"] is None or not options["annotations"].is_dir()
        rules = LabelRules(
            prompts=prompts,
            weak=weak,
            calibration=options["calibrate"],
            dense=dense,
            notes=tuple(notes),
            data_set=table,
        )
        task = _task(rules, options)
        with storage.alone():
            status = run_batch(task, named, storage, options, messages)
            if options["review"] is not None and not options["dry_run"]:
                messages.say(_review(weak, named, storage, options))
        return status


def _check_usage(options: Mapping[str, Any]) -> None:
    if (options["annotations"] is None) != options["no_weak_labels"]:
        raise click.UsageError("name the classes of the videos with --annotations, or say --no-weak-labels")
    folder = options["annotations"] is not None and options["annotations"].is_dir()
    if options["splits"] and not folder:
        raise click.UsageError("--split goes with --annotations FOLDER")
    if options["calibrate"] == "dense" and not folder:
        raise click.UsageError("--calibrate dense needs --annotations FOLDER, with a validation split")
    if options["decoder"] == "decord":
        raise click.UsageError("the teachers' pictures are made by ffmpeg: leave out --decoder decord")
    if options["compile"]:
        raise click.UsageError("--compile is for the extractors")
    if options["review"] is not None and "://" in options["output"]:
        raise click.UsageError("--review needs a folder on this machine")


def _read_labels(prompts: Prompts, options: Mapping[str, Any]) -> tuple[WeakLabels | None, dict[str, DenseTruth]]:
    from .annotations import read_annotations  # noqa: PLC0415
    from .pseudo.making import DenseTruth  # noqa: PLC0415
    from .pseudo.weak_labels import read_weak_labels  # noqa: PLC0415

    if options["annotations"] is None:
        return None, {}
    weak = read_weak_labels(options["annotations"], prompts.labels, options["splits"] or ("train",))
    if options["calibrate"] != "dense":
        return weak, {}
    annotations = read_annotations(options["annotations"])
    val, length = annotations.split("val"), annotations.segments
    if annotations.labels != prompts.labels:
        raise SetupError("--calibrate dense: the annotations and the prompts must have the same classes, in one order")
    tables = (annotations.dense(val, modality, length) for modality in ("audio", "visual"))
    dense = zip(val.filenames, *tables, strict=True)
    return weak, {name: DenseTruth(heard, seen) for name, heard, seen in dense}


def _choose(
    named: Mapping[str, Path], weak: WeakLabels | None, dense: Mapping[str, DenseTruth]
) -> tuple[dict[str, Path], WeakLabels | None, dict[str, DenseTruth], list[str]]:
    """The videos that labels are wanted of, what is known of each, and what is to be said of the others."""
    from .pseudo.weak_labels import match_videos  # noqa: PLC0415

    if weak is None:
        return dict(named), None, {}, []
    clips = match_videos(named, weak.keys() | dense.keys())
    if not clips:
        raise SetupError("no video is named like a clip of the annotations")
    notes = []
    if left := len(named) - len(clips):
        notes.append(f"{left} videos are not among the annotated clips that are asked for: left out")
    if missing := sorted(weak.keys() - set(clips.values())):
        notes.append(f"{len(missing)} annotated clips have no video ({printable(missing[0])}, ...)")
    return (
        {video: named[video] for video in clips},
        {video: weak[clip] for video, clip in clips.items() if clip in weak},
        {video: dense[clip] for video, clip in clips.items() if clip in dense},
        notes,
    )


def _task(rules: LabelRules, options: Mapping[str, Any]) -> PseudoLabelTask:
    from .cli_batch import read_settings  # noqa: PLC0415
    from .pseudo.labelling import PseudoLabelTask  # noqa: PLC0415
    from .pseudo.teachers import CLAP_MODEL, CLIP_MODEL  # noqa: PLC0415

    settings = read_settings("llp", options)
    return PseudoLabelTask(
        settings=replace(settings, decoding=replace(settings.decoding, inputs="teachers")),
        offline=options["offline"],
        rules=rules,
        clip=options["clip_model"] or CLIP_MODEL,
        clap=options["clap_model"] or CLAP_MODEL,
        features=options["save_features"],
    )


def _review(weak: WeakLabels | None, named: Mapping[str, Path], storage: Storage, options: Mapping[str, Any]) -> str:
    from .pseudo.making import find_labelled, sample_labels  # noqa: PLC0415
    from .pseudo.review import write_review  # noqa: PLC0415

    folder = Path(options["output"]) / "review"
    clips = sample_labels(storage, weak, find_labelled(storage), named, options["review"])
    write_review(folder, clips)
    return f"{folder / 'index.html'}: {len(clips)} clips to look at"
