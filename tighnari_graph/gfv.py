"""Graph feature vectors: the neighbours' species lists, near ones weighing more."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import scatter

from tighnari_graph.graph import SurveyGraph
from tighnari_graph.products import csr_product
from tighnari_graph.sparse import torch_csr
from tighnari_graph.splits import blocks_to_exclude

DEGREES = ("count", "weight")
NORMALIZATIONS = ("max", "l2", None)


class GFVConv(MessagePassing):
    r"""Sum of neighbours' species, near ones weighing more, over the root of the degree.

    .. math:: \mathbf g_i = \frac{1}{\sqrt{D_i}} \sum_{j \in \mathcal N(i)} w_{ij}\, \mathbf y_j

    A survey is never its own neighbour, so its labels never enter its feature. A survey without
    neighbours gets zeros. The layer has no weights. `message` says what happens on an edge;
    `message_and_aggregate`, which is what runs, multiplies matrices instead, so the
    :math:`E \times S` messages are never held. Where several relations meet at one target in a
    `HeteroConv`, labels must be dense, since torch cannot stack sparse CSR tensors.

    Args:
        degree: :math:`D_i` is the number of neighbours ("count", eq. 1) or the sum of edge weights
            ("weight", section 2).

    Shapes:
        - **y:** :math:`(N_{src}, S)` labels, dense or sparse CSR; or a pair of source and target
          labels, as PyG's bipartite layers take, of which the targets' only give :math:`N_{dst}`
        - **edge_index:** :math:`(2, E)`, row 0 source, row 1 target
        - **edge_weight:** :math:`(E,)`; None is a weight of 1 on every edge
        - **size:** :math:`(N_{src}, N_{dst})`; by default both are the rows of ``y``
        - **output:** :math:`(N_{dst}, S)`, in the layout of ``y``

    Units: ``edge_weight`` in kilometres (radius − distance); the output in km / √neighbours.

    Raises:
        ValueError: if shapes do not fit, or weights to be learned meet sparse labels.

    Source: Liu et al. 2024, section 3.2, equations 1–2, algorithm 1.

    Example:
        Surveys 0 and 1 lie 6 km and 9 km from survey 2; species A was seen at 0, B at both:
        4/√2 and (4 + 1)/√2.

        >>> y = torch.tensor([[1., 1.], [0., 1.], [0., 0.]])
        >>> edge_index = torch.tensor([[0, 1], [2, 2]])
        >>> GFVConv()(y, edge_index, torch.tensor([4., 1.]))[2]
        tensor([2.8284, 3.5355])
    """

    def __init__(self, degree: str = "count") -> None:
        if degree not in DEGREES:
            raise ValueError(f"degree must be one of {', '.join(DEGREES)}, got {degree!r}")
        super().__init__(aggr="add")
        self.degree = degree

    def forward(
        self,
        y: Tensor | tuple[Tensor, Tensor | None],
        edge_index: Int[Tensor, "2 e"],
        edge_weight: Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> Float[Tensor, "n_dst s"]:
        """Aggregate; see the class."""
        y, size = self._sources(y, size)
        num_edges = edge_index.size(1)
        for end, name in ((0, "source"), (1, "target")):
            if num_edges and not _all_below(edge_index[end], size[end]):
                outside = int(((edge_index[end] < 0) | (edge_index[end] >= size[end])).sum())
                raise ValueError(f"{outside} edges have a {name} outside the {size[end]} there are")
        if edge_weight is None:
            edge_weight = torch.ones(num_edges, device=edge_index.device)
        elif len(edge_weight) != num_edges:
            raise ValueError(f"{len(edge_weight)} edge weights for {num_edges} edges")
        if self.degree == "count":
            degree = torch.bincount(edge_index[1], minlength=size[1]).to(edge_weight.dtype)
        else:
            degree = scatter(edge_weight, edge_index[1], dim_size=size[1], reduce="sum")
        scale = torch.where(degree > 0, degree, torch.inf).rsqrt()
        weight = edge_weight * scale[edge_index[1]]
        sparse = y.layout == torch.sparse_csr
        if sparse and weight.requires_grad:
            raise ValueError("weights that are learned need dense labels: y.to_dense()")
        if sparse or (self.fuse and not self.explain and not weight.requires_grad):
            near = _adjacency(edge_index, weight, size)
            return self.propagate(near, y=y, edge_weight=None, size=size)
        return self.propagate(edge_index, y=y.to(weight.dtype), edge_weight=weight, size=size)

    def message(self, y_j: Tensor, edge_weight: Tensor) -> Tensor:
        """What one neighbour adds: its species, times the edge weight."""
        return edge_weight.unsqueeze(-1) * y_j

    def message_and_aggregate(self, edge_index: Tensor, y: Tensor) -> Tensor:
        """All neighbours of all surveys at once: one product of matrices."""
        if y.layout != torch.sparse_csr:
            return edge_index @ y.to(edge_index.dtype)
        if y.is_cuda:
            return edge_index @ y.to(edge_index.dtype)
        return torch_csr(csr_product(edge_index, y, "aggregating species"))

    @staticmethod
    def _sources(
        y: Tensor | tuple[Tensor, Tensor | None], size: tuple[int, int] | None
    ) -> tuple[Tensor, tuple[int, int]]:
        source, target = y if isinstance(y, tuple) else (y, y)
        if size is None:
            if target is None:
                raise ValueError("give size=(num_src, num_dst): the targets have no labels")
            size = (source.size(0), target.size(0))
        if size[0] != source.size(0):
            raise ValueError(f"size says {size[0]} sources, y has {source.size(0)} rows")
        return source, (int(size[0]), int(size[1]))

    def __repr__(self) -> str:
        return f"GFVConv(degree={self.degree!r})"


def _all_below(ends: Tensor, num: int) -> bool:
    lowest, highest = ends.aminmax()
    return bool((lowest >= 0) & (highest < num))


def _adjacency(edge_index: Tensor, weight: Tensor, size: tuple[int, int]) -> Tensor:
    """Edges as a sparse CSR matrix [n_dst, n_src], as PyG's fused layers take them."""
    source, target = edge_index
    if (target[1:] < target[:-1]).any():
        target, order = target.sort(stable=True)
        source, weight = source[order], weight[order]
    crow = torch.searchsorted(target.contiguous(), torch.arange(size[1] + 1, device=target.device))
    return torch.sparse_csr_tensor(crow, source, weight, size=(size[1], size[0]))


