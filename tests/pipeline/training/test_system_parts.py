"""Training, evaluation and resumption of the parts of other systems through the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from avvp.models import load_published
from avvp.models.files.checkpoint import load_checkpoint
from avvp.pipeline.training.model_info import count_parts, unused_when_published
from support.command import Run
from support.golden import load_json, needs_golden
from support.run_folders import train_options
from support.zoo import zoo_state

WEAK = (
    'objective.targets="weak"', 'objective.video_targets="weak"', "objective.audio_segment_weight=0",
    "objective.visual_segment_weight=0", "objective.similarity_weight=0", "model.encoder=han",
)  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        ("model.decoder=evidence", "model.cross_share=0.8", "model.self_attention_share=0.3", "model.stem=elu"),
        ("model.decoder=classwise", "model.class_dim=4"),
        ("model.decoder=mmil", "model.stem=mlp", "model.stem_hidden_dim=5", "model.han_order=sequential"),
        ("model.decoder=mmil", "model.cross_attention=false", "model.visual_dropout=0.5"),
    ],
    ids=str,
)
def test_train_resume_and_evaluate(run: Run, data: Path, tmp_path: Path, settings: tuple[str, ...]) -> None:
    """A run that is resumed after its first epoch ends as one that was not interrupted."""
    changes = [part for setting in (*WEAK, *settings) for part in ("--set", setting)]
    for name, epochs in (("whole", 2), ("resumed", 1)):
        result = run(*train_options(data), *changes, "-o", tmp_path / name, "--epochs", epochs, "-q")
        assert result.status == 0, result.err
    assert run("train", "-o", tmp_path / "resumed", "--resume", "--epochs", 2, "-q").status == 0
    whole, resumed = (load_checkpoint(tmp_path / name / "last.safetensors").parser for name in ("whole", "resumed"))
    assert whole.config == resumed.config
    assert {name: value.tolist() for name, value in whole.state_dict().items()} == {
        name: value.tolist() for name, value in resumed.state_dict().items()
    }
    where = ("--annotations", data / "annotations", "--features", data / "features", "--device", "cpu")
    result = run("evaluate", "--weights", tmp_path / "whole", *where)
    assert result.status == 0, result.err


@needs_golden
@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("ma", {}),
        ("jomold", {}),
        ("jomold", {"cross_attention": False}),
        ("cmpae", {}),
        ("cvcms", {}),
        ("uwav", {}),
        ("mgn", {}),
        ("dhhn", {}),
    ],
    ids=str,
)
def test_parameters_as_published(family: str, settings: dict[str, Any]) -> None:
    """Those of this program, and those that the published one stores without using them."""
    parser = load_published(zoo_state(family), family=family, **settings)
    parts = count_parts(parser)
    one = ["stem", "encoder", "decoder"]
    assert [part.name for part in parts] == (["audio_network", "visual_network"] if family == "dhhn" else one)
    own = sum(part.parameters for part in parts)
    unused = sum(unused_when_published(parser.config).values())
    assert own + unused == load_json(f"{family}_official.json")["parameters"]
