"""The whole model: config, every set of modalities, no mixing of surveys, saving and loading."""

import itertools
import json
from dataclasses import FrozenInstanceError, asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from tighnari_graph import SurveyDataError, SurveyTable
from tighnari_graph.gfv import GFVScaler
from tighnari_graph.sparse import torch_csr
from tighnari_models.config import TighnariConfig
from tighnari_models.data.batch import PAPER_MODALITIES, SurveyBatch
from tighnari_models.data.graph_rows import GraphRows
from tighnari_models.data.preprocessing import Preprocessing
from tighnari_models.encoders import pretrained
from tighnari_models.tighnari import Tighnari, keep_rows

B, S, F = 5, 13, 7
TINY = {
    "image_encoder": "test_vit.r160_in1k", "image_size": 32, "num_table_features": F,
    "temporal_embed_dim": 12, "temporal_depths": (2, 2), "temporal_heads": (3, 6),
    "table_dim": 11, "gfv_dim": 17, "gfv_tokens": 3, "fusion_dim": 10, "fusion_heads": 5,
}  # fmt: skip
CALM = {"drop_rate": 0.0, "drop_path_rate": 0.0}
SUBSETS = [c for n in range(1, 6) for c in itertools.combinations(PAPER_MODALITIES, n)]


def config(**changes):
    return TighnariConfig(**{"num_species": S, **TINY, **changes})


def model(seed=0, **changes):
    torch.manual_seed(seed)
    return Tighnari(config(**changes))


def batch(seed=0, b=B, size=37):
    generator = torch.Generator().manual_seed(seed)

    def values(*shape):
        return torch.randn(b, *shape, generator=generator)

    rows = sparse.random(b, S, 0.4, format="lil", random_state=seed)
    rows[b - 1] = 0  # an isolate
    return SurveyBatch(
        torch.arange(b), values(4, size, size + 4), values(6, 4, 20), values(4, 18, 12), values(F),
        torch_csr(rows),
    )  # fmt: skip


def rows_of(given, order):
    fields = {name: getattr(given, name)[order] for name in ("survey_id", *PAPER_MODALITIES)}
    return SurveyBatch(**fields)


# ------------------------------------------------------------------------------- config


def test_the_number_of_species_will_do():
    default = TighnariConfig(num_species=7)
    assert default.modalities == PAPER_MODALITIES
    assert default.image_encoder == "swin_tiny_patch4_window7_224"
    assert (default.temporal_encoder, default.fusion, default.tokens) == ("swin", "hcam", True)
    assert default.num_table_features is None
    assert not default.pretrained


def test_a_config_survives_json():
    for given in (
        TighnariConfig(num_species=7),
        config(modalities=("table", "gfv"), fusion="concat", gfv_drop=0.5),
        config(weights="weights.pth", tokens=False, temporal_pad_window=False),
    ):
        again = TighnariConfig.from_json(given.to_json())
        assert again == given
        assert hash(again) == hash(given)
        assert again.modalities == given.modalities
        assert isinstance(again.temporal_heads, tuple)
        assert TighnariConfig.from_json(json.loads(given.to_json())) == given