class GFVScaler:
    r"""Bring graph feature vectors to one scale, fitted on training surveys only.

    "max" divides by the largest entry of the fitted rows, one number for all surveys, which keeps
    zeros zero; "l2" gives every row unit length; None leaves them.

    Shapes:
        - **features:** :math:`(N, S)` sparse CSR, in and out

    Source: Liu et al. 2024, section 3.2, algorithm 1 ("Normalize all V_i across N"), which does
    not say how.

    Example:
        >>> from scipy import sparse
        >>> features = torch_csr(sparse.csr_matrix([[0.0, 4.0], [8.0, 0.0]]))
        >>> scaler = GFVScaler("max").fit(features, rows=torch.tensor([True, False]))
        >>> scaler.transform(features).to_dense()
        tensor([[0., 1.],
                [2., 0.]])
    """

    def __init__(self, normalize: str | None = "max") -> None:
        if normalize not in NORMALIZATIONS:
            raise ValueError(f"normalize must be 'max', 'l2' or None, got {normalize!r}")
        self.normalize = normalize
        self.scale = 1.0

    def fit(
        self, features: Float[Tensor, "n s"], rows: Bool[Tensor, " n"] | None = None
    ) -> "GFVScaler":
        """Find the scale in the rows that may be seen; 1 where they hold nothing."""
        if self.normalize == "max":
            values = (features if rows is None else features[rows]).values()
            largest = float(values.max()) if len(values) else 0.0
            self.scale = largest if largest > 0 else 1.0
        return self

    def transform(self, features: Float[Tensor, "n s"]) -> Float[Tensor, "n s"]:
        """The features on the fitted scale."""
        crow, values = features.crow_indices(), features.values()
        if self.normalize == "max":
            values = values / self.scale
        elif self.normalize == "l2":
            count = crow[1:] - crow[:-1]
            row = torch.repeat_interleave(torch.arange(len(count), device=crow.device), count)
            length = scatter(values**2, row, dim_size=len(count), reduce="sum").sqrt()
            values = values / length.clamp(min=torch.finfo(values.dtype).tiny)[row]
        return torch.sparse_csr_tensor(crow, features.col_indices(), values, size=features.shape)


