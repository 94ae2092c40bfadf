"""A table of one row per survey × species: its names, its positions, what else it holds."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from tighnari_graph.columns import numbers, refuse_repeated
from tighnari_graph.errors import SurveyDataError, refuse


def renamed(frame: pd.DataFrame, columns: Mapping[str, str], source: str) -> pd.DataFrame:
    """The table under our column names.

    Raises:
        SurveyDataError: if a column to rename is not there, or a name then occurs twice.
    """
    unknown = [name for name in columns if name not in frame]
    if unknown:
        raise SurveyDataError(
            f"{source}: columns= renames {', '.join(unknown)}, not among "
            f"{', '.join(map(str, frame.columns))}"
        )
    frame = frame.rename(columns=dict(columns))
    refuse_repeated(frame.columns, source)
    return frame


def degrees(
    column: pd.Series, limit: float, what: str, source: str, row_id: np.ndarray
) -> np.ndarray:
    """A column of latitudes or longitudes, within ± ``limit``.

    Raises:
        SurveyDataError: if some are missing, no numbers or beyond.
    """
    values = numbers(column, source, row_id)
    refuse(source, np.isnan(values), row_id, f"no {what}")
    outside = f"{what} outside [{-limit:.0f}, {limit:.0f}]"
    refuse(source, np.abs(values) > limit, row_id, outside)
    return values


def first_rows(
    others: pd.DataFrame,
    first: np.ndarray,
    home: np.ndarray,
    notes: dict[str, int],
    source: str,
) -> pd.DataFrame:
    """The first row of each survey; ±inf → missing; what varies within surveys is counted."""
    meta = others.iloc[first].reset_index(drop=True)
    for name in others.columns:
        values = others[name]
        if not isinstance(values.dtype, np.dtype) or values.dtype.kind not in "biuf":
            try:
                values = pd.Series(pd.factorize(values)[0])
            except TypeError as error:
                raise SurveyDataError(
                    f"{source}: column {name} holds lists or other nested values ({error}); drop "
                    "it, or turn it into text or numbers"
                ) from error
        column = values.to_numpy()
        differs = (column != column[home]) & ~(pd.isna(column) & pd.isna(column[home]))
        varying = int(np.count_nonzero(np.bincount(home[differs])))
        if varying:
            notes[f"surveys whose {name} varies (first row kept)"] = varying
        if meta[name].dtype == object:
            meta[name] = meta[name].infer_objects()
        if pd.api.types.is_float_dtype(meta[name]):
            infinite = np.isinf(meta[name].to_numpy(dtype=np.float64, na_value=np.nan))
            if infinite.any():
                meta[name] = meta[name].mask(infinite)
                notes[f"surveys with infinite {name} (made missing)"] = int(infinite.sum())
        missing = int(meta[name].isna().sum())
        if missing:
            notes[f"surveys with missing {name}"] = missing
    return meta
