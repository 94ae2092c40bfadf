"""Moving the page of `explore` by mouse, wheel and fingers."""

import time

import numpy as np
import pandas as pd
import pytest

from tests.explore_visit import Visit, marks
from tighnari_graph import SurveyGraph, SurveyTable
from tighnari_graph.explore import explore

pytestmark = marks


def surveys(num, seed=0):
    rng = np.random.default_rng(seed)
    town = np.stack([rng.uniform(38, 60, 400), rng.uniform(-8, 28, 400)], 1)
    lat, lon = (town[rng.integers(0, 400, num)] + rng.normal(0, 0.7, (num, 2))).T
    rows = {"surveyId": np.arange(num), "lat": lat, "lon": lon}
    rows["year"] = rng.integers(2017, 2022, num)
    return SurveyGraph.from_surveys(SurveyTable.from_long(pd.DataFrame(rows)), match=("year",))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return explore(surveys(2_000), tmp_path_factory.mktemp("gestures") / "map.html").path


def middle(visit):
    box = visit.page.locator("#map").bounding_box()
    return round(box["x"] + box["width"] / 2), round(box["y"] + box["height"] / 2)


def below(visit, x, y):
    """Longitude and latitude at a place of the window."""
    box = visit.page.locator("#map").bounding_box()
    found = visit.page.evaluate(
        "(pixel) => view.place(pixel)", {"x": x - box["x"], "y": y - box["y"]}
    )
    return found["lon"], found["up"]


@pytest.fixture
def desk(browser, path):
    visit = Visit(browser, path, viewport={"width": 1280, "height": 800})
    yield visit
    assert visit.complaints == []
    visit.page.close()


@pytest.fixture
def phone(browser, path):
    visit = Visit(browser, path, viewport={"width": 375, "height": 720}, has_touch=True)
    session = visit.page.context.new_cdp_session(visit.page)

    clock = [time.time()]

    def touch(kind, *fingers, after=0.02):
        """So many seconds after the one before by the event's own clock, however long it takes."""
        clock[0] += after
        at = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(fingers)]
        told = {"type": kind, "touchPoints": at, "timestamp": clock[0]}
        session.send("Input.dispatchTouchEvent", told)

    yield visit, touch
    assert visit.complaints == []
    visit.page.close()


def test_a_drag_takes_the_place_along(desk):
    x, y = middle(desk)
    place, span = below(desk, x, y), desk.span()
    desk.page.mouse.move(x, y)
    desk.page.mouse.down()
    desk.page.mouse.move(x + 120, y - 70, steps=6)
    desk.page.mouse.up()
    assert below(desk, x + 120, y - 70) == pytest.approx(place, abs=0.02)
    assert desk.span() == pytest.approx(span)
    desk.settle()
    shown = desk.page.evaluate("[...at.still.layout.xaxis.range, ...at.still.layout.yaxis.range]")
    assert shown == pytest.approx(desk.page.evaluate("[...view.now.x, ...view.now.y]"))


def test_the_wheel_zooms_about_the_pointer_and_stays_within_limits(desk):
    x, y = middle(desk)
    place, span = below(desk, x + 90, y + 50), desk.span()
    desk.page.mouse.move(x + 90, y + 50)
    desk.page.mouse.wheel(0, -100)
    desk.page.wait_for_function("(span) => view.now.y[1] - view.now.y[0] < span", arg=span)
    assert below(desk, x + 90, y + 50) == pytest.approx(place, abs=1e-6)
    for turn, least, most in ((-300, 0.9e-5, 1.1e-5), (300, 300, 1000)):
        for _ in range(60):
            desk.page.mouse.wheel(0, turn)
        desk.settle()
        assert least < desk.span() < most


def test_a_double_click_comes_nearer_and_a_drag_chooses_nothing(desk):
    x, y = desk.pixel("survey", 0)
    span = desk.span()
    desk.page.mouse.move(x, y)
    desk.page.mouse.down()
    desk.page.mouse.move(x + 30, y, steps=3)
    desk.page.mouse.up()
    assert "Point at a survey" in desk.page.inner_text("#detail")
    place = below(desk, x, y)
    desk.settle()  # drawing takes long, and the clicks must follow each other quickly
    desk.page.mouse.dblclick(x, y)
    assert desk.span() == pytest.approx(span / 2)
    assert below(desk, x, y) == pytest.approx(place, abs=1e-6)


