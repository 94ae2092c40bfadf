"""Survey graphs and libpysal's spatial weights."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tighnari_graph.conversions import geo_package, require_survey_graph
from tighnari_graph.conversions_pairs import graph_of_pairs
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.geodesy import EARTH_RADIUS_KM
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.spec import DEFAULT_MATCH, GraphSpec
from tighnari_graph.surveys import SurveyTable

if TYPE_CHECKING:
    import libpysal.graph

WEIGHTS = ("weight", "distance", "binary")


def to_libpysal(graph: SurveyGraph, weight: str = "weight") -> "libpysal.graph.Graph":
    """A survey graph as libpysal's `Graph`, with survey ids, in the order of the surveys.

    ``focal`` is the target of an edge, ``neighbor`` its source. An isolate is a self-loop of weight
    0, which is how libpysal keeps it.

    Args:
        graph: the survey graph.
        weight: what libpysal weighs with: "weight" (radius − distance, km), "distance" (km) or
            "binary" (1). Surveys at one place have the distance 0, and stay neighbours.

    Raises:
        ImportError: without libpysal (``pip install '.[geo]'`` in the checkout).
        TypeError: on anything but a `SurveyGraph`.
        ValueError: on another ``weight``.

    Example:
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45.0, 45.05, 48.0], "lon": 7.0,
        ...     "year": 2020})
        >>> graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows))
        >>> w = to_libpysal(graph, "binary")
        >>> w[1].to_dict(), w.isolates.tolist()
        ({2: 1.0}, [3])
    """
    require_survey_graph(graph, "to_libpysal")
    _known(weight)
    lib = geo_package("libpysal.graph")
    source, target = graph.edge_index.numpy(force=True)
    if weight == "binary":
        values = np.ones(len(source))
    else:
        edge_values = graph.edge_weight if weight == "weight" else graph.edge_distance_km
        values = edge_values.numpy(force=True).astype(np.float64)
    alone = np.flatnonzero(graph.isolates().numpy(force=True))
    focal = np.concatenate([target, alone])
    order = np.argsort(focal, kind="stable")
    codes = [focal[order], np.concatenate([source, alone])[order]]
    ids = pd.Index(graph.survey_id.numpy(force=True))
    index = pd.MultiIndex(levels=[ids, ids], codes=codes, names=["focal", "neighbor"])
    values = np.concatenate([values, np.zeros(len(alone))])[order]
    return lib.Graph(pd.Series(values, index=index, name="weight"), is_sorted=True)


def from_libpysal(
    w: "libpysal.graph.Graph",
    table: SurveyTable,
    radius_km: float = 10.0,
    earth_radius_km: float = EARTH_RADIUS_KM,
    match: tuple[str, ...] = DEFAULT_MATCH,
    weight: str = "weight",
) -> SurveyGraph:
    """A survey graph of a table, whose neighbours must be those of a libpysal `Graph`.

    Args:
        w: weights between survey ids, untransformed; self-loops of weight 0 are isolates.
        table: the surveys, which give positions, years, regions, labels and the order.
        radius_km, earth_radius_km, match: the rules, as in `SurveyGraph.from_surveys`.
        weight: what the weights of ``w`` are, as in `to_libpysal`; they are checked.

    Raises:
        ImportError: without libpysal (``pip install '.[geo]'`` in the checkout).
        TypeError: if ``w`` is no libpysal `Graph`.
        ValueError: on another ``weight``.
        SurveyDataError: if the surveys of ``w`` are not those of the table; naming pairs, if
            neighbours break the rules or are left out, or weights are others.

    Example:
        >>> rows = pd.DataFrame({"surveyId": [1, 2], "lat": [45.0, 45.05], "lon": 7.0,
        ...     "year": 2020})
        >>> table = SurveyTable.from_long(rows)
        >>> w = to_libpysal(SurveyGraph.from_surveys(table), "distance")
        >>> from_libpysal(w, table, weight="distance").edge_weight
        tensor([4.4402, 4.4402])
    """
    _known(weight)
    lib = geo_package("libpysal.graph")
    if not isinstance(w, lib.Graph):
        raise TypeError(f"from_libpysal takes a libpysal.graph.Graph, got {type(w).__name__}")
    theirs = pd.Index(w.unique_ids)
    both = len(theirs.intersection(pd.Index(table.survey_id)))
    if both < len(theirs) or both < len(table):
        raise SurveyDataError(
            f"libpysal graph: {len(theirs) - both} of its {len(theirs)} ids are not in the table, "
            f"{len(table) - both} of the {len(table)} surveys of the table are not in it"
        )
    adjacency = w.adjacency
    target = adjacency.index.get_level_values("focal").to_numpy()
    source = adjacency.index.get_level_values("neighbor").to_numpy()
    value = adjacency.to_numpy()
    edge = (source != target) | (value != 0)
    source, target, value = source[edge], target[edge], value[edge]
    if weight == "binary":
        odd = value != 1
        if odd.any():
            raise SurveyDataError(
                f"libpysal graph: {odd.sum()} of {len(value)} weights are not 1, the first is "
                f'{value[odd][0]:g}; say what they are with weight="weight" or "distance"'
            )
    match = (match,) if isinstance(match, str) else tuple(match)
    spec = GraphSpec(float(radius_km), float(earth_radius_km), match)
    return graph_of_pairs(
        table, spec, source, target,
        value if weight == "distance" else None, value if weight == "weight" else None,
        source="libpysal graph",
    )  # fmt: skip


def _known(weight: str) -> None:
    if weight not in WEIGHTS:
        raise ValueError(f"weight must be one of {', '.join(WEIGHTS)}, got {weight!r}")
