"""The examples of the documents run as they stand, and their links lead somewhere."""

import re
from pathlib import Path

import pytest
from doc_benchmarks import benchmarks
from doc_examples import examples, run_examples
from doc_help import section
from doc_links import rewrite
from doc_names import documented, find, the_one
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


def test_no_text_asks_pypi_for_our_name():
    """There it is another project's; `pip install '.[extra]'` in the checkout is right."""
    kinds = (".md", ".rst", ".py", ".html", ".js")
    texts = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "pyproject.toml"]
    for folder in ("docs", "tighnari_graph", "tighnari_models", "benchmarks"):
        texts += [path for path in (ROOT / folder).rglob("*") if path.suffix in kinds]
    made = (ROOT / "docs/_generated", ROOT / "docs/auto_gallery")
    texts = [path for path in texts if not set(made) & set(path.parents)]
    assert len(texts) > 300
    assert [path for path in texts if "tighnari[" in path.read_text(encoding="utf-8")] == []


def test_options_of_a_command_are_a_definition_list():
    printed = """usage: x [-h] [--out DIR] [--kind {a_b,c}]

Does it.

options:
  -h, --help            show this
  --kind {a_b,c}
                        a_b: one; c: other (default: a_b)
  --out DIR             where (default: out)
"""
    assert section("x", printed) == (
        "## `python -m x`\n\nDoes it.\n\n`-h, --help`\n: show this\n\n"
        "`--kind {a_b,c}`\n: a\\_b: one; c: other (default: a\\_b)\n\n"
        "`--out DIR`\n: where (default: out)\n"
    )
    for broken in (
        printed.replace("options:", "more:"),
        printed.replace("where (default: out)", ""),
    ):
        with pytest.raises(ValueError, match="no options, or one without a text"):
            section("x", broken)


KINDS = {
    "tighnari_graph.MultiScale": "class",
    "tighnari_graph.MultiScale.fit": "method",
    "tighnari_graph.FixedK.fit": "method",
    "tighnari_graph.SurveyGraph.explain": "method",
    "tighnari_graph.explain": "function",
    "tighnari_models.fit": "function",
}


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("MultiScale", "tighnari_graph.MultiScale"),
        ("tighnari_graph.multiscale.MultiScale", "tighnari_graph.MultiScale"),
        ("tighnari_graph.multiscale.MultiScale.fit", "tighnari_graph.MultiScale.fit"),
        ("MultiScale.fit", "tighnari_graph.MultiScale.fit"),
        ("explain", "tighnari_graph.explain"),  # rather than the method
        ("fit", None),  # several methods have that name
        ("tighnari_models.fit", "tighnari_models.fit"),
        ("torch.explain", None),
        ("MultiScale.opening", "tighnari_graph.MultiScale"),
        ("explain.opening", None),
        ("Scale", None),
    ],
)
def test_a_name_stands_for_one_entry_or_none(name, entry):
    assert the_one(name, KINDS) == entry


@pytest.mark.parametrize("formula", [r"a &= b", r"a \\ b", r"\unknowncommand{a}", "a\n\nb"])
def test_a_formula_that_would_print_its_marks_is_refused(formula):
    mathml = pytest.importorskip("doc_mathml", reason="needs what `make docs` installs").mathml
    assert mathml(r"\frac{a}{b}").startswith("<math")
    with pytest.raises(ValueError, match="left over"):
        mathml(formula)


def test_methods_that_pyg_writes_are_not_in_the_reference():
    skip = pytest.importorskip("doc_api", reason="needs what `make docs` installs").skip_foreign
    conv = tighnari_graph.GFVConv()  # PyG writes `propagate` for the class of the first
    for name, skipped in (("propagate", True), ("edge_updater", True), ("message", None)):
        assert skip(None, "method", name, getattr(type(conv), name), False, None) is skipped
