"""Two graph neural networks that the chain of kernels is compared with, and their edges.

`LabelAttention` weighs neighbours' species lists; `MaskedLabels` passes learned vectors of places
and lists over two layers. Both see a survey's neighbours in other blocks only.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.nn import TransformerConv
from torch_geometric.utils import softmax

from tighnari_graph.covariates import Covariates
from tighnari_graph.geodesy import EARTH_RADIUS_KM, km_of_chord, unit_vectors
from tighnari_graph.surveys import SurveyTable

LEAST = 1e-5  # probability of the rarest species
_STRENGTH = 0.2  # of a difference in covariates beside the logarithm of the distance
_NEAR_KM = 10.0
_CHUNK = 256
_USUAL, _SPREAD = 4.0, 1.5  # of the logarithm of the distance, so that it is about 0 ± 1
_FARTHEST = 4.0  # what it is at the other side of the Earth


@dataclass(frozen=True, eq=False)
class Neighbors:
    r"""The training surveys that resemble each target most.

    Attributes:
        source: :math:`(N, k)` their places in the training table; −1 where there is none.
        attributes: :math:`(N, k, F)` logarithm of the distance, and how both ends differ.
    """

    source: np.ndarray
    attributes: np.ndarray

    @classmethod
    def find(
        cls,
        train: SurveyTable,
        target: SurveyTable,
        covariates: Covariates,
        num: int,
        own_block: np.ndarray | None = None,
    ) -> "Neighbors":
        """The ``num`` nearest by distance and covariates together; all pairs, chunk by chunk.

        Args:
            train: the surveys that are looked at.
            target: the surveys that look.
            covariates: how surveys are compared.
            num: neighbours of each.
            own_block: block of every training survey, if those are the targets; nobody of the own
                block is a neighbour then.
        """
        values, codes = covariates.encode(train)
        here, here_codes = covariates.encode(target)
        vectors, places = unit_vectors(train.lat, train.lon), unit_vectors(target.lat, target.lon)
        num = min(num, len(train))
        found, told = [], []
        for start in range(0, len(target), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(target)))
            shape = (len(rows), len(train))
            chord = np.maximum(2 - 2 * places[rows] @ vectors.T, 0)
            km = km_of_chord(chord, EARTH_RADIUS_KM).astype(np.float32)
            row, column = (index.ravel() for index in np.indices(shape))
            ends = (values[column], codes[column], here[rows[row]], here_codes[rows[row]])
            apart = covariates.compare(*ends)
            cost = np.log1p(km / _NEAR_KM) + _STRENGTH * apart.sum(axis=0).reshape(shape)
            if own_block is not None:
                cost[own_block[rows][:, None] == own_block] = np.inf
            near = np.argpartition(cost, num - 1, axis=1)[:, :num]
            order = np.argsort(np.take_along_axis(cost, near, axis=1), axis=1, kind="stable")
            near = np.take_along_axis(near, order, axis=1)
            known = np.isfinite(np.take_along_axis(cost, near, axis=1))
            far = (np.log1p(np.take_along_axis(km, near, axis=1)) - _USUAL) / _SPREAD
            pair = near + np.arange(len(rows))[:, None] * len(train)
            told.append(np.moveaxis(np.concatenate([far[None], apart[:, pair]]), 0, -1))
            found.append(np.where(known, near, -1))
        return cls(np.concatenate(found), np.concatenate(told).astype(np.float32))

    def edges(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        r"""Edges to some targets, numbered from 0: index :math:`(2, E)`, attributes."""
        target, place = np.nonzero(self.source[rows] >= 0)
        index = np.stack([self.source[rows[target], place], target])
        return torch.from_numpy(index), torch.from_numpy(self.attributes[rows[target], place])


class LabelAttention(nn.Module):
    r"""Attention over neighbours' species lists, with a prior as one neighbour more.

    .. math:: p_{is} = \sum_h g_{hs} \Big(\sum_j \alpha_{hij} y_{js} + \alpha_{hi0}\, q_{is}\Big),
        \qquad \alpha_{hi} = \mathrm{softmax}_j\, f_h(\mathbf e_{ij})

    where f is a perceptron of the distance and the differences e of an edge, q is the prior, whose
    logit depends on how far the nearest neighbour is, and every species has its own shares g of the
    heads. A slope and a bias per species then act on the logit of p.

    Args:
        num_species: S.
        num_attributes: of an edge.
        heads: sets of weights.
        hidden: width of the perceptron.
    """

    def __init__(
        self, num_species: int, num_attributes: int, heads: int = 4, hidden: int = 32
    ) -> None:
        super().__init__()
        self.heads = heads
        self.weigh = nn.Sequential(
            nn.Linear(num_attributes, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, heads),
        )  # fmt: skip
        self.stay = nn.Linear(1, heads)
        self.share = nn.Parameter(torch.zeros(num_species, heads))
        self.slope = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(num_species))

    def forward(self, y: Tensor, edge_index: Tensor, attributes: Tensor, prior: Tensor) -> Tensor:
        r"""Logits of the targets.

        Shapes:
            - **y:** :math:`(S, N_{src})` sparse CSR labels, transposed
            - **edge_index:** :math:`(2, E)`; **attributes:** :math:`(E, F)`, distance first
            - **prior:** :math:`(N_{dst}, S)`
            - **output:** :math:`(N_{dst}, S)`
        """
        source, target = edge_index
        num_src, num_dst = y.size(1), len(prior)
        nearest = attributes.new_full((num_dst,), _FARTHEST)
        nearest = nearest.scatter_reduce(0, target, attributes[:, 0], "amin")
        logits = torch.cat([self.weigh(attributes), self.stay(nearest[:, None])])
        everyone = torch.cat([target, torch.arange(num_dst)])
        weight = softmax(logits, everyone, num_nodes=num_dst)
        near = weight.new_zeros(num_src * num_dst, self.heads)
        near = near.index_add(0, source * num_dst + target, weight[: len(source)])
        votes = torch.sparse.mm(y, near.view(num_src, -1)).view(-1, num_dst, self.heads)
        seen = votes + prior.T[:, :, None] * weight[len(source) :]
        p = torch.einsum("snh,sh->ns", seen, self.share.softmax(dim=1))
        return self.slope * p.clamp(LEAST, 1 - LEAST).logit() + self.bias


class MaskedLabels(nn.Module):
    r"""Two layers of attention over vectors of places and of species lists; some lists are hidden.

    Hidden lists belong to the surveys that are predicted, and to their whole blocks. The output is
    added to the logits of a prior, and is zero to begin with.

    Args:
        num_species: S.
        num_features: of a survey.
        num_attributes: of an edge.
        width: of the hidden vectors.
        heads: of each layer.
        rank: of the output's matrix, and length of the vectors of species lists.
        drop: share of hidden numbers that training sets to zero.

    Source: Shi et al. 2021, "Masked label prediction" (UniMP), IJCAI.
    """

    def __init__(
        self, num_species: int, num_features: int, num_attributes: int, width: int = 64,
        heads: int = 4, rank: int = 32, drop: float = 0.3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.species = nn.Parameter(torch.randn(num_species, rank) / rank**0.5)
        self.place, self.list = nn.Linear(num_features, width), nn.Linear(rank, width)
        self.first, self.second = (
            TransformerConv(
                width, width // heads, heads, beta=True, dropout=drop, edge_dim=num_attributes
            )
            for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.drop = nn.Dropout(drop)
        self.narrow, self.wide = nn.Linear(width, rank), nn.Linear(rank, num_species)
        nn.init.zeros_(self.wide.weight)
        nn.init.zeros_(self.wide.bias)

    def forward(
        self, features: Tensor, y: Tensor, known: Tensor, edge_index: Tensor, attributes: Tensor,
        asked: Tensor, prior: Tensor,
    ) -> Tensor:  # fmt: skip
        r"""Logits of the nodes that are asked for.

        Shapes:
            - **features:** :math:`(N, F)`; **y:** :math:`(N, S)` sparse CSR, read where known
            - **known, asked:** :math:`(N,)` bool
            - **prior:** :math:`(N_{asked}, S)`
            - **output:** :math:`(N_{asked}, S)`
        """
        seen = known[edge_index[0]]
        edge_index, attributes = edge_index[:, seen], attributes[seen]
        length = torch.sparse.mm(y, torch.ones(y.size(1), 1)).clamp(min=1)
        lists = self.list(torch.sparse.mm(y, self.species) / length.sqrt())
        x = self.drop((self.place(features) + lists * known[:, None]).relu())
        x = self.drop(self.norms[0](x + self.first(x, edge_index, attributes).relu()))
        last = asked[edge_index[1]]
        found = self.second(x, edge_index[:, last], attributes[last])[asked]
        x = self.drop(self.norms[1](x[asked] + found.relu()))
        return prior.clamp(LEAST, 1 - LEAST).logit() + self.wide(self.narrow(x))
