"""After a build: no page asks anything of a network, and none shows a path of the machine."""

import re
from pathlib import Path

_ASKS = re.compile(
    r"""<(?:script|link|img|iframe|source|video|audio)\b[^>]*?\b(?:src|href)=["']?(?:https?:)?//"""
    r"""|@import\s+["']?(?:https?:)?//|url\(["']?(?:https?:)?//""",
)


def faults(pages: Path, machine: tuple[str, ...]) -> list[str]:
    """What is wrong with the HTML and CSS files below a folder, a line each.

    Args:
        pages: the folder.
        machine: folders of this machine that no page may name.
    """
    found = []
    for path in sorted([*pages.rglob("*.html"), *pages.rglob("*.css")]):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(pages)
        found += [f"{name} asks a network: {match[0]}" for match in _ASKS.finditer(text)]
        found += [f"{name} names {folder}" for folder in machine if folder in text]
    return found
