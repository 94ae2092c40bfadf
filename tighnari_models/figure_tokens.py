"""Figure of what the encoders of a model cut cubes and images into: patches, tokens, windows."""

import math
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from tighnari_graph.figure_style import COLUMN, column_figure, small_text
from tighnari_models.config import TighnariConfig
from tighnari_models.encoders.image import ImageEncoder
from tighnari_models.encoders.make import make_encoder
from tighnari_models.encoders.temporal import TemporalViT, TimmTemporal
from tighnari_models.encoders.temporal_swin import TemporalSwin

Encoder: TypeAlias = TemporalSwin | TemporalViT | TimmTemporal | ImageEncoder
"""What makes tokens of a cube or an image."""

_GRIDS = ("landsat", "bioclim", "image")
_AXES = {
    "landsat": ("quarter", "year"), "bioclim": ("year", "month"), "image": ("pixel", "pixel"),
}  # fmt: skip
_TINTS = ListedColormap(["#cfe3f1", "#fbe3c0"])  # of blue and orange, in turn
_FINEST = 1000  # cells up to which each has an outline


@dataclass(frozen=True)
class TokenGrid:
    """Cells of a cube, an image or a feature map, and the blocks that belong together.

    Attributes:
        title: what it is.
        cells: rows and columns.
        block: rows and columns of a patch or a window; the last ones may be cut off.
    """

    title: str
    cells: tuple[int, int]
    block: tuple[int, int]


def token_grids(name: str, config: TighnariConfig) -> list[TokenGrid]:
    """The grids through which a modality goes: as it comes, then the tokens of each stage.

    Args:
        name: "landsat", "bioclim" or "image".
        config: of the model.

    Example:
        >>> for grid in token_grids("bioclim", TighnariConfig(7)):
        ...     print(repr(grid.title), grid.cells, grid.block)
        '4 × 18 × 12' (18, 12) (3, 3)
        'stage 1\\n24 tokens' (6, 4) (3, 2)
        'stage 2\\n6 tokens' (3, 2) (3, 2)
    """
    encoder = encoder_shapes(name, config)
    if isinstance(encoder, TemporalSwin):
        shape = " × ".join(map(str, encoder.in_shape))
        grids = [TokenGrid(shape, encoder.in_shape[1:], encoder.patch_size)]
        for number, (cells, stage) in enumerate(
            zip(encoder.grid_sizes, encoder.stages, strict=True), 1
        ):
            window = tuple(map(int, stage[0].window_size))  # type: ignore[index]
            title = f"stage {number}\n{cells[0] * cells[1]} tokens"
            grids.append(TokenGrid(title, cells, (window[0], window[1])))
        return grids
    if isinstance(encoder, TemporalViT):
        shape, size = " × ".join(map(str, encoder.in_shape)), encoder.in_shape[1:]
        patch, cells = encoder.patch_size, encoder.grid_sizes[0]
    elif isinstance(encoder, TimmTemporal):
        size, cells = encoder.input_size, grid_of(encoder)
        shape = " × ".join(map(str, (encoder.in_shape[0], *size)))
        patch = (-(-size[0] // cells[0]), -(-size[1] // cells[1]))
    else:
        side, cells = config.image_size, grid_of(encoder)
        shape, size = f"{config.in_chans} × {side} × {side}", (side, side)
        patch = (-(-side // cells[0]), -(-side // cells[1]))
    return [
        TokenGrid(shape, size, patch),
        TokenGrid(f"{cells[0] * cells[1]} tokens", cells, cells),
    ]


def encoder_shapes(name: str, config: TighnariConfig) -> Encoder:
    """The encoder of a cube or the image without any weights, to ask for its sizes."""
    with torch.device("meta"):
        return cast(Encoder, make_encoder(name, replace(config, pretrained=False, weights=None)))


def grid_of(encoder: Encoder) -> tuple[int, int]:
    """Rows and columns of the last tokens; a square or a line where the encoder gives a list.

    Example:
        >>> grid_of(encoder_shapes("landsat", TighnariConfig(7)))
        (1, 2)
    """
    if isinstance(encoder, TemporalSwin | TemporalViT):
        rows, columns = encoder.grid_sizes[-1]
        return rows, columns
    if encoder.grid_size is not None:
        return encoder.grid_size
    side = math.isqrt(encoder.num_tokens)
    return (side, side) if side**2 == encoder.num_tokens else (1, encoder.num_tokens)


def plot_token_grids(config: TighnariConfig) -> Figure:
    """What the encoders of a model make of cubes and image: a row each, read from left to right.

    On the left the modality as it comes; a tint is a patch that becomes a token (of a network of
    convolutions: about what a token stands for). Then the tokens; tokens of one tint attend to each
    other, in every second layer with windows moved by half. Nothing is trained or loaded.

    Raises:
        ValueError: if the model has neither a cube nor an image.

    Source: Liu et al. 2024, section 3.3, figure 8.

    Example:
        >>> config = TighnariConfig(7, modalities=("landsat",), fusion="concat")
        >>> [ax.get_title() for ax in plot_token_grids(config).axes]
        ['6 × 4 × 20', 'stage 1\\n8 tokens', 'stage 2\\n2 tokens']
    """
    names = [name for name in _GRIDS if name in config.modalities]
    if not names:
        raise ValueError(
            f"no grids to draw: modalities are {', '.join(config.modalities)}, expected any of "
            f"{', '.join(_GRIDS)}"
        )
    rows = [token_grids(name, config) for name in names]
    across = max(map(len, rows))
    high = [max(0.6, 1.2 * grids[0].cells[0] / grids[0].cells[1]) for grids in rows]
    figure = column_figure(sum(high) + 0.6 * len(rows), COLUMN)
    panels = figure.subplots(
        len(rows), across, squeeze=False, height_ratios=[part + 0.4 for part in high],
        width_ratios=[1.3, *[1.0] * (across - 1)],
    )  # fmt: skip
    for name, grids, line in zip(names, rows, panels, strict=True):
        for ax, grid in zip(line, grids, strict=False):
            _draw(ax, grid)
        line[0].set(ylabel=f"{name}\n{_AXES[name][0]}", xlabel=_AXES[name][1])
        small_text(*line[: len(grids)])
        for ax in line[len(grids) :]:
            ax.remove()
    return figure


def _draw(ax: Axes, grid: TokenGrid) -> None:
    row, column = np.indices(grid.cells)
    turn = (row // grid.block[0] + column // grid.block[1]) % 2
    fine = row.size <= _FINEST
    mesh = ax.pcolormesh(turn, cmap=_TINTS, vmin=0, vmax=1)
    if fine:
        mesh.set(edgecolor="white", linewidth=0.4)
    ax.hlines(_edges(grid, 0), 0, grid.cells[1], color="black", linewidth=0.7)
    ax.vlines(_edges(grid, 1), 0, grid.cells[0], color="black", linewidth=0.7)
    ax.set(title=grid.title, aspect="equal", xticks=[], yticks=[])
    ax.set_xlim(0, grid.cells[1])
    ax.set_ylim(grid.cells[0], 0)


def _edges(grid: TokenGrid, axis: int) -> np.ndarray:
    """Where blocks begin and end."""
    size = grid.cells[axis]
    return np.append(np.arange(0, size, grid.block[axis]), size)
