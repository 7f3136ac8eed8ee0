"""The program against the golden set that ships in tests/golden, made by an earlier version of it."""

from __future__ import annotations

import numpy as np
import pytest
from support import golden_set
from support.golden import load_json, needs_golden
from support.parsers import PUBLISHED_KEYS


@pytest.mark.parametrize("family", golden_set.FAMILIES)
def test_parser_outputs(family: str) -> None:
    expected = golden_set.load_values("parsers.npz")
    outputs = golden_set.compute_parser_outputs(family)
    assert outputs.keys() == {name for name in expected if name.startswith(f"{family}/")}
    for name, values in outputs.items():
        tolerance = 1e-4 if name.endswith("hidden") else 1e-5
        np.testing.assert_allclose(values, expected[name], atol=tolerance, rtol=0, err_msg=name)


def test_losses_and_gradients() -> None:
    expected, values = golden_set.load_values("training.npz"), golden_set.compute_training()
    np.testing.assert_allclose(values["losses"], expected["losses"], rtol=1e-5)
    np.testing.assert_allclose(values["gradient_norms"], expected["gradient_norms"], rtol=1e-5, atol=1e-6)


def test_log_mel() -> None:
    expected = golden_set.load_values("extractors.npz")["log_mel"]
    np.testing.assert_allclose(golden_set.compute_log_mel(), expected, atol=1e-5)


@pytest.mark.full_size
@pytest.mark.parametrize("name", golden_set.EXTRACTORS)
def test_extractor_rows(name: str) -> None:
    rows, expected = golden_set.compute_extractor_rows(name), golden_set.load_values("extractors.npz")[name]
    assert np.linalg.norm(rows - expected) / np.linalg.norm(expected - expected.mean(0)) < 1e-3


def test_scores() -> None:
    expected = golden_set.load_scores()
    for level, scores in golden_set.compute_scores().items():
        assert scores == pytest.approx(expected[level], abs=1e-9)


@needs_golden
@pytest.mark.parametrize("family", golden_set.FAMILIES)
def test_published_keys_are_those_of_the_published_program(family: str) -> None:
    published = load_json(f"{family}_official.json")["state_dict"]
    block_0 = {key: shape for key, shape in published.items() if "_cma_network." not in key or "_network.0." in key}
    assert PUBLISHED_KEYS[family] == block_0
