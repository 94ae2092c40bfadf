"""An evaluation against plain loops, and what a method may not see."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from tests.oracles import great_circle_km, samples_f1, threshold_top_k
from tighnari_graph import SurveyDataError, SurveyTable, ThresholdTopK, block_folds
from tighnari_graph.community_f1 import CommunityF1
from tighnari_graph.decisions import FixedK, cross_fitted
from tighnari_graph.richness import RichnessTopK
from tighnari_models.evaluation import evaluate, evaluate_predictions
from tighnari_models.plots import plot_evaluation


def drawn_surveys(num=60, species=23, seed=0, **columns):
    """Surveys two by two at a place, a few kilometres from the next."""
    rng = np.random.default_rng(seed)
    place = np.arange(num) // 2
    frame = pd.DataFrame(
        {
            "surveyId": np.arange(num) + 100,
            "lat": 45 + 0.05 * (place % 6),
            "lon": 7 + 0.2 * (place // 6),
            "year": 2020 + place // 15,
            "region": np.where(place // 6 % 3 == 0, "ALPINE", "BOREAL"),
        }
        | columns
    )
    row, column = np.nonzero(rng.random((num, species)) < 0.2)
    long = frame.iloc[row].assign(speciesId=column)
    empty = frame[~frame["surveyId"].isin(long["surveyId"])].assign(speciesId=np.nan)
    return SurveyTable.from_long(pd.concat([long, empty]), species_ids=np.arange(species))


def frequency(train, held_out):
    mean = np.asarray(train.labels.mean(axis=0)).ravel()
    return np.tile(mean, (len(held_out), 1))


def memory(train, held_out):
    """What was seen at the very place, else nothing."""
    same = (train.lat == held_out.lat[:, None]) & (train.lon == held_out.lon[:, None])
    return sparse.csr_matrix(np.minimum(same.astype(np.float32) @ train.labels, 1))


def test_a_method_never_sees_held_out_labels():
    table = drawn_surveys()
    seen = []

    def spy(train, held_out):
        assert held_out.labels is None
        assert len(train) + len(held_out) == len(table)
        assert not set(train.survey_id) & set(held_out.survey_id)
        assert np.array_equal(train.species_ids, held_out.species_ids)
        with pytest.raises(SurveyDataError, match="no labels"):
            held_out.known_labels()
        train.labels.data[:] = 7  # a copy: spoils nothing
        seen.append(len(held_out))
        return frequency(train, held_out) / 7

    found = evaluate(spy, table, num_folds=4)
    assert len(seen) == 8 and sum(seen) == 2 * len(table)
    assert (table.labels.data == 1).all()
    again = evaluate(frequency, table, num_folds=4)
    np.testing.assert_allclose(found.probabilities, again.probabilities, rtol=1e-6)


def test_other_labels_of_a_fold_do_not_change_its_sets():
    """Neither the method nor the rule may have seen them; other folds' sets do change."""
    table = drawn_surveys()
    before = evaluate(frequency, table, num_folds=3, random=False)
    held_out = before.folds == 0
    other = table.labels.toarray()
    other[held_out] = 1 - other[held_out]
    changed = replace(table, labels=sparse.csr_matrix(other))
    # out-of-fold predictions as they were: only the rule can change
    after = evaluate_predictions(before.probabilities, changed, before.folds)
    assert (before.sets[held_out] != after.sets[held_out]).nnz == 0
    assert (before.sets[~held_out] != after.sets[~held_out]).nnz > 0
    whole = evaluate(frequency, changed, num_folds=3, random=False)
    assert np.array_equal(before.probabilities[held_out], whole.probabilities[held_out])
    assert not np.array_equal(before.probabilities, whole.probabilities)


def test_a_memory_scores_at_random_and_not_by_blocks():
    table = drawn_surveys()
    _, place = np.unique(np.stack([table.lat, table.lon]), axis=1, return_inverse=True)
    first = np.unique(place, return_index=True)[1]
    table = replace(table, labels=table.labels[first[place]])  # twins at a place are alike
    found = evaluate(memory, table, num_folds=5)
    assert found.score < 0.05 < 0.5 < found.random.score
    assert found.kind == "block folds" and found.random.kind == "random folds"
    side = found.table.loc["samples-F1"]
    assert side["block folds", "value"] == pytest.approx(found.score)
    assert side["random folds", "value"] == pytest.approx(found.random.score)


