"""Every conversion there and back: ids, weights, direction, labels, bit by bit."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from torch_geometric.data import Batch, Data, HeteroData

from tests import oracles, strategies
from tighnari_graph import SurveyDataError, SurveyGraph, SurveyTable
from tighnari_graph.conversions import require_survey_graph
from tighnari_graph.conversions_geo import from_geodataframe, to_geodataframe
from tighnari_graph.conversions_homogeneous import from_homogeneous, to_homogeneous
from tighnari_graph.conversions_libpysal import from_libpysal, to_libpysal
from tighnari_graph.conversions_networkx import from_networkx, to_networkx
from tighnari_graph.conversions_parquet import FILES, read_geoparquet, write_geoparquet
from tighnari_graph.files import written_together
from tighnari_graph.holding import FolderInUseError

geopandas = pytest.importorskip("geopandas", reason="needs the extra geo")
networkx = pytest.importorskip("networkx", reason="needs the extra geo")
pysal = pytest.importorskip("libpysal.graph", reason="needs the extra geo")
shapely = importlib.import_module("shapely")

NAN = math.nan
# id, lat, lon, year, region, species; 40, 7 and 12 near each other, 7 and 12 at one place, 3 in
# another year, 9 without a region beside 40, 5 far off, 21 and 20 far off together
ROWS = [
    (40, 45.00, 7.0, 2020, "ALPINE", [9, 5]),
    (7, 45.05, 7.0, 2020, "ALPINE", [9]),
    (12, 45.05, 7.0, 2020, "ALPINE", []),
    (3, 45.00, 7.0, 2021, "ALPINE", [1000]),
    (9, 45.00, 7.0, 2020, None, [5]),
    (5, -33.9, 18.4, 2020, "ALPINE", [5]),
    (21, 61.2, 179.98, 2020, "BOREAL", [17]),
    (20, 61.2, -179.98, 2020, "BOREAL", [17, 9]),
]


def long_rows(rows=ROWS) -> pd.DataFrame:
    names = ["surveyId", "lat", "lon", "year", "region", "speciesId"]
    types = {"surveyId": "int64", "lat": "float64", "lon": "float64", "year": "int64"}
    frame = pd.DataFrame(rows, columns=names).explode("speciesId", ignore_index=True)
    return frame.astype(types | {"region": "object", "speciesId": "float64"})


def built(frame: pd.DataFrame, **rules: object) -> SurveyGraph:
    return SurveyGraph.from_surveys(SurveyTable.from_long(frame), **rules)  # type: ignore[arg-type]


def by_habitat() -> SurveyGraph:
    frame = long_rows()
    frame["habitat"] = np.where(frame["surveyId"] == 7, None, "wood")
    return built(frame, match=("year", "habitat"), radius_km=12.5, earth_radius_km=6731.0)


def named() -> SurveyGraph:
    frame = long_rows()
    frame["speciesId"] = frame["speciesId"].map(lambda s: None if s != s else f"Äspecies {s:g}")
    return built(frame)


GRAPHS = {
    "all kinds": lambda: built(long_rows()),
    "species names": named,
    "other rules": by_habitat,
    "no region column": lambda: built(long_rows().drop(columns="region")),
    "no labels": lambda: built(long_rows().drop(columns="speciesId")),
    "one survey": lambda: built(long_rows(ROWS[:1])),
    "isolates only": lambda: built(long_rows([ROWS[0], ROWS[3], ROWS[4], ROWS[5]])),
    "no surveys": lambda: built(long_rows([])),
    "distance alone": lambda: built(long_rows(), match=()),
    "unseen species": lambda: SurveyGraph.from_surveys(
        SurveyTable.from_long(long_rows(), [1, 5, 9, 17, 1000, 11254])
    ),
}


@pytest.fixture(params=GRAPHS)
def graph(request) -> SurveyGraph:
    return GRAPHS[request.param]()


def hetero_of(match: tuple[str, ...] = ("year", "region"), po: bool = True) -> HeteroData:
    test = long_rows([(70, 45.02, 7.0, 2020, "ALPINE", []), (40, 61.2, 180.0, 2020, None, [])])
    seen = long_rows([(7, 45.01, 7.0, 2020, None, [5, 9]), (8, 0.0, 0.0, 2020, None, [5])])
    graph = built(long_rows(), match=match)
    return graph.attach(
        test=SurveyTable.from_long(test.drop(columns="speciesId")),
        presence_only=SurveyTable.from_long(seen.drop(columns="region"), graph.species_ids)
        if po
        else None,
    )


def same(value: object, other: object) -> bool:
    """Equal bit by bit, in type, dtype, shape and entries."""
    if isinstance(value, torch.Tensor) and value.layout == torch.sparse_csr:
        assert isinstance(other, torch.Tensor)
        parts = ("crow_indices", "col_indices", "values")
        equal = [torch.equal(getattr(value, p)(), getattr(other, p)()) for p in parts]
        return value.shape == other.shape and all(equal)
    if isinstance(value, torch.Tensor):
        assert isinstance(other, torch.Tensor)
        return value.dtype == other.dtype and torch.equal(value, other)
    if type(value).__name__ == "GraphSpec":
        return all(np.array_equal(v, getattr(other, k)) for k, v in vars(value).items())
    return value == other


def assert_same_graph(one: SurveyGraph, other: SurveyGraph) -> None:
    assert isinstance(other, SurveyGraph)
    assert set(one.keys()) == set(other.keys())
    for key in one.keys():  # noqa: SIM118
        assert same(one[key], other[key]), key
    assert other.validate()


def assert_same_hetero(one: HeteroData, other: HeteroData) -> None:
    assert (one.node_types, one.edge_types) == (other.node_types, other.edge_types)
    assert same(one.spec, other.spec)
    for kind in (*one.node_types, *one.edge_types):
        assert set(one[kind].keys()) == set(other[kind].keys())
        for key in one[kind].keys():  # noqa: SIM118
            assert same(one[kind][key], other[kind][key]), (kind, key)


def rules_of(graph: SurveyGraph) -> dict[str, object]:
    spec = graph.spec
    return {name: getattr(spec, name) for name in ("radius_km", "earth_radius_km", "match")}


def table_of(graph: SurveyGraph) -> SurveyTable:
    """The table back, by loops."""
    spec = graph.spec
    columns: dict[str, list[object]] = {}
    for name, values in spec.categories.items():
        codes = graph[f"{name}_code"].tolist()
        columns[name] = [None if code < 0 else values[code] for code in codes]
    frame = pd.DataFrame({"surveyId": graph.survey_id.numpy(), "year": graph.year.numpy()})
    frame[["lat", "lon"]] = graph.pos.numpy()
    for name, values in columns.items():
        frame[name] = pd.Series(values, dtype=object)
    table = SurveyTable.from_long(frame)
    return replace(table, species_ids=spec.species_ids, species_names=spec.species_names)


# --- geopandas ------------------------------------------------------------------------------------


def test_points_say_of_each_survey_what_the_graph_says(graph):
    gdf = to_geodataframe(graph, species=True)
    assert gdf.crs == "EPSG:4326"
    assert len(gdf) == graph.num_nodes
    names = graph.species_ids if graph.species_names is None else graph.species_names
    assert ("region" in gdf) == ("region" in graph.spec.categories)
    for row, line in enumerate(gdf.itertuples()):
        assert line.survey_id == graph.survey_id[row]
        assert [line.geometry.y, line.geometry.x] == graph.pos[row].tolist()
        assert line.year == graph.year[row]
        assert line.degree == (graph.edge_index[1] == row).sum()
        found = [names[s] for s in graph.y.to_dense()[row].nonzero().flatten()]
        assert (line.species, line.num_species) == (found, len(found))
        if "region" in gdf:
            code = int(graph.region_code[row])
            assert line.region == (None if code < 0 else graph.region_names[code])


def test_lines_run_from_source_to_target(graph):
    gdf = to_geodataframe(graph, "edges")
    assert gdf.crs == "EPSG:4326"
    assert len(gdf) == graph.num_edges
    for edge, line in enumerate(gdf.itertuples()):
        source, target = graph.edge_index[:, edge]
        assert (line.source, line.target) == (graph.survey_id[source], graph.survey_id[target])
        assert line.distance_km == graph.edge_distance_km[edge]
        assert line.weight == graph.edge_weight[edge]
        ends = [graph.pos[end].flip(0).tolist() for end in (source, target)]
        assert [list(place) for place in line.geometry.coords] == ends
    half = to_geodataframe(graph, "edges", undirected=True)
    pairs = {frozenset(pair) for pair in zip(gdf.source, gdf.target, strict=True)}
    assert len(half) == len(pairs) == len(gdf) // 2
    assert {frozenset(pair) for pair in zip(half.source, half.target, strict=True)} == pairs


def test_points_and_lines_of_attached_nodes():
    hetero = hetero_of()
    tests = to_geodataframe(hetero, node_type="test")
    assert "num_species" not in tests
    assert tests.survey_id.tolist() == [70, 40]
    assert tests.degree.tolist() == [3, 0]
    assert tests.region.tolist() == ["ALPINE", None]
    po = to_geodataframe(hetero, node_type="po", species=True)
    assert (po.survey_id.tolist(), po.species.tolist(), po.degree.tolist()) == ([7], [[5, 9]], [0])
    lines = to_geodataframe(hetero, "edges", edge_type=("survey", "near", "test"), undirected=True)
    assert (lines.source.tolist(), lines.target.tolist()) == ([40, 7, 12], [70] * 3)
    lines = to_geodataframe(hetero, "edges", edge_type=("po", "near", "test"))
    assert (lines.source.tolist(), lines.target.tolist()) == ([7], [70])
    assert lines.geometry[0].coords[:] == [(7.0, 45.01), (7.0, 45.02)]


def test_further_attributes_become_columns():
    graph = built(long_rows(ROWS[:7]))  # 7 surveys, 6 edges
    graph.train_mask = torch.arange(7) < 5
    graph.x = torch.arange(14.0).reshape(7, 2)
    graph.seen = torch.arange(graph.num_edges)
    gdf = to_geodataframe(graph)
    assert gdf.train_mask.tolist() == graph.train_mask.tolist()
    assert gdf.x_1.tolist() == graph.x[:, 1].tolist()
    assert to_geodataframe(graph, "edges").seen.tolist() == list(range(graph.num_edges))
    graph.species = torch.zeros(7)
    with pytest.raises(SurveyDataError, match="'species' would become a second column"):
        to_geodataframe(graph)


@pytest.mark.parametrize("kind", GRAPHS)
def test_points_make_the_same_graph_again(kind):
    graph = GRAPHS[kind]()
    labels = kind != "no labels"
    names = graph.species_ids if graph.species_names is None else graph.species_names
    gdf = to_geodataframe(graph, species=labels)
    table = from_geodataframe(gdf, names if labels else None)
    assert (table.labels is not None) == labels
    assert_same_graph(graph, SurveyGraph.from_surveys(table, **rules_of(graph)))
    assert_same_graph(graph, SurveyGraph.from_surveys(table, **gdf.attrs))


def test_what_knows_survey_graphs_only_says_so():
    """`write_geoparquet` and `to_libpysal` ask it; in tests their types are checked before."""
    graph = built(long_rows())
    require_survey_graph(graph, "to_libpysal")
    hetero = graph.attach(SurveyTable.from_long(long_rows()[:1].drop(columns="speciesId")))
    with pytest.raises(TypeError, match="takes a SurveyGraph, got HeteroData; convert the survey"):
        require_survey_graph(hetero, "to_libpysal")
    with pytest.raises(TypeError, match="to_libpysal takes a SurveyGraph, got Data$"):
        require_survey_graph(Data(), "to_libpysal")


def test_a_batch_of_graphs_with_the_same_surveys_is_refused_by_networkx():
    graph = built(long_rows())
    with pytest.raises(SurveyDataError, match="8 of 16 survey nodes have the survey id of another"):
        to_networkx(Batch.from_data_list([graph, graph]))


def test_points_of_another_projection_come_back_to_the_metre():
    graph = built(long_rows(ROWS[:3]))
    table = from_geodataframe(to_geodataframe(graph).to_crs("EPSG:3035"))
    pos = graph.pos.numpy()
    assert np.allclose(np.stack([table.lat, table.lon], axis=1), pos, rtol=0, atol=1e-7)


def test_own_columns_are_renamed_and_species_may_stand_in_rows():
    points = geopandas.points_from_xy([7.0, 7.0, 8.0], [45.0, 45.0, 46.0], crs="EPSG:4326")
    rows = {"plot": [4, 4, 2], "when": 2019, "taxon": [5, 9, None], "soil": ["a", "a", "b"]}
    gdf = geopandas.GeoDataFrame(rows, geometry=points, index=[9, 9, 9])
    table = from_geodataframe(
        gdf, columns={"plot": "surveyId", "when": "year", "taxon": "speciesId"}
    )
    assert table.survey_id.tolist() == [4, 2]
    assert table.labels.toarray().tolist() == [[1, 1], [0, 0]]
    assert table.meta["soil"].tolist() == ["a", "b"]
    assert "geometry" not in table.meta


def test_geometries_that_are_no_positions_are_refused():
    gdf = to_geodataframe(GRAPHS["all kinds"]())
    with pytest.raises(SurveyDataError, match="no coordinate system"):
        from_geodataframe(gdf.set_crs(None, allow_override=True))
    with pytest.raises(SurveyDataError, match="8 of 8 geometries are no points .*Polygon"):
        from_geodataframe(gdf.to_crs(3035).buffer(5).to_frame("geometry").assign(year=1))
    with pytest.raises(SurveyDataError, match="no geometry column"):
        from_geodataframe(geopandas.GeoDataFrame({"survey_id": [1]}))
    gdf.loc[2, "geometry"] = None
    with pytest.raises(SurveyDataError, match="1 of 8 geometries .*missing.*first in row 2"):
        from_geodataframe(gdf)
    gdf.loc[2, "geometry"] = shapely.Point()
    with pytest.raises(SurveyDataError, match="1 of 8 geometries"):
        from_geodataframe(gdf)
    with pytest.raises((TypeError, SurveyDataError)):
        from_geodataframe(pd.DataFrame())


def test_unknown_kinds_are_named():
    graph = GRAPHS["all kinds"]()
    with pytest.raises(ValueError, match="what must be"):
        to_geodataframe(graph, "points")
    with pytest.raises(ValueError, match="node_type 'test' is not in this graph: survey"):
        to_geodataframe(graph, node_type="test")
    with pytest.raises(ValueError, match="'po', 'near', 'test'"):
        to_geodataframe(graph, "edges", edge_type=("po", "near", "test"))


# --- GeoParquet -----------------------------------------------------------------------------------


def test_a_folder_holds_the_graph_bit_by_bit(graph, tmp_path):
    if graph.num_nodes:
        graph.train_mask = torch.arange(graph.num_nodes) % 2 == 0
    if graph.num_edges != graph.num_nodes:  # PyG would take it for an attribute of nodes
        graph.seen = torch.arange(graph.num_edges, dtype=torch.float32)
    write_geoparquet(graph, tmp_path / "a" / "graph")
    assert_same_graph(graph, read_geoparquet(tmp_path / "a" / "graph"))
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["graph"]
    nodes = geopandas.read_parquet(tmp_path / "a" / "graph" / "nodes.parquet")
    assert nodes.crs == "EPSG:4326"


def test_labels_are_a_plain_table_of_ids(tmp_path):
    graph = GRAPHS["all kinds"]()
    write_geoparquet(graph, tmp_path / "graph")
    labels = pq.read_table(tmp_path / "graph" / "labels.parquet").to_pandas()
    found = set(zip(labels.survey_id, labels.species_id, strict=True))
    assert found == {(row[0], species) for row in ROWS for species in row[5]}
    edges = pq.read_table(tmp_path / "graph" / "edges.parquet").to_pandas()
    assert edges.columns.tolist() == ["source", "target", "distance_km", "weight"]


def test_a_folder_is_replaced_whole_and_other_files_are_kept(tmp_path, monkeypatch):
    folder = tmp_path / "graph"
    first, second = GRAPHS["all kinds"](), GRAPHS["species names"]()
    write_geoparquet(first, folder)
    write_geoparquet(second, folder)
    assert_same_graph(second, read_geoparquet(folder))
    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_geoparquet(first, folder)
        with pytest.raises(ZeroDivisionError):
            write_geoparquet(first, tmp_path / "new")
    assert_same_graph(second, read_geoparquet(folder))
    assert [p.name for p in tmp_path.iterdir()] == ["graph"]
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"other files \(notes.txt\)"):
        write_geoparquet(first, folder)
    with pytest.raises(FileExistsError, match="a file"):
        write_geoparquet(first, folder / "notes.txt")
    assert_same_graph(second, read_geoparquet(folder))


def test_two_writers_of_one_folder_are_refused_and_half_files_of_others_stay(tmp_path):
    folder, graph = tmp_path / "graph", GRAPHS["all kinds"]()
    write_geoparquet(graph, folder)
    with (
        written_together(folder, FILES) as new,
        pytest.raises(FolderInUseError, match=r"graph: is being written to by another"),
    ):
        try:
            write_geoparquet(graph, folder)
        finally:
            for name, path in new.items():
                path.write_bytes((folder / name).read_bytes())
    assert_same_graph(graph, read_geoparquet(folder))
    (folder / ".nodes.parquet.new.part").touch()
    (folder / "..edges.parquet.new.part.1a2b3c4d.part").touch()
    write_geoparquet(graph, folder)
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    (folder / "film.part").touch()
    with pytest.raises(FileExistsError, match=r"other files \(film.part\)"):
        write_geoparquet(graph, folder)
    (tmp_path / "other/labels.parquet").mkdir(parents=True)
    with pytest.raises(FileExistsError, match=r"other files \(labels.parquet\)"):
        write_geoparquet(graph, tmp_path / "other")


def spoil(path: Path, change) -> None:
    table = pq.read_table(path)
    frame = change(table.to_pandas())
    pq.write_table(table.from_pandas(frame, preserve_index=False), path)


def test_edges_in_another_order_are_sorted(tmp_path):
    graph = GRAPHS["all kinds"]()
    write_geoparquet(graph, tmp_path / "graph")
    spoil(tmp_path / "graph" / "edges.parquet", lambda e: e.sample(frac=1, random_state=1))
    spoil(tmp_path / "graph" / "labels.parquet", lambda e: e.sample(frac=1, random_state=1))
    assert_same_graph(graph, read_geoparquet(tmp_path / "graph"))


SPOILT = {
    "edges.parquet: 2 of .* rows name surveys that are not there, the first is 999": (
        "edges.parquet", lambda e: e.assign(source=e.source.where(e.source != 21, 999).where(e.source != 20, 999))),
    "edges lack the opposite": ("edges.parquet", lambda e: e[1:]),
    "weights are not radius": ("edges.parquet", lambda e: e.assign(weight=e.weight + np.float32(1))),
    "labels.parquet: .* name species": ("labels.parquet", lambda e: e.assign(species_id=6)),
    "species repeat an id": ("species.parquet", lambda e: e.assign(species_id=5)),
    "no saved survey graph": ("edges.parquet", lambda e: e.drop(columns="weight")),
}  # fmt: skip


@pytest.mark.parametrize("message", SPOILT)
def test_a_folder_that_breaks_a_rule_is_refused(message, tmp_path):
    write_geoparquet(GRAPHS["all kinds"](), tmp_path / "graph")
    name, change = SPOILT[message]
    spoil(tmp_path / "graph" / name, change)
    with pytest.raises(SurveyDataError, match=message):
        read_geoparquet(tmp_path / "graph")


@pytest.mark.parametrize(
    "name", ["nodes.parquet", "edges.parquet", "labels.parquet", "species.parquet", "spec.json"]
)
def test_missing_and_truncated_files_are_refused(name, tmp_path):
    write_geoparquet(GRAPHS["all kinds"](), tmp_path / "graph")
    path = tmp_path / "graph" / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SurveyDataError, match="no saved survey graph"):
        read_geoparquet(tmp_path / "graph")
    path.unlink()
    with pytest.raises(SurveyDataError, match=f"{name} is not there"):
        read_geoparquet(tmp_path / "graph")
    with pytest.raises(FileNotFoundError):
        read_geoparquet(tmp_path / "elsewhere")


@pytest.mark.parametrize("value", ["a text", torch.zeros(8, 2), torch.zeros(3), torch.zeros(8).to_sparse()])  # fmt: skip
def test_what_cannot_be_written_is_named(value, tmp_path):
    graph = GRAPHS["all kinds"]()
    graph.note = value
    with pytest.raises(SurveyDataError, match="attribute 'note'"):
        write_geoparquet(graph, tmp_path / "graph")
    assert not list(tmp_path.iterdir())


# --- networkx -------------------------------------------------------------------------------------


def test_networkx_says_of_each_node_and_edge_what_the_graph_says(graph):
    g = to_networkx(graph)
    assert list(g.nodes) == graph.survey_id.tolist()
    names = graph.species_ids if graph.species_names is None else graph.species_names
    for row, (survey, node) in enumerate(g.nodes(data=True)):
        assert survey == graph.survey_id[row]
        assert [node["lat"], node["lon"]] == graph.pos[row].tolist()
        assert node["year"] == graph.year[row]
        found = [names[s] for s in graph.y.to_dense()[row].nonzero().flatten()]
        assert node["species"] == found
        if "region" in graph.spec.categories:
            code = int(graph.region_code[row])
            assert node["region"] == (None if code < 0 else graph.region_names[code])
    assert g.number_of_edges() == graph.num_edges
    ids = graph.survey_id.tolist()
    for edge, (source, target) in enumerate(graph.edge_index.T.tolist()):
        found = g.edges[ids[source], ids[target]]
        assert found["distance_km"] == graph.edge_distance_km[edge]
        assert found["weight"] == graph.edge_weight[edge]


def test_networkx_there_and_back(graph):
    assert_same_graph(graph, from_networkx(to_networkx(graph)))


def test_networkx_keeps_codes_of_regions_that_are_gone_and_the_last_bit_of_a_weight():
    part = GRAPHS["all kinds"]().subgraph(torch.tensor([6, 7]))
    assert part.region_code.tolist() == [1, 1]
    part.edge_weight = torch.nextafter(part.edge_weight, torch.tensor(0.0))
    part.edge_distance_km = torch.nextafter(part.edge_distance_km, torch.tensor(9.0))
    assert_same_graph(part, from_networkx(to_networkx(part)))
    back = from_libpysal(to_libpysal(part), table_of(part))
    assert torch.equal(back.edge_weight, part.edge_weight)


def test_networkx_of_attached_nodes_keeps_types_and_direction():
    hetero = hetero_of()
    g = to_networkx(hetero)
    assert len(g) == 8 + 2 + 1
    assert ("survey", 40) in g
    assert ("test", 40) in g
    assert "species" not in g.nodes["test", 70]
    assert g.nodes["po", 7]["species"] == [5, 9]
    assert sorted(g.predecessors(("test", 70))) == [
        ("po", 7), ("survey", 7), ("survey", 12), ("survey", 40),
    ]  # fmt: skip
    assert g.out_degree(("test", 70)) == 0
    weight = hetero["po", "near", "test"].edge_weight[0]
    assert g.edges[("po", 7), ("test", 70)]["weight"] == weight
    with pytest.raises(SurveyDataError, match="nodes must be survey ids, the first is"):
        from_networkx(g)
    only = g.subgraph([node for node in g if node[0] == "survey"])
    graph = from_networkx(networkx.relabel_nodes(only, {node: node[1] for node in only}))
    assert torch.equal(graph.edge_index, hetero["survey", "near", "survey"].edge_index)


def test_a_plain_undirected_networkx_graph_gets_its_distances():
    g = networkx.Graph()
    for survey, lat, lon, year, _, species in ROWS[:3]:
        g.add_node(survey, lat=lat, lon=lon, year=year, species=species)
    g.add_edges_from([(40, 7), (12, 7), (12, 40)])
    expected = built(long_rows(ROWS[:3]).drop(columns="region"))
    assert_same_graph(expected, from_networkx(g))


SPOILT_PAIRS = {
    "1 edges join surveys that are no neighbours within 10 km of the same year and region "
    r"\(surveyId 40 → 5 at 8\d+": lambda g: g.add_edge(40, 5, distance_km=1.0, weight=9.0),
    r"1 edges join .* \(surveyId 40 → 3 at 0.0 km": lambda g: g.add_edge(40, 3, distance_km=0.0, weight=10.0),
    r"1 edges join .* \(surveyId 5 → 5": lambda g: g.add_edge(5, 5, distance_km=0.0, weight=10.0),
    r"1 pairs of surveys .* have no edge \(surveyId 7 → 40 at 5.6 km\)": lambda g: g.remove_edge(7, 40),
    r"1 edges have another edge_weight .*first 3 for 4.44.*7 → 40": lambda g: g.edges[7, 40].update(weight=3.0),
    r"1 edges have another edge_distance_km .*7 → 40": lambda g: g.edges[7, 40].update(distance_km=NAN) or g.edges[7, 40].update(distance_km=3.0),
    "1 of 8 edges have no weight": lambda g: g.edges[7, 40].pop("weight"),
    "rows have no latitude .surveyId 40": lambda g: g.nodes[40].pop("lat"),
}  # fmt: skip


@pytest.mark.parametrize("message", SPOILT_PAIRS)
def test_networkx_edges_that_break_a_rule_are_named(message):
    g = to_networkx(GRAPHS["all kinds"]())
    SPOILT_PAIRS[message](g)
    with pytest.raises(SurveyDataError, match=message):
        from_networkx(g)


def test_networkx_multigraphs_and_text_ids_are_refused():
    g = networkx.MultiDiGraph(to_networkx(GRAPHS["all kinds"]()))
    g.add_edge(7, 40, distance_km=5.5598, weight=4.4402)
    with pytest.raises(SurveyDataError, match="1 edges come twice .*7 → 40"):
        from_networkx(g)
    with pytest.raises(SurveyDataError, match="nodes must be survey ids, the first is 'a'"):
        from_networkx(networkx.DiGraph([("a", "b")]))


# --- libpysal -------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", ["weight", "distance", "binary"])
def test_libpysal_there_and_back(graph, weight):
    w = to_libpysal(graph, weight)
    assert w.unique_ids.tolist() == graph.survey_id.tolist()
    assert w.isolates.tolist() == graph.survey_id[graph.isolates()].tolist()
    assert w.n_edges == graph.num_edges
    ids = graph.survey_id.tolist()
    value = {"weight": graph.edge_weight, "distance": graph.edge_distance_km}.get(
        weight, torch.ones(graph.num_edges)
    )
    for edge, (source, target) in enumerate(graph.edge_index.T.tolist()):
        assert w.adjacency.loc[(ids[target], ids[source])] == value[edge]
    back = from_libpysal(w, table_of(graph), **rules_of(graph), weight=weight)
    for key in ("survey_id", "edge_index", "edge_distance_km", "edge_weight", "region_code"):
        assert same(graph[key], back[key])


def test_libpysal_takes_the_order_for_sorted():
    """libpysal's own sorting changes nothing, and its matrices stand in the order of the surveys."""
    graph = GRAPHS["all kinds"]()
    w = to_libpysal(graph)
    again = pysal.Graph(w.adjacency)
    assert again.adjacency.index.tolist() == w.adjacency.index.tolist()
    assert again.adjacency.tolist() == w.adjacency.tolist()
    dense = np.zeros((8, 8))
    for (source, target), weight in zip(graph.edge_index.T, graph.edge_weight, strict=True):
        dense[target, source] = weight
    assert np.array_equal(w.sparse.toarray(), dense)
    means = w.lag(np.arange(8.0))
    assert np.allclose(means, dense @ np.arange(8.0))
    assert set(w.component_labels.index) == set(graph.survey_id.tolist())