def test_a_config_is_frozen_and_hands_out_plain_numbers():
    given = config(num_species=np.int64(S).item(), gfv_drop=0)
    with pytest.raises(FrozenInstanceError):
        given.num_species = 3
    assert isinstance(given.gfv_drop, float)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_species": 0}, "num_species must be at least 1, got 0"),
        ({"num_table_features": 0}, "num_table_features must be at least 1"),
        ({"gfv_tokens": -2}, "gfv_tokens must be at least 1"),
        ({"in_chans": 3}, "in_chans must be 4 .*, got 3"),
        ({"modalities": ("image", "soil")}, "unknown: soil"),
        ({"modalities": ()}, "one or more"),
        ({"modalities": ("table", "table"), "fusion": "concat"}, "each once"),
        ({"fusion": "sum"}, "fusion must be one of hcam, concat, got 'sum'"),
        ({"modalities": ("table", "gfv")}, "modalities lack image, landsat or bioclim; fusion='concat'"),
        ({"modalities": ("image", "landsat", "bioclim", "gfv")}, "modalities lack table;"),
        ({"modalities": ("image", "landsat", "table")}, "modalities lack gfv or scales;"),
        ({"fusion_heads": 3}, "3 heads do not divide a width of 10"),
        ({"temporal_heads": (5, 6)}, "temporal_heads: 5 heads do not divide a width of 12"),
        ({"temporal_heads": (3, 7)}, "7 heads do not divide a width of 24"),
        ({"temporal_depths": (2, 6, 2)}, "temporal_depths must be two numbers"),
        ({"temporal_depths": (2, 0)}, "temporal_depths must be at least 1"),
        ({"drop_rate": 1.0}, "drop_rate must be at least 0 and less than 1"),
        ({"gfv_drop": -0.1}, "gfv_drop must be at least 0"),
        ({"gfv_drop": float("nan")}, "gfv_drop must be at least 0"),
        ({"modalities": ("table", "gfv"), "fusion": "concat", "pretrained": True}, "no image"),
    ],
)  # fmt: skip
def test_a_config_that_cannot_be_is_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        config(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_species": 2.5},
        {"num_species": True},
        {"tokens": 1},
        {"drop_rate": "0"},
        {"weights": ""},
    ],
)
def test_fields_of_another_type_are_refused(changes):
    with pytest.raises(TypeError):
        config(**changes)


def test_json_of_another_form_is_refused():
    state = json.loads(config().to_json())
    with pytest.raises(ValueError, match="unknown fields: num_layers"):
        TighnariConfig.from_json({**state, "num_layers": 3})
    with pytest.raises(ValueError, match="version 2; expected 1"):
        TighnariConfig.from_json({**state, "version": 2})
    with pytest.raises(ValueError, match="a JSON object, got list"):
        TighnariConfig.from_json("[]")
    with pytest.raises(ValueError, match="version None"):
        TighnariConfig.from_json(asdict(config()))


# -------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize("modalities", SUBSETS, ids="+".join)
def test_concat_takes_any_modalities(modalities):
    net = model(modalities=modalities, fusion="concat").eval()
    logits = net(batch())
    assert logits.shape == (B, S)
    others = {name: None for name in PAPER_MODALITIES if name not in modalities}
    assert torch.equal(net(batch().replace(**others)), logits)


@pytest.mark.parametrize("tokens", [True, False])
@pytest.mark.parametrize("cube", [("landsat",), ("bioclim",), ("landsat", "bioclim")])
def test_hcam_takes_one_cube_or_both(cube, tokens):
    net = model(modalities=("image", *cube, "table", "gfv"), tokens=tokens)
    assert net(batch()).shape == (B, S)
    assert net.forward_features(batch()).shape == (B, 30)


@pytest.mark.parametrize("temporal", ["vit", "test_resnet"])
@pytest.mark.parametrize("image", ["test_resnet.r160_in1k", "test_convnext.r160_in1k"])
def test_other_encoders_fit_in(image, temporal):
    net = model(
        image_encoder=image, image_size=64, temporal_encoder=temporal, temporal_heads=(3, 6)
    )
    assert net.eval()(batch()).shape == (B, S)


def test_a_modality_that_the_batch_lacks_is_named():
    net = model()
    with pytest.raises(ValueError, match="the batch lacks landsat, gfv; the model takes image"):
        net(batch().replace(landsat=None, gfv=None))
    with pytest.raises(ValueError, match="graph rows have 11 columns, expected 13"):
        net(batch().replace(gfv=torch.zeros(B, 11)))
    with pytest.raises(ValueError, match="table has 5 columns, expected 7"):
        net(batch().replace(table=torch.zeros(B, 5)))


def test_one_survey_and_patches_of_any_size():
    net = model().eval()
    assert net(batch(b=1, size=16)).shape == (1, S)
    assert net(batch(b=3, size=71)).shape == (3, S)


def test_the_default_model_is_the_papers():
    net = Tighnari(TighnariConfig(11_255, num_table_features=84))
    image, landsat, bioclim = (net.encoders[name] for name in ("image", "landsat", "bioclim"))
    assert (image.num_tokens, image.num_features) == (49, 768)
    assert landsat.grid_sizes == ((2, 4), (1, 2))
    assert bioclim.grid_sizes == ((6, 4), (3, 2))
    assert net.head.in_features == 768
    assert sum(p.numel() for p in net.parameters()) == 51_229_985


