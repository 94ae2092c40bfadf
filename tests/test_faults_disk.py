"""A full disk and a folder that cannot be written to: a clear error, and earlier results stay."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from tests.fuzz_targets import saved_model
from tests.small_models import small_config, split_data
from tighnari_graph import SurveyGraph
from tighnari_graph import __main__ as graph_command
from tighnari_graph.files import new_memmap, write_array, written_whole
from tighnari_graph.virtual import virtual_europe
from tighnari_models import __main__ as models_command
from tighnari_models.estimate import Estimate
from tighnari_models.prediction import predict
from tighnari_models.tighnari import Tighnari

ROOT = Path(__file__).parents[1]
MAINS = {"graph": graph_command.main, "models": models_command.main}
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this machine")


def own_mounts() -> bool:
    """Whether this process may mount a small disk that nobody else sees."""
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=1m", "none", "/mnt"]
    return subprocess.run(probe, capture_output=True).returncode == 0


# --- single files ---------------------------------------------------------------------------------


def text(part: Path) -> None:
    part.write_text("x" * 100_000)


def numpy_array(part: Path) -> None:
    with part.open("wb") as file:
        np.save(file, np.zeros(100_000))


def numpy_matrix(part: Path) -> None:
    with part.open("wb") as file:
        sparse.save_npz(file, sparse.random(500, 500, 0.5, format="csr"))


def csv(part: Path) -> None:
    pd.DataFrame({"a": np.arange(50_000)}).to_csv(part)


def parquet(part: Path) -> None:
    pd.DataFrame({"a": np.random.default_rng(0).random(50_000)}).to_parquet(part)


def checkpoint(part: Path) -> None:
    with part.open("wb") as file:
        torch.save({"a": torch.zeros(100_000)}, file)


def torn_checkpoint(part: Path) -> None:
    """As torch has it on a full disk: it fails again while it closes the file."""
    try:
        text(part)
    except OSError:
        raise RuntimeError("unexpected pos 3005632 vs 3005520")  # noqa: B904


@needs_full
@pytest.mark.parametrize(
    "write",
    [
        text,
        numpy_array,
        pytest.param(  # the archive of numpy 2.1 fails once more when it is thrown away
            numpy_matrix,
            marks=pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
        ),
        csv,
        parquet,
        checkpoint,
        torn_checkpoint,
    ],
)
def test_a_full_disk_names_the_file_and_leaves_the_old_one(write, tmp_path):
    path = tmp_path / "result"
    path.write_text("of an earlier run")
    says = f"{path}: not written .No space left on device"
    with pytest.raises(OSError, match=says), written_whole(path) as part:
        part.unlink()
        part.symlink_to(FULL)
        write(part)
    assert [p.name for p in tmp_path.iterdir()] == ["result"]
    assert path.read_text() == "of an earlier run"


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"), written_whole(tmp_path / "a"):
        (tmp_path / "nowhere").read_text()
    assert not list(tmp_path.iterdir())


LIMITED = """
import resource, sys
from tests import test_faults_disk as tests
work = getattr(tests, sys.argv[1])
work(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    work(sys.argv[2])
except OSError as error:
    print(error)
"""


def a_graph(folder: str) -> None:
    table = split_data().surveys
    SurveyGraph.from_surveys(table).save(Path(folder) / "graph.safetensors")


def some_logits(folder: str) -> None:
    data = split_data()
    everyone = np.ones(len(data.surveys), dtype=bool)
    model = Tighnari(data.complete(small_config()))
    predict(model, data.dataset(everyone, everyone), out=Path(folder) / "logits.npy")


def a_map(folder: str) -> None:
    with written_whole(Path(folder) / "map.npy") as part:
        new_memmap(part, (500,), np.dtype(np.float16))[:] = 1


def an_array(folder: str) -> None:
    write_array(Path(folder) / "array.npy", np.ones(3000))


@pytest.mark.slow
@pytest.mark.parametrize("work", [a_graph, some_logits, a_map, an_array])
def test_a_file_that_may_not_grow_is_an_error_and_the_old_one_stays(work, tmp_path):
    """Without root: the process may write files of 300 bytes only."""
    there = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LIMITED, work.__name__, str(tmp_path), "300"]
    done = subprocess.run(command, env=there, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "not written (File too large)" in done.stdout or "not written (No space" in done.stdout
    (file,) = tmp_path.iterdir()
    assert file.stat().st_size > 300


# --- the commands on a disk of their own ----------------------------------------------------------


def ended(main: Callable[[list[str]], int], arguments: list[str]) -> list[object]:
    """Exit code of a command, and the last line that it says of an error."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(write, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 70
        try:
            code = main(arguments)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        os._exit(code)
    os.close(write)
    with os.fdopen(read) as errors:
        said = errors.read()
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said]


