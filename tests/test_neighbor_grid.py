"""The grid in torch, against plain loops and the trees, and the sorting of edges."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.inputs import clustered_points, survey_table
from tests import oracles
from tighnari_graph import SurveyGraph, neighbor_grid
from tighnari_graph.geodesy import EARTH_RADIUS_KM, unit_vectors
from tighnari_graph.neighbor_edges import both_ways_rows, joined_edges, one_way_rows
from tighnari_graph.neighbor_grid import grid_edges, grid_edges_between
from tighnari_graph.neighbor_reach import BOUNDARY_KM, Reach
from tighnari_graph.neighbors import radius_edges, radius_edges_between

KM = 180 / np.pi / EARTH_RADIUS_KM  # degrees of latitude in a kilometre
HALF_ROUND = np.pi * EARTH_RADIUS_KM


def places(rng: np.random.Generator, num: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Points around a hard place, some of them co-located, or all over the Earth."""
    if where == "everywhere":
        lat, lon = np.degrees(np.arcsin(rng.uniform(-1, 1, num))), rng.uniform(-180, 180, num)
    else:
        at = {"north": (90, 0), "south": (-90, 0), "date line": (-17, 180), "null": (0, 0)}[where]
        lat = np.clip(at[0] + rng.normal(0, 8 * KM, num), -90, 90)
        spread = 180 if abs(at[0]) == 90 else 8 * KM
        lon = (at[1] + rng.normal(0, spread, num) + 180) % 360 - 180
    copies = rng.integers(0, num, num // 4)
    lat[: num // 4], lon[: num // 4] = lat[copies], lon[copies]
    return lat, lon


def loop(a: tuple[np.ndarray, ...], b: tuple[np.ndarray, ...], radius_km: float, same: bool):
    """Edges a → b by a plain loop; co-located points are 0 km apart."""
    found = []
    for j, (lat_j, lon_j, group_j) in enumerate(zip(*b, strict=True)):
        for i, (lat_i, lon_i, group_i) in enumerate(zip(*a, strict=True)):
            km = oracles.great_circle_km(lat_i, lon_i, lat_j, lon_j)
            if group_i == group_j >= 0 and km <= radius_km and not (same and i == j):
                found.append((i, j, km))
    return found


WHERE = st.sampled_from(["north", "south", "date line", "null", "everywhere"])
RADII = st.sampled_from([1e-3, 0.5, 10.0, 40.0, 3000.0, 12_000.0, 18_000.0, 20_015.2])


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 10**6), where=WHERE, radius_km=RADII, groups=st.integers(1, 3))
def test_edges_equal_the_oracle(seed, where, radius_km, groups):
    rng = np.random.default_rng(seed)
    lat, lon = places(rng, 24, where)
    group = rng.integers(-1 if groups > 1 else 0, groups, 24) * 10**12  # numbers with gaps
    points = lat, lon, np.maximum(group, -1)
    expected = loop(points, points, radius_km, same=True)
    edge_index, distance = radius_edges(*points, radius_km, backend="grid")
    assert edge_index.T.tolist() == [[i, j] for i, j, _ in expected]
    np.testing.assert_allclose(distance, [km for *_, km in expected], rtol=1e-5, atol=1e-6)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), where=WHERE, radius_km=RADII)
