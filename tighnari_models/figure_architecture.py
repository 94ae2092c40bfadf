"""Figure of how a model's parts hang together, with the sizes of its own configuration."""

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from tighnari_graph.figure_style import BLUE, COLUMN, GREEN, ORANGE, PURPLE, VERMILION
from tighnari_models.config import TighnariConfig
from tighnari_models.data.cubes import CUBE_SHAPES
from tighnari_models.figure_tokens import encoder_shapes, grid_of

_CUBES, _GRAPHS = ("landsat", "bioclim"), ("gfv", "scales")
_ORDER = (*_CUBES, "image", "table", *_GRAPHS)
_TEXT = 6.0  # points
_SMALLER = 5.2  # with six modalities side by side
_LETTERS = 13  # on a line of a box
_COLORS = {
    "landsat": BLUE, "bioclim": BLUE, "image": GREEN, "table": ORANGE, "gfv": PURPLE,
    "scales": PURPLE,
}  # fmt: skip


@dataclass(frozen=True)
class _Box:
    """A box of the diagram: its middle, width, height, in inches; its text, in points."""

    x: float
    y: float
    width: float
    height: float
    size: float = _TEXT

    def draw(self, ax: Axes, text: str, color: str = "#999999") -> None:
        corner = (self.x - self.width / 2, self.y - self.height / 2)
        patch = FancyBboxPatch(
            corner, self.width, self.height, boxstyle="round,pad=0,rounding_size=0.04",
            facecolor="white", edgecolor=color, linewidth=1,
        )  # fmt: skip
        ax.add_patch(patch)
        ax.text(self.x, self.y, text, ha="center", va="center", size=self.size, linespacing=1.1)

    @property
    def top(self) -> float:
        return self.y + self.height / 2

    @property
    def bottom(self) -> float:
        return self.y - self.height / 2


def plot_architecture(config: TighnariConfig) -> Figure:
    """What goes into a model, through which encoders, how it is fused, and what comes out.

    Sizes are tokens × width of one survey. Below the encoders, solid arrows are what a box is made
    of; with hierarchical cross-attention, queries are in blue, keys and values in vermilion, and
    the dashed line is C, the features of time, table and image side by side. Nothing is trained or
    loaded.

    Source: Liu et al. 2024, section 3.5, figure 9.

    Example:
        >>> config = TighnariConfig(7, modalities=("table", "gfv"), fusion="concat")
        >>> figure = plot_architecture(config)
        >>> [text.get_text() for text in figure.axes[0].texts if "logits" in text.get_text()]
        ['Linear: 7 logits']
    """
    hcam = config.fusion == "hcam"
    height = 4.4 if hcam else 2.7
    figure = Figure(figsize=(COLUMN, height))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, COLUMN), ylim=(0, height))
    ax.set_axis_off()
    names = [name for name in _ORDER if name in config.modalities]
    width = COLUMN / max(len(names), 4)
    size = _TEXT if len(names) < len(_ORDER) else _SMALLER
    start = (COLUMN - width * len(names)) / 2
    encoders = {}
    for place, name in enumerate(names):
        x = start + width * (place + 0.5)
        given = _Box(x, height - 0.27, width - 0.05, 0.36, size)
        given.draw(ax, f"{name}\n{_size(name, config)}", _COLORS[name])
        encoders[name] = _Box(x, height - 0.97, width - 0.05, 0.62, size)
        encoders[name].draw(ax, _encoder(name, config), _COLORS[name])
        _arrow(ax, (x, given.bottom), (x, encoders[name].top))
    fused = _hcam(ax, config, encoders) if hcam else _concat(ax, config, encoders)
    head = _Box(COLUMN / 2, 0.2, 2.6, 0.26)
    offset = config.scales_offset and "scales" in names
    text = f"Linear: {config.num_species:,} logits"
    head.draw(ax, text + (" + log-odds of scales" if offset else ""))
    _arrow(ax, (fused.x, fused.bottom), (fused.x, head.top))
    return figure


def _concat(ax: Axes, config: TighnariConfig, encoders: dict[str, _Box]) -> _Box:
    fused = _Box(COLUMN / 2, 0.8, 3.3, 0.36)
    fused.draw(ax, f"side by side, Linear: {3 * config.fusion_dim}")
    for box in encoders.values():
        _arrow(ax, (box.x, box.bottom), (box.x, fused.top))
    return fused


