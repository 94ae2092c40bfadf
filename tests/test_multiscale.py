"""`MultiScale` beside a brute-force oracle; what it must never see; budget, errors, files."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy import sparse

from benchmarks.inputs import survey_table
from tests.oracles import EARTH_RADIUS_KM
from tests.real_data import GLC24, needs_glc24
from tests.small_models import relabelled
from tests.test_kernel_conv import shaken
from tests.test_pyramid import km_between
from tighnari_graph import SurveyDataError, SurveyTable, block_folds, block_ids, read_glc24_pa
from tighnari_graph.multiscale import MAX_EDGES, MultiScale
from tighnari_graph.pyramid import Pyramid
from tighnari_graph.splits import some_blocks
from tighnari_graph.virtual import virtual_europe

SPECIES = np.arange(7) * 10 + 3
SCALES = (150.0, 30.0, 5.0)


def surveys(num: int = 24, seed: int = 0, po: bool = False, species: bool = True) -> SurveyTable:
    """Clusters of surveys with gaps in every column; presence-only ones have fewer columns."""
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, 4, num)
    rows = pd.DataFrame(
        {
            "surveyId": np.arange(num) + 1000 * seed,
            "lat": 46 + 0.4 * cluster + rng.normal(0, 0.07, num),
            "lon": 7 + 0.3 * cluster + rng.normal(0, 0.07, num),
            "year": 2018 + rng.integers(0, 3, num),
            "areaInM2": rng.choice([1.0, 10.0, 100.0, np.nan], num),
        }
    )
    if not po:
        rows["region"] = rng.choice(np.array(["ALPINE", "BOREAL", None], dtype=object), num)
        rows["country"] = rng.choice(np.array(["Italy", "France", None], dtype=object), num)
        rows["slope"] = rng.choice([-1.0, 0.5, 3.0, np.nan], num)
    if not species:
        rows.loc[0, "region"], rows.loc[1, "country"] = "MACARONESIA", "Malta"  # never seen
        return SurveyTable.from_long(rows)
    labels = sparse.csr_matrix((rng.random((num, 7)) < 0.15 + 0.15 * cluster[:, None]) * 1.0)
    table = SurveyTable.from_long(rows)
    return replace(table, labels=labels.astype(np.float32), species_ids=SPECIES)


def fitted(*tables: SurveyTable, **options: Any) -> MultiScale:
    """A model whose parameters are nobody's favourites."""
    model = MultiScale.fit(*tables, **({"scales_km": SCALES, "steps": 2} | options))
    shaken(model.chain, seed=1)
    return model


# --- the oracle ----------------------------------------------------------------------------------


