"""Sparse times sparse on all cores, as many small dense products.

Near surveys have the same neighbours, and those share species. Numbered so that neighbours follow
each other, 64 surveys meet a few hundred neighbours in one run of rows, with a few hundred species
between them: a dense block that fits into the cache, where a species' place is not searched for.
Where rows share too little, scipy multiplies.

Sums are made in double precision and rounded once, so that it does not show in a row which others
are multiplied beside it.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeAlias

import joblib
import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee
from threadpoolctl import ThreadpoolController
from tqdm import tqdm

from tighnari_graph.memory import free_memory, refuse_what_does_not_fit
from tighnari_graph.sparse import Labels, scipy_csr

_Rows: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]  # columns, values, entries a row
TILE = 64  # rows of a dense block
_SMALL = 1 << 16  # entries under which one thread is enough
_FEW = 16  # entries a row under which tiles are not worth their making
_LARGEST = 1 << 21  # entries of a dense block: 16 MB
_ENTRY_BYTES = 24  # an entry of the product, in parts, joined and in order
_SOME = 256  # rows that an estimate is made from
_GAIN = 200  # dense multiplications in the time of one of scipy's


def csr_product(left: Labels, right: Labels, title: str = "multiplying") -> sparse.csr_matrix:
    r"""Sparse times sparse, :math:`(N, M) \cdot (M, S)`; entries that are 0 are left out.

    Raises:
        ValueError: if their shapes do not fit.
        MemoryError: if the product, estimated from some rows, will not fit into memory.

    Example:
        >>> import torch
        >>> csr_product(torch.eye(2), torch.tensor([[0.0, 2.0], [3.0, 0.0]])).toarray()
        array([[0., 2.],
               [3., 0.]], dtype=float32)
    """
    left, right = _canonical(scipy_csr(left)), _canonical(scipy_csr(right))
    if left.shape[1] != right.shape[0]:
        raise ValueError(f"{left.shape[1]} columns do not meet {right.shape[0]} rows")
    _refuse_what_does_not_fit(left, right, title)
    dtype = np.result_type(left.dtype, right.dtype)
    rows, inner = _orders(left)
    place = np.empty(len(inner), dtype=np.int32)
    place[inner] = np.arange(len(inner), dtype=np.int32)
    right = right[inner].astype(np.float64)
    # In a dense block 0 × ∞ would reach rows that do not meet it.
    dense = all(bool(np.isfinite(matrix.data).all()) for matrix in (left, right))

    def multiply(some: np.ndarray) -> list[_Rows]:
        part = left[some]
        part = sparse.csr_matrix((part.data, place[part.indices], part.indptr), shape=part.shape)
        if not dense or part.nnz <= _FEW * len(some):
            return [_scattered(part, right, dtype)]
        tiles = _Tiles(part, right, dtype)
        return [tiles.product(at, min(at + TILE, len(some))) for at in range(0, len(some), TILE)]

    threads = joblib.cpu_count() if left.nnz > _SMALL else 1
    blocks = 8 * threads if threads > 1 else 1
    entries = np.cumsum(np.diff(left.indptr)[rows])
    cuts = np.searchsorted(entries, np.linspace(0, left.nnz, blocks + 1)[1:-1])
    with _libraries().limit(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        done = pool.map(multiply, np.split(rows, cuts))
        parts = list(tqdm(done, title, blocks, delay=2, disable=None, leave=False))
    columns, values, count = (
        np.concatenate(arrays)
        for arrays in zip(*(tile for part in parts for tile in part), strict=True)
    )
    del parts
    indptr = np.concatenate([[0], np.cumsum(count)])
    product = sparse.csr_matrix((values, columns, indptr), shape=(len(rows), right.shape[1]))
    back = np.empty_like(rows)
    back[rows] = np.arange(len(rows))
    return sparse.csr_matrix(product[back])


class _Tiles:
    """Multiplies some rows at a time; a thread's own, for its arrays are used again."""

    def __init__(self, left: sparse.csr_matrix, right: sparse.csr_matrix, dtype: np.dtype) -> None:
        self.left, self.right, self.dtype = left, right, dtype
        self.there = np.zeros(right.shape[1], dtype=bool)
        self.at = np.zeros(right.shape[1], dtype=np.int64)
        self.buffers = [np.empty(0)] * 3

    def product(self, start: int, stop: int) -> _Rows:
        """The rows from ``start`` to ``stop``."""
        indptr = self.left.indptr[start : stop + 1]
        columns = self.left.indices[indptr[0] : indptr[-1]]
        first, last = (int(columns.min()), int(columns.max()) + 1) if len(columns) else (0, 0)
        terms = self.right.indptr[first : last + 1]
        species = self.right.indices[terms[0] : terms[-1]]
        self.there[species] = True
        shared = np.flatnonzero(self.there)
        self.there[shared] = False
        self.at[shared] = np.arange(len(shared))

        n, m, s = stop - start, last - first, len(shared)
        work = int(np.diff(terms)[columns - first].sum())
        if n * m * s > _GAIN * work or max(n * m, m * s, n * s) > _LARGEST:
            return _scattered(self.left[start:stop], self.right, self.dtype)
        one, other, out = (self._buffer(i, size) for i, size in enumerate((n * m, m * s, n * s)))
        one.fill(0)
        place = np.repeat(np.arange(n) * m - first, np.diff(indptr)) + columns
        one[place] = self.left.data[indptr[0] : indptr[-1]]
        other.fill(0)
        place = np.repeat(np.arange(m) * s, np.diff(terms)) + self.at[species]
        other[place] = self.right.data[terms[0] : terms[-1]]
        np.matmul(one.reshape(n, m), other.reshape(m, s), out=out.reshape(n, s))
        there = out != 0
        count = np.count_nonzero(there.reshape(n, s), axis=1)
        cell = np.flatnonzero(there)
        column = shared[cell - np.repeat(np.arange(n) * s, count)].astype(np.int32)
        return column, out[cell].astype(self.dtype), count

    def _buffer(self, number: int, size: int) -> np.ndarray:
        if len(self.buffers[number]) < size:
            self.buffers[number] = np.empty(2 * size)
        return self.buffers[number][:size]


