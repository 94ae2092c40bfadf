"""Presence-only surveys: effort, selection, pseudo-labels and pseudo-surveys."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from benchmarks.inputs import clustered_labels, clustered_points, po_rows
from tests import strategies
from tests.real_data import GLC24, needs_glc24
from tests.strategies import SPECIES
from tighnari_graph import (
    SurveyDataError,
    SurveyTable,
    block_ids,
    read_glc24_pa,
    read_glc24_po,
    species_vocabulary,
)
from tighnari_graph.presence_only import observer_effort, selection_report, trustworthy
from tighnari_graph.pseudo_labels import aggregate_patches, pseudo_labels

KM = 6371.0088 * math.pi / 180  # a degree of latitude


def po_table(lists: list[list[int]], **columns: object) -> SurveyTable:
    """A survey per list; an empty one is a row without a species."""
    rows = []
    for survey, species in enumerate(lists):
        own = {name: values[survey] for name, values in columns.items()}
        place = {"surveyId": survey + 1, "lat": 45.0, "lon": 7.0, "year": 2020} | own
        rows += [place | {"speciesId": float(name)} for name in species or [math.nan]]
    return SurveyTable.from_long(pd.DataFrame(rows))


# --- effort ---------------------------------------------------------------------------------------


def test_effort_by_a_plain_loop():
    rng = np.random.default_rng(0)
    frame = po_rows(900, 300, num_species=50)
    frame["publisher"] = frame["publisher"].where(frame["surveyId"] % 7 > 0)  # some have none
    po = read_glc24_po(frame)
    count = [len(set(po.labels[i].indices.tolist())) for i in range(len(po))]
    names = [None if pd.isna(name) else name for name in po.meta["publisher"]]
    years = po.year.tolist()
    for by in (None, (), ("publisher", "year")):
        keys = {
            None: names, (): [0] * len(po), ("publisher", "year"): list(zip(names, years, strict=True))
        }[by]  # fmt: skip
        expected = []
        for i in range(len(po)):
            same = [count[j] for j in range(len(po)) if keys[j] == keys[i]]
            middle = math.sqrt(count[i] * sum(same) / len(same))
            expected.append(middle / (middle + 3.0))
        np.testing.assert_allclose(observer_effort(po, by, half_species=3.0), expected, rtol=1e-9)
    order = rng.permutation(len(po))
    shuffled = observer_effort(po.subset(order))
    np.testing.assert_allclose(shuffled, observer_effort(po)[order])


def test_effort_grows_with_the_list_and_with_the_habits_of_the_publisher():
    lists = [[5], list(range(20)), [5], list(range(20))] + [[5]] * 20 + [list(range(30))] * 20
    names = ["records", "records", "lists", "lists"] + ["records"] * 20 + ["lists"] * 20
    effort = observer_effort(po_table(lists, publisher=names))
    assert effort[0] < effort[2] < effort[1] < effort[3]
    assert effort[0] < 0.25 < 0.7 < effort[3] < 1
    nothing = observer_effort(po_table([[], [5]]))
    assert nothing[0] == nothing[1] == pytest.approx(1 / 6)
    assert observer_effort(po_table([[5]]).subset(np.zeros(0, dtype=np.int64))).shape == (0,)


def test_effort_refuses_what_it_cannot_know():
    po = po_table([[5], [5, 9]])
    assert observer_effort(po).shape == (2,)  # no publisher column: nothing to group by
    with pytest.raises(SurveyDataError, match="no column 'publisher'; it has year"):
        observer_effort(po, by=("publisher",))
    with pytest.raises(ValueError, match="half_species must be a positive number, got 0"):
        observer_effort(po, half_species=0.0)
    with pytest.raises(SurveyDataError, match="has no speciesId column"):
        observer_effort(replace(po, labels=None))


# --- selection ------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_unknown", [False, True])
def test_selection_and_its_report_by_a_plain_loop(keep_unknown):
    rng = np.random.default_rng(1)
    num = 120
    lists = [rng.choice(40, rng.integers(1, 6), replace=False).tolist() for _ in range(num)]
    names = rng.choice(np.array(["A", "B", "C", None], dtype=object), num).tolist()
    metres = rng.choice([5.0, 100.0, 100.5, math.nan], num).tolist()
    po = po_table(lists, publisher=names, geoUncertaintyInM=metres)
    criteria = {"min_species": 3, "publishers": ["A", "C"], "max_uncertainty_m": 100.0}
    failed = []
    for i in range(num):
        bad = [len(lists[i]) < 3, names[i] == "B"]
        bad += [] if keep_unknown else [names[i] is None]
        bad += [metres[i] > 100]
        bad += [] if keep_unknown else [math.isnan(metres[i])]
        failed.append(bad)
    expected = [not any(bad) for bad in failed]
    assert trustworthy(po, **criteria, keep_unknown=keep_unknown).tolist() == expected
    report = selection_report(po, **criteria, keep_unknown=keep_unknown)
    rows = []
    for at in range(len(failed[0])):
        left = [i for i in range(num) if not any(failed[i][: at + 1])]
        alone = sum(bad[at] and sum(bad) == 1 for bad in failed)
        rows.append(
            [sum(bad[at] for bad in failed), alone, len(left), sum(len(lists[i]) for i in left)]
        )
    rows.append([0, 0, *rows[-1][2:]])
    assert report.to_numpy().tolist() == rows
    assert report.index[[0, -1]].tolist() == ["fewer than 3 species", "kept"]
    assert 0 < sum(expected) < num


def test_without_criteria_only_surveys_without_species_go():
    po = po_table([[5], [], [5, 9]])
    assert trustworthy(po).tolist() == [True, False, True]
    assert trustworthy(po, min_species=0).all()
    assert selection_report(po).loc["kept", "records left"] == 3


def test_criteria_that_cannot_be_met_are_refused():
    po = po_table([[5], [5, 9]], publisher=["A", "B"])
    with pytest.raises(
        SurveyDataError, match="no column 'geoUncertaintyInM'; it has year, publish"
    ):
        trustworthy(po, max_uncertainty_m=10.0)
    with pytest.raises(SurveyDataError, match="no column 'publisher'"):
        selection_report(po_table([[5]]), publishers=["A"])
    with pytest.raises(
        ValueError, match="1 of 2 name no survey's publisher, first 'Z'; the table h"
    ):
        trustworthy(po, publishers=["Z", "A"])
    with pytest.raises(ValueError, match="max_uncertainty_m must be 0 or more, got -1"):
        trustworthy(po_table([[5]], geoUncertaintyInM=[1.0]), max_uncertainty_m=-1.0)
    with pytest.raises(ValueError, match="min_species must be 0 or more, got -1"):
        trustworthy(po, min_species=-1)
    with pytest.raises(SurveyDataError, match="a geoUncertaintyInM that is no number: 'far'"):
        trustworthy(po_table([[5]], geoUncertaintyInM=["far"]), max_uncertainty_m=10.0)


# --- pseudo-labels --------------------------------------------------------------------------------


def loop_labels(
    po: SurveyTable, at: SurveyTable, side: float, same_year: bool, weights: np.ndarray
) -> np.ndarray:
    """Square by square, record by record."""
    labels = po.labels.toarray()
    found = np.zeros((len(at), labels.shape[1]))
    for i in range(len(at)):
        for j in range(len(po)):
            if same_year and po.year[j] != at.year[i]:
                continue
            north = (po.lat[j] - at.lat[i]) * KM
            turn = abs(po.lon[j] - at.lon[i])
            east = min(turn, 360 - turn) * KM * math.cos(math.radians(at.lat[i]))
            if abs(north) <= side / 2 and east <= side / 2:
                found[i] += weights[j] * labels[j]
    return found


@strategies.SOME
@given(
    strategies.attached_frames(min_po=1),
    st.sampled_from([1.28, 7.0, 20.0, 500.0]),
    st.booleans(),
    st.booleans(),
)
def test_pseudo_labels_are_those_of_the_loop_anywhere_on_earth(frames, side, same_year, weighted):
    po = SurveyTable.from_long(frames.po, species_ids=np.array(SPECIES))
    at = SurveyTable.from_long(frames.test)
    weights = np.random.default_rng(0).random(len(po)) if weighted else None
    expected = loop_labels(
        po, at, side, same_year, np.ones(len(po)) if weights is None else weights
    )
    found = pseudo_labels(po, at, side, same_year, weights)
    assert found.dtype == np.float32
    assert found.has_sorted_indices
    assert (found.data > 0).all()
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-5)


def test_corners_count_up_to_the_edge_and_at_every_latitude():
    for latitude in (0.0, 45.0, 70.0, 89.9, 89.999, -89.999):
        half = 0.64
        steps = np.array([[u, v] for u in (-0.999, 0.999) for v in (-0.999, 0.999)]) * half
        lat = latitude + steps[:, 0] / KM
        lon = steps[:, 1] / (KM * math.cos(math.radians(latitude)))
        inside = np.abs(lat) <= 90
        num = int(inside.sum())
        po = SurveyTable(
            np.arange(num), lat[inside], (lon[inside] + 180) % 360 - 180, np.full(num, 2020), None,
            sparse.csr_matrix(np.eye(num, dtype=np.float32)), np.arange(num),
        )  # fmt: skip
        here = np.array([latitude])
        at = SurveyTable(
            np.array([7]), here, np.zeros(1), np.array([2020]), None, None, np.zeros(0, dtype=int)
        )
        if abs(latitude) < 89.99:
            assert num == 4
            assert pseudo_labels(po, at).toarray().tolist() == [[1.0] * 4]
        assert pseudo_labels(po, at).nnz == num
        assert pseudo_labels(po, at, side_km=1.27).nnz == 0


def test_pseudo_labels_of_many_surveys_agree_with_the_loop():
    points = clustered_points(400, per_cluster=50, radius_km=2.0)
    po = SurveyTable(
        np.arange(400), points.lat, points.lon, points.year, None,
        clustered_labels(points.cluster, 30, mean=3, pool=12), np.arange(30),
    )  # fmt: skip
    at = po.subset(np.arange(0, 400, 7))
    weights = observer_effort(po)
    found = pseudo_labels(po, at, same_year=True, weights=weights).toarray()
    np.testing.assert_allclose(found, loop_labels(po, at, 1.28, True, weights), rtol=1e-5)
    assert found.max() > 1


def test_labels_of_the_surveys_are_not_looked_at():
    po = po_table([[5], [5, 9]])
    other = replace(po, labels=sparse.csr_matrix(1 - po.labels.toarray()))
    assert (pseudo_labels(po, po) != pseudo_labels(po, other)).nnz == 0
    assert pseudo_labels(po, po).toarray().tolist() == [[2, 1], [2, 1]]


def test_pseudo_labels_refuse_bad_input():
    po, other = po_table([[5], [5, 9]]), po_table([[5]])
    with pytest.raises(
        SurveyDataError, match="the 2 species of the presence-only table are not the"
    ):
        pseudo_labels(po, other)
    with pytest.raises(SurveyDataError, match="has no speciesId column"):
        pseudo_labels(replace(po, labels=None), po)
    for side in (0.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="side_km must be a positive number"):
            pseudo_labels(po, po, side_km=side)
    with pytest.raises(ValueError, match=r"weights are of shape \(3,\), there are 2 PO surveys"):
        pseudo_labels(po, po, weights=np.ones(3))
    with pytest.raises(ValueError, match="1 of 2 are not, the first is -1"):
        pseudo_labels(po, po, weights=np.array([1.0, -1.0]))
    none = po.subset(np.zeros(0, dtype=np.int64))
    assert pseudo_labels(none, po).shape == (2, 2)
    assert pseudo_labels(po, none).shape == (0, 2)


# --- pseudo-surveys -------------------------------------------------------------------------------


@pytest.mark.parametrize("with_region", [False, True])
def test_patches_by_a_plain_loop(with_region):
    points = clustered_points(500, per_cluster=60, radius_km=2.0)
    order = np.random.default_rng(0).permutation(500)
    region = np.array(["A", "B", None], dtype=object)[order % 3] if with_region else None
    po = SurveyTable(
        order + 1000, points.lat, points.lon, points.year, region,
        clustered_labels(points.cluster, 40, mean=2, pool=12), np.arange(40) * 3,
    )  # fmt: skip
    merged = aggregate_patches(po, side_km=1.0)
    square = block_ids(po.lat, po.lon, 1.0)
    groups: dict[tuple, list[int]] = {}
    for i in range(500):
        key = (square[i], po.year[i], region[i] if with_region else None)
        groups.setdefault(key, []).append(i)
    assert len(merged) == len(groups) < 450
    for at, ((_, year, name), members) in enumerate(groups.items()):
        assert merged.survey_id[at] == po.survey_id[members[0]]
        assert merged.year[at] == year
        species = set(np.concatenate([po.labels[i].indices for i in members]).tolist())
        assert set(merged.labels[at].indices.tolist()) == species
        assert merged.lat[at] == pytest.approx(po.lat[members].mean(), abs=1e-12)
        assert merged.lon[at] == pytest.approx(po.lon[members].mean(), abs=1e-12)
        assert merged.meta["num_surveys"][at] == len(members)
        assert merged.meta["num_records"][at] == sum(po.labels[i].nnz for i in members)
        assert not with_region or merged.region[at] is name
    assert with_region == (merged.region is not None)
    assert set(merged.labels.data.tolist()) == {1.0}
    assert merged.labels.dtype == np.float32
    assert np.array_equal(merged.species_ids, po.species_ids)
    assert merged.notes == {"surveys": 500, "surveys merged into another": 500 - len(groups)}
    assert len(merged.subset(np.arange(3))) == 3


def test_patches_keep_everything_where_nothing_meets():
    po = po_table([[5], [], [5, 9]], lat=[45.0, 46.0, 47.0])
    merged = aggregate_patches(po)
    assert np.array_equal(merged.survey_id, po.survey_id)
    assert (merged.labels != po.labels).nnz == 0
    assert merged.meta["num_records"].tolist() == [1, 0, 2]
    none = aggregate_patches(po.subset(np.zeros(0, dtype=np.int64)))
    assert len(none) == 0
    with pytest.raises(SurveyDataError, match="has no speciesId column"):
        aggregate_patches(replace(po, labels=None))
    with pytest.raises(ValueError, match="block_km must be a positive"):
        aggregate_patches(po, side_km=0.0)


@needs_glc24
def test_real_presence_only_surveys():
    files = [GLC24 / f"GLC24_{kind}_metadata_train.csv" for kind in ("PA", "P0")]
    vocabulary = species_vocabulary(*files)
    surveys, po = read_glc24_pa(files[0], vocabulary), read_glc24_po(files[1], vocabulary)
    report = selection_report(po, min_species=5, max_uncertainty_m=20.0)
    kept = trustworthy(po, min_species=5, max_uncertainty_m=20.0)
    assert report.loc["kept", "surveys left"] == kept.sum() > 100
    assert report.loc["no uncertainty", "surveys that fail"] == 10
    found = pseudo_labels(po, surveys, weights=observer_effort(po))
    seen = np.diff(found.indptr) > 0
    assert seen.sum() > 50
    hits = found.astype(bool).multiply(surveys.labels.astype(bool)).sum()
    assert hits / found.nnz > 10 * surveys.labels.nnz / np.prod(surveys.labels.shape)
    assert len(aggregate_patches(po, 20.0)) < len(po)


@pytest.mark.alone
def test_patches_of_the_real_size_take_under_a_minute():
    num = 3_845_533
    points = clustered_points(num, per_cluster=2000, radius_km=60)
    rng = np.random.default_rng(0)
    column = rng.integers(0, 11_255, num).astype(np.int32)
    labels = sparse.csr_matrix(
        (np.ones(num, np.float32), column, np.arange(num + 1)), (num, 11_255)
    )
    po = SurveyTable(np.arange(num), points.lat, points.lon, points.year, None, labels, np.arange(11_255))  # fmt: skip
    begin = time.perf_counter()
    merged = aggregate_patches(po)
    assert time.perf_counter() - begin < 60
    assert merged.meta["num_surveys"].sum() == num
