"""Explanations add up to what was predicted, and name what it came from."""

import functools
import io
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from benchmarks.inputs import survey_table
from tests.small_models import relabelled
from tests.strategies import on_a_meridian
from tests.test_multiscale import SCALES, SPECIES, fitted, surveys
from tighnari_graph import (
    MultiScale,
    SurveyDataError,
    SurveyGraph,
    SurveyTable,
    explain,
    explain_feature,
    explain_lists,
    explain_multiscale,
    explain_shares,
    graph_feature_vectors,
    species_lists,
)
from tighnari_graph.explanation import Explanation
from tighnari_graph.shares import FrequencyPrior, NeighborShares

NUM_SPECIES = 7


def table_of(frame: pd.DataFrame, **options) -> SurveyTable:
    return SurveyTable.from_long(frame, **options)


def by_hand() -> SurveyGraph:
    """Surveys at 0, 4 and 9 km, one alone at 200 km; species have names."""
    names = {3: "Abies alba", 17: "Fagus sylvatica", 42: "Quercus robur"}
    frame = on_a_meridian((7, 0, [3, 17]), (9, 4, [3, 42]), (2, 9, [3]), (5, 200, [17]))
    return SurveyGraph.from_surveys(table_of(frame.assign(speciesId=frame["speciesId"].map(names))))


def sums(found: Explanation, species_ids: np.ndarray) -> np.ndarray:
    """Shares added up species by species, over the whole vocabulary."""
    added = found.by_neighbor.groupby("species")["share"].sum()
    assert np.allclose(
        added.reindex(found.species["species"], fill_value=0), found.species.predicted
    )
    kinds = [k for k in ("survey", "cell", "po", "po_cell", "prior") if k in found.species]
    if kinds:
        np.testing.assert_allclose(found.species[kinds].sum(axis=1), found.species["predicted"])
    assert math.isclose(found.neighbors["share"].sum(), found.by_neighbor["share"].sum())
    return added.reindex(species_ids, fill_value=0.0).to_numpy()


@functools.cache
def attached(num: int = 240) -> tuple:
    """Labelled surveys, held-out ones beside them, PO surveys; some regions missing or unseen."""
    table = survey_table(num, num_species=NUM_SPECIES, per_cluster=20)
    country = np.array(["Italy", "France", None], dtype=object)[np.arange(num) % 7 % 3]
    table = replace(table, meta=pd.DataFrame({"country": country}))
    train, test = table.subset(np.arange(num) % 3 > 0), table.subset(np.arange(num) % 3 == 0)
    region = test.region.copy()
    region[:3], region[3:6] = None, "MACARONESIA"
    test = replace(test, region=region, labels=None)
    test.meta.loc[8, "country"] = "Malta"
    po = replace(table, survey_id=table.survey_id + 10_000, region=None)
    return train, test, po, SurveyGraph.from_surveys(train).attach(test, po)


# --- graph feature vectors -----------------------------------------------------------------------


def test_shares_of_a_feature_by_hand():
    found = explain(by_hand(), 7)
    # 6 km and 1 km, over √2
    expected = [("survey 9", 9, "Abies alba", 6), ("survey 2", 2, "Abies alba", 1)]
    expected += [("survey 9", 9, "Quercus robur", 6)]
    rows = found.by_neighbor
    assert list(rows) == [
        "neighbor", "contributor", "kind", "distance_km", "scale_km", "species", "name", "share",
    ]  # fmt: skip
    told = zip(rows["contributor"], rows["neighbor"], rows["name"], strict=True)
    assert list(told) == [row[:3] for row in expected]
    np.testing.assert_allclose(
        rows["share"], np.array([r[3] for r in expected]) / 2**0.5, rtol=1e-4
    )
    np.testing.assert_allclose(rows["distance_km"], [4, 9, 4], atol=1e-4)
    assert found.species["neighbors"].tolist() == [2, 1]
    np.testing.assert_allclose(found.species["survey"], [7 / 2**0.5, 6 / 2**0.5], rtol=1e-4)
    assert found.neighbors["neighbor"].tolist() == [9, 2]
    assert found.neighbors["species"].tolist() == [2, 1]
    np.testing.assert_allclose(found.neighbors["share"], np.array([12, 1]) / 2**0.5, rtol=1e-4)
    assert found.unit == "km / √neighbours"


