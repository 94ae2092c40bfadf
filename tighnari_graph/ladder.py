"""What each step of the graph-only method is worth on held-out blocks, and the best settings.

K, θ and λ are chosen on the folds; what is reported for a fold was chosen on the other folds.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from scipy import sparse
from tqdm import tqdm

from tighnari_graph.gfv import graph_feature_vectors
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.metrics import survey_f1
from tighnari_graph.shares import LEVELS, FrequencyPrior, NeighborShares
from tighnari_graph.sparse import scipy_csr
from tighnari_graph.species_lists import species_lists
from tighnari_graph.species_sets import KS, THRESHOLDS, ThresholdTopK
from tighnari_graph.surveys import SurveyTable

Probabilities = Callable[[slice], np.ndarray]  # rows of surveys → [n, S]

SHARES = "neighbour shares"
STRENGTHS = (5.0, 10.0, 20.0, 40.0, 80.0)  # λ, kilometres of weight
# θ = 0 is plain Top-K; shares are smaller than a model's probabilities, so θ starts lower.
SHARE_THRESHOLDS = np.unique(np.concatenate([[0.0], np.arange(0.02, 0.10, 0.01), THRESHOLDS]))
_ROWS = 4096  # surveys whose probabilities are dense at once


@dataclass(frozen=True, eq=False)
class Ladder:
    """Scores of every step, and the settings of the last.

    Attributes:
        table: a row per step: samples-F1 with settings chosen on the other folds, and the settings
            chosen on all.
        rule: Threshold Top-K of the full method, with its scores of every K and θ.
        strength: λ of the full method, kilometres.
        survey_f1: :math:`(N,)` F1 of every survey while it was held out (full method, without PO).
    """

    table: pd.DataFrame
    rule: ThresholdTopK
    strength: float
    survey_f1: np.ndarray

    @property
    def score(self) -> float:
        """Samples-F1 of the full method without PO, settings chosen on the other folds."""
        return float(self.survey_f1.mean())


@dataclass(frozen=True, eq=False)
class _Fold:
    """A fold's held-out surveys and all that is known of them without their labels."""

    held_out: np.ndarray
    labels: sparse.csr_matrix
    priors: dict[str, FrequencyPrior]
    features: sparse.csr_matrix
    shares: NeighborShares
    lists: sparse.csr_matrix | None


def climb(
    surveys: SurveyTable,
    folds: np.ndarray,
    presence_only: SurveyTable | None = None,
    radius_km: float = 10.0,
    title: str = "block folds",
) -> Ladder:
    """Hold out fold after fold, and score every step from the global frequency to PO lists.

    Args:
        surveys: labelled surveys.
        folds: :math:`(N,)` fold of each, from `block_folds` (or `random_folds`, to see what they
            would have claimed).
        presence_only: PO surveys of the same vocabulary, for the last step.
        radius_km: longest edge of the graph.
        title: what the progress bar says.
    """
    numbers = np.unique(folds)
    methods: dict[str, list[np.ndarray]] = {}
    kept: list[_Fold] = []
    for number in tqdm(numbers, title, delay=2, disable=None, leave=False):
        fold = _hold_out(surveys, folds == number, presence_only, radius_km)
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
    f1 = np.empty(len(surveys))
    corrected = np.empty(len(surveys))
    for fold, (strength, k, threshold) in zip(kept, chosen, strict=True):
        rule = ThresholdTopK(int(KS[k]), float(SHARE_THRESHOLDS[threshold]))
        for part in _chunks(fold):
            p, labels = fold.shares.rows(part, STRENGTHS[strength]), fold.labels[part]
            where = fold.held_out[part]
            f1[where] = survey_f1(rule.predict(p), labels)
            if fold.lists is not None:
                corrected[where] = survey_f1(rule.predict(p, add=fold.lists[part]), labels)
    strength, k, threshold = _best(shares)
    if presence_only is not None:
        with_lists = {"step": "… with PO lists", "samples-F1": corrected.mean()}
        rows.append({**rows[-1], **with_lists, "tuned on the same folds": np.nan})
    rule = ThresholdTopK(
        int(KS[k]), float(SHARE_THRESHOLDS[threshold]), "intersection",
        np.asarray(KS), SHARE_THRESHOLDS, shares.sum(axis=0)[strength] / sizes.sum(),
    )  # fmt: skip
    table = pd.DataFrame(rows).set_index("step")
    return Ladder(table, rule, STRENGTHS[strength], f1)


def _hold_out(
    surveys: SurveyTable,
    held_out: np.ndarray,
    presence_only: SurveyTable | None,
    radius_km: float,
) -> _Fold:
    train, test = surveys.subset(~held_out), surveys.subset(held_out)
    graph = SurveyGraph.from_surveys(train, radius_km)
    hetero = graph.attach(replace(test, labels=None), presence_only)
    names = ["global frequency", "regional frequency", "regional, then national frequency"]
    priors = {
        name: FrequencyPrior.fit(train, test, LEVELS[:depth]) for depth, name in enumerate(names)
    }
    if "country" not in surveys.meta:
        del priors[names[2]]
    return _Fold(
        np.flatnonzero(held_out),
        test.known_labels(),
        priors,
        scipy_csr(graph_feature_vectors(hetero, target="test")),
        NeighborShares.of_test(hetero, list(priors.values())[-1]),
        None if presence_only is None else scipy_csr(species_lists(hetero)),
    )


def _methods(fold: _Fold) -> dict[str, list[Probabilities]]:
    """For each method its candidates, one for each λ where there is a choice."""
    regional = fold.priors.get("regional frequency", fold.shares.prior)

    def with_fallback(rows: slice) -> np.ndarray:
        features = fold.features[rows].toarray()
        isolated = features.max(axis=1) == 0
        features[isolated] = regional.rows(rows)[isolated]
        return features

    return {
        **{name: [prior.rows] for name, prior in fold.priors.items()},
        "GFV": [lambda rows: fold.features[rows].toarray()],
        "GFV, isolates from the region": [with_fallback],
        SHARES: [partial(fold.shares.rows, strength=strength) for strength in STRENGTHS],
    }


def _chunks(fold: _Fold) -> Iterator[slice]:
    """Surveys of a fold, as many at a time as may be dense."""
    return (slice(start, start + _ROWS) for start in range(0, len(fold.held_out), _ROWS))


def _scores(fold: _Fold, probabilities: Probabilities) -> np.ndarray:
    """F1 of every K and θ, summed over a fold's surveys."""
    total = np.zeros((len(KS), len(SHARE_THRESHOLDS)))
    for rows in _chunks(fold):
        p = probabilities(rows)
        total += ThresholdTopK.fit(p, fold.labels[rows], KS, SHARE_THRESHOLDS).scores * len(p)
    return total


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
