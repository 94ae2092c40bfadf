"""Neighbours' species under kernels whose width and weights are learned, chained coarse to fine."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import MessagePassing

from tighnari_graph.covariates import Covariates
from tighnari_graph.pyramid import Pyramid
from tighnari_graph.sparse import torch_csr

KERNELS = ("exponential", "gaussian")
_STRENGTH = -1.5  # before softplus: 0.2, a mild start for every comparison
_COMMON = 0.05  # probability at which λ is what ``log_strength`` says
_RAREST = 1e-4  # below it species are all equally rare


@dataclass(frozen=True, eq=False)
class KernelEdges:
    r"""Edges from some sources (surveys or cells) to some targets, ready for `KernelConv`.

    Attributes:
        y: :math:`(N_{src}, S)` sparse CSR, summed labels of the sources.
        weight: :math:`(N_{src},)` how many surveys a source stands for.
        edge_index: :math:`(2, E)` source and target.
        distance_km: :math:`(E,)`.
        differences: :math:`(F, E)` how both ends differ, see `Covariates.comparisons`.
        num_dst: number of targets.
    """

    y: Tensor
    weight: Tensor
    edge_index: Tensor
    distance_km: Tensor
    differences: Tensor
    num_dst: int

    @classmethod
    def between(
        cls,
        pyramid: Pyramid,
        by: Covariates,
        vectors: np.ndarray,
        values: np.ndarray,
        codes: np.ndarray,
        block: np.ndarray | None = None,
        opening: float = 0.0,
        richness: bool = False,
    ) -> "KernelEdges":
        """From the nodes of a pyramid to targets; see `Pyramid.edges`.

        With ``richness`` the columns of ``y`` come a second time, each label times the number of
        species of its survey.
        """
        source, target, km = pyramid.edges(vectors, block, opening)
        asked = np.zeros(pyramid.num_nodes, dtype=bool)
        asked[source] = True
        differences = by.compare(
            pyramid.numeric[source], pyramid.codes[source], values[target], codes[target]
        )
        local = (np.cumsum(asked) - 1)[source]
        y = pyramid.labels[asked]
        if richness:
            y = sparse.csr_matrix(sparse.hstack([y, pyramid.richness[asked]]))
        return cls(
            torch_csr(y),
            torch.from_numpy(pyramid.weight[asked]),
            torch.from_numpy(np.stack([local, target])),
            torch.from_numpy(km),
            torch.from_numpy(differences),
            len(vectors),
        )


class _LabelSum(torch.autograd.Function):
    """``y.T @ weights`` with sparse labels, which need no gradient themselves."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(y)
        rows = torch.sparse_csc_tensor(y.crow_indices(), y.col_indices(), y.values(), y.shape[::-1])
        return rows.to_sparse_csr() @ weights

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, ctx.saved_tensors[0] @ grad


