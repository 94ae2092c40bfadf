"""What an evaluation found: probabilities, sets and scores of surveys while they were held out."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse

from tighnari_graph.bootstrap import block_interval, block_sums, divided, ratio_intervals
from tighnari_graph.evaluation_groups import groups_of
from tighnari_graph.evaluation_scores import score_table
from tighnari_graph.sparse import zero_one
from tighnari_graph.surveys import SurveyTable

BLOCK_FOLDS, RANDOM_FOLDS = "block folds", "random folds"
GROUPINGS = ("region", "degree", "year", "fold")  # what `Evaluation.to_frame` breaks down by


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    r"""What a method predicted for surveys while they were held out, and how good that is.

    Attributes:
        name: of the method.
        kind: "block folds", or "random folds" if some block is in several folds.
        surveys: the labelled surveys.
        probabilities: :math:`(N, S)` float32, out of fold, dense or CSR as the method made them.
        sets: :math:`(N, S)` scipy CSR of 0/1, by rules fitted on the other folds.
        survey_f1: :math:`(N,)` F1 of each survey.
        folds: :math:`(N,)` fold in which each survey was held out.
        blocks: :math:`(N,)` the block of each survey, which intervals draw.
        seconds: that the method took for all the folds; NaN if unknown.
        random: the same method on random folds; None if it was not tried.
        richness: :math:`(N, S)`, expected richness of a survey that has the species, as the method
            gave it; None if it gave none.
    """

    name: str
    kind: str
    surveys: SurveyTable
    probabilities: np.ndarray | sparse.csr_matrix
    sets: sparse.csr_matrix
    survey_f1: np.ndarray
    folds: np.ndarray
    blocks: np.ndarray
    seconds: float = math.nan
    random: "Evaluation | None" = None
    richness: np.ndarray | sparse.csr_matrix | None = None

    def __repr__(self) -> str:
        low, high = self.interval
        return f"Evaluation({self.name!r}, {self.score:.4f} ({low:.4f}–{high:.4f}) on {self.kind})"

    @property
    def score(self) -> float:
        """Samples-F1."""
        return float(self.survey_f1.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of samples-F1 over blocks."""
        return block_interval(self.survey_f1, self.blocks)

    @cached_property
    def labels(self) -> sparse.csr_matrix:
        r"""The true species, :math:`(N, S)` scipy CSR float32 of 0/1."""
        return zero_one(self.surveys.known_labels(), "labels").astype(np.float32)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """All scores on these folds alone: `score_table`."""
        return score_table(self.probabilities, self.sets, self.labels, self.blocks)

    @property
    def table(self) -> pd.DataFrame:
        """All scores, a row a measure, block folds and random folds side by side.

        Columns are pairs: the folds, and value, from, to (95 % interval over blocks) and count
        (surveys, species or cells that the value is over; see `score_table`).
        """
        return pd.concat({one.kind: one.scores for one in self._both()}, axis=1)

    def by(self, name: str) -> pd.DataFrame:
        """Samples-F1 of groups of surveys, with an interval over blocks.

        Args:
            name: "degree" (training neighbours; isolates apart), "fold", or a column of the
                survey table, such as "region" or "year". See `groups_of`.

        Returns:
            A row per group, with surveys, blocks, samples-F1, from and to. No interval (NaN) for
            a group within one block.

        Raises:
            SurveyDataError: if the table has no such column.
        """
        groups = groups_of(self.surveys, self.folds, name).cat.remove_unused_categories()
        num = len(self.folds)
        places = (np.arange(num), groups.cat.codes.to_numpy().astype(np.int64))
        shape = (num, len(groups.cat.categories))
        member = sparse.csr_matrix((np.ones(num), places), shape=shape)
        f1 = sparse.csr_matrix((self.survey_f1, places), shape=shape)
        surveys = np.asarray(member.sum(axis=0)).ravel()
        score = divided(np.asarray(f1.sum(axis=0)).ravel(), surveys)
        found = ratio_intervals(f1, member, self.blocks)
        return pd.DataFrame(
            {
                "surveys": surveys.astype(np.int64),
                "blocks": (block_sums(member, self.blocks) > 0).sum(axis=0),
                "samples-F1": score,
                "from": found[:, 0],
                "to": found[:, 1],
            },
            index=pd.Index(groups.cat.categories.astype(str), name=name),
        )

    def to_frame(self) -> pd.DataFrame:
        """Everything as one tidy table: `table`, the seconds, and `by` each of `GROUPINGS`.

        Returns:
            Columns evaluation, folds, grouping ("all", "region", …), group, measure, value, from,
            to and count. A table without a region has no rows for it.
        """
        parts = []
        for one in self._both():
            whole = one.scores.rename_axis("measure").reset_index()
            whole.loc[len(whole)] = ["seconds", one.seconds, math.nan, math.nan, len(one.folds)]
            parts.append(whole.assign(folds=one.kind, grouping="all", group="all"))
            for name in GROUPINGS:
                if name == "region" and not one.surveys.has(name):
                    continue
                groups = one.by(name).rename_axis("group").reset_index()
                groups = groups.rename(columns={"samples-F1": "value", "surveys": "count"})
                groups = groups.assign(folds=one.kind, grouping=name, measure="samples-F1")
                parts.append(groups.drop(columns="blocks"))
        frame = pd.concat(parts, ignore_index=True).assign(evaluation=self.name)
        first = ["evaluation", "folds", "grouping", "group", "measure"]
        return frame[[*first, "value", "from", "to", "count"]]

    def _both(self) -> "list[Evaluation]":
        return [self] if self.random is None else [self, self.random]
