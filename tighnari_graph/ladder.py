"""What each step of the graph-only method is worth on held-out blocks, and the best settings.

K, θ and λ are chosen on the folds; what is reported for a fold was chosen on the other folds.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from scipy import sparse
from tqdm import tqdm

from tighnari_graph.evaluation_result import BLOCK_FOLDS, Evaluation
from tighnari_graph.gfv import graph_feature_vectors
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.metrics import survey_f1
from tighnari_graph.shares import LEVELS, FrequencyPrior, NeighborShares
from tighnari_graph.sparse import scipy_csr
from tighnari_graph.species_lists import species_lists
from tighnari_graph.species_sets import KS, THRESHOLDS, ThresholdTopK
from tighnari_graph.splits import block_ids
from tighnari_graph.surveys import SurveyTable

Probabilities = Callable[[], sparse.csr_matrix]  # made when needed: [n, S]

SHARES = "neighbour shares"
STRENGTHS = (5.0, 10.0, 20.0, 40.0, 80.0)  # λ, kilometres of weight
# θ = 0 is plain Top-K; shares are smaller than a model's probabilities, so θ starts lower.
SHARE_THRESHOLDS = np.unique(np.concatenate([[0.0], np.arange(0.02, 0.10, 0.01), THRESHOLDS]))
PO_PART = 4096  # surveys that PO surveys are attached to at once


@dataclass(frozen=True, eq=False)
class Ladder:
    """Scores of every step, and the settings of the last.

    Attributes:
        table: a row per step: samples-F1 with settings chosen on the other folds, and the settings
            chosen on all.
        rule: Threshold Top-K of the full method, with its scores of every K and θ.
        strength: λ of the full method, kilometres.
        evaluation: of the full method without PO, its settings from the other folds.
    """

    table: pd.DataFrame
    rule: ThresholdTopK
    strength: float
    evaluation: Evaluation

    @property
    def score(self) -> float:
        """Samples-F1 of the full method without PO, settings chosen on the other folds."""
        return self.evaluation.score


@dataclass(frozen=True, eq=False)
class _Fold:
    """A fold's held-out surveys and all that is known of them without their labels."""

    held_out: np.ndarray
    labels: sparse.csr_matrix
    priors: dict[str, FrequencyPrior]
    features: sparse.csr_matrix
    shares: NeighborShares


def climb(
    surveys: SurveyTable,
    folds: np.ndarray,
    lists: sparse.csr_matrix | None = None,
    radius_km: float = 10.0,
    levels: tuple[str, ...] = LEVELS,
    title: str = BLOCK_FOLDS,
) -> Ladder:
    """Hold out fold after fold, and score every step from the global frequency to PO lists.

    Args:
        surveys: labelled surveys.
        folds: :math:`(N,)` fold of each, from `block_folds` (or `random_folds`, to see what they
            would have claimed).
        lists: :math:`(N, S)` species lists to merge in the last step, from `po_lists`.
        radius_km: longest edge of the graph.
        levels: columns of the prior, coarse to fine; a table may lack the last.
        title: what the progress bar says, and what the evaluation calls the folds.
    """
    numbers = np.unique(folds)
    methods: dict[str, list[np.ndarray]] = {}
    kept: list[_Fold] = []
    for number in tqdm(numbers, title, delay=2, disable=None, leave=False):
        fold = _hold_out(surveys, folds == number, radius_km, levels)
        kept.append(fold)
        for name, candidates in _methods(fold).items():
            methods.setdefault(name, []).append(np.stack([_scores(fold, c) for c in candidates]))

    sizes = np.array([len(fold.held_out) for fold in kept])
    rows = []
    for name, per_fold in methods.items():
        sums = np.stack(per_fold)  # [fold, λ, K, θ]
        rows.append(_row(f"{name}, Top-K", sums[..., :1], sizes))
        if name in ("GFV", SHARES):
            rows.append(_row(f"{name}, Threshold Top-K", sums, sizes))

    shares = np.stack(methods[SHARES])
    chosen = [_best(np.delete(shares, number, axis=0)) for number in range(len(kept))]
    corrected = np.empty(len(surveys))
    shown: list[tuple[sparse.csr_matrix, sparse.csr_matrix]] = []
    for fold, (strength, k, threshold) in zip(kept, chosen, strict=True):
        rule = ThresholdTopK(int(KS[k]), float(SHARE_THRESHOLDS[threshold]))
        probabilities = fold.shares.probabilities(STRENGTHS[strength])
        sets = rule.predict(probabilities)
        shown.append((probabilities, sets))
        if lists is not None:
            added = sets.maximum(lists[fold.held_out])
            corrected[fold.held_out] = survey_f1(added, fold.labels)
    strength, k, threshold = _best(shares)
    if lists is not None:
        with_lists = {"step": "… with PO lists", "samples-F1": corrected.mean()}
        rows.append({**rows[-1], **with_lists, "tuned on the same folds": np.nan})
    rule = ThresholdTopK(
        int(KS[k]), float(SHARE_THRESHOLDS[threshold]), "intersection",
        np.asarray(KS), SHARE_THRESHOLDS, shares.sum(axis=0)[strength] / sizes.sum(),
    )  # fmt: skip
    table = pd.DataFrame(rows).set_index("step")
    return Ladder(table, rule, STRENGTHS[strength], _evaluation(surveys, folds, kept, shown, title))