class KernelConv(MessagePassing):
    r"""Kernel-weighted sum of neighbours' species at several scales, every weight learned.

    .. math:: \mathbf v_{ih} = a_h \sum_j k_h(d_{ij})\, s_h(i, j)\, \mathbf y_j, \qquad
        m_{ih} = a_h \sum_j k_h(d_{ij})\, s_h(i, j)

    with :math:`k_h(d) = e^{-d/h}` (or the Gaussian :math:`e^{-d^2/2h^2}`) and the similarity
    :math:`s_h(i, j) = e^{-\sum_f b_{hf} \Delta_f(i, j)}` over the comparisons of covariates. It is
    `GFVConv` with learned weights in place of radius − distance. `message` says what happens on an
    edge; what runs is one product of matrices per minibatch.

    Args:
        scales_km: bandwidths to begin with.
        num_comparisons: columns of ``differences``.
        kernel: "exponential" or "gaussian".
        incomplete: whether a source lists only part of its species, as presence-only surveys do.
            Then the amplitude :math:`a_h` and the detection rate :math:`r_h` are learned, and the
            mass is :math:`r_h m_{ih}`: an absence there says less.

    Shapes:
        - **output:** votes :math:`(K, S, N_{dst})` and mass :math:`(K, N_{dst})`

    Raises:
        ValueError: on an unknown kernel, or bandwidths that are not positive.

    Example:
        One survey at 10 km, seen at the scales of 10 and 5 km:

        >>> conv = KernelConv((10.0, 5.0), num_comparisons=0)
        >>> edges = KernelEdges(torch.tensor([[1.0, 0.0]]).to_sparse_csr(), torch.ones(1),
        ...     torch.tensor([[0], [0]]), torch.tensor([10.0]), torch.zeros(0, 1), 1)
        >>> votes, mass = conv(edges)
        >>> votes.detach().squeeze(-1), mass.detach().squeeze(-1)
        (tensor([[0.3679, 0.0000],
                [0.1353, 0.0000]]), tensor([0.3679, 0.1353]))
    """

    def __init__(
        self,
        scales_km: tuple[float, ...],
        num_comparisons: int,
        kernel: str = "exponential",
        incomplete: bool = False,
    ) -> None:
        if kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, got {kernel!r}")
        if not len(scales_km) or not all(np.isfinite(h) and h > 0 for h in scales_km):
            raise ValueError(f"scales_km must be positive kilometres, got {scales_km}")
        super().__init__(aggr="add", node_dim=0)
        num = len(scales_km)
        self.kernel, self.incomplete = kernel, incomplete
        self.log_bandwidth = nn.Parameter(torch.tensor(scales_km, dtype=torch.float32).log())
        self.raw_strength = nn.Parameter(torch.full((num, num_comparisons), _STRENGTH))
        self.log_amplitude = nn.Parameter(torch.full((num,), -1.0), requires_grad=incomplete)
        self.log_rate = nn.Parameter(torch.full((num,), -1.0), requires_grad=incomplete)

    def edge_weights(self, edges: KernelEdges) -> Float[Tensor, "k e"]:
        """Kernel times similarity of every edge at every scale, times the amplitude."""
        ratio = edges.distance_km * (-self.log_bandwidth).exp()[:, None]
        exponent = ratio if self.kernel == "exponential" else ratio**2 / 2
        if len(edges.differences):
            exponent = exponent + F.softplus(self.raw_strength) @ edges.differences
        weight = (-exponent).exp()
        return weight * self.log_amplitude.exp()[:, None] if self.incomplete else weight

    def forward(self, edges: KernelEdges) -> tuple[Tensor, Tensor]:
        """Votes and mass; see the class."""
        weight = self.edge_weights(edges)
        source, target = edges.edge_index
        num_src, num_dst = edges.y.size(0), edges.num_dst
        mass = weight.new_zeros(len(weight), num_dst)
        mass = mass.index_add(1, target, weight * edges.weight[source])
        if self.incomplete:
            mass = mass * self.log_rate.exp()[:, None]
        if self.explain:
            y = edges.y.to_dense()
            size = (num_src, num_dst)
            votes = self.propagate(edges.edge_index, y=y, weight=weight.T, size=size)
            return votes.permute(1, 2, 0), mass
        num = len(weight)
        place = source * (num * num_dst) + torch.arange(num)[:, None] * num_dst + target
        near = weight.new_zeros(num_src * num * num_dst)
        near = near.index_add(0, place.flatten(), weight.flatten()).view(num_src, num * num_dst)
        votes = _LabelSum.apply(edges.y, near)
        return votes.view(edges.y.size(1), num, num_dst).transpose(0, 1), mass

    def message(self, y_j: Tensor, weight: Tensor) -> Tensor:
        """What one neighbour adds at every scale: its species, times the weight there."""
        return weight.unsqueeze(-1) * y_j.unsqueeze(1)

    def __repr__(self) -> str:
        shown = ", ".join(f"{h:.3g}" for h in self.log_bandwidth.exp().tolist())
        return f"KernelConv(scales_km=({shown}), kernel={self.kernel!r})"


