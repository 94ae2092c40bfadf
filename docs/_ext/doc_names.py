"""Which names the pages of the reference list, and what they stand for."""

from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path

OURS = ("tighnari_graph", "tighnari_models")
WHOLE = ("class", "function", "data", "exception")  # no parts of a class


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


def the_one(name: str, kinds: Mapping[str, str]) -> str | None:
    """The only entry that a name can stand for; None where there is none, or several.

    A function or class comes before a method of its name, but not before several: `fit` alone says
    too little. An attribute that has no entry leads to its class.

    Args:
        name: with or without module.
        kinds: full name of each entry → "class", "function", "method", …
    """
    if name in kinds:
        return name
    wanted, parts = {name}, name.split(".")
    if parts[0] in OURS:  # then without its modules
        first = next((i for i, part in enumerate(parts) if not part.islower()), len(parts) - 1)
        wanted.add(".".join(parts[first:]))
    found = [full for full in kinds if any(full.endswith(f".{short}") for short in wanted)]
    whole = [full for full in found if kinds[full] in WHOLE]
    if len(found) - len(whole) <= 1:
        found = whole or found
    if not found and "." in name:
        owner = the_one(name.rpartition(".")[0], kinds)
        return owner if owner and kinds[owner] == "class" else None
    return found[0] if len(found) == 1 else None
