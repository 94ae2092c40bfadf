"""The public contract of ``tighnari_graph`` (design, section 2), against oracles in plain loops."""

from __future__ import annotations

import copy
import math
import pickle
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch_geometric.data import Data, HeteroData
from torch_geometric.nn import HeteroConv, MessagePassing

from tests import oracles, strategies
from tests.strategies import KM_PER_DEGREE, SPECIES, on_a_meridian, records
from tighnari_graph import (
    GFVConv,
    SurveyDataError,
    SurveyGraph,
    SurveyTable,
    graph_feature_vectors,
    read_glc24_pa,
    read_glc24_po,
    read_glc24_test,
    species_lists,
    species_vocabulary,
)
from tighnari_models import ThresholdTopK, samples_f1, write_submission

some = strategies.SOME
close = {"rtol": 1e-5, "atol": 1e-5}  # float32 edges: 1e-5 km is a centimetre

NEAR_SURVEY = ("survey", "near", "survey")
NEAR_TEST = ("survey", "near", "test")
PO_NEAR_TEST = ("po", "near", "test")
BACKENDS = ("kdtree", "balltree")
MATCHES = (("year", "region"), ("year",), ("region",), ())


def table_of(frame: pd.DataFrame, species_ids: Sequence[int] = SPECIES) -> SurveyTable:
    return SurveyTable.from_long(frame, species_ids=np.asarray(species_ids))


def test_table_of(frame: pd.DataFrame) -> SurveyTable:
    return SurveyTable.from_long(frame.drop(columns="speciesId", errors="ignore"))


test_table_of.__test__ = False  # a builder, whatever its name begins with


def surveys_of(frame: pd.DataFrame) -> list[oracles.Survey]:
    return oracles.group_rows(records(frame))


