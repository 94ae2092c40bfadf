"""What `MultiScale` says of surveys: the best species of each, and what the others sum up to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from tighnari_graph.ranking import top_species

TOP = 256


@dataclass(frozen=True, eq=False)
class ScaleRows:
    r"""Probabilities of each survey's best species, and what the others sum up to.

    Attributes:
        probabilities: :math:`(N, S)` scipy CSR float32.
        remainder: :math:`(N,)` expected number of species among all the others.
        richness: the same entries as ``probabilities``: how many species a survey there is expected
            to have if it has this one. `CommunityF1` makes species sets of both.
    """

    probabilities: sparse.csr_matrix
    remainder: np.ndarray
    richness: sparse.csr_matrix | None = None

    @classmethod
    def best(cls, p: np.ndarray, richness: np.ndarray, top: int = TOP) -> "ScaleRows":
        r"""The ``top`` most probable species of every survey.

        Shapes:
            - **p, richness:** :math:`(n, S)`

        Example:
            >>> rows = ScaleRows.best(np.array([[0.2, 0.5, 0.1]]), np.array([[9.0, 8.0, 7.0]]), 2)
            >>> rows.probabilities.toarray(), rows.richness.toarray(), rows.remainder
            (array([[0.2, 0.5, 0. ]]), array([[9., 8., 0.]]), array([0.1]))
        """
        columns = np.sort(top_species(p, top)[0], axis=1)
        indptr = np.arange(len(p) + 1) * columns.shape[1]
        kept = [np.take_along_axis(dense, columns, axis=1) for dense in (p, richness)]
        found = (
            sparse.csr_matrix((part.ravel(), columns.ravel(), indptr), shape=p.shape)
            for part in kept
        )
        rest = np.maximum(p.sum(axis=1) - kept[0].sum(axis=1), 0)
        return cls(next(found), rest, next(found))

    @classmethod
    def stacked(cls, parts: Sequence["ScaleRows"], num_species: int) -> "ScaleRows":
        """Rows of several tables, one below the other; richness if all of them have it."""
        nothing = sparse.csr_matrix((0, num_species), dtype=np.float32)

        def below(matrices: list[sparse.csr_matrix]) -> sparse.csr_matrix:
            return sparse.csr_matrix(sparse.vstack([nothing, *matrices], format="csr"))

        beside = [part.richness for part in parts if part.richness is not None]
        return cls(
            below([part.probabilities for part in parts]),
            np.concatenate([np.zeros(0, np.float32), *(part.remainder for part in parts)]),
            below(beside) if len(beside) == len(parts) else None,
        )

    def at(self, rows: np.ndarray) -> "ScaleRows":
        """Some of the surveys, by position or by mask."""
        beside = None if self.richness is None else self.richness[rows]
        return ScaleRows(self.probabilities[rows], self.remainder[rows], beside)
