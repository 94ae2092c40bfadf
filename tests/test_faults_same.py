"""The same seed gives the same submission, byte for byte, whatever finds the neighbours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tighnari_graph import __main__ as graph_command
from tighnari_graph.neighbors import BACKENDS, radius_edges, radius_edges_between
from tighnari_graph.virtual import virtual_europe

ROOT = Path(__file__).parents[1]
LINES = {
    "tighnari_graph paper": ["--recipe", "paper", "--folds", "2"],
    "tighnari_graph best": ["--folds", "2"],
    "tighnari_models paper": ["--recipe", "paper", "--folds", "2", "--epochs", "2"],
    "tighnari_models best": ["--folds", "2", "--epochs", "2"],
}
QUICK = ("tighnari_graph paper", "tighnari_models paper")  # half of them by hand


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    world = virtual_europe(150, 30, 120, num_species=40, seed=3)
    return world.write(tmp_path_factory.mktemp("tables"))


def test_every_back_end_gives_the_same_files(tables, tmp_path, monkeypatch):
    asked = []

    def through(usual, backend):
        def search(*arguments):  # the last two are the back end and the device
            asked.append(backend)
            return usual(*arguments[:-2], backend, arguments[-1])

        return search

    found = {}
    for backend in BACKENDS:
        for name, usual in (("graph", radius_edges), ("attach", radius_edges_between)):
            module = sys.modules[f"tighnari_graph.{name}"]
            monkeypatch.setattr(module, usual.__name__, through(usual, backend))
        out = tmp_path / backend
        line = [*LINES["tighnari_graph paper"], "--data", str(tables), "--out", str(out)]
        assert graph_command.main(line) == 0
        names = ("submission.csv", "graph.safetensors", "gfv_survey.npz", "gfv_test.npz")
        found[backend] = {name: (out / name).read_bytes() for name in names}
    assert set(asked) == set(BACKENDS)
    assert found["kdtree"] == found["balltree"] == found["grid"]


def submission(what: str, tables: Path, out: Path, threads: int) -> bytes:
    module = what.split()[0]
    line = [sys.executable, "-m", module, *LINES[what], "--data", str(tables), "--out", str(out)]
    there = {**os.environ, "PYTHONPATH": str(ROOT)}
    there |= {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")}
    done = subprocess.run(line, env=there, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return (out / "submission.csv").read_bytes()


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(what, marks=pytest.mark.slow if what in QUICK else pytest.mark.long)
        for what in LINES
    ],
)
def test_the_same_command_gives_the_same_submission(what, tables, tmp_path):
    one, other = (submission(what, tables, tmp_path / name, 1) for name in "ab")
    assert one == other
