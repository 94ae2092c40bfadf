"""Post-processing scored on other groups than it was chosen on."""

import numpy as np
import pytest
from scipy import sparse

from tests.oracles import samples_f1, threshold_top_k
from tighnari_graph.species_sets import KS
from tighnari_models.post_processing import MODEL_THRESHOLDS, PLAIN_K, post_processing


def drawn(n=24, s=37, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 2, (n, s)).astype(np.float32)
    labels = (rng.random((n, s)) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    return logits, labels, np.arange(n) % 3, np.arange(n) // 2


def sets_of(rows, k, theta):
    return [threshold_top_k(row, k, theta, "intersection") for row in rows]


def test_what_is_chosen_for_a_group_was_chosen_on_the_others():
    logits, labels, groups, blocks = drawn()
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    true = [set(np.flatnonzero(row)) for row in labels]
    scored = post_processing(logits, sparse.csr_matrix(labels), groups, blocks)
    for group in range(3):
        inside, outside = np.flatnonzero(groups == group), np.flatnonzero(groups != group)

        def score(rows, k, theta):
            return samples_f1(sets_of(probabilities[rows], k, theta), [true[i] for i in rows])

        tried = {k: score(outside, k, 0.0) for k in range(1, 38)}
        best = max(tried, key=lambda k: (round(tried[k], 12), -k))
        expected = score(inside, best, 0.0)
        assert scored.survey_f1["Top-K"][inside].mean() == pytest.approx(expected)
        plain = score(inside, PLAIN_K, 0.0)
        assert scored.survey_f1[f"Top-K, K = {PLAIN_K}"][inside].mean() == pytest.approx(plain)


def test_one_group_changes_nothing_of_its_own_rule():
    """Other labels for a group must not change which rule it is judged by."""
    logits, labels, groups, blocks = drawn()
    other = labels.copy()
    other[groups == 0] = 1 - other[groups == 0]
    before = post_processing(logits, sparse.csr_matrix(labels), groups, blocks)
    after = post_processing(logits, sparse.csr_matrix(other), groups, blocks)
    assert (
        before.table.loc["Threshold Top-K", "samples-F1"]
        != after.table.loc["Threshold Top-K", "samples-F1"]
    )
    # sets of group 0 are judged by a rule of the other groups: recover their sizes from both truths
    f1 = [part.survey_f1["Threshold Top-K"][groups == 0] for part in (before, after)]
    sizes = [labels[groups == 0].sum(1), other[groups == 0].sum(1)]
    # hits in one truth are misses in the other: |set| = hits + hits', F1 = 2 hits / (|set| + size)
    size = (f1[0] * sizes[0] + f1[1] * sizes[1]) / (2 - f1[0] - f1[1])
    np.testing.assert_allclose(size, np.round(size), atol=1e-6)


def test_the_rule_is_fitted_on_everybody():
    logits, labels, groups, blocks = drawn()
    scored = post_processing(logits, sparse.csr_matrix(labels), groups, blocks)
    assert scored.rule.scores.shape == (len(KS), len(MODEL_THRESHOLDS))
    assert scored.rule.scores.max() == pytest.approx(
        samples_f1(
            sets_of(1 / (1 + np.exp(-logits)), scored.rule.k, scored.rule.threshold),
            [set(np.flatnonzero(row)) for row in labels],
        )
    )


def test_lists_and_graph_are_rows_of_the_table():
    logits, labels, groups, blocks = drawn()
    lists = sparse.csr_matrix(labels)  # perfect lists can only help the true positives
    scored = post_processing(
        logits, sparse.csr_matrix(labels), groups, blocks, lists, np.full(len(labels), 0.25)
    )
    steps = scored.table["samples-F1"]
    assert steps["survey graph alone"] == 0.25
    assert steps["Threshold Top-K and PO lists"] > steps["Threshold Top-K"]
    assert (scored.table["from"] <= steps).all() and (steps <= scored.table["to"]).all()


def test_one_group_is_refused():
    logits, labels, _, blocks = drawn()
    with pytest.raises(ValueError, match="two groups"):
        post_processing(logits, sparse.csr_matrix(labels), np.zeros(len(labels)), blocks)