def test_edges_between_two_sets_equal_the_oracle(seed, where, radius_km):
    rng = np.random.default_rng(seed)
    a = (*places(rng, 25, where), rng.integers(-1, 2, 25))
    b = (*places(rng, 12, where), rng.integers(-1, 3, 12))
    b[0][:4], b[1][:4] = a[0][:4], a[1][:4]
    expected = loop(a, b, radius_km, same=False)
    edge_index, distance = radius_edges_between(*a, *b, radius_km, backend="grid")
    assert edge_index.T.tolist() == [[i, j] for i, j, _ in expected]
    np.testing.assert_allclose(distance, [km for *_, km in expected], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("radius_km", [10.0, 20.0, EARTH_RADIUS_KM * np.pi / 180])
def test_ties_at_the_radius_are_decided_as_by_the_trees(radius_km):
    """A lattice of whole kilometres north, and of degrees: many pairs at the radius."""
    north, east = np.meshgrid(np.arange(-40, 41, 5) * KM, np.arange(-3, 4) * 1.0)
    tied = 0
    for lat0, lon0 in ((0.0, 0.0), (0.0, 179.0), (60.0, 7.0), (89.9, 0.0)):
        lat, lon = np.minimum(lat0 + north.ravel(), 90.0), (lon0 + east.ravel() + 180) % 360 - 180
        group = np.zeros(len(lat), int)
        edge_index, distance = radius_edges(lat, lon, group, radius_km, backend="grid")
        for backend in ("kdtree", "balltree"):
            edges, km = radius_edges(lat, lon, group, radius_km, backend=backend)
            assert np.array_equal(edge_index, edges)
            np.testing.assert_allclose(distance, km, rtol=2e-7)
        tied += (distance == np.float32(radius_km)).sum()
    assert tied > 20


def test_the_boundary_counts_as_at_the_radius():
    reach = Reach(10.0)
    square = (
        2 * np.sin((10.0 + np.array([-1, 1, 3]) * BOUNDARY_KM / 2) / 2 / EARTH_RADIUS_KM)
    ) ** 2
    assert (square <= reach.chord_square).tolist() == [True, True, False]
    assert Reach(HALF_ROUND).chord_square == np.inf
    assert Reach(HALF_ROUND - 1).chord_square < 4


def test_longitudes_may_be_written_in_any_turn():
    """The antimeridian and the poles have many names."""
    lat = np.array([0.0, 0.0, 0.0, 90.0, 90.0])
    lon = np.array([180.0, -180.0, 540.0, 12.0, -77.0])
    edge_index, distance = radius_edges(lat, lon, np.zeros(5, int), 1.0, backend="grid")
    assert edge_index[1].tolist() == [0, 0, 1, 1, 2, 2, 3, 4]
    assert distance.max() < 1e-9


@pytest.mark.parametrize("chunk", [1, 50, 1000])
def test_candidates_come_a_bounded_number_at_a_time(monkeypatch, chunk):
    points = clustered_points(600, per_cluster=60)
    at = points.lat, points.lon, points.year % 2 - 1
    expected = radius_edges(*at)
    sizes, most = [], []
    within = neighbor_grid._within

    def counted(sources, axes, windows, size, chord_square):
        sizes.append(size)
        most.append(int(windows.count.sum(dim=1).max()))
        return within(sources, axes, windows, size, chord_square)

    monkeypatch.setattr(neighbor_grid, "_CHUNK", chunk)
    monkeypatch.setattr(neighbor_grid, "_within", counted)
    edge_index, distance = radius_edges(*at, backend="grid")
    assert np.array_equal(edge_index, expected[0])
    assert np.array_equal(distance, expected[1])
    assert len(sizes) > 3
    assert all(size <= chunk + longest for size, longest in zip(sizes, most, strict=True))


def test_few_candidates_are_in_vain(monkeypatch):
    """On an even field a disc fills half of the runs around a point."""
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(50, 52, 4000), rng.uniform(-1, 2, 4000)
    tried = []
    within = neighbor_grid._within
    monkeypatch.setattr(
        neighbor_grid, "_within", lambda *given: tried.append(given[3]) or within(*given)
    )
    edge_index, _ = radius_edges(lat, lon, np.zeros(4000, int), 10.0, backend="grid")
    assert edge_index.shape[1] > 50_000
    assert sum(tried) < 2 * edge_index.shape[1]


def test_nothing_and_lone_points_have_no_edges():
    for num in (0, 1, 5):
        points = torch.from_numpy(unit_vectors(np.full(num, 45.0), np.full(num, 7.0)))
        alone = torch.arange(num)
        for group in (alone, torch.full((num,), -1)):
            edge_index, distance = grid_edges(points, group, Reach(10.0))
            assert edge_index.shape == (2, 0)
            assert (edge_index.dtype, distance.dtype) == (torch.int64, torch.float32)
        for src, dst in ((num, 0), (0, num)):
            edge_index, _ = grid_edges_between(
                points[:src], alone[:src], points[:dst], alone[:dst], Reach(10.0)
            )
            assert edge_index.shape == (2, 0)


def test_coordinates_that_are_no_numbers_are_refused():
    points = torch.eye(3, dtype=torch.float64)
    points[1:, 2] = torch.tensor([torch.nan, torch.inf])
    with pytest.raises(ValueError, match="coordinates of 2 surveys are not finite"):
        grid_edges(points, torch.zeros(3, dtype=torch.int64), Reach(10.0))


def test_a_graph_and_what_is_attached_are_the_same_on_the_grid():
    table = survey_table(800, num_species=50)
    test, po = table.subset(np.arange(0, 800, 9)), table.subset(np.arange(0, 800, 2))
    graphs = [SurveyGraph.from_surveys(table, backend=name) for name in ("kdtree", "grid")]
    assert torch.equal(graphs[0].edge_index, graphs[1].edge_index)
    assert torch.equal(graphs[0].edge_weight, graphs[1].edge_weight)
    tree, grid = (
        graph.attach(test, po, backend=name)
        for graph, name in zip(graphs, ("kdtree", "grid"), strict=True)
    )
    assert tree["po", "near", "test"].edge_index.numel() > 0
    for kind in tree.edge_types:
        assert torch.equal(tree[kind].edge_index, grid[kind].edge_index)
    with pytest.raises(ValueError, match='only backend="grid" runs on cuda'):
        graphs[0].attach(test, device="cuda")


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), num=st.integers(1, 30))
def test_rows_of_several_groups_join_sorted(seed, num):
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, 3, num)
    parts, between, expected, expected_between = [], [], [], []
    for group in range(3):
        members = np.flatnonzero(owner == group)
        one, other = np.nonzero(np.triu(rng.random((len(members),) * 2) < 0.5, 1))
        turned = rng.random(len(one)) < 0.5
        one, other = np.where(turned, other, one), np.where(turned, one, other)
        shuffled = rng.permutation(len(one))
        one, other = one[shuffled], other[shuffled]
        km = rng.random(len(one)).astype(np.float32)
        km[: len(km) // 3] = 0.0  # co-located surveys keep their edges
        parts.append(both_ways_rows(one, other, km, members))
        between.append(one_way_rows(one, other, km, members, members))
        ends = members[one].tolist(), members[other].tolist()
        expected += [(j, i, d) for i, j, d in zip(*ends, km.tolist(), strict=True)]
        expected += [(i, j, d) for i, j, d in zip(*ends, km.tolist(), strict=True)]
        expected_between += [(j, i, d) for i, j, d in zip(*ends, km.tolist(), strict=True)]
    for rows, edges in ((parts, expected), (between, expected_between)):
        edge_index, distance = joined_edges(rows)
        assert list(zip(*edge_index[::-1].tolist(), distance.tolist(), strict=True)) == sorted(
            edges
        )
        assert edge_index.dtype == np.int64


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("radius_km", [0.5, 10.0, 12_000.0])
def test_a_gpu_finds_the_edges_of_the_cpu(radius_km, monkeypatch):
    points = clustered_points(20_000 if radius_km < 100 else 1500)
    monkeypatch.setattr(neighbor_grid, "_GPU_CHUNK", 1 << 20)  # several chunks
    at = points.lat, points.lon, points.year * 10 + points.region
    edge_index, distance = radius_edges(*at, radius_km, backend="grid", device="cuda")
    expected, km = radius_edges(*at, radius_km)
    assert np.array_equal(edge_index, expected)
    np.testing.assert_allclose(distance, km, rtol=2e-7, atol=1e-12)
    again = radius_edges(*at, radius_km, backend="grid", device="cuda")
    assert np.array_equal(again[1], distance)
    half = np.arange(len(points.lat)) % 2 == 0
    ends = [column[half] for column in at] + [column[~half] for column in at]
    there = radius_edges_between(*ends, radius_km, backend="grid", device="cuda")
    here = radius_edges_between(*ends, radius_km)
    assert np.array_equal(there[0], here[0])
    np.testing.assert_allclose(there[1], here[1], rtol=2e-7, atol=1e-12)
