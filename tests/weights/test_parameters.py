"""Check parameters that come from files."""

from __future__ import annotations

import pytest
import torch
from avvp.weights.parameters import MAX_PARAMETERS, check_parameters, check_shapes

SHAPES = {"a.weight": (2, 3), "norm.running_var": (2,), "norm.num_batches_tracked": ()}


def good() -> dict[str, torch.Tensor]:
    return {
        "a.weight": torch.ones(2, 3),
        "norm.running_var": torch.zeros(2),
        "norm.num_batches_tracked": torch.tensor(5),
    }


def test_good_parameters_pass() -> None:
    check_parameters(good(), SHAPES)
    check_parameters({"empty": torch.ones(0, 3)}, {"empty": (0, 3)})


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("a.weight", torch.tensor([[1.0, float("nan"), 1], [1, 1, 1]]), "a.weight holds values that are not finite"),
        ("a.weight", torch.tensor([[1.0, -float("inf"), 1], [1, 1, 1]]), "not finite"),
        ("a.weight", torch.ones(2, 3, dtype=torch.int32), "holds int32, expected float32"),
        ("a.weight", torch.ones(2, 3, dtype=torch.bool), "holds bool"),
        ("a.weight", torch.ones(2, 3, dtype=torch.float64), "holds float64"),
        ("a.weight", torch.ones(2, 3, dtype=torch.float16), "holds float16"),
        ("a.weight", torch.ones(2, 3, dtype=torch.complex64), "holds complex64"),
        ("a.weight", torch.ones(2, 3).to_sparse(), "sparse_coo"),
        ("a.weight", torch.ones(3, 2), r"has the shape \(3, 2\), expected \(2, 3\)"),
        ("a.weight", torch.ones(()), r"has the shape \(\), expected"),
        ("norm.running_var", torch.tensor([0.0, -1e-9]), "norm.running_var holds negative values"),
        ("norm.num_batches_tracked", torch.tensor(-1), "holds negative values"),
        ("norm.num_batches_tracked", torch.tensor(1.0), "holds float32, expected int64"),
        ("other\n\x1b[31m" + "x" * 900, torch.ones(1), r"does not have: other\\n\\x1b"),
    ],
)
def test_wrong_parameters_are_refused(name: str, tensor: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        check_parameters(good() | {name: tensor}, SHAPES)
    assert len(str(refused.value)) < 300


def test_missing_parameters_are_counted() -> None:
    with pytest.raises(ValueError, match=r"lacks a.weight, norm.num_batches_tracked, norm.running_var and 1 more"):
        check_parameters({}, SHAPES | {"z": (1,)})


def test_other_types_are_allowed_by_name() -> None:
    check_parameters(good() | {"a.weight": torch.ones(2, 3).half()}, SHAPES, dtypes=(torch.float32, torch.float16))


def test_size_is_bounded() -> None:
    with pytest.raises(ValueError, match="more than 1,073,741,824"):
        check_shapes({"a": (MAX_PARAMETERS, 2)}, {"a": (MAX_PARAMETERS, 2)})
