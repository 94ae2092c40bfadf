"""The rules of a survey graph, checked one by one."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from tighnari_graph.geodesy import great_circle_km
from tighnari_graph.neighbor_reach import Reach
from tighnari_graph.neighbors import count_edges
from tighnari_graph.spec import EDGE_ATTRIBUTES, NODE_ATTRIBUTES, GraphSpec, match_groups

if TYPE_CHECKING:
    from tighnari_graph.graph import SurveyGraph

_CHUNK = 1 << 20
_TOLERANCE_KM = 1e-3  # float32 holds distances up to 10,000 km to a metre


def broken_rules(graph: "SurveyGraph") -> list[str]:
    """Every rule that the graph breaks, as a phrase with counts; empty if it is sound."""
    problems = _shapes(graph)
    return problems or _nodes(graph) + _edges(graph)


def _shapes(graph: "SurveyGraph") -> list[str]:
    if graph.num_nodes is None or not isinstance(graph.get("spec"), GraphSpec | list):
        return ["no survey graph: build one with SurveyGraph.from_surveys"]
    absent = [k for k in (*NODE_ATTRIBUTES, *EDGE_ATTRIBUTES) if k not in graph]
    absent += [k for k in graph._spec.match_attributes if k not in graph] if not absent else []
    if absent:
        return [f"no attribute {', '.join(absent)}"]
    odd = [k for k in (*NODE_ATTRIBUTES, *EDGE_ATTRIBUTES) if not isinstance(graph[k], Tensor)]
    if odd or graph.edge_index.dim() != 2 or graph.survey_id.dim() != 1:
        return [f"{', '.join(odd) or 'edge_index or survey_id'} is no tensor of the right form"]
    num, edges = len(graph.survey_id), graph.edge_index.size(1)
    long, single, double = torch.int64, torch.float32, torch.float64
    wanted = {
        "survey_id": ((num,), long),
        "pos": ((num, 2), double),
        "year": ((num,), long),
        **{key: ((num,), long) for key in graph.keys() if key.endswith("_code")},  # noqa: SIM118
        "y": ((num, len(graph.species_ids)), single),
        "edge_index": ((2, edges), long),
        "edge_distance_km": ((edges,), single),
        "edge_weight": ((edges,), single),
    }
    problems = [
        f"{key} is {tuple(graph[key].shape)} {graph[key].dtype}, expected {shape} {dtype}"
        for key, (shape, dtype) in wanted.items()
        if tuple(graph[key].shape) != shape or graph[key].dtype != dtype
    ]
    if not problems and graph.y.layout != torch.sparse_csr:
        problems.append(f"y is {graph.y.layout}, expected torch.sparse_csr")
    return problems or _radius(graph._spec)


def _radius(spec: GraphSpec) -> list[str]:
    try:
        Reach(spec.radius_km, spec.earth_radius_km)
    except ValueError as error:
        return [str(error)]
    return []


def _nodes(graph: "SurveyGraph") -> list[str]:
    lat, lon = graph.pos.numpy(force=True).T
    spec = graph._spec
    labels = graph.y.values()
    crow, col = graph.y.crow_indices().numpy(force=True), graph.y.col_indices().numpy(force=True)
    rising = np.diff(col) > 0
    rising[crow[1:-1][(crow[1:-1] > 0) & (crow[1:-1] < len(col))] - 1] = True  # a new row begins
    rules = {
        "surveys lie outside latitude ±90, longitude ±180": (
            ~((np.abs(lat) <= 90) & (np.abs(lon) <= 180))
        ).sum(),
        "surveys repeat an id": _repeated(graph.survey_id.numpy(force=True)),
        "stored entries of y are not 1": (labels != 1).sum(),
        "entries of y are repeated or out of order in their row": (~rising).sum(),
        "species ids are repeated": _repeated(graph.species_ids),
    }
    for key in graph.keys():  # noqa: SIM118
        if key.endswith("_code"):
            names = spec.categories.get(key.removesuffix("_code"), ("",))
            code = graph[key]
            rules[f"entries of {key} have no name"] = ((code < -1) | (code >= len(names))).sum()
    problems = [f"{int(count)} {what}" for what, count in rules.items() if count]
    if spec.species_names is not None and len(spec.species_names) != len(spec.species_ids):
        problems.append(f"{len(spec.species_names)} names for {len(spec.species_ids)} species")
    return problems


def _repeated(ids: np.ndarray) -> int:
    return len(ids) - len(np.unique(ids))


def _edges(graph: "SurveyGraph") -> list[str]:
    source, target = graph.edge_index.numpy(force=True)
    num = graph.num_nodes
    outside = int(((graph.edge_index < 0) | (graph.edge_index >= num)).sum())
    if outside:
        return [f"{outside} entries of edge_index point outside the {num} surveys"]
    step = np.diff(target) * max(num, 1) + np.diff(source)
    distance = graph.edge_distance_km.numpy(force=True)
    weight = graph.edge_weight.numpy(force=True)
    radius = graph.radius_km
    wrong_match = np.zeros(len(source), dtype=bool)
    for key in graph._spec.match_attributes:
        value = graph[key].numpy(force=True)
        wrong_match |= value[source] != value[target]
        if key != "year":
            wrong_match |= value[source] < 0
    rules = {
        "edges join a survey to itself": (source == target).sum(),
        "edges are out of order (target, source)": (step < 0).sum(),
        "edges occur twice": (step == 0).sum(),
        "edges lack the opposite edge": _one_way(source, target, num) if (step > 0).all() else 0,
        f"edges join surveys of unequal {' or '.join(graph.match)}": wrong_match.sum(),
        f"distances lie outside [0, {radius:g}] km": (
            ~((distance >= 0) & (distance <= radius))
        ).sum(),
        "weights are not radius − distance": (
            ~(np.abs(radius - distance - weight) <= 1e-5 * max(radius, 1))
        ).sum(),
        "distances are not those between the positions": _wrong_distances(graph, source, target),
    }
    if not any(rules.values()):
        rules["pairs within the radius have no edge"] = _all_edges(graph) - len(source)
    return [f"{int(count)} {what}" for what, count in rules.items() if count]


def _all_edges(graph: "SurveyGraph") -> int:
    spec = graph._spec
    columns = {key: graph[key].numpy(force=True) for key in spec.match_attributes}
    lat, lon = graph.pos.numpy(force=True).T
    group = match_groups(columns, graph.num_nodes)
    return count_edges(lat, lon, group, spec.radius_km, spec.earth_radius_km)


def _one_way(source: np.ndarray, target: np.ndarray, num: int) -> int:
    """Edges without their opposite, by comparing the sorted graph with its transpose."""
    pointer = np.searchsorted(target, np.arange(num + 1))
    ones = np.ones(len(source), dtype=np.int8)
    into = sparse.csr_array((ones, source, pointer), shape=(num, num))
    return int(abs(into - into.T.tocsr()).sum())


def _wrong_distances(graph: "SurveyGraph", source: np.ndarray, target: np.ndarray) -> int:
    lat, lon = graph.pos.numpy(force=True).T
    distance = graph.edge_distance_km.numpy(force=True)
    wrong = 0
    for start in range(0, len(source), _CHUNK):
        a, b = source[start : start + _CHUNK], target[start : start + _CHUNK]
        km = great_circle_km(lat[a], lon[a], lat[b], lon[b], graph._spec.earth_radius_km)
        off = np.abs(km - distance[start : start + _CHUNK])
        wrong += int((~(off <= _TOLERANCE_KM + 1e-6 * km)).sum())
    return wrong
