"""Count what MA and JoMoLD remove from labels whose truth is known, and compare systems that are trained on them.

    python benchmarks/denoising.py
    python benchmarks/denoising.py --train 800 --seeds 1

The data are generated, in LLP's form (`tests/support/llp_like.py`): every event is heard, seen or both, at times of its
own; the label of a video says none of this. So a label of something that is only seen is wrong for the sound, as a
person who listens would say. To some videos a class is added that is neither heard nor seen: it is wrong for both.

Networks are HAN at a small width, trained by the recipes `han`, `ma`, `ma-fixed` and `jomold` with other rates and
numbers of epochs; the last part trains with pseudo labels, with and without class balance and mixup. Differences of
scores have 95 % bootstrap intervals over the test videos, see `avvp compare`. The figures are of these data only: they
say nothing about LLP.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from avvp.models.denoising import RemovedLabels
from avvp.models.labels import LLP_LABELS
from avvp.models.losses import Objective
from avvp.pipeline.cli.main import avvp
from avvp.pipeline.comparison.bootstrap import Resampling
from avvp.pipeline.comparison.compare import Comparison, compare
from avvp.pipeline.comparison.read_systems import run_network
from avvp.pipeline.datasets.annotations import SPLIT_FILES, read_annotations
from avvp.pipeline.datasets.clips import SplitDataset, load_clips
from avvp.pipeline.datasets.loader import iterate_batches, shuffled
from avvp.pipeline.features.packed_store import open_features
from avvp.pipeline.inference.bundle import load_parser
from avvp.pipeline.training.batches.denoise import drop_labels
from avvp.pipeline.training.batches.hooks import step_context
from avvp.pipeline.training.recipe import load_recipe
from avvp.pipeline.training.stages.products import RATIOS_FILE, REMOVED_FILE, read_ratios, read_removed
from avvp.pipeline.training.stages.run_stages import STAGES_FOLDER

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.llp_like import Recipe, Truth, generate

_WIDTHS = ("model.hidden_dim=64", "model.feedforward_dim=64")
_RATES = ("training.learning_rate=2e-3", "training.batch_size=32", "training.step_epochs=20")
_BALANCE, _MIXUP = "objective.class_balance=0.5", "objective.mixup_alpha=1.7"


class Options(NamedTuple):
    """Sizes of the data and of the trainings."""

    train: int
    val: int
    test: int
    classes: int
    wrong: float  # share of the training clips that get a label of nothing
    epochs: int
    seeds: int


def make_data(folder: Path, options: Options) -> Truth:
    """Generate the data and add wrong labels to the training clips; return what is heard and seen in them."""
    counts = {"train": options.train, "val": options.val, "test": options.test}
    truth = generate(folder, Recipe(counts, labels=LLP_LABELS[: options.classes]))["train"]
    path = folder / "annotations" / SPLIT_FILES["train"]
    rng = np.random.default_rng(1)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for row in rows:
        names = row["event_labels"].split(",")
        others = [label for label in LLP_LABELS[: options.classes] if label not in names]
        if others and rng.random() < options.wrong:
            row["event_labels"] = ",".join([*names, str(rng.choice(others))])
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return truth


def train(data: Path, root: Path, recipe: str, seed: int, settings: Sequence[str]) -> Path:
    """Train a recipe as `avvp train` does; return the folder of the run."""
    changes = [part for change in (*settings, f"training.seed={seed}") for part in ("--set", change)]
    folders = {"annotations": "annotations", "features": "features", "pseudo-labels": "pseudo_labels"}
    paths = [part for flag, folder in folders.items() for part in (f"--{flag}", str(data / folder))]
    run = root / f"{recipe}-{seed}-{len(list(root.iterdir()))}"
    avvp.main(
        ["train", "--recipe", recipe, *paths, *changes, "--device", "cpu", "-q", "-o", str(run)], standalone_mode=False
    )
    return run


def count_removals(removed: RemovedLabels, clips: SplitDataset, truth: Truth) -> dict[str, tuple[int, int, int, int]]:
    """Count, for each modality, labels that are wrong and of them those removed, right ones and of them those removed.

    Labels of clips are compared with what is heard, and seen, in any second.
    """
    found = {}
    for modality, gone, occurs in zip(
        ("audio", "visual"), removed, (truth.audio.any(axis=1), truth.visual.any(axis=1)), strict=True
    ):
        labels = clips.video_labels
        wrong, right = labels & ~occurs, labels & occurs
        found[modality] = tuple(int(table.sum()) for table in (wrong, wrong & gone, right, right & gone))
    return found


def describe(name: str, counts: dict[str, tuple[int, int, int, int]]) -> None:
    """Print the counts of a system."""
    for modality, (wrong, wrong_gone, right, right_gone) in counts.items():
        removed = max(wrong_gone + right_gone, 1)
        print(
            f"{name:>9} {modality:>6}: removed {wrong_gone:,} of {wrong:,} wrong labels ({wrong_gone / wrong:.0%}) and"
            f" {right_gone:,} of {right:,} right ones ({right_gone / right:.0%});"
            f" {wrong_gone / removed:.0%} of the removed are wrong, of all labels {wrong / (wrong + right):.0%}"
        )


def removed_by_jomold(run: Path, clips: SplitDataset, seed: int, settings: Sequence[str]) -> RemovedLabels:
    """Repeat the removals of one epoch, batch by batch, with the trained parser."""
    recipe = load_recipe("jomold", [*settings, f"training.seed={seed}"])
    assert isinstance(recipe.objective, Objective)
    parser = load_parser(str(run), device="cpu").parser.train()
    ratios = read_ratios(str(next((run / STAGES_FOLDER).glob(f"*/{RATIOS_FILE}"))), parser.config.labels)
    relabel = drop_labels(ratios, recipe.training.denoise_warmup, recipe.objective)
    size, removed = recipe.training.batch_size, np.zeros((2, *clips.video_labels.shape), bool)
    order = shuffled(len(clips), seed, 1)
    steps = -(-len(clips) // size)
    for step, batch in enumerate(iterate_batches(clips, order, size)):
        with torch.random.fork_rng():
            targets = relabel(parser, batch, step_context(seed, 1, step, steps))
        rows = order[step * size : (step + 1) * size]
        for table, kept in zip(removed, (targets.audio, targets.visual), strict=True):
            assert kept is not None
            table[rows] = clips.video_labels[rows] & ~(kept.numpy() > 0.5)
    return RemovedLabels(*removed)


def compare_runs(data: Path, runs: dict[str, Path]) -> Comparison:
    """Score runs on the test clips."""
    annotations = data / "annotations"
    systems = [
        run_network(
            loaded := load_parser(str(run), device="cpu"),
            name,
            annotations=annotations,
            features=[data / "features"],
            split="test",
            thresholds=loaded.thresholds,
            progress=lambda _title: lambda _done, _total: None,
        )
        for name, run in runs.items()
    ]
    return compare(systems, read_annotations(annotations), "test", Resampling())


def print_comparison(comparison: Comparison) -> None:
    """Print the segment- and event-level Type@AV of each system, and their differences to the first."""
    for index, name in enumerate(comparison.names):
        cells = []
        for score in ("segment.type_av", "event.type_av", "mean"):
            cell = f"{score} {comparison.score(index, 0, score).value:.1f}"
            if index:
                difference = comparison.difference(index, 0, score)
                cell += f" ({difference.value:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}])"
            cells.append(cell)
        print(f"{name:>16}: {', '.join(cells)}")


def run_seed(data: Path, root: Path, truth: Truth, options: Options, seed: int) -> None:
    """Train all systems with one seed and print what they remove and score."""
    print(f"seed {seed}")
    settings = (*_WIDTHS, *_RATES, f"training.epochs={options.epochs}")
    clips = load_clips(read_annotations(data / "annotations"), "train", open_features(data / "features"))
    runs: dict[str, Path] = {"han": train(data, root, "han", seed, settings)}
    for recipe in ("ma", "ma-fixed"):
        runs[recipe] = train(data, root, recipe, seed, settings)
    removed = read_removed(
        next((runs["ma"] / STAGES_FOLDER).glob(f"*/{REMOVED_FILE}")), clips, LLP_LABELS[: options.classes]
    )
    describe("ma", count_removals(removed, clips, truth))
    runs["jomold"] = train(data, root, "jomold", seed, settings)
    describe("jomold", count_removals(removed_by_jomold(runs["jomold"], clips, seed, settings), clips, truth))
    print_comparison(compare_runs(data, runs))
    pseudo = (*settings, "training.schedule=step", "training.warmup_epochs=0")
    variants = {"pseudo labels": (), "balance": (_BALANCE,), "mixup": (_MIXUP,), "both": (_BALANCE, _MIXUP)}
    trained = {name: train(data, root, "valor", seed, (*pseudo, *more)) for name, more in variants.items()}
    print_comparison(compare_runs(data, trained))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("train", 400), ("val", 80), ("test", 200), ("classes", 8), ("epochs", 15), ("seeds", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--wrong", type=float, default=0.2, help="share of training clips with a label of nothing")
    parser.add_argument("--smoke", action="store_true", help="24 clips, 3 classes, one epoch, one seed")
    given = vars(parser.parse_args(argv))
    if given.pop("smoke"):
        given |= {"train": 24, "val": 6, "test": 8, "classes": 3, "epochs": 1, "seeds": 1}
    options = Options(**given)
    with tempfile.TemporaryDirectory() as folder:
        data, root = Path(folder) / "data", Path(folder) / "runs"
        root.mkdir()
        truth = make_data(data, options)
        for seed in range(1, options.seeds + 1):
            run_seed(data, root, truth, options, seed)


if __name__ == "__main__":
    main()
