"""Graph features for minibatches: rows of the finished matrix, or neighbourhoods to aggregate."""

from dataclasses import replace

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from tighnari_graph.gfv import GFVConv, GFVScaler
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.sparse import csr_rows, scipy_csr, torch_csr
from tighnari_graph.surveys import SurveyTable
from tighnari_models.data.batch import Neighborhood

WAYS = ("sliced", "on_the_fly")


class GraphRows:
    r"""The neighbours of some target surveys, as far as their labels may be seen.

    "sliced" aggregates all targets once (134 non-zeros a row at the full size) and hands out rows;
    "on_the_fly" keeps only the edges, and a minibatch carries its own neighbours' labels.

    Args:
        y: :math:`(N_{src}, S)` labels of the source surveys.
        edge_index: :math:`(2, E)` sorted by target, as survey graphs are.
        edge_weight: :math:`(E,)`, kilometres.
        num_dst: number of targets.
        visible: :math:`(N_{src},)` bool; edges from hidden surveys are left out, so they give no
            labels and do not count in the degree.
        way: "sliced" or "on_the_fly".
        degree: "count" or "weight", see `GFVConv`.
        block: :math:`(N_{src},)` block number of each survey, where the targets are the sources
            themselves. A visible survey's feature is then made as if its own block were hidden, as
            that of a survey of a hidden block is. Hidden surveys see what they saw.

    Raises:
        ValueError: on an unknown way, or blocks where targets are not the sources.

    Example:
        >>> y = torch_csr(sparse.csr_matrix([[1.0, 0.0], [0.0, 1.0]]))
        >>> edges = torch.tensor([[1, 0], [0, 1]])
        >>> near = GraphRows(y, edges, torch.tensor([4.0, 4.0]), 2, np.array([True, False]))
        >>> near.batch(np.array([0, 1]), GFVScaler(None)).to_dense()
        tensor([[0., 0.],
                [4., 0.]])
    """

    def __init__(
        self,
        y: Tensor,
        edge_index: Tensor,
        edge_weight: Tensor,
        num_dst: int,
        visible: np.ndarray,
        way: str = "sliced",
        degree: str = "count",
        block: np.ndarray | None = None,
    ) -> None:
        if way not in WAYS:
            raise ValueError(f"gfv must be one of {', '.join(WAYS)}, got {way!r}")
        seen = torch.from_numpy(np.asarray(visible, dtype=bool))
        keep = seen[edge_index[0]]
        if block is not None:
            if not len(block) == num_dst == y.size(0):
                raise ValueError(
                    f"{len(block)} block numbers for {y.size(0)} sources and {num_dst} targets, "
                    "which must be the same surveys"
                )
            number = torch.from_numpy(np.asarray(block))
            keep &= ~(seen[edge_index[1]] & (number[edge_index[0]] == number[edge_index[1]]))
        edge_index, edge_weight = edge_index[:, keep], edge_weight[keep]
        self.way, self.degree = way, degree
        self.size = (y.size(0), num_dst)
        if way == "sliced":
            self.features = GFVConv(degree)(y, edge_index, edge_weight, size=self.size)
        else:
            targets = torch.arange(num_dst + 1)
            self.start = torch.searchsorted(edge_index[1].contiguous(), targets)
            self.edge_index, self.edge_weight, self.y = edge_index, edge_weight, y
            self.labels = scipy_csr(y)

    @classmethod
    def of_new(
        cls, graph: SurveyGraph, new: SurveyTable, way: str = "sliced", degree: str = "count"
    ) -> "GraphRows":
        """Graph features of surveys outside the graph, all of whose labels are visible."""
        edges = graph.attach(test=replace(new, labels=None))["survey", "near", "test"]
        everyone = np.ones(graph.num_nodes, dtype=bool)
        return cls(graph.y, edges.edge_index, edges.edge_weight, len(new), everyone, way, degree)

    def fit_scaler(self, scaler: GFVScaler, rows: np.ndarray) -> GFVScaler:
        r"""The scaler, fitted on the targets in ``rows``, :math:`(N_{dst},)` bool."""
        if self.way == "sliced":
            return scaler.fit(self.features, torch.from_numpy(rows))
        conv = GFVConv(self.degree)
        features = conv(self.y, self.edge_index, self.edge_weight, size=self.size)
        return scaler.fit(features, torch.from_numpy(rows))

    def batch(self, rows: np.ndarray, scaler: GFVScaler) -> Tensor | Neighborhood:
        """Graph features of the targets at these positions, on the scale of ``scaler``."""
        if self.way == "sliced":
            return scaler.transform(csr_rows(self.features, torch.from_numpy(rows)))
        at = torch.from_numpy(rows)
        first = self.start[at]
        count = self.start[at + 1] - first
        target = torch.repeat_interleave(torch.arange(len(at)), count)
        within = torch.arange(len(target)) - torch.repeat_interleave(count.cumsum(0) - count, count)
        edges = torch.repeat_interleave(first, count) + within
        kept, source = np.unique(self.edge_index[0, edges].numpy(), return_inverse=True)
        return Neighborhood(
            y=torch_csr(sparse.csr_matrix(self.labels[kept])),
            edge_index=torch.stack([torch.from_numpy(source.astype(np.int64)), target]),
            edge_weight=self.edge_weight[edges],
            num_dst=len(at),
            degree=self.degree,
            normalize=scaler.normalize,
            scale=float(scaler.scale),
        )