def results(out: Path) -> dict[str, bytes]:
    names = ("submission.csv", "graph.safetensors", "logits_test.npy", "gfv_test.npz")
    return {p.name: p.read_bytes() for p in out.iterdir() if p.name in names}


def on_a_small_disk(name: str, data: str, disk: str, spaces: list[int]) -> None:
    """In a process with mounts of its own: what the command does with so many bytes left.

    First in a new folder, then over a finished run, then where nothing can be written.
    """
    arguments = ["--data", data, "--recipe", "paper", "--folds", "2"]
    arguments += ["--epochs", "1"] * (name == "models")
    arguments += ["--out"]
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", disk]
    subprocess.run(mount, check=True)
    Estimate.refuse_what_does_not_fit = lambda self: None  # it would be too cautious for this
    out, ballast = Path(disk) / "out", Path(disk) / "ballast"
    full, kept = [], []

    def with_left(space: int) -> None:
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - space)
        full.append(ended(MAINS[name], [*arguments, str(out)]))
        ballast.unlink()

    for space in spaces:
        with_left(space)
    done = ended(MAINS[name], [*arguments, str(out)])
    ended(MAINS[name], [*arguments, f"{disk}/whole"])
    before = results(out)
    same = before == results(Path(disk) / "whole")
    for space in spaces[:2]:
        with_left(space)
        kept.append(results(out) == before)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    sealed = ended(MAINS[name], [*arguments, str(out)])
    kept.append(results(out) == before)
    parts = [str(p) for p in out.rglob(".*.part")]
    print(json.dumps([full, done, sealed, same, kept, parts, sorted(before)]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "spaces"),
    [("graph", [0, 20_000, 60_000]), ("models", [0, 40_000, 200_000, 1_500_000, 5_000_000])],
)
def test_a_command_on_a_full_disk(name, spaces, tmp_path):
    if not own_mounts():
        pytest.skip("this process may not mount a disk of its own (no root, or no unshare)")
    data = virtual_europe(80, 20, 40, num_species=30, seed=4).write(tmp_path / "data")
    disk = tmp_path / "disk"
    disk.mkdir()
    code = (
        "from tests.test_faults_disk import on_a_small_disk; "
        f"on_a_small_disk({name!r}, {str(data)!r}, {str(disk)!r}, {spaces!r})"
    )
    there = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", code], env=there, capture_output=True, text=True,
        cwd=ROOT,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    full, done, sealed, same, kept, parts, files = json.loads(run.stdout)
    for status, said in full:
        *notes, error = said.splitlines()
        assert status == 2, said
        assert error.startswith("error: ") and "No space left on device" in error, said
        assert all(line.endswith("left out") for line in notes), said
    assert done[0] == 0, done
    assert same and all(kept) and len(files) >= 2
    assert sealed[0] == 2
    assert sealed[1].endswith("out: cannot be written to (Read-only file system)\n")
    assert not parts


@pytest.mark.parametrize("main", MAINS.values(), ids=MAINS)
def test_an_output_folder_that_cannot_be_is_one_line(main, tmp_path, capsys):
    (tmp_path / "file").touch()
    data = virtual_europe(20, 5, 5, num_species=10).write(tmp_path / "data")
    assert main(["--data", str(data), "--out", str(tmp_path / "file/out")]) == 2
    error = capsys.readouterr().err
    assert error == f"error: {tmp_path}/file/out: cannot be written to (Not a directory)\n"


def test_a_full_disk_leaves_the_model_that_was_saved_before(tmp_path):
    """Of all files of a model none is in its place before all are written."""
    folder = saved_model(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model = Tighnari.from_pretrained(folder)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    usual = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, limit[1]))
    try:
        with pytest.raises(OSError, match=r"not written"):
            model.save_pretrained(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, usual)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    model.save_pretrained(folder)
    assert Tighnari.from_pretrained(folder).config == model.config
