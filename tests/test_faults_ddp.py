"""The public calls in several processes that train one model: on one machine, and on two."""

import os
import signal
import socket
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer

from tests.processes import TORCHRUN, ended, killed, started, succeeded, wait
from tests.small_models import small_config, small_data, surveys
from tests.test_faults_processes import EXACT, Descent
from tighnari_models import SurveyDataModule, Tighnari, TrainingOptions
from tighnari_models.cross_fusion import FusionResult, cross_fusion
from tighnari_models.fit import FitResult, fit
from tighnari_models.prediction import predict
from tighnari_models.trainer import hold_for_run, quiet
from tighnari_models.training import TighnariTraining

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
CALL = "work(*sys.argv[1:])"
BATCH = 8  # surveys of a step, in all


def work(
    what: str, out: str, devices: str = "1", machines: str = "1", hangs: str = "none",
    seed: str = "4",
) -> None:  # fmt: skip
    """One of the calls below, and beside ``out`` a file of what this process got and wrote."""
    TighnariTraining.configure_optimizers = Descent.configure_optimizers
    path, written = Path(out), note_writes()
    hang(hangs, path.with_name("hanging"))
    more = {"seed": int(seed)} if what == "fit" else {}
    found = CALLS[what](path, int(devices), int(machines), **more)
    torch.save({"found": found, "written": written}, path.with_name(f"{os.getpid()}.pt"))


def note_writes() -> list[str]:
    """Names of all files that become whole from now on."""
    usual, names = Path.replace, []

    def noted(self: Path, target: Path) -> Path:
        names.append(Path(target).name)
        return usual(self, target)

    Path.replace = noted
    return names


def hang(rank: str, note: Path) -> None:
    """In the second epoch, one of the processes notes who it is, and stays there."""
    usual = TighnariTraining.on_train_epoch_start

    def slow(self: TighnariTraining) -> None:
        if self.current_epoch == 1 and str(self.global_rank) == rank:
            note.write_text(str(os.getpid()))
            time.sleep(600)
        usual(self)

    TighnariTraining.on_train_epoch_start = slow


