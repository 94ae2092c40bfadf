"""The page of `explore` in headless Chromium; screenshots are kept in out/explore."""

import numpy as np
import pandas as pd
import pytest

from tests.explore_visit import KEPT, Visit, marks
from tests.test_explore import HOSTILE
from tighnari_graph import SurveyGraph, SurveyTable
from tighnari_graph.explore import explore, hetero_explore
from tighnari_graph.virtual import virtual_europe

pytestmark = marks


@pytest.fixture(scope="module")
def hetero():
    made = virtual_europe(num_surveys=400, num_test=80, num_po=80, num_species=30, seed=3)
    pa = SurveyTable.from_long(made.pa_train, species_ids=np.arange(12_000))
    po = SurveyTable.from_long(made.po, species_ids=np.arange(12_000))
    graph = SurveyGraph.from_surveys(pa, radius_km=40.0)
    return graph.attach(test=SurveyTable.from_long(made.pa_test), presence_only=po)


@pytest.fixture(scope="module")
def path(hetero, tmp_path_factory):
    return hetero_explore(hetero, tmp_path_factory.mktemp("explore") / "map.html").path


@pytest.fixture(scope="module")
def visit(browser, path):
    return Visit(browser, path, viewport={"width": 1280, "height": 800})


def test_it_loads_silently_asks_nothing_and_draws(visit):
    assert visit.complaints == []
    assert visit.requests == [visit.url]
    size = visit.page.evaluate("graph.layers.survey.count")
    assert size == 400
    paper = visit.color((visit.page.locator("#map").bounding_box()["x"] + 60, 790))
    drawn = [visit.color(visit.pixel("survey", row)) != paper for row in range(0, size, 40)]
    assert all(drawn)


def test_its_edges_are_those_of_the_graph(visit, hetero):
    for source, target in (("survey", "survey"), ("survey", "test"), ("po", "test")):
        wanted = hetero[source, "near", target].edge_index.T.tolist()
        assert len(wanted)
        assert visit.edges(target, source) == wanted


def test_search_finds_a_survey_and_lists_its_neighbours(visit, hetero):
    source, target = hetero["survey", "near", "survey"].edge_index
    ids = hetero["survey"].survey_id
    near_test = set(hetero["survey", "near", "test"].edge_index[0].tolist())
    for row in [r for r in target.unique().tolist() if r not in near_test][:3]:
        visit.find(ids[row].item())
        assert f"Survey {ids[row]}" in visit.page.inner_text("#detail")
        assert visit.listed() == sorted(ids[source[target == row]].tolist())
        x, y = visit.pixel("survey", row)  # in the middle of the map
        box = visit.page.locator("#map").bounding_box()
        assert abs(x - box["x"] - box["width"] / 2) < 40
        assert abs(y - box["y"] - box["height"] / 2) < 40
    visit.find("12345678901")
    for place in ("#detail", "#answer"):
        assert "No survey has the id 12345678901" in visit.page.inner_text(place)


def test_of_several_nodes_of_one_id_each_is_found_in_turn(browser, tmp_path):
    rows = pd.DataFrame(
        {"surveyId": [1, 2], "lat": [45.0, 45.01], "lon": 7.0, "year": 2020, "speciesId": 5}
    )
    graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows))
    hetero = graph.attach(SurveyTable.from_long(rows.drop(columns="speciesId")))
    visit = Visit(browser, hetero_explore(hetero, tmp_path / "map.html").path)
    for number, kind in ((1, "Survey 1"), (2, "Survey to predict 1"), (1, "Survey 1")):
        visit.find("1")
        assert kind in visit.page.inner_text("#detail").splitlines()
        assert visit.page.inner_text("#answer").startswith(f"{kind}, {number} of 2")
    visit.page.close()


def test_more_edges_at_one_place_than_can_be_drawn_are_said_to_be_too_many(browser, tmp_path):
    """No zoom would help."""
    rows = pd.DataFrame({"surveyId": range(300), "lat": 45.0, "lon": 7.0, "year": 2020})
    graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows))
    visit = Visit(browser, graph.explore(tmp_path / "map.html").path)
    said = "300 in view, more than 40,000 edges: too many to draw"
    assert visit.page.inner_text("#status") == said
    visit.page.close()


def test_pointing_at_a_survey_shows_it(visit, hetero):
    row = int(hetero["survey", "near", "survey"].edge_index[1][0])
    visit.find(hetero["survey"].survey_id[row].item())
    visit.page.mouse.move(300, 20)
    # another survey or test node at the same pixel would be as right an answer
    visit.page.mouse.move(*visit.pixel("survey", row), steps=4)
    visit.page.wait_for_selector("#tip:not([hidden])")
    shown = visit.page.inner_text("#tip").splitlines()
    assert shown[0] == f"Survey {hetero['survey'].survey_id[row]}"
    assert f"Year: {hetero['survey'].year[row]}" in shown
    visit.page.mouse.move(300, 20)
    visit.page.wait_for_selector("#tip", state="hidden")


