"""The leaderboard: from the global frequency to ensembles, on held-out blocks, with intervals.

Every row's out-of-fold probabilities and sets are kept in ``--out``, so that a second run goes on
where the first one ended; a method that has changed since needs another folder. Decision rules are
fitted on other folds than they are used on.
"""

import argparse
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.special import expit, logit

from benchmarks.leaderboard_data import SOURCES, BoardData
from benchmarks.leaderboard_methods import best_species
from benchmarks.leaderboard_rows import CHAIN, ROWS, Row
from benchmarks.leaderboard_tables import as_markdown, records, rule_records
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.files import written_whole
from tighnari_graph.metrics import survey_f1
from tighnari_graph.splits import block_folds, block_ids, random_folds
from tighnari_models.evaluation import Evaluation, evaluate, evaluate_predictions
from tighnari_models.held_out import Method
from tighnari_models.post_processing import listed_probabilities
from tighnari_models.run_folder import write_json

_LEAST = 1e-6  # probability of a species that a row does not list, in an ensemble
_KINDS = ("block", "random")
_PARTS = ("data", "indices", "indptr")  # of a CSR matrix


@dataclass(eq=False)
class Board:
    """The rows of one set of surveys, as far as they are finished.

    Attributes:
        data: the surveys.
        out: where probabilities are kept.
        folds: how many folds are held out in turn.
        found: row name → its evaluation.
        left_out: row name → why it was not run.
    """

    data: BoardData
    out: Path
    folds: int = 6
    found: dict[str, Evaluation] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @cached_property
    def fold_of(self) -> dict[str, np.ndarray]:
        """Kind of folds → fold of every survey, as `evaluate` draws them."""
        surveys = self.data.surveys
        return {
            "block": block_folds(surveys, self.folds),
            "random": random_folds(surveys, self.folds),
        }

    def run(self, rows: Sequence[Row] = ROWS, only: Sequence[str] = ()) -> None:
        """Open every row that is finished, and run the others (of ``only``, if some are named).

        Ensembles take no time: they are there when all their members are.
        """
        for row in rows:
            kept = self._made(row, not only or row.name in only)
            if isinstance(kept, str):
                self.left_out[row.name] = kept
                print(f"{self.data.name}: {row.name} left out: {kept}", flush=True)
                continue
            self.found[row.name] = kept
            print(f"{self.data.name}: {kept}, {kept.seconds:.0f} s", flush=True)

    def _made(self, row: Row, wanted: bool) -> Evaluation | str:
        """The row's evaluation, or why there is none."""
        lacking = [name for name in row.members if name not in self.found]
        reason = f"needs {', '.join(lacking)}" if lacking else row.lacks(self.data)
        if reason is not None:
            return reason
        kept = self._opened(row)
        if kept is not None:
            return kept
        if row.method is None:
            return self._averaged(row)
        if not wanted:
            return "not asked for, and not finished before"
        print(f"{self.data.name}: {row.name} …", flush=True)
        try:
            return self._run(row, row.method)
        except SurveyDataError as error:  # a method that refuses these surveys; others go on
            return f"it refused: {error}"

    def _run(self, row: Row, method: Callable[[BoardData], Method]) -> Evaluation:
        found = evaluate(
            method(self.data), self.data.surveys, rule=row.rule, num_folds=self.folds,
            random=row.cheap, name=row.name,
        )  # fmt: skip
        self._keep(row, found)
        return found

    def _averaged(self, row: Row) -> Evaluation:
        """Mean of the members' logits; nothing is kept, since it takes no time."""
        members = [self.found[name] for name in row.members]
        if len(members) == 1:
            alone = members[0]
            return evaluate_predictions(
                alone.probabilities, self.data.surveys, alone.folds, rule=row.rule, name=row.name,
                seconds=alone.seconds, richness=alone.richness,
            )  # fmt: skip
        logits = sum(logit(np.clip(_dense(one), _LEAST, 1 - _LEAST)) for one in members)
        logits = (logits / len(members)).astype(np.float32)
        richness = members[0].richness  # of the species that the first member lists
        listed = sparse.issparse(richness)
        p = listed_probabilities(logits, richness) if listed else best_species(expit(logits))
        return evaluate_predictions(
            p, self.data.surveys, self.fold_of["block"], rule=row.rule, name=row.name,
            seconds=sum(one.seconds for one in members), richness=richness if listed else None,
        )  # fmt: skip

    def _path(self, row: Row) -> Path:
        return self.out / self.data.name / f"{re.sub('[^a-z0-9]+', '_', row.name.lower())}.npz"

    def _keep(self, row: Row, found: Evaluation) -> None:
        arrays: dict[str, np.ndarray] = {"survey_id": self.data.surveys.survey_id}
        for kind, one in zip(_KINDS, (found, found.random), strict=True):
            if one is not None:
                matrices = {"sets": one.sets}
                if one.richness is None:
                    matrices["probabilities"] = best_species(one.probabilities)
                else:  # both hold the best species already, entry by entry
                    matrices |= {"probabilities": one.probabilities, "richness": one.richness}
                for what, matrix in matrices.items():
                    arrays |= {f"{kind} {what} {part}": getattr(matrix, part) for part in _PARTS}
                arrays |= {f"{kind} folds": one.folds, f"{kind} seconds": np.array(one.seconds)}
        with written_whole(self._path(row)) as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def _opened(self, row: Row) -> Evaluation | None:
        """A row that was finished before on the same surveys and folds; None if there is none."""
        path, surveys = self._path(row), self.data.surveys
        if row.members or not path.exists():
            return None
        with np.load(path) as file:
            arrays = dict(file)
        known = (surveys.survey_id, self.fold_of["block"])
        if not all(map(np.array_equal, (arrays["survey_id"], arrays["block folds"]), known)):
            print(f"{path}: of other surveys or folds, made anew", flush=True)
            return None
        found = [self._again(row, kind, arrays) for kind in _KINDS if f"{kind} folds" in arrays]
        return replace(found[0], random=found[1]) if len(found) > 1 else found[0]

    def _again(self, row: Row, kind: str, arrays: Mapping[str, np.ndarray]) -> Evaluation:
        """The evaluation that `_keep` took apart."""
        surveys = self.data.surveys
        labels = surveys.known_labels()
        p, sets, richness = (
            sparse.csr_matrix(
                tuple(arrays[f"{kind} {what} {part}"] for part in _PARTS), labels.shape
            )
            if f"{kind} {what} {_PARTS[0]}" in arrays
            else None
            for what in ("probabilities", "sets", "richness")
        )
        return Evaluation(
            row.name, f"{kind} folds", surveys, p, sets, survey_f1(sets, labels),
            arrays[f"{kind} folds"], block_ids(surveys.lat, surveys.lon),
            float(arrays[f"{kind} seconds"]), richness=richness,
        )  # fmt: skip


