"""`docs/reliability.md` names tests that exist, one at least for each promise."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def rows() -> list[str]:
    lines = (ROOT / "docs/reliability.md").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("| ") and not line.startswith("| promise |")]


def test_every_promise_names_a_test_and_every_test_exists():
    assert len(rows()) > 20
    for row in rows():
        assert NAMED.search(row), row
        for file, name in NAMED.findall(row):
            tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (
                row
            )


def test_no_named_test_is_of_another_form():
    text = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    assert text.count("::test_") == len(NAMED.findall(text))


def test_the_oldest_versions_are_those_that_the_project_asks_for():
    oldest, newest = (
        dict(line.split("==") for line in (ROOT / f"constraints-{age}.txt").read_text().split())
        for age in ("oldest", "newest")
    )
    assert oldest.keys() == newest.keys()
    text = (ROOT / "pyproject.toml").read_text()
    needs = re.search(r"\ndependencies = \[(.*?)\n\]", text, re.S)
    assert needs is not None
    for name, least in re.findall(r'"([\w-]+)>=([\d.]+)"', needs[1]):
        assert re.fullmatch(rf"{re.escape(least)}(\.0)*", oldest[name]), name
