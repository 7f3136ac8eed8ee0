"""Training and scoring, ours against plain renditions of the published programs, in one run on one machine.

    python benchmarks/training.py [--clips N] [--steps N] [--device auto|cpu|cuda]

Step: MM-Pyr + LEAP at its published size on LLP-shaped features, batch 32, forward, loss, backward, Adam. The plain
rendition keeps what the published module does: per-frame projection before the mean, both directions of the shared
cross layer one after the other, a second whole attention call in every LEAP block, losses by BCELoss on probabilities,
a Python loop in the similarity target, three .npy files of features, two of labels and the label embeddings read for
each clip by each step, Adam as it comes. Both start
from the same parameters; without dropout their losses must be equal.

Scoring: 1,200 clips, vectorised against the loop over clips and classes.

Memory: what training from a packed store adds to the resident memory of the process, against the size of the store.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from avvp.models import AVParser, ParserConfig, build_parser
from avvp.models.labels import LLP_LABELS
from avvp.models.layers import Dropout
from avvp.models.leap import ModalityDecoder
from avvp.models.losses import Objective, Targets, objective_terms
from avvp.models.mmpyr import MMPyramid, PyramidLevel, TemporalConv
from avvp.pipeline.datasets.clips import SplitDataset
from avvp.pipeline.datasets.loader import iterate_batches
from avvp.pipeline.devices import resolve_device
from avvp.pipeline.features.npy_folders import PUBLISHED_SPEC, FeatureFolders
from avvp.pipeline.features.packed_store import FeatureStore, pack_features
from avvp.pipeline.metrics import score
from avvp.pipeline.segments import runs
from avvp.pipeline.training.matmul_rate import matmul_rate
from avvp.pipeline.training.model_info import count_parts
from avvp.pipeline.training.recipe import load_recipe
from avvp.pipeline.training.train_parser import make_optimizer, training_step
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn import functional as F

BATCH, SECONDS, FRAMES = 32, 10, 8
FOLDERS = ("vggish", "res152", "r2plus1d_18")
LABELS = ("heard", "seen")
EMBEDDINGS = "embeddings.pt"


# --- the plain rendition -------------------------------------------------------------------------------------------


class PlainConv(nn.Module):
    """Convolutions along time as torch has them, from the parameters of ours."""

    def __init__(self, ours: TemporalConv) -> None:
        super().__init__()
        dim, step = ours.point.out_features, ours.dilation
        self.wide = nn.Conv1d(dim, dim, 3, padding=step, dilation=step)
        self.point = nn.Conv1d(dim, dim, 1)
        with torch.no_grad():
            self.wide.weight.copy_(ours.wide.weight.unflatten(1, (3, dim)).permute(0, 2, 1))
            self.point.weight.copy_(ours.point.weight.unsqueeze(-1))
            self.wide.bias.copy_(ours.wide.bias)
            self.point.bias.copy_(ours.point.bias)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.transpose(1, 2)
        return F.relu(channels + self.point(F.relu(self.wide(channels)))).transpose(1, 2)


def make_plain(parser: AVParser) -> AVParser:
    """The same parameters in torch's own modules."""
    for module in list(parser.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, TemporalConv):
                setattr(module, name, PlainConv(child))
            elif isinstance(child, Dropout):
                setattr(module, name, nn.Dropout(child.rate))
    return parser