def brute_force(
    model: MultiScale,
    train: SurveyTable,
    target: SurveyTable,
    po: SurveyTable | None = None,
    effort: list[float] | None = None,
    own: bool = False,
) -> np.ndarray:
    """The chain of the issue, survey by survey and species by species, kept below 1.

    Only the parameters are the model's; distances, comparisons, blocks and the prior are not.
    """
    sources = {"survey": train} | ({} if po is None else {"po": po})
    weights = {"survey": [1.0] * len(train), "po": effort or [1.0] * (0 if po is None else len(po))}
    places = {name: list(zip(t.lat, t.lon, strict=True)) for name, t in sources.items()}
    here = list(zip(target.lat, target.lon, strict=True))
    labels = {name: t.known_labels().toarray() for name, t in sources.items()}
    strength = [math.exp(x) for x in model.chain.log_strength.tolist()]
    rarity = model.chain.rarity.tolist()
    gaps = {
        name: gaps_by_hand(train, table, target, model.covariates[name].names)
        for name, table in sources.items()
    }
    result = np.zeros((len(target), len(SPECIES)))
    for i in range(len(target)):
        seen = [
            (name, j)
            for name, table in sources.items()
            for j in range(len(table))
            if not (own and name == "survey" and block_of(places[name][j]) == block_of(here[i]))
        ]
        others = [j for name, j in seen if name == "survey"]
        p = [sum(labels["survey"][j][s] for j in others) / max(len(others), 1) for s in range(7)]
        for scale in range(len(SCALES)):
            votes, mass = [0.0] * 7, 0.0
            for name, j in seen:
                conv = model.chain.convs[name]
                h = math.exp(conv.log_bandwidth.tolist()[scale])
                d = km_between(places[name][j], here[i])
                k = math.exp(-d / h if conv.kernel == "exponential" else -(d**2) / (2 * h**2))
                for b, gap in zip(conv.raw_strength.tolist()[scale], gaps[name](j, i), strict=True):
                    k *= math.exp(-math.log(1 + math.exp(b)) * gap)
                rate = 1.0
                if name == "po":
                    k *= math.exp(conv.log_amplitude.tolist()[scale])
                    rate = math.exp(conv.log_rate.tolist()[scale])
                k *= weights[name][j]
                mass += rate * k
                votes = [v + k * float(labels[name][j][s]) for s, v in enumerate(votes)]
            held = [strength[scale] * (0.05 / max(q, 1e-4)) ** rarity[scale] for q in p]
            shrunk = zip(votes, p, held, strict=True)
            p = [min((v + lam * q) / (mass + lam), 1) for v, q, lam in shrunk]
        result[i] = p
    return result


def gaps_by_hand(train: SurveyTable, source: SurveyTable, target: SurveyTable, names: Any) -> Any:
    """A function of source and target that lists what differs, as `Covariates` tells."""
    columns = []
    for name in names:
        raw = [list(table.column(name)) for table in (train, source, target)]
        if any(isinstance(x, str) for x in raw[0]):
            known = {x for x in raw[0] if isinstance(x, str)}
            missing, other = object(), object()
            ends = [
                [missing if not isinstance(x, str) else x if x in known else other for x in part]
                for part in raw[1:]
            ]
            columns.append(("text", False, *ends))
            continue
        known = [float(x) for x in raw[0] if not math.isnan(x)]
        positive = [x for x in known if x > 0]
        wide = min(known) >= 0 and max(known) >= 50 * min(positive)
        measured = [math.log(1 + x) if wide else x for x in known]
        mean = sum(measured) / len(known)
        spread = math.sqrt(sum((x - mean) ** 2 for x in measured) / len(known))
        ends = [
            [(math.log(1 + x) if wide else float(x)) / spread for x in part] for part in raw[1:]
        ]
        lacking = any(math.isnan(x) for part in raw[:2] for x in part)
        columns.append(("number", lacking, *ends))

    def gaps(j: int, i: int) -> list[float]:
        found: list[float] = []
        for kind, lacking, sources, targets in columns:
            a, b = sources[j], targets[i]
            if kind == "text":
                found.append(float(a != b))
                continue
            unknown = math.isnan(a) or math.isnan(b)
            found += [0.0, 0.0] if unknown else [(a - b) ** 2, float(abs(a - b) > 1e-9)]
            found += [float(math.isnan(a) != math.isnan(b))] * lacking
        return found

    return gaps


def block_of(place: tuple[float, float], size: float = 10.0) -> tuple[int, int]:
    km = math.pi / 180 * EARTH_RADIUS_KM
    row = math.floor(place[0] * km / size)
    middle = math.radians((row + 0.5) * size / km)
    return row, math.floor(place[1] * km * math.cos(middle) / size)


