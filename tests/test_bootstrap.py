"""Intervals against a bootstrap in plain loops, and how often they hold the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from tighnari_graph import bootstrap
from tighnari_graph.bootstrap import (
    block_draws,
    block_interval,
    block_sums,
    drawn_ratios,
    ratio_intervals,
)


def looped(numerator, denominator, blocks, draws, seed):
    """One draw after another: list the surveys of the drawn blocks, then divide their sums."""
    names = sorted(set(blocks.tolist()))
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        times = rng.multinomial(len(names), [1 / len(names)] * len(names))
        above = below = 0.0
        for name, count in zip(names, times.tolist(), strict=True):
            for _ in range(count):
                for i in range(len(blocks)):
                    if blocks[i] == name:
                        above += numerator[i]
                        below += denominator[i]
        found.append(above / below if below else float("nan"))
    return found


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), num_blocks=st.integers(1, 6))
def test_draws_equal_loops(seed, num_blocks):
    rng = np.random.default_rng(seed)
    num = int(rng.integers(num_blocks, 12))
    blocks = np.concatenate([np.arange(num_blocks), rng.integers(0, num_blocks, num - num_blocks)])
    blocks = rng.permutation(blocks) * 7 - 3
    numerator = rng.random(num)
    denominator = rng.integers(0, 3, num).astype(float)
    expected = looped(numerator, denominator, blocks, 11, seed)
    pair = numerator[:, None], denominator[:, None]
    drawn = drawn_ratios(*pair, blocks, 11, seed)
    np.testing.assert_allclose(drawn[:, 0], expected, rtol=1e-12)
    thin = drawn_ratios(*map(sparse.csr_matrix, pair), blocks, 11, seed)
    np.testing.assert_allclose(thin[:, 0], expected, rtol=1e-12)
    interval = ratio_intervals(*pair, blocks, 11, seed)[0]
    if len(set(blocks[denominator > 0])) < 2:
        assert np.isnan(interval).all()
    elif not np.isnan(expected).all():
        np.testing.assert_allclose(interval, np.nanquantile(expected, [0.025, 0.975]))
    mean = looped(numerator, np.ones(num), blocks, 11, seed)
    if num_blocks > 1:
        low_high = block_interval(numerator, blocks, 11, seed)
        np.testing.assert_allclose(low_high, np.quantile(mean, [0.025, 0.975]))


def test_draws_in_parts_are_the_same_draws(monkeypatch):
    whole = np.concatenate(list(block_draws(13, 50, seed=3)))
    monkeypatch.setattr(bootstrap, "_CELLS", 40)
    parts = list(block_draws(13, 50, seed=3))
    assert len(parts) == 17
    assert np.array_equal(np.concatenate(parts), whole)
    assert (whole.sum(axis=1) == 13).all()


def test_the_interval_draws_whole_blocks():
    rng = np.random.default_rng(0)
    values = np.repeat(rng.random(40), 25)  # surveys of a block are alike
    together = block_interval(values, np.repeat(np.arange(40), 25))
    apart = block_interval(values, np.arange(1000))
    assert together[1] - together[0] > 3 * (apart[1] - apart[0])
    assert together[0] < values.mean() < together[1]


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Blocks of unequal size with a mean of their own; the truth is 0.5."""
    rng = np.random.default_rng(0)
    held = alone = 0
    for _ in range(120):
        size = rng.integers(1, 12, 50)
        blocks = np.repeat(np.arange(50), size)
        values = rng.normal(0.5, 0.2, 50)[blocks] + rng.normal(0, 0.1, len(blocks))
        low, high = block_interval(values, blocks, draws=300)
        held += low < 0.5 < high
        low, high = block_interval(values, np.arange(len(blocks)), draws=300)
        alone += low < 0.5 < high
    assert 0.88 < held / 120 < 0.99
    assert alone / 120 < 0.8  # surveys drawn one by one claim too much


def test_one_block_says_nothing():
    assert np.isnan(block_interval(np.array([0.2, 0.4]), np.array([5, 5]))).all()


def test_sums_are_in_the_order_of_the_blocks():
    sums = block_sums(np.array([[1.0, 0.0], [2.0, 1.0], [4.0, 0.0]]), np.array([8, -1, 8]))
    assert sums.tolist() == [[2.0, 1.0], [5.0, 0.0]]


@pytest.mark.parametrize(("blocks", "draws"), [(0, 10), (3, 0)])
def test_nothing_to_draw_is_refused(blocks, draws):
    with pytest.raises(ValueError, match="both must be at least 1"):
        list(block_draws(blocks, draws))