def graph_feature_vectors(
    graph: SurveyGraph | HeteroData,
    target: str = "survey",
    visible: Tensor | np.ndarray | None = None,
    normalize: str | None = "max",
    degree: str = "count",
    exclude_block: float | Tensor | np.ndarray | None = None,
) -> Float[Tensor, "n_dst s"]:
    r"""Graph feature vectors of all surveys, or of the test nodes attached to them.

    Args:
        graph: a survey graph, or what `SurveyGraph.attach` returned.
        target: "survey" or "test".
        visible: surveys whose labels may be seen. The others are treated as if they were not in
            the graph: they give no labels and do not count in the degree, and still get a feature.
        normalize: "max", "l2" or None; fitted on visible surveys, also for test nodes.
        degree: "count" or "weight", see `GFVConv`.
        exclude_block: kilometres of a block, or the block number of each survey (`block_ids`).
            Every survey's feature is then made as if its own block were not in the graph, as a
            held-out block's are: neither labels nor degree count. Test nodes have no block; only
            the scale of "max" is then that of the surveys' new features.

    Shapes:
        - **visible:** :math:`(N,)` bool
        - **exclude_block:** a number, or :math:`(N,)` whole numbers
        - **output:** :math:`(N, S)` or :math:`(N_{test}, S)` sparse CSR float32

    Units: km / √neighbours if not normalised.

    Raises:
        ValueError: on a target that the graph does not have, or a mask or block numbers of another
            length.
        MemoryError: if the features, estimated from some rows, would not fit.

    Source: Liu et al. 2024, section 3.2, eq. 1, algorithm 1 (ComputeGFV).

    Example:
        >>> import pandas as pd
        >>> from tighnari_graph import SurveyTable
        >>> rows = pd.DataFrame({"surveyId": [1, 2], "lat": [45.0, 45.05], "lon": 7.0,
        ...     "year": 2020, "region": "ALPINE", "speciesId": [5, 9]})
        >>> graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows))
        >>> graph_feature_vectors(graph, normalize=None).to_dense()
        tensor([[0.0000, 4.4402],
                [4.4402, 0.0000]])
    """
    hetero = isinstance(graph, HeteroData)
    known = ("survey", "test") if hetero and "test" in graph.node_types else ("survey",)
    if target not in known:
        raise ValueError(
            f"target {target!r} is not in this graph, which has {', '.join(known)}"
            + ("" if "test" in known else "; graph.attach(test=...) adds test nodes")
        )
    nodes = graph["survey"] if hetero else graph
    edges = graph["survey", "near", "survey"] if hetero else graph
    mask = visible_mask(visible, nodes.y)
    block = None if exclude_block is None else block_numbers(exclude_block, nodes.pos)
    conv, scaler = GFVConv(degree), GFVScaler(normalize)

    def features(edges: Any, num_dst: int, block: Tensor | None = None) -> Tensor:
        """``edges`` is an edge store, or the graph itself."""
        edge_index, weight = edges.edge_index, edges.edge_weight
        if mask is not None:
            keep = mask[edge_index[0]]
            edge_index, weight = edge_index[:, keep], weight[keep]
        if block is not None:
            keep = block[edge_index[0]] != block[edge_index[1]]
            edge_index, weight = edge_index[:, keep], weight[keep]
        return conv(nodes.y, edge_index, weight, size=(nodes.y.size(0), num_dst))

    if target == "survey" or normalize == "max":
        result = features(edges, nodes.y.size(0), block)
        scaler.fit(result, mask)
    if target == "test":
        result = features(graph["survey", "near", "test"], len(graph["test"].survey_id))
    return scaler.transform(result)


def block_numbers(exclude_block: float | Tensor | np.ndarray, pos: Tensor) -> Tensor:
    """The block of each survey, as ``exclude_block`` gives or asks for it, :math:`(N,)`."""
    if isinstance(exclude_block, Tensor):
        exclude_block = exclude_block.numpy(force=True)
    lat, lon = pos.numpy(force=True).T
    return torch.from_numpy(blocks_to_exclude(exclude_block, lat, lon)).to(pos.device)


def visible_mask(visible: Tensor | np.ndarray | None, y: Tensor) -> Tensor | None:
    """Which surveys' labels may be seen, :math:`(N,)` bool; None where all may.

    Raises:
        ValueError: if it is no bool mask of the surveys.
    """
    if visible is None:
        return None
    mask = torch.as_tensor(visible, device=y.device)
    if mask.dtype != torch.bool or mask.shape != (y.size(0),):
        raise ValueError(
            f"visible must be a bool mask of the {y.size(0)} surveys, got {mask.dtype} of shape "
            f"{tuple(mask.shape)}"
        )
    return mask
