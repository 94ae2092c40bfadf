"""Cross-fusion: who sees whom, what is kept after a crash, and what comes out."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.small_models import QUIET, SPECIES, relabelled, small_config, small_data, split_data
from tighnari_graph import block_folds
from tighnari_models.cross_fusion import cross_fusion
from tighnari_models.prediction import average_logits, predict
from tighnari_models.run_folder import claim
from tighnari_models.tighnari import Tighnari
from tighnari_models.training import TighnariTraining

module = sys.modules["tighnari_models.cross_fusion"]  # the package has the function by that name
FAST = replace(QUIET, patience=None)
SHORT = {"folds": 3, "max_epochs": 2, "fine_tune_epochs": 1, "training": FAST}


def assert_same_models(a, b) -> None:
    for one, other in zip(a.folds, b.folds, strict=True):
        for name, value in one.model.state_dict().items():
            assert torch.equal(value, other.model.state_dict()[name]), name
        assert one.model.preprocessing.to_json() == other.model.preprocessing.to_json()


@pytest.fixture(scope="module")
def fused(tmp_path_factory):
    data, out = small_data(), tmp_path_factory.mktemp("fused")
    return data, out, cross_fusion(small_config(), data, out, **SHORT)


def test_folds_and_logits(fused):
    data, out, result = fused
    folds = block_folds(data.surveys, 4, seed=0)
    assert np.array_equal(result.tuning_rows, folds == 3)
    assert np.array_equal(result.fold_of, np.where(folds == 3, -1, folds))
    assert [len(fold.history) for fold in result.folds] == [2, 1, 1]
    assert data.split is None
    unseen = data.dataset(
        result.tuning_rows, ~result.tuning_rows, result.folds[0].model.preprocessing
    )
    each = [predict(fold.model, unseen) for fold in result.folds]
    assert result.logits.dtype == np.float32
    np.testing.assert_allclose(result.logits, average_logits(each), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(result.logits, predict(out, unseen))
    for number, logits in enumerate(result.validation_logits):
        assert logits.shape == ((result.fold_of == number).sum(), SPECIES)
        assert logits.dtype == np.float16


def test_validation_logits_are_those_that_training_saw(fused):
    data, _, result = fused
    labels = data.surveys.known_labels().toarray()
    for number, fold in enumerate(result.folds):
        logits = torch.from_numpy(result.validation_logits[number].astype(np.float32))
        y = torch.from_numpy(labels[result.fold_of == number])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y)
        best = fold.history["val_loss"][fold.best_epoch]
        assert float(loss) == pytest.approx(best, rel=1e-2)


def test_labels_of_tuning_surveys_reach_no_model(fused, tmp_path):
    data, _, result = fused
    other = small_data(relabelled(data.surveys, result.tuning_rows))
    again = cross_fusion(small_config(), other, tmp_path, **SHORT)
    assert_same_models(result, again)
    np.testing.assert_array_equal(result.logits, again.logits)


def test_labels_of_a_fold_reach_neither_its_model_nor_its_graph_features(fused, tmp_path):
    """Without a warm start: the first model is the only one that a fold's labels could pass by."""
    data, _, result = fused
    options = SHORT | {"warm_start": False, "max_epochs": 1}
    held_out = result.fold_of == 1
    other = small_data(relabelled(data.surveys, held_out))
    a = cross_fusion(small_config(), data, tmp_path / "a", **options)
    b = cross_fusion(small_config(), other, tmp_path / "b", **options)
    one, same = a.folds[1].model, b.folds[1].model
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name]), name
    assert one.preprocessing.to_json() == same.preprocessing.to_json()
    np.testing.assert_array_equal(a.validation_logits[1], b.validation_logits[1])
    changed = [not torch.equal(v, b.folds[0].model.state_dict()[n])
               for n, v in a.folds[0].model.state_dict().items()]  # fmt: skip
    assert any(changed)


