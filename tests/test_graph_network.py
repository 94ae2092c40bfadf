"""The networks beside the chain: against plain loops, what they must never see, a small run."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from benchmarks import graph_network
from benchmarks.graph_network import CHAIN, REGION, compare, cross_entropy, regional, spread
from benchmarks.graph_network_model import LabelAttention, MaskedLabels, Neighbors
from benchmarks.graph_network_training import (
    Options,
    Prior,
    label_attention,
    masked_labels,
    place_features,
)
from tests import oracles, small_models
from tests.small_models import surveys
from tighnari_graph import SurveyTable, block_folds, block_ids
from tighnari_graph.covariates import Covariates
from tighnari_graph.scale_rows import ScaleRows
from tighnari_graph.sparse import torch_csr
from tighnari_graph.virtual import virtual_europe

QUICK = Options(steps=3, lr=1e-2, neighbors=6, batch=16, share=0.3)
NETWORKS = {"label attention": label_attention, "masked labels": masked_labels}


def shaken(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Weights that no input is multiplied with zero by."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for one in model.parameters():
            one.add_(0.3 * torch.randn(one.shape, generator=generator))
    return model.eval()


def with_columns(table: SurveyTable, seed: int = 0) -> SurveyTable:
    """The same surveys with a covariate of numbers and one of text, both with gaps."""
    rng = np.random.default_rng(seed)
    meta = pd.DataFrame(
        {
            "slope": rng.choice([-1.0, 0.5, 3.0, np.nan], len(table)),
            "country": rng.choice(np.array(["Italy", "France", None], dtype=object), len(table)),
        }
    )
    return replace(table, meta=meta)


def relabelled(table: SurveyTable, rows: np.ndarray) -> SurveyTable:
    """Turned labels in these rows, all columns as they were."""
    return replace(small_models.relabelled(table, rows), meta=table.meta)


def parts_of(table: SurveyTable) -> tuple[SurveyTable, SurveyTable]:
    """Training surveys, and held-out ones that still have their labels."""
    held_out = block_folds(table, 3) == 0
    return table.subset(~held_out), table.subset(held_out)


def flat_prior(train: SurveyTable, target: SurveyTable, seed: int = 3) -> Prior:
    rng = np.random.default_rng(seed)
    rows = (rng.uniform(0.1, 0.9, (len(one), 7)).astype(np.float32) for one in (train, target))
    return Prior(*rows, 0.0)


def test_neighbors_are_the_nearest_of_other_blocks():
    table = with_columns(surveys())
    covariates = Covariates.fit(table, ("slope", "country"))
    blocks = block_ids(table.lat, table.lon)
    found = Neighbors.find(table, table, covariates, 5, blocks)
    (slope,), (country,) = (part.T for part in covariates.encode(table))
    for i in range(len(table)):
        costs = {}
        for j in range(len(table)):
            place, other = (table.lat[i], table.lon[i]), (table.lat[j], table.lon[j])
            km = oracles.great_circle_km(*place, *other)
            gap = (float(slope[i]) - float(slope[j])) ** 2
            unlike = math.isnan(slope[i]) != math.isnan(slope[j])
            gap = 0.0 if math.isnan(gap) else gap
            differs = gap + (gap > 0) + unlike + (country[i] != country[j])
            if blocks[i] != blocks[j]:
                costs[j] = math.log1p(km / 10) + 0.2 * differs
        wanted = sorted(costs.values())[:5]
        assert [costs[j] for j in found.source[i]] == pytest.approx(wanted, rel=1e-4)
        for place, j in enumerate(found.source[i]):
            km = oracles.great_circle_km(table.lat[i], table.lon[i], table.lat[j], table.lon[j])
            told = found.attributes[i, place]
            assert told[0] == pytest.approx((math.log1p(km) - 4) / 1.5, rel=1e-3, abs=1e-3)
            assert told[4] == (country[i] != country[j])


def test_who_has_fewer_neighbors_has_fewer_edges():
    table = surveys(blocks=2, per_block=3)
    found = Neighbors.find(table, table, Covariates(), 5, np.array([0, 0, 0, 1, 1, 1]))
    assert ((found.source >= 0).sum(axis=1) == 3).all()
    index, attributes = found.edges(np.array([4, 0]))
    assert index[1].tolist() == [0, 0, 0, 1, 1, 1]
    assert set(index[0, :3].tolist()) == {0, 1, 2}
    assert set(index[0, 3:].tolist()) == {3, 4, 5}
    assert attributes.shape == (6, 1)


def test_label_attention_beside_plain_loops():
    rng = np.random.default_rng(0)
    y = (rng.random((5, 3)) < 0.5).astype(np.float32)  # 5 sources, 3 species
    index = torch.tensor([[0, 2, 4, 1], [0, 0, 0, 1]])  # the third target has no neighbour
    attributes = torch.randn(4, 2, generator=torch.Generator().manual_seed(1))
    prior = torch.from_numpy(rng.uniform(0.1, 0.9, (3, 3)).astype(np.float32))
    model = shaken(LabelAttention(3, 2, heads=2, hidden=4))
    with torch.no_grad():
        found = model(torch_csr(sparse.csr_matrix(y.T)), index, attributes, prior)
        logits = model.weigh(attributes).numpy()
        share = model.share.softmax(dim=1).numpy()
        for i in range(3):
            edges = [e for e in range(4) if index[1, e] == i]
            nearest = min([float(attributes[e, 0]) for e in edges], default=4.0)
            stay = model.stay(torch.tensor([nearest])).numpy()
            for s in range(3):
                p = 0.0
                for h in range(2):
                    weights = [math.exp(logits[e, h]) for e in edges] + [math.exp(stay[h])]
                    lists = [float(y[index[0, e], s]) for e in edges] + [float(prior[i, s])]
                    mixed = sum(w * v for w, v in zip(weights, lists, strict=True))
                    p += share[s, h] * mixed / sum(weights)
                wanted = float(model.slope) * math.log(p / (1 - p)) + float(model.bias[s])
                assert float(found[i, s]) == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_masked_labels_begin_at_the_prior_and_reach_two_layers_far():
    """A chain of surveys 0 → 1 → 2: the list of 0 reaches 2, but not where it is hidden."""
    features, attributes = torch.ones(3, 2), torch.zeros(2, 1)
    index = torch.tensor([[0, 1], [1, 2]])
    prior = torch.tensor([[0.2, 0.5, 0.9, 0.4]])
    model = MaskedLabels(4, 2, 1, width=8, heads=2, rank=3).eval()
    one, other = (
        torch_csr(sparse.csr_matrix(np.array([row, [0, 1, 0, 0], [0, 0, 0, 0]], dtype=np.float32)))
        for row in ([1, 0, 0, 0], [0, 0, 1, 1])
    )
    asked = torch.tensor([False, False, True])

    def logits(y: torch.Tensor, hidden: bool) -> torch.Tensor:
        known = torch.tensor([not hidden, True, False])
        with torch.no_grad():
            return model(features, y, known, index, attributes, asked, prior)

    assert torch.allclose(logits(one, False), prior.logit())
    shaken(model)
    assert not torch.allclose(logits(one, False), logits(other, False))
    assert torch.equal(logits(one, True), logits(other, True))


@pytest.mark.parametrize("block", range(3))
def test_labels_of_the_own_block_do_not_matter(block: int):
    """To the bit, with weights that nobody trained; those of another block do."""
    table = with_columns(surveys())
    blocks = block_ids(table.lat, table.lon)
    rows = np.flatnonzero(blocks == blocks[4 * block])
    covariates = Covariates.fit(table)
    near = Neighbors.find(table, table, covariates, 12, blocks)
    places = place_features(table, covariates)
    index, attributes = near.edges(np.arange(len(table)))
    asked = torch.from_numpy(np.isin(np.arange(len(table)), rows))
    attention = shaken(LabelAttention(7, attributes.shape[1]))
    masked = shaken(MaskedLabels(7, places.shape[1], attributes.shape[1]))

    def predictions(labelled: SurveyTable) -> list[torch.Tensor]:
        labels = labelled.known_labels()
        prior = torch.from_numpy(regional(labelled, labelled, parts=4).train[rows])
        y, turned = torch_csr(labels), torch_csr(sparse.csr_matrix(labels.T))
        with torch.no_grad():
            return [
                attention(turned, *near.edges(rows), prior),
                masked(places, y, ~asked, index, attributes, asked, prior),
            ]

    before = predictions(table)
    own = predictions(relabelled(table, rows))
    others = predictions(relabelled(table, np.flatnonzero(blocks != blocks[rows[0]])))
    for was, same, changed in zip(before, own, others, strict=True):
        assert torch.equal(was, same)
        assert not torch.allclose(was, changed)


@pytest.mark.parametrize("name", NETWORKS)
def test_held_out_labels_and_other_held_out_surveys_do_not_matter(name: str):
    train, target = parts_of(with_columns(surveys()))
    prior = flat_prior(train, target)
    p = NETWORKS[name](train, target, prior, QUICK)
    assert p.shape == (len(target), 7)
    assert ((p >= 0) & (p <= 1)).all()
    hidden = NETWORKS[name](train, replace(target, labels=None), prior, QUICK)
    assert np.array_equal(p, hidden)
    few = Prior(prior.train, prior.target[:3], 0.0)
    alone = NETWORKS[name](train, target.subset(np.arange(3)), few, QUICK)
    assert np.allclose(p[:3], alone, rtol=1e-4, atol=1e-6)
    other = NETWORKS[name](relabelled(train, np.arange(len(train))), target, prior, QUICK)
    assert not np.allclose(p, other)


@pytest.mark.parametrize("name", NETWORKS)
def test_training_finds_what_the_prior_does_not_know(name: str):
    """Species follow the latitude; a prior of 1/2 everywhere tells nothing."""
    train, target = parts_of(surveys(blocks=24))
    prior = Prior(*(np.full((len(t), 7), 0.5, dtype=np.float32) for t in (train, target)), 0.0)
    truth = target.known_labels()
    p = NETWORKS[name](train, target, prior, replace(QUICK, steps=60, neighbors=16))
    frequency = np.tile(np.asarray(train.labels.mean(axis=0)), (len(target), 1))
    assert cross_entropy(p, truth).mean() < cross_entropy(frequency, truth).mean()


def test_spread_shares_the_remainder():
    rows = ScaleRows(
        sparse.csr_matrix(np.array([[0.5, 0.0, 0.0], [0.0, 0.2, 0.1]], dtype=np.float32)),
        np.array([0.1, 0.03], dtype=np.float32),
    )
    assert np.allclose(spread(rows), [[0.5, 0.05, 0.05], [0.03, 0.2, 0.1]])


def test_cross_entropy_beside_plain_loops():
    p, y = np.array([[0.2, 0.9], [0.5, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    wanted = [-math.log(0.8) - math.log(0.9), -math.log(0.5) - math.log(1 - 1e-5)]
    assert cross_entropy(p, sparse.csr_matrix(y)) == pytest.approx(wanted)


def test_a_second_run_goes_on_where_the_first_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    table = surveys()
    folds = block_folds(table, 2)
    networks = {name: (train, QUICK) for name, train in NETWORKS.items()}
    found = compare(table, folds, tmp_path, networks)
    wanted = [CHAIN, REGION, *(f"{a}, from the {b}" for b in (REGION, CHAIN) for a in NETWORKS)]
    assert found.index.tolist() == wanted
    assert found.drop(columns=["verdict"]).iloc[1:].notna().all(axis=None)

    def never(*_: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(graph_network, "chained", never)
    again = compare(table, folds, tmp_path, dict.fromkeys(networks, (never, QUICK)))
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), again.drop(columns="seconds"))
    with pytest.raises(AssertionError, match="made again"):  # of other labels
        compare(relabelled(table, np.arange(3)), folds, tmp_path, networks)


def test_the_command_writes_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    world = virtual_europe(60, num_test=5)
    for part, frame in (("train", world.pa_train), ("test", world.pa_test)):
        frame.to_csv(tmp_path / f"GLC24_PA_metadata_{part}.csv", index=False)
    out = tmp_path / "out"
    line = ["graph_network", "--data", str(tmp_path), "--out", str(out), "--folds", "2"]
    monkeypatch.setattr(sys, "argv", [*line, "--networks", "label attention"])
    monkeypatch.setattr(graph_network, "NETWORKS", {"label attention": (label_attention, QUICK)})
    graph_network.main()
    table = pd.read_csv(out / "graph_network.csv", index_col=0)
    assert len(table) == 4
    assert "differences from the chain" in capsys.readouterr().out
