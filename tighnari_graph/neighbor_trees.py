"""Back ends of the neighbour search that use trees: scipy's cKDTree and scikit-learn's BallTree.

A tree proposes candidates, group by group; `Reach` decides, for every back end alike.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import joblib
import numpy as np
from scipy.spatial import cKDTree
from sklearn.neighbors import BallTree
from tqdm import tqdm

from tighnari_graph.geodesy import km_of_chord
from tighnari_graph.neighbor_edges import EdgeRows, both_ways_rows, one_way_rows
from tighnari_graph.neighbor_memory import check_edges_fit, most_edges
from tighnari_graph.neighbor_reach import Reach

_CHUNK = 1 << 16  # pairs whose distances are worked out at once: stays in the cache
_BUNDLE = 1 << 12  # surveys of small groups that share a tree
_BALLTREE_PAIRS = 1 << 20  # most pairs that one BallTree query may return

Pairs = tuple[np.ndarray, np.ndarray]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class TreeSearch:
    """One radius and tree: proposes pairs, and keeps those within.

    Attributes:
        reach: the radius.
        balltree: scikit-learn's tree instead of scipy's.
    """

    reach: Reach
    balltree: bool

    def edges(self, vectors: np.ndarray, group: np.ndarray) -> list[EdgeRows]:
        """Edges in both directions among points of one set, [N, 3]."""

        def edges_of(members: np.ndarray) -> EdgeRows:
            points = vectors[members]
            one, other = self._pairs(points, group[members])
            return both_ways_rows(*self._within(points, points, one, other), members)

        return _in_threads(edges_of, bundle_members(group), "searching neighbours")

    def edges_between(
        self, src: np.ndarray, src_group: np.ndarray, dst: np.ndarray, dst_group: np.ndarray
    ) -> list[EdgeRows]:
        """Edges from points of one set, [N, 3], to points of another, [M, 3]."""
        near = np.flatnonzero(within_reach(src, dst, self.reach.chord))
        src_bundle, dst_bundle = _bundles(src_group[near], dst_group)
        src_of = {int(src_bundle[m[0]]): near[m] for m in _members(src_bundle)}
        dst_of = {int(dst_bundle[m[0]]): m for m in _members(dst_bundle)}

        def edges_of(key: int) -> EdgeRows:
            a, b = src_of[key], dst_of[key]
            source, target = self._pairs_between(src[a], dst[b], src_group[a], dst_group[b])
            return one_way_rows(*self._within(src[a], dst[b], source, target), a, b)

        return _in_threads(edges_of, sorted(src_of.keys() & dst_of.keys()), "attaching")

    def _pairs(self, points: np.ndarray, group: np.ndarray) -> Pairs:
        """Candidates among one set of points, each pair once."""
        if not self.balltree:
            tree = cKDTree(apart(points, group))
            self._check_fit(points, points, tree, tree, loops=tree.n)
            pairs = tree.query_pairs(self.reach.chord, output_type="ndarray")
            return pairs[:, 0], pairs[:, 1]
        source, target = self._pairs_between(points, points, group, group)
        once = source < target
        return source[once], target[once]

    def _pairs_between(
        self, src: np.ndarray, dst: np.ndarray, src_group: np.ndarray, dst_group: np.ndarray
    ) -> Pairs:
        """Candidates from one set of points to another."""
        if not self.balltree:
            src_tree, dst_tree = cKDTree(apart(src, src_group)), cKDTree(apart(dst, dst_group))
            self._check_fit(src, dst, src_tree, dst_tree)
            found = src_tree.sparse_distance_matrix(
                dst_tree, self.reach.chord, output_type="ndarray"
            )
            return found["i"], found["j"]
        tree = BallTree(_radians(src), metric="haversine")
        parts = list(_balltree_pairs(tree, _radians(dst), self.reach))
        if not parts:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        source, target = (np.concatenate(ends) for ends in zip(*parts, strict=True))
        same = src_group[source] == dst_group[target]
        return source[same], target[same]

    def _check_fit(
        self, src: np.ndarray, dst: np.ndarray, src_tree: cKDTree, dst_tree: cKDTree, loops: int = 0
    ) -> None:
        chord = self.reach.chord
        check_edges_fit(
            self.reach,
            lambda: len(src) * len(dst),
            lambda: most_edges(src, dst, chord),
            lambda: int(src_tree.count_neighbors(dst_tree, chord)) - loops,
        )

    def _within(
        self, src: np.ndarray, dst: np.ndarray, source: np.ndarray, target: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The candidates within the radius, and their distances."""
        near = np.empty(len(source), dtype=bool)
        distance = np.empty(len(source), dtype=np.float32)
        src_axes, dst_axes = np.ascontiguousarray(src.T), np.ascontiguousarray(dst.T)
        for start in range(0, len(source), _CHUNK):
            part = slice(start, start + _CHUNK)
            square = np.zeros(len(source[part]))
            for a, b in zip(src_axes, dst_axes, strict=True):
                square += (a[source[part]] - b[target[part]]) ** 2
            near[part] = square <= self.reach.chord_square
            km = km_of_chord(square, self.reach.earth_radius_km)
            distance[part] = np.minimum(km, self.reach.radius_km)
        if near.all():  # nearly always: the tree is as exact as rounding lets it
            return source, target, distance
        return source[near], target[near], distance[near]


def apart(points: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Points with their group as a fourth coordinate, farther apart than any chord."""
    if not len(group) or (group == group[0]).all():
        return points
    return np.column_stack([points, 4.0 * group])


def bundle_members(group: np.ndarray) -> list[np.ndarray]:
    """Positions of the points to search together, in ascending order, bundle by bundle."""
    return _members(_bundles(group, group)[0])


def within_reach(src: np.ndarray, dst: np.ndarray, chord: float) -> np.ndarray:
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


def _bundles(src: np.ndarray, dst: np.ndarray) -> Pairs:
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


def _members(group: np.ndarray) -> list[np.ndarray]:
    """Positions of each group in ascending order; −1 is no group."""
    order = np.argsort(group, kind="stable")
    order = order[np.searchsorted(group[order], 0) :].astype(np.int32)
    if not len(order):
        return []
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _radians(points: np.ndarray) -> np.ndarray:
    return np.stack(
        [np.arcsin(np.clip(points[:, 2], -1, 1)), np.arctan2(points[:, 1], points[:, 0])], axis=1
    )


def _balltree_pairs(tree: BallTree, centers: np.ndarray, reach: Reach) -> Iterator[Pairs]:
    """Pairs chunk by chunk: BallTree returns an array object per point, so few points at a time."""
    ends = np.cumsum(tree.query_radius(centers, reach.angle, count_only=True))
    pairs = int(ends[-1]) if len(ends) else 0
    check_edges_fit(reach, lambda: pairs)
    start = 0
    while start < len(centers):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + _BALLTREE_PAIRS, side="right")), start + 1)
        found = tree.query_radius(centers[start:stop], reach.angle)
        count = [len(neighbors) for neighbors in found]
        yield np.concatenate(found), np.repeat(np.arange(start, stop), count)
        start = stop


def _in_threads(work: Callable[[T], R], items: list[T], title: str) -> list[R]:
    """Do the groups side by side: trees and array operations release Python's lock."""
    with ThreadPoolExecutor(joblib.cpu_count()) as threads:
        done = threads.map(work, items)
        return list(tqdm(done, title, len(items), delay=2, disable=None, leave=False))
