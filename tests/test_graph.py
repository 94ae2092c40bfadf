"""`SurveyGraph` as PyG's tools meet it."""

import copy
import pickle
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch_geometric.transforms as T
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from benchmarks.inputs import survey_table
from tighnari_graph import SurveyDataError, SurveyGraph, SurveyTable
from tighnari_graph.geodesy import EARTH_RADIUS_KM
from tighnari_graph.neighbors import count_edges
from tighnari_graph.storage import write_graph


@pytest.fixture(scope="module")
def graph() -> SurveyGraph:
    return SurveyGraph.from_surveys(survey_table(60, num_species=23, seed=1, per_cluster=6))


def ring(num: int) -> SurveyGraph:
    """``num`` surveys, each with one neighbour: as many edges as nodes."""
    lat = 40 + np.arange(num) // 2 + 0.01 * (np.arange(num) % 2)
    frame = pd.DataFrame({"surveyId": np.arange(num), "lat": lat, "lon": 7.0, "year": 2020})
    return SurveyGraph.from_surveys(
        SurveyTable.from_long(frame.assign(speciesId=np.arange(num) % 3))
    )


@pytest.mark.parametrize("metres", [-5e-6, 5e-7, 5e-6, 2e-5])
def test_pairs_a_hair_beyond_the_radius_are_counted_as_they_are_built(tmp_path, metres):
    """Candidates are searched a little beyond the radius; what decides is nearer to it."""
    lat = 45 + np.array([0, np.degrees((10 + metres / 1000) / EARTH_RADIUS_KM)])
    frame = pd.DataFrame({"surveyId": [1, 2], "lat": lat, "lon": 7.0, "year": 2020, "speciesId": 3})
    graph = SurveyGraph.from_surveys(SurveyTable.from_long(frame))
    assert graph.num_edges == (2 if metres < 1e-6 else 0)  # closed, but for rounding of places
    graph.save(tmp_path / "graph.safetensors")
    assert SurveyGraph.load(tmp_path / "graph.safetensors").num_edges == graph.num_edges
    assert count_edges(lat, frame["lon"].to_numpy(), np.zeros(2, dtype=int)) == graph.num_edges


@pytest.mark.parametrize("num", [4, 6])
def test_as_many_edges_as_nodes_confuse_nothing(num):
    graph = ring(num)
    assert graph.num_nodes == graph.num_edges == num
    for key in ("survey_id", "pos", "year", "region_code", "y"):
        assert graph.is_node_attr(key), key
        assert not graph.is_edge_attr(key), key
        assert graph._store.is_node_attr(key), key
    for key in ("edge_index", "edge_distance_km", "edge_weight"):
        assert graph.is_edge_attr(key), key
        assert not graph._store.is_node_attr(key), key
    assert not graph.is_node_attr("spec")
    half = graph.subgraph(torch.arange(num) < 2)
    assert half.validate()
    assert half.y.shape == (2, 3)
    assert len(half.edge_weight) == 2


def test_subgraph_by_mask_and_by_positions(graph):
    mask = graph.year == graph.year[0]
    by_mask, by_rows = graph.subgraph(mask), graph.subgraph(mask.nonzero().flatten())
    for part in (by_mask, by_rows):
        assert part.validate()
        assert part.survey_id.tolist() == graph.survey_id[mask].tolist()
        assert torch.equal(part.y.to_dense(), graph.y.to_dense()[mask])
    assert graph.validate()


def test_rows_of_y_by_mask_positions_and_index_select(graph):
    dense = graph.y.to_dense()
    mask = graph.isolates()
    rows = torch.tensor([3, 1, 1])
    assert torch.equal(graph.y[mask].to_dense(), dense[mask])
    assert torch.equal(graph.y[rows].to_dense(), dense[rows])
    assert torch.equal(graph.y.index_select(0, rows).to_dense(), dense[rows])
    with pytest.raises(IndexError, match="a mask of 2 for 60 rows"):
        graph.y[torch.tensor([True, False])]
    with pytest.raises(NotImplementedError, match="columns"):
        graph.y.index_select(1, rows)


@pytest.mark.parametrize("copied", [Data.clone, copy.copy, copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g)), lambda g: g.to("cpu"), lambda g: g.cpu()])  # fmt: skip
def test_copies_are_whole_and_sound(graph, copied):
    other = copied(graph.clone())
    assert isinstance(other, SurveyGraph)
    assert other.validate()
    assert torch.equal(other.y.to_dense(), graph.y.to_dense())
    assert other.radius_km == graph.radius_km


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_batches_graphs_also_in_worker_processes(graph, workers):
    loader = DataLoader([graph, ring(6)], batch_size=2, num_workers=workers, exclude_keys=["y"])
    assert next(iter(loader)).num_nodes == 66
    loader = DataLoader([graph, graph], batch_size=2, num_workers=workers)
    batch = next(iter(loader))
    assert torch.equal(batch.y.to_dense(), graph.y.to_dense().repeat(2, 1))
    assert batch.edge_index.max() == 119
    assert batch.radius_km == 10.0
    assert len(batch.degree()) == 120


TRANSFORMS = {
    "RandomNodeSplit": T.RandomNodeSplit(num_val=5, num_test=5),
    "RemoveIsolatedNodes": T.RemoveIsolatedNodes(),
    "LargestConnectedComponents": T.LargestConnectedComponents(),
    "ToUndirected": T.ToUndirected(),
    "Constant": T.Constant(),
    "LocalDegreeProfile": T.LocalDegreeProfile(),
    "RemoveDuplicatedEdges": T.RemoveDuplicatedEdges(),
    "ToDevice": T.ToDevice("cpu"),
    "NormalizeFeatures": T.Compose([T.Constant(), T.NormalizeFeatures()]),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_keep_the_labels_with_their_surveys(graph, name):
    out = TRANSFORMS[name](graph.clone())
    of = {int(i): row for i, row in zip(graph.survey_id, graph.y.to_dense(), strict=True)}
    assert out.y.shape[0] == out.num_nodes
    for survey, row in zip(out.survey_id, out.y.to_dense(), strict=True):
        assert torch.equal(row, of[int(survey)])
    if name in ("RemoveIsolatedNodes", "LargestConnectedComponents"):
        assert out.num_nodes < graph.num_nodes
        assert out.validate()
    assert graph.validate()


def test_the_beta_warning_of_torch_reaches_nobody():
    script = (
        "import warnings; warnings.simplefilter('error')\n"
        "warnings.filterwarnings('ignore', category=DeprecationWarning)\n"
        "warnings.filterwarnings('ignore', '`torch.jit.script`')\n"  # of PyG
        "from benchmarks.inputs import survey_table\n"
        "from tighnari_graph import SurveyGraph\n"
        "graph = SurveyGraph.from_surveys(survey_table(20, num_species=5))\n"
        "print(graph.y[graph.isolates()].shape[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "5"), done.stderr


SPOILT = {
    "1 edges join a survey to itself": lambda g: g.edge_index.__setitem__((0, 0), g.edge_index[1, 0]),
    "entries of edge_index point outside": lambda g: g.edge_index.__setitem__((0, 0), 1000),
    "edges are out of order": lambda g: setattr(g, "edge_index", g.edge_index.flip(1)),
    "edges lack the opposite edge": lambda g: g.update({k: (g[k][..., 1:]) for k in ("edge_index", "edge_distance_km", "edge_weight")}),
    "weights are not radius − distance": lambda g: g.edge_weight.add_(1),
    "distances are not those between the positions": lambda g: (g.edge_distance_km.mul_(0.5), g.edge_weight.copy_(10 - g.edge_distance_km)),
    "distances lie outside": lambda g: g.edge_distance_km.add_(20),
    "edges join surveys of unequal year or region": lambda g: g.year.__setitem__(int(g.edge_index[0, 0]), 1900),
    "surveys repeat an id": lambda g: g.survey_id.__setitem__(1, g.survey_id[0]),
    "surveys lie outside latitude": lambda g: g.pos.__setitem__((0, 0), 91.0),
    "stored entries of y are not 1": lambda g: g.y.values().__setitem__(0, 2.0),
    "edge_weight is (3,) torch.float32, expected": lambda g: setattr(g, "edge_weight", torch.zeros(3)),
    "year is (60,) torch.int32, expected": lambda g: setattr(g, "year", g.year.int()),
    "y is torch.strided, expected torch.sparse_csr": lambda g: setattr(g, "y", g.y.to_dense()),
    "no attribute edge_distance_km": lambda g: g.__delattr__("edge_distance_km"),
}  # fmt: skip


@pytest.mark.parametrize("message", SPOILT)
def test_validate_names_each_broken_rule(graph, message):
    spoilt = graph.clone()
    SPOILT[message](spoilt)
    with pytest.raises(SurveyDataError) as raised:
        spoilt.validate()
    assert message in str(raised.value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert spoilt.validate(raise_on_error=False) is False


def test_match_by_any_column_of_the_table():
    table = survey_table(60, num_species=5)
    habitat = np.array(["wood", "meadow", None], dtype=object)[np.arange(60) % 3]
    table = replace(table, meta=pd.DataFrame({"habitat": habitat}))
    graph = SurveyGraph.from_surveys(table, radius_km=50.0, match=("year", "habitat"))
    source, target = graph.edge_index
    assert graph.num_edges > 0
    assert all(habitat[i] == habitat[j] is not None for i, j in zip(source, target, strict=True))
    assert graph.validate()
    hetero = graph.attach(test=replace(table, labels=None))
    source, target = hetero["survey", "near", "test"].edge_index
    assert all(habitat[i] == habitat[j] is not None for i, j in zip(source, target, strict=True))
    with pytest.raises(SurveyDataError, match="no column 'soil'"):
        SurveyGraph.from_surveys(table, match=("soil",))


def test_summary_counts_what_is_there(graph):
    summary = graph.summary()
    degree = np.bincount(graph.edge_index[1], minlength=60)
    assert summary.surveys == 60
    assert summary.edges == graph.num_edges
    assert summary.isolates == (degree == 0).sum() == int(graph.isolates().sum())
    assert summary.degree_quantiles[0.5] == np.median(degree)
    assert summary.groups["surveys"].sum() == 60
    assert summary.groups["edges"].sum() == graph.num_edges
    assert torch.allclose(graph.degree(weighted=True).sum(), graph.edge_weight.sum())
    for text in (repr(summary), summary._repr_html_()):
        assert "isolates" in text
        assert f"{graph.num_edges:,} directed" in text


def test_summary_of_an_empty_graph_and_one_without_regions():
    frame = pd.DataFrame({"surveyId": [1], "lat": 45.0, "lon": 7.0, "year": 2020})
    alone = SurveyGraph.from_surveys(SurveyTable.from_long(frame)).summary()
    assert (alone.surveys, alone.components, alone.groups.index.tolist()) == (
        1,
        1,
        [(2020, "(all)")],
    )
    empty = SurveyGraph.from_surveys(SurveyTable.from_long(frame[:0])).summary()
    assert (empty.surveys, empty.components, empty.isolates) == (0, 0, 0)
    assert "surveys" in repr(empty)


def test_masks_are_saved_and_what_cannot_be_saved_is_named(graph, tmp_path):
    kept = graph.clone()
    kept.train_mask = torch.arange(60) < 50
    kept.save(tmp_path / "graph.safetensors")
    loaded = SurveyGraph.load(tmp_path / "graph.safetensors")
    assert torch.equal(loaded.train_mask, kept.train_mask)
    assert set(loaded.keys()) == set(kept.keys())
    assert loaded.region_names == kept.region_names
    kept.note = "a text"
    with pytest.raises(SurveyDataError, match="attribute 'note' .str. is no dense tensor"):
        kept.save(tmp_path / "graph.safetensors")
    assert SurveyGraph.load(tmp_path / "graph.safetensors").num_nodes == 60
    assert [p.name for p in tmp_path.iterdir()] == ["graph.safetensors"]


def test_a_saved_graph_that_breaks_a_rule_is_refused_with_its_name(graph, tmp_path):
    spoilt = graph.clone()
    spoilt.edge_weight += 1
    write_graph(spoilt, tmp_path / "spoilt.safetensors")
    with pytest.raises(
        SurveyDataError, match="spoilt.safetensors: breaks the rules of a survey graph: .*weights"
    ):
        SurveyGraph.load(tmp_path / "spoilt.safetensors")


@pytest.mark.parametrize("radius", [np.inf, np.nan, 0.0, -10.0])
def test_a_saved_graph_of_an_odd_radius_is_refused(radius, graph, tmp_path):
    spoilt = graph.clone()
    spoilt.spec = replace(graph.spec, radius_km=radius)
    write_graph(spoilt, tmp_path / "spoilt.safetensors")
    with pytest.raises(SurveyDataError, match="spoilt.safetensors: .*radius_km must be a positive"):
        SurveyGraph.load(tmp_path / "spoilt.safetensors")


def test_truncated_and_foreign_files_are_refused_with_their_name(graph, tmp_path):
    path = tmp_path / "graph.safetensors"
    graph.save(path)
    whole = path.read_bytes()
    for cut in (0, 4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(SurveyDataError, match="graph.safetensors"):
            SurveyGraph.load(path)
    path.write_bytes(pickle.dumps({"edge_index": 1}))
    with pytest.raises(SurveyDataError, match="graph.safetensors"):
        SurveyGraph.load(path)


def test_a_graph_of_something_else_is_a_type_error():
    with pytest.raises(TypeError):
        SurveyGraph.from_surveys(pd.DataFrame())  # type: ignore[arg-type]


def test_regions_of_text_and_of_numbers_are_not_compared():
    """A CSV file read by path has text, the same one read by pandas may have numbers."""
    rows = pd.DataFrame({"surveyId": [1, 2], "lat": 45.0, "lon": 7.0, "year": 2020, "region": "1"})
    graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows))
    with pytest.raises(SurveyDataError, match="region is text in one table and numbers in the"):
        graph.attach(SurveyTable.from_long(rows.assign(region=1)))
