r"""Temporal-Swin: two Swin stages on a cube, with positions counted along the flattened window."""

import math

import torch
from jaxtyping import Float
from timm.layers import PatchEmbed, trunc_normal_
from timm.models.swin_transformer import (
    PatchMerging,
    SwinTransformerBlock,
    WindowAttention,
    window_partition,
)
from torch import Tensor, nn
from torch.nn import functional as F


class SequenceWindowAttention(WindowAttention):
    r"""Attention inside a window whose position bias is one-dimensional.

    .. math:: \mathrm{Attention}(Q, K, V) =
        \mathrm{SoftMax}\!\left(\frac{Q K^\top}{\sqrt d} + B\right) V,
        \qquad B_{ij} = b_{i - j + n - 1}

    The window's :math:`n` tokens are numbered row by row, and :math:`B` depends on the difference
    of their numbers alone: :math:`2n - 1` learned biases a head, where timm has one for every
    pair of row and column difference.

    Shapes:
        - **x:** :math:`(B \cdot windows, n, C)`
        - **mask:** :math:`(windows, n, n)` of 0 and −∞, or None
        - **output:** as ``x``

    Source: Liu et al. 2024, section 3.3, eq. 3 ("a one-dimensional vector to represent the
    position of each patch in a flattened sequence").

    Example:
        >>> attention = SequenceWindowAttention(8, num_heads=2, window_size=(2, 3))
        >>> attention.relative_position_bias_table.shape
        torch.Size([11, 2])
    """

    relative_position_index: Tensor

    def __init__(self, dim: int, num_heads: int, window_size: tuple[int, int]) -> None:
        super().__init__(dim, num_heads=num_heads, window_size=window_size)
        table = torch.empty(2 * self.window_area - 1, num_heads)
        self.relative_position_bias_table = nn.Parameter(trunc_normal_(table, std=0.02))

    def _init_buffers(self) -> None:
        """Offsets i − j, shifted to start at 0; timm calls this where it would fill its own."""
        number = torch.arange(self.window_area, device=self.relative_position_index.device)
        self.relative_position_index.copy_(number[:, None] - number + self.window_area - 1)


