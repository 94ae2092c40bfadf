"""Two runs in one folder, and Ctrl-C: the second is refused, the stopped one goes on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.small_models import QUIET, small_config, small_data, split_data
from tighnari_graph import __main__ as graph_command
from tighnari_graph.holding import FolderInUseError, hold
from tighnari_graph.virtual import virtual_europe
from tighnari_models import __main__ as models_command
from tighnari_models.cross_fusion import cross_fusion
from tighnari_models.fit import fit

ROOT = Path(__file__).parents[1]
HOLDING = ROOT / "tighnari_graph/holding.py"
MAINS = {"tighnari_graph": graph_command.main, "tighnari_models": models_command.main}
HOLDER = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("holding", sys.argv[1])  # quicker than the package
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
with module.hold(sys.argv[2]):
    print("held", flush=True)
    time.sleep(600)
"""
WAITER = """
import time
usual = time.sleep
def sleep(seconds):  # the lock's, between two attempts
    time.sleep = usual
    print("asked in vain", flush=True)
time.sleep = sleep
""" + HOLDER.replace("[2])", "[2], wait=True)")


def started(*arguments: object) -> subprocess.Popen:
    there = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], env=there, cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture
def other(tmp_path) -> Iterator[subprocess.Popen]:
    """A process that holds ``tmp_path / "out"``."""
    process = started("-c", HOLDER, HOLDING, tmp_path / "out")
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    world = virtual_europe(80, 20, 40, num_species=30, seed=4)
    return world.write(tmp_path_factory.mktemp("tables"))


def whole_tree(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Names, times and contents; but for the lock, which some versions of filelock touch."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".lock"]
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


# --- two runs in one folder -----------------------------------------------------------------------


def test_the_second_run_is_refused_until_the_first_ends_however_it_ends(
    other, tables, tmp_path, capsys
):
    out = tmp_path / "out"
    before = whole_tree(out)
    says = f"{out}: process {other.pid} on .* is at work in it; wait for it, or choose another"
    for main in MAINS.values():
        assert main(["--data", str(tables), "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {out}: process {other.pid} on ")
        assert error.count("\n") == 1
    with pytest.raises(FolderInUseError, match=says):
        fit(small_config(), split_data(), out, 1, training=QUIET)
    with pytest.raises(FolderInUseError, match=says):
        cross_fusion(small_config(), small_data(), out, folds=2, training=QUIET)
    assert whole_tree(out) == before
    other.send_signal(signal.SIGKILL)
    other.communicate()
    assert other.returncode == -signal.SIGKILL
    assert fit(small_config(), split_data(), out, 1, training=QUIET).best_epoch == 0


def test_a_folder_is_free_again_after_an_error_and_for_the_next_process(tmp_path):
    with pytest.raises(ZeroDivisionError), hold(tmp_path):
        raise ZeroDivisionError
    with hold(tmp_path), pytest.raises(FolderInUseError), hold(tmp_path):
        pass
    with hold(tmp_path):
        pass


def test_half_files_of_a_killed_run_go_and_no_others(tmp_path):
    inside, beside = tmp_path / "model", tmp_path / "other"
    names = [".a.csv.x1.part", ".tmpX5SU69", "b.part", ".keep"]
    for folder in (tmp_path, inside, beside):
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / name).touch()
    with hold(tmp_path, "model"):
        pass
    for folder, left in ((tmp_path, names[2:]), (inside, names[2:]), (beside, names)):
        assert all((folder / name).exists() for name in left)
        assert all((folder / name).exists() == (folder == beside) for name in names[:2])


def test_a_finished_run_is_read_also_while_another_process_holds_its_folder(tmp_path):
    first = fit(small_config(), split_data(), tmp_path, 1, training=QUIET)
    with hold(tmp_path):
        again = fit(small_config(), split_data(), tmp_path, 1, training=QUIET)
    np.testing.assert_array_equal(again.model.head.bias.detach(), first.model.head.bias.detach())


def test_a_waiting_process_takes_over_from_one_that_is_killed(other, tmp_path):
    waiting = started("-c", WAITER, HOLDING, tmp_path / "out")
    try:
        assert waiting.stdout.readline() == "asked in vain\n"
        other.kill()
        assert waiting.stdout.readline() == "held\n"
    finally:
        waiting.kill()
        waiting.communicate()


# --- Ctrl-C ---------------------------------------------------------------------------------------


STOPPED = """
import os, signal, sys
from importlib import import_module
from pathlib import Path
from tighnari_models.training import TighnariTraining

def at_call(of, name, number):
    usual, calls = getattr(of, name), []

    def stopping(*arguments, **options):
        calls.append(name)
        if len(calls) == number:
            os.kill(os.getpid(), getattr(signal, sent))
        return usual(*arguments, **options)

    setattr(of, name, stopping)

module, place, number, sent, *arguments = sys.argv[1:]
at_call(*{"write": (Path, "replace"), "step": (TighnariTraining, "training_step")}[place], int(number))
sys.exit(import_module(f"{module}.__main__").main(arguments))
"""
SAYS = {
    ("tighnari_graph", "SIGINT"): (130, "stopped\n"),
    ("tighnari_models", "SIGINT"): (130, "stopped; the same command goes on from here\n"),
    ("tighnari_models", "SIGTERM"): (143, "ended by SIGTERM; the same call goes on from here\n"),
}


@pytest.mark.parametrize(
    ("module", "place", "number", "sent"),
    [
        pytest.param("tighnari_graph", "write", 1, "SIGINT", marks=pytest.mark.long),
        pytest.param("tighnari_graph", "write", 4, "SIGINT", marks=pytest.mark.slow),
        pytest.param("tighnari_models", "step", 4, "SIGINT", marks=pytest.mark.slow),
        pytest.param("tighnari_models", "step", 4, "SIGTERM", marks=pytest.mark.slow),
        pytest.param("tighnari_models", "write", 25, "SIGINT", marks=pytest.mark.long),
    ],
)
def test_ctrl_c_ends_with_one_line_and_130_and_the_next_run_finishes(
    module, place, number, sent, tables, tmp_path
):
    given = ["--recipe", "paper", "--folds", "2", "--data", str(tables)]
    given += ["--epochs", "2"] * (module == "tighnari_models")
    out = tmp_path / "out"
    process = started("-c", STOPPED, module, place, number, sent, *given, "--out", out)
    _, error = process.communicate(timeout=200)
    code, said = SAYS[module, sent]
    assert process.returncode == code
    assert error.endswith(said)
    assert all(line.endswith("left out") for line in error.splitlines()[:-1])  # nothing else
    assert not (out / "submission.csv").exists()
    assert not list(out.rglob(".*.part"))
    done = {p: p.stat().st_mtime_ns for p in out.rglob("done.json")}
    for folder in (out, tmp_path / "whole"):
        assert MAINS[module]([*given, "--out", str(folder)]) == 0
    one, other = (folder / "submission.csv" for folder in (out, tmp_path / "whole"))
    assert one.read_bytes() == other.read_bytes()
    assert done == {p: p.stat().st_mtime_ns for p in done}
