"""The best set of communities against every set, and against plain loops."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from tighnari_graph.community_f1 import CommunityF1
from tighnari_graph.decisions import DecisionRule
from tighnari_graph.expected_f1 import ExpectedF1
from tighnari_graph.metrics import samples_f1

SIZES = [k for k in range(1, 101) if k <= 20 or k % (2 if k <= 60 else 5) == 0]


def expectation(weights, communities, chosen):
    total = 0.0
    for weight, community in zip(weights, communities, strict=True):
        both = len(chosen & community)
        total += weight * 2 * both / (len(chosen) + len(community))
    return total


def gains(p, richness, power, scale, k):
    return [
        value**power * 2 / (k + scale * m) if value > 0 else 0.0
        for value, m in zip(p, richness, strict=True)
    ]


def set_by_loops(p, richness, power, scale, depth):
    """The set of one survey; sizes past the probable species are that of all of them."""
    typical = gains(p, richness, power, scale, 25)
    near = sorted(range(len(p)), key=lambda s: (-typical[s], s))[:depth]
    near = sorted(s for s in near if p[s] > 0)
    best, chosen = 0.0, set()
    for size in SIZES:
        k = min(size, len(near))
        if k == 0:
            break
        gain = gains(p, richness, power, scale, k)
        top = sorted(near, key=lambda s: (-gain[s], s))[:k]
        value = sum(gain[s] for s in top)
        if value > best * (1 + 1e-12):
            best, chosen = value, set(top)
    return chosen


def f1(chosen, true):
    return 2 * len(chosen & true) / (len(chosen) + len(true)) if chosen or true else 1.0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), thin=st.booleans())
def test_no_set_of_any_kind_has_a_higher_expected_f1(seed, thin):
    """Communities share no species unless they are equally rich, so the rule is exact."""
    rng = np.random.default_rng(seed)
    species, communities, start = rng.permutation(9).tolist(), [], 0
    for block, richness in zip([4, 3, 2], rng.integers(1, 3, 3), strict=True):
        pool = species[start : start + block]
        start += block
        communities += [
            set(rng.choice(pool, richness, replace=False).tolist())
            for _ in range(rng.integers(1, 4))
        ]
    weights = rng.dirichlet(np.ones(len(communities)))
    p, m = np.zeros(9), np.zeros(9)
    for weight, community in zip(weights, communities, strict=True):
        for s in community:
            p[s] += weight
            m[s] = len(community)
    if thin:
        stored = p > 0
        place = (np.zeros(stored.sum(), dtype=int), np.flatnonzero(stored))
        given_p, given_m = (sparse.csr_matrix((x[stored], place), (1, 9)) for x in (p, m))
    else:
        given_p, given_m = p[None], m[None]
    chosen = set(CommunityF1().predict(given_p, richness=given_m).indices.tolist())
    sets = [set(c) for k in range(10) for c in itertools.combinations(range(9), k)]
    best = max(expectation(weights, communities, s) for s in sets)
    assert expectation(weights, communities, chosen) == pytest.approx(best, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    levels=st.sampled_from([2, 1000]),
    depth=st.sampled_from([3, 40, 128]),
    richness=st.sampled_from(["matrix", "vector", "none"]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_sets_and_scores_equal_the_loops(seed, levels, depth, richness, dtype):
    rng = np.random.default_rng(seed)
    num, width = int(rng.integers(1, 6)), int(rng.choice([1, 7, 90]))
    p = (rng.integers(0, levels + 1, (num, width)) / levels).astype(dtype)
    labels = rng.random(p.shape) < 0.3
    matrix = rng.integers(1, 40, (num, width)).astype(dtype)
    vector = rng.integers(1, 40, num).astype(np.float64)
    m = {"matrix": matrix, "vector": vector, "none": None}[richness]
    each = {"matrix": matrix, "vector": np.tile(vector[:, None], width)}.get(
        richness, np.tile(p.sum(axis=1, dtype=np.float64)[:, None], width)
    )
    powers, scales = [0.9, 1.5], [0.0, 0.7, 1.1]
    fitted = CommunityF1.fit(p, labels, m, powers, scales, depth)
    true = [set(np.flatnonzero(row)) for row in labels]
    for a, power in enumerate(powers):
        for c, scale in enumerate(scales):
            sets = [
                set_by_loops(*rows, power, scale, depth)
                for rows in zip(p.astype(float).tolist(), each.tolist(), strict=True)
            ]
            found = CommunityF1(power, scale, depth).predict(p, richness=m)
            assert [set(row.indices.tolist()) for row in found] == sets
            score = np.mean([f1(s, t) for s, t in zip(sets, true, strict=True)])
            assert fitted.scores[a, c] == pytest.approx(score, abs=1e-12)
    best = np.unravel_index(fitted.scores.argmax(), fitted.scores.shape)
    assert (fitted.power, fitted.scale) == (powers[best[0]], scales[best[1]])
    again = samples_f1(fitted.predict(p, richness=m), labels)
    assert again == pytest.approx(fitted.scores.max(), abs=1e-12)


def two_communities(num=400, seed=0):
    """A wood of five species or a meadow of thirty: chances, richness and what was there."""
    rng = np.random.default_rng(seed)
    wood = rng.uniform(0.3, 0.8, num)
    p = np.where(np.arange(35) < 5, wood[:, None], 1 - wood[:, None])
    richness = np.broadcast_to(np.where(np.arange(35) < 5, 5.0, 30.0), p.shape)
    is_wood = rng.random(num) < wood
    labels = np.where(is_wood[:, None], np.arange(35) < 5, np.arange(35) >= 5)
    return p, richness, labels


def test_communities_are_not_mixed_as_by_an_independent_rule():
    p, richness, labels = two_communities()
    sets = CommunityF1().predict(p, richness=richness).toarray() > 0
    independent = ExpectedF1().predict(p).toarray() > 0
    likely = p[:, 0] > 0.58  # then the wood alone is best: w > w * 10/40 + (1 - w) * 60/65
    assert likely.sum() > 50
    assert sets[likely, :5].all() and not sets[likely, 5:].any()
    few = p[:, 0] < 0.5
    assert sets[few, 5:].all()
    assert independent[likely & (p[:, 0] < 0.65)].all()
    score, other = samples_f1(sets, labels), samples_f1(independent, labels)
    assert score > other + 0.05
    fitted = CommunityF1.fit(p, labels, richness)
    assert isinstance(fitted, DecisionRule)
    assert fitted.scores.max() >= score > CommunityF1.fit(p, labels).scores.max() - 0.02
    assert fitted.scores.max() > CommunityF1.fit(p, labels).scores.max()


def test_layouts_and_chunks_give_the_same_sets(monkeypatch):
    rng = np.random.default_rng(1)
    p = np.where(rng.random((50, 300)) < 0.6, 0, rng.random((50, 300)) ** 3).astype(np.float32)
    stored = p > 0
    m = rng.uniform(3, 60, p.shape).astype(np.float32)
    thin_p, thin_m = sparse.csr_matrix(p), sparse.csr_matrix(np.where(stored, m, 0))
    rule = CommunityF1(1.2, 0.8, depth=40)
    whole = rule.predict(p, richness=m)
    by_survey = rule.predict(p, richness=m[:, 0])
    assert whole.format == "csr" and whole.dtype == np.float32
    assert not whole.toarray()[p == 0].any()
    assert 0 < np.diff(whole.indptr).max() <= 40
    monkeypatch.setattr("tighnari_graph.species_sets._CHUNK", 2000)
    for given_p in (p, thin_p, torch.tensor(p), torch.tensor(p).to_sparse_csr()):
        for given_m in (m, thin_m, torch.tensor(m), torch.tensor(m * stored).to_sparse_csr()):
            assert (rule.predict(given_p, richness=given_m) != whole).nnz == 0
        assert (rule.predict(given_p, richness=torch.tensor(m[:, 0])) != by_survey).nnz == 0
    add = sparse.csr_matrix(rng.random(p.shape) < 0.01)
    assert (rule.predict(p, add=add, richness=m) != whole.maximum(add)).nnz == 0


def test_equal_species_are_taken_by_column_and_empty_rows_are_empty():
    p = np.concatenate([np.full((1, 300), 0.9), np.zeros((1, 300))])
    sets = CommunityF1(depth=50).predict(p)
    assert sets.indptr.tolist() == [0, 50, 50]
    assert sets.indices.tolist() == list(range(50))
    assert np.diff(CommunityF1().predict(p).indptr).tolist() == [100, 0]
    assert CommunityF1().predict(np.zeros((0, 4))).shape == (0, 4)
    assert CommunityF1().predict(np.zeros((2, 4))).nnz == 0
    sure = CommunityF1(scale=0.0).predict(np.array([[0.4, 0.5]]), richness=np.zeros(1))
    assert sure.toarray().tolist() == [[0, 1]]


def test_species_that_tie_at_the_end_of_the_set_are_taken_by_column():
    """Of 101 species that all belong into the set, the last two gain 2 / 200 and 1 / 100."""
    p = np.array([[1.0] * 99 + [1.0, 0.5] + [1e-6] * 50])
    m = np.array([[20.0] * 99 + [100.0, 0.0] + [20.0] * 50])
    for columns in (np.arange(151), np.arange(151)[::-1]):
        sets = CommunityF1().predict(p[:, columns], richness=m[:, columns])
        assert sets.nnz == 100
        last = columns[sets.indices]
        assert (99 in last, 100 in last) == ((True, False) if columns[0] == 0 else (False, True))


def test_bad_input_is_refused():
    p, y = np.array([[0.1, 0.2]]), np.array([[0, 1]])
    with pytest.raises(ValueError, match="power must be a positive number, got 0"):
        CommunityF1(power=0.0)
    with pytest.raises(ValueError, match="scale must be a number from 0 up, got -1"):
        CommunityF1.fit(p, y, scales=[1.0, -1.0])
    with pytest.raises(ValueError, match="depth must be from 1 up, got 0"):
        CommunityF1(depth=0)
    with pytest.raises(ValueError, match="powers and scales must be one or more"):
        CommunityF1.fit(p, y, powers=[])
    with pytest.raises(ValueError, match="no surveys"):
        CommunityF1.fit(np.zeros((0, 2)), np.zeros((0, 2)))
    with pytest.raises(ValueError, match="outside 0 … 1"):
        CommunityF1().predict(p * 9)
    with pytest.raises(ValueError, match=r"richness is \(2,\), expected \(1,\), one a survey, or"):
        CommunityF1().predict(p, richness=np.ones(2))
    with pytest.raises(ValueError, match=r"richness is \(1, 3\)"):
        CommunityF1().predict(p, richness=np.ones((1, 3)))
    with pytest.raises(ValueError, match="rows 0 to 0: 1 numbers are negative or not finite"):
        CommunityF1().predict(p, richness=np.array([[4.0, np.nan]]))
    with pytest.raises(ValueError, match="the first is -2"):
        CommunityF1().predict(p, richness=np.array([-2.0]))
    with pytest.raises(ValueError, match="rows 0 to 0 has 1 entries, the probabilities 2"):
        CommunityF1().predict(p, richness=sparse.csr_matrix([[0.0, 3.0]]))
    moved = sparse.csr_matrix([[0.0, 3.0, 2.0]])
    with pytest.raises(ValueError, match="they must be the same ones"):
        CommunityF1().predict(sparse.csr_matrix([[0.1, 0.2, 0.0]]), richness=moved)