def _evaluation(
    surveys: SurveyTable,
    folds: np.ndarray,
    kept: list[_Fold],
    shown: list[tuple[sparse.csr_matrix, sparse.csr_matrix]],
    kind: str,
) -> Evaluation:
    """What was shown of each fold, in the order of the surveys."""
    order = np.argsort(np.concatenate([fold.held_out for fold in kept]))
    probabilities, sets = (
        sparse.csr_matrix(sparse.vstack(parts, format="csr")[order])
        for parts in zip(*shown, strict=True)
    )
    return Evaluation(
        f"{SHARES}, Threshold Top-K", kind, surveys, probabilities, sets,
        survey_f1(sets, surveys.known_labels()), folds, block_ids(surveys.lat, surveys.lon),
    )  # fmt: skip


def _hold_out(
    surveys: SurveyTable, held_out: np.ndarray, radius_km: float, levels: tuple[str, ...]
) -> _Fold:
    train, test = surveys.subset(~held_out), surveys.subset(held_out)
    hetero = SurveyGraph.from_surveys(train, radius_km).attach(replace(test, labels=None))
    names = ["global frequency", "regional frequency", "regional, then national frequency"]
    priors = {
        name: FrequencyPrior.fit(train, test, levels[:depth])
        for depth, name in enumerate(names[: len(levels) + 1])
    }
    return _Fold(
        np.flatnonzero(held_out),
        test.known_labels(),
        priors,
        scipy_csr(graph_feature_vectors(hetero, target="test")),
        NeighborShares.of_test(hetero, list(priors.values())[-1]),
    )


def _methods(fold: _Fold) -> dict[str, list[Probabilities]]:
    """For each method its candidates, one for each λ where there is a choice."""
    regional = fold.priors.get("regional frequency", next(iter(fold.priors.values())))

    def with_fallback() -> sparse.csr_matrix:
        isolated = np.diff(fold.features.indptr) == 0
        return fold.features + sparse.diags_array(isolated.astype(np.float32)) @ regional.top()

    return {
        **{name: [prior.top] for name, prior in fold.priors.items()},
        "GFV": [lambda: fold.features],
        "GFV, isolates from the region": [with_fallback],
        SHARES: [partial(fold.shares.probabilities, strength) for strength in STRENGTHS],
    }


def _scores(fold: _Fold, probabilities: Probabilities) -> np.ndarray:
    """F1 of every K and θ, summed over a fold's surveys."""
    rule = ThresholdTopK.fit(probabilities(), fold.labels, KS, SHARE_THRESHOLDS)
    return rule.scores * len(fold.held_out)


def po_lists(
    surveys: SurveyTable, presence_only: SurveyTable, radius_km: float = 10.0
) -> sparse.csr_matrix:
    r"""Species lists (algorithm 2) of labelled surveys from PO alone, :math:`(N, S)` scipy CSR.

    They do not depend on folds. Surveys are attached some thousands at a time, since millions of
    PO surveys make hundreds of edges to each.
    """
    nothing = surveys.subset(np.zeros(0, dtype=np.int64))
    graph = SurveyGraph.from_surveys(nothing, radius_km)
    starts = range(0, max(len(surveys), 1), PO_PART)
    lists = []
    for start in tqdm(starts, "PO lists", delay=2, disable=None, leave=False):
        part = surveys.subset(np.arange(start, min(start + PO_PART, len(surveys))))
        hetero = graph.attach(replace(part, labels=None), presence_only)
        lists.append(scipy_csr(species_lists(hetero)))
    return sparse.csr_matrix(sparse.vstack(lists, format="csr"))


def _best(sums: np.ndarray) -> tuple[int, int, int]:
    """Best λ, K and θ of score sums [fold, λ, K, θ]."""
    total = sums.sum(axis=0)
    strength, k, threshold = np.unravel_index(np.argmax(total), total.shape)
    return int(strength), int(k), int(threshold)


def _row(name: str, sums: np.ndarray, sizes: np.ndarray) -> dict[str, object]:
    nested = sum(
        sums[number][_best(np.delete(sums, number, axis=0))] for number in range(len(sums))
    )
    strength, k, threshold = _best(sums)
    best = sums.sum(axis=0)[strength, k, threshold] / sizes.sum()
    return {
        "step": name,
        "samples-F1": float(nested) / sizes.sum(),
        "tuned on the same folds": best,
        "K": int(KS[k]),
        "θ": float(SHARE_THRESHOLDS[threshold]),
        "λ km": STRENGTHS[strength] if sums.shape[1] > 1 else np.nan,
    }
