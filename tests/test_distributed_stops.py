"""Distributed runs that stop: by Ctrl-C, by ``kill -9``, for want of workers. The next call goes on."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tighnari_graph import MultiScale, SurveyTable
from tighnari_graph.holding import FolderInUseError

distributed = pytest.importorskip("distributed")
from tests.distributed_cases import clustered_rows, write  # noqa: E402
from tighnari_graph.distributed import build, cluster, predict  # noqa: E402

ROOT = Path(__file__).parents[1]
SMALL = {"max_surveys": 40, "piece_rows": 400}
SCRIPT = """
import sys
from tighnari_graph import MultiScale
from tighnari_graph.distributed import build, predict
if __name__ == "__main__":
    what, source, out, model = sys.argv[1:]
    if what == "build":
        build(source, out, max_surveys=40, piece_rows=400)
    else:
        predict(MultiScale.load(model), source, out, piece_rows=10)
"""


def content(out: Path) -> dict[str, bytes]:
    """All that a run leaves, but for the settings, which name the folder of the surveys."""
    files = [path for path in out.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(p.relative_to(out)): p.read_bytes() for p in files if p.name != "build.json"}


def stop(
    how: signal.Signals, arguments: list[Path | str], out: Path, until: str, least: int,
    meanwhile: Callable[[], None] = lambda: None,
) -> int:  # fmt: skip
    """Signal a new process and its workers, as a terminal does, once so many files are there."""
    (out.parent / "script.py").write_text(SCRIPT)
    running = subprocess.Popen(
        [sys.executable, out.parent / "script.py", *map(str, arguments)], start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while len(list(out.glob(until))) < least:
        assert running.poll() is None, running.communicate()
        time.sleep(0.002)
    meanwhile()
    os.killpg(running.pid, how)
    try:
        running.communicate(timeout=120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    return running.returncode


@pytest.fixture(scope="module")
def surveys(tmp_path_factory) -> Path:
    return write(clustered_rows(1500), tmp_path_factory.mktemp("surveys") / "in", rows=300)


@pytest.fixture(scope="module")
def built(client, surveys, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("built") / "out"
    return content(build(surveys, out, client=client, **SMALL).out)


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_ends_a_build_and_the_next_call_goes_on(
    client, surveys, built, tmp_path
):
    """The signal reaches the workers too, whose tasks then never end."""
    out = tmp_path / "out"

    def begin_another() -> None:
        with pytest.raises(FolderInUseError, match=r"out: process \d+ on .* is at work in it"):
            build(surveys, out, client=client, **SMALL)

    arguments = ["build", surveys, out, ""]
    assert stop(signal.SIGINT, arguments, out, "tiles/*.json", 3, begin_another) != 0
    assert not (out / "manifest.json").exists()
    assert content(build(surveys, out, client=client, **SMALL).out) == built


@pytest.mark.slow
@pytest.mark.parametrize(("until", "least"), [("work/**/*.arrow", 1), ("tiles/*.json", 9)])
def test_a_build_that_is_killed_is_finished_by_the_same_call(
    client, surveys, built, tmp_path, until, least
):
    """``kill -9`` of the process and its workers, while they read and while they build."""
    out = tmp_path / "out"
    code = stop(signal.SIGKILL, ["build", surveys, out, ""], out, until, least)
    assert code == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    done = {path: path.stat().st_mtime_ns for path in out.glob("tiles/*.json")}
    assert content(build(surveys, out, client=client, **SMALL).out) == built
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())
    assert not list(out.glob("*/.*"))


@pytest.mark.slow
def test_a_prediction_that_is_killed_is_finished_by_the_same_call(client, tmp_path):
    frame = clustered_rows(300, seed=6)
    frame = frame.assign(speciesId=frame["speciesId"] % 20)
    MultiScale.fit(SurveyTable.from_long(frame), steps=4).save(tmp_path / "model.safetensors")
    model = MultiScale.load(tmp_path / "model.safetensors")
    new = clustered_rows(400, seed=7).drop(columns="speciesId").drop_duplicates()
    source, out = write(new, tmp_path / "in", rows=10), tmp_path / "out"
    arguments = ["predict", source, out, tmp_path / "model.safetensors"]
    code = stop(signal.SIGKILL, arguments, out, "rows/*.parquet", 5)
    assert code == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    done = {path: path.stat().st_mtime_ns for path in out.glob("rows/*.parquet")}
    found = predict(model, source, out, piece_rows=10, client=client)
    whole = predict(model, source, tmp_path / "whole", piece_rows=10, client=client)
    assert content(found.out) == content(whole.out)
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())
    assert not list(out.glob("*/.*"))


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "phase"), [(3000, "work"), (60_000, "surveys|edges|gfv")])
def test_a_full_disk_names_the_file_and_the_same_call_goes_on(
    client, surveys, tmp_path, limit, phase
):
    options = {"piece_rows": 400, "client": client}
    whole = content(build(surveys, tmp_path / "whole", **options).out)
    assert max(map(len, whole.values())) > 60_000
    out, usual = tmp_path / "out", resource.getrlimit(resource.RLIMIT_FSIZE)
    signals = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, usual[1]))
    try:
        with pytest.raises(OSError, match=rf"out/({phase})/.*: not written .File too large"):
            build(surveys, out, **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        signal.signal(signal.SIGXFSZ, signals)
    assert content(build(surveys, out, **options).out) == whole


@pytest.fixture
def only_worker():
    """A client of a cluster whose one worker is a process that nobody starts again."""
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as empty,
        distributed.Client(empty) as own,
        subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_worker", empty.scheduler_address,
             "--no-nanny", "--no-dashboard", "--nthreads", "1"],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL,
        ) as worker,
    ):  # fmt: skip
        try:
            own.wait_for_workers(1, timeout=60)
            yield own, worker
        finally:
            worker.kill()


@pytest.mark.slow
def test_a_build_without_workers_ends_and_another_cluster_finishes_it(
    only_worker, client, surveys, built, tmp_path, monkeypatch
):
    monkeypatch.setattr(cluster, "_NO_WORKER", 2.0)
    poorer, worker = only_worker
    usual, out = poorer.nthreads, tmp_path / "out"

    def kill_in_the_middle() -> dict[str, int]:
        if len(list(out.glob("tiles/*.json"))) > 5:
            worker.kill()
        return usual()

    monkeypatch.setattr(poorer, "nthreads", kill_in_the_middle)
    with pytest.raises(RuntimeError, match=r"edges: all workers of <Client.*gone, for 2 seconds"):
        build(surveys, out, client=poorer, **SMALL)
    assert worker.wait() == -signal.SIGKILL
    assert content(build(surveys, out, client=client, **SMALL).out) == built


def test_a_cluster_that_closes_during_a_build_is_an_error(tmp_path):
    def work(number: int) -> None:
        time.sleep(0.2)
        if number == 3:
            (tmp_path / "now").touch()

    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as local,
        distributed.Client(local, timeout=2) as own,
    ):
        closer = threading.Thread(target=lambda: (wait_for(tmp_path / "now"), local.close()))
        closer.start()
        with pytest.raises(RuntimeError, match="work: the scheduler of the Dask cluster cannot"):
            cluster.done_by(own, work, range(100), "work")
        closer.join()


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)
