"""Files of published systems as bundles: weights named by their family, as the programs save them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.models import AVParser
from avvp.models.files.published_han import HAN_FAMILIES
from avvp.pipeline.errors import SetupError
from avvp.pipeline.inference.bundle import load_parser
from avvp.weights.source import WeightSource
from support.parsers import family_state

BUNDLE = """\
profile = "llp"
labels = "llp"
extractors = {{ vggish = "vggish", resnet152 = "resnet152", r2plus1d_18 = "r2plus1d_18" }}
parser = {{ family = "{family}", file = "published.pt" }}
"""


def write(folder: Path, family: str, content: object) -> str:
    torch.save(content, folder / "published.pt")
    (folder / "bundle.toml").write_text(BUNDLE.format(family=family))
    return str(folder)


@pytest.mark.parametrize("family", ["ma", "jomold", "cmpae", "cvcms", "uwav"])
def test_a_file_of_training_as_a_bundle(tmp_path: Path, family: str) -> None:
    """The network is beside the states of random number generators."""
    state = family_state(family)
    states = {"random_rng": random.getstate(), "numpy_rng": np.random.get_state(), "torch_rng": torch.get_rng_state()}
    parser = load_parser(write(tmp_path, family, {**states, "model": state, "epochs": 25})).parser
    assert isinstance(parser, AVParser)
    assert parser.config.video_filter == HAN_FAMILIES[family].settings["video_filter"]
    assert set(parser.unused_keys) < state.keys()


def test_a_file_of_another_family_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"not a key of the published JoMoLD: \w+_encoder\.layers"):
        load_parser(write(tmp_path, "jomold", family_state("han")))
    with pytest.raises(SetupError, match=r"unknown family 'bps'; known: leap, .*jomold, .*cmpae"):
        load_parser(write(tmp_path, "bps", family_state("han")))


def test_bundles_of_table_4_have_their_published_thresholds(tmp_path: Path) -> None:
    """Files as a user puts them into a folder of weights; the network under "model", as the programs save it."""
    for family, name in (("jomold", "JoMoLD.pt"), ("cmpae", "cmpae.pt")):
        torch.save({"model": family_state(family)}, tmp_path / name)
    source = WeightSource(folder=tmp_path, offline=True)
    jomold, cmpae = (load_parser(name, source=source).thresholds for name in ("jomold", "cmpae"))
    assert {*jomold.audio_segment, *jomold.visual_video} == {0.5}
    assert {*cmpae.audio_segment, *cmpae.visual_segment} == {0.25}
    assert {*cmpae.audio_video} == {0.45}
    chosen = dict(zip(cmpae.labels, cmpae.visual_video, strict=True))
    assert (chosen["Speech"], chosen["Car"], chosen["Clapping"]) == (0.7, 0.4, 0.3)
    assert sum(value == 0.7 for value in chosen.values()) == 9
    assert cmpae.rule.video_filter == jomold.rule.video_filter == "own"
