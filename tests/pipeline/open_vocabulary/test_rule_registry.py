"""What all rules have in common."""

from __future__ import annotations

import numpy as np
import pytest
from avvp.pipeline.open_vocabulary.rule_registry import RULES
from avvp.pipeline.open_vocabulary.similarities import Similarities
from avvp.pipeline.open_vocabulary.vocabulary import RULE_NAMES, RuleSettings
from support.similar import scene

EVENTS = [("audio", 0, 5, 12), ("visual", 1, 20, 30), ("audio", 2, 28, 40), ("visual", 3, 2, 8)]


def test_every_rule_has_its_name() -> None:
    assert set(RULES) == set(RULE_NAMES)


@pytest.mark.parametrize("name", RULE_NAMES)
def test_order_of_the_list_and_of_the_background_changes_not_one_bit(name: str) -> None:
    similarities, settings, rule = scene(70, EVENTS, classes=5), RuleSettings(name=name), RULES[name]
    levels = {modality: np.array([0.75, 0.7, 0.8, 0.6, 0.75]) for modality in ("audio", "visual")}
    scores = rule.score(similarities, settings)
    labels = rule.decide(scores, similarities, levels, settings)
    assert labels["audio"].any()
    random = np.random.default_rng(3)
    for _ in range(5):
        order = random.permutation(5)
        everything = [*order, *random.permutation(range(5, 30))]
        texts = {modality: rows[everything] for modality, rows in similarities.texts.items()}
        moved = Similarities(5, similarities.embeddings, texts)
        moved_scores = rule.score(moved, settings)
        moved_levels = {modality: values[order] for modality, values in levels.items()}
        moved_labels = rule.decide(moved_scores, moved, moved_levels, settings)
        for modality in levels:
            np.testing.assert_array_equal(moved_scores[modality], scores[modality][:, order])
            np.testing.assert_array_equal(moved_labels[modality], labels[modality][:, order])
