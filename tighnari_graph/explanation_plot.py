"""The figure of an `Explanation`: a map of the neighbourhood above, species as bars below."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from tighnari_graph.explanation import NOWHERE, Explanation
from tighnari_graph.figure_style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    column_figure,
    name_of,
    small_text,
)
from tighnari_graph.geodesy import EARTH_RADIUS_KM, unit_vectors

_COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION)
_MARKERS = {
    "survey": ("o", "survey"),
    "po": ("^", "PO survey"),
    "cell": ("s", "cell"),
    "po_cell": ("D", "PO cell"),
}
_OTHER = GREY
_PRIOR = "#dddddd"
_PROBABILITY = "probability"
_PREDICTED = "predicted"
_LETTERS = 26  # of a species' name in one line
_WIDE = 24  # letters of a name from which on the legend has one column
_MAPPED = 0.9  # share of the neighbours' part that lies within the map
_LARGEST = 160.0  # points², of the contributor of most share
_ONE_PLACE = 0.01  # share of the map's reach within which contributors lie at one place
_RING = 0.15  # of the map's reach, at most, is the radius of a ring of such contributors


def plot_explanation(
    explanation: Explanation, num_species: int = 10, figure: Figure | None = None
) -> Figure:
    """Where the contributors are, sized by their share, and what each adds to the first species.

    Modalities and the largest contributors have a colour each, the same in both parts; the others
    are grey. Contributors at one place are drawn side by side around it, and the title counts them.
    The map ends at the graph's radius; without one, where 90 % of the neighbours' share lies
    within, and its title says what lies beyond. Without neighbours' parts of a network there is no
    map. What lowers a probability is hollow on the map and left of 0 in the bars; a line then marks
    what was predicted.

    Args:
        explanation: from `explain` or one of its kin.
        num_species: bars.
        figure: to draw on; by default one as wide as a column of text.

    Units: kilometres east and north of the survey; shares in ``explanation.unit``.
    """
    species = explanation.species.head(num_species)
    text = species["name"] if "name" in species else "species " + species["species"].astype(str)
    names = [name_of(name, _LETTERS) for name in text]
    high = 0.25 if any("\n" in name for name in names) else 0.17  # inches of a bar
    every = explanation.neighbors
    near = every[~every["kind"].isin(NOWHERE)].reset_index(drop=True)
    modalities = sorted(every.loc[every["kind"] == "modality", "contributor"])
    mapped = len(near) > 0 or not modalities
    heights = [3.0] * mapped + [max(high * len(species), 0.5) + 0.4]
    if figure is None:
        figure = column_figure(high * len(species) + (4.7 if mapped else 1.8))
    *upper, lower = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    room = max(len(_COLORS) - len(modalities), 0)
    named = near[near["share"] != 0].head(room).index
    color = np.full(len(near), _OTHER, dtype=object)
    color[named] = _COLORS[len(modalities) : len(modalities) + len(named)]
    for ax in upper:
        _map(ax, explanation, near, color)
    _bars(lower, explanation, species, names, [*modalities, *near.loc[named, "contributor"]])
    if not upper:
        lower.set_title(_title(explanation), fontsize=8)
    handles, labels = lower.get_legend_handles_labels()
    if handles:
        marks = (_PROBABILITY, _PREDICTED)
        order = sorted(range(len(labels)), key=lambda i: labels[i] in marks)  # last
        handles, labels = [handles[i] for i in order], [labels[i] for i in order]
        columns = 1 if max(map(len, labels)) > _WIDE else 2
        figure.legend(
            handles, labels, loc="outside lower center", fontsize=7, ncols=columns, frameon=False,
            handlelength=1.2, columnspacing=1.0,
        )  # fmt: skip
    return figure


def _map(ax: Axes, explanation: Explanation, near: pd.DataFrame, color: np.ndarray) -> None:
    lat, lon, share = (near[name].to_numpy(dtype=float) for name in ("lat", "lon", "share"))
    fill = np.where(share < 0, "white", color)
    edge = np.where(share < 0, color, "white")
    hollow = ", hollow where it lowers" if (share < 0).any() else ""
    share = np.abs(share)
    east, north = _seen_from(explanation.lat, explanation.lon, lat, lon)
    away = np.maximum(np.abs(east), np.abs(north))
    reach = explanation.radius_km or _reach(away, share)
    inside = away <= reach * 1.001
    shared = _side_by_side(east, north, inside, reach)
    largest = float(np.clip(2000 / max(inside.sum(), 1), 40, _LARGEST))
    size = 6 + (largest - 6) * share / max(share.max(initial=0.0), 1e-300)
    kinds = [kind for kind in _MARKERS if (near["kind"] == kind).any()]
    for kind in kinds:
        of_kind = inside & (near["kind"] == kind).to_numpy()
        for which, order in ((of_kind & (color == _OTHER), 2), (of_kind & (color != _OTHER), 3)):
            ax.scatter(
                east[which], north[which], s=size[which], c=list(fill[which]), alpha=0.85,
                marker=_MARKERS[kind][0], edgecolors=list(edge[which]), zorder=order,
                linewidths=np.where(edge[which] == "white", 0.5, 1.2).tolist(),
            )  # fmt: skip
    if len(kinds) > 1:
        shapes = [
            Line2D(
                [], [], ls="none", marker=_MARKERS[k][0], color=_OTHER, ms=4, label=_MARKERS[k][1]
            )
            for k in kinds
        ]
        ax.legend(
            handles=shapes, handletextpad=0.1, frameon=False, loc="upper left",
            bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0,
        )  # fmt: skip
    ax.plot(0, 0, marker="+", ms=11, mec="black", mew=1.2, zorder=4)
    if explanation.radius_km:
        ax.add_patch(Circle((0, 0), reach, fill=False, ls="--", lw=0.8, color="#555555"))
    ax.set(xlim=(-1.08 * reach, 1.08 * reach), ylim=(-1.08 * reach, 1.08 * reach))
    ax.set(aspect="equal", xlabel="km east", ylabel="km north")
    ax.locator_params(nbins=5)
    text = f"{len(near):,} contributor{'s' * (len(near) != 1)}, sized by share{hollow}"
    if not len(near):
        text = "no contributors but priors" if len(explanation.neighbors) else "no contributors"
    elif not inside.all():
        beyond = share[~inside].sum() / max(share.sum(), 1e-300)
        text += f"\n{(~inside).sum():,} of them beyond the map, with {100 * beyond:.0f} %"
    if shared:
        text += f"\n{shared:,} that share a place are side by side"
    small_text(ax)
    ax.set_title(f"{_title(explanation, ' (+)')}\n{text}", fontsize=7)


def _seen_from(
    lat: float, lon: float, other_lat: np.ndarray, other_lon: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Kilometres east and north of a place, distance and direction true, at the poles too."""
    lam = np.radians(lon)
    east = np.array([-np.sin(lam), np.cos(lam), 0.0])
    up = unit_vectors(np.array([lat]), np.array([lon]))[0]
    others = unit_vectors(other_lat, other_lon)
    flat = others @ np.stack([east, np.cross(up, east)], axis=1)
    sine = np.hypot(*flat.T)
    arc = np.arctan2(sine, others @ up)
    km = flat * (EARTH_RADIUS_KM * arc / np.maximum(sine, 1e-300))[:, None]
    return km[:, 0], km[:, 1]


