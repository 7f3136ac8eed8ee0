"""Specifications of features with other streams than LLP's, as files state them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from avvp.extractors.profiles import FeatureSpec
from avvp.extractors.sampling import LLP_STREAMS
from avvp.pipeline.features.extract import FeatureSet

LLP = FeatureSpec("llp", 1, ("vggish", "resnet152", "r2plus1d_18"), (128, 2048, 512))
MAPS = FeatureSpec("maps", 1, ("vggish", "vgg19"), (3, 4), 16, streams=("audio", "visual_map"))


def test_streams_are_stored_where_they_are_not_those_of_llp() -> None:
    assert "streams" not in LLP.to_dict()  # versions that know no others read it
    assert FeatureSpec.from_dict(LLP.to_dict()).streams == LLP_STREAMS
    assert MAPS.to_dict()["streams"] == ["audio", "visual_map"]
    assert FeatureSpec.from_dict(MAPS.to_dict()) == MAPS


def test_rates_are_rows_per_second() -> None:
    assert LLP.rates == (1, 8, 1)
    assert MAPS.rates == (1, 1)


def test_differences_name_the_streams() -> None:
    changed = replace(MAPS, streams=("audio", "visual_2d"))
    assert MAPS.differences(changed) == ["streams: ['audio', 'visual_map'] / ['audio', 'visual_2d']"]


@pytest.mark.parametrize(
    "streams",
    [
        [],
        ["visual_map"],
        ["visual_map", "audio"],
        ["audio", "audio"],
        ["audio", "smell"],
        ["audio", []],
        "audio",
        3,
        ["audio"] * 50,
    ],
)
def test_other_streams_are_refused(streams: Any) -> None:
    with pytest.raises(ValueError, match="streams is"):
        FeatureSpec.from_dict(MAPS.to_dict() | {"streams": streams})


def test_there_is_an_extractor_and_a_width_for_each_stream() -> None:
    with pytest.raises(ValueError, match="expected one for each of audio, visual_map"):
        FeatureSpec.from_dict(MAPS.to_dict() | {"dims": [3, 4, 5]})


def test_a_feature_set_has_the_streams_of_its_specification() -> None:
    none, audio, maps = np.zeros((0, 0), np.float32), np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)
    features = FeatureSet(audio, none, none, MAPS, 2.0, visual_map=maps)
    assert list(features.arrays()) == ["audio", "visual_map"]
    assert features.arrays()["visual_map"] is maps
    assert features.segments == 2
    with pytest.raises(ValueError, match="visual_2d is not among the streams"):
        FeatureSet(audio, np.ones((16, 4), np.float32), none, MAPS, 2.0, visual_map=maps)
    with pytest.raises(ValueError, match="visual_map is float32"):
        FeatureSet(audio, none, none, MAPS, 2.0)
