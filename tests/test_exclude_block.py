"""`exclude_block=`: training features as if the survey's own block were unseen."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.inputs import survey_table
from tests import oracles, strategies
from tests.real_data import GLC24, needs_glc24
from tests.small_models import relabelled, split_data, surveys
from tests.strategies import SPECIES, on_a_meridian, records
from tighnari_graph import (
    SurveyGraph,
    SurveyTable,
    block_folds,
    block_ids,
    graph_feature_vectors,
    random_folds,
    read_glc24_pa,
)
from tighnari_graph.block_shift import EXCLUDED, HELD_OUT, TRAINING, feature_shift, shift_rows
from tighnari_graph.gfv import GFVScaler
from tighnari_graph.plots import plot_block_shift
from tighnari_graph.splits import blocks_to_exclude
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.data.graph_rows import GraphRows

ROOT = Path(__file__).parents[1]


def dense(graph, **options) -> np.ndarray:
    return graph_feature_vectors(graph, **options).to_dense().numpy()


@strategies.SOME
@given(
    strategies.survey_frames(min_surveys=2),
    st.integers(0, 99),
    st.sampled_from(["count", "weight"]),
    st.booleans(),
)
def test_features_are_those_of_the_loop_without_the_edges_of_a_block(frame, seed, degree, some):
    table = SurveyTable.from_long(frame, species_ids=np.array(SPECIES))
    graph = SurveyGraph.from_surveys(table)
    rng = np.random.default_rng(seed)
    block = rng.integers(0, 3, len(table))
    visible = rng.random(len(table)) < 0.6 if some else None
    edges = oracles.survey_edges(oracles.group_rows(records(frame)))
    apart = [(j, i, km) for j, i, km in oracles.with_weights(edges) if block[j] != block[i]]
    expected = oracles.gfv(
        table.labels.toarray(),
        apart,
        len(table),
        degree,
        None if visible is None else list(visible),
    )
    options = {"visible": visible, "degree": degree, "exclude_block": block}
    np.testing.assert_allclose(
        dense(graph, normalize=None, **options), expected, rtol=1e-4, atol=1e-5
    )
    largest = oracles.largest_visible_entry(expected, visible) or 1.0
    np.testing.assert_allclose(dense(graph, **options), expected / largest, rtol=1e-4, atol=1e-5)


def test_a_training_feature_is_the_one_that_the_survey_has_when_its_block_is_held_out():
    table = survey_table(300, num_species=23, per_cluster=60)
    graph, block = SurveyGraph.from_surveys(table), block_ids(table.lat, table.lon)
    found = dense(graph, exclude_block=10.0, normalize=None)
    assert np.array_equal(found, dense(graph, exclude_block=block, normalize=None))
    assert np.array_equal(
        found, dense(graph, exclude_block=torch.from_numpy(block), normalize=None)
    )
    for number in np.unique(block):
        hidden = dense(graph, visible=block != number, normalize=None)
        assert np.array_equal(found[block == number], hidden[block == number])
    assert not np.array_equal(found, dense(graph, normalize=None))
    assert np.array_equal(
        dense(graph, exclude_block=np.arange(300), normalize=None), dense(graph, normalize=None)
    )


def test_test_nodes_change_by_the_scale_only():
    table = survey_table(300, num_species=23, per_cluster=60)
    block = block_ids(table.lat, table.lon)
    train, test = table.subset(block % 4 > 0), table.subset(block % 4 == 0)
    hetero = SurveyGraph.from_surveys(train).attach(replace(test, labels=None))
    plain, changed = (dense(hetero, target="test", exclude_block=km) for km in (None, 10.0))
    raw = dense(hetero, target="test", normalize=None)
    assert np.array_equal(raw, dense(hetero, target="test", normalize=None, exclude_block=10.0))
    largest = dense(hetero, normalize=None, exclude_block=10.0).max()
    assert largest < dense(hetero, normalize=None).max()
    np.testing.assert_allclose(changed, raw / largest, rtol=1e-6)
    assert not np.allclose(plain, changed)


def test_blocks_that_are_none_are_refused():
    graph = SurveyGraph.from_surveys(survey_table(60, num_species=5))
    with pytest.raises(ValueError, match="exclude_block has 59 block numbers for 60 surveys"):
        graph_feature_vectors(graph, exclude_block=np.zeros(59, dtype=int))
    with pytest.raises(ValueError, match="whole numbers, one per survey, got float64"):
        graph_feature_vectors(graph, exclude_block=np.zeros(60))
    with pytest.raises(ValueError, match="block_km must be a positive"):
        graph_feature_vectors(graph, exclude_block=0.0)
    assert blocks_to_exclude(np.uint8([3, 3]), np.zeros(2), np.zeros(2)).dtype == np.int64


# --- data module ----------------------------------------------------------------------------------


def rows_of(data: SurveyDataModule, rows: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Graph features of these surveys as batches hold them, before any scale."""
    near = data._graph_rows(visible).batch(np.flatnonzero(rows), GFVScaler(None))
    sparse = near if isinstance(near, torch.Tensor) else near.rows()
    return sparse.to_dense().numpy()


