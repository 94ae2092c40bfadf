"""The figure of the index: from tables of surveys to a submission."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from tighnari_graph.figure_style import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION

_WIDTH, _HEIGHT = 3.6, 5.6  # inches: on a phone a point is then a little more than a pixel
_BOXES = {  # middle, width, height, colour, name, what it is
    "pa": (0.61, 5.24, 1.12, 0.64, GREY, "surveys", "CSV: place,\nyear, species"),
    "test": (1.80, 5.24, 1.12, 0.64, GREY, "to predict", "CSV: place,\nyear"),
    "po": (2.99, 5.24, 1.12, 0.64, GREY, "finds", "CSV: presence\nonly (PO)"),
    "table": (1.80, 4.39, 3.50, 0.52, BLUE, "SurveyTable", "a row per survey, checked once"),
    "graph": (1.80, 3.60, 3.50, 0.52, BLUE, "SurveyGraph", "neighbours within 10 km, PO and test"),
    "features": (1.205, 2.75, 2.37, 0.76, PURPLE, "", ""),
    "gfv": (0.64, 2.75, 1.09, 0.64, PURPLE, "GFV", "species of\nneighbours"),
    "scales": (1.79, 2.75, 1.09, 0.64, PURPLE, "multi-scale", "species near\nand far"),
    "other": (2.99, 2.75, 1.12, 0.76, GREEN, "other inputs", "images, cubes,\ntables"),
    "model": (2.43, 1.84, 2.24, 0.52, ORANGE, "Tighnari", "the multimodal model"),
    "p": (1.80, 1.05, 3.50, 0.52, VERMILION, "probabilities", "of each species at each place"),
    "rule": (0.95, 0.31, 1.80, 0.52, VERMILION, "decision rule", "which species to name"),
    "out": (2.90, 0.31, 1.30, 0.52, GREY, "submission", "CSV, report"),
}  # fmt: skip
_DOWN = (
    (0.61, "pa", "table"), (1.80, "test", "table"), (2.99, "po", "table"), (1.80, "table", "graph"),
    (1.205, "graph", "features"), (0.64, "features", "p"), (1.79, "features", "model"),
    (2.99, "other", "model"), (2.43, "model", "p"), (0.95, "p", "rule"),
)  # fmt: skip
"""Arrows straight down: where, from which box to which."""


def draw_flow(path: Path) -> None:
    """Write it as SVG, the same bytes each time."""
    figure = Figure(figsize=(_WIDTH, _HEIGHT))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, _WIDTH), ylim=(0, _HEIGHT))
    ax.set_axis_off()
    for box in _BOXES.values():
        _draw(ax, *box)
    for x, start, end in _DOWN:
        (_, y, _, high, *_), (_, y2, _, high2, *_) = _BOXES[start], _BOXES[end]
        _arrow(ax, (x, y - high / 2), (x, y2 + high2 / 2))
    _arrow(ax, (1.85, 0.31), (2.25, 0.31))
    path.parent.mkdir(exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "flow"}):
        figure.savefig(path, metadata={"Date": None})


def _draw(
    ax: Axes, x: float, y: float, width: float, high: float, color: str, name: str, text: str
) -> None:
    corner = (x - width / 2, y - high / 2)
    shape = "round,pad=0,rounding_size=0.06"
    box = FancyBboxPatch(corner, width, high, shape, facecolor="white", edgecolor=color, lw=1.5)
    ax.add_patch(box)
    top = y + 0.1 + 0.07 * text.count("\n")
    ax.text(x, top, name, size=9.5, weight="bold", ha="center", va="center")
    ax.text(x, top - 0.11, text, size=8.5, ha="center", va="top", linespacing=1.1)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": "#555555", "linewidth": 1, "mutation_scale": 9}
    ax.annotate("", end, start, arrowprops=style | {"shrinkA": 0, "shrinkB": 0})
