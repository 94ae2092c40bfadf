"""Figures: loss curves, what each step of the post-processing is worth, and an evaluation."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from tighnari_graph.evaluation_result import Evaluation
from tighnari_graph.figure_scores import FOLD_COLORS, plot_reliability
from tighnari_graph.figure_style import (
    BLUE,
    GREY,
    OKABE_ITO,
    YELLOW,
    column_axes,
    column_figure,
    legend_above,
    name_of,
    small_text,
)

_LINES = [color for color in OKABE_ITO if color != YELLOW]  # which is faint on white
_LETTERS = 30  # of a group's name in one line
_MARKERS = "os^DvP"  # one fewer than colours, so that pairs repeat late


def plot_history(
    histories: dict[str, pd.DataFrame] | pd.DataFrame, kept: dict[str, int] | None = None
) -> Axes:
    """Training and validation loss of every model over the epochs; one epoch of each is marked.

    Args:
        histories: name of the model → its history, as `fit` returns it; or one history.
        kept: name of the model → the epoch to mark, such as `FitResult.best_epoch`, from 0; by
            default that of the least validation loss.

    Source: Liu et al. 2024, figures 10 and 12.

    Example:
        >>> history = pd.DataFrame({"epoch": [0, 1], "train_loss": [0.3, 0.2],
        ...     "val_loss": [0.4, 0.3]})
        >>> plot_history({"fold 0": history}).get_ylabel()
        'loss, mean over species'
    """
    if isinstance(histories, pd.DataFrame):
        histories = {"model": histories}
    ax = column_axes(None, 2.7 + 0.05 * len(histories))  # and the legend, three in a row
    for number, (name, history) in enumerate(histories.items()):
        color, marker = _LINES[number % len(_LINES)], _MARKERS[number % len(_MARKERS)]
        epoch, loss = history["epoch"].to_numpy() + 1, history["val_loss"].to_numpy()
        least = [int(np.nanargmin(loss))] if np.isfinite(loss).any() else []
        marked = least if kept is None else np.flatnonzero(epoch == kept[name] + 1).tolist()
        alone: dict[str, Any] = {"marker": "_", "markersize": 8} if len(epoch) == 1 else {}
        ax.plot(epoch, history["train_loss"], "--", color=color, linewidth=0.9, **alone)
        ax.plot(
            epoch, loss, color=color, linewidth=1.4, marker=marker, markevery=marked, markersize=5,
            label=name_of(name),
        )  # fmt: skip
    longest = max(map(len, histories.values()), default=1)
    ax.set(xlabel="epoch", ylabel="loss, mean over species", xlim=(0.5, max(longest, 1) + 0.5))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend_above(ax, 3).set_title("validation (solid), training (dashed)")
    small_text(ax)
    return ax


def plot_steps(table: pd.DataFrame) -> Axes:
    """Samples-F1 of every step with its interval over blocks.

    Args:
        table: of `post_processing`: a row per step with columns samples-F1, from and to.

    Source: Liu et al. 2024, table 3 (last rows).

    Example:
        >>> table = pd.DataFrame({"samples-F1": [0.2], "from": [0.1], "to": [0.3]}, index=["Top-K"])
        >>> print(plot_steps(table).get_yticklabels()[0].get_text())
        Top-K
        0.200 (0.100–0.300)
    """
    ax = column_axes(None, 0.5 + 0.34 * len(table))
    columns = [table[name].to_numpy() for name in ("samples-F1", "from", "to")]
    place = np.arange(len(table))
    ax.errorbar(columns[0], place, xerr=_spread(*columns), fmt="o", color=BLUE, ms=4, capsize=3)
    rows = zip(table.index, *columns, strict=True)
    ax.set_yticks(place, [f"{name}\n{_told(*values)}" for name, *values in rows])
    ax.set(xlabel="samples-F1", ylim=(len(table) - 0.5, -0.5))
    small_text(ax)
    return ax


def plot_evaluation(evaluation: Evaluation) -> Figure:
    """One figure: the score on block and random folds, where it comes from, and calibration.

    Above, samples-F1 with its interval over blocks. In the middle, how often species of about equal
    probability occur (`plot_reliability`). Below, the score by region and by degree (training
    neighbours).

    Example:
        >>> from scipy import sparse
        >>> from tighnari_graph import SurveyTable
        >>> from tighnari_models.evaluation import evaluate_predictions
        >>> rows = pd.DataFrame({"surveyId": range(4), "lat": [40.0, 41.0, 42.0, 43.0], "lon": 7.0,
        ...     "year": 2020, "speciesId": [5, 5, 5, 9]})
        >>> table, folds = SurveyTable.from_long(rows), np.array([0, 0, 1, 1])
        >>> found = evaluate_predictions(np.full((4, 2), 0.5), table, folds)
        >>> [axes.get_xlabel() for axes in plot_evaluation(found).axes]
        ['samples-F1', 'probability', 'samples-F1']
    """
    groups = _groups(evaluation)
    both = [evaluation] if evaluation.random is None else [evaluation, evaluation.random]
    heights = [0.2 + 0.4 * len(both), 2.4, 0.2 + 0.2 * len(groups)]
    figure = column_figure(sum(heights) + 1.6)
    parts = figure.subfigures(3, 1, squeeze=False, height_ratios=[high + 0.5 for high in heights])
    above, middle, below = (part.subplots() for part in parts.flat)
    _score_bars(both, above)
    plot_reliability(evaluation, middle)
    _group_scores(evaluation, groups, below)
    return figure


def _score_bars(evaluations: list[Evaluation], ax: Axes) -> None:
    names = []
    for place, one in enumerate(evaluations):
        low, high = one.interval
        spread = _spread([one.score], [low], [high])
        ax.barh(place, one.score, xerr=spread, color=FOLD_COLORS[one.kind], height=0.6, capsize=3)
        names.append(f"{one.kind}\n{_told(one.score, low, high)}")
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set(xlabel="samples-F1", title=evaluations[0].name)
    small_text(ax)


def _groups(evaluation: Evaluation) -> pd.DataFrame:
    """Scores by region, where there are any, and by degree, one below the other."""
    names = ["region", "degree"] if evaluation.surveys.has("region") else ["degree"]
    return pd.concat({name: evaluation.by(name) for name in names})


def _group_scores(evaluation: Evaluation, groups: pd.DataFrame, ax: Axes) -> None:
    score = groups["samples-F1"]
    ax.errorbar(
        score, np.arange(len(groups)), xerr=_spread(score, groups["from"], groups["to"]),
        fmt="o", color=FOLD_COLORS[evaluation.kind], ms=4, capsize=2, linewidth=1,
    )  # fmt: skip
    numbers = groups["surveys"].items()
    ax.set_yticks(
        range(len(groups)),
        [name_of(f"{name} {group} ({n:,})", _LETTERS) for (name, group), n in numbers],
    )
    ax.axvline(evaluation.score, color=GREY, linewidth=0.8, zorder=0)
    ax.set(
        xlabel="samples-F1", ylim=(len(groups) - 0.5, -0.5), title=f"{evaluation.kind} (surveys)"
    )
    small_text(ax)


def _told(score: float, low: float, high: float) -> str:
    """A score with its interval, where there is one."""
    return f"{score:.3f}" + (f" ({low:.3f}–{high:.3f})" if np.isfinite(high - low) else "")


def _spread(score: ArrayLike, low: ArrayLike, high: ArrayLike) -> np.ndarray:
    """Lengths of error bars; none where there is no interval."""
    lengths: np.ndarray = np.stack([np.subtract(score, low), np.subtract(high, score)])
    return np.asarray(np.maximum(np.nan_to_num(lengths), 0))