def plain_attention(layer: nn.Module, query: Tensor, memory: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scores, softmax and product written out; the mean of the scores over the heads as the second result."""
    mha = layer.attention
    split = lambda x: x.unflatten(-1, (mha.heads, -1)).transpose(1, 2)  # noqa: E731
    q, k, v = split(mha.query(query)), split(mha.key(memory)), split(mha.value(memory))
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    masked = scores if mask is None else scores.masked_fill(~mask, -1e9)
    attended = F.dropout(masked.softmax(-1), mha.dropout, mha.training) @ v
    return mha.output(attended.transpose(1, 2).contiguous().flatten(2)), scores.mean(1)


def plain_layer(layer: nn.Module, query: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
    attended, _ = plain_attention(layer, layer.attention_norm(query), memory, mask)
    x = query + layer.dropout(attended)
    return x + layer.dropout(layer.feedforward(layer.feedforward_norm(x)))


def plain_level(level: PyramidLevel, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
    index = torch.arange(audio.shape[1], device=audio.device)
    mask = (index[:, None] - index[None, :]).abs() <= level.reach
    audio_cross = plain_layer(level.cross, audio, visual, mask)
    visual_cross = plain_layer(level.cross, visual, audio, mask)
    heard = level.audio_gate(plain_layer(level.audio_self, audio, audio, mask), audio_cross)
    seen = level.visual_gate(plain_layer(level.visual_self, visual, visual, mask), visual_cross)
    return level.audio_conv(heard), level.visual_conv(seen)


def plain_encoder(encoder: MMPyramid, audio: Tensor, visual: Tensor) -> list[Tensor]:
    levels: list[list[Tensor]] = [[], []]
    for level in encoder.levels:
        audio, visual = plain_level(level, audio, visual)
        levels[0].append(audio)
        levels[1].append(visual)
    fused = []
    for fusion, streams in zip((encoder.audio_fusion, encoder.visual_fusion), levels, strict=True):
        flat = torch.stack(streams, dim=2).flatten(0, 1)
        mixed = plain_layer(fusion.interaction, flat, flat)
        fused.append((torch.sigmoid(fusion.select(mixed)) * mixed).sum(1).unflatten(0, audio.shape[:2]))
    return fused


def plain_decoder(decoder: ModalityDecoder, labels: Tensor, segments: Tensor) -> tuple[Tensor, Tensor]:
    logits = torch.empty(0)
    for block in decoder.blocks:
        attended, _ = plain_attention(block, block.attention_norm(labels), segments, None)
        updated = labels + block.dropout(attended)
        _, logits = plain_attention(block, updated, segments, None)  # the whole call again, for its scores
        labels = updated + block.dropout(block.feedforward(block.feedforward_norm(updated)))
    return logits.transpose(1, 2).sigmoid(), decoder.video_head(labels).squeeze(-1).sigmoid()


def plain_similarity(audio: Tensor, visual: Tensor, heard: Tensor, seen: Tensor) -> Tensor:
    counts_a, counts_v = heard.sum(-1).amax(-1), seen.sum(-1).amax(-1)
    most = torch.zeros_like(counts_a)
    for clip in range(len(most)):
        most[clip] = counts_a[clip] if counts_a[clip] >= counts_v[clip] else counts_v[clip]
        if most[clip] == 0:
            most[clip] += 1e-8
    share = torch.bmm(heard, seen.permute(0, 2, 1)) / most[:, None, None]
    wanted = torch.sigmoid(torch.log(share)) + 0.01
    found = torch.bmm(F.normalize(audio, dim=-1), F.normalize(visual, dim=-1).permute(0, 2, 1))
    return nn.MSELoss()(F.relu(found), wanted)


def plain_losses(parser: AVParser, streams: list[Tensor], wanted: tuple[Tensor, Tensor], vectors: Tensor) -> Tensor:
    (audio, frames, clips), (heard, seen) = streams, wanted
    stem, decoder = parser.stem, parser.decoder
    per_second = F.avg_pool2d(stem.visual_2d(frames).permute(0, 2, 1).unsqueeze(-1), (FRAMES, 1)).squeeze(-1)
    visual = stem.fusion(torch.cat([per_second.permute(0, 2, 1), stem.visual_3d(clips)], dim=-1))
    audio, visual = plain_encoder(parser.encoder, stem.audio(audio), visual)
    labels = decoder.label_projection(vectors)
    audio_segments, audio_video = plain_decoder(decoder.audio, labels, audio)
    visual_segments, visual_video = plain_decoder(decoder.visual, labels, visual)
    union = ((audio_video >= 0.5) | (visual_video >= 0.5)).float()
    clamp = lambda probs: probs.clamp(1e-7, 1 - 1e-7)  # noqa: E731
    criterion = nn.BCELoss()
    ya, yv = heard.amax(1), seen.amax(1)
    return torch.stack([
        criterion(clamp(audio_video), ya),
        criterion(clamp(visual_video), yv),
        criterion(clamp(union), torch.maximum(ya, yv)),
        criterion(clamp(visual_segments), seen),
        criterion(clamp(audio_segments), heard),
        plain_similarity(audio, visual, heard, seen),
    ])  # fmt: skip


class PlainProgram:
    """The published program's step: files, module, losses, Adam. Its unused templates weigh on the optimizer's list."""

    def __init__(self, parser: AVParser, clips: SplitDataset, device: torch.device) -> None:
        assert isinstance(clips.features, FeatureFolders)
        self.parser, self.clips, self.root, self.device = (
            make_plain(parser).to(device),
            clips,
            clips.features.root,
            device,
        )
        templates = [nn.Parameter(torch.zeros(4_749_312, device=device))]
        self.optimizer = torch.optim.Adam([*self.parser.parameters(), *templates], lr=1e-4)

    def load(self, chosen: np.ndarray) -> list[Tensor]:
        """Clip by clip, as the published data set class does: features, pseudo labels, label embeddings from files."""
        samples = []
        for index in chosen:
            name = f"{self.clips.ids[index]}.npy"
            arrays = [np.load(self.root / folder / name) for folder in (*FOLDERS, *LABELS)]
            vectors = torch.load(self.root / EMBEDDINGS, weights_only=True).values()
            arrays.append(np.stack([vector.numpy() for vector in vectors]))
            samples.append([torch.from_numpy(array) for array in arrays])
        return [torch.stack(stream).to(self.device) for stream in zip(*samples, strict=True)]

    def step(self, chosen: np.ndarray) -> Tensor:
        *streams, heard, seen, vectors = self.load(chosen)
        self.optimizer.zero_grad()
        losses = plain_losses(self.parser, streams, (heard, seen), vectors)
        losses.sum().backward()
        self.optimizer.step()
        return losses.detach()


def plain_score(four: list[np.ndarray]) -> list[float]:
    """The scorer's loop over clips and classes: segments and events, ten means."""
    sums = np.zeros((2, 4))
    for clip in range(len(four[0])):
        pa, pv, ta, tv = (part[clip] for part in four)
        pairs = [(pa, ta), (pv, tv), (pa & pv, ta & tv)]
        for level, count in enumerate((plain_segments, plain_events)):
            counts = [[count(p[:, c], t[:, c]) for c in range(p.shape[1])] for p, t in pairs]
            pooled = [
                tuple(a + v for a, v in zip(*both, strict=True)) for both in zip(counts[0], counts[1], strict=True)
            ]
            for place, classes in enumerate((*counts, pooled)):
                own = [2 * h / (2 * h + s + m) for h, s, m in classes if h + s + m]
                sums[level, place] += sum(own) / len(own) if own else 1.0
    means = 100 * sums / len(four[0])
    return [value for row in means for value in (*row[:3], row[:3].mean(), row[3])]


def plain_segments(pred: np.ndarray, true: np.ndarray) -> tuple[int, int, int]:
    return int((pred & true).sum()), int((pred & ~true).sum()), int((~pred & true).sum())


def plain_events(pred: np.ndarray, true: np.ndarray) -> tuple[int, int, int]:
    said, there = runs(pred), runs(true)

    def matched(one: tuple[int, int], others: list[tuple[int, int]]) -> bool:
        for other in others:
            shared = max(0, min(one[1], other[1]) - max(one[0], other[0]))
            if shared >= 0.5 * (one[1] - one[0] + other[1] - other[0] - shared):
                return True
        return False

    hits = sum(matched(event, there) for event in said)
    return hits, len(said) - hits, sum(not matched(event, said) for event in there)


# --- measuring -----------------------------------------------------------------------------------------------------


def make_data(root: Path, count: int) -> SplitDataset:
    """LLP-shaped features of random numbers, and labels."""
    rng = np.random.default_rng(0)
    ids = tuple(f"clip{index:07d}" for index in range(count))
    for name, rows, width in zip(FOLDERS, (SECONDS, SECONDS * FRAMES, SECONDS), PUBLISHED_SPEC.dims, strict=True):
        (root / name).mkdir(parents=True)
        for clip_id in ids:
            np.save(root / name / f"{clip_id}.npy", np.maximum(rng.standard_normal((rows, width), np.float32), 0))
    heard, seen = rng.random((2, count, SECONDS, len(LLP_LABELS))) < 0.06
    for name, table in zip(LABELS, (heard, seen), strict=True):
        (root / name).mkdir()
        for clip_id, labels in zip(ids, table, strict=True):
            np.save(root / name / f"{clip_id}.npy", labels.astype(np.float32))
    torch.save(dict(zip(LLP_LABELS, label_vectors(), strict=True)), root / EMBEDDINGS)
    lengths = np.full(count, SECONDS, np.int64)
    return SplitDataset("train", ids, ids, lengths, heard.any(1) | seen.any(1), FeatureFolders(root), heard, seen)


def make_parser(device: torch.device, **changes: float) -> AVParser:
    torch.manual_seed(1)
    config = ParserConfig(labels=LLP_LABELS, **changes)  # pyright: ignore[reportArgumentType]
    return build_parser(config, label_vectors()).to(device).train()


def label_vectors() -> Tensor:
    """(C, 300): stand-ins for the published label embeddings."""
    return torch.randn(len(LLP_LABELS), 300, generator=torch.Generator().manual_seed(2))


def timed(step: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def resident() -> int:
    """Bytes of this process that are in memory."""
    fields = Path("/proc/self/status").read_text().split()
    return int(fields[fields.index("VmRSS:") + 1]) * 1024


def check_equal_losses(clips: SplitDataset, device: torch.device) -> float:
    """Largest relative difference of the six losses over three steps, without dropout."""
    still = {"dropout": 0.0, "attention_dropout": 0.0}
    plain = PlainProgram(make_parser(device, **still), clips, device)
    ours = make_parser(device, **still)
    optimizer = torch.optim.Adam(ours.parameters(), lr=1e-4, fused=True)
    worst = 0.0
    for step in range(3):
        chosen = np.arange(step * BATCH, (step + 1) * BATCH) % len(clips)
        expected = plain.step(chosen)
        batch = clips.batch(chosen).to(device)
        targets = Targets(*batch.targets)
        terms = torch.stack(list(objective_terms(ours(*batch[:3]), targets, Objective()).values()))
        worst = max(worst, ((terms.detach() - expected).abs() / expected).max().item())
        optimizer.zero_grad()
        terms.sum().backward()
        optimizer.step()
    return worst


def measure_steps(clips: SplitDataset, packed: SplitDataset, device: torch.device, steps: int, precision: str) -> None:
    recipe = load_recipe("leap-published", [f"training.precision={precision}"])
    parser = make_parser(device)
    optimizer, scaler = make_optimizer(recipe.training, parser), GradScaler(device.type, enabled=precision == "fp16")
    plain = PlainProgram(make_parser(device), clips, device)
    order = np.arange(steps * BATCH) % len(clips)
    ahead = iterate_batches(packed, order, BATCH, pin=device.type == "cuda")
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    for step in range(steps):  # taking turns, so that a busy machine is busy for both
        chosen = order[step * BATCH : (step + 1) * BATCH]
        times["plain"].append(timed(lambda chosen=chosen: plain.step(chosen), device))
        times["ours"].append(
            timed(lambda: training_step(parser, next(ahead).to(device), recipe, optimizer, scaler), device)
        )
    best = {name: float(np.median(values[1:])) for name, values in times.items()}
    flops = 3 * 2 * sum(part.multiply_adds for part in count_parts(make_parser(torch.device("cpu")))) * BATCH
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    peak = matmul_rate(device, dtype)
    print(
        f"step, {precision}: plain {BATCH / best['plain']:.1f} clips/s, ours {BATCH / best['ours']:.1f} clips/s:"
        f" x{best['plain'] / best['ours']:.2f}; ours reaches {flops / best['ours'] / peak:.2f} of the matrix-multiply"
        f" peak ({peak / 1e9:.0f} GFLOP/s); 10,000 clips in {10_000 / BATCH * best['ours']:.1f} s"
    )


def measure_scoring() -> None:
    rng = np.random.default_rng(0)
    four = list(rng.random((4, 1200, SECONDS, len(LLP_LABELS))) < 0.06)
    started = time.perf_counter()
    expected = plain_score(four)
    plain = time.perf_counter() - started
    ours = min(timed(lambda: score(*four), torch.device("cpu")) for _ in range(5))
    found = score(*four)
    got = [value for level in (found.segment, found.event) for value in vars(level).values()]
    assert np.allclose(got, expected, atol=1e-9), "the scores differ"
    print(f"scoring 1,200 clips: loop {plain:.2f} s, ours {1000 * ours:.0f} ms: x{plain / ours:.0f}, equal to 1e-9")


def measure_memory(packed: SplitDataset) -> None:
    """Reading without a model, a quarter of the store and all of it: its pages must not pile up."""
    assert isinstance(packed.features, FeatureStore)
    size = (packed.features.root / "features.npy").stat().st_size
    for part in (4, 1):
        before = peak = resident()
        for _ in iterate_batches(packed, np.random.default_rng(0).permutation(len(packed))[::part], BATCH):
            peak = max(peak, resident())
        print(f"memory: reading {size / part / 2**20:.0f} MiB adds {(peak - before) / 2**20:.0f} MiB to the process")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = resolve_device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "features"
        clips = make_data(root, options.clips)
        pack_features(FeatureFolders(root), Path(folder) / "packed")
        labels = clips.segment_labels
        packed = SplitDataset("train", clips.filenames, clips.ids, clips.lengths, clips.video_labels,
                       FeatureStore(Path(folder) / "packed"), *labels)  # fmt: skip
        measure_memory(packed)
        print(f"losses of both programs over three steps differ by {check_equal_losses(clips, device):.1e}")
        for precision in ("fp32", "bf16"):
            measure_steps(clips, packed, device, options.steps, precision)
    measure_scoring()


if __name__ == "__main__":
    main()
