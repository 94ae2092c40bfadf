"""Pages that are made at build time, links between files of the repository, examples that run."""

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from doc_benchmarks import benchmarks
from doc_examples import examples, run_examples
from doc_flow import draw_flow
from doc_help import command_line
from doc_links import rewrite
from doc_offline import faults
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError

_SHOWN = {
    "benchmarks": "benchmarks/README.md",
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
}
"""Page → the file outside docs/ that it shows."""


def read_page(app: Sphinx, name: str, source: list[str]) -> None:
    """Before a page is parsed: fill it where it shows another file, and turn its links."""
    docs = Path(app.srcdir)
    page = Path(app.env.doc2path(name))
    if page.suffix != ".md":
        return
    root = docs.parent
    moved = {root / file: docs / f"{shown}.md" for shown, file in _SHOWN.items()}
    moved |= {
        root / "README.md": docs / "index.md",
        docs / "decisions": docs / "decisions/index.md",
        docs / "gallery": docs / "auto_gallery/index.rst",
        docs / "api": docs / "api/index.rst",
    }
    for script in (docs / "gallery").rglob("plot_*.py"):
        shown = docs / "auto_gallery" / script.relative_to(docs / "gallery")
        moved[script] = shown.with_suffix(".rst")
    at = root / _SHOWN[name] if name in _SHOWN else page
    if name == "benchmarks":
        source[0] = benchmarks(root)
    elif name in _SHOWN:
        source[0] = at.read_text(encoding="utf-8")
    elif name == "command_line":
        source[0] += "\n" + command_line()
    source[0] = rewrite(source[0], at, page, moved)


def run_pages(app: Sphinx, env: BuildEnvironment, names: Iterable[str]) -> None:
    """Run the examples of the pages that are about to be read; one that fails stops the build."""
    root = Path(app.srcdir).parent
    pages = [root / _SHOWN.get(name, "") if name in _SHOWN else Path(env.doc2path(name))
             for name in names]  # fmt: skip
    for page in sorted(page for page in pages if page.suffix == ".md" and examples(page)):
        with tempfile.TemporaryDirectory() as folder:
            try:
                run_examples(page, Path(folder))
            except Exception as error:
                raise ExtensionError(f"{page.name}: an example fails", error) from error


def check_pages(app: Sphinx, error: Exception | None) -> None:
    """The build fails where a page is not fit to be read offline, or elsewhere."""
    if error is None and app.builder.format == "html":
        places = (app.srcdir.parent, os.environ["TIGHNARI_DATA"], tempfile.gettempdir() + "/")
        machine = tuple(map(str, places))
        found = faults(Path(app.outdir), machine)
        if found:
            raise ExtensionError("\n".join(found))


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the above."""
    draw_flow(Path(app.srcdir) / "_generated/flow.svg")
    maps = Path(app.srcdir) / "_generated/maps"  # copied whole: none of an earlier build
    shutil.rmtree(maps, ignore_errors=True)
    maps.mkdir()
    app.connect("env-before-read-docs", run_pages)
    app.connect("source-read", read_page)
    app.connect("build-finished", check_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
