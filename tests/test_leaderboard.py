"""The leaderboard: its methods against plain loops, and rows that run, resume and are rendered."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor

from benchmarks import leaderboard, leaderboard_networks
from benchmarks.leaderboard import Board, write
from benchmarks.leaderboard_data import SOURCES, SWISS_COVARIATES, SWISS_FILES, BoardData
from benchmarks.leaderboard_methods import (
    Tuned,
    best_species,
    boosting,
    chain,
    forest,
    graph_features,
    nearest,
    shares,
    table_features,
)
from benchmarks.leaderboard_networks import scikit_perceptron, tighnari, torch_perceptron
from benchmarks.leaderboard_rows import CHAIN, ROWS, TRAINED, Row
from benchmarks.leaderboard_tables import mean_auc
from tests.oracles import great_circle_km
from tighnari_graph import SurveyDataError, SurveyTable
from tighnari_graph.species_sets import ThresholdTopK
from tighnari_models.evaluation import evaluate, evaluate_predictions


def drawn_table(num=60, species=7, seed=0):
    """Surveys of several blocks and regions, with gaps in the plot area."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "surveyId": np.arange(num) + 11,
            "lat": 45 + rng.random(num),
            "lon": 7 + rng.random(num),
            "year": 2018 + rng.integers(0, 3, num),
            "region": np.where(rng.random(num) < 0.5, "ALPINE", "BOREAL"),
            "areaInM2": np.where(rng.random(num) < 0.2, np.nan, rng.integers(1, 400, num)),
        }
    )
    share = np.linspace(0.1, 0.7, species) * (0.5 + (frame["lat"].to_numpy()[:, None] > 45.5))
    row, column = np.nonzero(rng.random((num, species)) < share)
    long = frame.iloc[row].assign(speciesId=column)
    empty = frame[~frame["surveyId"].isin(long["surveyId"])].assign(speciesId=np.nan)
    return SurveyTable.from_long(pd.concat([long, empty]), species_ids=np.arange(species))


def halves(table):
    """Training surveys, surveys to predict, and the true species of those."""
    held_out = np.arange(len(table)) % 3 == 0
    part = table.subset(held_out)
    return table.subset(~held_out), replace(part, labels=None), part.labels.toarray()


def dense(p):
    return p.toarray() if sparse.issparse(p) else np.asarray(p)


def frequencies(train, held_out):
    mean = np.asarray(train.labels.mean(axis=0)).ravel()
    return np.tile(mean, (len(held_out), 1))


def guesses(train, held_out):
    return np.random.default_rng(len(train)).random((len(held_out), len(train.species_ids)))


# --- data


def test_every_source_has_one_vocabulary_for_pa_and_po():
    data = SOURCES["virtual"](None, 90)
    assert len(data.surveys) == 90
    np.testing.assert_array_equal(data.surveys.species_ids, data.presence_only.species_ids)
    assert data.environment is None and "90 surveys" in data.title


def swiss_files(folder, num=40):
    """Files in the form of the Swiss trees: sites of 2 species, some with none."""
    rng = np.random.default_rng(0)
    places = pd.DataFrame({"siteid": np.arange(num), "lat": 45 + rng.random(num)})
    places["lon"] = 21 + rng.random(num)
    places = places.assign(**{name: rng.random(num) for name in SWISS_COVARIATES})
    grows = pd.DataFrame(rng.integers(0, 2, (num, 2)), columns=["swi01", "swi02"])
    (folder / "disdat_swi").mkdir()
    pd.concat([places, grows], axis=1).to_parquet(folder / "disdat_swi" / SWISS_FILES[0])
    records = places.iloc[[3, 3, 5]].assign(spid=["swi02", "swi01", "swi02"])
    records.to_parquet(folder / "disdat_swi" / SWISS_FILES[1])
    return places, grows