def test_libpysal_neighbours_that_break_a_rule_are_named():
    graph = GRAPHS["all kinds"]()
    table = table_of(graph)
    w = to_libpysal(graph, "binary")
    with pytest.raises(
        SurveyDataError, match=r"2 edges join surveys .* within 5.5 km .*7 → 40 at 5.6 km"
    ):
        from_libpysal(_without(w, 12), table, 5.5, weight="binary")
    with pytest.raises(SurveyDataError, match=r"2 pairs .* have no edge .*21 → 20|20 → 21"):
        from_libpysal(_without(w, 20), table, weight="binary")
    with pytest.raises(SurveyDataError, match="8 edges have another edge_weight"):
        from_libpysal(w, table)
    with pytest.raises(SurveyDataError, match="of 8 weights are not 1, the first is 4.44"):
        from_libpysal(to_libpysal(graph), table, weight="binary")
    with pytest.raises(SurveyDataError, match="0 of its 8 ids are not in the table, 0 of the 8|2 of its 8 ids"):  # fmt: skip
        from_libpysal(w, table.subset(np.arange(6)), weight="binary")
    with pytest.raises(ValueError, match="weight must be one of weight, distance, binary"):
        to_libpysal(graph, "kernel")


def _without(w, survey: int):
    """The graph with one survey made an isolate."""
    found = w.adjacency.reset_index()
    keep = (found.focal != survey) & (found.neighbor != survey)
    alone = sorted(set(w.unique_ids) - set(found[keep].focal))
    rows = pd.DataFrame({"focal": alone, "neighbor": alone, "weight": 0.0})
    found = pd.concat([found[keep], rows])
    return pysal.Graph.from_arrays(*(found[name].to_numpy() for name in found))


