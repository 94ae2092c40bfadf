"""Species in order of probability: the most probable of each survey, and sets made of them."""

from typing import TypeAlias

import numpy as np
from scipy import sparse

from tighnari_graph.metrics import f1_of_counts
from tighnari_graph.sparse import Labels, zero_one

Chunk: TypeAlias = np.ndarray | sparse.csr_matrix


def most_above(p: Chunk, threshold: float) -> int:
    """The most species that any row has above θ, which is not negative; at least one."""
    if isinstance(p, np.ndarray):
        counts = np.count_nonzero(p > np.float64(threshold), axis=1)
    else:
        counts = np.diff((p > np.float64(threshold)).indptr)
    return max(1, int(counts.max(initial=0)))


def prefix_f1(columns: np.ndarray, best: np.ndarray, truth: np.ndarray) -> np.ndarray:
    r"""F1 of the first m species of each row, for m from 0 to D.

    Shapes:
        - **columns, best:** :math:`(n, D)`, of `top_species`
        - **truth:** :math:`(n, S)` bool
        - **output:** :math:`(n, D + 1)`
    """
    found = np.take_along_axis(truth, columns, axis=1) & (best > -np.inf)
    hits = np.cumsum(np.pad(found, ((0, 0), (1, 0))), axis=1)
    return f1_of_counts(hits, np.arange(hits.shape[1]), truth.sum(axis=1)[:, None])


def kept_species(columns: np.ndarray, kept: np.ndarray, width: int) -> sparse.csr_matrix:
    """The set of every row, from its columns [n, k] and which of them are kept [n, k]."""
    indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    ones = np.ones(indptr[-1], dtype=bool)
    return sparse.csr_matrix((ones, columns[kept], indptr), shape=(len(kept), width))


def joined_sets(
    parts: list[sparse.csr_matrix], width: int, add: Labels | None
) -> sparse.csr_matrix:
    """The sets of all chunks below each other, with the species of ``add`` merged in."""
    nothing = sparse.csr_matrix((0, width), dtype=bool)
    sets = sparse.csr_matrix(sparse.vstack([nothing, *parts], format="csr"))
    if add is not None:
        if tuple(add.shape) != sets.shape:
            raise ValueError(f"add is {tuple(add.shape)}, probabilities are {sets.shape}")
        sets = sparse.csr_matrix(sets.maximum(zero_one(add, "add")))
    sets = sets.astype(np.float32)
    sets.sort_indices()
    return sets


def top_species(p: Chunk, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the k largest of each row and their values, largest first, ties by column.

    In sparse rows only stored entries count; places that stay empty hold −∞.
    """
    if sparse.issparse(p):
        return _top_stored(sparse.csr_matrix(p), k)
    num, width = p.shape
    k = min(k, width)
    if k < width:
        smallest = np.partition(p, width - k, axis=1)[:, width - k, None]
        above, equal = p > smallest, p == smallest
        room = k - above.sum(axis=1, keepdims=True)
        crowded = equal.sum(axis=1) > room[:, 0]
        if crowded.any():
            equal[crowded] &= np.cumsum(equal[crowded], axis=1) <= room[crowded]
        columns = np.nonzero(above | equal)[1].reshape(num, k)
    else:
        columns = np.broadcast_to(np.arange(width), p.shape)
    values = np.take_along_axis(p, columns, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)


def _top_stored(p: sparse.csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
    count = np.diff(p.indptr)
    row = np.repeat(np.arange(p.shape[0]), count)
    order = np.lexsort((-p.data, row))  # stable: columns of a row are ascending already
    rank = np.arange(len(order)) - np.repeat(p.indptr[:-1], count)
    first = rank < k
    width = min(k, p.shape[1])
    columns = np.zeros((p.shape[0], width), dtype=np.int64)
    values = np.full((p.shape[0], width), -np.inf, dtype=p.dtype)
    columns[row[first], rank[first]] = p.indices[order[first]]
    values[row[first], rank[first]] = p.data[order[first]]
    return columns, values
