"""Build the survey graph: points → sorted edge_index, distance and weight."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from scipy.spatial import cKDTree
from sklearn.neighbors import BallTree

from benchmarks.case import Case, Limit, Peer
from benchmarks.inputs import REGIONS, Points, clustered_points
from benchmarks.machine import Speed
from tighnari_graph import SurveyGraph, SurveyTable
from tighnari_graph.geodesy import EARTH_RADIUS_KM, unit_vectors
from tighnari_graph.neighbors import BACKENDS

SIZES = (10_000, 88_987, 1_000_000)
SMALL = (200, 400, 800)
RADIUS_KM = 10.0
EDGE_BYTES = 16 + 4 + 4  # edge_index, distance, weight
SAMPLE = 512  # surveys of which brute force finds the neighbours
CLOSE_KM = 1e-3
MANY = 5_000  # surveys from which on libpysal does a tenth of the groups
MAX_PEER = 100_000  # surveys up to which the other ways run

Edges = tuple[np.ndarray, np.ndarray, np.ndarray]


def table_of(points: Points) -> SurveyTable:
    """The points as surveys of nobody knows which species."""
    return SurveyTable(
        np.arange(len(points.lat)), points.lat, points.lon, points.year,
        REGIONS.astype(object)[points.region], None, np.zeros(0, dtype=np.int64),
    )  # fmt: skip


def ours(table: SurveyTable, **backend: str) -> Edges:
    """What the library does, regions coded and node attributes made besides."""
    graph = SurveyGraph.from_surveys(table, RADIUS_KM, **backend)
    edges = (graph.edge_index, graph.edge_distance_km, graph.edge_weight)
    return tuple(part.numpy() for part in edges)


def balltree_loop(points: Points) -> Edges:
    """A scikit-learn BallTree per year and region, then numpy to a sorted edge_index."""
    position = np.radians(np.stack([points.lat, points.lon], axis=1))
    sources, targets, distances = [], [], []
    for members in groups(points):
        tree = BallTree(position[members], metric="haversine")
        near, angle = tree.query_radius(
            position[members], RADIUS_KM / EARTH_RADIUS_KM, return_distance=True
        )
        targets.append(np.repeat(members, [len(n) for n in near]))
        sources.append(members[np.concatenate(near)])
        distances.append(np.concatenate(angle) * EARTH_RADIUS_KM)
    return sorted_edges(*map(np.concatenate, (sources, targets, distances)))


def kdtree_pairs(points: Points) -> Edges:
    """cKDTree.query_pairs on unit vectors per group, then plain numpy."""
    vectors = unit_vectors(points.lat, points.lon)
    chord = 2 * np.sin(RADIUS_KM / EARTH_RADIUS_KM / 2)
    found = []
    for members in groups(points):
        pairs = cKDTree(vectors[members]).query_pairs(chord, output_type="ndarray")
        found.append(members[pairs])
    one, other = np.concatenate(found).T
    length = np.linalg.norm(vectors[one] - vectors[other], axis=1)
    distance = 2 * np.arcsin(length / 2) * EARTH_RADIUS_KM
    return sorted_edges(
        np.concatenate([one, other]), np.concatenate([other, one]), np.tile(distance, 2)
    )


def distance_bands(points: Points, parts: list[np.ndarray]) -> Edges:
    """libpysal's distance band in some groups, on metres of the projection of European maps.

    The azimuthal equal-area projection about 52° N 10° E, on the sphere: no projection keeps
    distances, this one keeps areas, and so nearly the number of neighbours.
    """
    from libpysal.graph import Graph

    east, north = laea_km(points.lat, points.lon)
    metres = 1e3 * np.stack([east, north], axis=1)
    sources, targets, distances = [], [], []
    for members in parts:
        if len(members) < 2:  # libpysal takes no single point
            continue
        band = Graph.build_distance_band(
            metres[members], 1e3 * RADIUS_KM, binary=False, alpha=1.0
        ).adjacency
        one = band.index.get_level_values("focal").to_numpy()
        other = band.index.get_level_values("neighbor").to_numpy()
        sources.append(members[other])
        targets.append(members[one])
        distances.append(band.to_numpy() / 1e3)
    return sorted_edges(*map(np.concatenate, (sources, targets, distances)))


def laea_km(lat: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kilometres east and north of 52° N 10° E, azimuthal equal-area, on the sphere.

    Source: Snyder 1987, *Map projections: a working manual*, equations 22-4, 22-5 and 24-2.
    """
    phi, lam, middle = np.radians(lat), np.radians(lon) - np.radians(10.0), np.radians(52.0)
    along = np.cos(phi) * np.cos(lam)
    scale = EARTH_RADIUS_KM * np.sqrt(
        2 / (1 + np.sin(middle) * np.sin(phi) + np.cos(middle) * along)
    )
    north = np.cos(middle) * np.sin(phi) - np.sin(middle) * along
    return scale * np.cos(phi) * np.sin(lam), scale * north


