"""Records of quantizations: read as they were written, refused if they are strange, and told on a card."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline.errors import SetupError
from avvp.pipeline.sharing.quantization_record import (
    RECORD_FILE,
    Agreement,
    FeatureError,
    QuantizationRecord,
    format_quantization,
    read_record,
)

RECORD = QuantizationRecord(
    source="leap-llp",
    weights={"resnet152": "1" * 64},
    profile="llp",
    packages={"nncf": "3.4.0", "openvino": "2026.4.1"},
    inputs={"resnet152": 300},
    ranges={"resnet152": "extremes"},
    calibration=("a" * 64, "b" * 64),
    checked=("c" * 64,),
    errors={"resnet152": FeatureError(80, 0.9991, 0.998, 0.99, 0.05)},
    agreement=Agreement(cells=500, equal=499, active=20, active_in_both=19),
)


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    for record in (RECORD, replace(RECORD, checked=(), errors=None, agreement=None)):
        (tmp_path / RECORD_FILE).write_bytes(record.to_json())
        assert read_record(tmp_path) == record


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another format": lambda values: values.update(format=2),
    "a field too many": lambda values: values.update(clips=3),
    "a field too few": lambda values: values.pop("errors"),
    "a long name": lambda values: values.update(source="a" * 501),
    "a name with markup": lambda values: values.update(inputs={"<script>": 3}),
    "many networks": lambda values: values.update(inputs={f"n{number}": 3 for number in range(17)}),
    "no hash": lambda values: values.update(calibration=["clip.mp4"]),
    "a negative count": lambda values: values["agreement"].update(cells=-1),
    "a count that is none": lambda values: values["agreement"].update(cells=True),
    "an infinite error": lambda values: values["errors"]["resnet152"].update(cosine=1e999),
    "a text as an error": lambda values: values["errors"]["resnet152"].update(cosine="1"),
    "half an error": lambda values: values["errors"].update(resnet152={"cosine": 1.0}),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_strange_records_are_refused(kind: str, tmp_path: Path) -> None:
    values = json.loads(RECORD.to_json())
    CHANGES[kind](values)
    (tmp_path / RECORD_FILE).write_text(json.dumps(values))
    with pytest.raises(SetupError, match="not a record of a quantization"):
        read_record(tmp_path)


def test_a_missing_record_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="not a record"):
        read_record(tmp_path)


def test_the_card_has_figures_and_hashes() -> None:
    text = format_quantization(RECORD, {"resnet152": 61_234_567})
    assert "| resnet152 | 300 | extremes | 0.99910 | 0.99800 | 0.99000 | 0.0500 | 61.2 MB |" in text
    assert "Of 500 decisions" in text
    assert "99.80% are those of fp32, and 95.00% of the 20 that are active in either." in text
    assert all(f"`{digest}`" in text for digest in RECORD.calibration + RECORD.checked)
    assert "Warning" not in text
    assert "were not compared" in format_quantization(replace(RECORD, errors=None, agreement=None, checked=()), {})


def test_what_is_below_the_goals_is_a_warning() -> None:
    far = replace(
        RECORD,
        errors={"resnet152": FeatureError(80, 0.99, 0.9, 0.8, 0.2)},
        agreement=Agreement(cells=100, equal=98, active=0, active_in_both=0),
    )
    assert far.warnings == [
        "features of resnet152 have a mean cosine of 0.9900 with those in fp32, below 0.995",
        "98.00% of the decisions are those of fp32, less than 99%",
    ]
    assert "**Warning:** features of resnet152" in format_quantization(far, {})
    assert RECORD.warnings == []
