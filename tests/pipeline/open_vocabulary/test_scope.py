"""SCoPE's rule: its solver against those of SciPy and scikit-learn, scores by hand, any length, odd inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from avvp.pipeline.open_vocabulary import scope as module
from avvp.pipeline.open_vocabulary import sparse
from avvp.pipeline.open_vocabulary.scope import Scope, score_weights
from avvp.pipeline.open_vocabulary.similarities import Similarities
from avvp.pipeline.open_vocabulary.sparse import sparse_weights
from avvp.pipeline.open_vocabulary.vocabulary import RuleSettings
from avvp.pipeline.segments import runs
from numpy.typing import NDArray
from support.similar import reordered, scene

RULE = Scope()
EVENTS = [("audio", 0, 20, 26), ("visual", 1, 40, 90), ("audio", 2, 100, 103), ("visual", 0, 125, 131)]


def unit(rows: NDArray[Any]) -> NDArray[Any]:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def problem(texts: int, dim: int, *, alike: float = 0.0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows made of a few texts and noise, and the texts, which have a part in common."""
    r = np.random.default_rng([texts, dim])
    table = unit(unit(r.standard_normal((texts, dim))) + alike)
    rows = table[r.integers(0, texts, (70, 3))].sum(axis=1) + 0.7 * unit(r.standard_normal((70, dim)))
    return unit(rows), table


SIZES = [(5, 16, 0.0), (40, 64, 0.0), (40, 64, 0.1), (200, 48, 0.05), (1, 8, 0.0)]


