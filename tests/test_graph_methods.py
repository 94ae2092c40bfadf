"""Methods of a survey graph that are other functions by a shorter name; they load no more."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks.inputs import survey_table
from tighnari_graph import SurveyGraph, read_geoparquet, to_geodataframe, to_networkx

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def graph() -> SurveyGraph:
    return SurveyGraph.from_surveys(survey_table(80, num_species=7, per_cluster=10))


def test_points_and_lines_are_those_of_the_function(graph):
    gpd = pytest.importorskip("geopandas")
    for what, options in (("nodes", {"species": True}), ("edges", {"undirected": True})):
        found = graph.to_geodataframe(what, **options)
        assert isinstance(found, gpd.GeoDataFrame)
        pd.testing.assert_frame_equal(found, to_geodataframe(graph, what, **options))
    assert len(graph.to_geodataframe()) == 80
    assert len(found) == graph.num_edges / 2


def test_a_written_graph_is_read_again(graph, tmp_path):
    pytest.importorskip("geopandas")
    graph.write_geoparquet(tmp_path / "graph")
    again = read_geoparquet(tmp_path / "graph")
    assert torch.equal(again.edge_index, graph.edge_index)
    assert torch.equal(again.y.to_dense(), graph.y.to_dense())


def test_networkx_has_the_same_nodes_and_edges(graph):
    nx = pytest.importorskip("networkx")
    g = graph.to_networkx()
    assert isinstance(g, nx.DiGraph)
    assert g.number_of_edges() == graph.num_edges
    assert dict(g.nodes) == dict(to_networkx(graph).nodes)


def test_libpysal_weighs_with_what_is_asked_for(graph):
    pytest.importorskip("libpysal")
    for weight, expected in (("weight", graph.edge_weight), ("distance", graph.edge_distance_km)):
        total = graph.to_libpysal(weight).adjacency.sum()
        assert total == pytest.approx(float(expected.double().sum()), rel=1e-6)
    assert len(graph.to_libpysal().isolates) == int(graph.isolates().sum())


def test_to_explain_loads_neither_figures_nor_other_libraries():
    script = (
        "import sys, tighnari_graph, pandas as pd\n"
        "rows = pd.DataFrame({'surveyId': [1, 2], 'lat': [45.0, 45.05], 'lon': 7.0,"
        " 'year': 2020, 'speciesId': [5, 9]})\n"
        "table = tighnari_graph.SurveyTable.from_long(rows)\n"
        "found = tighnari_graph.SurveyGraph.from_surveys(table).explain(1)\n"
        "print(len(found.by_neighbor))\n"
        "heavy = {'matplotlib', 'geopandas', 'libpysal', 'plotly', 'tighnari_models'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["1", "[]"], done.stderr
