"""Richness Top-K against sets made one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from tests import oracles
from tighnari_graph.decisions import DecisionRule
from tighnari_graph.metrics import samples_f1
from tighnari_graph.richness import RichnessTopK


def set_of(row, expected, scale, offset, max_k):
    k = min(max(round(scale * expected + offset), 1), max_k)
    return oracles.threshold_top_k(row, k, 0.0, "intersection")


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), own=st.booleans(), thin=st.booleans())
def test_sets_and_scores_equal_the_oracle(seed, own, thin):
    rng = np.random.default_rng(seed)
    num, width, max_k = int(rng.integers(1, 6)), int(rng.integers(1, 9)), int(rng.integers(1, 6))
    p = rng.integers(0, 5, (num, width)) / 4
    labels = rng.random((num, width)) < 0.4
    richness = rng.random(num) * 6 if own else None
    expected = richness if own else p.sum(axis=1)
    scales, offsets = [0.0, 0.7, 2.0], [-1.0, 0.3, 3.0]
    given_p = sparse.csr_matrix(p) if thin else p
    fitted = RichnessTopK.fit(given_p, labels, richness, scales, offsets, max_k)
    for a, scale in enumerate(scales):
        for c, offset in enumerate(offsets):
            sets = [
                set_of(row, e, scale, offset, max_k)
                for row, e in zip(p.tolist(), expected.tolist(), strict=True)
            ]
            found = RichnessTopK(scale, offset, max_k).predict(given_p, richness=richness)
            assert oracles.rows_to_sets(found.toarray()) == sets
            score = oracles.samples_f1(sets, oracles.rows_to_sets(labels))
            assert fitted.scores[a, c] == pytest.approx(score, abs=1e-12)
    again = samples_f1(fitted.predict(given_p, richness=richness), labels)
    assert again == pytest.approx(fitted.scores.max(), abs=1e-12)


def test_rich_and_poor_surveys_are_told_apart(monkeypatch):
    rng = np.random.default_rng(0)
    rich = rng.random((80, 1)) < 0.5
    p = np.where(np.arange(40) < np.where(rich, 20, 4), 0.8, 0.1) + rng.random((80, 40)) / 100
    labels = rng.random(p.shape) < p
    whole = RichnessTopK.fit(p, labels)
    sizes = np.diff(whole.predict(p).indptr)
    assert isinstance(whole, DecisionRule)
    assert sizes[rich[:, 0]].min() > 2 * sizes[~rich[:, 0]].max()
    fixed = RichnessTopK.fit(p, labels, scales=[0.0], offsets=np.arange(1.0, 41.0))
    assert whole.scores.max() > fixed.scores.max() + 0.05
    monkeypatch.setattr("tighnari_graph.species_sets._CHUNK", 200)
    np.testing.assert_allclose(RichnessTopK.fit(p, labels).scores, whole.scores)
    assert (RichnessTopK(whole.scale, whole.offset).predict(p) != whole.predict(p)).nnz == 0


def test_bad_input_is_refused():
    p, y = np.array([[0.1, 0.2]]), np.array([[0, 1]])
    with pytest.raises(ValueError, match="scale and offset must be numbers"):
        RichnessTopK(np.nan, 0.0)
    with pytest.raises(ValueError, match="max_k must be from 1 up, got 0"):
        RichnessTopK.fit(p, y, max_k=0)
    with pytest.raises(ValueError, match="one or more"):
        RichnessTopK.fit(p, y, scales=[])
    with pytest.raises(ValueError, match="one or more"):
        RichnessTopK.fit(p, y, offsets=[np.inf])
    with pytest.raises(ValueError, match=r"richness must be 1 numbers, one a survey.*\(2,\)"):
        RichnessTopK.fit(p, y, richness=np.ones(2))
    with pytest.raises(ValueError, match="richness must be 1 numbers"):
        RichnessTopK(1.0, 0.0).predict(p, richness=np.array([np.nan]))
    with pytest.raises(ValueError, match="no surveys"):
        RichnessTopK.fit(np.zeros((0, 2)), np.zeros((0, 2)))
    added = RichnessTopK(0.0, 1.0).predict(p, add=sparse.csr_matrix([[1, 0]]))
    assert added.toarray().tolist() == [[1, 1]]
    assert RichnessTopK(1.0, 0.0).predict(np.zeros((0, 3))).shape == (0, 3)
