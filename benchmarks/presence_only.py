"""What selection, observer effort and aggregation of presence-only (PO) surveys are worth.

The multi-scale chain is fitted without PO surveys, with all of them, and with each switch in turn,
on the same block folds; species sets are those of communities. Differences are from the chain with
all PO surveys, paired, with intervals over 10 km blocks.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.leaderboard_data import SOURCES, BoardData
from tighnari_graph import MultiScale, SurveyTable
from tighnari_graph.community_f1 import CommunityF1
from tighnari_graph.presence_only import UNCERTAINTY, observer_effort, trustworthy
from tighnari_graph.pseudo_labels import aggregate_patches
from tighnari_graph.scale_rows import ScaleRows
from tighnari_models.comparison import compare
from tighnari_models.evaluation import Evaluation, evaluate

ALL = "all PO surveys"
Way: TypeAlias = tuple[SurveyTable | None, np.ndarray | None]
"""PO surveys and the weight of each."""


def _selected(po: SurveyTable, **criteria: Any) -> Way:
    return po.subset(trustworthy(po, **criteria)), None


WAYS: dict[str, Callable[[SurveyTable], Way]] = {
    "no PO surveys": lambda _: (None, None),
    ALL: lambda po: (po, None),
    "weighed by observer effort": lambda po: (po, observer_effort(po)),
    "lists of 3 species or more": lambda po: _selected(po, min_species=3),
    "lists of 5 species or more": lambda po: _selected(po, min_species=5),
    "position known to 10 m": lambda po: _selected(po, max_uncertainty_m=10.0),
    "merged over squares of 1.28 km": lambda po: (aggregate_patches(po), None),
}


def tried(data: BoardData, folds: int, steps: int) -> Iterator[tuple[str, int, Evaluation]]:
    """Way by way: its name, how many PO surveys it has, and its evaluation."""
    everything = data.presence_only
    if everything is None:
        raise ValueError(f"{data.title}: there are no PO surveys")
    for name, way in tqdm(WAYS.items(), "ways", disable=None, leave=False):
        if "position" in name and not everything.has(UNCERTAINTY):
            continue
        po, effort = way(everything)

        def chain(train: SurveyTable, held_out: SurveyTable, way: Way = (po, effort)) -> ScaleRows:
            return MultiScale.fit(train, way[0], effort=way[1], steps=steps).predict(held_out)

        found = evaluate(
            chain, data.surveys, rule=CommunityF1.fit, num_folds=folds, random=False, name=name
        )
        yield name, 0 if po is None else len(po), found


def table_of(data: BoardData, folds: int = 6, steps: int = 96) -> pd.DataFrame:
    """Samples-F1 of every way, and the difference from all PO surveys with a 95 % interval."""
    kept = list(tried(data, folds, steps))
    base = next(found for name, _, found in kept if name == ALL)
    rows = []
    for name, num, found in kept:
        row = {"way": name, "PO surveys": num, "samples-F1": found.score}
        if found is not base:
            gain = compare(found, base)
            low, high = gain.interval
            row |= {"difference": gain.difference, "from": low, "to": high}
            row["as measured"] = gain.verdict
        rows.append(row)
    return pd.DataFrame(rows).set_index("way")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the folder of all data sets")
    parser.add_argument("--data", choices=SOURCES, default="glc24")
    parser.add_argument("--folds", type=int, default=6, help="block folds held out in turn")
    parser.add_argument("--limit", type=int, help="use this many surveys, of whole blocks")
    given = parser.parse_args()
    data = SOURCES[given.data](given.folder, given.limit)
    if data.presence_only is None:
        parser.error(f"{given.data}: no presence-only surveys")
    print(f"{data.title}; {data.po_note}\n{table_of(data, given.folds).round(4).to_string()}")


if __name__ == "__main__":
    main()
