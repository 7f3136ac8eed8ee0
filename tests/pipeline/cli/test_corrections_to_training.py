"""A correction made in the page reaches the training of a parser, by the commands of docs/outputs.md."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.pseudo_labels import read_pseudo_labels
from playwright.sync_api import Browser
from support.command import Result
from support.pages import Opened, open_page

pytestmark = pytest.mark.browser
SMALL = [
    option
    for setting in ("hidden_dim=16", "feedforward_dim=16", "heads=2", "leap_heads=2", "levels=2")
    for option in ("--set", f"model.{setting}")
]


def correct(opened: Opened, folder: Path) -> None:
    """Relabel the first event with a class of our own, from 0 to 2 s, and save the file."""
    opened.press("e")
    opened.page.locator("#list tbody tr").filter(has_text="audio").first.click()
    for name, value in (("label", "Glass breaking"), ("onset", "0"), ("offset", "2"), ("comment", "a bottle")):
        opened.page.locator(f"#edit-{name}").fill(value)
        opened.page.locator(f"#edit-{name}").blur()
    opened.page.locator("#edit-by").fill("Ann")
    opened.save("#save-json", folder)


def test_a_correction_in_the_page_reaches_training(
    run: Callable[..., Result], browser: Browser, tmp_path: Path, clips: Any, tiny_llp_bundle: Path
) -> None:
    def succeed(*arguments: object) -> None:
        result = run(*arguments)
        assert result.status == 0, result.err

    videos, events, site, corrected = (tmp_path / name for name in ("clips", "events", "site", "corrected"))
    videos.mkdir()
    corrected.mkdir()
    for name in ("one", "two"):
        shutil.copy(clips.steady, videos / f"{name}.mp4")
    where = ("--weights", tiny_llp_bundle, "--segments", "--threshold", 0.1)
    succeed("parse", videos, "--output-dir", events, *where)
    succeed("report", events, "--media", videos, "--output-dir", site)
    opened = open_page(browser, (site / "index.html").as_uri())
    for name in ("one", "two"):
        opened.page.goto((site / f"{name}.html").as_uri())
        correct(opened, corrected)
    assert opened.complaints == []
    opened.page.context.close()
    document = json.loads((corrected / "one.events.json").read_text())
    assert document["processing"][-1]["by"] == "Ann"

    data, features = tmp_path / "my-training", tmp_path / "features"
    (tmp_path / "val").mkdir()
    shutil.move(corrected / "two.events.json", tmp_path / "val")
    succeed("convert", corrected, "--data-set", data, "--split", "train")
    succeed("convert", tmp_path / "val", "--data-set", data, "--split", "val")
    succeed("extract", videos, "-o", features, "--weights", tiny_llp_bundle)
    labels = read_annotations(data).labels
    assert labels[-1] == "Glass breaking"
    ((table,), problems) = read_pseudo_labels(data / "pseudo_labels", "audio", ["one"], [3], len(labels))
    assert not problems
    assert table[:, -1].tolist() == [True, True, False]
    inputs = ("--annotations", data, "--features", features, "--pseudo-labels", data / "pseudo_labels")
    model = ("--label-embeddings", "one-hot", "--extractors", tiny_llp_bundle, *SMALL)
    succeed("train", *inputs, *model, "--epochs", 1, "--device", "cpu", "-o", tmp_path / "run")
    parsed = tmp_path / "again.json"
    succeed("parse", videos / "one.mp4", "--weights", tmp_path / "run", "--segments", "-o", parsed)
    again = json.loads(parsed.read_text())
    assert again["labels"] == list(labels)
    assert np.shape(again["segments"]["audio"]) == (3, len(labels))
