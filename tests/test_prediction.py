"""Logits of models: order, averages, streaming, and folders that hold what they should."""

import numpy as np
import pytest
import torch

from tests.small_models import SPECIES, small_config, small_data, split_data
from tighnari_graph import SurveyDataError
from tighnari_models import prediction
from tighnari_models.prediction import average_logits, predict
from tighnari_models.tighnari import Tighnari


def model_of(data, seed: int = 0) -> Tighnari:
    torch.manual_seed(seed)
    model = Tighnari(data.complete(small_config(drop_rate=0.5)))
    model.preprocessing, model.species_ids = data.preprocessing, data.species_ids
    model.surveys = data.surveys
    return model


@pytest.fixture(autouse=True)
def on_the_cpu(request, monkeypatch):
    """Numbers are compared in 32 bits."""
    if "gpu" not in request.keywords:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def data():
    return split_data()


@pytest.fixture
def val(data):
    return data.dataset(data.split.val, data.split.train)


def test_each_survey_gets_the_logits_of_its_own_batch_of_one(data, val):
    model = model_of(data)
    logits = predict(model, val, batch_size=5)
    assert logits.dtype == np.float32
    assert logits.shape == (12, SPECIES)
    assert model.training  # as it was before
    model.eval()
    with torch.inference_mode():
        alone = np.concatenate([model(val[i]).numpy() for i in range(12)])
    np.testing.assert_allclose(logits, alone, rtol=1e-5, atol=1e-6)
    turned = val.subset(np.arange(12)[::-1].copy())
    np.testing.assert_allclose(predict(model, turned), alone[::-1], rtol=1e-5, atol=1e-6)


def test_several_models_give_the_mean_of_their_logits(data, val, tmp_path):
    models = [model_of(data, seed) for seed in range(3)]
    each = [predict(model, val) for model in models]
    np.testing.assert_allclose(predict(models, val), average_logits(each), rtol=1e-5, atol=1e-6)
    for number, model in enumerate(models):
        model.save_pretrained(tmp_path / f"fold_{number:02d}/model")
    np.testing.assert_array_equal(predict(tmp_path, val), predict(models, val))
    np.testing.assert_array_equal(predict(str(tmp_path / "fold_01"), val), each[1])
    np.testing.assert_array_equal(predict(tmp_path / "fold_01/model", val), each[1])


def test_each_model_sees_surveys_through_its_own_preprocessing(data):
    half = np.arange(48) < 24
    other = data.with_split(half, ~half)
    rows, everyone = data.split.val, np.ones(48, bool)
    seen = [d.dataset(rows, everyone) for d in (data, other)]
    a, b = model_of(data, 1), model_of(other, 2)
    expected = average_logits([predict(a, seen[0]), predict(b, seen[1])])
    assert not np.allclose(predict(b, seen[1]), predict(model_with(b, None), seen[0]))
    for given in seen:
        np.testing.assert_allclose(predict([a, b], given), expected, rtol=1e-5, atol=1e-6)


def model_with(model, preprocessing):
    copied = Tighnari(model.config)
    copied.load_state_dict(model.state_dict())
    copied.preprocessing = preprocessing
    return copied


def test_streamed_logits_are_those_in_memory_in_half_precision(data, val, tmp_path):
    models = [model_of(data, seed) for seed in range(2)]
    path = tmp_path / "deep/logits.npy"
    streamed = predict(models, val, batch_size=5, out=path)
    assert isinstance(streamed, np.memmap)
    assert streamed.dtype == np.float16
    np.testing.assert_array_equal(streamed, predict(models, val, batch_size=5).astype(np.float16))
    np.testing.assert_array_equal(np.load(path), streamed)
    assert [p.name for p in path.parent.iterdir()] == ["logits.npy"]


def test_a_stream_that_breaks_leaves_no_file(data, val, tmp_path):
    model = model_of(data)
    calls = iter(range(10))
    forward = model.forward
    model.forward = lambda batch: forward(batch) if next(calls) < 1 else 1 / 0
    with pytest.raises(ZeroDivisionError):
        predict(model, val, batch_size=5, out=tmp_path / "logits.npy")
    assert list(tmp_path.iterdir()) == []


def test_logits_that_are_not_finite_name_their_surveys(data, val, tmp_path):
    model = model_of(data)
    forward = model.forward

    def large(batch):
        return torch.where((batch.survey_id == 220)[:, None], 7e4, forward(batch))

    model.forward = large
    assert predict(model, val).max() == 7e4
    with pytest.raises(
        SurveyDataError, match=r"1 of 12 rows have logits.*float16 \(surveyId 220\)"
    ):
        predict(model, val, out=tmp_path / "logits.npy")


def test_nobody_to_predict(data, val, tmp_path):
    nobody = val.subset(np.zeros(12, bool))
    assert predict(model_of(data), nobody).shape == (0, SPECIES)
    assert predict(model_of(data), nobody, out=tmp_path / "a.npy").shape == (0, SPECIES)
    assert average_logits([tmp_path / "a.npy"]).shape == (0, SPECIES)