@pytest.mark.parametrize("normalize", ["max", "l2", None])
@pytest.mark.parametrize("degree", ["count", "weight"])
@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("exclude_block", [None, 10.0])
def test_they_add_up_to_the_feature(normalize, degree, hidden, exclude_block):
    train, test, _, hetero = attached()
    options = {"normalize": normalize, "degree": degree, "exclude_block": exclude_block}
    options["visible"] = np.arange(len(train)) % 4 > 0 if hidden else None
    for kind, table in (("survey", train), ("test", test)):
        expected = graph_feature_vectors(hetero, kind, **options).to_dense().numpy()
        assert (expected > 0).any()
        for row in range(0, len(table), 19):
            found = explain(hetero, int(table.survey_id[row]), target=kind, top=None, **options)
            np.testing.assert_allclose(
                sums(found, train.species_ids), expected[row], rtol=2e-6, atol=1e-6
            )


def test_neither_own_nor_hidden_labels_are_looked_at():
    table = survey_table(120, num_species=NUM_SPECIES, per_cluster=20)
    visible = np.arange(120) % 3 > 0
    degree = SurveyGraph.from_surveys(table.subset(visible)).degree().numpy()
    busy = np.flatnonzero(visible)[degree.argmax()]
    for row in (busy, np.flatnonzero(~visible & (table.year == table.year[busy]))[0], busy - 1):
        hidden = ~visible | (np.arange(120) == row)
        other = relabelled(table, np.flatnonzero(hidden))
        pair = [
            explain(SurveyGraph.from_surveys(one), int(table.survey_id[row]), visible=visible)
            for one in (table, other)
        ]
        assert len(pair[0].by_neighbor) > 3
        pd.testing.assert_frame_equal(pair[0].by_neighbor, pair[1].by_neighbor)
        ids = set(pair[0].neighbors["neighbor"])
        assert not ids & set(table.survey_id[~visible].tolist())


def test_an_isolate_has_no_contributors_and_can_be_shown():
    found = explain(by_hand(), 5)
    assert found.species.empty
    assert found.by_neighbor.empty
    assert found.neighbors.empty
    assert "from nothing" in repr(found)
    assert "survey 5" in found._repr_html_()
    found.plot().savefig(io.BytesIO())


def test_what_cannot_be_explained_is_named():
    graph = by_hand()
    with pytest.raises(SurveyDataError, match="no survey 6 among 4 survey nodes"):
        explain(graph, 6)
    with pytest.raises(ValueError, match="visible must be a bool mask of the 4 surveys"):
        explain(graph, 7, visible=np.ones(3, dtype=bool))
    with pytest.raises(ValueError, match="degree must be"):
        explain(graph, 7, degree="mean")
    with pytest.raises(ValueError, match="normalize must be"):
        explain(graph, 7, normalize="sum")
    with pytest.raises(ValueError, match="top must be at least 1, got 0"):
        explain(graph, 7, top=0)
    for bad in (np.ones(2), np.array([0.1, np.nan, 0.2]), torch.ones(1, 3)):
        with pytest.raises(ValueError, match="probability must be 3 finite numbers"):
            explain(graph, 7, probability=bad)


def test_a_models_probability_stands_beside_and_orders_the_species():
    given = torch.tensor([0.2, 0.9, 0.4], requires_grad=True)
    found = explain(by_hand(), 7, probability=given, top=2)
    assert found.species["name"].tolist() == ["Fagus sylvatica", "Quercus robur"]
    np.testing.assert_allclose(found.species["probability"], [0.9, 0.4], rtol=1e-6)
    np.testing.assert_allclose(found.species["predicted"], [0, 6 / 2**0.5], rtol=1e-4)
    assert set(found.by_neighbor["name"]) == {"Quercus robur"}


# --- shares with priors --------------------------------------------------------------------------


