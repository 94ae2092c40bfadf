"""What single columns of the tabular modality can hold, and their values as numbers or text."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd

from tighnari_graph.columns import is_text, numbers
from tighnari_graph.errors import SurveyDataError
from tighnari_models.data.table_pipeline import signed_log

RULES = ("none", "impossible", "iqr")
_FOOTPRINT = "humanfootprint*"
_GREATEST = float(np.finfo(np.float64).max)
_ABOVE_ZERO = float(np.nextafter(0.0, 1.0))
# 3.4e38, the fill value of float32 rasters, and whatever else no map holds.
_ANY = (-1e30, 1e30)
# Lower-case pattern → least and greatest value that the quantity can have.
_POSSIBLE = {
    "lat": (-90.0, 90.0),
    "lon": (-180.0, 180.0),
    "areainm2": (_ABOVE_ZERO, 1e30),
    "geouncertaintyinm": (0.0, 1e30),
    "elevation": (-500.0, 9000.0),  # m
    "soilgrid*": (0.0, 1e30),  # fill value −32768
    # Releases differ in unit and offset, so only fill values (−32768, 65535 and the like) are out.
    "bio*": (-5000.0, 65534.0),
}


def matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The names that match any pattern; capitals do not matter.

    Example:
        >>> matching(["LandCover-1", "Bio1", "region"], ("landcover*", "region"))
        ['LandCover-1', 'region']
    """
    lowered = [pattern.lower() for pattern in patterns]
    return [name for name in names if any(fnmatchcase(name.lower(), p) for p in lowered)]


def check_columns(frame: pd.DataFrame) -> None:
    """Raise unless it is a frame whose columns are named by text, each once."""
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"expected a DataFrame of surveys, got {type(frame).__name__}")
    odd = [name for name in frame.columns if not isinstance(name, str)]
    if odd:
        raise SurveyDataError(f"survey frame: column names that are no text: {odd[:5]}")
    twice = frame.columns[frame.columns.duplicated()].unique().tolist()
    if twice:
        raise SurveyDataError(f"survey frame: column names occur twice: {', '.join(twice)}")


def column_numbers(column: pd.Series) -> np.ndarray:
    """A column as float64, missing values as NaN.

    Raises:
        SurveyDataError: if it holds text.
    """
    if is_text(column) and column.notna().any():
        first = column[column.notna()].iloc[0]
        raise SurveyDataError(
            f"survey frame: column {column.name} holds text ({first!r}, …), expected numbers "
            "(or name it in categorical=)"
        )
    if column.isna().all():
        return np.full(len(column), np.nan)
    return numbers(column, "survey frame", column.index.to_numpy())


def cap_footprint(name: str, values: np.ndarray, notes: dict[str, int]) -> np.ndarray:
    """Human footprint below 0 → 1 and above 255 → 255, counted; other columns as they are.

    Infinite values stay, to be made missing as in every column.

    Source: Liu et al. 2024, section 3.1.

    Example:
        >>> notes = {}
        >>> cap_footprint("HumanFootprint-Roads", np.array([-1.0, 7.0, 3.4e38]), notes).tolist()
        [1.0, 7.0, 255.0]
        >>> notes
        {'HumanFootprint-Roads below 0 (made 1)': 1, 'HumanFootprint-Roads above 255 (made 255)': 1}
    """
    if not matching([name], (_FOOTPRINT,)):
        return values
    below = (values < 0) & np.isfinite(values)
    above = (values > 255) & np.isfinite(values)
    for where, what in ((below, "below 0 (made 1)"), (above, "above 255 (made 255)")):
        if where.any():
            notes[f"{name} {what}"] = int(where.sum())
    return np.where(below, 1.0, np.where(above, 255.0, values))


def bounds_of(
    name: str, values: np.ndarray, rule: str, skewed: bool, reach: float
) -> tuple[float, float]:
    """Least and greatest value of a column that the rule lets through; infinite ones never pass.

    Example:
        >>> bounds_of("lat", np.zeros(3), "impossible", skewed=False, reach=1.5)
        (-90.0, 90.0)
        >>> bounds_of("Bio1", np.arange(5.0), "iqr", skewed=False, reach=1.5)
        (-2.0, 6.0)
    """
    if rule == "none":
        return -_GREATEST, _GREATEST
    pairs = (pair for pattern, pair in _POSSIBLE.items() if matching([name], (pattern,)))
    low, high = next(pairs, _ANY)
    usable = values[(values >= low) & (values <= high)]
    if rule == "impossible" or len(usable) == 0:
        return low, high
    scaled = signed_log(usable) if skewed else usable
    first, third = np.quantile(scaled, [0.25, 0.75])
    spread = reach * (third - first)
    if spread == 0:
        return low, high
    limits = np.array([first - spread, third + spread])
    if skewed:
        limits = np.sign(limits) * np.expm1(np.abs(limits))
    return max(low, float(limits[0])), min(high, float(limits[1]))


def is_category(column: pd.Series, max_codes: int) -> bool:
    """Whether a column can be one-hot: text, or at most so many different whole numbers.

    Example:
        >>> [is_category(pd.Series(v), 2) for v in (["a", "b", "c"], [1.0, 9.0], [0.5], [1, 2, 3])]
        [True, True, False, False]
    """
    if is_text(column) or column.isna().all():
        return True
    values = column_numbers(column)
    codes = np.unique(values[np.isfinite(values)])
    return bool((codes % 1 == 0).all() and len(codes) <= max_codes)


def category_texts(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Categories as text ("7" for 7, 7.0 and "7"), "" for missing ones, and where infinite.

    Shapes: N rows → object [N], bool [N].

    Example:
        >>> category_texts(pd.Series([7.0, np.nan, np.inf]))
        (array(['7', '', ''], dtype=object), array([False, False,  True]))
    """
    if is_text(column):
        infinite = np.zeros(len(column), dtype=bool)
        codes, found = pd.factorize(column.astype(object), use_na_sentinel=True)
    else:
        values = column_numbers(column)
        infinite = np.isinf(values)
        codes, numbered = pd.factorize(np.where(infinite, np.nan, values), use_na_sentinel=True)
        found = [f"{v:.0f}" if v % 1 == 0 else repr(float(v)) for v in numbered]
    return np.array([*found, ""], dtype=object)[codes], infinite
