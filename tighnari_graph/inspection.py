"""Look at a survey graph: whose neighbour is whom, what hangs together, and what it is in short."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch_geometric.data import HeteroData

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.spec import EDGE_ATTRIBUTES, NODE_ATTRIBUTES, GraphSpec

if TYPE_CHECKING:
    from tighnari_graph.graph import SurveyGraph


@dataclass(frozen=True, eq=False)
class Neighborhood:
    r"""One survey or test node, and the edges that come into it from sources of one type.

    Attributes:
        kind: type of the node, "survey" or "test".
        node: its number.
        targets, sources: where PyG keeps the attributes of nodes of its type, and of the sources'.
        spec: of the graph.
        source: :math:`(n,)` int64, numbers of the neighbours.
        distance_km, weight: :math:`(n,)` float32, of the edges.
    """

    kind: str
    node: int
    targets: Any
    sources: Any
    spec: GraphSpec
    source: np.ndarray
    distance_km: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(
        cls,
        graph: "SurveyGraph | HeteroData",
        survey_id: int,
        source: str = "survey",
        target: str | None = None,
    ) -> "Neighborhood":
        """Find the node and its edges; see `neighbors_of`."""
        if isinstance(graph, HeteroData):
            spec, stores = graph.spec, {kind: graph[kind] for kind in graph.node_types}
            relations = {(a, b): graph[a, near, b] for a, near, b in graph.edge_types}
        else:
            spec, stores, relations = graph._spec, {"survey": graph}, {("survey", "survey"): graph}
        known = [kind for kind in ("test", "survey") if kind in stores]
        if target is not None and target not in known:
            raise ValueError(f"target {target!r} is not in this graph, which has {known}")
        places = {
            kind: np.flatnonzero(stores[kind].survey_id.numpy(force=True) == survey_id)
            for kind in (known if target is None else [target])
        }
        kind = next((kind for kind, found in places.items() if len(found)), None)
        if kind is None:
            counts = " or ".join(f"{len(stores[k].survey_id):,} {k} nodes" for k in places)
            raise SurveyDataError(f"no survey {survey_id} among {counts}")
        if len(places[kind]) > 1:
            raise SurveyDataError(f"survey {survey_id} is there {len(places[kind])} times")
        if (source, kind) not in relations:
            raise ValueError(
                f"no {source} → {kind} edges in this graph"
                + ("; graph.attach(test, presence_only) adds them" if source == "po" else "")
            )
        edges, node = relations[source, kind], int(places[kind][0])
        into = edges.edge_index[1] == node
        parts = (edges.edge_index[0], edges.edge_distance_km, edges.edge_weight)
        ends = (part[into].numpy(force=True) for part in parts)
        return cls(kind, node, stores[kind], stores[source], spec, *ends)

    @property
    def survey_id(self) -> np.ndarray:
        """:math:`(n,)` ids of the neighbours."""
        return np.asarray(self.sources.survey_id.numpy(force=True)[self.source])

    def only(self, which: np.ndarray) -> "Neighborhood":
        """Some of the neighbours, by mask or positions."""
        kept = (part[which] for part in (self.source, self.distance_km, self.weight))
        return Neighborhood(self.kind, self.node, self.targets, self.sources, self.spec, *kept)

    def nearest(self) -> np.ndarray:
        """Positions of the neighbours, nearest first, equally near ones by survey id."""
        return np.lexsort((self.survey_id, self.distance_km))


def neighbors_of(
    graph: "SurveyGraph | HeteroData",
    survey_id: int,
    source: str = "survey",
    target: str | None = None,
) -> pd.DataFrame:
    """The neighbours of one survey or test node, nearest first.

    Args:
        graph: a survey graph, or what `SurveyGraph.attach` returned.
        survey_id: of a labelled survey, or of a test node.
        source: "survey", or "po" for the presence-only surveys near a test node.
        target: "survey" or "test"; by default a test node if there is one of this id.

    Returns:
        A row per neighbour, with ``survey_id``, ``distance_km``, ``weight`` (kilometres), ``year``,
        ``region`` (None where it is missing) and ``species``, how many it has.

    Raises:
        SurveyDataError: if no node, or more than one, has the id.
        ValueError: on a target or source that is not in the graph.

    Example:
        >>> from tighnari_graph import SurveyGraph, SurveyTable
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45.0, 45.05, 45.01], "lon": 7.0,
        ...     "year": 2020, "region": "ALPINE", "speciesId": [5, 9, 5]})
        >>> graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows))
        >>> neighbors_of(graph, 1).round(2)
           survey_id  distance_km  weight  year  region  species
        0          3         1.11    8.89  2020  ALPINE        1
        1          2         5.56    4.44  2020  ALPINE        1
    """
    here = Neighborhood.of(graph, survey_id, source, target)
    names = np.array([*here.spec.region_names, None], dtype=object)
    region = here.sources.region_code.numpy(force=True)[here.source]
    count = np.diff(here.sources.y.crow_indices().numpy(force=True))
    frame = pd.DataFrame(
        {
            "survey_id": here.survey_id,
            "distance_km": here.distance_km.astype(np.float64),
            "weight": here.weight.astype(np.float64),
            "year": here.sources.year.numpy(force=True)[here.source],
            "region": pd.Series(names[np.minimum(region, len(names) - 1)], dtype=object),
            "species": count[here.source],
        }
    )
    return frame.iloc[here.nearest()].reset_index(drop=True)


def components(graph: "SurveyGraph") -> Tensor:
    r"""Number of the connected component of every survey; 0 is the largest.

    Equally large ones are numbered by their first survey; an isolate is a component by itself.

    Shapes:
        - **output:** :math:`(N,)` int64
    """
    num = graph.num_nodes
    if not num:
        return torch.zeros(0, dtype=torch.int64)
    source, target = graph.edge_index.numpy(force=True)
    near = sparse.csr_array((np.ones(len(source), dtype=np.int8), (target, source)), (num, num))
    member = connected_components(near, directed=False)[1]
    size = np.bincount(member)
    first = np.full(len(size), num)
    np.minimum.at(first, member, np.arange(num))
    rank = np.empty(len(size), dtype=np.int64)
    rank[np.lexsort((first, -size))] = np.arange(len(size))
    return torch.from_numpy(rank[member])


def is_whole(graph: "SurveyGraph") -> bool:
    """Whether it is one survey graph as `from_surveys` makes it, neither changed nor a batch."""
    if not all(isinstance(graph.get(key), Tensor) for key in (*NODE_ATTRIBUTES, *EDGE_ATTRIBUTES)):
        return False
    return isinstance(graph.get("spec"), GraphSpec) and graph.y.layout == torch.sparse_csr


def in_short(graph: "SurveyGraph") -> str:
    """The graph in one line; it takes no time."""
    match = " and ".join(graph._spec.shared)
    return (
        f"SurveyGraph({graph.num_nodes:,} surveys, {graph.y.size(1):,} species, "
        f"{graph.num_edges:,} edges up to {graph.radius_km:g} km"
        + (f" in the same {match})" if match else ")")
    )


def as_html(graph: "SurveyGraph") -> str:
    """What can be counted at once, as a small table for notebooks."""
    degree, num = graph.degree(), max(graph.num_nodes, 1)
    alone = int((degree == 0).sum())
    year, shared, divided = graph.year, graph._spec.shared, "region" in graph._spec.categories
    rows = {
        "surveys": f"{graph.num_nodes:,}",
        "species": f"{graph.y.size(1):,}",
        "labels": f"{len(graph.y.values()):,} ({len(graph.y.values()) / num:.1f} a survey)",
        "edges": f"{graph.num_edges:,} directed, up to {graph.radius_km:g} km",
        "match": f"same {' and '.join(shared)}" if shared else "distance alone",
        "neighbours": f"{graph.num_edges / num:.1f} a survey, at most "
        f"{int(degree.max()) if len(degree) else 0:,}",
        "isolates": f"{alone:,} ({100 * alone / num:.1f} %)",
        "years": f"{int(year.min())}–{int(year.max())}" if len(year) else "none",
        "regions": f"{len(graph.region_names):,}" if divided else "not given",
    }
    table = pd.DataFrame({"figure": list(rows), "value": list(rows.values())})
    return f"<h4>SurveyGraph</h4>{table.to_html(index=False, header=False, border=0)}"
