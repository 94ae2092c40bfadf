"""Cubes around the Earth: near points lie in the runs that are looked at."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import ANCHORS, SOME
from tighnari_graph.distributed.cubes import BITS, END, cube_level, cube_numbers, runs_around
from tighnari_graph.geodesy import unit_vectors


@SOME
@given(seed=st.integers(0, 10**6), radius=st.floats(1e-6, 2.5), pole=st.sampled_from(ANCHORS))
def test_runs_hold_all_points_within_the_chord(seed, radius, pole):
    rng = np.random.default_rng(seed)
    center = unit_vectors(np.array([pole[0]]), np.array([pole[1]]))
    points = center + rng.normal(0, min(radius, 1), (200, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    numbers = cube_numbers(points)
    assert ((numbers >= 0) & (numbers < END)).all()
    begin, end = np.sort(rng.choice(numbers, 2)).tolist()
    own = (numbers >= begin) & (numbers < end)
    level = cube_level(radius)
    assert level in (0, BITS) or 1 <= 2 / 2**level / radius < 2.001
    runs = runs_around(numbers[own], level, begin, end) if own.any() else np.zeros((0, 2), int)
    assert (runs[1:, 0] > runs[:-1, 1]).all()
    inside = ((numbers[:, None] >= runs[:, 0]) & (numbers[:, None] < runs[:, 1])).any(axis=1)
    assert not (inside & own).any()
    chord = np.linalg.norm(points[:, None] - points[own][None], axis=2)
    near = (chord <= radius).any(axis=1) & ~own
    assert (inside | ~near).all()


def test_points_of_one_cube_are_one_run_of_numbers():
    """The curve, against a loop over the bits."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    place = np.floor((points + 1) * 2 ** (BITS - 1)).astype(int)
    expected = [
        sum(((int(p[axis]) >> bit) & 1) << (3 * bit + axis) for bit in range(BITS) for axis in (0, 1, 2))
        for p in place
    ]  # fmt: skip
    assert cube_numbers(points).tolist() == expected
    whole = runs_around(cube_numbers(points[:1]), BITS - 1)
    assert sum(int(b - a) for a, b in whole.tolist()) == 27 * 8
