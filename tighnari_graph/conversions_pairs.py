"""Pairs of surveys that another library names → a survey graph, checked pair by pair."""

import numpy as np
import pandas as pd
import torch

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.geodesy import great_circle_km
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.spec import GraphSpec, survey_nodes
from tighnari_graph.surveys import SurveyTable

_NAMED = 5
_TOLERANCE_KM = 1e-3


def graph_of_pairs(
    table: SurveyTable,
    spec: GraphSpec,
    source_id: np.ndarray,
    target_id: np.ndarray,
    distance_km: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    *,
    source: str = "pairs",
) -> SurveyGraph:
    """The graph of a table, if its edges are exactly the pairs given.

    Distances and weights that are given are kept bit by bit, once they are found to be right.

    Args:
        table: the surveys, in the order of the nodes.
        spec: radius, Earth radius, ``match`` and the categories known so far.
        source_id, target_id: survey ids of directed edges, in any order.
        distance_km, weight: of each edge; by default as `SurveyGraph.from_surveys` makes them.
        source: what errors call it.

    Shapes:
        - **source_id, target_id, distance_km, weight:** :math:`(E,)`

    Raises:
        SurveyDataError: naming pairs, if any is no pair of neighbours, comes twice, lacks its
            opposite or is left out, or its distance or weight is another.

    Example:
        >>> rows = pd.DataFrame({"surveyId": [1, 2], "lat": [45.0, 45.5], "lon": 7.0, "year": 2020})
        >>> graph_of_pairs(SurveyTable.from_long(rows), GraphSpec(), np.array([1]), np.array([2]))
        Traceback (most recent call last):
        ...
        tighnari_graph.errors.SurveyDataError: pairs: 1 edges join surveys that are no neighbours
        within 10 km of the same year and region (surveyId 1 → 2 at 55.6 km)
    """
    graph = SurveyGraph.from_surveys(table, spec.radius_km, spec.earth_radius_km, spec.match)
    nodes, graph.spec = survey_nodes(table, GraphSpec(
        spec.radius_km, spec.earth_radius_km, spec.match, spec.categories,
        table.species_ids, table.species_names,
    ))  # fmt: skip
    graph.update(nodes)
    ids = pd.Index(table.survey_id)
    row = ids.get_indexer(pd.Index(source_id)), ids.get_indexer(pd.Index(target_id))
    unknown = (row[0] < 0) | (row[1] < 0)
    if unknown.any():
        raise SurveyDataError(
            f"{source}: {unknown.sum()} edges have an end that is no survey of the table "
            f"({_named(source_id[unknown], target_id[unknown])})"
        )
    key = row[1] * max(len(ids), 1) + row[0]
    order = np.argsort(key, kind="stable")
    key = key[order]
    expected = graph.edge_index[1].numpy() * max(len(ids), 1) + graph.edge_index[0].numpy()
    if not np.array_equal(key, expected):
        _refuse_difference(table, spec, key, expected, source)
    for name, given in (("edge_distance_km", distance_km), ("edge_weight", weight)):
        if given is None:
            continue
        given = np.asarray(given, dtype=np.float32)[order]
        off = ~(np.abs(given - graph[name].numpy()) <= _TOLERANCE_KM)
        if off.any():
            first = int(np.flatnonzero(off)[0])
            raise SurveyDataError(
                f"{source}: {off.sum()} edges have another {name} than their positions give, "
                f"first {given[first]:g} for {float(graph[name][first]):g} "
                f"({_pairs(table, spec, key[off])})"
            )
        graph[name] = torch.from_numpy(given)
    graph.validate()
    return graph


def _refuse_difference(
    table: SurveyTable, spec: GraphSpec, key: np.ndarray, expected: np.ndarray, source: str
) -> None:
    """Name the edges that should not be, else those that are absent, else those that come twice."""
    rule = f"within {spec.radius_km:g} km"
    rule += f" of the same {' and '.join(spec.match)}" if spec.match else ""
    spare, absent = _only_in(key, expected), _only_in(expected, key)
    problems = {
        f"edges join surveys that are no neighbours {rule}": spare,
        f"pairs of surveys {rule} have no edge": absent,
        "edges come twice": key[1:][key[1:] == key[:-1]],
    }
    what, found = next((what, found) for what, found in problems.items() if len(found))
    raise SurveyDataError(f"{source}: {len(found)} {what} ({_pairs(table, spec, found)})")


def _only_in(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """What the first of two ascending arrays has alone."""
    place = np.searchsorted(other, one)
    found = place < len(other)
    found[found] = other[place[found]] == one[found]
    return one[~found]


def _pairs(table: SurveyTable, spec: GraphSpec, key: np.ndarray) -> str:
    target, source = np.divmod(key[: _NAMED + 1], max(len(table), 1))
    km = great_circle_km(
        table.lat[source], table.lon[source], table.lat[target], table.lon[target],
        spec.earth_radius_km,
    )  # fmt: skip
    return _named(table.survey_id[source], table.survey_id[target], km)


def _named(source: np.ndarray, target: np.ndarray, km: np.ndarray | None = None) -> str:
    where = [""] * len(source) if km is None else [f" at {value:.1f} km" for value in km[:_NAMED]]
    pairs = zip(source[:_NAMED].tolist(), target[:_NAMED].tolist(), where, strict=False)
    text = ", ".join(f"{a} → {b}{at}" for a, b, at in pairs)
    return f"surveyId {text}{', …' if len(source) > _NAMED else ''}"
