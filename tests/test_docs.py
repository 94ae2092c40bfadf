"""The examples of the documents run as they stand, and their links lead somewhere."""

import re
from pathlib import Path

import pytest
from doc_benchmarks import benchmarks
from doc_examples import examples, run_examples
from doc_links import rewrite
from doc_names import documented, find
from doc_offline import faults

import tighnari_graph
import tighnari_models
from benchmarks.table import read_rows

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks/README.md",
    *ROOT.glob("docs/**/*.md"),
]


@pytest.mark.parametrize("page", [p for p in PAGES if examples(p)], ids=lambda p: p.name)
def test_examples_run_on_files_of_the_real_layout(page, tmp_path):
    run_examples(page, tmp_path)


@pytest.mark.parametrize(
    "code",
    ["print(1 == 3)\n# True", "print(1 == 1)\n# True\nprint(1 == 3)\n# True", "print(3)\n# 2"],
)
def test_an_example_that_prints_something_else_is_found(tmp_path, code):
    page = tmp_path / "page.md"
    page.write_text(f"```python\n{code}\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md says '(True|2)', it printed '"):
        run_examples(page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!\w+:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_public_name_is_in_the_reference_and_exists():
    pages = documented(ROOT / "docs/api")
    graph = {f"tighnari_graph.{name}" for name in tighnari_graph.__all__}
    models = {
        f"tighnari_models.{name}"
        for name in set(tighnari_models.__all__) - set(tighnari_graph.__all__)
    }
    assert not (graph | models) - pages
    for name in pages:
        find(name)


def test_links_turn_with_the_page_that_shows_the_text(tmp_path):
    moved = {tmp_path / "CONTRIBUTING.md": tmp_path / "docs/contributing.md"}
    text = "[a](docs/x.md#here) [b](CONTRIBUTING.md) [c](https://example.org/y.md) [d](#there)"
    turned = rewrite(text, tmp_path / "README.md", tmp_path / "docs/deep/page.md", moved)
    assert turned == (
        "[a](../x.md#here) [b](../contributing.md) [c](https://example.org/y.md) [d](#there)"
    )


def test_the_table_of_the_benchmarks_is_that_of_the_stored_run():
    text = benchmarks(ROOT)
    rows = read_rows(ROOT / "benchmarks/results/cpu.json")
    assert all(f"| **{row.case}**: {row.size} | **" in text for row in rows)
    assert all(f"| {row.peer} |" in text for row in rows if row.peer)
    last = (ROOT / "benchmarks/README.md").read_text().splitlines()[-1]
    assert text.splitlines()[-1] == last


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('<script src="https://cdn.example/x.js"></script>', "asks a network"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "asks a network"),
        ("<style>a { background: url(https://example.org/x.png) }</style>", "asks a network"),
        ("<p>read from /home/someone/file.csv</p>", "names /home/someone"),
        ('<a href="https://example.org">a link</a> <img src="x.png">', None),
    ],
)
def test_pages_that_need_a_network_or_name_the_machine_are_found(tmp_path, text, fault):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/page.html").write_text(text)
    found = faults(tmp_path, ("/home/someone",))
    assert len(found) == (fault is not None)
    if fault:
        assert found[0].startswith("deep/page.html ") and fault in found[0]
