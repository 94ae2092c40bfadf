"""Graph feature vectors → features, without ever making their 11,255 columns dense."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

_FLOOR = 1e-4  # a probability under which differences hardly matter


class SparseLinear(nn.Module):
    r"""A linear layer that takes sparse rows and touches only the weights that they need.

    .. math:: \mathbf o_i = \mathbf b + \sum_{s:\, g_{is} \ne 0} g_{is}\, \mathbf W_s

    It equals `torch.nn.Linear` on the dense rows, in values and in gradients. A graph feature
    vector has about 134 entries of 11,255, so a survey gathers 134 rows of the weight. That weight
    is kept as ``[in_features, out_features]``, the transpose of `torch.nn.Linear`'s, because the
    rows gathered are then contiguous. An entry that is stored twice counts twice, an empty row
    gives the bias. Sparse rows are summed in the precision of the weight, under autocast too.

    Args:
        in_features: columns of the input, the species.
        out_features: columns of the output.

    Shapes:
        - **x:** :math:`(B, in)` sparse CSR, or dense
        - **output:** :math:`(B, out)` dense

    Raises:
        ValueError: if the columns or the layout of the input do not fit.

    Source: Liu et al. 2024, section 3.5, eq. 7 (:math:`G' = \mathrm{Linear}(G)`).

    Example:
        >>> layer = SparseLinear(3, 2)
        >>> _ = layer.load_linear(nn.Linear(3, 2))
        >>> rows = torch.tensor([[0.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
        >>> torch.allclose(layer(rows.to_sparse_csr()), layer(rows))
        True
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        if in_features < 1 or out_features < 1:
            raise ValueError(
                f"SparseLinear needs at least one column in and out, got {in_features} and "
                f"{out_features}"
            )
        self.in_features = in_features
        self.out_features = out_features
        self.weight = nn.Parameter(torch.empty(in_features, out_features))
        self.bias = nn.Parameter(torch.empty(out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights and bias as `torch.nn.Linear` does: uniform within ± 1 / √in_features."""
        bound = 1 / math.sqrt(self.in_features)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def load_linear(self, linear: nn.Linear) -> "SparseLinear":
        """Take over the weights of a dense layer, transposed.

        Raises:
            ValueError: if its shape differs, or it has no bias.

        Example:
            >>> dense = nn.Linear(5, 3)
            >>> torch.equal(SparseLinear(5, 3).load_linear(dense).weight, dense.weight.T)
            True
        """
        if linear.weight.T.shape != self.weight.shape or linear.bias is None:
            raise ValueError(
                f"SparseLinear({self.in_features}, {self.out_features}) cannot take over {linear}"
            )
        with torch.no_grad():
            self.weight.copy_(linear.weight.T)
            self.bias.copy_(linear.bias)
        return self

    def forward(self, x: Float[Tensor, "b s"]) -> Float[Tensor, "b d"]:
        """Multiply; see the class."""
        if x.size(1) != self.in_features:
            raise ValueError(f"graph rows have {x.size(1)} columns, expected {self.in_features}")
        if x.layout == torch.strided:
            return F.linear(x.to(self.weight.dtype), self.weight.T, self.bias)
        if x.layout != torch.sparse_csr:
            raise ValueError(f"graph rows must be sparse CSR or dense, got {x.layout}")
        summed = F.embedding_bag(
            x.col_indices(),
            self.weight,
            x.crow_indices(),
            mode="sum",
            per_sample_weights=x.values().to(self.weight.dtype),
            include_last_offset=True,
        )
        return summed + self.bias

    def extra_repr(self) -> str:
        """Both widths, for `print`."""
        return f"in_features={self.in_features}, out_features={self.out_features}"


class GraphEncoder(nn.Module):
    """Two fully connected layers on the graph feature vector, the first one sparse.

    Their output is G′. Several learned tokens of G′, which HCAM wants as keys, are made there from
    this one vector. A layer norm after the first layer makes up for how much the sizes of graph
    feature vectors differ; a survey without neighbours gets a learned constant.

    Args:
        num_species: columns of the graph feature vectors.
        hidden: width between the layers.
        out: width of the output, ``num_features``.
        drop_rate: dropout between the layers.

    Shapes:
        - **x:** :math:`(B, S)` sparse CSR, or dense
        - **output:** :math:`(B, out)`; ``forward_features``: one token, :math:`(B, 1, out)`

    Raises:
        ValueError: if the columns or the layout of the input do not fit.

    Source: Liu et al. 2024, section 3.5 ("processed by fully connected layers"), eq. 7.

    Example:
        >>> encoder = GraphEncoder(num_species=11, hidden=7, out=5)
        >>> encoder(torch.zeros(3, 11).to_sparse_csr()).shape
        torch.Size([3, 5])
    """

    def __init__(
        self, num_species: int, hidden: int = 512, out: int = 256, drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.num_features = out
        self.linear = SparseLinear(num_species, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.act = nn.GELU()
        self.drop = nn.Dropout(drop_rate)
        self.proj = nn.Linear(hidden, out)

    def forward(self, x: Float[Tensor, "b s"]) -> Float[Tensor, "b d"]:
        """One vector per survey."""
        return self.proj(self.drop(self.act(self.norm(self.linear(x)))))

    def forward_features(self, x: Float[Tensor, "b s"]) -> Float[Tensor, "b 1 d"]:
        """The same vector as a single token."""
        return self.forward(x).unsqueeze(1)


class ScaleEncoder(GraphEncoder):
    r"""`GraphEncoder` on multi-scale probabilities, brought to the scale of logits.

    A probability enters as :math:`\log(1 + p / 10^{-4})`, so that rare species are told apart and
    a species that is not among the best of its survey is 0.

    Example:
        >>> encoder = ScaleEncoder(num_species=11, hidden=7, out=5)
        >>> encoder(torch.rand(3, 11).to_sparse_csr()).shape
        torch.Size([3, 5])
    """

    def forward(self, x: Float[Tensor, "b s"]) -> Float[Tensor, "b d"]:
        """One vector per survey."""
        if x.layout != torch.sparse_csr:
            return super().forward(_compressed(x))
        values = _compressed(x.values())
        return super().forward(
            torch.sparse_csr_tensor(x.crow_indices(), x.col_indices(), values, size=x.shape)
        )


def _compressed(probabilities: Tensor) -> Tensor:
    return torch.log1p(probabilities / _FLOOR)


def keep_rows(rows: Tensor, kept: Tensor) -> Tensor:
    r"""Graph rows with zeros in place of those that are not kept; the others as they are.

    Shapes:
        - **rows:** :math:`(B, S)` sparse CSR or dense
        - **kept:** :math:`(B,)` bool
        - **output:** as ``rows``

    Example:
        >>> keep_rows(torch.ones(2, 3).to_sparse_csr(), torch.tensor([True, False])).to_dense()
        tensor([[1., 1., 1.],
                [0., 0., 0.]])
    """
    if rows.layout == torch.strided:
        return rows * kept.unsqueeze(1)
    crow, values = rows.crow_indices(), rows.values()
    values = values * kept.repeat_interleave(crow[1:] - crow[:-1])
    return torch.sparse_csr_tensor(crow, rows.col_indices(), values, size=rows.shape)
