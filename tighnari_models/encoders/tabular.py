"""The table of a survey (position, area, environment) → features."""

from jaxtyping import Float
from torch import Tensor, nn


class TabularEncoder(nn.Module):
    """Two fully connected layers with a layer norm between them; the output is F′.

    A layer norm, not a batch norm: a survey's feature never depends on the others of its batch.
    Columns must be standardised before (`TablePreprocessor` does it).

    Args:
        num_features_in: columns of the table; None takes them from the first batch seen.
        hidden: width between the layers.
        out: width of the output, ``num_features``.
        drop_rate: dropout between the layers.

    Shapes:
        - **x:** :math:`(B, F)`
        - **output:** :math:`(B, out)`; ``forward_features``: one token, :math:`(B, 1, out)`

    Raises:
        ValueError: if a table has another number of columns than the first one.

    Source: Liu et al. 2024, section 3.5 ("F′ … after being processed by fully connected layers").

    Example:
        >>> import torch
        >>> encoder = TabularEncoder(None, hidden=7, out=5)
        >>> encoder(torch.zeros(2, 13)).shape
        torch.Size([2, 5])
        >>> encoder.num_features_in
        13
    """

    def __init__(
        self,
        num_features_in: int | None = None,
        hidden: int = 512,
        out: int = 256,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_features = out
        self.linear = (
            nn.LazyLinear(hidden) if num_features_in is None else nn.Linear(num_features_in, hidden)
        )
        self.norm = nn.LayerNorm(hidden)
        self.act = nn.GELU()
        self.drop = nn.Dropout(drop_rate)
        self.proj = nn.Linear(hidden, out)

    @property
    def num_features_in(self) -> int | None:
        """Columns of the table; None as long as no batch has been seen."""
        return self.linear.in_features or None

    def forward(self, x: Float[Tensor, "b f"]) -> Float[Tensor, "b d"]:
        """One vector per survey."""
        if self.num_features_in is not None and x.size(1) != self.num_features_in:
            raise ValueError(f"table has {x.size(1)} columns, expected {self.num_features_in}")
        return self.proj(self.drop(self.act(self.norm(self.linear(x)))))

    def forward_features(self, x: Float[Tensor, "b f"]) -> Float[Tensor, "b 1 d"]:
        """The same vector as a single token."""
        return self.forward(x).unsqueeze(1)
