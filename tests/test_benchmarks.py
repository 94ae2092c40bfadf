"""Every benchmark at its smallest size: results are compared, times are not."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bench_gfv, bench_graph, presence_only
from benchmarks.inputs import REGIONS, clustered_points, po_rows, survey_table
from benchmarks.leaderboard_data import virtual

ROOT = Path(__file__).parents[1]


def test_all_ways_to_build_the_graph_find_the_same_edges():
    rows = bench_graph.compare(1500, repeats=1)  # raises if they do not
    assert len(rows) == 4
    assert len({edges for *_, edges in rows}) == 1


def test_all_ways_to_aggregate_give_the_same_features():
    assert bench_gfv.compare(1500, num_species=300, repeats=1)["edges"] > 0


@pytest.mark.parametrize("name", ["bench_graph", "bench_gfv"])
def test_benchmarks_run_as_commands(name):
    line = [sys.executable, "-m", f"benchmarks.{name}", "--surveys", "700", "--repeats", "1"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "× ours" in done.stdout


def test_inputs_are_those_of_the_seed():
    a, b, c = (
        clustered_points(500, seed=1),
        clustered_points(500, seed=1),
        clustered_points(500, seed=2),
    )
    assert (a.lat == b.lat).all()
    assert (a.lat != c.lat).any()
    assert a.region.max() < len(REGIONS)
    table = survey_table(500)
    assert 10 < table.labels.nnz / 500 < 25
    assert po_rows(300, 200)["surveyId"].nunique() == 200


@pytest.mark.slow
def test_the_graph_of_the_real_size_is_built_three_times_faster_than_the_balltree_loop():
    """A ratio of two times in one process, taken while nothing else should run."""
    rows = {name: seconds for name, seconds, _ in bench_graph.compare(repeats=2)}
    assert rows["BallTree loop"] >= 3 * rows["ours, kdtree"]


@pytest.mark.slow
def test_features_of_the_real_size_take_seconds_and_under_4_gb():
    script = (
        "import resource; from benchmarks.bench_gfv import compare; r = compare(repeats=1)\n"
        "print(r['ours'], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=250
    )
    assert done.returncode == 0, done.stderr
    seconds, gigabytes = map(float, done.stdout.split())
    assert seconds < 30
    assert gigabytes < 4


def test_every_switch_for_presence_only_surveys_is_compared_with_all_of_them():
    table = presence_only.table_of(virtual(Path(), limit=120), folds=2)
    assert set(presence_only.WAYS) == set(table.index)
    assert table.loc["no PO surveys", "PO surveys"] == 0
    assert 0 < table.loc["lists of 5 species or more", "PO surveys"] < 1200
    assert table["difference"].isna().tolist() == [way == presence_only.ALL for way in table.index]
    scores, base = table["samples-F1"], table.loc[presence_only.ALL, "samples-F1"]
    np.testing.assert_allclose(table["difference"].fillna(0), scores - base, atol=1e-12)
