"""Figures draw the data: bars, points, colours and labels are read back."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from scipy import sparse

from tests.real_data import GLC24, needs_glc24
from tighnari_graph import (
    SurveyDataError,
    SurveyGraph,
    SurveyTable,
    ThresholdTopK,
    explain,
    read_glc24_pa,
    species_vocabulary,
)
from tighnari_graph.figure_columns import plot_boxes, plot_correlations
from tighnari_graph.figure_style import OKABE_ITO, whole_bins
from tighnari_graph.figures import plot_locations, plot_species_frequency
from tighnari_graph.plots import (
    plot_block_shift,
    plot_degrees,
    plot_ladder,
    plot_survey_map,
    plot_threshold_top_k,
)


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
    FigureCanvasAgg(figure).draw()  # a warning is an error in all tests
    return figure


def legible(figure):
    """A column wide, no text below 7 points, and nothing beyond an edge."""
    assert figure.get_figwidth() == 3.5
    canvas = drawn(figure).canvas
    whole = figure.bbox.padded(0.5)
    for ax in figure.axes:
        box = ax.get_tightbbox(canvas.get_renderer())
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1, ax
        assert whole.y0 <= box.y0 and box.y1 <= whole.y1, ax
        names = [*ax.get_xticklabels(), *ax.get_yticklabels(), ax.title, ax.xaxis.label, *ax.texts]
        names += [] if ax.get_legend() is None else ax.get_legend().get_texts()
        assert min(text.get_fontsize() for text in names) >= 7, ax
    return figure


def covers(ax, artist):
    """Whether it lies, at least in part, within the axes."""
    return ax.get_window_extent().padded(-1).overlaps(artist.get_window_extent())


def ticks(axis):
    """What is written at the ticks in view."""
    low, high = axis.get_view_interval()
    places = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
    return [text.get_text() for place, text in places if low <= place <= high]


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
    po, pa, test = (line.get_markersize() for line in ax.lines)
    assert po > pa  # later layers hide no earlier ones
    assert test >= pa
    assert [line.get_marker() for line in ax.lines] == ["o", "o", "x"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("longitude (°)", "latitude (°)")
    assert ax.get_aspect() == pytest.approx(1 / np.cos(np.radians(45.5)))
    legible(ax.get_figure())


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


def clusters(*sizes):
    """Clusters two degrees apart, whose surveys lie at one place each."""
    lat = np.repeat(40.0 + 2 * np.arange(len(sizes)), sizes)
    labels = np.arange(len(lat) * 3).reshape(-1, 3) % 2
    return SurveyGraph.from_surveys(table_of(labels, lat))


def bars(ax):
    """Height of every bar that is there, by the whole number at its middle."""
    for bar in ax.patches:
        assert (bar.get_x() + bar.get_width() / 2) % 1 == pytest.approx(0)
    return {
        round(bar.get_x() + bar.get_width() / 2): bar.get_height()
        for bar in ax.patches
        if bar.get_height()
    }


def test_each_degree_has_a_bar_and_roots_are_rounded():
    graph = clusters(1, 1, 2, 3, 4, 8, 38)
    upper, lower = plot_degrees(graph)
    assert bars(upper) == {0: 2, 1: 2, 2: 3, 3: 4, 7: 8, 37: 38}
    assert bars(lower) == {0: 2, 1: 2 + 3, 2: 4, 3: 8, 6: 38}  # √2 = 1.41, √3 = 1.73, √7 = 2.65
    assert {round(bar.get_width(), 9) for bar in (*upper.patches, *lower.patches)} == {1.0}
    assert ticks(upper.yaxis) == ["1", "2", "5", "10", "20"]
    assert upper.get_ylim()[0] < 1
    legible(upper.get_figure())
    drawn(plot_degrees(clusters(1, 1))[0].get_figure())
    own = tuple(Figure().subplots(1, 2))
    assert plot_degrees(graph, own) == own


@given(st.lists(st.integers(0, 400)))
def test_every_whole_number_falls_in_a_bar_and_all_bars_hold_equally_many(values):
    edges = whole_bins(np.array(values, dtype=np.int64))
    assert len(set(np.diff(edges))) == 1 and len(edges) <= 61
    assert np.diff(edges)[0] % 1 == 0 and edges[0] % 1 == 0.5
    assert all(edges[0] < value < edges[-1] for value in values)


def test_the_map_of_surveys_has_three_kinds_and_plain_numbers():
    graph = clusters(1, 1, 2, 30)
    ax = plot_survey_map(graph, np.array([[41.0, 7.0], [42.0, 7.1], [43.0, 7.2]]))
    test, alone, near = ax.collections
    assert test.get_offsets().tolist() == [[7.0, 41.0], [7.1, 42.0], [7.2, 43.0]]
    assert alone.get_offsets().tolist() == [[7.0, 40.0], [7.0, 42.0]]
    assert near.get_array().tolist() == [1] * 2 + [29] * 30
    assert legend_texts(ax) == ["to predict (3)", "isolates (2)", "with neighbours (32)"]
    figure = legible(ax.get_figure())
    assert ticks(figure.axes[1].xaxis) == ["1", "2", "5", "10", "20"]
    assert not covers(ax, ax.get_legend())
    legible(plot_survey_map(clusters(1, 1)).get_figure())


def test_numbers_and_legend_of_the_ladder_are_beside_its_bars():
    names = ["frequency, Top-K", "regional, then national frequency, Top-K", "neighbour shares"]
    scores, claimed = dict(zip(names, [0.02, 0.4, 0.5], strict=True)), {names[1]: 0.45}
    ax = plot_ladder(scores, claimed)
    assert [bar.get_width() for bar in ax.patches] == [0.5, 0.4, 0.02]
    assert ax.lines[0].get_xydata().tolist() == [[0.45, 1.0]]
    assert [text.get_text() for text in ax.texts] == ["0.500", "0.400", "0.020"]
    assert [text.get_text().replace("\n", " ") for text in ax.get_yticklabels()] == names[::-1]
    assert sorted(legend_texts(ax)) == ["block folds", "random folds"]
    legible(ax.get_figure())
    assert not any(covers(ax, artist) for artist in (ax.get_legend(), *ax.texts))


def test_the_chosen_pair_is_black_on_the_brightest_colour():
    rule = ThresholdTopK.fit(np.random.default_rng(0).random((9, 5)), np.eye(9, 5), ks=[1, 2, 3])
    ax = plot_threshold_top_k(rule)
    [ring] = ax.lines
    assert ring.get_xydata().tolist() == [[rule.threshold, rule.k]]
    assert to_rgba(ring.get_markeredgecolor()) == (0, 0, 0, 1)
    legible(ax.get_figure())
    with pytest.raises(ValueError, match="not fitted"):
        plot_threshold_top_k(ThresholdTopK(1, 0.0))


def test_the_block_shift_is_legible_and_its_legend_covers_nothing():
    graph = clusters(2, 3, 30)
    upper, lower = plot_block_shift(graph, np.arange(35) % 2)
    legible(upper.get_figure())
    assert not covers(upper, upper.get_legend())
    assert lower.get_legend() is None
    assert len(legend_texts(upper)) == 3


def test_figures_leave_pyplot_and_its_settings_as_they_are():
    before, open_figures = dict(matplotlib.rcParams), pyplot.get_fignums()
    table, graph = table_of(np.eye(5)), clusters(1, 4)
    drawn(plot_survey_map(graph).get_figure())
    drawn(plot_degrees(graph)[0].get_figure())
    drawn(plot_block_shift(graph, np.arange(5) % 2)[0].get_figure())
    drawn(plot_ladder({"a": 0.5}, {}).get_figure())
    drawn(plot_locations(table).get_figure())
    drawn(plot_species_frequency(table)[0].get_figure())
    assert pyplot.get_fignums() == open_figures
    assert dict(matplotlib.rcParams) == before


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


# --- names and places that are out of the ordinary -------------------------------------------------

LONG = "Anthyllis vulneraria subsp. polyphylla (DC.) Nyman 1878 and all of its kin"


def near(**columns: object) -> SurveyGraph:
    rows = {"surveyId": [1, 2], "lat": [45.0, 45.01], "lon": 7.0, "year": 2020, "speciesId": "a"}
    return SurveyGraph.from_surveys(SurveyTable.from_long(pd.DataFrame(rows | columns)))


@pytest.mark.parametrize("name", ["A $x_{$ b", "Poa $annua$"])
def test_a_dollar_in_a_name_is_a_dollar(name):
    figure = drawn(explain(near(speciesId=[name, "b"]), 2).plot())
    label = figure.axes[-1].get_yticklabels()[0]
    assert label.get_text().replace("\\$", "$") == name
    frame = pd.DataFrame({name: [1.0, 2.0, 3.0], "region": [name, name, "b"]})
    drawn(plot_correlations(frame))
    drawn(plot_boxes(frame))


def test_long_names_leave_room_for_the_map():
    short = drawn(explain(near(speciesId=["Poa annua", "b"]), 2).plot())
    long = drawn(explain(near(speciesId=[LONG, "b"]), 2).plot())
    wide = [figure.axes[0].get_position().width for figure in (short, long)]
    assert wide[1] > 0.75 * wide[0]
    assert figure_text(long).count("Anthyllis") == 1


def figure_text(figure: Figure) -> str:
    return " ".join(label.get_text() for ax in figure.axes for label in ax.get_yticklabels())


def test_a_map_across_the_antimeridian_is_one_piece():
    lon = np.array([179.98, -179.98, -179.97])
    table = SurveyTable.from_long(
        pd.DataFrame({"surveyId": [1, 2, 3], "lat": [61.0, 61.01, 61.02], "lon": lon, "year": 2020})
    )
    for ax in (
        plot_locations(table.subset(np.array([0])), test=table.subset(np.array([1, 2]))),
        plot_survey_map(SurveyGraph.from_surveys(table), np.array([[61.0, -179.9]])),
    ):
        drawn(ax.figure)
        west, east = ax.get_xlim()
        assert 179 < west < 180 < east < 181
        names = [label.get_text() for label in ax.get_xticklabels()]
        assert any(name.startswith("-179.9") for name in names)
        assert all(-180 <= float(name) <= 180 for name in names)


def test_a_map_of_one_spot_is_a_map():
    rows = pd.DataFrame({"surveyId": [1, 2], "lat": 45.0, "lon": [7.0, 7.5], "year": 2020})
    for some in (rows, rows[:1]):
        figure = drawn(plot_locations(SurveyTable.from_long(some)).figure)
        box = figure.axes[0].get_window_extent()
        assert 0.4 < box.width / box.height < 2.5


def test_from_the_pole_neighbours_lie_in_their_directions():
    table = pd.DataFrame(
        {"surveyId": [1, 2, 3], "lat": [89.99, 89.99, 89.98], "lon": [0.0, 90.0, 0.0], "year": 2020}
    )
    graph = SurveyGraph.from_surveys(SurveyTable.from_long(table.assign(speciesId=1)))
    ax = explain(graph, 1).plot().axes[0]
    at = np.concatenate([points.get_offsets() for points in ax.collections])
    km = graph.neighbors_of(1)["distance_km"].to_numpy()
    np.testing.assert_allclose(sorted(np.hypot(*at.T)), sorted(km), rtol=1e-5)
    east = at[np.argmax(at[:, 0])]
    np.testing.assert_allclose(east, 1.112, rtol=1e-3)  # a quarter turn around the pole


@pytest.mark.parametrize(("ks", "thresholds"), [([3], [0.0]), ([3], [0.2, 0.4]), ([1, 5], [0.0])])
def test_one_k_or_threshold_fills_the_map(ks, thresholds):
    p, y = np.array([[0.9, 0.3], [0.2, 0.8]]), sparse.csr_matrix(np.eye(2, dtype=np.float32))
    ax = plot_threshold_top_k(ThresholdTopK.fit(p, y, ks, thresholds))
    edges = ax.collections[0].get_coordinates()
    assert edges.shape == (len(ks) + 1, len(thresholds) + 1, 2)
    assert (np.ptp(edges, axis=(0, 1)) > 0).all()


def test_values_in_any_order_stand_in_order():
    p, y = np.array([[0.9, 0.3], [0.2, 0.8]]), sparse.csr_matrix(np.eye(2, dtype=np.float32))
    grids = [
        plot_threshold_top_k(ThresholdTopK.fit(p, y, ks, ts)).collections[0]
        for ks, ts in (([1, 2, 3], [0.1, 0.25, 0.85]), ([3, 1, 2], [0.85, 0.1, 0.25]))
    ]
    np.testing.assert_array_equal(*(grid.get_array() for grid in grids))


@pytest.mark.parametrize("scores", [{}, {"a": np.nan}])
def test_a_ladder_without_scores_is_refused(scores):
    with pytest.raises(ValueError, match="steps, all with a finite score, are needed"):
        plot_ladder(scores, {})


def test_the_block_shift_of_surveys_without_species_is_that_of_their_degrees():
    rows = pd.DataFrame({"surveyId": range(4), "lat": [45.0, 45.01, 46.0, 46.01], "lon": 7.0})
    graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows.assign(year=2020)))
    upper, lower = plot_block_shift(graph, np.array([0, 0, 1, 1]))
    assert len(upper.lines) == len(lower.lines) == 3
