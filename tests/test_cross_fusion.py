"""Cross-fusion: who sees whom, what is kept after a crash, and what comes out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.small_models import QUIET, SPECIES, relabelled, small_config, small_data
from tighnari_graph import block_folds
from tighnari_models.cross_fusion import cross_fusion
from tighnari_models.prediction import average_logits, predict
from tighnari_models.training import TighnariTraining

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
