"""Readers of `tighnari_graph.distributed`, each really run, beside the files they are fuzzed with."""

import io
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from tests.distributed_cases import IN_PROCESS
from tests.fuzz_bytes import mutated, odd_or_changed, parquet_files
from tighnari_graph import MultiScale, SurveyTable
from tighnari_graph.distributed import DistributedGraph, PredictedRows, build, predict

if TYPE_CHECKING:
    from distributed import Client

Case = tuple[Path, st.SearchStrategy[bytes]]

SURVEYS = pd.DataFrame({
    "surveyId": [7, 3, 7, 9, 4], "lat": [43.1, 43.11, 43.1, 45.0, 43.12], "lon": 3.0,
    "year": [2020, 2020, 2020, 2021, 2020], "region": ["ALPINE", "ALPINE", "ALPINE", None, "ALPINE"],
    "speciesId": [5.0, 9.0, 29.0, np.nan, 5.0],
})  # fmt: skip
PLACES = SURVEYS.drop(columns="speciesId").drop_duplicates()


def _cluster() -> AbstractContextManager["Client"]:
    """Two threads of this process: those of the test module, or others for one call."""
    from distributed import Client

    try:
        return nullcontext(Client.current())
    except ValueError:
        return Client(**IN_PROCESS)


# --- sources


def _beside_a_good_file(frame: pd.DataFrame, made: bool) -> Callable[[Path], Case]:
    def setup(folder: Path) -> Case:
        _model()  # before anything is limited
        frame.assign(surveyId=frame["surveyId"] + 10).to_parquet(folder / "a.parquet")
        seeds = [_parquet(frame), _parquet(frame, row_group_size=2, compression="gzip")]
        odd = st.one_of(parquet_files(), parquet_files(surveys=True)) if made else mutated(seeds)
        return folder / "b.parquet", odd

    return setup


def _parquet(frame: pd.DataFrame, **options: object) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, **options)
    return buffer.getvalue()


def read_source(folder: Path, path: Path) -> None:
    """Build from a folder, and open all that was built."""
    with TemporaryDirectory() as out, _cluster() as client:
        found = build(folder, out, client=client)
        for number in range(len(found)):
            found.partition(number)
            found.features(number)


def predict_source(folder: Path, path: Path) -> None:
    """Predict the surveys of a folder, and open all that was predicted."""
    with TemporaryDirectory() as out, _cluster() as client:
        found = predict(_model(), folder, out, client=client)
        for number in range(found.parts):
            found.part(number)


@cache
def _model() -> MultiScale:
    rows = pd.DataFrame({"surveyId": np.arange(30), "lat": 43 + np.arange(30) * 0.2, "lon": 3.0,
                         "year": 2020, "speciesId": np.arange(30) % 3})  # fmt: skip
    return MultiScale.fit(SurveyTable.from_long(rows), scales_km=(100.0, 30.0), steps=1)


# --- results


def _result(make: Callable[[Path], None], name: str) -> Callable[[Path], Case]:
    def setup(folder: Path) -> Case:
        make(folder)
        path = folder / "out" / name
        return path, odd_or_changed(path)

    return setup


def made_graph(folder: Path) -> None:
    """One group in two tiles with halos, and test surveys."""
    (folder / "in").mkdir()
    SURVEYS.assign(year=2020, lat=SURVEYS["lat"].clip(upper=43.2), region="ALPINE").to_parquet(
        folder / "in/a.parquet"
    )
    PLACES.to_parquet(folder / "test.parquet")
    lists = {"source": "survey", "num_neighbors": 1, "min_count": 0}
    with _cluster() as client:
        build(folder / "in", folder / "out", test=folder / "test.parquet", max_surveys=2,
              lists=lists, client=client)  # fmt: skip


def open_graph(folder: Path, path: Path) -> None:
    found = DistributedGraph.open(folder / "out")
    repr(found)
    for number in range(min(len(found), 3)):
        found.partition(number)
        if found.job.gfv is not None:
            found.features(number)
    for number in range(min(len(found.test_partitions), 3)):
        if found.job.gfv is not None:
            found.features(number, target="test")
        found.lists(number)


def made_rows(folder: Path) -> None:
    PLACES.to_parquet(folder / "in.parquet")
    with _cluster() as client:
        predict(_model(), folder / "in.parquet", folder / "out", client=client)


def open_rows(folder: Path, path: Path) -> None:
    found = PredictedRows.open(folder / "out")
    for number in range(min(found.parts, 3)):
        found.part(number)


GRAPH_FILES = ("manifest.json", "job.json", "species.parquet", *(
    f"{what}/part-000000.parquet" for what in ("surveys", "halo", "edges", "gfv", "test")
))  # fmt: skip
ROW_FILES = ("manifest.json", "rows/part-000000.parquet")

DISTRIBUTED = {
    "source of build, made up": (_beside_a_good_file(SURVEYS, True), read_source),
    "source of build, changed": (_beside_a_good_file(SURVEYS, False), read_source),
    "source of predict, made up": (_beside_a_good_file(PLACES, True), predict_source),
    "source of predict, changed": (_beside_a_good_file(PLACES, False), predict_source),
    **{
        f"distributed graph {name}": (_result(made_graph, name), open_graph) for name in GRAPH_FILES
    },
    **{f"predicted rows {name}": (_result(made_rows, name), open_rows) for name in ROW_FILES},
}
