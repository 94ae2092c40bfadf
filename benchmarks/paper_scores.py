"""Score the rows of the paper's tables on surveys that their models never saw."""

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from scipy.special import expit

from benchmarks.paper_rows import FIXED_K, PO_LISTS, TOP_K, Row
from benchmarks.paper_runs import Study, training_figures
from tighnari_graph.files import write_array, written_whole
from tighnari_graph.folder import DataFolder
from tighnari_graph.ladder import po_lists
from tighnari_graph.readers import read_glc24_po
from tighnari_graph.sparse import scipy_csr
from tighnari_graph.species_lists import species_lists
from tighnari_graph.species_sets import KS, ThresholdTopK
from tighnari_graph.splits import block_ids
from tighnari_graph.submission import check_submission, write_submission
from tighnari_graph.surveys import SurveyTable
from tighnari_graph.truth import true_score
from tighnari_models.losses import bce
from tighnari_models.post_processing import PLAIN_K, PostProcessing, post_processing
from tighnari_models.scoring import block_parts

_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class Scorer:
    """Held-out surveys of a study with what is known of them; scores each of its rows once."""

    study: Study
    _done: dict[tuple[str, bool, int], PostProcessing] = field(default_factory=dict)

    @cached_property
    def rows(self) -> np.ndarray:
        r"""Positions of the held-out surveys, :math:`(n,)`, fold after fold."""
        fold = self.study.fold_of
        return np.concatenate([np.flatnonzero(fold == f) for f in range(self.study.folds)])

    @cached_property
    def surveys(self) -> SurveyTable:
        """The held-out surveys, in that order."""
        return self.study.with_gfv.surveys.subset(self.rows)

    @cached_property
    def blocks(self) -> np.ndarray:
        r"""Their 10 km blocks, :math:`(n,)`."""
        return block_ids(self.surveys.lat, self.surveys.lon)

    @cached_property
    def groups(self) -> np.ndarray:
        """Surveys whose K and θ are chosen on those of the other groups."""
        if self.study.folds > 1:
            return self.study.fold_of[self.rows]
        return block_parts(self.surveys)

    @cached_property
    def presence_only(self) -> SurveyTable | None:
        """Observers' surveys, None if the folder has no such file."""
        path = DataFolder.find(self.study.data).po
        return None if path is None else read_glc24_po(path, self.surveys.species_ids)

    @cached_property
    def lists(self) -> sparse.csr_matrix | None:
        r"""Species lists that correct the output of the held-out surveys, :math:`(n, S)`."""
        po = self.presence_only
        return None if po is None else po_lists(self.surveys, po)

    @cached_property
    def test_lists(self) -> sparse.csr_matrix:
        """The same of the surveys to predict."""
        data = self.study.with_gfv
        hetero = data.graph.attach(replace(data.test, labels=None), self.presence_only)
        return scipy_csr(species_lists(hetero))

    def logits(self, row: Row, seed: int) -> np.ndarray:
        r"""Of all held-out surveys, :math:`(n, S)`."""
        folds = range(self.study.folds)
        return np.concatenate([self.study.logits(row, f, seed, "held_out") for f in folds])

    def processed(self, row: Row, seed: int) -> PostProcessing:
        """All steps of post-processing on the logits of a row."""
        key = (row.trained, row.fused, seed)
        if key not in self._done:
            labels = self.surveys.known_labels()
            self._done[key] = post_processing(
                self.logits(row, seed), labels, self.groups, self.blocks, self.lists
            )
        return self._done[key]

    def result(self, row: Row, folder: Path) -> tuple[dict[str, object], np.ndarray]:
        r"""Figures of a row, and the F1 of every held-out survey, :math:`(seeds, n)`.

        Both are kept in the row's folder, beside its submission, and read from there if they are
        there already.
        """
        place, scores = folder / "row.json", folder / "survey_f1.npy"
        if place.exists():
            figures = json.loads(place.read_text())
            if figures["seeds"] == self.study.seeds:
                return figures, np.load(scores)
        seeds = range(self.study.seeds)
        f1 = np.stack([self.processed(row, seed).survey_f1[row.step] for seed in seeds])
        low, high = interval(f1, self.blocks)
        rule, _ = self._rule(row, 0)
        figures = {
            "row": row.name, "seeds": self.study.seeds,
            "val score": f1.mean(), "from": low, "to": high,
            "val loss": float(np.mean([self._loss(row, seed) for seed in seeds])),
            **training_figures(self.study, row),
            "K": rule.k, "θ": rule.threshold, "test score": self._true_score(row),
        }  # fmt: skip
        self._submit(row, folder / "submission.csv")
        write_array(scores, f1)
        with written_whole(place) as part:
            part.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
        return figures, f1

    def _rule(self, row: Row, seed: int) -> tuple[ThresholdTopK, sparse.csr_matrix | None]:
        """How a row makes species of probabilities, chosen on all held-out surveys."""
        rule = self.processed(row, seed).rule
        if row.step == FIXED_K:
            return ThresholdTopK(PLAIN_K, 0.0), None
        if row.step == TOP_K:
            return ThresholdTopK(int(KS[int(rule.scores[:, 0].argmax())]), 0.0), None
        return rule, self.test_lists if row.step == PO_LISTS else None

    def _sets(self, row: Row, fold: int, seed: int) -> sparse.csr_matrix:
        rule, lists = self._rule(row, seed)
        return rule.predict(expit(self.study.logits(row, fold, seed, "test")), add=lists)

    def _submit(self, row: Row, path: Path) -> None:
        """What the row's models of the first fold and seed predict for the test surveys."""
        data = self.study.with_gfv
        write_submission(path, data.test.survey_id, self._sets(row, 0, 0), data.species_ids)
        check_submission(path, data.test.survey_id, data.species_ids)

    def _true_score(self, row: Row) -> float | None:
        truth, data = DataFolder.find(self.study.data).truth, self.study.with_gfv
        if truth is None:
            return None
        scores = [
            true_score(truth, data.test, self._sets(row, fold, seed), data.species_ids)
            for fold in range(self.study.folds)
            for seed in range(self.study.seeds)
        ]
        return float(np.mean(scores))

    def _loss(self, row: Row, seed: int) -> float:
        logits, labels = self.logits(row, seed), self.surveys.known_labels()
        total = 0.0
        for start in range(0, len(logits), _CHUNK):
            part = slice(start, start + _CHUNK)
            y = torch.from_numpy(labels[part].toarray())
            total += float(bce(torch.from_numpy(logits[part]), y)) * len(y)
        return total / len(logits)


