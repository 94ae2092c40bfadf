"""All cases on the processor, in one run and one table.

Run `python -m benchmarks.cpu`, with ``--small`` for the smallest sizes, or ``--only graph``.
"""

import argparse
import contextlib
import ctypes
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import guard
from benchmarks.case import REPEATS, Case, Row, measure
from benchmarks.cases import attach, decisions, features, graph, multiscale, network
from benchmarks.machine import Speed, command, description
from benchmarks.table import header, line, write

GROUPS: dict[str, Callable[[bool, Speed], Iterator[Case]]] = {
    "graph": graph.cases,
    "attach": attach.cases,
    "features": features.cases,
    "multiscale": multiscale.cases,
    "decisions": decisions.cases,
    "network": network.cases,
}


def run(
    only: Sequence[str] = tuple(GROUPS),
    small: bool = False,
    speed: Speed | None = None,
    repeats: int = REPEATS,
) -> Iterator[Row]:
    """The rows of some groups of cases, each as soon as it is measured.

    Args:
        only: names of `GROUPS`.
        small: smallest sizes, one round.
        speed: of the machine; measured by default.
        repeats: see `benchmarks.case.measure`.
    """
    speed = speed or Speed.measured()
    for group in only:
        for case in GROUPS[group](small, speed):
            if not small:
                give_back_memory()
            yield from measure(case, 1 if small else repeats)


def give_back_memory() -> None:
    """Free what earlier cases left, so that a case's peak is all its own; glibc keeps some else."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table as it grows, write it, and compare its ratios with the stored ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="smallest sizes, to see that all runs")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--repeats", type=int, default=REPEATS, help="rounds; slow cases run one")
    parser.add_argument("--out", type=Path, help="folder for cpu.json and cpu.md")
    given = parser.parse_args(arguments)
    begin = time.perf_counter()
    about, rows = description(), []
    speed = Speed.measured()
    about |= {"speed": str(speed), "command": command()}
    print("\n".join(f"- {name}: {value}" for name, value in about.items()), header(), sep="\n\n")
    for row in run(given.only, given.small, speed, given.repeats):
        rows.append(row)
        print(line(row), flush=True)
    about["minutes"] = f"{(time.perf_counter() - begin) / 60:.1f}"
    print(f"\n{about['minutes']} minutes")
    if given.out is not None:
        write(given.out, "cpu", rows, about)
    print(guard.report(rows, guard.STORED / "cpu.json"))


if __name__ == "__main__":
    main()