def options(devices: int, machines: int) -> dict:
    several = devices * machines
    training = replace(EXACT, devices=devices, num_nodes=machines)
    return {
        "config": small_config(drop_rate=0.0),
        "datamodule": small_data(batch_size=BATCH // several),
        "training": training if several == 1 else replace(training, strategy="ddp"),
    }


def fit_and_predict(out: Path, devices: int, machines: int, seed: int = 4) -> dict:
    """35 surveys train, 13 validate and are predicted, in memory and into a file."""
    asked = options(devices, machines)
    val = np.arange(len(asked["datamodule"].surveys)) >= 35
    data = asked["datamodule"] = asked["datamodule"].with_split(~val, val)
    result = fit(**asked, out_dir=out, max_epochs=2, seed=seed)
    unseen = data.dataset(val, ~val)
    logits = predict(result.model, unseen)
    file = predict([result.model], unseen, out=out / "logits.npy")
    assert np.allclose(file, logits, rtol=1e-3, atol=1e-3)  # of 16 bits
    return of_fit(result) | {"logits": torch.tensor(logits)}


def of_fit(result: FitResult) -> dict:
    history = result.history.drop(columns="seconds").to_dict("list")
    return {"weights": dict(result.model.state_dict()), "history": history}


def fuse(out: Path, devices: int, machines: int) -> dict:
    return of_fusion(cross_fusion(**options(devices, machines), out_dir=out, **SHORT))


def predicted_by_lightning(out: Path, devices: int, machines: int) -> dict:
    """17 new surveys by Lightning's own `Trainer.predict`, which parts them among processes."""
    table = surveys()
    new = replace(table.subset(np.arange(17)), labels=None, survey_id=np.arange(17) + 10**6)
    data = SurveyDataModule(table, test=new, batch_size=BATCH)
    rows = np.arange(len(table)) < 35
    data = data.with_split(rows, ~rows)
    torch.manual_seed(4)
    model = Tighnari(data.complete(small_config()))
    strategy = "ddp" if devices > 1 else "auto"
    with quiet():
        trainer = Trainer(
            accelerator="cpu", devices=devices, strategy=strategy, logger=False,
            enable_progress_bar=False,
        )  # fmt: skip
        parts = trainer.predict(TighnariTraining(model, EXACT, 1, 1), datamodule=data)
    data.setup("predict")
    return {
        "rank": trainer.global_rank,
        "own": torch.cat(parts),
        "all": torch.tensor(predict(model, data.test_dataset())),
    }


SHORT = {"folds": 2, "max_epochs": 2, "fine_tune_epochs": 1}
CALLS = {"fit": fit_and_predict, "fuse": fuse, "lightning": predicted_by_lightning}


def of_fusion(result: FusionResult) -> dict:
    return {
        "folds": [of_fit(fold) for fold in result.folds],
        "logits": torch.tensor(result.logits),
        "validation_logits": [torch.tensor(logits) for logits in result.validation_logits],
    }


def returned(out: Path) -> list[dict]:
    """What every process got."""
    return [each["found"] for each in notes_of(out)]


def notes_of(out: Path) -> list[dict]:
    return [torch.load(path, weights_only=True) for path in sorted(out.parent.glob("*.pt"))]


def files(out: Path) -> dict[str, bytes]:
    """What is in a folder, but for who worked there last."""
    found = {str(path.relative_to(out)): path for path in sorted(out.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if ".holder" not in name}


def assert_close(found: object, expected: object, where: str = "", **tolerance: float) -> None:
    """Dictionaries and lists of tensors and numbers that are alike but for rounding."""
    if isinstance(expected, dict | list):
        assert len(found) == len(expected), where
        names = expected if isinstance(expected, dict) else range(len(expected))
        for name in names:
            assert_close(found[name], expected[name], f"{where}/{name}", **tolerance)
    else:
        torch.testing.assert_close(
            torch.as_tensor(found), torch.as_tensor(expected), msg=lambda text: where + text,
            **tolerance,
        )  # fmt: skip


def alone(what: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """The result of this process, with which those of several are compared."""
    monkeypatch.setattr(TighnariTraining, "configure_optimizers", Descent.configure_optimizers)
    return CALLS[what](out, 1, 1)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> Path:
    """The folder of a run of two processes; beside it, what each of them got."""
    out = tmp_path_factory.mktemp("fitted") / "out"
    succeeded(started(__name__, CALL, "fit", out, 2), seconds=120)
    return out


# --- one machine ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_fit_and_predict_in_two_processes_give_the_result_of_one(fitted, tmp_path, monkeypatch):
    one = alone("fit", tmp_path / "one", monkeypatch)
    both = returned(fitted)
    assert len(both) == 2
    for two in both:
        assert_close(two, one, **CLOSE)
    assert files(fitted).keys() == files(tmp_path / "one").keys()


@pytest.mark.slow
def test_files_of_a_run_are_written_once_and_by_the_first_process(fitted):
    second, first = sorted((Counter(each["written"]) for each in notes_of(fitted)), key=len)
    assert set(second) == {"logits.npy"}  # `predict` itself, which each of them called
    often = {"history.csv", "last.ckpt", "best.safetensors"}  # after an epoch, of two
    assert {name for name, times in first.items() if times > 1} <= often
    assert max(first.values()) <= 2
    assert not list(fitted.rglob(".*.part"))
    assert not {"last.ckpt", "best.safetensors"} & set(files(fitted))


@pytest.mark.slow
def test_cross_fusion_in_two_processes_gives_the_result_of_one(tmp_path, monkeypatch):
    out = tmp_path / "two" / "out"
    process = started(__name__, CALL, "fuse", out, 2)
    one = alone("fuse", tmp_path / "one", monkeypatch)
    succeeded(process, seconds=120)
    both, half = returned(out), one.pop("validation_logits")
    assert len(both) == 2
    for two in both:
        assert_close(two.pop("validation_logits"), half, rtol=1e-3, atol=1e-3)  # of 16 bits
        assert_close(two, one, **CLOSE)
    assert files(out).keys() == files(tmp_path / "one").keys()
    assert not list(out.rglob(".*.part"))
    written = files(out)
    monkeypatch.setattr(Trainer, "fit", None)  # a restart trains nothing
    again = of_fusion(cross_fusion(**options(2, 1), out_dir=out, **SHORT))
    again.pop("validation_logits")
    assert_close(again, two, rtol=0, atol=0)
    assert files(out) == written


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_where_a_process_is_killed_the_other_ends_and_a_restart_goes_on(fitted, tmp_path, rank):
    out, note = tmp_path / "out", tmp_path / "hanging"
    first = started(__name__, CALL, "fit", out, 2, 1, rank)
    wait(lambda: (note.exists() and note.read_text()) or first.poll() is not None, 100)
    assert note.exists(), killed(first)
    os.kill(int(note.read_text()), signal.SIGKILL)
    status, *_ = ended(first, 30)  # both
    assert status != 0
    assert (out / "last.ckpt").exists()
    succeeded(started(__name__, CALL, "fit", out, 2), seconds=120)
    assert_close(returned(out), returned(fitted), rtol=0, atol=0)
    assert sum(each["written"].count("last.ckpt") for each in notes_of(out)) == 1  # second epoch
    assert files(out).keys() == {*files(fitted), "log/version_1/metrics.csv"}


@pytest.mark.slow
def test_lightning_predicts_every_new_survey_in_one_of_two_processes(tmp_path):
    succeeded(started(__name__, CALL, "lightning", tmp_path / "out", 2), seconds=120)
    both = returned(tmp_path / "out")
    assert sorted(each["rank"] for each in both) == [0, 1]
    for each in both:
        torch.testing.assert_close(each["own"], each["all"][each["rank"] :: 2], **CLOSE)


def test_lightning_predicts_what_predict_does(tmp_path):
    found = predicted_by_lightning(tmp_path, 1, 1)
    torch.testing.assert_close(found["own"], found["all"], **CLOSE)


@pytest.mark.slow
def test_processes_that_were_asked_for_other_runs_do_not_train_together(tmp_path):
    both = [
        started(__name__, CALL, "fit", tmp_path / "out", 1, 2, "none", seed, **by_hand(rank, port))
        for port in [free_port()]
        for rank, seed in ((0, 4), (1, 5))
    ]
    (one, *_), (two, _, error) = (ended(process, 100) for process in both)
    assert one != 0
    assert two != 0
    assert "holds a run with seed = 4, asked for 5" in error
    assert not (tmp_path / "out/done.json").exists()


@pytest.mark.parametrize("devices", ["auto", [0]])
def test_the_number_of_a_machine_matters_to_runs_of_several_alone(monkeypatch, devices, tmp_path):
    """A cluster may set it for runs of one machine too: those hold their folders."""
    monkeypatch.setenv("NODE_RANK", "1")
    with hold_for_run(tmp_path, options=TrainingOptions(devices=devices)) as first:
        assert first
    with hold_for_run(tmp_path, options=TrainingOptions(devices=devices, num_nodes=2)) as first:
        assert not first


# --- two machines ---------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def by_torchrun(machine: int, port: int) -> dict:
    place = ["--node-rank", machine, "--master-addr", "127.0.0.1", "--master-port", port]
    return {"by": [*TORCHRUN, "--nnodes", 2, "--nproc-per-node", 1, *place]}


def by_hand(machine: int, port: int) -> dict:
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": machine}


@pytest.mark.slow
@pytest.mark.parametrize("start", [by_torchrun, by_hand])
def test_two_machines_give_the_result_of_two_devices(fitted, tmp_path, start):
    out, port = tmp_path / "out", free_port()
    both = [started(__name__, CALL, "fit", out, 1, 2, **start(rank, port)) for rank in (0, 1)]
    succeeded(*both, seconds=120)
    assert_close(returned(out), returned(fitted), **CLOSE)
    assert files(out).keys() == files(fitted).keys()
    assert not list(out.rglob(".*.part"))
