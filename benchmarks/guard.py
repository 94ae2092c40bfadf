"""Ratios of a run beside those stored with the repository: a warning where one has fallen.

Run `python -m benchmarks.guard DIR/cpu.json`. Only ratios are compared, never times, and nothing
fails: a ratio moves with the machine and with what else runs on it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.case import Row
from benchmarks.table import read_rows

STORED = Path(__file__).parent / "results"
LEAST = 0.7


def fallen(rows: Sequence[Row], stored: Sequence[Row], least: float = LEAST) -> list[str]:
    """A sentence for every ratio that is below ``least`` times the stored one.

    Rows are told apart by case, size and peer; a row that only one side has is passed over.

    Example:
        >>> now = [Row("sum", "9 numbers", 2.0, peer="loop", peer_seconds=4.0)]
        >>> then = [Row("sum", "9 numbers", 1.0, peer="loop", peer_seconds=4.0)]
        >>> fallen(now, then)
        ['sum (9 numbers) beside loop: ratio 2, stored 4']
    """
    before = {(row.case, row.size, row.peer): row.ratio for row in stored}
    told = []
    for row in rows:
        then = before.get((row.case, row.size, row.peer))
        if row.ratio is None or then is None or row.ratio >= least * then:
            continue
        told.append(
            f"{row.case} ({row.size}) beside {row.peer}: ratio {row.ratio:.3g}, stored {then:.3g}"
        )
    return told


def report(rows: Sequence[Row], stored: str | Path) -> str:
    """What there is to say of a run."""
    if not Path(stored).exists():
        return f"no table to compare with yet: {Path(stored).name} is not in {STORED.name}/"
    before = read_rows(stored)
    told = fallen(rows, before)
    shared = {(r.case, r.size, r.peer) for r in rows} & {(r.case, r.size, r.peer) for r in before}
    if not told:
        return f"{len(shared)} rows compared with the stored table; no ratio has fallen"
    return "\n".join(f"warning: {text}" for text in told)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the report of a file of results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="cpu.json or gpu.json of a run")
    parser.add_argument("--stored", type=Path, help="default: the file of that name in results/")
    given = parser.parse_args(arguments)
    print(report(read_rows(given.results), given.stored or STORED / given.results.name))


if __name__ == "__main__":
    main()
