"""CLIP and CLAP as teachers compute the same logits by each backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.pipeline.devices import ComputePrecision
from avvp.pipeline.errors import SetupError
from avvp.pipeline.pseudo_labeling.prompts import Prompts
from avvp.pipeline.pseudo_labeling.teachers import load_teachers
from support.teachers import write_teachers

PROMPTS = Prompts(("Dog", "Cat"), ("a dog", "a cat"), ("barking", "meowing"), (0.0, 0.0), (0.0, 0.0))


def test_teachers_are_not_quantized() -> None:
    """Said before anything is downloaded."""
    with pytest.raises(SetupError, match="teachers are not quantized, so that they cannot compute in int8; use bf16"):
        load_teachers(PROMPTS, device="cpu", precision=ComputePrecision("int8", backend="openvino"))


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.1)])
def test_logits_and_features(tmp_path: Path, precision: str, tolerance: float) -> None:
    clip, clap = map(str, write_teachers(tmp_path))
    by_backend = [
        load_teachers(PROMPTS, clip=clip, clap=clap, offline=True, device="cpu", precision=chosen).networks[0][1]
        for chosen in (ComputePrecision(), ComputePrecision(precision, backend="openvino"))
    ]
    generator = np.random.default_rng(0)
    for stream, teacher in by_backend[0].items():
        form = teacher.input_format
        inputs = torch.from_numpy(generator.random((3, *form.shape)).astype(form.dtype))
        other = by_backend[1][stream]
        other.expect_callers(2)
        with torch.inference_mode():
            expected, rows = teacher(teacher.prepare(inputs)), other(other.prepare(inputs))
        assert rows.dtype == torch.float32
        assert float((rows - expected).norm() / expected.norm()) < tolerance, stream
        assert not torch.equal(rows, expected)
        assert other.largest_layer() is not None
