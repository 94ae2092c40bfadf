"""The set of highest expected F1 against every set and every outcome, and plain recursions."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from tighnari_graph.calibration import Temperature
from tighnari_graph.decisions import DecisionRule
from tighnari_graph.expectation import RankedChunk
from tighnari_graph.expected_f1 import ExpectedF1
from tighnari_graph.metrics import samples_f1


def f1(chosen, true):
    if not chosen and not true:
        return 1.0
    return 2 * len(chosen & true) / (len(chosen) + len(true))


def expectation(p, chosen):
    total = 0.0
    for outcome in itertools.product([False, True], repeat=len(p)):
        chance = 1.0
        for value, occurs in zip(p, outcome, strict=True):
            chance *= value if occurs else 1 - value
        total += chance * f1(chosen, {s for s, occurs in enumerate(outcome) if occurs})
    return total


def numbers(p):
    """Chances of 0, 1, 2 … occurrences: the Poisson-binomial recursion."""
    chances = [1.0]
    for value in p:
        longer = [*chances, 0.0]
        for count in range(len(longer)):
            missed = chances[count] * (1 - value) if count < len(chances) else 0.0
            longer[count] = missed + (chances[count - 1] * value if count else 0.0)
        chances = longer
    return chances


def by_recursion(p, k):
    """E[F1] of the k first species: hits among them, and occurrences among the others."""
    inside, outside = numbers(p[:k]), numbers(p[k:])
    return sum(
        a * b * 2 * hits / (k + hits + others)
        for hits, a in enumerate(inside)
        for others, b in enumerate(outside)
        if hits
    )


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    width=st.integers(1, 6),
    power=st.sampled_from([0.5, 1, 3]),
    thin=st.booleans(),
)
def test_no_set_of_any_kind_has_a_higher_expected_f1(seed, width, power, thin):
    rng = np.random.default_rng(seed)
    p = rng.random(width) ** power
    p[rng.random(width) < 0.2] = 0
    p[rng.random(width) < 0.1] = 1
    given_p = sparse.csr_matrix(p[None]) if thin else p[None]
    chosen = set(ExpectedF1().predict(given_p).indices.tolist())
    sets = [set(c) for k in range(width + 1) for c in itertools.combinations(range(width), k)]
    best = max(expectation(p.tolist(), s) for s in sets)
    assert expectation(p.tolist(), chosen) == pytest.approx(best, abs=1e-12)
    assert all(p[s] > 0 for s in chosen)


@pytest.mark.parametrize("shift", [0.0, 0.75, -0.5])
@pytest.mark.parametrize(("depth", "dtype"), [(4, np.float64), (30, np.float32), (90, np.float64)])
def test_expected_f1_of_every_prefix_equals_the_recursion(shift, depth, dtype):
    rng = np.random.default_rng(depth)
    p = np.sort(rng.random((3, 90)) ** 4, axis=1)[:, ::-1].astype(dtype).copy()
    temperature = Temperature(1.2, -0.2)
    for given_p in (p, sparse.csr_matrix(p)):
        chunk = RankedChunk.of(given_p, temperature, depth, "exact", reach=0.75)
        found = chunk.expected_f1(0.0, shift, "exact", depth)
        for row, values in enumerate(p.astype(float)):
            z = np.log(values / (1 - values)) / 1.2 - 0.2 + shift
            q = (1 / (1 + np.exp(-z))).tolist()
            wanted = [np.prod([1 - value for value in q])]
            wanted += [by_recursion(q, k) for k in range(1, min(depth, 20) + 1)]
            np.testing.assert_allclose(found[row, : len(wanted)], wanted, atol=2e-7)


def test_unlisted_species_count_as_many_rare_ones():
    p = np.array([[0.6, 0.4, 0.2, 0.1]])
    rare = np.full((1, 30_000), 5 / 30_000)
    listed = RankedChunk.of(np.concatenate([p, rare], axis=1), Temperature(), 4, "exact")
    unlisted = RankedChunk.of(p, Temperature(), 4, "exact")
    np.testing.assert_allclose(
        unlisted.expected_f1(5.0, 0.0, "exact", 4), listed.expected_f1(0.0, 0.0, "exact", 4),
        rtol=2e-3,
    )  # fmt: skip


def test_fast_loses_next_to_nothing():
    rng = np.random.default_rng(0)
    p = rng.beta(0.2, 2.5, (300, 150)).astype(np.float32)
    chunk = RankedChunk.of(p, Temperature(), 128, "exact")
    exact = chunk.expected_f1(0.0, 0.0, "exact", 128)
    lengths = [chunk.length(0.0, 0.0, method, 128)[:, None] for method in ("exact", "fast")]
    best, fast = (np.take_along_axis(exact, length, axis=1) for length in lengths)
    assert 0 <= (best - fast).mean() < 1e-5
    assert (lengths[0] == lengths[1]).mean() > 0.9
    assert not np.array_equal(exact, chunk.expected_f1(0.0, 0.0, "fast", 128))


@pytest.mark.parametrize("method", ["exact", "fast"])
def test_fit_undoes_a_shift_and_scores_what_predict_gives(method):
    rng = np.random.default_rng(1)
    true = rng.beta(0.3, 3, (300, 40))
    labels = rng.random(true.shape) < true
    shifted = Temperature(2.0, -1.0).transform(true)
    rule = ExpectedF1.fit(shifted, labels, method=method)
    assert isinstance(rule, DecisionRule)
    assert len(rule.scores) == len(rule.shifts) == 7
    assert samples_f1(rule.predict(shifted), labels) == pytest.approx(rule.scores.max(), abs=1e-12)
    plain = ExpectedF1(method=method).predict(shifted)
    assert samples_f1(plain, labels) < rule.scores.max()
    assert rule.temperature.temperature == pytest.approx(0.5, rel=0.1)
    bare = ExpectedF1.fit(shifted, labels, method=method, calibrate=False, shifts=[0.0])
    assert (bare.predict(shifted) != plain).nnz == 0


def test_sparse_rows_count_the_labels_that_they_leave_out(monkeypatch):
    rng = np.random.default_rng(2)
    p = rng.beta(0.3, 3, (60, 30))
    labels = rng.random(p.shape) < p
    thin = np.where(p > 0.2, p, 0)
    dense = ExpectedF1.fit(thin, labels)
    assert dense.unlisted == pytest.approx((labels & (thin == 0)).sum() / 60)
    monkeypatch.setattr("tighnari_graph.species_sets._CHUNK", 100)
    for layout in (sparse.csr_matrix(thin), torch.tensor(thin).to_sparse_csr()):
        rule = ExpectedF1.fit(layout, labels)
        np.testing.assert_allclose(rule.scores, dense.scores)
        assert rule.unlisted == dense.unlisted
        assert (rule.predict(layout) != dense.predict(thin)).nnz == 0


def test_long_lists_of_sure_species_are_cut_at_the_depth():
    p = np.full((2, 300), 0.9, dtype=np.float32)
    sets = ExpectedF1(depth=50).predict(p)
    assert np.diff(sets.indptr).tolist() == [50, 50]
    assert sets.indices.max() == 49
    assert np.diff(ExpectedF1(depth=1000).predict(p).indptr).tolist() == [300, 300]


def test_bad_input_is_refused():
    p, y = np.array([[0.1, 0.2]]), np.array([[0, 1]])
    with pytest.raises(ValueError, match="method must be one of exact, fast, got 'slow'"):
        ExpectedF1(method="slow")
    with pytest.raises(ValueError, match="depth must be from 1 up"):
        ExpectedF1(depth=0)
    with pytest.raises(ValueError, match="unlisted must be"):
        ExpectedF1(unlisted=-1.0)
    with pytest.raises(ValueError, match="shifts must be"):
        ExpectedF1.fit(p, y, shifts=[2.0])
    with pytest.raises(ValueError, match="shifts must be"):
        ExpectedF1.fit(p, y, shifts=[])
    with pytest.raises(ValueError, match="outside 0 … 1"):
        ExpectedF1().predict(-p)
    with pytest.raises(ValueError, match="not finite"):
        ExpectedF1().predict(p * np.nan)
    with pytest.raises(ValueError, match="add is"):
        ExpectedF1().predict(p, add=np.zeros((1, 3)))
    assert ExpectedF1().predict(np.zeros((0, 4))).shape == (0, 4)
    added = ExpectedF1().predict(np.array([[0.9, 0.0]]), add=np.array([[0, 1]]))
    assert added.toarray().tolist() == [[1, 1]]
