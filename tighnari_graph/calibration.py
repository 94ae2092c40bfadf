"""Do probabilities mean what they say: calibration by temperature, and how far off they are."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, sparse
from scipy.special import expit, logit

from tighnari_graph.ranking import Chunk
from tighnari_graph.sparse import Labels
from tighnari_graph.species_sets import labels_to_fit, plain_rows, row_chunks

TEMPERATURES = (0.05, 20.0)  # what `fit` may find
BIASES = (-20.0, 20.0)
CERTAIN = 1e-6  # a probability nearer to 1 than this is taken for 1 − CERTAIN
_WIDTH = 0.01  # of a bin of logits
_LOWEST, _HIGHEST = -40.0, float(logit(1 - CERTAIN))
_BINS = int((_HIGHEST - _LOWEST) / _WIDTH) + 2


@dataclass(frozen=True)
class Temperature:
    r"""Logits divided by a temperature and shifted, so that probabilities fit what was observed.

    .. math:: \tilde p = \mathrm{sigmoid}\left(\frac{\mathrm{logit}\,p}{T} + b\right)

    The order of a survey's species stays as it is. A probability of 0, stored or not, stays 0.

    Attributes:
        temperature: divisor T; above 1 it makes probabilities less extreme.
        bias: shift b of the logit.

    Raises:
        ValueError: on a temperature that is not positive, or a bias that is no number.

    Example:
        Predictions of 0.8 that come true once in two times.

        >>> p = np.array([[0.8, 0.0], [0.8, 0.0]])
        >>> Temperature(bias=-np.log(4.0)).transform(p)
        array([[0.5, 0. ],
               [0.5, 0. ]])
    """

    temperature: float = 1.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature must be a positive number, got {self.temperature}")
        if not np.isfinite(self.bias):
            raise ValueError(f"bias must be a number, got {self.bias}")

    @classmethod
    def fit(cls, probabilities: Labels, labels: Labels) -> "Temperature":
        """Minimise binary cross-entropy over all cells whose probability is above 0.

        Cells are counted in bins of their logit, 0.01 wide, so they are read once, however many.

        Shapes:
            - **probabilities:** :math:`(N, S)` of surveys whose model never saw their labels
            - **labels:** :math:`(N, S)` 0/1

        Raises:
            ValueError: on probabilities outside 0 … 1, or if no label has one above 0.
        """
        cells, _, logits, found = _tally(probabilities, labels)[:, :_BINS]
        if not found.any():
            raise ValueError("cannot fit a temperature: no label has a probability above 0")
        filled = cells > 0
        cells, found, centre = cells[filled], found[filled], logits[filled] / cells[filled]

        def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            slope = np.exp(-parameters[0])
            z = slope * centre + parameters[1]
            wrong = cells * expit(z) - found
            gradient = np.array([-slope * (wrong @ centre), wrong.sum()])
            value = cells @ np.logaddexp(0, z) - found @ z
            return float(value / found.sum()), gradient / found.sum()

        bounds = [tuple(np.log(TEMPERATURES)), BIASES]
        best = optimize.minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=bounds)
        return cls(float(np.exp(best.x[0])), float(best.x[1]))

    def transform(self, probabilities: Labels) -> Chunk:
        r"""Calibrated probabilities, numpy if they come dense and scipy CSR if sparse.

        Shapes:
            - **probabilities, output:** :math:`(N, S)`

        Raises:
            ValueError: on probabilities outside 0 … 1.
        """
        given = plain_rows(probabilities)
        if not isinstance(given, np.ndarray):
            parts = [self.scaled(_stored(p)) for _, p in unit_chunks(given)]
            data = np.concatenate([np.zeros(0, given.dtype), *parts])
            return sparse.csr_matrix((data, given.indices, given.indptr), shape=given.shape)
        out = np.empty_like(given)
        for rows, p in unit_chunks(given):
            out[rows] = self.scaled(p)
        return out

    def scaled(self, p: np.ndarray) -> np.ndarray:
        """Calibrated values of an array of probabilities of any shape."""
        if self == Temperature():
            return p
        z = _logit(p)
        z *= 1 / self.temperature
        z += self.bias
        return np.asarray(expit(z, out=z))


def reliability(probabilities: Labels, labels: Labels, bins: int = 10) -> pd.DataFrame:
    r"""How often species of about equal probability occur, a row per bin.

    A bin ends where another share of the *expected* occurrences, :math:`\sum p`, is reached. Bins
    of equally many cells would nearly all hold probabilities next to 0. Bin 0 is probability 0.

    Shapes:
        - **probabilities:** :math:`(N, S)`
        - **labels:** :math:`(N, S)` 0/1

    Returns:
        A row per bin that holds cells, with mean ``probability``, share ``observed`` and number of
        ``cells``.

    Raises:
        ValueError: on probabilities outside 0 … 1, or fewer bins than 1.

    Example:
        >>> reliability(np.array([[0.5, 0.0], [0.5, 0.0]]), np.array([[1, 0], [0, 0]]), bins=1)
             probability  observed  cells
        bin
        0            0.0       0.0      2
        1            0.5       0.5      2
    """
    if bins < 1:
        raise ValueError(f"bins must be from 1 up, got {bins}")
    fine = _tally(probabilities, labels)[[0, 1, 3]]
    before = np.cumsum(fine[1, :_BINS]) - fine[1, :_BINS] / 2
    number = before * bins / max(fine[1].sum(), np.finfo(float).tiny)
    number = np.append(np.clip(number.astype(int) + 1, 1, bins), 0)
    cells, expected, found = (np.bincount(number, row, minlength=bins + 1) for row in fine)
    kept = np.flatnonzero(cells)
    return pd.DataFrame(
        {
            "probability": expected[kept] / cells[kept],
            "observed": found[kept] / cells[kept],
            "cells": cells[kept].astype(np.int64),
        },
        index=pd.Index(kept, name="bin"),
    )


def calibration_error(probabilities: Labels, labels: Labels, bins: int = 10) -> float:
    r"""Expected calibration error over the bins of `reliability`, beside what there is to expect.

    .. math:: \mathrm{ECE} = \frac{\sum_b |\sum_{i \in b} p_i - \sum_{i \in b} y_i|}{\sum_i y_i}

    A mean over cells would be next to 0 whatever happens, since nearly all cells are; so it is
    divided by the number of occurrences. 0.1 means that a tenth of them is claimed wrongly.

    Raises:
        ValueError: if there is no occurrence at all, and as `reliability`.

    Example:
        >>> calibration_error(np.array([[0.5, 0.5]]), np.array([[1, 1]]))
        0.5
    """
    table = reliability(probabilities, labels, bins)
    found = (table["observed"] * table["cells"]).sum()
    if not found:
        raise ValueError("calibration error without any occurrence is not defined")
    gap = (table["probability"] - table["observed"]).abs() * table["cells"]
    return float(gap.sum() / found)


def unit_chunks(probabilities: Labels) -> Iterator[tuple[slice, Chunk]]:
    """Rows, a bounded number at a time, checked to lie in 0 … 1.

    Raises:
        ValueError: if some do not.
    """
    for rows, p in row_chunks(probabilities):
        values = _stored(p)
        if values.size and not (values.min() >= 0 and values.max() <= 1):
            outside = (values < 0) | (values > 1)
            where = np.flatnonzero(outside)[0]
            raise ValueError(
                f"{outside.sum()} probabilities in rows {rows.start} to "
                f"{rows.start + p.shape[0] - 1} are outside 0 … 1, the first is "
                f"{values[where]:g}"
            )
        yield rows, p


def listed(p: Chunk, truth: sparse.csr_matrix) -> np.ndarray:
    """Probabilities above 0 of the labels, as one vector."""
    if isinstance(p, np.ndarray):
        at_labels = p[truth.nonzero()]
    else:
        at_labels = np.asarray(p.multiply(truth).tocsr().data)
    return np.asarray(at_labels[at_labels > 0])


def _stored(p: Chunk) -> np.ndarray:
    return p.ravel() if isinstance(p, np.ndarray) else np.asarray(p.data)


def _logit(p: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):  # 0 becomes −∞
        z = np.log(p)
    z -= np.log1p(-np.minimum(p, p.dtype.type(1 - CERTAIN)))
    return np.asarray(z)


def _tally(probabilities: Labels, labels: Labels) -> np.ndarray:
    """Cells, Σ p, Σ logit p and labels in narrow bins of the logit; the last column is p = 0."""
    truth = labels_to_fit(probabilities, labels)
    total = np.zeros((4, _BINS + 1))
    for rows, p in unit_chunks(probabilities):
        here = truth[rows]
        values = _stored(p)
        values, at_labels = values[values > 0], listed(p, here)
        z, z_labels = _logit(values), _logit(at_labels)
        bins, bins_labels = (
            np.clip((logits - _LOWEST) / _WIDTH, 0, _BINS - 1).astype(np.int64)
            for logits in (z, z_labels)
        )
        for row, weights in enumerate((None, values, z)):
            total[row, :_BINS] += np.bincount(bins, weights, minlength=_BINS)
        total[3, :_BINS] += np.bincount(bins_labels, minlength=_BINS)
        total[0, _BINS] += p.shape[0] * p.shape[1] - len(values)
        total[3, _BINS] += here.nnz - len(at_labels)
    return total
