"""Time training and scoring against plain implementations of the published programs.

    python benchmarks/training.py [--clips N] [--steps N] [--device auto|cpu|cuda]

Step: MM-Pyr + LEAP at its published size on features of LLP's shapes, batch 32, forward, loss, backward, Adam. The
plain implementation keeps what the published module does: per-frame projection before the mean, both directions of the
shared cross layer one after the other, a second whole attention call in every LEAP block, losses by BCELoss on
probabilities, a Python loop in the similarity target, three .npy files of features, two of labels and the label
embeddings read for each clip by each step, Adam with its defaults. Both start from the same parameters; without dropout
their losses must be equal. Where other programs use the same cores, run it with OMP_NUM_THREADS=1 and compare the
processor times: they do not contain what the others take.

Scoring: 1,200 clips, vectorised against the loop over clips and classes.

Memory: what reading a packed store adds to the resident memory of the process, against the size of the store.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from avvp.models import AVParser, ParserConfig, build_parser
from avvp.models.labels import LLP_LABELS
from avvp.models.loss_parts import load_loss
from avvp.models.losses import Objective, Targets, objective_terms
from avvp.pipeline.datasets.clips import SplitDataset
from avvp.pipeline.datasets.loader import iterate_batches
from avvp.pipeline.devices import resolve_device
from avvp.pipeline.features.npy_folders import PUBLISHED_SPEC, FeatureFolders
from avvp.pipeline.features.packed_store import FeatureStore
from avvp.pipeline.features.packing import pack_features
from avvp.pipeline.metrics import score
from avvp.pipeline.timeline import SegmentLabels
from avvp.pipeline.training.model_info import count_parts
from avvp.pipeline.training.recipe import load_recipe
from avvp.pipeline.training.train_parser import make_optimizer, training_step
from measure.memory import resident_bytes
from measure.options import make_parser
from measure.precisions import is_supported
from measure.timing import mean_matmul_rate, time_call, time_in_turns
from reference.scoring import score_plainly
from reference.training import EMBEDDINGS_FILE, FEATURE_FOLDERS, LABEL_FOLDERS, PlainProgram
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

SECONDS, FRAMES, EMBEDDING_DIM = 10, 8, 300
MAX_LOSS_ERROR = 1e-3  # relative; larger is a defect of one of the two
_TINY_PARSER: Mapping[str, int] = {
    "hidden_dim": 16, "feedforward_dim": 16, "heads": 2, "levels": 2, "leap_blocks": 1, "leap_heads": 2
}  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """How much is computed."""

    clips: int
    steps: int
    batch: int = 32
    scored: int = 1200  # clips
    parser: Mapping[str, int] = field(default_factory=dict)  # fields of ParserConfig; by default the published size


@dataclass(frozen=True)
class Data:
    """The same clips as files and as a packed store."""

    root: Path  # of the files
    clips: SplitDataset
    packed: SplitDataset
    store: FeatureStore  # of `packed`


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--clips", type=int, help="[default: 1000]")
    parser.add_argument("--steps", type=int, help="of each program and precision [default: 12]")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(argv)
    sizes = Sizes(8, 3, batch=4, scored=20, parser=_TINY_PARSER) if options.smoke else Sizes(1000, 12)
    sizes = Sizes(options.clips or sizes.clips, options.steps or sizes.steps, sizes.batch, sizes.scored, sizes.parser)
    device = resolve_device(options.device)
    with tempfile.TemporaryDirectory() as temporary:
        data = make_data(Path(temporary), sizes.clips)
        measure_memory(data, sizes.batch)
        error = compare_losses(data, device, sizes)
        print(f"losses of both programs over three steps differ by {error:.1e}")
        if error > MAX_LOSS_ERROR:
            sys.exit("the losses of the two programs differ")
        for precision in ("fp32", "bf16"):
            if not is_supported(precision, device):
                print(f"step, {precision}: not measured, this processor does not compute in {precision}")
                continue
            measure_steps(data, device, sizes, precision, smoke=options.smoke)
    measure_scoring(sizes.scored)


def make_data(folder: Path, count: int) -> Data:
    """Write features of LLP's shapes and labels, both random, and pack the features."""
    root, rng = folder / "features", np.random.default_rng(0)
    ids = tuple(f"clip{index:07d}" for index in range(count))
    for name, rows, width in zip(
        FEATURE_FOLDERS, (SECONDS, SECONDS * FRAMES, SECONDS), PUBLISHED_SPEC.dims, strict=True
    ):
        (root / name).mkdir(parents=True)
        for clip_id in ids:
            np.save(root / name / f"{clip_id}.npy", np.maximum(rng.standard_normal((rows, width), np.float32), 0))
    audio, visual = rng.random((2, count, SECONDS, len(LLP_LABELS))) < 0.06
    for name, table in zip(LABEL_FOLDERS, (audio, visual), strict=True):
        (root / name).mkdir()
        for clip_id, labels in zip(ids, table, strict=True):
            np.save(root / name / f"{clip_id}.npy", labels.astype(np.float32))
    torch.save(dict(zip(LLP_LABELS, make_embeddings(), strict=True)), root / EMBEDDINGS_FILE)
    pack_features(FeatureFolders(root), folder / "packed")
    store = FeatureStore(folder / "packed")
    clips, packed = (
        SplitDataset(
            split="train",
            filenames=ids,
            ids=ids,
            lengths=np.full(count, SECONDS, np.int64),
            video_labels=audio.any(1) | visual.any(1),
            features=features,
            labels=SegmentLabels(audio, visual),
        )
        for features in (FeatureFolders(root), store)
    )
    return Data(root, clips, packed, store)


