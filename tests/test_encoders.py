"""Image, table and graph encoders: shapes, local weights, the hub, and the sparse first layer."""

import contextlib
import logging
import urllib.error

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from tighnari_models.encoders import (
    GraphEncoder,
    ImageEncoder,
    SparseLinear,
    TabularEncoder,
    pretrained,
)
from tighnari_models.encoders.pretrained import load_weights
from tighnari_models.encoders.temporal import TimmTemporal
from tighnari_models.encoders.timm_tokens import create_backbone

SMALL = {  # timm's test models: tokens and width at 64 pixels
    "test_vit": (16, 64),
    "test_vit2": (16, 64),  # its norm sits behind the pooling
    "test_resnet": (4, 96),
    "test_efficientnet": (4, 256),
    "test_convnext": (4, 64),  # a norm in the head
    "test_mambaout": (4, 64),  # channels last, more in the head
    "test_byobnet": (4, 256),
}


def sparse_rows(rows: list[list[float]] | torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(rows, dtype=torch.float32).to_sparse_csr()


def some_rows(batch: int = 5, columns: int = 13, seed: int = 0) -> torch.Tensor:
    """Dense rows, two in three entries zero, row 2 empty."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.rand(batch, columns, generator=generator)
    rows[torch.rand(batch, columns, generator=generator) < 0.66] = 0
    rows[2] = 0
    return rows


def pair(columns: int = 13, out: int = 7) -> tuple[SparseLinear, nn.Linear]:
    dense = nn.Linear(columns, out)
    return SparseLinear(columns, out).load_linear(dense), dense


# --- the sparse first layer -----------------------------------------------------------------------


def test_sparse_rows_equal_the_dense_linear_in_values_and_gradients():
    layer, dense = pair()
    rows = some_rows()
    weight = torch.randn(5, 7)
    expected = dense(rows)
    (expected * weight).sum().backward()
    for given in (sparse_rows(rows), rows):
        layer.zero_grad()
        out = layer(given)
        torch.testing.assert_close(out, expected)
        (out * weight).sum().backward()
        torch.testing.assert_close(layer.weight.grad, dense.weight.grad.T)
        torch.testing.assert_close(layer.bias.grad, dense.bias.grad)


def test_an_empty_row_gives_the_bias_and_an_empty_batch_nothing():
    layer, _ = pair()
    out = layer(sparse_rows(torch.zeros(3, 13)))
    assert torch.equal(out, layer.bias.expand(3, 7))
    out.sum().backward()
    assert torch.equal(layer.weight.grad, torch.zeros(13, 7))
    empty = layer(torch.zeros(0, 13).to_sparse_csr())
    assert empty.shape == (0, 7)
    empty.sum().backward()


@pytest.mark.parametrize("index_type", [torch.int32, torch.int64])
def test_an_entry_stored_twice_counts_twice_in_any_order(index_type):
    layer, dense = pair(3, 2)
    crow = torch.tensor([0, 3, 3, 4], dtype=index_type)
    column = torch.tensor([2, 0, 2, 1], dtype=index_type)
    x = torch.sparse_csr_tensor(crow, column, torch.tensor([0.25, 1.0, 0.5, 2.0]), size=(3, 3))
    rows = torch.tensor([[1.0, 0.0, 0.75], [0.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    torch.testing.assert_close(layer(x), dense(rows))


def test_under_autocast_and_in_other_precisions():
    layer, dense = pair()
    rows = some_rows()
    with torch.autocast("cpu", torch.bfloat16):
        expected = dense(rows)
        assert expected.dtype == torch.bfloat16
        torch.testing.assert_close(layer(sparse_rows(rows)), expected.float(), rtol=2e-2, atol=2e-2)
        torch.testing.assert_close(layer(rows), expected, rtol=2e-2, atol=2e-2)
        encoder = GraphEncoder(13, hidden=11, out=5)
        encoder(sparse_rows(rows)).float().sum().backward()
    assert encoder.linear.weight.grad.dtype == torch.float32
    torch.testing.assert_close(layer(sparse_rows(rows).double()), dense(rows))
    torch.testing.assert_close(layer.double()(sparse_rows(rows)), dense.double()(rows.double()))


def test_rows_that_do_not_fit_are_refused():
    layer, _ = pair()
    with pytest.raises(ValueError, match="graph rows have 12 columns, expected 13"):
        layer(torch.zeros(2, 12).to_sparse_csr())
    with pytest.raises(ValueError, match=r"sparse CSR or dense, got torch\.sparse_coo"):
        layer(torch.zeros(2, 13).to_sparse_coo())
    with pytest.raises(ValueError, match="at least one column"):
        SparseLinear(0, 3)
    with pytest.raises(ValueError, match="cannot take over"):
        layer.load_linear(nn.Linear(7, 13))


def test_the_first_weights_are_spread_as_in_a_dense_linear():
    torch.manual_seed(0)
    layer = SparseLinear(11255, 64)
    bound = 11255**-0.5
    assert layer.weight.abs().max() <= bound
    assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("autocast", [False, True])
def test_sparse_rows_on_a_gpu(autocast):
    layer, dense = pair()
    rows = some_rows()
    dense(rows).square().sum().backward()
    layer.cuda()
    with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
        out = layer(sparse_rows(rows).cuda())
    out.square().sum().backward()
    torch.testing.assert_close(out.float().cpu(), dense(rows))
    torch.testing.assert_close(layer.weight.grad.cpu(), dense.weight.grad.T)
    assert layer(torch.zeros(0, 13).to_sparse_csr().cuda()).shape == (0, 7)
    assert torch.equal(layer(torch.zeros(2, 13).to_sparse_csr().cuda())[1], layer.bias)


# --- table and graph ------------------------------------------------------------------------------


def test_table_encoder_takes_its_width_from_the_first_batch():
    encoder = TabularEncoder(None, hidden=11, out=5)
    assert encoder.num_features_in is None
    assert encoder(torch.randn(3, 17)).shape == (3, 5)
    assert encoder.num_features_in == 17
    assert encoder.forward_features(torch.randn(3, 17)).shape == (3, 1, 5)
    with pytest.raises(ValueError, match="table has 13 columns, expected 17"):
        encoder(torch.randn(3, 13))
    with pytest.raises(ValueError, match="table has 13 columns, expected 17"):
        TabularEncoder(17)(torch.randn(3, 13))


def test_table_encoder_restores_from_saved_weights_before_any_batch():
    saved = TabularEncoder(17, hidden=11, out=5)
    fresh = TabularEncoder(None, hidden=11, out=5)
    fresh.load_state_dict(saved.state_dict())
    x = torch.randn(3, 17)
    assert torch.equal(fresh(x), saved(x))


@pytest.mark.parametrize("modality", ["table", "gfv", "gfv dense"])
def test_vectors_gradients_and_rows(modality):
    torch.manual_seed(0)
    if modality == "table":
        encoder = TabularEncoder(13, hidden=11, out=5)
        rows = torch.randn(5, 13)
    else:
        encoder = GraphEncoder(13, hidden=11, out=5)
        rows = some_rows()
    put = sparse_rows if modality == "gfv" else (lambda x: x)
    assert encoder.num_features == 5
    out = encoder(put(rows))
    assert out.shape == (5, 5)
    assert torch.equal(encoder.forward_features(put(rows)), out[:, None])
    (out * torch.randn(5, 5)).sum().backward()
    assert [key for key, p in encoder.named_parameters() if not p.grad.any()] == []
    changed = some_rows(seed=1) * 50
    changed[1] = rows[1]
    encoder.eval()
    assert torch.equal(encoder(put(changed))[1], encoder(put(rows))[1])


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(SMALL))
def test_small_backbones_give_tokens_and_every_parameter_a_gradient(name):
    torch.manual_seed(0)
    encoder = ImageEncoder(name, image_size=64)
    n, width = SMALL[name]
    assert (encoder.num_tokens, encoder.num_features) == (n, width)
    x = torch.randn(3, 4, 64, 64)
    tokens = encoder.forward_features(x)
    assert tokens.shape == (3, n, width)
    (tokens * torch.randn(tokens.shape)).sum().backward()
    assert [k for k, p in encoder.named_parameters() if p.grad is None] == []
    encoder.eval()
    torch.testing.assert_close(encoder(x), encoder.forward_features(x).mean(1))


@pytest.mark.parametrize("name", list(SMALL))
def test_other_surveys_of_a_batch_change_no_token(name):
    torch.manual_seed(0)
    encoder = ImageEncoder(name, image_size=64).eval()
    x = torch.randn(4, 4, 64, 64)
    changed = torch.randn(4, 4, 64, 64) * 9
    changed[2] = x[2]
    with torch.no_grad():
        assert torch.equal(encoder.forward_features(x)[2], encoder.forward_features(changed)[2])


def test_tokens_are_the_map_of_timm_row_by_row_and_its_own_pooled_features():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 64, 96)
    for name in ("test_resnet", "test_convnext", "test_mambaout"):
        encoder = ImageEncoder(name, image_size=64).eval()
        feature_map = encoder.tokens.norm(encoder.tokens.model.forward_features(x[..., :64]))
        if name == "test_mambaout":
            feature_map = feature_map.permute(0, 3, 1, 2)
        tokens = encoder.forward_features(x[..., :64])
        assert torch.equal(tokens[:, 3], feature_map[:, :, 1, 1])
        assert torch.equal(tokens[:, 1], feature_map[:, :, 0, 1])
    encoder = ImageEncoder("test_resnet", image_size=64).eval()
    plain = timm.create_model("test_resnet", in_chans=4, num_classes=0).eval()
    plain.load_state_dict(encoder.tokens.model.state_dict())
    torch.testing.assert_close(encoder(x[..., :64]), plain(x[..., :64]))


def test_class_tokens_are_left_out():
    encoder = ImageEncoder("test_vit", image_size=64).eval()
    x = torch.randn(2, 4, 64, 64)
    assert torch.equal(encoder.forward_features(x), encoder.tokens.model.forward_features(x)[:, 1:])


@pytest.mark.parametrize("size", [(32, 32), (128, 128), (37, 61)])
def test_patches_of_any_size_are_resized(size):
    encoder = ImageEncoder("test_vit", image_size=64).eval()
    x = torch.randn(2, 4, *size)
    tokens = encoder.forward_features(x)
    assert tokens.shape == (2, 16, 64)
    resized = nn.functional.interpolate(
        x, (64, 64), mode="bilinear", align_corners=False, antialias=size[0] > 64
    )
    assert torch.equal(tokens, encoder.forward_features(resized))


def test_wrong_images_and_names_are_refused():
    encoder = ImageEncoder("test_resnet", image_size=64)
    with pytest.raises(ValueError, match="patches have 3 channels, expected 4"):
        encoder(torch.zeros(2, 3, 64, 64))
    with pytest.raises(ValueError, match="timm has no model 'swin_tinny'; did you mean"):
        ImageEncoder("swin_tinny")
    with pytest.raises(ValueError, match=r"cannot take an input of shape \(4, 50, 50\)"):
        ImageEncoder("test_vit", image_size=50)
    with pytest.raises(ValueError, match=r"cannot take an input of shape \(4, 8, 8\)"):
        ImageEncoder("test_convnext", image_size=8)
    with pytest.raises(ValueError, match="it needs drop_path_rate=0"):
        ImageEncoder("densenet121", drop_path_rate=0.1)


def test_drop_path_rate_reaches_the_backbone():
    encoder = ImageEncoder("test_vit", image_size=64, drop_path_rate=0.3)
    rates = [m.drop_prob for m in encoder.modules() if type(m).__name__ == "DropPath"]
    assert max(rates) == pytest.approx(0.3)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "test_vit", "densenet121"])
def test_no_stochastic_depth_is_none_whatever_the_models_own_default(name):
    """Swin's is 0.1; DenseNet has none at all, in images and cubes alike."""
    with torch.device("meta"):
        by_default = create_backbone(name)
    assert any(drop_paths(by_default)) == name.startswith("swin")
    for encoder in (
        ImageEncoder(name, image_size=224, drop_path_rate=0.0),
        TimmTemporal(name, (6, 4, 20), drop_path_rate=0.0),
    ):
        assert not any(drop_paths(encoder))


def drop_paths(model: nn.Module) -> list[float]:
    return [m.drop_prob for m in model.modules() if type(m).__name__ == "DropPath"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "num_tokens", "num_features", "size"),
    [
        ("swin_tiny_patch4_window7_224", 49, 768, 128),
        ("vit_base_patch16_224", 196, 768, 128),
        ("convnext_base", 49, 1024, 128),
        ("efficientnet_b0", 49, 1280, 224),
    ],
)
def test_the_papers_backbones(name, num_tokens, num_features, size):
    encoder = ImageEncoder(name).eval()
    with torch.no_grad():
        tokens = encoder.forward_features(torch.randn(2, 4, size, size))
    assert tokens.shape == (2, num_tokens, num_features)
    assert (encoder.num_tokens, encoder.num_features) == (num_tokens, num_features)


