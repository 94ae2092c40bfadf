"""The page of the benchmarks: the README with its CPU table made anew from the stored run."""

import re
from pathlib import Path

from benchmarks.case import Row
from benchmarks.table import read_rows

_TABLE = re.compile(r"^\|.*\n(?:\|.*\n)+", re.MULTILINE)
_HEAD = "| ours, and below it others | seconds | ratio | memory, limit, aim |\n|---|---|---|---|\n"


def benchmarks(root: Path) -> str:
    """Markdown of the whole page.

    Raises:
        ValueError: if the README has no table below "## CPU".
    """
    text = (root / "benchmarks/README.md").read_text(encoding="utf-8")
    before, mark, after = text.partition("\n## CPU\n")
    table = cpu_table(read_rows(root / "benchmarks/results/cpu.json"))
    after, changed = _TABLE.subn(lambda _: table, after, count=1)
    if not (mark and changed):
        raise ValueError("benchmarks/README.md: no table below ## CPU")
    return before + mark + after


def cpu_table(rows: list[Row]) -> str:
    """A line for each case, and below it one for each peer; the ratio is its time over ours."""
    lines, last = [], ("", "")
    for row in rows:
        case = (row.case, row.size)
        if case != last:
            facts = [] if row.peak_mb is None else [f"peak {row.peak_mb:,.0f} MB"]
            if row.limit_seconds is not None:
                facts.append(f"limit {_short(row.limit_seconds)} s: {row.limit}")
            if row.aim and not row.aim.startswith("≥"):  # not one about the peer
                facts.append(f"aim: {row.aim}")
            name = f"**{row.case}**: {row.size}"
            lines.append((name, f"**{_short(row.seconds)}**", "", "; ".join(facts)))
        last = case
        if row.peer:
            seconds = _short(row.peer_seconds) + (" \\*" if row.note else "")
            ratio = "" if row.ratio is None else f"{_short(row.ratio)} ×"
            aim = f"aim: {row.aim}" if row.aim.startswith("≥") else ""
            lines.append((row.peer, seconds, ratio, aim))
    return _HEAD + "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _short(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