def make_embeddings() -> Tensor:
    """Return stand-ins for the published label embeddings, (C, W)."""
    return torch.randn(len(LLP_LABELS), EMBEDDING_DIM, generator=torch.Generator().manual_seed(2))


def build_seeded_parser(device: torch.device, sizes: Sizes, **changes: float) -> AVParser:
    """Build the parser with the same parameters each time, in training mode."""
    torch.manual_seed(1)
    config = ParserConfig(labels=LLP_LABELS, **{**sizes.parser, **changes})  # pyright: ignore[reportArgumentType]
    return build_parser(config, make_embeddings()).to(device).train()


def measure_memory(data: Data, batch_size: int) -> None:
    """Read a quarter of the store, then all of it, without a model: its pages must not accumulate."""
    size = (data.store.root / "features.npy").stat().st_size
    for part in (4, 1):
        before = peak = resident_bytes()
        order = np.random.default_rng(0).permutation(len(data.packed))[::part]
        for _ in iterate_batches(data.packed, order, batch_size):
            peak = max(peak, resident_bytes())
        print(f"memory: reading {size / part / 2**20:.0f} MiB adds {(peak - before) / 2**20:.0f} MiB to the process")


def compare_losses(data: Data, device: torch.device, sizes: Sizes) -> float:
    """Return the largest relative difference of the six losses over three steps without dropout."""
    plain = PlainProgram(
        build_seeded_parser(device, sizes, dropout=0.0, attention_dropout=0.0), data.root, data.clips.ids, device
    )
    ours = build_seeded_parser(device, sizes, dropout=0.0, attention_dropout=0.0)
    optimizer = torch.optim.Adam(ours.parameters(), lr=1e-4, fused=True)
    largest = 0.0
    for step in range(3):
        indices = np.arange(step * sizes.batch, (step + 1) * sizes.batch) % len(data.clips)
        expected = plain.step(indices)
        batch = data.clips.batch(indices).to(device)
        output = ours(*batch.features)
        assert isinstance(batch.targets, Targets)
        terms = torch.stack(list(objective_terms(output, batch.targets, Objective()).values()))
        largest = max(largest, ((terms.detach() - expected).abs() / expected).max().item())
        optimizer.zero_grad()
        terms.sum().backward()
        optimizer.step()
    return largest


def measure_steps(data: Data, device: torch.device, sizes: Sizes, precision: str, *, smoke: bool) -> None:
    """Print the median step of both programs, ours in this precision, and our part of the matrix-product rate.

    The ratio of the processor times holds for work on the CPU, with one thread.
    """
    recipe = load_recipe("leap-published", [f"training.precision={precision}"])
    assert isinstance(recipe.objective, Objective)
    loss, _ = load_loss(recipe.objective)
    parser = build_seeded_parser(device, sizes)
    optimizer, scaler = make_optimizer(recipe.training, parser), GradScaler(device.type, enabled=precision == "fp16")
    plain = PlainProgram(build_seeded_parser(device, sizes), data.root, data.clips.ids, device)
    order = np.arange(sizes.steps * sizes.batch) % len(data.clips)
    batches = iterate_batches(data.packed, order, sizes.batch, pin=device.type == "cuda")
    calls = {
        "plain": lambda step: plain.step(order[step * sizes.batch : (step + 1) * sizes.batch]),
        "ours": lambda _: training_step(parser, next(batches).to(device), recipe, optimizer, scaler, loss=loss),
    }
    processor: dict[str, list[float]] = {name: [] for name in calls}

    def timed(name: str, step: int) -> None:
        before = time.process_time()
        calls[name](step)
        processor[name].append(time.process_time() - before)

    times = time_in_turns({name: partial(timed, name) for name in calls}, sizes.steps, device)
    work = {name: float(np.median(values[1:])) for name, values in processor.items()}
    median = {name: float(np.median(values[1:])) for name, values in times.items()}
    multiply_adds = sum(part.multiply_adds for part in count_parts(build_seeded_parser(torch.device("cpu"), sizes)))
    flop = 3 * 2 * multiply_adds * sizes.batch  # backward costs twice forward
    rate = mean_matmul_rate(device, torch.bfloat16 if precision == "bf16" else torch.float32, smoke=smoke)
    print(
        f"step, {precision}: plain {sizes.batch / median['plain']:.1f} clips/s, ours"
        f" {sizes.batch / median['ours']:.1f} clips/s: x{median['plain'] / median['ours']:.2f}"
        f" (processor time x{work['plain'] / work['ours']:.2f}); ours reaches"
        f" {flop / median['ours'] / rate:.2g} of the rate of matrix products ({rate / 1e9:.0f} GFLOP/s);"
        f" 10,000 clips in {10_000 / sizes.batch * median['ours']:.1f} s"
    )


def measure_scoring(count: int) -> None:
    """Print the times of both scorers; exit if their scores differ."""
    tables = np.random.default_rng(0).random((4, count, SECONDS, len(LLP_LABELS))) < 0.06
    expected: list[float] = []
    plain = time_call(lambda: expected.extend(score_plainly(*tables)))
    ours = min(time_call(lambda: score(*tables)) for _ in range(5))
    scores = score(*tables)
    values = [value for level in (scores.segment, scores.event) for value in vars(level).values()]
    if not np.allclose(values, expected, atol=1e-9):
        sys.exit("the scores of the two programs differ")
    print(f"scoring {count:,} clips: loop {plain:.2f} s, ours {1000 * ours:.1f} ms: x{plain / ours:.0f}, equal to 1e-9")


if __name__ == "__main__":
    main()