# --- one PyG Data ---------------------------------------------------------------------------------

HETEROS = {
    "test and PO": hetero_of,
    "test": lambda: hetero_of(po=False),
    "surveys": lambda: built(long_rows()).attach(),
    "names": lambda: named().attach(),
    "distance alone": lambda: hetero_of(match=()),
    "year": lambda: hetero_of(match=("year",)),
    "nothing": lambda: built(long_rows([])).attach(),
    "no neighbours": lambda: built(long_rows(ROWS[:1])).attach(
        test=SurveyTable.from_long(long_rows(ROWS[5:6]).drop(columns="speciesId"))
    ),
}


@pytest.mark.parametrize("kind", HETEROS)
def test_homogeneous_there_and_back(kind):
    hetero = HETEROS[kind]()
    data = to_homogeneous(hetero)
    assert type(data) is Data
    assert_same_hetero(hetero, from_homogeneous(data))
    assert_same_hetero(hetero, from_homogeneous(data.clone()))
    assert data.num_nodes == sum(len(hetero[name].survey_id) for name in hetero.node_types)


def test_homogeneous_numbers_types_and_shifts_ends():
    hetero = hetero_of()
    hetero["survey"].train_mask = torch.arange(8) < 4
    hetero["test"].x = torch.ones(2, 3)
    del hetero["po"].region_code
    data = to_homogeneous(hetero)
    assert data.region_code.tolist() == [0, 0, 0, 0, -1, 0, 1, 1, 0, -1, -1]
    assert data.spec.node_types == ("survey", "test", "po")
    assert data.node_type.tolist() == [0] * 8 + [1] * 2 + [2]
    assert data.train_mask.tolist() == [True] * 4 + [False] * 7
    assert data.x.sum() == 6
    assert data.y.shape == (11, 4)
    assert data.y.to_dense()[8:10].sum() == 0
    assert data.y.to_dense()[10].sum() == 2
    row = 0
    for number, kind in enumerate(hetero.edge_types):
        begin = {"survey": 0, "test": 8, "po": 10}
        for edge, (source, target) in enumerate(hetero[kind].edge_index.T.tolist()):
            assert data.edge_type[row] == number
            assert data.edge_index[:, row].tolist() == [source + begin[kind[0]], target + begin[kind[2]]]  # fmt: skip
            assert data.edge_weight[row] == hetero[kind].edge_weight[edge]
            row += 1
    assert row == data.num_edges
    assert_same_hetero(hetero, from_homogeneous(data))