def test_sets_and_score_equal_loops():
    table = drawn_surveys()
    rng = np.random.default_rng(1)
    p = rng.random(table.labels.shape).astype(np.float32)
    folds = block_folds(table, 3)
    ks, thresholds = [2, 5, 9], [0.0, 0.5, 0.8]
    rule = partial(ThresholdTopK.fit, ks=ks, thresholds=thresholds)
    found = evaluate_predictions(p, table, folds, rule=rule)
    true = [set(np.flatnonzero(row)) for row in table.labels.toarray()]
    for fold in range(3):
        inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)

        def sets(rows, k, theta):
            return [threshold_top_k(p[i].tolist(), k, theta, "intersection") for i in rows]

        tried = {
            (k, theta): samples_f1(sets(outside, k, theta), [true[i] for i in outside])
            for k in ks
            for theta in thresholds
        }
        best = max(tried, key=lambda pair: tried[pair])
        expected = sets(inside, *best)
        got = [set(row.indices.tolist()) for row in found.sets[inside]]
        assert got == expected
        score = samples_f1(expected, [true[i] for i in inside])
        assert found.by("fold").loc[str(fold), "samples-F1"] == pytest.approx(score)
    assert found.score == found.survey_f1.mean()


@pytest.mark.parametrize("layout", ["numpy", "torch", "scipy", "torch csr"])
def test_layouts_score_alike(layout):
    table = drawn_surveys()

    def method(train, held_out):
        p = frequency(train, held_out).astype(np.float32)
        p[:, ::3] = 0
        if layout == "numpy":
            return p
        if layout == "torch":
            return torch.from_numpy(p)
        if layout == "scipy":
            return sparse.csr_matrix(p)
        return torch.from_numpy(p).to_sparse_csr()

    def dense(train, held_out):
        p = frequency(train, held_out)
        p[:, ::3] = 0
        return p

    found = evaluate(method, table, num_folds=3, random=False)
    expected = evaluate(dense, table, num_folds=3, random=False)
    assert sparse.issparse(found.probabilities) == (layout in ("scipy", "torch csr"))
    assert found.probabilities.dtype == np.float32
    pd.testing.assert_frame_equal(found.table, expected.table, rtol=1e-5)
    again = evaluate_predictions(found.probabilities, table, found.folds)
    pd.testing.assert_frame_equal(again.table, found.table)
    assert again.kind == "block folds"


def spoiled(train, held_out, how):
    p = frequency(train, held_out)
    if how == "short":
        return p[1:]
    if how == "list":
        return p.tolist()
    if how == "sparse NaN":
        p[0, 0] = np.nan
        return sparse.csr_matrix(p)
    p[0, 0] = {"NaN": np.nan, "infinite": np.inf, "negative": -0.5}[how]
    return p


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        ("short", ValueError, r"spoiled, block folds, fold 0: probabilities are \(\d+, 23\), exp"),
        ("NaN", ValueError, "block folds, fold 0: 1 of the probabilities is not finite"),
        ("sparse NaN", ValueError, "block folds, fold 0: 1 of the probabilities is not finite"),
        ("infinite", ValueError, "fold 0: 1 of the probabilities is not finite"),
        ("negative", ValueError, "fold 0: 1 of the probabilities is negative"),
        ("list", TypeError, "fold 0: expected a matrix of probabilities, got list"),
    ],
)
def test_bad_output_is_refused_by_fold(how, error, text):
    with pytest.raises(error, match=text):
        evaluate(partial(spoiled, how=how), drawn_surveys(), num_folds=3)


@dataclass(frozen=True)
class Rows:
    """What `MultiScale.predict` gives, as far as an evaluation knows it."""

    probabilities: object
    richness: object


def rich_rows(train, held_out, layout=np.asarray, change=1):
    """Two kinds of richness beside the frequencies, and twice as much in the south."""
    p = frequency(train, held_out)
    richness = (3.0 + 40 * (np.arange(p.shape[1]) % 2)) * np.where(held_out.lat < 45.1, 2, 1)[
        :, None
    ]
    return Rows(layout(p), None if change is None else layout(richness * change))


