"""`python -m tighnari_graph`: survey files → graph, features, submission, report."""

import argparse
import sys
from pathlib import Path

from tighnari_graph.command import Options, run
from tighnari_graph.command_arguments import at_least
from tighnari_graph.recipe import RECIPES


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run; returns 0, or 2 after an error that the user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m tighnari_graph",
        description="Build the survey graph of a GeoLifeCLEF 2024 folder, predict the test surveys "
        "from other surveys alone, and write graph, features, submission.csv and report.html.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", default=argparse.SUPPRESS,
        help="the data set as downloaded (default: a virtual Europe is made)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Options.out, help="where results go"
    )
    parser.add_argument(
        "--recipe", choices=RECIPES, default=Options.recipe,
        help="best: multi-scale chain with PO kernels, sets of whole communities; paper: survey "
        "graph of one radius, Threshold Top-K, PO lists",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=at_least(1), metavar="N", default=argparse.SUPPRESS,
        help="use N training surveys (whole blocks) for a first look (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--folds", type=at_least(1), metavar="N", default=Options.folds,
        help="block folds that settings are tuned on",
    )  # fmt: skip
    parser.add_argument(
        "--radius-km", type=float, metavar="KM", default=Options.radius_km,
        help="longest edge of the graph",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, metavar="N", default=Options.seed, help="seed of folds and samples"
    )
    try:
        run(Options(**vars(parser.parse_args(arguments))))
    except (ValueError, OSError, MemoryError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
