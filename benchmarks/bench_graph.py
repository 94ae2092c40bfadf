"""Build the survey graph at the size of the real data set, beside what a user would pick.

Run `python -m benchmarks.bench_graph` (88,987 surveys), or with ``--surveys N``.
"""

import argparse
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree
from sklearn.neighbors import BallTree

from benchmarks.inputs import Points, clustered_points
from tighnari_graph.geodesy import EARTH_RADIUS_KM, unit_vectors
from tighnari_graph.neighbors import radius_edges
from tighnari_graph.spec import match_groups

REAL_SIZE = 88_987
Edges = tuple[np.ndarray, np.ndarray, np.ndarray]


def ours(points: Points, radius_km: float = 10.0, backend: str = "kdtree") -> Edges:
    """Sorted edge_index, distances and weights, from positions, years and regions."""
    group = match_groups({"year": points.year, "region_code": points.region}, len(points.lat))
    edge_index, distance = radius_edges(points.lat, points.lon, group, radius_km, backend=backend)
    return edge_index, distance, radius_km - distance


def balltree_loop(points: Points, radius_km: float = 10.0) -> Edges:
    """The peer: a scikit-learn BallTree per year and region, then numpy to a sorted edge_index."""
    position = np.radians(np.stack([points.lat, points.lon], axis=1))
    sources, targets, distances = [], [], []
    for year, region in np.unique(np.stack([points.year, points.region], axis=1), axis=0):
        members = np.flatnonzero((points.year == year) & (points.region == region))
        tree = BallTree(position[members], metric="haversine")
        near, angle = tree.query_radius(
            position[members], radius_km / EARTH_RADIUS_KM, return_distance=True
        )
        targets.append(np.repeat(members, [len(n) for n in near]))
        sources.append(members[np.concatenate(near)])
        distances.append(np.concatenate(angle) * EARTH_RADIUS_KM)
    return _sorted(
        np.concatenate(sources), np.concatenate(targets), np.concatenate(distances), radius_km
    )


def kdtree_pairs(points: Points, radius_km: float = 10.0) -> Edges:
    """The peer: cKDTree.query_pairs on unit vectors per group, then plain numpy."""
    vectors = unit_vectors(points.lat, points.lon)
    chord = 2 * np.sin(radius_km / EARTH_RADIUS_KM / 2)
    found = []
    for year, region in np.unique(np.stack([points.year, points.region], axis=1), axis=0):
        members = np.flatnonzero((points.year == year) & (points.region == region))
        pairs = cKDTree(vectors[members]).query_pairs(chord, output_type="ndarray")
        found.append(members[pairs])
    one, other = np.concatenate(found).T
    length = np.linalg.norm(vectors[one] - vectors[other], axis=1)
    distance = 2 * np.arcsin(length / 2) * EARTH_RADIUS_KM
    return _sorted(
        np.concatenate([one, other]), np.concatenate([other, one]), np.tile(distance, 2), radius_km
    )


def _sorted(
    source: np.ndarray, target: np.ndarray, distance: np.ndarray, radius_km: float
) -> Edges:
    other = source != target
    source, target, distance = source[other], target[other], distance[other]
    order = np.lexsort((source, target))
    distance = distance[order].astype(np.float32)
    return np.stack([source[order], target[order]]), distance, radius_km - distance


def timed(build: Callable[[], Edges], repeats: int) -> tuple[float, Edges]:
    """The best of several runs, seconds, and the result."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        result = build()
        seconds.append(time.perf_counter() - begin)
    return min(seconds), result


def compare(num: int = REAL_SIZE, repeats: int = 3) -> list[tuple[str, float, int]]:
    """Name, best seconds and edges of each way, all in this process; raises if edges differ."""
    points = clustered_points(num)
    rows, first = [], None
    for name, build in (
        ("ours, kdtree", ours),
        ("ours, balltree", lambda p: ours(p, backend="balltree")),
        ("BallTree loop", balltree_loop),
        ("cKDTree.query_pairs + numpy", kdtree_pairs),
    ):
        seconds, (edge_index, distance, _) = timed(lambda b=build: b(points), repeats)
        if first is None:
            first = edge_index, distance
        elif not np.array_equal(first[0], edge_index) or np.abs(first[1] - distance).max() > 1e-3:
            raise RuntimeError(f"{name} found other edges")
        rows.append((name, seconds, edge_index.shape[1]))
    return rows


def main() -> None:
    """Print a table with ratios to ours, and the memory of ours beside its output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--surveys", type=int, default=REAL_SIZE, help="number of surveys")
    parser.add_argument("--repeats", type=int, default=3, help="runs, of which the best counts")
    arguments = parser.parse_args()
    rows = compare(arguments.surveys, arguments.repeats)
    print(f"{arguments.surveys:,} surveys, {rows[0][2]:,} directed edges\n")
    print(f"{'points → sorted edge_index with weights':<42} {'seconds':>8} {'× ours':>7}")
    for name, seconds, _ in rows:
        print(f"{name:<42} {seconds:>8.2f} {seconds / rows[0][1]:>7.1f}")
    points = clustered_points(arguments.surveys)
    tracemalloc.start()
    output = ours(points)
    peak = tracemalloc.get_traced_memory()[1]
    size = sum(part.nbytes for part in output)
    print(f"\npeak memory {peak / 1e6:,.0f} MB, output {size / 1e6:,.0f} MB: {peak / size:.1f}×")


if __name__ == "__main__":
    main()
