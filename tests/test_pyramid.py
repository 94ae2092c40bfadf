"""`Pyramid`: every survey is seen exactly once, singly or in a cell, and none of the own block."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from benchmarks.inputs import clustered_points
from tests.oracles import EARTH_RADIUS_KM
from tests.strategies import ANCHORS, SOME, Place, moved, places
from tighnari_graph.geodesy import unit_vectors
from tighnari_graph.pyramid import SEVERAL, Pyramid
from tighnari_graph.splits import block_ids

OPENINGS = (0.0, 0.2, 0.5, 1.0, 2.0)


def km_between(one: Place, other: Place) -> float:
    """Haversine, of two places."""
    phi, psi = math.radians(one[0]), math.radians(other[0])
    half = math.sin((phi - psi) / 2) ** 2
    half += math.cos(phi) * math.cos(psi) * math.sin(math.radians(one[1] - other[1]) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(half)))


def pyramid_of(where: list[Place], **options: Any) -> Pyramid:
    """Survey i has species i only, so that the labels of a node say whom it holds."""
    lat, lon = np.array(where).reshape(-1, 2).T
    options = {"values": np.zeros((len(lat), 0)), "codes": np.zeros((len(lat), 0), int)} | options
    labels = sparse.eye_array(len(lat), format="csr", dtype=np.float32)
    return Pyramid.build(lat, lon, sparse.csr_matrix(labels), **options)


@st.composite
def surveys(draw: st.DrawFn) -> tuple[list[Place], np.ndarray, np.ndarray]:
    """Places at the poles, the antimeridian, on top of each other and some 100 km off; values."""
    anchors = draw(st.lists(st.sampled_from(ANCHORS), min_size=1, max_size=4, unique=True))
    where = draw(places(anchors, draw(st.integers(1, 14))))
    off = draw(st.lists(st.sampled_from((0.0, 0.0, 30.0, 300.0)), min_size=len(where), max_size=14))
    where = [moved(p, north, -north) for p, north in zip(where, off[: len(where)], strict=True)]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    values = rng.choice([np.nan, 0.0, 1.0, 2.0], (len(where), draw(st.integers(0, 2))))
    codes = rng.integers(-1, 2, (len(where), draw(st.integers(0, 1))))
    return where, values, codes


@SOME
@given(
    surveys(), st.sampled_from(OPENINGS), st.booleans(), st.sampled_from((3.0, 10.0, 25.0, 100.0))
)
def test_every_survey_outside_the_own_block_is_seen_exactly_once(given, opening, own, block_km):
    where, values, codes = given
    pyramid = pyramid_of(where, values=values, codes=codes, block_km=block_km)
    num = len(where)
    block = block_ids(*np.array(where).T, block_km)
    source, target, km = pyramid.edges(pyramid.vectors[:num], block if own else None, opening)
    seen = np.zeros((num, num))
    np.add.at(seen, target, pyramid.labels[source].toarray())
    expected = block[:, None] != block[None, :] if own else np.ones((num, num))
    np.testing.assert_array_equal(seen, expected)
    weight = np.bincount(target, pyramid.weight[source], minlength=num)
    np.testing.assert_array_equal(weight, expected.sum(axis=1))
    assert (np.diff(target * pyramid.num_nodes + source) > 0).all()  # sorted, nothing twice
    for s, t, d in zip(source.tolist(), target.tolist(), km.tolist(), strict=True):
        if s < num:
            assert d == pytest.approx(km_between(where[s], where[t]), abs=0.1)
        else:
            assert pyramid.radius_km[s] <= opening * d * (1 + 1e-6)


@SOME
@given(surveys())
def test_a_cell_is_the_sum_of_its_surveys_all_of_one_class_and_within_its_radius(given):
    where, values, codes = given
    pyramid = pyramid_of(where, values=values, codes=codes)
    num, block = len(where), block_ids(*np.array(where).T)
    vectors = unit_vectors(*np.array(where).T)
    for node in range(num, pyramid.num_nodes):
        first, last = pyramid.first_child[node : node + 2]
        children = pyramid.children[first:last]
        assert (children < node).all()
        inside = pyramid.labels[[node]].indices
        below = np.concatenate([pyramid.labels[[child]].indices for child in children])
        assert sorted(below) == sorted(inside)
        assert pyramid.weight[node] == len(inside)
        np.testing.assert_allclose(pyramid.numeric[node], values[inside].mean(axis=0), atol=1e-6)
        assert (np.isnan(values[inside]) == np.isnan(values[inside[0]])).all()
        assert (codes[inside] == pyramid.codes[node]).all()
        assert pyramid.block[node] == SEVERAL or (block[inside] == pyramid.block[node]).all()
        chord = np.linalg.norm(vectors[inside] - pyramid.vectors[node], axis=1)
        reach = 2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(chord / 2, 1))
        assert (reach <= pyramid.radius_km[node] + 1e-3).all()
    assert sorted(pyramid.labels[pyramid.top].indices) == list(range(num))


def test_far_surveys_are_seen_as_cells_and_more_so_with_a_larger_opening():
    points = clustered_points(600, per_cluster=60)
    pyramid = pyramid_of(list(zip(points.lat, points.lon, strict=True)))
    some = pyramid.vectors[:20]
    counts = [len(pyramid.edges(some, None, opening)[0]) for opening in OPENINGS]
    assert counts[0] == 20 * 600
    assert counts[0] > counts[1] > counts[2] > counts[3] >= counts[4] >= 20
    assert counts[2] < counts[0] / 10


def test_distances_are_those_over_the_ground_without_an_opening():
    where = [
        (45.0, 7.0),
        (45.0, 7.0),
        (-89.99, 3.0),
        (89.99, -177.0),
        (61.2, 180.0),
        (61.2, -180.0),
    ]
    pyramid = pyramid_of(where)
    source, target, km = pyramid.edges(pyramid.vectors[: len(where)])
    expected = [km_between(where[s], where[t]) for s, t in zip(source, target, strict=True)]
    np.testing.assert_allclose(km, expected, rtol=1e-4, atol=0.1)
    assert len(km) == 36


def test_a_block_beside_a_pole_is_left_out_though_it_is_long():
    """Two surveys of one block 15.1 km apart, seen as cells of their own, for their kinds differ."""
    where = [(89.9321, 1.0), (89.9321, 179.0)]
    pairs = [(45.0 + 0.09 * (i % 2), 3.0 * (i // 2)) for i in range(80)]  # cells to be merged
    kinds = np.concatenate([[0, 1], 2 + np.arange(80) // 2])[:, None]
    pyramid = pyramid_of(where + pairs, codes=kinds)
    block = pyramid.block[:2]
    assert block[0] == block[1]
    assert km_between(*where) > 15.05
    for opening in OPENINGS:
        source, target, _ = pyramid.edges(pyramid.vectors[:2], block, opening)
        assert not pyramid.labels[source][:, :2].toarray().any()
        assert np.bincount(target, pyramid.weight[source]).tolist() == [80, 80]


def test_weights_of_surveys_are_summed_and_may_be_zero():
    where = [(45.0, 7.0), (45.001, 7.0), (45.002, 7.0), (52.0, 7.0)]
    values = np.array([[1.0], [1.0], [1.0], [1.0]])
    pyramid = pyramid_of(where, values=values, weight=np.array([0.5, 0.0, 2.0, 0.0]))
    held = pyramid.labels.toarray()
    together = np.flatnonzero((held[:, 0] > 0) & (held[:, 2] > 0))
    assert len(together)
    np.testing.assert_allclose(held[together[0], [0, 2]], [0.5, 2.0])
    assert pyramid.weight[together[0]] == 2.5
    assert np.isfinite(pyramid.vectors).all()
    assert np.isfinite(pyramid.radius_km).all()
    for opening in OPENINGS:
        source, target, _ = pyramid.edges(pyramid.vectors[:4], None, opening)
        np.testing.assert_allclose(np.bincount(target, pyramid.weight[source]), 2.5)


def test_one_survey_and_none():
    pyramid = pyramid_of([(45.0, 7.0)])
    for opening in OPENINGS:
        source, _, km = pyramid.edges(pyramid.vectors[:1], None, opening)
        assert pyramid.labels[source].sum() == 1
        assert km == pytest.approx([0.0], abs=1e-3)
        assert len(pyramid.edges(pyramid.vectors[:0], None, opening)[0]) == 0
        assert len(pyramid.edges(pyramid.vectors[:1], np.zeros(1, int), opening)[0]) == 0
    empty = pyramid_of([])
    for opening in OPENINGS:
        assert len(empty.edges(pyramid.vectors[:1], None, opening)[0]) == 0