class KernelChain(nn.Module):
    r"""From the coarsest scale to the finest, each shrinking towards the one before.

    .. math:: p \leftarrow \frac{\sum_{\text{relations}} \mathbf v_{ih} + \lambda_h(p)\, p}
        {\sum_{\text{relations}} r_h m_{ih} + \lambda_h(p)}, \qquad
        \lambda_h(p) = \lambda_h \left(\frac{0.05}{\max(p, 10^{-4})}\right)^{c_h}

    How fast a species leaves the coarser scale may depend on how rare it is there: with
    :math:`c_h > 0`, which the data ask for, a rare one needs more votes. Where a scale finds
    nobody, the coarser scale's probability stays. A detection rate below 1 may push the ratio
    above 1; it is cut there.

    Args:
        convs: a `KernelConv` per relation, all with equally many scales, coarse to fine.

    Shapes:
        - **prior:** :math:`(N_{dst}, S)` or :math:`(S,)` where the chain begins
        - **output:** :math:`(N_{dst}, S)` probabilities

    Example:
        >>> chain = KernelChain({"survey": KernelConv((10.0,), num_comparisons=0)})
        >>> edges = KernelEdges(torch.tensor([[1.0, 0.0]]).to_sparse_csr(), torch.ones(1),
        ...     torch.tensor([[0], [0]]), torch.tensor([0.0]), torch.zeros(0, 1), 1)
        >>> chain({"survey": edges}, torch.tensor([0.5, 0.5])).detach()
        tensor([[0.7500, 0.2500]])
    """

    def __init__(self, convs: Mapping[str, KernelConv]) -> None:
        super().__init__()
        self.convs = nn.ModuleDict(convs)
        counts = {len(conv.log_bandwidth) for conv in convs.values()}
        if len(counts) != 1:
            raise ValueError(f"relations must have equally many scales, got {sorted(counts)}")
        self.num_scales = counts.pop()
        self.log_strength = nn.Parameter(torch.zeros(self.num_scales))
        self.rarity = nn.Parameter(torch.zeros(self.num_scales))

    def forward(self, relations: Mapping[str, KernelEdges], prior: Tensor) -> Float[Tensor, "n s"]:
        """Chain; see the class."""
        found = [self.convs[name](edges) for name, edges in relations.items()]
        p = _columns(prior)
        for scale in range(self.num_scales):
            votes = sum(v[scale] for v, _ in found)
            mass = sum(m[scale] for _, m in found)
            strength = self.strength(scale, p)
            p = ((votes + strength * p) / (mass + strength)).clamp(max=1.0)
        return p.T

    def with_richness(
        self, relations: Mapping[str, KernelEdges], prior: Tensor, richness: Tensor
    ) -> tuple[Tensor, Tensor]:
        r"""Probabilities, and how many species a survey is expected to have where it has this one.

        A probability is a weighted mean of surveys' labels; this is the mean richness of those of
        the surveys that have the species, in the same weights. Sources that list part of their
        species say nothing about it.

        Args:
            relations: complete ones made with ``richness=True``, see `KernelEdges.between`.

        Shapes:
            - **richness:** as ``prior``, where it begins
            - **output:** :math:`(N_{dst}, S)` twice
        """
        found = [(self.convs[name], *self.convs[name](edges)) for name, edges in relations.items()]
        p, m = _columns(prior), _columns(richness)
        num = len(p)
        for scale in range(self.num_scales):
            strength = self.strength(scale, p)
            total = strength * p
            weighted = total * m
            for conv, votes, _ in found:
                seen = votes[scale]
                total = total + seen[:num]
                weighted = weighted + (seen * m if conv.incomplete else seen[num:])
            mass = sum(mass[scale] for _, _, mass in found)
            p = (total / (mass + strength)).clamp(max=1.0)
            m = torch.where(total > 0, weighted / total, m)
        return p.T, m.T

    def strength(self, scale: int, p: Tensor) -> Tensor:
        """λ of every species at a scale, where the coarser one says p; of any shape."""
        rarer = math.log(_COMMON) - p.clamp(min=_RAREST).log()
        return (self.log_strength[scale] + self.rarity[scale] * rarer).exp()


def _columns(rows: Tensor) -> Tensor:
    """[n, S] or [S] as [S, n], the way votes come."""
    return rows.T if rows.dim() == 2 else rows[:, None]
