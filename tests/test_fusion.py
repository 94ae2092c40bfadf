"""HCAM against equations 6–8 in plain loops; attention within a survey only."""

import math

import pytest
import torch
from torch import nn

from tighnari_models.fusion import HCAM, Concat, CrossAttention

B, TIME, TABLE, IMAGE = 5, 3, 7, 11  # surveys; widths of T (per cube), F', S
CUBES, PIXELS, GRAPH = (2, 13), 17, 19  # tokens of each cube, of S, of G'


# ------------------------------------------------- oracle: lists and loops, none of our code


def times(x, weight, bias=None):
    """Row vector times a layer's weight, as nn.Linear stores it: [out][in]."""
    out = [sum(w * v for w, v in zip(row, x, strict=True)) for row in weight]
    return out if bias is None else [o + b for o, b in zip(out, bias, strict=True)]


def softmax(scores):
    top = max(scores)
    powers = [math.exp(s - top) for s in scores]
    return [p / sum(powers) for p in powers]


def mean(rows):
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def attend(w, name, queries, context, heads):
    """Equation 7 for every query, head by head."""
    keys = [times(c, w[f"{name}.k.weight"]) for c in context]
    values = [times(c, w[f"{name}.v.weight"], w[f"{name}.v.bias"]) for c in context]
    outputs = []
    for query in queries:
        q = times(query, w[f"{name}.q.weight"], w[f"{name}.q.bias"])
        size = len(q) // heads
        output = []
        for head in range(heads):
            own = range(head * size, (head + 1) * size)
            scores = [sum(q[i] * key[i] for i in own) / math.sqrt(size) for key in keys]
            share = softmax(scores)
            output += [
                sum(s * value[i] for s, value in zip(share, values, strict=True)) for i in own
            ]
        outputs.append(output)
    return outputs


def oracle(w, cubes, table, image, graph, heads, tokens):
    """Equations 6–8 for one survey: [O_MHCA, O_CA]."""
    together = [x for cube in cubes for x in mean(cube)] + table + mean(image)
    if tokens:
        asking, asked = [token for cube in cubes for token in cube], image
        size = len(graph) // GRAPH
        keys = [graph[i * size : (i + 1) * size] for i in range(GRAPH)]
    else:
        asking, asked = [[x for cube in cubes for x in mean(cube)]], [mean(image)]
        keys = [graph]
    a1 = mean(attend(w, "time", asking, asked, 1))
    a2 = attend(w, "table", [table], asked, 1)[0]
    cut = times(together, w["residual.weight"], w["residual.bias"])
    o_ca = [a + c for a, c in zip(a1 + a2, cut, strict=True)]
    return attend(w, "graph", [together], keys, heads)[0] + o_ca


# ---------------------------------------------------------------------------------- tests


def made(tokens=True, seed=0):
    torch.manual_seed(seed)
    hcam = HCAM((TIME, TIME), TABLE, IMAGE, 6, 3, GRAPH, tokens).double()
    for parameter in hcam.parameters():  # sharper than initial weights, so that attention matters
        nn.init.normal_(parameter, std=0.7)
    cubes = [torch.randn(B, n, TIME).double() for n in CUBES]
    rest = torch.randn(B, TABLE), torch.randn(B, PIXELS, IMAGE), torch.randn(B, hcam.graph_dim)
    return hcam, (cubes, *(x.double() for x in rest))


@pytest.mark.parametrize("tokens", [True, False])
def test_hcam_equals_equations_6_to_8_in_loops(tokens):
    hcam, (cubes, table, image, graph) = made(tokens)
    weights = {name: value.tolist() for name, value in hcam.state_dict().items()}
    expected = [
        oracle(
            weights, [cube[i].tolist() for cube in cubes], table[i].tolist(),
            image[i].tolist(), graph[i].tolist(), 3, tokens,
        )
        for i in range(B)
    ]  # fmt: skip
    output = hcam(cubes, table, image, graph)
    assert output.shape == (B, hcam.num_features) == (B, 18)
    torch.testing.assert_close(
        output, torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-12
    )


