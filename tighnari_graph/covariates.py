"""How surveys compare besides distance: year, region, plot area and any other column."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from tighnari_graph.columns import numbers, text_codes
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.surveys import SurveyTable

_SKEWED = 50.0  # largest over smallest value from which on a column is compared by its logarithm
_CATEGORIES = 64  # text columns with more values are names of places or people, not covariates
MISSING = -1


@dataclass(frozen=True)
class Covariates:
    r"""The columns by which surveys are compared, and how their values become numbers.

    A number is centred and divided by its spread (positive ones that span a factor of 50 or more
    by their logarithm), so that a strength means the same for every column. Text is compared as
    equal or not. Missing values are compared with each other as equal, with others as different.

    Attributes:
        numeric: names of the columns of numbers.
        center, spread: of each of them, after the logarithm.
        logarithm: whether it is taken.
        categories: column of text → its values; others count as one further value.

    Example:
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": 45.0, "lon": 7.0, "year": 2020,
        ...     "areaInM2": [1.0, 100.0, None], "country": ["Italy", "France", "Italy"]})
        >>> table = SurveyTable.from_long(rows)
        >>> covariates = Covariates.fit(table)
        >>> covariates.names
        ('areaInM2', 'country')
        >>> values, codes = covariates.encode(table)
        >>> values.round(1).ravel(), codes.ravel()
        (array([-1.,  1., nan], dtype=float32), array([1, 0, 1]))
    """

    numeric: tuple[str, ...] = ()
    center: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    logarithm: tuple[bool, ...] = ()
    categories: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    @classmethod
    def fit(cls, table: SurveyTable, columns: tuple[str, ...] | None = None) -> "Covariates":
        """Learn centre, spread and categories.

        Args:
            table: training surveys.
            columns: names; by default year, region and every other column of the table with two
                values or more (text: at most 64).

        Raises:
            SurveyDataError: if a column is not in the table, holds neither numbers nor text, or
                has one value only.
        """
        chosen = _columns_that_vary(table) if columns is None else columns
        numeric, moments, categories = [], [], []
        for name in dict.fromkeys(chosen):
            column = table.column(name)
            kind = _kind(column)
            if columns is not None and (kind is None or column.nunique() < 2):
                what = "neither numbers nor text" if kind is None else "fewer than two values"
                raise SurveyDataError(
                    f"covariates: column {name!r} holds {what} and tells no surveys apart"
                )
            if kind == "text":
                categories.append((name, tuple(text_codes(column)[1].tolist())))
            else:
                numeric.append(name)
                moments.append(_moments(numbers(column, "covariates", table.survey_id)))
        center, spread, logarithm = zip(*moments, strict=True) if moments else ((), (), ())
        return cls(tuple(numeric), center, spread, logarithm, tuple(categories))

    def only(self, names: tuple[str, ...]) -> "Covariates":
        """Those of the columns that are named."""
        kept = [place for place, name in enumerate(self.numeric) if name in names]
        return Covariates(
            tuple(self.numeric[place] for place in kept),
            tuple(self.center[place] for place in kept),
            tuple(self.spread[place] for place in kept),
            tuple(self.logarithm[place] for place in kept),
            tuple(item for item in self.categories if item[0] in names),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """All columns, numbers first."""
        return (*self.numeric, *(name for name, _ in self.categories))

    @property
    def comparisons(self) -> tuple[str, ...]:
        """What a strength belongs to: gap, inequality and missing values of each column."""
        told = (f"{name}: {what}" for name in self.numeric for what in ("gap", "differs", "known"))
        return (*told, *(f"{name}: differs" for name, _ in self.categories))

    def encode(self, table: SurveyTable) -> tuple[np.ndarray, np.ndarray]:
        r"""Values :math:`(N, C_{numeric})` float32, missing is NaN, and codes of text, missing −1.

        Raises:
            SurveyDataError: if the table lacks a column; pass ``covariates=`` that all tables have.
        """
        lacking = [name for name in self.names if not table.has(name)]
        if lacking:
            raise SurveyDataError(
                f"survey table: lacks {', '.join(lacking)}, by which surveys are to be compared; "
                "name the columns that all tables have (covariates=)"
            )
        values = np.empty((len(table), len(self.numeric)), dtype=np.float32)
        moments = zip(self.numeric, self.center, self.spread, self.logarithm, strict=True)
        for place, (name, center, spread, logarithm) in enumerate(moments):
            raw = numbers(table.column(name), "covariates", table.survey_id)
            values[:, place] = ((_log(raw) if logarithm else raw) - center) / spread
        codes = np.empty((len(table), len(self.categories)), dtype=np.int64)
        for place, (name, known) in enumerate(self.categories):
            number = {value: code for code, value in enumerate(known)}
            column = table.column(name).astype(object)
            codes[:, place] = column.map(number).fillna(len(known)).where(column.notna(), MISSING)
        return values, codes

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> "Covariates":
        """Back from JSON.

        Example:
            >>> covariates = Covariates(("year",), (2019.0,), (1.5,), (False,), (("a", ("b",)),))
            >>> Covariates.from_dict(covariates.to_dict()) == covariates
            True
        """
        categories = tuple((name, tuple(values)) for name, values in state["categories"])
        numeric = {key: tuple(state[key]) for key in ("numeric", "center", "spread", "logarithm")}
        return cls(**numeric, categories=categories)


def compare(
    values: np.ndarray, codes: np.ndarray, other_values: np.ndarray, other_codes: np.ndarray
) -> np.ndarray:
    r"""How surveys differ, pair by pair, a row per entry of `Covariates.comparisons`.

    Shapes:
        - **values, other_values:** :math:`(E, C)`; **codes, other_codes:** :math:`(E, D)`
        - **output:** :math:`(F, E)` float32

    Example:
        >>> compare(np.array([[0.5]]), np.array([[1]]), np.array([[2.0]]), np.array([[1]]))
        array([[1.5],
               [1. ],
               [0. ],
               [0. ]], dtype=float32)
    """
    num, numeric, text = len(values), values.shape[1], codes.shape[1]
    differences = np.empty((3 * numeric + text, num), dtype=np.float32)
    for place in range(numeric):
        one, other = values[:, place], other_values[:, place]
        gap = np.abs(one - other)
        unknown = np.isnan(gap)
        gap[unknown] = 0
        differences[3 * place] = gap
        differences[3 * place + 1] = gap > 0
        differences[3 * place + 2] = unknown & (np.isnan(one) != np.isnan(other))
    for place in range(text):
        differences[3 * numeric + place] = codes[:, place] != other_codes[:, place]
    return differences


def _columns_that_vary(table: SurveyTable) -> tuple[str, ...]:
    names = ["year", *(["region"] if table.has("region") else []), *map(str, table.meta)]
    kept = []
    for name in names:
        column = table.column(name)
        kind = _kind(column)
        different = column.nunique()
        if kind is not None and different > 1 and (kind == "number" or different <= _CATEGORIES):
            kept.append(name)
    return tuple(kept)


def _kind(column: pd.Series) -> str | None:
    if pd.api.types.is_bool_dtype(column):
        return None
    if pd.api.types.is_numeric_dtype(column):
        return "number"
    found = pd.api.types.infer_dtype(column, skipna=True)
    return "text" if found in ("string", "categorical", "empty") else None


def _moments(raw: np.ndarray) -> tuple[float, float, bool]:
    known = raw[np.isfinite(raw)]
    logarithm = bool(len(known)) and bool((known >= 0).all()) and _spans(known)
    known = _log(known) if logarithm else known
    spread = float(known.std()) if len(known) else 1.0
    return float(known.mean()) if len(known) else 0.0, spread or 1.0, logarithm


def _spans(known: np.ndarray) -> bool:
    above = known[known > 0]
    return bool(len(above)) and bool(above.max() >= _SKEWED * np.quantile(above, 0.01))


def _log(raw: np.ndarray) -> np.ndarray:
    return np.log1p(np.maximum(raw, 0.0))
