"""Rows of a distributed build: kinds of columns, what repeats and varies, what is counted."""

import datetime
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fuzz_limits import within_limits
from tighnari_graph import SurveyDataError, SurveyTable, read_glc24_pa

pytest.importorskip("distributed")
from tests.distributed_cases import (
    assert_same,
    at_once,
    clustered_rows,
    write,
)
from tighnari_graph.distributed import build
from tighnari_graph.distributed.source import DataSet
from tighnari_graph.table_files import read_frame

ROWS = pd.DataFrame(
    {
        "surveyId": [1, 2, 1, 3],
        "lat": [45.0, 45.01, 45.0, 45.02],
        "lon": 7.0,
        "year": 2020,
        "speciesId": [5, 5, 9, 9],
    }
)


@pytest.mark.parametrize("piece_rows", [1, 1000])
def test_notes_are_those_of_the_table(client, tmp_path, piece_rows):
    """Of whole surveys, though their rows stand in several pieces, some twice."""
    frame = clustered_rows(300)
    frame = pd.concat([frame, frame[:40]])
    folder = write(frame, tmp_path / "in", rows=50)
    test = write(frame.drop(columns="speciesId")[:1], tmp_path / "test", files=1)
    found = build(folder, tmp_path / "out", test=test, piece_rows=piece_rows, client=client)
    expected = SurveyTable.from_long(at_once(folder)).notes
    assert found.notes["survey"] == expected
    assert expected["repeated rows"] > 30
    assert expected["rows without a species"] > 0
    assert expected["surveys without region"] > 0
    assert found.notes["test"]["rows"] == 1


def test_a_whole_number_is_the_same_value_as_a_fraction(client, tmp_path):
    """A column of whole numbers becomes one of fractions where a row group has a gap."""
    frame = ROWS.assign(county=pd.array([3, 4, 3, None], dtype="Int64"))
    folder = write(frame, tmp_path / "in", files=2, rows=2)
    options = {"match": ("year", "county")}
    found = build(folder, tmp_path / "out", piece_rows=1, client=client, **options)
    assert_same(found, SurveyTable.from_long(at_once(folder)), **options)


def test_decimal_numbers_are_numbers(client, tmp_path):
    (tmp_path / "in").mkdir()
    county = pa.array([Decimal("3.5"), Decimal("4"), Decimal("3.5"), None])
    lat = pa.array([Decimal(str(value)) for value in ROWS["lat"]])
    table = pa.Table.from_pandas(ROWS.drop(columns="lat")).append_column("county", county)
    pq.write_table(table.append_column("lat", lat), tmp_path / "in/0.parquet")
    options = {"match": ("year", "county")}
    found = build(tmp_path / "in", tmp_path / "out", client=client, **options)
    assert found.partitions["county"].dropna().tolist() == [3.5, 4.0]
    expected = SurveyTable.from_long(ROWS.assign(county=[3.5, 4, 3.5, np.nan]))
    assert_same(found, expected, **options)


def test_columns_that_are_neither_number_nor_text_are_refused(client, tmp_path):
    folder = write(ROWS.assign(day=datetime.date(2020, 1, 1)), tmp_path / "in")
    with pytest.raises(SurveyDataError, match=r"column day is date32.* \(first .*0\.parquet\)"):
        build(folder, tmp_path / "out", match=("day",), client=client)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("piece_rows", [1, 1000])
def test_a_survey_of_two_values_is_refused_wherever_its_rows_stand(client, tmp_path, piece_rows):
    folder = write(ROWS.assign(county=["a", "a", "b", "a"]), tmp_path / "in", files=1, rows=1)
    options = {"match": ("year", "county"), "piece_rows": piece_rows}
    with pytest.raises(SurveyDataError, match=r"a survey's rows must agree"):
        build(folder, tmp_path / "out", client=client, **options)


def test_two_columns_of_one_name_are_refused(client, tmp_path):
    folder = write(ROWS.assign(y=ROWS["lat"]), tmp_path / "in")
    for columns in ({"y": "lat"}, {"y": "region", "speciesId": "region"}):
        with pytest.raises(SurveyDataError, match="column names occur twice: (lat|region)"):
            build(folder, tmp_path / "out", columns=columns, client=client)


def test_files_without_rows_make_a_graph_without_surveys(client, tmp_path):
    (tmp_path / "in").mkdir()
    schema = pa.Schema.from_pandas(ROWS, preserve_index=False)
    pq.ParquetWriter(tmp_path / "in/0.parquet", schema).close()  # no row group at all
    found = build(tmp_path / "in", tmp_path / "out", client=client)
    assert len(found) == 0
    assert "surveys=0, edges=0" in repr(found)
    with pytest.raises(IndexError, match="no partition 0 among 0"):
        found.features(0)
    with pytest.raises(ValueError, match="target must be 'survey' or 'test', got 'tset'"):
        found.features(0, target="tset")


