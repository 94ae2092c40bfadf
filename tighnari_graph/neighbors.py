"""Pairs of surveys within a radius on the sphere, inside equal groups (year, region, …).

A back end proposes candidates; what decides is the same for all of them: the squared chord of
`Reach`, closed at the radius. A pair that exceeds the radius by no more than `BOUNDARY_KM`, the
rounding of coordinates in float64, counts as at the radius.
"""

import numpy as np
import torch
from scipy.spatial import cKDTree

from tighnari_graph.geodesy import EARTH_RADIUS_KM, unit_vectors
from tighnari_graph.neighbor_edges import joined_edges
from tighnari_graph.neighbor_grid import grid_edges, grid_edges_between
from tighnari_graph.neighbor_reach import BOUNDARY_KM, Reach
from tighnari_graph.neighbor_trees import TreeSearch, apart, bundle_members, within_reach
from tighnari_graph.surveys import SurveyTable

__all__ = [
    "BACKENDS", "BOUNDARY_KM", "count_edges", "count_edges_between", "radius_edges",
    "radius_edges_between",
]  # fmt: skip
BACKENDS = ("kdtree", "balltree", "grid")


def radius_edges(
    lat: np.ndarray,
    lon: np.ndarray,
    group: np.ndarray,
    radius_km: float = 10.0,
    earth_radius_km: float = EARTH_RADIUS_KM,
    backend: str = "kdtree",
    device: str | torch.device = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    r"""All pairs of the same group within the radius, in both directions, without self-loops.

    Args:
        backend: "kdtree", "balltree" or "grid"; they give the same edges.
        device: where the grid searches, as "cuda"; the result is in the host's memory.

    Shapes:
        - **lat, lon:** :math:`(N,)`
        - **group:** :math:`(N,)` int, equal where an edge may be; −1 matches nothing
        - **output:** edge_index :math:`(2, E)` int64, sorted by (target, source), and the
          distances :math:`(E,)` float32

    Units: degrees in, kilometres out.

    Raises:
        ValueError: on a radius that is not positive, an unknown back end, or a device other than
            the CPU for a tree.
        MemoryError: if the edges would not fit; they are counted first where that may be.

    Source: Liu et al. 2024, algorithm 1 (CreateEdges).

    Example:
        >>> lat, lon = np.array([45.0, 45.05, 45.0]), np.array([7.0, 7.0, 7.0])
        >>> radius_edges(lat, lon, np.array([0, 0, 1]))
        (array([[1, 0],
               [0, 1]]), array([5.559754, 5.559754], dtype=float32))
    """
    reach = _checked(radius_km, earth_radius_km, backend, device)
    vectors = unit_vectors(lat, lon)
    if backend == "grid":
        return _arrays(*grid_edges(*_tensors(vectors, group, device), reach))
    return joined_edges(TreeSearch(reach, backend == "balltree").edges(vectors, group))


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
    device: str | torch.device = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    r"""All pairs source → target of the same group within the radius.

    Shapes:
        - **lat_src, lon_src, group_src:** :math:`(N_{src},)`
        - **lat_dst, lon_dst, group_dst:** :math:`(N_{dst},)`
        - **output:** edge_index :math:`(2, E)` int64, row 0 source, row 1 target, sorted by
          (target, source), and the distances :math:`(E,)` float32

    Units: degrees in, kilometres out.

    Raises:
        ValueError: on a radius that is not positive, an unknown back end, or a device other than
            the CPU for a tree.
        MemoryError: if the edges would not fit; they are counted first where that may be.

    Source: Liu et al. 2024, algorithms 1 and 2 (test and auxiliary nodes).

    Example:
        >>> zero = np.array([0])
        >>> radius_edges_between(np.array([45.0, 46.0]), np.array([7.0, 7.0]), np.array([0, 0]),
        ...                      np.array([45.05]), np.array([7.0]), zero)
        (array([[0],
               [0]]), array([5.559754], dtype=float32))
    """
    reach = _checked(radius_km, earth_radius_km, backend, device)
    src, dst = unit_vectors(lat_src, lon_src), unit_vectors(lat_dst, lon_dst)
    if backend == "grid":
        ends = _tensors(src, group_src, device), _tensors(dst, group_dst, device)
        return _arrays(*grid_edges_between(*ends[0], *ends[1], reach))
    trees = TreeSearch(reach, backend == "balltree")
    return joined_edges(trees.edges_between(src, group_src, dst, group_dst))


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
    reach = Reach(radius_km, earth_radius_km)
    vectors = unit_vectors(lat, lon)
    trees = (cKDTree(apart(vectors[members], group[members])) for members in bundle_members(group))
    return sum(int(tree.count_neighbors(tree, reach.edge_chord)) - tree.n for tree in trees)


def count_edges_between(src: SurveyTable, dst: SurveyTable, radius_km: float = 10.0) -> int:
    """How many pairs of the same year lie within the radius, as between PO and test surveys."""
    reach = Reach(radius_km)
    src_vectors, dst_vectors = unit_vectors(src.lat, src.lon), unit_vectors(dst.lat, dst.lon)
    near = within_reach(src_vectors, dst_vectors, reach.chord)
    # not `apart`: the two sides may have one year each, and not the same
    src_tree = cKDTree(np.column_stack([src_vectors[near], 4.0 * src.year[near]]))
    dst_tree = cKDTree(np.column_stack([dst_vectors, 4.0 * dst.year]))
    return int(src_tree.count_neighbors(dst_tree, reach.edge_chord))


def _checked(
    radius_km: float, earth_radius_km: float, backend: str, device: str | torch.device
) -> Reach:
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend != "grid" and torch.device(device).type != "cpu":
        raise ValueError(f'only backend="grid" runs on {device}; "{backend}" runs on the CPU')
    return Reach(radius_km, earth_radius_km)


def _tensors(
    vectors: np.ndarray, group: np.ndarray, device: str | torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    return (
        torch.from_numpy(vectors).to(device),
        torch.from_numpy(group.astype(np.int64)).to(device),
    )


def _arrays(edge_index: torch.Tensor, distance: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    return edge_index.numpy(force=True), distance.numpy(force=True)
