"""Rows of a distributed build: kinds of columns, what repeats and varies, what is counted."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tighnari_graph import SurveyDataError, SurveyTable

distributed = pytest.importorskip("distributed")
from tests.distributed_cases import (  # noqa: E402
    IN_PROCESS,
    assert_same,
    at_once,
    clustered_rows,
    write,
)
from tighnari_graph.distributed import build  # noqa: E402

ROWS = pd.DataFrame(
    {
        "surveyId": [1, 2, 1, 3],
        "lat": [45.0, 45.01, 45.0, 45.02],
        "lon": 7.0,
        "year": 2020,
        "speciesId": [5, 5, 9, 9],
    }
)


@pytest.fixture(scope="module")
def client():
    """A cluster in this process: two threads."""
    with distributed.Client(**IN_PROCESS) as one:
        yield one


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
