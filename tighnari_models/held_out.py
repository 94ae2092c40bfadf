"""Run a method on one held-out fold after another; it never sees the labels of what it predicts."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from scipy import sparse
from tqdm import tqdm

from tighnari_graph.sparse import Labels
from tighnari_graph.species_sets import plain_rows
from tighnari_graph.surveys import SurveyTable

PROBABILITIES, RICHNESS = "probabilities", "richness values"


@runtime_checkable
class Predicted(Protocol):
    """Probabilities, and what a rule such as `CommunityF1` uses besides; as `ScaleRows` is."""

    @property
    def probabilities(self) -> Labels:
        """Of every species: [surveys, species]."""
        ...

    @property
    def richness(self) -> Labels | None:
        """Expected richness of a survey that has the species: [surveys, species], or None."""
        ...


Method: TypeAlias = Callable[[SurveyTable, SurveyTable], Labels | Predicted]
"""Training surveys and held-out ones (without labels) → probabilities of the held-out ones.

The output is [surveys, species], a column for each of ``species_ids`` of the training surveys; or
it has such ``probabilities`` and ``richness``.
"""


@dataclass(frozen=True, eq=False)
class HeldOut:
    r"""What a method predicted for all surveys while they were held out.

    Attributes:
        probabilities: :math:`(N, S)` float32 in the order of the surveys, dense if the method made
            them so, else CSR.
        richness: :math:`(N, S)` likewise; None if the method gives none.
        seconds: that the method took.
    """

    probabilities: np.ndarray | sparse.csr_matrix
    richness: np.ndarray | sparse.csr_matrix | None
    seconds: float


def hold_out(
    method: Method, surveys: SurveyTable, folds: np.ndarray, title: str = "held-out folds"
) -> HeldOut:
    r"""Predict every fold by what the method learns from the others.

    Args:
        method: sees copies: all labelled surveys of the other folds, and those of the fold with
            ``labels=None``.
        surveys: labelled surveys.
        folds: fold of each.
        title: what the progress bar and errors say.

    Shapes:
        - **folds:** :math:`(N,)`

    Raises:
        ValueError: naming the fold, if the method's output is of another shape, not finite or
            negative, or has richness in some folds only; if there are fewer than two folds.

    Example:
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45., 46., 47.], "lon": 7.,
        ...     "year": 2020, "speciesId": [5, 5, 9]})
        >>> def frequency(train, held_out):
        ...     return np.tile(train.labels.toarray().mean(axis=0), (len(held_out), 1))
        >>> hold_out(frequency, SurveyTable.from_long(rows), np.array([0, 0, 1])).probabilities
        array([[0., 1.],
               [0., 1.],
               [1., 0.]], dtype=float32)
    """
    surveys.known_labels()
    folds = checked_folds(folds, len(surveys))
    width = len(surveys.species_ids)
    shown, richness = _Stack(folds, width), _Stack(folds, width)
    seconds = 0.0
    for number in tqdm(np.unique(folds), title, delay=2, disable=None, leave=False):
        held_out = folds == number
        train, hidden = surveys.subset(~held_out), surveys.subset(held_out)
        start = time.perf_counter()
        found = method(train, replace(hidden, labels=None))
        seconds += time.perf_counter() - start
        where, shape = f"{title}, fold {number}", (len(hidden), width)
        p, beside = (
            (found.probabilities, found.richness) if isinstance(found, Predicted) else (found, None)
        )
        shown.put(held_out, checked_rows(p, shape, where))
        if beside is not None:
            richness.put(held_out, checked_rows(beside, shape, where, RICHNESS))
        if richness.filled not in (0, shown.filled):
            raise ValueError(f"{where}: with richness in some folds, without it in others")
    return HeldOut(shown.whole(), richness.whole() if richness.filled else None, seconds)


class _Stack:
    """Rows of fold after fold, in the order of the surveys: dense if the first ones are."""

    def __init__(self, folds: np.ndarray, width: int) -> None:
        self.filled = 0
        self._folds, self._shape = folds, (len(folds), width)
        self._dense: np.ndarray | None = None  # filled in place: no second copy of a large matrix
        self._parts: list[sparse.csr_matrix] = []

    def put(self, held_out: np.ndarray, part: np.ndarray | sparse.csr_matrix) -> None:
        """The rows of the next fold."""
        if self.filled == 0 and isinstance(part, np.ndarray):
            self._dense = np.empty(self._shape, dtype=np.float32)
        if self._dense is None:
            self._parts.append(sparse.csr_matrix(part))
        else:
            self._dense[held_out] = part if isinstance(part, np.ndarray) else part.toarray()
        self.filled += 1

    def whole(self) -> np.ndarray | sparse.csr_matrix:
        """All rows."""
        if self._dense is not None:
            return self._dense
        back = np.argsort(np.argsort(self._folds, kind="stable"))
        return sparse.csr_matrix(sparse.vstack(self._parts, format="csr")[back])


def checked_rows(
    found: object, shape: tuple[int, int], where: str, what: str = PROBABILITIES
) -> np.ndarray | sparse.csr_matrix:
    """Probabilities or richness as float32, dense or CSR as they came, if they are such.

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
        raise TypeError(f"{where}: expected a matrix of {what}, got {type(found).__name__}")
    given = tuple(found.shape)
    if given != shape:
        raise ValueError(
            f"{where}: {what} are {given}, expected {shape}, a row a survey and a column a "
            "species of the training surveys"
        )
    rows = plain_rows(found).astype(np.float32, copy=False)
    values = rows if isinstance(rows, np.ndarray) else rows.data
    if values.size and not np.isfinite([values.min(), values.max()]).all():
        bad = values.size - int(np.isfinite(values).sum())
        raise ValueError(f"{where}: {_count(bad, what)} not finite")
    if values.size and values.min() < 0:
        bad = int((values < 0).sum())
        hint = " (are they logits?)" if what == PROBABILITIES else ""
        raise ValueError(f"{where}: {_count(bad, what)} negative{hint}")
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


def _count(bad: int, what: str) -> str:
    return f"{bad} of the {what} {'is' if bad == 1 else 'are'}"
