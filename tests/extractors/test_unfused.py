"""AV2A's pair, CLIP ViT-B/32 and CLAP without fusion, against the models and the front end of transformers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from avvp.extractors import build_extractor, feature_spec
from avvp.extractors.clap_mel import clap_mel
from avvp.extractors.registry import extractor_shapes
from avvp.weights.untrained import untrained_state
from support.teachers import transformers

RNG = np.random.default_rng(7)
AUDIO = {"hidden_size": 16, "patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [1, 2],
         "num_hidden_layers": 2, "projection_dim": 12, "enable_fusion": False}  # fmt: skip


@pytest.mark.parametrize(("slaney", "truncation"), [(False, "fusion"), (True, "rand_trunc")])
@pytest.mark.parametrize("seconds", [1.0, 0.3, 3.4, 10.0])
def test_spectrograms_are_those_of_transformers(seconds: float, slaney: bool, truncation: str) -> None:
    waveform = 0.3 * np.sin(2 * np.pi * 700 * np.arange(int(48_000 * seconds)) / 48_000)
    waveform += RNG.normal(0, 0.05, len(waveform))
    front = transformers.ClapFeatureExtractor(frequency_min=50, frequency_max=14_000, truncation=truncation)
    expected = front(waveform, sampling_rate=48_000, return_tensors="np")["input_features"][0]
    ours = clap_mel(waveform, slaney=slaney)
    assert expected.shape[1:] == ours.shape == (1001, 64)
    np.testing.assert_allclose(ours, expected[0], atol=2e-3)  # decibels; theirs is float32


def test_slaney_bands_differ_from_htk_bands() -> None:
    waveform = RNG.normal(0, 0.1, 48_000)
    assert np.abs(clap_mel(waveform, slaney=True) - clap_mel(waveform)).mean() > 10


def test_clap_without_fusion_equals_transformers() -> None:
    torch.manual_seed(3)
    config = transformers.ClapConfig(audio_config=AUDIO, text_config={"num_hidden_layers": 1}, projection_dim=12)
    model = transformers.ClapModel(config).eval()
    waveforms = RNG.normal(0, 0.1, (3, 48_000))
    front = transformers.ClapFeatureExtractor(frequency_min=50, frequency_max=14_000, truncation="rand_trunc")
    inputs = front(list(waveforms), sampling_rate=48_000, return_tensors="pt")
    with torch.no_grad():
        features: Any = model.get_audio_features(**inputs)
    output = features if isinstance(features, torch.Tensor) else features.pooler_output
    extractor = build_extractor("clap_unfused_tiny", model.state_dict())
    rows = extractor(extractor.preprocess(waveforms))
    torch.testing.assert_close(rows, torch.nn.functional.normalize(output, dim=-1), atol=1e-5, rtol=0)
    assert rows.std(dim=0).max() > 1e-4


def test_clap_with_fusion_is_refused_by_name() -> None:
    state = untrained_state(extractor_shapes("clap_tiny"), 1)
    with pytest.raises(ValueError, match=r"do not fit UnfusedCLAP: unknown: .*fusion"):
        build_extractor("clap_unfused_tiny", state)


def test_sizes_are_the_published_ones() -> None:
    shapes = extractor_shapes("clip_b32")
    assert sum(map(math.prod, shapes.values())) == 87_849_216
    with torch.device("meta"):
        config = transformers.CLIPVisionConfig(patch_size=32, projection_dim=512)  # the defaults are those of B/32
        own = transformers.CLIPVisionModelWithProjection(config).state_dict()
    assert shapes == {key: tuple(value.shape) for key, value in own.items() if not key.endswith("position_ids")}
    assert extractor_shapes("clap_unfused")["audio_projection.linear2.weight"] == (512, 512)


def test_features_of_the_two_claps_are_not_mixed() -> None:
    specs = [
        feature_spec(profile, {name: build_extractor(name) for name in (clap, "clip_tiny")})
        for profile, clap in (("clip-clap", "clap_tiny"), ("clip-clap-unfused", "clap_unfused_tiny"))
    ]
    assert specs[0].mixing_differences(specs[1])
