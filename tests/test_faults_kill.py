"""`kill -9` at every file write, in training and in prediction: the same command finishes the job.

A driver process imports everything once and forks: a child works and kills itself at the chosen
point, the next one runs the same again. What a killed process leaves is what is on the disk.
"""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.inputs import survey_table
from tests.small_models import QUIET, small_config, small_data
from tests.test_prepared import IDS, write_survey
from tighnari_graph import __main__ as graph_command
from tighnari_graph.conversions_parquet import write_geoparquet
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.holding import hold
from tighnari_graph.virtual import virtual_europe
from tighnari_models import __main__ as models_command
from tighnari_models import command, prediction
from tighnari_models.cross_fusion import cross_fusion
from tighnari_models.data import prepared
from tighnari_models.prediction import predict
from tighnari_models.training import TighnariTraining

ROOT = Path(__file__).parents[1]
NO_FILE = "none"  # where nothing is written but the data are read
PASSING = {  # they hold times, or the number of a process
    "log", "history.csv", "done.json", "summary.json", "report.html", ".lock", ".holder",
}  # fmt: skip
Point = tuple[str, int]


# --- what is run, in a child of the driver --------------------------------------------------------


def fuse(data: Path, out: Path) -> None:
    options = replace(QUIET, patience=None)
    given = small_data()
    result = cross_fusion(
        small_config(), given, out, folds=2, max_epochs=2, fine_tune_epochs=1, training=options
    )
    everyone = np.ones(len(given.surveys), dtype=bool)
    models = [fold.model for fold in result.folds]
    predict(models, given.dataset(everyone, everyone, models[0].preprocessing), out=out / "all.npy")


def prepare_files(data: Path, out: Path) -> None:
    prepared._CHUNK = 4
    prepared.prepare(data, out, IDS, "train", workers=1)


def graph_run(data: Path, out: Path) -> None:
    arguments = ["--data", data, "--out", out, "--recipe", "paper", "--folds", 2]
    assert graph_command.main([str(a) for a in arguments]) == 0


def graph_best(data: Path, out: Path) -> None:
    arguments = ["--data", data, "--out", out, "--folds", 2]
    assert graph_command.main([str(a) for a in arguments]) == 0


def models_run(data: Path, out: Path) -> None:
    arguments = ["--data", data, "--out", out, "--recipe", "paper", "--folds", 2, "--epochs", 2]
    assert models_command.main([str(a) for a in arguments]) == 0


def virtual(data: Path, out: Path) -> None:
    command._VIRTUAL_SURVEYS, command._VIRTUAL_TEST = 5, 2
    with hold(out, "virtual_europe"):  # as the command does
        command._virtual_folder(out, 0)


def geoparquet(data: Path, out: Path) -> None:
    """A graph, and another that takes its place."""
    for num in (20, 40):
        write_geoparquet(SurveyGraph.from_surveys(survey_table(num, num_species=10)), out / "graph")


RUNS: dict[str, Callable[[Path, Path], None]] = {
    run.__name__: run
    for run in (fuse, prepare_files, graph_run, graph_best, models_run, virtual, geoparquet)
}  # fmt: skip


def at_call(n: int, of: object, name: str, after: bool = False) -> None:
    """Kill this process at the n-th call (from 0), before it or after it."""
    usual, calls = getattr(of, name), []

    def dying(*arguments: object, **options: object) -> object:
        calls.append(name)
        if len(calls) == n + 1 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = usual(*arguments, **options)
        if len(calls) == n + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(of, name, dying)


PLACES = {
    "before a rename": lambda n: at_call(n, Path, "replace"),
    "after a rename": lambda n: at_call(n, Path, "replace", after=True),
    "in an epoch": lambda n: at_call(n, TighnariTraining, "training_step"),
    "in a prediction": lambda n: at_call(n, prediction, "_fill"),
}


# --- the driver -----------------------------------------------------------------------------------


def forked(work: Callable[[], None]) -> int:
    """What became of a child that does the work: 0, its exit status, or minus a signal."""
    child = os.fork()
    if not child:
        sys.stdout.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            work()
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def counted(run: Callable[[Path, Path], None], data: Path, out: Path, note: Path) -> None:
    """The run, with a letter in a file for every rename (r) and every training epoch (e)."""

    def noting(of: object, name: str, letter: str) -> None:
        usual = getattr(of, name)

        def noted(*arguments: object, **options: object) -> object:
            with note.open("a") as file:
                file.write(letter)
            return usual(*arguments, **options)

        setattr(of, name, noted)

    noting(Path, "replace", "r")
    noting(TighnariTraining, "on_train_epoch_start", "e")
    run(data, out)


