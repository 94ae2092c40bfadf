"""Batches, data sets and the data module: shapes, scales, and nobody's labels where they must not be."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from tests.real_data import GLC24, needs_glc24
from tighnari_graph import SurveyDataError, SurveyTable, graph_feature_vectors
from tighnari_graph.sparse import scipy_csr, torch_csr
from tighnari_graph.splits import block_folds
from tighnari_graph.virtual import virtual_europe
from tighnari_models.data.batch import Neighborhood, SurveyBatch
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.data.dataset import SurveyDataset, collate


@pytest.fixture(scope="module")
def world():
    return virtual_europe(120, 30, 40, num_species=60, seed=3)


@pytest.fixture(scope="module")
def surveys(world):
    return SurveyTable.from_long(world.pa_train)


@pytest.fixture(scope="module")
def test_table(world):
    return SurveyTable.from_long(world.pa_test)


def halves(table, seed=0):
    folds = block_folds(table, 2, seed=seed)
    return folds == 0, folds == 1


def dense(batch):
    return batch.graph_rows().to_dense()


def all_batches(loader):
    return list(loader)


# ---------------------------------------------------------------- SurveyBatch


def full_batch(b=5, s=13, f=7):
    rows = torch_csr(sparse.random(b, s, 0.3, format="csr", random_state=0))
    return SurveyBatch(
        survey_id=torch.arange(b),
        image=torch.randn(b, 4, 11, 17),
        landsat=torch.randn(b, 6, 4, 20),
        bioclim=torch.randn(b, 4, 18, 12),
        table=torch.randn(b, f),
        gfv=rows,
        y=torch.zeros(b, s),
        found=torch.ones(b, 3, dtype=torch.bool),
    )


def test_a_batch_knows_what_it_holds():
    batch = full_batch()
    assert batch.modalities == ("image", "landsat", "bioclim", "table", "gfv")
    assert len(batch) == 5
    assert batch.num_species == 13
    moved = batch.to("cpu")
    assert torch.equal(moved.image, batch.image)
    assert moved.gfv.layout == torch.sparse_csr


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("image", torch.zeros(5, 3, 8, 8), r"image must be \[B, 4, ·, ·\], got \(5, 3, 8, 8\)"),
        ("landsat", torch.zeros(5, 6, 4, 21), "landsat must be"),
        ("bioclim", torch.zeros(5, 4, 12, 18), "bioclim must be"),
        ("table", torch.zeros(4, 7), "table has 4 rows for 5 surveys"),
        ("y", torch.zeros(5, 11), "gfv has 13 species, y has 11"),
        ("survey_id", torch.zeros(5, 1), "survey_id must be"),
    ],
)
def test_a_batch_refuses_wrong_shapes(field, value, says):
    with pytest.raises(ValueError, match=says):
        full_batch().replace(**{field: value})


@pytest.mark.parametrize("field", ["image", "table", "y"])
def test_a_batch_refuses_whole_numbers(field):
    batch = full_batch()
    with pytest.raises(TypeError, match=f"{field} must be of floating point"):
        batch.replace(**{field: getattr(batch, field).long()})


def test_a_batch_takes_rows_or_neighbourhood_not_both():
    near = Neighborhood(
        torch_csr(sparse.eye(3, 13, format="csr")),
        torch.zeros(2, 0, dtype=torch.long),
        torch.zeros(0),
        5,
    )
    with pytest.raises(ValueError, match="not both"):
        full_batch().replace(neighborhood=near)
    batch = full_batch().replace(gfv=None, neighborhood=near)
    assert "gfv" in batch.modalities
    assert dense(batch).abs().sum() == 0
    with pytest.raises(ValueError, match="of 5 surveys, the batch has 4"):
        SurveyBatch(torch.arange(4), neighborhood=near)


def test_a_batch_without_graph_features_says_so():
    with pytest.raises(ValueError, match="no graph features"):
        SurveyBatch(torch.arange(2)).graph_rows()


def test_collate_takes_batches_only():
    with pytest.raises(TypeError, match="SurveyBatch"):
        collate([1, 2])


# ---------------------------------------------------------------- graph features per minibatch


def test_rows_are_those_of_the_whole_matrix(surveys):
    train, val = halves(surveys)
    data = SurveyDataModule(surveys, batch_size=7).with_split(train, val)
    whole = graph_feature_vectors(data.graph, visible=train).to_dense()
    row = {int(i): n for n, i in enumerate(surveys.survey_id)}
    for loader in (data.train_dataloader(), data.val_dataloader()):
        for batch in loader:
            at = [row[int(i)] for i in batch.survey_id]
            torch.testing.assert_close(dense(batch), whole[at], rtol=1e-6, atol=0)
            assert np.array_equal(batch.y.numpy(), surveys.labels[at].toarray())


@pytest.mark.parametrize("normalize", ["max", "l2", None])
@pytest.mark.parametrize("degree", ["count", "weight"])
def test_on_the_fly_equals_sliced(surveys, test_table, normalize, degree):
    train, val = halves(surveys)
    made = {
        way: SurveyDataModule(
            surveys, test_table, batch_size=11, gfv=way, normalize=normalize, degree=degree
        ).with_split(train, val)
        for way in ("sliced", "on_the_fly")
    }
    for pick in ("train_dataloader", "val_dataloader"):
        pairs = zip(
            getattr(made["sliced"], pick)(), getattr(made["on_the_fly"], pick)(), strict=True
        )
        for sliced, fly in pairs:
            assert fly.gfv is None
            assert torch.equal(sliced.survey_id, fly.survey_id)
            torch.testing.assert_close(dense(fly), dense(sliced), rtol=1e-5, atol=1e-7)
    ours = made["on_the_fly"].test_dataset().__getitems__(list(range(len(test_table))))
    other = made["sliced"].test_dataset().__getitems__(list(range(len(test_table))))
    torch.testing.assert_close(dense(ours), dense(other), rtol=1e-5, atol=1e-7)


def test_a_neighbourhood_holds_only_neighbours(surveys):
    train, val = halves(surveys)
    data = SurveyDataModule(surveys, batch_size=4, gfv="on_the_fly").with_split(train, val)
    for batch in data.train_dataloader():
        near = batch.neighborhood
        assert near.y.size(0) == near.edge_index[0].unique().numel() < len(surveys)


# ---------------------------------------------------------------- leakage


def relabelled(table, rows, seed=0):
    """The same table with other labels for the surveys in ``rows``."""
    labels = table.labels.toarray()
    labels[rows] = np.random.default_rng(seed).permuted(labels[rows], axis=1)
    return replace(table, labels=sparse.csr_matrix(labels))


def same_inputs(a, b):
    assert torch.equal(a.survey_id, b.survey_id)
    assert torch.equal(a.table, b.table)
    assert torch.equal(dense(a), dense(b))


def test_validation_labels_reach_no_feature(surveys):
    train, val = halves(surveys)
    for way in ("sliced", "on_the_fly"):
        one, two = (
            SurveyDataModule(t, batch_size=16, gfv=way).with_split(train, val)
            for t in (surveys, relabelled(surveys, val))
        )
        for a, b in zip(one.train_dataloader(), two.train_dataloader(), strict=True):
            same_inputs(a, b)
            assert torch.equal(a.y, b.y)
        for a, b in zip(one.val_dataloader(), two.val_dataloader(), strict=True):
            same_inputs(a, b)
            assert not torch.equal(a.y, b.y)


def test_own_labels_reach_no_feature(surveys):
    everyone = np.ones(len(surveys), dtype=bool)
    degree = np.bincount(SurveyDataModule(surveys).graph.edge_index[1], minlength=len(surveys))
    chosen = int(degree.argmax())
    only = np.arange(len(surveys)) == chosen
    features = []
    for table in (surveys, relabelled(surveys, only)):
        data = SurveyDataModule(table, normalize=None)
        features.append(dense(data.dataset(only, everyone, data.fit_preprocessing(everyone))[0]))
    assert torch.equal(*features)
    assert features[0].abs().sum() > 0


def test_preprocessing_is_fitted_on_training_surveys_only(surveys):
    train, val = halves(surveys)
    meta = surveys.meta.copy()
    meta.loc[val, "areaInM2"] = 12345.0
    one = SurveyDataModule(surveys).with_split(train, val)
    two = SurveyDataModule(
        replace(surveys, meta=meta, lat=np.where(val, 1.5, surveys.lat))
    ).with_split(train, val)
    assert one.preprocessing.table.to_json() == two.preprocessing.table.to_json()
    assert one.preprocessing.gfv.scale == two.preprocessing.gfv.scale


def test_test_features_see_every_label_and_the_fitted_scale(surveys, test_table):
    train, val = halves(surveys)
    data = SurveyDataModule(surveys, test_table, normalize="max").with_split(train, val)
    raw = graph_feature_vectors(data.graph.attach(test=test_table), target="test", normalize=None)
    batch = data.test_dataset().__getitems__(list(range(len(test_table))))
    assert batch.y is None
    expected = scipy_csr(raw).toarray() / data.preprocessing.gfv.scale
    np.testing.assert_allclose(dense(batch).numpy(), expected, rtol=1e-6)


# ---------------------------------------------------------------- loaders and data sets


def test_order_depends_on_seed_and_epoch_alone(surveys):
    train, val = halves(surveys)
    data = SurveyDataModule(surveys, batch_size=16, seed=5).with_split(train, val)

    def order(epoch):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        return torch.cat([batch.survey_id for batch in loader]).tolist()

    assert order(2) == order(2)
    assert order(2) != order(3)
    val_order = torch.cat([batch.survey_id for batch in data.val_dataloader()]).tolist()
    assert val_order == surveys.survey_id[val].tolist()


def test_workers_give_the_same_batches(surveys):
    train, val = halves(surveys)
    for way in ("sliced", "on_the_fly"):
        alone = SurveyDataModule(surveys, batch_size=16, gfv=way).with_split(train, val)
        helped = SurveyDataModule(surveys, batch_size=16, gfv=way, num_workers=2).with_split(
            train, val
        )
        pairs = zip(
            all_batches(alone.train_dataloader()),
            all_batches(helped.train_dataloader()),
            strict=True,
        )
        for a, b in pairs:
            same_inputs(a, b)


def test_a_subset_keeps_order_and_other_preprocessing_applies(surveys):
    train, val = halves(surveys)
    data = SurveyDataModule(surveys).with_split(train, val)
    whole = data.dataset(train, train)
    some = whole.subset(np.array([4, 1]))
    assert some.survey_id.tolist() == whole.survey_id[[4, 1]].tolist()
    everyone = np.ones(len(surveys), dtype=bool)
    other = some.with_preprocessing(data.fit_preprocessing(everyone))
    assert not torch.equal(other[0].table, some[0].table)
    assert len(other) == 2
    with pytest.raises(IndexError):
        some[2]


def test_a_data_set_refuses_a_modality_that_it_lacks(surveys):
    train, val = halves(surveys)
    full = SurveyDataModule(surveys).with_split(train, val)
    table_only = SurveyDataModule(surveys, modalities=("table",)).with_split(train, val)
    inputs = table_only.dataset(train, train).inputs
    with pytest.raises(
        ValueError, match="trained with gfv, which these surveys lack; they have table"
    ):
        SurveyDataset(inputs, full.preprocessing)


def test_frequency_counts_the_rows_asked_for(surveys):
    train, _ = halves(surveys)
    data = SurveyDataModule(surveys)
    np.testing.assert_allclose(data.frequency(train), surveys.labels.toarray()[train].mean(axis=0))


@pytest.mark.parametrize(
    ("train", "val", "says"),
    [
        (slice(0, 3), slice(0, 0), None),
        (slice(0, 3), slice(2, 4), "1 surveys both train and validate"),
        (slice(0, 0), slice(2, 4), "nobody trains"),
    ],
)
def test_splits_are_checked(surveys, train, val, says):
    masks = []
    for part in (train, val):
        mask = np.zeros(len(surveys), dtype=bool)
        mask[part] = True
        masks.append(mask)
    data = SurveyDataModule(surveys)
    if says is None:
        assert data.with_split(*masks).split is not None
        assert data.split is None
        return
    with pytest.raises(ValueError, match=says):
        data.with_split(*masks)


def test_what_a_data_module_refuses(surveys):
    with pytest.raises(ValueError, match="the data lack image"):
        SurveyDataModule(surveys, modalities=("image", "table"))
    with pytest.raises(ValueError, match="unknown modalities"):
        SurveyDataModule(surveys, modalities=("sound",))
    with pytest.raises(ValueError, match="batch_size"):
        SurveyDataModule(surveys, batch_size=0)
    with pytest.raises(ValueError, match="no split yet"):
        SurveyDataModule(surveys).train_dataloader()
    with pytest.raises(ValueError, match="bool mask"):
        SurveyDataModule(surveys).with_split(np.arange(3), np.arange(3))
    with pytest.raises(SurveyDataError, match="no labels"):
        SurveyDataModule(replace(surveys, labels=None))
    train, val = halves(surveys)
    with pytest.raises(ValueError, match="gfv must be one of"):
        SurveyDataModule(surveys, gfv="later").with_split(train, val)


# ---------------------------------------------------------------- folders


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory):
    path = tmp_path_factory.mktemp("europe")
    return world.write(path, cubes=True, patches=True)


def test_a_folder_gives_every_modality(folder, tmp_path):
    data = SurveyDataModule.from_folder(folder, tmp_path / "prepared", batch_size=8)
    assert data.modalities == ("image", "landsat", "bioclim", "table", "gfv")
    train, val = halves(data.surveys)
    data = data.with_split(train, val)
    batch = next(iter(data.train_dataloader()))
    assert batch.image.shape == (8, 4, 128, 128)
    assert batch.table.size(1) == data.num_table_features
    for name in ("image", "landsat", "bioclim", "table"):
        assert torch.isfinite(getattr(batch, name)).all(), name
    everything = data.dataset(train, train)
    whole = everything.__getitems__(list(range(len(everything))))
    for name in ("image", "landsat", "bioclim"):
        channels = getattr(whole, name).transpose(0, 1).flatten(1)
        torch.testing.assert_close(channels.mean(1), torch.zeros(len(channels)), atol=0.05, rtol=0)
        torch.testing.assert_close(channels.std(1), torch.ones(len(channels)), atol=0.1, rtol=0)
    again = SurveyDataModule.from_folder(
        folder, tmp_path / "prepared", modalities=("table", "landsat")
    )
    assert again.modalities == ("landsat", "table")
    test = data.test_dataset()
    assert test.survey_id.tolist() == data.test.survey_id.tolist()
    assert test[0].modalities == data.modalities


def test_limit_takes_whole_blocks(folder, tmp_path):
    data = SurveyDataModule.from_folder(
        folder, tmp_path / "prepared", modalities=("table", "gfv"), limit=50
    )
    assert len(data.surveys) == 50


@needs_glc24
def test_the_real_tables_give_table_and_graph(tmp_path):
    data = SurveyDataModule.from_folder(GLC24, tmp_path / "prepared")
    assert data.modalities == ("table", "gfv")
    folds = block_folds(data.surveys, 5)
    data = data.with_split(folds > 0, folds == 0)
    assert sum(len(batch) for batch in data.val_dataloader()) == (folds == 0).sum()
    batch = next(iter(data.train_dataloader()))
    assert torch.isfinite(batch.table).all()
    assert batch.num_species == len(pd.unique(data.species_ids))
