"""Workers that die, and multi-scale features on workers."""

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tighnari_graph import MultiScale, SurveyDataError, SurveyTable

distributed = pytest.importorskip("distributed")
from benchmarks import distributed as benchmark  # noqa: E402
from tests.distributed_cases import at_once, clustered_rows, write  # noqa: E402
from tighnari_graph.distributed import PredictedRows, build, predict  # noqa: E402


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a build, but for the settings, which name the folder of the surveys."""
    return {str(p.relative_to(out)): p.read_bytes() for p in out.glob("**/*.parquet")}


@pytest.mark.slow
def test_a_worker_killed_mid_build_does_not_show_in_the_result(client, tmp_path):
    """``kill -9`` of a process, twice: its tiles are built by another, the files are the same."""
    folder = write(clustered_rows(8000, seed=5), tmp_path / "in", rows=2000)
    options = {"max_surveys": 60, "piece_rows": 2000}
    killed: list[int] = []
    ended = threading.Event()

    def alive(cluster: distributed.LocalCluster) -> list[int]:
        """Processes of the workers; one that is started again has none for a while."""
        pids = [worker.pid for worker in list(cluster.workers.values())]
        return [pid for pid in pids if pid and pid not in killed]

    def kill(cluster: distributed.LocalCluster, out: Path) -> None:
        for tiles in (10, 60):
            while len(list(out.glob("tiles/*.json"))) < tiles or not (pids := alive(cluster)):
                if ended.wait(0.01):
                    return
            killed.append(min(pids))  # the longest at work
            os.kill(killed[-1], signal.SIGKILL)

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as processes,
    ):
        killer = threading.Thread(target=kill, args=(cluster, tmp_path / "out"), daemon=True)
        killer.start()
        try:
            found = build(folder, tmp_path / "out", client=processes, **options)
        finally:
            ended.set()
            killer.join()
    assert len(killed) == 2
    assert len(found) > 100
    expected = build(folder, tmp_path / "expected", client=client, **options)
    assert contents(found.out) == contents(expected.out)
    pd.testing.assert_frame_equal(found.partitions, expected.partitions)
    assert not list(found.out.glob("*/.*"))


@pytest.mark.slow
def test_multi_scale_features_of_processes_are_those_of_threads(client, fitted, tmp_path):
    model, new = fitted
    folder = write(new, tmp_path / "in", rows=20)
    expected = predict(model, folder, tmp_path / "threads", piece_rows=40, client=client)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as processes,
    ):
        found = predict(model, folder, tmp_path / "processes", piece_rows=40, client=processes)
    assert found.parts == expected.parts == 6
    for number in range(6):
        (ids, rows), (expected_ids, expected_rows) = found.part(number), expected.part(number)
        np.testing.assert_array_equal(ids, expected_ids)
        for name in ("probabilities", "richness"):
            one, other = (getattr(r, name).toarray() for r in (rows, expected_rows))
            np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.fixture(scope="module")
def fitted() -> tuple[MultiScale, pd.DataFrame]:
    frame = clustered_rows(300, seed=6)
    frame = frame.assign(speciesId=frame["speciesId"] % 20, altitude=frame["lat"] * 50)
    model = MultiScale.fit(SurveyTable.from_long(frame), steps=4)
    new = clustered_rows(150, seed=7).drop(columns="speciesId").drop_duplicates()
    return model, new.assign(altitude=new["lat"] * 50)


def test_multi_scale_features_of_pieces_are_those_of_one_call(client, fitted, tmp_path):
    model, new = fitted
    folder = write(new, tmp_path / "in", rows=20)
    found = predict(model, folder, tmp_path / "out", top=7, piece_rows=40, client=client)
    expected = model.predict(SurveyTable.from_long(at_once(folder)), top=7)
    parts = [found.part(number) for number in range(found.parts)]
    assert found.parts == 6
    assert np.concatenate([ids for ids, _ in parts]).tolist() == new["surveyId"].tolist()
    for name in ("probabilities", "richness"):
        rows = np.concatenate([getattr(part, name).toarray() for _, part in parts])
        np.testing.assert_allclose(rows, getattr(expected, name).toarray(), rtol=1e-5)
    remainder = np.concatenate([part.remainder for _, part in parts])
    np.testing.assert_allclose(remainder, expected.remainder, rtol=1e-5, atol=1e-6)
    assert found.dataset().count_rows() == len(new)
    times = [path.stat().st_mtime_ns for path in sorted(found.out.glob("rows/*"))]
    predict(model, folder, tmp_path / "out", top=7, piece_rows=40, client=client)
    assert times == [path.stat().st_mtime_ns for path in sorted(found.out.glob("rows/*"))]
    with pytest.raises(FileExistsError, match="differs in top"):
        predict(model, folder, tmp_path / "out", top=8, piece_rows=40, client=client)


def test_training_surveys_do_not_see_their_own_block_on_workers_either(client, tmp_path):
    frame = clustered_rows(200, seed=8)
    frame = frame.assign(speciesId=frame["speciesId"] % 20)
    table = SurveyTable.from_long(frame)
    model = MultiScale.fit(table, steps=2)
    places = frame.drop(columns="speciesId").drop_duplicates()
    folder = write(places, tmp_path / "in", rows=50)
    options = {"top": 7, "piece_rows": 50, "client": client}
    found = predict(model, folder, tmp_path / "out", training=True, **options)
    expected = model.predict_training(table, top=7)
    ids, rows = zip(*(found.part(number) for number in range(found.parts)), strict=True)
    assert np.concatenate(ids).tolist() == table.survey_id.tolist()
    rows = np.concatenate([part.probabilities.toarray() for part in rows])
    np.testing.assert_allclose(rows, expected.probabilities.toarray(), rtol=1e-5)
    moved = write(places.assign(lat=places["lat"] + 0.5), tmp_path / "moved")
    with pytest.raises(SurveyDataError, match="lie where none of the 200 does"):
        predict(model, moved, tmp_path / "none", training=True, **options)
    with pytest.raises(FileExistsError, match="differs in training"):
        predict(model, folder, tmp_path / "out", **options)


def test_new_surveys_that_cannot_be_predicted_are_refused(client, fitted, tmp_path):
    model, new = fitted
    lacking = write(new.drop(columns="altitude"), tmp_path / "lacking")
    with pytest.raises(SurveyDataError, match="no column altitude, by which the model compares"):
        predict(model, lacking, tmp_path / "out", client=client)
    twice = write(pd.concat([new[:9], new[:9]]), tmp_path / "twice", rows=3)
    with pytest.raises(SurveyDataError, match="9 survey ids stand in several rows"):
        predict(model, twice, tmp_path / "twice-out", piece_rows=3, client=client)
    with pytest.raises(SurveyDataError, match="9 survey ids stand in several rows"):
        predict(model, twice, tmp_path / "twice-out", piece_rows=1000, client=client)
    assert not (tmp_path / "twice-out").exists()
    with pytest.raises(SurveyDataError, match="no finished multi-scale rows"):
        PredictedRows.open(tmp_path / "twice-out")
    with pytest.raises(ValueError, match="top must be at least 1"):
        predict(model, lacking, tmp_path / "none", top=0)
    with pytest.raises(SurveyDataError, match="columns= renames plot, not among altitude, lat"):
        predict(model, write(new, tmp_path / "in"), tmp_path / "none", columns={"plot": "region"})


@pytest.mark.slow
def test_the_benchmark_runs_without_any_set_up(tmp_path):
    """A `LocalCluster` of our own; the benchmark compares edges itself."""
    row = benchmark.measured(2000, tmp_path / "bench", max_surveys=600)
    assert row["tiles"] == 4
    assert row["halo"] > 0
    assert row["edges compared"] > 0
    assert 6 < row["mean degree"] <= 10
