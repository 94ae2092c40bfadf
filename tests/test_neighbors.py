"""Radius search on the sphere, against plain loops and between back ends."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.inputs import clustered_points
from tests import oracles
from tighnari_graph.geodesy import EARTH_RADIUS_KM, great_circle_km
from tighnari_graph.neighbors import BACKENDS, count_edges, radius_edges, radius_edges_between

KM = 180 / np.pi / EARTH_RADIUS_KM  # degrees of latitude in a kilometre


def spread(seed: int, num: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Points a few kilometres apart around a place where planar geometry fails."""
    rng = np.random.default_rng(seed)
    lat, lon = {"pole": (89.95, 0.0), "antimeridian": (52.0, 180.0), "alps": (46.0, 7.0)}[where]
    lats = np.clip(lat + rng.normal(0, 8 * KM, num), -90, 90)
    width = 180.0 if where == "pole" else 8 * KM / np.cos(np.radians(lat))
    lons = (lon + rng.normal(0, width, num) + 180) % 360 - 180
    copies = rng.integers(0, num, num // 4)  # co-located surveys
    lats[: num // 4], lons[: num // 4] = lats[copies], lons[copies]
    return lats, lons


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    where=st.sampled_from(["pole", "antimeridian", "alps"]),
    radius_km=st.sampled_from([0.5, 10.0, 40.0]),
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_edges_equal_the_oracle_where_planes_fail(backend, seed, where, radius_km):
    lat, lon = spread(seed, 40, where)
    group = np.random.default_rng(seed).integers(-1, 2, 40)
    edge_index, distance = radius_edges(lat, lon, group, radius_km, backend=backend)
    expected = [
        (i, j, oracles.great_circle_km(lat[i], lon[i], lat[j], lon[j]))
        for j in range(40)
        for i in range(40)
        if i != j and group[i] == group[j] >= 0
    ]
    expected = [edge for edge in expected if edge[2] <= radius_km]
    assert edge_index.T.tolist() == [[i, j] for i, j, _ in expected]
    np.testing.assert_allclose(distance, [d for *_, d in expected], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_radius_is_closed(backend):
    """Pairs exactly 10 km apart along meridians all over the Earth, whatever rounding does."""
    lat = np.linspace(-80, 80, 501)
    lon = np.linspace(-180, 180, 501)
    apart = 10.0 * KM
    pairs = np.arange(501)
    edge_index, distance = radius_edges(
        np.concatenate([lat, lat + apart]), np.tile(lon, 2), np.tile(pairs, 2), backend=backend
    )
    assert edge_index.shape == (2, 1002)
    np.testing.assert_allclose(distance, 10.0, rtol=1e-6)
    beyond, _ = radius_edges(
        np.concatenate([lat, lat + apart + 1e-6 * KM]), np.tile(lon, 2), np.tile(pairs, 2), backend=backend
    )  # fmt: skip
    assert beyond.shape == (2, 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_radius_of_half_the_earth_joins_everything(backend):
    lat, lon = np.array([90.0, -90.0, 0.0, 0.0]), np.array([0.0, 0.0, 10.0, -170.0])
    edge_index, distance = radius_edges(lat, lon, np.zeros(4, int), 20_015.2, backend=backend)
    assert edge_index.shape == (2, 12)
    assert distance.max() == pytest.approx(np.pi * EARTH_RADIUS_KM, rel=1e-6)


def test_back_ends_give_the_same_edges_to_the_bit():
    points = clustered_points(5000, seed=3)
    group = points.year * 10 + points.region
    (edges_a, km_a), *others = (
        radius_edges(points.lat, points.lon, group, backend=backend) for backend in BACKENDS
    )
    for edges_b, km_b in others:
        assert np.array_equal(edges_a, edges_b)
        assert np.array_equal(km_a, km_b)
    assert count_edges(points.lat, points.lon, group) == edges_a.shape[1]
    order = np.lexsort((edges_a[0], edges_a[1]))
    assert np.array_equal(order, np.arange(edges_a.shape[1]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_edges_between_two_sets_equal_the_oracle(backend):
    for where in ("pole", "antimeridian", "alps"):
        (lat_a, lon_a), (lat_b, lon_b) = spread(1, 60, where), spread(2, 25, where)
        group_a, group_b = np.arange(60) % 3 - 1, np.arange(25) % 3 - 1
        edge_index, distance = radius_edges_between(
            lat_a, lon_a, group_a, lat_b, lon_b, group_b, 9.0, backend=backend
        )
        expected = [
            (i, j, oracles.great_circle_km(lat_a[i], lon_a[i], lat_b[j], lon_b[j]))
            for j in range(25)
            for i in range(60)
            if group_a[i] == group_b[j] >= 0
        ]
        expected = [edge for edge in expected if edge[2] <= 9.0]
        assert expected
        assert edge_index.T.tolist() == [[i, j] for i, j, _ in expected]
        np.testing.assert_allclose(distance, [d for *_, d in expected], rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def many_groups() -> tuple[np.ndarray, np.ndarray, np.ndarray, list[int]]:
    """Positions, groups, and the edges in each group when it is alone."""
    rng = np.random.default_rng(0)
    group = np.concatenate([np.repeat(np.arange(400), 3), np.full(5000, 400), [401, -1, -1]])
    rng.shuffle(group)
    lat, lon = 46 + rng.normal(0, 0.3, len(group)), 7 + rng.normal(0, 0.3, len(group))
    members = [np.flatnonzero(group == g) for g in range(402)]
    alone = [radius_edges(lat[m], lon[m], np.zeros(len(m), int), 5.0)[0].shape[1] for m in members]
    return lat, lon, group, alone


@pytest.mark.parametrize("backend", BACKENDS)
def test_groups_of_any_size_are_searched_apart(backend, many_groups):
    """Hundreds of small groups share trees with each other, never edges."""
    lat, lon, group, expected = many_groups
    edge_index, _ = radius_edges(lat, lon, group, 5.0, backend=backend)
    source, target = edge_index
    assert (group[source] == group[target]).all()
    assert np.bincount(group[target], minlength=402).tolist() == expected
    half = np.random.default_rng(1).random(len(group)) < 0.5
    between, _ = radius_edges_between(
        lat[half],
        lon[half],
        group[half],
        lat[~half],
        lon[~half],
        group[~half],
        5.0,
        backend=backend,
    )
    crossing = edge_index[:, half[source] & ~half[target]]
    rows = np.flatnonzero(half)[between[0]], np.flatnonzero(~half)[between[1]]
    assert np.array_equal(np.stack(rows), crossing)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_points_and_lone_points_have_no_edges(backend):
    none = np.zeros(0)
    for lat in (none, np.array([45.0])):
        edge_index, distance = radius_edges(lat, lat, np.zeros(len(lat), int), backend=backend)
        assert edge_index.shape == (2, 0)
        assert edge_index.dtype == np.int64
        assert distance.dtype == np.float32
    edge_index, _ = radius_edges_between(
        none, none, none.astype(int), np.array([45.0]), np.array([7.0]), np.array([0]), backend=backend
    )  # fmt: skip
    assert edge_index.shape == (2, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"radius_km": 0.0}, "radius_km must be a positive"),
        ({"radius_km": float("nan")}, "radius_km must be a positive"),
        ({"earth_radius_km": -1.0}, "earth_radius_km must be positive"),
        ({"device": "cuda"}, 'only backend="grid" runs on cuda; "kdtree" runs on the CPU'),
        ({"backend": "faiss"}, "backend must be one of kdtree, balltree, grid, got 'faiss'"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        radius_edges(np.zeros(2), np.zeros(2), np.zeros(2, int), **arguments)


@pytest.mark.parametrize("backend", ["kdtree", "balltree"])  # torch's memory is not traced
def test_memory_is_bounded_by_the_output(backend):
    """4,000 surveys in one spot: 16 million edges; an array object per survey or n × n is more."""
    rng = np.random.default_rng(0)
    lat, lon = 46 + rng.normal(0, 0.01, 4000), 7 + rng.normal(0, 0.01, 4000)
    tracemalloc.start()
    edge_index, distance = radius_edges(lat, lon, np.zeros(4000, int), backend=backend)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert edge_index.shape[1] > 15_000_000
    assert peak < 4 * (edge_index.nbytes + distance.nbytes)


def test_great_circles_keep_their_digits_from_a_metre_to_the_antipode():
    metre = great_circle_km(
        np.array([45.0]), np.array([7.0]), np.array([45 + KM / 1000]), np.array([7.0])
    )
    assert metre[0] == pytest.approx(0.001, rel=1e-6)
    near_antipode = great_circle_km(
        np.array([45.0]), np.array([7.0]), np.array([-45.0]), np.array([-173 + 1e-4])
    )
    assert near_antipode[0] == pytest.approx(
        oracles.great_circle_km(45, 7, -45, -173 + 1e-4), rel=1e-9
    )  # fmt: skip
