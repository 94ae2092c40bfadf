"""Probabilities → species sets: Threshold Top-K."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias

import joblib
import numpy as np
import torch
from scipy import sparse

from tighnari_graph.metrics import f1_of_counts
from tighnari_graph.sparse import Labels, scipy_csr, zero_one

RULES = ("intersection", "union")
KS = range(1, 101)
THRESHOLDS = np.arange(0.10, 0.501, 0.01)
Chunk: TypeAlias = np.ndarray | sparse.csr_matrix
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
        shape = _shape(probabilities)
        if shape != tuple(labels.shape):
            raise ValueError(f"probabilities are {shape}, labels {tuple(labels.shape)}")
        if shape[0] == 0:
            raise ValueError("cannot fit on no surveys")
        truth = zero_one(labels, "labels")
        sparse_enough = rule == "intersection" and tried.thresholds.min() >= 0

        def score(part: tuple[slice, Chunk]) -> np.ndarray:
            rows, p = part
            return tried._score(p if sparse_enough else _dense(p), truth[rows].toarray())

        with ThreadPoolExecutor(joblib.cpu_count()) as threads:
            scores = np.stack(list(threads.map(score, _chunks(probabilities)))).sum(axis=0)
        scores /= shape[0]
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
            if self.rule == "intersection" and self.threshold >= 0:
                columns, best = top_species(p, self.k)
                kept = best > np.float64(self.threshold)
                indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
                ones = np.ones(indptr[-1], dtype=bool)
                parts.append(sparse.csr_matrix((ones, columns[kept], indptr), shape=p.shape))
                continue
            dense = _dense(p)
            chosen = np.zeros(p.shape, dtype=bool)
            np.put_along_axis(chosen, top_species(dense, self.k)[0], True, axis=1)
            above = dense > np.float64(self.threshold)
            both = chosen & above if self.rule == "intersection" else chosen | above
            parts.append(sparse.csr_matrix(both))
        sets = sparse.csr_matrix(sparse.vstack(parts, format="csr"))
        if add is not None:
            if tuple(add.shape) != shape:
                raise ValueError(f"add is {tuple(add.shape)}, probabilities are {shape}")
            sets = sparse.csr_matrix(sets.maximum(zero_one(add, "add")))
        sets = sets.astype(np.float32)
        sets.sort_indices()
        return sets

    def _score(self, p: Chunk, truth: np.ndarray) -> np.ndarray:
        """F1 of every pair, summed over the surveys of a chunk: [A, B].

        The F1 of every prefix is known at once; a pair of K and θ is a prefix of each survey.
        """
        size = truth.sum(axis=1)[:, None]
        columns, best = top_species(p, int(self.ks.max()))
        found = np.take_along_axis(truth, columns, axis=1) & (best > -np.inf)
        hits = np.cumsum(np.pad(found, ((0, 0), (1, 0))), axis=1)  # hits[:, m]: among the first m
        f1 = f1_of_counts(hits, np.arange(hits.shape[1])[None, :], size)
        ks = np.minimum(self.ks, columns.shape[1])
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


def _chunks(probabilities: Labels) -> Iterator[tuple[slice, Chunk]]:
    """Rows, a bounded number at a time, checked; sparse ones stay sparse."""
    if isinstance(probabilities, torch.Tensor) and probabilities.layout == torch.strided:
        short = probabilities.dtype == torch.bfloat16  # unknown to numpy
        probabilities = (probabilities.float() if short else probabilities).numpy(force=True)
    elif not isinstance(probabilities, np.ndarray):
        probabilities = scipy_csr(probabilities)
        probabilities.sum_duplicates()
    if probabilities.dtype.kind not in "f":
        probabilities = probabilities.astype(np.float64)
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


def top_species(p: Chunk, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the k largest of each row and their values, largest first, ties by column.

    In sparse rows only stored entries count; places that stay empty hold −∞.
    """
    if sparse.issparse(p):
        return _top_stored(sparse.csr_matrix(p), k)
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
    values = np.take_along_axis(p, columns, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)


def _top_stored(p: sparse.csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
    count = np.diff(p.indptr)
    row = np.repeat(np.arange(p.shape[0]), count)
    order = np.lexsort((-p.data, row))  # stable: columns of a row are ascending already
    rank = np.arange(len(order)) - np.repeat(p.indptr[:-1], count)
    first = rank < k
    width = min(k, p.shape[1])
    columns = np.zeros((p.shape[0], width), dtype=np.int64)
    values = np.full((p.shape[0], width), -np.inf, dtype=p.dtype)
    columns[row[first], rank[first]] = p.indices[order[first]]
    values[row[first], rank[first]] = p.data[order[first]]
    return columns, values