def interval(
    values: np.ndarray, blocks: np.ndarray, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    r"""95 % interval of a mean, drawing whole blocks and, if there are several, seeds.

    `tighnari_graph.bootstrap.block_interval` with one more thing that is drawn.

    Args:
        values: :math:`(seeds, n)`, one number a survey and seed.
        blocks: :math:`(n,)` block of each survey.
        draws: how often to draw with replacement.
        seed: of the draws.
    """
    _, block = np.unique(blocks, return_inverse=True)
    count = np.bincount(block)
    total = np.stack([np.bincount(block, weights=one) for one in values])
    rng = np.random.default_rng(seed)
    drawn, seeds = (rng.multinomial(n, np.full(n, 1 / n), size=draws) for n in total.shape[::-1])
    means = np.einsum("ds,sb,db->d", seeds, total, drawn) / (len(values) * (drawn @ count))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def differences(
    rows: tuple[Row, ...], f1: dict[str, np.ndarray], blocks: np.ndarray
) -> pd.DataFrame:
    """What each row adds to the one it is compared with, on the same surveys and seeds."""
    found = []
    for row in rows:
        if row.name in f1 and row.against in f1:
            gain = f1[row.name] - f1[row.against]
            low, high = interval(gain, blocks)
            verdict = "helped" if low > 0 else "hurt" if high < 0 else "no difference seen"
            found.append((row.name, row.against, gain.mean(), low, high, verdict))
    columns = ["row", "against", "difference", "from", "to", "as measured"]
    return pd.DataFrame(found, columns=columns).set_index("row")
