"""What all figures share: colour-blind safe colours, and text that is legible at column width."""

import textwrap
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import LogLocator, NullLocator

BLUE, VERMILION, GREEN, ORANGE = "#0072b2", "#d55e00", "#009e73", "#e69f00"
PURPLE, SKY, YELLOW, GREY = "#cc79a7", "#56b4e9", "#f0e442", "#999999"
OKABE_ITO = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW, "#000000")
"""The palette of Okabe and Ito, which tells groups apart for all kinds of colour vision."""

DIVERGING = LinearSegmentedColormap.from_list(
    "blue–vermilion", [BLUE, "#ffffff", VERMILION]
).with_extremes(bad="#dddddd")
COLUMN = 3.5
"""Width of a printed column, in inches."""
PLAIN = "{x:,g}"
"""Numbers on a logarithmic axis: 1,000 and not 10³."""
_BARS = 60  # at most, of a histogram of whole numbers
_NARROW = 0.2  # a map narrower than this share of its length is made wider


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


def legend_above(
    ax: Axes, ncols: int, corner: Literal["lower center", "lower right"] = "lower center"
) -> Legend:
    """A legend above the axes, where it covers nothing, in their middle or ending where they do."""
    place = 1.0 if corner == "lower right" else 0.5
    return ax.legend(
        loc=corner, bbox_to_anchor=(place, 1.0), ncols=ncols, frameon=False,
        borderpad=0.2, columnspacing=1.0, handlelength=1.5, handletextpad=0.4, labelspacing=0.3,
    )  # fmt: skip


def plain_log(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis; 2 and 5 besides 1 where it spans few powers of ten.

    Example:
        >>> ax = column_axes(None, 2.0)
        >>> _ = ax.set(xscale="log", xlim=(1, 3000))
        >>> plain_log(ax.xaxis)
        >>> ax.xaxis.get_major_formatter()(1000)
        '1,000'
    """
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    axis.set_major_formatter(PLAIN)
    axis.set_minor_locator(NullLocator())


def whole_bins(values: np.ndarray) -> np.ndarray:
    """Edges between whole numbers, so that every bar holds equally many of them.

    Example:
        >>> whole_bins(np.array([3, 5]))
        array([2.5, 3.5, 4.5, 5.5])
    """
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    width = -(-(high - low + 1) // _BARS)
    return np.arange(low, high + width + 1, width) - 0.5


def name_of(value: object, letters: int | None = None) -> str:
    """A name from the data as it stands, no formula; in two lines at most if it is longer.

    Example:
        >>> print(name_of("Anthyllis vulneraria subsp. polyphylla (DC.) Nyman", letters=24))
        Anthyllis vulneraria
        subsp. polyphylla (DC. …
        >>> name_of("Poa $annua$")
        'Poa \\\\$annua\\\\$'
    """
    text = str(value)
    if letters is not None:
        lines = textwrap.wrap(text, letters)
        if len(lines) > 2:
            rest = " ".join(lines[1:])
            lines[1:] = [rest[: letters - 2].rstrip() + " …"]
        text = "\n".join(lines)
    return text.replace("$", r"\$")


def unbroken(lon: np.ndarray) -> np.ndarray:
    """Longitudes without a jump, beyond 180° where surveys lie on both sides of the antimeridian.

    Example:
        >>> unbroken(np.array([179.0, -179.0])), unbroken(np.array([-170.0, 7.0, 170.0]))
        (array([179., 181.]), array([-170.,    7.,  170.]))
    """
    turned = np.where(lon < 0, lon + 360, lon)
    if len(lon) and np.ptp(turned) < min(np.ptp(lon), 180):
        return turned
    return lon


def equal_on_the_ground(ax: Axes, lat: np.ndarray) -> None:
    """Name the axes of a map, and give degrees equal lengths on the ground in its middle.

    Longitudes beyond 180° (`unbroken`) are named as what they are west of the antimeridian. A map
    of one spot, or of surveys in a line, is as wide as high.
    """
    ax.set(xlabel="longitude (°)", ylabel="latitude (°)")
    if not len(lat):
        return
    aspect = 1 / max(np.cos(np.radians((lat.min() + lat.max()) / 2)), 0.1)
    (west, east), (south, north) = ax.get_xlim(), ax.get_ylim()
    if east > 180:
        ax.xaxis.set_major_formatter(lambda x, _: f"{(x + 180) % 360 - 180:g}")
    width, height = east - west, (north - south) * aspect
    narrow = min(width, height) < _NARROW * max(width, height)
    ax.set_aspect(aspect, adjustable="datalim" if narrow else "box")
