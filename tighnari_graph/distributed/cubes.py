"""Cubes around the Earth, numbered along a curve: what is near lies in a few runs of numbers.

Points of the unit sphere stand in a cube of side 2, halved again and again along each axis. The
number of a point interleaves the bits of its three coordinates, so every cube of every size is one
run of numbers. Neither the poles nor the antimeridian are special.
"""

from itertools import product

import numpy as np

BITS = 21  # halvings of each axis: cubes of 6 m
END = np.iinfo(np.int64).max  # beyond every number: no point of the sphere has all bits set
_STEPS = (
    (32, 0x1F00000000FFFF), (16, 0x1F0000FF0000FF), (8, 0x100F00F00F00F00F),
    (4, 0x10C30C30C30C30C3), (2, 0x1249249249249249),
)  # fmt: skip


def cube_numbers(vectors: np.ndarray) -> np.ndarray:
    r"""The number of the smallest cube around each point.

    Shapes:
        - **vectors:** :math:`(N, 3)` unit vectors
        - **output:** :math:`(N,)` int64 from 0 up, below `END`

    Example:
        >>> vectors = np.array([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
        >>> [int(number) for number in cube_numbers(vectors) >> 3 * (BITS - 1)]
        [6, 7]
    """
    side = 1 << BITS
    place = np.floor((vectors + 1) * (side / 2)).astype(np.int64)
    return _interleaved(np.clip(place, 0, side - 1).T)


def cube_level(chord: float) -> int:
    """How often to halve: the smallest cubes that are no narrower than the chord.

    Points within the chord of each other then lie in the same cube or in two that touch.

    Example:
        >>> cube_level(0.5), cube_level(0.51)
        (1, 1)
        >>> cube_level(2.0)
        0
    """
    wide = np.log2(2 / (chord * (1 + 1e-6)))
    return int(np.clip(np.floor(wide), 0, BITS))


def runs_around(numbers: np.ndarray, level: int, begin: int = 0, end: int = 0) -> np.ndarray:
    r"""Runs of numbers outside [begin, end) of all cubes that hold one of the points, or touch one.

    Args:
        numbers: of points, see `cube_numbers`.
        level: size of the cubes, see `cube_level`.
        begin, end: a run to leave out, usually that of the points themselves.

    Shapes:
        - **numbers:** :math:`(N,)`
        - **output:** :math:`(R, 2)` first number and the one after the last, ascending, apart

    Example:
        >>> vectors = np.array([[0.0, 0.0, 1.0]])
        >>> runs_around(cube_numbers(vectors), 0, 5, 9).tolist() == [[0, 5], [9, END]]
        True
    """
    shift = 3 * (BITS - level)
    place = _separated(np.unique(numbers >> shift))
    found = [np.zeros(0, dtype=np.int64)]
    for step in product((-1, 0, 1), repeat=3):
        moved = place + np.array(step)[:, None]
        inside = ((moved >= 0) & (moved < 1 << level)).all(axis=0)
        cube = _interleaved(moved[:, inside])
        first, last = _span(cube, shift)
        found.append(cube[(first < begin) | (last >= end)])
    first, last = _span(np.unique(np.concatenate(found)), shift)
    after = np.minimum(last, END - 1) + 1
    below = np.stack([first, np.minimum(after, begin)], axis=1)[first < begin]
    above = np.stack([np.maximum(first, end), after], axis=1)[after > end]
    return _joined(np.concatenate([below, above]))


def _span(cube: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    first = cube << shift
    return first, first + ((1 << shift) - 1)


def _joined(runs: np.ndarray) -> np.ndarray:
    """Ascending runs, where one that begins at the end of another continues it."""
    runs = runs[np.argsort(runs[:, 0])]
    new = np.ones(len(runs), dtype=bool)
    new[1:] = runs[1:, 0] > runs[:-1, 1]
    last = np.append(np.flatnonzero(new)[1:], len(runs))[: new.sum()] - 1
    return np.stack([runs[new, 0], runs[last, 1]], axis=1)


def _interleaved(place: np.ndarray) -> np.ndarray:
    """Three coordinates of 21 bits → one number of 63: bits of x, y, z in turn."""
    number = np.zeros(place.shape[1], dtype=np.int64)
    for axis, bits in enumerate(place):
        for shift, mask in _STEPS:
            bits = (bits | bits << shift) & mask
        number |= bits << axis
    return number


def _separated(number: np.ndarray) -> np.ndarray:
    """One number → three coordinates, [3, N]."""
    place = np.empty((3, len(number)), dtype=np.int64)
    for axis in range(3):
        bits = number >> axis & _STEPS[-1][1]
        for (shift, _), mask in zip(
            _STEPS[::-1], [m for _, m in _STEPS[-2::-1]] + [(1 << BITS) - 1], strict=True
        ):
            bits = (bits | bits >> shift) & mask
        place[axis] = bits
    return place