def _scattered(left: sparse.csr_matrix, right: sparse.csr_matrix, dtype: np.dtype) -> _Rows:
    """Some rows by scipy, which searches a place for every term of every sum."""
    exact = sparse.csr_matrix(left.astype(np.float64) @ right)
    exact.eliminate_zeros()
    exact.sort_indices()
    return exact.indices, exact.data.astype(dtype), np.diff(exact.indptr)


def _refuse_what_does_not_fit(left: sparse.csr_matrix, right: sparse.csr_matrix, what: str) -> None:
    """Estimate the entries from some rows, where as many as there could be would not fit."""
    most = left.shape[0] * right.shape[1]
    if _ENTRY_BYTES * most <= free_memory():
        return
    some = np.random.default_rng(0).permutation(left.shape[0])[:_SOME]
    entries = (left[some] @ right).nnz / len(some) * left.shape[0]
    refuse_what_does_not_fit(
        _ENTRY_BYTES * entries,
        f"{what}: {left.shape[0]:,} × {right.shape[1]:,} with about {entries:,.0f} entries",
        "take fewer surveys at a time, or a smaller radius_km",
    )


@cache
def _libraries() -> ThreadpoolController:
    """Those whose own threads would get into the way of ours; looking for them takes a while."""
    return ThreadpoolController()


def _orders(left: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Orders of the rows and of the columns in which neighbours follow each other."""
    if left.shape[0] == left.shape[1] and left.nnz > _FEW * left.shape[0]:
        order = np.asarray(reverse_cuthill_mckee(left, symmetric_mode=True))
        return order, order
    return np.arange(left.shape[0]), np.arange(left.shape[1])


def _canonical(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same with every entry stored once, and 32-bit indices where they suffice."""
    if max(matrix.nnz, *matrix.shape) < np.iinfo(np.int32).max:
        indices, indptr = (a.astype(np.int32, copy=False) for a in (matrix.indices, matrix.indptr))
        matrix = sparse.csr_matrix((matrix.data, indices, indptr), shape=matrix.shape)
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix
