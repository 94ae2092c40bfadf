"""What would not fit into memory is refused before it is tried, with the estimate and a way out."""

from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from scipy import sparse

from tests.small_models import SPECIES, small_config, split_data
from tests.small_models import surveys as small_surveys
from tighnari_graph import SurveyGraph, SurveyTable, graph_feature_vectors
from tighnari_graph.geodesy import unit_vectors
from tighnari_graph.neighbor_memory import EDGE_BYTES, most_edges
from tighnari_graph.neighbor_reach import Reach
from tighnari_graph.neighbors import count_edges_between, radius_edges, radius_edges_between
from tighnari_graph.products import csr_product
from tighnari_models import Tighnari, predict


def crowd(num: int = 300, seed: int = 0) -> SurveyTable:
    """Surveys within a few kilometres, of two years: nearly every pair has an edge."""
    rng = np.random.default_rng(seed)
    labels = sparse.random(num, 40, 0.4, format="csr", random_state=seed, dtype=np.float32)
    labels.data[:] = 1
    return SurveyTable(
        np.arange(num), 45 + rng.uniform(0, 0.02, num), 7 + rng.uniform(0, 0.02, num),
        2019 + np.arange(num) % 2, np.full(num, "ALPINE", dtype=object), labels, np.arange(40),
    )  # fmt: skip


@pytest.fixture
def free(monkeypatch):
    """Say that so many bytes are free."""

    def say(size: float) -> None:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=size))

    return say


@pytest.mark.parametrize(
    ("backend", "number"),
    [("kdtree", 44_700), ("grid", 44_700), ("balltree", 90_000)],  # BallTree meets all years
)
def test_a_graph_of_too_many_edges_is_refused_with_their_number(free, backend, number):
    table = crowd()
    edges = SurveyGraph.from_surveys(table).num_edges
    assert edges == 2 * 150 * 149
    free(EDGE_BYTES * number - 1)
    text = f"{number:,} edges of at most 10 km: this needs about 0.0 GB and .* smaller radius_km"
    with pytest.raises(MemoryError, match=text):
        SurveyGraph.from_surveys(table, backend=backend)
    free(EDGE_BYTES * number)
    assert SurveyGraph.from_surveys(table, backend=backend).num_edges == edges


@pytest.mark.parametrize("backend", ["kdtree", "grid"])
def test_test_surveys_of_too_many_edges_are_refused(free, backend):
    table, other = crowd(), crowd(200, seed=1)
    graph = SurveyGraph.from_surveys(table)
    edges = graph.attach(other)["survey", "near", "test"].edge_index.size(1)
    assert edges == 150 * 100 * 2
    free(EDGE_BYTES * edges - 1)
    with pytest.raises(MemoryError, match="30,000 edges of at most 10 km"):
        graph.attach(other, backend=backend)
    free(EDGE_BYTES * edges)
    assert (
        graph.attach(other, backend=backend)["survey", "near", "test"].edge_index.size(1) == edges
    )


@pytest.mark.parametrize("backend", ["kdtree", "grid"])
def test_few_edges_of_many_pairs_are_made(free, backend):
    table = small_surveys()  # 48 surveys, of which 4 at most are near each other
    edges = SurveyGraph.from_surveys(table).num_edges
    assert 0 < edges < 48 * 48 / 4
    free(EDGE_BYTES * edges)
    assert SurveyGraph.from_surveys(table, backend=backend).num_edges == edges


@pytest.mark.parametrize("radius_km", [0.001, 0.3, 10.0, 3000.0, 15_000.0])
def test_there_are_never_more_edges_than_the_bound(radius_km):
    rng = np.random.default_rng(0)
    src, dst = (
        (rng.normal(45, 0.02, num), rng.normal(7, 0.02, num), np.zeros(num, dtype=np.int64))
        for num in (300, 40)
    )
    chord = Reach(radius_km).chord
    a, b = unit_vectors(*src[:2]), unit_vectors(*dst[:2])
    assert radius_edges_between(*src, *dst, radius_km)[0].shape[1] <= most_edges(a, b, chord)
    assert radius_edges(*src, radius_km)[0].shape[1] <= most_edges(a, a, chord)
    if radius_km < 1:
        assert most_edges(a, a, chord) < 300 * 300 / 2  # and it is worth asking


def test_edges_between_are_counted_as_they_are_found():
    src, dst = crowd(40), crowd(30, seed=2)
    found, _ = radius_edges_between(
        src.lat, src.lon, src.year, dst.lat, dst.lon, dst.year, 0.7
    )  # fmt: skip
    assert count_edges_between(src, dst, 0.7) == found.shape[1] > 0
    one = src.subset(np.flatnonzero(src.year == 2019))
    other = dst.subset(np.flatnonzero(dst.year == 2020))
    assert count_edges_between(one, other, 0.7) == 0
    assert count_edges_between(one, dst, 0.7) > 0


def test_features_that_would_not_fit_are_refused_and_others_made(free):
    graph = SurveyGraph.from_surveys(crowd())
    expected = graph_feature_vectors(graph)
    need = 24 * 300 * 40  # nearly every survey meets every species
    free(need * 0.9)
    text = r"aggregating species: 300 × 40 with about 12,000 entries needs about .* take fewer"
    with pytest.raises(MemoryError, match=text):
        graph_feature_vectors(graph)
    free(need)
    assert (graph_feature_vectors(graph).to_dense() == expected.to_dense()).all()


def test_a_sparse_product_is_not_refused_for_its_shape(free):
    one = sparse.eye(3000, format="csr", dtype=np.float32)
    free(24 * 3000 * 2)
    assert (csr_product(one, one) != one).nnz == 0


def test_logits_that_would_not_fit_are_refused_and_a_file_takes_them(free, tmp_path):
    data = split_data()
    val = data.dataset(data.split.val, data.split.train)
    model = Tighnari(data.complete(small_config()))
    need = 4 * 12 * SPECIES
    free(need - 1)
    with pytest.raises(MemoryError, match=rf"12 surveys × {SPECIES} species in memory .*\(out=\)"):
        predict(model, val)
    assert predict(model, val, out=tmp_path / "logits.npy").shape == (12, SPECIES)
    free(need)
    assert predict(model, val).shape == (12, SPECIES)
