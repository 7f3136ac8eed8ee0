"""A bundle without a parser parses nothing, which is said before its files of gigabytes are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from avvp.pipeline.errors import SetupError
from avvp.pipeline.inference.bundle import load_networks
from avvp.weights.source import WeightSource


@pytest.mark.parametrize("name", ["clip-clap", "clip-clap-3d"])
def test_the_parser_is_missed_before_the_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SetupError, match="it has extractors alone, no parser"):
        load_networks(name, source=WeightSource(tmp_path, offline=True), device="cpu")
