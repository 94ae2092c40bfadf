"""A visit to a page of `explore` in headless Chromium, for the tests marked `browser`."""

import io
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright; in the checkout: pip install '.[browser]'"
)
CHROMIUM = shutil.which("chromium")
KEPT = Path(os.environ.get("OUT", "out")) / "explore"
marks = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]


class Visit:
    """A page, and all that it asked for and complained of."""

    def __init__(self, browser, path, **options):
        self.page = browser.new_page(reduced_motion="reduce", **options)
        self.requests, self.complaints = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.url = path.as_uri()
        self.page.goto(self.url)
        self.page.wait_for_selector("html[data-ready]", timeout=60_000)
        self.settle()

    def pixel(self, kind, row):
        """Where a node is on the screen."""
        x, y = self.page.evaluate(
            "([kind, row]) => Object.values(view.pixel(graph.layers[kind], row))", [kind, row]
        )
        box = self.page.locator("#map").bounding_box()
        return box["x"] + x, box["y"] + y

    def color(self, at):
        shot = self.page.screenshot(clip={"x": at[0] - 1, "y": at[1] - 1, "width": 3, "height": 3})
        return Image.open(io.BytesIO(shot)).convert("RGB").getpixel((1, 1))

    def shot(self, clip):
        """Part of the window as an array, height × width × 3."""
        image = Image.open(io.BytesIO(self.page.screenshot(clip=clip)))
        return np.asarray(image.convert("RGB"), dtype=int)

    def find(self, text):
        self.page.fill("#wanted", str(text))
        self.page.press("#wanted", "Enter")
        self.settle()

    def settle(self):
        """Wait until the map rests and plotly has drawn it."""
        self.drawn()  # what was just done to the page has reached it
        self.page.wait_for_selector("#map:not(.moves)", timeout=30_000)

    def drawn(self):
        """Wait until what was asked for before the next picture is on the screen."""
        self.page.evaluate(
            "() => new Promise((done) =>"
            " requestAnimationFrame(() => requestAnimationFrame(() => done())))"
        )

    def says(self, text):
        """Wait until the line below the map begins so."""
        self.page.wait_for_function("(text) => at.status.textContent.startsWith(text)", arg=text)

    def span(self):
        """Height of the view in degrees."""
        return self.page.evaluate("view.now.y[1] - view.now.y[0]")

    def listed(self):
        buttons = self.page.locator("#neighbors button")
        return sorted(int(text) for text in buttons.all_inner_texts())

    def edges(self, kind, other):
        """What the page itself finds: (row of other, row of kind), ascending."""
        return self.page.evaluate(
            "([kind, other]) => Array.from({ length: graph.layers[kind].count }, (_, i) =>"
            " graph.neighbors(kind, i).filter((n) => n.kind === other).map((n) => n.row)"
            ".sort((a, b) => a - b).map((j) => [j, i])).flat()", [kind, other],
        )  # fmt: skip


@contextmanager
def chromium():
    """A browser without a graphics card: WebGL in software. A container's root has no sandbox."""
    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield opened
        opened.close()
