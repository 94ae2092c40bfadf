"""Tiles behind the surveys in headless Chromium, served by a server of the test's own."""

import io
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from tests.explore_visit import KEPT, Visit, marks
from tests.test_explore_basemap import surveys
from tighnari_graph.explore import explore
from tighnari_graph.explore_basemap import Basemap

pytestmark = marks
COLOR = (64, 160, 96)


@pytest.fixture
def server():
    """A tile server: (URL template, list of the tiles it was asked for)."""
    asked = []
    tile = io.BytesIO()
    Image.new("RGB", (256, 256), COLOR).save(tile, "PNG")

    class Tiles(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            found = "missing" not in self.path
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "image/png")
            self.end_headers()
            self.wfile.write(tile.getvalue() if found else b"")

        def log_message(self, *_):
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Tiles)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}", asked
    made.shutdown()
    made.server_close()


def tile_of(lat, lon, zoom):
    """The numbers of the tile around a place, by the formula of the slippy map."""
    phi = np.radians(lat)
    x = (lon + 180) / 360 * 2**zoom
    y = (1 - np.log(np.tan(phi) + 1 / np.cos(phi)) / np.pi) / 2 * 2**zoom
    return int(x), int(y)


def have_come(visit):
    """Wait until the map rests and every tile that it asked for is drawn."""
    visit.settle()
    every = "() => ground.tiles.size && [...ground.tiles.values()].every((tile) => tile.complete)"
    visit.page.wait_for_function(every)
    visit.drawn()


@pytest.mark.parametrize("width", [375, 1280])
def test_tiles_are_asked_of_that_server_and_drawn_below_the_surveys(
    server, browser, tmp_path, width
):
    url, asked = server
    graph = surveys()
    tiles = Basemap(url + "/{z}/{x}/{y}.png", "© <b>Example</b> Maps", max_zoom=9)
    path = explore(graph, tmp_path / "map.html", basemap=tiles).path
    visit = Visit(browser, path, viewport={"width": width, "height": 720})
    visit.page.uncheck("#layers [value=survey]")
    visit.says("0 in view")
    have_come(visit)
    box = visit.page.locator("#area").bounding_box()
    corner = visit.shot({"x": box["x"] + 20, "y": box["y"] + 20, "width": 8, "height": 8})
    veiled = 0.75 * np.array(COLOR) + 0.25 * 255
    np.testing.assert_allclose(np.median(corner, axis=(0, 1)), veiled, atol=3)
    assert visit.page.inner_text("#source") == "© <b>Example</b> Maps"
    visit.page.check("#layers [value=survey]")
    visit.says("200 in view")
    KEPT.mkdir(parents=True, exist_ok=True)
    visit.page.screenshot(path=KEPT / f"basemap_{width}.png")
    visit.find(17)
    have_come(visit)
    assert visit.requests[0] == visit.url
    assert all(request.startswith(f"{url}/") for request in visit.requests[1:])
    lat, lon = graph.pos[17].tolist()
    assert f"/9/{'/'.join(map(str, tile_of(lat, lon, 9)))}.png" in asked
    numbers = [tuple(map(int, re.findall(r"\d+", tile))) for tile in asked]
    assert all(max(x, y) < 2**z <= 2**9 for z, x, y in numbers)
    assert len(asked) == len(set(asked))
    # in Web Mercator a degree of longitude is shorter than one of latitude by the cosine
    ratio = visit.page.evaluate(
        "(lat) => { const to = view.toArea(), { up } = view.shape;"
        " return to.across / (-to.down * (up(lat + 0.001) - up(lat)) / 0.001); }", lat,
    )  # fmt: skip
    assert ratio == pytest.approx(np.cos(np.radians(lat)), rel=1e-3)
    assert visit.complaints == []
    visit.page.close()


def test_a_window_of_more_tiles_than_are_kept_asks_for_each_once(server, browser, tmp_path):
    """None in view is let go: it would be asked for again, and another let go for it, for ever."""
    url, asked = server
    tiles = Basemap(url + "/{z}/{x}/{y}.png", "Example Maps")
    path = explore(surveys(), tmp_path / "map.html", basemap=tiles).path
    page = path.read_text(encoding="utf-8")
    assert page.count("MOST_TILES = 300;") == 1  # 300 would take a window of ten million pixels
    path.write_text(page.replace("MOST_TILES = 300;", "MOST_TILES = 10;"), encoding="utf-8")
    visit = Visit(browser, path, viewport={"width": 1280, "height": 720})
    have_come(visit)
    # Chromium may answer for a tile let go itself, so those that are kept are counted too
    assert visit.page.evaluate("ground.tiles.size") == len(asked) == len(set(asked)) > 10
    visit.page.click("#closer")
    have_come(visit)
    assert visit.page.evaluate("ground.tiles.size") < len(asked) == len(set(asked))
    visit.page.close()


def test_tiles_that_do_not_come_are_counted_and_the_surveys_are_there(server, browser, tmp_path):
    url, _ = server
    tiles = Basemap(url + "/missing/{z}/{x}/{y}.png", "Example Maps")
    path = explore(surveys(), tmp_path / "map.html", basemap=tiles).path
    visit = Visit(browser, path, viewport={"width": 1280, "height": 720})
    visit.page.wait_for_function("() => at.source.textContent.includes('did not come')")
    x, y = visit.pixel("survey", 3)
    assert visit.color((x, y)) != visit.color((x + 14, y + 14))
    visit.page.close()


def test_without_a_basemap_nothing_is_asked_and_the_policy_forbids_it(server, browser, tmp_path):
    url, asked = server
    visit = Visit(browser, explore(surveys(), tmp_path / "map.html").path)
    assert visit.requests == [visit.url]
    assert visit.page.inner_text("#source") == ""
    with visit.page.expect_console_message() as complaint:
        visit.page.evaluate(
            "(url) => new Promise((done) => { const image = new Image();"
            " image.onerror = image.onload = done; image.src = url; })", f"{url}/0/0/0.png",
        )  # fmt: skip
    assert asked == []
    assert "Content Security Policy" in complaint.value.text
    visit.page.close()
