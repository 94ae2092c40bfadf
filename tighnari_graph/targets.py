"""The surveys that the multi-scale features are composed for, and which to compose together."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tighnari_graph.covariates import Covariates
from tighnari_graph.geodesy import unit_vectors
from tighnari_graph.surveys import SurveyTable

RUN = 64  # targets composed together


@dataclass(frozen=True, eq=False)
class Targets:
    r"""What edges need to know of surveys: where they are, and their covariates.

    Attributes:
        vectors: :math:`(n, 3)` unit vectors.
        numeric: relation → :math:`(n, C)`, see `Covariates.encode`.
        codes: relation → :math:`(n, D)`.
    """

    vectors: np.ndarray
    numeric: dict[str, np.ndarray]
    codes: dict[str, np.ndarray]

    @classmethod
    def of(cls, table: SurveyTable, covariates: Mapping[str, Covariates]) -> "Targets":
        """The surveys of a table, as each relation compares them."""
        encoded = {name: by.encode(table) for name, by in covariates.items()}
        return cls(
            unit_vectors(table.lat, table.lon),
            {name: pair[0] for name, pair in encoded.items()},
            {name: pair[1] for name, pair in encoded.items()},
        )

    def at(self, rows: np.ndarray) -> "Targets":
        """Some of them."""
        return Targets(
            self.vectors[rows],
            {name: part[rows] for name, part in self.numeric.items()},
            {name: part[rows] for name, part in self.codes.items()},
        )

    def runs(self, rows: np.ndarray) -> list[np.ndarray]:
        """The rows in parts of at most `RUN` that lie near each other, so that they share sources.

        Example:
            >>> table = [np.array([45.0, 50.0, 45.1]), np.array([7.0, 20.0, 7.0])]
            >>> Targets(unit_vectors(*table), {}, {}).runs(np.arange(3))
            [array([2, 0, 1])]
        """
        if not len(rows):
            return []
        ordered = rows[np.argsort(_along_curve(self.vectors[rows]), kind="stable")]
        return np.array_split(ordered, -(-len(rows) // RUN))


def _along_curve(vectors: np.ndarray) -> np.ndarray:
    """Places on a Z-order curve through the cube around the Earth: near on it is near on Earth."""
    grid = ((vectors + 1) / 2 * (2**20 - 1)).astype(np.uint64)
    code = np.zeros(len(vectors), dtype=np.uint64)
    for bit in range(20):
        for axis in range(3):
            code |= ((grid[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return code
