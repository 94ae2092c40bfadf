"""The competition's score."""

import numpy as np

from tighnari_graph.sparse import Labels, zero_one


def samples_f1(sets: Labels, labels: Labels) -> float:
    r"""F1 of every survey's predicted set, averaged over surveys.

    .. math:: F_1 = \frac1N \sum_i \frac{TP_i}{TP_i + (FP_i + FN_i) / 2}

    Nothing predicted where nothing grows counts 1; either alone counts 0.

    Shapes:
        - **sets, labels:** :math:`(N, S)` 0/1, dense or sparse, numpy, scipy or torch

    Raises:
        ValueError: if shapes differ, there are no surveys, or entries are neither 0 nor 1.

    Source: Liu et al. 2024, equations 12–13.

    Example:
        One survey half right (TP 1, FP 1, FN 1), one perfect: (0.5 + 1) / 2.

        >>> samples_f1(np.array([[1, 1, 0], [0, 0, 1]]), np.array([[1, 0, 1], [0, 0, 1]]))
        0.75
    """
    return float(survey_f1(sets, labels).mean())


def survey_f1(sets: Labels, labels: Labels) -> np.ndarray:
    r"""F1 of every survey's predicted set, :math:`(N,)` float64; see `samples_f1`.

    Example:
        >>> survey_f1(np.array([[1, 1, 0], [0, 0, 0]]), np.array([[1, 0, 1], [0, 0, 0]]))
        array([0.5, 1. ])
    """
    predicted, true = zero_one(sets, "sets"), zero_one(labels, "labels")
    if predicted.shape != true.shape:
        raise ValueError(f"predicted sets are {predicted.shape}, labels {true.shape}")
    if predicted.shape[0] == 0:
        raise ValueError("samples-F1 of no surveys is not defined")
    hits = np.diff(predicted.multiply(true).tocsr().indptr)
    return f1_of_counts(hits, np.diff(predicted.indptr), np.diff(true.indptr))


def f1_of_counts(hits: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """F1 from the sizes of the intersection and of both sets; 1 where both sets are empty."""
    total = predicted + true
    return np.where(total > 0, 2 * hits / np.maximum(total, 1), 1.0)