def test_swiss_labels_are_the_columns_and_covariates_are_there(tmp_path):
    places, grows = swiss_files(tmp_path)
    data = SOURCES["swiss"](tmp_path, None)
    order = data.surveys.survey_id  # which is the row, here
    assert len(order) == len(grows) and (grows.sum(axis=1) == 0).any()
    np.testing.assert_array_equal(data.surveys.labels.toarray(), grows.to_numpy()[order])
    wanted = places[list(SWISS_COVARIATES)].to_numpy()[order]
    np.testing.assert_allclose(data.environment.loc[order], wanted)
    np.testing.assert_allclose(data.surveys.meta[list(SWISS_COVARIATES)], wanted)
    assert data.presence_only.survey_id.tolist() == [3, 5]
    assert data.presence_only.labels.toarray().tolist() == [[1, 1], [0, 1]]
    assert len(SOURCES["swiss"](tmp_path, 10).surveys) == 10


def test_glc24_without_po(tmp_path):
    (tmp_path / "glc24").mkdir()
    rows = pd.DataFrame({"surveyId": [1, 2, 2], "lat": 45.0, "lon": 7.0, "year": 2020})
    rows = rows.assign(region="ALPINE", speciesId=[5.0, 5.0, 9.0])
    rows.to_csv(tmp_path / "glc24/GLC24_PA_metadata_train.csv", index=False)
    rows.iloc[:1].to_csv(tmp_path / "glc24/GLC24_PA_metadata_test.csv", index=False)
    data = SOURCES["glc24"](tmp_path, None)
    assert data.presence_only is None and data.surveys.species_ids.tolist() == [5, 9]