def test_a_part_of_a_homogeneous_graph_comes_back_as_that_part():
    hetero = hetero_of()
    data = to_homogeneous(hetero)
    keep = torch.tensor([0, 2, 8, 10])
    part = from_homogeneous(data.subgraph(keep))
    assert part["survey"].survey_id.tolist() == [40, 12]
    assert part["test"].survey_id.tolist() == [70]
    assert part["survey", "near", "test"].edge_index.tolist() == [[0, 1], [0, 0]]
    assert part["po", "near", "test"].edge_index.tolist() == [[0], [0]]
    assert "y" not in part["test"]
    assert torch.equal(part["survey"].y.to_dense(), hetero["survey"].y.to_dense()[[0, 2]])


def test_homogeneous_names_what_does_not_fit():
    hetero = hetero_of()
    hetero["survey"].x, hetero["test"].x = torch.zeros(8, 2), torch.zeros(2, 3)
    with pytest.raises(SurveyDataError, match="x of test is torch.float32 .3,. per row"):
        to_homogeneous(hetero)
    hetero["test"].x = torch.zeros(2, 2)
    hetero["po", "near", "test"].x = torch.zeros(1, 2)
    with pytest.raises(SurveyDataError, match="nodes and edges both have a 'x'"):
        to_homogeneous(hetero)
    with pytest.raises(SurveyDataError, match="no spec that to_homogeneous wrote"):
        from_homogeneous(Data())
    data = to_homogeneous(hetero_of())
    data.node_type[8] = 0
    with pytest.raises(SurveyDataError, match=r"4 edges of type|3 edges of type"):
        from_homogeneous(data)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_homogeneous_stays_on_its_device():
    hetero = hetero_of()
    data = to_homogeneous(hetero.clone().to("cuda"))
    assert {data[key].device.type for key in ("y", "node_type", "edge_type", "edge_index")} == {"cuda"}  # fmt: skip
    assert_same_hetero(hetero, from_homogeneous(data).to("cpu"))
    graph = GRAPHS["all kinds"]()
    assert_same_graph(graph, from_networkx(to_networkx(graph.clone().to("cuda"))))
    assert to_geodataframe(graph.clone().to("cuda")).equals(to_geodataframe(graph))


