"""The examples of a page, run one after the other as they stand, beside a small virtual Europe."""

import ast
import contextlib
import io
import itertools
import re
from pathlib import Path

from tighnari_graph.virtual import virtual_europe

_BLOCKS = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
_OWN = {"lat": "latitude", "lon": "longitude", "year": "survey_year", "speciesId": "taxon"}


def examples(page: Path) -> str:
    """The code of all blocks ``python`` of a page; "" if there is none. Blocks ``py`` only show."""
    return "\n".join(_BLOCKS.findall(page.read_text(encoding="utf-8")))


def run_examples(page: Path, folder: Path) -> None:
    """Run them beside files of the competition's layout and `my_surveys.csv`, a reader's own table.

    What they print is compared, in order, with the comments right below each ``print``.

    Raises:
        AssertionError: where a comment says what is printed, and it is not.
    """
    code = examples(page)
    world = virtual_europe(num_surveys=80, num_test=20, num_po=60, num_species=30)
    world.write(folder)
    own = world.pa_train[["surveyId", *_OWN]].rename(columns={"surveyId": "plot", **_OWN})
    own["plot"] = "P" + own["plot"].astype(str)
    own.to_csv(folder / "my_surveys.csv", index=False)
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        exec(compile(code, page.name, "exec"), {"__name__": "__main__"})
    lines = iter(printed.getvalue().splitlines())
    for line in expected(code):
        if line not in lines:  # goes on behind the line that was met last
            raise AssertionError(f"{page.name} says {line!r}, it printed {printed.getvalue()!r}")


def expected(code: str) -> list[str]:
    """The comments that stand right below a ``print``."""
    lines, found = code.splitlines(), []
    for step in ast.parse(code).body:
        call = step.value if isinstance(step, ast.Expr) else None
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "print":
            said = itertools.takewhile(lambda line: line.startswith("# "), lines[step.end_lineno :])
            found += [line[2:] for line in said]
    return found
