"""Temporal encoders: token grids, the one-dimensional bias, windows that do not fit, backbones."""

import copy
import math

import pytest
import torch
from timm.models import swin_transformer

from tighnari_models.data.cubes import BIOCLIM_SHAPE, LANDSAT_SHAPE
from tighnari_models.encoders import TemporalSwin, TemporalViT, TimmTemporal, make_temporal
from tighnari_models.encoders.temporal import CUBES
from tighnari_models.encoders.temporal_swin import SequenceWindowAttention, TemporalSwinBlock

BACKBONES = ("resnet18", "efficientnet_b0", "mobilenetv3_large_100", "xception41")


def small_swin(kind: str, **options) -> TemporalSwin:
    """The paper's windows at a quarter of its width."""
    torch.manual_seed(0)
    return make_temporal("swin", kind, embed_dim=24, num_heads=(3, 6), **options)


def cubes(kind: str, batch: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, *CUBES[kind].in_shape, generator=generator)


def attention_in_loops(attention, x: list[list[float]], numbers: list[int]) -> list[list[float]]:
    """Eq. 3 for one window, number by number; ``numbers`` are places in the flattened window."""
    heads, dim, n = attention.num_heads, attention.dim, attention.window_area
    qkv_weight, qkv_bias = attention.qkv.weight.tolist(), attention.qkv.bias.tolist()
    table = attention.relative_position_bias_table.tolist()
    width = dim // heads
    projected = [
        [
            sum(w * v for w, v in zip(row, token, strict=True)) + b
            for row, b in zip(qkv_weight, qkv_bias, strict=True)
        ]
        for token in x
    ]
    joined = [[0.0] * dim for _ in x]
    for head in range(heads):
        first = head * width
        for i, query in enumerate(projected):
            scores = []
            for j, key in enumerate(projected):
                dot = sum(query[first + c] * key[dim + first + c] for c in range(width))
                scores.append(dot / math.sqrt(width) + table[numbers[i] - numbers[j] + n - 1][head])
            top = max(scores)
            shares = [math.exp(s - top) for s in scores]
            for c in range(width):
                joined[i][first + c] = sum(
                    share * token[2 * dim + first + c]
                    for share, token in zip(shares, projected, strict=True)
                ) / sum(shares)
    proj_weight, proj_bias = attention.proj.weight.tolist(), attention.proj.bias.tolist()
    return [
        [
            sum(w * v for w, v in zip(row, token, strict=True)) + b
            for row, b in zip(proj_weight, proj_bias, strict=True)
        ]
        for token in joined
    ]


