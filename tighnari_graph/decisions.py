"""Probabilities → species sets: what every rule offers, the two plainest rules, and cross-fitting.

All rules but `CommunityF1` take a prefix of the species in order of probability (equal ones in
order of column), and differ in how long it is. A species of probability 0 is in no set.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from scipy import sparse

from tighnari_graph.ranking import joined_sets
from tighnari_graph.sparse import Labels
from tighnari_graph.species_sets import KS, THRESHOLDS, ThresholdTopK, labels_to_fit, plain_rows


@runtime_checkable
class DecisionRule(Protocol):
    """What turns probabilities into species sets: fitted on some surveys, used on others.

    `FixedK`, `Threshold`, `ThresholdTopK`, `RichnessTopK`, `ExpectedF1` and `CommunityF1` are such
    rules. A rule is fitted on probabilities from a model that never saw those surveys' labels.

    Example:
        >>> isinstance(FixedK(25), DecisionRule), isinstance(ThresholdTopK(44, 0.23), DecisionRule)
        (True, True)
    """

    @classmethod
    def fit(cls, probabilities: Labels, labels: Labels) -> "DecisionRule":
        """Choose the settings with the best samples-F1."""
        ...

    def predict(self, probabilities: Labels, add: Labels | None = None) -> sparse.csr_matrix:
        """The species set of every survey, merged with ``add``, as CSR float32 of 0/1."""
        ...


@dataclass(frozen=True, eq=False)
class FixedK:
    """The K most probable species of every survey: Threshold Top-K without a threshold.

    Attributes:
        k: the number K of species.
        ks: :math:`(A,)`, the K that `fit` tried.
        scores: :math:`(A,)`, samples-F1 of each; empty if not fitted.

    Raises:
        ValueError: on a K below 1.

    Example:
        >>> p = np.array([[0.9, 0.6, 0.2], [0.3, 0.0, 0.0]])
        >>> FixedK(2).predict(p).toarray()
        array([[1., 1., 0.],
               [1., 0., 0.]], dtype=float32)
        >>> FixedK.fit(p, np.array([[1, 1, 0], [1, 0, 0]]))
        FixedK(k=2)
    """

    k: int
    ks: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64), repr=False)
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)

    def __post_init__(self) -> None:
        ThresholdTopK(self.k, 0.0)  # refuses what is no K

    @classmethod
    def fit(
        cls, probabilities: Labels, labels: Labels, ks: Sequence[int] | np.ndarray = KS
    ) -> "FixedK":
        """Try every K and keep the best; of equals, the smallest.

        Shapes:
            - **probabilities, labels:** :math:`(N, S)`
        """
        best = ThresholdTopK.fit(probabilities, labels, ks, [0.0])
        return cls(best.k, best.ks, best.scores[:, 0])

    def predict(self, probabilities: Labels, add: Labels | None = None) -> sparse.csr_matrix:
        """The species set of every survey, with ``add`` merged in: :math:`(N, S)` scipy CSR."""
        return ThresholdTopK(self.k, 0.0).predict(probabilities, add)


@dataclass(frozen=True, eq=False)
class Threshold:
    """Every species that is more probable than θ, however many they are.

    Attributes:
        threshold: θ, from 0 up; a species needs more than it.
        thresholds: :math:`(B,)`, the θ that `fit` tried.
        scores: :math:`(B,)`, samples-F1 of each; empty if not fitted.

    Raises:
        ValueError: on a θ that is negative or no number.

    Example:
        >>> p = np.array([[0.9, 0.6, 0.2], [0.3, 0.0, 0.0]])
        >>> Threshold(0.25).predict(p).toarray()
        array([[1., 1., 0.],
               [1., 0., 0.]], dtype=float32)
        >>> Threshold.fit(p, np.array([[1, 1, 1], [1, 0, 0]]), thresholds=[0.1, 0.25, 0.5])
        Threshold(threshold=0.1)
    """

    threshold: float
    thresholds: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.threshold) and self.threshold >= 0):
            raise ValueError(f"threshold must be a number from 0 up, got {self.threshold}")

    @classmethod
    def fit(
        cls,
        probabilities: Labels,
        labels: Labels,
        thresholds: Sequence[float] | np.ndarray = THRESHOLDS,
    ) -> "Threshold":
        """Try every θ and keep the best; of equals, the lowest.

        Shapes:
            - **probabilities, labels:** :math:`(N, S)`
        """
        all_species = max(probabilities.shape[-1], 1)
        tried = np.sort(np.asarray(thresholds, dtype=np.float64))
        best = ThresholdTopK.fit(probabilities, labels, [all_species], tried)
        return cls(best.threshold, best.thresholds, best.scores[0])

    def predict(self, probabilities: Labels, add: Labels | None = None) -> sparse.csr_matrix:
        """The species set of every survey, with ``add`` merged in: :math:`(N, S)` scipy CSR."""
        all_species = max(probabilities.shape[-1], 1)
        return ThresholdTopK(all_species, self.threshold).predict(probabilities, add)


def cross_fitted(
    rule_fit: Callable[..., DecisionRule],
    probabilities: Labels,
    labels: Labels,
    folds: np.ndarray,
    richness: Labels | None = None,
) -> sparse.csr_matrix:
    r"""The set of every survey by a rule that never saw its fold: what a rule is worth, honestly.

    Args:
        rule_fit: fits a rule, as ``ThresholdTopK.fit`` does.
        probabilities: of surveys that were held out when they were predicted.
        labels: 0/1.
        folds: fold of each survey, from `block_folds`.
        richness: what the rule takes as ``richness``, both where it is fitted and where it is used:
            `RichnessTopK` one number a survey, `CommunityF1` that or one beside each probability.

    Shapes:
        - **probabilities, labels:** :math:`(N, S)`
        - **folds:** :math:`(N,)`
        - **richness:** :math:`(N,)` or :math:`(N, S)`
        - **output:** :math:`(N, S)` scipy CSR float32 of 0/1

    Raises:
        ValueError: if there is one fold only, or not one number a survey; if richness is of other
            surveys.
        TypeError: if richness is given to a rule that takes none.

    Example:
        >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.6], [0.6, 0.5]])
        >>> labels = np.array([[1, 0], [1, 0], [1, 1], [1, 1]])
        >>> cross_fitted(FixedK.fit, p, labels, np.array([0, 0, 1, 1])).toarray()
        array([[1., 1.],
               [1., 1.],
               [1., 0.],
               [1., 0.]], dtype=float32)
    """
    truth = labels_to_fit(probabilities, labels)
    rows = plain_rows(probabilities)
    folds = np.asarray(folds)
    if folds.shape != (rows.shape[0],):
        raise ValueError(f"folds are {folds.shape}, expected ({rows.shape[0]},), one a survey")
    numbers = np.unique(folds)
    if len(numbers) < 2:
        raise ValueError(f"cross-fitting needs two folds or more, got {len(numbers)}")
    beside = _richness_rows(richness, rows.shape[0])
    parts, order = [], []
    for number in numbers:
        held_out = folds == number
        rule = rule_fit(rows[~held_out], truth[~held_out], **beside(~held_out))
        parts.append(rule.predict(rows[held_out], **beside(held_out)))
        order.append(np.flatnonzero(held_out))
    back = np.argsort(np.concatenate(order))
    return joined_sets(parts, rows.shape[1], None)[back]


def _richness_rows(
    richness: Labels | None, num: int
) -> Callable[[np.ndarray], dict[str, np.ndarray | sparse.csr_matrix]]:
    """Mask of surveys → the keyword argument with their richness; none if there is no richness."""
    if richness is None:
        return lambda mask: {}
    given = np.asarray(richness) if len(richness.shape) == 1 else plain_rows(richness)
    if given.shape[0] != num:
        raise ValueError(f"richness is of {given.shape[0]} surveys, probabilities of {num}")
    return lambda mask: {"richness": given[mask]}
