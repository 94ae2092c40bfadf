"""For every survey the species set with the highest expected F1."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import joblib
import numpy as np
from scipy import sparse

from tighnari_graph.calibration import Temperature, listed, unit_chunks
from tighnari_graph.expectation import METHODS, RankedChunk
from tighnari_graph.ranking import Chunk, joined_sets, kept_species, prefix_f1
from tighnari_graph.sparse import Labels
from tighnari_graph.species_sets import labels_to_fit

DEPTH = 128
SHIFTS = np.linspace(-0.75, 0.75, 7)


@dataclass(frozen=True, eq=False)
class ExpectedF1:
    r"""The set that maximises expected F1, as if species occurred independently.

    For a set A of k species, with N the number of species that occur and :math:`N_{-i}` that of
    all but i,

    .. math:: \mathbb E[F_1(A)] = \sum_{i \in A} 2 p_i\,
        \mathbb E\left[\frac{1}{k + 1 + N_{-i}}\right]

    Each term grows with :math:`p_i`, so the best set of k species is the k most probable ones, and
    it is left to compare all k. The empty set counts :math:`\prod (1 - p_i)`.

    Attributes:
        temperature: calibration of the probabilities before anything else.
        unlisted: species that a survey is expected to have among those of probability 0, such as
            those that sparse rows leave out. They are never chosen, but they count as missed.
        method: "exact", or "fast" (the mean and variance of N only).
        depth: longest set.
        shifts: :math:`(A,)`, what `fit` tried to add to the bias of the temperature.
        scores: :math:`(A,)`, samples-F1 of each; empty if not fitted.

    Raises:
        ValueError: on an unknown method, a depth below 1 or a negative ``unlisted``.

    Source: the set is a prefix: Lewis 1995, "Evaluating and optimizing autonomous text
    classification systems"; the integral behind "exact" is our own, see `expectation`.

    Example:
        A sure species goes alone; where most likely nothing grows, the empty set is best.

        >>> p = np.array([[0.3, 0.3, 0.3], [0.9, 0.1, 0.0], [0.1, 0.0, 0.0]])
        >>> ExpectedF1().predict(p).toarray()
        array([[1., 1., 1.],
               [1., 0., 0.],
               [0., 0., 0.]], dtype=float32)
    """

    temperature: Temperature = field(default_factory=Temperature)
    unlisted: float = 0.0
    method: str = "exact"
    depth: int = DEPTH
    shifts: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if self.depth < 1:
            raise ValueError(f"depth must be from 1 up, got {self.depth}")
        if not (np.isfinite(self.unlisted) and self.unlisted >= 0):
            raise ValueError(f"unlisted must be a number from 0 up, got {self.unlisted}")

    @classmethod
    def fit(
        cls,
        probabilities: Labels,
        labels: Labels,
        method: str = "exact",
        depth: int = DEPTH,
        calibrate: bool = True,
        shifts: Sequence[float] | np.ndarray = SHIFTS,
    ) -> "ExpectedF1":
        r"""Calibrate, then choose by samples-F1 how much likelier species are to be taken.

        Species do not occur independently, so the best sets under independence need not be the
        best ones in truth; a shift of all logits by one number makes good for some of it.

        Args:
            probabilities: of surveys whose model never saw their labels.
            labels: 0/1.
            method: "exact" or "fast".
            depth: longest set.
            calibrate: fit a temperature first; without it, only shifts are tried.
            shifts: from −1 to 1; ``[0.0]`` leaves the calibrated probabilities as they are.

        Shapes:
            - **probabilities, labels:** :math:`(N, S)`

        Raises:
            ValueError: if shapes differ, there are no surveys, or shifts are beyond ±1.
        """
        tried = np.asarray(shifts, dtype=np.float64)
        if not tried.size or not (np.abs(tried) <= 1).all():
            raise ValueError(f"shifts must be one or more numbers from -1 to 1: {tried.tolist()}")
        truth = labels_to_fit(probabilities, labels)
        base = Temperature.fit(probabilities, labels) if calibrate else Temperature()
        chunks = unit_chunks(probabilities)
        missed = truth.nnz - sum(len(listed(p, truth[rows])) for rows, p in chunks)
        rule = cls(base, missed / truth.shape[0], method, depth)

        def score(part: tuple[slice, Chunk]) -> list[float]:
            rows, p = part
            ranked = RankedChunk.of(p, base, depth, method, float(tried.max()))
            f1 = prefix_f1(ranked.columns, ranked.best, truth[rows].toarray())
            lengths = [ranked.length(rule.unlisted, shift, method, depth) for shift in tried]
            return [np.take_along_axis(f1, k[:, None], axis=1).sum() for k in lengths]

        with ThreadPoolExecutor(joblib.cpu_count()) as threads:
            scores = np.sum(list(threads.map(score, unit_chunks(probabilities))), axis=0)
        shift = float(tried[np.argmax(scores)])
        temperature = Temperature(base.temperature, base.bias + shift)
        return cls(temperature, rule.unlisted, method, depth, tried, scores / truth.shape[0])

    def predict(self, probabilities: Labels, add: Labels | None = None) -> sparse.csr_matrix:
        r"""The species set of every survey, with ``add`` merged in.

        Shapes:
            - **probabilities, add:** :math:`(N, S)`
            - **output:** :math:`(N, S)` scipy CSR float32 of 0/1
        """
        width = probabilities.shape[-1]

        def sets(part: tuple[slice, Chunk]) -> sparse.csr_matrix:
            ranked = RankedChunk.of(part[1], self.temperature, self.depth, self.method)
            length = ranked.length(self.unlisted, 0.0, self.method, self.depth)
            kept = np.arange(ranked.columns.shape[1]) < length[:, None]
            return kept_species(ranked.columns, kept, width)

        with ThreadPoolExecutor(joblib.cpu_count()) as threads:
            parts = list(threads.map(sets, unit_chunks(probabilities)))
        return joined_sets(parts, width, add)
