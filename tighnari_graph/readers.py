"""Files of surveys → `SurveyTable`: the GeoLifeCLEF 2024 tables, as CSV or Parquet."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tighnari_graph.columns import numbers
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.surveys import SurveyTable
from tighnari_graph.table_files import Source, read_frame


def _require(frame: pd.DataFrame, names: tuple[str, ...], source: str) -> None:
    missing = [name for name in names if name not in frame]
    if missing:
        raise SurveyDataError(
            f"{source}: no column {', '.join(missing)} among "
            f"{', '.join(map(str, frame.columns)) or 'no columns at all'}"
        )


def _checked(frame: pd.DataFrame, required: tuple[str, ...], source: str) -> pd.DataFrame:
    """The columns that must be there, and those that hold numbers wherever they are."""
    _require(frame, required, source)
    for name in ("areaInM2", "geoUncertaintyInM"):
        if name in frame and frame.columns.is_unique:
            ids = frame["surveyId"].to_numpy()
            frame = frame.assign(**{name: numbers(frame[name], source, ids)})
    return frame


def _require_numbers(table: SurveyTable, source: str) -> SurveyTable:
    if table.species_names is not None and len(table.species_names):
        raise SurveyDataError(
            f"{source}: speciesId holds text ({table.species_names[0]!r}, …), expected whole "
            "numbers; SurveyTable.from_long takes species names"
        )
    return table


def read_glc24_pa(
    source: Source, species_ids: Sequence[int] | np.ndarray | None = None
) -> SurveyTable:
    """Read presence–absence surveys: every species that grows there is listed, all others do not.

    Args:
        source: `GLC24_PA_metadata_train.csv`, the same as Parquet, or a DataFrame.
        species_ids: the vocabulary; by default the species found (see `species_vocabulary`).

    Raises:
        FileNotFoundError: if there is no such file.
        SurveyDataError: if it is no such table (see `SurveyTable.from_long`).
        ValueError: on species outside ``species_ids``.

    Source: Liu et al. 2024, section 3.1.

    Example:
        >>> rows = pd.DataFrame({"surveyId": [7, 7], "lat": 43.1, "lon": 3.2, "year": 2020,
        ...     "region": "ALPINE", "areaInM2": [-np.inf, -np.inf], "speciesId": [5., 9.]})
        >>> table = read_glc24_pa(rows, species_ids=[5, 8, 9])
        >>> table.labels.toarray(), table.notes["surveys with infinite areaInM2 (made missing)"]
        (array([[1., 0., 1.]], dtype=float32), 1)
    """
    frame, name = read_frame(source)
    frame = _checked(frame, ("surveyId", "lat", "lon", "year", "region", "speciesId"), name)
    return _require_numbers(SurveyTable.from_long(frame, species_ids, source=name), name)


def read_glc24_po(
    source: Source, species_ids: Sequence[int] | np.ndarray | None = None
) -> SurveyTable:
    """Read presence-only surveys: species that somebody reported; the others are unknown.

    Args:
        source: `GLC24_P0_metadata_train.csv` (spelled with a zero), Parquet, or a DataFrame.
        species_ids: the vocabulary, which must hold the PO species too (`species_vocabulary`).

    Raises:
        FileNotFoundError: if there is no such file.
        SurveyDataError: if it is no such table.
        ValueError: on species outside ``species_ids``.

    Source: Liu et al. 2024, sections 3.1 and 3.2.
    """
    frame, name = read_frame(source)
    frame = _checked(frame, ("surveyId", "lat", "lon", "year", "speciesId"), name)
    return _require_numbers(SurveyTable.from_long(frame, species_ids, source=name), name)


def read_glc24_test(source: Source) -> SurveyTable:
    """Read surveys whose species are asked for; a speciesId column is left unread, and noted.

    Raises:
        FileNotFoundError: if there is no such file.
        SurveyDataError: if it is no such table.
    """
    frame, name = read_frame(source)
    frame = _checked(frame, ("surveyId", "lat", "lon", "year", "region"), name)
    unread = "speciesId" in frame
    table = SurveyTable.from_long(frame.drop(columns="speciesId", errors="ignore"), source=name)
    if unread:
        table.notes["speciesId column left unread"] = 1
    return table


def species_vocabulary(*sources: Source | SurveyTable) -> np.ndarray:
    """The species of several tables together, ascending: what PA and PO must share.

    Shapes:
        - **output:** :math:`(S,)` int64 (text, if the species are names)

    Raises:
        SurveyDataError: if a source has no species column or ids that are no whole numbers.
        ValueError: if some sources name species and others number them.

    Example:
        >>> pa_rows = pd.DataFrame({"speciesId": [5., 9.]})
        >>> po_rows = pd.DataFrame({"speciesId": [9, 2]})
        >>> species_vocabulary(pa_rows, po_rows)
        array([2, 5, 9])
    """
    found = [ids for ids in map(_species_of, sources) if len(ids)]
    if len({ids.dtype == object for ids in found}) > 1:
        raise ValueError("species_vocabulary: some sources name species, others number them")
    return np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)


def _species_of(source: Source | SurveyTable) -> np.ndarray:
    if isinstance(source, SurveyTable):
        return source.species_ids if source.species_names is None else source.species_names
    frame, name = read_frame(source, ["surveyId", "speciesId"])
    _require(frame, ("speciesId",), name)
    ids = frame["surveyId"] if "surveyId" in frame else pd.Series(0, index=frame.index)
    rows = pd.DataFrame({"surveyId": ids, "speciesId": frame["speciesId"]})
    table = SurveyTable.from_long(rows.assign(lat=0.0, lon=0.0, year=0), source=name)
    return table.species_ids if table.species_names is None else table.species_names