def dense(tensor: torch.Tensor) -> np.ndarray:
    return tensor.to_dense().double().numpy()


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal to the bit, layout and type included."""
    if a.layout != b.layout or a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.layout == torch.sparse_csr:
        parts = ("crow_indices", "col_indices", "values")
        return all(torch.equal(getattr(a, part)(), getattr(b, part)()) for part in parts)
    return torch.equal(a, b)


def pairs(edge_index: torch.Tensor) -> list[tuple[int, int]]:
    return list(zip(*edge_index.tolist(), strict=True))


def assert_edges(store: object, expected: list[oracles.Edge], radius_km: float) -> None:
    """Edges, order, types, distances and weights of a graph or of one edge type."""
    assert store.edge_index.dtype == torch.int64
    assert tuple(store.edge_index.shape) == (2, len(expected))
    assert pairs(store.edge_index) == [(source, target) for source, target, _ in expected]
    for value in (store.edge_distance_km, store.edge_weight):
        assert value.dtype == torch.float32
        assert tuple(value.shape) == (len(expected),)
    distances = [distance for _, _, distance in expected]
    np.testing.assert_allclose(store.edge_distance_km.numpy(), distances, **close)
    weights = oracles.edge_weights(expected, radius_km)
    np.testing.assert_allclose(store.edge_weight.numpy(), weights, **close)
    assert (store.edge_weight >= 0).all()


def labels_csr(rows: Sequence[Sequence[int]]) -> sp.csr_matrix:
    return sp.csr_matrix(np.array(rows, dtype=np.float32))


# --- the oracles themselves, by hand --------------------------------------------------------------


def test_oracle_distance_by_hand():
    # one degree of a meridian is π R / 180 = 111.195 km; pole to equator is a quarter of the circle
    assert oracles.great_circle_km(46, 7, 47, 7) == pytest.approx(111.19508, abs=1e-4)
    assert oracles.great_circle_km(90, 0, 0, 51) == pytest.approx(math.pi / 2 * 6371.0088)
    # 0.1 degree across the antimeridian on the equator, and two names for the north pole
    assert oracles.great_circle_km(0, 179.95, 0, -179.95) == pytest.approx(11.119508, abs=1e-6)
    assert oracles.great_circle_km(90, 0, 90, 123) == pytest.approx(0, abs=1e-9)
    assert oracles.great_circle_km(46, 7, 47, 7, 6731) == pytest.approx(math.pi / 180 * 6731)


def test_oracle_edges_by_hand():
    # 0 ─6 km─ 6 ─9 km─ 15: two pairs within 10 km, two directions, sorted by (target, source)
    surveys = surveys_of(on_a_meridian((1, 0, []), (2, 6, []), (3, 15, [])))
    edges = oracles.survey_edges(surveys)
    assert [(source, target) for source, target, _ in edges] == [(1, 0), (0, 1), (2, 1), (1, 2)]
    assert oracles.edge_weights(edges) == pytest.approx([4, 4, 1, 1], abs=1e-9)


def test_oracle_missing_region_matches_nothing():
    here = oracles.Survey(1, 46.0, 7.0, 2020, None, frozenset())
    there = here._replace(survey_id=2)
    assert oracles.survey_edges([here, there]) == []
    assert len(oracles.survey_edges([here, there], match=("year",))) == 2
    assert len(oracles.po_edges([here], [there])) == 1


def test_oracle_gfv_by_hand():
    # weights 4 and 1: sums (4, 5) over √2 neighbours, or over √5 kilometres of weight
    labels = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    edges = [(0, 2, 4.0), (1, 2, 1.0)]
    assert oracles.gfv(labels, edges, 3)[2] == pytest.approx([2.828427, 3.535534])
    assert oracles.gfv(labels, edges, 3, "weight")[2] == pytest.approx([1.788854, 2.236068])
    assert oracles.gfv(labels, edges, 3, visible=[False, True, True])[2] == pytest.approx([0, 1])


def test_oracle_species_lists_count_must_be_exceeded_and_ties_break_by_id():
    # the two nearest of three co-located surveys are those with the lower ids, 1 and 5
    surveys = surveys_of(on_a_meridian((9, 1, [3]), (5, 1, [3, 17]), (1, 1, [3, 17, 42])))
    target = surveys_of(on_a_meridian((100, 0, [])))
    edges = oracles.bipartite_edges(surveys, target)
    assert oracles.frequent_species(surveys, edges, 0, num=2, min_count=1) == {3, 17}
    assert oracles.frequent_species(surveys, edges, 0, num=2, min_count=2) == set()


def test_oracle_threshold_top_k_and_f1_by_hand():
    row = [0.5, 0.25, 0.75, 0.5]  # order of columns: 2, 0, 3, 1
    assert oracles.threshold_top_k(row, 2, 0.25, "intersection") == {2, 0}
    assert oracles.threshold_top_k(row, 2, 0.5, "intersection") == {2}  # 0.5 > 0.5 is false
    assert oracles.threshold_top_k(row, 2, 0.25, "union") == {2, 0, 3}
    # TP 1, FP 1, FN 0 → 1 / 1.5; both empty → 1; one empty → 0
    assert oracles.samples_f1([{1, 2}, set(), {4}], [{1}, set(), set()]) == pytest.approx(5 / 9)


def test_oracle_grouping_keeps_first_seen_order_and_distinct_species():
    frame = on_a_meridian((7, 0, [3, 17]), (2, 1, [])).iloc[[1, 2, 0, 1]]
    grouped = surveys_of(frame)
    assert [(survey.survey_id, survey.species) for survey in grouped] == [
        (7, frozenset({3, 17})),
        (2, frozenset()),
    ]


# --- SurveyTable.from_long ------------------------------------------------------------------------


@some
@given(strategies.survey_frames())
def test_from_long_groups_rows_as_the_oracle_does(frame):
    before = frame.copy(deep=True)
    table = table_of(frame)
    surveys = surveys_of(frame)
    assert table.survey_id.tolist() == [survey.survey_id for survey in surveys]
    assert table.lat.tolist() == [survey.lat for survey in surveys]
    assert table.lon.tolist() == [survey.lon for survey in surveys]
    assert table.year.tolist() == [survey.year for survey in surveys]
    regions = [None if pd.isna(region) else region for region in table.region]
    assert regions == [survey.region for survey in surveys]
    np.testing.assert_array_equal(
        table.labels.toarray(), oracles.label_matrix(surveys, table.species_ids.tolist())
    )
    pd.testing.assert_frame_equal(frame, before)  # the caller's frame is left alone


def test_table_columns_are_numpy_and_labels_a_csr_matrix():
    table = SurveyTable.from_long(on_a_meridian((7, 0, [42, 3]), (2, 1, [42]), (5, 2, [])))
    for column in (table.survey_id, table.lat, table.lon, table.year, table.region):
        assert isinstance(column, np.ndarray)
        assert column.shape == (3,)
    assert table.survey_id.dtype == np.int64
    assert table.lat.dtype == table.lon.dtype == np.float64
    assert isinstance(table.labels, sp.csr_matrix)
    assert table.labels.shape == (3, 2)
    assert table.species_ids.dtype == np.int64
    assert table.species_ids.tolist() == [3, 42]
    assert table.labels.toarray().tolist() == [[1, 1], [0, 1], [0, 0]]


def test_labels_are_counted_once_however_often_a_row_is_repeated():
    # malpolon's loader kept one species a survey; a plain CSR builder counts a repeated row twice
    frame = on_a_meridian((7, 0, [3, 17, 42]), (2, 1, [3]))
    repeated = pd.concat([frame, frame.iloc[::-1]])
    labels = SurveyTable.from_long(repeated).labels
    assert labels.nnz == len(frame)
    assert labels.toarray().tolist() == [[1, 1, 1], [1, 0, 0]]


def test_columns_renames_foreign_names():
    frame = on_a_meridian((7, 0, [3]), (2, 1, [17]))
    names = {"decimalLatitude": "lat", "decimalLongitude": "lon", "id": "surveyId", "yr": "year"}
    foreign = frame.rename(columns={ours: theirs for theirs, ours in names.items()})
    table = SurveyTable.from_long(foreign, columns=names)
    plain = SurveyTable.from_long(frame)
    assert table.survey_id.tolist() == plain.survey_id.tolist() == [7, 2]
    assert table.lat.tolist() == plain.lat.tolist()
    assert table.lon.tolist() == plain.lon.tolist()
    assert table.year.tolist() == plain.year.tolist()


def test_text_taxa_are_coded_in_sorted_order_and_keep_their_names():
    frame = on_a_meridian((7, 0, [0, 1]), (2, 1, [1]), (5, 2, []))
    frame["speciesId"] = ["Poa alpina", "Abies alba", "Poa alpina", None]
    table = SurveyTable.from_long(frame)
    assert list(table.species_names) == ["Abies alba", "Poa alpina"]
    assert table.species_ids.dtype == np.int64
    assert table.species_ids.tolist() == [0, 1]
    assert table.labels.toarray().tolist() == [[1, 1], [0, 1], [0, 0]]


def test_other_columns_become_meta_one_row_per_survey():
    frame = on_a_meridian((7, 0, [3, 17]), (2, 1, [3]))
    frame["country"] = ["Italy", "Italy", "Norway"]
    table = SurveyTable.from_long(frame)
    assert list(table.meta["country"]) == ["Italy", "Norway"]
    assert len(table.meta) == 2


def test_infinite_areas_are_kept_as_missing_and_counted():
    frame = on_a_meridian((7, 0, [3, 17]), (2, 1, [3]))
    frame["areaInM2"] = [-math.inf, -math.inf, math.nan]
    table = SurveyTable.from_long(frame)
    assert table.meta["areaInM2"].isna().all()
    assert any("areaInM2" in note and count == 1 for note, count in table.notes.items())


def test_given_species_ids_are_the_vocabulary():
    table = table_of(on_a_meridian((7, 0, [42])), species_ids=[3, 17, 42, 1000])
    assert table.species_ids.tolist() == [3, 17, 42, 1000]
    assert table.labels.toarray().tolist() == [[0, 0, 1, 0]]


def test_unsorted_species_ids_still_name_their_columns():
    table = table_of(on_a_meridian((7, 0, [42, 3]), (2, 0, [17])), species_ids=[42, 3, 17])
    columns = table.labels.toarray()
    assert {table.species_ids[c] for c in np.flatnonzero(columns[0])} == {3, 42}
    assert {table.species_ids[c] for c in np.flatnonzero(columns[1])} == {17}


def test_species_outside_the_given_vocabulary_is_a_value_error():
    with pytest.raises(ValueError, match="999"):
        table_of(on_a_meridian((7, 0, [3, 999])), species_ids=[3, 17])


def test_missing_species_is_a_survey_without_labels():
    table = SurveyTable.from_long(on_a_meridian((7, 0, [3]), (2, 1, [])))
    assert table.survey_id.tolist() == [7, 2]
    assert table.labels.toarray().tolist() == [[1], [0]]


def test_table_without_species_column_has_no_labels():
    table = test_table_of(on_a_meridian((7, 0, []), (2, 1, [])))
    assert table.labels is None
    assert table.survey_id.tolist() == [7, 2]


def test_empty_frame_is_an_empty_table_and_an_empty_graph():
    table = table_of(on_a_meridian(), species_ids=[3, 17])
    assert table.survey_id.shape == (0,)
    assert table.labels.shape == (0, 2)
    graph = SurveyGraph.from_surveys(table)
    assert tuple(graph.edge_index.shape) == (2, 0)
    assert tuple(graph.y.shape) == (0, 2)
    assert tuple(graph_feature_vectors(graph).shape) == (0, 2)


@pytest.mark.parametrize("column", ["lat", "lon", "year", "region"])
def test_a_survey_with_two_places_years_or_regions_is_refused(column):
    frame = on_a_meridian((41, 0, [3, 17]), (2, 1, [3]))
    frame.loc[1, column] = {"lat": 50.0, "lon": 8.0, "year": 1999, "region": "STEPPIC"}[column]
    with pytest.raises(SurveyDataError, match="41"):
        SurveyTable.from_long(frame)


@pytest.mark.parametrize(
    ("column", "value"),
    [("lat", 91.0), ("lat", math.nan), ("lat", math.inf), ("lon", 500.0), ("lon", math.nan)],
)
def test_impossible_coordinates_are_refused_by_name(column, value):
    frame = on_a_meridian((1203, 0, [3]), (2, 1, [3]))
    frame.loc[0, column] = value
    with pytest.raises(SurveyDataError, match="1203"):
        SurveyTable.from_long(frame)


@pytest.mark.parametrize("column", ["surveyId", "lat", "lon", "year"])
def test_a_missing_column_is_refused_by_name(column):
    with pytest.raises(SurveyDataError, match=column):
        SurveyTable.from_long(on_a_meridian((7, 0, [3])).drop(columns=column))


def test_a_fractional_species_id_is_not_cut_to_a_whole_one():
    with pytest.raises(ValueError, match="speciesId"):
        SurveyTable.from_long(on_a_meridian((7, 0, [3, 12.5])))


def test_survey_data_error_is_a_value_error():
    assert issubclass(SurveyDataError, ValueError)


# --- readers --------------------------------------------------------------------------------------

PA = on_a_meridian((7, 0, [3, 17]), (2, 1, [])).iloc[[2, 0, 1]]
PO = PA.drop(columns="region").dropna().astype({"speciesId": "int64"})
TEST = PA.drop(columns="speciesId").drop_duplicates("surveyId")
READERS = {"pa": (read_glc24_pa, PA), "po": (read_glc24_po, PO), "test": (read_glc24_test, TEST)}


def written(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("form", ["csv", "csv as text", "parquet", "frame"])
def test_readers_take_a_path_or_a_frame(tmp_path, kind, form):
    read, frame = READERS[kind]
    source: object = frame
    if form != "frame":
        source = written(frame, tmp_path / f"surveys.{form.split()[0]}")
    table = read(str(source) if form == "csv as text" else source)
    surveys = surveys_of(frame)
    assert table.survey_id.tolist() == [survey.survey_id for survey in surveys]
    assert table.survey_id.dtype == np.int64
    np.testing.assert_allclose(table.lat, [survey.lat for survey in surveys], rtol=0, atol=1e-12)
    if kind == "test":
        assert table.labels is None
    else:
        assert table.species_ids.tolist() == [3, 17]
        expected = oracles.label_matrix(surveys, [3, 17])
        np.testing.assert_array_equal(table.labels.toarray(), expected)


@pytest.mark.parametrize("kind", ["pa", "po"])
def test_readers_take_a_shared_vocabulary(kind):
    read, frame = READERS[kind]
    assert read(frame, species_ids=np.array([3, 5, 17])).labels.shape[1] == 3
    with pytest.raises(ValueError, match="17"):
        read(frame, species_ids=np.array([3]))


@pytest.mark.parametrize("kind", READERS)
def test_readers_refuse_folders_missing_and_empty_files(tmp_path, kind):
    read, frame = READERS[kind]
    with pytest.raises((ValueError, IsADirectoryError), match=re.escape(tmp_path.name)):
        read(tmp_path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nowhere.csv")
    nothing = tmp_path / "nothing.csv"
    nothing.touch()
    with pytest.raises(ValueError, match="nothing"):
        read(nothing)
    header = written(frame.iloc[:0], tmp_path / "header.csv")
    with pytest.raises(ValueError, match="header"):
        read(header)


def test_presence_absence_and_test_tables_need_a_region_and_presence_only_does_not():
    with pytest.raises(SurveyDataError, match="region"):
        read_glc24_pa(PA.drop(columns="region"))
    with pytest.raises(SurveyDataError, match="region"):
        read_glc24_test(TEST.drop(columns="region"))
    assert read_glc24_po(PO).survey_id.tolist() == [7]


def test_an_empty_frame_is_an_empty_table_for_every_reader():
    for read, frame in READERS.values():
        assert read(frame.iloc[:0]).survey_id.shape == (0,)


def test_species_vocabulary_is_the_union_over_files_frames_and_tables(tmp_path):
    path = written(on_a_meridian((1, 0, [1000, 3])), tmp_path / "po.csv")
    frame = on_a_meridian((2, 0, [3, 17]), (3, 0, []))
    table = SurveyTable.from_long(on_a_meridian((4, 0, [42])))
    vocabulary = species_vocabulary(path, frame, table)
    assert np.asarray(vocabulary).dtype == np.int64
    assert np.asarray(vocabulary).tolist() == [3, 17, 42, 1000]


# --- SurveyGraph.from_surveys ---------------------------------------------------------------------


@some
@given(
    frame=strategies.survey_frames(),
    radius_km=st.sampled_from(strategies.RADII_KM),
    earth_radius_km=st.sampled_from(strategies.EARTH_RADII_KM),
    match=st.sampled_from(MATCHES),
)
def test_edges_equal_the_oracle_with_both_backends(frame, radius_km, earth_radius_km, match):
    expected = oracles.survey_edges(surveys_of(frame), radius_km, earth_radius_km, match)
    found = []
    for backend in BACKENDS:
        graph = SurveyGraph.from_surveys(
            table_of(frame),
            radius_km=radius_km,
            earth_radius_km=earth_radius_km,
            match=match,
            backend=backend,
        )
        assert_edges(graph, expected, radius_km)
        assert graph.validate()
        found.append(graph.edge_index)
    assert torch.equal(*found)


@some
@given(strategies.survey_frames())
def test_node_attributes_follow_the_table(frame):
    surveys = surveys_of(frame)
    table = table_of(frame)
    graph = SurveyGraph.from_surveys(table)
    assert isinstance(graph, Data)
    assert graph.num_nodes == len(surveys)
    assert graph.pos.dtype == torch.float64
    assert tuple(graph.pos.shape) == (len(surveys), 2)
    assert graph.pos.tolist() == [[survey.lat, survey.lon] for survey in surveys]
    assert graph.year.dtype == graph.survey_id.dtype == graph.region_code.dtype == torch.int64
    assert graph.year.tolist() == [survey.year for survey in surveys]
    assert graph.survey_id.tolist() == [survey.survey_id for survey in surveys]
    codes = graph.region_code.tolist()
    for a, code_a in zip(surveys, codes, strict=True):
        for b, code_b in zip(surveys, codes, strict=True):
            assert (code_a == code_b) == (a.region == b.region)
    assert graph.y.layout == torch.sparse_csr
    assert graph.y.dtype == torch.float32
    assert tuple(graph.y.shape) == (len(surveys), len(SPECIES))
    np.testing.assert_array_equal(dense(graph.y), table.labels.toarray())


def test_graph_by_hand():
    # 0 ─6 km─ 6 ─9 km─ 15: weights 10 − 6 = 4 and 10 − 9 = 1
    graph = SurveyGraph.from_surveys(
        SurveyTable.from_long(on_a_meridian((1, 0, [3]), (2, 6, [3]), (3, 15, [3])))
    )
    assert graph.edge_index.tolist() == [[1, 0, 2, 1], [0, 1, 1, 2]]
    torch.testing.assert_close(graph.edge_distance_km, torch.tensor([6.0, 6.0, 9.0, 9.0]))
    torch.testing.assert_close(graph.edge_weight, torch.tensor([4.0, 4.0, 1.0, 1.0]))
    assert not graph.has_self_loops()
    assert graph.is_undirected()


def test_the_default_is_ten_kilometres_year_region_and_the_kdtree():
    table = SurveyTable.from_long(on_a_meridian((1, 0, [3]), (2, 9.9, [3]), (3, 20, [3])))
    spelled = SurveyGraph.from_surveys(
        table,
        radius_km=10.0,
        earth_radius_km=6371.0088,
        match=("year", "region"),
        backend="kdtree",
    )
    default = SurveyGraph.from_surveys(table)
    assert pairs(default.edge_index) == [(1, 0), (0, 1)]
    assert same(default.edge_weight, spelled.edge_weight)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_distance_just_inside_the_radius_is_an_edge_and_just_outside_is_none(backend):
    frame = on_a_meridian((1, 0, [3]), (2, 10, [3]))
    a, b = surveys_of(frame)
    distance = oracles.survey_distance_km(a, b)
    table = SurveyTable.from_long(frame)
    for radius_km, edges in ((distance + 1e-8, 2), (distance - 1e-8, 0)):
        graph = SurveyGraph.from_surveys(table, radius_km=radius_km, backend=backend)
        assert graph.num_edges == edges


def test_one_radius_of_the_earth_serves_cutoff_and_weight():
    # 9.6 km on the default sphere are 10.14 km on the one the paper prints: no edge there, and
    # not an edge with a weight below 0
    table = SurveyTable.from_long(on_a_meridian((1, 0, [3]), (2, 9.6, [3]), (3, 5, [3])))
    default = SurveyGraph.from_surveys(table)
    printed = SurveyGraph.from_surveys(table, earth_radius_km=6731.0)
    assert (0, 1) in pairs(default.edge_index)
    assert (0, 1) not in pairs(printed.edge_index)
    assert (printed.edge_weight >= 0).all()
    stretched = 5 * 6731 / 6371.0088
    assert printed.edge_distance_km[0].item() == pytest.approx(stretched, abs=1e-5)
    assert printed.edge_weight[0].item() == pytest.approx(10 - stretched, abs=1e-5)


def test_years_and_regions_partition_the_graph():
    frame = pd.concat(
        [
            on_a_meridian((1, 0, [3]), (2, 1, [3])),
            on_a_meridian((3, 0, [3]), year=2019),
            on_a_meridian((4, 0, [3]), region="ATLANTIC"),
        ]
    )
    table = SurveyTable.from_long(frame)
    assert pairs(SurveyGraph.from_surveys(table).edge_index) == [(1, 0), (0, 1)]
    by_year = SurveyGraph.from_surveys(table, match=("year",))
    assert {frozenset(edge) for edge in pairs(by_year.edge_index)} == {
        frozenset(edge) for edge in ((0, 1), (0, 3), (1, 3))
    }
    assert SurveyGraph.from_surveys(table, match=()).num_edges == 4 * 3


def test_a_missing_region_matches_nothing_not_even_another_missing_one():
    frame = on_a_meridian((1, 0, [3]), (2, 0, [3]), region=None)
    frame = pd.concat([frame, on_a_meridian((3, 0, [3]), (4, 0, [3]))])
    table = SurveyTable.from_long(frame)
    assert pairs(SurveyGraph.from_surveys(table).edge_index) == [(3, 2), (2, 3)]
    assert SurveyGraph.from_surveys(table, match=("year",)).num_edges == 4 * 3


def test_a_table_without_a_region_column_is_not_partitioned_by_region():
    frame = on_a_meridian((1, 0, [3]), (2, 1, [3])).drop(columns="region")
    assert SurveyGraph.from_surveys(SurveyTable.from_long(frame)).num_edges == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_co_located_surveys_are_neighbours_at_distance_zero(backend):
    table = SurveyTable.from_long(on_a_meridian((9, 0, [3]), (4, 0, [3]), (6, 0, [3])))
    graph = SurveyGraph.from_surveys(table, backend=backend)
    assert pairs(graph.edge_index) == [(1, 0), (2, 0), (0, 1), (2, 1), (0, 2), (1, 2)]
    assert graph.edge_distance_km.tolist() == [0.0] * 6
    assert graph.edge_weight.tolist() == [10.0] * 6


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_cap_on_neighbours(backend):
    # radius_graph stops at 32: 71 surveys within a kilometre have 70 neighbours each
    frame = on_a_meridian(*[(survey, survey / 100, [3]) for survey in range(71)])
    graph = SurveyGraph.from_surveys(SurveyTable.from_long(frame), backend=backend)
    assert torch.bincount(graph.edge_index[1]).tolist() == [70] * 71


@pytest.mark.parametrize("backend", BACKENDS)
def test_neighbours_across_the_antimeridian_and_around_the_pole(backend):
    lats, lons = [0.0, 0.0, 90.0, 90.0, 89.97], [179.97, -179.97, 0.0, 123.0, -60.0]
    ids = range(1, 6)
    frame = pd.DataFrame({"surveyId": ids, "lat": lats, "lon": lons, "year": 2020, "region": "A"})
    table = SurveyTable.from_long(frame.assign(speciesId=3.0))
    graph = SurveyGraph.from_surveys(table, backend=backend)
    assert {frozenset(edge) for edge in pairs(graph.edge_index)} == {
        frozenset(edge) for edge in ((0, 1), (2, 3), (2, 4), (3, 4))
    }
    # 0.06 degree on the equator is 6.67 km, 0.03 degree from the pole 3.34 km
    expected = [0.06, 0.06, 0.0, 0.03, 0.0, 0.03, 0.03, 0.03]
    np.testing.assert_allclose(
        graph.edge_distance_km.numpy(), np.array(expected) * KM_PER_DEGREE, **close
    )


def test_as_many_edges_as_nodes_does_not_confuse_their_attributes():
    # two pairs: four nodes, four edges; PyG guesses by length
    frame = on_a_meridian((1, 0, [3]), (2, 1, [3]), (3, 50, [3]), (4, 51, [3]))
    graph = SurveyGraph.from_surveys(SurveyTable.from_long(frame))
    assert graph.num_nodes == graph.num_edges == 4
    for name in ("pos", "year", "region_code", "survey_id", "y"):
        assert graph.is_node_attr(name), name
        assert not graph.is_edge_attr(name), name
    for name in ("edge_distance_km", "edge_weight"):
        assert graph.is_edge_attr(name), name
        assert not graph.is_node_attr(name), name
    hetero = graph.attach(test=test_table_of(on_a_meridian((8, 0, []), (9, 50, []))))
    assert_edges(hetero[NEAR_SURVEY], oracles.survey_edges(surveys_of(frame)), 10.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"backend": "magic"},
        {"radius_km": -1.0},
        {"radius_km": math.nan},
        {"earth_radius_km": 0.0},
        {"match": ("country",)},
    ],
)
def test_wrong_arguments_are_value_errors(wrong):
    with pytest.raises(ValueError):
        SurveyGraph.from_surveys(SurveyTable.from_long(on_a_meridian((1, 0, [3]))), **wrong)


# --- validate, summary, copies, save and load -----------------------------------------------------


def small_graph() -> SurveyGraph:
    frame = on_a_meridian((11, 0, [3, 17]), (5, 4, [3]), (8, 9, [42]), (2, 30, []))
    return SurveyGraph.from_surveys(SurveyTable.from_long(frame))


def graph_parts(graph: SurveyGraph) -> dict[str, torch.Tensor]:
    names = ("edge_index", "edge_distance_km", "edge_weight", "pos", "year", "region_code")
    return {name: getattr(graph, name) for name in (*names, "survey_id", "y")}


def test_a_built_graph_is_valid_and_its_copies_too():
    graph = small_graph()
    for one in (graph, copy.copy(graph), graph.clone()):
        assert isinstance(one, SurveyGraph)
        assert one.validate() is True
        assert one.validate(raise_on_error=False) is True
        for name, value in graph_parts(one).items():
            assert same(value, getattr(graph, name)), name


def test_a_graph_can_be_copied_deeply():
    # torch cannot copy a sparse CSR tensor deeply by itself
    graph = small_graph()
    deep = copy.deepcopy(graph)
    assert isinstance(deep, SurveyGraph)
    for name, value in graph_parts(graph).items():
        assert same(value, getattr(deep, name)), name


def test_the_constructor_needs_no_arguments():
    assert isinstance(SurveyGraph(), Data)


def _self_loop(graph):
    graph.edge_index[0, 0] = graph.edge_index[1, 0]


def _out_of_range(graph):
    graph.edge_index[0, 0] = 99


def _negative_index(graph):
    graph.edge_index[0, 0] = -1


def _unsorted(graph):
    graph.edge_index = graph.edge_index.flip(1)
    graph.edge_weight = graph.edge_weight.flip(0)
    graph.edge_distance_km = graph.edge_distance_km.flip(0)


def _one_direction(graph):
    graph.edge_index = graph.edge_index[:, 1:]
    graph.edge_weight = graph.edge_weight[1:]
    graph.edge_distance_km = graph.edge_distance_km[1:]


def _wrong_weight(graph):
    graph.edge_weight[0] += 1


def _weight_not_a_number(graph):
    graph.edge_weight[0] = math.nan


def _weights_too_short(graph):
    graph.edge_weight = graph.edge_weight[:-1]


def _other_year(graph):
    graph.year[0] = 1900


def _years_too_short(graph):
    graph.year = graph.year[:-1]


@pytest.mark.parametrize(
    "spoil",
    [
        _self_loop,
        _out_of_range,
        _negative_index,
        _unsorted,
        _one_direction,
        _wrong_weight,
        _weight_not_a_number,
        _weights_too_short,
        _other_year,
        _years_too_short,
    ],
)
def test_validate_finds_a_spoilt_graph(spoil):
    graph = small_graph()
    spoil(graph)
    assert graph.validate(raise_on_error=False) is False
    with pytest.raises(SurveyDataError):
        graph.validate()
    with pytest.raises(SurveyDataError):
        graph.validate(raise_on_error=True)


def test_summary_counts_and_prints():
    # 13 surveys, 7 of them without a region; of the others three within 10 km: 6 edges
    lost = on_a_meridian(*[(survey, 0, [3]) for survey in range(7)], region=None)
    rest = on_a_meridian(*[(20 + k, km, [3]) for k, km in enumerate((0, 3, 6, 40, 60, 80))])
    graph = SurveyGraph.from_surveys(SurveyTable.from_long(pd.concat([lost, rest])))
    summary = graph.summary()
    names = [name for name in dir(summary) if not name.startswith("_")]
    values = [getattr(summary, name) for name in names]
    numbers = {int(value) for value in values if isinstance(value, int | np.integer)}
    assert {13, 6, 7} <= numbers  # surveys, edges, missing regions
    for text in (str(summary), summary._repr_html_()):
        assert isinstance(text, str)
        assert "13" in text
        assert "7" in text
    assert "<" in summary._repr_html_()


@pytest.mark.parametrize("name", ["graph.safetensors", "graph.pt", "graph"])
@pytest.mark.parametrize("as_text", [False, True])
def test_save_and_load_give_the_same_graph(tmp_path, name, as_text):
    graph = small_graph()
    path = str(tmp_path / name) if as_text else tmp_path / name
    graph.save(path)
    loaded = SurveyGraph.load(path)
    assert isinstance(loaded, SurveyGraph)
    assert loaded.validate()
    for part, value in graph_parts(graph).items():
        assert same(value, getattr(loaded, part)), part


def test_a_loaded_graph_attaches_like_the_one_that_was_saved(tmp_path):
    # region names, match keys, radius, vocabulary and the Earth must survive the file
    frame = pd.concat(
        [
            on_a_meridian((1, 0, [3]), (2, 11, [17])),
            on_a_meridian((3, 1, [3]), region="ATLANTIC"),
        ]
    )
    table = SurveyTable.from_long(frame)
    graph = SurveyGraph.from_surveys(table, radius_km=12.0, earth_radius_km=6731.0)
    graph.save(tmp_path / "graph.safetensors")
    loaded = SurveyGraph.load(tmp_path / "graph.safetensors")
    test = test_table_of(on_a_meridian((9, 0.5, []), region="ATLANTIC"))
    po = SurveyTable.from_long(
        on_a_meridian((8, 2, [17])).drop(columns="region"), species_ids=table.species_ids
    )
    a, b = (one.attach(test=test, presence_only=po) for one in (graph, loaded))
    for edge_type in (NEAR_SURVEY, NEAR_TEST, PO_NEAR_TEST):
        assert a[edge_type].num_edges > 0 or edge_type == NEAR_SURVEY
        assert same(a[edge_type].edge_index, b[edge_type].edge_index)
        assert same(a[edge_type].edge_weight, b[edge_type].edge_weight)
    assert same(a["test"].region_code, b["test"].region_code)


def test_an_empty_graph_survives_its_file(tmp_path):
    graph = SurveyGraph.from_surveys(table_of(on_a_meridian()))
    graph.save(tmp_path / "empty.safetensors")
    loaded = SurveyGraph.load(tmp_path / "empty.safetensors")
    assert loaded.num_edges == 0
    assert tuple(loaded.y.shape) == (0, len(SPECIES))


class _Trap:
    """Pickled, it creates a file when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize(
    "content", ["nothing", "text", "noise", "pickle", "torch", "other tensors", "cut short"]
)
def test_loading_anything_else_is_refused_by_name_and_never_executed(tmp_path, content):
    path, marker = tmp_path / "not-a-graph.safetensors", tmp_path / "executed"
    if content == "nothing":
        path.touch()
    elif content == "text":
        path.write_text("surveyId,lat,lon\n1,46,7\n")
    elif content == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(4096))
    elif content == "pickle":
        path.write_bytes(pickle.dumps(_Trap(marker)))
    elif content == "torch":
        torch.save({"edge_index": _Trap(marker)}, path)
    elif content == "other tensors":
        save_file({"weight": torch.ones(3)}, path)
    else:
        small_graph().save(path)
        saved = path.read_bytes()
        path.write_bytes(saved[: len(saved) // 2])
    with pytest.raises(SurveyDataError, match=re.escape(path.name)):
        SurveyGraph.load(path)
    assert not marker.exists()


def test_loading_a_folder_or_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises((SurveyDataError, OSError), match=re.escape(tmp_path.name)):
        SurveyGraph.load(tmp_path)
    with pytest.raises((SurveyDataError, FileNotFoundError), match="nowhere"):
        SurveyGraph.load(tmp_path / "nowhere.safetensors")


# --- attach ---------------------------------------------------------------------------------------


@some
@given(
    frames=strategies.attached_frames(),
    radius_km=st.sampled_from(strategies.RADII_KM),
    match=st.sampled_from((("year", "region"), ("year",))),
    backend=st.sampled_from(BACKENDS),
)
def test_attached_edges_and_nodes_equal_the_oracle(frames, radius_km, match, backend):
    train, test, po = (surveys_of(frame) for frame in frames)
    wanted = oracles.po_edges(po, test, radius_km)
    wanted_ids = {(po[source].survey_id, test[target].survey_id) for source, target, _ in wanted}
    graph = SurveyGraph.from_surveys(
        table_of(frames.train), radius_km=radius_km, match=match, backend=backend
    )
    hetero = graph.attach(test=test_table_of(frames.test), presence_only=table_of(frames.po))
    assert isinstance(hetero, HeteroData)
    assert set(hetero.node_types) == {"survey", "test", "po"}
    assert set(hetero.edge_types) == {NEAR_SURVEY, NEAR_TEST, PO_NEAR_TEST}
    from_surveys = oracles.bipartite_edges(train, test, radius_km, match=match)
    assert_edges(
        hetero[NEAR_SURVEY], oracles.survey_edges(train, radius_km, match=match), radius_km
    )
    assert_edges(hetero[NEAR_TEST], from_surveys, radius_km)
    # presence-only edges by survey id first, so that this test also serves a graph without the
    # records that no test point can see; whether those may be left out is asked further below
    found = hetero["po"].survey_id.tolist()
    edges = pairs(hetero[PO_NEAR_TEST].edge_index)
    assert {(found[source], test[target].survey_id) for source, target in edges} == wanted_ids
    assert len(edges) == len(wanted)
    po = sorted((one for one in po if one.survey_id in found), key=lambda one: found.index(one[0]))
    assert_edges(hetero[PO_NEAR_TEST], oracles.po_edges(po, test, radius_km), radius_km)
    for kind, surveys in (("survey", train), ("test", test), ("po", po)):
        store = hetero[kind]
        assert store.num_nodes == len(surveys)
        assert store.survey_id.tolist() == [survey.survey_id for survey in surveys]
        assert store.pos.tolist() == [[survey.lat, survey.lon] for survey in surveys]
        assert store.pos.dtype == torch.float64
        assert store.year.tolist() == [survey.year for survey in surveys]
        assert store.region_code.shape == (len(surveys),)
        assert store.region_code.dtype == store.year.dtype == store.survey_id.dtype == torch.int64
    for a, code_a in zip(train, hetero["survey"].region_code.tolist(), strict=True):
        for b, code_b in zip(test, hetero["test"].region_code.tolist(), strict=True):
            assert (code_a == code_b) == (a.region == b.region)  # one code, one region
    for kind, surveys in (("survey", train), ("po", po)):
        assert hetero[kind].y.layout == torch.sparse_csr
        np.testing.assert_array_equal(dense(hetero[kind].y), oracles.label_matrix(surveys, SPECIES))
    assert "y" not in hetero["test"]


def test_attach_by_hand():
    # surveys at 0 and 6 km, test points at 3 and 50 km, a presence-only record at 4 km
    graph = SurveyGraph.from_surveys(
        table_of(on_a_meridian((1, 0, [3]), (2, 6, [17]))), radius_km=10.0
    )
    hetero = graph.attach(
        test=test_table_of(on_a_meridian((50, 3, []), (51, 50, []))),
        presence_only=table_of(on_a_meridian((9, 4, [42])).drop(columns="region")),
    )
    assert hetero[NEAR_TEST].edge_index.tolist() == [[0, 1], [0, 0]]
    torch.testing.assert_close(hetero[NEAR_TEST].edge_weight, torch.tensor([7.0, 7.0]))
    assert hetero[PO_NEAR_TEST].edge_index.tolist() == [[0], [0]]
    torch.testing.assert_close(hetero[PO_NEAR_TEST].edge_distance_km, torch.tensor([1.0]))
    torch.testing.assert_close(hetero[PO_NEAR_TEST].edge_weight, torch.tensor([9.0]))


def test_attach_leaves_the_graph_itself_unchanged():
    graph = small_graph()
    before = {name: value.clone() for name, value in graph_parts(graph).items()}
    keys = set(graph.keys())
    test = test_table_of(on_a_meridian((50, 1, []), (51, 2, [])))
    po = table_of(on_a_meridian((60, 1, [3])).drop(columns="region"), [3, 17, 42])
    graph.attach(test=test, presence_only=po)
    graph.attach(test=test)
    assert set(graph.keys()) == keys
    for name, value in before.items():
        assert same(value, getattr(graph, name)), name
    assert graph.validate()


def test_presence_only_surveys_that_reach_no_test_point_are_left_out_and_counted():
    po = on_a_meridian((62, 500, [3]), (60, 1, [3]), (61, 2, [17])).drop(columns="region")
    hetero = small_graph().attach(
        test=test_table_of(on_a_meridian((50, 1, []))), presence_only=table_of(po, [3, 17, 42])
    )
    assert hetero["po"].survey_id.tolist() == [60, 61]
    assert hetero["po"].y.to_dense().tolist() == [[1, 0, 0], [0, 1, 0]]
    assert hetero["po"].out_of_reach == 1
    assert pairs(hetero[PO_NEAR_TEST].edge_index) == [(0, 0), (1, 0)]


def test_attach_takes_a_test_table_alone():
    hetero = small_graph().attach(test=test_table_of(on_a_meridian((50, 1, []))))
    assert hetero[NEAR_TEST].num_edges == 3
    assert set(hetero.edge_types) <= {NEAR_SURVEY, NEAR_TEST, PO_NEAR_TEST}


def test_a_test_point_without_region_meets_presence_only_records_but_no_surveys():
    graph = SurveyGraph.from_surveys(table_of(on_a_meridian((1, 0, [3]))))
    hetero = graph.attach(
        test=test_table_of(on_a_meridian((50, 0, []), region=None)),
        presence_only=table_of(on_a_meridian((9, 0, [42])).drop(columns="region")),
    )
    assert hetero[NEAR_TEST].num_edges == 0
    assert pairs(hetero[PO_NEAR_TEST].edge_index) == [(0, 0)]


def test_a_region_that_no_training_survey_has_meets_no_survey():
    graph = SurveyGraph.from_surveys(table_of(on_a_meridian((1, 0, [3]), region="PANNONIAN")))
    test = test_table_of(on_a_meridian((50, 0, []), region="ARCTIC"))
    hetero = graph.attach(test=test)
    assert hetero[NEAR_TEST].num_edges == 0


def test_presence_only_records_of_another_year_are_no_neighbours():
    graph = SurveyGraph.from_surveys(table_of(on_a_meridian((1, 0, [3]))))
    po = table_of(on_a_meridian((9, 0, [42]), year=2019).drop(columns="region"))
    hetero = graph.attach(test=test_table_of(on_a_meridian((50, 0, []))), presence_only=po)
    assert hetero[PO_NEAR_TEST].num_edges == 0


def test_distance_alone_also_joins_test_points_of_other_years_and_regions():
    graph = SurveyGraph.from_surveys(table_of(on_a_meridian((1, 0, [3]))), match=())
    test = test_table_of(on_a_meridian((50, 0, []), year=1999, region="ARCTIC"))
    assert pairs(graph.attach(test=test)[NEAR_TEST].edge_index) == [(0, 0)]


def test_attach_refuses_another_vocabulary():
    graph = SurveyGraph.from_surveys(table_of(on_a_meridian((1, 0, [3])), [3, 17]))
    test = test_table_of(on_a_meridian((50, 0, [])))
    frame = on_a_meridian((9, 0, [3])).drop(columns="region")
    for vocabulary in ([3, 42], [3], [3, 17, 42], [17, 3]):
        po = table_of(frame, vocabulary)
        if po.species_ids.tolist() == [3, 17]:
            continue  # a table may put its vocabulary in order
        with pytest.raises(ValueError):
            graph.attach(test=test, presence_only=po)


def test_attach_refuses_a_test_table_that_disagrees_in_having_a_region():
    frame = on_a_meridian((1, 0, [3]))
    test = on_a_meridian((50, 0, []))
    with pytest.raises(ValueError, match="region"):
        SurveyGraph.from_surveys(table_of(frame)).attach(
            test=test_table_of(test.drop(columns="region"))
        )
    with pytest.raises(ValueError, match="region"):
        SurveyGraph.from_surveys(table_of(frame.drop(columns="region"))).attach(
            test=test_table_of(test)
        )


def test_tables_that_both_lack_a_region_match_on_year_and_distance():
    graph = SurveyGraph.from_surveys(table_of(on_a_meridian((1, 0, [3])).drop(columns="region")))
    test = test_table_of(on_a_meridian((50, 0, [])).drop(columns="region"))
    hetero = graph.attach(test=test)
    assert hetero[NEAR_TEST].num_edges == 1


def test_an_empty_test_table_attaches_as_no_points():
    hetero = small_graph().attach(test=test_table_of(on_a_meridian()))
    assert hetero["test"].num_nodes == 0
    assert hetero[NEAR_TEST].num_edges == 0
    assert tuple(graph_feature_vectors(hetero, target="test").shape) == (0, 3)


# --- GFVConv --------------------------------------------------------------------------------------


@st.composite
def bipartite_problems(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Labels, unsorted edges without repeats, weights from 0 to 10, number of targets."""
    num_src, num_dst = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    y = torch.tensor(rng.integers(0, 2, (num_src, 7)), dtype=torch.float32)
    every = [(source, target) for source in range(num_src) for target in range(num_dst)]
    edges = draw(st.lists(st.sampled_from(every), unique=True))
    edge_index = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T.contiguous()
    weight = st.integers(0, 100).map(lambda tenth: tenth / 10)
    weights = draw(st.lists(weight, min_size=len(edges), max_size=len(edges)))
    return y, edge_index, torch.tensor(weights, dtype=torch.float32), num_dst


@some
@given(
    problem=bipartite_problems(),
    degree=st.sampled_from(("count", "weight")),
    unit=st.booleans(),
)
def test_gfv_conv_dense_and_sparse_equal_the_loop(problem, degree, unit):
    y, edge_index, edge_weight, num_dst = problem
    weights = [1.0] * edge_index.shape[1] if unit else edge_weight.tolist()
    edges = [(*edge, weight) for edge, weight in zip(pairs(edge_index), weights, strict=True)]
    expected = oracles.gfv(y.numpy(), edges, num_dst, degree)
    conv = GFVConv(degree=degree)
    size = (y.shape[0], num_dst)
    for labels in (y, y.to_sparse_csr()):
        out = conv(labels, edge_index, None if unit else edge_weight, size=size)
        assert out.layout == labels.layout
        assert out.dtype == torch.float32
        assert tuple(out.shape) == (num_dst, y.shape[1])
        np.testing.assert_allclose(dense(out), expected, **close)


def test_gfv_conv_by_hand():
    # survey 2 has neighbours at 6 km (species A, B) and 9 km (B): (4, 4 + 1) / √2, by weight / √5
    y = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    edge_index, weight = torch.tensor([[0, 1], [2, 2]]), torch.tensor([4.0, 1.0])
    out = GFVConv()(y, edge_index, weight, size=(3, 3))
    torch.testing.assert_close(out[2], torch.tensor([2.8284271, 3.5355339]))
    assert out[:2].abs().sum() == 0  # no neighbour, zeros
    by_weight = GFVConv(degree="weight")(y, edge_index, weight, size=(3, 3))
    torch.testing.assert_close(by_weight[2], torch.tensor([1.7888544, 2.2360680]))
    by_count = GFVConv(degree="count")(y, edge_index, edge_weight=None, size=(3, 3))
    torch.testing.assert_close(by_count[2], torch.tensor([0.7071068, 1.4142136]))


def test_gfv_conv_is_a_message_passing_layer_without_weights():
    conv = GFVConv()
    assert isinstance(conv, MessagePassing)
    assert list(conv.parameters()) == []


def test_gfv_conv_without_size_stays_on_its_own_nodes():
    y = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    edge_index = torch.tensor([[0, 1], [2, 2]])
    conv = GFVConv()
    for labels in (y, y.to_sparse_csr()):
        implied, spelled = conv(labels, edge_index), conv(labels, edge_index, size=(3, 3))
        torch.testing.assert_close(implied.to_dense(), spelled.to_dense())


def test_gfv_conv_divides_zero_weight_by_nothing():
    # a neighbour exactly at the radius: weight 0, so is the degree by weight; 0 / 0 is no neighbour
    y = torch.ones(1, 2)
    out = GFVConv(degree="weight")(y, torch.tensor([[0], [0]]), torch.zeros(1), size=(1, 1))
    assert out.tolist() == [[0.0, 0.0]]


def test_gfv_conv_refuses_an_unknown_degree():
    with pytest.raises(ValueError, match="sum"):
        GFVConv(degree="sum")


def test_gfv_conv_inside_hetero_conv():
    # features of surveys and of test points in one layer, each as the layer alone would give them
    graph = small_graph()
    hetero = graph.attach(test=test_table_of(on_a_meridian((50, 1, []), (51, 33, []))))
    y = graph.y.to_dense()
    relations = (NEAR_SURVEY, NEAR_TEST)
    layer = HeteroConv({relation: GFVConv() for relation in relations}, aggr="sum")
    edge_index = {relation: hetero[relation].edge_index for relation in relations}
    edge_weight = {relation: hetero[relation].edge_weight for relation in relations}
    out = layer(
        {"survey": y, "test": torch.zeros(2, y.shape[1])},
        edge_index,
        edge_weight_dict=edge_weight,
    )
    assert set(out) == {"survey", "test"}
    for relation, num_dst in ((NEAR_SURVEY, 4), (NEAR_TEST, 2)):
        expected = GFVConv()(y, edge_index[relation], edge_weight[relation], size=(4, num_dst))
        torch.testing.assert_close(out[relation[2]], expected)
        assert out[relation[2]].abs().sum() > 0


def test_gfv_conv_sparse_labels_inside_hetero_conv():
    graph = small_graph()
    layer = HeteroConv({NEAR_SURVEY: GFVConv()})
    out = layer({"survey": graph.y}, {NEAR_SURVEY: graph.edge_index})["survey"]
    expected = GFVConv()(graph.y, graph.edge_index)
    torch.testing.assert_close(out.to_dense(), expected.to_dense())


# --- graph_feature_vectors ------------------------------------------------------------------------


@some
@given(frames=strategies.attached_frames(min_train=1), data=st.data())
def test_feature_vectors_equal_the_oracle(frames, data):
    train, test = surveys_of(frames.train), surveys_of(frames.test)
    count = len(train)
    hidden = st.none() | st.lists(st.booleans(), min_size=count, max_size=count)
    visible = data.draw(hidden, label="visible")
    mask = None if visible is None else torch.tensor(visible)
    graph = SurveyGraph.from_surveys(table_of(frames.train))
    hetero = graph.attach(test=test_table_of(frames.test), presence_only=table_of(frames.po))
    labels = oracles.label_matrix(train, SPECIES)
    near = oracles.with_weights(oracles.survey_edges(train))
    near_test = oracles.with_weights(oracles.bipartite_edges(train, test))
    raw = oracles.gfv(labels, near, count, visible=visible)
    raw_test = oracles.gfv(labels, near_test, len(test), visible=visible)
    largest = oracles.largest_visible_entry(raw, visible)
    for target, features, inputs in (
        ("survey", raw, (graph, hetero)),
        ("test", raw_test, (hetero,)),
    ):
        for one in inputs:
            plain = graph_feature_vectors(one, target=target, visible=mask, normalize=None)
            assert plain.layout == torch.sparse_csr
            assert plain.dtype == torch.float32
            assert tuple(plain.shape) == features.shape
            np.testing.assert_allclose(dense(plain), features, **close)
            length = graph_feature_vectors(one, target=target, visible=mask, normalize="l2")
            # a row of rounding noise alone has no direction worth comparing
            solid = np.linalg.norm(features, axis=1) > 1e-3
            np.testing.assert_allclose(
                dense(length)[solid], oracles.unit_rows(features)[solid], rtol=1e-3, atol=1e-3
            )
            if largest > 1e-3:
                scaled = graph_feature_vectors(one, target=target, visible=mask, normalize="max")
                np.testing.assert_allclose(dense(scaled), features / largest, rtol=1e-3, atol=1e-3)


def feature_example() -> tuple[SurveyGraph, HeteroData]:
    """Survey 2 between survey 0 at 6 km and survey 1 at 9 km; a test point 1 km from survey 0.

    Labels: 0 has A and B, 1 has B, 2 has C. Raw rows: 0 → 4 C, 1 → 1 C, 2 → (4 A + 5 B) / √2. The
    test point is 1 km from survey 0 and 7 km from survey 2: (9 A + 9 B + 3 C) / √2.
    """
    frame = on_a_meridian((10, 6, [1, 2]), (11, -9, [2]), (12, 0, [3]))
    graph = SurveyGraph.from_surveys(SurveyTable.from_long(frame))
    return graph, graph.attach(test=test_table_of(on_a_meridian((50, 7, []))))


ROOT2 = math.sqrt(2)


def test_feature_vectors_by_hand():
    graph, hetero = feature_example()
    raw = [[0, 0, 4], [0, 0, 1], [4 / ROOT2, 5 / ROOT2, 0]]
    out = graph_feature_vectors(graph, normalize=None)
    np.testing.assert_allclose(dense(out), raw, **close)
    out = graph_feature_vectors(hetero, target="test", normalize=None)
    np.testing.assert_allclose(dense(out), [[9 / ROOT2, 9 / ROOT2, 3 / ROOT2]], **close)


def test_max_scales_by_the_largest_training_entry_and_test_rows_by_the_same_number():
    graph, hetero = feature_example()
    # largest of the raw training rows is survey 0's 4, not the 9 / √2 of the test point
    out = graph_feature_vectors(graph, normalize="max")
    np.testing.assert_allclose(dense(out)[0], [0, 0, 1], **close)
    np.testing.assert_allclose(dense(out)[2], [1 / ROOT2, 1.25 / ROOT2, 0], **close)
    out = graph_feature_vectors(hetero, target="test", normalize="max")
    np.testing.assert_allclose(dense(out), [[2.25 / ROOT2, 2.25 / ROOT2, 0.75 / ROOT2]], **close)


def test_max_is_the_default_and_survey_the_default_target():
    graph, hetero = feature_example()
    spelled = graph_feature_vectors(graph, target="survey", visible=None, normalize="max")
    assert same(graph_feature_vectors(graph), spelled)
    assert same(graph_feature_vectors(hetero), spelled)


def test_hidden_surveys_count_neither_in_labels_nor_in_degree_nor_in_the_maximum():
    graph, hetero = feature_example()
    visible = torch.tensor([False, True, True])  # survey 0 hidden
    # survey 2 is left with one neighbour, survey 1 at 9 km: 1 B / √1. Row 0 (4 C) is hidden too, so
    # the largest visible entry is 1, and row 0 is divided by it all the same
    out = graph_feature_vectors(graph, visible=visible, normalize=None)
    np.testing.assert_allclose(dense(out), [[0, 0, 4], [0, 0, 1], [0, 1, 0]], **close)
    out = graph_feature_vectors(graph, visible=visible, normalize="max")
    np.testing.assert_allclose(dense(out), [[0, 0, 4], [0, 0, 1], [0, 1, 0]], **close)
    # the test point keeps survey 2 only, at 7 km: 3 C / √1
    out = graph_feature_vectors(hetero, target="test", visible=visible, normalize="max")
    np.testing.assert_allclose(dense(out), [[0, 0, 3]], **close)


def test_visible_may_be_a_numpy_array():
    graph, _ = feature_example()
    visible = np.array([False, True, True])
    a = graph_feature_vectors(graph, visible=visible, normalize=None)
    b = graph_feature_vectors(graph, visible=torch.from_numpy(visible), normalize=None)
    assert same(a, b)


def test_l2_gives_every_row_unit_length_and_leaves_zeros():
    frame = on_a_meridian((10, 6, [1, 2]), (11, -9, [2]), (12, 0, [3]), (13, 99, [1]))
    out = graph_feature_vectors(
        SurveyGraph.from_surveys(SurveyTable.from_long(frame)), normalize="l2"
    )
    lengths = np.linalg.norm(dense(out), axis=1)
    np.testing.assert_allclose(lengths, [1, 1, 1, 0], **close)
    # survey 2: (4, 5) / √41
    np.testing.assert_allclose(dense(out)[2], [4 / 41**0.5, 5 / 41**0.5, 0], **close)


@pytest.mark.parametrize("normalize", ["max", "l2", None])
def test_without_edges_or_with_all_hidden_features_are_zeros(normalize):
    lonely = SurveyGraph.from_surveys(table_of(on_a_meridian((1, 0, [3]), (2, 50, [3]))))
    assert dense(graph_feature_vectors(lonely, normalize=normalize)).tolist() == [[0.0] * 5] * 2
    _, hetero = feature_example()
    nobody = torch.zeros(3, dtype=torch.bool)
    for target in ("survey", "test"):
        out = graph_feature_vectors(hetero, target=target, visible=nobody, normalize=normalize)
        assert dense(out).sum() == 0
        assert torch.isfinite(out.values()).all()


def test_wrong_questions_for_features_are_value_errors():
    graph, hetero = feature_example()
    with pytest.raises(ValueError):
        graph_feature_vectors(graph, target="test")
    with pytest.raises(ValueError):
        graph_feature_vectors(hetero, target="nowhere")
    with pytest.raises(ValueError):
        graph_feature_vectors(graph, normalize="sum")
    with pytest.raises(ValueError):
        graph_feature_vectors(graph, visible=torch.ones(7, dtype=torch.bool))


# --- species_lists --------------------------------------------------------------------------------


def listed(lists: torch.Tensor, species_ids: Sequence[int] = SPECIES) -> list[set[int]]:
    return [{species_ids[c] for c in columns} for columns in oracles.rows_to_sets(dense(lists))]


@some
@given(
    frames=strategies.attached_frames(min_train=3, min_test=1, min_po=3),
    num=st.integers(1, 4),
    over=st.integers(0, 2),
    num_po=st.integers(1, 4),
    over_po=st.integers(0, 2),
)
def test_species_lists_equal_the_oracle(frames, num, over, num_po, over_po):
    train, test, po = (surveys_of(frame) for frame in frames)
    assume(not oracles.has_near_ties(train, test) and not oracles.has_near_ties(po, test))
    graph = SurveyGraph.from_surveys(table_of(frames.train))
    hetero = graph.attach(test=test_table_of(frames.test), presence_only=table_of(frames.po))
    asked = {"num_neighbors": num, "min_count": over, "num_po": num_po, "min_po_count": over_po}
    for source in ("po", "survey", "both"):
        lists = species_lists(hetero, **asked, source=source)
        assert lists.layout == torch.sparse_csr
        assert tuple(lists.shape) == (len(test), len(SPECIES))
        assert set(np.unique(dense(lists))) <= {0.0, 1.0}
        assert listed(lists) == oracles.species_lists(train, test, po, **asked, source=source)


def lists_example() -> HeteroData:
    """One test point, six surveys and eleven presence-only records; ids fall as distances rise.

    The five nearest surveys (1 to 5 km) all have 3, four of them 17; the sixth (6 km) has 17 too.
    The ten nearest records (0.5 to 5 km) have 1000 nine times and 11254 eight times; the eleventh
    has both.
    """
    found = [[3, 17], [3, 17], [3, 17], [3, 17], [3], [42, 17]]
    train = on_a_meridian(*[(90 - k, 1 + k, names) for k, names in enumerate(found)])
    found = [[1000, 11254]] * 8 + [[1000], [42], [1000, 11254, 42]]
    po = on_a_meridian(*[(90 - k, (1 + k) / 2, names) for k, names in enumerate(found)])
    graph = SurveyGraph.from_surveys(table_of(train))
    return graph.attach(
        test=test_table_of(on_a_meridian((500, 0, []))),
        presence_only=table_of(po.drop(columns="region")),
    )


def test_species_lists_by_hand_with_the_papers_defaults():
    hetero = lists_example()
    # more than 4 of 5: 3 alone (17 has exactly 4); more than 8 of 10: 1000 alone (11254 has 8)
    assert listed(species_lists(hetero, source="survey")) == [{3}]
    assert listed(species_lists(hetero, source="po")) == [{1000}]
    assert listed(species_lists(hetero, source="both")) == [{3, 1000}]
    assert listed(species_lists(hetero)) == [{1000}]  # presence-only is the default
    spelled = species_lists(
        hetero, num_neighbors=5, min_count=4, num_po=10, min_po_count=8, source="both"
    )
    assert listed(spelled) == [{3, 1000}]


def test_species_lists_break_ties_in_distance_by_survey_id():
    # three surveys at the same place, in falling order of id: the two to ask are 1 and 5
    train = on_a_meridian((9, 1, [3, 1000]), (5, 1, [3, 17]), (1, 1, [3, 17, 42]))
    graph = SurveyGraph.from_surveys(table_of(train))
    hetero = graph.attach(
        test=test_table_of(on_a_meridian((500, 0, []))),
        presence_only=table_of(train.drop(columns="region")),
    )
    asked = {"num_neighbors": 2, "min_count": 1, "num_po": 2, "min_po_count": 1}
    for source in ("survey", "po"):
        assert listed(species_lists(hetero, **asked, source=source)) == [{3, 17}]


def test_species_lists_need_no_presence_only_records_for_source_survey():
    graph = SurveyGraph.from_surveys(table_of(on_a_meridian((1, 0, [3]))))
    hetero = graph.attach(test=test_table_of(on_a_meridian((500, 0, []))))
    assert listed(species_lists(hetero, min_count=0, source="survey")) == [{3}]


def test_species_lists_refuse_an_unknown_source():
    with pytest.raises(ValueError):
        species_lists(lists_example(), source="test")


# --- ThresholdTopK --------------------------------------------------------------------------------


@some
@given(
    seed=st.integers(0, 2**16),
    rule=st.sampled_from(("intersection", "union")),
    dtype=st.sampled_from((np.float32, np.float64)),
)
def test_threshold_top_k_scores_and_sets_equal_brute_force(seed, rule, dtype):
    # sixteenths are exact in both types, so that equal probabilities and p = θ really happen
    rng = np.random.default_rng(seed)
    probabilities = (rng.integers(0, 17, (5, 7)) / 16).astype(dtype)
    labels = (rng.random((5, 7)) < 0.3).astype(np.float32)
    labels[0] = 0
    ks, thresholds = range(1, 10), np.array([0.0625, 0.25, 0.5, 0.9375])
    true = oracles.rows_to_sets(labels)
    scores = np.zeros((len(ks), len(thresholds)))
    sets = {}
    for i, k in enumerate(ks):
        for j, threshold in enumerate(thresholds):
            guess = [oracles.threshold_top_k(row, k, threshold, rule) for row in probabilities]
            scores[i, j], sets[k, threshold] = oracles.samples_f1(guess, true), guess
    fitted = ThresholdTopK.fit(
        probabilities, sp.csr_matrix(labels), ks=ks, thresholds=thresholds, rule=rule
    )
    assert np.asarray(fitted.scores).shape == (len(ks), len(thresholds))
    np.testing.assert_allclose(np.asarray(fitted.scores), scores, rtol=1e-5)
    best = scores[list(ks).index(fitted.k), thresholds.tolist().index(fitted.threshold)]
    assert best == pytest.approx(scores.max(), rel=1e-5)
    predicted = fitted.predict(probabilities)
    assert sp.issparse(predicted)
    assert predicted.format == "csr"
    assert predicted.shape == probabilities.shape
    assert oracles.rows_to_sets(predicted.toarray()) == sets[fitted.k, fitted.threshold]


def fixed_rule(k: int, threshold: float, rule: str = "intersection") -> ThresholdTopK:
    """The rule with this one pair: fitted where there is nothing to choose."""
    return ThresholdTopK.fit(
        np.array([[0.9]]), labels_csr([[1]]), ks=[k], thresholds=np.array([threshold]), rule=rule
    )


def test_threshold_top_k_by_hand():
    # order of columns 2, 0, 3, 1; more than 0.25: 2, 0, 3; more than 0.5: 2
    row = np.array([[0.5, 0.25, 0.75, 0.5]])
    assert fixed_rule(2, 0.25).predict(row).toarray().tolist() == [[1, 0, 1, 0]]
    assert fixed_rule(2, 0.5).predict(row).toarray().tolist() == [[0, 0, 1, 0]]
    assert fixed_rule(2, 0.25, "union").predict(row).toarray().tolist() == [[1, 0, 1, 1]]
    assert fixed_rule(2, 0.5, "union").predict(row).toarray().tolist() == [[1, 0, 1, 0]]
    assert fixed_rule(2, 0.75).predict(row).nnz == 0


def test_threshold_top_k_defaults_cover_the_papers_grid():
    rng = np.random.default_rng(0)
    probabilities, labels = rng.random((6, 11)), sp.csr_matrix(rng.random((6, 11)) < 0.4)
    default = ThresholdTopK.fit(probabilities, labels)
    assert np.asarray(default.scores).shape == (100, 41)
    assert default.k in range(1, 101)
    assert 0.1 <= default.threshold <= 0.501
    spelled = ThresholdTopK.fit(probabilities, labels, rule="intersection")
    np.testing.assert_array_equal(default.scores, spelled.scores)


def test_threshold_top_k_survives_json_like_values():
    rule = fixed_rule(44, 0.23)
    assert int(rule.k) == 44
    assert float(rule.threshold) == pytest.approx(0.23)


@pytest.mark.parametrize("form", ["scipy", "torch"])
def test_predict_adds_the_species_lists_once(form):
    rows = [[0, 1, 0, 1], [0, 0, 0, 0]]
    extra = labels_csr(rows) if form == "scipy" else torch.tensor(rows).float().to_sparse_csr()
    probabilities = np.array([[0.5, 0.25, 0.75, 0.5], [0.0, 0.0, 0.0, 0.75]])
    sets = fixed_rule(3, 0.25).predict(probabilities, add=extra)
    assert sets.toarray().tolist() == [[1, 1, 1, 1], [0, 0, 0, 1]]  # column 3 was in both
    assert sets.nnz == 5
    assert sets.format == "csr"


def test_predict_takes_species_lists_as_they_come():
    hetero = lists_example()
    sets = fixed_rule(1, 0.5).predict(np.array([[0.9, 0, 0, 0, 0]]), add=species_lists(hetero))
    assert sets.toarray().tolist() == [[1, 0, 0, 1, 0]]


def test_threshold_top_k_refuses_an_unknown_rule_and_unequal_shapes():
    with pytest.raises(ValueError):
        fixed_rule(2, 0.5, rule="average")
    with pytest.raises(ValueError):
        ThresholdTopK.fit(np.zeros((2, 3)), labels_csr([[1, 0, 0]]))


# --- samples_f1 and write_submission --------------------------------------------------------------


@some
@given(seed=st.integers(0, 2**16), density=st.sampled_from((0.0, 0.2, 0.6)))
def test_samples_f1_equals_the_loop(seed, density):
    rng = np.random.default_rng(seed)
    guess, truth = rng.random((6, 5)) < density, rng.random((6, 5)) < 0.3
    score = samples_f1(sp.csr_matrix(guess), sp.csr_matrix(truth))
    assert isinstance(score, float)
    expected = oracles.samples_f1(oracles.rows_to_sets(guess), oracles.rows_to_sets(truth))
    assert score == pytest.approx(expected, rel=1e-5)


def test_samples_f1_by_hand():
    # rows: TP 1, FP 1, FN 0 → 2/3; both empty → 1; nothing found → 0; nothing predicted → 0
    guess = labels_csr([[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]])
    truth = labels_csr([[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0]])
    assert samples_f1(guess, truth) == pytest.approx((2 / 3 + 1) / 4)
    # one TP, one FP, one FN: F1 is 1/2 where the Jaccard index is 1/3
    assert samples_f1(labels_csr([[1, 1, 0]]), labels_csr([[1, 0, 1]])) == pytest.approx(0.5)


def test_samples_f1_does_not_count_stored_zeros():
    stored = sp.csr_matrix(([0.0, 1.0], [0, 1], [0, 2]), shape=(1, 2))
    assert samples_f1(stored, labels_csr([[0, 1]])) == 1.0


def test_samples_f1_refuses_unequal_shapes():
    with pytest.raises(ValueError):
        samples_f1(labels_csr([[1, 0]]), labels_csr([[1, 0, 0]]))


def test_write_submission_by_hand(tmp_path):
    path = tmp_path / "submission.csv"
    sets = labels_csr([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    write_submission(path, np.array([30, 10, 20]), sets, np.array([42, 3, 17]))
    assert path.read_text().splitlines()[0] == "surveyId,predictions"
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert list(rows.columns) == ["surveyId", "predictions"]
    found = dict(zip(rows["surveyId"], rows["predictions"], strict=True))
    assert found == {"30": "17 42", "10": "", "20": "3"}  # by id, whatever the columns' order


def test_write_submission_takes_text_paths_and_writes_plain_lines(tmp_path):
    path = tmp_path / "submission.csv"
    write_submission(str(path), np.array([7]), labels_csr([[1, 1]]), np.array([3, 17]))
    assert path.read_bytes() == b"surveyId,predictions\n7,3 17\n"


def test_write_submission_refuses_repeated_surveys_and_wrong_lengths(tmp_path):
    path = tmp_path / "submission.csv"
    sets, species_ids = labels_csr([[1, 0], [0, 1]]), np.array([3, 17])
    with pytest.raises(ValueError, match="7"):
        write_submission(path, np.array([7, 7]), sets, species_ids)
    with pytest.raises(ValueError):
        write_submission(path, np.array([7]), sets, species_ids)
    with pytest.raises(ValueError):
        write_submission(path, np.array([7, 8]), sets, np.array([3]))
    assert not path.exists()
