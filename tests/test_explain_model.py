"""Explanations of trained models: shares sum to what `predict` gives, and are Owen's values."""

import dataclasses
import functools
import io
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from tests.small_models import (
    SPECIES,
    every_modality,
    prepared,
    small_config,
    split_data,
    surveys,
)
from tighnari_graph import SurveyDataError
from tighnari_models import explain_model, predict
from tighnari_models.data.batch import MODALITIES, SurveyBatch
from tighnari_models.explain_shapley import shapley_values
from tighnari_models.tighnari import Tighnari


def model_of(data, seed: int = 0, config=None) -> Tighnari:
    """A model whose weights are large enough for every modality to matter."""
    torch.manual_seed(seed)
    made = config or small_config(drop_rate=0.5, modalities=data.modalities)
    model = Tighnari(data.complete(made))
    with torch.no_grad():
        model.head.weight.normal_(0, 0.5)
    model.preprocessing, model.species_ids = data.preprocessing, data.species_ids
    model.surveys = data.surveys
    return model


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    """`predict` computes in half the bits on a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@functools.cache
def crowded(modalities: tuple[str, ...] = ("table", "gfv"), **options):
    """Six blocks of ten surveys near each other, of which every fourth is hidden."""
    data = split_data(surveys(6, 10), modalities=modalities, **options)
    val = np.arange(60) % 4 == 0
    return data.with_split(~val, val)


def seen_of(data):
    return data.dataset(data.split.val, data.split.train)


def sums(found) -> np.ndarray:
    """Shares added up, in the order of the species shown."""
    added = found.by_neighbor.groupby("species")["share"].sum()
    return added.reindex(found.species["species"]).to_numpy()


def check_sums(found, models, seen, row) -> None:
    p = expit(predict(models, seen.subset(np.array([row]))).astype(np.float64))[0]
    columns = np.searchsorted(seen.species_ids, found.species["species"])
    np.testing.assert_allclose(found.species["predicted"], p[columns], rtol=0, atol=1e-5)
    np.testing.assert_allclose(sums(found), p[columns], rtol=0, atol=1e-5)
    assert (np.diff(found.species["predicted"]) <= 1e-7).all()


# --- shapley values ------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_shapley_values_are_the_mean_over_all_orders(players, seed):
    values = np.random.default_rng(seed).normal(size=(1 << players, 3))
    expected = np.zeros((players, 3))
    for order in itertools.permutations(range(players)):
        inside = 0
        for player in order:
            joined = inside | 1 << player
            expected[player] += (values[joined] - values[inside]) / math.factorial(players)
            inside = joined
    np.testing.assert_allclose(shapley_values(values), expected, atol=1e-12)
    np.testing.assert_allclose(shapley_values(values).sum(axis=0), values[-1] - values[0])
    assert shapley_values(values[:1]).shape == (0, 3)


# --- sums ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("divided", [True, False])
def test_shares_sum_to_what_predict_gives(count, divided):
    data = crowded()
    models, seen = [model_of(data, seed) for seed in range(count)], seen_of(data)
    near = {"graph": data.graph, "visible": data.split.train, "neighbors": 3} if divided else {}
    for row in range(0, 15, 6):
        survey_id = int(seen.survey_id[row])
        found = explain_model(models, seen, survey_id, num_background=5, top=None, **near)
        check_sums(found, models, seen, row)
        assert len(found.species) == SPECIES
        kinds = found.neighbors["kind"].value_counts().to_dict()
        divided_kinds = {"survey": 3, "cell": 1, "modality": 1, "prior": 1}
        assert kinds == (divided_kinds if divided else {"modality": 2, "prior": 1})
        assert (found.by_neighbor["share"] < 0).any()
        told = [kind for kind in kinds if kind in found.species]
        np.testing.assert_allclose(found.species[told].sum(axis=1), found.species["predicted"])
        assert found.method == ("probability" if count == 1 else "probability, mean of 2 models")


@pytest.mark.parametrize("offset", [True, False])
def test_a_network_on_the_chain_is_explained_with_its_offset(offset):
    data = crowded(("table", "gfv", "scales"))
    config = small_config(modalities=("table", "gfv", "scales"), scales_offset=offset)
    model, seen = model_of(data, config=config), seen_of(data)
    found = explain_model(model, seen, int(seen.survey_id[4]), num_background=4, top=3)
    check_sums(found, model, seen, 4)
    named = set(found.neighbors["contributor"])
    assert named == {"table", "survey graph", "multi-scale rows", "4 background surveys"}
    assert len(found.species) == 3


def test_every_modality_through_cross_attention(tmp_path):
    table = surveys(6, 4)
    data = split_data(table, modalities=MODALITIES, arrays=prepared(tmp_path, table))
    model = model_of(data, config=every_modality(modalities=MODALITIES))
    seen = seen_of(data)
    near = {"graph": data.graph, "visible": data.split.train, "neighbors": 1}
    found = explain_model(model, seen, int(seen.survey_id[0]), num_background=2, **near)
    check_sums(found, model, seen, 0)
    modality = found.neighbors.query("kind == 'modality'")
    assert len(modality) == 5
    assert (modality["share"].abs() > 0).all()


@pytest.mark.parametrize("way", ["sliced", "on_the_fly"])
@pytest.mark.parametrize("normalize", ["max", "l2"])
def test_features_in_every_form_and_models_with_scales_of_their_own(way, normalize, tmp_path):
    data = crowded(gfv=way, normalize=normalize, degree="weight")
    half = data.with_split(np.arange(60) < 30, np.arange(60) >= 30)
    models = [model_of(data), model_of(half, 1)]
    for number, model in enumerate(models):
        model.save_pretrained(tmp_path / f"fold_{number:02d}/model")
    seen = seen_of(data)
    near = {"graph": data.graph, "visible": data.split.train}
    found = explain_model(tmp_path, seen, int(seen.survey_id[2]), num_background=3, **near)
    check_sums(found, models, seen, 2)


def test_surveys_outside_the_graph_and_training_surveys_with_hidden_blocks():
    table = surveys(6, 10)
    new = np.arange(60) % 5 == 0
    data = split_data(table.subset(~new), test=table.subset(new), exclude_block=1.0)
    model, test = model_of(data), data.test_dataset()
    hetero = data.graph.attach(data.test)
    found = explain_model(model, test, int(test.survey_id[3]), graph=hetero, num_background=3)
    check_sums(found, model, test, 3)
    assert set(found.neighbors["kind"]) == {"survey", "cell", "modality", "prior"}
    train = data.dataset(data.split.train, data.split.train)
    near = {"graph": data.graph, "visible": data.split.train, "exclude_block": 1.0}
    found = explain_model(model, train, int(train.survey_id[1]), num_background=3, **near)
    check_sums(found, model, train, 1)


# --- values --------------------------------------------------------------------------------------


def test_shares_are_owen_values_by_plain_loops():
    """All orders of modalities, and of neighbours within the graph; models one survey at a time."""
    data = crowded()
    model, seen = model_of(data).eval(), seen_of(data)
    survey_id, stands = int(seen.survey_id[7]), [0, 3, 8]
    background = seen.subset(np.array(stands))
    near = {"graph": data.graph, "visible": data.split.train, "neighbors": 2}
    found = explain_model(model, seen, survey_id, background=background, top=None, **near)

    rows = data.graph.neighbors_of(survey_id)
    place = {int(i): n for n, i in enumerate(data.surveys.survey_id)}
    rows = rows[[data.split.train[place[i]] for i in rows["survey_id"]]]
    ids = rows["survey_id"].tolist()
    assert len(ids) > 4
    labels = data.surveys.known_labels().toarray()
    weight = dict(zip(ids, rows["weight"], strict=True))
    groups = [[ids[0]], [ids[1]], ids[2:]]
    scale = data.preprocessing.gfv.scale

    def probability(table: bool, inside: set[int]) -> np.ndarray:
        total = np.zeros(SPECIES)
        members = [i for g in inside for i in groups[g]]
        for other in stands:
            with torch.no_grad():
                feature = seen[other].gfv.to_dense()
                if members:
                    total_of = sum(weight[i] * labels[place[i]] for i in members)
                    feature = torch.tensor(total_of[None] / len(members) ** 0.5 / scale).float()
                batch = SurveyBatch(
                    torch.tensor([survey_id]), table=seen[7 if table else other].table, gfv=feature
                )
                total += model(batch).double().sigmoid().numpy()[0]
        return total / len(stands)

    shares = {name: np.zeros(SPECIES) for name in ("table", 0, 1, 2)}
    orders = 0
    for first, *_ in itertools.permutations(("table", "gfv")):
        for inner in itertools.permutations(range(3)):
            order = ["table", *inner] if first == "table" else [*inner, "table"]
            table, inside = False, set()
            for player in order:
                before = probability(table, inside)
                table, inside = (True, inside) if player == "table" else (table, inside | {player})
                shares[player] += probability(table, inside) - before
            orders += 1
    told = {"table": "table", 0: f"survey {ids[0]}", 1: f"survey {ids[1]}"}
    told[2] = f"{len(ids) - 2} farther surveys"
    column = np.searchsorted(data.species_ids, found.by_neighbor["species"])
    checked = 0
    for player, name in told.items():
        part = found.by_neighbor["contributor"] == name
        got = np.zeros(SPECIES)
        got[column[part]] = found.by_neighbor.loc[part, "share"]
        np.testing.assert_allclose(got, shares[player] / orders, atol=1e-6)
        checked += np.abs(got).max() > 1e-3
    assert checked == 4
    base = found.by_neighbor.query("kind == 'prior'").set_index("species")["share"]
    np.testing.assert_allclose(base.sort_index(), probability(False, set()), atol=1e-6)


def test_farther_surveys_on_both_sides_of_the_antimeridian_are_shown_between_them():
    table = surveys(6, 10)
    east = table.lon - table.lon.mean()
    data = split_data(dataclasses.replace(table, lon=east % 360 - 180), modalities=("table", "gfv"))
    data = data.with_split(crowded().split.train, crowded().split.val)
    seen = seen_of(data)
    near = {"graph": data.graph, "visible": data.split.train, "neighbors": 1}
    found = explain_model(model_of(data), seen, int(seen.survey_id[7]), top=None, **near)
    lon = float(found.neighbors.query("kind == 'cell'")["lon"].iloc[0])
    rows = data.graph.neighbors_of(int(seen.survey_id[7]))
    rows = rows[rows["survey_id"].isin(table.survey_id[data.split.train])][1:]
    place = np.searchsorted(table.survey_id, rows["survey_id"])
    assert (east[place] > 0).any() and (east[place] < 0).any()
    assert lon % 360 - 180 == pytest.approx(east[place].mean(), abs=1e-9)


def test_division_leaves_the_share_of_the_graph_as_it_is():
    data = crowded()
    model, seen = model_of(data), seen_of(data)
    survey_id = int(seen.survey_id[5])
    whole = explain_model(model, seen, survey_id, top=None)
    near = {"graph": data.graph, "visible": data.split.train}
    for neighbors in (0, 1, 4, 12):
        found = explain_model(model, seen, survey_id, top=None, neighbors=neighbors, **near)
        placed = found.by_neighbor[found.by_neighbor["kind"].isin(["survey", "cell"])]
        share = whole.by_neighbor.query("contributor == 'survey graph'")
        np.testing.assert_allclose(
            placed.groupby("species")["share"].sum(),
            share.set_index("species")["share"].sort_index(), atol=1e-6,
        )  # fmt: skip
        table = [f.by_neighbor.query("contributor == 'table'")["share"] for f in (whole, found)]
        np.testing.assert_allclose(*table, atol=1e-6)


def test_groups_of_neighbours_have_places_and_distances():
    data = crowded()
    model, seen = model_of(data), seen_of(data)
    survey_id, near = int(seen.survey_id[5]), {"graph": data.graph, "visible": data.split.train}
    rows = data.graph.neighbors_of(survey_id)
    trains = data.surveys.survey_id[data.split.train]
    rows = rows[rows["survey_id"].isin(trains)].reset_index(drop=True)
    last = len(rows) - 1
    every = explain_model(model, seen, survey_id, neighbors=last, num_background=2, **near)
    placed = every.neighbors[every.neighbors["kind"] == "survey"].sort_values("distance_km")
    assert placed["neighbor"].tolist() == rows["survey_id"].tolist()  # a group of one is that one
    some = explain_model(model, seen, survey_id, neighbors=2, num_background=2, **near)
    cell = some.neighbors.query("kind == 'cell'").iloc[0]
    assert cell["neighbor"] == -1
    assert math.isclose(cell["distance_km"], rows["distance_km"][2:].mean(), rel_tol=1e-6)
    place = pd.Index(data.surveys.survey_id).get_indexer(rows["survey_id"][2:])
    assert math.isclose(cell["lat"], data.surveys.lat[place].mean())
    assert math.isclose(cell["lon"], data.surveys.lon[place].mean())
    own = np.flatnonzero(data.surveys.survey_id == survey_id)[0]
    assert (some.lat, some.lon) == (data.surveys.lat[own], data.surveys.lon[own])
    assert some.radius_km == 10.0


def test_an_isolate_keeps_its_share_of_the_graph():
    table = surveys(8, 1)
    data = split_data(table)
    model, seen = model_of(data), seen_of(data)
    near = {"graph": data.graph, "visible": data.split.train}
    found = explain_model(model, seen, int(seen.survey_id[0]), **near)
    check_sums(found, model, seen, 0)
    assert set(found.neighbors["contributor"]) >= {"table", "1 background survey"}


def test_models_random_numbers_and_draws_are_left_as_they_are():
    data = crowded()
    model, seen = model_of(data).train(), seen_of(data)
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = explain_model(model, seen, int(seen.survey_id[1]), num_background=3)
    assert model.training
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    again = explain_model(model, seen, int(seen.survey_id[1]), num_background=3, batch_size=5)
    pd.testing.assert_frame_equal(first.by_neighbor, again.by_neighbor, atol=1e-6)
    other = explain_model(model, seen, int(seen.survey_id[1]), num_background=3, seed=1)
    priors = [f.species["prior"].to_numpy() for f in (first, other)]
    assert not np.allclose(*priors)


# --- figures and refusals ------------------------------------------------------------------------


def test_bars_stack_both_ways_and_mark_what_was_predicted():
    data = crowded()
    model, seen = model_of(data), seen_of(data)
    near = {"graph": data.graph, "visible": data.split.train}
    for options, parts in ((near, 2), ({}, 1)):
        found = explain_model(model, seen, int(seen.survey_id[2]), **options)
        figure = found.plot()
        assert len(figure.axes) == parts
        lower = figure.axes[-1]
        ends = {}
        for bar in lower.patches:
            row = round(bar.get_y() + bar.get_height() / 2)
            x, width = bar.get_x(), bar.get_width()
            ends.setdefault((row, width < 0), []).append((x, x + width))
        assert any(negative for _, negative in ends)
        total = np.zeros(len(found.species))
        for (row, negative), spans in ends.items():
            spans.sort(reverse=bool(negative))
            assert spans[0][0] == pytest.approx(0)
            for (_, end), (start, _) in itertools.pairwise(spans):
                assert end == pytest.approx(start)
            total[row] += spans[-1][1]
        np.testing.assert_allclose(total, found.species["predicted"], rtol=1e-6)
        marks = next(line for line in lower.lines if line.get_label() == "predicted")
        np.testing.assert_allclose(marks.get_xdata(), found.species["predicted"])
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert {"table", "14 background surveys"} <= set(labels)
        assert labels[-1] == "predicted"
        figure.savefig(io.BytesIO(), dpi=50)


def test_what_cannot_be_explained_is_named():
    data = crowded()
    model, seen = model_of(data), seen_of(data)
    one = int(seen.survey_id[0])
    with pytest.raises(SurveyDataError, match="survey 7 is 0 times among the 15 surveys"):
        explain_model(model, seen, 7)
    twice = seen.subset(np.array([0, 0, 1]))
    with pytest.raises(SurveyDataError, match=f"survey {one} is 2 times among the 3 surveys"):
        explain_model(model, twice, one)
    with pytest.raises(SurveyDataError, match=f"no survey but {one} to stand in"):
        explain_model(model, seen.subset(np.array([0])), one)
    with pytest.raises(ValueError, match="num_background must be at least 1, got 0"):
        explain_model(model, seen, one, num_background=0)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        explain_model(model, seen, one, batch_size=0)
    with pytest.raises(ValueError, match="neighbors must be from 0 to 12, got 13"):
        explain_model(model, seen, one, graph=data.graph, neighbors=13)
    with pytest.raises(SurveyDataError, match=rf"survey {one}: its \d+ neighbours .* do not make"):
        explain_model(model, seen, one, graph=data.graph)  # visible= was forgotten
    with pytest.raises(ValueError, match="visible must be a bool mask of the 60 surveys"):
        explain_model(model, seen, one, graph=data.graph, visible=np.ones(3, dtype=bool))
    with pytest.raises(ValueError, match="there are no models"):
        explain_model([], seen, one)
    other = crowded(("table",))
    with pytest.raises(ValueError, match="trained with gfv, which these surveys lack"):
        explain_model(model, seen_of(other), one)
    model.preprocessing = None
    with pytest.raises(ValueError, match="the batch lacks gfv; the model takes table, gfv"):
        explain_model(model, seen_of(other), one)
    with pytest.raises(ValueError, match="knows 9 species, the data set 7"):
        explain_model(Tighnari(small_config(num_species=9, num_table_features=3)), seen, one)
    only_table = model_of(other)
    found = explain_model(only_table, seen, one, graph=data.graph)  # no graph to divide
    assert set(found.neighbors["kind"]) == {"modality", "prior"}