@pytest.mark.parametrize("way", ["sliced", "on_the_fly"])
def test_training_surveys_alone_lose_their_own_block(way):
    table = survey_table(240, num_species=23, per_cluster=60)
    train = np.random.default_rng(0).random(240) < 0.7  # not whole blocks
    plain = SurveyDataModule(table, gfv=way)
    changed = SurveyDataModule(table, gfv=way, exclude_block=10.0)
    expected = dense(plain.graph, visible=train, normalize=None, exclude_block=10.0)
    np.testing.assert_allclose(rows_of(changed, train, train), expected[train], rtol=1e-5)
    before = dense(plain.graph, visible=train, normalize=None)
    np.testing.assert_allclose(rows_of(changed, ~train, train), before[~train], rtol=1e-5)
    assert not np.allclose(expected[train], before[train])
    assert not np.allclose(expected[~train], before[~train])
    scales = [d.with_split(train, ~train).preprocessing.gfv.scale for d in (plain, changed)]
    np.testing.assert_allclose(scales, [before[train].max(), expected[train].max()], rtol=1e-5)


def test_features_that_are_learned_from_do_not_know_their_blocks_labels():
    """To the bit: other labels of a block change no feature of that block's training surveys."""
    table = surveys()
    block = block_ids(table.lat, table.lon)
    train = np.ones(len(table), dtype=bool)
    one = block == block[0]
    options = {"exclude_block": 10.0, "normalize": None, "modalities": ("table", "gfv")}
    before = SurveyDataModule(table, **options)
    after = SurveyDataModule(relabelled(table, np.flatnonzero(one)), **options)
    assert np.array_equal(rows_of(before, one, train), rows_of(after, one, train))
    plain = replace_exclusion(before)
    assert not np.array_equal(rows_of(plain, one, train), rows_of(before, one, train))


def replace_exclusion(data: SurveyDataModule) -> SurveyDataModule:
    return SurveyDataModule(data.surveys, normalize=None, modalities=data.modalities)


def test_the_module_hands_the_switch_on(tmp_path):
    table = survey_table(120, num_species=23, per_cluster=40)
    test = survey_table(30, num_species=23, per_cluster=40, seed=1)
    data = SurveyDataModule(table, replace(test, labels=None), exclude_block=10.0, normalize=None)
    plain = SurveyDataModule(table, replace(test, labels=None), normalize=None)
    everyone = np.ones(len(table), dtype=bool)
    first, second = (
        next(iter(d.with_split(everyone, ~everyone).test_dataloader())).gfv for d in (data, plain)
    )
    assert torch.equal(first.to_dense(), second.to_dense())
    frame = table_rows(table)
    frame.to_csv(tmp_path / "GLC24_PA_metadata_train.csv", index=False)
    frame.drop(columns="speciesId").to_csv(tmp_path / "GLC24_PA_metadata_test.csv", index=False)
    read = SurveyDataModule.from_folder(
        tmp_path, tmp_path / "prepared", ("table", "gfv"), exclude_block=25.0
    )
    assert read.exclude_block == 25.0
    assert np.array_equal(read._block, block_ids(read.surveys.lat, read.surveys.lon, 25.0))
    with pytest.raises(ValueError, match="block_km must be a positive"):
        split_data(exclude_block=-1.0)


def table_rows(table: SurveyTable) -> pd.DataFrame:
    """Long rows of a generated table."""
    row, column = table.labels.nonzero()
    return pd.DataFrame(
        {
            "surveyId": table.survey_id[row], "lat": table.lat[row], "lon": table.lon[row],
            "year": table.year[row], "region": table.region[row],
            "speciesId": table.species_ids[column],
        }
    )  # fmt: skip


def test_blocks_of_other_surveys_than_the_sources_are_refused():
    graph = SurveyGraph.from_surveys(survey_table(60, num_species=5))
    with pytest.raises(ValueError, match="60 block numbers for 60 sources and 59 targets"):
        GraphRows(
            graph.y, graph.edge_index[:, :0], graph.edge_weight[:0], 59, np.ones(60, bool),
            block=np.zeros(60, dtype=np.int64),
        )  # fmt: skip


# --- the shift ------------------------------------------------------------------------------------


def hand_example() -> tuple[SurveyGraph, np.ndarray, np.ndarray]:
    """Blocks of two surveys, 1 km apart within and 4 km to the next; a fold a block."""
    frame = on_a_meridian((1, 0.0, [3]), (2, 1.0, [3]), (3, 5.0, [17]), (4, 6.0, [17]))
    table = SurveyTable.from_long(frame)
    return SurveyGraph.from_surveys(table), np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])