def test_they_add_up_to_the_shares_of_neighbours_and_priors():
    train, test, _, hetero = attached()
    prior = FrequencyPrior.fit(train, test)
    shares = NeighborShares.of_test(hetero, prior)
    expected = shares.probabilities(15.0).toarray()
    assert (shares.weight == 0).any()
    for row, survey_id in list(enumerate(test.survey_id.tolist()))[::3]:
        found = explain_shares(hetero, survey_id, train, test, 15.0, top=None)
        np.testing.assert_allclose(sums(found, train.species_ids), expected[row], atol=1e-6)
        if shares.weight[row] == 0:
            assert set(found.neighbors["kind"]) == {"prior"}


def test_parts_of_the_priors_by_hand():
    """Two surveys of the region, one of them of the country; m is 2, λ as much as the weights."""
    frame = pd.DataFrame(
        {"surveyId": [1, 2, 3], "lat": [46.0, 48.0, 50.0], "lon": 7.0, "year": 2020}
        | {"region": ["ALPINE", "ALPINE", "BOREAL"], "country": ["Italy", "France", "Italy"]}
        | {"speciesId": [5, 5, 9]}
    )
    train = table_of(frame)
    new = table_of(frame[:1].assign(surveyId=4).drop(columns="speciesId"))
    hetero = SurveyGraph.from_surveys(train).attach(new)
    found = explain_shares(hetero, 4, train, new, 10.0, ("region", "country"), 2.0)
    parts = found.by_neighbor.set_index(["contributor", "species"])["share"].to_dict()
    # f = (own + 2 q) / (n + 2) at each level: 1/3, then (1 + 2 (2 + 2 · 2/3) / 4) / 3
    expected = {
        ("survey 1", 5): 1 / 2,
        ("country Italy", 5): 1 / 3 / 2,
        ("region ALPINE", 5): 2 / 4 * 2 / 3 / 2,
        ("all surveys", 5): 2 / 3 * 2 / 4 * 2 / 3 / 2,
        ("all surveys", 9): 1 / 3 * 2 / 4 * 2 / 3 / 2,
    }
    assert parts.keys() == expected.keys()
    for key, value in expected.items():
        assert math.isclose(parts[key], value, rel_tol=1e-6), key
    assert found.species["species"].tolist() == [5, 9]
    assert found.species["neighbors"].tolist() == [1, 0]


def test_shares_refuse_other_tables_and_no_strength():
    train, test, _, hetero = attached()
    with pytest.raises(SurveyDataError, match="train is not the table"):
        explain_shares(hetero, int(test.survey_id[0]), test, test, 1.0)
    with pytest.raises(SurveyDataError, match="no survey 1 among 80 test nodes"):
        explain_shares(hetero, 1, train, test, 1.0)
    with pytest.raises(SurveyDataError, match="no survey 0 in target"):
        explain_shares(hetero, 0, train, test.subset(np.arange(1, 5)), 1.0)
    shares = NeighborShares.of_test(hetero, FrequencyPrior.fit(train, test))
    alone = int(test.survey_id[shares.weight == 0][0])
    for survey_id, strength in ((alone, 0.0), (0, -1.0)):
        with pytest.raises(ValueError, match="strength must be from 0 up"):
            explain_shares(hetero, survey_id, train, test, strength)


# --- species lists -------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["po", "survey", "both"])
def test_what_is_listed_is_on_the_species_lists(source):
    train, test, _, hetero = attached()
    rule = {"num_neighbors": 3, "min_count": 1, "num_po": 4, "min_po_count": 2, "source": source}
    expected = species_lists(hetero, **rule).to_dense().numpy()
    assert 0 < expected.mean() < 1
    for row, survey_id in list(enumerate(test.survey_id.tolist()))[::4]:
        found = explain_lists(hetero, survey_id, top=None, **rule)
        sums(found, train.species_ids)
        listed = found.species.loc[found.species["listed"], "species"].tolist()
        assert sorted(listed) == train.species_ids[expected[row] > 0].tolist()
        assert len(found.neighbors) <= 7


