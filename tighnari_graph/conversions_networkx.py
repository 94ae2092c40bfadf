"""Survey graphs and networkx."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from torch_geometric.data import HeteroData

from tighnari_graph.conversions import (
    SURVEY_EDGES,
    edge_columns,
    edges_of,
    geo_package,
    node_columns,
    nodes_of,
    spec_of,
    species_per_survey,
    table_of_surveys,
    vocabulary,
)
from tighnari_graph.conversions_pairs import graph_of_pairs
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.geodesy import EARTH_RADIUS_KM
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.spec import DEFAULT_MATCH, GraphSpec

if TYPE_CHECKING:
    import networkx

_SOURCE = "networkx graph"
_EDGE_VALUES = ["distance_km", "weight"]


def to_networkx(graph: SurveyGraph | HeteroData) -> "networkx.DiGraph":
    """A survey graph, or what `SurveyGraph.attach` returned, as a networkx `DiGraph`.

    A node is a survey id, with lat, lon, year, region (None where missing), ``species`` (a list of
    names, or ids where there are no names; not on test nodes) and every further attribute. In a
    hetero graph it is (type, survey id), as ("test", 7). An edge has distance_km, weight and every
    further attribute. ``.graph`` keeps radius_km, earth_radius_km, match, categories and
    the vocabulary ``species``. About 0.5 kB an edge: for parts of a large graph.

    Units: degrees for lat and lon; kilometres for distance_km and weight.

    Raises:
        ImportError: without networkx (``pip install '.[geo]'`` in the checkout).
        SurveyDataError: if two nodes of a type have one survey id, as in a batch of graphs.

    Example:
        >>> from tighnari_graph.surveys import SurveyTable
        >>> rows = pd.DataFrame({"surveyId": [1, 2], "lat": [45.0, 45.05], "lon": 7.0,
        ...     "year": 2020, "region": "ALPINE", "speciesId": [5, 9]})
        >>> g = to_networkx(SurveyGraph.from_surveys(SurveyTable.from_long(rows)))
        >>> g.nodes[1]["species"], round(g.edges[1, 2]["weight"], 3)
        ([5], 4.44)
    """
    nx = geo_package("networkx")
    spec = spec_of(graph)
    hetero = isinstance(graph, HeteroData)
    g = nx.DiGraph(
        radius_km=spec.radius_km,
        earth_radius_km=spec.earth_radius_km,
        match=list(spec.match),
        categories={name: list(values) for name, values in spec.categories.items()},
        species=vocabulary(spec).tolist(),
    )
    for node_type in graph.node_types if hetero else ["survey"]:
        nodes = nodes_of(graph, node_type)
        columns = node_columns(nodes, spec)
        keys = _keys(columns.pop("survey_id"), node_type, hetero)
        if "y" in nodes:
            columns["species"] = pd.Series(species_per_survey(nodes, spec), dtype=object)
        if repeated := len(keys) - len(set(keys)):
            raise SurveyDataError(
                f"to_networkx: {repeated} of {len(keys)} {node_type} nodes have the survey id of "
                "another; networkx knows nodes by their ids"
            )
        g.add_nodes_from(zip(keys, pd.DataFrame(columns).to_dict("records"), strict=True))
    for edge_type in graph.edge_types if hetero else [SURVEY_EDGES]:
        ends = [nodes_of(graph, edge_type[side]).survey_id for side in (0, 2)]
        columns = edge_columns(edges_of(graph, edge_type), *ends)
        sources = _keys(columns.pop("source"), edge_type[0], hetero)
        targets = _keys(columns.pop("target"), edge_type[2], hetero)
        values = pd.DataFrame(columns).to_dict("records")
        g.add_edges_from(zip(sources, targets, values, strict=True))
    return g


def _keys(survey_id: np.ndarray, node_type: str, hetero: bool) -> list[Any]:
    ids = survey_id.tolist()
    return list(zip([node_type] * len(ids), ids, strict=True)) if hetero else ids


def from_networkx(
    g: "networkx.DiGraph",
    radius_km: float | None = None,
    earth_radius_km: float | None = None,
    match: tuple[str, ...] | None = None,
    species_ids: Sequence[int] | Sequence[str] | np.ndarray | None = None,
) -> SurveyGraph:
    """A networkx graph of surveys → `SurveyGraph`, validated.

    Nodes are survey ids with lat, lon, year, optionally region, ``species`` (a list) and the
    columns of ``match``. Other node and edge attributes are not carried over. An undirected graph
    counts as both directions. Edges without distance_km or weight get them from the positions;
    those that are given are checked and kept.

    Args:
        g: a graph with survey ids as nodes.
        radius_km, earth_radius_km, match: the rules, as in `SurveyGraph.from_surveys`; by default
            those in ``g.graph``, where `to_networkx` put them, else that method's defaults.
        species_ids: the vocabulary; by default ``g.graph["species"]``, else the species found.

    Raises:
        ImportError: without networkx (``pip install '.[geo]'`` in the checkout).
        TypeError: if it is no networkx graph.
        SurveyDataError: on nodes that are no survey ids, as in a hetero graph; attributes missing
            on some; naming pairs, on edges that break the rules or are left out.

    Example:
        >>> import networkx
        >>> g = networkx.Graph()
        >>> g.add_node(1, lat=45.0, lon=7.0, year=2020, species=[5])
        >>> g.add_node(2, lat=45.05, lon=7.0, year=2020, species=[])
        >>> g.add_edge(1, 2)
        >>> from_networkx(g).edge_weight
        tensor([4.4402, 4.4402])
    """
    nx = geo_package("networkx")
    if not isinstance(g, nx.Graph):
        raise TypeError(f"from_networkx takes a networkx graph, got {type(g).__name__}")
    g = g if g.is_directed() else g.to_directed()
    ids = np.array([*g.nodes], dtype=object)
    if ids.ndim > 1 or pd.api.types.infer_dtype(ids) not in ("integer", "empty"):
        raise SurveyDataError(
            f"{_SOURCE}: nodes must be survey ids, the first is {next(iter(g.nodes))!r}; of a "
            'hetero graph take the surveys: g.subgraph(of type "survey"), relabelled to their ids'
        )
    known = g.graph
    match = (match,) if isinstance(match, str) else match
    spec = GraphSpec(
        float(known.get("radius_km", 10.0) if radius_km is None else radius_km),
        float(known.get("earth_radius_km", EARTH_RADIUS_KM) if earth_radius_km is None
              else earth_radius_km),
        tuple(known.get("match", DEFAULT_MATCH) if match is None else match),
        {name: tuple(values) for name, values in known.get("categories", {}).items()},
    )  # fmt: skip
    frame = pd.DataFrame.from_records([*dict(g.nodes(data=True)).values()])
    if frame.empty:
        columns = ["lat", "lon", "year", "species", *spec.categories]
        frame = pd.DataFrame(columns=columns, index=range(len(ids)))
    frame.insert(0, "survey_id", ids.astype(np.int64))
    wanted = ["survey_id", "lat", "lon", "year", "region", "species", *spec.match]
    frame = frame[[name for name in dict.fromkeys(wanted) if name in frame]]
    species_ids = known.get("species") if species_ids is None else species_ids
    edges = nx.to_pandas_edgelist(g, "source_id", "target_id")
    values = {name: _edge_values(edges, name) for name in _EDGE_VALUES}
    return graph_of_pairs(
        table_of_surveys(frame, species_ids, _SOURCE), spec,
        _ends(edges, "source_id"), _ends(edges, "target_id"),
        values["distance_km"], values["weight"], source=_SOURCE,
    )  # fmt: skip


def _ends(edges: pd.DataFrame, name: str) -> np.ndarray:
    return edges[name].to_numpy(dtype=np.int64) if len(edges) else np.zeros(0, dtype=np.int64)


def _edge_values(edges: pd.DataFrame, name: str) -> np.ndarray | None:
    if name not in edges or edges[name].isna().all():
        return None
    lacking = edges[name].isna()
    if lacking.any():
        raise SurveyDataError(f"{_SOURCE}: {lacking.sum()} of {len(edges)} edges have no {name}")
    return edges[name].to_numpy(dtype=np.float64)
