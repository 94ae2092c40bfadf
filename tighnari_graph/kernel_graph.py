"""What a fitted `MultiScale` looks at, as a PyG `HeteroData` to be inspected."""

from typing import cast

import numpy as np
import torch
from torch_geometric.data import HeteroData

from tighnari_graph.covariates import Covariates
from tighnari_graph.geodesy import unit_vectors
from tighnari_graph.kernel_conv import KernelConv, KernelEdges
from tighnari_graph.multiscale import MAX_EDGES, MultiScale
from tighnari_graph.pyramid import Pyramid
from tighnari_graph.sparse import torch_csr
from tighnari_graph.surveys import SurveyTable

KERNEL = "kernel"
IN = "in"
NODE_TYPES = {"survey": ("survey", "cell"), "po": ("po", "po_cell")}
_COUNTED = 256  # targets whose edges are counted to estimate them all
_CHUNK = 256  # targets looked at at once


def kernel_graph(
    model: MultiScale, target: SurveyTable, blocks: np.ndarray | None = None
) -> HeteroData:
    r"""Surveys, cells and targets, with every edge that the model looks along and its weights.

    Node types "survey", "cell" and "test"; "po" and "po_cell" besides if the model was fitted with
    presence-only surveys. All surveys and cells are there, asked for or not, so node n of "survey"
    is row n of the fitted table and node n of "cell" node ``num_surveys + n`` of its `Pyramid`.
    Edge types (source, "kernel", "test") for every source type, and (child, "in", cell) for what
    a cell holds. The model itself makes edges per minibatch and keeps none; a graph of them all
    is for looking at, and for tests.

    Args:
        model: fitted.
        target: surveys whose edges are wanted; their labels are not looked at.
        blocks: own block of each, as ``model.pyramids["survey"].block`` numbers them, whose
            surveys are left out; None leaves none out.

    Shapes:
        - **pos:** :math:`(n, 2)` float64, latitude and longitude; of a cell the mean of its
          surveys
        - **y:** :math:`(n, S)` sparse CSR float32, labels, of a cell summed; not on "test"
        - **weight:** :math:`(n,)` float32, how many surveys a node stands for; not on "test"
        - **radius_km:** :math:`(n,)` float64 of cells; **survey_id:** :math:`(n,)` of "test"
        - **edge_index:** :math:`(2, E)` int64, sorted by (target, source)
        - **edge_distance_km:** :math:`(E,)` float32 on "kernel"
        - **edge_weight:** :math:`(E, K)` float32 on "kernel": kernel × similarity at every scale,
          from coarse to fine, on presence-only edges times the amplitude; detached

    Units: degrees, kilometres.

    Raises:
        MemoryError: if there would be more than 50 million edges; take fewer targets.
        ValueError: if ``blocks`` are not one per target.

    Example:
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45.0, 45.001, 48.0], "lon": 7.0,
        ...     "year": 2020, "speciesId": [5, 9, 9]})
        >>> model = MultiScale.fit(SurveyTable.from_long(rows), scales_km=(100.0, 10.0), steps=8)
        >>> hetero = kernel_graph(model, SurveyTable.from_long(rows[:1]))
        >>> hetero["survey", "kernel", "test"].edge_index
        tensor([[0, 1, 2],
                [0, 0, 0]])
        >>> hetero["survey", "kernel", "test"].edge_weight.shape
        torch.Size([3, 2])
        >>> hetero["survey", "in", "cell"].edge_index, hetero["cell"].y.to_dense()[0]
        (tensor([[0, 1, 2],
                [0, 0, 1]]), tensor([1., 1.]))
    """
    if blocks is not None and np.shape(blocks) != (len(target),):
        raise ValueError(f"blocks are {np.shape(blocks)}, expected one for {len(target)} targets")
    vectors = unit_vectors(target.lat, target.lon)
    _refuse_too_many(model, vectors, blocks)
    hetero = HeteroData()
    for name, pyramid in model.pyramids.items():
        _add_nodes(hetero, pyramid, NODE_TYPES[name])
        by, conv = model.covariates[name], cast(KernelConv, model.chain.convs[name])
        places = (vectors, *by.encode(target), blocks if name == "survey" else None)
        found = _kernel_edges(conv, by, pyramid, *places, model.opening)
        _add_edges(hetero, pyramid.num_surveys, NODE_TYPES[name], found)
    hetero["test"].pos = torch.from_numpy(np.stack([target.lat, target.lon], axis=1))
    hetero["test"].survey_id = torch.from_numpy(target.survey_id)
    return hetero