def test_the_shift_by_hand():
    graph, folds, block = hand_example()
    rows = shift_rows(graph, folds, block)
    assert rows.groupby(["surveys", "fold"]).size().tolist() == [2] * 6
    kind = dict(list(rows.groupby("surveys")))
    assert kind[HELD_OUT]["degree"].tolist() == [2, 2, 2, 2]
    assert kind[TRAINING]["degree"].tolist() == [1, 1, 1, 1]  # the other block is held out
    assert kind[EXCLUDED]["degree"].tolist() == [0, 0, 0, 0]
    np.testing.assert_allclose(kind[TRAINING]["sum"], 9.0, rtol=1e-5)
    np.testing.assert_allclose(kind[HELD_OUT]["sum"][:1], (5 + 4) / np.sqrt(2), rtol=1e-5)
    np.testing.assert_allclose(kind[HELD_OUT]["norm"], kind[HELD_OUT]["largest"], rtol=1e-6)
    table = feature_shift(graph, folds, block)
    assert table.columns.tolist() == [HELD_OUT, TRAINING, EXCLUDED]
    assert table.loc["degree, 50%"].tolist() == [2.0, 1.0, 0.0]
    assert table.loc["without neighbours"].tolist() == [0.0, 0.0, 1.0]
    assert table.loc["degree, distance"].tolist() == [0.0, 1.0, 1.0]
    assert feature_shift(graph, folds).columns.tolist() == [HELD_OUT, TRAINING]


def test_rows_of_the_shift_are_the_features_of_a_plain_loop():
    table = survey_table(90, num_species=11, per_cluster=30)
    graph, folds = SurveyGraph.from_surveys(table), block_folds(table, 3)
    rows = shift_rows(graph, folds, 10.0)
    source, target = graph.edge_index.numpy()
    block = block_ids(table.lat, table.lon)
    for fold in range(3):
        for kind, excluded in ((TRAINING, False), (EXCLUDED, True)):
            part = rows[(rows["fold"] == fold) & (rows["surveys"] == kind)]
            expected = []
            for survey in np.flatnonzero(folds != fold):
                near = [j for j, i in zip(source, target, strict=True) if i == survey]
                near = [j for j in near if folds[j] != fold]
                expected.append(len([j for j in near if not excluded or block[j] != block[survey]]))
            assert part["degree"].tolist() == expected
            features = dense(
                graph, visible=folds != fold, normalize=None,
                exclude_block=10.0 if excluded else None,
            )[folds != fold]  # fmt: skip
            assert part["species"].tolist() == (features > 0).sum(axis=1).tolist()
            np.testing.assert_allclose(part["sum"], features.sum(axis=1), rtol=1e-5)
            np.testing.assert_allclose(part["norm"], (features**2).sum(axis=1) ** 0.5, rtol=1e-5)
            np.testing.assert_allclose(part["largest"], features.max(axis=1), rtol=1e-6)


def test_random_folds_have_no_shift_and_folds_are_checked():
    table = survey_table(900, num_species=11, per_cluster=30)
    graph = SurveyGraph.from_surveys(table)
    blocks, random = (
        feature_shift(graph, f).loc["sum, distance", TRAINING]
        for f in (block_folds(table), random_folds(table))
    )
    assert random < 0.15 < blocks
    with pytest.raises(ValueError, match=r"folds are of shape \(3,\), the graph has 900"):
        feature_shift(graph, np.zeros(3))
    with pytest.raises(ValueError, match="two folds or more"):
        feature_shift(graph, np.zeros(900))


def test_the_figure_has_a_line_for_each_kind():
    graph, folds, block = hand_example()
    left, right = plot_block_shift(graph, folds, block)
    assert [line.get_label() for line in left.lines] == [HELD_OUT, TRAINING, EXCLUDED]
    degree = left.lines[0].get_xdata()
    assert set(degree[np.isfinite(degree)].tolist()) == {2.0}
    sums = right.lines[1].get_xdata()
    np.testing.assert_allclose(sums[np.isfinite(sums)], 9.0, rtol=1e-5)
    assert len(plot_block_shift(graph, folds, None)[0].lines) == 2


@needs_glc24
def test_on_real_surveys_training_comes_to_look_like_held_out():
    table = read_glc24_pa(GLC24 / "GLC24_PA_metadata_train.csv")
    shift = feature_shift(SurveyGraph.from_surveys(table), block_folds(table, 6), 10.0)
    alone = shift.loc["without neighbours"]
    assert alone[TRAINING] < 0.15 < 0.3 < alone[HELD_OUT]
    assert abs(alone[EXCLUDED] - alone[HELD_OUT]) < 0.05
    assert shift.loc["sum, distance", EXCLUDED] < 0.5 * shift.loc["sum, distance", TRAINING]


@pytest.mark.slow
@needs_glc24
def test_the_benchmark_runs_as_a_command():
    line = [sys.executable, "-m", "benchmarks.block_shift", "--data", str(GLC24), "--folds", "2"]
    line += ["--seeds", "1", "--epochs", "1", "--gfv-drop", "0.5", "--limit", "200"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "difference" in done.stdout
