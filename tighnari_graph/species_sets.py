"""Probabilities → species sets: Threshold Top-K."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import sparse

from tighnari_graph.metrics import f1_of_counts
from tighnari_graph.sparse import Labels, scipy_csr

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
        k: K.
        threshold: θ; a species needs more than it.
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
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")

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
        tried = cls(1, 0.0, rule, np.asarray(ks, dtype=np.int64), np.asarray(thresholds, float))
        if not (len(tried.ks) and len(tried.thresholds)) or tried.ks.min() < 1:
            raise ValueError("ks must be one or more numbers from 1 up, thresholds one or more")
        shape = _shape(probabilities)
        if shape != tuple(labels.shape):
            raise ValueError(f"probabilities are {shape}, labels {tuple(labels.shape)}")
        if shape[0] == 0:
            raise ValueError("cannot fit on no surveys")
        truth = scipy_csr(labels).astype(bool)
        total = sum(tried._score(p, truth[rows].toarray()) for rows, p in _chunks(probabilities))
        scores = np.asarray(total) / shape[0]
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
        parts = [sparse.csr_matrix((0, shape[1]), dtype=bool)]
        for _, p in _chunks(probabilities):
            top = _top_columns(p, self.k)
            chosen = np.zeros(p.shape, dtype=bool)
            np.put_along_axis(chosen, top, True, axis=1)
            above = p > np.float64(self.threshold)
            parts.append(
                sparse.csr_matrix(chosen & above if self.rule == "intersection" else chosen | above)
            )
        sets = sparse.csr_matrix(sparse.vstack(parts, format="csr"))
        if add is not None:
            if tuple(add.shape) != shape:
                raise ValueError(f"add is {tuple(add.shape)}, probabilities are {shape}")
            sets = sparse.csr_matrix(sets.maximum(scipy_csr(add).astype(bool)))
        sets = sets.astype(np.float32)
        sets.sort_indices()
        return sets

    def _score(self, p: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """F1 of every pair, summed over the surveys of a chunk: [A, B]."""
        size = truth.sum(axis=1)[:, None]
        top = _top_columns(p, int(self.ks.max()))
        found = np.cumsum(np.take_along_axis(truth, top, axis=1), axis=1)
        hits = np.concatenate([np.zeros_like(found[:, :1]), found], axis=1)  # hits[:, m]: first m
        ks = np.minimum(self.ks, top.shape[1])[None, :]
        best = np.take_along_axis(p, top, axis=1)
        total = np.empty((len(self.ks), len(self.thresholds)))
        for column, threshold in enumerate(self.thresholds):
            if self.rule == "intersection":
                length = np.minimum(ks, (best > threshold).sum(axis=1)[:, None])
                right = np.take_along_axis(hits, length, axis=1)
            else:
                above = p > threshold
                passing = above.sum(axis=1)[:, None]
                length = np.maximum(ks, passing)
                right = np.where(
                    passing >= ks,
                    (above & truth).sum(axis=1)[:, None],
                    np.take_along_axis(hits, np.broadcast_to(ks, (len(p), ks.size)), axis=1),
                )
            total[:, column] = f1_of_counts(right, length, size).sum(axis=0)
        return total


def _shape(probabilities: Labels) -> tuple[int, int]:
    shape = tuple(probabilities.shape)
    if len(shape) != 2:
        raise ValueError(f"expected probabilities [surveys, species], got shape {shape}")
    return shape


def _chunks(probabilities: Labels) -> Iterator[tuple[slice, np.ndarray]]:
    """Dense rows, a bounded number at a time, checked."""
    if isinstance(probabilities, torch.Tensor) and probabilities.layout == torch.strided:
        short = probabilities.dtype == torch.bfloat16  # unknown to numpy
        probabilities = (probabilities.float() if short else probabilities).numpy(force=True)
    elif not isinstance(probabilities, np.ndarray):
        probabilities = scipy_csr(probabilities)
    step = max(1, _CHUNK // max(probabilities.shape[1], 1))
    for start in range(0, probabilities.shape[0], step):
        rows = slice(start, start + step)
        part = probabilities[rows]
        dense = np.asarray(part.toarray() if sparse.issparse(part) else part)  # type: ignore[union-attr]
        unknown = ~np.isfinite(dense)
        if unknown.any():
            raise ValueError(
                f"{unknown.sum()} probabilities are not finite, the first in row "
                f"{start + int(np.flatnonzero(unknown.any(axis=1))[0])}"
            )
        yield rows, dense


def _top_columns(p: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k largest of each row, largest first, equal ones in order of column."""
    num, width = p.shape
    k = min(k, width)
    if k < width:
        smallest = np.partition(p, width - k, axis=1)[:, width - k, None]
        above, equal = p > smallest, p == smallest
        room = k - above.sum(axis=1, keepdims=True)
        crowded = equal.sum(axis=1) > room[:, 0]
        if crowded.any():
            equal[crowded] &= np.cumsum(equal[crowded], axis=1) <= room[crowded]
        columns = np.nonzero(above | equal)[1].reshape(num, k)
    else:
        columns = np.broadcast_to(np.arange(width), p.shape)
    order = np.argsort(-np.take_along_axis(p, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)
