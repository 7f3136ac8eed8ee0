"""Profiles that approximate the bundle's on the command line: extract, parse, evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av.error
import numpy as np
import pytest
from avvp.pipeline.decode.container import gpu
from support.command import Run
from support.media import Clips

WARNING = "approximate: features of profile fast, but the parser was trained on profile clean"


def read_events(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_one_file_is_parsed_with_a_warning(run: Run, clips: Clips, tiny_bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "events.json"
    result = run("parse", clips.steady, "--weights", tiny_bundle, "--profile", "fast", "-o", output)
    assert result.status == 0
    events = read_events(output)
    assert events["warnings"] == [WARNING]
    assert (events["provenance"]["features"]["profile"], events["provenance"]["features"]["frames_per_segment"]) == (
        "fast", 2,
    )  # fmt: skip
    assert WARNING in " ".join(result.err.split())  # the terminal wraps it


def test_a_batch_computes_again_for_another_profile(run: Run, clips: Clips, tiny_bundle: Path, tmp_path: Path) -> None:
    common = ("parse", clips.steady, "--weights", tiny_bundle, "--output-dir", tmp_path)
    assert run(*common).status == 0
    assert read_events(tmp_path / "steady.events.json")["warnings"] == []
    result = run(*common, "--profile", "fast")
    assert (result.status, WARNING in result.err) == (0, True)
    assert read_events(tmp_path / "steady.events.json")["warnings"] == [WARNING]
    assert "1 done before" not in result.err


def test_a_published_parser_of_llp_has_the_warning(run: Run, clips: Clips, tiny_llp_bundle: Path) -> None:
    result = run("parse", clips.steady, "--weights", tiny_llp_bundle, "--profile", "clean-fast", "-o", "-")
    assert json.loads(result.out)["warnings"] == [
        "approximate: features of profile clean-fast, but the parser was trained on profile llp"
    ]


def test_a_profile_that_approximates_another_one_is_refused(run: Run, clips: Clips) -> None:
    result = run("parse", clips.steady, "--weights", "demo-avel", "--profile", "fast")
    assert result.status == 2
    assert "profile 'ave-4', which fast does not approximate; profiles that do: none" in result.err
    unknown = run("parse", clips.steady, "--profile", "llp")
    assert (unknown.status, "'clean-fast', 'fast'" in unknown.err) == (2, True)


@pytest.mark.parametrize("layout", ["llp", "packed"])
def test_features_of_fast_are_extracted(run: Run, clips: Clips, tiny_bundle: Path, tmp_path: Path, layout: str) -> None:
    common = ("extract", clips.steady, "-o", tmp_path / "features", "--weights", tiny_bundle, "--layout", layout)
    assert run(*common, "--profile", "fast").status == 0
    assert json.loads((tmp_path / "features" / "features.json").read_text())["frames_per_segment"] == 2
    if layout == "llp":
        assert np.load(tmp_path / "features" / "resnet_tiny" / "steady.npy").shape == (6, 64)
    other = run(*common)
    assert other.status == 2
    assert "profile: fast / clean" in other.err


def test_decoding_on_a_gpu_needs_one(
    run: Run, clips: Clips, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_no_gpu(_: object) -> None:
        raise av.error.PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(gpu, "_open_gpu", open_no_gpu)
    common = ("extract", clips.steady, "-o", tmp_path / "features", "--decoder", "cuda", "--weights")
    result = run(*common, tiny_bundle, "--profile", "clean")
    assert result.status == 2
    assert "--decoder cuda: no NVIDIA GPU with a driver that decodes video was found" in result.err
    assert not list(tmp_path.glob("features/*/*"))
    of_jpeg = run(*common, tiny_bundle, "--profile", "llp")
    assert (of_jpeg.status, "JPEG frames, which cuda cannot make; use --decoder ffmpeg" in of_jpeg.err) == (2, True)


def test_similar_pictures_are_recorded(run: Run, clips: Clips, tiny_bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "events.json"
    arguments = ("parse", clips.steady, "--weights", tiny_bundle, "--similar-pictures", "1.5")
    assert run(*arguments, "-o", output).status == 0
    assert read_events(output)["provenance"]["features"]["similar_pictures"] == 1.5
    batch = (*arguments, "--output-dir", tmp_path / "batch")
    assert run(*batch).status == 0
    assert "1 done before" in run(*batch).err
    changed = run(*batch[:-3], "0", *batch[-2:])
    assert (changed.status, "1 done before" in changed.err) == (0, False)
    features = ("extract", clips.steady, "-o", tmp_path / "features", "--weights", tiny_bundle)
    assert run(*features, "--similar-pictures", 1).status == 0
    refused = run(*features)
    assert (refused.status, "similar_pictures: 1.0 / 0.0" in refused.err) == (2, True)


def test_similar_pictures_are_refused_under_llp(run: Run, clips: Clips, tiny_llp_bundle: Path) -> None:
    result = run("parse", clips.steady, "--weights", tiny_llp_bundle, "--similar-pictures", 1)
    assert result.status == 2
    assert "profile 'llp' computes every picture" in result.err


def test_a_parser_is_trained_on_features_of_fast(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    made, features, trained = tmp_path / "made", tmp_path / "features", tmp_path / "run"
    assert run("synth", made, "--clips", 4, "--seconds", 1, "--shares", "50,25,25", "-q", "--workers", 1).status == 0
    common = ("--weights", tiny_bundle, "--profile", "fast", "-q")
    assert run("extract", made / "videos", "-o", features, "--layout", "packed", *common).status == 0
    settings = ("training.epochs=1", "model.hidden_dim=8", "model.feedforward_dim=8", "model.heads=1")
    changes = [part for setting in settings for part in ("--set", setting)]
    data = ("--annotations", made / "annotations", "--features", features, "--extractors", tiny_bundle)
    result = run("train", "--recipe", "han", *data, "-o", trained, *changes, "-q", "--device", "cpu")
    assert result.status == 0, result.err
    clip = next((made / "videos").iterdir())
    parsed = run("parse", clip, "--weights", trained, "--segments", "-q")
    assert parsed.status == 0, parsed.err
    events = json.loads(parsed.out)
    assert (events["warnings"], events["provenance"]["features"]["profile"]) == ([], "fast")
    refused = run("parse", clip, "--weights", trained, "--profile", "clean-fast", "-q")
    assert (refused.status, "which clean-fast does not approximate" in refused.err) == (2, True)