@pytest.mark.slow
def test_the_papers_swin_at_another_size_trains_whole():
    encoder = ImageEncoder("swin_tiny_patch4_window7_224", image_size=64)
    tokens = encoder.forward_features(torch.randn(2, 4, 64, 64))
    assert tokens.shape == (2, 4, 768)
    (tokens * torch.randn(tokens.shape)).sum().backward()
    assert [k for k, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


# --- local weights (decision 0015) ----------------------------------------------------------------


def write_weights(
    path, name: str = "test_vit", in_chans: int = 3, seed: int = 5, **options
) -> dict:
    torch.manual_seed(seed)
    state = timm.create_model(name, in_chans=in_chans, **options).state_dict()
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    else:
        torch.save(state, path)
    return state


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "test_efficientnet"])
def test_three_channel_weights_are_adapted_as_timm_does(tmp_path, name, suffix):
    path = tmp_path / f"weights{suffix}"
    state = write_weights(path, name)
    config = timm.get_pretrained_cfg(name)
    theirs = timm.create_model(
        name, pretrained=True, in_chans=4, num_classes=0, pretrained_cfg_overlay={"file": str(path)}
    ).state_dict()
    ours = load_weights(create_backbone(name, in_chans=4), path).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    stem, given = ours[f"{config.first_conv}.weight"], state[f"{config.first_conv}.weight"]
    torch.testing.assert_close(stem[:, :3], given * 0.75)
    torch.testing.assert_close(stem[:, 3], given[:, 0] * 0.75)  # near-infrared from red