def _refuse_too_many(model: MultiScale, vectors: np.ndarray, blocks: np.ndarray | None) -> None:
    if model.opening == 0:
        edges = sum(p.num_surveys for p in model.pyramids.values()) * len(vectors)
    else:
        some = np.linspace(0, len(vectors) - 1, min(len(vectors), _COUNTED)).astype(int)
        own = {"survey": None if blocks is None else blocks[some]}
        counted = sum(
            len(pyramid.edges(vectors[some], own.get(name), model.opening)[0])
            for name, pyramid in model.pyramids.items()
        )
        edges = round(counted / max(len(some), 1) * len(vectors))
    if edges > MAX_EDGES:
        raise MemoryError(
            f"kernel graph: {len(vectors):,} targets have about {edges:,} edges, more than "
            f"{MAX_EDGES:,}; take fewer targets"
        )


def _add_nodes(hetero: HeteroData, pyramid: Pyramid, types: tuple[str, str]) -> None:
    """Surveys and cells of a relation, and which lies in which."""
    num = pyramid.num_surveys
    x, y, z = pyramid.vectors.T
    pos = np.degrees(np.stack([np.arctan2(z, np.hypot(x, y)), np.arctan2(y, x)], axis=1))
    for kind, rows in zip(types, (slice(num), slice(num, None)), strict=True):
        hetero[kind].pos = torch.from_numpy(pos[rows])
        hetero[kind].y = torch_csr(pyramid.labels[rows])
        hetero[kind].weight = torch.from_numpy(pyramid.weight[rows])
    hetero[types[1]].radius_km = torch.from_numpy(pyramid.radius_km[num:])

    child = pyramid.children
    parent = np.repeat(np.arange(pyramid.num_nodes), np.diff(pyramid.first_child)) - num
    of_survey = child < num
    for kind, which, first in ((types[0], of_survey, 0), (types[1], ~of_survey, num)):
        member = np.stack([child[which] - first, parent[which]])
        hetero[kind, IN, types[1]].edge_index = torch.from_numpy(member)


def _kernel_edges(
    conv: KernelConv,
    by: Covariates,
    pyramid: Pyramid,
    vectors: np.ndarray,
    values: np.ndarray,
    codes: np.ndarray,
    blocks: np.ndarray | None,
    opening: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Source node and target, distance, and weights [E, K], some targets at a time."""
    nowhere = torch.zeros(0, dtype=torch.float32)
    ends = [torch.zeros(2, 0, dtype=torch.int64)]
    distances, weights = [nowhere], [nowhere.reshape(0, len(conv.log_bandwidth))]
    for start in range(0, len(vectors), _CHUNK):
        rows = slice(start, start + _CHUNK)
        own = None if blocks is None else blocks[rows]
        source, target, km = pyramid.edges(vectors[rows], own, opening)
        differences = by.compare(
            pyramid.numeric[source],
            pyramid.codes[source],
            values[rows][target],
            codes[rows][target],
        )
        edges = KernelEdges(
            nowhere, nowhere, torch.from_numpy(np.stack([source, target + start])),
            torch.from_numpy(km), torch.from_numpy(differences), len(vectors),
        )  # fmt: skip
        ends.append(edges.edge_index)
        distances.append(edges.distance_km)
        weights.append(conv.edge_weights(edges).detach().T)
    return torch.cat(ends, dim=1), torch.cat(distances), torch.cat(weights)


def _add_edges(
    hetero: HeteroData,
    num: int,
    types: tuple[str, str],
    found: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    """Those from surveys and those from cells apart."""
    ends, distance, weight = found
    single = ends[0] < num
    for kind, which, first in ((types[0], single, 0), (types[1], ~single, num)):
        relation = hetero[kind, KERNEL, "test"]
        relation.edge_index = ends[:, which] - torch.tensor([[first], [0]])
        relation.edge_distance_km = distance[which]
        relation.edge_weight = weight[which]
