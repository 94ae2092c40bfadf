"""Is A better than B: paired draws, and what cannot be paired."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from tests.test_evaluation import drawn_surveys, frequency
from tighnari_graph.bootstrap import block_interval
from tighnari_models.comparison import Comparison, compare, compare_all
from tighnari_models.evaluation import evaluate


@pytest.fixture(scope="module")
def found():
    return evaluate(frequency, drawn_surveys(), num_folds=3, name="frequency")


def shifted(found, by, name):
    return replace(found, survey_f1=found.survey_f1 + by, name=name)


def test_a_small_steady_gain_is_seen(found):
    """Intervals of the two overlap by far; the difference of every survey is the same."""
    better = shifted(found, 0.001, "better")
    comparison = compare(better, found)
    assert comparison.difference == pytest.approx(0.001)
    assert comparison.interval == pytest.approx((0.001, 0.001))
    assert comparison.verdict == "better" and comparison.share_above == 1.0
    assert compare(found, better).verdict == "worse" and compare(found, better).share_above == 0.0
    assert better.interval[0] < found.interval[1]


def test_the_difference_equals_loops(found):
    rng = np.random.default_rng(0)
    other = shifted(found, rng.normal(0.02, 0.3, len(found.folds)), "noisy")
    comparison = compare(other, found, draws=40, seed=2)
    names = sorted(set(found.blocks.tolist()))
    draws = np.random.default_rng(2)
    differences = []
    for _ in range(40):
        times = draws.multinomial(len(names), [1 / len(names)] * len(names)).tolist()
        gains = []
        for name, count in zip(names, times, strict=True):
            for i in np.flatnonzero(found.blocks == name):
                gains += [other.survey_f1[i] - found.survey_f1[i]] * count
        differences.append(sum(gains) / len(gains))
    assert comparison.interval == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))
    assert comparison.share_above == np.mean([gain > 0 for gain in differences])


def test_noise_is_no_difference(found):
    rng = np.random.default_rng(1)
    noisy = shifted(found, rng.normal(0, 0.2, len(found.folds)), "noisy")
    assert compare(noisy, found).verdict == "no difference seen"
    assert compare(found, found) == Comparison("frequency", "frequency", 0.0, (0.0, 0.0), 0.0)


def test_a_claim_without_truth_is_rarely_made():
    """Two methods that are equally good: about one comparison in twenty says otherwise."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(200):
        blocks = np.repeat(np.arange(40), rng.integers(1, 9, 40))
        gain = rng.normal(0, 0.1, 40)[blocks] + rng.normal(0, 0.1, len(blocks))
        low, high = block_interval(gain, blocks, draws=300)
        wrong += low > 0 or high < 0
    assert wrong / 200 < 0.11


def test_all_beside_one(found):
    others = [shifted(found, 0.01, "up"), shifted(found, -0.01, "down")]
    table = compare_all([found, *others])
    assert table.index.tolist() == ["frequency", "up", "down"]
    assert table["verdict"].tolist()[1:] == ["better", "worse"]
    assert np.isnan(table.loc["frequency", "difference"])
    assert table.loc["up", "difference"] == pytest.approx(0.01)
    assert table.loc["up", "random folds"] == found.random.score
    beside = compare_all([found, *others], against="up")
    assert beside.loc["down", "difference"] == pytest.approx(-0.02)
    assert beside.loc["frequency", "share above"] == 0.0


def test_unlike_evaluations_are_refused(found):
    table = found.surveys
    with pytest.raises(
        ValueError, match="frequency and frequency cannot be compared: folds differ"
    ):
        compare(found, found.random)
    turned = replace(found, surveys=table.subset(np.arange(len(table))[::-1]))
    with pytest.raises(ValueError, match="surveys are not the same, or not in the same order"):
        compare(found, turned)
    labels = table.labels.toarray()
    labels[3, 0] = 1 - labels[3, 0]
    relabelled = replace(found, surveys=replace(table, labels=sparse.csr_matrix(labels)))
    with pytest.raises(ValueError, match="their labels are not"):
        compare(found, relabelled)
    with pytest.raises(ValueError, match="blocks differ for 60 of 60|blocks differ for 5. of 60"):
        compare(found, replace(found, blocks=np.zeros_like(found.blocks)))
    renumbered = replace(found, folds=found.folds * 10 - 3)
    assert compare(found, renumbered).difference == 0.0


def test_names_must_differ_and_be_known(found):
    with pytest.raises(ValueError, match="names that differ, got frequency, frequency"):
        compare_all([found, found])
    with pytest.raises(ValueError, match="no evaluation is called 'chain', only frequency"):
        compare_all([found], against="chain")
    with pytest.raises(ValueError, match="got none"):
        compare_all([])
