"""Threshold Top-K against sets made one by one, and the submission file."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from tests import oracles
from tighnari_graph import (
    SurveyDataError,
    ThresholdTopK,
    check_submission,
    samples_f1,
    survey_f1,
    write_submission,
)


def test_whole_numbers_as_scores_are_ordered_as_numbers():
    counts = np.array([[0, 5, 9]], dtype=np.uint8)
    rule = ThresholdTopK.fit(counts, np.array([[0, 0, 1]]), ks=[1, 2], thresholds=[0])
    assert rule.k == 1
    assert rule.predict(counts).toarray().tolist() == [[0, 0, 1]]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rule=st.sampled_from(["intersection", "union"]),
    levels=st.sampled_from([2, 4, 1000]),  # few levels: many equal probabilities
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_sets_and_scores_equal_the_oracle(seed, rule, levels, dtype):
    rng = np.random.default_rng(seed)
    num, width = int(rng.integers(1, 7)), int(rng.integers(1, 9))
    p = (rng.integers(0, levels + 1, (num, width)) / levels).astype(dtype)
    labels = rng.random((num, width)) < 0.4
    ks, thresholds = [1, 2, 5, 40], [0.0, 0.25, 0.5, 1.0]
    fitted = ThresholdTopK.fit(p, labels, ks, thresholds, rule)
    for a, k in enumerate(ks):
        for b, threshold in enumerate(thresholds):
            sets = [oracles.threshold_top_k(row, k, threshold, rule) for row in p.tolist()]
            score = oracles.samples_f1(sets, oracles.rows_to_sets(labels))
            assert fitted.scores[a, b] == pytest.approx(score, abs=1e-12)
            predicted = ThresholdTopK(k, threshold, rule).predict(p)
            thin = ThresholdTopK(k, threshold, rule).predict(sparse.csr_matrix(p))
            assert (thin != predicted).nnz == 0
            assert oracles.rows_to_sets(predicted.toarray()) == sets
            assert samples_f1(predicted, labels) == pytest.approx(score, abs=1e-12)
    assert (
        fitted.scores.max() == fitted.scores[ks.index(fitted.k), thresholds.index(fitted.threshold)]
    )


def test_many_surveys_are_scored_in_parts_as_in_one(monkeypatch):
    rng = np.random.default_rng(0)
    p, labels = rng.random((50, 31)).astype(np.float32), rng.random((50, 31)) < 0.2
    whole = ThresholdTopK.fit(p, labels).scores
    thin = np.where(p > 0.6, p, 0)
    monkeypatch.setattr("tighnari_graph.species_sets._CHUNK", 100)
    np.testing.assert_allclose(
        ThresholdTopK.fit(sparse.csr_matrix(thin), labels).scores,
        ThresholdTopK.fit(thin, labels).scores, atol=1e-12,
    )  # fmt: skip
    np.testing.assert_allclose(ThresholdTopK.fit(p, labels).scores, whole, atol=1e-12)
    assert whole.shape == (100, 41)


@pytest.mark.parametrize(
    "convert", [torch.tensor, sparse.csr_matrix, lambda p: torch.tensor(p).to_sparse_csr()]
)
def test_probabilities_come_in_any_form(convert):
    p = np.array([[0.9, 0.0, 0.2], [0.0, 0.3, 0.0]], dtype=np.float32)
    expected = ThresholdTopK(2, 0.25).predict(p).toarray()
    assert np.array_equal(ThresholdTopK(2, 0.25).predict(convert(p)).toarray(), expected)


def test_bad_probabilities_and_settings_are_refused():
    p = np.array([[0.1, 0.2], [np.nan, 0.3]])
    with pytest.raises(ValueError, match="1 probabilities are not finite, the first in row 1"):
        ThresholdTopK(1, 0.1).predict(p)
    with pytest.raises(ValueError, match="labels"):
        ThresholdTopK.fit(p, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="no surveys"):
        ThresholdTopK.fit(np.zeros((0, 3)), np.zeros((0, 3)))
    with pytest.raises(ValueError, match="k must be a whole number from 1 up"):
        ThresholdTopK(0, 0.1)
    with pytest.raises(ValueError, match="rule must be one of intersection, union"):
        ThresholdTopK(1, 0.1, rule="both")
    with pytest.raises(ValueError, match="ks must be"):
        ThresholdTopK.fit(np.zeros((1, 3)), np.zeros((1, 3)), ks=[])
    with pytest.raises(ValueError, match="thresholds must be finite"):
        ThresholdTopK.fit(np.zeros((1, 3)), np.zeros((1, 3)), thresholds=[np.nan])
    with pytest.raises(ValueError, match="ks must be whole numbers"):
        ThresholdTopK.fit(np.zeros((1, 3)), np.zeros((1, 3)), ks=np.array([1.7]))
    with pytest.raises(
        ValueError, match="labels must be 0 or 1; 1 entries are not, the first is 0.4"
    ):
        ThresholdTopK.fit(np.zeros((1, 3)), np.array([[0.4, 0, 1]]))
    with pytest.raises(ValueError, match="add is"):
        ThresholdTopK(1, 0.1).predict(np.zeros((2, 3)), add=sparse.csr_matrix((2, 4)))
    with pytest.raises(ValueError, match="shape"):
        ThresholdTopK(1, 0.1).predict(np.zeros(3))


def test_f1_by_hand_with_the_rule_of_empty_sets():
    sets = np.array([[1, 1, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0]])
    labels = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(survey_f1(sets, labels), [2 / 3, 1, 0, 0])
    with pytest.raises(ValueError, match="no surveys"):
        samples_f1(np.zeros((0, 2)), np.zeros((0, 2)))
    with pytest.raises(ValueError, match="predicted sets are"):
        samples_f1(np.zeros((1, 2)), np.zeros((1, 3)))


def test_f1_equals_torchmetrics_where_it_is_installed():
    functional = pytest.importorskip("torchmetrics.functional", reason="no torchmetrics here")
    rng = np.random.default_rng(0)
    sets, labels = rng.random((20, 13)) < 0.3, rng.random((20, 13)) < 0.3
    sets[:, 0] = labels[:, 0] = True  # torchmetrics gives 0 where both are empty
    theirs = functional.classification.binary_f1_score(
        torch.tensor(sets).int(), torch.tensor(labels).int(), multidim_average="samplewise"
    )
    assert samples_f1(sets, labels) == pytest.approx(float(theirs.mean()))


def test_a_submission_is_checked_as_a_stranger_would(tmp_path):
    path = tmp_path / "submission.csv"
    sets = np.array([[1, 0, 1], [0, 0, 0]])
    write_submission(path, [12, 7], sets, [40, 5, 9])
    assert path.read_text() == "surveyId,predictions\n12,9 40\n7,\n"
    check_submission(path, [7, 12], [5, 9, 40])
    for text, message in {
        "surveyId,species\n7,5\n12,9\n": "header is surveyId,species",
        "surveyId,predictions\n7,5\n7,9\n": "1 surveys repeated, 1 missing, 0 not asked for",
        "surveyId,predictions\n7,5\n12,9\n13,9\n": "0 surveys repeated, 0 missing, 1 not asked for",
        "surveyId,predictions\n7,5\n12,99\n": "1 predictions are outside the vocabulary",
        "surveyId,predictions\n7,5 5\n12,9\n": "a species is predicted twice",
    }.items():
        path.write_text(text)
        with pytest.raises(SurveyDataError, match=message):
            check_submission(path, [7, 12], [5, 9, 40])


def test_a_submission_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "submission.csv"
    write_submission(path, [7], np.array([[1]]), [5])
    with pytest.raises(ValueError, match=r"1 survey ids are repeated \(7\)"):
        write_submission(path, [7, 7], np.array([[1], [1]]), [5])
    with pytest.raises(ValueError, match=r"sets are \(1, 1\), expected \(1 surveys, 2 species\)"):
        write_submission(path, [7], np.array([[1]]), [5, 6])
    assert pd.read_csv(path)["predictions"].tolist() == [5]
    assert [p.name for p in tmp_path.iterdir()] == ["submission.csv"]


def test_a_submission_of_no_surveys_has_its_header(tmp_path):
    for odd in (["Poa alpina"], ["a,1"], [1.5]):
        with pytest.raises(ValueError, match="species ids must be whole numbers"):
            write_submission(tmp_path / "s.csv", [7], np.array([[1]]), np.array(odd))
    with pytest.raises(IsADirectoryError, match="a folder, expected the name of a file"):
        write_submission(tmp_path, [7], np.array([[1]]), [5])
    path = write_submission(tmp_path / "s.csv", [], np.zeros((0, 2)), [5, 6])
    assert path.read_text() == "surveyId,predictions\n"
