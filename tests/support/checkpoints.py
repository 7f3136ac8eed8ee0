"""Checks of checkpoint files, for parsers and localizers."""

from __future__ import annotations

from pathlib import Path

import pytest
from avvp.models.files.checkpoint import load_checkpoint


def check_refused_unread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is refused in one short line that names it, before its tensors are read."""
    monkeypatch.setattr("avvp.models.files.checkpoint.check_parameters", None)
    with pytest.raises(ValueError, match=r"x\.safetensors: ") as refused:
        load_checkpoint(path)
    assert len(str(refused.value)) < 500 + len(str(path))
    assert "\n" not in str(refused.value)