def test_names_of_folders_that_only_look_like_numbers_are_text(client, tmp_path):
    frame = ROWS.assign(region=["01", "1", "01", "1"], speciesId=[5, 6, 7, 8])
    frame = frame.assign(lon=7.0, lat=[45.0, 45.01, 45.0, 45.02])
    frame.to_parquet(tmp_path / "in", partition_cols=["year", "region"], index=False)
    found = build(tmp_path / "in", tmp_path / "out", client=client)
    assert found.partitions["region"].tolist() == ["01", "1"]
    assert found.partitions["year"].tolist() == [2020, 2020]
    assert found.partitions["edges"].sum() == 2  # surveys 2 and 3
    part = build(tmp_path / "in/year=2020/region=1", tmp_path / "part", client=client)
    assert part.partitions[["year", "region", "surveys"]].to_numpy().tolist() == [[2020, 1, 2]]


def test_a_column_that_one_file_lacks_and_another_has_empty_is_refused(client, tmp_path):
    (tmp_path / "in").mkdir()
    ROWS.to_parquet(tmp_path / "in/a.parquet", index=False)
    table = pa.Table.from_pandas(ROWS.assign(surveyId=ROWS["surveyId"] + 10), preserve_index=False)
    pq.write_table(table.append_column("region", pa.nulls(4)), tmp_path / "in/b.parquet")
    with pytest.raises(SurveyDataError, match=r"1 of 2 files have no column region, first .*/a\."):
        build(tmp_path / "in", tmp_path / "out", client=client)


def test_surveys_without_species_have_none(client, tmp_path):
    folder = write(ROWS.drop(columns="speciesId"), tmp_path / "in")
    found = build(folder, tmp_path / "out", species_ids=[5, 6, 7], piece_rows=1, client=client)
    assert found.notes["survey"] == SurveyTable.from_long(at_once(folder)).notes
    assert found.partitions["labels"].tolist() == [0]
    assert found.features(0).shape == (3, 3)


def test_text_that_is_no_utf_8_is_refused_with_the_file(client, tmp_path):
    (tmp_path / "in").mkdir()
    odd = pa.array([b"\xff\xfe\x00", b"ok", b"ok", b"ok"], pa.binary())
    odd = pa.Array.from_buffers(pa.string(), 4, odd.buffers())
    table = pa.Table.from_pandas(ROWS, preserve_index=False).append_column("region", odd)
    pq.write_table(table, tmp_path / "in/0.parquet")
    with pytest.raises(SurveyDataError, match=r"0\.parquet: cannot be read: .*UTF"):
        build(tmp_path / "in", tmp_path / "out", client=client)
    with pytest.raises(SurveyDataError, match=r"0\.parquet: cannot be read as a table: .*UTF"):
        read_glc24_pa(tmp_path / "in/0.parquet")


def test_a_column_to_match_that_is_named_twice_counts_once(client, tmp_path):
    folder = write(ROWS, tmp_path / "in")
    found = build(folder, tmp_path / "out", match=("year", "year"), client=client)
    assert_same(found, SurveyTable.from_long(at_once(folder)), match=("year",))


def test_results_among_the_surveys_are_refused(client, tmp_path):
    folder = write(ROWS, tmp_path / "in")
    with pytest.raises(ValueError, match=r"in/graph lies in .*in, which is read"):
        build(folder, folder / "graph", client=client)
    assert not (folder / "graph").exists()


def test_test_surveys_of_more_edges_than_a_worker_can_hold_are_refused(
    client, tmp_path, monkeypatch
):
    from tighnari_graph import memory, neighbor_memory

    many = pd.DataFrame(
        {"surveyId": range(300), "lat": 45.0, "lon": 7.0, "year": 2020, "speciesId": 1}
    )
    po, few = write(many, tmp_path / "po"), write(many[:2], tmp_path / "few", files=1)
    test = write(many.drop(columns="speciesId"), tmp_path / "test")
    for module in (memory, neighbor_memory):
        monkeypatch.setattr(module, "free_memory", lambda: 60 * 50_000)
    with pytest.raises(SurveyDataError, match=r"test tile 0 \(2020\): 90,000 edges of at most"):
        build(few, tmp_path / "out", test=test, presence_only=po, client=client)


