"""How far quantized networks are from their originals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from avvp.extractors.registry import meta_extractor
from avvp.pipeline.files import hash_file
from avvp.pipeline.inference.bundle import load_parser
from avvp.pipeline.inference.extractors import plain_extractors
from avvp.pipeline.quantization.measure import compare_rows, measure
from avvp.weights.remote.bundles import load_bundle
from support.media import Clips


def test_distance_of_rows_by_hand() -> None:
    expected = np.array([[3, 4], [1, 0], [0, 0]], np.float32)
    found = np.array([[3, 4], [1, 1], [0, 0]], np.float32)
    error = compare_rows(expected, found)
    half = math.sqrt(0.5)
    assert error.rows == 3
    assert error.cosine == pytest.approx((1 + half + 1) / 3)
    assert error.least_cosine == pytest.approx(half)
    assert error.low_cosine == pytest.approx(half + 0.02 * (1 - half))  # two rows of 1: 1 % is 0.02 of a step
    assert error.relative == pytest.approx(1 / math.sqrt(26))


def test_rows_of_zeros_in_place_of_others_are_far() -> None:
    assert compare_rows(np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)).cosine == 0


def test_networks_agree_with_themselves(clips: Clips, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = load_bundle(str(tiny_bundle))
    plain = plain_extractors(bundle)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    found = measure([clips.steady, broken], plain, plain, load_parser(bundle, device="cpu"), profile="clean")
    assert found.clips == (hash_file(clips.steady),)
    assert list(found.failed) == [broken]
    assert set(found.errors) == {meta_name for meta_name in bundle.extractors if meta_extractor(meta_name)}
    assert all(error.relative == 0 for error in found.errors.values())
    assert found.errors["resnet_tiny"].rows == 3 * 8
    assert found.agreement is not None
    assert found.agreement.cells == 3 * 3 * 2  # seconds, classes, modalities
    assert found.agreement.part == 1
    assert found.agreement.active == found.agreement.active_in_both


def test_without_a_parser_features_alone_are_compared(clips: Clips, tiny_bundle: Path) -> None:
    plain = plain_extractors(load_bundle(str(tiny_bundle)))
    assert measure([clips.steady], plain, plain, None, profile="clean").agreement is None
