"""What all figures share: colour-blind safe colours, and text that is legible at column width."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

BLUE, VERMILION, GREEN, ORANGE = "#0072b2", "#d55e00", "#009e73", "#e69f00"
PURPLE, SKY, YELLOW, GREY = "#cc79a7", "#56b4e9", "#f0e442", "#999999"
OKABE_ITO = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW, "#000000")
"""The palette of Okabe and Ito, which tells groups apart for all kinds of colour vision."""

DIVERGING = LinearSegmentedColormap.from_list(
    "blue–vermilion", [BLUE, "#ffffff", VERMILION]
).with_extremes(bad="#dddddd")
COLUMN = 3.5
"""Width of a printed column, in inches."""


def column_figure(height: float, width: float = COLUMN) -> Figure:
    """An empty figure of a column's width, in inches, that keeps its parts from overlapping."""
    return Figure(figsize=(width, height), layout="constrained")


def column_axes(ax: Axes | None, height: float) -> Axes:
    """The axes given, or new ones of a column's width."""
    return column_figure(height).subplots() if ax is None else ax


def small_text(*axes: Axes) -> None:
    """Text of 7 and 8 points, which is legible in print where the figure is a column wide.

    Example:
        >>> ax = column_axes(None, 2.0)
        >>> small_text(ax)
        >>> ax.xaxis.label.get_size()
        8.0
    """
    for ax in axes:
        ax.tick_params(labelsize=7, which="both")
        for text in (ax.xaxis.label, ax.yaxis.label, ax.title):
            text.set_fontsize(8)
        legend = ax.get_legend()
        if legend is not None:
            for text in (*legend.get_texts(), legend.get_title()):
                text.set_fontsize(7)


def equal_on_the_ground(ax: Axes, lat: np.ndarray) -> None:
    """Name the axes of a map, and give degrees equal lengths on the ground in its middle."""
    ax.set(xlabel="longitude (°)", ylabel="latitude (°)")
    if len(lat):
        ax.set_aspect(1 / max(np.cos(np.radians((lat.min() + lat.max()) / 2)), 0.1))