def test_large_whole_numbers_beside_gaps_stay_as_they_are(client, tmp_path):
    """As fractions two cells of a global grid would be one, and a species another."""
    cell = pd.array([2**60 + 1, None, 2**60 + 2, 2**60 + 2], dtype="Int64")
    rows = ROWS.assign(surveyId=range(4), cell=cell)
    rows["speciesId"] = pd.array([2**53 + 1, None, 5, 5], dtype="Int64")
    folder = write(rows, tmp_path / "in", files=1)
    found = build(folder, tmp_path / "out", match=("year", "cell"), client=client)
    for frame in (rows, read_frame(folder / "0.parquet")[0]):
        table = SurveyTable.from_long(frame)
        assert table.species_ids.tolist() == [5, 2**53 + 1]
        assert_same(found, table, match=("year", "cell"))
    assert found.partitions["edges"].sum() == 2


@pytest.mark.parametrize("name", ["source", "target", "distance_km"])
@pytest.mark.parametrize("value", ["A", True, 3])
def test_columns_to_match_may_be_called_as_those_of_edges(client, tmp_path, name, value):
    rows = ROWS.assign(**{name: value})
    found = build(
        write(rows, tmp_path / "in"), tmp_path / "out", match=("year", name), client=client
    )
    assert_same(found, SurveyTable.from_long(rows), match=("year", name))


def test_test_surveys_of_a_source_without_rows_get_empty_features(client, tmp_path):
    rows = ROWS.assign(region="ALPINE")
    empty = write(rows[:0], tmp_path / "in", files=1)
    test = write(rows.drop(columns="speciesId").drop_duplicates("surveyId"), tmp_path / "test")
    found = build(empty, tmp_path / "out", test=test, species_ids=[5, 9], client=client)
    assert len(found) == 0
    parts = [found.features(n, target="test") for n in range(len(found.test_partitions))]
    assert sum(len(part) for part in parts) == ROWS["surveyId"].nunique()
    assert not any(part.values().numel() for part in parts)


# --- found by the fuzz -----------------------------------------------------------------------------


@pytest.mark.parametrize("notes", [b'{"columns": 3}', b'{"index_columns": ["surveyId"]}', b"\xff"])
def test_what_pandas_noted_in_a_source_is_not_believed(client, tmp_path, notes):
    (tmp_path / "in").mkdir()
    table = pa.Table.from_pandas(ROWS).replace_schema_metadata({b"pandas": notes})
    pq.write_table(table, tmp_path / "in/0.parquet")
    found = build(tmp_path / "in", tmp_path / "out", client=client)
    assert_same(found, SurveyTable.from_long(ROWS))


def test_a_column_whose_name_begins_like_another_is_not_read(client, tmp_path):
    (tmp_path / "in").mkdir()
    table = pa.Table.from_pandas(ROWS).append_column("lat.parts", pa.array([[1]] * len(ROWS)))
    pq.write_table(table, tmp_path / "in/0.parquet")
    assert_same(
        build(tmp_path / "in", tmp_path / "out", client=client), SurveyTable.from_long(ROWS)
    )


def test_other_rows_than_the_footer_says_are_refused(tmp_path):
    folder = write(ROWS, tmp_path / "in", files=1)
    (piece,) = DataSet.find(folder, (), None, 100).pieces
    with pytest.raises(SurveyDataError, match=r"0\.parquet: has 4 rows where its footer says 3"):
        replace(piece, rows=3).read()


def test_whole_numbers_that_64_bits_do_not_hold_are_text_or_refused(client, tmp_path):
    frame = ROWS.assign(region=np.uint64(2**63 + 5))
    with pytest.raises(SurveyDataError, match="region holds 1 numbers above 2.63, first 922"):
        build(write(frame, tmp_path / "in"), tmp_path / "out", client=client)
    folder = write(ROWS, tmp_path / "folders/region=99999999999999999999").parent
    found = build(folder, tmp_path / "text", client=client)
    assert found.partitions["region"].tolist() == ["99999999999999999999"]


@pytest.mark.parametrize("name", ["row", "species", "survey_id", "halo", "near_po", "list_species"])
def test_columns_to_match_that_are_called_as_results_are_refused(tmp_path, name):
    folder = write(ROWS.assign(**{name: 1}), tmp_path / "in")
    with pytest.raises(SurveyDataError, match=f"match= asks for {name}, as columns of the results"):
        build(folder, tmp_path / "out", match=("year", name))


def test_a_text_of_a_megabyte_in_every_row_of_a_source_is_held_once(tmp_path):
    many = {name: ROWS[name].to_numpy()[np.zeros(2500, int)] for name in ("lat", "lon", "year")}
    region = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2500, np.int32)), ["A" * 1_000_000])
    table = pa.table({"surveyId": range(2500), **many, "region": region})
    pq.write_table(table, tmp_path / "b.parquet", compression="zstd", store_schema=False)
    (piece,) = DataSet.find(tmp_path / "b.parquet", ("region",), None, 10_000).pieces
    with within_limits(tmp_path):
        assert len(SurveyTable.from_long(piece.read())) == 2500