def _dense(found: Evaluation) -> np.ndarray:
    p = found.probabilities
    return p if isinstance(p, np.ndarray) else p.toarray()


def write(board: Board, rows: Sequence[Row] = ROWS) -> str:
    """Write what is finished as JSON and Markdown beside the probabilities; returns the Markdown.

    The decision rules are compared on the chain's probabilities, if it is there.
    """
    table = records(rows, board.found)
    rules = rule_records(board.found[CHAIN]) if CHAIN in board.found else []
    text = as_markdown(board.data, board.folds, table, rules, board.left_out)
    place = board.out / board.data.name
    write_json(place / "leaderboard.json", {"rows": _plain(table), "rules": _plain(rules)})
    with written_whole(place / "leaderboard.md") as part:
        part.write_text(text)
    return text


def _plain(found: list[dict[str, object]]) -> list[dict[str, object]]:
    """For JSON, which has no NaN."""
    return [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in one.items()}
        for one in found
    ]


def main() -> None:
    """Run the rows and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=[*SOURCES, "all"], default="all")
    parser.add_argument("--folder", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("out/leaderboard"))
    parser.add_argument("--limit", type=int, help="use this many surveys, of whole blocks")
    parser.add_argument("--folds", type=int, default=6, help="folds held out in turn")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", choices=[row.name for row in ROWS],
        help=f"rows to run, beside those that are finished: {'; '.join(r.name for r in ROWS)}",
    )  # fmt: skip
    given = parser.parse_args()
    logging.getLogger("tighnari_models").setLevel(logging.ERROR)  # constant columns, per fold
    for name in SOURCES if given.data == "all" else [given.data]:
        try:
            data = SOURCES[name](given.folder, given.limit)
        except FileNotFoundError as error:
            print(f"{name}: left out: {error}", flush=True)
            continue
        part = "" if given.limit is None else f"limit_{given.limit}"  # beside the full size
        board = Board(data, given.out / part, given.folds)
        board.run(only=given.only)
        print(f"\n{write(board)}", flush=True)


if __name__ == "__main__":
    main()
