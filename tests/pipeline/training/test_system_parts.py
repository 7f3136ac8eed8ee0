"""Training, evaluation and resumption of the parts of other systems through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from avvp.models.files.checkpoint import load_checkpoint
from support.command import Run
from support.run_folders import train_options

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
