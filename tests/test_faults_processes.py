"""Several processes: one model on two devices, and folds side by side in one folder."""

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from tests.processes import PYTHON, TORCHRUN, started, succeeded, wait
from tests.small_models import QUIET, small_config, small_data, split_data
from tests.small_models import surveys as small_surveys
from tighnari_models.cross_fusion import FusionResult, cross_fusion
from tighnari_models.data import dataset as module
from tighnari_models.data.dataset import EpochShuffle, own_share
from tighnari_models.tighnari import Tighnari
from tighnari_models.trainer import quiet, quiet_trainer
from tighnari_models.training import TighnariTraining

EXACT = replace(QUIET, mixup_alpha=0.0, patience=None, precision="32-true", devices=1)
SHORT = {"folds": 3, "max_epochs": 2, "fine_tune_epochs": 1, "training": EXACT, "shared": True}


# --- one model on two devices ---------------------------------------------------------------------


class Descent(TighnariTraining):
    """Plain descent: AdamW would blow up differences of rounding, for it divides by gradients."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.model.parameters(), lr=0.3)


class Watch(Callback):
    """Gradients of the first step, and the surveys that were validated and predicted, by process."""

    def __init__(self, out: Path) -> None:
        self.out, self.seen = out, {"train": [], "val": []}
        self.rows: list[dict[str, object]] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        path = self.out / "gradients.pt"
        if trainer.is_global_zero and not path.exists():
            named = pl_module.model.named_parameters()
            torch.save({name: p.grad.clone() for name, p in named}, path)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.seen["train"] += batch.survey_id.tolist()

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.seen["val"] += batch.survey_id.tolist()

    def on_train_end(self, trainer, pl_module) -> None:
        text = json.dumps(self.seen)
        (self.out / f"seen_{trainer.global_rank}.json").write_text(text)


def train(out: Path, devices: int) -> None:
    """Two epochs; 35 surveys train in batches of 8 in all, 13 validate."""
    out.mkdir(exist_ok=True)
    strategy = "ddp" if devices > 1 else "auto"
    options = replace(EXACT, devices=devices, strategy=strategy, lr=1e-2)
    data = small_data(batch_size=8 // devices)
    val = np.arange(len(data.surveys)) >= 35
    data = data.with_split(~val, val)
    torch.manual_seed(3)
    model = Tighnari(data.complete(small_config(drop_rate=0.0)))
    training = Descent(model, options, 2, 4)
    with quiet():
        trainer = quiet_trainer(out, options, 2, Watch(out))
        trainer.fit(training, datamodule=data)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        predicted = trainer.predict(training, data.val_dataloader())
    here = np.concatenate([part.numpy() for part in predicted])
    np.save(out / f"predicted_{trainer.global_rank}.npy", here)
    if trainer.is_global_zero:
        torch.save(model.state_dict(), out / "weights.pt")
        (out / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("both")
    for devices in (1, 2):
        call = "train(Path(sys.argv[1]), int(sys.argv[2]))"
        succeeded(started(__name__, call, folder / str(devices), devices))
    return folder


@pytest.mark.slow
def test_two_processes_give_the_gradients_weights_and_metrics_of_one(both):
    for name in ("gradients.pt", "weights.pt"):
        one, two = (torch.load(both / d / name, weights_only=True) for d in "12")
        assert one.keys() == two.keys()
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, rtol=1e-5, atol=1e-6, msg=key)
    one, two = (json.loads((both / d / "metrics.json").read_text()) for d in "12")
    for key in ("train_loss", "val_loss", "val_f1", "val_f1_micro", "val_f1_macro"):
        assert two[key] == pytest.approx(one[key], rel=1e-5), key


@pytest.mark.slow
def test_validation_and_prediction_meet_every_survey_once(both):
    ids = small_surveys().survey_id
    parts = [json.loads((both / f"2/seen_{rank}.json").read_text()) for rank in (0, 1)]
    val = [survey for part in parts for survey in part["val"]]
    assert sorted(val) == sorted(2 * ids[35:].tolist())  # once in each of the two epochs
    one = np.load(both / "1/predicted_0.npy")
    for rank in (0, 1):
        np.testing.assert_allclose(
            np.load(both / f"2/predicted_{rank}.npy"), one[rank::2], rtol=1e-5, atol=1e-6
        )
    train = json.loads((both / "1/seen_0.json").read_text())["train"]
    for start in range(0, len(train), 8):  # every step sees the surveys of the single process
        half = slice(start // 2, start // 2 + 4)
        step = [survey for part in parts for survey in part["train"][half]]
        assert sorted(step) == sorted(train[start : start + 8])


@pytest.mark.parametrize("num", [2, 3, 5])
@pytest.mark.parametrize("rows", [5, 6, 12, 13])
def test_shares_of_processes_are_even_in_training_and_without_repeats_elsewhere(
    monkeypatch, num, rows
):
    def of_each(make):
        for rank in range(num):
            monkeypatch.setattr(module, "_processes", lambda rank=rank: (num, rank))
            yield list(make())

    alone = list(EpochShuffle(rows, seed=1))
    table = small_surveys(blocks=rows, per_block=1)
    everyone = np.ones(rows, dtype=bool)
    data = small_data(table)
    data = data.dataset(everyone, everyone, data.fit_preprocessing(everyone))
    parts = list(of_each(lambda: own_share(data)))
    assert sorted(row for part in parts for row in part) == list(range(rows))
    parts = list(of_each(lambda: EpochShuffle(rows, seed=1)))
    assert {len(part) for part in parts} == {-(-rows // num)}
    woven = [row for step in zip(*parts, strict=True) for row in step]
    assert woven[:rows] == alone


def test_fewer_surveys_than_processes_are_refused(monkeypatch):
    monkeypatch.setattr(module, "_processes", lambda: (49, 0))
    data = split_data()
    with pytest.raises(ValueError, match="12 surveys to validate or predict for 49 processes"):
        data.val_dataloader()


# --- folds side by side ---------------------------------------------------------------------------


def side_by_side(out: Path, note: Path, how: str) -> None:
    """The shared cross-fusion; a line for every epoch that this process trains.

    ``two`` begin when both are ready, and folds 1 and 2 wait for each other, 30 seconds at most;
    one that ``hangs`` stays in its second epoch.
    """
    usual = TighnariTraining.on_train_epoch_start

    def noted(self: TighnariTraining) -> None:
        with note.open("a") as file:
            file.write(f"{os.getpid()} {self.seed}\n")
        if how == "two":
            time.sleep(0.3)  # time for the other, also in fold 0
            if self.seed:
                wait(lambda: {"1", "2"} <= {seed for _, seed in noted_in(note)}, 30)
        elif how == "hangs" and len(noted_in(note)) == 2:
            time.sleep(600)
        usual(self)

    TighnariTraining.on_train_epoch_start = noted
    if how == "two":
        note.with_name(f"{os.getpid()}.ready").touch()
        wait(lambda: len(list(note.parent.glob("*.ready"))) == 2, 120)
    result = cross_fusion(small_config(), small_data(), out, **WARM, **SHORT)
    np.save(note.with_name(f"{os.getpid()}.npy"), result.logits)


def noted_in(note: Path) -> list[list[str]]:
    """Process and fold of every epoch that has begun."""
    return [line.split() for line in note.read_text().splitlines()] if note.exists() else []


CALL = "side_by_side(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])"
WARM = {"warm_start": True}


def assert_same(out: Path, alone: FusionResult, logits: list[np.ndarray]) -> None:
    again = cross_fusion(small_config(), small_data(), out, **{**SHORT, "shared": False}, **WARM)
    for one, other in zip(alone.folds, again.folds, strict=True):
        for name, value in one.model.state_dict().items():
            assert torch.equal(value, other.model.state_dict()[name]), name
    for one, other in zip(alone.validation_logits, again.validation_logits, strict=True):
        np.testing.assert_array_equal(one, other)
    for found in (again.logits, *logits):
        np.testing.assert_array_equal(found, alone.logits)
    assert not list(out.rglob(".*.part"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the started processes: sums of floats depend on how they are parted among threads."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "starts", [[PYTHON] * 2, [[*TORCHRUN, "--standalone", "--nproc-per-node", 2]]],
    ids=["by itself each", "by torchrun"],
)  # fmt: skip
def test_no_two_processes_take_the_same_fold_and_each_returns_the_whole(tmp_path, starts):
    note = tmp_path / "note.txt"
    succeeded(*(started(__name__, CALL, tmp_path / "out", note, "two", by=by) for by in starts))
    lines = noted_in(note)
    assert sorted(seed for _, seed in lines) == ["0", "0", "1", "2"]  # epochs, each trained once
    workers = {seed: {pid for pid, of in lines if of == seed} for seed in "012"}
    assert all(len(pids) == 1 for pids in workers.values())
    assert workers["1"] != workers["2"]  # side by side
    alone = cross_fusion(small_config(), small_data(), tmp_path / "alone", **SHORT)
    assert_same(tmp_path / "out", alone, [np.load(path) for path in tmp_path.glob("*.npy")])


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_fold_of_a_killed_process_is_taken_over(tmp_path):
    note = tmp_path / "note.txt"
    first = started(__name__, CALL, tmp_path / "out", note, "hangs")
    wait(lambda: len(noted_in(note)) == 2 or first.poll() is not None, 200)
    assert first.poll() is None, first.communicate()
    assert len(noted_in(note)) == 2
    second = started(__name__, CALL, tmp_path / "out", note, "alone")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert first.returncode == -signal.SIGKILL
    succeeded(second)
    alone = cross_fusion(small_config(), small_data(), tmp_path / "alone", **SHORT)
    assert_same(tmp_path / "out", alone, [np.load(path) for path in tmp_path.glob("*.npy")])


def test_a_shared_cross_fusion_alone_is_the_usual_one(tmp_path):
    options = {**SHORT, "folds": 2, "max_epochs": 1}
    one = cross_fusion(small_config(), small_data(), tmp_path / "a", **options)
    other = cross_fusion(
        small_config(), small_data(), tmp_path / "b", **{**options, "shared": False}
    )
    np.testing.assert_array_equal(one.logits, other.logits)


@pytest.mark.parametrize("devices", ["auto", 2, [0], 1])
def test_sharing_folds_wants_one_device_each(devices, tmp_path):
    machines = 2 if devices == 1 else 1
    options = {**SHORT, "training": replace(EXACT, devices=devices, num_nodes=machines)}
    with pytest.raises(ValueError, match=r"give TrainingOptions\(devices=1\), got devices="):
        cross_fusion(small_config(), small_data(), tmp_path, **options)
