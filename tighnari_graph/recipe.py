"""The best graph-only method as measured: multi-scale probabilities and sets of whole communities.

`python -m tighnari_graph` takes it by default; ``--recipe paper`` has the survey graph of 10 km and
Threshold Top-K instead (`ladder`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from scipy import sparse
from tqdm import tqdm

from tighnari_graph.community_f1 import CommunityF1
from tighnari_graph.decisions import DecisionRule, cross_fitted
from tighnari_graph.evaluation_result import BLOCK_FOLDS, Evaluation
from tighnari_graph.ladder import SHARE_THRESHOLDS
from tighnari_graph.metrics import survey_f1
from tighnari_graph.multiscale import MultiScale
from tighnari_graph.scale_rows import ScaleRows
from tighnari_graph.species_sets import ThresholdTopK
from tighnari_graph.splits import block_ids
from tighnari_graph.surveys import SurveyTable

RECIPES = ("best", "paper")


@dataclass(frozen=True, eq=False)
class HeldOutScales:
    r"""Multi-scale predictions of surveys while their fold was held out, and what they are worth.

    Attributes:
        table: a row per decision rule: samples-F1 with settings chosen on the other folds.
        rule: `CommunityF1` fitted on all the folds.
        evaluation: of that rule, its settings from the other folds.
    """

    table: pd.DataFrame
    rule: CommunityF1
    evaluation: Evaluation

    @property
    def score(self) -> float:
        """Samples-F1 on held-out folds."""
        return self.evaluation.score


def hold_out_scales(
    surveys: SurveyTable,
    folds: np.ndarray,
    presence_only: SurveyTable | None = None,
    seed: int = 0,
) -> HeldOutScales:
    r"""Fit `MultiScale` without each fold in turn, and compare decision rules on what it says.

    Args:
        surveys: labelled surveys.
        folds: fold of each, from `block_folds`.
        presence_only: further surveys that list part of their species.
        seed: of the fits.

    Shapes:
        - **folds:** :math:`(N,)`
    """
    title = "multi-scale folds" + ("" if presence_only is None else " with PO")
    parts: list[ScaleRows] = []
    order = []
    for number in tqdm(np.unique(folds), title, delay=2, disable=None, leave=False):
        held_out = folds == number
        model = MultiScale.fit(surveys.subset(~held_out), presence_only, seed=seed)
        parts.append(model.predict(replace(surveys.subset(held_out), labels=None)))
        order.append(np.flatnonzero(held_out))
    rows = ScaleRows.stacked(parts, len(surveys.species_ids)).at(np.argsort(np.concatenate(order)))
    labels = surveys.known_labels()
    with_po = "" if presence_only is None else " with PO"
    rules: dict[str, tuple[Callable[..., DecisionRule], sparse.csr_matrix | None]] = {
        "Threshold Top-K": (partial(ThresholdTopK.fit, thresholds=SHARE_THRESHOLDS), None),
        "community F1": (CommunityF1.fit, rows.richness),
    }
    blocks = block_ids(surveys.lat, surveys.lon)
    found = []
    for name, (fit, beside) in rules.items():
        sets = cross_fitted(fit, rows.probabilities, labels, folds, beside)
        found.append(
            Evaluation(
                f"multi-scale{with_po}, {name}",
                BLOCK_FOLDS,
                surveys,
                rows.probabilities,
                sets,
                survey_f1(sets, labels),
                folds,
                blocks,
                richness=rows.richness,
            )
        )
    table = pd.DataFrame({"samples-F1": {one.name: one.score for one in found}})
    rule = CommunityF1.fit(rows.probabilities, labels, rows.richness)
    return HeldOutScales(table.rename_axis("step"), rule, found[-1])
