"""For every survey the set with the highest expected F1 when species come in communities."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import joblib
import numpy as np
from scipy import sparse

from tighnari_graph.calibration import unit_chunks
from tighnari_graph.metrics import f1_of_counts
from tighnari_graph.ranking import Chunk, joined_sets, kept_species, top_species
from tighnari_graph.sparse import Labels
from tighnari_graph.species_sets import labels_to_fit, plain_rows

DEPTH = 128
POWERS = (0.9, 1.0, 1.1, 1.2, 1.35, 1.5)
SCALES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
SIZES = (*range(1, 20), *range(20, 60, 2), *range(60, 101, 5))
_TYPICAL = 25  # size of the set that candidates are chosen for
_ROUNDING = 1e-12  # a longer set must be better by more than this share


@dataclass(frozen=True, eq=False)
class CommunityF1:
    r"""The set that maximises expected F1 when a species tells how rich its survey is.

    Let probabilities be means over possible surveys j of weight :math:`a_j`, each a community of
    :math:`n_j` species: :math:`p_s = \sum_j a_j y_{js}`. A set A of k species then has

    .. math:: \mathbb E[F_1(A)] = \sum_j a_j \frac{2\,|A \cap \mathbf y_j|}{k + n_j}
        = \sum_{s \in A} p_s\, \mathbb E\left[\frac{2}{k + n} \,\middle|\, s\right]
        \approx \sum_{s \in A} g_k(s), \qquad g_k(s) = p_s^\gamma \frac{2}{k + c\,m_s}

    with :math:`m_s` the expected richness of a survey that has s. So the best set of k species is
    the k of largest :math:`g_k`, and it is left to compare k. A likely wood of few species is then
    not watered down by a less likely meadow of many, as it is where species count one by one. With
    γ = c = 1 the approximation is exact where all surveys with s are equally rich.

    Every k to 20 is tried, every second to 60 and every fifth to 100. A set is empty only where
    every probability is 0.

    Attributes:
        power: γ; above 1 it favours probable species, and so shorter sets.
        scale: c, which makes good for richness that is over- or underestimated.
        depth: the species that are looked at, those of largest :math:`g_{25}`.
        powers: :math:`(A,)`, the γ that `fit` tried.
        scales: :math:`(C,)`, the c that it tried.
        scores: :math:`(A, C)`, samples-F1 of every pair; empty if not fitted.

    Raises:
        ValueError: on a power that is not positive, a negative scale or a depth below 1.

    Source: own derivation.

    Example:
        A pine alone, with probability 0.6, or else a meadow of the five others.

        >>> p = np.array([[0.6, 0.4, 0.4, 0.4, 0.4, 0.4]])
        >>> CommunityF1().predict(p, richness=np.array([[1, 5, 5, 5, 5, 5]])).toarray()
        array([[1., 0., 0., 0., 0., 0.]], dtype=float32)
        >>> CommunityF1().predict(p).toarray()
        array([[1., 1., 1., 1., 1., 1.]], dtype=float32)
    """

    power: float = 1.0
    scale: float = 1.0
    depth: int = DEPTH
    powers: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    scales: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    scores: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)), repr=False)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.power) and self.power > 0):
            raise ValueError(f"power must be a positive number, got {self.power}")
        if not (np.isfinite(self.scale) and self.scale >= 0):
            raise ValueError(f"scale must be a number from 0 up, got {self.scale}")
        if self.depth < 1:
            raise ValueError(f"depth must be from 1 up, got {self.depth}")

    @classmethod
    def fit(
        cls,
        probabilities: Labels,
        labels: Labels,
        richness: Labels | None = None,
        powers: Sequence[float] | np.ndarray = POWERS,
        scales: Sequence[float] | np.ndarray = SCALES,
        depth: int = DEPTH,
    ) -> "CommunityF1":
        r"""Try every pair of power and scale and keep the best; of equals, the first.

        Args:
            probabilities: of surveys whose model never saw their labels.
            labels: 0/1.
            richness: of a survey that has the species, as `predict` takes it.
            powers: γ to try.
            scales: c to try.
            depth: the species that are looked at.

        Shapes:
            - **probabilities, labels:** :math:`(N, S)`
            - **richness:** :math:`(N, S)` or :math:`(N,)`

        Raises:
            ValueError: if shapes differ, there are no surveys, or nothing to try.
        """
        gammas, factors = np.asarray(powers, float), np.asarray(scales, float)
        if not (gammas.size and factors.size):
            raise ValueError("powers and scales must be one or more numbers")
        rules = [cls(float(power), float(scale), depth) for power in gammas for scale in factors]
        truth = labels_to_fit(probabilities, labels)

        def score(part: tuple[slice, _Listed]) -> list[float]:
            rows, listed = part
            true = truth[rows].toarray()
            return [rule._total_f1(listed, true) for rule in rules]

        with ThreadPoolExecutor(joblib.cpu_count()) as threads:
            scores = np.sum(list(threads.map(score, _listed(probabilities, richness))), axis=0)
        best = rules[int(np.argmax(scores))]
        scores = scores.reshape(len(gammas), len(factors)) / truth.shape[0]
        return cls(best.power, best.scale, depth, gammas, factors, scores)

    def predict(
        self, probabilities: Labels, add: Labels | None = None, richness: Labels | None = None
    ) -> sparse.csr_matrix:
        r"""The species set of every survey, with ``add`` merged in.

        Args:
            probabilities: one row a survey, such as `ScaleRows.probabilities`.
            add: species to merge into the sets.
            richness: expected number of species of a survey like this one that has the species,
                such as `ScaleRows.richness`; or one number a survey, whatever the species. By
                default the sum of its probabilities.

        Shapes:
            - **probabilities, add:** :math:`(N, S)`
            - **richness:** :math:`(N, S)`, if sparse with the same entries as the probabilities;
              or :math:`(N,)`
            - **output:** :math:`(N, S)` scipy CSR float32 of 0/1

        Raises:
            ValueError: on probabilities outside 0 … 1, or richness that is negative, not finite
                or of other entries.
        """
        width = probabilities.shape[-1]

        def sets(part: tuple[slice, _Listed]) -> sparse.csr_matrix:
            return kept_species(*self._chosen(part[1]), width)

        with ThreadPoolExecutor(joblib.cpu_count()) as threads:
            parts = list(threads.map(sets, _listed(probabilities, richness)))
        return joined_sets(parts, width, add)

    def _chosen(self, listed: "_Listed") -> tuple[np.ndarray, np.ndarray]:
        """Columns [n, k] and which of them are in the set of each row [n, k]."""
        columns, weight = listed.columns, 2 * listed.p**self.power
        richness = self.scale * listed.richness
        if columns.shape[1] > self.depth:
            near = np.sort(top_species(weight / (_TYPICAL + richness), self.depth)[0], axis=1)
            columns, weight, richness = (
                np.take_along_axis(array, near, axis=1) for array in (columns, weight, richness)
            )
        length = _best_lengths(weight, richness)[:, None]
        gain = weight / (np.maximum(length, 1) + richness)
        order = np.argsort(-gain, axis=1, kind="stable")[:, : length.max(initial=0)]
        return np.take_along_axis(columns, order, axis=1), np.arange(order.shape[1]) < length

    def _total_f1(self, listed: "_Listed", truth: np.ndarray) -> float:
        columns, kept = self._chosen(listed)
        hits = (np.take_along_axis(truth, columns, axis=1) & kept).sum(axis=1)
        return float(f1_of_counts(hits, kept.sum(axis=1), truth.sum(axis=1)).sum())


@dataclass(frozen=True, eq=False)
class _Listed:
    """The species that surveys list, columns ascending, filled up with zeros: [n, L] each."""

    columns: np.ndarray
    p: np.ndarray
    richness: np.ndarray

    @classmethod
    def of(cls, p: sparse.csr_matrix, richness: np.ndarray) -> "_Listed":
        """Of some rows, and the richness beside each of their entries."""
        count = np.diff(p.indptr)
        row = np.repeat(np.arange(p.shape[0]), count)
        place = (row, np.arange(p.nnz) - np.repeat(p.indptr[:-1], count))
        shape = (p.shape[0], int(count.max(initial=0)))
        found = cls(np.zeros(shape, dtype=np.int64), np.zeros(shape), np.zeros(shape))
        found.columns[place], found.p[place], found.richness[place] = p.indices, p.data, richness
        return found


def _best_lengths(weight: np.ndarray, richness: np.ndarray) -> np.ndarray:
    """Size of the best set of every row [n], of weights and scaled richness [n, D]."""
    available = np.count_nonzero(weight > 0, axis=1)
    length, best = np.zeros(len(weight), dtype=np.int64), np.zeros(len(weight))
    for k in SIZES:
        size = np.clip(available, 1, k)
        gain = np.sort(weight / (size[:, None] + richness), axis=1)
        value = gain[:, max(gain.shape[1] - k, 0) :].sum(axis=1)
        better = value > best * (1 + _ROUNDING)
        best[better], length[better] = value[better], size[better]
        if k >= available.max(initial=0):
            break
    return length


def _listed(probabilities: Labels, richness: Labels | None) -> Iterator[tuple[slice, _Listed]]:
    """Rows, a bounded number at a time, with the richness beside each species."""
    num, width = probabilities.shape
    one_each = richness is not None and len(richness.shape) == 1
    given = np.asarray(richness) if richness is None or one_each else plain_rows(richness)
    if richness is not None and given.shape not in ((num,), (num, width)):
        raise ValueError(
            f"richness is {given.shape}, expected ({num},), one a survey, or {(num, width)}"
        )
    for rows, p in unit_chunks(probabilities):
        stored = sparse.csr_matrix(p)
        count = np.diff(stored.indptr)
        if richness is None:
            beside = np.repeat(np.asarray(stored.astype(np.float64).sum(axis=1)).ravel(), count)
        elif one_each:
            beside = np.repeat(given[rows], count)
        else:
            beside = _entries(given[rows], stored, rows)
        wrong = ~(np.isfinite(beside) & (beside >= 0))
        if wrong.any():
            raise ValueError(
                f"richness in rows {rows.start} to {rows.start + p.shape[0] - 1}: {wrong.sum()} "
                f"numbers are negative or not finite, the first is {beside[wrong][0]:g}"
            )
        yield rows, _Listed.of(stored, beside)


def _entries(richness: Chunk, p: sparse.csr_matrix, rows: slice) -> np.ndarray:
    """Richness at the stored entries of some rows."""
    if isinstance(richness, np.ndarray):
        return np.asarray(richness[np.repeat(np.arange(p.shape[0]), np.diff(p.indptr)), p.indices])
    same = np.array_equal(richness.indptr, p.indptr)
    if not (same and np.array_equal(richness.indices, p.indices)):
        raise ValueError(
            f"richness in rows {rows.start} to {rows.start + p.shape[0] - 1} has {richness.nnz} "
            f"entries, the probabilities {p.nnz}: they must be the same ones"
        )
    return np.asarray(richness.data)
