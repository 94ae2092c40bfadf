"""Figures: loss curves, what each step of the post-processing is worth, and an evaluation."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from tighnari_graph.calibration import reliability
from tighnari_graph.figure_style import BLUE, GREY, VERMILION, column_axes, small_text
from tighnari_models.evaluation_result import Evaluation
from tighnari_models.survey_scores import are_shares

_COLORS = {"block folds": BLUE, "random folds": VERMILION}


def plot_history(histories: dict[str, pd.DataFrame]) -> Axes:
    """Training and validation loss of every model over the epochs; the best epoch is marked.

    Args:
        histories: name of the model → its history, as `fit` returns it.

    Source: Liu et al. 2024, figures 10 and 12.

    Example:
        >>> history = pd.DataFrame({"epoch": [0, 1], "train_loss": [0.3, 0.2],
        ...     "val_loss": [0.4, 0.3]})
        >>> plot_history({"fold 0": history}).get_ylabel()
        'binary cross-entropy'
    """
    axes = Figure(figsize=(7, 4), layout="constrained").subplots()
    colors = colormaps["cividis"]
    for number, (name, history) in enumerate(histories.items()):
        color = colors(number / max(len(histories), 1))
        epoch = history["epoch"] + 1
        axes.plot(epoch, history["train_loss"], "--", color=color, linewidth=1)
        axes.plot(epoch, history["val_loss"], color=color, linewidth=1.5, label=name)
        best = history["val_loss"].idxmin() if history["val_loss"].notna().any() else None
        if best is not None:
            axes.plot(epoch[best], history["val_loss"][best], "o", color=color, markersize=4)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("binary cross-entropy")
    axes.set_title("validation (solid), training with mixup (dashed)", fontsize=10)
    if len(histories) > 1:
        axes.legend(fontsize=8, ncols=2)
    return axes


def plot_steps(table: pd.DataFrame) -> Axes:
    """Samples-F1 of every step with its interval over blocks.

    Args:
        table: of `post_processing`: a row per step with columns samples-F1, from and to.

    Source: Liu et al. 2024, table 3 (last rows).

    Example:
        >>> table = pd.DataFrame({"samples-F1": [0.2], "from": [0.1], "to": [0.3]}, index=["Top-K"])
        >>> plot_steps(table).get_xlabel()
        'samples-F1'
    """
    axes = Figure(figsize=(7, 0.6 + 0.45 * len(table)), layout="constrained").subplots()
    score = table["samples-F1"]
    spread = np.stack([score - table["from"], table["to"] - score])
    axes.barh(table.index, score, xerr=spread, color=BLUE, capsize=3)
    axes.invert_yaxis()
    axes.set_xlabel("samples-F1")
    return axes


def plot_evaluation(evaluation: Evaluation) -> Figure:
    """One figure: the score on block and random folds, where it comes from, and calibration.

    Above, samples-F1 with its interval over blocks, and how often species of about equal
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
    figure = Figure(figsize=(7, 4 + 0.22 * len(groups)), layout="constrained")
    parts = figure.subplot_mosaic(
        [["score", "calibration"], ["groups", "groups"]], height_ratios=[3, 1 + 0.22 * len(groups)]
    )
    both = [evaluation] if evaluation.random is None else [evaluation, evaluation.random]
    _score_bars(both, parts["score"])
    plot_reliability(evaluation, parts["calibration"])
    _group_scores(evaluation, groups, parts["groups"])
    return figure


def plot_reliability(evaluation: Evaluation, ax: Axes | None = None) -> Axes:
    """How often species of about equal probability occur, on block and random folds.

    On the grey line, probabilities mean what they say; below it they promise too much. Bins where
    nothing is expected or occurs have no place on the logarithmic axes.

    Args:
        evaluation: of `evaluate` or `evaluate_predictions`.
        ax: axes to draw on.

    Example:
        >>> from tighnari_graph import SurveyTable
        >>> from tighnari_models.evaluation import evaluate_predictions
        >>> rows = pd.DataFrame({"surveyId": range(4), "lat": [40.0, 41.0, 42.0, 43.0], "lon": 7.0,
        ...     "year": 2020, "speciesId": [5, 5, 5, 9]})
        >>> table, folds = SurveyTable.from_long(rows), np.array([0, 0, 1, 1])
        >>> found = evaluate_predictions(np.full((4, 2), 0.5), table, folds)
        >>> plot_reliability(found).lines[0].get_xydata().tolist()
        [[0.5, 0.5]]
    """
    ax = column_axes(ax, 3.2)
    for one in [evaluation] if evaluation.random is None else [evaluation, evaluation.random]:
        if are_shares(one.probabilities):
            bins = reliability(one.probabilities, one.labels)
            bins = bins[(bins["probability"] > 0) & (bins["observed"] > 0)]
            ax.plot(
                bins["probability"], bins["observed"], "o-", color=_COLORS[one.kind], label=one.kind
            )
    ax.set(xscale="log", yscale="log", xlabel="probability", ylabel="share that occurs")
    ax.axline((1e-3, 1e-3), (1, 1), color=GREY, linewidth=0.8)
    ax.set_title("calibration" if ax.get_legend_handles_labels()[0] else "no probabilities")
    if evaluation.random is not None:
        ax.legend()
    small_text(ax)
    return ax


def _score_bars(evaluations: list[Evaluation], ax: Axes) -> None:
    names = []
    for place, one in enumerate(evaluations):
        low, high = one.interval
        spread = _spread([one.score], [low], [high])
        ax.barh(place, one.score, xerr=spread, color=_COLORS[one.kind], capsize=4)
        names.append(f"{one.kind}\n{one.score:.3f} ({low:.3f}–{high:.3f})")
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set(xlabel="samples-F1", title=evaluations[0].name)


def _groups(evaluation: Evaluation) -> pd.DataFrame:
    """Scores by region, where there are any, and by degree, one below the other."""
    names = ["region", "degree"] if evaluation.surveys.has("region") else ["degree"]
    return pd.concat({name: evaluation.by(name) for name in names})


def _group_scores(evaluation: Evaluation, groups: pd.DataFrame, ax: Axes) -> None:
    score = groups["samples-F1"]
    ax.errorbar(
        score, np.arange(len(groups)), xerr=_spread(score, groups["from"], groups["to"]),
        fmt="o", color=_COLORS[evaluation.kind], capsize=3,
    )  # fmt: skip
    numbers = groups["surveys"].items()
    ax.set_yticks(range(len(groups)), [f"{name} {group} ({n:,})" for (name, group), n in numbers])
    ax.invert_yaxis()
    ax.axvline(evaluation.score, color=GREY, linewidth=0.8, zorder=0)
    ax.set(xlabel="samples-F1", title=f"{evaluation.kind} (surveys)")


def _spread(score: ArrayLike, low: ArrayLike, high: ArrayLike) -> np.ndarray:
    """Lengths of error bars; none where there is no interval."""
    lengths: np.ndarray = np.stack([np.subtract(score, low), np.subtract(high, score)])
    return np.asarray(np.maximum(np.nan_to_num(lengths), 0))
