"""`KernelConv` and `KernelChain`: the fused path, the message on an edge, gradients, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch_geometric.explain.algorithm.utils import clear_masks, set_masks

from tighnari_graph.kernel_conv import KernelChain, KernelConv, KernelEdges

SCALES = (50.0, 12.0, 4.0)


def some_edges(
    seed: int = 0, num_src: int = 6, num_dst: int = 4, comparisons: int = 2, species: int = 5
) -> KernelEdges:
    """Every source at some of the targets, none at the last one; one source lies at a target."""
    rng = np.random.default_rng(seed)
    there = rng.random((num_dst, num_src)) < 0.7
    there[-1] = False
    target, source = np.nonzero(there)
    km = rng.exponential(15, len(source))
    km[0] = 0.0
    y = rng.integers(0, 3, (num_src, species)) * (rng.random((num_src, species)) < 0.5)
    return KernelEdges(
        torch.tensor(y, dtype=torch.float32).to_sparse_csr(),
        torch.tensor(rng.integers(1, 4, num_src), dtype=torch.float32),
        torch.tensor(np.stack([source, target])),
        torch.tensor(km, dtype=torch.float32),
        torch.tensor(rng.random((comparisons, len(source))), dtype=torch.float32),
        num_dst,
    )


def shaken(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Parameters that are not those of the start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.4 * torch.randn(parameter.shape, generator=generator)
    return module


def by_hand(conv: KernelConv, edges: KernelEdges) -> tuple[np.ndarray, np.ndarray]:
    """Votes and mass, an edge, a scale and a species at a time."""
    y = edges.y.to_dense().T.tolist()
    width = [math.exp(x) for x in conv.log_bandwidth.tolist()]
    strength = [[math.log(1 + math.exp(b)) for b in row] for row in conv.raw_strength.tolist()]
    votes = np.zeros((len(width), len(y), edges.num_dst))
    mass = np.zeros((len(width), edges.num_dst))
    for edge, (source, target) in enumerate(edges.edge_index.T.tolist()):
        for scale, h in enumerate(width):
            d = float(edges.distance_km[edge])
            weight = math.exp(-d / h if conv.kernel == "exponential" else -(d**2) / (2 * h**2))
            for f, b in enumerate(strength[scale]):
                weight *= math.exp(-b * float(edges.differences[f, edge]))
            rate = 1.0
            if conv.incomplete:
                weight *= math.exp(conv.log_amplitude.tolist()[scale])
                rate = math.exp(conv.log_rate.tolist()[scale])
            mass[scale, target] += rate * weight * float(edges.weight[source])
            for species in range(len(y)):
                votes[scale, species, target] += weight * y[species][source]
    return votes, mass


@pytest.mark.parametrize("kernel", ["exponential", "gaussian"])
@pytest.mark.parametrize("incomplete", [True, False])
@pytest.mark.parametrize("comparisons", [0, 2])
def test_votes_and_mass_are_those_of_a_loop_and_of_the_messages(kernel, incomplete, comparisons):
    edges = some_edges(comparisons=comparisons)
    conv = shaken(KernelConv(SCALES, comparisons, kernel, incomplete))
    votes, mass = conv(edges)
    expected_votes, expected_mass = by_hand(conv, edges)
    np.testing.assert_allclose(votes.detach(), expected_votes, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mass.detach(), expected_mass, rtol=1e-5, atol=1e-6)
    assert not votes[:, :, -1].any()  # the target without sources
    assert not mass[:, -1].any()

    set_masks(conv, torch.ones(edges.edge_index.size(1)), edges.edge_index, apply_sigmoid=False)
    slow_votes, slow_mass = conv(edges)
    torch.testing.assert_close(slow_votes, votes)
    torch.testing.assert_close(slow_mass, mass)
    set_masks(conv, torch.zeros(edges.edge_index.size(1)), edges.edge_index, apply_sigmoid=False)
    assert not conv(edges)[0].any()  # the mask is looked at
    clear_masks(conv)
    torch.testing.assert_close(conv(edges)[0], votes)


def test_an_edge_that_stands_twice_counts_twice_on_both_paths():
    once = some_edges()
    twice = KernelEdges(
        once.y, once.weight, once.edge_index.repeat(1, 2), once.distance_km.repeat(2),
        once.differences.repeat(1, 2), once.num_dst,
    )  # fmt: skip
    conv = KernelConv(SCALES, 2)
    for found, expected in zip(conv(twice), conv(once), strict=True):
        torch.testing.assert_close(found, 2 * expected)


@pytest.mark.parametrize("kernel", ["exponential", "gaussian"])
def test_gradients_are_those_of_finite_differences(kernel):
    relations = {
        name: KernelEdges(
            e.y.to(torch.float64), e.weight.double(), e.edge_index, e.distance_km.double(),
            e.differences.double(), e.num_dst,
        )
        for name, e in {"survey": some_edges(0), "po": some_edges(1)}.items()
    }  # fmt: skip
    chain = KernelChain(
        {name: KernelConv(SCALES[1:], 2, kernel, name == "po") for name in relations}
    )
    shaken(chain.double())
    names, given = zip(*chain.named_parameters(), strict=True)
    given = tuple(p.detach().clone().requires_grad_() for p in given)
    prior = torch.full((5,), 0.3, dtype=torch.float64)

    def probabilities(*parameters: torch.Tensor) -> torch.Tensor:
        return functional_call(chain, dict(zip(names, parameters, strict=True)), (relations, prior))

    moved = torch.autograd.grad(probabilities(*given).square().sum(), given, allow_unused=True)
    still = {name for name, g in zip(names, moved, strict=True) if g is None or not g.any()}
    assert still == {"convs.survey.log_amplitude", "convs.survey.log_rate"}
    assert torch.autograd.gradcheck(probabilities, given, eps=1e-6, atol=1e-6)


def test_only_incomplete_lists_have_an_amplitude_and_a_rate_to_learn():
    whole, part = KernelConv(SCALES, 2), KernelConv(SCALES, 2, incomplete=True)
    learned = {name for name, p in whole.named_parameters() if p.requires_grad}
    assert learned == {"log_bandwidth", "raw_strength"}
    assert all(p.requires_grad for p in part.parameters())


@pytest.mark.parametrize("shape", [(5,), (4, 5)])
def test_without_edges_the_prior_stays(shape):
    prior = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    none = KernelEdges(
        torch.zeros(0, 5).to_sparse_csr(), torch.zeros(0), torch.zeros(2, 0, dtype=torch.int64),
        torch.zeros(0), torch.zeros(2, 0), 4,
    )  # fmt: skip
    chain = shaken(KernelChain({"survey": KernelConv(SCALES, 2)}))
    torch.testing.assert_close(chain({"survey": none}, prior), prior.expand(4, 5))


def test_a_chain_is_the_formula_scale_by_scale():
    relations = {"survey": some_edges(0), "po": some_edges(1)}
    chain = shaken(KernelChain({n: KernelConv(SCALES, 2, incomplete=n == "po") for n in relations}))
    prior = np.linspace(0.1, 0.9, 20).reshape(4, 5)
    found = [by_hand(conv, relations[name]) for name, conv in chain.convs.items()]
    for target in range(4):
        for species in range(5):
            p = prior[target, species]
            for scale, raw in enumerate(chain.log_strength.tolist()):
                rarity = chain.rarity[scale].item()
                strength = math.exp(raw) * (0.05 / max(p, 1e-4)) ** rarity
                votes = sum(v[scale, species, target] for v, _ in found)
                mass = sum(m[scale, target] for _, m in found)
                p = min((votes + strength * p) / (mass + strength), 1.0)
            expected = chain(relations, torch.tensor(prior, dtype=torch.float32))
            assert float(expected[target, species].detach()) == pytest.approx(p, rel=1e-5)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="kernel must be one of exponential, gaussian, got 'box'"):
        KernelConv(SCALES, 0, "box")
    for scales in ((), (0.0,), (10.0, -1.0), (math.nan,), (math.inf,)):
        with pytest.raises(ValueError, match="scales_km must be positive kilometres"):
            KernelConv(scales, 0)
    with pytest.raises(ValueError, match=r"equally many scales, got \[1, 3\]"):
        KernelChain({"survey": KernelConv(SCALES, 0), "po": KernelConv((5.0,), 0)})
    assert repr(KernelConv((50.0, 4.0), 0)) == (
        "KernelConv(scales_km=(50, 4), kernel='exponential')"
    )