@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_matrix])
def test_richness_is_kept_in_order_and_given_to_rules_that_take_it(layout):
    table = drawn_surveys()
    method = partial(rich_rows, layout=layout)
    rules = [CommunityF1.fit, partial(CommunityF1.fit, powers=[1.0], scales=[1.0])]
    for rule in rules:
        found = evaluate(method, table, rule=rule, num_folds=3)
        for one in (found, found.random):
            assert sparse.issparse(one.richness) == sparse.issparse(one.probabilities)
            richness = one.richness.toarray() if sparse.issparse(one.richness) else one.richness
            p = frequency(table, table)
            expected = rich_rows(table, table).richness
            np.testing.assert_array_equal(richness, expected)
            sets = cross_fitted(rule, one.probabilities, table.labels, one.folds, expected)
            assert (one.sets != sets).nnz == 0
            without = cross_fitted(rule, one.probabilities, table.labels, one.folds)
            assert (one.sets != without).nnz > 0
        again = evaluate_predictions(
            found.probabilities, table, found.folds, rule=rule, richness=found.richness
        )
        assert (again.sets != found.sets).nnz == 0 and again.richness is not None
    seen = []

    def own(p, labels, richness):
        seen.append(richness.shape)
        return FixedK.fit(p, labels)

    with pytest.raises(TypeError, match="richness"):  # FixedK.predict takes none
        evaluate(method, table, rule=own, num_folds=3)
    assert seen[0][1] == p.shape[1]


@pytest.mark.parametrize("rule", [FixedK.fit, RichnessTopK.fit, partial(RichnessTopK.fit, max_k=9)])
def test_other_rules_do_not_see_richness(rule):
    table = drawn_surveys()
    found = evaluate(rich_rows, table, rule=rule, num_folds=3, random=False)
    expected = evaluate(frequency, table, rule=rule, num_folds=3, random=False)
    assert (found.sets != expected.sets).nnz == 0
    assert found.richness is not None and expected.richness is None


def test_rows_without_richness_are_as_plain_probabilities():
    table = drawn_surveys()
    found = evaluate(
        partial(rich_rows, change=None), table, rule=CommunityF1.fit, num_folds=3, random=False
    )
    expected = evaluate(frequency, table, rule=CommunityF1.fit, num_folds=3, random=False)
    assert found.richness is None and (found.sets != expected.sets).nnz == 0


def test_bad_richness_is_refused_by_fold():
    table = drawn_surveys()
    with pytest.raises(ValueError, match=r"fold 0: \d+ of the richness values are negative$"):
        evaluate(partial(rich_rows, change=-1), table, num_folds=3)
    with pytest.raises(ValueError, match=r"fold 0: \d+ of the richness values are not finite"):
        evaluate(partial(rich_rows, change=np.nan), table, num_folds=3)
    with pytest.raises(ValueError, match=r"fold 0: richness values are \(\d+, 22\), expected"):
        evaluate(lambda a, b: Rows(frequency(a, b), frequency(a, b)[:, 1:]), table, num_folds=3)
    calls = []

    def sometimes(train, held_out):
        calls.append(1)
        return rich_rows(train, held_out, change=None if len(calls) in (2, 3) else 1)

    with pytest.raises(ValueError, match="fold 1: with richness in some folds, without it in"):
        evaluate(sometimes, table, num_folds=3)
    with pytest.raises(ValueError, match="fold 1: with richness in some folds, without it in"):
        evaluate(sometimes, table, num_folds=3)  # its third call is the first with richness


def test_bad_folds_are_refused():
    table = drawn_surveys()
    p = table.labels
    with pytest.raises(ValueError, match="two folds"):
        evaluate_predictions(p, table, np.zeros(len(table), dtype=int))
    with pytest.raises(ValueError, match="one a survey"):
        evaluate_predictions(p, table, np.zeros(3, dtype=int))
    with pytest.raises(ValueError, match=r"predictions: probabilities are \(59, 23\)"):
        evaluate_predictions(p[1:], table, np.arange(len(table)) % 2)
    with pytest.raises(SurveyDataError, match="no labels"):
        evaluate(frequency, replace(table, labels=None))


def test_folds_that_split_blocks_are_called_random():
    table = drawn_surveys()
    found = evaluate_predictions(table.labels, table, np.arange(len(table)) % 3)
    assert found.kind == "random folds"
    assert list(found.table.columns.levels[0]) == ["random folds"]


