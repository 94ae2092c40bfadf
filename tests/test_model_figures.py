"""Figures of models draw what the models are; those of scores draw the scores."""

import itertools
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.small_models import SPECIES, every_modality, small_config, surveys
from tests.test_figures import covers, legend_texts, legible, ticks
from tighnari_graph import SurveyDataError, reliability
from tighnari_graph.figure_scores import plot_f1_by, plot_f1_map, plot_reliability
from tighnari_models.config import TighnariConfig
from tighnari_models.data.cubes import BIOCLIM_SHAPE, LANDSAT_SHAPE
from tighnari_models.encoders.make import make_encoder
from tighnari_models.evaluation import evaluate
from tighnari_models.figure_architecture import plot_architecture
from tighnari_models.figure_tokens import plot_token_grids, token_grids
from tighnari_models.figures import plot_cubes, plot_patch
from tighnari_models.plots import plot_evaluation, plot_history, plot_steps
from tighnari_models.tighnari import Tighnari


def drawn(figure):
    """Drawn whole, at the width of a column, without a warning; layout comes with drawing."""
    assert isinstance(figure, Figure)
    assert figure.get_figwidth() == 3.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FigureCanvasAgg(figure).draw()
    return figure


def test_cubes_are_flattened_year_by_year():
    rng = np.random.default_rng(0)
    landsat = rng.uniform(0, 255, LANDSAT_SHAPE).astype(np.float32)
    bioclim = rng.uniform(2600, 3000, BIOCLIM_SHAPE).astype(np.float32)
    landsat[3, 1, 7] = np.nan
    bands, rain, warmth = drawn(plot_cubes(landsat, bioclim)).axes
    assert [line.get_label() for line in bands.lines][:4] == [
        "red", "green", "blue", "near-infrared"
    ]  # fmt: skip
    for band, line in enumerate(bands.lines):
        for year in range(20):
            for quarter in range(4):
                x, y = line.get_xydata()[4 * year + quarter]
                assert x == 2000 + year + (quarter + 0.5) / 4
                assert y == pytest.approx(landsat[band, quarter, year], nan_ok=True)
    assert np.isnan(bands.lines[3].get_ydata()[29])
    assert rain.lines[0].get_ydata()[12 * 5 + 2] == pytest.approx(bioclim[0, 5, 2] / 100)
    for variable, name in enumerate(["mean", "highest", "lowest"], 1):
        line = warmth.lines[variable - 1]
        assert line.get_label() == name
        celsius = bioclim[variable, 5, 2] / 10 - 273.15
        assert line.get_ydata()[12 * 5 + 2] == pytest.approx(celsius, abs=1e-3)
        assert line.get_xdata()[12 * 5 + 2] == pytest.approx(2005 + 2.5 / 12)
    units = [ax.get_ylabel() for ax in (bands, rain, warmth)]
    assert units == ["Landsat (0–255)", "rain (mm/month)", "temperature (°C)"]
    assert warmth.get_xlabel() == "year"
    assert warmth.get_xlim() == (2000, 2020)  # all of Landsat too


def test_one_cube_an_empty_one_none_and_a_wrong_one():
    figure = drawn(plot_cubes(np.full(LANDSAT_SHAPE, np.nan)))
    assert [text.get_text() for text in figure.axes[0].texts] == ["no values"]
    assert drawn(plot_cubes(bioclim=np.zeros(BIOCLIM_SHAPE))).axes[1].get_xlim() == (2000, 2018)
    with pytest.raises(ValueError, match="no cube"):
        plot_cubes()
    with pytest.raises(ValueError, match=r"landsat cube of shape \(6, 4, 21\), expected"):
        plot_cubes(np.zeros((6, 4, 21)))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_patches_are_stretched_and_oriented(kind):
    rng = np.random.default_rng(0)
    patch = rng.integers(0, 200, (4, 40, 60)).astype(kind)
    left, right = drawn(plot_patch(patch)).axes
    high = np.percentile(patch[:3], 98)
    rgb = left.images[0].get_array()
    for band, row, column in [(0, 0, 0), (1, 3, 50), (2, 39, 59)]:
        value = min(patch[band, row, column] / high, 1)
        assert rgb[row, column, band] == pytest.approx(value, abs=1e-6)
    infrared = np.minimum(patch[3] / np.percentile(patch[3], 98), 1)
    np.testing.assert_allclose(right.images[0].get_array(), infrared, atol=1e-6)
    assert left.images[0].get_extent() == [0, 600, 0, 400]  # the first row is the north
    assert left.images[0].origin == "upper"
    assert (left.get_xlabel(), left.get_ylabel()) == ("metres east", "metres north")


