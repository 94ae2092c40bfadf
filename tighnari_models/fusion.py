"""Several modalities → one vector per survey: hierarchical cross-attention, or concatenation."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class CrossAttention(nn.Module):
    r"""Queries of one modality look up another's keys and values, within each survey.

    .. math:: A = \mathrm{Softmax}\left(\frac{(X W_Q)(Y W_K)^\top}{\sqrt{d_k}}\right) Y W_V

    A survey's queries meet that survey's keys only; nothing flows between surveys of a batch. The
    key projection has no bias: one would add the same number to all scores of a query, which the
    softmax takes away again. With several heads, each has ``dim / num_heads`` columns, and their
    outputs stand side by side; there is no output projection, because a linear layer follows.

    Args:
        query_dim: width of the queries' modality X.
        context_dim: width of the other modality Y.
        dim: width of the output, over all heads.
        num_heads: heads; they must divide ``dim``.

    Shapes:
        - **query:** :math:`(B, q, query\_dim)`
        - **context:** :math:`(B, k, context\_dim)`
        - **output:** :math:`(B, q, dim)`

    Raises:
        ValueError: if the heads do not divide the width.

    Source: Liu et al. 2024, section 3.5, equations 6 (one head) and 7 (several).

    Example:
        >>> attention = CrossAttention(query_dim=5, context_dim=7, dim=6, num_heads=3)
        >>> attention(torch.zeros(2, 1, 5), torch.zeros(2, 4, 7)).shape
        torch.Size([2, 1, 6])
    """

    def __init__(self, query_dim: int, context_dim: int, dim: int, num_heads: int = 1) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"{num_heads} attention heads do not divide a width of {dim}")
        self.num_heads = num_heads
        self.q = nn.Linear(query_dim, dim)
        self.k = nn.Linear(context_dim, dim, bias=False)
        self.v = nn.Linear(context_dim, dim)

    def forward(
        self, query: Float[Tensor, "b q dq"], context: Float[Tensor, "b k dc"]
    ) -> Float[Tensor, "b q d"]:
        """Look up; see the class."""
        q, k, v = (
            x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for x in (self.q(query), self.k(context), self.v(context))
        )
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class HCAM(nn.Module):
    r"""Hierarchical cross-attention: time and table ask the image, and all three the graph.

    .. math:: A_1 = \mathrm{CA}(T, S), \quad A_2 = \mathrm{CA}(F', S), \quad C = [T, F', S]

    .. math:: O_{CA} = [A_1, A_2] + \mathrm{Linear}(C)

    .. math:: O_{MHCA} = \mathrm{MHCA}(C, G')

    .. math:: \text{output} = [O_{MHCA}, O_{CA}]

    With ``tokens``, S are the tokens of the image's feature map, T those of all cubes, each a query
    of its own, and G′ is cut into several tokens. A₁ is the mean over T's queries. Where a
    modality is needed as one vector, in C, it is the mean of its tokens (T: of each cube's, side
    by side). A second graph's G′ may stand beside the first: its tokens are more keys. Without
    ``tokens``, every modality is one vector, and a softmax over a single key is always 1: queries
    and keys then have no effect and get no gradient, and the whole is linear.

    Args:
        time_dims: width of each cube's features; with ``tokens`` they must be equal.
        table_dim: width of F′.
        image_dim: width of S.
        dim: width of each attention.
        num_heads: heads of the second attention; the first has one, as in the paper.
        num_graph_tokens: tokens of G′.
        tokens: see above.

    Attributes:
        graph_dim: width in which G′ of one graph is expected.
        num_features: width of the output, 3 · dim.

    Shapes:
        - **time:** for each cube :math:`(B, n, d_T)`
        - **table:** :math:`(B, d_F)`
        - **image:** :math:`(B, n, d_S)`
        - **graph:** :math:`(B, graph\_dim)`, or a multiple of it
        - **output:** :math:`(B, 3 \cdot dim)`

    Raises:
        ValueError: if widths or heads do not fit.

    Source: Liu et al. 2024, section 3.5, equations 6–8; `docs/decisions/0017-hcam-tokens.md`.

    Example:
        >>> hcam = HCAM((5, 5), table_dim=7, image_dim=11, dim=6, num_heads=3, num_graph_tokens=2)
        >>> cubes = (torch.zeros(2, 4, 5), torch.zeros(2, 3, 5))
        >>> hcam(cubes, torch.zeros(2, 7), torch.zeros(2, 9, 11), torch.zeros(2, 12)).shape
        torch.Size([2, 18])
    """

    def __init__(
        self,
        time_dims: tuple[int, ...],
        table_dim: int,
        image_dim: int,
        dim: int = 256,
        num_heads: int = 8,
        num_graph_tokens: int = 8,
        tokens: bool = True,
    ) -> None:
        super().__init__()
        if not time_dims or (tokens and len(set(time_dims)) > 1):
            raise ValueError(
                "HCAM needs a cube, and with tokens all cubes' features equally wide, got widths "
                f"{time_dims}"
            )
        self.tokens = tokens
        self.num_cubes = len(time_dims)
        self.num_graph_tokens = num_graph_tokens if tokens else 1
        self.num_features = 3 * dim
        together = sum(time_dims) + table_dim + image_dim
        self.key_dim = dim if tokens else together  # literally "the same dimension" as C
        self.graph_dim = self.num_graph_tokens * self.key_dim
        self.time = CrossAttention(time_dims[0] if tokens else sum(time_dims), image_dim, dim)
        self.table = CrossAttention(table_dim, image_dim, dim)
        self.residual = nn.Linear(together, 2 * dim)
        self.graph = CrossAttention(together, self.key_dim, dim, num_heads)

    def forward(
        self,
        time: Sequence[Float[Tensor, "b _ _"]],
        table: Float[Tensor, "b df"],
        image: Float[Tensor, "b n ds"],
        graph: Float[Tensor, "b dg"],
    ) -> Float[Tensor, "b d"]:
        """Fuse; see the class."""
        if len(time) != self.num_cubes:
            raise ValueError(f"HCAM was made for {self.num_cubes} cubes, got {len(time)}")
        pooled = [cube.mean(1) for cube in time]
        together = torch.cat([*pooled, table, image.mean(1)], dim=-1)
        if self.tokens:
            asking, asked = torch.cat(list(time), dim=1), image
        else:
            asking, asked = torch.cat(pooled, dim=-1).unsqueeze(1), image.mean(1, keepdim=True)
        a1 = self.time(asking, asked).mean(1)
        a2 = self.table(table.unsqueeze(1), asked).squeeze(1)
        trimodal = torch.cat([a1, a2], dim=-1) + self.residual(together)
        keys = graph.unflatten(-1, (-1, self.key_dim))
        return torch.cat([self.graph(together.unsqueeze(1), keys).squeeze(1), trimodal], dim=-1)


class Concat(nn.Module):
    """Features of any modalities side by side, then one layer: the baseline of the ablation.

    A layer norm brings the modalities to one scale, and a GELU lets them interact; what follows in
    the model is as wide as after `HCAM`.

    Args:
        dims: width of each modality's vector.
        dim: width of the output, ``num_features``.

    Shapes:
        - **features:** one :math:`(B, d)` per modality
        - **output:** :math:`(B, dim)`

    Raises:
        ValueError: if there is no modality.

    Source: Liu et al. 2024, section 3.5 ("concatenation … similar to the baseline"), table 3.

    Example:
        >>> Concat((5, 7), dim=3)([torch.zeros(2, 5), torch.zeros(2, 7)]).shape
        torch.Size([2, 3])
    """

    def __init__(self, dims: tuple[int, ...], dim: int = 768) -> None:
        super().__init__()
        if not dims:
            raise ValueError("Concat needs at least one modality")
        self.num_features = dim
        self.norm = nn.LayerNorm(sum(dims))
        self.linear = nn.Linear(sum(dims), dim)
        self.act = nn.GELU()

    def forward(self, features: Sequence[Float[Tensor, "b _"]]) -> Float[Tensor, "b d"]:
        """Fuse; see the class."""
        return self.act(self.linear(self.norm(torch.cat(list(features), dim=-1))))
