"""Figures of survey graphs, matplotlib, colour-blind safe."""

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from tighnari_graph.block_shift import EXCLUDED, HELD_OUT, TRAINING, shift_rows
from tighnari_graph.figure_style import (
    BLUE,
    GREEN,
    PLAIN,
    VERMILION,
    column_axes,
    column_figure,
    equal_on_the_ground,
    legend_above,
    plain_log,
    small_text,
    unbroken,
    whole_bins,
)
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.species_sets import ThresholdTopK

_ISOLATE, _BAR, _OTHER = VERMILION, BLUE, GREEN
_LETTERS = 24  # of a step's name in one line


def plot_survey_map(
    graph: SurveyGraph, test_pos: np.ndarray | None = None, ax: Axes | None = None
) -> Axes:
    r"""Where the surveys are, coloured by their number of neighbours; isolates and test apart.

    Test surveys are crosses, isolates open circles.

    Shapes:
        - **test_pos:** :math:`(N_{test}, 2)`, latitude and longitude

    Units: degrees on both axes, of equal length on the ground in the middle of the map.

    Source: Liu et al. 2024, figure 5.
    """
    ax = column_axes(ax, 4.4)
    pos = np.concatenate([graph.pos.numpy(force=True), _positions(test_pos)])
    lat, lon = pos[:, 0], unbroken(pos[:, 1])
    test_lat, test_lon = lat[graph.num_nodes :], lon[graph.num_nodes :]
    lat, lon = lat[: graph.num_nodes], lon[: graph.num_nodes]
    degree = graph.degree().numpy(force=True)
    size = float(np.clip(12_000 / max(len(lat), 1), 1.5, 9))  # points²
    alone = degree == 0
    if len(test_lat):
        ax.scatter(
            test_lon, test_lat, s=2 * size, c="black", marker="x", linewidths=0.6,
            label=f"to predict ({len(test_lat):,})", zorder=1,
        )  # fmt: skip
    ax.scatter(
        lon[alone], lat[alone], s=1.5 * size, facecolors="none", edgecolors=_ISOLATE,
        linewidths=0.6, label=f"isolates ({alone.sum():,})", zorder=2,
    )  # fmt: skip
    order = np.argsort(degree[~alone], kind="stable")
    if len(order):
        points = ax.scatter(
            lon[~alone][order], lat[~alone][order], c=degree[~alone][order], s=size,
            cmap="cividis", norm=LogNorm(1, max(degree.max(), 2)), linewidths=0, zorder=3,
            label=f"with neighbours ({(~alone).sum():,})",
        )  # fmt: skip
        figure = ax.get_figure()
        if figure is not None:
            bar = figure.colorbar(
                points, ax=ax, label="neighbours within the radius", location="bottom",
                aspect=40, shrink=0.8,
            )  # fmt: skip
            plain_log(bar.ax.xaxis)
            small_text(bar.ax)
    equal_on_the_ground(ax, lat)
    legend_above(ax, 2)
    small_text(ax)
    return ax


def _positions(pos: np.ndarray | None) -> np.ndarray:
    return np.zeros((0, 2)) if pos is None else np.asarray(pos).reshape(-1, 2)


def plot_degrees(graph: SurveyGraph, axes: tuple[Axes, Axes] | None = None) -> tuple[Axes, Axes]:
    """How many neighbours surveys have, and the square root of it, by which features are divided.

    Bars stand at whole numbers; roots are rounded to them.

    Source: Liu et al. 2024, section 2, figure 7.
    """
    if axes is None:
        upper, lower = column_figure(4.0).subplots(2, 1)
    else:
        upper, lower = axes
    degree = graph.degree().numpy(force=True)
    root = np.rint(np.sqrt(degree))
    upper.hist(degree, bins=whole_bins(degree), color=_BAR, log=True)
    lower.hist(root, bins=whole_bins(root), color=_BAR, edgecolor="white", linewidth=0.5)
    upper.set(xlabel="degree (neighbours)", ylabel="surveys")
    lower.set(xlabel="√degree, rounded", ylabel="surveys")
    upper.set_ylim(bottom=0.7)  # a bar of one survey can be seen
    plain_log(upper.yaxis)
    small_text(upper, lower)
    return upper, lower


