"""Calibration against sums cell by cell, in every layout."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, sparse

from tighnari_graph.calibration import Temperature, calibration_error, reliability


def cross_entropy(p, y, temperature, bias):
    total = 0.0
    for row_p, row_y in zip(p.tolist(), y.tolist(), strict=True):
        for value, label in zip(row_p, row_y, strict=True):
            if value > 0:
                z = np.log(value / (1 - value)) / temperature + bias
                total -= label * -np.log1p(np.exp(-z)) + (1 - label) * -np.log1p(np.exp(z))
    return total


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), thin=st.booleans())
def test_fit_is_where_cross_entropy_over_listed_cells_is_least(seed, thin):
    rng = np.random.default_rng(seed)
    z = rng.normal(-1, 1.5, (25, 10))
    y = rng.random(z.shape) < 1 / (1 + np.exp(-(z / 1.8 - 0.5)))
    p = np.where(rng.random(z.shape) < 0.3, 0, 1 / (1 + np.exp(-z)))
    found = Temperature.fit(sparse.csr_matrix(p) if thin else p, y)
    best = optimize.minimize(
        lambda x: cross_entropy(p, y, np.exp(x[0]), x[1]), [0.0, 0.0], method="Nelder-Mead"
    )
    here = cross_entropy(p, y, found.temperature, found.bias)
    assert here == pytest.approx(best.fun, rel=1e-4)
    assert found.bias == pytest.approx(best.x[1], abs=0.03)


def test_many_surveys_are_counted_in_parts_as_in_one(monkeypatch):
    rng = np.random.default_rng(0)
    p = rng.random((40, 7))
    y = rng.random(p.shape) < p**2
    whole = Temperature.fit(p, y)
    monkeypatch.setattr("tighnari_graph.species_sets._CHUNK", 30)
    parts = Temperature.fit(p, y)
    assert parts.temperature == pytest.approx(whole.temperature)
    np.testing.assert_allclose(whole.transform(p), parts.transform(p))
    assert reliability(p, y)["cells"].sum() == p.size


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_transform_keeps_layout_zeros_and_order(dtype):
    rng = np.random.default_rng(1)
    p = np.where(rng.random((6, 9)) < 0.4, 0, rng.random((6, 9))).astype(dtype)
    p[0, 0] = 1
    rule = Temperature(1.7, -0.3)
    dense = rule.transform(p)
    assert dense.dtype == dtype
    inner = (p > 0) & (p < 1)
    z = np.log(p[inner] / (1 - p[inner])) / 1.7 - 0.3
    np.testing.assert_allclose(dense[inner], 1 / (1 + np.exp(-z)), rtol=1e-4)
    assert (dense[p == 0] == 0).all()
    assert dense[inner].max() < dense[0, 0] < 1
    for layout in (sparse.csr_matrix(p), torch.tensor(p).to_sparse_csr()):
        thin = rule.transform(layout)
        assert sparse.issparse(thin)
        assert thin.nnz == (p > 0).sum()
        np.testing.assert_array_equal(thin.toarray(), dense)
    np.testing.assert_array_equal(rule.transform(torch.tensor(p)), dense)
    np.testing.assert_array_equal(Temperature().transform(p), p)


def test_reliability_holds_every_cell_once_and_splits_what_is_expected():
    rng = np.random.default_rng(2)
    p = np.where(rng.random((200, 30)) < 0.2, 0, rng.random((200, 30)) ** 3)
    y = rng.random(p.shape) < p
    table = reliability(sparse.csr_matrix(p), y, bins=5)
    assert table.index.tolist() == [0, 1, 2, 3, 4, 5]
    assert table["cells"].sum() == p.size
    assert table["cells"].iloc[0] == (p == 0).sum()
    expected = (table["probability"] * table["cells"]).to_numpy()
    assert expected.sum() == pytest.approx(p.sum())
    np.testing.assert_allclose(expected[1:], p.sum() / 5, rtol=0.05)
    assert (table["observed"] * table["cells"]).sum() == pytest.approx(y.sum())
    assert (np.diff(table["probability"]) > 0).all()


def test_calibration_error_by_hand_and_less_after_calibration():
    p = np.array([[0.5, 0.5, 0.25, 0.25]])
    y = np.array([[1, 1, 0, 1]])  # with two bins: |1 - 2| + |0.5 - 1|, of 3
    assert calibration_error(p, y, bins=2) == pytest.approx(0.5)
    rng = np.random.default_rng(3)
    p = rng.random((300, 20)) ** 2
    y = rng.random(p.shape) < p**2
    assert calibration_error(Temperature.fit(p, y).transform(p), y) < calibration_error(p, y) / 3


def test_bad_input_is_refused():
    y = np.array([[0, 1]])
    with pytest.raises(ValueError, match=r"1 probabilities in rows 0 to 0 are outside 0 … 1.*1\.5"):
        Temperature.fit(np.array([[1.5, 0.1]]), y)
    with pytest.raises(ValueError, match=r"outside 0 … 1, the first is -0\.5"):
        Temperature(2.0).transform(sparse.csr_matrix([[0.0, -0.5]]))
    with pytest.raises(ValueError, match="no label has a probability above 0"):
        Temperature.fit(np.array([[0.5, 0.0]]), y)
    with pytest.raises(ValueError, match="temperature must be a positive number, got 0"):
        Temperature(0.0)
    with pytest.raises(ValueError, match="bias must be a number"):
        Temperature(1.0, np.inf)
    with pytest.raises(ValueError, match="bins must be from 1 up, got 0"):
        reliability(np.array([[0.5, 0.0]]), y, bins=0)
    with pytest.raises(ValueError, match="without any occurrence"):
        calibration_error(np.array([[0.5]]), np.array([[0]]))
    with pytest.raises(ValueError, match="labels"):
        Temperature.fit(np.array([[0.5]]), y)