# ----------------------------------------------------------------- gradients and surveys


def test_every_parameter_gets_a_gradient():
    net = model(**CALM)
    y = (torch.rand(B, S) < 0.4).float()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(net(batch()), y)
    loss.backward()
    asked = {name: p for name, p in net.named_parameters() if p.requires_grad}
    assert len(asked) == len(list(net.parameters()))
    assert [name for name, p in asked.items() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("changes", [{}, {"tokens": False}, {"fusion": "concat"}], ids=str)
def test_other_surveys_of_a_batch_change_nothing(changes):
    net = model(**changes).eval()
    first, second = batch(0), batch(1)
    row = torch.tensor([2])
    for kept in (0, 2):
        mixed = {}
        for name in PAPER_MODALITIES:
            parts = getattr(second, name).clone()
            ours = getattr(first, name)
            if name == "gfv":
                parts, ours = parts.to_dense(), ours.to_dense()
            parts[kept] = ours[kept]
            mixed[name] = parts.to_sparse_csr() if name == "gfv" else parts
        logits = net(first)
        assert torch.equal(net(second.replace(**mixed))[kept], logits[kept])
        assert not torch.equal(net(second)[kept], logits[kept])
    torch.testing.assert_close(net(rows_of(first, row)), net(first)[row], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"tokens": False}, {"fusion": "concat"}], ids=str)
def test_permuted_surveys_have_permuted_logits(changes):
    net = model(**changes).eval()
    given, order = batch(), torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(net(rows_of(given, order)), net(given)[order], rtol=1e-5, atol=1e-6)


def test_neighbourhoods_aggregated_in_the_model_equal_finished_rows():
    generator = np.random.default_rng(0)
    y = torch_csr(sparse.random(23, S, 0.3, format="csr", random_state=0).sign())
    pairs = np.array(sorted({(t, s) for t, s in generator.integers(23, size=(90, 2)) if t != s}))
    edges = torch.from_numpy(pairs[:, ::-1].copy().T.astype(np.int64))
    weight = torch.from_numpy(generator.random(len(pairs)).astype(np.float32) * 10)
    near = {
        way: GraphRows(y, edges, weight, 23, np.arange(23) % 4 > 0, way)
        for way in ("sliced", "on_the_fly")
    }
    scaler = near["sliced"].fit_scaler(GFVScaler("max"), np.arange(23) % 4 > 0)
    at, net = np.array([4, 17, 3, 0, 22]), model().eval()
    rows = near["sliced"].batch(at, scaler)
    around = near["on_the_fly"].batch(at, scaler)
    logits = net(batch().replace(gfv=rows))
    fly = net(batch().replace(gfv=None, neighborhood=around))
    torch.testing.assert_close(fly, logits, rtol=1e-5, atol=1e-6)
    dense = net(batch().replace(gfv=rows.to_dense()))
    torch.testing.assert_close(dense, logits, rtol=1e-5, atol=1e-6)


def test_hidden_graph_rows_are_empty_others_as_they_were():
    rows = batch().gfv
    kept = torch.tensor([True, False, True, False, True])
    expected = rows.to_dense() * kept[:, None]
    assert torch.equal(keep_rows(rows, kept).to_dense(), expected)
    assert torch.equal(keep_rows(rows.to_dense(), kept), expected)


def test_graph_rows_are_hidden_in_training_only():
    net = model(gfv_drop=0.6, **CALM)
    seen = []
    net.encoders["gfv"].register_forward_pre_hook(lambda _, given: seen.append(given[0].to_dense()))
    given = rows_of(batch(), torch.arange(B).repeat(40))
    net.train()(given)
    net.eval()(given)
    trained, evaluated = seen
    full = given.gfv.to_dense()
    assert torch.equal(evaluated, full)
    some = full.any(1)
    hidden = ~trained.any(1) & some
    assert torch.equal(trained[~hidden], full[~hidden])  # whole rows, not scaled
    assert 0.5 < float(hidden.sum() / some.sum()) < 0.7