def test_degree_counts_training_neighbours():
    table = drawn_surveys()
    found = evaluate(frequency, table, num_folds=3, random=False)
    degree = []
    for i in range(len(table)):
        near = 0
        for j in range(len(table)):
            if found.folds[i] == found.folds[j] or table.year[i] != table.year[j]:
                continue
            if table.region[i] != table.region[j]:
                continue
            distance = great_circle_km(table.lat[i], table.lon[i], table.lat[j], table.lon[j])
            near += distance <= 10.0
        degree.append(near)
    by = found.by("degree")
    assert by.index[0] == "0" and by.loc["0", "surveys"] == degree.count(0) > 0
    assert by["surveys"].sum() == len(table) and len(by) > 1
    f1 = found.survey_f1[np.array(degree) == 0]
    assert by.loc["0", "samples-F1"] == pytest.approx(f1.mean())
    smallest = min(d for d in degree if d)
    assert by.index[1].startswith(str(smallest))


def test_groups_are_means_of_their_surveys():
    area = np.where(np.arange(60) % 7 == 0, np.nan, np.arange(60) * 1.5)
    table = drawn_surveys(areaInM2=area, kind=["wood", None, "meadow"] * 20)
    found = evaluate(frequency, table, num_folds=3, random=False)
    for name in ("region", "year", "kind"):
        column = table.column(name)
        by = found.by(name)
        assert by.index.name == name and by["surveys"].sum() == len(table)
        for group in column.dropna().unique():
            inside = (column == group).to_numpy()
            row = by.loc[str(group)]
            assert row["samples-F1"] == pytest.approx(found.survey_f1[inside].mean())
            assert row["blocks"] == len(np.unique(found.blocks[inside]))
    assert found.by("kind").index[-1] == "missing"
    quarters = found.by("areaInM2")
    assert len(quarters) == 5 and quarters.index[-1] == "missing"
    assert quarters["surveys"].iloc[:-1].between(12, 14).all()
    with pytest.raises(SurveyDataError, match="no column 'slope'"):
        found.by("slope")


def test_a_group_in_one_block_has_no_interval():
    table = drawn_surveys(kind=["here", "here"] + ["elsewhere"] * 58)
    row = evaluate(frequency, table, num_folds=3, random=False).by("kind").loc["here"]
    assert row["blocks"] == 1 and np.isnan(row["from"]) and not np.isnan(row["samples-F1"])


def test_the_tidy_table_holds_everything():
    table = drawn_surveys()
    found = evaluate(frequency, table, num_folds=3)
    frame = found.to_frame()
    keys = ["evaluation", "folds", "grouping", "group", "measure"]
    assert not frame.duplicated(keys).any()
    assert set(frame["grouping"]) == {"all", "region", "degree", "year", "fold"}
    one = frame.set_index(keys)["value"].sort_index()
    score = one["frequency", "random folds", "all", "all", "samples-F1"]
    assert score == pytest.approx(found.random.score)
    assert one["frequency", "block folds", "all", "all", "seconds"] == found.seconds > 0
    for name in ("region", "fold"):
        values = one["frequency", "block folds", name].to_numpy()
        assert values == pytest.approx(found.by(name)["samples-F1"].to_numpy())
    plain = replace(found, surveys=replace(table, region=None), random=None).to_frame()
    assert "region" not in set(plain["grouping"]) and set(plain["folds"]) == {"block folds"}


def test_scores_above_one_have_no_calibration():
    table = drawn_surveys()
    folds = block_folds(table, 3)
    votes = evaluate_predictions(table.labels * 5, table, folds, rule=FixedK.fit)
    rows = ["Brier score", "cross-entropy", "calibration error"]
    assert votes.table.loc[rows, ("block folds", "value")].isna().all()
    assert votes.table["block folds"]["value"].drop(rows).notna().all()
    assert plot_evaluation(votes).axes[1].get_title() == "no probabilities"


def test_the_figure_shows_both_folds_and_all_groups():
    found = evaluate(frequency, drawn_surveys(), num_folds=3, name="frequencies")
    left, right, middle = plot_evaluation(found).axes
    widths = [patch.get_width() for patch in left.patches]
    assert widths == [found.score, found.random.score]
    ticks = [text.get_text() for text in middle.get_yticklabels()]
    assert len(ticks) == len(found.by("region")) + len(found.by("degree"))
    assert ticks[0].startswith("region ALPINE (")
    assert left.get_title() == "frequencies" and right.get_title() == "calibration"
    assert "'frequencies'" in repr(found)