def test_counts_by_hand():
    frame = on_a_meridian((1, 1, [3]), (2, 2, [3, 17]), (3, 3, [3]), (4, 4, [17]))
    new = table_of(on_a_meridian((9, 0, [])).drop(columns="speciesId"))
    po = table_of(frame.drop(columns="region").assign(surveyId=frame["surveyId"] + 10))
    hetero = SurveyGraph.from_surveys(table_of(frame)).attach(new, po)
    found = explain_lists(hetero, 9, num_po=3, min_po_count=2)
    assert found.species.to_dict("list") == {
        "species": [3, 17], "predicted": [3.0, 1.0], "po": [3.0, 1.0], "neighbors": [3, 1],
        "needed_po": [3, 3], "listed": [True, False],
    }  # fmt: skip
    assert found.neighbors["contributor"].tolist() == [f"PO survey {i}" for i in (12, 11, 13)]
    both = explain_lists(hetero, 9, 4, 1, 3, 2, source="both")
    assert both.species["listed"].tolist() == [True, True]
    assert both.species["needed_survey"].tolist() == [2, 2]
    with pytest.raises(ValueError, match="source must be one of"):
        explain_lists(hetero, 9, source="all")
    with pytest.raises(ValueError, match="are counts, got -1, 10"):
        explain_lists(hetero, 9, num_neighbors=-1)


# --- multi-scale chain ---------------------------------------------------------------------------


@pytest.mark.parametrize("opening", [0.0, 0.5])
@pytest.mark.parametrize("po", [True, False])
@pytest.mark.parametrize("own", [True, False])
def test_they_add_up_to_the_multiscale_probability(opening, po, own):
    train, more = surveys(120), surveys(80, seed=3, po=True)
    model = replace(fitted(train, *([more] if po else [])), opening=opening)
    target = train if own else surveys(30, seed=4, species=False)
    rows = model.predict_training(train) if own else model.predict(target)
    expected = rows.probabilities.toarray()
    kinds = set()
    for row in range(0, len(target), 11):
        found = explain_multiscale(
            model, target, int(target.survey_id[row]), hide_block=own, train=train,
            presence_only=more if po else None, top=None,
        )  # fmt: skip
        np.testing.assert_allclose(sums(found, SPECIES), expected[row], atol=1e-6)
        kinds |= set(found.neighbors["kind"])
        near = found.neighbors[found.neighbors["kind"] == "survey"]
        place = pd.Series(np.arange(len(train)), index=train.survey_id)[near["neighbor"]]
        np.testing.assert_allclose(train.lat[place], near["lat"])
        block = model.pyramids["survey"].block
        assert not own or not (block[place] == block[row]).any()
    cells = {"cell", "po_cell"} if po else {"cell"}
    wanted = {"survey", "prior"} | ({"po"} if po else set()) | (cells if opening else set())
    assert kinds == wanted


def test_each_part_of_the_chain_is_what_the_formula_says():
    """Every survey, scale and species by plain loops."""
    train, target = surveys(14), surveys(2, seed=4, species=False).subset(np.array([0]))
    model = fitted(train, covariates=())
    found = explain_multiscale(model, target, train=train, top=None)
    parts = found.by_neighbor.assign(scale_km=found.by_neighbor["scale_km"].round(4))
    parts = parts.set_index(["contributor", "scale_km", "species"])["share"].to_dict()
    labels = train.known_labels().toarray()
    width = [math.exp(x) for x in model.chain.convs["survey"].log_bandwidth.tolist()]
    strength = [math.exp(x) for x in model.chain.log_strength.tolist()]
    distance = found.neighbors.set_index("neighbor")["distance_km"].to_dict()
    checked = 0
    for s, species in enumerate(SPECIES.tolist()):
        first = float(labels[:, s].mean())
        p, ratios = first, []
        for h in range(len(SCALES)):
            kernel = [math.exp(-distance[i] / width[h]) for i in train.survey_id.tolist()]
            rarity = (0.05 / max(p, 1e-4)) ** model.chain.rarity.tolist()[h]
            lam = strength[h] * rarity
            total = sum(kernel) + lam
            p = (
                sum(k * float(y) for k, y in zip(kernel, labels[:, s], strict=True)) + lam * p
            ) / total
            ratios.append((kernel, lam / total, total))
        for h, (kernel, _, total) in enumerate(ratios):
            finer = math.prod(r for _, r, _ in ratios[h + 1 :])
            for j, survey_id in enumerate(train.survey_id.tolist()):
                key = (f"survey {survey_id}", round(width[h], 4), species)
                expected = kernel[j] / total * finer * float(labels[j, s])
                assert math.isclose(parts.get(key, 0.0), expected, rel_tol=1e-4, abs_tol=1e-9)
                checked += expected > 0
        rest = first * math.prod(r for _, r, _ in ratios)
        prior = found.by_neighbor.query("kind == 'prior' and species == @species")["share"].sum()
        assert math.isclose(prior, rest, rel_tol=1e-4, abs_tol=1e-12)
    assert checked == len(SCALES) * labels.sum()