def _title(explanation: Explanation, mark: str = "") -> str:
    return f"survey {explanation.survey_id}{mark}: {explanation.method}"


def _side_by_side(east: np.ndarray, north: np.ndarray, inside: np.ndarray, reach: float) -> int:
    """Move those at one place to a ring around it, in place; gives how many they are."""
    step = _ONE_PLACE * reach
    rows = pd.DataFrame({"east": np.rint(east / step), "north": np.rint(north / step)})[inside]
    shared = 0
    for _, place in rows.groupby(["east", "north"]):
        num = len(place)
        if num > 1:
            angle = 2 * np.pi * np.arange(num) / num
            away = min(0.05 * reach / np.sin(np.pi / num), _RING * reach)
            east[place.index] += away * np.cos(angle)
            north[place.index] += away * np.sin(angle)
            shared += num
    return shared


def _reach(away: np.ndarray, share: np.ndarray) -> float:
    """Half the side of a map within which most of the share lies, a round number of km."""
    order = np.argsort(away)
    total = np.cumsum(share[order])
    if not len(total) or total[-1] <= 0:
        return max(1.0, float(away.max(initial=0.0)))
    enough = min(int(np.searchsorted(total, _MAPPED * total[-1])), len(order) - 1)
    return max(1.0, float(np.ceil(1.05 * away[order[enough]])))