def test_layers_are_switched(visit):
    page = visit.page
    page.click("#whole")
    visit.settle()
    left = page.evaluate("kinds.map((k) => graph.layers[k].count).reduce((a, b) => a + b)")
    before = page.inner_text("#status")
    assert before.startswith(f"{left} in view")
    points = visit.page.screenshot()
    for kind, name in (("test", "to predict"), ("po", "presence-only"), ("survey", "surveys")):
        page.get_by_label(name, exact=False).first.uncheck()
        left -= page.evaluate("(kind) => graph.layers[kind].count", kind)
        visit.says(f"{left} in view")
        assert page.evaluate(
            "(kind) => points.curves.every((c, k) => (c.kind === kind) <= !at.still.data[k].visible)",
            kind,
        )
    assert left == 0
    assert page.screenshot() != points
    for kind in ("test", "po", "survey"):
        page.locator(f"#layers [value={kind}]").check()
    visit.says(before)


def test_colors_are_switched(visit, hetero):
    page = visit.page
    years = sorted({str(year) for year in hetero["survey"].year.tolist()})
    wanted = {"year": years, "region": list(hetero.spec.region_names), "richness": ["richness"]}
    for color, words in (wanted | {"degree": ["Neighbours", "no neighbour"]}).items():
        page.select_option("#color", color)
        visit.drawn()
        assert all(word in page.inner_text("#legend") for word in words)


def test_the_keyboard_is_enough(visit):
    page = visit.page
    page.focus("#map")
    before = visit.span()
    page.keyboard.press("+")
    visit.settle()
    assert visit.span() == pytest.approx(before / 2, rel=0.01)
    left = page.evaluate("view.now.x[0]")
    page.keyboard.press("ArrowRight")
    visit.settle()
    assert page.evaluate("view.now.x[0]") > left
    assert visit.complaints == []
    assert visit.requests == [visit.url]


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_width(browser, path, hetero, width, scheme):
    size = {"width": width, "height": 720}
    visit = Visit(browser, path, viewport=size, color_scheme=scheme)
    visit.find(hetero["survey"].survey_id[0].item())
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    KEPT.mkdir(parents=True, exist_ok=True)
    visit.page.screenshot(path=KEPT / f"map_{width}_{scheme}.png")
    assert visit.complaints == []
    visit.page.close()


def page_of(rows, radius_km, browser, folder, match=("year", "region")):
    table = SurveyTable.from_long(pd.DataFrame(rows))
    graph = SurveyGraph.from_surveys(table, radius_km=radius_km, match=match)
    return graph, Visit(browser, explore(graph, folder / "map.html").path)


@pytest.mark.parametrize("radius_km", [0.001, 10.0, 500.0, 15_000.0, 30_000.0])
def test_edges_are_right_at_the_antimeridian_the_poles_and_the_radius(browser, tmp_path, radius_km):
    rng = np.random.default_rng(1)
    step = np.degrees(radius_km / 6371.0088)
    rows = {
        "lat": [0.0, 0.0, *np.clip([step, -step, 90, 89.99], -90, 90), -90, *rng.normal(0, 3, 40)],
        "lon": [180.0, -180.0, 180.0, 180.0, 0.0, 120.0, 7.0, *rng.normal(0, 3, 40) % 360 - 180],
    }
    rows["surveyId"] = np.arange(47) + 2**60  # beyond what a JavaScript number can hold
    rows["year"] = rng.integers(2020, 2022, 47)
    graph, visit = page_of(rows, radius_km, browser, tmp_path, match=("year",))
    assert visit.edges("survey", "survey") == graph.edge_index.T.tolist()
    visit.find(2**60 + 3)
    assert f"Survey {2**60 + 3}" in visit.page.inner_text("#detail")
    assert visit.complaints == []
    visit.page.close()


def test_names_stay_text(browser, tmp_path):
    rows = {"surveyId": [1, 2, 3], "lat": [45.0, 45.05, 45.0], "lon": 7.0, "year": 2020,
            "region": [HOSTILE, HOSTILE, None], "speciesId": [HOSTILE, "b", HOSTILE]}  # fmt: skip
    _, visit = page_of(rows, 10.0, browser, tmp_path)
    visit.page.select_option("#color", "region")
    visit.find(1)
    assert visit.page.inner_text("#detail").count(HOSTILE) == 2
    assert HOSTILE in visit.page.inner_text("#legend")
    assert "no region" in visit.page.inner_text("#legend")
    assert visit.listed() == [2]
    assert visit.page.title() == "Survey graph"
    assert visit.complaints == []
    visit.page.close()


def test_an_empty_graph_says_so(browser, tmp_path):
    rows = {"surveyId": [1], "lat": 45.0, "lon": 7.0, "year": 2020}
    table = SurveyTable.from_long(pd.DataFrame(rows)).subset(np.zeros(1, dtype=bool))
    visit = Visit(browser, explore(SurveyGraph.from_surveys(table), tmp_path / "map.html").path)
    assert "This graph has no surveys" in visit.page.inner_text("#detail")
    for color in ("year", "richness", "degree"):
        visit.page.select_option("#color", color)
    assert visit.complaints == []
    visit.page.close()