def test_one_cube_will_do():
    hcam = HCAM((TIME,), TABLE, IMAGE, 6, 3, GRAPH)
    cube, image = torch.randn(B, 2, TIME), torch.randn(B, PIXELS, IMAGE)
    assert hcam([cube], torch.randn(B, TABLE), image, torch.randn(B, hcam.graph_dim)).shape == (
        B,
        18,
    )
    with pytest.raises(ValueError, match="made for 1 cubes, got 2"):
        hcam([cube, cube], torch.randn(B, TABLE), image, torch.randn(B, hcam.graph_dim))


def test_over_one_key_the_softmax_is_1_and_queries_and_keys_do_nothing():
    hcam, inputs = made(tokens=False)
    before = hcam(*inputs)
    before.square().sum().backward()
    silent = {name for name, p in hcam.named_parameters() if p.grad.abs().max() < 1e-12}
    attentions = ("time", "table", "graph")
    assert silent == {f"{a}.{k}" for a in attentions for k in ("q.weight", "q.bias", "k.weight")}
    with torch.no_grad():
        for attention in attentions:
            getattr(hcam, attention).q.weight.mul_(-3)
            getattr(hcam, attention).k.weight.add_(1)
    torch.testing.assert_close(hcam(*inputs), before, rtol=1e-12, atol=1e-12)


def test_with_tokens_every_parameter_gets_a_gradient():
    hcam, inputs = made()
    hcam(*inputs).square().sum().backward()
    assert [name for name, p in hcam.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_bias_on_the_keys_would_change_nothing():
    attention = CrossAttention(TABLE, IMAGE, 6, 3).double()
    query, context = torch.randn(B, 2, TABLE).double(), torch.randn(B, 13, IMAGE).double()
    expected = attention(query, context)
    biased = nn.Linear(IMAGE, 6).double()
    biased.weight = attention.k.weight
    attention.k = biased
    torch.testing.assert_close(attention(query, context), expected)


@pytest.mark.parametrize("tokens", [True, False])
def test_hcam_never_mixes_surveys(tokens):
    hcam, (cubes, table, image, graph) = made(tokens)
    before = hcam(cubes, table, image, graph)
    for x in (*cubes, table, image, graph):
        x[1:] = torch.randn_like(x[1:]) * 9
    after = hcam(cubes, table, image, graph)
    assert torch.equal(after[0], before[0])
    assert not torch.isclose(after[1:], before[1:]).any(0).all()


def test_the_order_of_keys_does_not_matter_the_keys_do():
    hcam, (cubes, table, image, graph) = made()
    before = hcam(cubes, table, image, graph)
    torch.testing.assert_close(hcam(cubes, table, image.flip(1), graph), before)
    other = image.clone()
    other[:, 0] += 1
    other[:, 1] -= 1  # the same mean
    assert not torch.allclose(hcam(cubes, table, other, graph), before)


def test_widths_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="4 attention heads do not divide a width of 6"):
        CrossAttention(TABLE, IMAGE, 6, 4)
    with pytest.raises(ValueError, match=r"equally wide, got widths \(3, 5\)"):
        HCAM((3, 5), TABLE, IMAGE)
    assert HCAM((3, 5), TABLE, IMAGE, tokens=False).graph_dim == 3 + 5 + TABLE + IMAGE
    with pytest.raises(ValueError, match="needs a cube"):
        HCAM((), TABLE, IMAGE)
    with pytest.raises(ValueError, match="at least one modality"):
        Concat(())


def test_an_empty_batch_stays_empty():
    hcam = HCAM((TIME, TIME), TABLE, IMAGE, 6, 3, GRAPH)
    cubes = [torch.zeros(0, n, TIME) for n in CUBES]
    output = hcam(cubes, torch.zeros(0, TABLE), torch.zeros(0, PIXELS, IMAGE), torch.zeros(0, 114))
    assert output.shape == (0, 18)


def test_concat_lets_modalities_interact():
    torch.manual_seed(0)
    concat = Concat((3, 5), dim=7)
    a, b = torch.randn(2, 3), torch.randn(2, 5)
    zero = [torch.zeros(2, 3), torch.zeros(2, 5)]
    alone = concat([a, zero[1]]) + concat([zero[0], b]) - concat(zero)
    assert not torch.allclose(concat([a, b]), alone)