def test_other_species_and_folders_without_a_model_are_refused(data, val, tmp_path):
    model = model_of(data)
    with pytest.raises(ValueError, match="there are no models"):
        predict([], val)
    with pytest.raises(SurveyDataError, match="no saved model; expected config.json"):
        predict(tmp_path, val)
    model.species_ids = data.species_ids[::-1].copy()
    with pytest.raises(ValueError, match="6 of 7 columns stand for another species"):
        predict(model, val)
    with pytest.raises(ValueError, match="knows 9 species, the data set 7"):
        predict(Tighnari(small_config(num_species=9, num_table_features=3)), val)


@pytest.mark.parametrize("size", [0, -1])
def test_batches_of_nobody_are_refused(data, val, size):
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {size}"):
        predict(model_of(data), val, batch_size=size)


def test_reading_processes_change_nothing_and_are_shared_by_the_models(data, val, monkeypatch):
    models = [model_of(data, seed) for seed in range(3)]
    expected = predict(models, val, batch_size=5)
    asked = []
    usual = prediction.DataLoader
    monkeypatch.setattr(
        prediction, "DataLoader",
        lambda *given, num_workers, **more: (
            asked.append(num_workers) or usual(*given, num_workers=num_workers, **more)
        ),
    )  # fmt: skip
    monkeypatch.setattr(prediction, "tqdm", lambda rounds, *_, **__: rounds)
    np.testing.assert_array_equal(predict(models, val, batch_size=5, num_workers=1), expected)
    assert asked == [1, 1, 1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_predicts_in_half_the_bits(data, val):
    model = model_of(data)
    seen = []
    model.head.register_forward_hook(lambda *given: seen.append(given[-1].dtype))
    logits = predict(model, val)
    assert seen == [torch.bfloat16]
    np.testing.assert_allclose(logits, predict(model, val, device="cpu"), rtol=0.1, atol=0.05)
    assert seen[1:] == [torch.float32]


def test_averages_by_hand(tmp_path):
    a, b = np.array([[0.0, 3.0], [6.0, 9.0]]), torch.tensor([[3.0, 0.0], [0.0, 0.0]])
    np.save(tmp_path / "c.npy", np.array([[0.0, 0.0], [3.0, 0.0]], dtype=np.float16))
    mean = average_logits([a, b, tmp_path / "c.npy"])
    assert mean.dtype == np.float32
    assert mean.tolist() == [[1.0, 1.0], [3.0, 3.0]]
    assert average_logits([a, b], weights=[2, 1]).tolist() == [[1.0, 2.0], [4.0, 6.0]]
    assert average_logits([a.astype(np.float32)]).tolist() == a.tolist()


def test_averages_of_what_does_not_fit_are_refused():
    a = np.zeros((2, 3))
    with pytest.raises(ValueError, match="no logits to average"):
        average_logits([])
    with pytest.raises(ValueError, match=r"of one shape, got \(2, 3\), \(3, 2\)"):
        average_logits([a, a.T])
    with pytest.raises(ValueError, match="weights must be 2 numbers from 0 up"):
        average_logits([a, a], weights=[1])
    with pytest.raises(ValueError, match="weights must be 2 numbers from 0 up"):
        average_logits([a, a], weights=[1, -1])
    with pytest.raises(ValueError, match="all weights are 0"):
        average_logits([a, a], weights=[0, 0])


def test_averages_of_what_is_no_number_say_how_many_and_where(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "_CHUNK", 3)  # a row at a time
    a, b = np.zeros((3, 3)), np.zeros((3, 3))
    b[0, 1], b[2, 0] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"finite numbers; not so: 2 of 9 in run 2$"):
        average_logits([a, torch.from_numpy(b)], weights=[1, 0])
    np.save(tmp_path / "b.npy", b)
    with pytest.raises(ValueError, match=r"not so: 1 of 9 in run 1, 2 of 9 in .*b\.npy$"):
        average_logits([np.where(np.eye(3) * [1, 0, 0], np.nan, a), tmp_path / "b.npy"])


def test_files_that_are_no_logits_are_named(tmp_path):
    whole = np.zeros((4, 3))
    np.save(tmp_path / "whole.npy", whole)
    content = (tmp_path / "whole.npy").read_bytes()
    damages = {"empty": b"", "half": content[:150], "text": b"surveyId,speciesId\n1,2\n",
               "archive": b"PK\x03\x04 and so on"}  # fmt: skip
    for name, damage in damages.items():
        (tmp_path / f"{name}.npy").write_bytes(damage)
    np.savez(tmp_path / "several.npz", whole)
    np.save(tmp_path / "words.npy", np.array([["a"]]))
    np.save(tmp_path / "objects.npy", np.array([[None]]), allow_pickle=True)
    for path in sorted(tmp_path.iterdir()):
        if path.name != "whole.npy":
            with pytest.raises(SurveyDataError, match=path.name.replace(".", r"\.")):
                average_logits([path, whole])


@pytest.mark.parametrize("way", ["sliced", "on_the_fly"])
def test_both_ways_of_the_graph_give_the_same_logits(data, way):
    chosen = small_data(data.surveys, gfv=way).with_split(data.split.train, data.split.val)
    seen = chosen.dataset(data.split.val, data.split.train)
    expected = predict(model_of(data), data.dataset(data.split.val, data.split.train))
    np.testing.assert_allclose(predict(model_of(data), seen), expected, rtol=1e-5, atol=1e-6)
