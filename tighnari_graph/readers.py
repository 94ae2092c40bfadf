"""Files of surveys → `SurveyTable`: the GeoLifeCLEF 2024 tables, as CSV or Parquet."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv, parquet

from tighnari_graph.columns import numbers
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
        include: the columns to read, if they are there; by default all.

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
            file = parquet.ParquetFile(path)
            table = file.read(columns=_present(include, file.schema_arrow.names))
        else:
            table = _read_csv(path, include)
        frame = table.to_pandas()
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise SurveyDataError(f"{path.name}: cannot be read as a table: {error}") from error
    if len(frame) == 0:
        raise SurveyDataError(f"{path.name}: the file holds a header and no rows")
    if len(frame.columns) == 1 and ";" in str(frame.columns[0]):
        raise SurveyDataError(f"{path.name}: columns are separated by ';', expected ','")
    return frame, path.name


def _present(include: list[str] | None, names: list[str]) -> list[str] | None:
    return None if include is None else [name for name in include if name in names]


def _read_csv(path: Path, include: list[str] | None) -> pa.Table:
    if include is not None:
        include = _present(include, csv.open_csv(path).schema.names)

    def read(types: dict[str, pa.DataType], newlines: bool = False) -> pa.Table:
        options = csv.ConvertOptions(
            column_types=types,
            include_columns=include,
            strings_can_be_null=True,
            auto_dict_encode=True,
            auto_dict_max_cardinality=10_000,
        )
        parse = csv.ParseOptions(newlines_in_values=newlines)
        return csv.read_csv(path, convert_options=options, parse_options=parse)

    try:
        return read(_TYPES)
    except pa.ArrowInvalid as error:
        # A value does not fit its column, or holds a newline: read all as text, more slowly, and
        # let the checks name the rows.
        names = csv.open_csv(path).schema.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SurveyDataError(
                f"{path.name}: column names occur twice: {', '.join(twice)}"
            ) from error
        table = read(dict.fromkeys(names, pa.string()), newlines=True)
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
