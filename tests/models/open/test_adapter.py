"""The temporal adapter: layers, comparison of classes, loss, and OV-AVEL's published values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.models.files.checkpoint import dump_checkpoint, load_adapter, load_checkpoint, read_description
from avvp.models.open.adapter import (
    AdapterConfig,
    AdapterObjective,
    AdapterOutput,
    TemporalAdapter,
    adapter_loss,
    adapter_shapes,
)
from support.golden import GOLDEN, needs_golden
from torch import Tensor, nn

CONFIG = AdapterConfig(
    labels=("a", "b", "c"), trained=("a", "c"), audio_dim=8, visual_dim=12, attention_dim=6, feedforward_dim=10, heads=2
)


def make(config: AdapterConfig = CONFIG) -> TemporalAdapter:
    torch.manual_seed(0)
    return TemporalAdapter(config, torch.randn(len(config.embedding_labels), config.label_embedding_dim)).eval()


def inputs(clips: int = 2, seconds: int = 5) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(clips, seconds, 8), torch.randn(clips, seconds, 12)


def test_the_layer_is_torchs_transformer_layer_with_narrow_attention() -> None:
    """With attention as wide as its input, torch's own post-norm layer computes the same."""
    config = AdapterConfig(labels=("a",), audio_dim=8, visual_dim=8, attention_dim=8, feedforward_dim=10, heads=2)
    layer = make(config).audio.layers[0]
    other = nn.TransformerEncoderLayer(8, 2, 10, batch_first=True).eval()
    state = layer.state_dict()
    projections = [
        state.pop(f"attention.{name}.{kind}") for kind in ("weight", "bias") for name in ("query", "key", "value")
    ]
    renamed = {
        "self_attn.in_proj_weight": torch.cat(projections[:3]), "self_attn.in_proj_bias": torch.cat(projections[3:]),
    }  # fmt: skip
    names = {"attention.output": "self_attn.out_proj", "feedforward.0": "linear1", "feedforward.3": "linear2",
             "attention_norm": "norm1", "feedforward_norm": "norm2"}  # fmt: skip
    for key, tensor in state.items():
        name, _, kind = key.rpartition(".")
        renamed[f"{names[name]}.{kind}"] = tensor
    other.load_state_dict(renamed)
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        torch.testing.assert_close(layer(x, None), other(x), rtol=1e-5, atol=1e-5)


def test_embeddings_have_length_1_and_padding_changes_nothing() -> None:
    adapter, (audio, visual) = make(), inputs()
    adapted = adapter.adapt("audio", audio)
    torch.testing.assert_close(adapted.norm(dim=-1), torch.ones(2, 5))
    whole = adapter(audio[:1, :3], visual[:1, :3])
    padded = adapter(audio, visual, lengths=torch.tensor([3, 5]))
    torch.testing.assert_close(padded.audio[0, :3], whole.audio[0])
    torch.testing.assert_close(padded.visual[0, :3], whole.visual[0])
    assert whole.valid is None
    assert padded.valid is not None


def test_probabilities_by_hand() -> None:
    """Products .36, .09 and -.2 (none positive): roots .6, .3, 0; from least to most 1, .5, 0."""
    output = AdapterOutput(torch.tensor([[[0.6, 0.3, 0.5]]]), torch.tensor([[[0.6, 0.3, -0.4]]]), None)
    torch.testing.assert_close(output.probabilities(), torch.tensor([[[1.0, 0.5, 0.0]]]))
    torch.testing.assert_close(output.probabilities(torch.tensor([1, 2])), torch.tensor([[[1.0, 0.0]]]))
    alike = AdapterOutput(torch.full((1, 1, 3), 0.5), torch.full((1, 1, 3), 0.5), None)
    assert not alike.probabilities().any()


def test_loss_by_hand() -> None:
    """Of the classes a, b, c and "other", a, c and "other" are compared: cross-entropy of (1, .5, 0)."""
    cosines = torch.tensor([[[0.6, 0.9, 0.3, 0.0]]])
    output = AdapterOutput(cosines, cosines, None)
    for target, logit in ((0, 1.0), (2, 0.5), (3, 0.0)):
        loss = adapter_loss(output, torch.tensor([[target]]), CONFIG, AdapterObjective())
        assert loss.item() == pytest.approx(np.log(np.exp([1, 0.5, 0]).sum()) - logit)
    sharp = adapter_loss(output, torch.tensor([[0]]), CONFIG, AdapterObjective(scale=10.0))
    assert sharp.item() == pytest.approx(np.log(np.exp([10, 5, 0]).sum()) - 10, abs=1e-6)
    padded = AdapterOutput(cosines.expand(1, 2, 4), cosines.expand(1, 2, 4), torch.tensor([[True, False]]))
    loss = adapter_loss(padded, torch.tensor([[0, 3]]), CONFIG, AdapterObjective())
    assert loss.item() == pytest.approx(np.log(np.exp([1, 0.5, 0]).sum()) - 1)
    with pytest.raises(ValueError, match="not one of"):
        adapter_loss(output, torch.tensor([[1]]), CONFIG, AdapterObjective())


def test_gradients_are_finite_where_no_product_is_positive() -> None:
    adapter = make().train()
    adapter.audio_text.neg_()
    adapter.visual_text[:2] = 0
    output = adapter(*inputs())
    adapter_loss(output, torch.tensor([[0, 2, 3, 3, 0]] * 2), CONFIG, AdapterObjective()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in adapter.parameters())


def test_a_checkpoint_is_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    adapter = make()
    path.write_bytes(dump_checkpoint(adapter, {"profile": "x"}, {"epoch": 3}))
    loaded, spec, record = load_adapter(path)
    assert (loaded.config, spec, record) == (CONFIG, {"profile": "x"}, {"epoch": 3})
    torch.testing.assert_close(loaded(*inputs()), adapter(*inputs()))
    assert read_description(path).config.labels == ("a", "b", "c")
    with pytest.raises(ValueError, match="it holds an adapter of an open bundle, expected a parser or a localizer"):
        load_checkpoint(path)


def test_the_default_sizes_are_published() -> None:
    """OV-AVEL: attention of 256, one head, 512 inside; d = 1024 of ImageBind, here 512 and 768."""
    shapes = adapter_shapes(AdapterConfig(labels=("a",)))
    assert shapes["audio.layers.0.attention.query.weight"] == (256, 512)
    assert shapes["visual.layers.0.feedforward.0.weight"] == (512, 768)
    assert shapes["audio_text"] == (2, 512)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": ("other",)}, "the name of what has none"),
        ({"trained": ("x",)}, "expected some of the labels"),
        ({"heads": 5}, "does not divide attention_dim"),
        ({"layers": 0}, "at least 1"),
        ({"dropout": 1.0}, "below 1"),
    ],
)
def test_wrong_settings(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        AdapterConfig(**{"labels": ("a",), **changes})  # pyright: ignore[reportArgumentType]


def test_wrong_scale() -> None:
    with pytest.raises(ValueError, match="above 0"):
        AdapterObjective(scale=0.0)


@needs_golden
def test_published_probabilities_and_decisions() -> None:
    """Of the cosines of v01, which are those that v1 computes without its layers."""
    golden = np.load(GOLDEN / "ovavel.npz")
    output = AdapterOutput(torch.from_numpy(golden["v01/audio"]), torch.from_numpy(golden["v01/visual"]), None)
    found = output.probabilities().numpy()
    np.testing.assert_allclose(found, golden["v1/probabilities"], atol=1e-6)
    np.testing.assert_array_equal(found.argmax(axis=-1), golden["v1/decision"])