def test_half_precision_runs():
    net = model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = net(batch())
    assert logits.shape == (B, S)
    assert torch.isfinite(logits).all()
    logits.float().sum().backward()


def test_output_bias_starts_at_the_log_odds():
    net = model()
    share = np.linspace(0, 1, S)
    net.init_output_bias(share)
    bias = net.head.bias.detach().numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-bias[1:-1])), share[1:-1], rtol=1e-5)
    assert np.isfinite(bias).all()
    net.init_output_bias(torch.from_numpy(share))
    for wrong in (share[1:], share * 2, np.full(S, np.nan)):
        with pytest.raises(ValueError, match="frequency must be 13 numbers from 0 to 1"):
            net.init_output_bias(wrong)


# --------------------------------------------------------------------------------- saving


def labelled():
    rows = pd.DataFrame({
        "surveyId": [7, 3, 7, 9], "lat": [43.1, 44.0, 43.1, 45.0], "lon": 3.0, "year": 2020,
        "region": ["ALPINE", None, "ALPINE", "BOREAL"], "speciesId": [5, 9, 29, None],
        "areaInM2": [4.0, None, 4.0, 9.0], "country": ["FR", None, "FR", "FI"],
    })  # fmt: skip
    return SurveyTable.from_long(rows, species_ids=np.arange(S) * 2 + 5)


def test_a_saved_model_gives_the_same_bits(tmp_path):
    net = model().eval()
    scaler = GFVScaler("max")
    scaler.scale = 8.0
    net.preprocessing, net.surveys = Preprocessing(gfv=scaler), labelled()
    net.species_ids = net.surveys.species_ids
    net.save_pretrained(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json", "model.safetensors", "preprocessing.json", "species_ids.npy", "surveys.parquet",
    ]  # fmt: skip
    state = torch.get_rng_state()
    again = Tighnari.from_pretrained(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), state)
    assert not again.training
    assert torch.equal(again(batch()), net(batch()))
    assert again.config == net.config
    assert again.preprocessing.gfv.scale == 8.0
    assert np.array_equal(again.species_ids, net.species_ids)
    for name in ("survey_id", "lat", "lon", "year", "region", "species_ids"):
        np.testing.assert_array_equal(getattr(again.surveys, name), getattr(net.surveys, name))
    assert (again.surveys.labels != net.surveys.labels).nnz == 0
    assert again.surveys.labels.dtype == net.surveys.labels.dtype
    pd.testing.assert_frame_equal(again.surveys.meta, net.surveys.meta)


def test_names_and_absent_columns_of_surveys_come_back(tmp_path):
    rows = pd.DataFrame(
        {"surveyId": [7, 3], "lat": 43.1, "lon": 3.2, "year": 2020, "speciesId": ["Abies", "Zea"]}
    )
    net = Tighnari(config(num_species=2, modalities=("gfv",), fusion="concat"))
    net.surveys = SurveyTable.from_long(rows)
    net.save_pretrained(tmp_path)
    again = Tighnari.from_pretrained(tmp_path)
    assert again.surveys.species_names.tolist() == ["Abies", "Zea"]
    assert again.surveys.region is None
    assert again.species_ids.tolist() == [0, 1]
    assert len(again.surveys.meta) == 2


def test_a_column_of_several_kinds_cannot_be_saved(tmp_path):
    net = model(modalities=("gfv",), fusion="concat")
    table = labelled()
    net.surveys = replace(table, meta=table.meta.assign(odd=["a", 2, None]))
    with pytest.raises(SurveyDataError, match="surveys cannot be saved .*odd"):
        net.save_pretrained(tmp_path)
    with pytest.raises(SurveyDataError, match=r"lacks config\.json"):
        Tighnari.from_pretrained(tmp_path)


def test_saving_over_another_model_leaves_nothing_of_it(tmp_path):
    net = model(modalities=("gfv",), fusion="concat")
    net.surveys = labelled()
    net.save_pretrained(tmp_path)
    model(1, modalities=("gfv",), fusion="concat").save_pretrained(tmp_path)
    assert Tighnari.from_pretrained(tmp_path).surveys is None
    assert len(list(tmp_path.iterdir())) == 2


