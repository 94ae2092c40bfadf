"""All cases on a GPU, in one run and one table.

Run `python -m benchmarks.gpu`, with ``--plan`` to see what it would do, ``--profile`` to see what a
training step is spent on, or ``--device cpu --small`` to see that all runs.
"""

import argparse
import gc
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks import guard
from benchmarks.case import REPEATS, Case, Row, measure
from benchmarks.cases import gpu_features, gpu_graph, gpu_loading, gpu_network
from benchmarks.cases.gpu_bench import FULL, SMALL, Bench, Sizes, Throughput
from benchmarks.cases.gpu_profile import report
from benchmarks.machine import command, description
from benchmarks.table import header, line, write

LAST_START_S = 330  # no group of cases begins later, so that all end within eight minutes
NO_GPU = "no CUDA device here; --device cpu --small runs the same cases on the processor"


@dataclass(frozen=True)
class Group:
    """Cases that share their inputs.

    Attributes:
        plan: what and how large, with the names of `Sizes` in braces.
        cases: makes them one after the other; a row is one that was measured already.
    """

    plan: str
    cases: Callable[[Bench], Iterator[Case | Row]]


GROUPS = {
    "graph": Group(
        "build the graph of {points} surveys; brute force of all, {sampled} of the last",
        gpu_graph.cases,
    ),
    "features": Group(
        "graph features of {surveys} surveys × {species} species", gpu_features.full_cases
    ),
    "layer": Group(
        "first layer on {batch} rows of {non_zeros} non-zeros of {species}",
        gpu_features.layer_cases,
    ),
    "step": Group(
        "{steps} training steps of {batch} surveys: plain, four variants, inside Lightning",
        gpu_network.step_cases,
    ),
    "prediction": Group(
        "{rounds} batches of {predicted} surveys through {models} models",
        gpu_network.prediction_cases,
    ),
    "rows": Group(
        "graph and multi-scale rows of {batch} of {surveys} surveys, beside a training step",
        gpu_features.rows_cases,
    ),
    "loading": Group(
        "an epoch of {prepared} prepared surveys, {workers} processes; {files} as raw files",
        gpu_loading.cases,
    ),
    "compiled_dense": Group(
        "{steps} training steps through torch.compile, graph rows made dense",
        gpu_network.compiled_dense_cases,
    ),
    "compiled": Group("{steps} training steps through torch.compile", gpu_network.compiled_cases),
}


def plan(only: Sequence[str], sizes: Sizes) -> str:
    """The groups of cases and their sizes.

    Example:
        >>> plan(["features"], FULL)
        'features: graph features of 88,987 surveys × 11,255 species'
    """
    values = {name: _number(value) for name, value in vars(sizes).items()}
    return "\n".join(f"{name}: {GROUPS[name].plan.format(**values)}" for name in only)


def _number(value: int | tuple[int, ...]) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{one:,}" for one in value)
    return f"{value:,}"


def run(only: Sequence[str], bench: Bench, repeats: int = REPEATS) -> Iterator[Row]:
    """The rows of some groups, each as soon as it is measured; a case that fails is a row too.

    Args:
        only: names of `GROUPS`.
        bench: where and how large.
        repeats: see `benchmarks.case.measure`.
    """
    begin = time.perf_counter()
    for name in only:
        passed = time.perf_counter() - begin
        if passed > LAST_START_S:
            yield failed(name, "", f"left out: {passed:.0f} s had passed")
            continue
        cases = GROUPS[name].cases(bench)
        while True:
            _free(bench)
            try:
                case = next(cases, None)
            except Exception as error:
                yield failed(name, "", _told(error))
                break
            if case is None:
                break
            if isinstance(case, Row):
                yield case
            else:
                yield from measured(case, bench, repeats)
            del case


def measured(case: Case, bench: Bench, repeats: int) -> Iterator[Row]:
    """The rows of a case; where something fails, beside each peer alone, and what failed."""
    try:
        if not bench.sizes.small:
            case.ours()  # kernels are loaded, memory is taken
        rows = measure(case, repeats, bench.clock)
    except Exception as error:
        if len(case.peers) > 1:
            for name, peer in case.peers.items():
                _free(bench)
                yield from measured(replace(case, peers={name: peer}), bench, repeats)
            return
        yield failed(case.name, case.size, _told(error), *case.peers)
        return
    yield from case.told(rows) if isinstance(case, Throughput) else rows


def failed(name: str, size: str, why: str, peer: str = "") -> Row:
    """A row without numbers."""
    return Row(name, size, math.nan, peer, note=f"failed: {why}")


def _told(error: Exception) -> str:
    """The first line of an error; all of it goes to stderr."""
    traceback.print_exception(error)
    text = str(error).strip().split("\n")[0][:200].replace("|", "/")
    return f"{type(error).__name__}: {text}"


def _free(bench: Bench) -> None:
    if not bench.sizes.small:
        gc.collect()
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table as it grows and write it; 0 if all ran, 1 if a case failed, 2 without GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="smallest sizes, to see that all runs")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--repeats", type=int, default=REPEATS, help="rounds; slow cases run one")
    parser.add_argument("--out", type=Path, help="folder for gpu.json and gpu.md")
    parser.add_argument("--plan", action="store_true", help="print the cases and end")
    parser.add_argument(
        "--profile", action="store_true", help="print the kernels of a step and end"
    )
    given = parser.parse_args(arguments)
    sizes = SMALL if given.small else FULL
    if given.plan:
        print(plan(given.only, sizes))
        return 0
    if given.device == "cuda" and not torch.cuda.is_available():
        print(NO_GPU, file=sys.stderr)
        return 2
    begin = time.perf_counter()
    about = description()
    if given.device == "cuda":
        about["GPU"] = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    bench = Bench.on(torch.device(given.device), sizes)
    about |= {"speed of the device": str(bench), "command": command()}
    print("\n".join(f"- {name}: {value}" for name, value in about.items()))
    if given.profile:
        print(report(bench))
        return 0
    print("", header(), sep="\n")
    rows = []
    for row in run(given.only, bench, 1 if sizes.small else given.repeats):
        rows.append(row)
        print(line(row), flush=True)
        print(f"{time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    about["minutes"] = f"{(time.perf_counter() - begin) / 60:.1f}"
    print(f"\n{about['minutes']} minutes")
    if given.out is not None:
        write(given.out, "gpu", rows, about)
    print(guard.report(rows, guard.STORED / "gpu.json"))
    return int(any(math.isnan(row.seconds) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
