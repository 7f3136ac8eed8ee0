"""AV2A's rule: any length, windows, one sound for a window, missing streams, odd inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from avvp.pipeline.open_vocabulary import similarities as module
from avvp.pipeline.open_vocabulary.av2a import Av2a
from avvp.pipeline.open_vocabulary.rules import merge_seconds, shifted_thresholds
from avvp.pipeline.open_vocabulary.similarities import Similarities
from avvp.pipeline.open_vocabulary.vocabulary import RuleSettings
from numpy.typing import NDArray
from support.similar import reordered, scene

RULE = Av2a()
Table = NDArray[np.bool_]


def decide(similarities: Similarities, tau: float = 0.75, **settings: Any) -> dict[str, Table]:
    chosen = RuleSettings(**settings)
    levels = {modality: np.full(similarities.classes, tau) for modality in ("audio", "visual")}
    return RULE.decide(RULE.score(similarities, chosen), similarities, levels, chosen)


def found(table: dict[str, Table]) -> set[tuple[str, int, int, int]]:
    return {
        (modality, c, *event)
        for modality, active in table.items()
        for c in range(active.shape[1])
        for event in merge_seconds(active[:, c])
    }


EVENTS = [("audio", 0, 20, 26), ("visual", 1, 40, 90), ("audio", 2, 100, 103), ("visual", 0, 125, 131)]


def test_events_are_found_where_they_are() -> None:
    events = found(decide(scene(150, EVENTS), tau=0.9))
    for modality, c, onset, offset in EVENTS:
        # A second may follow, as the threshold has fallen.
        assert {(modality, c, onset, offset), (modality, c, onset, offset + 1)} & events


def test_windows_begin_anew() -> None:
    similarities = scene(150, EVENTS)
    scores = RULE.score(similarities, RuleSettings())["visual"]
    expected = np.zeros(scores.shape, bool)
    for start in (0, 60, 120):
        part = slice(start, start + 60)
        rows = similarities.embeddings["visual"][part]
        expected[part] = scores[part] > np.maximum(shifted_thresholds(scores[part], 0.75, 1.0, embeddings=rows), 0.5)
    joined = decide(similarities, refine_threshold=0.0)["visual"]
    for c in range(3):
        assert merge_seconds(expected[:, c]) == merge_seconds(joined[:, c])
    # What is in one window does not change the others.
    alone = decide(scene(150, EVENTS), window=150)["visual"]
    changed = scene(150, [*EVENTS, ("visual", 1, 2, 9)])
    np.testing.assert_array_equal(decide(changed)["visual"][62:], decide(similarities)["visual"][62:])
    assert alone.shape == expected.shape


def test_windows_in_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    similarities = scene(200, EVENTS)
    whole, scores = decide(similarities), RULE.score(similarities, RuleSettings())
    monkeypatch.setattr(module, "BLOCK_CELLS", 100)
    for modality, table in decide(similarities).items():
        np.testing.assert_array_equal(table, whole[modality])
        np.testing.assert_allclose(RULE.score(similarities, RuleSettings())[modality], scores[modality], atol=1e-12)


def test_a_class_that_was_active_is_easier_to_keep() -> None:
    # The class fades: with thresholds that do not move, its end would be lost.
    similarities = scene(30, [("visual", 0, 5, 15)], noise=0)
    rows = similarities.embeddings["visual"].copy()
    mean = similarities.texts["visual"].mean(axis=0)
    for second, share in zip(range(10, 15), (0.2, 0.18, 0.16, 0.15, 0.15), strict=True):
        rows[second] = mean + share * similarities.texts["visual"][0]
    faded = Similarities.of({**similarities.embeddings, "visual": rows}, similarities.texts, 3)
    score = RULE.score(faded, RuleSettings())["visual"][:, 0]
    tau = float(score[13]) + 1e-3
    assert not (score[13:15] > tau).any()
    assert decide(faded, tau, gamma=0.5)["visual"][13, 0]
    assert not decide(faded, tau, gamma=1e6)["visual"][13, 0]


def test_order_of_the_list_changes_nothing() -> None:
    similarities = scene(150, EVENTS)
    order = [2, 0, 1]
    moved = reordered(similarities, order)
    for modality, scores in RULE.score(similarities, RuleSettings()).items():
        np.testing.assert_allclose(RULE.score(moved, RuleSettings())[modality], scores[:, order], rtol=0, atol=1e-12)
        np.testing.assert_array_equal(decide(moved)[modality], decide(similarities)[modality][:, order])


def test_a_class_that_is_nowhere_moves_other_scores_by_little() -> None:
    similarities = scene(150, EVENTS, entries=60)
    # With K entries, a further one at the mean moves z by a factor of about 1 + 1 / 2K, a far one by its z / K.
    far = {modality: -rows.mean(axis=0) for modality, rows in similarities.texts.items()}
    texts = {
        modality: np.vstack([rows[:3], far[modality] / np.linalg.norm(far[modality]), rows[3:]])
        for modality, rows in similarities.texts.items()
    }
    more = Similarities(4, similarities.embeddings, texts)
    for modality, scores in RULE.score(similarities, RuleSettings()).items():
        assert np.abs(RULE.score(more, RuleSettings())[modality][:, :3] - scores).max() < 0.1


def test_one_class_with_a_background_is_found() -> None:
    similarities = scene(60, [("visual", 0, 10, 14)], classes=1)
    assert ("visual", 0, 10, 14) in found(decide(similarities, 0.9))


def test_one_class_alone_has_nothing_to_compare_with() -> None:
    similarities = scene(20, [("visual", 0, 10, 14)], classes=1, entries=1)
    assert not RULE.score(similarities, RuleSettings())["visual"].any()
    assert not decide(similarities, 0.0)["visual"].any()


@pytest.mark.parametrize("seconds", [0, 1, 2, 59, 60, 61])
def test_any_length(seconds: int) -> None:
    found = decide(scene(seconds, [("audio", 0, 0, seconds)], noise=0.01))
    assert found["audio"].shape == found["visual"].shape == (seconds, 3)
    assert found["audio"][:, 0].all()  # even in one second


def test_a_stream_that_is_missing_has_no_events() -> None:
    similarities = scene(60, [("audio", 0, 5, 50), ("visual", 0, 5, 50)]).of_streams(audio=False, visual=True)
    assert not RULE.score(similarities, RuleSettings())["audio"].any()
    assert not decide(similarities, 0.0)["audio"].any()
    assert decide(similarities)["visual"][5:50, 0].all()


def test_a_class_without_a_sentence_for_a_modality_has_no_events_in_it() -> None:
    similarities = scene(60, [("audio", 0, 5, 50)])
    texts = {**similarities.texts, "audio": similarities.texts["audio"].copy()}
    texts["audio"][1] = np.nan
    found = Similarities(3, similarities.embeddings, texts)
    assert not RULE.score(found, RuleSettings())["audio"][:, 1].any()
    for method in ("bbse-cosine", "bbse", "cosine"):
        table = decide(found, 0.0, method=method)["audio"]
        assert not table[:, 1].any()
        assert table[5:50, 0].all()


def test_seconds_that_are_alike_to_all_entries_have_no_events() -> None:
    same = np.tile(np.ones(8) / np.sqrt(8), (10, 1))
    texts = {modality: np.tile(same[:1], (5, 1)) for modality in ("audio", "visual")}
    similarities = Similarities.of({"audio": same, "visual": np.zeros((10, 8))}, texts, 2)
    for modality in ("audio", "visual"):
        np.testing.assert_array_equal(RULE.score(similarities, RuleSettings())[modality], 0.5)
        assert not decide(similarities)[modality].any()


def test_one_sound_for_a_window_as_published() -> None:
    similarities = scene(120, [("audio", 0, 10, 30)])
    settings = RuleSettings(published_audio=True)
    scores = RULE.score(similarities, settings)["audio"]
    assert (scores[:60] == scores[0]).all() and (scores[60:] == scores[60]).all()
    mean = similarities.embeddings["audio"][:60].mean(axis=0)
    expected = similarities.relative("audio", (mean / np.linalg.norm(mean))[None])
    np.testing.assert_allclose(scores[0], expected[0], atol=1e-12)
    np.testing.assert_array_equal(
        RULE.score(similarities, settings)["visual"], RULE.score(similarities, RuleSettings())["visual"]
    )


def test_cosine_alone_moves_no_class_that_was_not_active() -> None:
    # The published program lets all thresholds fall at once with this method.
    similarities = scene(60, [("visual", 0, 10, 20)], noise=0.3)
    scores = RULE.score(similarities, RuleSettings())["visual"]
    table = decide(similarities, 0.95, method="cosine", refine_threshold=0.0)["visual"]
    never = [c for c in range(3) if not (scores[:, c] > 0.95).any()]
    assert never
    assert not table[:, never].any()


def test_an_event_with_a_low_score_of_its_own_loses_what_fallen_thresholds_let_in() -> None:
    similarities = scene(60, [("visual", 0, 10, 13)], noise=0)
    rows = {name: values.copy() for name, values in similarities.embeddings.items()}
    text, other = similarities.texts["visual"][0], similarities.texts["visual"][9]
    rows["visual"][13:40] = 0.4 * text + 3 * other
    rows["visual"][40:] = 3 * other - text
    faded = Similarities.of(rows, similarities.texts, 3)
    scores = faded.relative("visual")[:, 0]
    tau = 0.95
    assert 0.5 < scores[13] < tau
    settings = {"gamma": 0.1, "method": "cosine"}
    assert found(decide(faded, tau, refine_threshold=0.0, **settings)) == {("visual", 0, 10, 40)}
    assert found(decide(faded, tau, refine_threshold=0.95, **settings)) == {("visual", 0, 10, 13)}


def test_thresholds_below_the_second_level_are_not_raised_by_it() -> None:
    similarities = scene(60, [], noise=0.05)
    low = decide(similarities, 0.0)["visual"]
    assert low.all()  # a user's threshold of 0 takes everything


def test_scores_do_not_depend_on_other_seconds() -> None:
    similarities = scene(90, EVENTS[:2])
    part = replace(similarities, embeddings={name: rows[30:50] for name, rows in similarities.embeddings.items()})
    whole = RULE.score(similarities, RuleSettings())
    for modality, scores in RULE.score(part, RuleSettings()).items():
        np.testing.assert_allclose(scores, whole[modality][30:50], atol=1e-12)


def test_decisions_are_those_of_each_class_written_out() -> None:
    """A plain implementation, class by class and event by event, for thresholds that differ by class."""
    similarities = scene(130, EVENTS, noise=0.08)
    settings = RuleSettings(gamma=0.2)
    levels = {modality: np.array([0.7, 0.8, 0.9]) for modality in ("audio", "visual")}
    scores = RULE.score(similarities, settings)
    found = RULE.decide(scores, similarities, levels, settings)
    shortened = 0
    for modality, rows in similarities.embeddings.items():
        active = np.zeros((130, 3), bool)
        for start in range(0, 130, 60):
            part = slice(start, start + 60)
            moved = shifted_thresholds(scores[modality][part], levels[modality], 0.2, embeddings=rows[part])
            active[part] = scores[modality][part] > np.maximum(moved, 0.5)
        expected = np.zeros_like(active)
        for c, level in enumerate(levels[modality]):
            certain = merge_seconds(scores[modality][:, c] > level)
            for onset, offset in merge_seconds(active[:, c]):
                mean = rows[onset:offset].mean(axis=0)
                own = similarities.relative(modality, mean[None] / np.linalg.norm(mean))[0, c]
                kept = [(onset, offset)] if own > min(level, 0.75) else certain
                shortened += own <= min(level, 0.75)
                for first, last in kept:
                    expected[max(first, onset) : min(last, offset), c] = True
        np.testing.assert_array_equal(found[modality], expected)
    assert shortened  # the case is among them


def test_any_embeddings_give_finite_scores() -> None:
    random = np.random.default_rng(5)
    for case in range(60):
        seconds, entries = int(random.integers(1, 80)), int(random.integers(1, 7))
        classes = int(random.integers(1, entries + 1))
        scale = 10.0 ** random.integers(-20, 5)
        rows = {m: scale * random.choice([0.0, 1.0, random.standard_normal()], (seconds, 4)) for m in levels_of(1)}
        texts = {m: random.choice([0.0, 1.0, -1.0], (entries, 4)) for m in rows}
        similarities = Similarities.of(rows, texts, classes)
        settings = RuleSettings(window=int(random.integers(1, 70)), gamma=float(random.choice([0, 1, 1e6])))
        scores = RULE.score(similarities, settings)
        for modality, table in RULE.decide(scores, similarities, levels_of(classes), settings).items():
            assert table.shape == (seconds, classes), case
            assert np.isfinite(scores[modality]).all(), case
            assert ((scores[modality] >= 0) & (scores[modality] <= 1)).all(), case


def levels_of(classes: int) -> dict[str, NDArray[np.float64]]:
    return {modality: np.full(classes, 0.75) for modality in ("audio", "visual")}