def test_patches_of_one_value_missing_ones_and_wrong_ones():
    left, _ = drawn(plot_patch(np.zeros((4, 8, 8), np.uint8))).axes
    assert not left.images[0].get_array().any()
    left, _ = drawn(plot_patch(np.full((4, 8, 8), -7, np.int16))).axes
    assert not left.images[0].get_array().any()
    holes = np.full((4, 8, 8), np.nan, np.float32)
    drawn(plot_patch(holes))
    holes[:, 0, 0] = 1.0
    drawn(plot_patch(holes))
    for shape in [(3, 8, 8), (4, 8), (4, 0, 8)]:
        with pytest.raises(ValueError, match="patch of shape"):
            plot_patch(np.zeros(shape, np.uint8))


@pytest.fixture(scope="module")
def evaluation():
    table = surveys()
    region = np.where(table.lat < 47, "SOUTH", "NORTH").astype(object)
    region[0] = None

    def frequency(train, held_out):
        return np.tile(train.labels.toarray().mean(axis=0), (len(held_out), 1))

    return evaluate(frequency, replace(table, region=region), num_folds=3)


def test_groups_have_their_scores_intervals_and_counts(evaluation):
    ax = plot_f1_by(evaluation)
    for number, one in enumerate([evaluation, evaluation.random]):
        points, _, (bars,) = ax.containers[number]
        rows = one.by("region")
        assert list(rows.index) == ["NORTH", "SOUTH", "missing"]
        for place, (name, row) in enumerate(rows.iterrows()):
            mine = (one.surveys.column("region").fillna("missing") == name).to_numpy()
            assert points.get_xdata()[place] == pytest.approx(one.survey_f1[mine].mean())
            assert points.get_ydata()[place] == place + 0.3 * number
            if np.isfinite(row["from"]):
                ends = bars.get_segments()[place][:, 0]
                assert ends == pytest.approx([row["from"], row["to"]])
            else:  # one block has no interval
                assert np.ptp(bars.get_segments()[place][:, 0]) == 0
    counts = evaluation.by("region")["surveys"]
    texts = [text.get_text() for text in ax.get_yticklabels()]
    assert texts == [f"{name} ({count})" for name, count in counts.items()]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "block folds", "random folds"
    ]  # fmt: skip
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("samples-F1", "region")
    legible(ax.get_figure())
    assert not covers(ax, ax.get_legend())


def test_groups_that_depend_on_the_folds_are_not_compared(evaluation):
    ax = plot_f1_by(evaluation, "degree")
    assert len(ax.containers) == 1
    assert ax.get_ylabel() == "training neighbours"
    drawn(ax.get_figure())
    own = Figure().subplots()
    assert plot_f1_by(replace(evaluation, random=None), "year", own) is own
    with pytest.raises(SurveyDataError, match="no column 'biome'"):
        plot_f1_by(evaluation, "biome")


def test_calibration_is_drawn_up_to_the_edges_and_random_folds_are_hollow(evaluation):
    ax = plot_reliability(evaluation)
    points = []
    for line, one in zip(ax.lines, [evaluation, evaluation.random], strict=False):
        bins = reliability(one.probabilities, one.labels)
        bins = bins[(bins["probability"] > 0) & (bins["observed"] > 0)]
        assert line.get_xydata().tolist() == bins[["probability", "observed"]].to_numpy().tolist()
        points.append(line.get_xydata())
    low = np.concatenate(points).min()
    assert ax.get_xlim() == ax.get_ylim() == pytest.approx((low / 1.25, 1.1))
    assert [line.get_markerfacecolor() for line in ax.lines[:2]] == [
        ax.lines[0].get_color(),
        "white",
    ]
    assert set(ticks(ax.xaxis)) <= {"0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"}
    legible(ax.get_figure())
    votes = replace(evaluation, random=None, probabilities=np.full((48, 7), 2.0))
    for one in (votes, replace(votes, random=replace(votes, kind="random folds"))):
        ax = plot_reliability(one)
        assert (ax.get_title(), ax.get_legend()) == ("no probabilities", None)
        legible(ax.get_figure())


def test_an_evaluation_is_one_column_of_three_panels(evaluation):
    figure = legible(plot_evaluation(evaluation))
    left = [ax.get_window_extent() for ax in figure.axes]
    assert all(one.y0 > other.y1 for one, other in itertools.pairwise(left))
    legible(plot_evaluation(replace(evaluation, random=None)))


