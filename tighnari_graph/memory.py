"""Refuse what will not fit into memory before it is tried: the system kills, it does not raise."""

import psutil


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
