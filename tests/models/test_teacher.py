"""The temporal teacher: UWAV's program, its masks, its loss, other classes, and files that are not one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avvp.models.config import ParserConfig
from avvp.models.files.checkpoint import dump_checkpoint, load_checkpoint, load_teacher
from avvp.models.files.published_teacher import load_published_teacher
from avvp.models.parser import build_parser
from avvp.models.teacher import (
    TeacherConfig,
    TeacherObjective,
    TeacherOutput,
    TemporalTeacher,
    restore_teacher,
    teacher_loss,
    teacher_shapes,
)
from support.golden import load_npz, needs_golden
from support.published_teacher import published_inputs, published_state

CLASSES = tuple(f"class {index}" for index in range(30))
SMALL = TeacherConfig(
    labels=("Dog", "Speech", "Car"), audio_dim=12, visual_dim=10, hidden_dim=16, feedforward_dim=12, layers=2, heads=2
)


@needs_golden
def test_a_published_teacher_computes_what_the_published_program_computes() -> None:
    expected = load_npz("uwav_official.npz")
    text, audio, visual, truth = published_inputs()
    teacher = load_published_teacher(published_state(), labels=CLASSES, text=text)
    with torch.inference_mode():
        output = teacher(audio, visual, lengths=torch.tensor([12, 9, 5]))
    assert output.valid is not None
    for modality in ("audio", "visual"):
        found = getattr(output, f"{modality}_logits")[output.valid]
        np.testing.assert_allclose(found, expected[f"teacher/{modality}_logits"][output.valid], atol=2e-5)
    loss = teacher_loss(output, truth * output.valid[..., None], TeacherObjective())
    assert float(loss) == pytest.approx(float(expected["teacher/loss"]), abs=1e-4)


@needs_golden
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"a_logit_scale": None}, "a_logit_scale is missing"),
        ({"a_logit_scale": torch.ones(2)}, r"a_logit_scale is \(2,\)"),
        ({"proj_a.layers.0.weight": None}, "no 'audio.stem.0.weight'"),
        ({"final_proj_v.layers.1.bias": None}, "missing"),
        ({"final_proj_v.layers.1.bias": torch.ones(3)}, "size mismatch"),
        ({"fc_prob.weight": torch.ones(3)}, "not a key of the published temporal teacher of UWAV"),
        ({"proj_a.layers.0.bias": torch.full((416,), torch.nan)}, "finite"),
    ],
)
def test_files_that_are_no_published_teacher(change: dict[str, Any], said: str) -> None:
    state = {key: tensor for key, tensor in {**published_state(), **change}.items() if tensor is not None}
    with pytest.raises(ValueError, match=said):
        load_published_teacher(state, labels=CLASSES, text=published_inputs()[0])


@needs_golden
def test_text_features_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"text features are \(30, 512\), expected \(30, 1280\)"):
        load_published_teacher(published_state(), labels=CLASSES, text=torch.zeros(30, 512))


def small_teacher() -> TemporalTeacher:
    torch.manual_seed(1)
    return TemporalTeacher(SMALL, torch.randn(3, 22)).eval()


def test_padding_does_not_change_a_clip() -> None:
    teacher = small_teacher()
    audio, visual, lengths = torch.randn(3, 7, 12), torch.randn(3, 7, 10), torch.tensor([7, 4, 1])
    with torch.inference_mode():
        batch = teacher(audio, visual, lengths=lengths)
        for index, length in enumerate(lengths.tolist()):
            alone = teacher(audio[index : index + 1, :length], visual[index : index + 1, :length])
            assert alone.valid is None
            torch.testing.assert_close(batch.audio_logits[index, :length], alone.audio_logits[0])
            torch.testing.assert_close(batch.visual_logits[index, :length], alone.visual_logits[0])


def test_a_second_depends_on_the_clip_but_not_on_the_order_or_the_other_modality() -> None:
    teacher = small_teacher()
    audio, visual = torch.randn(1, 5, 12), torch.randn(1, 5, 10)
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.inference_mode():
        whole = teacher(audio, visual)
        torch.testing.assert_close(teacher(audio[:, order], visual).audio_logits, whole.audio_logits[:, order])
        assert not torch.allclose(teacher.score("audio", audio[:, :1]), whole.audio_logits[:, :1])
        assert torch.equal(teacher(audio, torch.randn(1, 5, 10)).audio_logits, whole.audio_logits)
        assert torch.equal(teacher.score("visual", visual), whole.visual_logits)


def test_other_classes_share_the_parameters() -> None:
    teacher = small_teacher()
    text, audio, visual = torch.randn(2, 22), torch.randn(1, 5, 12), torch.randn(1, 5, 10)
    other = teacher.with_classes(("Cow", "Dog"), text)
    with torch.inference_mode():
        before = teacher(audio, visual)
        found = other(audio, visual)
    assert other.config.labels == ("Cow", "Dog")
    assert found.audio_logits.shape == (1, 5, 2)
    assert before.audio_logits.shape == (1, 5, 3)
    assert {id(parameter) for parameter in other.parameters()} == {id(parameter) for parameter in teacher.parameters()}
    same = teacher.with_classes(SMALL.labels, torch.cat([teacher.audio_text, teacher.visual_text], dim=1))
    torch.testing.assert_close(same(audio, visual).visual_logits, before.visual_logits)
    with pytest.raises(ValueError, match=r"\(2, 21\), expected \(2, 22\)"):
        teacher.with_classes(("Cow", "Dog"), text[:, 1:])


def test_the_loss_by_hand() -> None:
    """Two seconds of which one is real, two classes: the first occurs, with five times the weight."""
    logits = torch.tensor([[[0.0, 0.0], [9.0, 9.0]]])
    output = TeacherOutput(logits, logits, torch.tensor([[True, False]]))
    events = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    expected = (5 * -math.log(0.25) - math.log(0.75)) / 2
    assert float(teacher_loss(output, events, TeacherObjective())) == pytest.approx(expected, rel=1e-6)
    unweighted = TeacherOutput(logits[:, :1], logits[:, :1], None)
    expected = (-math.log(0.25) - math.log(0.75)) / 2
    found = teacher_loss(unweighted, events[:, :1], TeacherObjective(positive_weight=1.0))
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_the_loss_of_a_network_that_diverged_is_nan() -> None:
    logits = torch.tensor([[[0.0, float("nan")]]])
    loss = teacher_loss(TeacherOutput(logits, torch.zeros(1, 1, 2), None), torch.ones(1, 1, 2), TeacherObjective())
    assert math.isnan(float(loss))


def test_tensors_of_a_file_are_kept() -> None:
    teacher = small_teacher()
    assert teacher_shapes(SMALL) == {key: tuple(value.shape) for key, value in teacher.state_dict().items()}
    assert TeacherConfig.from_dict(SMALL.to_dict()) == SMALL
    again = restore_teacher(SMALL, teacher.state_dict())
    features = torch.randn(1, 4, 12), torch.randn(1, 4, 10)
    with torch.inference_mode():
        assert torch.equal(again(*features).audio_logits, teacher(*features).audio_logits)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"heads": 3}, "heads 3 does not divide hidden_dim 16"),
        ({"audio_scale": 0.0}, "audio_scale is 0.0"),
        ({"visual_scale": float("nan")}, "visual_scale is nan"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"layers": 0}, "layers is 0"),
        ({"labels": ()}, "labels must be a non-empty list"),
    ],
)
def test_wrong_settings(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TeacherConfig(**{**vars(SMALL), **change})


@pytest.mark.parametrize(
    ("audio", "visual", "lengths", "said"),
    [
        ((1, 4, 5), (1, 4, 10), None, "audio is"),
        ((1, 0, 12), (1, 0, 10), None, "audio is"),
        ((1, 4, 12), (1, 3, 10), None, "visual is"),
        ((1, 4, 12), (1, 4, 10), [5], "lengths must be"),
    ],
)
def test_wrong_shapes(audio: Any, visual: Any, lengths: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        small_teacher()(torch.zeros(audio), torch.zeros(visual), lengths=lengths and torch.tensor(lengths))


def test_text_features_are_required() -> None:
    with pytest.raises(ValueError, match=r"text features are missing, expected \(3, 22\)"):
        TemporalTeacher(SMALL, None)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), 1e9])
def test_a_wrong_weight(weight: float) -> None:
    with pytest.raises(ValueError, match="positive_weight"):
        TeacherObjective(positive_weight=weight)


def test_a_checkpoint_holds_a_teacher(tmp_path: Path) -> None:
    teacher = small_teacher()
    (tmp_path / "best.safetensors").write_bytes(dump_checkpoint(teacher, {"profile": "x"}, {"epoch": 3}))
    loaded = load_teacher(tmp_path / "best.safetensors")
    assert (loaded.feature_spec, loaded.record) == ({"profile": "x"}, {"epoch": 3})
    assert loaded.teacher.config == SMALL
    assert not loaded.teacher.training
    features = torch.randn(1, 4, 12), torch.randn(1, 4, 10)
    with torch.inference_mode():
        assert torch.equal(loaded.teacher(*features).visual_logits, teacher(*features).visual_logits)


def test_teachers_and_parsers_are_not_taken_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "teacher.safetensors").write_bytes(dump_checkpoint(small_teacher(), {}, {}))
    parser = build_parser(ParserConfig(labels=("Dog",), hidden_dim=8, heads=2, leap_heads=2, decoder="mmil"))
    (tmp_path / "parser.safetensors").write_bytes(dump_checkpoint(parser, {}, {}))
    with pytest.raises(ValueError, match="it holds a teacher, for avvp pseudo-label --teacher"):
        load_checkpoint(tmp_path / "teacher.safetensors")
    with pytest.raises(ValueError, match="it holds a parser, expected a temporal teacher"):
        load_teacher(tmp_path / "parser.safetensors")


@pytest.mark.parametrize("damage", ["truncated", "other tensors", "not finite"])
def test_damaged_checkpoints(tmp_path: Path, damage: str) -> None:
    teacher, path = small_teacher(), tmp_path / "best.safetensors"
    content = dump_checkpoint(teacher, {}, {})
    if damage == "truncated":
        content = content[:-5]
    elif damage == "other tensors":
        teacher.config = replace(SMALL, layers=1)
        content = dump_checkpoint(teacher, {}, {})
    else:
        teacher.audio_text[0, 0] = torch.inf
        content = dump_checkpoint(teacher, {}, {})
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"best\.safetensors"):
        load_teacher(path)