@pytest.mark.parametrize("name", ["glc24", "swiss"])
def test_absent_files_are_named(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        SOURCES[name](tmp_path, None)


# --- methods


def test_best_species_are_the_largest_and_no_zeros():
    p = np.array([[0.3, 0.0, 0.5, 0.1], [0.0, 0.0, 0.0, 0.2]])
    for given in (p, sparse.csr_matrix(p)):
        found = best_species(given, top=2)
        assert found.toarray().tolist() == [[0.3, 0.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.2]]
        assert found.nnz == 3 and found.has_sorted_indices


def test_table_features_say_what_is_missing():
    train, held_out, _ = halves(drawn_table())
    near, far = table_features(train, held_out, None)
    np.testing.assert_array_equal(far[:, -1], held_out.meta["areaInM2"].isna())
    np.testing.assert_allclose(near[:, :3].mean(axis=0), 0, atol=1e-5)
    assert table_features(train, held_out, None, place=False)[0].shape[1] == near.shape[1] - 2
    ids = np.concatenate([train.survey_id, held_out.survey_id])
    environment = pd.DataFrame({"Elevation": np.arange(len(ids)) * 1.0}, index=ids)
    wider = table_features(train, held_out, environment)[1]
    assert wider.shape == (len(held_out), near.shape[1] + 1)


def test_nearest_neighbours_equal_loops():
    train, held_out, _ = halves(drawn_table())
    found = dense(next(nearest(None, train, held_out, ((4, 0.0),))))
    labels = train.labels.toarray()
    for i in range(len(held_out)):
        place = (held_out.lat[i], held_out.lon[i])
        km = [great_circle_km(*place, train.lat[j], train.lon[j]) for j in range(len(train))]
        four = sorted(range(len(train)), key=lambda j: km[j])[:4]
        weight = [1 / (1 + km[j]) for j in four]
        wanted = sum(w * labels[j] for w, j in zip(weight, four, strict=True)) / sum(weight)
        np.testing.assert_allclose(found[i], wanted, atol=1e-6)


def test_nearest_neighbours_take_covariates_where_they_count():
    table = drawn_table()
    train, held_out, _ = halves(table)
    ids = np.concatenate([train.survey_id, held_out.survey_id])
    environment = pd.DataFrame({"Elevation": (ids % 2) * 1.0}, index=ids)
    labels = sparse.csr_matrix((train.survey_id % 2)[:, None] * np.ones(7, dtype=np.float32))
    train = replace(train, labels=labels)  # what grows depends on the elevation alone
    plain, weighed = nearest(environment, train, held_out, ((3, 0.0), (3, 1e5)))
    assert len(set(dense(plain).ravel())) > 2
    np.testing.assert_allclose(dense(weighed)[:, 0], held_out.survey_id % 2, atol=1e-6)


def test_forest_equals_loops_over_trees_and_leaves():
    train, held_out, _ = halves(drawn_table(45, 5))
    found = dense(next(forest(None, train, held_out, (3,))))
    near, far = table_features(train, held_out, None)
    labels = train.labels.toarray()
    grown = RandomForestRegressor(200, min_samples_leaf=3, max_features=1 / 3, random_state=0)
    grown.fit(near, labels)
    wanted = np.zeros_like(found)
    for tree in grown.estimators_:
        inside, reached = tree.apply(near), tree.apply(far)
        for i, leaf in enumerate(reached):
            wanted[i] += labels[inside == leaf].mean(axis=0) / 200
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_forest_of_many_species_holds_their_means():
    """A stump of one leaf predicts the frequency, whatever directions it was grown on."""
    table = drawn_table(40, 80)
    train, held_out, _ = halves(table)
    found = dense(next(forest(None, train, held_out, (len(train),))))
    np.testing.assert_allclose(found, frequencies(train, held_out), atol=1e-6)


def test_boosting_equals_a_model_of_each_species_and_passes_over_constant_ones():
    train, held_out, _ = halves(drawn_table(75, 3))
    labels = train.labels.toarray()
    labels[:, 0] = 1
    train = replace(train, labels=sparse.csr_matrix(labels))
    short, long = boosting(None, train, held_out, (4, 9))
    near, far = table_features(train, held_out, None)
    for p, trees in ((short, 4), (long, 9)):
        assert (p[:, 0] == 1).all()
        model = HistGradientBoostingClassifier(
            learning_rate=0.05, max_iter=trees, max_leaf_nodes=15, early_stopping=False
        ).fit(near, labels[:, 2])
        np.testing.assert_allclose(p[:, 2], model.predict_proba(far)[:, 1], atol=1e-6)


@pytest.mark.parametrize("perceptron", [scikit_perceptron, torch_perceptron])
def test_perceptrons_pass_through_every_setting(perceptron):
    train, held_out, truth = halves(drawn_table(90))
    before = torch.get_rng_state()
    early, late = perceptron(None, train, held_out, (2, 20))
    assert torch.equal(before, torch.get_rng_state())
    (again,) = perceptron(None, train, held_out, (20,))  # stopping on the way changes nothing
    np.testing.assert_allclose(late, again, atol=1e-6)
    assert np.abs(late - early).max() > 0.01

    def loss(p):
        return -np.log(np.where(truth == 1, p, 1 - p).clip(1e-6)).mean()

    assert loss(late) < loss(np.full(truth.shape, 0.5))


def test_graph_features_of_isolates_are_those_of_their_region():
    train, held_out, _ = halves(drawn_table())
    held_out = replace(held_out, lat=held_out.lat + 20)
    found = graph_features(train, held_out).toarray()
    alpine = train.subset(train.region == "ALPINE").labels.toarray()
    same = found[held_out.region == "ALPINE"]
    assert (same == same[0]).all()
    order = np.argsort(-alpine.mean(axis=0), kind="stable")
    assert np.argmax(same[0]) == order[0]


@pytest.mark.parametrize(
    "method",
    [
        Tuned(partial(nearest, None), ((3, 0.0), (9, 30.0))),
        Tuned(shares, (5.0, 40.0)),
        partial(chain, ("year", "region"), None),
        partial(tighnari, None, None, ("table", "scales"), epochs=1),
    ],
)
def test_methods_keep_the_contract(method):
    train, held_out, truth = halves(drawn_table(45))
    found = method(train, held_out)
    p = dense(getattr(found, "probabilities", found))
    assert p.shape == truth.shape
    assert p.min() >= 0 and p.max() <= 1 + 1e-6


def test_chain_and_network_see_presence_only_surveys(monkeypatch):
    train, held_out, _ = halves(drawn_table(30))
    po = replace(train, labels=sparse.csr_matrix(np.eye(len(train), 7, dtype=np.float32)))
    with_po, without = (
        dense(chain((), given, train, held_out).probabilities) for given in (po, None)
    )
    assert np.abs(with_po - without).max() > 1e-3
    asked = {}

    def stop(*given, **more):
        asked.update(more)
        raise InterruptedError

    monkeypatch.setattr(leaderboard_networks, "SurveyDataModule", stop)
    with pytest.raises(InterruptedError):
        tighnari(None, po, ("scales",), train, held_out)
    assert asked["presence_only"] is po and asked["modalities"] == ("scales",)


def test_settings_are_chosen_inside_the_training_surveys():
    """The setting that is right for training surveys wins, and is then used on all of them."""
    train, held_out, _ = halves(drawn_table(60))
    truth = dict(zip(train.survey_id, train.labels.toarray(), strict=True))
    calls = []

    def candidates(seen, unseen, settings):
        calls.append((len(seen), len(unseen), tuple(settings)))
        assert unseen.labels is None
        for setting in settings:
            right = np.stack([truth.get(i, np.ones(7)) for i in unseen.survey_id])
            yield right if setting == "right" else 1 - right

    found = Tuned(candidates, ("wrong", "right", "wrong too"))(train, held_out)
    assert (found.toarray() == 1).all()
    (inside, left, tried), last = calls
    assert inside + left == len(train) and 0 < left < inside
    assert tried == ("wrong", "right", "wrong too")
    assert last == (len(train), len(held_out), ("right",))


# --- rows


def test_rows_build_on_rows_of_the_table_and_members_come_first():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    for place, row in enumerate(ROWS):
        assert set(row.builds_on) <= set(names) and row.name not in row.builds_on
        assert set(row.members) <= set(names[:place])
        assert (row.method is None) == bool(row.members)
        assert row.builds_on or place == 0
        sees_po = {"PO"} & set(row.name.replace(",", "").split())
        assert row.po == bool(sees_po)


def test_rows_say_what_surveys_lack():
    table = drawn_table()
    rows = {row.name: row for row in ROWS}
    data = BoardData("drawn", "drawn surveys", table)
    assert rows["chain, year and region"].lacks(data) is None
    assert rows["gradient boosting"].lacks(data) is None
    assert "PO" in rows["chain, all covariates, PO"].lacks(data)
    same = replace(table, year=np.full(len(table), 2020), region=None)
    reason = rows["chain, year and region"].lacks(replace(data, surveys=same))
    assert reason == "year and region tell no surveys apart"
    many = replace(data, surveys=drawn_table(40, 80))
    assert "80" in rows["gradient boosting"].lacks(many)


# --- the board


def two_rows(counted):
    def method(data):
        def run(train, held_out):
            counted.append(len(held_out))
            return frequencies(train, held_out)

        return run

    return (
        Row("a", method, cheap=True),
        Row("b", lambda _: guesses, ("missing", "a")),
        Row("both", None, ("a",), ("a", "b")),
        Row("with PO", lambda _: guesses, ("b",), po=True),
    )


def board_of(table, out, **more):
    return Board(BoardData("drawn", "drawn surveys", table, **more), out, folds=3)


def test_a_board_runs_and_goes_on_where_it_ended(tmp_path, capsys):
    table, counted = drawn_table(), []
    rows = two_rows(counted)
    first = board_of(table, tmp_path)
    first.run(rows, only=["a"])
    assert len(counted) == 6  # three block folds, three random ones
    assert list(first.found) == ["a"]
    assert "PO" in first.left_out["with PO"] and first.left_out["both"] == "needs b"
    second = board_of(table, tmp_path)
    second.run(rows)
    assert len(counted) == 6  # opened, not run again
    assert list(second.found) == ["a", "b", "both"]
    for one, other in (
        (first.found["a"], second.found["a"]),
        (first.found["a"].random, second.found["a"].random),
    ):
        np.testing.assert_allclose(dense(one.probabilities), dense(other.probabilities))
        assert (one.score, one.seconds, one.kind) == (other.score, other.seconds, other.kind)
    plain = evaluate(frequencies, table, num_folds=3)
    assert second.found["a"].score == plain.score
    assert second.found["a"].random.score == plain.random.score
    other = board_of(drawn_table(54, seed=1), tmp_path)
    other.run(rows[:1])
    assert len(counted) == 12 and "made anew" in capsys.readouterr().out
    two_folds = replace(board_of(other.data.surveys, tmp_path), folds=2)
    two_folds.run(rows[:1])
    assert len(counted) == 16 and "made anew" in capsys.readouterr().out


def test_a_method_that_refuses_the_surveys_is_left_out_and_others_go_on(tmp_path):
    def refuses(train, held_out):
        raise SurveyDataError("too many edges")

    rows = (Row("refuses", lambda _: refuses), Row("a", lambda _: frequencies))
    board = board_of(drawn_table(), tmp_path)
    board.run((*rows, Row("both", None, members=("a", "refuses"))))
    assert list(board.found) == ["a"]
    assert board.left_out == {"refuses": "it refused: too many edges", "both": "needs refuses"}


def test_an_ensemble_is_the_mean_of_logits(tmp_path):
    board = board_of(drawn_table(), tmp_path)
    board.run(two_rows([]))
    one, other = (np.clip(dense(board.found[name].probabilities), 1e-6, 1) for name in "ab")
    logits = (np.log(one / (1 - one)) + np.log(other / (1 - other))) / 2
    wanted = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(dense(board.found["both"].probabilities), wanted, atol=1e-5)
    together = board.found["a"].seconds + board.found["b"].seconds
    assert board.found["both"].seconds == together


def test_tables_hold_every_row_and_keep_po_apart(tmp_path):
    table = drawn_table()
    board = board_of(table, tmp_path, presence_only=table, po_note="It flatters.")
    rows = (*two_rows([]), Row(CHAIN, lambda _: partial(chain, None, None), ("b",)))
    board.run(rows)
    text = write(board, rows)
    assert text == (tmp_path / "drawn/leaderboard.md").read_text()
    before, after = text.split("It flatters.")
    assert "| with PO † |" in after and "with PO" not in before
    assert f"| {CHAIN} |" in before
    saved = json.loads((tmp_path / "drawn/leaderboard.json").read_text())
    by_name = {one["row"]: one for one in saved["rows"]}
    assert list(by_name) == ["a", "b", "both", "with PO", CHAIN]
    assert by_name["b"]["builds on"] == "a" and by_name["a"]["builds on"] is None
    gain = board.found["b"].survey_f1 - board.found["a"].survey_f1
    assert by_name["b"]["builds on difference"] == pytest.approx(gain.mean())
    assert by_name["b"]["random folds"] is None
    rules = {one["row"]: one for one in saved["rules"]}
    assert rules["Threshold Top-K, both"]["samples-F1"] == board.found[CHAIN].score
    assert rules["fixed K"]["usual"] == "Threshold Top-K, both" and len(rules) == 10


def test_mean_auc_counts_pairs():
    table = drawn_table(30, 4)
    labels = table.labels.toarray()
    labels[:, 1] = 1  # no pair to compare
    table = replace(table, labels=sparse.csr_matrix(labels))
    p = np.random.default_rng(0).random(labels.shape).round(1).astype(np.float32)
    folds = np.arange(30) % 2
    found = evaluate_predictions(p, table, folds)
    wanted = []
    for s in (0, 2, 3):
        for fold in (0, 1):
            pairs = [
                (p[i, s] > p[j, s]) + (p[i, s] == p[j, s]) / 2
                for i in np.flatnonzero((labels[:, s] == 1) & (folds == fold))
                for j in np.flatnonzero((labels[:, s] == 0) & (folds == fold))
            ]
            wanted.append(np.mean(pairs))
    assert mean_auc(found) == pytest.approx(np.mean(wanted))
    many = drawn_table(20, 60)
    assert np.isnan(mean_auc(evaluate_predictions(many.labels, many, np.arange(20) % 2)))


def test_the_command_prints_tables_and_says_what_is_absent(tmp_path, monkeypatch, capsys):
    line = ["leaderboard", "--data", "all", "--folder", str(tmp_path), "--out", str(tmp_path)]
    line += ["--limit", "80", "--folds", "2", "--only", "global frequency", "regional frequency"]
    monkeypatch.setattr("sys.argv", line)
    leaderboard.main()
    said = capsys.readouterr().out
    assert "glc24: left out" in said and "swiss: left out" in said
    assert "| regional frequency |" in said
    assert (tmp_path / "limit_80/virtual/leaderboard.md").exists()
    assert f"- {TRAINED}: left out, not asked for" in said


def test_a_rule_of_its_own_is_used(tmp_path):
    table = drawn_table()
    one = Row("one species", lambda _: frequencies, rule=lambda p, y: ThresholdTopK(1, 0.0))
    board = board_of(table, tmp_path)
    board.run([one])
    assert (np.diff(board.found["one species"].sets.indptr) == 1).all()
