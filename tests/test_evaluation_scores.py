"""Every score of the table against plain loops over surveys, species and cells."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from tighnari_graph import survey_scores
from tighnari_graph.bootstrap import ratio_intervals
from tighnari_graph.evaluation_scores import score_table, species_scores
from tighnari_graph.survey_scores import cell_losses, hits_at, survey_ratios


def f1(hits, predicted, true):
    return 2 * hits / (predicted + true) if predicted + true else 1.0


def looped(p, sets, labels, rare_surveys=10):
    """Value and count of every score, one survey, species and cell after another."""
    num, width = len(p), len(p[0])
    true = [{s for s in range(width) if row[s]} for row in labels]
    chosen = [{s for s in range(width) if row[s]} for row in sets]
    found = {}
    scores = [f1(len(a & b), len(a), len(b)) for a, b in zip(chosen, true, strict=True)]
    found["samples-F1"] = (sum(scores) / num, num)
    hits = sum(len(a & b) for a, b in zip(chosen, true, strict=True))
    both = sum(map(len, chosen)) + sum(map(len, true))
    if both:
        busy = sum(bool(a or b) for a, b in zip(chosen, true, strict=True))
        found["micro-F1"] = (2 * hits / both, busy)
    macro, rare = [], []
    for s in range(width):
        with_it = sum(s in b for b in true)
        predicted = sum(s in a for a in chosen)
        together = sum(s in a and s in b for a, b in zip(chosen, true, strict=True))
        if with_it + predicted:
            macro.append(f1(together, predicted, with_it))
            if 1 <= with_it <= rare_surveys:
                rare.append(macro[-1])
    found["macro-F1"] = (sum(macro) / len(macro) if macro else math.nan, len(macro))
    found["rare species F1"] = (sum(rare) / len(rare) if rare else math.nan, len(rare))
    for k in (5, 10, 25):
        precision, recall = [], []
        for row, b in zip(p, true, strict=True):
            best = sorted((s for s in range(width) if row[s] > 0), key=lambda s: (-row[s], s))[:k]
            hit = len(set(best) & b)
            precision.append(hit / k)
            if b:
                recall.append(hit / len(b))
        found[f"precision at {k}"] = (sum(precision) / num, num)
        if recall:
            found[f"recall at {k}"] = (sum(recall) / len(recall), len(recall))
    brier = entropy = 0.0
    for i in range(num):
        for s in range(width):
            y = s in true[i]
            brier += (p[i][s] - y) ** 2
            entropy -= math.log(max(p[i][s], 1e-6)) if y else math.log(1 - min(p[i][s], 1 - 1e-6))
    found["Brier score"] = (brier / (num * width), num * width)
    found["cross-entropy"] = (entropy / (num * width), num * width)
    found["predicted species"] = (sum(map(len, chosen)) / num, num)
    found["observed species"] = (sum(map(len, true)) / num, num)
    return found


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6), levels=st.sampled_from([3, 1000]), cells=st.sampled_from([7, 99])
)
def test_the_table_equals_loops(seed, levels, cells):
    rng = np.random.default_rng(seed)
    num, width = int(rng.integers(2, 14)), int(rng.integers(1, 31))
    p = rng.integers(0, levels + 1, (num, width)) / levels  # zeros, ones and ties among them
    p = p.astype(np.float32)
    labels = sparse.csr_matrix((rng.random((num, width)) < 0.3).astype(np.float32))
    sets = sparse.csr_matrix((rng.random((num, width)) < 0.3).astype(np.float32))
    blocks = rng.integers(0, 4, num)
    expected = looped(p.tolist(), sets.toarray().tolist(), labels.toarray().tolist())
    with pytest.MonkeyPatch.context() as patch:  # in parts of a few surveys
        patch.setattr(survey_scores, "_CELLS", cells)
        dense = score_table(p, sets, labels, blocks, draws=50)
        thin = score_table(sparse.csr_matrix(p), sets, labels, blocks, draws=50)
    for name, (value, count) in expected.items():
        assert dense.loc[name, "value"] == pytest.approx(value, rel=1e-5, abs=1e-9, nan_ok=True)
        assert dense.loc[name, "count"] == count, name
    pd.testing.assert_frame_equal(dense, thin, rtol=1e-5)


def test_intervals_are_those_of_the_ratios():
    rng = np.random.default_rng(0)
    p = rng.random((40, 30)).astype(np.float32)
    labels = sparse.csr_matrix((rng.random(p.shape) < p).astype(np.float32))
    sets = sparse.csr_matrix((p > 0.6).astype(np.float32))
    blocks = np.arange(40) // 3
    table = score_table(p, sets, labels, blocks, draws=200, seed=4)
    for name, ratio in survey_ratios(p, sets, labels).items():
        pair = ratio.numerator[:, None], ratio.denominator[:, None]
        expected = ratio_intervals(*pair, blocks, 200, 4)[0]
        np.testing.assert_allclose(table.loc[name, ["from", "to"]].to_numpy(float), expected)
    known = table["from"].notna()
    assert table.index[~known].tolist() == ["calibration error"]
    inside = (table["from"] <= table["value"]) & (table["value"] <= table["to"])
    assert inside[known].all()


def test_by_hand():
    """Two surveys: {a, b} predicted where {a, c} grow, {a} where {a} grows."""
    sets = sparse.csr_matrix([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    labels = sparse.csr_matrix([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    p = np.array([[0.9, 0.8, 0.1], [0.7, 0.0, 0.0]])
    value = score_table(p, sets, labels, np.array([0, 1]))["value"]
    assert value["samples-F1"] == pytest.approx((0.5 + 1) / 2)
    assert value["micro-F1"] == pytest.approx(2 * 2 / (3 + 3))
    assert value["macro-F1"] == pytest.approx((1 + 0 + 0) / 3)
    assert value["rare species F1"] == pytest.approx((1 + 0) / 2)
    assert value["precision at 5"] == pytest.approx((2 / 5 + 1 / 5) / 2)
    assert value["recall at 5"] == 1.0
    assert value["Brier score"] == pytest.approx((0.01 + 0.64 + 0.81 + 0.09) / 6)


def drawn_species(rng, num_blocks=80, width=60, size=3):
    """Sets and labels whose species vary between blocks; some species are rare."""
    frequency = np.minimum(np.exp(np.linspace(-6, -0.6, width)), 0.6)
    logit = np.log(frequency / (1 - frequency))
    effect = rng.normal(0, 1, (2, num_blocks, width)).repeat(size, axis=1)
    share = 1 / (1 + np.exp(-(logit + effect[0])))
    guess = 1 / (1 + np.exp(-(logit + effect[0] + effect[1])))
    labels, sets = ((rng.random(m.shape) < m).astype(np.float32) for m in (share, guess))
    return (
        sparse.csr_matrix(sets),
        sparse.csr_matrix(labels),
        np.repeat(np.arange(num_blocks), size),
    )


def test_macro_interval_is_as_wide_as_the_score_varies():
    rows = [
        species_scores(*drawn_species(np.random.default_rng(seed))).loc["macro-F1"]
        for seed in range(80)
    ]
    width = np.mean([row["to"] - row["from"] for row in rows])
    assert width / (2 * 1.96) == pytest.approx(np.std([row["value"] for row in rows]), rel=0.3)


def test_species_in_one_block_have_no_interval():
    sets = labels = sparse.csr_matrix([[1.0], [0.0]])
    table = species_scores(sets, labels, np.array([0, 1]))
    assert table["value"].tolist() == [1.0, 1.0] and table["from"].isna().all()


def test_nothing_predicted_and_nothing_there():
    nothing = sparse.csr_matrix((4, 3), dtype=np.float32)
    table = score_table(np.zeros((4, 3)), nothing, nothing, np.arange(4))
    assert table.loc["samples-F1", "value"] == 1.0
    assert (
        table.loc[["micro-F1", "macro-F1", "recall at 5", "calibration error"], "value"]
        .isna()
        .all()
    )
    assert table.loc["Brier score", "value"] == 0.0


def test_certain_and_wrong_costs_what_the_limit_says():
    labels = sparse.csr_matrix([[1.0, 0.0]])
    brier, entropy = cell_losses(np.array([[0.0, 1.0]]), labels)
    assert brier.tolist() == [2.0]
    assert entropy == pytest.approx([-2 * math.log(1e-6)])


def test_fewer_species_than_k():
    hits = hits_at(np.array([[0.1, 0.2]]), sparse.csr_matrix([[1.0, 1.0]]), (1, 25))
    assert hits.tolist() == [[1, 2]]
