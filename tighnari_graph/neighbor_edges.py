"""Pairs of neighbours → edges sorted by (target, source), in linear time.

Sorting twelve million edges costs more than finding them. A transposition of a sparse matrix is a
stable counting sort, several times faster than comparing keys; and where edges run both ways, half
of them are sorted and the other half is the transpose.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import joblib
import numpy as np
from scipy import sparse


@dataclass(frozen=True, eq=False)
class EdgeRows:
    r"""Rows of edges: the sources of each target in ascending order.

    Attributes:
        target: :math:`(R,)`, the target of each row; a target may have several rows, whose
            sources ascend from row to row.
        indptr: :math:`(R + 1,)`, where each row begins.
        source: :math:`(E,)`.
        distance: :math:`(E,)` float32, kilometres.
    """

    target: np.ndarray
    indptr: np.ndarray
    source: np.ndarray
    distance: np.ndarray


def one_way_rows(
    source: np.ndarray,
    target: np.ndarray,
    distance: np.ndarray,
    src_members: np.ndarray,
    dst_members: np.ndarray,
) -> EdgeRows:
    """Edges source → target between positions in two ascending lists of members.

    Example:
        >>> rows = one_way_rows(np.array([1, 0]), np.array([0, 0]), np.zeros(2, dtype=np.float32),
        ...                     np.array([4, 7]), np.array([5]))
        >>> rows.source, rows.target
        (array([4, 7]), array([5]))
    """
    rows = _matrix(target, source, distance, (len(dst_members), len(src_members))).tocsc().tocsr()
    return EdgeRows(dst_members, rows.indptr, src_members[rows.indices], rows.data)


def both_ways_rows(
    one: np.ndarray, other: np.ndarray, distance: np.ndarray, members: np.ndarray
) -> EdgeRows:
    """Edges in both directions between positions in an ascending list of members, from each pair.

    A target's sources below it and those above it are two rows.

    Example:
        >>> rows = both_ways_rows(np.array([1]), np.array([0]), np.zeros(1, dtype=np.float32),
        ...                       np.array([4, 7]))
        >>> rows.target, rows.source
        (array([4, 7, 4, 7]), array([4, 7]))
    """
    low, high = np.minimum(one, other), np.maximum(one, other)
    above = _matrix(low, high, distance, (len(members), len(members))).tocsc().tocsr()
    below = above.tocsc()  # read as rows, the transpose
    return EdgeRows(
        np.concatenate([members, members]),
        np.concatenate([below.indptr, above.indptr[1:] + below.indptr[-1]]),
        members[np.concatenate([below.indices, above.indices])],
        np.concatenate([below.data, above.data]),
    )


def joined_edges(parts: list[EdgeRows]) -> tuple[np.ndarray, np.ndarray]:
    """All edges as edge_index [2, E] int64, sorted by (target, source), and their distances.

    A row is already in order: it goes as it is to where it begins in the whole.
    """
    target = np.concatenate([np.zeros(0, dtype=np.int32), *(part.target for part in parts)])
    count = np.concatenate([np.zeros(0, dtype=np.int64), *(np.diff(p.indptr) for p in parts)])
    order = np.argsort(target, kind="stable")
    begin = np.empty_like(count)
    begin[order] = np.cumsum(count[order]) - count[order]
    edge_index = np.empty((2, int(count.sum())), dtype=np.int64)
    edge_index[1] = np.repeat(target[order], count[order])
    distance = np.empty(edge_index.shape[1], dtype=np.float32)

    def put(part: EdgeRows, begin: np.ndarray) -> None:
        place = np.repeat(begin - part.indptr[:-1], np.diff(part.indptr))
        place += np.arange(len(place))
        edge_index[0][place] = part.source
        distance[place] = part.distance

    ends = np.cumsum([len(part.target) for part in parts], dtype=np.int64)
    begins = np.split(begin, ends[:-1])
    with ThreadPoolExecutor(joblib.cpu_count()) as threads:
        list(threads.map(put, parts, begins))
    return edge_index, distance


def _matrix(
    row: np.ndarray, column: np.ndarray, value: np.ndarray, shape: tuple[int, int]
) -> sparse.coo_array:
    matrix = sparse.coo_array((value, (row, column)), shape=shape)
    matrix.has_canonical_format = True  # no pair comes twice: nothing to sort or add up
    return matrix
