"""Surveys to predict and presence-only surveys beside a survey graph, as PyG `HeteroData`."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch_geometric.data import HeteroData

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.neighbors import radius_edges_between
from tighnari_graph.sparse import torch_csr
from tighnari_graph.spec import (
    EDGE_ATTRIBUTES,
    NODE_ATTRIBUTES,
    check_same_vocabulary,
    edge_attributes,
    match_groups,
    survey_nodes,
)
from tighnari_graph.surveys import SurveyTable

if TYPE_CHECKING:
    from tighnari_graph.graph import SurveyGraph

NEAR = "near"
logger = logging.getLogger(__name__)


def attach(
    graph: "SurveyGraph",
    test: SurveyTable | None = None,
    presence_only: SurveyTable | None = None,
    backend: str = "kdtree",
    device: str | torch.device = "cpu",
) -> HeteroData:
    """Attach surveys to predict, and presence-only (PO) surveys near them.

    Node types "survey", "test" and "po"; edge types ("survey", "near", "survey"),
    ("survey", "near", "test") and ("po", "near", "test"). No edge runs between test nodes and none
    points into a survey, so no training degree changes and no test point sees another. Edges from
    surveys follow the graph's own ``match``; PO has no region, so its edges match on the distance
    and, unless ``match`` leaves it out, on the year. PO surveys that reach no test node are left
    out and counted in ``hetero["po"].out_of_reach``. ``backend`` and ``device`` are those of
    `radius_edges_between`. Tensors are shared with the graph, not copied.

    Shapes:
        - **survey_id, year, region_code:** :math:`(N_{type},)` int64 on every node type;
          **pos** :math:`(N_{type}, 2)` float64
        - **y:** sparse CSR :math:`(N_{type}, S)` on "survey" and "po"
        - **edge_index, edge_distance_km, edge_weight:** on every edge type, sorted by
          (target, source)

    Raises:
        SurveyDataError: if test and graph disagree in having a region column or in its being text,
            or PO species are not the graph's; ``presence_only`` without ``test``.
        MemoryError: if the edges would not fit; says how many there are.

    Source: Liu et al. 2024, section 3.2 ("edges should not be generated between test set nodes"),
    algorithm 2 (LabelAuxiliaryNodes).

    Example:
        >>> import pandas as pd
        >>> from tighnari_graph import SurveyGraph
        >>> rows = pd.DataFrame({"surveyId": [1, 2], "lat": [45.0, 45.05], "lon": 7.0,
        ...     "year": 2020, "region": "ALPINE", "speciesId": [5, 9]})
        >>> graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows))
        >>> new = pd.DataFrame({"surveyId": [3], "lat": 45.02, "lon": 7.0, "year": 2020,
        ...     "region": "ALPINE"})
        >>> hetero = graph.attach(test=SurveyTable.from_long(new))
        >>> hetero["survey", "near", "test"].edge_index
        tensor([[0, 1],
                [0, 0]])
    """
    for table in (test, presence_only):
        if not isinstance(table, SurveyTable | None):
            raise TypeError(f"attach takes SurveyTables, got {type(table).__name__}")
    spec = graph._spec
    hetero = HeteroData()
    for key in (*NODE_ATTRIBUTES, *spec.match_attributes):
        hetero["survey"][key] = graph[key]
    for key in EDGE_ATTRIBUTES:
        hetero["survey", NEAR, "survey"][key] = graph[key]
    if test is None:
        if presence_only is not None:
            raise SurveyDataError("attach: presence-only surveys attach to test nodes; give test=")
        hetero.spec = spec
        return hetero

    if "region" in spec.match and ("region" in spec.categories) != (test.region is not None):
        has, lacks = ("graph", "test table") if test.region is None else ("test table", "graph")
        raise SurveyDataError(
            f"attach: the {has} has a region column and the {lacks} has none; give both one, or "
            'build the graph with match=("year",)'
        )
    nodes, spec = survey_nodes(test, spec)
    for key, value in nodes.items():
        hetero["test"][key] = value
    hetero.spec = spec
    groups = _shared_groups(
        {key: graph[key].numpy(force=True) for key in spec.match_attributes},
        {key: nodes[key].numpy() for key in spec.match_attributes},
        (graph.num_nodes, len(test)),
    )
    pos = graph.pos.numpy(force=True)
    found = radius_edges_between(
        pos[:, 0], pos[:, 1], groups[0], test.lat, test.lon, groups[1],
        spec.radius_km, spec.earth_radius_km, backend, device,
    )  # fmt: skip
    for key, value in edge_attributes(*found, spec.radius_km).items():
        hetero["survey", NEAR, "test"][key] = value
    if presence_only is not None:
        _attach_po(hetero, test, presence_only, backend, device)
    return hetero


def _attach_po(
    hetero: HeteroData,
    test: SurveyTable,
    po: SurveyTable,
    backend: str,
    device: str | torch.device,
) -> None:
    spec = hetero.spec
    if po.labels is None:
        raise SurveyDataError("attach: the presence-only table has no species")
    check_same_vocabulary(spec, po, "attach: presence-only table")
    by_year = "year" in spec.match
    groups = _shared_groups(
        {"year": po.year} if by_year else {},
        {"year": test.year} if by_year else {},
        (len(po), len(test)),
    )
    (source, target), distance = radius_edges_between(
        po.lat, po.lon, groups[0], test.lat, test.lon, groups[1],
        spec.radius_km, spec.earth_radius_km, backend, device,
    )  # fmt: skip
    kept, source = np.unique(source, return_inverse=True)
    near = po.subset(kept)
    nodes, _ = survey_nodes(near, replace(spec, match=()))
    nodes["region_code"] = torch.full((len(near),), -1)
    for key, value in nodes.items():
        hetero["po"][key] = value
    hetero["po"].y = torch_csr(near.labels)
    hetero["po"].out_of_reach = len(po) - len(near)
    logger.info(
        "%d of %d PO surveys reach a test node; the others are left out", len(near), len(po)
    )
    edges = edge_attributes(np.stack([source, target]), distance, spec.radius_km)
    for key, value in edges.items():
        hetero["po", NEAR, "test"][key] = value


def _shared_groups(
    src: dict[str, np.ndarray], dst: dict[str, np.ndarray], sizes: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Group numbers of sources and targets that mean the same on both sides."""
    both = {key: np.concatenate([src[key], dst[key]]) for key in src}
    group = match_groups(both, sum(sizes))
    return group[: sizes[0]], group[sizes[0] :]
