"""The page of `explore`, as far as it can be read without a browser."""

import base64
import html
import json
import re
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

pytest.importorskip(
    "plotly", reason="explore draws with plotly; in the checkout: pip install '.[explore]'"
)

from tighnari_graph import SurveyDataError, SurveyGraph, SurveyTable
from tighnari_graph.explore import ExploreMap, explore, hetero_explore
from tighnari_graph.explore_layers import FIRST_SPECIES
from tighnari_graph.virtual import virtual_europe

HOSTILE = "</script><script>document.title='broken'</script><!-- <img src=x onerror=alert(1)>"


def values_of(page: ExploreMap) -> dict:
    [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.html)
    return json.loads(text)


def arrays_of(page: ExploreMap, kind: str = "survey") -> dict[str, np.ndarray]:
    found = values_of(page)["layers"][kind]
    return {k: np.frombuffer(base64.b64decode(v["data"]), v["dtype"]) for k, v in found.items()}


@pytest.fixture(scope="module")
def world():
    made = virtual_europe(num_surveys=300, num_test=60, num_po=80, num_species=30, seed=3)
    pa = SurveyTable.from_long(made.pa_train, species_ids=np.arange(12_000))
    po = SurveyTable.from_long(made.po, species_ids=np.arange(12_000))
    graph = SurveyGraph.from_surveys(pa, radius_km=40.0)
    return graph, graph.attach(test=SurveyTable.from_long(made.pa_test), presence_only=po)


def one_region(**columns) -> SurveyTable:
    rows = {"surveyId": [1, 2, 3], "lat": [45.0, 45.05, 45.0], "lon": 7.0, "year": 2020}
    return SurveyTable.from_long(pd.DataFrame(rows | {"speciesId": [5, 9, 5]} | columns))


def test_arrays_are_the_graph(world):
    graph, _ = world
    found = arrays_of(explore(graph))
    assert found["survey_id"].tolist() == graph.survey_id.tolist()
    np.testing.assert_array_equal(np.stack([found["lat"], found["lon"]], 1), graph.pos.numpy())
    assert found["degree"].tolist() == graph.degree().tolist()
    assert found["richness"].tolist() == graph.y.to_dense().sum(1).tolist()
    assert found["year"].tolist() == graph.year.tolist()
    assert found["region"].tolist() == graph.region_code.tolist()


def test_first_species_are_those_of_the_row(world):
    graph, _ = world
    page = explore(graph)
    names, first = values_of(page)["species"], arrays_of(page)["first"].reshape(-1, FIRST_SPECIES)
    dense = graph.y.to_dense().numpy()
    for row, numbers in zip(dense, first.tolist(), strict=True):
        wanted = [f"species {graph.species_ids[c]}" for c in range(len(row)) if row[c]]
        assert [names[n] for n in numbers if n >= 0] == wanted[:FIRST_SPECIES]


def test_test_and_po_nodes_are_layers_and_test_labels_are_not_known(world):
    _, hetero = world
    page = hetero_explore(hetero)
    for kind in ("survey", "test", "po"):
        assert arrays_of(page, kind)["survey_id"].tolist() == hetero[kind].survey_id.tolist()
    assert (arrays_of(page, "test")["richness"] == -1).all()
    near = hetero["survey", "near", "test"].edge_index
    assert arrays_of(page, "test")["degree"].tolist() == [
        int((near[1] == node).sum()) for node in range(hetero["test"].num_nodes)
    ]
    reached = hetero["po", "near", "test"].edge_index
    assert len(reached[0])
    assert arrays_of(page, "po")["degree"].tolist() == [
        int((reached[0] == node).sum()) for node in range(hetero["po"].num_nodes)
    ]


def test_without_test_nodes_there_is_one_layer():
    graph = SurveyGraph.from_surveys(one_region(region="ALPINE"))
    assert list(values_of(hetero_explore(graph.attach()))["layers"]) == ["survey"]


def test_names_cannot_break_out_of_the_page():
    table = one_region(region=HOSTILE, speciesId=[HOSTILE, "b", "%%PLOTLY%%"])
    page = explore(SurveyGraph.from_surveys(table))
    plain = explore(SurveyGraph.from_surveys(one_region(region="A", speciesId=["a", "b", "c"])))
    for mark in ("<script", "</script", "<!--", "<img"):
        assert page.html.count(mark) == plain.html.count(mark), mark
    values = values_of(page)
    assert values["regions"] == [HOSTILE]
    assert set(values["species"]) == {HOSTILE, "b", "%%PLOTLY%%"}


