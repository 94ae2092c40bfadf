"""The product of sparse matrices: dense tiles and scipy's way give what plain numpy gives."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from tighnari_graph import products
from tighnari_graph.products import csr_product


def clustered(rng: np.random.Generator, num: int, size: int, share: float) -> sparse.csr_matrix:
    """A square matrix whose rows are near others of their cluster, in random order."""
    cluster = rng.integers(0, max(num // size, 1), num)
    near = (cluster[:, None] == cluster) & (rng.random((num, num)) < share)
    return sparse.csr_matrix(np.where(near, rng.random((num, num)), 0).astype(np.float32))


@given(
    shape=st.tuples(*[st.integers(0, 150)] * 3),
    share=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    seed=st.integers(0, 99),
)
def test_any_product_is_that_of_the_dense_matrices(shape, share, seed):
    rng = np.random.default_rng(seed)
    left, right = (
        sparse.random(*size, share, format="csr", dtype=np.float32, rng=rng)
        for size in (shape[:2], shape[1:])
    )
    found = csr_product(left, right)
    np.testing.assert_allclose(found.toarray(), left.toarray() @ right.toarray(), rtol=1e-5)
    assert found.shape == (shape[0], shape[2])
    assert found.dtype == np.float32
    assert found.has_canonical_format
    assert (found.data != 0).all()


def test_tiles_and_threads_give_what_scipy_gives(monkeypatch):
    rng = np.random.default_rng(0)
    left = clustered(rng, 700, 100, 0.9)
    right = sparse.random(700, 90, 0.1, format="csr", dtype=np.float32, rng=rng)
    expected = (left.astype(float) @ right.astype(float)).toarray()
    scattered = []
    whole = products._scattered

    def counted(some: sparse.csr_matrix, *others: object) -> products._Rows:
        scattered.append(some.shape[0])
        return whole(some, *others)

    monkeypatch.setattr(products, "_scattered", counted)
    alone = csr_product(left, right)
    assert not scattered
    monkeypatch.setattr(products, "_SMALL", 100)
    threads = csr_product(left, right)
    monkeypatch.setattr(products, "_GAIN", 0)
    by_scipy = csr_product(left, right)
    assert sum(scattered) == 700
    for found in (alone, threads, by_scipy):
        np.testing.assert_allclose(found.toarray(), expected, rtol=1e-6)
        assert (found != alone).nnz == 0


def test_a_row_is_the_same_whatever_is_multiplied_beside_it():
    rng = np.random.default_rng(1)
    left = clustered(rng, 500, 120, 0.8)
    right = sparse.random(500, 70, 0.1, format="csr", dtype=np.float32, rng=rng).tolil()
    whole = csr_product(left, right.tocsr())
    some = rng.permutation(500)[:77]
    assert (csr_product(left[some], right.tocsr()) != whole[some]).nnz == 0
    unseen = left[:, 7].toarray()[:, 0] == 0
    right[7] = 1.0  # new labels of a survey that many are not near to
    changed = csr_product(left, right.tocsr())
    assert (changed[unseen] != whole[unseen]).nnz == 0
    assert (changed != whole).nnz > 0


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_the_rows_that_meet_it(odd):
    rng = np.random.default_rng(2)
    left = clustered(rng, 400, 100, 0.6)
    right = sparse.random(400, 70, 0.2, format="csr", dtype=np.float32, rng=rng)
    usual = csr_product(left, right).toarray()
    right.data[right.indptr[7]] = odd
    met = left[:, 7].toarray()[:, 0] != 0
    found = csr_product(left, right).toarray()
    assert np.isfinite(found[~met]).all()
    np.testing.assert_array_equal(found[~met], usual[~met])
    assert (~np.isfinite(found[met])).sum() == met.sum()


def test_entries_stored_twice_count_twice_and_sums_of_zero_are_left_out():
    indptr, indices = np.array([0, 2, 4]), np.array([0, 0, 0, 1])
    left = sparse.csr_matrix((np.array([1.0, 2.0, 1.0, -1.0]), indices, indptr), shape=(2, 2))
    found = csr_product(left, np.ones((2, 3)))
    assert found.toarray().tolist() == [[3, 3, 3], [0, 0, 0]]
    assert found.nnz == 3
    assert left.nnz == 4  # as it came


def test_torch_and_bool_matrices_are_taken():
    one = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).to_sparse_csr()
    assert csr_product(one, one).toarray().tolist() == [[1, 0], [2, 1]]
    members = sparse.csr_matrix(np.array([[True, True]]))
    union = csr_product(members, sparse.csr_matrix(np.array([[True, False], [True, False]])))
    assert union.dtype == bool
    assert union.toarray().tolist() == [[True, False]]


def test_matrices_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"2 columns.*3 rows"):
        csr_product(np.ones((4, 2)), np.ones((3, 5)))
