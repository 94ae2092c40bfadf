"""Run a method on one held-out fold after another; it never sees the labels of what it predicts."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from scipy import sparse
from tqdm import tqdm

from tighnari_graph.sparse import Labels
from tighnari_graph.species_sets import plain_rows
from tighnari_graph.surveys import SurveyTable

Method: TypeAlias = Callable[[SurveyTable, SurveyTable], Labels]
"""Training surveys and held-out ones (without labels) → probabilities of the held-out ones.

The output is [surveys, species], a column for each of ``species_ids`` of the training surveys.
"""


def hold_out(
    method: Method, surveys: SurveyTable, folds: np.ndarray, title: str = "held-out folds"
) -> tuple[np.ndarray | sparse.csr_matrix, float]:
    r"""Predict every fold by what the method learns from the others.

    Args:
        method: sees copies: all labelled surveys of the other folds, and those of the fold with
            ``labels=None``.
        surveys: labelled surveys.
        folds: fold of each.
        title: what the progress bar and errors say.

    Returns:
        Probabilities in the order of the surveys, float32, dense if the method made them so, else
        CSR; and the seconds that the method took.

    Shapes:
        - **folds:** :math:`(N,)`
        - **output:** :math:`(N, S)`

    Raises:
        ValueError: naming the fold, if the method's output is of another shape, not finite or
            negative; if there are fewer than two folds.

    Example:
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45., 46., 47.], "lon": 7.,
        ...     "year": 2020, "speciesId": [5, 5, 9]})
        >>> def frequency(train, held_out):
        ...     return np.tile(train.labels.toarray().mean(axis=0), (len(held_out), 1))
        >>> hold_out(frequency, SurveyTable.from_long(rows), np.array([0, 0, 1]))[0]
        array([[0., 1.],
               [0., 1.],
               [1., 0.]], dtype=float32)
    """
    surveys.known_labels()
    folds = checked_folds(folds, len(surveys))
    width = len(surveys.species_ids)
    dense: np.ndarray | None = None  # filled in place: no second copy of a large matrix
    parts: list[sparse.csr_matrix] = []
    seconds = 0.0
    numbers = np.unique(folds)
    for number in tqdm(numbers, title, delay=2, disable=None, leave=False):
        held_out = folds == number
        train, hidden = surveys.subset(~held_out), surveys.subset(held_out)
        start = time.perf_counter()
        found = method(train, replace(hidden, labels=None))
        seconds += time.perf_counter() - start
        part = checked_rows(found, (len(hidden), width), f"{title}, fold {number}")
        if number == numbers[0] and isinstance(part, np.ndarray):
            dense = np.empty((len(surveys), width), dtype=np.float32)
        if dense is None:
            parts.append(sparse.csr_matrix(part))
        else:
            dense[held_out] = part if isinstance(part, np.ndarray) else part.toarray()
    if dense is not None:
        return dense, seconds
    back = np.argsort(np.argsort(folds, kind="stable"))
    return sparse.csr_matrix(sparse.vstack(parts, format="csr")[back]), seconds


def checked_rows(
    found: object, shape: tuple[int, int], where: str
) -> np.ndarray | sparse.csr_matrix:
    """Probabilities as float32, dense or CSR as they came, if they are what they must be.

    Raises:
        TypeError: saying where, if they are no matrix.
        ValueError: if they are of another shape, not finite or negative.

    Example:
        >>> checked_rows(np.array([[0.5, np.nan]]), (1, 2), "block folds, fold 3")
        Traceback (most recent call last):
        ...
        ValueError: block folds, fold 3: 1 of the probabilities is not finite
    """
    if not isinstance(found, Labels):
        raise TypeError(f"{where}: expected a matrix of probabilities, got {type(found).__name__}")
    given = tuple(found.shape)
    if given != shape:
        raise ValueError(
            f"{where}: probabilities are {given}, expected {shape}, a row a survey and a column a "
            "species of the training surveys"
        )
    rows = plain_rows(found).astype(np.float32, copy=False)
    values = rows if isinstance(rows, np.ndarray) else rows.data
    if values.size and not np.isfinite([values.min(), values.max()]).all():
        bad = values.size - int(np.isfinite(values).sum())
        raise ValueError(f"{where}: {_count(bad)} not finite")
    if values.size and values.min() < 0:
        bad = int((values < 0).sum())
        raise ValueError(f"{where}: {_count(bad)} negative (are they logits?)")
    return rows


def checked_folds(folds: np.ndarray, num: int) -> np.ndarray:
    """Fold numbers, one a survey.

    Raises:
        ValueError: if they are not, or there are fewer than two folds.
    """
    folds = np.asarray(folds)
    if folds.shape != (num,):
        raise ValueError(f"folds are {folds.shape}, expected ({num},), one a survey")
    if len(np.unique(folds)) < 2:
        raise ValueError("an evaluation needs two folds or more: one to learn from, one to score")
    return folds


def _count(bad: int) -> str:
    return f"{bad} of the probabilities {'is' if bad == 1 else 'are'}"
