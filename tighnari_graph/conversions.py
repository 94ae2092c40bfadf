"""What all conversions share: nodes and edges of a graph as columns, and the way back, checked."""

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from torch import Tensor
from torch_geometric.data import HeteroData

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.sparse import scipy_csr
from tighnari_graph.spec import EDGE_ATTRIBUTES, NODE_ATTRIBUTES, GraphSpec
from tighnari_graph.surveys import SurveyTable

EdgeType = tuple[str, str, str]
SURVEY_EDGES = ("survey", "near", "survey")
_RESERVED = ("geometry", "degree", "num_species", "species", "region")


def geo_package(name: str) -> ModuleType:
    """A package of the extra ``geo``, imported when it is first needed.

    Raises:
        ImportError: if it is not installed, naming the extra.

    Example:
        >>> geo_package("no_such_package")
        Traceback (most recent call last):
        ...
        ImportError: this conversion needs no_such_package; in the checkout: pip install '.[geo]'
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        message = f"this conversion needs {package}; in the checkout: pip install '.[geo]'"
        raise ImportError(message) from error


def require_survey_graph(graph: Any, function: str) -> None:
    """Refuse what has no place for test and PO surveys, or is no graph.

    Raises:
        TypeError: unless it is a `SurveyGraph`.
    """
    if not isinstance(graph, SurveyGraph):
        more = "; convert the survey graph that it was attached to" * isinstance(graph, HeteroData)
        raise TypeError(f"{function} takes a SurveyGraph, got {type(graph).__name__}{more}")


def spec_of(graph: SurveyGraph | HeteroData) -> GraphSpec:
    """How a graph was built."""
    spec: GraphSpec = graph._spec if isinstance(graph, SurveyGraph) else graph.spec
    return spec


def nodes_of(graph: SurveyGraph | HeteroData, node_type: str) -> Any:
    """The store of one node type; a survey graph has "survey" only.

    Raises:
        ValueError: on a type that the graph does not have.
    """
    known = ["survey"] if isinstance(graph, SurveyGraph) else list(graph.node_types)
    if node_type not in known:
        raise ValueError(f"node_type {node_type!r} is not in this graph: {', '.join(known)}")
    return graph if isinstance(graph, SurveyGraph) else graph[node_type]


def edges_of(graph: SurveyGraph | HeteroData, edge_type: EdgeType) -> Any:
    """The store of one edge type; a survey graph has ("survey", "near", "survey") only.

    Raises:
        ValueError: on a type that the graph does not have.
    """
    known = [SURVEY_EDGES] if isinstance(graph, SurveyGraph) else list(graph.edge_types)
    if edge_type not in known:
        have = ", ".join(map(str, known))
        raise ValueError(f"edge_type {edge_type} is not in this graph: {have}")
    return graph if isinstance(graph, SurveyGraph) else graph[edge_type]


def node_columns(nodes: Any, spec: GraphSpec) -> dict[str, Any]:
    """Nodes as columns: survey_id, lat, lon, year, names for codes, and every further attribute.

    A coded column has its own name ("region") and None where the value is missing. A matrix becomes
    a column per column of it. ``y`` is left to `species_per_survey`.
    """
    lat, lon = nodes.pos.numpy(force=True).T
    columns: dict[str, Any] = {
        "survey_id": nodes.survey_id.numpy(force=True),
        "lat": lat,
        "lon": lon,
        "year": nodes.year.numpy(force=True),
    }
    for name, values in spec.categories.items():
        if f"{name}_code" in nodes:
            # one longer: code −1 is the last entry
            lookup = np.array([*values, None], dtype=object)
            named = lookup[nodes[f"{name}_code"].numpy(force=True)]
            columns[name] = pd.Series(named, dtype=object)  # else pandas makes None NaN
    for key, value in further_attributes(nodes, len(lat), NODE_ATTRIBUTES).items():
        if not key.endswith("_code"):
            _add(columns, key, value)
    return columns


def edge_columns(edges: Any, source_id: Tensor, target_id: Tensor) -> dict[str, Any]:
    """Edges as columns: source and target as survey ids, distance_km, weight, what else there is.

    Shapes:
        - **source_id:** :math:`(N_{src},)`, **target_id:** :math:`(N_{dst},)`
    """
    source, target = edges.edge_index.numpy(force=True)
    columns: dict[str, Any] = {
        "source": source_id.numpy(force=True)[source],
        "target": target_id.numpy(force=True)[target],
        "distance_km": edges.edge_distance_km.numpy(force=True),
        "weight": edges.edge_weight.numpy(force=True),
    }
    for key, value in further_attributes(edges, len(source), EDGE_ATTRIBUTES).items():
        _add(columns, key, value)
    return columns


def further_attributes(store: Any, num: int, known: tuple[str, ...]) -> dict[str, Tensor]:
    """Dense attributes with ``num`` rows beside the known ones, of nodes or of edges."""
    if isinstance(store, SurveyGraph):
        belongs = store.is_node_attr if "pos" in known else store.is_edge_attr
        keys = [key for key in store.keys() if belongs(key)]  # noqa: SIM118
    else:
        keys = list(store.keys())
    return {
        key: store[key]
        for key in keys
        if key not in known
        and isinstance(store[key], Tensor)
        and not store[key].is_sparse
        and store[key].dim() in (1, 2)
        and len(store[key]) == num
    }


def _add(columns: dict[str, Any], key: str, value: Tensor) -> None:
    """A vector as a column of its name, a matrix as ``name_0``, ``name_1``, …"""
    array = value.numpy(force=True)
    flat = {key: array}
    if array.ndim == 2:
        flat = {f"{key}_{column}": array[:, column] for column in range(array.shape[1])}
    taken = [name for name in flat if name in columns or name in _RESERVED]
    if taken:
        raise SurveyDataError(
            f"conversion: attribute {key!r} would become a second column {taken[0]!r}; rename it"
        )
    columns |= flat


def species_per_survey(nodes: Any, spec: GraphSpec) -> list[list[Any]]:
    """The species of each survey as a list: names where the vocabulary has them, else ids.

    Example:
        >>> rows = pd.DataFrame({"surveyId": [1, 1, 2], "lat": 45.0, "lon": 7.0, "year": 2020,
        ...     "speciesId": [5, 9, None]})
        >>> graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows))
        >>> species_per_survey(graph, graph.spec)
        [[5, 9], []]
    """
    labels = scipy_csr(nodes.y)
    values = vocabulary(spec)[labels.indices]
    text = pa.string() if spec.species_names is not None else pa.int64()
    lists = pa.LargeListArray.from_arrays(
        pa.array(labels.indptr, pa.int64()), pa.array(values, text)
    )
    found: list[list[Any]] = lists.to_pylist()
    return found


def vocabulary(spec: GraphSpec) -> np.ndarray:
    """Column of ``y`` → species name, or speciesId where there are no names."""
    return spec.species_ids if spec.species_names is None else spec.species_names


def table_of_surveys(frame: pd.DataFrame, species_ids: Any, source: str) -> SurveyTable:
    """A table of one row per survey → `SurveyTable`.

    Args:
        frame: survey_id or surveyId, lat, lon, year, optionally region; ``species`` with a list
            in each row, or one ``speciesId`` per row; the rest goes to ``meta``.
        species_ids: the vocabulary, as in `SurveyTable.from_long`.
        source: what errors call it.
    """
    for theirs, ours in (("survey_id", "surveyId"), ("species", "speciesId")):
        if ours not in frame and theirs in frame:
            frame = frame.rename(columns={theirs: ours})
    if "speciesId" in frame:
        frame = frame.explode("speciesId", ignore_index=True)
    return SurveyTable.from_long(frame, species_ids, source=source)
