"""Which names the pages of the reference list, and what they stand for."""

from operator import attrgetter
from pathlib import Path


def find(name: str) -> object:
    """The object of a dotted name, whose first parts are modules."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            module = __import__(".".join(parts[:cut]), fromlist=["_"])
        except ModuleNotFoundError:
            continue
        return attrgetter(".".join(parts[cut:]))(module)
    raise ModuleNotFoundError(name)


def documented(folder: Path) -> set[str]:
    """Full names on the pages of a folder."""
    names: set[str] = set()
    for page in folder.glob("*.rst"):
        package = ""
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith(".. api:: "):
                package = line.split()[-1]
            elif package and line.startswith("   "):
                names.add(f"{package}.{line.strip()}")
            elif line:
                package = ""
    return names
