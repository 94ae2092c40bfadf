"""Pre-training: what presence-only surveys look like, what is learned from them, what leaks not."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from benchmarks import weak_supervision
from tests import oracles
from tests.small_models import (
    QUIET,
    SPECIES,
    every_modality,
    prepared,
    relabelled,
    small_config,
    small_data,
    split_data,
)
from tests.small_models import surveys as small_surveys
from tighnari_graph import SurveyDataError, SurveyTable
from tighnari_graph.splits import block_ids
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.fit import fit
from tighnari_models.prediction import predict
from tighnari_models.pretraining import PretrainingData, pretrain
from tighnari_models.tighnari import Tighnari
from tighnari_models.training import TighnariTraining

WEAK = replace(QUIET, loss="weak", negative_weight=0.5, patience=None)


def presence_only(seed: int = 1, share: float = 0.5, **meta) -> SurveyTable:
    """Surveys of the same kind, of two years, without region, a share of their species reported."""
    table = small_surveys(seed=seed)
    rng = np.random.default_rng(seed)
    labels = table.known_labels().toarray()
    labels *= rng.random(labels.shape) < share
    return replace(
        table,
        survey_id=table.survey_id + 10_000,
        year=np.where(np.arange(len(table)) % 4 == 3, 2021, 2020),
        region=None,
        labels=sparse.csr_matrix(labels),
        meta=pd.DataFrame(meta, index=range(len(table))),
    )


def batch_of(data: PretrainingData, num: int = 48):
    return data._po.__getitems__(list(range(num)))


def assert_same_weights(a: torch.nn.Module, b: torch.nn.Module) -> None:
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name


def as_survey(table: SurveyTable, row: int) -> oracles.Survey:
    return oracles.Survey(
        int(table.survey_id[row]), float(table.lat[row]), float(table.lon[row]),
        int(table.year[row]), None, frozenset(),
    )  # fmt: skip


# --- what the model sees --------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["sliced", "on_the_fly"])
@pytest.mark.parametrize("exclude_km", [None, 2.0])
def test_graph_features_are_those_of_training_surveys_of_the_year(way, exclude_km):
    data = split_data(gfv=way, normalize=None, exclude_block=exclude_km)
    po, pa = presence_only(), data.surveys
    near = batch_of(PretrainingData(data, po)).graph_rows().to_dense().numpy()

    edges = oracles.po_edges(
        [as_survey(pa, i) for i in range(len(pa))], [as_survey(po, i) for i in range(len(po))]
    )
    if exclude_km is not None:
        both = np.concatenate([pa.lat, po.lat]), np.concatenate([pa.lon, po.lon])
        block = block_ids(*both, exclude_km)
        kept = [e for e in edges if block[e[0]] != block[len(pa) + e[1]]]
        assert 0 < len(kept) < len(edges)
        edges = kept
    wanted = oracles.gfv(
        pa.known_labels().toarray(), oracles.with_weights(edges), len(po),
        visible=data.split.train.tolist(),
    )  # fmt: skip
    np.testing.assert_allclose(near, wanted, rtol=1e-4, atol=1e-5)
    assert (wanted.sum(1) > 0).sum() > 10
    assert (near[po.year == 2021] == 0).all()
    assert (near[36:] == 0).all()  # near validation surveys only, which are hidden


def test_a_graph_that_ignores_the_year_does_so_here():
    data = split_data()
    data.graph.spec = replace(data.graph.spec, match=())
    near = batch_of(PretrainingData(data, presence_only())).graph_rows().to_dense()
    assert (near[:36].sum(1) > 0).all()


def test_table_columns_that_are_lacking_hold_the_training_mean():
    table = replace(
        small_surveys(),
        meta=pd.DataFrame(
            {"areaInM2": np.linspace(10, 100, 48), "geoUncertaintyInM": np.linspace(1, 48, 48)}
        ),
    )
    data = split_data(table)
    seen = batch_of(PretrainingData(data, presence_only(geoUncertaintyInM=7.0, publisher="who")))
    names = data.preprocessing.table.feature_names
    columns = dict(zip(names, seen.table.T, strict=True))
    assert set(columns) == {
        "lat", "lon", "year", "areaInM2", "geoUncertaintyInM", "region=ALPINE",
    }  # fmt: skip
    np.testing.assert_allclose(columns["areaInM2"], 0, atol=1e-6)
    assert (columns["region=ALPINE"] == 0).all()
    trained = np.log1p(np.linspace(1, 48, 48)[data.split.train])
    wanted = (np.log1p(7.0) - trained.mean()) / trained.std()
    np.testing.assert_allclose(columns["geoUncertaintyInM"], wanted, rtol=1e-5)
    lat = data.surveys.lat[data.split.train]
    np.testing.assert_allclose(
        columns["lat"], (presence_only().lat - lat.mean()) / lat.std(), rtol=1e-4
    )


def test_environment_is_taken_where_it_is_known():
    table, po = small_surveys(), presence_only()
    environment = pd.DataFrame({"Elevation": np.arange(48.0)}, index=table.survey_id)
    data = split_data(table, environment=environment)
    known = pd.DataFrame({"Elevation": [23.0], "Slope": [1.0]}, index=po.survey_id[[5]])
    seen = batch_of(PretrainingData(data, po, known)).table
    column = seen[:, data.preprocessing.table.feature_names.index("Elevation")]
    trained = np.arange(36.0)
    assert float(column[5]) == pytest.approx((23 - trained.mean()) / trained.std(), rel=1e-5)
    assert (np.delete(column.numpy(), 5) == 0).all()


def test_labels_are_those_reported_and_validation_that_of_the_data_module():
    data, po = split_data(), presence_only()
    mine = PretrainingData(data, po)
    batches = list(mine.train_dataloader())
    ids = np.concatenate([b.survey_id.numpy() for b in batches])
    assert sorted(ids) == po.survey_id.tolist()
    labels = np.concatenate([b.y.numpy() for b in batches])
    at = np.searchsorted(po.survey_id, ids)
    np.testing.assert_array_equal(labels, po.known_labels().toarray()[at])
    for a, b in zip(mine.val_dataloader(), data.val_dataloader(), strict=True):
        assert torch.equal(a.survey_id, b.survey_id)
        assert torch.equal(a.table, b.table)
        assert torch.equal(a.graph_rows().to_dense(), b.graph_rows().to_dense())


def test_images_and_cubes_are_the_training_mean_and_not_found(tmp_path):
    table = small_surveys()
    data = SurveyDataModule(table, arrays=prepared(tmp_path, table), batch_size=8)
    val = np.arange(48) >= 36
    mine = PretrainingData(data.with_split(~val, val), presence_only())
    seen = mine._po.__getitems__([3, 1])
    assert seen.modalities == data.modalities
    for name, shape in (("image", (4, 16, 16)), ("landsat", (6, 4, 20)), ("bioclim", (4, 18, 12))):
        assert getattr(seen, name).shape == (2, *shape)
        assert not getattr(seen, name).any()
    assert not seen.found.any()


# --- learning -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    data, out = split_data(), tmp_path_factory.mktemp("po")
    return data, out, pretrain(small_config(), presence_only(), data, out, 3, training=WEAK)


def test_presence_only_surveys_teach_what_grows_where(pretrained):
    data, _, result = pretrained
    assert result.history["val_loss"].iloc[-1] < result.history["val_loss"].iloc[0]
    model = result.model
    np.testing.assert_array_equal(model.species_ids, data.species_ids)
    assert model.surveys is not None
    assert model.preprocessing.to_json() == data.preprocessing.to_json()


def test_fine_tuning_starts_from_the_weights(pretrained, tmp_path):
    data, _, start = pretrained
    still = replace(QUIET, lr=1e-12, ema_decay=None)
    same = fit(small_config(), data, tmp_path / "a", 1, training=still, start=start.model)
    val = data.dataset(data.split.val, data.split.train)
    np.testing.assert_allclose(predict(same.model, val), predict(start.model, val), rtol=1e-4)
    tuned = fit(small_config(), data, tmp_path / "b", 2, training=QUIET, start=start.model)
    assert not np.allclose(predict(tuned.model, val), predict(start.model, val), rtol=1e-2)


def test_a_data_module_without_a_split_gets_the_one_that_fit_makes(tmp_path):
    data = small_data()
    start = pretrain(small_config(), presence_only(), data, tmp_path / "po", 1, training=WEAK)
    assert data.split is None
    fit(small_config(), data, tmp_path / "pa", 1, training=QUIET, start=start.model)
    runs = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("po", "pa")]
    assert runs[0]["split"] == runs[1]["split"]
    assert runs[1]["start"] is not None


def test_labels_of_validation_surveys_reach_no_weight(tmp_path):
    data = split_data()
    other = split_data(relabelled(data.surveys, data.split.val))
    a, b = (
        pretrain(small_config(), presence_only(), chosen, tmp_path / name, 1, training=WEAK).model
        for name, chosen in (("a", data), ("b", other))
    )
    assert_same_weights(a, b)


def test_labels_of_training_surveys_do(tmp_path):
    data = split_data()
    other = split_data(relabelled(data.surveys, data.split.train))
    a, b = (
        pretrain(small_config(), presence_only(), chosen, tmp_path / name, 1, training=WEAK).model
        for name, chosen in (("a", data), ("b", other))
    )
    assert not torch.equal(a.head.weight, b.head.weight)


def test_encoders_of_what_is_lacking_keep_their_weights(tmp_path):
    table = small_surveys()
    data = SurveyDataModule(table, arrays=prepared(tmp_path / "arrays", table), batch_size=16)
    val = np.arange(48) >= 36
    data = data.with_split(~val, val)
    slow, usual = (
        pretrain(
            every_modality(), presence_only(), data, tmp_path / name, 1,
            training=replace(WEAK, lr=lr, ema_decay=None),
        ).model
        for name, lr in (("slow", 1e-12), ("usual", 1e-2))
    )  # fmt: skip
    moved = {
        name
        for name, encoder in usual.encoders.items()
        for key, value in encoder.state_dict().items()
        if not torch.allclose(value, slow.encoders[name].state_dict()[key], atol=1e-6)
    }
    assert moved == {"table", "gfv"}
    assert all(weight.requires_grad for weight in usual.parameters())
    fit(every_modality(), data, tmp_path / "pa", 1, training=QUIET, start=usual)


def test_an_interrupted_run_is_resumed_to_the_bit(tmp_path, monkeypatch):
    whole = pretrain(
        small_config(), presence_only(), split_data(num_workers=1), tmp_path / "a", 2, training=WEAK
    )
    usual = TighnariTraining.training_step

    def interrupted(self, batch, batch_idx):
        if self.current_epoch == 1:
            raise RuntimeError("the lights went out")
        return usual(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(TighnariTraining, "training_step", interrupted)
        with pytest.raises(RuntimeError, match="the lights"):
            pretrain(
                small_config(), presence_only(), split_data(), tmp_path / "b", 2, training=WEAK
            )
    again = pretrain(
        small_config(), presence_only(), split_data(), tmp_path / "b", 2, training=WEAK
    )
    assert_same_weights(whole.model, again.model)


# --- refusals -------------------------------------------------------------------------------------


def test_a_folder_of_other_presence_only_surveys_is_refused(pretrained):
    data, out, _ = pretrained

    def asked(match, po, training=WEAK):
        with pytest.raises(ValueError, match=match):
            pretrain(small_config(), po, data, out, 3, training=training)

    asked(r"presence-only\.labels = '\w{12}', asked for", presence_only(share=0.9))
    moved = replace(presence_only(), lat=presence_only().lat + 0.01)
    asked(r"presence-only\.position and year = ", moved)
    asked(
        r"training\.negative_weight = 0\.5, asked",
        presence_only(),
        replace(WEAK, negative_weight=0.1),
    )
    with pytest.raises(ValueError, match="holds a run with"):
        fit(small_config(), data, out, 3, training=WEAK)


def test_what_cannot_teach_is_refused(tmp_path):
    data, po = split_data(), presence_only()

    def refused(error, match, po=po, config=None, data=data):
        with pytest.raises(error, match=match):
            pretrain(config or small_config(), po, data, tmp_path, 1, training=WEAK)

    other = replace(po, species_ids=po.species_ids + 1)
    refused(ValueError, f"the {SPECIES} species of the presence-only surveys are not", other)
    refused(ValueError, "no presence-only surveys", po.subset(np.zeros(48, bool)))
    refused(SurveyDataError, "no speciesId column", replace(po, labels=None))
    table = small_surveys()
    pictured = SurveyDataModule(table, arrays=prepared(tmp_path / "arrays", table))
    blind = every_modality(modalities=("image", "landsat"), fusion="concat")
    refused(ValueError, "sees image, landsat only", config=blind, data=pictured)
    assert not (tmp_path / "run.json").exists()


def test_a_model_pre_trained_on_the_paper_s_loss_too(tmp_path):
    """`training` is any `TrainingOptions`: the weak loss is a default, not a condition."""
    result = pretrain(small_config(), presence_only(), split_data(), tmp_path, 1, training=QUIET)
    assert isinstance(result.model, Tighnari)


# --- benchmark ------------------------------------------------------------------------------------


def test_the_benchmark_scores_every_way_against_presence_absence_alone():
    losses = {"a": {"loss": "weak", "negative_weight": 0.3}}
    table = weak_supervision.compare(
        small_surveys(blocks=24), presence_only(), weak_supervision.Trial(losses, 2, epochs=1)
    )
    assert table.index.tolist() == [
        "PA alone", "PA, then PA again", "PO alone, a", "PO (a), then PA",
    ]  # fmt: skip
    gain = table["samples-F1"] - table.loc["PA alone", "samples-F1"]
    np.testing.assert_allclose(table["difference"], gain, atol=1e-12)
    assert (table["from"] <= table["difference"]).all()
    assert (table["difference"] <= table["to"]).all()
    for name, fields in weak_supervision.LOSSES.items():
        assert replace(QUIET, **fields).loss == ("bce" if name == "bce" else "weak")