def plot_threshold_top_k(rule: ThresholdTopK, ax: Axes | None = None) -> Axes:
    """Samples-F1 of every K and θ that were tried, with the chosen pair.

    Source: Liu et al. 2024, section 3.7, figure 11.

    Raises:
        ValueError: if the rule was not fitted.
    """
    if rule.scores.size == 0:
        raise ValueError("the rule was not fitted: it has no scores to plot")
    ax = column_axes(ax, 2.8)
    rows, columns = np.argsort(rule.ks), np.argsort(rule.thresholds)
    mesh = ax.pcolormesh(
        _edges(rule.thresholds[columns], 0.01), _edges(rule.ks[rows], 1.0),
        rule.scores[np.ix_(rows, columns)], cmap="cividis",
    )  # fmt: skip
    ax.plot(rule.threshold, rule.k, marker="o", mfc="none", mec="black", ms=7, mew=1.5)
    best = f"K = {rule.k}, θ = {rule.threshold:.2f}: {rule.scores.max():.3f}"
    ax.set(xlabel="threshold θ", ylabel="K", title=best)
    figure = ax.get_figure()
    if figure is not None:
        small_text(figure.colorbar(mesh, ax=ax, label="samples-F1").ax)
    small_text(ax)
    return ax


def _edges(values: np.ndarray, alone: float) -> np.ndarray:
    """Edges halfway between ascending values; a single one is ``alone`` wide."""
    if len(values) < 2:
        return values[0] + np.array([-alone, alone]) / 2
    middle = (values[1:] + values[:-1]) / 2
    return np.concatenate([[2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]])


def plot_ladder(
    scores: dict[str, float], claimed: dict[str, float], ax: Axes | None = None
) -> Axes:
    """Samples-F1 of each step on block folds, and what random folds would have claimed of some.

    The numbers at the right are those of the block folds.

    Raises:
        ValueError: without a step, or on a score that is no number.
    """
    values = [*scores.values(), *claimed.values()]
    if not scores or not np.isfinite(values).all():
        raise ValueError(f"plot_ladder: {len(scores)} steps, all with a finite score, are needed")
    ax = column_axes(ax, 0.32 * len(scores) + 0.8)
    names = list(scores)[::-1]
    place = np.arange(len(names))
    ax.barh(place, [scores[n] for n in names], height=0.6, color=_BAR, label="block folds")
    known = [at for at in place if names[at] in claimed]
    ax.plot(
        [claimed[names[at]] for at in known],
        known,
        "o",
        mfc="white",
        color=_ISOLATE,
        ms=5,
        label="random folds",
    )
    for at, name in enumerate(names):
        ax.text(
            1.02, at, f"{scores[name]:.3f}", va="center", fontsize=7, color=_BAR,
            transform=ax.get_yaxis_transform(),
        )  # fmt: skip
    ax.set_yticks(place, [textwrap.fill(name, _LETTERS) for name in names])
    ax.set(xlabel="samples-F1", xlim=(0, 1.05 * max(values)))
    legend_above(ax, 2, "lower right")
    small_text(ax)
    return ax


def plot_block_shift(
    graph: SurveyGraph,
    folds: np.ndarray,
    exclude_block: float | np.ndarray | None = 10.0,
    axes: tuple[Axes, Axes] | None = None,
) -> tuple[Axes, Axes]:
    r"""Degree and sum of the graph feature, of held-out and of training surveys.

    Each line is the share of surveys that have at most so much; they start at the share of
    isolates. Where training surveys look like held-out ones, the lines lie upon each other.

    Args:
        graph: labelled surveys.
        folds: fold of each survey, from `block_folds`.
        exclude_block: kilometres or block numbers; None leaves that line out.
        axes: two axes to draw on.

    Shapes:
        - **folds:** :math:`(N,)`
    """
    if axes is None:
        upper, lower = column_figure(4.4).subplots(2, 1)
    else:
        upper, lower = axes
    rows = shift_rows(graph, folds, exclude_block)
    names = {"degree": "degree (visible neighbours)", "sum": "sum of the feature (km / √degree)"}
    lines = {HELD_OUT: (_ISOLATE, "-"), TRAINING: (_BAR, "-"), EXCLUDED: (_OTHER, "--")}
    for ax, (measure, name) in zip((upper, lower), names.items(), strict=True):
        for kind, part in rows.groupby("surveys", sort=False):
            color, style = lines[str(kind)]
            ax.ecdf(part[measure].to_numpy(), color=color, linestyle=style, lw=1.2, label=str(kind))
        ax.set(xlabel=name, ylabel="share of surveys", ylim=(0, 1.01))
        ax.set_xscale("symlog", linthresh=1.0, linscale=0.4, subs=range(2, 10))
        ax.xaxis.set_major_formatter(PLAIN)
        ax.set_xlim(left=0)
    legend_above(upper, 2)
    small_text(upper, lower)
    return upper, lower
