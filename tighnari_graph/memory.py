"""Refuse what will not fit into memory before it is tried: the system kills, it does not raise."""

import sys

import psutil


def free_memory() -> float:
    """Bytes that this process may still take; on a Dask worker, of those allotted to it.

    Example:
        >>> free_memory() > 0
        True
    """
    free = float(psutil.virtual_memory().available)
    if "distributed" not in sys.modules:
        return free
    try:
        limit = sys.modules["distributed"].get_worker().memory_manager.memory_limit
    except (ValueError, AttributeError):  # not on a worker
        return free
    return min(free, limit - psutil.Process().memory_info().rss) if limit else free


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
    free = free_memory()
    if need > free:
        raise MemoryError(
            f"{what} needs about {need / 1e9:.1f} GB and {max(free, 0) / 1e9:.1f} GB are free; "
            f"{way_out}"
        )
