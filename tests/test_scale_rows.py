"""Multi-scale rows in batches, in the model and in training: whose labels, what offset, which file."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from tests import strategies
from tests.small_models import QUIET, SPECIES, every_modality, relabelled, small_config, surveys
from tighnari_graph import SurveyDataError, SurveyTable
from tighnari_graph.multiscale import MultiScale
from tighnari_graph.scale_rows import TOP, ScaleRows
from tighnari_graph.sparse import torch_csr
from tighnari_models.config import TighnariConfig
from tighnari_models.data import scale_rows
from tighnari_models.data.batch import MODALITIES, PAPER_MODALITIES, SurveyBatch
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.data.new_surveys import new_surveys
from tighnari_models.data.preprocessing import Preprocessing
from tighnari_models.data.scale_rows import ScaleFeatures, ScaleModels
from tighnari_models.encoders import GraphEncoder, ScaleEncoder
from tighnari_models.fit import fit
from tighnari_models.mixup import mixup
from tighnari_models.offset import EPSILON, log_odds
from tighnari_models.prediction import predict
from tighnari_models.tighnari import Tighnari

BOTH = ("table", "gfv", "scales")
B = 5


def probabilities(seed=0, b=B, s=SPECIES, density=0.6):
    """Sparse probabilities, the last survey without any, and remainders."""
    rng = np.random.default_rng(seed)
    rows = sparse.random(b, s, density, format="lil", random_state=seed)
    rows[b - 1] = 0
    return torch_csr(rows), torch.from_numpy(rng.random(b).astype(np.float32))


def batch(seed=0, modalities=MODALITIES):
    generator = torch.Generator().manual_seed(seed)

    def values(*shape):
        return torch.randn(B, *shape, generator=generator)

    best, rest = probabilities(seed)
    whole = {
        "image": values(4, 32, 32), "landsat": values(6, 4, 20), "bioclim": values(4, 18, 12),
        "table": values(3), "gfv": probabilities(seed + 50)[0], "scales": best,
    }  # fmt: skip
    fields = {name: whole[name] for name in modalities}
    if "scales" in modalities:
        fields["scales_rest"] = rest
    return SurveyBatch(torch.arange(B), **fields)


def module(table=None, **options):
    return SurveyDataModule(
        surveys() if table is None else table,
        **({"modalities": BOTH, "batch_size": 8} | options),
    )


def quarter(table):
    val = np.arange(len(table)) >= len(table) * 3 // 4
    return ~val, val


# --- the batch ------------------------------------------------------------------------------------


def test_a_batch_carries_the_rows_and_their_remainder():
    given = batch()
    assert given.modalities == MODALITIES == (*PAPER_MODALITIES, "scales")
    assert batch(modalities=("scales",)).num_species == SPECIES
    moved = given.to("cpu")
    assert moved.scales.layout == torch.sparse_csr
    assert torch.equal(moved.scales_rest, given.scales_rest)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scales": None}, "scales and scales_rest go together"),
        ({"scales_rest": None}, "scales and scales_rest go together"),
        ({"scales": torch.zeros(B, SPECIES + 1)}, "gfv has 7 species, scales has 8"),
        ({"gfv": None, "y": torch.zeros(B, 3)}, "scales has 7 species, y has 3"),
        ({"scales_rest": torch.zeros(B, 1)}, r"scales_rest must be \[B\], got \(5, 1\)"),
        ({"scales_rest": torch.zeros(B - 1)}, "scales_rest has 4 rows for 5 surveys"),
    ],
)
def test_rows_that_do_not_fit_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        batch().replace(**changes)


def test_whole_numbers_are_refused():
    with pytest.raises(TypeError, match="scales_rest must be of floating point"):
        batch().replace(scales_rest=torch.zeros(B, dtype=torch.int64))


# --- whose rows -----------------------------------------------------------------------------------


class Fake(MultiScale):
    """A model whose rows tell of whom they are and how they were made."""

    def __init__(self, train: SurveyTable) -> None:
        vars(self).update(train=train, species_ids=train.species_ids)

    @classmethod
    def fit(cls, train, presence_only=None):
        cls.fitted.append((train.survey_id.tolist(), 0 if presence_only is None else 1))
        return cls(train)

    def rows(self, ids, value):
        p = np.zeros((len(ids), len(self.species_ids)), dtype=np.float32)
        p[np.arange(len(ids)), ids % p.shape[1]] = value
        return ScaleRows(sparse.csr_matrix(p), (ids / 1000).astype(np.float32))

    def predict(self, target, top):
        assert target.labels is None and top == TOP
        return self.rows(target.survey_id, 0.25)

    def predict_training(self, train, top):
        assert np.array_equal(train.survey_id, self.train.survey_id) and top == TOP
        return self.rows(self.train.survey_id, 0.75)


@pytest.fixture
def fake(monkeypatch):
    Fake.fitted = []
    monkeypatch.setattr(scale_rows, "MultiScale", Fake)
    return Fake


masks = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=8, max_size=8)


@strategies.SOME
@given(masks=masks)
def test_every_survey_gets_its_own_row_by_the_right_way(masks):
    wanted, visible = np.array(masks).T
    table = surveys(blocks=2)
    features = ScaleFeatures.of_known(Fake(table.subset(visible)), table, visible, wanted)
    for position in range(len(table)):
        if not wanted[position]:
            with pytest.raises(IndexError, match="no multi-scale rows of 1 of 1 surveys"):
                features.batch(np.array([position]))
            continue
        best, rest = features.batch(np.array([position, position]))
        expected = np.zeros((2, SPECIES))
        expected[:, table.survey_id[position] % SPECIES] = 0.75 if visible[position] else 0.25
        assert best.to_dense().tolist() == expected.tolist()
        np.testing.assert_allclose(rest, table.survey_id[position] / 1000)


def test_a_model_is_fitted_once_for_each_set_of_visible_surveys(fake):
    table = surveys()
    train, val = quarter(table)
    data = module(table, presence_only=table.subset(val)).with_split(train, val)
    assert fake.fitted == []  # not before a batch is asked for
    for batches in (data.train_dataloader(), data.val_dataloader(), data.train_dataloader()):
        next(iter(batches))
    data.dataset(val, train)
    assert fake.fitted == [(table.survey_id[train].tolist(), 1)]
    again = data.with_split(val, train)
    next(iter(again.val_dataloader()))
    assert fake.fitted[1:] == [(table.survey_id[val].tolist(), 1)]
    assert data.multiscale_model() is again.multiscale_model()
    assert [len(ids) for ids, _ in fake.fitted] == [36, 12, 48]


def test_loaders_give_training_surveys_rows_without_their_block(fake):
    table = surveys()
    train, val = quarter(table)
    data = module(table, test=replace(table, labels=None)).with_split(train, val)
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    for loader, value in zip(loaders, (0.75, 0.25, 0.25), strict=True):
        for seen in loader:
            assert set(seen.scales.values().tolist()) == {value}
            assert torch.equal(seen.scales.col_indices(), seen.survey_id % SPECIES)


@pytest.fixture(scope="module")
def real():
    """A data module with a split, fitted on a few surveys."""
    table = surveys()
    test = replace(surveys(blocks=3, seed=1), labels=None)
    return module(table, test=test).with_split(*quarter(table))


def test_rows_of_the_real_model_reach_the_batches(real):
    train = real.surveys.subset(real.split.train)
    model = MultiScale.fit(train)
    hidden = model.predict(real.surveys.subset(real.split.val))
    seen = next(iter(real.val_dataloader()))
    np.testing.assert_allclose(seen.scales.to_dense(), hidden.probabilities.toarray(), rtol=1e-5)
    np.testing.assert_allclose(seen.scales_rest, hidden.remainder, atol=1e-5)
    everyone = MultiScale.fit(real.surveys).predict(real.test)
    new = real.test_dataset().__getitems__(list(range(len(real.test))))
    np.testing.assert_allclose(new.scales.to_dense(), everyone.probabilities.toarray(), rtol=1e-5)


def test_labels_of_validation_surveys_change_no_batch(real):
    """To the bit: neither inputs of training nor of validation."""
    train, val = real.split.train, real.split.val
    other = module(relabelled(real.surveys, np.flatnonzero(val))).with_split(train, val)
    for ours, theirs in (
        (real.train_dataloader(), other.train_dataloader()),
        (real.val_dataloader(), other.val_dataloader()),
    ):
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a.survey_id, b.survey_id)
            assert torch.equal(a.scales.to_dense(), b.scales.to_dense())
            assert torch.equal(a.scales_rest, b.scales_rest)
    assert not torch.equal(a.y, b.y)


def test_labels_of_training_surveys_do_change_batches(real):
    train, val = real.split.train, real.split.val
    other = module(relabelled(real.surveys, np.flatnonzero(train))).with_split(train, val)
    a, b = next(iter(real.val_dataloader())), next(iter(other.val_dataloader()))
    assert not torch.allclose(a.scales.to_dense(), b.scales.to_dense())


def test_the_data_module_makes_rows_where_they_are_asked_for():
    table = surveys(blocks=3)
    assert SurveyDataModule(table).modalities == ("table", "gfv")
    assert SurveyDataModule(table).multiscale_model() is None
    assert SurveyDataModule(table, multiscale=True).modalities == BOTH
    added = SurveyDataModule(table, modalities=("table",), multiscale=True)
    assert added.modalities == ("table", "scales")
    alone = SurveyDataModule(table, modalities=("scales",))
    assert alone.modalities == ("scales",)
    everyone = np.ones(len(table), dtype=bool)
    assert alone.fit_preprocessing(everyone).modalities == ("scales",)
    earlier = Preprocessing(table=None)
    assert alone.with_split(everyone, ~everyone, earlier).preprocessing.scales == TOP


def test_preprocessing_without_rows_is_saved_as_before():
    assert "scales" not in Preprocessing().to_json()
    state = json.loads(json.dumps(Preprocessing(scales=17).to_json()))
    assert Preprocessing.from_json(state).scales == 17
    assert Preprocessing.from_json(Preprocessing().to_json()).scales is None


# --- log-odds -------------------------------------------------------------------------------------


def plain_log_odds(best, rest):
    expected = np.zeros(best.shape)
    for row, (p, others) in enumerate(zip(best, rest, strict=True)):
        unknown = [s for s, value in enumerate(p) if value == 0]
        for species, value in enumerate(p):
            share = others / len(unknown) if species in unknown else value
            share = min(max(float(share), EPSILON), 1 - EPSILON)
            expected[row, species] = np.log(share / (1 - share))
    return expected


shares = st.sampled_from((0.0, 0.0, 1e-9, 0.001, 0.25, 0.5, 0.999, 1.0))


@strategies.SOME
@given(rows=st.lists(st.tuples(*[shares] * 5), min_size=1, max_size=4), data=st.data())
def test_log_odds_are_those_of_a_plain_loop(rows, data):
    best = np.array(rows, dtype=np.float32)
    rest = np.array([data.draw(st.floats(0, 4, width=32)) for _ in rows], dtype=np.float32)
    expected = plain_log_odds(best, rest)
    for given_best in (torch.from_numpy(best), torch.from_numpy(best).to_sparse_csr()):
        found = log_odds(given_best, torch.from_numpy(rest))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=0.05)
        np.testing.assert_allclose(found.sigmoid(), 1 / (1 + np.exp(-expected)), atol=1e-6)


# --- the model ------------------------------------------------------------------------------------


MODELS = {
    "concat": lambda **fields: small_config(modalities=BOTH, **fields),
    "alone": lambda **fields: small_config(modalities=("scales",), **fields),
    "hcam": lambda **fields: every_modality(modalities=MODALITIES, **fields),
    "hcam, literal": lambda **fields: every_modality(modalities=MODALITIES, tokens=False, **fields),
    "hcam, in place of gfv": lambda **fields: every_modality(
        modalities=("image", "landsat", "table", "scales"), **fields
    ),
}
each_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
two_models = pytest.mark.parametrize(
    "make", [MODELS["concat"], MODELS["hcam"]], ids=["concat", "hcam"]
)


def model_of(make, **fields):
    torch.manual_seed(0)
    return Tighnari(make(**fields))


@each_model
def test_an_untrained_model_is_the_multi_scale_model(make):
    net = model_of(make)
    net.init_output_bias(np.linspace(0, 1, SPECIES))
    best, rest = probabilities()
    stored = best.to_dense()
    with torch.autocast("cpu", torch.bfloat16):
        half = net(batch())
    for logits in (net.train()(batch()), net.eval()(batch()), half):
        assert logits.dtype == torch.float32
        p = logits.sigmoid()
        assert (p - stored)[stored > 0].abs().max() < 1e-5
        total = p.sum(1) - stored.sum(1)
        np.testing.assert_allclose(total.detach(), rest, atol=1e-4)


@two_models
def test_without_offset_the_model_starts_as_before(make):
    net = model_of(make, scales_offset=False).eval()
    assert net.head.weight.any()
    share = np.linspace(0.1, 0.9, SPECIES)
    net.init_output_bias(share)
    np.testing.assert_allclose(net.head.bias.detach().sigmoid(), share, rtol=1e-5)
    other = batch().replace(scales_rest=torch.zeros(B))
    assert torch.equal(net(batch()), net(other))  # the remainder is for the offset alone


@each_model
def test_every_parameter_learns_after_the_first_step(make):
    net = model_of(make, drop_rate=0.0)
    y = (torch.rand(B, SPECIES) < 0.4).float()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(batch()), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    silent = [name for name, p in net.named_parameters() if p.grad.abs().max() < 1e-8]
    if not net.config.tokens:  # one key: nothing to choose, see `test_fusion.py`
        silent = [n for n in silent if not n.endswith(("q.weight", "q.bias", "k.weight"))]
    assert silent == []
    assert losses[1] < losses[0]


@two_models
def test_other_surveys_of_a_batch_change_nothing(make):
    net = model_of(make).eval()
    torch.nn.init.normal_(net.head.weight)
    logits = net(batch())
    order = torch.tensor([3, 0, 4, 2, 1])
    whole = batch()
    fields = {
        name: getattr(whole, name)[order] for name in ("survey_id", "scales_rest", *MODALITIES)
    }
    torch.testing.assert_close(net(SurveyBatch(**fields)), logits[order], rtol=1e-5, atol=1e-5)
    theirs = batch(1)
    with torch.no_grad():
        changed = net(whole.replace(scales=theirs.scales, scales_rest=theirs.scales_rest))
    assert not torch.allclose(changed, logits)


def test_both_graphs_are_keys_of_the_attention():
    counts = {}
    for name in ("hcam", "hcam, literal", "hcam, in place of gfv"):
        net = model_of(MODELS[name])
        net.fusion.graph.k.register_forward_hook(
            lambda _, given, __, name=name: counts.update({name: given[0].size(1)})
        )
        net(batch())
    assert counts == {"hcam": 4, "hcam, literal": 2, "hcam, in place of gfv": 2}


def test_the_encoder_sees_probabilities_as_logarithms():
    torch.manual_seed(0)
    encoder = ScaleEncoder(SPECIES, 11, 5).eval()
    plain = GraphEncoder(SPECIES, 11, 5).eval()
    plain.load_state_dict(encoder.state_dict())
    best, _ = probabilities()
    expected = plain(torch.log1p(best.to_dense() * 1e4))
    torch.testing.assert_close(encoder(best), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder(best.to_dense()), expected, rtol=1e-4, atol=1e-5)


def test_a_batch_without_rows_is_named():
    net = model_of(MODELS["concat"])
    with pytest.raises(
        ValueError, match="the batch lacks scales; the model takes table, gfv, scales"
    ):
        net(batch(modalities=("table", "gfv")))


def test_configs_of_before_load_and_bad_ones_are_refused():
    assert TighnariConfig(7).modalities == PAPER_MODALITIES
    state = json.loads(TighnariConfig(7).to_json())
    del state["scales_offset"]
    assert TighnariConfig.from_json(state) == TighnariConfig(7)
    with pytest.raises(TypeError, match="scales_offset"):
        TighnariConfig(7, scales_offset=1)
    with pytest.raises(ValueError, match="modalities lack gfv or scales;"):
        TighnariConfig(7, modalities=("image", "landsat", "table"))
    assert not Tighnari(small_config()).offset


# --- mixup ----------------------------------------------------------------------------------------


def test_mixup_of_two_by_hand():
    given = SurveyBatch(
        torch.tensor([3, 5]),
        scales=torch_csr(sparse.csr_matrix([[0.8, 0.0, 0.0], [0.4, 0.0, 0.2]])),
        scales_rest=torch.tensor([0.1, 0.5]),
    )
    mixed = mixup(given, 0.75, torch.tensor([1, 0]))
    assert mixed.scales.layout == torch.sparse_csr
    torch.testing.assert_close(
        mixed.scales.to_dense(), torch.tensor([[0.7, 0.0, 0.05], [0.5, 0.0, 0.15]])
    )
    torch.testing.assert_close(mixed.scales_rest, torch.tensor([0.2, 0.4]))


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_the_offset_of_a_pair_is_that_of_the_mixed_probabilities(lam):
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(B, SPECIES, generator=generator) * 0.9 + 0.05  # every species is among the best
    given = batch(modalities=("scales",)).replace(
        scales=p.to_sparse_csr(), scales_rest=torch.zeros(B)
    )
    order = torch.tensor([3, 0, 4, 2, 1])
    net = model_of(MODELS["alone"])
    logits = net(mixup(given, lam, order))
    torch.testing.assert_close(
        logits, (lam * p + (1 - lam) * p[order]).logit(), rtol=1e-4, atol=1e-5
    )


def test_mixup_keeps_the_expected_number_of_species():
    given = batch()
    mixed = mixup(given, 0.3, torch.tensor([3, 0, 4, 2, 1]))
    total = given.scales.to_dense().sum(1) + given.scales_rest
    expected = 0.3 * total + 0.7 * total[[3, 0, 4, 2, 1]]
    torch.testing.assert_close(mixed.scales.to_dense().sum(1) + mixed.scales_rest, expected)


# --- training, and what is saved ------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(real, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    result = fit(small_config(modalities=BOTH), real, folder, 6, 0, replace(QUIET, patience=None))
    result.model.multiscale = real.multiscale_model()
    result.model.save_pretrained(folder / "saved")
    return result.model, folder / "saved"


def test_training_goes_on_from_the_multi_scale_model(real, trained):
    model, _ = trained
    assert model.preprocessing.scales == TOP
    assert model.head.weight.any()
    split = real.split
    y = torch.from_numpy(real.surveys.labels[split.train].toarray())
    data = real.dataset(split.train, split.train)
    start = Tighnari(model.config)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    before, after = (bce(torch.from_numpy(predict(m, data)), y) for m in (start, model))
    assert after < before


def folder_of(path, table, test):
    """A data folder with nothing but metadata."""

    def rows(t):
        return pd.DataFrame({
            "surveyId": t.survey_id, "lat": t.lat, "lon": t.lon, "year": t.year, "region": t.region
        })  # fmt: skip

    row, column = table.labels.nonzero()
    long = rows(table).iloc[row].assign(speciesId=table.species_ids[column])
    long.to_csv(path / "GLC24_PA_metadata_train.csv", index=False)
    rows(test).to_csv(path / "GLC24_PA_metadata_test.csv", index=False)
    return path


def test_a_saved_model_sees_new_surveys_as_it_did(real, trained, tmp_path):
    model, saved = trained
    folder = folder_of(tmp_path, real.surveys, real.test)
    again = Tighnari.from_pretrained(saved)
    assert again.multiscale.species_ids.tolist() == model.species_ids.tolist()
    seen = new_surveys(again, folder, tmp_path / "prepared")
    expected = predict(model, real.test_dataset(model.preprocessing))
    np.testing.assert_allclose(predict(again, seen), expected, rtol=1e-4, atol=1e-4)
    again.multiscale = None
    with pytest.raises(SurveyDataError, match="saved without the model that makes them"):
        new_surveys(again, folder, tmp_path / "prepared")


def test_a_folder_offers_the_rows(real, tmp_path):
    folder = folder_of(tmp_path, real.surveys, real.test)
    read = SurveyDataModule.from_folder(folder, tmp_path / "prepared", BOTH)
    assert read.modalities == BOTH
    added = SurveyDataModule.from_folder(folder, tmp_path / "prepared", ("table",), multiscale=True)
    assert added.modalities == ("table", "scales")


def test_saving_over_leaves_no_other_multi_scale_model(trained, tmp_path):
    model, _ = trained
    model.save_pretrained(tmp_path)
    assert (tmp_path / "multiscale.safetensors").exists()
    Tighnari(small_config(modalities=("gfv",))).save_pretrained(tmp_path)
    assert not (tmp_path / "multiscale.safetensors").exists()
    assert Tighnari.from_pretrained(tmp_path).multiscale is None


def test_a_multi_scale_model_of_other_species_is_refused(trained, tmp_path):
    model, _ = trained
    other = Tighnari(small_config(modalities=("gfv",)))
    other.multiscale, other.species_ids = model.multiscale, model.species_ids + 1
    with pytest.raises(ValueError, match="the multi-scale model has 7 species, not the 7 of"):
        other.save_pretrained(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no tensors"])
def test_a_broken_multi_scale_file_is_named(trained, tmp_path, content):
    model, _ = trained
    model.save_pretrained(tmp_path)
    (tmp_path / "multiscale.safetensors").write_bytes(content)
    with pytest.raises(SurveyDataError, match=r"multiscale\.safetensors"):
        Tighnari.from_pretrained(tmp_path)


@pytest.mark.parametrize("workers", [2])
def test_workers_give_the_same_rows(real, workers):
    other = module(real.surveys, num_workers=workers).with_split(real.split.train, real.split.val)
    for a, b in zip(real.train_dataloader(), other.train_dataloader(), strict=True):
        assert torch.equal(a.scales.to_dense(), b.scales.to_dense())


def test_several_scale_models_do_not_share(fake):
    table = surveys(blocks=2)
    one, two = ScaleModels(table), ScaleModels(table)
    everyone = np.ones(len(table), dtype=bool)
    assert one.of(everyone) is one.of(everyone) is not two.of(everyone)


def test_rows_of_several_tables_are_stacked_and_chosen_with_their_richness():
    rng = np.random.default_rng(0)
    tables = [(rng.random((n, 6)), rng.uniform(1, 30, (n, 6))) for n in (3, 0, 2)]
    parts = [ScaleRows.best(p, richness, 4) for p, richness in tables]
    order = np.array([4, 0, 2])
    found = ScaleRows.stacked(parts, 6).at(order)
    p, richness = (np.concatenate(part)[order] for part in zip(*tables, strict=True))
    kept = p >= np.sort(p, axis=1)[:, [2]]
    np.testing.assert_allclose(found.probabilities.toarray(), p * kept)
    np.testing.assert_allclose(found.richness.toarray(), richness * kept)
    np.testing.assert_allclose(found.remainder, (p * ~kept).sum(axis=1))
    without = replace(parts[0], richness=None)
    assert ScaleRows.stacked([without, parts[2]], 6).richness is None
    assert ScaleRows.stacked([], 6).probabilities.shape == (0, 6)


def test_known_surveys_come_with_the_richness_of_their_own_model(real):
    visible = quarter(real.surveys)[0]
    model = real.scale_models.of(visible)
    found = ScaleFeatures.of_known(model, real.surveys, visible, ~visible)
    hidden = replace(real.surveys.subset(~visible), labels=None)
    expected = model.predict(hidden, TOP)
    assert (found.rows.richness != expected.richness).nnz == 0
    assert found.rows.richness.nnz == found.rows.probabilities.nnz > 0
