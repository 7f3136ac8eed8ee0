"""The published systems built on HAN: their files load unchanged, and their outputs come out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from avvp.models import AVParser, ParserOutput, load_published
from support.golden import SEED, load_npz, needs_golden
from support.zoo import zoo_features, zoo_state

TOLERANCE = 2e-5
VIDEO = {"global_prob": "video_probs", "a_prob": "audio_video_probs", "v_prob": "visual_video_probs"}
HIDDEN = {"a_fea": "audio_hidden", "v_fea": "visual_hidden"}
UNCERTAIN = {
    "global_uncertainty": "video_uncertainty", "a_uncertainty": "audio_uncertainty",
    "v_uncertainty": "visual_uncertainty",
}  # fmt: skip
LOGITS = {"a_frame_logits": "audio_segment_logits", "v_frame_logits": "visual_segment_logits"}
# Prefix in the golden file, family, key of the shapes in its json, settings.
CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("", "ma", "state_dict", {}),
    ("ca/", "jomold", "state_dict", {}),
    ("noca/", "jomold", "state_dict", {"cross_attention": False}),
    ("layers2/", "jomold", "state_dict_layers2", {}),
    ("", "uwav", "state_dict", {}),
    ("ca/", "cmpae", "state_dict", {"cross_attention": True}),
    ("noca/", "cmpae", "state_dict", {"cross_attention": False}),
    ("fused/", "cmpae", "state_dict", {}),
    ("", "cvcms", "state_dict", {}),
]
FAMILIES = ("ma", "jomold", "uwav", "cmpae", "cvcms")


def run(parser: AVParser, batch: int = 2) -> ParserOutput:
    with torch.no_grad():
        return parser(*zoo_features(SEED + 1, batch))


def segments(output: ParserOutput, kind: str = "probs") -> torch.Tensor:
    return torch.stack([getattr(output, f"{modality}_segment_{kind}") for modality in ("audio", "visual")], dim=2)


@needs_golden
@pytest.mark.parametrize(("prefix", "family", "shapes", "settings"), CASES, ids=str)
def test_outputs(prefix: str, family: str, shapes: str, settings: dict[str, Any]) -> None:
    golden = load_npz(f"{family}_official.npz")
    expected = {name.removeprefix(prefix): value for name, value in golden.items() if name.startswith(prefix)}
    parser = load_published(zoo_state(family, shapes), family=family, **settings)
    assert isinstance(parser, AVParser)
    output = run(parser)
    compared = 0
    for name, attribute in (VIDEO | HIDDEN | UNCERTAIN | LOGITS).items():
        if name in expected:
            np.testing.assert_allclose(getattr(output, attribute), expected[name], atol=TOLERANCE, rtol=0, err_msg=name)
            compared += 1
    if "frame_prob" in expected:
        np.testing.assert_allclose(segments(output), expected["frame_prob"], atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(segments(output, "logits").sigmoid(), segments(output), atol=1e-6, rtol=0)
        compared += 1
    assert compared >= 3
