"""Files of surveys → `SurveyTable`: the GeoLifeCLEF 2024 tables, as CSV or Parquet."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv, parquet

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.surveys import SurveyTable

Source: TypeAlias = str | Path | pd.DataFrame

# Typed where known, so that a column that looks whole in its first block may hold fractions later.
_TYPES = {
    "surveyId": pa.int64(),
    "year": pa.int64(),
    **dict.fromkeys(("lat", "lon", "areaInM2", "geoUncertaintyInM", "speciesId"), pa.float64()),
    **dict.fromkeys(("region", "country", "date", "publisher"), pa.string()),
}


def read_frame(source: Source, include: list[str] | None = None) -> tuple[pd.DataFrame, str]:
    """A file or frame as a DataFrame, beside the name that errors call it.

    Args:
        source: path of a CSV or Parquet file, or a DataFrame, which is passed through.
        include: the columns to read; by default all.

    Raises:
        FileNotFoundError: if there is no such file.
        SurveyDataError: if it is a folder, empty, cut off, or neither CSV nor Parquet.
    """
    if isinstance(source, pd.DataFrame):
        return source, "survey table"
    if not isinstance(source, str | Path):
        raise TypeError(f"expected a path or a DataFrame, got {type(source).__name__}")
    path = Path(source)
    if path.is_dir():
        raise SurveyDataError(f"{path}: a folder; expected one CSV or Parquet file")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise SurveyDataError(f"{path.name}: the file is empty")
    with path.open("rb") as file:
        start = file.read(4)
    try:
        if start == b"PAR1" or path.suffix in (".parquet", ".pq"):
            table = parquet.ParquetFile(path).read(columns=include)
        else:
            table = _read_csv(path, include)
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise SurveyDataError(f"{path.name}: cannot be read as a table: {error}") from error
    if len(table) == 0:
        raise SurveyDataError(f"{path.name}: the file holds a header and no rows")
    frame = table.to_pandas()
    if len(frame.columns) == 1 and ";" in str(frame.columns[0]):
        raise SurveyDataError(f"{path.name}: columns are separated by ';', expected ','")
    return frame, path.name


def _read_csv(path: Path, include: list[str] | None) -> pa.Table:
    def read(types: dict[str, pa.DataType]) -> pa.Table:
        options = csv.ConvertOptions(
            column_types=types,
            include_columns=include,
            strings_can_be_null=True,
            auto_dict_encode=True,
            auto_dict_max_cardinality=10_000,
        )
        return csv.read_csv(path, convert_options=options)

    try:
        return read(_TYPES)
    except pa.ArrowKeyError as error:
        raise SurveyDataError(f"{path.name}: {error.args[0]}") from error
    except pa.ArrowInvalid as error:
        if "conversion error" not in str(error):
            raise
        # A value does not fit its column: read all as text, and let the checks name the rows.
        names = csv.open_csv(path).schema.names
        table = read(dict.fromkeys(names, pa.string()))
        return table.from_pandas(_numbers_where_possible(table.to_pandas()), preserve_index=False)


def _numbers_where_possible(frame: pd.DataFrame) -> pd.DataFrame:
    for name in frame.columns:
        values = pd.to_numeric(frame[name], errors="coerce")
        if (values.notna() | frame[name].isna()).all():
            frame[name] = values
    return frame


def _require(frame: pd.DataFrame, names: tuple[str, ...], source: str) -> None:
    missing = [name for name in names if name not in frame]
    if missing:
        raise SurveyDataError(
            f"{source}: no column {', '.join(missing)} among "
            f"{', '.join(map(str, frame.columns)) or 'no columns at all'}"
        )


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
    _require(frame, ("surveyId", "lat", "lon", "year", "region", "speciesId"), name)
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
    _require(frame, ("surveyId", "lat", "lon", "year", "speciesId"), name)
    return _require_numbers(SurveyTable.from_long(frame, species_ids, source=name), name)


def read_glc24_test(source: Source) -> SurveyTable:
    """Read surveys whose species are asked for; a speciesId column is left unread, and noted.

    Raises:
        FileNotFoundError: if there is no such file.
        SurveyDataError: if it is no such table.
    """
    frame, name = read_frame(source)
    _require(frame, ("surveyId", "lat", "lon", "year", "region"), name)
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
    found = [_species_of(source) for source in sources]
    if len({ids.dtype == object for ids in found}) > 1:
        raise ValueError("species_vocabulary: some sources name species, others number them")
    return np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)


def _species_of(source: Source | SurveyTable) -> np.ndarray:
    if isinstance(source, SurveyTable):
        return source.species_ids if source.species_names is None else source.species_names
    frame, name = read_frame(source, None if isinstance(source, pd.DataFrame) else ["speciesId"])
    _require(frame, ("speciesId",), name)
    rows = frame[["speciesId"]].drop_duplicates().assign(surveyId=0, lat=0.0, lon=0.0, year=0)
    table = SurveyTable.from_long(rows, source=name)
    return table.species_ids if table.species_names is None else table.species_names
