"""Figures of survey graphs, matplotlib, colour-blind safe."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from tighnari_graph.block_shift import EXCLUDED, HELD_OUT, TRAINING, shift_rows
from tighnari_graph.figure_style import BLUE, GREEN, VERMILION, equal_on_the_ground
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.species_sets import ThresholdTopK

_ISOLATE, _BAR, _OTHER = VERMILION, BLUE, GREEN


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    return Figure(figsize=size, layout="constrained").subplots() if ax is None else ax


def plot_survey_map(
    graph: SurveyGraph, test_pos: np.ndarray | None = None, ax: Axes | None = None
) -> Axes:
    r"""Where the surveys are, coloured by their number of neighbours; isolates and test apart.

    Shapes:
        - **test_pos:** :math:`(N_{test}, 2)`, latitude and longitude

    Units: degrees on both axes, of equal length on the ground in the middle of the map.

    Source: Liu et al. 2024, figure 5.
    """
    ax = _axes(ax, (7, 6))
    lat, lon = graph.pos.numpy(force=True).T
    degree = graph.degree().numpy(force=True)
    size = float(np.clip(30_000 / max(len(lat), 1), 2, 20))
    alone = degree == 0
    if test_pos is not None and len(test_pos):
        ax.scatter(
            test_pos[:, 1], test_pos[:, 0], s=size, c="#999999", marker="x", linewidths=0.5,
            label=f"to predict ({len(test_pos):,})", zorder=1,
        )  # fmt: skip
    ax.scatter(
        lon[alone], lat[alone], s=size * 1.5, facecolors="none", edgecolors=_ISOLATE,
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
            figure.colorbar(points, ax=ax, label="neighbours within the radius", shrink=0.8)
    equal_on_the_ground(ax, lat)
    ax.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize="small", frameon=False,
        columnspacing=1.0, handletextpad=0.2,
    )  # fmt: skip
    return ax


def plot_degrees(graph: SurveyGraph, axes: tuple[Axes, Axes] | None = None) -> tuple[Axes, Axes]:
    """How many neighbours surveys have, and the square root of it, by which features are divided.

    Source: Liu et al. 2024, section 2, figure 7.
    """
    if axes is None:
        left, right = Figure(figsize=(8, 3.2), layout="constrained").subplots(1, 2)
    else:
        left, right = axes
    degree = graph.degree().numpy(force=True)
    for ax, values, name in (
        (left, degree, "degree (neighbours)"),
        (right, np.sqrt(degree), "√degree"),
    ):
        ax.hist(values, bins=40, color=_BAR)
        ax.set(xlabel=name, ylabel="surveys", yscale="log" if ax is left else "linear")
    return left, right


def plot_threshold_top_k(rule: ThresholdTopK, ax: Axes | None = None) -> Axes:
    """Samples-F1 of every K and θ that were tried, with the chosen pair.

    Source: Liu et al. 2024, section 3.7, figure 11.

    Raises:
        ValueError: if the rule was not fitted.
    """
    if rule.scores.size == 0:
        raise ValueError("the rule was not fitted: it has no scores to plot")
    ax = _axes(ax, (7, 4))
    ks, thresholds = rule.ks, rule.thresholds
    mesh = ax.pcolormesh(thresholds, ks, rule.scores, cmap="cividis", shading="nearest")
    ax.plot(rule.threshold, rule.k, marker="o", mfc="none", mec="white", ms=10, mew=2)
    best = f"K = {rule.k}, θ = {rule.threshold:.2f}: {rule.scores.max():.3f}"
    ax.set(xlabel="threshold θ", ylabel="K", title=best)
    figure = ax.get_figure()
    if figure is not None:
        figure.colorbar(mesh, ax=ax, label="samples-F1")
    return ax


def plot_ladder(
    scores: dict[str, float], claimed: dict[str, float], ax: Axes | None = None
) -> Axes:
    """Samples-F1 of each step on block folds, and what random folds would have claimed of some."""
    ax = _axes(ax, (7, 0.45 * len(scores) + 1))
    names = list(scores)[::-1]
    place = np.arange(len(names))
    ax.barh(place, [scores[n] for n in names], height=0.55, color=_BAR, label="block folds")
    known = [at for at in place if names[at] in claimed]
    values = [claimed[names[at]] for at in known]
    ax.plot(values, known, "o", mfc="none", color=_ISOLATE, label="random folds")
    for at, name in enumerate(names):
        ax.text(scores[name], at, f" {scores[name]:.3f}", va="center", fontsize="small")
    ax.set_yticks(place, names)
    ax.set(xlabel="samples-F1", xlim=(0, 1.15 * max([*scores.values(), *claimed.values()])))
    ax.legend(loc="lower right", fontsize="small")
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
        left, right = Figure(figsize=(8, 3.2), layout="constrained").subplots(1, 2, sharey=True)
    else:
        left, right = axes
    rows = shift_rows(graph, folds, exclude_block)
    names = {"degree": "degree (visible neighbours)", "sum": "sum of the feature (km / √degree)"}
    lines = {HELD_OUT: (_ISOLATE, "-"), TRAINING: (_BAR, "-"), EXCLUDED: (_OTHER, "--")}
    for ax, (measure, name) in zip((left, right), names.items(), strict=True):
        for kind, part in rows.groupby("surveys", sort=False):
            color, style = lines[str(kind)]
            ax.ecdf(part[measure].to_numpy(), color=color, linestyle=style, label=str(kind))
        ax.set(xlabel=name, ylim=(0, 1.01))
        ax.set_xscale("symlog", linthresh=1.0)
        ax.set_xlim(left=0)
    left.set_ylabel("share of surveys")
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "frameon": False}
    left.set_title(" ", fontsize="small")  # room for the legend, which is wider than its half
    left.legend(ncols=3, fontsize="small", **above).set_in_layout(False)
    return left, right