def _hcam(ax: Axes, config: TighnariConfig, encoders: dict[str, _Box]) -> _Box:
    dim = config.fusion_dim
    parts = {"T": _CUBES, "S": ("image",), "F′": ("table",), "G′": _GRAPHS}
    features = {}
    for letter, names in parts.items():
        boxes = [encoders[name] for name in names if name in encoders]
        x = float(np.mean([box.x for box in boxes]))
        features[letter] = _Box(x, 2.72, 0.34, 0.22)
        features[letter].draw(ax, letter, _COLORS[names[0]])
        for box in boxes:
            _arrow(ax, (box.x, box.bottom), (x, features[letter].top))
    t, s, f, g = features.values()
    first = _Box((t.x + s.x) / 2, 2.15, min(s.x - t.x, 0.75) - 0.1, 0.36)
    second = _Box((s.x + f.x) / 2, 2.15, f.x - s.x - 0.1, 0.36)
    for box, asking, number in ((first, t, "A₁"), (second, f, "A₂")):
        box.draw(ax, f"{number} = CA\n{dim}")
        _arrow(ax, (asking.x, asking.bottom), (box.x, box.top), BLUE)
        _arrow(ax, (s.x, s.bottom), (box.x, box.top), VERMILION)
    bus = 1.72
    for box in (t, s, f):
        ax.plot([box.x] * 2, [box.bottom, bus], "--", color="#000000", linewidth=0.7)
    both = _Box((first.x + second.x) / 2, 1.3, 1.55, 0.36)
    both.draw(ax, f"[A₁, A₂] + Linear(C)\n{2 * dim}")
    heads = _Box(g.x - 0.15, 1.3, 0.9, 0.36)
    heads.draw(ax, f"MHCA, {config.fusion_heads} heads\n{dim}")
    ax.plot([t.x, heads.x - 0.2], [bus, bus], "--", color="#000000", linewidth=0.7)
    ax.text(t.x - 0.05, bus, "C", size=_TEXT + 1, ha="right", va="center")
    for box in (first, second):
        _arrow(ax, (box.x, box.bottom), (box.x, both.top))
    _arrow(ax, (s.x, bus), (s.x, both.top), dashed=True)
    _arrow(ax, (heads.x - 0.2, bus), (heads.x - 0.2, heads.top), BLUE, dashed=True)
    _arrow(ax, (g.x, g.bottom), (g.x, heads.top), VERMILION)
    fused = _Box(COLUMN / 2, 0.72, 2.6, 0.26)
    fused.draw(ax, f"side by side: {3 * dim}")
    for box in (both, heads):
        _arrow(ax, (box.x, box.bottom), (box.x, fused.top))
    return fused


def _size(name: str, config: TighnariConfig) -> str:
    """What a modality has per survey."""
    if name == "table":
        columns = config.num_table_features
        return "columns" if columns is None else f"{columns} columns"
    if name in _GRAPHS:
        return f"{config.num_species:,}"
    if name == "image":
        return f"{config.in_chans}×{config.image_size}×{config.image_size}"
    return "×".join(map(str, CUBE_SHAPES[name]))


def _encoder(name: str, config: TighnariConfig) -> str:
    """The encoder's name, and the tokens and width of what it gives."""
    tokens = config.fusion == "hcam" and config.tokens
    if name == "table":
        return f"2 Linear\n1 × {config.table_dim}"
    if name in _GRAPHS:
        return "2 Linear" + (f"\n{config.gfv_tokens} tokens" if tokens else "")
    encoder = encoder_shapes(name, config)
    number = math.prod(grid_of(encoder)) if tokens else 1
    called = {"swin": "Temporal-\nSwin", "vit": "Temporal-\nViT"}
    model = config.image_encoder if name == "image" else config.temporal_encoder
    known = called.get(model) if name != "image" else None
    return f"{known or _lines(model)}\n{number} × {encoder.num_features}"


def _lines(name: str) -> str:
    """A long name on several lines, broken after underscores."""
    lines = [""]
    for part in name.replace("_", "_ ").split():
        if lines[-1] and len(lines[-1] + part) > _LETTERS:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _arrow(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    color: str = "#555555",
    dashed: bool = False,
) -> None:
    style = {"arrowstyle": "-|>", "color": color, "linewidth": 0.8, "mutation_scale": 6}
    style |= {"shrinkA": 0, "shrinkB": 0, "linestyle": "--" if dashed else "-"}
    ax.annotate("", end, start, arrowprops=style)
