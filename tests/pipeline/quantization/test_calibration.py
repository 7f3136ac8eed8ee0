"""Which inputs of which clips networks are calibrated on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from avvp.extractors.registry import build_extractor
from avvp.pipeline.errors import SetupError
from avvp.pipeline.files import hash_file
from avvp.pipeline.quantization import calibration
from avvp.pipeline.quantization.calibration import collect_inputs, split_clips, spread
from support.media import Clips

PATHS = [Path(f"{number}.mp4") for number in range(10)]


def names(paths: list[Path]) -> list[int]:
    return [int(path.stem) for path in paths]


def test_files_are_spread_over_a_list() -> None:
    assert names(spread(PATHS, 4)) == [0, 3, 6, 9]
    assert names(spread(PATHS, 1)) == [0]
    assert names(spread(PATHS, 99)) == list(range(10))


def test_clips_are_split_without_overlap() -> None:
    first, second = split_clips(PATHS, 4, 2)
    assert (len(first), len(second)) == (4, 2)
    assert not set(first) & set(second)
    assert split_clips(PATHS, 4, 0) == (spread(PATHS, 4), [])


def test_few_clips_are_shared() -> None:
    first, second = split_clips(PATHS[:6], 40, 20)
    assert (len(first), len(second)) == (4, 2)
    assert [len(part) for part in split_clips(PATHS[:2], 40, 20)] == [1, 1]
    assert [len(part) for part in split_clips(PATHS[:1], 40, 20)] == [1, 0]
    assert [len(part) for part in split_clips(PATHS[:1], 1, 1000)] == [1, 0]


def test_a_sample_keeps_its_size_its_order_and_its_values() -> None:
    sample = calibration._Sample(5, seed=1)
    inputs = np.arange(40)[:, None]
    for start in range(0, 40, 7):
        part = inputs[start : start + 7].copy()
        sample.add(part)
        part[:] = -1  # shared memory is used again
    kept = [int(value[0]) for value in sample.values]
    assert len(kept) == 5
    assert kept == sorted(set(kept))
    assert min(kept) >= 0


def test_each_input_is_kept_equally_often() -> None:
    counts = np.zeros(12)
    for seed in range(600):
        sample = calibration._Sample(3, seed=seed)
        sample.add(np.arange(12)[:, None])
        counts[[int(value[0]) for value in sample.values]] += 1
    assert counts.sum() == 1800
    assert abs(counts - 150).max() < 50  # 150 +- 10.6 expected


def test_inputs_are_those_of_clips_that_can_be_decoded(clips: Clips, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    extractors = {name: build_extractor(name) for name in ("vggish_tiny", "resnet_tiny")}
    calls: list[tuple[str, int, int]] = []
    found = collect_inputs(
        [broken, clips.steady, clips.blink],
        extractors,
        profile="clean",
        progress=lambda *call: calls.append(call),
    )
    assert list(found.failed) == [broken]
    assert found.clips == (hash_file(clips.steady), hash_file(clips.blink))
    assert [call[1:] for call in calls] == [(1, 3), (2, 3)]
    assert found.inputs["audio"].shape[1:] == (96, 64)
    assert found.inputs["audio"].dtype == np.float32
    assert found.inputs["visual_2d"].shape[1:] == (224, 224, 3)
    assert found.inputs["visual_2d"].dtype == np.uint8
    again = collect_inputs([broken, clips.steady, clips.blink], extractors, profile="clean")
    assert all(np.array_equal(found.inputs[stream], again.inputs[stream]) for stream in found.inputs)


def test_the_first_clips_suffice(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MAX_INPUTS", 6)
    extractors = {"resnet_tiny": build_extractor("resnet_tiny")}
    found = collect_inputs([clips.steady, clips.blink], extractors, profile="clean", wanted=1)
    assert found.clips == (hash_file(clips.steady),)
    assert len(found.inputs["visual_2d"]) == 6


def test_clips_that_cannot_be_decoded_are_an_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    with pytest.raises(SetupError, match=r"none of 1 clips can be decoded to calibrate networks on \(broken.mp4: "):
        collect_inputs([broken], {"resnet_tiny": build_extractor("resnet_tiny")}, profile="clean")