def test_the_encoder_loads_them_and_resizes_positions(tmp_path):
    path = tmp_path / "weights.safetensors"
    state = write_weights(path)
    encoder = ImageEncoder("test_vit", image_size=64, weights=path)
    loaded = encoder.tokens.model.state_dict()
    assert loaded["pos_embed"].shape == (1, 17, 64)  # of 101
    assert torch.equal(loaded["blocks.1.attn.qkv.weight"], state["blocks.1.attn.qkv.weight"])
    assert torch.equal(encoder.tokens.model.norm.weight, state["norm.weight"])


def test_four_channel_weights_are_taken_as_they_are(tmp_path):
    path = tmp_path / "weights.pth"
    state = write_weights(path, "test_resnet", in_chans=4, num_classes=0)
    model = load_weights(create_backbone("test_resnet", in_chans=4), path)
    assert torch.equal(model.conv1[0].weight, state["conv1.0.weight"])


def test_the_head_norm_of_a_file_reaches_the_tokens(tmp_path):
    path = tmp_path / "weights.safetensors"
    state = timm.create_model("test_convnext").state_dict()
    state["head.norm.weight"] = torch.randn(64)
    save_file(state, path)
    encoder = ImageEncoder("test_convnext", image_size=64, weights=str(path))
    assert torch.equal(encoder.tokens.norm.weight, state["head.norm.weight"])