def brute_force(points: Points, rows: np.ndarray, block: int = 64) -> Edges:
    """The neighbours of some surveys by comparing them with all, in torch, block by block."""
    vectors = torch.from_numpy(unit_vectors(points.lat, points.lon))
    group = torch.from_numpy(points.year * len(REGIONS) + points.region)
    chord = 2 * np.sin(RADIUS_KM / EARTH_RADIUS_KM / 2)
    sources, targets, distances = [], [], []
    for some in torch.from_numpy(rows).split(block):
        square = (2 - 2 * vectors[some] @ vectors.T).clamp_(min=0)
        near = (square <= chord**2) & (group[some][:, None] == group)
        target, source = near.nonzero(as_tuple=True)
        arc = 2 * torch.asin(square[target, source].sqrt() / 2)
        sources.append(source)
        targets.append(some[target])
        distances.append(arc * EARTH_RADIUS_KM)
    return sorted_edges(*(torch.cat(part).numpy() for part in (sources, targets, distances)))


def groups(points: Points) -> list[np.ndarray]:
    """The surveys of each year and region."""
    _, group = np.unique(np.stack([points.year, points.region]), axis=1, return_inverse=True)
    group = group.ravel()
    return np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])


def sorted_edges(source: np.ndarray, target: np.ndarray, distance: np.ndarray) -> Edges:
    """Self-loops left out, sorted by (target, source), with weights."""
    other = source != target
    source, target, distance = source[other], target[other], distance[other]
    order = np.lexsort((source, target))
    distance = distance[order].astype(np.float32)
    return np.stack([source[order], target[order]]), distance, RADIUS_KM - distance


def same_edges(ours: Edges, theirs: Edges) -> str:
    """What differs: another edge, or a distance by more than a metre."""
    if ours[0].shape != theirs[0].shape or not np.array_equal(ours[0], theirs[0]):
        return f"{ours[0].shape[1]} and {theirs[0].shape[1]} edges, not the same ones"
    if not ours[0].size:
        return ""
    away = max(float(np.abs(a - b).max()) for a, b in zip(ours[1:], theirs[1:], strict=True))
    return f"distances or weights differ by {away:.2g} km" if away > CLOSE_KM else ""


def as_many_of(rows: np.ndarray) -> Callable[[Edges, Edges], str]:
    """Compare how many edges lead to these surveys: within 1 %."""

    def check(ours: Edges, theirs: Edges) -> str:
        one, other = int(np.isin(ours[0][1], rows).sum()), theirs[0].shape[1]
        return f"{one} and {other} edges" if abs(one - other) > 0.01 * one else ""

    return check


def number_is(edges: int) -> Callable[[Edges, Edges], str]:
    """Compare the number of the peer's edges with one known before."""
    return lambda _, theirs: "" if theirs[0].shape[1] == edges else "another number of edges"


def same_of(rows: np.ndarray) -> Callable[[Edges, Edges], str]:
    """Compare the edges to these surveys only."""

    def check(ours: Edges, theirs: Edges) -> str:
        chosen = np.isin(ours[0][1], rows)
        return same_edges((ours[0][:, chosen], ours[1][chosen], ours[2][chosen]), theirs)

    return check


def cases(small: bool, speed: Speed) -> Iterator[Case]:
    """10,000, 88,987 and a million surveys."""
    before: tuple[SurveyTable, int] | None = None
    for num in SMALL if small else SIZES:
        points = clustered_points(num)
        table = table_of(points)
        target = ours(table)[0][1]  # and caches are warm
        edges = len(target)
        rows = np.sort(np.random.default_rng(0).permutation(num)[:SAMPLE])
        peers = full_peers(points, table, target) if num <= MAX_PEER else {}
        del target
        peers["blocked brute force in torch"] = Peer(
            partial(brute_force, points, rows), len(rows) / num, same_of(rows)
        )
        if before is not None:
            peers[f"ours at {len(before[0]):,} surveys, times the edges"] = Peer(
                partial(ours, before[0]), before[1] / edges, number_is(before[1]), "≥ 0.8×: linear"
            )
        output = EDGE_BYTES * edges
        yield Case(
            "build the graph",
            f"{num:,} surveys, {edges:,} edges",
            partial(ours, table),
            peers,
            Limit("write the edges once", speed.write(output)),
            f"within 6 × of the limit, memory ≤ 2 × the output ({output / 1e6:,.0f} MB)",
            same_edges,
        )
        before = table, edges


def full_peers(points: Points, table: SurveyTable, target: np.ndarray) -> dict[str, Peer]:
    """The ways that do all of the work, or, of many surveys, a tenth of the groups."""
    bands = groups(points)[:: 1 if len(table) < MANY else 10]
    members = np.concatenate(bands)
    peers = {f"ours, {name}": Peer(partial(ours, table, backend=name)) for name in BACKENDS}
    return peers | {
        "BallTree loop": Peer(partial(balltree_loop, points), aim="≥ 10×"),
        "cKDTree.query_pairs + numpy": Peer(partial(kdtree_pairs, points), aim="≥ 3×"),
        "libpysal distance band, projected metres": Peer(
            partial(distance_bands, points, bands),
            float(np.isin(target, members).mean()),
            as_many_of(members),
        ),
    }
