"""Figures of what a model sees of a survey: its time series and its satellite image."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from tighnari_graph.figure_style import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    column_figure,
    small_text,
)
from tighnari_models.data.cubes import CUBE_SHAPES

_FIRST_YEAR = 2000
_BANDS = (
    ("red", VERMILION, "-"), ("green", GREEN, "-"), ("blue", BLUE, "-"),
    ("near-infrared", "#000000", "-"), ("short-wave 1", ORANGE, "--"),
    ("short-wave 2", PURPLE, "--"),
)  # fmt: skip
_RAIN = (("", BLUE, "-"),)
_TEMPERATURES = (("mean", "#000000", "-"), ("highest", VERMILION, "-"), ("lowest", SKY, "-"))
_ZERO = 273.15  # degrees Celsius, in kelvin
_PIXEL = 10  # metres
_BRIGHTEST = 98  # percentile of the pixels from which on they are shown white


def plot_cubes(landsat: np.ndarray | None = None, bioclim: np.ndarray | None = None) -> Figure:
    r"""The cubes of one survey as series over time: what Landsat saw, rain and temperature.

    Gaps are values that are missing; a cube without any value is said to be empty.

    Args:
        landsat: of `read_cube`, or None.
        bioclim: likewise.

    Shapes:
        - **landsat:** (6, 4, 20), band × quarter × year
        - **bioclim:** (4, 18, 12), variable × year × month

    Units: Landsat as stored, 0 to 255; rain from hundredths of a millimetre a month to millimetres,
    temperatures from tenths of a kelvin to degrees Celsius.

    Raises:
        ValueError: if there is no cube, or one of another shape.

    Source: Liu et al. 2024, section 2, figure 1.

    Example:
        >>> figure = plot_cubes(bioclim=np.full((4, 18, 12), 2831.5))
        >>> [ax.get_ylabel() for ax in figure.axes]
        ['rain (mm/month)', 'temperature (°C)']
    """
    given = {"landsat": landsat, "bioclim": bioclim}
    cubes = {name: cube for name, cube in given.items() if cube is not None}
    if not cubes:
        raise ValueError("no cube: give landsat, bioclim or both")
    for name, cube in cubes.items():
        if cube.shape != CUBE_SHAPES[name]:
            raise ValueError(f"{name} cube of shape {cube.shape}, expected {CUBE_SHAPES[name]}")
    num = (landsat is not None) + 2 * (bioclim is not None)
    figure = column_figure(1.55 * num + 0.15)
    panels = list(np.atleast_1d(figure.subplots(num, 1, sharex=True)))
    last = panels[-1]
    if landsat is not None:
        bands = landsat.transpose(0, 2, 1).reshape(len(landsat), -1)  # year by year
        _series(panels.pop(0), bands, _BANDS, "Landsat (0–255)", 4)
    if bioclim is not None:
        months = bioclim.reshape(len(bioclim), -1)
        _series(panels.pop(0), months[:1] / 100, _RAIN, "rain (mm/month)", 12)
        _series(panels.pop(0), months[1:] / 10 - _ZERO, _TEMPERATURES, "temperature (°C)", 12)
    years = CUBE_SHAPES["landsat"][2] if landsat is not None else CUBE_SHAPES["bioclim"][1]
    last.set(xlabel="year", xlim=(_FIRST_YEAR, _FIRST_YEAR + years))
    last.xaxis.set_major_locator(MultipleLocator(5))
    return figure


def plot_patch(patch: np.ndarray) -> Figure:
    r"""A satellite image in its natural colours, and what it looks like in near-infrared beside it.

    Black is 0 and white the 98th percentile, of red, green and blue together, so that hues remain.

    Args:
        patch: of `read_patch`: red, green, blue and near-infrared.

    Shapes:
        - **patch:** :math:`(4, H, W)`

    Units: metres on both axes, 10 a pixel.

    Raises:
        ValueError: on another shape.

    Source: Liu et al. 2024, section 2, figure 2.

    Example:
        >>> figure = plot_patch(np.zeros((4, 128, 128), np.uint8))
        >>> [ax.get_title() for ax in figure.axes]
        ['red, green, blue', 'near-infrared']
        >>> figure.axes[0].images[0].get_extent()
        [0, 1280, 0, 1280]
    """
    if patch.ndim != 3 or len(patch) != 4 or not patch.size:
        raise ValueError(f"patch of shape {patch.shape}, expected (4, height, width)")
    figure = column_figure(2.15)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    extent = (0, patch.shape[2] * _PIXEL, 0, patch.shape[1] * _PIXEL)
    left.imshow(_stretched(patch[:3]).transpose(1, 2, 0), extent=extent, interpolation="nearest")
    right.imshow(
        _stretched(patch[3]), extent=extent, interpolation="nearest", cmap="gray", vmin=0, vmax=1
    )
    left.set(title="red, green, blue", xlabel="metres east", ylabel="metres north")
    right.set(title="near-infrared", xlabel="metres east")
    small_text(left, right)
    return figure


def _series(
    ax: Axes, values: np.ndarray, lines: tuple[tuple[str, str, str], ...], unit: str, per_year: int
) -> None:
    """One line per row of values, the first of them at the start of the first year."""
    year = _FIRST_YEAR + (np.arange(values.shape[1]) + 0.5) / per_year
    for row, (name, color, style) in zip(values, lines, strict=True):
        ax.plot(
            year, row, style, color=color, linewidth=0.9, label=name,
            marker="." if per_year == 4 else "", markersize=1.5,
        )  # fmt: skip
    ax.set_ylabel(unit)
    if not np.isfinite(values).any():
        ax.text(0.5, 0.5, "no values", ha="center", va="center", transform=ax.transAxes, size=8)
    if len(lines) > 1:
        ax.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False,
            borderpad=0, handlelength=1.5, labelspacing=0.2,
        )  # fmt: skip
    small_text(ax)


def _stretched(values: np.ndarray) -> np.ndarray:
    """Values from 0 to 1, those that are missing or negative as 0."""
    known = values[np.isfinite(values)]
    high = max(float(np.percentile(known, _BRIGHTEST)), 0.0) if len(known) else 0.0
    return np.clip(np.nan_to_num(values) / (high or 1.0), 0, 1)