def test_files_that_do_not_fit_are_refused(tmp_path):
    model = create_backbone("test_resnet", in_chans=4)
    with pytest.raises(ValueError, match=r"there is no weights file .*none\.pth"):
        load_weights(model, tmp_path / "none.pth")
    text = tmp_path / "weights.txt"
    text.write_text("no weights")
    with pytest.raises(ValueError, match=r"must end in one of \.safetensors"):
        load_weights(model, text)
    for suffix in (".safetensors", ".pth"):
        broken = tmp_path / f"broken{suffix}"
        broken.write_bytes(b"no weights at all")
        with pytest.raises(ValueError, match=rf"broken\{suffix} cannot be read as weights"):
            load_weights(model, broken)
    other = tmp_path / "vit.safetensors"
    write_weights(other, "test_vit")
    with pytest.raises(ValueError, match=r"lacks \d+ of \d+ tensors of test_resnet \(conv1\.0"):
        load_weights(model, other)
    five = tmp_path / "five.safetensors"
    write_weights(five, "test_resnet", in_chans=5)
    with pytest.raises(ValueError, match="does not fit the model"):
        load_weights(model, five)


class Loud:
    """Something a pickle would run."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('the file was executed')",))


def test_a_pickle_is_never_executed(tmp_path):
    path = tmp_path / "evil.pth"
    torch.save({"state_dict": Loud()}, path)
    with pytest.raises(ValueError, match="cannot be read as weights"):
        load_weights(create_backbone("test_resnet", in_chans=4), path)


def test_tensors_that_the_model_lacks_are_counted(tmp_path, caplog):
    path = tmp_path / "more.safetensors"
    state = timm.create_model("test_resnet").state_dict()
    save_file({**state, "extra.weight": torch.zeros(2)}, path)
    with caplog.at_level(logging.WARNING, logger="tighnari_models"):
        load_weights(create_backbone("test_resnet", in_chans=4), path)
    assert "1 tensors are not in test_resnet and were left out (extra.weight)" in caplog.text


# --- the hub --------------------------------------------------------------------------------------


def no_cache(*_, **__):
    return None


def test_a_hub_out_of_reach_is_said_at_once(monkeypatch):
    asked = []

    def unreachable(request, timeout):
        asked.append((request.full_url, timeout))
        raise urllib.error.URLError("Name or service not known")

    def timm(*_, **__):
        raise AssertionError("timm takes three quarters of a minute to fail")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", no_cache)
    monkeypatch.setattr(pretrained.urllib.request, "urlopen", unreachable)
    monkeypatch.setattr(pretrained, "create_backbone", timm)
    with pytest.raises(ValueError, match="cannot be reached") as error:
        ImageEncoder("test_vit.r160_in1k", pretrained=True, image_size=64)
    assert asked == [(huggingface_hub.constants.ENDPOINT, 5.0)]
    for part in ("weights=", "--weights FILE", "--no-pretrained", "Name or service not known"):
        assert part in str(error.value)


def test_an_offline_setting_and_a_proxy_that_refuses_are_named(monkeypatch):
    def forbidden(request, **_):
        raise urllib.error.HTTPError(request.full_url, 403, "Forbidden", {}, None)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", no_cache)
    monkeypatch.setattr(pretrained.urllib.request, "urlopen", forbidden)
    with pytest.raises(ValueError, match="403"):
        ImageEncoder("test_vit.r160_in1k", pretrained=True, image_size=64)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set"):
        ImageEncoder("test_vit.r160_in1k", pretrained=True, image_size=64)


def test_a_hub_that_fails_later_gives_the_same_advice(monkeypatch):
    def failing(*_, **__):
        raise OSError("connection reset")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", no_cache)
    monkeypatch.setattr(
        pretrained.urllib.request, "urlopen", lambda *_, **__: contextlib.nullcontext()
    )
    monkeypatch.setattr(pretrained, "create_backbone", failing)
    with pytest.raises(ValueError, match="connection reset.*--weights FILE.*--no-pretrained"):
        ImageEncoder("test_vit.r160_in1k", pretrained=True, image_size=64)


def test_models_without_published_weights_say_so():
    with pytest.raises(ValueError, match="Invalid pretrained tag"):
        ImageEncoder("test_resnet.none_such", pretrained=True, image_size=64)
    with pytest.raises(ValueError, match="No pretrained weights exist.*--weights FILE"):
        ImageEncoder("cs3darknet_s", pretrained=True, image_size=64)


def test_the_cache_of_the_hub_is_used_without_asking_it(monkeypatch, tmp_path):
    path = tmp_path / "model.safetensors"
    state = write_weights(path, "test_resnet")
    monkeypatch.setattr(
        huggingface_hub,
        "try_to_load_from_cache",
        lambda repository, file: str(path) if file == path.name else None,
    )
    monkeypatch.setattr(pretrained.urllib.request, "urlopen", None)
    encoder = ImageEncoder("test_resnet.r160_in1k", pretrained=True, image_size=64)
    stem = encoder.tokens.model.conv1[0].weight
    torch.testing.assert_close(stem[:, 3], state["conv1.0.weight"][:, 0] * 0.75)
