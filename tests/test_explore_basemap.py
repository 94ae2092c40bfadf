"""`Basemap`: which servers may be named, and what the page of `explore` then allows."""

import re

import numpy as np
import pandas as pd
import pytest

pytest.importorskip(
    "plotly", reason="explore draws with plotly; in the checkout: pip install '.[explore]'"
)

from tighnari_graph import SurveyGraph, SurveyTable
from tighnari_graph.explore import explore, hetero_explore
from tighnari_graph.explore_basemap import Basemap

POLICY = re.compile(r'Content-Security-Policy" content="([^"]*)"')


def surveys() -> SurveyGraph:
    rng = np.random.default_rng(2)
    rows = {"surveyId": np.arange(200), "lat": rng.uniform(40, 60, 200)}
    rows |= {"lon": rng.uniform(-5, 20, 200), "year": 2020}
    return SurveyGraph.from_surveys(SurveyTable.from_long(pd.DataFrame(rows)), match=("year",))


@pytest.mark.parametrize(
    "url",
    [
        "tiles.example.org/{z}/{x}/{y}.png",
        "file:///tiles/{z}/{x}/{y}.png",
        "https://{z}.example.org/{x}/{y}.png",
        "https://tiles.example.org; script-src *; /{z}/{x}/{y}.png",
        'https://tiles.example.org"><script>/{z}/{x}/{y}.png',
        "https://*.example.org/{z}/{x}/{y}.png",
        "https://me:secret@tiles.example.org/{z}/{x}/{y}.png",
        "https://tiles.example.org",
    ],
)
def test_only_a_plain_server_may_be_named(url):
    with pytest.raises(ValueError, match=r"url must begin with http:// or https://, a plain host"):
        Basemap(url, "someone")


@pytest.mark.parametrize("end", ["{z}/{x}.png", "{s}/{z}/{x}/{y}.png", "{z}/{x}/{y}}.png", "t.png"])
def test_a_tile_needs_its_three_numbers_and_no_other(end):
    with pytest.raises(ValueError, match=r"\{z\}, \{x\} and \{y\} and no other braces"):
        Basemap(f"https://tiles.example.org/{end}", "someone")


def test_attribution_and_depth_are_asked_for():
    url = "https://tiles.example.org:8080/{z}/{x}/{y}.png?key=1"
    assert Basemap(url, "someone").origin == "https://tiles.example.org:8080"
    with pytest.raises(ValueError, match="attribution is empty"):
        Basemap(url, "  ")
    with pytest.raises(ValueError, match="max_zoom must be 0 to 24, got 25"):
        Basemap(url, "someone", max_zoom=25)


def test_the_policy_names_that_server_and_otherwise_none():
    graph = surveys()
    tiles = Basemap("https://tiles.example.org/{z}/{x}/{y}.png", "someone")
    [without] = POLICY.findall(explore(graph).html)
    assert "http" not in without
    for page in (explore(graph, basemap=tiles), hetero_explore(graph.attach(), basemap=tiles)):
        [policy] = POLICY.findall(page.html)
        assert policy == f"{without} https://tiles.example.org"
        assert without.rpartition(";")[2].split()[0] == "img-src"
