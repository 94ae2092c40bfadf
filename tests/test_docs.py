"""The examples of the documents run as they stand, and their links lead somewhere."""

import re
from pathlib import Path

import pytest

from tighnari_graph.virtual import virtual_europe

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks/README.md",
    *ROOT.glob("docs/**/*.md"),
]


@pytest.mark.parametrize(
    "page", [p for p in PAGES if "```python" in p.read_text()], ids=lambda p: p.name
)
def test_examples_run_on_files_of_the_real_layout(page, tmp_path, monkeypatch, capsys):
    virtual_europe(num_surveys=80, num_test=20, num_po=60, num_species=30).write(tmp_path)
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL))
    exec(compile(code, page.name, "exec"), {})
    expected = re.findall(r"^# (tensor\(.*|[\[(].*|True)$", code, flags=re.MULTILINE)
    printed = capsys.readouterr().out
    for line in expected:
        assert line in printed


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
