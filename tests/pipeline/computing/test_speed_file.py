"""What is remembered of measurements: per machine, bounded, whatever the file holds."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from avvp.pipeline.computing import speed_file
from avvp.pipeline.computing.machine import this_machine
from avvp.pipeline.computing.speed_file import MAX_SPEED_BYTES, Speed, read_measurements, recall, remember, speed_path

CPU = torch.device("cpu")
SPEEDS = [Speed("torch", "fp32", 5.0, 0.0), Speed("openvino", "bf16", 12.5, 0.002)]


def test_what_is_remembered_is_recalled_on_the_same_machine_only() -> None:
    machine = this_machine(CPU, 2)
    assert recall(machine, "extraction") is None
    made = remember(machine, "extraction", SPEEDS, {"bf16 by torch": "no such instructions"})
    assert recall(machine, "extraction") == made
    assert made.speeds == tuple(SPEEDS)
    assert recall(machine, "training") is None
    for other in (
        this_machine(CPU, 3),
        replace(machine, processor="another"),
        replace(machine, device="a GPU"),
        replace(machine, packages=(("torch", "99.0"),)),
    ):
        assert recall(other, "extraction") is None
    remember(this_machine(CPU, 3), "extraction", SPEEDS[:1], {})
    assert recall(machine, "extraction") == made


def test_a_measurement_replaces_that_of_the_same_machine() -> None:
    machine = this_machine(CPU)
    remember(machine, "extraction", SPEEDS, {})
    remember(machine, "extraction", SPEEDS[1:], {})
    (kept,) = read_measurements().values()
    assert kept.speeds == (SPEEDS[1],)


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_file, "MAX_MEASUREMENTS", 3)
    for cores in range(1, 6):
        remember(this_machine(CPU, cores), "extraction", SPEEDS, {})
    found = [recall(this_machine(CPU, cores), "extraction") is not None for cores in range(1, 6)]
    assert found == [False, False, True, True, True]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff\xfe\x00", b"[]", b"{}", b"null", b'{"format": 99, "measurements": {}}', b'{"format": 1}',
        b'{"format": 1, "measurements": []}', b'{"format": 1, "measurements": {"a": 1, "b": {"speeds": 3}}}',
        b'{"format": 1, "measurements": {"a": {"speeds": [{"backend": "torch", "precision": "fp32", "rate": -1,'
        b' "error": 0}], "failed": {}, "subject": "x", "machine": "y", "measured": 0}}}',
        b"[" * 100_000, b" " * (MAX_SPEED_BYTES + 1),
    ],
)  # fmt: skip
def test_a_damaged_file_is_measured_again(content: bytes) -> None:
    speed_path().parent.mkdir(parents=True, exist_ok=True)
    speed_path().write_bytes(content)
    assert read_measurements() == {}
    made = remember(this_machine(CPU), "extraction", SPEEDS, {})
    assert recall(this_machine(CPU), "extraction") == made


def test_one_wrong_entry_does_not_hide_the_others() -> None:
    made = remember(this_machine(CPU), "extraction", SPEEDS, {})
    document = json.loads(speed_path().read_text())
    document["measurements"]["other"] = {"speeds": "no"}
    speed_path().write_text(json.dumps(document))
    assert list(read_measurements().values()) == [made]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tmp_path.chmod(0o500)
    remember(this_machine(CPU), "extraction", SPEEDS, {})
    assert recall(this_machine(CPU), "extraction") is None


def test_a_cache_that_is_a_file_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert remember(this_machine(CPU), "extraction", SPEEDS, {}).speeds == tuple(SPEEDS)
    assert recall(this_machine(CPU), "extraction") is None
