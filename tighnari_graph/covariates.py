"""How surveys compare besides distance: year, region, plot area and any other column."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from tighnari_graph.columns import numbers, text_codes
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.surveys import SurveyTable

_SKEWED = 50.0  # largest over smallest value from which on a column is compared by its logarithm
_CATEGORIES = 64  # text columns with more values are names of places or people, not covariates
_REPEATED = 0.01  # share of surveys with a column's commonest value from which on values repeat
MISSING = -1


@dataclass(frozen=True)
class NumericColumn:
    """A column of numbers, and what there is to compare about it.

    Attributes:
        name: of the column.
        center, spread: of its values, after the logarithm.
        logarithm: whether it is taken.
        repeats: whether many surveys share a value, so that an equal one says something.
        missing: whether some surveys lack a value.
    """

    name: str
    center: float = 0.0
    spread: float = 1.0
    logarithm: bool = False
    repeats: bool = False
    missing: bool = False

    @classmethod
    def fit(cls, name: str, raw: np.ndarray) -> "NumericColumn":
        """Learn all of it from the values of a column; NaN is missing."""
        known = raw[np.isfinite(raw)]
        if not len(known):
            return cls(name, missing=True)
        logarithm = bool((known >= 0).all()) and _spans(known)
        measured = _log(known) if logarithm else known
        commonest = np.unique(known, return_counts=True)[1].max()
        return cls(
            name, float(measured.mean()), float(measured.std()) or 1.0, logarithm,
            bool(commonest >= max(2, _REPEATED * len(known))), len(known) < len(raw),
        )  # fmt: skip

    def encode(self, raw: np.ndarray) -> np.ndarray:
        """Values as they are compared."""
        return ((_log(raw) if self.logarithm else raw) - self.center) / self.spread

    @property
    def compared(self) -> tuple[str, ...]:
        """What of it is compared."""
        found = (("gap", True), ("differs", self.repeats), ("known", self.missing))
        return tuple(what for what, there in found if there)


@dataclass(frozen=True)
class Covariates:
    r"""The columns by which surveys are compared, and how their values become numbers.

    A number is centred and divided by its spread (positive ones that span a factor of 50 or more
    by their logarithm), so that a strength means the same for every column. Two numbers are
    compared by their squared gap, as in a Gaussian, by whether they differ at all, in columns whose
    values repeat, and by whether one of them is missing, in columns that lack some; otherwise a
    missing value is like any other. Text is compared as equal or not.

    Attributes:
        numeric: the columns of numbers.
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

    numeric: tuple[NumericColumn, ...] = ()
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
        numeric, categories = [], []
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
                raw = numbers(column, "covariates", table.survey_id)
                numeric.append(NumericColumn.fit(name, raw))
        return cls(tuple(numeric), tuple(categories))

    def shared_with(self, table: SurveyTable) -> "Covariates":
        """Those of the columns that another table has too, whose gaps then count as well."""
        kept = [one for one in self.numeric if table.has(one.name)]
        return Covariates(
            tuple(
                replace(one, missing=one.missing or bool(table.column(one.name).isna().any()))
                for one in kept
            ),
            tuple(item for item in self.categories if table.has(item[0])),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """All columns, numbers first."""
        return (*(one.name for one in self.numeric), *(name for name, _ in self.categories))

    @property
    def comparisons(self) -> tuple[str, ...]:
        """Gap, inequality and missing values of each column, each with a strength of its own."""
        told = (f"{one.name}: {what}" for one in self.numeric for what in one.compared)
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
        for place, one in enumerate(self.numeric):
            raw = numbers(table.column(one.name), "covariates", table.survey_id)
            values[:, place] = one.encode(raw)
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
            >>> covariates = Covariates((NumericColumn("year", 2019.0, 1.5),), (("a", ("b",)),))
            >>> Covariates.from_dict(covariates.to_dict()) == covariates
            True
        """
        categories = tuple((name, tuple(values)) for name, values in state["categories"])
        return cls(tuple(NumericColumn(**one) for one in state["numeric"]), categories)

    def compare(
        self, values: np.ndarray, codes: np.ndarray, to_values: np.ndarray, to_codes: np.ndarray
    ) -> np.ndarray:
        r"""How surveys differ, pair by pair, a row per entry of `comparisons`.

        Shapes:
            - **values, to_values:** :math:`(E, C)`; **codes, to_codes:** :math:`(E, D)`
            - **output:** :math:`(F, E)` float32

        Example:
            >>> covariates = Covariates((NumericColumn("year", repeats=True),), (("a", ("b",)),))
            >>> covariates.compare(
            ...     np.array([[0.5]]), np.array([[1]]), np.array([[2.0]]), np.array([[1]]))
            array([[2.25],
                   [1.  ],
                   [0.  ]], dtype=float32)
        """
        differences = np.empty((len(self.comparisons), len(values)), dtype=np.float32)
        row = iter(differences)
        for place, column in enumerate(self.numeric):
            gap = np.abs(values[:, place] - to_values[:, place])
            gap[np.isnan(gap)] = 0
            next(row)[:] = gap**2
            if column.repeats:
                next(row)[:] = gap > 0
            if column.missing:
                next(row)[:] = np.isnan(values[:, place]) != np.isnan(to_values[:, place])
        for place in range(len(self.categories)):
            next(row)[:] = codes[:, place] != to_codes[:, place]
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


def _spans(known: np.ndarray) -> bool:
    above = known[known > 0]
    return bool(len(above)) and bool(above.max() >= _SKEWED * np.quantile(above, 0.01))


def _log(raw: np.ndarray) -> np.ndarray:
    return np.log1p(np.maximum(raw, 0.0))
