"""The golden set in tests/golden: how each of its values is computed.

Parameters are filled by key name and inputs are drawn from a seed of our own, so nothing but this program is needed.
`benchmarks/golden.py` writes the values; tests/test_golden.py computes them again and compares.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from avvp.extractors.mel import log_mel
from avvp.extractors.registry import build_extractor, extractor_shapes
from avvp.models import AVParser, load_published
from avvp.models.losses import Objective, Targets, objective_terms
from avvp.pipeline.metrics import LEVELS, SCORE_NAMES, score

from support.golden import fill, parser_inputs, parser_targets
from support.parsers import family_state, published_state
from support.paths import ROOT

FOLDER = ROOT / "tests" / "golden"
FAMILIES = ("leap", "mmpyr", "han", "valor")
EXTRACTORS = ("vggish", "resnet152", "r2plus1d_18")
SEED = 611
ADAM_STEPS = 2
_PROBABILITIES = (
    "audio_video_probs", "visual_video_probs", "video_probs", "audio_segment_probs", "visual_segment_probs",
)  # fmt: skip
_HIDDEN = ("audio_hidden", "visual_hidden", "audio_label_hidden", "visual_label_hidden")
_HIDDEN_STEP = 32  # every 32nd of 512 values is kept


def load_values(name: str) -> dict[str, np.ndarray]:
    """Return the arrays of a file of the set."""
    with np.load(FOLDER / name) as archive:
        return dict(archive)


def load_scores() -> dict[str, dict[str, float]]:
    """Return the ten scores of the set, by level and name."""
    return json.loads((FOLDER / "scores.json").read_text(encoding="utf-8"))


def build_golden_parser(family: str) -> AVParser:
    """Build a published parser whose parameters follow from their key names."""
    if family != "leap":
        parser = load_published(family_state(family, SEED), family=family)
        assert isinstance(parser, AVParser)
        return parser
    embeddings = np.random.default_rng(SEED).standard_normal((25, 300)).astype(np.float32)
    return load_published(published_state(seed=SEED), family="leap", label_embeddings=torch.from_numpy(embeddings))


def compute_parser_outputs(family: str) -> dict[str, np.ndarray]:
    """Compute probabilities, attention and some hidden values in float64, so that rounding plays no part."""
    parser = build_golden_parser(family).double()
    with torch.no_grad():
        output = parser(*(tensor.double() for tensor in parser_inputs(SEED)))
    values = {name: getattr(output, name) for name in (*_PROBABILITIES, "audio_attention", "visual_attention")}
    values |= {name: getattr(output, name) for name in _HIDDEN}
    return {
        f"{family}/{name}": (value[..., ::_HIDDEN_STEP] if name in _HIDDEN else value).numpy().astype(np.float32)
        for name, value in values.items()
        if value is not None
    }


def compute_training() -> dict[str, np.ndarray]:
    """Compute the published loss terms, gradient norms by parameter name, and the losses of some Adam steps.

    In float64, for the reason of `compute_parser_outputs`: where probabilities are close to 0 or 1, the gradients of
    their logarithms in float32 depend on the last bit of a sigmoid, which differs between versions of torch.
    """
    parser = build_golden_parser("leap").double()
    optimizer = torch.optim.Adam(parser.parameters(), lr=1e-4, fused=True)
    audio, visual = (target.double() for target in parser_targets(SEED))
    inputs = [tensor.double() for tensor in parser_inputs(SEED)]
    targets = Targets(torch.maximum(audio.amax(1), visual.amax(1)), audio, visual)
    losses, norms = [], np.empty(0)
    for step in range(ADAM_STEPS):
        terms = torch.stack(list(objective_terms(parser(*inputs), targets, Objective()).values()))
        losses.append([*terms.tolist(), terms.sum().item()])
        optimizer.zero_grad()
        terms.sum().backward()
        if step == 0:
            gradients = {name: parameter.grad for name, parameter in parser.named_parameters()}
            norms = np.array([0.0 if grad is None else grad.norm().item() for _, grad in sorted(gradients.items())])
        optimizer.step()
    return {"losses": np.array(losses, np.float32), "gradient_norms": norms.astype(np.float32)}


def compute_log_mel() -> np.ndarray:
    """Compute the log-mel frames of a second of 440 Hz, (98, 64)."""
    return log_mel(np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32)


def compute_extractor_rows(name: str) -> np.ndarray:
    """Compute two feature rows of an extractor at its published size from noise: waveforms or frames."""
    extractor = build_extractor(name, fill(extractor_shapes(name), SEED))
    rng = np.random.default_rng(SEED)
    if extractor.stream == "audio":
        media = rng.uniform(-1, 1, (2, 16_000)) * np.array([[1.0], [0.1]])
    else:
        count = 2 if extractor.stream == "visual_2d" else 16
        media = rng.integers(0, 256, (count, 60, 80, 3)) // np.linspace(1, 4, count)[:, None, None, None]
        media = media.astype(np.uint8)
    with torch.inference_mode():
        return extractor(extractor.preprocess(media)).numpy().astype(np.float32)


def compute_scores() -> dict[str, dict[str, float]]:
    """Compute the ten scores of 40 random clips whose predictions are the truth with errors."""
    rng = np.random.default_rng(SEED)
    starts = rng.integers(0, 10, (2, 40, 1, 6))
    spans = rng.integers(0, 8, (2, 40, 1, 6)) * (rng.random((2, 40, 1, 6)) < 0.4)
    seconds = np.arange(10)[None, None, :, None]
    truth = (seconds >= starts) & (seconds < starts + spans)
    predictions = truth ^ (rng.random(truth.shape) < 0.08)
    scores = score(*predictions, *truth)
    return {level: {name: getattr(getattr(scores, level), name) for name in SCORE_NAMES} for level in LEVELS}
