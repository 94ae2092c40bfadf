"""Fixed K, threshold and cross-fitting against sets made one by one."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from tests import oracles
from tighnari_graph.community_f1 import CommunityF1
from tighnari_graph.decisions import DecisionRule, FixedK, Threshold, cross_fitted
from tighnari_graph.expected_f1 import ExpectedF1
from tighnari_graph.richness import RichnessTopK
from tighnari_graph.species_sets import ThresholdTopK

RULES = [FixedK, Threshold, ThresholdTopK, RichnessTopK, ExpectedF1, CommunityF1]


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    levels=st.sampled_from([2, 4, 1000]),
    dtype=st.sampled_from([np.float32, np.float64]),
    thin=st.booleans(),
)
def test_sets_and_scores_equal_the_oracle(seed, levels, dtype, thin):
    rng = np.random.default_rng(seed)
    num, width = int(rng.integers(1, 7)), int(rng.integers(1, 9))
    p = (rng.integers(0, levels + 1, (num, width)) / levels).astype(dtype)
    labels = rng.random((num, width)) < 0.4
    given_p = sparse.csr_matrix(p) if thin else p
    true = oracles.rows_to_sets(labels)

    fixed = FixedK.fit(given_p, labels, ks=[1, 3, 40])
    for k, score in zip([1, 3, 40], fixed.scores, strict=True):
        sets = [oracles.threshold_top_k(row, k, 0.0, "intersection") for row in p.tolist()]
        assert score == pytest.approx(oracles.samples_f1(sets, true), abs=1e-12)
        assert oracles.rows_to_sets(FixedK(k).predict(given_p).toarray()) == sets
    assert fixed.scores[[1, 3, 40].index(fixed.k)] == fixed.scores.max()

    fitted = Threshold.fit(given_p, labels, thresholds=[0.5, 0.0, 0.25])
    assert fitted.thresholds.tolist() == [0.0, 0.25, 0.5]
    for threshold, score in zip(fitted.thresholds.tolist(), fitted.scores, strict=True):
        sets = [{s for s, value in enumerate(row) if value > threshold} for row in p.tolist()]
        assert score == pytest.approx(oracles.samples_f1(sets, true), abs=1e-12)
        assert oracles.rows_to_sets(Threshold(threshold).predict(given_p).toarray()) == sets
    assert fitted.scores[fitted.thresholds.tolist().index(fitted.threshold)] == max(fitted.scores)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_takes_every_layout_and_merges_lists(rule):
    rng = np.random.default_rng(0)
    p = np.where(rng.random((30, 12)) < 0.4, 0, rng.random((30, 12))).astype(np.float32)
    labels = rng.random(p.shape) < p
    add = sparse.csr_matrix(rng.random(p.shape) < 0.1)
    fitted = rule.fit(p, labels)
    assert isinstance(fitted, DecisionRule)
    expected = fitted.predict(p).toarray()
    assert 0 < expected.sum() < expected.size
    assert not expected[p == 0].any()
    for layout in (torch.tensor(p), sparse.csr_matrix(p), torch.tensor(p).to_sparse_csr()):
        again = rule.fit(layout, torch.tensor(labels).float().to_sparse_csr())
        sets = again.predict(layout)
        assert (sets.format, sets.dtype) == ("csr", np.float32)
        np.testing.assert_array_equal(sets.toarray(), expected)
        merged = fitted.predict(layout, add=add).toarray()
        np.testing.assert_array_equal(merged, np.maximum(expected, add.toarray()))


@pytest.mark.parametrize("rule", RULES)
def test_a_survey_is_judged_by_a_rule_that_never_saw_its_fold(rule):
    rng = np.random.default_rng(1)
    p = rng.random((24, 10))
    labels = rng.random(p.shape) < p
    folds = np.array([7, 2, 4] * 8)
    sets = cross_fitted(rule.fit, sparse.csr_matrix(p), labels, folds).toarray()
    for number in (2, 4, 7):
        out = folds == number
        expected = rule.fit(p[~out], labels[~out]).predict(p[out]).toarray()
        np.testing.assert_array_equal(sets[out], expected)
    changed = labels.copy()
    changed[folds == 4] = ~changed[folds == 4]
    again = cross_fitted(rule.fit, torch.tensor(p), changed, folds).toarray()
    np.testing.assert_array_equal(again[folds == 4], sets[folds == 4])


@pytest.mark.parametrize(
    ("rule", "layout"),
    [
        (RichnessTopK, "vector"),
        (CommunityF1, "vector"),
        (CommunityF1, "dense"),
        (CommunityF1, "csr"),
        (CommunityF1, "torch csr"),
    ],
)
def test_a_rule_gets_the_richness_of_the_surveys_that_it_sees(rule, layout):
    rng = np.random.default_rng(3)
    p = rng.random((24, 10)).astype(np.float32)
    labels = rng.random(p.shape) < p
    folds = np.arange(24) % 3
    given = rng.random(24 if layout == "vector" else p.shape) * 20
    richness = {"csr": sparse.csr_matrix, "torch csr": lambda m: torch.tensor(m).to_sparse_csr()}
    sets = cross_fitted(
        rule.fit, sparse.csr_matrix(p), labels, folds, richness.get(layout, np.asarray)(given)
    )
    for number in range(3):
        out = folds == number
        fitted = rule.fit(p[~out], labels[~out], richness=given[~out])
        expected = fitted.predict(p[out], richness=given[out])
        assert (sets[out] != expected).nnz == 0
    assert (sets != cross_fitted(rule.fit, p, labels, folds)).nnz > 0


def test_richness_that_fits_no_survey_or_no_rule_is_refused():
    p, labels, folds = np.eye(4), np.eye(4, dtype=int), np.array([0, 1, 0, 1])
    with pytest.raises(ValueError, match="richness is of 3 surveys, probabilities of 4"):
        cross_fitted(CommunityF1.fit, p, labels, folds, np.ones(3))
    with pytest.raises(TypeError, match="richness"):
        cross_fitted(FixedK.fit, p, labels, folds, np.ones(4))


def test_cross_fitting_takes_settings_and_refuses_what_is_no_partition():
    p, labels = np.eye(4), np.eye(4, dtype=int)
    sets = cross_fitted(partial(FixedK.fit, ks=[3]), p, labels, np.array([0, 1, 0, 1]))
    np.testing.assert_array_equal(sets.toarray(), p)
    with pytest.raises(ValueError, match="two folds or more, got 1"):
        cross_fitted(FixedK.fit, p, labels, np.zeros(4, dtype=int))
    with pytest.raises(ValueError, match=r"folds are \(3,\), expected \(4,\)"):
        cross_fitted(FixedK.fit, p, labels, np.array([0, 1, 0]))
    with pytest.raises(ValueError, match="labels"):
        cross_fitted(FixedK.fit, p, labels[:, :3], np.array([0, 1, 0, 1]))


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="k must be a whole number from 1 up, got 0"):
        FixedK(0)
    with pytest.raises(ValueError, match="threshold must be a number from 0 up, got -0.1"):
        Threshold(-0.1)
    with pytest.raises(ValueError, match="ks must be"):
        FixedK.fit(np.zeros((1, 3)), np.zeros((1, 3)), ks=[])
    with pytest.raises(ValueError, match="thresholds must be finite"):
        Threshold.fit(np.zeros((1, 3)), np.zeros((1, 3)), thresholds=[np.nan])
    with pytest.raises(ValueError, match="shape"):
        FixedK(1).predict(np.zeros(3))
