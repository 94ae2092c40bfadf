"""Folds of blocks, the shares of neighbours, and the ladder that scores them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from benchmarks.inputs import survey_table
from tests.real_data import GLC24, needs_glc24
from tighnari_graph import (
    SurveyGraph,
    SurveyTable,
    ThresholdTopK,
    block_folds,
    block_ids,
    fold_report,
    random_folds,
    read_glc24_pa,
    samples_f1,
    species_lists,
)
from tighnari_graph.ladder import climb, po_lists
from tighnari_graph.shares import FrequencyPrior, NeighborShares
from tighnari_graph.sparse import scipy_csr


def test_blocks_are_squares_of_the_asked_size_everywhere():
    rng = np.random.default_rng(0)
    for latitude in (-60.0, 0.0, 45.0, 70.0):
        lat, lon = latitude + rng.uniform(0, 1, 4000), rng.uniform(0, 1, 4000)
        block = block_ids(lat, lon)
        for number in np.unique(block)[:20]:
            inside = block == number
            height = np.ptp(lat[inside]) * 111.195
            width = np.ptp(lon[inside]) * 111.195 * np.cos(np.radians(lat[inside].mean()))
            assert height <= 10.0001
            assert width <= 10.02
    assert block_ids(np.array([90.0, -90.0]), np.array([180.0, -180.0])).tolist() in (
        [1, 0],
        [0, 1],
    )
    with pytest.raises(ValueError, match="block_km must be a positive"):
        block_ids(lat, lon, 0.0)


def test_no_block_is_torn_and_folds_cover_everything():
    table = survey_table(900, num_species=11, per_cluster=9)
    folds = block_folds(table, 5, seed=1)
    frame = pd.DataFrame({"block": block_ids(table.lat, table.lon), "fold": folds})
    assert frame.groupby("block")["fold"].nunique().max() == 1
    assert sorted(np.unique(folds)) == [0, 1, 2, 3, 4]
    assert np.array_equal(folds, block_folds(table, 5, seed=1))
    assert not np.array_equal(folds, block_folds(table, 5, seed=2))
    with pytest.raises(ValueError, match="num_folds must be from 2 to the"):
        block_folds(table, 10_000)


def test_the_report_shows_the_block_shift():
    table = survey_table(900, num_species=11, per_cluster=30)
    graph = SurveyGraph.from_surveys(table)
    blocks, random = (fold_report(graph, f) for f in (block_folds(table), random_folds(table)))
    assert blocks["held out"].sum() == random["held out"].sum() == 900
    assert blocks["degree held out"].mean() < random["degree held out"].mean()
    degree = graph.subgraph(torch.from_numpy(block_folds(table) != 0)).degree().float().mean()
    assert blocks["degree training"][0] == pytest.approx(float(degree))


def test_prior_by_hand_with_unseen_and_missing_groups():
    rows = pd.DataFrame({"surveyId": [1, 2, 3, 4], "lat": 45.0, "lon": 7.0, "year": 2020,
                         "region": ["A", "A", "B", "B"], "speciesId": [5, 5, 5, 9]})  # fmt: skip
    train = SurveyTable.from_long(rows)
    asked = rows.assign(region=["A", "B", "C", None]).drop(columns="speciesId")
    prior = FrequencyPrior.fit(train, SurveyTable.from_long(asked), surveys=2.0)
    everywhere = np.array([0.75, 0.25])
    expected = [(np.array([2, 0]) + 2 * everywhere) / 4, (np.array([1, 1]) + 2 * everywhere) / 4,
                everywhere, everywhere]  # fmt: skip
    np.testing.assert_allclose(prior.rows(slice(None)), expected, rtol=1e-6)


def test_shares_are_frequencies_and_isolates_get_the_prior():
    table = survey_table(300, num_species=13, per_cluster=20)
    train, test = table.subset(np.arange(300) % 3 > 0), table.subset(np.arange(300) % 3 == 0)
    hetero = SurveyGraph.from_surveys(train).attach(replace(test, labels=None))
    prior = FrequencyPrior.fit(train, test)
    shares = NeighborShares.of_test(hetero, prior)
    p = shares.probabilities(10.0).toarray()
    assert p.min() >= 0
    assert p.max() <= 1 + 1e-5
    alone = shares.weight == 0
    assert alone.any()
    np.testing.assert_allclose(p[alone], prior.rows(slice(None))[alone], rtol=1e-6)
    edges = hetero["survey", "near", "test"]
    one = int(edges.edge_index[1, 0])
    near = edges.edge_index[1] == one
    weight = edges.edge_weight[near].numpy()
    votes = weight @ train.labels[edges.edge_index[0, near].numpy()].toarray()
    expected = (votes + 10 * prior.rows(slice(one, one + 1))[0]) / (weight.sum() + 10)
    np.testing.assert_allclose(p[one], expected, rtol=1e-4, atol=1e-6)


def test_shares_of_the_species_that_matter_give_the_sets_of_all_species(monkeypatch):
    """With many species a row stores few of them; the best K must be those of the full matrix."""
    table = survey_table(400, num_species=900, per_cluster=20)
    train, test = table.subset(np.arange(400) % 3 > 0), table.subset(np.arange(400) % 3 == 0)
    hetero = SurveyGraph.from_surveys(train).attach(replace(test, labels=None))
    prior = FrequencyPrior.fit(train, test)
    shares = NeighborShares.of_test(hetero, prior)
    assert shares.votes.nnz < 0.5 * np.prod(shares.votes.shape)
    votes, weight = shares.votes.toarray(), shares.weight[:, None]
    full = (votes + np.float32(20) * prior.rows(slice(None))) / (weight + np.float32(20))
    for k, threshold in ((1, 0.0), (30, 0.05), (100, 0.0)):
        rule = ThresholdTopK(k, threshold)
        assert (rule.predict(full) != rule.predict(shares.probabilities(20.0))).nnz == 0


def test_po_lists_in_parts_are_those_of_one_attachment(monkeypatch):
    table = survey_table(60, num_species=9, per_cluster=30)
    po = survey_table(300, num_species=9, per_cluster=150)
    hetero = SurveyGraph.from_surveys(table).attach(replace(table, labels=None), po)
    expected = species_lists(hetero, num_po=10, min_po_count=8)
    monkeypatch.setattr("tighnari_graph.ladder.PO_PART", 7)
    assert (po_lists(table, po) != scipy_csr(expected)).nnz == 0


def test_the_ladder_scores_only_what_was_held_out():
    """Labels that are noise on top of nothing: no step may find more than the common species."""
    rng = np.random.default_rng(0)
    table = survey_table(240, num_species=20, per_cluster=12)
    noise = sparse.csr_matrix((rng.random((240, 20)) < 0.2).astype(np.float32))
    ladder = climb(replace(table, labels=noise), block_folds(table, 4))
    everything = samples_f1(np.ones((240, 20)), noise)
    assert ladder.score < everything + 0.03
    assert ladder.evaluation.survey_f1.shape == (240,)
    assert ladder.table["samples-F1"].max() < everything + 0.03
    assert (
        ladder.table["tuned on the same folds"] + 1e-9 >= ladder.table["samples-F1"]
    ).mean() > 0.9


@needs_glc24
def test_the_real_block_folds_reach_what_the_readme_says():
    table = read_glc24_pa(GLC24 / "GLC24_PA_metadata_train.csv")
    ladder = climb(table, block_folds(table))
    steps = ladder.table["samples-F1"]
    assert ladder.score >= 0.195
    assert steps["global frequency, Top-K"] == pytest.approx(0.115, abs=0.005)
    assert steps["regional frequency, Top-K"] == pytest.approx(0.142, abs=0.005)
    assert steps["GFV, isolates from the region, Top-K"] == pytest.approx(0.180, abs=0.005)
