"""Pairs of surveys within a radius on the sphere, inside equal groups (year, region, …).

A back end proposes candidates, group by group; what decides is the same for all back ends: the
great-circle distance of `geodesy`, closed at the radius. A pair that exceeds the radius by no more
than `BOUNDARY_KM`, the rounding of coordinates in float64, counts as at the radius.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import joblib
import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree
from sklearn.neighbors import BallTree
from tqdm import tqdm

from tighnari_graph.geodesy import EARTH_RADIUS_KM, chord_of_km, km_of_chord, unit_vectors
from tighnari_graph.surveys import SurveyTable

BACKENDS = ("kdtree", "balltree")
BOUNDARY_KM = 1e-9
_CHUNK = 1 << 16  # pairs whose distances are worked out at once: stays in the cache
_BUNDLE = 1 << 12  # surveys of small groups that share a tree
_BALLTREE_PAIRS = 1 << 20  # most pairs that one BallTree query may return

T = TypeVar("T")
R = TypeVar("R")


def radius_edges(
    lat: np.ndarray,
    lon: np.ndarray,
    group: np.ndarray,
    radius_km: float = 10.0,
    earth_radius_km: float = EARTH_RADIUS_KM,
    backend: str = "kdtree",
) -> tuple[np.ndarray, np.ndarray]:
    r"""All pairs of the same group within the radius, in both directions, without self-loops.

    Shapes:
        - **lat, lon:** :math:`(N,)`
        - **group:** :math:`(N,)` int, equal where an edge may be; −1 matches nothing
        - **output:** edge_index :math:`(2, E)` int64, sorted by (target, source), and the
          distances :math:`(E,)` float32

    Units: degrees in, kilometres out.

    Raises:
        ValueError: on a radius that is not positive, or an unknown back end.

    Source: Liu et al. 2024, algorithm 1 (CreateEdges).

    Example:
        >>> lat, lon = np.array([45.0, 45.05, 45.0]), np.array([7.0, 7.0, 7.0])
        >>> radius_edges(lat, lon, np.array([0, 0, 1]))
        (array([[1, 0],
               [0, 1]]), array([5.559754, 5.559754], dtype=float32))
    """
    search = _Search(radius_km, earth_radius_km, backend)
    vectors = unit_vectors(lat, lon)
    degree = np.zeros(len(lat), dtype=np.int64)

    def edges_of(members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        points = vectors[members]
        one, other = search.pairs(points, group[members])
        near, distance = search.within(points, points, one, other)
        one, other = one[near], other[near]
        both = np.concatenate([distance, distance])
        indptr, source, order = _sorted_edges(
            np.concatenate([one, other]), np.concatenate([other, one]), len(members), len(members)
        )
        degree[members] = np.diff(indptr)
        return indptr, source, both[order]

    bundles = _members(_bundles(group, group)[0])
    found = _in_threads(edges_of, bundles, "searching neighbours")
    return _assemble(found, bundles, bundles, degree)


def radius_edges_between(
    lat_src: np.ndarray,
    lon_src: np.ndarray,
    group_src: np.ndarray,
    lat_dst: np.ndarray,
    lon_dst: np.ndarray,
    group_dst: np.ndarray,
    radius_km: float = 10.0,
    earth_radius_km: float = EARTH_RADIUS_KM,
    backend: str = "kdtree",
) -> tuple[np.ndarray, np.ndarray]:
    r"""All pairs source → target of the same group within the radius.

    Shapes:
        - **lat_src, lon_src, group_src:** :math:`(N_{src},)`
        - **lat_dst, lon_dst, group_dst:** :math:`(N_{dst},)`
        - **output:** edge_index :math:`(2, E)` int64, row 0 source, row 1 target, sorted by
          (target, source), and the distances :math:`(E,)` float32

    Units: degrees in, kilometres out.

    Raises:
        ValueError: on a radius that is not positive, or an unknown back end.

    Source: Liu et al. 2024, algorithms 1 and 2 (test and auxiliary nodes).

    Example:
        >>> zero = np.array([0])
        >>> radius_edges_between(np.array([45.0, 46.0]), np.array([7.0, 7.0]), np.array([0, 0]),
        ...                      np.array([45.05]), np.array([7.0]), zero)
        (array([[0],
               [0]]), array([5.559754], dtype=float32))
    """
    search = _Search(radius_km, earth_radius_km, backend)
    src_vectors, dst_vectors = unit_vectors(lat_src, lon_src), unit_vectors(lat_dst, lon_dst)
    degree = np.zeros(len(lat_dst), dtype=np.int64)
    reach = np.flatnonzero(_within_reach(src_vectors, dst_vectors, search.chord))
    src_bundle, dst_bundle = _bundles(group_src[reach], group_dst)
    src_of = {int(src_bundle[m[0]]): reach[m] for m in _members(src_bundle)}
    dst_of = {int(dst_bundle[m[0]]): m for m in _members(dst_bundle)}
    shared = sorted(src_of.keys() & dst_of.keys())

    def edges_of(key: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        a, b = src_of[key], dst_of[key]
        src, dst = src_vectors[a], dst_vectors[b]
        source, target = search.pairs_between(src, dst, group_src[a], group_dst[b])
        near, distance = search.within(src, dst, source, target)
        indptr, source, order = _sorted_edges(source[near], target[near], len(src), len(dst))
        degree[b] = np.diff(indptr)
        return indptr, source, distance[order]

    found = _in_threads(edges_of, shared, "attaching")
    return _assemble(found, [src_of[k] for k in shared], [dst_of[k] for k in shared], degree)


def count_edges(
    lat: np.ndarray,
    lon: np.ndarray,
    group: np.ndarray,
    radius_km: float = 10.0,
    earth_radius_km: float = EARTH_RADIUS_KM,
) -> int:
    """How many directed edges `radius_edges` will find, without making them.

    Example:
        >>> count_edges(np.array([45.0, 45.05]), np.array([7.0, 7.0]), np.array([0, 0]))
        2
    """
    search = _Search(radius_km, earth_radius_km, "kdtree")
    vectors = unit_vectors(lat, lon)
    trees = (
        cKDTree(_apart(vectors[members], group[members]))
        for members in _members(_bundles(group, group)[0])
    )
    return sum(int(tree.count_neighbors(tree, search.chord)) - tree.n for tree in trees)


def count_edges_between(src: SurveyTable, dst: SurveyTable, radius_km: float = 10.0) -> int:
    """How many pairs of the same year lie within the radius, as between PO and test surveys."""
    search = _Search(radius_km, EARTH_RADIUS_KM, "kdtree")
    src_vectors, dst_vectors = unit_vectors(src.lat, src.lon), unit_vectors(dst.lat, dst.lon)
    near = _within_reach(src_vectors, dst_vectors, search.chord)
    src_tree = cKDTree(_apart(src_vectors[near], src.year[near]))
    dst_tree = cKDTree(_apart(dst_vectors, dst.year))
    return int(src_tree.count_neighbors(dst_tree, search.chord))


class _Search:
    """One radius and back end: proposes candidate pairs, and measures them."""

    def __init__(self, radius_km: float, earth_radius_km: float, backend: str) -> None:
        if not (np.isfinite(radius_km) and radius_km > 0):
            raise ValueError(f"radius_km must be a positive number of kilometres, got {radius_km}")
        if not (np.isfinite(earth_radius_km) and earth_radius_km > 0):
            raise ValueError(f"earth_radius_km must be positive, got {earth_radius_km}")
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
        self.radius_km, self.earth_radius_km, self.backend = radius_km, earth_radius_km, backend
        # Candidates a little beyond the radius: `within` decides.
        self.chord = chord_of_km(radius_km, earth_radius_km) * (1 + 1e-9) + 1e-12
        self.angle = min(radius_km / earth_radius_km * (1 + 1e-6) + 1e-9, np.pi)

    def pairs(self, points: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Candidates among one set of points, each pair once."""
        if self.backend == "kdtree":
            tree = cKDTree(_apart(points, group))
            pairs = tree.query_pairs(self.chord, output_type="ndarray")
            return pairs[:, 0], pairs[:, 1]
        source, target = self.pairs_between(points, points, group, group)
        once = source < target
        return source[once], target[once]

    def pairs_between(
        self, src: np.ndarray, dst: np.ndarray, src_group: np.ndarray, dst_group: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Candidates from one set of points to another."""
        if self.backend == "kdtree":
            found = cKDTree(_apart(src, src_group)).sparse_distance_matrix(
                cKDTree(_apart(dst, dst_group)), self.chord, output_type="ndarray"
            )
            return found["i"], found["j"]
        tree = BallTree(_radians(src), metric="haversine")
        parts = list(_balltree_pairs(tree, _radians(dst), self.angle))
        if not parts:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        source, target = (np.concatenate(ends) for ends in zip(*parts, strict=True))
        same = src_group[source] == dst_group[target]
        return source[same], target[same]

    def within(
        self, src: np.ndarray, dst: np.ndarray, source: np.ndarray, target: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which candidates are within the radius, and the distances of those."""
        near = np.empty(len(source), dtype=bool)
        distance = np.empty(len(source), dtype=np.float32)
        src_axes, dst_axes = np.ascontiguousarray(src.T), np.ascontiguousarray(dst.T)
        for start in range(0, len(source), _CHUNK):
            part = slice(start, start + _CHUNK)
            square = np.zeros(len(source[part]))
            for a, b in zip(src_axes, dst_axes, strict=True):
                square += (a[source[part]] - b[target[part]]) ** 2
            km = km_of_chord(square, self.earth_radius_km)
            near[part] = km <= self.radius_km + BOUNDARY_KM
            distance[part] = np.minimum(km, self.radius_km)
        return near, distance[near]


def _apart(points: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Points with their group as a fourth coordinate, farther apart than any chord."""
    if not len(group) or (group == group[0]).all():
        return points
    return np.column_stack([points, 4.0 * group])


def _bundles(src: np.ndarray, dst: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Groups to search together: a large one alone, small ones with others, −1 where none can be.

    A tree for every group of two would cost more than the search.
    """
    shared = int(max(src.max(initial=-1), dst.max(initial=-1))) + 1
    size = [np.bincount(group[group >= 0], minlength=shared) for group in (src, dst)]
    points = size[0] + size[1]
    useful = (size[0] > 0) & (size[1] > 0) & (points > 2 if src is dst else True)
    small = useful & (points < _BUNDLE)
    bundle = np.where(useful, np.arange(shared) + shared, -1)
    bundle[small] = np.cumsum(points * small)[small] // _BUNDLE
    return tuple(np.append(bundle, -1)[group] for group in (src, dst))


def _radians(points: np.ndarray) -> np.ndarray:
    return np.stack(
        [np.arcsin(np.clip(points[:, 2], -1, 1)), np.arctan2(points[:, 1], points[:, 0])], axis=1
    )


def _balltree_pairs(
    tree: BallTree, centers: np.ndarray, angle: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs chunk by chunk: BallTree returns an array object per point, so few points at a time."""
    ends = np.cumsum(tree.query_radius(centers, angle, count_only=True))
    start = 0
    while start < len(centers):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + _BALLTREE_PAIRS, side="right")), start + 1)
        found = tree.query_radius(centers[start:stop], angle)
        count = [len(neighbors) for neighbors in found]
        yield np.concatenate(found), np.repeat(np.arange(start, stop), count)
        start = stop


def _members(group: np.ndarray) -> list[np.ndarray]:
    """Positions of each group in ascending order; −1 is no group."""
    order = np.argsort(group, kind="stable")
    order = order[np.searchsorted(group[order], 0) :]
    if not len(order):
        return []
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _within_reach(src: np.ndarray, dst: np.ndarray, chord: float) -> np.ndarray:
    """Sources in a grid cell (side: the radius) that holds a target, or next to one.

    Millions of PO surveys face a few thousand test nodes; most lie near none of them, and a cell
    number is cheaper than a place in a tree.
    """
    cells = int(2 / chord) + 3

    def number(xyz: np.ndarray) -> np.ndarray:
        return (xyz[..., 0] * cells + xyz[..., 1]) * cells + xyz[..., 2]

    around = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), axis=-1).reshape(1, -1, 3)
    home = np.floor((dst + 1) / chord).astype(np.int64)[:, None, :]
    wanted = np.unique(number(home + 1 + around))
    if not len(wanted):
        return np.zeros(len(src), dtype=bool)
    cell = number(np.floor((src + 1) / chord).astype(np.int64) + 1)
    position = np.minimum(np.searchsorted(wanted, cell), len(wanted) - 1)
    return wanted[position] == cell


def _sorted_edges(
    source: np.ndarray, target: np.ndarray, num_src: int, num_dst: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort edges by (target, source) in linear time, by two transpositions of a sparse matrix.

    Returns the row pointer over targets, the sorted sources, and the order that sorted them.
    A transposition is a stable counting sort, several times faster than comparing 64-bit keys.
    """
    small = max(len(source), num_src, num_dst) < np.iinfo(np.int32).max
    dtype = np.int32 if small else np.int64
    count = len(source)
    one_each = np.arange(count + 1, dtype=dtype)
    filler = np.ones(count, dtype=np.int8)

    def stable(key: np.ndarray, size: int) -> sparse.csc_array:
        keys = (filler, key.astype(dtype), one_each)
        return sparse.csr_array(keys, shape=(count, size)).tocsc()

    by_source = stable(source, num_src).indices
    by_target = stable(target[by_source], num_dst)
    order = by_source[by_target.indices]
    return by_target.indptr, source[order], order


def _in_threads(work: Callable[[T], R], items: list[T], title: str) -> list[R]:
    """Do the groups side by side: trees and array operations release Python's lock."""
    with ThreadPoolExecutor(joblib.cpu_count()) as threads:
        done = threads.map(work, items)
        return list(tqdm(done, title, len(items), delay=2, disable=None, leave=False))


def _assemble(
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
    src_members: list[np.ndarray],
    dst_members: list[np.ndarray],
    degree: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Put the edges of every group where their target's run begins in the whole."""
    start = np.cumsum(degree) - degree
    edge_index = np.empty((2, int(degree.sum())), dtype=np.int64)
    edge_index[1] = np.repeat(np.arange(len(degree)), degree)
    distance = np.empty(edge_index.shape[1], dtype=np.float32)
    for (indptr, source, km), src, dst in zip(found, src_members, dst_members, strict=True):
        shift = start[dst] - indptr[:-1]
        place = np.arange(len(source)) + np.repeat(shift, np.diff(indptr))
        edge_index[0, place] = src[source]
        distance[place] = km
    return edge_index, distance