def test_two_fingers_zoom_and_the_places_stay_below_them(phone):
    visit, touch = phone
    x, y = middle(visit)
    span, places = visit.span(), [below(visit, x - 40, y), below(visit, x + 40, y)]
    touch("touchStart", (x - 40, y))
    touch("touchStart", (x - 40, y), (x + 40, y))
    for step in range(1, 9):
        touch("touchMove", (x - 40 - 10 * step, y), (x + 40 + 5 * step, y))
    touch("touchEnd")
    visit.settle()
    assert visit.span() == pytest.approx(span * 80 / 200, rel=1e-3)
    for at, place in zip((x - 120, x + 80), places, strict=True):
        assert below(visit, at, y) == pytest.approx(place, abs=span / 500)
    touch("touchStart", (x - 100, y), (x + 100, y))
    for step in range(1, 9):
        touch("touchMove", (x - 100 + 7.5 * step, y), (x + 100 - 7.5 * step, y))
    touch("touchEnd")
    visit.settle()
    assert visit.span() == pytest.approx(span, rel=1e-3)
    assert visit.page.evaluate("[scrollY, visualViewport.scale]") == [0, 1]  # the page itself stays


def test_one_finger_moves_a_tap_chooses_two_taps_zoom(phone):
    visit, touch = phone
    x, y = middle(visit)
    place, span = below(visit, x, y), visit.span()
    touch("touchStart", (x, y))
    for step in range(1, 6):
        touch("touchMove", (x + 8 * step, y + 10 * step))
    touch("touchEnd")
    visit.drawn()
    assert below(visit, x + 40, y + 50) == pytest.approx(place, abs=span / 100)
    x, y = visit.pixel("survey", 7)
    touch("touchStart", (x, y))
    touch("touchEnd")
    visit.page.wait_for_selector("#detail h2")
    touch("touchStart", (x, y), after=1)
    touch("touchEnd")
    visit.settle()
    assert visit.span() == pytest.approx(span)  # too late for a second tap
    touch("touchStart", (x, y))
    touch("touchEnd")
    visit.settle()
    assert visit.span() == pytest.approx(span / 2)


def test_plotly_waits_until_the_map_rests(desk):
    page = desk.page
    page.evaluate(
        "() => { window.rests = []; const draw = Plotly.relayout; Plotly.relayout = (...all) => {"
        " rests.push(performance.now() - last); return draw(...all); }; }"
    )
    page.evaluate(
        "() => new Promise((done) => { let left = 40; const step = () => {"
        " window.last = performance.now(); moveTo(view.shifted(2, 1));"
        " if (left--) requestAnimationFrame(step); else done(); }; step(); })"
    )
    desk.settle()
    rests = page.evaluate("rests")
    assert len(rests) >= 1  # more on a machine that hangs between two moves
    assert min(rests) > 199  # REST_MS is 200; the clock of a page is not exact


def test_the_bitmap_of_the_move_is_the_picture_at_rest(desk):
    box = desk.page.locator("#area").bounding_box()
    still = desk.shot(box)
    desk.page.evaluate("() => { moved(); clearTimeout(resting); }")
    desk.drawn()
    moving = desk.shot(box)
    paper = desk.color((box["x"] + 3, box["y"] + 3))
    ink = [(np.abs(shot - paper).sum(2) > 60) for shot in (still, moving)]
    assert ink[0].sum() > 2_000
    # a pixel here or there is rounded otherwise: compare by squares of 8 × 8
    share = [part[: part.shape[0] // 8 * 8, : part.shape[1] // 8 * 8] for part in ink]
    blocks = [p.reshape(p.shape[0] // 8, 8, -1, 8).mean((1, 3)) for p in share]
    assert np.corrcoef(blocks[0].ravel(), blocks[1].ravel())[0, 1] > 0.9
    assert blocks[1].mean() == pytest.approx(blocks[0].mean(), rel=0.25)


def test_without_webgl_the_points_are_drawn_all_the_same(browser, path):
    page = browser.new_page(viewport={"width": 800, "height": 600})
    page.add_init_script(
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, wanted) {"
        " return kind.includes('webgl') ? null : get.call(this, kind, wanted); };"
    )
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    seen = (
        "() => at.moving.getContext('2d').getImageData(0, 0, at.moving.width, at.moving.height)"
        ".data.some((v) => v) && getComputedStyle(at.moving).visibility"
    )
    assert page.evaluate(seen) == "visible"
    before = page.inner_text("#status")
    page.click("#closer")
    page.wait_for_function("(before) => at.status.textContent !== before", arg=before)  # at rest
    assert page.evaluate(seen) == "visible"
    page.close()