def drive(name: str, data: Path, folder: Path, points: list[Point]) -> None:
    """Run whole once, then killed and run again for every point; say what was found as JSON."""
    run = RUNS[name]
    assert forked(lambda: counted(run, data, folder / "whole", folder / "whole.txt")) == 0
    for place, n in points:
        out = folder / f"{place} {n}"

        def killed(place: str = place, n: int = n, out: Path = out) -> None:
            PLACES[place](n)
            counted(run, data, out, folder / f"{out.name}.txt")

        status = forked(killed)
        left = {str(p.relative_to(out)): p.stat().st_mtime_ns for p in out.rglob("*")}
        again = forked(lambda out=out: counted(run, data, out, folder / f"{out.name}.txt"))
        (folder / f"{out.name}.json").write_text(json.dumps([status, again, left]))


def driven(*jobs: tuple[str, Path, Path, list[Point]]) -> None:
    """Jobs of `drive`, one after the other, in one new process."""
    listed = [(name, str(data), str(folder), points) for name, data, folder, points in jobs]
    code = f"from tests.test_faults_kill import all_jobs; all_jobs({listed!r})"
    there = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=there, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def all_jobs(jobs: list[tuple[str, str, str, list[Point]]]) -> None:
    for name, data, folder, points in jobs:
        Path(folder).mkdir(parents=True, exist_ok=True)
        drive(name, Path(data), Path(folder), points)


# --- what is asked of it --------------------------------------------------------------------------


def content(out: Path) -> dict[str, bytes | None]:
    """Every file below; of those that tell times, only that they are there."""
    found = {}
    for path in sorted(out.rglob("*")):
        inside = path.relative_to(out)
        if path.is_file() and "log" not in inside.parts:
            found[str(inside)] = None if path.name in PASSING else path.read_bytes()
    return found


def check(folder: Path, point: Point) -> None:
    out = folder / f"{point[0]} {point[1]}"
    status, again, left = json.loads((folder / f"{out.name}.json").read_text())
    assert (status, again) == (-signal.SIGKILL, 0), point
    found, expected = content(out), content(folder / "whole")
    assert sorted(found) == sorted(expected), point  # nothing lacks, and no half file stays
    assert [name for name in found if found[name] != expected[name]] == [], point
    notes, whole = (folder / f"{out.name}.txt").read_text(), (folder / "whole.txt").read_text()
    assert notes.count("e") <= whole.count("e") + 1, point  # at most one epoch twice
    for name in left:  # a fold that was finished is left alone
        fold, _, file = name.rpartition("/model/")
        if file and f"{fold}/done.json" in left:
            assert (out / name).stat().st_mtime_ns == left[name], (point, name)


def every_point(folder: Path) -> list[Point]:
    writes = (folder / "whole.txt").read_text().count("r")
    return [(place, n) for n in range(writes) for place in ("before a rename", "after a rename")]


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    world = virtual_europe(80, 20, 40, num_species=30, seed=4)
    return world.write(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for survey in IDS.tolist():
        write_survey(folder, survey)
    return folder


QUICK: dict[str, list[Point]] = {
    "fuse": [
        ("before a rename", 6), ("after a rename", 13), ("in an epoch", 3), ("in a prediction", 0),
    ],
    "prepare_files": [("before a rename", 1), ("after a rename", 4), ("after a rename", 6)],
    "graph_run": [("before a rename", 3)],
    "geoparquet": [
        ("before a rename", 2), ("after a rename", 7), ("before a rename", 14),
        ("after a rename", 16), ("before a rename", 19),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def quick(files, tables, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("quick")
    none = Path(NO_FILE)
    data = {"fuse": none, "prepare_files": files, "graph_run": tables, "geoparquet": none}
    driven(*((name, data[name], folder / name, points) for name, points in QUICK.items()))
    return folder


@pytest.mark.parametrize("name", QUICK)
def test_what_was_killed_is_finished_by_the_next_run(quick, name):
    for point in QUICK[name]:
        check(quick / name, point)


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", ["fuse", "prepare_files", "graph_run", "geoparquet"])
def test_killed_at_every_write(name, tables, files, tmp_path):
    none = Path(NO_FILE)
    data = {"fuse": none, "prepare_files": files, "geoparquet": none}.get(name, tables)
    driven((name, data, tmp_path, []))
    points = every_point(tmp_path)
    driven((name, data, tmp_path / "all", points))
    for point in points:
        check(tmp_path / "all", point)


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", ["graph_best", "models_run"])
def test_a_command_killed_at_some_writes(name, tables, tmp_path):
    driven((name, tables, tmp_path, []))
    points = random.Random(0).sample(every_point(tmp_path), 4)
    driven((name, tables, tmp_path / "all", points))
    for point in points:
        check(tmp_path / "all", point)


@pytest.mark.slow
def test_a_command_killed_in_training_and_in_prediction(tables, tmp_path):
    points = [("in an epoch", 2), ("in a prediction", 3), ("before a rename", 9)]
    driven(("models_run", tables, tmp_path, points))
    for point in points:
        check(tmp_path, point)


@pytest.mark.slow
def test_a_virtual_europe_that_is_not_whole_is_written_again(tmp_path):
    points = [("after a rename", n) for n in (4, 16, 30)]
    driven(("virtual", Path(NO_FILE), tmp_path, points))
    for point in points:
        check(tmp_path, point)
