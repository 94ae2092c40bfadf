"""The data figures draw the data: bars, points, colours and labels are read back."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy import sparse

from tests.real_data import GLC24, needs_glc24
from tighnari_graph import SurveyDataError, SurveyTable, read_glc24_pa, species_vocabulary
from tighnari_graph.figure_columns import plot_boxes, plot_correlations
from tighnari_graph.figure_style import OKABE_ITO
from tighnari_graph.figures import plot_locations, plot_species_frequency


def table_of(labels, lat=None, lon=None):
    num = len(labels)
    return SurveyTable(
        np.arange(num), np.linspace(40.0, 50.0, num) if lat is None else np.asarray(lat, float),
        np.full(num, 7.0) if lon is None else np.asarray(lon, float), np.full(num, 2020), None,
        sparse.csr_matrix(np.asarray(labels, dtype=np.float32)), np.arange(np.shape(labels)[1]),
    )  # fmt: skip


def drawn(figure):
    """Drawn whole, at the width of a column, without a warning; layout comes with drawing."""
    assert isinstance(figure, Figure)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()
    return figure


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**16))
def test_frequencies_are_counted_one_by_one(num, species, seed):
    labels = np.random.default_rng(seed).random((num, species)) < 0.4
    left, right = plot_species_frequency(table_of(labels))
    counts = sorted((sum(map(bool, column)) for column in labels.T if any(column)), reverse=True)
    assert [list(line.get_ydata()) for line in left.lines] == [counts]
    assert list(left.lines[0].get_xdata()) == list(range(1, len(counts) + 1))
    rare = sum(count == 1 for count in counts)
    assert left.get_title() == f"{len(counts):,} species, {rare} in one survey only"
    lengths = [sum(map(bool, row)) for row in labels]
    bars = {round(bar.get_x() + 0.5): bar.get_height() for bar in right.patches}
    assert {size: high for size, high in bars.items() if high} == {
        size: lengths.count(size) for size in lengths
    }
    assert right.get_title() == f"median {np.median(lengths):g}"


def test_bars_of_long_lists_hold_equally_many_numbers():
    labels = np.tri(301, 300, -1)  # 0, 1, …, 300 species
    _, right = plot_species_frequency(table_of(labels))
    widths = {round(bar.get_width(), 6) for bar in right.patches}
    assert widths == {6.0}
    assert sum(bar.get_height() for bar in right.patches) == 301
    assert [bar.get_height() for bar in right.patches][:-1] == [6] * (len(right.patches) - 1)


def test_frequency_of_no_surveys_of_none_labelled_and_on_given_axes():
    left, right = plot_species_frequency(table_of(np.zeros((0, 3))))
    assert right.get_title() == "no surveys"
    drawn(left.get_figure())
    left, right = plot_species_frequency(table_of(np.zeros((2, 3))))
    assert left.get_title() == "0 species, 0 in one survey only"
    drawn(left.get_figure())
    axes = Figure().subplots(1, 2)
    assert plot_species_frequency(table_of(np.eye(2)), (axes[0], axes[1])) == tuple(axes)
    without = SurveyTable.from_long(
        pd.DataFrame({"surveyId": [1], "lat": 45.0, "lon": 7.0, "year": 2020})
    )
    with pytest.raises(SurveyDataError, match="no labels"):
        plot_species_frequency(without)


def test_locations_are_where_the_surveys_are_and_counted():
    pa = table_of(np.eye(2), [45.0, 46.0], [7.0, 8.0])
    test = table_of(np.eye(1), [45.5], [7.5])
    po = table_of(np.eye(3), [47.0, 44.0, 47.0], [9.0, 6.0, 9.0])  # the same spot twice
    ax = plot_locations(pa, test, po)
    lines = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert sorted(lines["PO (3)"]) == [[6.0, 44.0], [9.0, 47.0]]
    assert sorted(lines["PA (2)"]) == [[7.0, 45.0], [8.0, 46.0]]
    assert lines["test (1)"] == [[7.5, 45.5]]
    assert legend_texts(ax) == ["PO (3)", "PA (2)", "test (1)"]
    assert [line.get_color() in OKABE_ITO for line in ax.lines] == [True] * 3
    sizes = [line.get_markersize() for line in ax.lines]
    assert sizes == sorted(sizes, reverse=True)  # later layers hide no earlier ones
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("longitude (°)", "latitude (°)")
    assert ax.get_aspect() == pytest.approx(1 / np.cos(np.radians(45.5)))
    drawn(ax.get_figure())


def test_no_survey_is_farther_than_a_spot_from_a_drawn_one():
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(45.0, 45.001, 3000), rng.uniform(7.0, 8.0, 3000)
    [line] = plot_locations(table_of(np.zeros((3000, 1)), lat, lon)).lines
    points = line.get_xydata()
    assert len(points) < 3000
    gap = np.abs(points[None] - np.stack([lon, lat], axis=1)[:, None]).max(axis=2).min(axis=1)
    assert gap.max() <= np.ptp(lon) / 1500
    assert {tuple(point) for point in points} <= set(zip(lon, lat, strict=True))


@pytest.mark.parametrize("num", [0, 1])
def test_a_map_of_none_or_one(num):
    ax = plot_locations(table_of(np.zeros((num, 2))))
    assert legend_texts(ax) == [f"PA ({num})"]
    drawn(ax.get_figure())


def shown(ax):
    """Correlations by the names of row and column."""
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert names == [tick.get_text() for tick in ax.get_xticklabels()]
    return pd.DataFrame(np.ma.filled(ax.collections[0].get_array(), np.nan), names, names)


def pearson(x, y):
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if np.isfinite(a) and np.isfinite(b)]
    if len(pairs) < 3 or len({a for a, _ in pairs}) == 1 or len({b for _, b in pairs}) == 1:
        return np.nan
    a, b = np.transpose(pairs)
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())


def some_frame(num=60, seed=0):
    rng = np.random.default_rng(seed)
    warm = rng.normal(size=num)
    frame = pd.DataFrame(
        {
            "warm": warm, "soil": rng.normal(size=num), "warmer": warm + rng.normal(0, 0.1, num),
            "flat": 3.0, "word": "a", "cold": -warm + rng.normal(0, 0.2, num), "yes": True,
            "empty": np.nan, "region": np.array(["ALPINE", "ATLANTIC", None])[np.arange(num) % 3],
        }
    )  # fmt: skip
    frame.loc[frame.index[:6], "soil"] = np.nan
    frame.loc[frame.index[6:7], "soil"] = -np.inf
    return frame


def test_correlations_are_pearsons_over_pairs_that_are_there():
    frame = some_frame()
    figure = plot_correlations(frame)
    found = shown(figure.axes[0])
    assert set(found) == {"warm", "soil", "warmer", "flat", "cold"}
    for one in found:
        for other in found:
            expected = pearson(frame[one], frame[other])
            assert found.loc[one, other] == pytest.approx(expected, nan_ok=True, abs=1e-12)
    places = [list(found).index(name) for name in ("warm", "warmer", "cold")]
    assert max(places) - min(places) == 2  # what goes together stands together
    mesh, bar = figure.axes[0].collections[0], figure.axes[-1]
    assert (mesh.norm.vmin, mesh.norm.vmax, bar.get_xlabel()) == (-1, 1, "Pearson's r")
    assert figure.axes[0].get_title() == "all surveys (60)"
    assert drawn(figure).get_figwidth() == 3.5


def test_a_column_stands_beside_its_negative():
    values = np.random.default_rng(1).normal(size=(200, 6))
    frame = pd.DataFrame(np.hstack([values, -values]), columns=list("abcdefABCDEF"))
    names = "".join(shown(plot_correlations(frame).axes[0]))
    assert all(one + one.upper() in names or one.upper() + one in names for one in "abcdef")


def test_correlations_by_group_leave_out_surveys_without_one():
    frame = some_frame()
    figure = drawn(plot_correlations(frame, "region", ["warm", "cold", "soil"]))
    panels = figure.axes[:2]
    assert [ax.get_title() for ax in panels] == ["ALPINE (20)", "ATLANTIC (20)"]
    for ax, name in zip(panels, ["ALPINE", "ATLANTIC"], strict=True):
        rows, found = frame[frame["region"] == name], shown(panels[0])
        values = np.ma.filled(ax.collections[0].get_array(), np.nan)
        for i, one in enumerate(found):
            for j, other in enumerate(found):
                assert values[i, j] == pytest.approx(pearson(rows[one], rows[other]), nan_ok=True)
    again = plot_correlations(frame, frame["region"].to_numpy(), ["warm", "cold", "soil"])
    assert [ax.get_title() for ax in again.axes[:2]] == [ax.get_title() for ax in panels]


@pytest.mark.parametrize("plot", [plot_correlations, plot_boxes])
def test_frames_that_cannot_be_drawn_say_why(plot):
    frame = some_frame()
    with pytest.raises(SurveyDataError, match="no column height"):
        plot(frame, "region", ["height"])
    with pytest.raises(SurveyDataError, match="no numbers in column word, yes"):
        plot(frame, "region", ["word", "warm", "yes"])
    with pytest.raises(SurveyDataError, match="no column of numbers among 2"):
        plot(frame[["word", "region"]], "region")
    with pytest.raises(SurveyDataError, match="no column 'biome'"):
        plot(frame, "biome")
    with pytest.raises(ValueError, match="2 values for 60 surveys"):
        plot(frame, ["a", "b"])
    with pytest.raises(ValueError, match="by: 60 values, expected 1 to 8"):
        plot(frame, np.arange(60))
    with pytest.raises(ValueError, match="by: 0 values"):
        plot(frame.iloc[:0], "region", ["warm"])


@pytest.mark.parametrize("num", [0, 1])
def test_correlations_of_none_or_one_are_grey(num):
    figure = plot_correlations(some_frame().iloc[6 : 6 + num], columns=["warm", "soil", "flat"])
    assert shown(figure.axes[0]).isna().all(axis=None)
    drawn(figure)


def test_boxes_hold_the_middle_half_and_whiskers_nine_tenths():
    frame = some_frame(600)
    figure = drawn(plot_boxes(frame, columns=["warm", "soil"], units={"soil": "g/kg"}))
    assert [ax.get_ylabel() for ax in figure.axes] == ["warm", "soil (g/kg)"]
    for ax, name in zip(figure.axes, ["warm", "soil"], strict=True):
        for place, region in enumerate(["ALPINE", "ATLANTIC"]):
            values = frame.loc[frame["region"] == region, name]
            values = values[np.isfinite(values)]
            corners = ax.patches[place].get_path().vertices[:, 1]
            assert (corners.min(), corners.max()) == pytest.approx(values.quantile([0.25, 0.75]))
            low, high = values.quantile(0.05), values.quantile(0.95)
            inside = values[values.between(low, high)]
            caps = [line.get_ydata()[1] for line in ax.lines[place * 5 : place * 5 + 2]]
            assert caps == pytest.approx([inside.min(), inside.max()])
            assert ax.lines[place * 5 + 4].get_ydata()[0] == pytest.approx(values.median())
            assert ax.patches[place].get_facecolor()[:3] == pytest.approx(
                tuple(int(OKABE_ITO[place][i : i + 2], 16) / 255 for i in (1, 3, 5))
            )
    key = [text.get_text() for text in figure.legends[0].get_texts()]
    assert key == ["ALPINE (200)", "ATLANTIC (200)"]


def test_boxes_of_empty_constant_and_single_values():
    frame = some_frame(3)
    figure = drawn(plot_boxes(frame, columns=["empty", "flat", "soil"]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["no values"]
    assert figure.axes[1].lines[4].get_ydata().tolist() == [3.0, 3.0]
    assert [text.get_text() for text in figure.axes[2].texts] == ["no values"]
    assert [ax.get_ylabel() for ax in drawn(plot_boxes(some_frame())).axes][-1] == ""


def test_groups_keep_the_order_of_categories():
    frame = some_frame().assign(
        size=lambda rows: pd.Categorical(np.where(rows["warm"] > 0, "big", "small"), ["small", "big"])
    )  # fmt: skip
    figure = plot_boxes(frame, "size", ["warm"])
    assert [text.get_text()[:3] for text in figure.legends[0].get_texts()] == ["sma", "big"]


def test_many_columns_are_all_drawn_two_printed_columns_wide():
    frame = pd.DataFrame({f"HumanFootprint-Roads{i}": np.arange(9.0) + i for i in range(17)})
    figure = drawn(plot_boxes(frame, ["a", "b", "c"] * 3))
    assert figure.get_figwidth() == 7
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert labels[:17] == [f"HumanFootprint-\nRoads{i}" for i in range(17)]


@needs_glc24
def test_real_surveys():
    path = GLC24 / "GLC24_PA_metadata_train.csv"
    table = read_glc24_pa(path, species_vocabulary(path))
    left, right = plot_species_frequency(table)
    assert left.get_title().startswith("2,700 species, ")
    assert sum(left.lines[0].get_ydata()) == table.known_labels().nnz
    assert sum(bar.get_height() for bar in right.patches) == len(table)
    assert legend_texts(plot_locations(table)) == ["PA (3,284)"]
