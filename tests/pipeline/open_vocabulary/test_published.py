"""AV2A's whole procedure against its published program."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from avvp.pipeline.open_vocabulary.published import (
    CLIP_CLAP,
    KINDS,
    LANGUAGEBIND,
    PublishedClip,
    PublishedSettings,
    parse_as_published,
)
from numpy.typing import NDArray
from support.golden import SEED, load_json, load_npz, needs_golden

CLIPS, CLASSES, DIM = 12, 25, 64
SETTINGS = {"languagebind": LANGUAGEBIND, "clip_clap": CLIP_CLAP}
VARIANTS: dict[str, dict[str, Any]] = {
    "published": {},
    "naive": {"method": "naive"},
    "bbse": {"method": "bbse"},
    "cosine": {"method": "cosine"},
    "late": {"fusion": "late"},
    "AVE": {"refinement": "ave"},
    "all_classes": {"filters": False},
    "unrefined": {"refinement": None},
}

arrays = cache(load_npz)
document = cache(load_json)


def unit(rows: NDArray[Any]) -> NDArray[Any]:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def make_clip(index: int, setting: str) -> PublishedClip:
    """A clip of README-openvocab.md, as the two pairs of encoders embed it."""
    r = np.random.default_rng([SEED, 100 + index])
    seen, heard = (r.standard_normal((CLASSES, DIM)).astype("f4") for _ in range(2))
    number = r.integers(1, 4)
    classes = r.choice(CLASSES, number, replace=False)
    frames = r.standard_normal((240, DIM)).astype("f4") * np.float32(1.2)
    sound = r.standard_normal((10, DIM)).astype("f4") * np.float32(1.2)
    is_one_tower = setting == "languagebind"
    heard = seen if is_one_tower else heard
    for c in classes:
        on = r.integers(0, 7)
        off = r.integers(on + 2, 11)
        where = r.integers(0, 3)
        if where != 1:
            frames[24 * on : 24 * off] += seen[c]
        if where != 0:
            sound[on:off] += heard[c]

    def listen(onset: int, offset: int) -> NDArray[Any]:
        return unit(sound[onset:offset].mean(axis=0))

    if not is_one_tower:
        return PublishedClip(frames, listen, seen, unit(heard))
    return PublishedClip(unit(frames), listen, unit(seen), unit(heard), lambda ids: unit(frames[ids].mean(axis=0)))


@cache
def names() -> list[str]:
    return [prompt.removeprefix("A ") for prompt in document("av2a.json")["prompts"]["clip"]]


@needs_golden
@pytest.mark.parametrize("setting", SETTINGS)
def test_results_are_those_of_the_published_program(setting: str) -> None:
    for index in range(CLIPS):
        clip = make_clip(index, setting)
        for variant, changes in VARIANTS.items():
            case = f"{index}/{setting}/{variant}"
            golden = document("av2a.json")["clips"][case]
            result = parse_as_published(clip, replace(SETTINGS[setting], **changes))
            for kind, classes in golden.get("classes", {}).items():
                assert [names()[c] for c in result.classes[kind]] == classes, case
            for kind, expected in zip(KINDS, golden["before_refining"], strict=False):
                runs: dict[str, list[list[int]]] = {}
                for c, onset, offset in result.before_refinement[kind]:
                    runs.setdefault(names()[c], []).append([onset, offset])
                assert runs == expected, (case, kind)
            for kind in KINDS:
                found = sorted((names()[c].lower(), onset, offset) for c, onset, offset in result.events[kind])
                events = sorted((item["event_label"], item["start"], item["end"]) for item in golden["result"][kind])
                assert found == events, (case, kind)


@needs_golden
@pytest.mark.parametrize("setting", SETTINGS)
def test_scores_and_thresholds_are_those_of_the_published_program(setting: str) -> None:
    for index in range(CLIPS):
        result = parse_as_published(make_clip(index, setting), SETTINGS[setting])
        for kind in KINDS:
            golden = arrays("av2a.npz")
            key = f"clip/{index}/{setting}/published/{kind}"
            np.testing.assert_allclose(result.scores[kind], golden[f"{key}/scores"], atol=1e-6)
            np.testing.assert_allclose(result.thresholds[kind], golden[f"{key}/thresholds"], atol=7.5e-7)


@needs_golden
def test_frames_are_those_that_the_published_program_looks_at() -> None:
    clip = make_clip(0, "clip_clap")
    described = document("av2a.json")["frames_clip_clap"]
    assert clip.frame_numbers(0, 10, 8).tolist() == described[0]
    assert clip.frame_numbers(0, 10, 10).tolist() == described[1]


def test_one_class_and_a_filter_that_keeps_none_find_nothing() -> None:
    clip = make_clip(0, "clip_clap")
    alone = replace(clip, visual_texts=clip.visual_texts[:1], audio_texts=clip.audio_texts[:1])
    for case in (replace(CLIP_CLAP, filters=False), CLIP_CLAP, replace(CLIP_CLAP, fusion="late")):
        assert not any(parse_as_published(alone, case).events.values())
    assert not any(parse_as_published(clip, replace(CLIP_CLAP, filter_threshold=1.0)).events.values())


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(ValueError, match="method 'fast' is not one of bbse-cosine, bbse, cosine, naive"):
        PublishedSettings(method="fast")