def _bars(
    ax: Axes,
    explanation: Explanation,
    species: pd.DataFrame,
    names: list[str],
    named: list[str],
) -> None:
    """One bar a species, in it one part a contributor, the rest of them and the priors last.

    Parts above 0 stack to the right of 0, parts below it to the left; what a network starts from
    stands at 0.
    """
    parts = explanation.by_neighbor
    group = parts["contributor"].where(parts["contributor"].isin(named), "other contributors")
    group = group.where(parts["kind"] != "prior", parts["contributor"])
    priors = parts.loc[parts["kind"] == "prior", "contributor"].unique().tolist()
    table = parts.assign(group=group).pivot_table(
        index="species", columns="group", values="share", aggfunc="sum", fill_value=0.0
    )
    table = table.reindex(index=species["species"], fill_value=0.0)
    fills = dict(zip(named, (*_COLORS, *[_OTHER] * len(named)), strict=False))
    fills |= {"other contributors": _OTHER}
    signed = bool((parts["share"] < 0).any())
    base = dict.fromkeys(priors, _PRIOR)
    fills = base | fills if signed else fills | base
    hatches = dict(zip(priors, ("", "////", "....", "xxxx"), strict=False))
    place, left, right = np.arange(len(species)), np.zeros(len(species)), np.zeros(len(species))
    for name in (name for name in fills if name in table):
        value = table[name].to_numpy()
        ax.barh(
            place, value, left=np.where(value < 0, left, right), height=0.75, color=fills[name],
            label=name_of(name), hatch=hatches.get(name, ""), linewidth=0.4,
            edgecolor="white" if name not in hatches else "#888888",
        )  # fmt: skip
        left, right = left + np.minimum(value, 0), right + np.maximum(value, 0)
    if signed:
        ax.axvline(0, color="black", lw=0.6)
        ax.plot(
            species["predicted"], place, "|", ms=10, mec="black", mew=1.6, ls="none",
            label=_PREDICTED, zorder=5,
        )  # fmt: skip
    if "probability" in species:
        beside = ax if not explanation.unit else ax.twiny()
        if explanation.unit:  # not on the scale of a probability
            beside.set_xlim(0, 1)
            beside.set_xlabel(_PROBABILITY, fontsize=8)
            beside.tick_params(labelsize=7)
            beside.spines["right"].set_visible(False)
            ax.plot([], [], "D", ms=3.5, mfc="white", mec="black", mew=0.8, label=_PROBABILITY)
        beside.plot(
            species["probability"], place, "D", ms=3.5, mfc="white", mec="black", mew=0.8,
            ls="none", label=_PROBABILITY if beside is ax else None, zorder=4,
        )  # fmt: skip
    ax.set_yticks(place, names, fontsize=7)
    ax.invert_yaxis()
    ax.tick_params(axis="x", labelsize=7)
    unit = f"\n({explanation.unit})" if explanation.unit else ""
    ax.set_xlabel(f"{explanation.method}{unit}", fontsize=8)
    if not len(species):
        ax.set_axis_off()
        ax.text(0.5, 0.5, "nothing was predicted", ha="center", fontsize=7, transform=ax.transAxes)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
