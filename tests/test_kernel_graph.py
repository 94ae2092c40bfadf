"""`kernel_graph`: the model's edges, laid open; the chain over them gives its probabilities."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.test_multiscale import fitted, surveys
from tighnari_graph.kernel_graph import kernel_graph
from tighnari_graph.multiscale import MultiScale

MODULE = sys.modules["tighnari_graph.kernel_graph"]


def chain_over(model: MultiScale, hetero, prior: torch.Tensor) -> torch.Tensor:
    """Probabilities from nodes and edges of the graph, scale by scale, densely."""
    num_dst, p = hetero["test"].num_nodes, prior.expand(hetero["test"].num_nodes, -1)
    for scale in range(model.chain.num_scales):
        votes, mass = torch.zeros(p.shape), torch.zeros(num_dst, 1)
        for kind, relation, _ in hetero.edge_types:
            if relation != "kernel":
                continue
            edges = hetero[kind, "kernel", "test"]
            source, target = edges.edge_index
            weight = edges.edge_weight[:, scale, None]
            rate = 1.0
            if kind.startswith("po"):
                rate = float(model.chain.convs["po"].log_rate[scale].detach().exp())
            votes = votes.index_add(0, target, weight * hetero[kind].y.to_dense()[source])
            mass = mass.index_add(0, target, rate * weight * hetero[kind].weight[source, None])
        strength = model.chain.strength(scale, p).detach()
        p = ((votes + strength * p) / (mass + strength)).clamp(max=1)
    return p


@pytest.mark.parametrize("opening", [0.0, 0.5])
@pytest.mark.parametrize("po", [True, False])
@pytest.mark.parametrize("own", [True, False])
def test_the_chain_over_the_graph_is_the_model(opening, po, own):
    train = surveys(300)
    tables = (train, surveys(200, seed=3, po=True)) if po else (train,)
    model = replace(fitted(*tables), opening=opening)
    blocks = model.pyramids["survey"].block[:300] if own else None
    hetero = kernel_graph(model, train, blocks)
    assert hetero.validate(raise_on_error=True)
    cells = {"cell", "po_cell"} if po else {"cell"}
    assert set(hetero.node_types) == {"survey", "test"} | cells | ({"po"} if po else set())
    for kind in cells:
        assert (hetero[kind, "kernel", "test"].num_edges > 0) == (opening > 0)
    prior = model._prior(blocks)
    expected = model.probabilities(train, blocks).detach()
    torch.testing.assert_close(chain_over(model, hetero, prior), expected, atol=1e-5, rtol=1e-4)


def test_nodes_are_the_surveys_and_cells_that_the_model_holds():
    train, target = surveys(60), surveys(5, seed=4, species=False)
    model = replace(fitted(train), opening=0.5)
    pyramid = model.pyramids["survey"]
    hetero = kernel_graph(model, target)
    pos = np.stack([train.lat, train.lon], axis=1)
    np.testing.assert_allclose(hetero["survey"].pos, pos, atol=1e-9)
    assert (hetero["survey"].y.to_dense().numpy() == train.known_labels().toarray()).all()
    assert hetero["survey"].weight.sum() == 60
    assert hetero["cell"].num_nodes == pyramid.num_nodes - 60
    np.testing.assert_array_equal(hetero["cell"].radius_km, pyramid.radius_km[60:])
    assert hetero["test"].survey_id.tolist() == target.survey_id.tolist()
    assert "y" not in hetero["test"]
    for kind in ("survey", "cell"):
        relation = hetero[kind, "kernel", "test"]
        source, target_of = relation.edge_index
        assert (torch.diff(target_of * pyramid.num_nodes + source) > 0).all()
        assert relation.edge_distance_km.shape == (relation.num_edges,)
        assert relation.edge_weight.shape == (relation.num_edges, 3)
        assert not relation.edge_weight.requires_grad


def test_cells_hold_what_is_in_them():
    train = surveys(60)
    hetero = kernel_graph(fitted(train), train)
    weight = torch.zeros(hetero["cell"].num_nodes)
    labels = torch.zeros(hetero["cell"].num_nodes, 7)
    for kind in ("survey", "cell"):
        child, parent = hetero[kind, "in", "cell"].edge_index
        assert len(child.unique()) == len(child)  # one parent each
        assert (torch.diff(parent * 10_000 + child) > 0).all()
        weight = weight.index_add(0, parent, hetero[kind].weight[child])
        labels = labels.index_add(0, parent, hetero[kind].y.to_dense()[child])
    torch.testing.assert_close(weight, hetero["cell"].weight)
    torch.testing.assert_close(labels, hetero["cell"].y.to_dense())
    assert hetero["survey", "in", "cell"].num_edges == 60


def test_no_targets_and_wrong_blocks_and_too_many_edges(monkeypatch):
    train = surveys(300)
    model = fitted(train)
    none = kernel_graph(model, train.subset(np.zeros(0, dtype=int)))
    assert none["survey", "kernel", "test"].edge_weight.shape == (0, 3)
    assert none["survey"].num_nodes == 300
    assert none.validate(raise_on_error=True)
    with pytest.raises(ValueError, match=r"blocks are \(2,\), expected one for 300 targets"):
        kernel_graph(model, train, np.zeros(2, dtype=int))
    monkeypatch.setattr(MODULE, "MAX_EDGES", 80_000)
    with pytest.raises(MemoryError, match=r"300 targets have about 90,000 edges, more than 80,000"):
        kernel_graph(model, train)
    thin = replace(model, opening=1.0)
    assert kernel_graph(thin, train).num_edges > 0
    assert kernel_graph(replace(model, opening=1.0), train.subset(np.zeros(0, dtype=int)))
    monkeypatch.setattr(MODULE, "MAX_EDGES", 100)
    with pytest.raises(MemoryError, match=r"300 targets have about [\d,]+ edges"):
        kernel_graph(thin, train)
