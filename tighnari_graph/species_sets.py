"""Probabilities → species sets: Threshold Top-K."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import joblib
import numpy as np
import torch
from scipy import sparse

from tighnari_graph.metrics import f1_of_counts
from tighnari_graph.ranking import (
    Chunk,
    joined_sets,
    kept_species,
    most_above,
    prefix_f1,
    top_species,
)
from tighnari_graph.sparse import Labels, scipy_csr, zero_one

RULES = ("intersection", "union")
KS = range(1, 101)
THRESHOLDS = np.arange(0.10, 0.501, 0.01)
_CHUNK = 1 << 22  # probabilities looked at at once


@dataclass(frozen=True, eq=False)
class ThresholdTopK:
    r"""The K most probable species, as far as their probability exceeds θ.

    With rule "intersection" a survey's set is :math:`\{i : p_i > \theta\} \cap
    \mathrm{Top}_K(p)`, with "union" :math:`\{i : p_i > \theta\} \cup \mathrm{Top}_K(p)` as eq. 14
    prints it. Both are prefixes of the species in order of probability (equal ones in order of
    column), so one partial sort scores every pair of K and θ.

    Attributes:
        k: the number K, beyond which "intersection" takes no more.
        threshold: the probability θ; a species needs more than it.
        rule: "intersection" or "union".
        ks: :math:`(A,)`, the K that `fit` tried.
        thresholds: :math:`(B,)`, the θ that it tried.
        scores: :math:`(A, B)`, samples-F1 of every pair; empty if not fitted.

    Raises:
        ValueError: on a K below 1, an unknown rule, or probabilities that are not numbers.

    Source: Liu et al. 2024, section 3.7, eq. 14, figure 11.

    Example:
        >>> p = np.array([[0.9, 0.6, 0.2], [0.3, 0.2, 0.1]])
        >>> ThresholdTopK(k=2, threshold=0.25).predict(p).toarray()
        array([[1., 1., 0.],
               [1., 0., 0.]], dtype=float32)
        >>> labels = np.array([[1, 1, 0], [1, 0, 0]])
        >>> rule = ThresholdTopK.fit(p, labels, ks=[1, 2, 3], thresholds=[0.1, 0.25])
        >>> rule, float(rule.scores.max())
        (ThresholdTopK(k=2, threshold=0.25, rule='intersection'), 1.0)
    """

    k: int
    threshold: float
    rule: str = "intersection"
    ks: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64), repr=False)
    thresholds: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    scores: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)), repr=False)

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}, got {self.rule!r}")
        if self.k < 1 or self.k % 1 != 0:
            raise ValueError(f"k must be a whole number from 1 up, got {self.k}")
        if not np.isfinite(self.threshold):
            raise ValueError(f"threshold must be a number, got {self.threshold}")

    @classmethod
    def fit(
        cls,
        probabilities: Labels,
        labels: Labels,
        ks: Sequence[int] | np.ndarray = KS,
        thresholds: Sequence[float] | np.ndarray = THRESHOLDS,
        rule: str = "intersection",
    ) -> "ThresholdTopK":
        """Try every pair of K and θ and keep the best; of equals, the smallest K, then θ.

        Shapes:
            - **probabilities:** :math:`(N, S)` of surveys whose model never saw their labels
            - **labels:** :math:`(N, S)` 0/1
        """
        tried = cls(1, 0.0, rule, _whole(ks, "ks"), np.asarray(thresholds, dtype=np.float64))
        if not (len(tried.ks) and len(tried.thresholds)) or tried.ks.min() < 1:
            raise ValueError("ks must be one or more numbers from 1 up, thresholds one or more")
        if not np.isfinite(tried.thresholds).all():
            raise ValueError(f"thresholds must be finite, got {tried.thresholds.tolist()}")
        truth = labels_to_fit(probabilities, labels)
        sparse_enough = rule == "intersection" and tried.thresholds.min() >= 0

        def score(part: tuple[slice, Chunk]) -> np.ndarray:
            rows, p = part
            return tried._score(p if sparse_enough else _dense(p), truth[rows].toarray())

        with ThreadPoolExecutor(joblib.cpu_count()) as threads:
            scores = np.stack(list(threads.map(score, row_chunks(probabilities)))).sum(axis=0)
        scores /= truth.shape[0]
        best_k, best_threshold = np.unravel_index(np.argmax(scores), scores.shape)
        return cls(
            int(tried.ks[best_k]), float(tried.thresholds[best_threshold]), rule,
            tried.ks, tried.thresholds, scores,
        )  # fmt: skip

    def predict(self, probabilities: Labels, add: Labels | None = None) -> sparse.csr_matrix:
        r"""The species set of every survey.

        Args:
            probabilities: one row a survey.
            add: species to merge into the sets (output correction, section 3.7).

        Shapes:
            - **probabilities, add:** :math:`(N, S)`
            - **output:** :math:`(N, S)` scipy CSR float32 of 0/1
        """
        shape = _shape(probabilities)
        parts = []
        for _, p in row_chunks(probabilities):
            if self.rule == "intersection" and self.threshold >= 0:
                columns, best = top_species(p, min(self.k, most_above(p, self.threshold)))
                parts.append(kept_species(columns, best > np.float64(self.threshold), shape[1]))
                continue
            dense = _dense(p)
            chosen = np.zeros(p.shape, dtype=bool)
            np.put_along_axis(chosen, top_species(dense, self.k)[0], True, axis=1)
            above = dense > np.float64(self.threshold)
            both = chosen & above if self.rule == "intersection" else chosen | above
            parts.append(sparse.csr_matrix(both))
        return joined_sets(parts, shape[1], add)

    def _score(self, p: Chunk, truth: np.ndarray) -> np.ndarray:
        """F1 of every pair, summed over the surveys of a chunk: [A, B].

        The F1 of every prefix is known at once; a pair of K and θ is a prefix of each survey.
        """
        size = truth.sum(axis=1)[:, None]
        depth = int(self.ks.max())
        if self.rule == "intersection":  # no set is longer than what passes the lowest θ
            depth = min(depth, most_above(p, self.thresholds.min()))
        columns, best = top_species(p, depth)
        f1 = prefix_f1(columns, best, truth)
        ks = np.minimum(self.ks, best.shape[1])
        at_k = f1[:, ks]
        total = np.empty((len(self.ks), len(self.thresholds)))
        for column, threshold in enumerate(self.thresholds):
            if self.rule == "intersection":  # the shorter of both prefixes
                length = (best > threshold).sum(axis=1)
                passing = np.take_along_axis(f1, length[:, None], axis=1)
                by_threshold = length[:, None] < ks
            else:  # the longer one
                above = p > threshold
                length = above.sum(axis=1)
                passing = f1_of_counts((above & truth).sum(axis=1), length, size[:, 0])[:, None]
                by_threshold = length[:, None] > ks
            total[:, column] = np.where(by_threshold, passing, at_k).sum(axis=0)
        return total


def _whole(values: Sequence[int] | np.ndarray, name: str) -> np.ndarray:
    given = np.asarray(values)
    if given.size and (given.dtype.kind not in "iuf" or (given % 1 != 0).any()):
        raise ValueError(f"{name} must be whole numbers, got {given.tolist()}")
    return given.astype(np.int64)


def _shape(probabilities: Labels) -> tuple[int, int]:
    shape = tuple(probabilities.shape)
    if len(shape) != 2:
        raise ValueError(f"expected probabilities [surveys, species], got shape {shape}")
    return shape


def labels_to_fit(probabilities: Labels, labels: Labels) -> sparse.csr_matrix:
    """The labels that a rule is fitted on, checked against the probabilities, as CSR of bool."""
    shape = _shape(probabilities)
    if shape != tuple(labels.shape):
        raise ValueError(f"probabilities are {shape}, labels {tuple(labels.shape)}")
    if shape[0] == 0:
        raise ValueError("cannot fit on no surveys")
    return zero_one(labels, "labels")


def plain_rows(probabilities: Labels) -> Chunk:
    """A numpy array or a scipy CSR matrix of floating numbers, as it came: dense or sparse."""
    _shape(probabilities)
    if isinstance(probabilities, torch.Tensor) and probabilities.layout == torch.strided:
        short = probabilities.dtype == torch.bfloat16  # unknown to numpy
        probabilities = (probabilities.float() if short else probabilities).numpy(force=True)
    elif not isinstance(probabilities, np.ndarray):
        given = scipy_csr(probabilities)
        probabilities = given if given.has_canonical_format else given.copy()
        probabilities.sum_duplicates()
    if probabilities.dtype.kind not in "f":
        probabilities = probabilities.astype(np.float64)
    return probabilities


def row_chunks(probabilities: Labels) -> Iterator[tuple[slice, Chunk]]:
    """Rows, a bounded number at a time, checked; sparse ones stay sparse."""
    probabilities = plain_rows(probabilities)
    step = max(1, _CHUNK // max(probabilities.shape[1], 1))
    for start in range(0, probabilities.shape[0], step):
        rows = slice(start, start + step)
        part = probabilities[rows]
        unknown = ~np.isfinite(part.data if sparse.issparse(part) else part)
        if unknown.any():
            where = (
                scipy_csr(part).tocoo().row[unknown]
                if sparse.issparse(part)
                else unknown.nonzero()[0]
            )
            raise ValueError(
                f"{unknown.sum()} probabilities are not finite, the first in row "
                f"{start + int(where.min())}"
            )
        yield rows, part


def _dense(p: Chunk) -> np.ndarray:
    return p if isinstance(p, np.ndarray) else np.asarray(p.toarray())