def history(num, start=0.5):
    loss = start + np.square(np.arange(num) - num // 2) / 100
    return pd.DataFrame({"epoch": np.arange(num), "train_loss": loss / 2, "val_loss": loss})


def test_seven_histories_differ_and_the_best_epoch_is_marked():
    histories = {f"without part {number}": history(9, 0.1 * number) for number in range(7)}
    ax = plot_history(histories)
    training, validation = ax.lines[::2], ax.lines[1::2]
    assert legend_texts(ax) == list(histories)
    assert len({line.get_color() for line in validation}) == 7
    for one, other, rows in zip(training, validation, histories.values(), strict=True):
        assert (
            one.get_xydata().tolist()
            == (rows[["epoch", "train_loss"]] + [1, 0]).to_numpy().tolist()
        )
        assert (
            other.get_xydata().tolist()
            == (rows[["epoch", "val_loss"]] + [1, 0]).to_numpy().tolist()
        )
        assert one.get_color() == other.get_color()
        assert (one.get_linestyle(), other.get_linestyle()) == ("--", "-")
        assert other.get_markevery() == [4]
    legible(ax.get_figure())
    assert not covers(ax, ax.get_legend())
    many = plot_history({f"fold {number}": history(9) for number in range(40)}).lines[1::2]
    assert len({(line.get_color(), line.get_marker()) for line in many}) == 40


def test_a_history_without_validation_marks_nothing():
    lines = plot_history({"all": history(3).assign(val_loss=np.nan)}).lines
    assert lines[1].get_markevery() == []


def test_steps_are_points_with_intervals_and_values():
    table = pd.DataFrame(
        {"samples-F1": [0.2, 0.35], "from": [0.1, np.nan], "to": [0.31, np.nan]},
        index=["Top-K", "Threshold Top-K and PO lists"],
    )
    ax = plot_steps(table)
    [(points, _, (lines,))] = ax.containers
    assert points.get_xydata().tolist() == [[0.2, 0.0], [0.35, 1.0]]
    ends = np.array(lines.get_segments())[..., 0]
    np.testing.assert_allclose(ends, [[0.1, 0.31], [0.35, 0.35]])
    texts = [text.get_text() for text in ax.get_yticklabels()]
    assert texts == ["Top-K\n0.200 (0.100–0.310)", "Threshold Top-K and PO lists\n0.350"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first above
    legible(ax.get_figure())


def test_the_map_holds_the_mean_of_each_cell(evaluation):
    ax = plot_f1_map(evaluation, cell_km=80.0)
    mesh, table = ax.collections[0], evaluation.surveys
    corners = mesh.get_coordinates()
    lon, lat = corners[0, :, 0], corners[:, 0, 1]
    values = mesh.get_array()
    seen = 0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            inside = (table.lat >= lat[i]) & (table.lat < lat[i + 1])
            inside &= (table.lon >= lon[j]) & (table.lon < lon[j + 1])
            assert bool(np.ma.getmaskarray(values)[i, j]) == (not inside.any())
            if inside.any():
                assert values[i, j] == pytest.approx(evaluation.survey_f1[inside].mean())
            seen += inside.sum()
    assert seen == len(table)
    np.testing.assert_allclose(np.diff(lat) * 111.195, 80.0)
    assert mesh.norm.vmin == 0
    assert mesh.norm.vmax == pytest.approx(np.quantile(values.compressed(), 0.98))
    bar = ax.get_figure().axes[1]
    assert bar.get_xlabel() == "F1, mean of 80 km cells"
    assert ax.get_title() == f"frequency, block folds: {evaluation.score:.3f}"
    drawn(ax.get_figure())


def test_maps_of_one_survey_and_of_no_score_and_cells_out_of_range(evaluation):
    one = replace(
        evaluation, surveys=evaluation.surveys.subset(np.arange(1)), random=None,
        survey_f1=np.zeros(1), folds=evaluation.folds[:1], blocks=evaluation.blocks[:1],
    )  # fmt: skip
    ax = plot_f1_map(one)
    assert ax.collections[0].get_array().tolist() == [[0.0]]
    drawn(ax.get_figure())
    for size in [0.0, -1.0, np.nan, np.inf]:
        with pytest.raises(ValueError, match="cell_km must be a positive number"):
            plot_f1_map(evaluation, size)
    with pytest.raises(ValueError, match="makes .* cells; take more"):
        plot_f1_map(evaluation, 1e-3)


CONFIGS = {
    "paper": TighnariConfig(11255),
    "small": every_modality(modalities=("image", "landsat", "bioclim", "table", "gfv", "scales")),
    "narrow windows": TighnariConfig(
        7, modalities=("landsat", "bioclim"), fusion="concat", temporal_pad_window=False
    ),
    "vit": TighnariConfig(
        7, modalities=("landsat", "bioclim"), fusion="concat", temporal_encoder="vit"
    ),
    "resnet": TighnariConfig(
        7, modalities=("landsat", "bioclim", "table"), fusion="concat",
        temporal_encoder="resnet18", drop_path_rate=0.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_grids_are_those_of_the_encoders_themselves(config):
    names = [name for name in ("landsat", "bioclim", "image") if name in config.modalities]
    axes = iter(drawn(plot_token_grids(config)).axes)
    for name in names:
        encoder, grids = make_encoder(name, config), token_grids(name, config)
        if hasattr(encoder, "grid_sizes"):
            assert tuple(grid.cells for grid in grids[1:]) == encoder.grid_sizes
        else:
            assert encoder.grid_size in (None, grids[-1].cells)
            assert np.prod(grids[-1].cells) == encoder.num_tokens
        for grid in grids:
            ax = next(axes)
            blocks = np.ma.filled(ax.collections[0].get_array(), -1)
            assert blocks.shape == grid.cells
            for row in range(0, grid.cells[0], 5):
                for column in range(grid.cells[1]):
                    turn = row // grid.block[0] + column // grid.block[1]
                    assert blocks[row, column] == turn % 2
            assert (ax.get_title(), ax.get_ylim()) == (grid.title, (grid.cells[0], 0))
    assert next(axes, None) is None


def test_windows_are_those_that_the_blocks_use():
    padded, narrow = (token_grids("landsat", CONFIGS[name]) for name in ("paper", "narrow windows"))
    assert [grid.block for grid in padded] == [(2, 5), (2, 3), (1, 2)]
    assert [grid.block for grid in narrow] == [(2, 5), (2, 2), (1, 2)]


def test_a_model_without_cubes_and_image_has_no_grids():
    with pytest.raises(ValueError, match="modalities are table, gfv, expected any of landsat"):
        plot_token_grids(small_config())


def texts_of(config):
    figure = drawn(plot_architecture(config))
    return figure, [text.get_text() for text in figure.axes[0].texts if text.get_text()]


@pytest.mark.parametrize("tokens", [True, False])
def test_the_architecture_has_the_sizes_of_the_model(tokens):
    config = every_modality(num_table_features=9, tokens=tokens)
    _, texts = texts_of(config)
    model = Tighnari(config)
    for name in ("image", "landsat", "bioclim"):
        encoder = model.encoders[name]
        if hasattr(encoder, "grid_sizes"):
            number = int(np.prod(encoder.grid_sizes[-1]))
        else:
            number = encoder.num_tokens
        number = number if tokens else 1
        assert any(text.endswith(f"\n{number} × {encoder.num_features}") for text in texts), name
    assert f"side by side: {model.fusion.num_features}" in texts
    assert f"Linear: {model.head.out_features} logits" in texts
    assert f"[A₁, A₂] + Linear(C)\n{model.fusion.residual.out_features}" in texts
    assert f"MHCA, {model.fusion.graph.num_heads} heads\n{config.fusion_dim}" in texts
    assert "table\n9 columns" in texts
    assert ("2 Linear\n2 tokens" in texts) == tokens


def test_concatenation_has_no_attention_and_scales_are_added():
    _, texts = texts_of(small_config(modalities=("table", "scales")))
    assert texts[-1] == f"Linear: {SPECIES} logits + log-odds of scales"
    assert "side by side, Linear: 768" in texts
    assert not any("CA" in text for text in texts)
    assert "table\ncolumns" in texts


@pytest.mark.parametrize("config", [*CONFIGS.values(), small_config()], ids=[*CONFIGS, "concat"])
def test_no_text_leaves_the_figure_and_none_lies_on_another(config):
    figure, _ = texts_of(config)
    boxes = [
        text.get_window_extent() for text in figure.axes[0].texts if text.get_text()
    ]  # fmt: skip
    width, height = figure.canvas.get_width_height()
    for place, box in enumerate(boxes):
        assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height
        assert not any(box.overlaps(other) for other in boxes[:place])