def test_what_was_cut_at_1_is_cut_in_proportion():
    train, more = surveys(60), surveys(60, seed=3, po=True)
    model = fitted(train, more)
    with torch.no_grad():
        model.chain.convs["po"].log_amplitude += 4
        model.chain.convs["po"].log_rate -= 4
    expected = model.predict(train).probabilities.toarray()
    assert (expected == 1).any()
    for row in range(0, 60, 7):
        found = explain_multiscale(model, train, int(train.survey_id[row]), top=None)
        np.testing.assert_allclose(sums(found, SPECIES), expected[row], atol=1e-6)
        assert (found.by_neighbor["share"] > 0).all()


def test_a_cell_of_one_survey_is_that_survey_and_others_say_what_they_hold():
    train = surveys(200)
    model = replace(fitted(train), opening=0.7)
    target = surveys(3, seed=4, species=False)
    found = explain_multiscale(model, target, int(target.survey_id[0]), train=train)
    cells = found.neighbors[found.neighbors["kind"] == "cell"]
    pattern = r"cell of (\d+) surveys around \d+\.\d\d° N, \d+\.\d\d° E"
    held = cells["contributor"].str.extract(pattern)[0].astype(int)
    assert (held > 1).all()
    assert (cells["neighbor"] == -1).all()
    single = found.neighbors[found.neighbors["kind"] == "survey"]
    assert single["neighbor"].isin(train.survey_id).all()
    assert held.sum() + len(single) == len(train)
    rows = explain_multiscale(model, target, int(target.survey_id[0]))
    number = rows.neighbors.loc[rows.neighbors["kind"] == "survey", "neighbor"]
    assert train.survey_id[number].tolist() == single["neighbor"].tolist()


def test_multiscale_refuses_what_it_cannot_know():
    train = surveys(40)
    model = fitted(train)
    far = surveys(2, seed=4, species=False)
    with pytest.raises(ValueError, match="which of the 40 surveys"):
        explain_multiscale(model, train)
    with pytest.raises(SurveyDataError, match="no survey 999 among 40 surveys"):
        explain_multiscale(model, train, 999)
    with pytest.raises(SurveyDataError, match="no survey at the place of 4000"):
        explain_multiscale(model, far, 4000, hide_block=True)
    with pytest.raises(SurveyDataError, match="train is not what the model was fitted on"):
        explain_multiscale(model, train, 3, train=surveys(40, seed=2))
    with pytest.raises(SurveyDataError, match="presence_only is not what"):
        explain_multiscale(model, train, 3, presence_only=surveys(5, po=True))


