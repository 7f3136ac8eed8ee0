"""Published decisions of all systems, from the probabilities that their programs computed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from avvp.models.config import ParserConfig
from avvp.models.decoder_output import ParserOutput
from avvp.models.files.published import load_published
from avvp.models.labels import LLP_LABELS
from avvp.models.parser import AVParser
from avvp.pipeline.inference.thresholds import published_decision
from support.golden import SEED, load_npz, needs_golden
from support.zoo import zoo_features, zoo_state
from torch import Tensor

OWN = {"video_filter": "own"}
POOLED = {"video_filter": "pooled"}


class System(NamedTuple):
    """Names of arrays in a golden file, and the settings of the decision."""

    file: str
    segments: str  # (B, T, 2, C)
    videos: tuple[str, str]
    video: str | None
    decision: str
    settings: dict[str, Any]


SYSTEMS = {
    "ma": System("ma", "frame_prob", ("a_prob", "v_prob"), "global_prob", "decision/", OWN),
    "cvcms": System("cvcms", "frame_prob", ("a_prob", "v_prob"), "global_prob", "decision/", POOLED),
    "jomold": System(
        "jomold", "ca/frame_prob", ("ca/a_prob", "ca/v_prob"), "ca/global_prob", "ca/decision_", OWN
    ),
    "estimator": System(
        "jomold", "noca/frame_prob", ("noca/a_prob", "noca/v_prob"), "noca/global_prob", "noca/decision_", OWN
    ),
    "cmpae": System(
        "cmpae", "fused/frame_prob", ("fused/a_prob", "fused/v_prob"), None, "decision/",
        {**OWN, "segment_threshold": 0.25, "video_threshold": 0.45},
    ),
    "mgn": System("mgn", "{}_frame_prob", ("a_prob", "v_prob"), "global_prob", "decision/", POOLED),
    "dhhn": System("dhhn", "{}_net_frame_prob", ("a_prob", "v_prob"), None, "decision/", OWN),
    "uwav": System(
        "uwav", "{}_frame_logits", ("a_prob", "v_prob"), "global_prob", "decision/",
        {**POOLED, "strict_thresholds": True},
    ),
}  # fmt: skip


class Decided(NamedTuple):
    """What a decision reads of a parser."""

    config: ParserConfig


def output_of(system: System, golden: dict[str, np.ndarray]) -> ParserOutput:
    if "{}" not in system.segments:
        audio, visual = (torch.from_numpy(golden[system.segments][:, :, index]) for index in range(2))
    elif system.file == "dhhn":
        audio = torch.from_numpy(golden["audio_net_frame_prob"][:, :, 0])
        visual = torch.from_numpy(golden["video_net_frame_prob"][:, :, 1])
    else:
        audio, visual = (torch.from_numpy(golden[system.segments.format(name)]) for name in "av")
    if system.file == "uwav":
        audio, visual = audio.sigmoid(), visual.sigmoid()
    videos = [torch.from_numpy(golden[name]) for name in system.videos]
    pooled = videos[0] * torch.nan if system.video is None else torch.from_numpy(golden[system.video])
    output = output_with(audio, visual, videos[0], videos[1], pooled)
    if system.video is None:  # without pooled ones, they are not read
        return replace(output, audio_video_logits=videos[0], visual_video_logits=videos[1])
    return output


def output_with(
    audio: Tensor, visual: Tensor, audio_video: Tensor, visual_video: Tensor, video: Tensor
) -> ParserOutput:
    """The output of a decoder that pools, of which only the probabilities count."""
    return ParserOutput(
        audio_segment_probs=audio,
        visual_segment_probs=visual,
        audio_video_probs=audio_video,
        visual_video_probs=visual_video,
        video_probs=video,
        audio_hidden=audio,
        visual_hidden=visual,
        valid=torch.ones(audio.shape[:2], dtype=torch.bool),
        audio_segment_logits=audio,
        visual_segment_logits=visual,
    )


@needs_golden
@pytest.mark.parametrize("name", SYSTEMS)
def test_published_decisions(name: str) -> None:
    system = SYSTEMS[name]
    golden = load_npz(f"{system.file}_official.npz")
    config = ParserConfig(labels=LLP_LABELS, encoder="han", decoder="mmil", **system.settings)
    decided = published_decision(Decided(config), output_of(system, golden))  # pyright: ignore[reportArgumentType]
    for modality in ("audio", "visual"):
        expected = golden[f"{system.decision}{modality}"]
        np.testing.assert_array_equal(decided.of(modality), expected)
        assert 0 < expected.mean() < 1


@needs_golden
@pytest.mark.parametrize("name", ["ma", "jomold", "cmpae", "dhhn", "uwav", "mgn"])
def test_the_rule_matters(name: str) -> None:
    """With the rule and the thresholds of HAN, each of these would be decided wrongly, but for MGN and UWAV."""
    system = SYSTEMS[name]
    golden = load_npz(f"{system.file}_official.npz")
    output = output_of(system, golden)
    if system.video is None:
        output = replace(output, video_probs=torch.ones(2, 25), audio_video_logits=None, visual_video_logits=None)
    config = ParserConfig(labels=LLP_LABELS, encoder="han", decoder="mmil")
    decided = published_decision(Decided(config), output)  # pyright: ignore[reportArgumentType]
    same = all(np.array_equal(decided.of(m), golden[f"{system.decision}{m}"]) for m in ("audio", "visual"))
    assert same == (name in {"mgn", "uwav"})


@needs_golden
@pytest.mark.parametrize("name", SYSTEMS)
def test_published_networks_decide_as_their_programs(name: str) -> None:
    """From the published file to the decision: the rule and the thresholds are those that load_published sets."""
    system = SYSTEMS[name]
    cross_attention = False if name == "estimator" else None
    parser = load_published(zoo_state(system.file), family=system.file, cross_attention=cross_attention)
    assert isinstance(parser, AVParser)
    with torch.inference_mode():
        decided = published_decision(parser, parser(*zoo_features(SEED + 1, 2)))
    golden = load_npz(f"{system.file}_official.npz")
    for modality in ("audio", "visual"):
        np.testing.assert_array_equal(decided.of(modality), golden[f"{system.decision}{modality}"])


def test_padded_segments_are_never_active() -> None:
    segments, video = torch.ones(1, 3, 2), torch.ones(1, 2)
    config = ParserConfig(labels=("Dog", "Cat"), encoder="han", decoder="mmil", segment_threshold=0.0)
    output = replace(output_with(segments, segments, video, video, video), valid=torch.tensor([[True, True, False]]))
    decided = published_decision(Decided(config), output)  # pyright: ignore[reportArgumentType]
    assert decided.audio.tolist() == decided.visual.tolist() == [[[True] * 2, [True] * 2, [False] * 2]]


def test_decisions_of_other_packages_are_not_published_ones() -> None:
    segments, video = torch.ones(1, 1, 1), torch.ones(1, 1)
    output = output_with(segments, segments, video, video, video)
    config = ParserConfig(labels=("Dog",), decision="package:decide")
    with pytest.raises(ValueError, match="'package:decide' is of another package"):
        published_decision(Decided(config), output)  # pyright: ignore[reportArgumentType]
