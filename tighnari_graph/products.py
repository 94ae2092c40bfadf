"""Sparse times sparse on all cores, as many small dense products.

Near surveys have the same neighbours, and those share species. So 64 rows that lie together meet a
few hundred neighbours with a few hundred species between them: a dense block that fits into the
cache, where a row's species need no searching. Where rows share too little, scipy multiplies.

Sums are made in double precision and rounded once, so that it does not show in a row which others
are multiplied beside it.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import joblib
import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee
from tqdm import tqdm

from tighnari_graph.sparse import Labels, scipy_csr

_Rows: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]  # columns, values, entries a row
TILE = 64  # rows of a dense block
_SMALL = 1 << 16  # entries under which one thread is enough
_FEW = 16  # entries a row under which tiles are not worth their making
_LARGEST = 1 << 21  # entries of a dense block: 16 MB
_GAIN = 200  # dense multiplications in the time of one of scipy's


def csr_product(left: Labels, right: Labels, title: str = "multiplying") -> sparse.csr_matrix:
    r"""Sparse times sparse, :math:`(N, M) \cdot (M, S)`; entries that are 0 are left out.

    Raises:
        ValueError: if their shapes do not fit.

    Example:
        >>> import torch
        >>> csr_product(torch.eye(2), torch.tensor([[0.0, 2.0], [3.0, 0.0]])).toarray()
        array([[0., 2.],
               [3., 0.]], dtype=float32)
    """
    left, right = _canonical(scipy_csr(left)), _canonical(scipy_csr(right))
    if left.shape[1] != right.shape[0]:
        raise ValueError(f"{left.shape[1]} columns do not meet {right.shape[0]} rows")
    dtype = np.result_type(left.dtype, right.dtype)
    order = _alike_together(left)
    entries = np.cumsum(np.diff(left.indptr)[order])
    threads = joblib.cpu_count() if left.nnz > _SMALL else 1
    blocks = 8 * threads if threads > 1 else 1
    cuts = np.searchsorted(entries, np.linspace(0, left.nnz, blocks + 1)[1:-1])
    right = right.astype(np.float64)

    def multiply(rows: np.ndarray) -> list[_Rows]:
        tiles = _Tiles(left, right, dtype)
        if np.diff(left.indptr)[rows].sum() < _FEW * len(rows):
            return [tiles.scattered(rows)]
        return [tiles.product(rows[at : at + TILE]) for at in range(0, len(rows), TILE)]

    with ThreadPoolExecutor(threads) as pool:
        done = pool.map(multiply, np.split(order, cuts))
        parts = list(tqdm(done, title, blocks, delay=2, disable=None, leave=False))
    nothing = (np.zeros(0, dtype=np.int32), np.zeros(0, dtype=dtype), np.zeros(0, dtype=np.int64))
    tiles = [nothing, *(tile for part in parts for tile in part)]
    columns, values, count = (np.concatenate(arrays) for arrays in zip(*tiles, strict=True))
    del parts, tiles
    indptr = np.concatenate([[0], np.cumsum(count)])
    product = sparse.csr_matrix((values, columns, indptr), shape=(len(order), right.shape[1]))
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    return sparse.csr_matrix(product[back])


class _Tiles:
    """Multiplies some rows at a time; a thread's own, for its arrays are used again."""

    def __init__(self, left: sparse.csr_matrix, right: sparse.csr_matrix, dtype: np.dtype) -> None:
        self.left, self.right, self.dtype = left, right, dtype
        self.near, self.shared = _Places(left.shape[1]), _Places(right.shape[1])
        self.buffers = [np.empty(0)] * 3

    def product(self, rows: np.ndarray) -> _Rows:
        """Some rows of the product, in the order asked for."""
        entries, degree = _entries(self.left.indptr, rows)
        columns = self.left.indices[entries]
        near = self.near.found(columns)
        terms, richness = _entries(self.right.indptr, near)
        species = self.right.indices[terms]
        shared = self.shared.found(species)
        place, other_place = self.near.at[columns], self.shared.at[species]

        n, m, s = len(rows), len(near), len(shared)
        work = int(np.sum(richness[place]))
        if n * m * s > _GAIN * work or max(n * m, m * s, n * s) > _LARGEST:
            return self.scattered(rows)
        one, other, out = (self._buffer(i, size) for i, size in enumerate((n * m, m * s, n * s)))
        one.fill(0)
        one[np.repeat(np.arange(n) * m, degree) + place] = self.left.data[entries]
        other.fill(0)
        other[np.repeat(np.arange(m) * s, richness) + other_place] = self.right.data[terms]
        np.matmul(one.reshape(n, m), other.reshape(m, s), out=out.reshape(n, s))
        there = out != 0
        count = np.count_nonzero(there.reshape(n, s), axis=1)
        cell = np.flatnonzero(there)
        column = shared[cell - np.repeat(np.arange(n) * s, count)].astype(np.int32)
        return column, out[cell].astype(self.dtype), count

    def scattered(self, rows: np.ndarray) -> _Rows:
        """The same by scipy, which searches a place for every term of every sum."""
        exact = sparse.csr_matrix(self.left[rows].astype(np.float64) @ self.right)
        exact.eliminate_zeros()
        exact.sort_indices()
        return exact.indices, exact.data.astype(self.dtype), np.diff(exact.indptr)

    def _buffer(self, number: int, size: int) -> np.ndarray:
        if len(self.buffers[number]) < size:
            self.buffers[number] = np.empty(2 * size)
        return self.buffers[number][:size]


class _Places:
    """Numbers for the columns that occur, 0 for the first; without sorting."""

    def __init__(self, width: int) -> None:
        self.there = np.zeros(width, dtype=bool)
        self.at = np.zeros(width, dtype=np.int64)

    def found(self, columns: np.ndarray) -> np.ndarray:
        """The columns that occur, ascending; `at` holds their numbers from now on."""
        self.there[columns] = True
        columns = np.flatnonzero(self.there)
        self.there[columns] = False
        self.at[columns] = np.arange(len(columns))
        return columns


def _alike_together(left: sparse.csr_matrix) -> np.ndarray:
    """An order in which rows with the same columns follow each other."""
    if left.shape[0] == left.shape[1] and left.nnz > _SMALL:
        return np.asarray(reverse_cuthill_mckee(left, symmetric_mode=True))
    filled = np.diff(left.indptr) > 0
    first = np.full(left.shape[0], left.shape[1])
    first[filled] = left.indices[left.indptr[:-1][filled]]
    return np.argsort(first, kind="stable")


def _entries(indptr: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the entries of some rows stand, row after row, and how many each has."""
    start = indptr[rows]
    count = indptr[rows + 1] - start
    end = np.cumsum(count)
    total = int(end[-1]) if len(end) else 0
    return np.arange(total) + np.repeat(start - (end - count), count), count


def _canonical(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same with every entry stored once, and 32-bit indices where they suffice."""
    if max(matrix.nnz, *matrix.shape) < np.iinfo(np.int32).max:
        indices, indptr = (a.astype(np.int32, copy=False) for a in (matrix.indices, matrix.indptr))
        matrix = sparse.csr_matrix((matrix.data, indices, indptr), shape=matrix.shape)
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix
