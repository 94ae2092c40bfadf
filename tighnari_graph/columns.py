"""Columns of a user's table → checked numpy arrays."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pandas as pd

from tighnari_graph.errors import SurveyDataError, refuse

_NUMERIC = {"integer", "floating", "mixed-integer-float", "decimal", "empty"}
_EXACT = 2**53  # from here up float64 no longer holds every whole number


def refuse_repeated(names: Iterable[object], source: str) -> None:
    """Refuse columns of one name.

    Raises:
        SurveyDataError: naming them.

    Example:
        >>> refuse_repeated(["lat", "lon", "lat"], "a.csv")
        Traceback (most recent call last):
        ...
        tighnari_graph.errors.SurveyDataError: a.csv: column names occur twice: lat
    """
    if twice := [str(name) for name, times in Counter(names).items() if times > 1]:
        raise SurveyDataError(f"{source}: column names occur twice: {', '.join(sorted(twice))}")


def is_text(column: pd.Series) -> bool:
    """Whether a column's values are text; categories count as what they are categories of.

    Example:
        >>> is_text(pd.Series(["Abies alba", None])), is_text(pd.Series([1.0, 2.0]))
        (True, False)
    """
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    return bool(pd.api.types.infer_dtype(values, skipna=True) == "string")


def numbers(column: pd.Series, source: str, survey_id: np.ndarray | None) -> np.ndarray:
    """A column as float64, missing values as NaN.

    Raises:
        SurveyDataError: if it holds text or anything else that is not a number; numbers written
            as text are refused too, since they usually mean a decimal comma or a stray word.
    """
    column = _plain(column)
    if len(column) == 0:
        return np.zeros(0)
    numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    if not numeric and pd.api.types.infer_dtype(column, skipna=True) not in _NUMERIC:
        present = column.notna().to_numpy()
        if not present.any():  # text that is nowhere
            return np.full(len(column), np.nan)
        words = column.astype(object).map(str)  # bytes too, which "string" would have to decode
        parsed = pd.to_numeric(words, errors="coerce").isna().to_numpy()
        first = column[present].iloc[0]
        bad = present & parsed
        if bad.any():
            first = column[bad].iloc[0]
            refuse(source, bad, survey_id, f"a {column.name} that is no number: {first!r}")
        raise SurveyDataError(
            f"{source}: column {column.name} is {column.dtype}, not numbers ({present.sum()} of "
            f"{len(column)} rows, first {first!r}); convert it with pandas.to_numeric"
        )
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def whole_numbers(
    column: pd.Series, source: str, survey_id: np.ndarray | None, minimum: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A column as int64 beside a mask of its missing values (which are 0 in the first).

    Raises:
        SurveyDataError: on text, fractions, infinities, or values below ``minimum``.

    Example:
        >>> whole_numbers(pd.Series([4008.0, None]), "a.csv", None)
        (array([4008,    0]), array([False,  True]))
    """
    column = _plain(column)
    if pd.api.types.is_integer_dtype(column):
        missing = column.isna().to_numpy()
        whole = column.fillna(0).to_numpy()
        refuse(source, whole > np.iinfo(np.int64).max, survey_id, f"{column.name} above 2^63")
    else:
        values = numbers(column, source, survey_id)
        missing = np.isnan(values)
        whole = np.where(missing, 0.0, values)
        large = np.isfinite(whole) & (np.abs(whole) >= _EXACT)
        what = f"a {column.name} of 2^53 or more stored as a fraction, which cannot hold it exactly"
        refuse(source, large, survey_id, what)
        bad = ~np.isfinite(whole)
        bad |= np.where(bad, 0.0, whole) % 1 != 0
        if bad.any():
            what = f"a {column.name} that is not a whole number: {whole[bad][0]:g}"
            refuse(source, bad, survey_id, what)
    if minimum is not None and (whole < minimum).any():
        what = f"a {column.name} below {minimum}: {whole[whole < minimum][0]:g}"
        refuse(source, whole < minimum, survey_id, what)
    return whole.astype(np.int64), missing


def _plain(column: pd.Series) -> pd.Series:
    """Categories as the values that they are categories of, objects as what they all are."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    return column.infer_objects() if column.dtype == object else column


def text_codes(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """A column as codes 0…C−1 in sorted order beside the sorted values; missing is −1.

    Example:
        >>> text_codes(pd.Series(["b", "a", None, "b"]))
        (array([ 1,  0, -1,  1]), array(['a', 'b'], dtype=object))
    """
    if isinstance(column.dtype, pd.CategoricalDtype):  # no value is looked at twice
        column = column.cat.remove_unused_categories()
        code, values = text_codes(pd.Series(column.cat.categories))
        return np.append(code, -1)[column.cat.codes], values
    codes, values = pd.factorize(_plain(column), sort=True, use_na_sentinel=True)
    return codes.astype(np.int64), np.asarray(values, dtype=object)
