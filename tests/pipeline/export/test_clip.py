"""Inputs of the generated clip on which exported networks are compared."""

from __future__ import annotations

from avvp.extractors import build_extractor
from avvp.pipeline.export.clip import clip_inputs


def test_inputs_of_maps_are_one_picture_of_each_second() -> None:
    extractors = {name: build_extractor(name) for name in ("vggish_tiny", "vgg19_tiny")}
    inputs = clip_inputs(3, extractors, "ave-4")
    assert {stream: rows.shape for stream, rows in inputs.items()} == {
        "audio": (3, 96, 64), "visual_map": (3, 224, 224, 3),
    }  # fmt: skip