@pytest.mark.parametrize(("texts", "dim", "alike"), SIZES)
@pytest.mark.parametrize("penalty", [0.01, 0.3])
def test_weights_are_those_of_the_lasso(texts: int, dim: int, alike: float, penalty: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rows, table = problem(texts, dim, alike=alike)
    # It minimises |z - wC|^2 / (2 D) + alpha sum(w).
    lasso = linear_model.Lasso(
        alpha=penalty / (2 * dim), positive=True, fit_intercept=False, tol=1e-13, max_iter=1_000_000
    )
    found = sparse_weights(rows, table, penalty)
    for row, weights in zip(rows[::7], found[::7], strict=True):
        np.testing.assert_allclose(weights, lasso.fit(table.T, row).coef_, atol=1e-8)


@pytest.mark.parametrize(("texts", "dim", "alike"), SIZES[:3])
def test_weights_without_a_penalty_are_non_negative_least_squares(texts: int, dim: int, alike: float) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    rows, table = problem(texts, dim, alike=alike)
    found = sparse_weights(rows, table, 0)
    for row, weights in zip(rows[::7], found[::7], strict=True):
        np.testing.assert_allclose(weights, optimize.nnls(table.T, row)[0], atol=1e-9)


def test_each_weight_may_have_a_penalty_of_its_own() -> None:
    rows, table = problem(30, 40)
    penalties = np.random.default_rng(1).random((len(rows), 30)) * 0.5
    weights = sparse_weights(rows, table, penalties)
    slopes = 2 * (rows - weights @ table) @ table.T - penalties  # of minus the objective
    assert (weights >= 0).all()
    assert (slopes <= 1e-8).all()
    assert np.abs(slopes[weights > 0]).max() < 1e-8


def test_texts_that_are_the_same_share_a_weight() -> None:
    rows, table = problem(6, 16)
    doubled = np.vstack([table, table])
    weights = sparse_weights(rows, doubled, 0.1)
    np.testing.assert_allclose(weights[:, :6] + weights[:, 6:], sparse_weights(rows, table, 0.1), atol=1e-5)


def test_few_systems_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many texts take no more memory than few: as many systems of equations are solved at a time as fit."""
    rows, table = problem(40, 64, alike=0.1)
    expected = sparse_weights(rows, table, 0.1)
    monkeypatch.setattr(sparse, "_NUMBERS", 300)
    np.testing.assert_allclose(sparse_weights(rows, table, 0.1), expected, rtol=0, atol=1e-14)


def test_rows_without_an_exact_solution_are_approached() -> None:
    """Many texts of few dimensions that are nearly the same."""
    random = np.random.default_rng(3)
    table = random.standard_normal((200, 16)) + 1.5 * random.standard_normal((1, 16))
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    rows = random.random((32, 200)) ** 6 @ table
    gains = 2 * rows @ table.T - 0.04
    gram = table @ table.T
    _, solved = sparse._exact(gram, gains, np.zeros_like(gains))  # pyright: ignore[reportPrivateUsage]
    assert not solved.all()
    weights = sparse_weights(rows, table, 0.04)
    slopes = gains - 2 * weights @ gram
    largest = gains.max()  # slope where all weights are 0
    assert slopes.max() < 1e-3 * largest
    assert np.abs(slopes[weights > 1e-6]).max() < 1e-3 * largest


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_the_exact_solution_is_found_from_anywhere(start: float) -> None:
    rows, table = problem(40, 64, alike=0.1)
    gains = 2 * rows @ table.T - 0.1
    gram = table @ table.T
    expected = sparse_weights(rows, table, 0.1)
    found, solved = sparse._exact(gram, gains, np.full_like(gains, start))  # pyright: ignore[reportPrivateUsage]
    assert solved.all()
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_a_text_that_another_explains_has_no_weight() -> None:
    table = unit(np.array([[1.0, 0, 0], [1, 0.6, 0], [0, 0, 1]]))
    weights = sparse_weights(table[:1], table, 0.3)
    np.testing.assert_allclose(weights, [[1 - 0.15, 0, 0]], atol=1e-12)


def test_scores_of_weights_by_hand() -> None:
    # 1, .4 and a weight of 0: mean 7/15, squares (8/15)^2 + (1/15)^2 + (7/15)^2, over 2, and a quarter of z's scale.
    deviation = np.sqrt(((8 / 15) ** 2 + (1 / 15) ** 2 + (7 / 15) ** 2) / 2)
    high, low = (1 / (1 + np.exp(-4 * part / deviation)) for part in (8 / 15, -1 / 15))
    np.testing.assert_allclose(score_weights(np.array([[1, 0, 0.4, 0]])), [[high, 0, low, 0]])
    # One alone, and two of one weight, are high; where there are none, all are 0.
    assert score_weights(np.array([[0.2, 0, 0]]))[0, 0] > 0.9
    assert (score_weights(np.array([[0.2, 0.2, 0]]))[0, :2] > 0.9).all()
    assert not score_weights(np.zeros((2, 3))).any()


def decide(similarities: Similarities, tau: float = 0.75, **settings: Any) -> dict[str, NDArray[np.bool_]]:
    chosen = RuleSettings(name="scope", **settings)
    levels = {modality: np.full(similarities.classes, tau) for modality in ("audio", "visual")}
    return RULE.decide(RULE.score(similarities, chosen), similarities, levels, chosen)


def scores(similarities: Similarities, **settings: Any) -> dict[str, NDArray[np.float64]]:
    return RULE.score(similarities, RuleSettings(name="scope", **settings))


def found(table: dict[str, NDArray[np.bool_]], events: Sequence[tuple[str, int, int, int]]) -> bool:
    return all((onset, offset) in runs(table[modality][:, c]) for modality, c, onset, offset in events)


def test_events_are_found_where_they_are() -> None:
    assert found(decide(scene(150, EVENTS)), EVENTS)


def test_the_other_modality_makes_a_class_cheaper() -> None:
    quiet = scene(60, [("visual", 0, 10, 20)])
    rows = {name: values.copy() for name, values in quiet.embeddings.items()}
    both = scene(60, [("visual", 0, 10, 20), ("audio", 0, 10, 20)])
    faint = unit(rows["visual"] + 0.1 * quiet.texts["visual"][0])
    alone = Similarities.of({**rows, "visual": faint}, quiet.texts, 3)
    with_sound = Similarities.of({**both.embeddings, "visual": faint}, quiet.texts, 3)
    table = scores(with_sound)["visual"][:, 0], scores(alone)["visual"][:, 0]
    assert table[0][20:].mean() > table[1][20:].mean()
    np.testing.assert_array_equal(
        scores(with_sound, eta=0.0)["visual"], scores(alone, eta=0.0)["visual"]
    )  # without its help


def test_scores_are_those_of_the_equations_written_out() -> None:
    """Second by second, with scikit-learn's Lasso, whose penalty is made equal for all by scaling the texts."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    similarities = scene(12, [("visual", 0, 2, 6), ("audio", 0, 4, 9), ("audio", 1, 0, 3)], entries=12, noise=0.03)
    texts = {m: unit(rows - rows.mean(axis=0)) for m, rows in similarities.texts.items()}
    lasso = linear_model.Lasso(alpha=1 / 128, positive=True, fit_intercept=False, tol=1e-13, max_iter=1_000_000)

    def solve(modality: str, t: int, factors: NDArray[Any]) -> NDArray[Any]:
        z = similarities.embeddings[modality][t]
        penalty = 2 * (texts[modality] @ z).max() * 0.3 * factors  # |z - wC|^2 + penalty w, of 64 dimensions
        return lasso.fit((texts[modality] / penalty[:, None]).T, z).coef_ / penalty

    first = {m: np.array([solve(m, t, np.ones(12)) for t in range(12)]) for m in texts}
    s = {m: w / w.max(axis=1, keepdims=True) for m, w in first.items()}
    found = scores(similarities)
    for modality, other in (("audio", "visual"), ("visual", "audio")):
        for t in range(12):
            near = texts[other] @ similarities.embeddings[other][t]
            explained = texts[other] @ (first[other][t] @ texts[other])
            q = max(0, near @ explained / np.linalg.norm(near) / np.linalg.norm(explained))
            support = s[other].max(axis=0) * (1 + 4 * s[other][t] * q)
            w = solve(modality, t, np.clip(np.exp(-support), 0.1, 1))
            present = np.append(w[w > 1e-10], 0)
            scale = present.std(ddof=1) * np.clip((len(present) - 1) / 16, 0.25, 1.25)
            expected = np.where(w > 1e-10, 1 / (1 + np.exp(-(w - present.mean()) / scale)), 0)
            np.testing.assert_allclose(found[modality][t], expected[:3], atol=1e-6)


def test_order_of_the_list_changes_nothing() -> None:
    similarities = scene(100, EVENTS[:3])
    order = [1, 2, 0]
    moved = reordered(similarities, order)
    for modality, table in scores(similarities).items():
        np.testing.assert_allclose(scores(moved)[modality], table[:, order], rtol=0, atol=1e-12)


def test_a_class_that_is_nowhere_changes_what_is_found_hardly() -> None:
    similarities = scene(150, EVENTS, entries=60, noise=0.02)
    texts = {
        modality: np.vstack([rows[:3], unit(-rows.mean(axis=0)), rows[3:]])
        for modality, rows in similarities.texts.items()
    }
    more = Similarities(4, similarities.embeddings, texts)
    assert found(decide(more), EVENTS)
    for modality, c, onset, offset in EVENTS:
        change = scores(more)[modality][onset:offset, c] - scores(similarities)[modality][onset:offset, c]
        assert np.abs(change).max() < 0.1


@pytest.mark.parametrize("seconds", [0, 1, 2, 10, 61])
def test_any_length(seconds: int) -> None:
    table = decide(scene(seconds, [("audio", 0, 0, seconds)], noise=0.01))
    assert table["audio"].shape == table["visual"].shape == (seconds, 3)
    assert table["audio"][:, 0].all()


def test_windows_are_nearly_equal() -> None:
    ((block, lengths),) = module._blocks(121, 60)  # pyright: ignore[reportPrivateUsage]
    assert (block.start, block.stop) == (0, 121)
    ends = np.cumsum(lengths)
    spans = list(zip(ends - lengths, ends, strict=True))
    assert spans == [(0, 40), (40, 80), (80, 121)]


def test_windows_that_are_solved_together_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    similarities = scene(150, EVENTS)
    together = scores(similarities, window=40)
    monkeypatch.setattr(module, "_BLOCK", 1)
    for modality, table in scores(similarities, window=40).items():
        np.testing.assert_allclose(table, together[modality], rtol=0, atol=1e-12)


def test_classes_with_few_seconds_around_are_dropped() -> None:
    similarities = scene(60, [("visual", 0, 10, 11), ("visual", 1, 30, 33)], noise=0.01)
    assert decide(similarities, min_seconds=1)["visual"][10, 0]
    assert not decide(similarities, min_seconds=2)["visual"][10, 0]
    assert decide(similarities, min_seconds=3)["visual"][30:33, 1].all()
    assert not decide(similarities, min_seconds=4)["visual"][:, 1].any()


def test_a_stream_that_is_missing_has_no_events() -> None:
    similarities = scene(60, [("audio", 0, 5, 50), ("visual", 0, 5, 50)]).of_streams(audio=False, visual=True)
    assert not scores(similarities)["audio"].any()
    assert not decide(similarities, 0.0)["audio"].any()
    assert decide(similarities)["visual"][5:50, 0].all()


def test_a_class_without_a_sentence_for_a_modality_has_no_events_in_it() -> None:
    similarities = scene(60, [("audio", 0, 5, 50), ("visual", 1, 5, 50)])
    texts = {**similarities.texts, "audio": similarities.texts["audio"].copy()}
    texts["audio"][1] = np.nan
    table = Similarities(3, similarities.embeddings, texts)
    assert not scores(table)["audio"][:, 1].any()
    assert decide(table)["audio"][5:50, 0].all()
    assert decide(table)["visual"][5:50, 1].all()


def test_seconds_that_are_alike_to_all_entries_have_no_events() -> None:
    same = np.tile(np.ones(8) / np.sqrt(8), (10, 1))
    texts = {modality: np.tile(same[:1], (5, 1)) for modality in ("audio", "visual")}
    texts["audio"] = unit(texts["audio"] + 1e-4 * np.eye(5, 8))  # what rounding may leave
    similarities = Similarities.of({"audio": same + 1e-4 * np.eye(10, 8), "visual": np.zeros((10, 8))}, texts, 2)
    for table in scores(similarities).values():
        assert not table.any()
    alone = scene(20, [("visual", 0, 1, 9)], classes=1, entries=1)
    assert not any(table.any() for table in scores(alone).values())
