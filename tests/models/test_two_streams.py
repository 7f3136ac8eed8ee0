"""Parsers of features without clips of frames (visual_3d): CLIP and CLAP alone, as LSLD reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from avvp.models import ParserConfig
from avvp.models.files.checkpoint import dump_checkpoint, load_checkpoint
from avvp.models.stems import FeatureStem
from support.parsers import inputs, tiny_parser


@pytest.mark.parametrize("encoder", ["mmpyr", "han"])
@pytest.mark.parametrize("decoder", ["leap", "mmil"])
def test_padding_and_frames_do_not_change_a_parser_of_two_streams(encoder: str, decoder: str) -> None:
    parser = tiny_parser(encoder=encoder, decoder=decoder, visual_3d_dim=0)
    audio, frames, _ = inputs(3, 5)
    alone = parser(audio[:1, :4], frames[:1, :32])
    padded = parser(audio, frames, lengths=torch.tensor([4, 5, 1]))
    torch.testing.assert_close(padded.audio_segment_probs[0, :4], alone.audio_segment_probs[0])
    torch.testing.assert_close(padded.visual_video_probs[0], alone.visual_video_probs[0])
    means = frames.unflatten(1, (5, 8)).mean(2)
    torch.testing.assert_close(parser(audio, means).visual_segment_probs, parser(audio, frames).visual_segment_probs)


def test_the_visual_stream_is_the_projection_of_the_mean_frame() -> None:
    """LSLD's program: Linear of each frame, mean over the second, no fusion."""
    parser = tiny_parser(visual_3d_dim=0)
    keys = {key for key in parser.state_dict() if key.startswith("stem.")}
    assert keys == {f"stem.{stream}.{name}" for stream in ("audio", "visual_2d") for name in ("weight", "bias")}
    audio, frames, _ = inputs(2, 3)
    assert isinstance(parser.stem, FeatureStem)
    projected, visual = parser.stem(audio, frames)
    weight, bias = parser.stem.visual_2d.weight, parser.stem.visual_2d.bias
    torch.testing.assert_close(visual, (frames @ weight.T + bias).unflatten(1, (3, 8)).mean(2))
    torch.testing.assert_close(projected, parser.stem.audio(audio))


def test_streams_that_do_not_fit_are_named() -> None:
    audio, frames, clips = inputs(1, 2)
    with pytest.raises(ValueError, match="the features are audio, visual_2d, visual_3d; the parser reads audio, visu"):
        tiny_parser(visual_3d_dim=0)(audio, frames, clips)
    with pytest.raises(ValueError, match="the features are audio, visual_2d; the parser reads audio, visual_2d, visu"):
        tiny_parser()(audio, frames)
    with pytest.raises(ValueError, match="segments disagree: audio 2, visual_2d 15"):
        tiny_parser(visual_3d_dim=0)(audio, frames[:, :15])


@pytest.mark.parametrize("value", [-1, 0.0, False, None])
def test_only_the_number_zero_means_no_stream(value: object) -> None:
    with pytest.raises(ValueError, match="visual_3d_dim"):
        ParserConfig(labels=("a",), visual_3d_dim=value)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="visual_2d_dim is 0"):
        ParserConfig(labels=("a",), visual_2d_dim=0)


def test_a_checkpoint_keeps_the_streams(tmp_path: Path) -> None:
    parser = tiny_parser(visual_3d_dim=0).float()
    assert parser.config.stream_dims == {"audio": 6, "visual_2d": 10}
    assert ParserConfig.from_dict(parser.config.to_dict()) == parser.config
    path = tmp_path / "best.safetensors"
    path.write_bytes(dump_checkpoint(parser, {}, {}))
    audio, frames, _ = inputs(1, 2)
    found = load_checkpoint(path).parser(audio.float(), frames.float())
    torch.testing.assert_close(found.video_probs, parser(audio.float(), frames.float()).video_probs)
