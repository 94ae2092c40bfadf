"""Refuse what will not fit into memory before it is tried: the system kills, it does not raise."""

import numpy as np
import psutil

EDGE_BYTES = 60
"""What an edge takes while edges are found and sorted, about."""


def refuse_what_does_not_fit(need: float, what: str, way_out: str) -> None:
    """Compare an estimate with the memory that is free.

    Args:
        need: bytes.
        what: what needs them, for the error.
        way_out: what to do about it.

    Raises:
        MemoryError: if they are not free; says how much is needed and how much there is.

    Example:
        >>> refuse_what_does_not_fit(1e15, "a graph of 2 surveys", "take a smaller radius_km")
        ... # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        MemoryError: a graph of 2 surveys needs about 1000000.0 GB and ... GB are free; take ...
    """
    free = psutil.virtual_memory().available
    if need > free:
        raise MemoryError(
            f"{what} needs about {need / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; {way_out}"
        )


def pairs_at_most(src_group: np.ndarray, dst_group: np.ndarray) -> int:
    """How many pairs of the same group there are, which no number of edges exceeds.

    Shapes:
        - **src_group, dst_group:** :math:`(N_{src},)` and :math:`(N_{dst},)` int; −1 is no group

    Example:
        >>> pairs_at_most(np.array([0, 0, 1, -1]), np.array([0, 1, 1, -1]))
        4
    """
    most = int(max(src_group.max(initial=-1), dst_group.max(initial=-1))) + 1
    src, dst = (np.bincount(g[g >= 0], minlength=most) for g in (src_group, dst_group))
    return int((src * dst).sum())


def edges_may_not_fit(pairs: int) -> bool:
    """Whether so many edges, at the worst, are worth counting before they are made.

    Example:
        >>> edges_may_not_fit(1000)
        False
    """
    return EDGE_BYTES * pairs > psutil.virtual_memory().available
