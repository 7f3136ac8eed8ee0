"""Parts of JoMoLD, CMPAE and UWAV by themselves: stems, passes without cross-attention, evidence."""

from __future__ import annotations

import math
from typing import Any

import torch
from avvp.models.evidence import log_odds
from avvp.models.han import without_cross_attention
from support.parsers import inputs, tiny_parser


def test_evidence_by_its_equations() -> None:
    parser = tiny_parser(encoder="han", decoder="evidence", stem="elu")
    decoder: Any = parser.decoder
    features = inputs(2, 3)
    with torch.no_grad():
        output = parser(*features)
        audio, visual = parser.stem(*features)
        presence = decoder.presence(output.audio_hidden)
        both = decoder.audio_context(output.audio_hidden + output.visual_hidden)
        absence = decoder.absence(output.audio_hidden + torch.where(both > 0, both, 0.2 * both))
        attention = decoder.frame_attention(output.audio_hidden).unflatten(-1, (4, 2)).softmax(dim=1)
        hidden = [torch.where(x > 0, x, 0.2 * x) for x in map(decoder.video_hidden, (audio, visual))]
        video = decoder.video_prob(hidden[0] + hidden[1])

    def alpha(logits: torch.Tensor) -> torch.Tensor:
        return 1 + (logits.clamp(-10, 10) / 0.8).exp()

    torch.testing.assert_close(output.audio_segment_probs, alpha(presence) / (alpha(presence) + alpha(absence)))
    pooled = [alpha((attention[..., kind] * x).sum(dim=1)) for kind, x in enumerate((presence, absence))]
    torch.testing.assert_close(output.audio_video_probs, pooled[0] / (pooled[0] + pooled[1]))
    assert output.audio_uncertainty is not None
    torch.testing.assert_close(output.audio_uncertainty, 2 / (pooled[0] + pooled[1]))
    torch.testing.assert_close(output.video_probs, video.sigmoid().mean(dim=1))
    assert output.video_uncertainty is not None
    torch.testing.assert_close(output.video_uncertainty, 4 / alpha(video.mean(dim=1)).sum(dim=-1))


def test_evidence_of_large_logits_is_finite() -> None:
    logits = torch.tensor([[60.0, -60.0], [-60.0, 60.0], [0.0, 0.0]], requires_grad=True)
    expected = 1 / (2 + math.exp(12.5) + math.exp(-12.5)) * (1 + math.exp(-12.5))
    found = log_odds(logits).sigmoid()
    torch.testing.assert_close(found, torch.tensor([1 - expected, expected, 0.5]))
    found.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_frames_are_projected_one_by_one_and_clips_may_be_absent() -> None:
    parser = tiny_parser(encoder="han", decoder="mmil", stem="elu", visual_3d_dim=0)
    audio, visual, _ = inputs(2, 3)
    stem: Any = parser.stem
    frames = torch.nn.functional.elu(stem.visual_2d(visual)).unflatten(1, (3, 8)).mean(dim=2)
    projected = stem(audio, visual)
    torch.testing.assert_close(projected[1], frames)
    torch.testing.assert_close(projected[0], torch.nn.functional.elu(stem.audio(audio)))
    averaged = stem(audio, visual.unflatten(1, (3, 8)).mean(dim=2))
    assert not torch.allclose(averaged[1], frames)
    assert parser.config.needs_frames
    for kind in ("linear", "mlp"):
        other = tiny_parser(encoder="han", decoder="mmil", stem=kind, visual_3d_dim=0)
        assert other(audio, visual).visual_segment_probs.shape == (2, 3, 4)
        assert not other.config.needs_frames


def test_perceptron_stem_by_its_equation() -> None:
    stem: Any = tiny_parser(stem="mlp", stem_hidden_dim=9).stem
    audio, visual, clips = inputs(2, 3)
    found = stem(audio, visual, clips)
    torch.testing.assert_close(found[0], stem.audio[2](stem.audio[0](audio).relu()))
    both = torch.cat([visual.unflatten(1, (3, 8)).mean(dim=2), clips], dim=-1)
    torch.testing.assert_close(found[1], both @ stem.visual.weight.T + stem.visual.bias)


def test_han_without_and_with_both_ways_of_cross_attention() -> None:
    audio, visual = (torch.randn(2, 3, 16).double() for _ in range(2))
    settings: dict[str, Any] = {"encoder": "han", "decoder": "mmil", "layers": 2}
    whole = tiny_parser(**settings).encoder
    with_both = tiny_parser(**settings, cross_share=0.8).encoder
    alone = tiny_parser(**settings, cross_attention=False).encoder
    with_both.load_state_dict(whole.state_dict())
    alone.load_state_dict({name: value for name, value in whole.state_dict().items() if ".across." not in name})
    crossed, own, mixed = whole(audio, visual), alone(audio, visual), with_both(audio, visual)
    for index in (0, 1):
        torch.testing.assert_close(mixed[index], 0.8 * crossed[index] + 0.2 * own[index])
        assert not torch.allclose(crossed[index], own[index])
    torch.testing.assert_close(alone(audio, 2 * visual).audio, own.audio)
    assert mixed.others is None


def test_scores_of_passes_with_and_without_cross_attention() -> None:
    settings: dict[str, Any] = {"encoder": "han", "decoder": "mmil"}
    both, whole = tiny_parser(**settings, self_attention_share=0.3), tiny_parser(**settings)
    features, lengths = inputs(2, 5), torch.tensor([5, 3])
    output, crossed = both(*features, lengths=lengths), whole(*features, lengths=lengths)
    with without_cross_attention(whole.encoder):
        own = whole(*features, lengths=lengths)
    for name in ("audio_segment_probs", "visual_segment_probs", "audio_video_probs", "video_probs"):
        expected = 0.7 * getattr(crossed, name) + 0.3 * getattr(own, name)
        torch.testing.assert_close(getattr(output, name), expected)
    torch.testing.assert_close(output.audio_segment_logits[0].sigmoid(), output.audio_segment_probs[0])
    torch.testing.assert_close(output.audio_hidden, crossed.audio_hidden)


def test_visual_dropout_is_before_all_heads_and_behind_the_encoder() -> None:
    changes: dict[str, Any] = {"dropout": 0.0, "attention_dropout": 0.0, "encoder": "han", "decoder": "mmil"}
    parser, whole = tiny_parser(**changes, visual_dropout=0.5).train(), tiny_parser(**changes)
    output, expected = parser(*inputs(2, 5)), whole(*inputs(2, 5))
    torch.testing.assert_close(output.visual_hidden, expected.visual_hidden)
    torch.testing.assert_close(output.audio_segment_probs, expected.audio_segment_probs)
    assert not torch.allclose(output.visual_segment_probs, expected.visual_segment_probs)
    torch.testing.assert_close(parser.eval()(*inputs(2, 5)).visual_segment_probs, expected.visual_segment_probs)
