"""Edges that would not fit into memory are refused before they are made."""

from collections.abc import Callable

import numpy as np

from tighnari_graph.memory import free_memory, refuse_what_does_not_fit
from tighnari_graph.neighbor_reach import Reach

EDGE_BYTES = 60
"""What an edge takes while edges are found, measured, sorted and joined, about."""


def check_edges_fit(reach: Reach, *estimates: Callable[[], float]) -> None:
    """Compare the edges of one search with the memory that is free.

    Args:
        reach: the radius, for the error.
        estimates: how many edges there are: upper bounds, each nearer and dearer than the one
            before, and the number at last. The next is asked only where one would not fit.

    Raises:
        MemoryError: with the number of edges, what they need, and what to do.

    Example:
        >>> check_edges_fit(Reach(10.0), lambda: 1e18, lambda: 10**15)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        MemoryError: 1,000,000,000,000,000 edges of at most 10 km: this needs about 60000000.0 ...
    """
    edges, free = 0.0, free_memory()
    for estimate in estimates:
        edges = estimate()
        if EDGE_BYTES * edges <= free:
            return
    refuse_what_does_not_fit(
        EDGE_BYTES * edges,
        f"{edges:,} edges of at most {reach.radius_km:g} km: this",
        "take a smaller radius_km, fewer surveys, or tighnari_graph.distributed",
    )


def most_edges(src: np.ndarray, dst: np.ndarray, chord: float) -> float:
    r"""No more pairs than this are within the chord of each other.

    They lie in one cube as wide as the chord or in two that touch, one of 27. With
    :math:`a_c, b_c` points in cube c, pairs of one shift o between cubes are
    :math:`\sum_c a_c b_{c+o} \le \lVert a\rVert\,\lVert b\rVert`.

    Shapes:
        - **src, dst:** :math:`(N, 3)` and :math:`(M, 3)` unit vectors

    Example:
        >>> points = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> round(most_edges(points, points, 0.01))
        135
    """
    norms = []
    for points in (src, dst):
        cube = np.floor((points + 1) / chord).astype(np.int64)
        # two cubes may share a number: that only raises the bound
        number = (cube * np.array([73_856_093, 19_349_663, 83_492_791])).sum(axis=1)
        norms.append(np.linalg.norm(np.unique(number, return_counts=True)[1]))
    return float(27 * norms[0] * norms[1])