def test_names_of_species_come_with_the_table():
    train = surveys(40)
    names = np.array([f"Species {i}" for i in range(7)], dtype=object)
    model: MultiScale = fitted(train)
    found = explain_multiscale(model, train, 3, train=replace(train, species_names=names), top=3)
    assert len(found.species) == 3
    assert found.species["name"].tolist() == names[found.species["species"] // 10].tolist()


# --- one way in ----------------------------------------------------------------------------------


def test_explain_takes_whatever_predicted():
    train, _, _, hetero = attached()
    one, options = int(train.survey_id[5]), {"normalize": "l2", "top": 3}
    for graph in (hetero, SurveyGraph.from_surveys(train)):
        same = explain_feature(graph, one, **options).by_neighbor
        assert len(same)
        pd.testing.assert_frame_equal(explain(graph, one, **options).by_neighbor, same)
    pd.testing.assert_frame_equal(graph.explain(one, **options).by_neighbor, same)
    known = surveys(40)
    model = fitted(known)
    for hidden in (False, True):
        options = {"hide_block": hidden, "train": known}
        expected = explain_multiscale(model, known, 3, **options)
        found = explain(model, 3, known, **options)
        assert found.method == expected.method == "multi-scale probability"
        pd.testing.assert_frame_equal(found.by_neighbor, expected.by_neighbor)


def test_explain_says_what_it_takes():
    train, _, _, hetero = attached()
    with pytest.raises(ValueError, match=r"holds no surveys to predict: explain\(model, id, table"):
        explain(fitted(surveys(40)), 3)
    with pytest.raises(ValueError, match="no table is needed"):
        explain(hetero, 3, train)
    with pytest.raises(TypeError, match="Linear"):
        explain(torch.nn.Linear(1, 1), 3)


# --- figures and texts ---------------------------------------------------------------------------


@functools.cache
def explanations() -> dict[str, Explanation]:
    train, test, _, hetero = attached()
    model = replace(fitted(surveys(120), surveys(80, seed=3, po=True)), opening=0.5)
    target = surveys(2, seed=4, species=False)
    p = model.probabilities(target)[0]
    degree = torch.bincount(hetero["survey", "near", "test"].edge_index[1], minlength=len(test))
    busy = int(test.survey_id[int(degree.argmax())])
    alone = int(test.survey_id[int(degree.argmin())])
    chosen = np.linspace(0.1, 0.9, NUM_SPECIES)
    return {
        "feature": explain(hetero, busy, probability=chosen),
        "shares": explain_shares(hetero, busy, train, test, 20.0),
        "isolate": explain_shares(hetero, alone, train, test, 20.0),
        "lists": explain_lists(hetero, busy, source="both"),
        "scales": explain_multiscale(model, target, 4000, probability=p),
    }


def test_figures_show_the_same_numbers_without_a_warning():
    for name, found in explanations().items():
        figure = found.plot()
        assert isinstance(figure, Figure)
        assert figure.get_size_inches()[0] == 3.5, name
        upper, lower = figure.axes[:2]
        assert upper.get_xlabel() == "km east"
        width = {}
        for bar in lower.patches:
            at = round(bar.get_y() + bar.get_height() / 2)
            width[at] = width.get(at, 0) + bar.get_width()
        quantity = found.method + (f"\n({found.unit})" if found.unit else "")
        assert lower.get_xlabel() == quantity
        assert upper.get_title().startswith(f"survey {found.survey_id} (+): {found.method}\n")
        shown = found.species["predicted"].head(10)
        np.testing.assert_allclose([width[i] for i in range(len(shown))], shown, rtol=1e-6)
        labels = [text.get_text() for text in lower.get_yticklabels()]
        assert labels == ["species " + str(s) for s in found.species["species"].head(10)]
        assert len(upper.patches) == (found.radius_km is not None)
        assert len(figure.axes) == 2 + (name == "feature")  # a probability is no kilometre
        figure.savefig(io.BytesIO(), dpi=50)


def test_contributors_at_one_place_are_side_by_side_and_counted():
    at = (0, 4, 4, 4, 9)
    frame = on_a_meridian(*((number, km, [3]) for number, km in enumerate(at)))
    [upper, _] = explain(SurveyGraph.from_surveys(table_of(frame)), 0).plot().axes
    points = np.concatenate([part.get_offsets() for part in upper.collections])
    apart = np.linalg.norm(points[:, None] - points, axis=2)[np.triu_indices(len(points), 1)]
    assert len(points) == 4 and apart.min() > 0.5
    np.testing.assert_allclose(np.sort(points[:, 1])[-1], 9, rtol=1e-3)  # alone: where it is
    together = points[points[:, 1] < 8]
    np.testing.assert_allclose(together.mean(axis=0), [0, 4], atol=1e-3)
    assert upper.get_title().endswith(
        "4 contributors, sized by share\n3 that share a place are side by side"
    )


def test_texts_name_survey_kinds_and_species():
    for found in explanations().values():
        for text in (repr(found), found._repr_html_()):
            assert f"survey {found.survey_id}" in text
            assert str(found.species["species"][0]) in text
        count = found.neighbors["kind"].value_counts().to_dict()
        for kind, number in count.items():
            assert f"{number} {kind}" in repr(found)
        assert ("more</p>" in found._repr_html_()) == (len(found.neighbors) > 10)
