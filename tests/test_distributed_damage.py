"""Finished results of `tighnari_graph.distributed` that something happened to."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tighnari_graph import SurveyDataError

pytest.importorskip("distributed")
from tests.fuzz_distributed import (
    GRAPH_FILES,
    ROW_FILES,
    made_graph,
    made_rows,
    open_graph,
    open_rows,
)

pytestmark = pytest.mark.usefixtures("client")


def _damaged(path: Path, how: str) -> None:
    if how == "cut off":
        path.write_bytes(path.read_bytes()[:-9])
    elif how == "gone":
        path.unlink()
    elif how == "other columns":
        pq.write_table(pa.table({"a": [1]}), path)
    elif how == "other types":
        table = pq.read_table(path, partitioning=None)
        odd = pa.nulls(len(table))
        pq.write_table(pa.table(dict.fromkeys(table.column_names, odd)), path)
    else:
        pq.write_table(pq.read_table(path, partitioning=None)[:0], path)


@pytest.mark.parametrize("how", ["cut off", "gone", "other columns", "other types", "no rows"])
def test_damaged_parts_of_results_are_named(tmp_path, how):
    for make, read, files in (
        (made_graph, open_graph, GRAPH_FILES), (made_rows, open_rows, ROW_FILES),
    ):  # fmt: skip
        folder = tmp_path / make.__name__
        folder.mkdir()
        make(folder)
        for name in files:
            path = folder / "out" / name
            whole = path.read_bytes()
            if path.suffix == ".json" or (how == "no rows" and make is made_rows):
                continue
            _damaged(path, how)
            with pytest.raises(SurveyDataError, match=name.replace(".", r"\.")):
                read(folder, path)
            path.write_bytes(whole)
        read(folder, folder)


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("manifest.json", {"tiles": [{"key": [2020, "ALPINE"]}]}),
        ("manifest.json", {"tiles": 7}),
        ("manifest.json", {"notes": [1]}),
        ("manifest.json", {"notes": {"survey": {"rows": 9.5}}}),
        ("job.json", {"radius_km": -1}),
        ("job.json", {"radius_km": 10**400}),
        ("job.json", {"keys": {}}),
        ("job.json", {"keys": {"survey": ["plot"]}}),
        ("job.json", {"match": "year"}),
        ("job.json", {"categories": {"survey": {"region": [["ALPINE"]]}}}),
        ("job.json", {"gfv": 5}),
        ("job.json", {"lists": [[1, 2]]}),
    ],
)
def test_odd_entries_in_what_a_build_wrote_are_refused(tmp_path, name, entry):
    made_graph(tmp_path)
    path = tmp_path / "out" / name
    path.write_text(json.dumps(json.loads(path.read_text()) | entry))
    with pytest.raises(SurveyDataError, match=name.replace(".", r"\.")):
        open_graph(tmp_path, path)


@pytest.mark.parametrize("entry", [{"parts": -1}, {"parts": 1e400}, {"species_ids": [2**64]},
                                   {"species_ids": [5, 5]}, {"species_ids": 5}])  # fmt: skip
def test_odd_entries_in_what_predict_wrote_are_refused(tmp_path, entry):
    made_rows(tmp_path)
    path = tmp_path / "out/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entry))
    with pytest.raises(SurveyDataError, match=r"manifest\.json: no finished multi-scale rows"):
        open_rows(tmp_path, path)


@pytest.mark.parametrize(
    ("what", "column", "value", "message"),
    [
        ("edges", "source", 12345, "edges name surveys that are not there"),
        ("edges", "distance_km", np.float32(np.nan), "edges are longer than the radius"),
        ("surveys", "lat", 91.0, "2 values of lat lie beyond ±90"),
        ("surveys", "survey_id", 7, "survey ids are repeated"),
    ],
)
def test_values_of_a_part_that_cannot_be_are_refused(tmp_path, what, column, value, message):
    made_graph(tmp_path)
    path = tmp_path / "out" / what / "part-000000.parquet"
    frame = pq.read_table(path, partitioning=None)
    odd = pa.array([value] * len(frame), frame.schema.field(column).type)
    place = frame.column_names.index(column)
    pq.write_table(frame.set_column(place, column, odd), path)
    with pytest.raises(
        SurveyDataError, match=rf"{what}/part-000000\.parquet: damaged: .*{message}"
    ):
        open_graph(tmp_path, path)
