"""The folder of a distributed build: restarts, other builds, bad files and options."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tighnari_graph import SurveyDataError, SurveyTable
from tighnari_graph.holding import FolderInUseError, hold

pytest.importorskip("distributed")
from tests.distributed_cases import (
    assert_same,
    at_once,
    clustered_rows,
    write,
)
from tighnari_graph.distributed import DistributedGraph, build
from tighnari_graph.distributed.cluster import done_by
from tighnari_graph.distributed.folder import claimed
from tighnari_graph.distributed.options import list_options

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def surveys(tmp_path_factory) -> Path:
    return write(clustered_rows(1500), tmp_path_factory.mktemp("surveys") / "in", rows=300)


def test_the_same_call_goes_on_and_another_build_is_refused(client, surveys, tmp_path, monkeypatch):
    from tighnari_graph.distributed import tile as tile_module

    out, options = tmp_path / "out", {"max_surveys": 100, "client": client}
    check = tile_module.check_tile_fits

    def fail_at_12(surveys, spec, tile):
        if tile.number == 12:
            raise SurveyDataError("no memory")
        check(surveys, spec, tile)

    monkeypatch.setattr(tile_module, "check_tile_fits", fail_at_12)
    with pytest.raises(SurveyDataError, match="no memory"):
        build(surveys, out, **options)
    with pytest.raises(SurveyDataError, match="the build is not finished"):
        DistributedGraph.open(out)
    monkeypatch.undo()
    finished = {path.stem for path in out.glob("tiles/*.json")}  # others may be at work yet
    done = {p: p.stat().st_mtime_ns for p in out.glob("*/*.parquet") if p.stem in finished}
    assert len(done) > 12
    (out / "edges/.part-000000.parquet.x.part").write_text("half of a file")
    found = build(surveys, out, **options)
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())
    assert not list(out.glob("*/.*"))
    assert_same(found, SurveyTable.from_long(at_once(surveys)))
    times = {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
    build(surveys, out, **options)
    assert times == {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
    with pytest.raises(FileExistsError, match="another build, which differs in radius_km"):
        build(surveys, out, radius_km=9.0, **options)
    with pytest.raises(FileExistsError, match="differs in files"):
        build([*sorted(surveys.glob("*"))[:1]], out, **options)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"1 other things \(notes\.txt\)"):
        build(surveys, tmp_path / "mine", **options)


def test_two_builds_in_one_folder_are_refused(client, surveys, tmp_path):
    with (
        hold(tmp_path / "out"),
        pytest.raises(FolderInUseError, match=r"out: process \d+ on .* is at work in it"),
    ):
        build(surveys, tmp_path / "out", client=client)


def test_half_files_of_killed_workers_are_gone_when_a_build_is_done(tmp_path):
    with claimed(tmp_path, {}):
        half = tmp_path / "halo" / ".part-000010.parquet.mwi9sx2e.part"
        half.parent.mkdir()
        half.touch()
    assert not half.exists()


def test_what_is_no_build_is_refused(client, surveys, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no distributed survey graph"):
        DistributedGraph.open(tmp_path)
    found = build(surveys, tmp_path / "out", gfv=False, client=client)
    with pytest.raises(ValueError, match="gfv=False"):
        found.features(0)
    with pytest.raises(ValueError, match="without gfv"):
        found.gfv()
    with pytest.raises(IndexError, match=f"no partition {len(found)} among {len(found)}"):
        found.partition(len(found))
    for name in ("manifest.json", "job.json"):
        (tmp_path / "out" / name).write_text(json.dumps({"form": "other"}))
        with pytest.raises(SurveyDataError, match=name.replace(".", r"\.")):
            DistributedGraph.open(tmp_path / "out")


# --- bad input ------------------------------------------------------------------------------------

GOOD = pd.DataFrame({"surveyId": [1, 2], "lat": 45.0, "lon": 7.0, "year": 2020, "speciesId": 5})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (GOOD.drop(columns="year"), r"1 of 2 files have no column year, first .*bad\.parquet"),
        (GOOD.assign(lat="45"), r"column lat is number in 1 \(first .*\) and text in 1 \(first .*bad"),
        (GOOD.assign(speciesId="Abies"), r"column speciesId is number in 1 .* and text in 1"),
        (GOOD.drop(columns="speciesId"), "1 of 2 files have no column speciesId"),
        (GOOD.assign(lat=[91.0, 45.0]), r"bad\.parquet: 1 of 2 rows have latitude outside"),
        (GOOD.assign(surveyId=[8, None]), r"bad\.parquet: 1 of 2 rows have no surveyId"),
        (GOOD.assign(surveyId=[8, 8], lat=[45, 46.0]), r"bad\.parquet: 1 of 2 rows have a second"),
        (GOOD.assign(year=[2020, 2021]), "1 survey ids stand for surveys at two"),
        (b"PAR1 and no more", r"bad\.parquet: no Parquet file"),
    ],
)  # fmt: skip
def test_bad_files_are_named(client, tmp_path, bad, message):
    (tmp_path / "in").mkdir()
    GOOD.to_parquet(tmp_path / "in/a.parquet")
    path = tmp_path / "in/bad.parquet"
    path.write_bytes(bad) if isinstance(bad, bytes) else bad.to_parquet(path)
    with pytest.raises(SurveyDataError, match=message):
        build(tmp_path / "in", tmp_path / "out", client=client)


def test_bad_sources_and_options_are_refused(client, surveys, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        build(tmp_path / "nothing", out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SurveyDataError, match="holds no Parquet files"):
        build(tmp_path / "empty", out)
    refused = [
        ({"radius_km": 0.0}, "radius_km must be a positive"),
        ({"degree": "mean"}, "degree must be one of"),
        ({"max_surveys": 0}, "max_surveys must be at least 1"),
        ({"piece_rows": -5}, "piece_rows must be at least 1"),
        ({"exclude_block": -1.0}, "block_km must be a positive number"),
        ({"exclude_block": 10.0, "gfv": False}, "gfv=False makes none"),
        ({"lists": {"num_po": 3}}, "lists= are made for test surveys"),
        ({"test": surveys, "lists": {"source": "both"}}, "'both' need PO surveys"),
        ({"test": surveys, "lists": {"num_neighbors": -1}}, "are counts, got -1"),
        ({"columns": {"altitud": "altitude"}}, "columns= renames altitud, not among lat, lon"),
        ({"match": ("year", "county")}, "no column county, which match= asks for"),
        ({"presence_only": surveys}, "give test="),
    ]
    for options, message in refused:
        with pytest.raises(ValueError, match=message):
            build(surveys, out, **options)
    without = write(GOOD, tmp_path / "test")
    with pytest.raises(SurveyDataError, match="surveys have a region column and the others"):
        build(surveys, out, test=without)
    with pytest.raises(TypeError, match="unexpected keyword argument 'num_p'"):
        build(surveys, out, test=without, lists={"num_p": 3})
    assert not out.exists()


def test_options_are_plain_values(tmp_path):
    given = list_options({"num_po": np.int64(3)}, test=True, presence_only=True)
    assert json.dumps(given) == '{"source": "po", "num_po": 3}'
    with pytest.raises(TypeError, match="float"):
        list_options({"num_po": 3.5}, test=True, presence_only=True)


def test_a_source_is_known_by_its_place_wherever_the_call_is_made(
    client, surveys, tmp_path, monkeypatch
):
    monkeypatch.chdir(surveys.parent)
    first = build(surveys.name, tmp_path / "out", client=client)
    monkeypatch.chdir(tmp_path)
    again = build(surveys, "out", client=client)
    pd.testing.assert_frame_equal(first.partitions, again.partitions)


def test_the_first_error_waits_for_the_tasks_that_are_at_work(client, tmp_path):
    """None of them writes into a folder that has been given to another run."""

    def work(number: int) -> None:
        if number == 0:
            while not (tmp_path / "begun").exists():
                time.sleep(0.01)
            raise ValueError("first")
        (tmp_path / "begun").touch()
        time.sleep(0.5)
        (tmp_path / f"{number}.done").touch()

    with pytest.raises(ValueError, match="first"):
        done_by(client, work, range(20), "work")
    done = sorted(tmp_path.glob("*.done"))
    assert 1 <= len(done) < 19
    time.sleep(0.7)
    assert sorted(tmp_path.glob("*.done")) == done


@pytest.mark.slow
def test_a_client_need_not_be_the_default_one(surveys, tmp_path):
    code = (
        "from distributed import Client\n"
        "from tests.distributed_cases import IN_PROCESS\n"
        "from tighnari_graph.distributed import build\n"
        "with Client(**IN_PROCESS, set_as_default=False) as client:\n"
        f"    assert len(build({str(surveys)!r}, {str(tmp_path / 'out')!r}, client=client))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_a_row_group_too_large_to_read_is_refused(surveys, tmp_path, monkeypatch):
    from tighnari_graph.distributed import source

    monkeypatch.setattr(source, "MAX_GROUP_ROWS", 200)
    with pytest.raises(SurveyDataError, match=r"row group 0 has 300 rows and would take about"):
        build(surveys, tmp_path / "out")


def test_edges_that_do_not_fit_into_memory_are_refused(client, tmp_path, monkeypatch):
    from tighnari_graph.distributed import memory

    frame = pd.DataFrame(
        {"surveyId": range(300), "lat": 45.0, "lon": 7.0, "year": 2020, "speciesId": 1}
    )
    folder = write(frame, tmp_path / "in", rows=100)
    monkeypatch.setattr(memory, "free_memory", lambda: 5e6)
    with pytest.raises(SurveyDataError, match=r"tile 0 \(2020\): 300 surveys have 89,700 edges"):
        build(folder, tmp_path / "out", client=client)
    monkeypatch.setattr(memory, "free_memory", lambda: 6e6)
    assert build(folder, tmp_path / "out", client=client).partitions["edges"].tolist() == [89700]


@pytest.mark.slow
def test_dask_is_an_extra_that_the_error_names(surveys, tmp_path):
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "import tighnari_graph\n"
        "assert not {'dask', 'tighnari_graph.distributed'} & set(sys.modules)\n"
        "from tighnari_graph.distributed import build\n"
        f"build({str(surveys)!r}, {str(tmp_path / 'out')!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "in the checkout: pip install '.[distributed]'" in done.stderr
