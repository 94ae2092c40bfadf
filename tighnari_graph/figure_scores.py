"""Figures of an evaluation: samples-F1 of groups of surveys, where it is high, calibration."""

import numpy as np
from matplotlib.axes import Axes

from tighnari_graph.calibration import reliability
from tighnari_graph.evaluation_result import Evaluation
from tighnari_graph.figure_style import (
    BLUE,
    GREY,
    VERMILION,
    column_axes,
    equal_on_the_ground,
    legend_above,
    name_of,
    plain_log,
    small_text,
    unbroken,
)
from tighnari_graph.survey_scores import are_shares

_LETTERS = 28  # of a group's name in one line
_KM_PER_DEGREE = 111.195  # of latitude
_MOST_CELLS = 10_000_000
_BRIGHTEST = 0.98  # share of cells up to which colours grow brighter
_GROUPED = {"degree": "training neighbours"}
_OF_FOLDS = ("degree", "fold")  # groups that are others on random folds
FOLD_COLORS = {"block folds": BLUE, "random folds": VERMILION}


def plot_f1_by(evaluation: Evaluation, name: str = "region", ax: Axes | None = None) -> Axes:
    """Samples-F1 of each group of surveys, with its 95 % interval over blocks.

    Random folds, where they were tried, stand below as open circles: what they would have claimed.
    They are left out where the groups depend on the folds. The grey line is the score of all
    surveys.

    Args:
        evaluation: of `evaluate` or `evaluate_predictions`.
        name: "region", "degree" (training neighbours), "year", "fold", or another column of the
            survey table.
        ax: axes to draw on.

    Raises:
        SurveyDataError: if the table has no such column.

    Example:
        >>> import pandas as pd
        >>> from scipy import sparse
        >>> from tighnari_graph import SurveyTable, survey_f1
        >>> rows = pd.DataFrame({"surveyId": range(4), "lat": [40.0, 41.0, 42.0, 43.0], "lon": 7.0,
        ...     "year": [2020, 2020, 2021, 2021], "speciesId": [5, 5, 5, 9]})
        >>> table, folds = SurveyTable.from_long(rows), np.array([0, 1, 0, 1])
        >>> p, sets = np.full((4, 2), 0.5), sparse.csr_matrix(np.ones((4, 2), dtype=np.float32))
        >>> f1 = survey_f1(sets, table.labels)
        >>> found = Evaluation("all", "block folds", table, p, sets, f1, folds, np.arange(4))
        >>> [text.get_text() for text in plot_f1_by(found, "year").get_yticklabels()]
        ['2020 (2)', '2021 (2)']
    """
    groups = evaluation.by(name)
    ax = column_axes(ax, 0.9 + 0.24 * len(groups))
    other = None if name in _OF_FOLDS else evaluation.random
    both = [evaluation] if other is None else [evaluation, other]
    for number, one in enumerate(both):
        rows = one.by(name).reindex(groups.index)
        score = rows["samples-F1"].to_numpy()
        spread = np.abs(np.nan_to_num(rows[["from", "to"]].to_numpy().T - score))
        ax.errorbar(
            score, np.arange(len(rows)) + 0.3 * number, xerr=spread, fmt="o", capsize=2,
            color=FOLD_COLORS[one.kind], markersize=4, linewidth=1, label=one.kind,
            markerfacecolor="none" if number else None,
        )  # fmt: skip
    ax.axvline(evaluation.score, color=GREY, linewidth=0.8, zorder=0)
    counts = groups["surveys"].items()
    ax.set_yticks(
        np.arange(len(groups)),
        [name_of(f"{group} ({count:,})", _LETTERS) for group, count in counts],
    )
    ax.set_ylim(len(groups) - 0.4, -0.6)
    ax.set(xlabel="samples-F1", ylabel=_GROUPED.get(name, name))
    legend_above(ax, 2, "lower right")
    small_text(ax)
    return ax