class TemporalSwinBlock(SwinTransformerBlock):
    r"""timm's Swin block with `SequenceWindowAttention`, and a mask that knows the padding.

    Where windows do not divide the grid, timm pads the grid with zeros which real tokens then
    attend to. Here tokens attend to tokens of the same kind only: rolled around the edge by the
    shift, or not, or padding. So padding changes nothing.

    Shapes:
        - **x:** :math:`(B, H, W, C)`, output the same

    Source: Liu et al. 2024, section 3.3; windows and shifts as in timm.

    Example:
        >>> block = TemporalSwinBlock(8, (2, 4), num_heads=2, window_size=(2, 3), shifted=False)
        >>> (block.attn_mask[1, 0] == 0).tolist()  # of the second window only one column is real
        [True, False, False, True, False, False]
    """

    def __init__(
        self,
        dim: int,
        input_resolution: tuple[int, int],
        num_heads: int,
        window_size: tuple[int, int],
        shifted: bool,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(
            dim,
            input_resolution,
            num_heads=num_heads,
            window_size=window_size,
            shift_size=tuple(w // 2 for w in window_size) if shifted else 0,  # type: ignore[arg-type]
            drop_path=drop_path,
        )
        self.attn = SequenceWindowAttention(dim, num_heads, self.window_size)

    def get_attn_mask(
        self,
        x: Tensor | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor | None:
        """0 between tokens of the same kind, −∞ between others; None where all are of one kind."""
        rows, columns = self.input_resolution  # type: ignore[misc]  # always a pair here
        row = _kinds(rows, self.window_size[0], self.shift_size[0])
        column = _kinds(columns, self.window_size[1], self.shift_size[1])
        kind = 3 * row[:, None] + column
        if not kind.any():
            return None
        window = window_partition(kind[None, :, :, None], self.window_size).flatten(1)
        mask = window.new_zeros(len(window), self.window_area, self.window_area, dtype=dtype)
        return mask.masked_fill(window[:, None, :] != window[:, :, None], -torch.inf).to(device)


def _kinds(length: int, window: int, shift: int) -> Tensor:
    """Along one axis after shift and padding: 0 in place, 1 rolled around the edge, 2 padding."""
    index = torch.arange(math.ceil(length / window) * window, device="cpu")
    return (index >= length - shift).long() + (index >= length).long()


class TemporalSwin(nn.Module):
    r"""Temporal-Swin: patches of a cube through two stages of shifted windows.

    Stage 1 sees the grid of patches, 2 × 2 patches are merged into one of twice the width, stage 2
    sees what is left. With the paper's sizes the grid of the bioclimatic cube is 6 × 4, then 3 × 2,
    that of the Landsat cube 2 × 4, then 1 × 2. Windows larger than the grid shrink to it. A cube
    that its patches do not divide is padded with zeros, the training mean, at the end.

    Args:
        in_shape: channels, rows (months or seasons) and columns (years) of the cube, as it comes.
        patch_size: rows and columns of a patch.
        window_size: rows and columns of a window, in patches.
        embed_dim: width of stage 1; stage 2 has twice as much.
        depths: blocks of the two stages.
        num_heads: attention heads of the two stages; they must divide the widths.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0.
        pad_window: where the window does not divide the grid, pad the grid and mask the padding.
            False takes the largest window, not larger than asked, that divides it: (2, 2) for
            (2, 3) on the 2 × 4 grid.

    Shapes:
        - **x:** :math:`(B, C, H, W)`
        - **output:** :math:`(B, 2 \cdot embed)`; ``forward_features``:
          :math:`(B, n, 2 \cdot embed)`, n = rows × columns of ``grid_sizes[-1]``, row by row

    Raises:
        ValueError: if sizes do not fit.

    Source: Liu et al. 2024, section 3.3, eq. 3–4; `docs/decisions/0016-temporal-swin-windows.md`.

    Example:
        >>> swin = TemporalSwin((4, 18, 12), (3, 3), (3, 2), embed_dim=24)
        >>> swin.grid_sizes
        ((6, 4), (3, 2))
        >>> swin.forward_features(torch.zeros(5, 4, 18, 12)).shape
        torch.Size([5, 6, 48])
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        patch_size: tuple[int, int],
        window_size: tuple[int, int],
        embed_dim: int = 96,
        depths: tuple[int, int] = (2, 6),
        num_heads: tuple[int, int] = (12, 24),
        drop_path_rate: float = 0.1,
        pad_window: bool = True,
    ) -> None:
        super().__init__()
        for width, heads in zip((embed_dim, 2 * embed_dim), num_heads, strict=True):
            if width % heads:
                raise ValueError(f"{heads} attention heads do not divide a width of {width}")
        self.in_shape = in_shape
        self.patch_size = patch_size
        self.num_features = 2 * embed_dim
        rows, columns = (math.ceil(s / p) for s, p in zip(in_shape[1:], patch_size, strict=True))
        self.grid_sizes = ((rows, columns), (math.ceil(rows / 2), math.ceil(columns / 2)))
        self.patch_embed = PatchEmbed(
            img_size=(rows * patch_size[0], columns * patch_size[1]),
            patch_size=patch_size,  # type: ignore[arg-type]  # timm takes pairs too
            in_chans=in_shape[0],
            embed_dim=embed_dim,
            norm_layer=nn.LayerNorm,
            output_fmt="NHWC",
        )
        self.merge = PatchMerging(embed_dim)
        rates = torch.linspace(0, drop_path_rate, sum(depths), device="cpu").split(list(depths))
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    TemporalSwinBlock(
                        embed_dim * 2**stage,
                        grid,
                        num_heads[stage],
                        window_size if pad_window else _dividing_window(grid, window_size),
                        shifted=block % 2 == 1,
                        drop_path=float(rates[stage][block]),
                    )
                    for block in range(depths[stage])
                )
            )
            for stage, grid in enumerate(self.grid_sizes)
        )
        self.norm = nn.LayerNorm(self.num_features)
        self.apply(_init_linear)

    def forward_features(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """Tokens of the last grid, row by row."""
        x = self.patch_embed(pad_to_patches(x, self.in_shape, self.patch_size))
        x = self.stages[1](self.merge(self.stages[0](x)))
        return self.norm(x).flatten(1, 2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Mean of the tokens."""
        return self.forward_features(x).mean(1)


def pad_to_patches(
    x: Float[Tensor, "b c h w"], in_shape: tuple[int, int, int], patch_size: tuple[int, int]
) -> Float[Tensor, "b c h2 w2"]:
    """Zeros after the last row and column, up to whole patches; other shapes are refused.

    Raises:
        ValueError: if a cube does not have the shape ``in_shape``.

    Example:
        >>> pad_to_patches(torch.ones(1, 4, 17, 12), (4, 17, 12), (3, 3)).shape
        torch.Size([1, 4, 18, 12])
    """
    if tuple(x.shape[1:]) != in_shape:
        raise ValueError(f"cubes have the shape {tuple(x.shape[1:])}, expected {in_shape}")
    rows, columns = (-s % p for s, p in zip(in_shape[1:], patch_size, strict=True))
    return F.pad(x, (0, columns, 0, rows)) if rows or columns else x


def _dividing_window(grid: tuple[int, int], window: tuple[int, int]) -> tuple[int, int]:
    rows, columns = (
        max(d for d in range(1, w + 1) if g % d == 0) for g, w in zip(grid, window, strict=True)
    )
    return rows, columns


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
