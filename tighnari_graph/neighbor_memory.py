"""Edges that would not fit into memory are refused before they are made."""

from collections.abc import Callable

import psutil

from tighnari_graph.memory import refuse_what_does_not_fit
from tighnari_graph.neighbor_reach import Reach

EDGE_BYTES = 60
"""What an edge takes while edges are found, measured, sorted and joined, about."""


def check_edges_fit(most: float, count: Callable[[], int], reach: Reach) -> None:
    """Compare the edges of one search with the memory that is free.

    Args:
        most: edges that there may be; only where these would not fit, they are counted.
        count: how many there are.
        reach: the radius, for the error.

    Raises:
        MemoryError: with the number of edges, what they need, and what to do.

    Example:
        >>> check_edges_fit(1e15, lambda: 10**15, Reach(10.0))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        MemoryError: 1,000,000,000,000,000 edges of at most 10 km: this needs about 60000000.0 ...
    """
    if EDGE_BYTES * most <= psutil.virtual_memory().available:
        return
    edges = count()
    refuse_what_does_not_fit(
        EDGE_BYTES * edges,
        f"{edges:,} edges of at most {reach.radius_km:g} km: this",
        "take a smaller radius_km, fewer surveys, or tighnari_graph.distributed",
    )
