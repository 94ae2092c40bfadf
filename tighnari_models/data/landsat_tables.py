"""Landsat time series from six tables, one per band, where the data has no cubes."""

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int64

from tighnari_graph.columns import numbers, whole_numbers
from tighnari_graph.errors import SurveyDataError, refuse
from tighnari_graph.table_files import read_frame
from tighnari_models.data.file_search import files_of_split

BANDS = ("red", "green", "blue", "nir", "swir1", "swir2")
_YEARS = range(2000, 2020)  # 2020, the last, is left out as in cubes
_NAME = re.compile(rf"(?i)landsat.*[-_](?P<band>{'|'.join(BANDS)})\.(?:csv|parquet)$")
_ELSEWHERE = re.compile(r"(?i)^\d{1,2}$|bioclim|cubes")

logger = logging.getLogger("tighnari_models")


def find_landsat_tables(folder: str | Path, split: str) -> dict[str, Path]:
    """Band → table, for the six bands; empty if there is no table at all.

    Raises:
        FileNotFoundError: if there is no such folder.
        SurveyDataError: if some bands have no table, or one has two.
    """
    tables: dict[str, Path] = {}
    for match, path in files_of_split(folder, split, _NAME, _ELSEWHERE):
        band = match["band"].lower()
        if band in tables:
            raise SurveyDataError(f"two Landsat tables of {band}: {tables[band]} and {path}")
        tables[band] = Path(path)
    missing = [band for band in BANDS if band not in tables]
    if tables and missing:
        raise SurveyDataError(
            f"{folder}: Landsat tables of {split} surveys lack the bands {', '.join(missing)}"
        )
    return {band: tables[band] for band in BANDS if tables}


def read_landsat_tables(
    tables: dict[str, Path],
) -> tuple[Int64[np.ndarray, " N"], Float32[np.ndarray, "N 6 4 20"]]:
    """Surveys and their cubes; a quarter without a value is NaN.

    A table has a column ``surveyId`` and one per quarter, ``2000_1`` … ``2020_4``. A survey that
    is missing in some tables is NaN in their bands, which is logged.

    Args:
        tables: band → CSV or Parquet file, as `find_landsat_tables` gives.

    Shapes:
        - **output:** :math:`(N,)` and :math:`(N, 6, 4, 20)`: band × quarter × year

    Raises:
        SurveyDataError: if a table is broken, lacks a column, or repeats a survey.

    Source: Liu et al. 2024, section 3.1.
    """
    frames = {band: _read_band(tables[band]) for band in BANDS}
    ids = np.unique(np.concatenate([frame.index.to_numpy() for frame in frames.values()]))
    cubes = np.empty((len(ids), len(BANDS), 4, len(_YEARS)), dtype=np.float32)
    for number, (band, frame) in enumerate(frames.items()):
        if len(frame) < len(ids):
            text = "%s: %d of %d surveys of the other bands are missing; they become NaN"
            logger.warning(text, tables[band], len(ids) - len(frame), len(ids))
        values = frame.reindex(ids).to_numpy(np.float32)
        cubes[:, number] = values.reshape(len(ids), len(_YEARS), 4).swapaxes(1, 2)
    cubes[~np.isfinite(cubes)] = np.nan
    return ids.astype(np.int64), cubes


def _read_band(path: Path) -> pd.DataFrame:
    frame, name = read_frame(path)
    quarters = [f"{year}_{quarter}" for year in _YEARS for quarter in range(1, 5)]
    missing = [column for column in ("surveyId", *quarters) if column not in frame]
    if missing:
        raise SurveyDataError(
            f"{name}: {len(missing)} of {1 + len(quarters)} columns are missing "
            f"({', '.join(missing[:5])}), expected surveyId and YEAR_QUARTER from 2000_1 on"
        )
    ids, absent = whole_numbers(frame["surveyId"], name, None)
    refuse(name, absent, None, "no surveyId")
    refuse(name, pd.Index(ids).duplicated(), ids, "a surveyId that occurs before")
    columns = {column: numbers(frame[column], name, ids) for column in quarters}
    return pd.DataFrame(columns).set_axis(ids)
