"""Groups of surveys that are scored apart: a column's values, or classes of a number."""

import numpy as np
import pandas as pd

from tighnari_graph.graph import SurveyGraph
from tighnari_graph.surveys import SurveyTable

DEGREE_KM = 10.0
MISSING = "missing"
_VALUES = 12  # a number with more distinct values is cut into quarters


def groups_of(surveys: SurveyTable, folds: np.ndarray, name: str) -> pd.Series:
    r"""The group of each survey, an ordered category.

    "degree" is the number of training neighbours: surveys of other folds within 10 km, of the same
    year and region. Surveys without any are a group of their own, the others are cut into quarters.
    "fold" is the fold; anything else is a column of the table. A column of numbers with more than
    12 distinct values is cut into quarters. A missing value is a group like any other.

    Shapes:
        - **folds, output:** :math:`(N,)`

    Raises:
        SurveyDataError: if the table has no such column.

    Example:
        Surveys 0 and 1 are neighbours in different folds, 2 lies far away.

        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45., 45.01, 50.], "lon": 7.,
        ...     "year": 2020})
        >>> table = SurveyTable.from_long(rows)
        >>> groups_of(table, np.array([0, 1, 1]), "degree").tolist()
        ['1', '1', '0']
        >>> groups_of(table, np.array([0, 1, 1]), "year").tolist()
        ['2020', '2020', '2020']
    """
    if name == "fold":
        return _values(pd.Series(folds, name=name))
    if name == "degree":
        degree = pd.Series(training_degree(surveys, folds), name=name)
        classes = _quarters(degree.where(degree > 0))
        names = classes.cat.categories
        isolates = classes.cat.rename_categories({MISSING: "0"})
        return isolates.cat.reorder_categories(["0", *names.drop(MISSING)])
    column = surveys.column(name)
    if pd.api.types.is_numeric_dtype(column) and column.nunique() > _VALUES:
        return _quarters(column)
    return _values(column)


def training_degree(
    surveys: SurveyTable, folds: np.ndarray, radius_km: float = DEGREE_KM
) -> np.ndarray:
    r"""Neighbours that each survey has among those of the other folds, as when it is held out.

    Neighbours are of the same year and region, as in `SurveyGraph`.

    Shapes:
        - **folds, output:** :math:`(N,)`
    """
    graph = SurveyGraph.from_surveys(surveys, radius_km)
    source, target = graph.edge_index.numpy(force=True)
    seen = target[folds[source] != folds[target]]
    return np.bincount(seen, minlength=len(surveys))


def _values(column: pd.Series) -> pd.Series:
    """Every value a class, in the order of the values."""
    if not pd.api.types.is_numeric_dtype(column):
        column = column.astype(object).map(str, na_action="ignore")
    codes, values = pd.factorize(column, sort=True)
    return _classes(column, codes, [str(value) for value in values])


def _quarters(column: pd.Series) -> pd.Series:
    """Four classes of about equal size, named by their smallest and largest number."""
    known = column.notna().to_numpy()
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)[known]
    if not len(values):
        return _classes(column, np.full(len(column), -1), [])
    edges = np.unique(np.quantile(values, [0.25, 0.5, 0.75, 1.0], method="inverted_cdf"))
    codes = np.full(len(column), -1)
    codes[known] = np.searchsorted(edges, values)
    ends = pd.Series(values).groupby(codes[known]).agg(["min", "max"]).to_numpy()
    names = [_range(low, high, 6) for low, high in ends]
    if len(set(names)) < len(names):
        names = [_range(low, high, 17) for low, high in ends]
    return _classes(column, codes, names)


def _classes(column: pd.Series, codes: np.ndarray, names: list[str]) -> pd.Series:
    """Codes as an ordered category; −1 is a class of its own, the last, even if empty."""
    names = names if MISSING in names else [*names, MISSING]
    codes = np.where(codes < 0, names.index(MISSING), codes)
    found = pd.Categorical.from_codes(codes, names, ordered=True)
    return pd.Series(found, name=column.name)


def _range(low: float, high: float, digits: int) -> str:
    ends = [str(int(x)) if x.is_integer() else f"{x:.{digits}g}" for x in (low, high)]
    return ends[0] if low == high else "–".join(ends)