def shake(module: torch.nn.Module) -> None:
    """Large random values everywhere, so that no term of the formula is small."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.7)


# --- token grids ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "first", "second"), [("bioclim", (6, 4), (3, 2)), ("landsat", (2, 4), (1, 2))]
)
def test_token_grids_are_those_of_the_design(kind, first, second):
    swin = make_temporal("swin", kind)
    assert swin.grid_sizes == (first, second)
    seen = []
    for stage in swin.stages:
        stage.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape)))
    tokens = swin.eval().forward_features(cubes(kind, 5))
    assert seen == [(5, *first, 96), (5, *second, 192)]
    assert tokens.shape == (5, second[0] * second[1], 192)
    assert [len(stage) for stage in swin.stages] == [2, 6]
    assert [stage[0].attn.num_heads for stage in swin.stages] == [12, 24]
    assert swin.num_features == 192
    torch.testing.assert_close(swin(cubes(kind, 5)), tokens.mean(1))


def test_the_cubes_have_the_shapes_that_the_loaders_give():
    assert CUBES["landsat"].in_shape == LANDSAT_SHAPE
    assert CUBES["bioclim"].in_shape == BIOCLIM_SHAPE


@pytest.mark.parametrize(
    ("kind", "pad_window", "windows"),
    [
        ("bioclim", True, [(3, 2), (3, 2)]),
        ("bioclim", False, [(3, 2), (3, 2)]),
        ("landsat", True, [(2, 3), (1, 2)]),
        ("landsat", False, [(2, 2), (1, 2)]),
    ],
)
def test_windows_and_shifts(kind, pad_window, windows):
    swin = small_swin(kind, pad_window=pad_window)
    assert [stage[0].window_size for stage in swin.stages] == windows
    assert all(block.shift_size == (0, 0) for block in [*swin.stages[0][::2], *swin.stages[1]])
    assert swin.stages[0][1].shift_size == {"bioclim": (1, 1), "landsat": (0, 1)}[kind]
    for stage in swin.stages:
        for block in stage:
            area = block.window_size[0] * block.window_size[1]
            heads = block.attn.num_heads
            assert block.attn.relative_position_bias_table.shape == (2 * area - 1, heads)


@pytest.mark.parametrize("in_shape", [(3, 13, 7), (5, 17, 11), (2, 1, 1), (7, 5, 2)])
def test_odd_sizes(in_shape):
    torch.manual_seed(0)
    swin = TemporalSwin(in_shape, (2, 3), (3, 2), embed_dim=12, num_heads=(2, 3))
    (rows, columns), last = swin.grid_sizes
    assert (rows, columns) == (math.ceil(in_shape[1] / 2), math.ceil(in_shape[2] / 3))
    assert last == (math.ceil(rows / 2), math.ceil(columns / 2))
    tokens = swin.eval().forward_features(torch.randn(2, *in_shape))
    assert tokens.shape == (2, last[0] * last[1], 24)
    assert tokens.isfinite().all()
    vit = TemporalViT(in_shape, (2, 3), embed_dim=12, depth=1, num_heads=3)
    assert vit.forward_features(torch.randn(2, *in_shape)).shape == (2, rows * columns, 12)


# --- the one-dimensional bias (eq. 3) -------------------------------------------------------------


def test_the_bias_depends_on_the_flattened_offset_alone():
    attention = SequenceWindowAttention(6, num_heads=2, window_size=(3, 5))
    n = 15
    assert attention.relative_position_bias_table.shape == (2 * n - 1, 2)
    bias = attention._get_rel_pos_bias()[0]
    for offset in range(1 - n, n):
        diagonal = bias.diagonal(-offset, dim1=1, dim2=2)
        expected = attention.relative_position_bias_table[offset + n - 1][:, None]
        assert torch.equal(diagonal, expected.expand_as(diagonal))


def test_two_dimensional_offsets_that_flatten_alike_share_a_bias():
    # In a (2, 3) window one row down and one column left is two places on, as two columns right is.
    bias = SequenceWindowAttention(6, num_heads=2, window_size=(2, 3))._get_rel_pos_bias()[0]
    assert torch.equal(bias[:, 3, 1], bias[:, 2, 0])


def test_attention_equals_plain_loops():
    attention = SequenceWindowAttention(6, num_heads=2, window_size=(2, 3)).double()
    shake(attention)
    x = torch.randn(1, 6, 6, dtype=torch.double, generator=torch.Generator().manual_seed(3))
    expected = torch.tensor(attention_in_loops(attention, x[0].tolist(), list(range(6))))
    torch.testing.assert_close(attention(x)[0], expected.double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shifted", [False, True])
def test_windows_that_do_not_fit_equal_plain_loops_without_padding(shifted):
    block = TemporalSwinBlock(6, (2, 4), num_heads=2, window_size=(2, 3), shifted=shifted).double()
    shake(block)
    x = torch.randn(1, 2, 4, 6, dtype=torch.double, generator=torch.Generator().manual_seed(5))
    # Columns of the grid in each window, with the column of the window that they take.
    windows = [{1: 0, 2: 1, 3: 2}, {0: 0}] if shifted else [{0: 0, 1: 1, 2: 2}, {3: 0}]
    out = block._attn(x)[0]
    for window in windows:
        places = [(row, column) for row in range(2) for column in window]
        tokens = [x[0, row, column].tolist() for row, column in places]
        numbers = [3 * row + window[column] for row, column in places]
        for place, expected in zip(
            places, attention_in_loops(block.attn, tokens, numbers), strict=True
        ):
            torch.testing.assert_close(
                out[place], torch.tensor(expected).double(), rtol=1e-5, atol=1e-6
            )


@pytest.mark.parametrize("shifted", [False, True])
def test_the_value_of_the_padding_changes_nothing(shifted, monkeypatch):
    block = TemporalSwinBlock(6, (2, 4), num_heads=2, window_size=(2, 3), shifted=shifted).eval()
    shake(block)
    x = torch.randn(2, 2, 4, 6)
    expected = block(x)
    pad = torch.nn.functional.pad
    calls = []

    def loud(x, widths, value=0.0):
        calls.append(widths)
        return pad(x, widths, value=1e4)

    monkeypatch.setattr(swin_transformer.torch.nn.functional, "pad", loud)
    assert torch.equal(block(x), expected)
    assert calls == [(0, 0, 0, 2, 0, 0)]


def test_timm_itself_lets_the_padding_in():
    """What our mask is for; if this fails, timm has changed and the mask may go."""
    block = swin_transformer.SwinTransformerBlock(6, (2, 4), num_heads=2, window_size=(2, 3))
    assert block.attn_mask is None


def test_a_grid_that_fits_needs_no_mask_and_a_shift_masks_as_in_timm():
    ours = TemporalSwinBlock(6, (6, 4), num_heads=2, window_size=(3, 2), shifted=False)
    assert ours.attn_mask is None
    ours = TemporalSwinBlock(6, (6, 4), num_heads=2, window_size=(3, 2), shifted=True)
    theirs = swin_transformer.SwinTransformerBlock(
        6, (6, 4), 2, window_size=(3, 2), shift_size=(1, 1)
    )
    assert torch.equal(ours.attn_mask == 0, theirs.attn_mask == 0)


# --- all temporal encoders ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(CUBES))
@pytest.mark.parametrize("name", ["swin", "vit", "efficientnet_b0"])
def test_other_surveys_of_a_batch_change_nothing(name, kind):
    torch.manual_seed(0)
    encoder = make_temporal(name, kind, embed_dim=24, num_heads=(3, 6)).eval()
    x = cubes(kind, 5)
    changed = x.clone()
    changed[[0, 1, 3, 4]] = 100 * torch.randn(4, *x.shape[1:])
    with torch.no_grad():
        assert torch.equal(encoder.forward_features(x)[2], encoder.forward_features(changed)[2])
        order = torch.tensor([3, 1, 4, 0, 2])
        torch.testing.assert_close(encoder(x[order]), encoder(x)[order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", list(CUBES))
@pytest.mark.parametrize("name", ["swin", "vit", "swin without padding"])
def test_every_parameter_gets_a_gradient(name, kind):
    torch.manual_seed(0)
    options = {"embed_dim": 24, "num_heads": (3, 6), "drop_path_rate": 0.0}
    encoder = make_temporal(name.split()[0], kind, pad_window=name == "swin", **options)
    (encoder(cubes(kind)) * torch.randn(3, encoder.num_features)).sum().backward()
    missing = [key for key, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_half_precision_copies_and_the_meta_device():
    swin = small_swin("landsat").eval()
    x = cubes("landsat")
    expected = swin(x)
    assert torch.equal(copy.deepcopy(swin)(x), expected)  # what an average of weights does
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(swin(x).float(), expected, rtol=0.1, atol=0.1)
    again = small_swin("landsat").eval()
    again.load_state_dict(swin.state_dict())
    assert torch.equal(again(x), expected)
    assert not any("mask" in key or "index" in key for key in swin.state_dict())
    with torch.device("meta"):
        assert small_swin("landsat")(torch.empty(3, 6, 4, 20)).shape == (3, 48)


def test_wrong_cubes_and_options_are_refused():
    with pytest.raises(
        ValueError, match=r"cubes have the shape \(6, 4, 21\), expected \(6, 4, 20\)"
    ):
        small_swin("landsat")(torch.zeros(2, 6, 4, 21))
    with pytest.raises(ValueError, match=r"expected \(6, 4, 20\)"):
        make_temporal("vit", "landsat")(torch.zeros(2, 4, 18, 12))
    with pytest.raises(ValueError, match=r"expected \(4, 18, 12\)"):
        TimmTemporal("test_resnet", (4, 18, 12))(torch.zeros(2, 6, 4, 20))
    with pytest.raises(ValueError, match="12 attention heads do not divide a width of 20"):
        make_temporal("swin", "landsat", embed_dim=20)
    with pytest.raises(ValueError, match="5 attention heads do not divide"):
        make_temporal("vit", "landsat", num_heads=(5, 5))
    with pytest.raises(ValueError, match="must be one of landsat, bioclim, got 'weather'"):
        make_temporal("swin", "weather")
    with pytest.raises(ValueError, match="timm has no model 'resnet81'; did you mean resnet"):
        make_temporal("resnet81", "landsat")
    with pytest.raises(ValueError, match="it needs drop_path_rate=0"):
        make_temporal("densenet121", "landsat")


# --- backbones made for images (decision 0014) ----------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "grid_size", "num_features"),
    [
        ("resnet18", "landsat", (1, 3), 512),
        ("resnet18", "bioclim", (3, 2), 512),
        ("efficientnet_b0", "landsat", (1, 2), 1280),
        ("efficientnet_b0", "bioclim", (2, 1), 1280),
        ("mobilenetv3_large_100", "landsat", (1, 2), 960),
        ("mobilenetv3_large_100", "bioclim", (2, 1), 960),
        ("xception41", "landsat", (1, 2), 2048),
        ("xception41", "bioclim", (2, 1), 2048),
    ],
)
def test_feature_maps_of_the_comparison_backbones(name, kind, grid_size, num_features):
    encoder = make_temporal(name, kind).eval()
    assert encoder.grid_size == grid_size
    assert encoder.input_size == CUBES[kind].in_shape[1:]  # not resized
    with torch.no_grad():
        tokens = encoder.forward_features(cubes(kind, 2))
    assert tokens.shape == (2, grid_size[0] * grid_size[1], num_features)
    assert encoder.num_features == num_features
    assert encoder.num_tokens > 1


@pytest.mark.parametrize("name", BACKBONES)
def test_every_parameter_of_a_backbone_takes_part(name):
    torch.manual_seed(0)
    encoder = make_temporal(name, "landsat", drop_path_rate=0.0)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    weight = torch.randn(3, encoder.num_features)
    for _ in range(2):  # ResNet's last norms start at zero, and let nothing through at first
        optimizer.zero_grad()
        (encoder(cubes("landsat")) * weight).mean().backward()
        optimizer.step()
    missing = [key for key, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


@pytest.mark.parametrize(
    ("name", "input_size", "num_tokens"),
    [
        ("test_resnet", (4, 20), 3),
        ("test_convnext", (32, 160), 5),  # a stem that cuts patches: enlarged
        ("test_vit", (160, 160), 100),  # a fixed input size
        ("test_mambaout", (4, 20), 2),  # channels last
    ],
)
def test_other_backbones_keep_a_map_too(name, input_size, num_tokens):
    encoder = make_temporal(name, "landsat", drop_path_rate=0.0).eval()
    assert (encoder.input_size, encoder.num_tokens) == (input_size, num_tokens)
    tokens = encoder.forward_features(cubes("landsat", 2))
    assert tokens.shape == (2, num_tokens, encoder.num_features)
    assert [key for key, p in encoder.named_parameters() if not p.requires_grad] == []
    (tokens.mean(1) * torch.randn(2, encoder.num_features)).sum().backward()
    assert [key for key, p in encoder.named_parameters() if p.grad is None] == []
