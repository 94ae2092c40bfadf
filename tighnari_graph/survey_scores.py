"""Scores that are sums over surveys, before they are summed: sets, lists of K, and cells."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from tighnari_graph.metrics import f1_of_counts
from tighnari_graph.ranking import top_species

CUTS = (5, 10, 25)  # lengths K of the list for precision and recall
_SURE = 1e-6  # no probability counts as nearer to 0 or 1 in the cross-entropy
_CELLS = 1 << 22  # probabilities looked at at once


@dataclass(frozen=True, eq=False)
class Ratio:
    r"""A score that is a sum over surveys divided by another.

    Attributes:
        numerator: :math:`(N,)` float64.
        denominator: :math:`(N,)` float64.
    """

    numerator: np.ndarray
    denominator: np.ndarray


def survey_ratios(
    probabilities: np.ndarray | sparse.csr_matrix,
    sets: sparse.csr_matrix,
    labels: sparse.csr_matrix,
) -> dict[str, Ratio]:
    r"""The scores that are sums over surveys, before they are summed.

    Shapes:
        - **probabilities, sets, labels:** :math:`(N, S)`
    """
    num, width = labels.shape
    each = np.ones(num)
    hits = np.asarray(sets.multiply(labels).sum(axis=1), dtype=np.float64).ravel()
    predicted, observed = (np.diff(m.indptr).astype(np.float64) for m in (sets, labels))
    ratios = {
        "samples-F1": Ratio(f1_of_counts(hits, predicted, observed), each),
        "micro-F1": Ratio(2 * hits, predicted + observed),
    }
    found = hits_at(probabilities, labels, CUTS)
    listed = observed > 0
    for column, k in enumerate(CUTS):
        ratios[f"precision at {k}"] = Ratio(found[:, column] / k, each)
    for column, k in enumerate(CUTS):
        share = found[:, column] / np.maximum(observed, 1)
        ratios[f"recall at {k}"] = Ratio(share, listed.astype(np.float64))
    ratios["predicted species"] = Ratio(predicted, each)
    ratios["observed species"] = Ratio(observed, each)
    if are_shares(probabilities):
        brier, entropy = cell_losses(probabilities, labels)
    else:
        brier = entropy = np.full(num, np.nan)
    ratios["Brier score"] = Ratio(brier, width * each)
    ratios["cross-entropy"] = Ratio(entropy, width * each)
    return ratios


def hits_at(
    probabilities: np.ndarray | sparse.csr_matrix, labels: sparse.csr_matrix, cuts: tuple[int, ...]
) -> np.ndarray:
    r"""How many of each survey's K most probable species occur, for every K.

    Species without probability are no hits, so dense and sparse rows count alike.

    Shapes:
        - **probabilities, labels:** :math:`(N, S)`
        - **output:** :math:`(N, K)` int64

    Example:
        >>> hits_at(np.array([[0.2, 0.9, 0.0]]), sparse.csr_matrix([[1.0, 0.0, 1.0]]), (1, 2, 3))
        array([[0, 1, 1]])
    """
    parts = [np.zeros((0, len(cuts)), dtype=np.int64)]
    for rows in _parts(labels.shape):
        columns, best = top_species(probabilities[rows], max(cuts))
        truth = labels[rows].toarray() > 0
        found = np.take_along_axis(truth, columns, axis=1) & (best > 0)
        running: np.ndarray = np.cumsum(np.pad(found, ((0, 0), (1, 0))), axis=1)
        parts.append(running[:, np.minimum(cuts, found.shape[1])])
    return np.concatenate(parts)


def cell_losses(
    probabilities: np.ndarray | sparse.csr_matrix, labels: sparse.csr_matrix
) -> tuple[np.ndarray, np.ndarray]:
    r"""Squared error and cross-entropy of every survey, summed over its species.

    Both are sums over all species as if none occurred, corrected where one does; only stored
    entries of a sparse matrix are visited.

    Shapes:
        - **probabilities, labels:** :math:`(N, S)`
        - **each output:** :math:`(N,)` float64

    Example:
        >>> brier, entropy = cell_losses(np.array([[0.5, 0.2]]), sparse.csr_matrix([[1.0, 0.0]]))
        >>> brier.round(2), entropy.round(3)
        (array([0.29]), array([0.916]))
    """
    parts = [np.zeros((2, 0))]
    for rows in _parts(labels.shape):
        p, truth = probabilities[rows], labels[rows]
        at = np.repeat(np.arange(truth.shape[0]), np.diff(truth.indptr))
        found = p[at, truth.indices] if len(at) else np.zeros(0)  # scipy is odd with no places
        hit = np.asarray(found, dtype=np.float64).ravel()
        absent = _absence_loss(hit)
        present = -np.log(np.maximum(hit, _SURE))
        corrections = (1 - 2 * hit, present - absent)
        sums = (_row_sums(p, np.square), _row_sums(p, _absence_loss))
        parts.append(
            np.stack(
                [
                    total + np.bincount(at, weights=more, minlength=truth.shape[0])
                    for total, more in zip(sums, corrections, strict=True)
                ]
            )
        )
    brier, entropy = np.concatenate(parts, axis=1)
    return brier, entropy


def _parts(shape: tuple[int, int]) -> list[slice]:
    step = max(1, _CELLS // max(shape[1], 1))
    return [slice(start, start + step) for start in range(0, shape[0], step)]


def _row_sums(
    p: np.ndarray | sparse.csr_matrix, of: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Sum over each row of a function that is 0 at 0."""
    if isinstance(p, np.ndarray):
        return np.asarray(of(p).sum(axis=1, dtype=np.float64))
    values = of(np.asarray(p.data)).astype(np.float64)
    row = np.repeat(np.arange(p.shape[0]), np.diff(p.indptr))
    return np.bincount(row, weights=values, minlength=p.shape[0])


def _absence_loss(p: np.ndarray) -> np.ndarray:
    """Cross-entropy of cells where the species does not occur."""
    return -np.log1p(-np.minimum(p.astype(np.float64), 1 - _SURE))


def are_shares(probabilities: np.ndarray | sparse.csr_matrix) -> bool:
    """Whether no number exceeds 1, so that they can be probabilities."""
    return bool(min(probabilities.shape) > 0 and probabilities.max() <= 1)