# --- all of them, on drawn surveys ----------------------------------------------------------------


@strategies.SOME
@given(strategies.survey_frames())
def test_every_conversion_keeps_drawn_graphs(tmp_path_factory, frame):
    graph = built(frame)
    folder = tmp_path_factory.mktemp("drawn") / "graph"
    write_geoparquet(graph, folder)
    assert_same_graph(graph, read_geoparquet(folder))
    assert_same_graph(graph, from_networkx(to_networkx(graph)))
    assert_same_graph(graph, SurveyGraph.from_surveys(
        from_geodataframe(to_geodataframe(graph, species=True), graph.species_ids)
    ))  # fmt: skip
    back = from_libpysal(to_libpysal(graph), SurveyTable.from_long(frame))
    assert_same_graph(graph, back)
    lines = to_geodataframe(graph, "edges")
    surveys = {s.survey_id: s for s in oracles.group_rows(strategies.records(frame))}
    assert set(zip(lines.source, lines.target, strict=True)) <= {
        (a, b) for a in surveys for b in surveys if a != b
    }


@strategies.SOME
@given(strategies.attached_frames())
def test_homogeneous_keeps_drawn_graphs(frames):
    train = SurveyTable.from_long(frames.train, strategies.SPECIES)
    po = SurveyTable.from_long(frames.po, strategies.SPECIES)
    hetero = SurveyGraph.from_surveys(train).attach(SurveyTable.from_long(frames.test), po)
    assert_same_hetero(hetero, from_homogeneous(to_homogeneous(hetero)))


@pytest.mark.parametrize("convert", [to_geodataframe, to_networkx, to_libpysal])
def test_a_missing_package_names_the_extra(convert, monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ImportError, match=r"in the checkout: pip install '\.\[geo\]'"):
        convert(GRAPHS["all kinds"]())
