"""Figures of surveys: how often species occur, how many a survey lists, and where surveys are."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tighnari_graph.figure_style import (
    BLUE,
    GREEN,
    VERMILION,
    column_axes,
    column_figure,
    equal_on_the_ground,
    legend_above,
    small_text,
    unbroken,
    whole_bins,
)
from tighnari_graph.surveys import SurveyTable

_PIXELS = 1500  # to which positions are rounded, along the longer side of a map


def plot_species_frequency(
    table: SurveyTable, axes: tuple[Axes, Axes] | None = None
) -> tuple[Axes, Axes]:
    """In how many surveys species occur, the commonest first, and how many a survey lists.

    The second panel shows in which range the K of Top-K is to be sought. Species that occur in no
    survey of the table are left out.

    Args:
        table: labelled surveys.
        axes: two axes to draw on.

    Raises:
        SurveyDataError: if the table has no labels.

    Source: Liu et al. 2024, section 2, figure 6.

    Example:
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"surveyId": [1, 1, 2], "lat": 45.0, "lon": 7.0, "year": 2020,
        ...     "speciesId": [5, 9, 5]})
        >>> left, right = plot_species_frequency(SurveyTable.from_long(rows))
        >>> left.lines[0].get_ydata().tolist(), right.get_title()
        ([2, 1], 'median 1.5')
    """
    labels = table.known_labels()
    if axes is None:
        left, right = column_figure(4.2).subplots(2, 1)
    else:
        left, right = axes
    occurs = np.asarray(labels.astype(bool).sum(axis=0), dtype=np.int64).ravel()
    occurs = np.sort(occurs[occurs > 0])[::-1]
    left.plot(np.arange(1, len(occurs) + 1), occurs, color=BLUE, marker=".", markersize=2)
    left.set(
        xlabel="species, the commonest first (rank)", ylabel="surveys with the species",
        title=f"{len(occurs):,} species, {(occurs == 1).sum():,} in one survey only",
    )  # fmt: skip
    if len(occurs):
        left.set(xscale="log", yscale="log")
    listed = np.asarray(labels.astype(bool).sum(axis=1), dtype=np.int64).ravel()
    right.hist(listed, bins=whole_bins(listed), color=BLUE)
    right.set(xlabel="species in a survey", ylabel="surveys")
    right.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, steps=[1, 2, 5, 10]))
    if len(listed):
        middle = float(np.median(listed))
        right.axvline(middle, color=VERMILION, linewidth=1)
        right.set_title(f"median {middle:g}")
    else:
        right.set_title("no surveys")
    small_text(left, right)
    return left, right


def plot_locations(
    surveys: SurveyTable,
    test: SurveyTable | None = None,
    po: SurveyTable | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Where presence-only (PO), labelled (PA) and test surveys are.

    Test surveys are crosses, on top of the dots of PA, which lie on the larger ones of PO.
    Positions that fall on the same spot are drawn once, so that millions of surveys make no larger
    figure than thousands; the legend counts all.

    Args:
        surveys: presence–absence (PA) surveys.
        test: surveys to predict.
        po: presence-only surveys.
        ax: axes to draw on.

    Units: degrees, of equal length on the ground in the middle of the map.

    Source: Liu et al. 2024, section 2, figure 5.

    Example:
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"surveyId": [1, 2], "lat": [45.0, 46.0], "lon": 7.0, "year": 2020})
        >>> ax = plot_locations(SurveyTable.from_long(rows))
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['PA (2)']
    """
    ax = column_axes(ax, 3.9)
    layers = [
        ("PO", po, GREEN, "o", 2.0),
        ("PA", surveys, BLUE, "o", 1.5),
        ("test", test, VERMILION, "x", 2.0),
    ]
    there = [(name, t, color, mark, size) for name, t, color, mark, size in layers if t is not None]
    lat = np.concatenate([table.lat for _, table, _, _, _ in there])
    lon = unbroken(np.concatenate([table.lon for _, table, _, _, _ in there]))
    ends = np.cumsum([len(table) for _, table, _, _, _ in there])
    spot = max(np.ptp(lat), np.ptp(lon)) / _PIXELS if len(lat) else 0.0
    big = float(np.clip(10 / max(len(lat), 1) ** 0.25, 0.5, 3))
    for (name, table, color, marker, size), end in zip(there, ends, strict=True):
        own = slice(end - len(table), end)
        drawn = _spots(np.stack([lon[own], lat[own]], axis=1), spot)
        ax.plot(
            drawn[:, 0], drawn[:, 1], marker, color=color, markersize=size * big,
            markeredgewidth=0.4 * big if marker == "x" else 0, label=f"{name} ({len(table):,})",
            rasterized=True,
        )  # fmt: skip
    equal_on_the_ground(ax, lat)
    for handle in legend_above(ax, 3).get_lines():
        handle.set_markersize(5)
    small_text(ax)
    return ax


def _spots(positions: np.ndarray, spot: float) -> np.ndarray:
    """One position of each square of a grid whose side is ``spot``; all if it is 0."""
    if spot == 0 or not len(positions):
        return positions
    square = np.floor(positions / spot).astype(np.int64)
    square -= square.min(axis=0)
    first = np.unique(square[:, 0] * (square[:, 1].max() + 1) + square[:, 1], return_index=True)[1]
    return positions[first]
