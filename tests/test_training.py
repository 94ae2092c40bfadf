"""Training: loss and metrics by hand, learning, exact resuming, and clear endings."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer
from lightning.fabric.connector import _PRECISION_INPUT_STR, _PRECISION_INPUT_STR_ALIAS
from lightning.pytorch.callbacks import EarlyStopping

from tests.small_models import (
    QUIET,
    every_modality,
    prepared,
    relabelled,
    small_config,
    small_data,
    split_data,
)
from tests.small_models import surveys as small_surveys
from tighnari_graph import SurveyDataError, SurveyTable, samples_f1
from tighnari_models.data.batch import SurveyBatch
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.fit import fit
from tighnari_models.losses import bce
from tighnari_models.options import PRECISIONS, TrainingOptions
from tighnari_models.prediction import predict
from tighnari_models.tighnari import Tighnari
from tighnari_models.trainer import quiet
from tighnari_models.training import TighnariTraining

EQUAL = ["epoch", "train_loss", "val_loss", "val_f1", "val_f1_micro", "val_f1_macro", "lr"]
PLAIN = replace(QUIET, mixup_alpha=0.0, patience=None)


def assert_same_weights(a: torch.nn.Module, b: torch.nn.Module) -> None:
    left, right = a.state_dict(), b.state_dict()
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


def die(*_, **__):
    raise RuntimeError("the lights went out")


# --- loss, options, metrics -----------------------------------------------------------------------


def test_loss_by_hand():
    logits = torch.tensor([[0.0, math.log(3)], [math.log(3), -math.log(3)]])
    y = torch.tensor([[1.0, 1.0], [0.0, 0.25]])
    # p = 1/2, 3/4; 3/4, 1/4
    terms = [
        math.log(2), math.log(4 / 3), math.log(4),
        0.25 * math.log(4) + 0.75 * math.log(4 / 3),
    ]  # fmt: skip
    assert float(bce(logits, y)) == pytest.approx(sum(terms) / 4)
    assert bce(logits.bfloat16(), y).dtype == torch.float32


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lr", 0), ("weight_decay", -1), ("warmup_epochs", math.nan), ("mixup_alpha", -0.1),
        ("ema_decay", 1.0), ("clip", 0), ("patience", 0), ("monitor", "val_f2"),
        ("precision", "bf15"),
    ],
)  # fmt: skip
def test_options_outside_their_range_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} must be"):
        TrainingOptions(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lr", "1e-3"), ("weight_decay", None), ("mixup_alpha", True), ("ema_decay", [0.9]),
        ("patience", 2.5), ("compile", 1), ("progress", "yes"), ("precision", 16), ("devices", 1.0),
    ],
)  # fmt: skip
def test_options_of_another_type_are_refused(field, value):
    with pytest.raises(TypeError, match=f"{field} must be"):
        unchecked_options(field, value)


def unchecked_options(field, value) -> TrainingOptions:
    """As users make them, without the type checks that tests run under."""
    options = TrainingOptions()
    object.__setattr__(options, field, value)
    options.__post_init__()
    return options


def test_options_are_plain_numbers_and_precisions_those_of_lightning():
    assert json.dumps(unchecked_options("lr", np.float32(0.5)).lr) == "0.5"
    assert json.dumps(unchecked_options("patience", np.int64(2)).patience) == "2"
    known = [
        name
        for names in (_PRECISION_INPUT_STR, _PRECISION_INPUT_STR_ALIAS)
        for name in get_args(names)
    ]
    assert sorted(PRECISIONS) == sorted(known)


class Fixed(Tighnari):
    """Gives the probabilities that it is told to."""

    def __init__(self, probabilities: torch.Tensor) -> None:
        torch.nn.Module.__init__(self)
        self.config = small_config(num_species=probabilities.size(1))
        self.logits = torch.nn.Parameter(probabilities.logit())

    def forward(self, batch: SurveyBatch) -> torch.Tensor:
        return self.logits[batch.survey_id]


def test_validation_metrics_by_hand():
    probabilities = torch.tensor([[0.9, 0.3, 0.1], [0.1, 0.1, 0.1], [0.6, 0.1, 0.1]])
    y = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    module = TighnariTraining(
        Fixed(probabilities), replace(QUIET, ema_decay=None), max_epochs=1, steps_per_epoch=1
    )
    logged = {}
    module.log = lambda name, value, **_: logged.update({name: float(value)})
    for rows in ([0, 1], [2]):  # two batches of unequal size
        module.validation_step(SurveyBatch(torch.tensor(rows), y=y[rows]), 0)
    module.on_validation_epoch_end()
    sets = (probabilities > 0.2).float()
    assert logged["val_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert logged["val_f1"] == pytest.approx(samples_f1(sets, y))
    assert logged["val_f1_micro"] == pytest.approx(2 * 1 / (3 + 2))
    assert logged["val_f1_macro"] == pytest.approx((2 / 3 + 0) / 2)  # the third species never met
    assert logged["val_loss"] == pytest.approx(float(bce(probabilities.logit(), y)), rel=1e-5)


def test_learning_rate_rises_then_falls_to_zero():
    options = replace(QUIET, lr=1.0, warmup_epochs=0.5)
    module = TighnariTraining(Fixed(torch.full((2, 3), 0.5)), options, 2, 8)
    (optimizer,), (entry,) = module.configure_optimizers()
    rates = []
    for _ in range(16):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        entry["scheduler"].step()
    assert rates[:4] == pytest.approx([1 / 5, 2 / 5, 3 / 5, 4 / 5])
    assert rates[4] == 1.0
    assert rates[10] == pytest.approx(0.5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0)


def test_lightning_predicts_with_the_averaged_model(tmp_path):
    data = split_data()
    model = Tighnari(data.complete(small_config(drop_rate=0.5)))
    module = TighnariTraining(model, PLAIN, 1, 1)
    torch.nn.init.zeros_(model.head.weight)  # the average is another model from here on
    with quiet():
        trainer = Trainer(
            default_root_dir=tmp_path, accelerator="cpu", logger=False, enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip
        logits = torch.cat(trainer.predict(module, data.val_dataloader()))
    val = data.dataset(data.split.val, data.split.train)
    expected = predict(module.averaged, val, device="cpu", batch_size=16)
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(predict(model, val, device="cpu"), expected)


# --- learning -------------------------------------------------------------------------------------


def eight_and_their_twins() -> SurveyTable:
    """Eight surveys far apart, to learn; the same again under other ids, to validate."""
    eight, twice = small_surveys(blocks=8, per_block=1), np.tile(np.arange(8), 2)
    assert len(np.unique(eight.known_labels().toarray(), axis=0)) > 3
    return replace(eight.subset(twice), survey_id=np.arange(16))


def test_eight_surveys_are_overfitted(tmp_path):
    table, train = eight_and_their_twins(), np.arange(16) < 8
    data = small_data(table, modalities=("table",)).with_split(train, ~train)
    config = small_config(modalities=("table",), drop_rate=0.0)
    options = replace(PLAIN, lr=3e-2, weight_decay=0.0, warmup_epochs=0.0)
    result = fit(config, data, tmp_path, max_epochs=60, training=options)
    assert result.history["val_f1"].iloc[result.best_epoch] == 1.0
    sets = predict(result.model, data.dataset(train, train)) > 0
    assert samples_f1(sets, table.known_labels()[train]) == 1.0


def test_eight_surveys_with_every_modality_are_overfitted(tmp_path):
    table, train = eight_and_their_twins(), np.arange(16) < 8
    arrays = prepared(tmp_path / "arrays", table)
    data = SurveyDataModule(table, arrays=arrays, batch_size=8).with_split(train, ~train)
    assert data.modalities == every_modality().modalities
    options = replace(PLAIN, lr=1e-2, weight_decay=0.0, warmup_epochs=0.0, augment=False)
    result = fit(every_modality(), data, tmp_path / "run", max_epochs=30, training=options)
    assert result.history["val_f1"].iloc[result.best_epoch] == 1.0
    sets = predict(result.paths["model"], data.dataset(train, train)) > 0
    assert samples_f1(sets, table.known_labels()[train]) == 1.0


def test_every_modality_is_blended_turned_and_resumed(tmp_path, monkeypatch):
    table = small_surveys()
    data = SurveyDataModule(table, arrays=prepared(tmp_path / "arrays", table), batch_size=16)
    val = np.arange(48) >= 32
    data = data.with_split(~val, val)
    config = every_modality(drop_rate=0.2, drop_path_rate=0.1, gfv_drop=0.2)
    whole = fit(config, data, tmp_path / "a", 2, training=QUIET)
    with monkeypatch.context() as patch:
        usual = TighnariTraining.on_validation_epoch_end
        patch.setattr(
            TighnariTraining, "on_validation_epoch_end",
            lambda self: die() if self.current_epoch == 1 else usual(self),
        )  # fmt: skip
        with pytest.raises(RuntimeError, match="the lights"):
            fit(config, data, tmp_path / "b", 2, training=QUIET)
    resumed = fit(config, data, tmp_path / "b", 2, training=QUIET)
    pd.testing.assert_frame_equal(whole.history[EQUAL], resumed.history[EQUAL], check_exact=True)
    assert_same_weights(whole.model, resumed.model)


def test_a_run_leaves_its_files_and_the_callers_random_state(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = torch.get_rng_state()
    data = split_data()
    result = fit(small_config(), data, tmp_path / "run", max_epochs=3, training=QUIET)
    assert torch.equal(torch.get_rng_state(), before)
    assert data.trainer is None
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    names = {path.name for path in (tmp_path / "run").glob("[!.]*")}
    assert names == {"run.json", "done.json", "history.csv", "log", "model"}
    assert capsys.readouterr() == ("", "")
    assert list(result.history) == [*EQUAL, "seconds"]
    assert result.history["epoch"].tolist() == [0, 1, 2]
    assert result.best_epoch == int(result.history["val_loss"].idxmin())
    assert not result.model.training
    steps = pd.read_csv(tmp_path / "run/log/version_0/metrics.csv")
    assert steps["step_loss"].notna().any()

    saved = Tighnari.from_pretrained(result.paths["model"])
    assert_same_weights(saved, result.model)
    val = data.dataset(data.split.val, data.split.train)
    assert np.array_equal(predict(saved, val), predict(result.model, val))
    logits = torch.from_numpy(predict(saved, val, device="cpu"))
    loss = bce(logits, torch.from_numpy(val.labels.toarray()))
    assert float(loss) == pytest.approx(result.history["val_loss"].min(), rel=1e-5)


def test_early_stopping(tmp_path, monkeypatch):
    rising = iter(range(100))
    monkeypatch.setattr(
        TighnariTraining, "on_validation_epoch_end",
        lambda self: [
            self.log(name, float(next(rising)))
            for name in ("val_loss", "val_f1", "val_f1_micro", "val_f1_macro")
        ],
    )  # fmt: skip
    options = replace(QUIET, patience=2)
    result = fit(small_config(), split_data(), tmp_path / "a", max_epochs=9, training=options)
    assert result.best_epoch == 0
    assert len(result.history) == 3
    options = replace(QUIET, patience=2, monitor="val_f1")
    result = fit(small_config(), split_data(), tmp_path / "b", max_epochs=4, training=options)
    assert result.best_epoch == 3


def test_without_a_moving_average_the_weights_themselves_are_kept(tmp_path):
    options = replace(QUIET, ema_decay=None)
    fit(small_config(), split_data(), tmp_path, max_epochs=1, training=options)
    assert (tmp_path / "model").is_dir()


def test_a_data_module_without_a_split_gets_block_folds(tmp_path):
    result = fit(small_config(), small_data(), tmp_path, max_epochs=1, training=QUIET)
    assert result.best_epoch == 0


def test_nothing_to_validate_on_is_refused(tmp_path):
    data = small_data()
    everyone = np.ones(len(data.surveys), bool)
    with pytest.raises(ValueError, match="nobody validates"):
        fit(small_config(), data.with_split(everyone, ~everyone), tmp_path, training=QUIET)


def test_fine_tuning_starts_from_the_given_weights(tmp_path):
    first = fit(small_config(), split_data(), tmp_path / "a", max_epochs=1, training=QUIET)
    still = replace(QUIET, lr=1e-12, mixup_alpha=0.0)
    second = fit(small_config(), split_data(), tmp_path / "b", 1, training=still, start=first.model)
    for name, value in second.model.state_dict().items():
        torch.testing.assert_close(value, first.model.state_dict()[name], rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match=r"start is a model with gfv_dim = 16, the config has 8"):
        fit(
            replace(small_config(), gfv_dim=8), split_data(), tmp_path / "c", 1, training=QUIET,
            start=first.model,
        )  # fmt: skip


def test_fine_tuning_on_other_table_columns_is_refused(tmp_path):
    first = fit(small_config(), split_data(), tmp_path / "a", 1, training=QUIET).model
    table = first.preprocessing.table
    names = [*table.feature_names[:1], "Elevation", *table.feature_names[2:]]
    other = SimpleNamespace(table=SimpleNamespace(feature_names=names))
    first.preprocessing = other
    with pytest.raises(ValueError, match="'Elevation' in column 1 of the table, the data have"):
        fit(small_config(), split_data(), tmp_path / "b", 1, training=QUIET, start=first)
    other.table.feature_names = table.feature_names[:-1]
    with pytest.raises(ValueError, match="with None in column"):
        fit(small_config(), split_data(), tmp_path / "b", 1, training=QUIET, start=first)


# --- interruption ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    options = replace(QUIET, patience=None)
    folder = tmp_path_factory.mktemp("whole")
    return fit(small_config(drop_rate=0.2), split_data(), folder, 4, seed=5, training=options)


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("training_step", KeyboardInterrupt),
        ("validation_step", RuntimeError),
        ("on_validation_epoch_end", RuntimeError),
    ],
)
def test_an_interrupted_run_gives_the_numbers_of_an_uninterrupted_one(
    whole, tmp_path, monkeypatch, where, error
):
    config, options = small_config(drop_rate=0.2), replace(QUIET, patience=None)
    with monkeypatch.context() as patch:
        usual = getattr(TighnariTraining, where)

        def interrupted(self, *arguments):
            if self.current_epoch == 2:
                raise error("enough")
            return usual(self, *arguments)

        patch.setattr(TighnariTraining, where, interrupted)
        with pytest.raises(error):
            fit(config, split_data(), tmp_path, 4, seed=5, training=options)
    assert len(pd.read_csv(tmp_path / "history.csv")) == 2
    torch.rand(7)  # a random state of its own
    resumed = fit(config, split_data(), tmp_path, 4, seed=5, training=options)
    pd.testing.assert_frame_equal(whole.history[EQUAL], resumed.history[EQUAL], check_exact=True)
    assert whole.best_epoch == resumed.best_epoch
    assert_same_weights(whole.model, resumed.model)


def test_batches_read_ahead_by_processes_are_resumed_as_exactly(tmp_path, monkeypatch):
    whole = fit(small_config(), split_data(num_workers=1), tmp_path / "a", 2, training=PLAIN)
    with monkeypatch.context() as patch:
        usual = TighnariTraining.training_step

        def interrupted(self, *arguments):
            return die() if self.current_epoch == 1 else usual(self, *arguments)

        patch.setattr(TighnariTraining, "training_step", interrupted)
        with pytest.raises(RuntimeError, match="the lights"):
            fit(small_config(), split_data(num_workers=1), tmp_path / "b", 2, training=PLAIN)
    resumed = fit(small_config(), split_data(num_workers=1), tmp_path / "b", 2, training=PLAIN)
    assert_same_weights(whole.model, resumed.model)


@pytest.mark.parametrize("patience", [None, 1])
def test_a_run_killed_before_its_model_was_saved_trains_no_further(tmp_path, monkeypatch, patience):
    options = replace(QUIET, lr=1e-6, patience=patience)
    if patience:  # never an improvement: stopped after the second of nine epochs
        monkeypatch.setattr(EarlyStopping, "order_dict", {"min": "<", "max": ">"})
        monkeypatch.setattr(
            EarlyStopping, "_evaluate_stopping_criteria", lambda self, _: (True, "enough")
        )
    with monkeypatch.context() as patch:
        patch.setattr(Tighnari, "save_pretrained", die)
        with pytest.raises(RuntimeError, match="the lights"):
            fit(small_config(), split_data(), tmp_path, 3, training=options)
    before = (tmp_path / "history.csv").read_bytes()
    monkeypatch.setattr(TighnariTraining, "training_step", die)
    result = fit(small_config(), split_data(), tmp_path, 3, training=options)
    assert (tmp_path / "history.csv").read_bytes() == before
    assert len(result.history) == (1 if patience else 3)


def test_a_finished_run_is_read_from_its_folder(tmp_path, monkeypatch):
    first = fit(small_config(), split_data(), tmp_path, 2, training=QUIET)
    monkeypatch.setattr(TighnariTraining, "training_step", die)
    again = fit(small_config(), split_data(), tmp_path, 2, training=replace(QUIET, progress=None))
    pd.testing.assert_frame_equal(first.history, again.history, check_exact=True)
    assert_same_weights(first.model, again.model)


def test_a_folder_of_another_run_is_refused_by_what_differs(tmp_path):
    fit(small_config(), split_data(), tmp_path, 1, training=QUIET)

    def asked(match, config=None, data=None, epochs=1, **options):
        with pytest.raises(ValueError, match=match):
            fit(config or small_config(), data or split_data(), tmp_path, epochs, **options)

    asked(r"training\.lr = 0\.01, asked for 0\.1;", training=replace(QUIET, lr=0.1))
    asked("seed = 0, asked for 1;", training=QUIET, seed=1)
    asked("max_epochs = 1, asked for 2;", training=QUIET, epochs=2)
    asked(r"config\.drop_rate", training=QUIET, config=small_config(drop_rate=0.31))
    other = relabelled(small_surveys(), np.arange(48) == 3)
    asked(r"data\.labels = '\w{12}', asked for", training=QUIET, data=split_data(other))
    asked(r"data\.batch_size = 8, asked for 4;", training=QUIET, data=split_data(batch_size=4))


def test_a_damaged_record_of_a_run_is_named_with_what_to_do(tmp_path):
    def again(match):
        with pytest.raises(SurveyDataError, match=match):
            fit(small_config(), split_data(), tmp_path, 1, training=QUIET)

    fit(small_config(), split_data(), tmp_path, 1, training=QUIET)
    done, run = tmp_path / "done.json", tmp_path / "run.json"
    whole = done.read_text()
    for damage in (whole[: len(whole) // 2], "", "[]", '{"history": []}', "\x80"):
        done.write_bytes(damage.encode("latin-1"))
        again(r"done\.json: damaged, .*delete it to train this run anew")
    done.write_text('{"best_epoch": 0, "history": [{"epoch": 0}]}')
    again(r"done\.json: damaged, its history lacks train_loss, val_loss")
    done.write_text(whole)
    run.write_text(run.read_text()[:30])
    again(r"run\.json: damaged, .*delete the folder .* to start anew, or choose another")
    run.unlink()
    assert fit(small_config(), split_data(), tmp_path, 1, training=QUIET).best_epoch == 0


def test_a_run_that_never_began_may_be_replaced(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(TighnariTraining, "training_step", die)
        with pytest.raises(RuntimeError, match="the lights"):
            fit(small_config(), split_data(), tmp_path, 1, training=QUIET)
    fit(small_config(), split_data(), tmp_path, 1, training=replace(QUIET, lr=1e-3))


def test_the_checkpoint_holds_nothing_that_must_be_unpickled(tmp_path, monkeypatch):
    monkeypatch.setattr(Tighnari, "save_pretrained", die)
    with pytest.raises(RuntimeError, match="the lights"):
        fit(small_config(), split_data(), tmp_path, 1, training=QUIET)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert any(name.startswith("ema.module.") for name in state["state_dict"])
    assert json.loads((tmp_path / "run.json").read_text())["max_epochs"] == 1


# --- losses that are no numbers -------------------------------------------------------------------


def test_inputs_that_are_not_finite_stop_training_with_their_survey(tmp_path, monkeypatch):
    usual = TighnariTraining.training_step

    def poisoned(self, batch, batch_idx):
        if self.current_epoch == 1 and batch_idx == 2:
            batch.table[3, 0] = math.nan
            poisoned.ids = batch.survey_id.tolist()
        return usual(self, batch, batch_idx)

    monkeypatch.setattr(TighnariTraining, "training_step", poisoned)
    with pytest.raises(SurveyDataError) as caught:
        fit(small_config(), split_data(), tmp_path, 2, training=QUIET)
    text = str(caught.value)
    assert "epoch 1, training step 2: the loss is nan" in text
    assert f"table of 1 surveys is not finite (surveyId {poisoned.ids[3]})" in text
    assert ", ".join(str(i) for i in poisoned.ids) in text


def test_weights_that_diverge_say_so(tmp_path):
    model = Fixed(torch.full((3, 2), 0.5))
    model.logits.data.fill_(math.inf)
    module = TighnariTraining(model, replace(QUIET, ema_decay=None), 1, 1)
    with pytest.raises(SurveyDataError, match=r"validation step 4: .*all inputs are finite.*1, 2"):
        module.validation_step(SurveyBatch(torch.tensor([1, 2]), y=torch.zeros(2, 2)), 4)


def test_surveys_without_labels_cannot_train():
    module = TighnariTraining(Fixed(torch.full((3, 2), 0.5)), QUIET, 1, 1)
    with pytest.raises(ValueError, match="without labels"):
        module.validation_step(SurveyBatch(torch.tensor([1, 2])), 0)


# --- leakage --------------------------------------------------------------------------------------


def test_labels_of_validation_surveys_reach_no_weight(tmp_path):
    data = split_data()
    other = split_data(relabelled(data.surveys, data.split.val))
    a, b = (
        fit(small_config(), chosen, tmp_path / name, 1, training=QUIET).model
        for name, chosen in (("a", data), ("b", other))
    )
    assert_same_weights(a, b)


# --- devices --------------------------------------------------------------------------------------


TWO_PROCESSES = """
import sys
from dataclasses import replace
from tests.small_models import QUIET, small_config, split_data
from tighnari_models.fit import fit

options = replace(QUIET, devices=2, strategy="ddp")
fit(small_config(), split_data(), sys.argv[1], 2, training=options)
"""


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(TWO_PROCESSES)
    command = [sys.executable, "-W", "error::UserWarning", str(script), str(tmp_path / "run")]
    there = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, env=there, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    history = json.loads((tmp_path / "run/done.json").read_text())["history"]
    assert [row["epoch"] for row in history] == [0, 1]
    assert history[1]["train_loss"] < history[0]["train_loss"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_learns_as_the_cpu_does_in_half_the_bits(tmp_path):
    table = small_surveys()
    data = SurveyDataModule(table, arrays=prepared(tmp_path / "arrays", table), batch_size=16)
    val = np.arange(48) >= 32
    data = data.with_split(~val, val)
    here = fit(every_modality(), data, tmp_path / "a", 3, training=QUIET)
    there = fit(
        every_modality(), data, tmp_path / "b", 3, training=replace(QUIET, accelerator="gpu")
    )
    np.testing.assert_allclose(there.history["val_loss"], here.history["val_loss"], rtol=0.1)
