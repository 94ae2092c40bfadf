"""Species sets as long as the survey is expected to be rich."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from tighnari_graph.ranking import Chunk, joined_sets, kept_species, prefix_f1, top_species
from tighnari_graph.sparse import Labels
from tighnari_graph.species_sets import labels_to_fit, row_chunks

SCALES = np.arange(0.0, 3.01, 0.1)
OFFSETS = np.arange(-10.0, 41.0, 2.0)
MAX_K = 100


@dataclass(frozen=True, eq=False)
class RichnessTopK:
    r"""The K most probable species, K from the number of species that a survey is expected to have.

    .. math:: K_i = \mathrm{round}(a\,E_i + c), \qquad E_i = \sum_s p_{is}

    and at least 1, at most ``max_k``. With a = 0 it is `FixedK`. Other estimates of richness, such
    as a regression on covariates, may be given in place of the sum.

    Attributes:
        scale: factor a.
        offset: number of species c.
        max_k: longest set.
        scales: :math:`(A,)`, the a that `fit` tried.
        offsets: :math:`(C,)`, the c that it tried.
        scores: :math:`(A, C)`, samples-F1 of every pair; empty if not fitted.

    Raises:
        ValueError: on settings that are no numbers, or a ``max_k`` below 1.

    Example:
        >>> p = np.array([[0.9, 0.6, 0.5], [0.6, 0.3, 0.1]])
        >>> RichnessTopK(scale=1.0, offset=0.0).predict(p).toarray()
        array([[1., 1., 0.],
               [1., 0., 0.]], dtype=float32)
    """

    scale: float
    offset: float
    max_k: int = MAX_K
    scales: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    offsets: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    scores: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)), repr=False)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and np.isfinite(self.offset)):
            raise ValueError(f"scale and offset must be numbers: {self.scale}, {self.offset}")
        if self.max_k < 1:
            raise ValueError(f"max_k must be from 1 up, got {self.max_k}")

    @classmethod
    def fit(
        cls,
        probabilities: Labels,
        labels: Labels,
        richness: np.ndarray | None = None,
        scales: Sequence[float] | np.ndarray = SCALES,
        offsets: Sequence[float] | np.ndarray = OFFSETS,
        max_k: int = MAX_K,
    ) -> "RichnessTopK":
        """Try every pair of scale and offset, and keep the one with the best samples-F1.

        Args:
            probabilities: of surveys whose model never saw their labels.
            labels: 0/1.
            richness: expected number of species of every survey, if not the sum of its row.
            scales: a to try.
            offsets: c to try.
            max_k: longest set.

        Shapes:
            - **probabilities, labels:** :math:`(N, S)`
            - **richness:** :math:`(N,)`
        """
        tried_scales, tried_offsets = np.asarray(scales, float), np.asarray(offsets, float)
        finite = np.isfinite(tried_scales).all() and np.isfinite(tried_offsets).all()
        if not (tried_scales.size and tried_offsets.size and finite):
            raise ValueError("scales and offsets must be one or more numbers")
        cls(0.0, 0.0, max_k)  # refuses a max_k below 1
        truth = labels_to_fit(probabilities, labels)
        scores = np.zeros((len(tried_scales), len(tried_offsets)))
        for rows, p in row_chunks(probabilities):
            columns, best = top_species(p, max_k)
            f1 = prefix_f1(columns, best, truth[rows].toarray())
            expected = _expected(p, richness, rows, truth.shape[0])
            for row, scale in enumerate(tried_scales):
                length = _lengths(expected, best, scale, tried_offsets, max_k)
                scores[row] += np.take_along_axis(f1, length, axis=1).sum(axis=0)
        scores /= truth.shape[0]
        a, c = np.unravel_index(np.argmax(scores), scores.shape)
        return cls(
            float(tried_scales[a]), float(tried_offsets[c]), max_k,
            tried_scales, tried_offsets, scores,
        )  # fmt: skip

    def predict(
        self,
        probabilities: Labels,
        add: Labels | None = None,
        richness: np.ndarray | None = None,
    ) -> sparse.csr_matrix:
        r"""The species set of every survey.

        Args:
            probabilities: one row a survey.
            add: species to merge into the sets.
            richness: expected number of species of every survey, if `fit` was given one.

        Shapes:
            - **probabilities, add:** :math:`(N, S)`
            - **richness:** :math:`(N,)`
            - **output:** :math:`(N, S)` scipy CSR float32 of 0/1
        """
        num, width = probabilities.shape
        parts = []
        for rows, p in row_chunks(probabilities):
            columns, best = top_species(p, self.max_k)
            expected = _expected(p, richness, rows, num)
            length = _lengths(expected, best, self.scale, np.array([self.offset]), self.max_k)
            parts.append(kept_species(columns, np.arange(best.shape[1]) < length, width))
        return joined_sets(parts, width, add)


def _expected(p: Chunk, richness: np.ndarray | None, rows: slice, num: int) -> np.ndarray:
    """Expected number of species of some surveys, [n]."""
    if richness is None:
        return np.asarray(p.sum(axis=1, dtype=np.float64)).ravel()
    given = np.asarray(richness, dtype=np.float64)
    if given.shape != (num,) or not np.isfinite(given).all():
        raise ValueError(f"richness must be {num} numbers, one a survey; got shape {given.shape}")
    return np.asarray(given[rows])


def _lengths(
    expected: np.ndarray, best: np.ndarray, scale: float, offsets: np.ndarray, max_k: int
) -> np.ndarray:
    """Lengths of sets for every offset, [n, C]; no longer than there are probable species."""
    wanted = np.clip(np.rint(scale * expected[:, None] + offsets), 1, max_k).astype(np.int64)
    available = np.count_nonzero(best > 0, axis=1)[:, None]
    return np.asarray(np.minimum(wanted, available))