def plot_f1_map(evaluation: Evaluation, cell_km: float = 50.0, ax: Axes | None = None) -> Axes:
    """Mean F1 of the held-out surveys in each cell of a grid.

    Cells without surveys stay white, the best 2 % have one colour. The grid has its south-west
    corner at the southernmost and westernmost survey, and cells that are as wide as high in the
    middle of the map.

    Args:
        evaluation: of `evaluate` or `evaluate_predictions`.
        cell_km: side of a cell.
        ax: axes to draw on.

    Units: degrees, of equal length on the ground in the middle of the map; kilometres.

    Raises:
        ValueError: if ``cell_km`` is not positive, or so small that the map has more than ten
            million cells.

    Example:
        Two of the three surveys share a cell.

        >>> import pandas as pd
        >>> from scipy import sparse
        >>> from tighnari_graph import SurveyTable, survey_f1
        >>> rows = pd.DataFrame({"surveyId": range(3), "lat": [40.0, 40.1, 41.0], "lon": 7.0,
        ...     "year": 2020, "speciesId": [5, 5, 5]})
        >>> table, folds = SurveyTable.from_long(rows), np.array([0, 1, 0])
        >>> p, sets = np.full((3, 1), 0.5), sparse.csr_matrix(np.ones((3, 1), dtype=np.float32))
        >>> f1 = survey_f1(sets, table.labels)
        >>> found = Evaluation("all", "block folds", table, p, sets, f1, folds, np.arange(3))
        >>> plot_f1_map(found).collections[0].get_array().compressed().tolist()
        [1.0, 1.0]
    """
    if not (np.isfinite(cell_km) and cell_km > 0):
        raise ValueError(f"cell_km must be a positive number, got {cell_km}")
    lat, lon = evaluation.surveys.lat, unbroken(evaluation.surveys.lon)
    middle = np.radians((lat.min() + lat.max()) / 2)
    high = cell_km / _KM_PER_DEGREE
    wide = high / max(np.cos(middle), 0.1)
    row = np.floor((lat - lat.min()) / high).astype(np.int64)
    column = np.floor((lon - lon.min()) / wide).astype(np.int64)
    shape = (int(row.max()) + 1, int(column.max()) + 1)
    if shape[0] * shape[1] > _MOST_CELLS:
        raise ValueError(f"cell_km: {cell_km} makes {shape[0]:,} × {shape[1]:,} cells; take more")
    cell = row * shape[1] + column
    size = shape[0] * shape[1]
    surveys = np.bincount(cell, minlength=size)
    total = np.bincount(cell, evaluation.survey_f1, minlength=size)
    mean = np.ma.masked_array(total / np.maximum(surveys, 1), surveys == 0).reshape(shape)
    top = float(np.quantile(mean.compressed(), _BRIGHTEST)) or 1.0
    ax = column_axes(ax, 3.7)
    mesh = ax.pcolormesh(
        lon.min() + wide * np.arange(shape[1] + 1), lat.min() + high * np.arange(shape[0] + 1),
        mean, cmap="cividis", vmin=0, vmax=top, rasterized=True,
    )  # fmt: skip
    equal_on_the_ground(ax, lat)
    ax.set_title(f"{evaluation.name}, {evaluation.kind}: {evaluation.score:.3f}")
    figure = ax.get_figure()
    if figure is not None:
        label = f"F1, mean of {cell_km:g} km cells"
        bar = figure.colorbar(
            mesh, ax=ax, label=label, location="bottom", aspect=40, shrink=0.8,
            extend="max" if top < mean.max() else "neither",
        )  # fmt: skip
        small_text(bar.ax)
    small_text(ax)
    return ax


def plot_reliability(evaluation: Evaluation, ax: Axes | None = None) -> Axes:
    """How often species of about equal probability occur, on block and random folds.

    On the grey line, probabilities mean what they say; below it they promise too much. Bins where
    nothing is expected or occurs have no place on the logarithmic axes.

    Args:
        evaluation: of `evaluate` or `evaluate_predictions`.
        ax: axes to draw on.

    Example:
        >>> import pandas as pd
        >>> from scipy import sparse
        >>> from tighnari_graph import SurveyTable, survey_f1
        >>> rows = pd.DataFrame({"surveyId": range(4), "lat": [40.0, 41.0, 42.0, 43.0], "lon": 7.0,
        ...     "year": 2020, "speciesId": [5, 5, 5, 9]})
        >>> table, folds = SurveyTable.from_long(rows), np.array([0, 0, 1, 1])
        >>> p, sets = np.full((4, 2), 0.5), sparse.csr_matrix(np.ones((4, 2), dtype=np.float32))
        >>> f1 = survey_f1(sets, table.labels)
        >>> found = Evaluation("all", "block folds", table, p, sets, f1, folds, np.arange(4))
        >>> plot_reliability(found).lines[0].get_xydata().tolist()
        [[0.5, 0.5]]
    """
    ax = column_axes(ax, 3.2)
    low = 0.5
    for one in [evaluation] if evaluation.random is None else [evaluation, evaluation.random]:
        if are_shares(one.probabilities):
            bins = reliability(one.probabilities, one.labels)
            bins = bins[(bins["probability"] > 0) & (bins["observed"] > 0)]
            ax.plot(
                bins["probability"], bins["observed"], "o-", color=FOLD_COLORS[one.kind],
                label=one.kind, markersize=4, linewidth=1,
                markerfacecolor="white" if one is evaluation.random else None,
            )  # fmt: skip
            low = min(low, bins["probability"].min(), bins["observed"].min())
    ax.set(xscale="log", yscale="log", xlabel="probability", ylabel="share that occurs")
    ax.set(xlim=(low / 1.25, 1.1), ylim=(low / 1.25, 1.1))
    plain_log(ax.xaxis)
    plain_log(ax.yaxis)
    ax.axline((low, low), (1, 1), color=GREY, linewidth=0.8)
    named = ax.get_legend_handles_labels()[0]
    ax.set_title("calibration" if named else "no probabilities")
    if len(named) > 1:
        ax.legend()
    small_text(ax)
    return ax
