"""What must not change, to the bit, when labels that nobody may see or other test points change."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import HeteroData

from tests import oracles, strategies
from tests.strategies import SPECIES, on_a_meridian, records
from tighnari_graph import (
    SurveyGraph,
    SurveyTable,
    graph_feature_vectors,
    species_lists,
)

some = strategies.SOME
normalizations = st.sampled_from(("max", "l2", None))
LISTS = {"num_neighbors": 3, "min_count": 1, "num_po": 3, "min_po_count": 1, "source": "both"}


def graph_of(frame: pd.DataFrame) -> SurveyGraph:
    return SurveyGraph.from_surveys(SurveyTable.from_long(frame, species_ids=np.array(SPECIES)))


def attached(
    frames: strategies.Frames, test: pd.DataFrame | None = None, with_po: bool = True
) -> HeteroData:
    """The training graph with test points, and with presence-only records unless told otherwise."""
    return graph_of(frames.train).attach(
        test=SurveyTable.from_long(frames.test if test is None else test),
        presence_only=SurveyTable.from_long(frames.po, species_ids=np.array(SPECIES))
        if with_po
        else None,
    )


def csr_parts(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return tensor.crow_indices(), tensor.col_indices(), tensor.values()


def assert_bit_equal(a: torch.Tensor, b: torch.Tensor) -> None:
    """Same stored pattern and values: a stored zero that comes and goes betrays a label too."""
    assert a.shape == b.shape
    for left, right in zip(csr_parts(a), csr_parts(b), strict=True):
        assert torch.equal(left, right)


def assert_rows_bit_equal(a: torch.Tensor, b: torch.Tensor, rows: list[int]) -> None:
    assert torch.equal(a.to_dense()[rows], b.to_dense()[rows])


def relabelled(frame: pd.DataFrame, survey_ids: set[int], species: list[int]) -> pd.DataFrame:
    """The same surveys in the same order; those named have these species instead of their own."""
    surveys = oracles.group_rows(records(frame))
    rows = []
    for survey in surveys:
        names = species if survey.survey_id in survey_ids else sorted(survey.species)
        row = {"surveyId": survey.survey_id, "lat": survey.lat, "lon": survey.lon}
        row |= {"year": survey.year, "region": survey.region}
        rows += [row | {"speciesId": float(name)} for name in names or [float("nan")]]
    names = ["surveyId", "lat", "lon", "year", "region", "speciesId"]
    types = {"surveyId": "int64", "year": "int64", "region": "object", "speciesId": "float64"}
    return pd.DataFrame(rows, columns=names).astype(types)


def surveys_of(frame: pd.DataFrame) -> list[oracles.Survey]:
    return oracles.group_rows(records(frame))


new_labels = st.lists(st.sampled_from(SPECIES), unique=True)


# --- own labels -----------------------------------------------------------------------------------


@some
@given(frame=strategies.survey_frames(min_surveys=1), species=new_labels, data=st.data())
def test_own_labels_never_reach_the_own_feature(frame, species, data):
    ids = [survey.survey_id for survey in surveys_of(frame)]
    row = data.draw(st.integers(0, len(ids) - 1), label="row")
    before = graph_feature_vectors(graph_of(relabelled(frame, set(), [])), normalize=None)
    after = graph_feature_vectors(graph_of(relabelled(frame, {ids[row]}, species)), normalize=None)
    assert_rows_bit_equal(before, after, [row])


def test_own_labels_stay_out_even_where_surveys_share_a_place():
    # three surveys at one point: each sees the other two, never itself
    def features(own: list[int]) -> torch.Tensor:
        frame = on_a_meridian((1, 0, own), (2, 0, [17]), (3, 0, [17, 42]))
        return graph_feature_vectors(graph_of(frame), normalize=None)

    assert_rows_bit_equal(features([3]), features([17, 42, 1000]), [0])
    assert not torch.equal(features([3]).to_dense()[1], features([17]).to_dense()[1])


# --- hidden labels --------------------------------------------------------------------------------


@some
@given(
    frames=strategies.attached_frames(min_train=2, min_test=1),
    species=new_labels,
    normalize=normalizations,
    data=st.data(),
)
def test_hidden_labels_reach_no_feature(frames, species, normalize, data):
    ids = [survey.survey_id for survey in surveys_of(frames.train)]
    visible = data.draw(
        st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)), label="visible"
    )
    hidden = {survey_id for survey_id, seen in zip(ids, visible, strict=True) if not seen}
    mask = torch.tensor(visible)
    before = attached(frames._replace(train=relabelled(frames.train, set(), [])))
    after = attached(frames._replace(train=relabelled(frames.train, hidden, species)))
    for target in ("survey", "test"):
        a, b = (
            graph_feature_vectors(one, target=target, visible=mask, normalize=normalize)
            for one in (before, after)
        )
        assert_bit_equal(a, b)


@some
@given(frames=strategies.attached_frames(min_train=2, min_test=1), data=st.data())
def test_hiding_surveys_is_the_same_as_leaving_them_out(frames, data):
    # different matrices, so not to the bit; the degree in particular must be the smaller one
    surveys = surveys_of(frames.train)
    visible = data.draw(
        st.lists(st.booleans(), min_size=len(surveys), max_size=len(surveys)), label="visible"
    )
    kept = {survey.survey_id for survey, seen in zip(surveys, visible, strict=True) if seen}
    whole = attached(frames)
    smaller = attached(frames._replace(train=frames.train[frames.train["surveyId"].isin(kept)]))
    mask = torch.tensor(visible)
    for normalize in (None, "max"):
        for target in ("survey", "test"):
            a = graph_feature_vectors(whole, target=target, visible=mask, normalize=normalize)
            b = graph_feature_vectors(smaller, target=target, normalize=normalize)
            rows = a.to_dense()[mask] if target == "survey" else a.to_dense()
            torch.testing.assert_close(rows, b.to_dense(), rtol=1e-5, atol=1e-6)


def test_hidden_labels_do_not_move_the_scale():
    # survey 1 hidden; its new species would have made the largest entry of its visible neighbours
    def features(hidden: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        frame = on_a_meridian((1, 0, hidden), (2, 0.5, [3]), (3, 8, [17]))
        test = SurveyTable.from_long(on_a_meridian((9, 1, [])).drop(columns="speciesId"))
        hetero = graph_of(frame).attach(test=test)
        visible = torch.tensor([False, True, True])
        return (
            graph_feature_vectors(hetero, target="survey", visible=visible),
            graph_feature_vectors(hetero, target="test", visible=visible),
        )

    for a, b in zip(features([]), features([3, 17, 42]), strict=True):
        assert_bit_equal(a, b)


# --- other test points ----------------------------------------------------------------------------


@some
@given(
    frames=strategies.attached_frames(min_train=1, min_test=2),
    normalize=normalizations,
)
def test_test_features_and_lists_do_not_depend_on_other_test_points(frames, normalize):
    ids = [survey.survey_id for survey in surveys_of(frames.test)]
    together = attached(frames)
    all_features = graph_feature_vectors(together, target="test", normalize=normalize).to_dense()
    all_lists = species_lists(together, **LISTS).to_dense()
    for row, survey_id in enumerate(ids):
        alone = attached(frames, test=frames.test[frames.test["surveyId"] == survey_id])
        features = graph_feature_vectors(alone, target="test", normalize=normalize).to_dense()
        assert torch.equal(features[0], all_features[row])
        assert torch.equal(species_lists(alone, **LISTS).to_dense()[0], all_lists[row])


@pytest.mark.parametrize("normalize", ["max", "l2", None])
def test_a_test_point_at_the_very_same_place_changes_nothing(normalize):
    train = on_a_meridian((1, 0, [3, 17]), (2, 3, [3]), (3, 5, [42]))
    first = on_a_meridian((50, 1, [])).drop(columns="speciesId")
    second = on_a_meridian((49, 1, [])).drop(columns="speciesId")
    graph = graph_of(train)
    po = SurveyTable.from_long(train.drop(columns="region"), species_ids=np.array(SPECIES))
    alone, crowded = (
        graph.attach(test=SurveyTable.from_long(test), presence_only=po)
        for test in (first, pd.concat([second, first, second.assign(surveyId=7)]))
    )
    a = graph_feature_vectors(alone, target="test", normalize=normalize).to_dense()
    b = graph_feature_vectors(crowded, target="test", normalize=normalize).to_dense()
    assert torch.equal(a[0], b[1])
    a, b = (species_lists(one, **LISTS).to_dense() for one in (alone, crowded))
    assert torch.equal(a[0], b[1])
    assert a.sum() > 0


# --- attaching ------------------------------------------------------------------------------------


@some
@given(frames=strategies.attached_frames(min_train=1), normalize=normalizations, data=st.data())
def test_attaching_changes_no_training_feature(frames, normalize, data):
    count = len(surveys_of(frames.train))
    visible = data.draw(
        st.none() | st.lists(st.booleans(), min_size=count, max_size=count), label="visible"
    )
    asked = {
        "visible": None if visible is None else torch.tensor(visible),
        "normalize": normalize,
    }
    graph = graph_of(frames.train)
    before = graph_feature_vectors(graph, **asked)
    test = SurveyTable.from_long(frames.test)
    po = SurveyTable.from_long(frames.po, species_ids=np.array(SPECIES))
    for hetero in (graph.attach(test=test), graph.attach(test=test, presence_only=po)):
        assert_bit_equal(before, graph_feature_vectors(hetero, target="survey", **asked))
    assert_bit_equal(before, graph_feature_vectors(graph, **asked))


@some
@given(
    frames=strategies.attached_frames(min_train=1, min_test=1, min_po=1),
    normalize=normalizations,
)
def test_presence_only_records_reach_no_test_feature(frames, normalize):
    a, b = (
        graph_feature_vectors(attached(frames, with_po=with_po), target="test", normalize=normalize)
        for with_po in (True, False)
    )
    assert_bit_equal(a, b)


@some
@given(frames=strategies.attached_frames(min_train=1, min_test=1, min_po=1), species=new_labels)
def test_survey_labels_reach_no_presence_only_list(frames, species):
    ids = {survey.survey_id for survey in surveys_of(frames.train)}
    asked = {"num_po": 3, "min_po_count": 1, "source": "po"}
    before = attached(frames._replace(train=relabelled(frames.train, set(), [])))
    after = attached(frames._replace(train=relabelled(frames.train, ids, species)))
    assert_bit_equal(species_lists(before, **asked), species_lists(after, **asked))
