"""Figures of the numbers that come with surveys: how they correlate, and how regions differ."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.figure_style import (
    COLUMN,
    DIVERGING,
    OKABE_ITO,
    column_figure,
    name_of,
    small_text,
)

UNITS = {
    "lat": "°", "lon": "°", "areaInM2": "m²", "geoUncertaintyInM": "m", "Elevation": "m",
    "Soilgrid-bdod": "cg/cm³", "Soilgrid-cec": "mmol(c)/kg", "Soilgrid-cfvo": "cm³/dm³",
    "Soilgrid-clay": "g/kg", "Soilgrid-nitrogen": "cg/kg", "Soilgrid-phh2o": "pH × 10",
    "Soilgrid-sand": "g/kg", "Soilgrid-silt": "g/kg", "Soilgrid-soc": "dg/kg",
    **{f"Bio{i}": "0.1 K" for i in (1, 2, 5, 6, 7, 8, 9, 10, 11)},
    **{f"Bio{i}": "0.1 %" for i in (3, 15)},
    **{f"Bio{i}": "0.1 mm" for i in (12, 13, 14, 16, 17, 18, 19)},
    "Bio4": "0.001 K",
}  # fmt: skip
"""Units of the columns of GeoLifeCLEF 2024, as its files hold them."""

_EVERYTHING = "all surveys"
_AT_LEAST = 3  # surveys with both values, for a correlation
_BAR = 0.1  # inches that a colour bar is high
_LETTERS = 28  # of a group's name in one line
_MANY = 15  # columns above which box plots are two columns wide


def plot_correlations(
    frame: pd.DataFrame,
    by: str | Sequence[object] | np.ndarray | pd.Series | None = None,
    columns: Sequence[str] | None = None,
) -> Figure:
    """How the columns correlate, over all surveys or in each group, such as a region.

    Columns that go together stand together: they are ordered by clustering the correlations over
    all surveys (average linkage of ``1 − |r|``), in the same order in every panel. Pearson's r of
    surveys that have both values; grey where there are fewer than three, or a column is constant.
    With groups, 15 columns fit the width of a printed column; with more, the figure grows.

    Args:
        frame: a row per survey, such as `tighnari_models.data.environment.survey_frame` gives.
        by: name of a column, or a value per survey; None makes one panel of all surveys. A survey
            whose value is missing is in no panel.
        columns: columns of numbers; by default all but those that are missing altogether.

    Raises:
        ValueError: if ``by`` is not one value per survey, or has more than 8 values.
        SurveyDataError: if a column is not there, holds no numbers, or there is none.

    Source: Liu et al. 2024, section 2, figure 3.

    Example:
        >>> frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [3.0, 2.0, 1.0]})
        >>> plot_correlations(frame).axes[0].collections[0].get_array().tolist()
        [[1.0, -1.0], [-1.0, 1.0]]
    """
    numbers = _numbers(frame, columns, by)
    groups = _groups(frame, by) if by is not None else {_EVERYTHING: np.ones(len(frame), bool)}
    order = _clustered(numbers.corr(min_periods=_AT_LEAST).to_numpy())
    names = [numbers.columns[place] for place in order]
    shown = [name_of(name) for name in names]
    across = 1 if len(groups) == 1 else 2
    down = math.ceil(len(groups) / across)
    side = max(0.095 * len(names), 2.3 / across)
    space = 0.055 * max(map(len, names))  # of the names, which stand at the left and below
    figure = column_figure(
        down * (side + 0.25) + space + 0.8, max(across * side + space + 0.2, COLUMN)
    )
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for ax, (name, rows) in zip(panels.flat, groups.items(), strict=False):
        r = numbers.loc[rows, names].corr(min_periods=_AT_LEAST).to_numpy()
        mesh = ax.pcolormesh(np.ma.masked_invalid(r), cmap=DIVERGING, vmin=-1, vmax=1)
        ax.set(title=name_of(f"{name} ({rows.sum():,})", _LETTERS), aspect="equal")
        ax.set_xticks(np.arange(len(names)) + 0.5, shown, rotation=90)
        ax.set_yticks(np.arange(len(names)) + 0.5, shown)
        small_text(ax)
        ax.tick_params(labelsize=6, length=0)
    panels[0, 0].invert_yaxis()  # shared by all
    for ax in panels.flat[len(groups) :]:
        ax.set_axis_off()
    for ax in panels.flat[max(len(groups) - across, 0) : len(groups)]:
        ax.tick_params(labelbottom=True)
    width, height = figure.get_size_inches()
    bar = figure.colorbar(
        mesh, ax=panels, location="bottom", ticks=[-1, -0.5, 0, 0.5, 1], label="Pearson's r",
        fraction=_BAR / height, pad=_BAR / height, shrink=0.7, aspect=0.7 * width / _BAR,
    )  # fmt: skip
    small_text(bar.ax)
    return figure


def plot_boxes(
    frame: pd.DataFrame,
    by: str | Sequence[object] | np.ndarray | pd.Series = "region",
    columns: Sequence[str] | None = None,
    units: Mapping[str, str] = UNITS,
) -> Figure:
    """How the values of each column lie in each group, such as a region: a panel per column.

    A box holds the middle half of the values, the whiskers the middle 90 %; the line is the
    median. Columns that are missing altogether say so. Above 15 columns, the figure is two
    printed columns wide.

    Args:
        frame: a row per survey, such as `tighnari_models.data.environment.survey_frame` gives.
        by: name of a column, or a value per survey; a survey whose value is missing is left out.
        columns: columns of numbers; by default all but those that are missing altogether.
        units: column → unit; one that is not there has none written.

    Raises:
        ValueError: if ``by`` is not one value per survey, or has more than 8 values.
        SurveyDataError: if a column is not there, holds no numbers, or there is none.

    Source: Liu et al. 2024, section 2, figure 4.

    Example:
        >>> frame = pd.DataFrame({"region": ["A", "A", "B"], "Elevation": [1.0, 3.0, 5.0]})
        >>> plot_boxes(frame).axes[0].get_ylabel()
        'Elevation (m)'
    """
    numbers = _numbers(frame, columns, by)
    groups = _groups(frame, by)
    wide = 2 if len(numbers.columns) > _MANY else 1
    across = min(3 * wide, len(numbers.columns))
    down = math.ceil(len(numbers.columns) / across)
    named = {name: name_of(f"{name} ({rows.sum():,})", _LETTERS) for name, rows in groups.items()}
    beside = (2 if max(map(len, named.values())) <= _LETTERS else 1) * wide  # in the legend
    key = 0.24 * math.ceil(len(groups) / beside) + 0.1
    figure = column_figure(1.15 * down + key, COLUMN * wide)
    panels = figure.subplots(down, across, squeeze=False)
    for ax, name in zip(panels.flat, numbers, strict=False):
        values = numbers[name].to_numpy()
        parts = [values[rows & np.isfinite(values)] for rows in groups.values()]
        if not any(map(len, parts)):
            ax.text(0.5, 0.5, "no values", ha="center", va="center", transform=ax.transAxes, size=7)
        boxes = ax.boxplot(
            parts, whis=(5, 95), showfliers=False, widths=0.7, patch_artist=True,
            medianprops={"color": "black"}, boxprops={"linewidth": 0.5},
            whiskerprops={"linewidth": 0.7}, capprops={"linewidth": 0.7},
        )  # fmt: skip
        for box, color in zip(boxes["boxes"], OKABE_ITO, strict=False):
            box.set_facecolor(color)
        ax.set(ylabel=name_of(_named(name, units)), xticks=[])
        ax.locator_params(axis="y", nbins=4)
        small_text(ax)
        ax.tick_params(labelsize=6)
        ax.yaxis.label.set_fontsize(7)
    for ax in panels.flat[len(numbers.columns) :]:
        ax.set_axis_off()
    handles = [
        Patch(facecolor=color, label=label)
        for label, color in zip(named.values(), OKABE_ITO, strict=False)
    ]
    figure.legend(
        handles=handles, loc="outside upper center", ncols=beside, fontsize=7, frameon=False
    )  # fmt: skip
    return figure


def _named(name: str, units: Mapping[str, str]) -> str:
    """A column and its unit, on two lines if one would be too long for a small panel."""
    text = f"{name} ({units[name]})" if name in units else name
    if len(text) <= _MANY:
        return text
    return text.replace(" (", "\n(") if name in units else text.replace("-", "-\n", 1)


def _numbers(frame: pd.DataFrame, columns: Sequence[str] | None, by: object) -> pd.DataFrame:
    """The columns as float64, infinite values as missing ones."""
    if columns is None:
        chosen = [
            name for name in frame.columns
            if _is_number(frame[name]) and frame[name].notna().any()
            and not (isinstance(by, str) and name == by)
        ]  # fmt: skip
    else:
        chosen = list(columns)
        absent = [name for name in chosen if name not in frame]
        if absent:
            raise SurveyDataError(f"frame: no column {', '.join(map(str, absent))}")
        text = [name for name in chosen if not _is_number(frame[name])]
        if text:
            raise SurveyDataError(f"frame: no numbers in column {', '.join(map(str, text))}")
    if not chosen:
        raise SurveyDataError(f"frame: no column of numbers among {len(frame.columns)}")
    found = frame[chosen].astype(np.float64)
    found.columns = found.columns.map(str)
    return found.where(np.isfinite(found))


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _groups(
    frame: pd.DataFrame, by: str | Sequence[object] | np.ndarray | pd.Series
) -> dict[str, np.ndarray]:
    """Value → which surveys have it, in the order of the values."""
    if isinstance(by, str):
        if by not in frame:
            raise SurveyDataError(f"frame: no column {by!r} to group by")
        values = frame[by]
    else:
        values = by if isinstance(by, pd.Series) else pd.Series(np.asarray(by, dtype=object))
        if len(values) != len(frame):
            raise ValueError(f"by: {len(values)} values for {len(frame)} surveys")
    codes, names = pd.factorize(values, sort=True)
    if not 1 <= len(names) <= len(OKABE_ITO):
        raise ValueError(f"by: {len(names)} values, expected 1 to {len(OKABE_ITO)}")
    return {str(name): codes == code for code, name in enumerate(names)}


def _clustered(r: np.ndarray) -> np.ndarray:
    """An order of columns in which those that go together are neighbours."""
    if len(r) < 3:
        return np.arange(len(r))
    far = 1 - np.abs(np.nan_to_num(r))
    far = np.clip((far + far.T) / 2, 0, 1)
    np.fill_diagonal(far, 0)
    return leaves_list(linkage(squareform(far), "average", optimal_ordering=True))