def test_a_notebook_shows_the_same_page_in_a_frame():
    page = explore(SurveyGraph.from_surveys(one_region()))
    [inside] = re.findall(r'srcdoc="([^"]*)"', page._repr_html_())
    assert html.unescape(inside) == page.html


def test_the_file_is_the_page(tmp_path):
    graph = SurveyGraph.from_surveys(one_region())
    page = explore(graph, tmp_path / "new" / "map.html", color="richness")
    assert page.path == tmp_path / "new" / "map.html"
    assert page.path.read_text(encoding="utf-8") == page.html
    assert values_of(page)["color"] == "richness"


def test_an_unknown_color_is_refused():
    graph = SurveyGraph.from_surveys(one_region())
    with pytest.raises(ValueError, match="degree, year, region, richness, got 'colour'"):
        explore(graph, color="colour")


def test_without_a_region_column_there_is_no_color_by_region():
    graph = SurveyGraph.from_surveys(one_region())
    assert values_of(explore(graph))["colors"] == ["degree", "year", "richness"]
    with pytest.raises(SurveyDataError, match="no region column"):
        explore(graph, color="region")


def test_missing_regions_are_minus_one_and_in_no_group():
    table = one_region(region=["ALPINE", None, "ALPINE"])
    found = arrays_of(explore(SurveyGraph.from_surveys(table), color="region"))
    assert found["region"].tolist() == [0, -1, 0]
    assert found["group"].tolist() == [0, -1, 0]


def test_other_edges_than_those_of_the_rule_are_refused():
    graph = SurveyGraph.from_surveys(one_region())
    graph.edge_index = graph.edge_index[:, :-1]
    with pytest.raises(SurveyDataError, match="the 5 edges survey → survey are not the 6"):
        explore(graph)


def test_something_else_than_attach_returned_is_refused(world):
    _, hetero = world
    other = hetero.clone()
    del other.spec
    with pytest.raises(SurveyDataError, match="takes what attach returned"):
        hetero_explore(other)


def test_an_empty_graph_makes_a_page():
    graph = SurveyGraph.from_surveys(one_region().subset(np.zeros(3, dtype=bool)))
    assert len(arrays_of(explore(graph))["survey_id"]) == 0


def test_a_radius_beyond_the_earth_is_written_as_json():
    graph = SurveyGraph.from_surveys(one_region(), radius_km=30_000.0)
    assert values_of(explore(graph))["chord_square"] == 5.0


def test_without_plotly_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ImportError, match=r"in the checkout: pip install '\.\[explore\]'"):
        explore(SurveyGraph.from_surveys(one_region()))


def test_ninety_thousand_surveys_with_names_stay_under_thirty_megabytes():
    rng, num, species = np.random.default_rng(0), 90_000, 5_000
    labels = sparse.csr_matrix(
        (
            np.ones(num * 17, dtype=np.float32),
            np.sort(rng.integers(0, species // 17, (num, 17)) + np.arange(17) * 294).ravel(),
            np.arange(num + 1) * 17,
        ),
        shape=(num, species),
    )
    names = np.array(
        [f"Genus species number {k} with author" for k in range(species)], dtype=object
    )
    table = SurveyTable(
        np.arange(num), rng.uniform(36, 68, num), rng.uniform(-9, 30, num),
        rng.integers(2017, 2022, num), rng.choice(np.array(["ALPINE", "ATLANTIC"]), num).astype(object),
        labels, np.arange(species), names,
    )  # fmt: skip
    size = len(explore(SurveyGraph.from_surveys(table)).html.encode())
    assert 10e6 < size < 30e6


def test_a_year_that_the_page_cannot_hold_is_refused():
    rows = pd.DataFrame({"surveyId": [1, 2], "lat": 45.0, "lon": 7.0, "year": [2020, 2**31]})
    with pytest.raises(SurveyDataError, match="1 of 2 surveys have a year or code beyond"):
        explore(SurveyGraph.from_surveys(SurveyTable.from_long(rows)))