def test_the_width_of_the_table_comes_from_the_first_batch(tmp_path):
    net = model(num_table_features=None).eval()
    with pytest.raises(ValueError, match="width of the table is not known yet"):
        net.save_pretrained(tmp_path)
    logits = net(batch())
    net.save_pretrained(tmp_path)
    again = Tighnari.from_pretrained(tmp_path)
    assert again.config == replace(net.config, num_table_features=F)
    assert torch.equal(again(batch()), logits)


def test_loading_downloads_nothing(tmp_path, monkeypatch):
    net = model()
    net.config = replace(net.config, pretrained=True)
    net.save_pretrained(tmp_path)
    monkeypatch.setattr(pretrained, "_from_hub", None)
    monkeypatch.setattr(pretrained, "_require_hub", None)
    assert not Tighnari.from_pretrained(tmp_path).config.pretrained


def test_species_that_do_not_fit_are_refused(tmp_path):
    net = model()
    net.species_ids = np.arange(3)
    with pytest.raises(ValueError, match=r"int64 of shape \(3,\), not 13 whole numbers"):
        net.save_pretrained(tmp_path)
    net.species_ids, net.surveys = np.arange(S), labelled()
    with pytest.raises(
        ValueError, match="surveys have 13 species, not the 13 of species_ids in their order"
    ):
        net.save_pretrained(tmp_path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    net = model(modalities=("table", "gfv"), fusion="concat")
    net.preprocessing, net.surveys = Preprocessing(gfv=GFVScaler("max")), labelled()
    net.save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def changed(saved, folder, name, content):
    for key, value in saved.items():
        (folder / key).write_bytes(value)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "model.safetensors",
        "preprocessing.json",
        "species_ids.npy",
        "surveys.parquet",
    ],
)
@pytest.mark.parametrize("damage", ["truncated", "empty", "other"])
def test_a_broken_file_is_named(saved, tmp_path, name, damage):
    content = {"truncated": saved[name][: len(saved[name]) // 2], "empty": b"", "other": b'["a"]\n'}
    folder = changed(saved, tmp_path, name, content[damage])
    with pytest.raises(SurveyDataError, match=name.replace(".", r"\.")):
        Tighnari.from_pretrained(folder)


def test_a_config_of_another_version_is_named(saved, tmp_path):
    state = json.loads(saved["config.json"]) | {"version": 99}
    folder = changed(saved, tmp_path, "config.json", json.dumps(state).encode())
    with pytest.raises(SurveyDataError, match=r"config\.json: .*version 99; expected 1"):
        Tighnari.from_pretrained(folder)


def test_weights_of_another_model_are_named(saved, tmp_path):
    state = json.loads(saved["config.json"]) | {"gfv_dim": 19}
    folder = changed(saved, tmp_path, "config.json", json.dumps(state).encode())
    with pytest.raises(SurveyDataError, match=r"model\.safetensors: not the weights of the model"):
        Tighnari.from_pretrained(folder)


def test_a_pickle_is_not_read(saved, tmp_path):
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    content = (tmp_path / "evil.npy").read_bytes()
    folder = changed(saved, tmp_path, "species_ids.npy", content)
    with pytest.raises(SurveyDataError, match=r"species_ids\.npy: .*allow_pickle=False"):
        Tighnari.from_pretrained(folder)


def test_a_folder_without_a_model_says_what_it_lacks(saved, tmp_path):
    with pytest.raises(SurveyDataError, match="no such folder"):
        Tighnari.from_pretrained(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SurveyDataError, match=r"lacks config\.json and model\.safetensors"):
        Tighnari.from_pretrained(tmp_path / "empty")
    folder = changed(saved, tmp_path, "model.safetensors", None)
    with pytest.raises(SurveyDataError, match=r"lacks model\.safetensors"):
        Tighnari.from_pretrained(str(folder))
    with pytest.raises(SurveyDataError, match="a file, not a folder"):
        Tighnari.from_pretrained(folder / "config.json")
    with pytest.raises(SurveyDataError, match="a file; a model is saved as a folder"):
        model().save_pretrained(folder / "config.json")