def test_finished_folds_are_not_trained_again_after_a_crash(fused, tmp_path, monkeypatch):
    data, _, result = fused
    usual = TighnariTraining.training_step

    def dying(self, batch, batch_idx):
        if self.seed == 2 and batch_idx == 1:  # in the third fold
            raise RuntimeError("the lights went out")
        return usual(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(TighnariTraining, "training_step", dying)
        with pytest.raises(RuntimeError, match="the lights"):
            cross_fusion(small_config(), data, tmp_path, **SHORT)
    assert (tmp_path / "fold_01/done.json").exists()
    assert not (tmp_path / "fold_02/done.json").exists()
    times = {
        path: path.stat().st_mtime_ns
        for fold in ("fold_00", "fold_01")
        for path in (tmp_path / fold).rglob("*")
    }
    again = cross_fusion(small_config(), data, tmp_path, **SHORT)
    assert times == {path: path.stat().st_mtime_ns for path in times}
    assert_same_models(result, again)
    np.testing.assert_array_equal(result.logits, again.logits)
    monkeypatch.setattr(TighnariTraining, "training_step", lambda *_: 1 / 0)
    third = cross_fusion(small_config(), data, tmp_path, **SHORT)
    np.testing.assert_array_equal(again.logits, third.logits)


def test_logits_of_other_models_are_made_anew(fused, tmp_path):
    _, out, result = fused
    shutil.copytree(out, tmp_path / "run")
    out = tmp_path / "run"

    def again():  # however many processes read batches
        return cross_fusion(small_config(), small_data(num_workers=1), out, **SHORT)

    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*logits.*")}
    assert len(kept) == 2 * 4
    again()
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    model = result.folds[1].model.from_pretrained(out / "fold_01/model")
    with torch.no_grad():
        model.head.bias += 1
    model.save_pretrained(out / "fold_01/model")
    other = again()
    changed = {path.parent.name for path in kept if path.stat().st_mtime_ns != kept[path]}
    assert changed == {"run", "fold_01"}
    np.testing.assert_allclose(other.logits, result.logits + 1 / 3, rtol=1e-4, atol=1e-5)
    (out / "tuning_logits.json").write_text("{")  # nothing tells whose they are
    np.save(out / "tuning_logits.npy", 0 * other.logits)
    np.testing.assert_array_equal(again().logits, other.logits)


def test_of_several_processes_the_first_alone_writes_logits(tmp_path, monkeypatch):
    data = split_data()
    model = Tighnari(data.complete(small_config())).eval()
    seen, waits = partial(data.dataset, data.split.val, data.split.train), []
    path = tmp_path / "logits.npy"
    first = module._kept(path, [model], seen, 0, half=True)
    (tmp_path / "logits.json").unlink()
    monkeypatch.setattr(module, "is_first_process", lambda: False)
    monkeypatch.setattr(module, "wait_for_all", lambda: waits.append(1))
    monkeypatch.setattr(module, "predict", lambda *_, **__: 1 / 0)
    np.testing.assert_array_equal(module._kept(path, [model], seen, 0, half=True), first)
    assert waits == [1]


TWO_PROCESSES = """
import sys
from dataclasses import replace
from tests.small_models import QUIET, small_config, small_data
from tighnari_models.cross_fusion import cross_fusion

options = replace(QUIET, devices=2, strategy="ddp")
result = cross_fusion(
    small_config(), small_data(batch_size=4), sys.argv[1], folds=2, max_epochs=1,
    fine_tune_epochs=1, training=options,
)
print(result.logits.shape)
"""


@pytest.mark.slow
def test_two_processes_fuse_the_same_models(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(TWO_PROCESSES)
    there = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-W", "error::UserWarning", str(script), str(tmp_path / "run")]
    for _ in range(2):  # the second time, nothing is left to do
        done = subprocess.run(command, env=there, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        assert f", {SPECIES})" in done.stdout
    assert len(list((tmp_path / "run").rglob("*logits.json"))) == 3


def test_a_cold_start_draws_every_model_anew(fused, tmp_path):
    data, _, _ = fused
    cold = cross_fusion(small_config(), data, tmp_path, **(SHORT | {"warm_start": False}))
    assert [len(fold.history) for fold in cold.folds] == [2, 2, 2]
    name = next(iter(cold.folds[0].model.state_dict()))
    a, b = (cold.folds[i].model.state_dict()[name] for i in (0, 1))
    assert not torch.equal(a, b)


def test_random_folds(fused, tmp_path):
    data, _, _ = fused
    options = SHORT | {"folds": 2, "max_epochs": 1}
    result = cross_fusion(small_config(), data, tmp_path, group="random", **options)
    assert result.tuning_rows.sum() == 16
    assert np.bincount(result.fold_of[result.fold_of >= 0]).tolist() == [16, 16]


def test_what_cannot_be_is_refused(fused, tmp_path):
    data, out, _ = fused
    with pytest.raises(ValueError, match="group must be one of block, random, got 'year'"):
        cross_fusion(small_config(), data, tmp_path, group="year")
    with pytest.raises(ValueError, match="folds must be at least 2"):
        cross_fusion(small_config(), data, tmp_path, folds=1)
    with pytest.raises(ValueError, match="holds a run with folds = 3, asked for 4"):
        cross_fusion(small_config(), data, out, **(SHORT | {"folds": 4}))
    with pytest.raises(ValueError, match="holds a run with seed = 0, asked for 1"):
        cross_fusion(small_config(), data, out, seed=1, **SHORT)
    other = SHORT | {"training": replace(FAST, lr=0.5)}
    with pytest.raises(ValueError, match=r"holds a run with training\.lr = 0\.01, asked for 0\.5"):
        cross_fusion(small_config(), data, out, **other)
    free = SHORT | {"training": replace(FAST, progress=None, devices=1)}
    cross_fusion(small_config(), data, out, **free)


def test_a_shared_run_that_has_just_begun_is_not_replaced_by_another(tmp_path):
    claim(tmp_path, {"seed": 0}, shared=True)
    claim(tmp_path, {"seed": 0}, shared=True)
    with pytest.raises(ValueError, match="holds a run with seed = 0, asked for 1"):
        claim(tmp_path, {"seed": 1}, shared=True)