@pytest.mark.parametrize("kernel", ["exponential", "gaussian"])
@pytest.mark.parametrize("seed", [0, 1])
def test_probabilities_are_those_of_the_formula(kernel, seed):
    train, target = surveys(seed=seed), surveys(6, seed=7, species=False)
    model = fitted(train, kernel=kernel)
    assert model.covariates["survey"].names == ("year", "areaInM2", "slope", "region", "country")
    assert model.opening == 0
    found = model.predict(target, top=7).probabilities.toarray()
    np.testing.assert_allclose(found, brute_force(model, train, target), atol=1e-5)
    found = model.predict_training(train, top=7).probabilities.toarray()
    expected = brute_force(model, train, train, own=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(expected - brute_force(model, train, train)).max() > 0.05  # blocks matter


@pytest.mark.parametrize("weighted", [True, False])
def test_presence_only_surveys_come_with_amplitude_rate_and_effort(weighted):
    train, target = surveys(18), surveys(5, seed=7, species=False)
    po = surveys(20, seed=3, po=True)
    effort = np.random.default_rng(0).choice([0.0, 0.3, 1.0, 4.0], 20) if weighted else None
    model = fitted(train, po, effort=effort)
    assert model.covariates["po"].names == ("year", "areaInM2")
    given = effort.tolist() if weighted else None
    found = model.predict(target, top=7).probabilities.toarray()
    np.testing.assert_allclose(found, brute_force(model, train, target, po, given), atol=1e-5)
    found = model.predict_training(train, top=7).probabilities.toarray()
    expected = brute_force(model, train, train, po, given, own=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_chosen_columns_only_are_compared():
    train, target = surveys(), surveys(6, seed=7, species=False)
    model = fitted(train, covariates=("country",))
    assert model.covariates["survey"].names == ("country",)
    found = model.predict(target, top=7).probabilities.toarray()
    np.testing.assert_allclose(found, brute_force(model, train, target), atol=1e-5)


def test_probabilities_stay_below_one_where_incomplete_lists_would_pass_it():
    train, po = surveys(), surveys(seed=3, po=True)
    full = replace(po, labels=sparse.csr_matrix(np.ones((24, 7), dtype=np.float32)))
    model = fitted(train, full)
    with torch.no_grad():
        model.chain.convs["po"].log_amplitude.fill_(3.0)
        model.chain.convs["po"].log_rate.fill_(-3.0)
    assert model.predict(train).probabilities.max() == 1.0
    probabilities = model.probabilities(train)
    assert probabilities.requires_grad
    assert 0 <= float(probabilities.detach().min()) <= float(probabilities.detach().max()) <= 1


# --- what it must never see ----------------------------------------------------------------------


def taught(model: MultiScale, table: SurveyTable) -> MultiScale:
    """The same parameters, the labels of this table."""
    values, codes = model.covariates["survey"].encode(table)
    pyramid = Pyramid.build(table.lat, table.lon, table.known_labels(), values, codes)
    return replace(model, pyramids={"survey": pyramid})


@pytest.mark.parametrize("opening", [0.0, 0.3, 1.0, 2.0])
def test_the_labels_of_the_own_block_change_nothing(opening):
    train = surveys(90)
    model = replace(fitted(train), opening=opening)
    before = model.predict_training(train, top=7).probabilities.toarray()
    block = block_ids(train.lat, train.lon)
    changed = 0
    for number in np.unique(block)[:12]:
        own = block == number
        other = replace(train, labels=relabelled(train, own).labels)
        after = taught(model, other).predict_training(other, top=7).probabilities.toarray()
        np.testing.assert_allclose(after[own], before[own], rtol=1e-6, atol=1e-7)
        changed += np.abs(after[~own] - before[~own]).max() > 1e-3
    assert changed == 12  # while all others see them


@pytest.mark.parametrize("opening", [0.0, 0.5])
def test_the_labels_of_targets_are_not_looked_at(opening):
    train, target = surveys(40), surveys(12, seed=5)
    model = replace(fitted(train), opening=opening)
    expected = model.predict(target).probabilities.toarray()
    for other in (replace(target, labels=None), relabelled(target, np.arange(12))):
        other = replace(target, labels=other.labels)
        np.testing.assert_array_equal(model.predict(other).probabilities.toarray(), expected)


def test_all_surveys_in_one_block_leave_nothing_to_predict_from():
    train = surveys(12)
    train = replace(train, lat=np.full(12, 46.0), lon=np.full(12, 7.0))
    model = fitted(train)
    rows = model.predict_training(train)
    assert rows.probabilities.sum() == 0
    assert model.predict(train).probabilities.sum() > 0


# --- cells ---------------------------------------------------------------------------------------


@needs_glc24
def test_the_error_of_cells_is_small_and_grows_with_the_opening():
    path = GLC24 / "GLC24_PA_metadata_train.csv"
    train = some_blocks(read_glc24_pa(path), 800)
    model = MultiScale.fit(train, steps=12)
    some = train.subset(np.arange(0, 800, 5))
    exact = model.probabilities(some).detach()
    error = {
        opening: (replace(model, opening=opening).probabilities(some).detach() - exact).abs()
        for opening in (0.3, 0.5, 1.0)
    }
    mean = [float(e.mean()) for e in error.values()]
    worst = [float(e.max()) for e in error.values()]
    assert mean[0] < mean[1] < mean[2]
    assert worst[0] < worst[2]
    assert mean[0] < 3e-4
    assert float(error[0.3][exact > 0.01].mean()) < 5e-3
    assert worst[0] < 0.1


def test_the_budget_of_edges_is_kept_or_refused():
    train = survey_table(250, 20, per_cluster=10)
    vectors = None
    for budget in (100_000, 20_000, 10_000):
        model = fitted(train, max_edges=budget)
        pyramid = model.pyramids["survey"]
        vectors = pyramid.vectors[:250]
        edges = len(pyramid.edges(vectors, pyramid.block[:250], model.opening)[0])
        assert edges <= budget
        assert (model.opening == 0) == (budget >= 250 * 250)
    with pytest.raises(SurveyDataError, match=r"250 surveys need .* more than max_edges = 1,000"):
        fitted(train, max_edges=1000)


def test_a_fit_with_cells_is_near_the_exact_one():
    train = survey_table(250, 20, per_cluster=10)
    exact, cells = (
        MultiScale.fit(train, steps=16, max_edges=budget) for budget in (100_000, 20_000)
    )
    assert cells.opening > 0
    one, other = (m.predict_training(train, top=20).probabilities for m in (exact, cells))
    assert np.abs((one - other).toarray()).mean() < 0.02


# --- rows, fitting, errors -----------------------------------------------------------------------


def test_the_best_species_and_the_remainder_are_all_there_is():
    train, target = surveys(40), surveys(9, seed=4)
    model = fitted(train)
    full = model.predict(target, top=99)
    dense = model.probabilities(target).detach().numpy()
    np.testing.assert_allclose(full.probabilities.toarray(), dense, atol=1e-6)
    np.testing.assert_allclose(full.remainder, 0, atol=1e-5)
    few = model.predict(target, top=3)
    assert (np.diff(few.probabilities.indptr) == 3).all()
    np.testing.assert_allclose(few.probabilities.max(axis=1).toarray()[:, 0], dense.max(axis=1))
    total = np.asarray(few.probabilities.sum(axis=1)).ravel() + few.remainder
    np.testing.assert_allclose(total, dense.sum(axis=1), rtol=1e-5)
    assert few.remainder.min() > 0.1
    some = model.predict(target.subset(np.array([5, 2])), top=3).probabilities
    np.testing.assert_allclose(some.toarray(), few.probabilities[[5, 2]].toarray(), atol=1e-6)
    none = model.predict(target.subset(np.zeros(0, dtype=int)))
    assert none.probabilities.shape == (0, 7)
    assert none.remainder.shape == (0,)


def test_more_rows_than_fit_into_a_batch_come_in_their_order():
    train = survey_table(300, 12, per_cluster=20)
    for opening in (0.0, 0.5):
        model = replace(fitted(train), opening=opening)
        rows = model.predict(train, top=12).probabilities.toarray()
        for i in (0, 17, 299):
            alone = model.probabilities(train.subset(np.array([i]))).detach().numpy()[0]
            np.testing.assert_allclose(rows[i], alone, atol=1e-5)


def test_a_seed_gives_the_same_fit_and_another_one_another():
    train = surveys(400)  # seven runs of targets, of which a step takes four
    one, same, other = (MultiScale.fit(train, steps=6, seed=seed) for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(one.history, same.history)
    for a, b in zip(one.chain.parameters(), same.chain.parameters(), strict=True):
        assert torch.equal(a, b)
    assert (one.history["loss"] != other.history["loss"]).any()


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_any_number_of_steps_will_do(steps):
    assert len(MultiScale.fit(surveys(), steps=steps).history) == steps


def test_bad_input_is_refused_in_words():
    train, po = surveys(), surveys(20, seed=3, po=True)
    with pytest.raises(SurveyDataError, match="no labels"):
        MultiScale.fit(replace(train, labels=None))
    with pytest.raises(SurveyDataError, match="no labels"):
        MultiScale.fit(train, replace(po, labels=None))
    for num in (0, 1):
        with pytest.raises(SurveyDataError, match=f"{num} surveys, at least 2"):
            MultiScale.fit(train.subset(np.arange(num)), covariates=())
    with pytest.raises(SurveyDataError, match="another vocabulary"):
        MultiScale.fit(train, replace(po, species_ids=SPECIES + 1))
    with pytest.raises(SurveyDataError, match="no column 'altitude'"):
        MultiScale.fit(train, covariates=("altitude",))
    with pytest.raises(ValueError, match="kernel must be one of"):
        MultiScale.fit(train, kernel="box")
    for scales in ((), (10.0, 0.0), (math.nan,)):
        with pytest.raises(ValueError, match="scales_km must be positive"):
            MultiScale.fit(train, scales_km=scales)
    for effort in (np.ones(19), np.full(20, np.nan), np.full(20, -1.0), np.full(20, np.inf)):
        with pytest.raises(ValueError, match="effort must be 20 finite numbers from 0 up"):
            MultiScale.fit(train, po, effort=effort)
    with pytest.raises(ValueError, match="block_km"):
        MultiScale.fit(train, block_km=0.0)
    model = fitted(train)
    lacking = replace(surveys(3), meta=pd.DataFrame(index=range(3)))
    with pytest.raises(SurveyDataError, match="lacks areaInM2, slope, country"):
        model.predict(lacking)
    with pytest.raises(SurveyDataError, match="of 30 surveys lie where none of the 24 does"):
        model.predict_training(surveys(30, seed=5))


def test_some_of_the_fitted_surveys_are_predicted_as_all_of_them_are():
    train = surveys()
    model = fitted(train)
    rows = model.predict_training(train, top=7).probabilities.toarray()
    some = np.array([20, 3, 11, 3, 0])
    found = model.predict_training(train.subset(some), top=7).probabilities.toarray()
    np.testing.assert_allclose(found, rows[some], rtol=1e-5)
    assert not np.allclose(found, model.predict(train.subset(some), top=7).probabilities.toarray())


def test_a_saved_model_predicts_the_same(tmp_path):
    train, po = surveys(), surveys(20, seed=3, po=True)
    model = replace(fitted(train, po, effort=np.linspace(0.5, 2, 20)), opening=0.5)
    model.save(tmp_path / "model.safetensors")
    again = MultiScale.load(tmp_path / "model.safetensors")
    assert again.opening == 0.5
    for one, other in (
        (model.predict(train), again.predict(train)),
        (model.predict_training(train), again.predict_training(train)),
    ):
        np.testing.assert_array_equal(one.probabilities.toarray(), other.probabilities.toarray())
        np.testing.assert_array_equal(one.remainder, other.remainder)


ODD = {
    "top is": lambda a: a.update({"survey.top": a["survey.top"].double()}),
    "children and top are not every node once": lambda a: a["survey.top"].__setitem__(0, 10**9),
    "surveys have children": lambda a: a["survey.first_child"].__setitem__(slice(1, 20), 1),
    "children do not begin at 0": lambda a: a["survey.first_child"].__setitem__(0, 5),
    "a cell is part of itself": lambda a: a.update(
        {n: a[n].flip(0) for n in ("survey.children", "survey.top")}
        | {"survey.children": torch.cat([a["survey.top"], a["survey.children"]]),
           "survey.top": a["survey.top"][:0],
           "survey.first_child": torch.cat([a["survey.first_child"][:25], torch.full((24,), 48)])}
    ),
    "blocks are not numbered": lambda a: a["survey.block"].__setitem__(3, 10**12),
    "numeric is": lambda a: a.update({"survey.numeric": a["survey.numeric"][:, 1:].contiguous()}),
    "codes is": lambda a: a.update({"survey.codes": a["survey.codes"][1:].contiguous()}),
    "vectors is": lambda a: a.update({"survey.vectors": a["survey.vectors"].long()}),
    "no surveys": lambda a: a.update(relations=["po"]),
    "opening is nan": lambda a: a.update(opening=float("nan")),
}  # fmt: skip


@pytest.mark.parametrize("message", ODD)
def test_a_saved_model_whose_numbers_point_nowhere_is_refused(tmp_path, message):
    """They would be looked up in the middle of a prediction, or for ever."""
    path = tmp_path / "model.safetensors"
    fitted(surveys(), surveys(20, seed=3, po=True)).save(path)
    with safe_open(path, framework="pt") as file:
        ((header, about),) = file.metadata().items()
    arrays, about = load_file(path), json.loads(about)
    ODD[message](arrays)
    about["opening"] = arrays.pop("opening", about["opening"])
    kept = arrays.pop("relations", about["relations"])
    about["relations"] = {name: about["relations"][name] for name in kept}
    save_file(arrays, path, metadata={header: json.dumps(about)})
    with pytest.raises(SurveyDataError, match=rf"model\.safetensors: .*{message}"):
        MultiScale.load(path)


def test_on_held_out_blocks_of_a_virtual_europe_it_beats_the_global_frequency():
    world = virtual_europe(600, 0, 10, num_species=120, seed=3)
    table = SurveyTable.from_long(world.pa_train)
    held_out = block_folds(table, 5) == 0
    train, test = table.subset(~held_out), table.subset(held_out)
    model = MultiScale.fit(train)
    truth = test.known_labels().toarray()

    def entropy(p: np.ndarray) -> float:
        p = np.clip(p, 1e-4, 1 - 1e-4)
        return float(-np.where(truth > 0, np.log(p), np.log(1 - p)).mean())

    everywhere = np.asarray(train.known_labels().mean(axis=0)).ravel()
    ours = entropy(model.predict(test, top=len(table.species_ids)).probabilities.toarray())
    assert ours < 0.9 * entropy(np.broadcast_to(everywhere, truth.shape))
    loss = model.history["loss"].to_numpy()
    assert loss[-8:].mean() < loss[:4].mean()


def test_every_relation_has_its_own_budget_of_edges(monkeypatch):
    """Shared, presence-only surveys would make the cells of the surveys themselves coarser."""
    asked = []
    module = sys.modules[MultiScale.__module__]

    def choose(pyramids, train, exact, wanted, most):
        asked.append((sorted(pyramids), exact, wanted, most))
        return 0.0

    monkeypatch.setattr(module, "choose_opening", choose)
    train, po = surveys(20), surveys(10, seed=3, po=True)
    MultiScale.fit(train, steps=1)
    MultiScale.fit(train, po, steps=1)
    MultiScale.fit(train, po, steps=1, max_edges=900)
    assert asked == [
        (["survey"], 20_000, 80_000, MAX_EDGES),
        (["po", "survey"], 20_000, 160_000, MAX_EDGES),
        (["po", "survey"], 900, 900, 900),
    ]
