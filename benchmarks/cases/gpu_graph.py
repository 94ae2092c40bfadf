"""Build the survey graph on a GPU, and find its edges by brute force there."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from benchmarks.case import Case, Limit, Peer
from benchmarks.cases.gpu_bench import Bench
from benchmarks.cases.graph import EDGE_BYTES, MAX_PEER, RADIUS_KM
from benchmarks.inputs import REGIONS, Points, clustered_points
from tighnari_graph.geodesy import EARTH_RADIUS_KM, unit_vectors
from tighnari_graph.neighbor_grid import grid_edges
from tighnari_graph.neighbor_reach import Reach
from tighnari_graph.neighbors import radius_edges

ROUNDING_KM = 2e-6  # of float32 near 10 km, on both sides
CLOSE_KM = 1e-3  # of a scalar product of unit vectors in float64, at 0 km
CELLS = 1 << 28  # pairs that brute force compares at once: 2 GB

Edges: TypeAlias = tuple[Tensor, Tensor, Tensor]


def cases(bench: Bench) -> Iterator[Case]:
    """Edges, distances and weights of generated surveys, left in the memory of the device."""
    for num in bench.sizes.points:
        points = clustered_points(num)
        edges = on_device(points, bench.device)[1].size(0)
        last = num == bench.sizes.points[-1]
        rows = np.arange(num)
        if last:
            rows = np.sort(np.random.default_rng(0).permutation(num)[: bench.sizes.sampled])
        brute = partial(brute_force, points, rows, bench.device)
        aim = "≥ 20× the best of the CPU" if num == 88_987 else ""
        backends = ("kdtree", "grid") if num <= MAX_PEER else ("kdtree",)
        peers = {
            f"ours on the CPU, {name}": Peer(
                partial(on_cpu, points, name), aim=aim, check=partial(same_edges, ROUNDING_KM)
            )
            for name in backends
        }
        if num <= MAX_PEER:
            peers["ours, edges copied to the host"] = Peer(
                partial(on_cpu, points, "grid", bench.device),
                check=partial(same_edges, ROUNDING_KM),
            )
        check = same_edges_to(rows) if last else partial(same_edges, CLOSE_KM)
        peers["blocked brute force on the device"] = Peer(brute, len(rows) / num, check)
        output = EDGE_BYTES * edges
        yield Case(
            "build the graph on the device",
            f"{num:,} surveys, {edges:,} edges",
            partial(on_device, points, bench.device),
            peers,
            Limit("write the edges once", bench.speed.write(output)),
            f"the edges take {output / 1e6:,.0f} MB" + ("; under a second" if last else ""),
        )


def groups(points: Points) -> np.ndarray:
    """One number for each year and region."""
    return points.year * len(REGIONS) + points.region


def on_device(points: Points, device: torch.device) -> Edges:
    """Degrees in the host's memory → edges in the device's."""
    vectors = torch.from_numpy(unit_vectors(points.lat, points.lon)).to(device)
    group = torch.from_numpy(groups(points)).to(device)
    edge_index, distance = grid_edges(vectors, group, Reach(RADIUS_KM))
    return edge_index, distance, RADIUS_KM - distance


def on_cpu(points: Points, backend: str, device: torch.device | str = "cpu") -> Edges:
    """The same into the host's memory, as `SurveyGraph` would have it."""
    edge_index, distance = radius_edges(
        points.lat, points.lon, groups(points), RADIUS_KM, backend=backend, device=device
    )
    kilometres = torch.from_numpy(distance)
    return torch.from_numpy(edge_index), kilometres, RADIUS_KM - kilometres


def brute_force(points: Points, rows: np.ndarray, device: torch.device) -> Edges:
    """The neighbours of some surveys: each compared with all, a block of them at a time."""
    vectors = torch.from_numpy(unit_vectors(points.lat, points.lon)).to(device)
    group = torch.from_numpy(groups(points)).to(device)
    chord = 2 * np.sin(RADIUS_KM / EARTH_RADIUS_KM / 2)
    sources, targets, distances = [], [], []
    for some in torch.from_numpy(rows).to(device).split(max(1, CELLS // len(group))):
        square = (2 - 2 * vectors[some] @ vectors.T).clamp_(min=0)
        near = (square <= chord**2) & (group[some][:, None] == group)
        near[torch.arange(len(some), device=device), some] = False
        target, source = near.nonzero(as_tuple=True)
        arc = 2 * torch.asin(square[target, source].sqrt() / 2)
        sources.append(source)
        targets.append(some[target])
        distances.append((arc * EARTH_RADIUS_KM).float())
    distance = torch.cat(distances)
    edge_index = torch.stack([torch.cat(sources), torch.cat(targets)])
    return edge_index, distance, RADIUS_KM - distance


def same_edges(close_km: float, ours: Edges, theirs: Edges) -> str:
    """What differs: another edge, or a distance or weight by more than so many kilometres."""
    device = ours[0].device
    if not torch.equal(ours[0], theirs[0].to(device)):
        return f"{ours[0].size(1)} and {theirs[0].size(1)} edges, not the same ones"
    if not len(ours[1]):
        return ""
    pairs = zip(ours[1:], theirs[1:], strict=True)
    away = max(float((a - b.to(device)).abs().max()) for a, b in pairs)
    return f"distances or weights differ by {away:.2g} km" if away > close_km else ""


def same_edges_to(rows: np.ndarray) -> Callable[[Edges, Edges], str]:
    """Compare the edges that lead to these surveys only."""

    def check(ours: Edges, theirs: Edges) -> str:
        target, wanted = ours[0][1], torch.from_numpy(rows).to(ours[0].device)
        place = torch.searchsorted(wanted, target).clamp(max=len(wanted) - 1)
        chosen = (wanted[place] == target).nonzero().squeeze(1)
        index, distance, weight = (part.index_select(-1, chosen) for part in ours)
        return same_edges(CLOSE_KM, (index, distance, weight), theirs)

    return check
