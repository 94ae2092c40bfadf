"""One file of rows → a DataFrame: CSV or Parquet, told by its content, broken or hostile alike."""

import csv as python_csv
import io
import re
from pathlib import Path
from typing import TypeAlias

import pandas as pd
import pyarrow as pa
from pyarrow import csv, parquet

from tighnari_graph.columns import refuse_repeated
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.memory import free_memory

Source: TypeAlias = str | Path | pd.DataFrame

_MOST_COLUMNS = 10_000
_WHOLE = {
    "int8": pd.Int8Dtype, "int16": pd.Int16Dtype, "int32": pd.Int32Dtype, "int64": pd.Int64Dtype,
    "uint8": pd.UInt8Dtype, "uint16": pd.UInt16Dtype, "uint32": pd.UInt32Dtype,
    "uint64": pd.UInt64Dtype,
}  # fmt: skip
_HEADER_BYTES = 1 << 20

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
        SurveyDataError: if it is a folder, empty, cut off, neither CSV (UTF-8, commas) nor Parquet,
            names a column twice, or would not fit into the memory.
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
    if not path.is_file():
        raise SurveyDataError(f"{path}: no regular file; expected one CSV or Parquet file")
    if path.stat().st_size == 0:
        raise SurveyDataError(f"{path.name}: the file is empty")
    with path.open("rb") as file:
        start = file.read(4096)
    # Whatever goes wrong in bytes of unknown origin, the file is what is wrong.
    try:
        if start[:4] == b"PAR1" or path.suffix in (".parquet", ".pq"):
            frame = _read_parquet(path, include)
        else:
            _require_our_csv(start, path.name)
            frame = _read_csv(path, include)
    except SurveyDataError:
        raise
    except (
        pa.ArrowException,
        ArithmeticError,
        LookupError,
        OSError,
        TypeError,
        ValueError,
        python_csv.Error,
    ) as error:
        raise SurveyDataError(f"{path.name}: cannot be read as a table: {error}") from error
    if len(frame) == 0:
        raise SurveyDataError(f"{path.name}: the file holds a header and no rows")
    return frame, path.name


def _present(include: list[str] | None, names: list[str], source: str) -> list[str] | None:
    """Those of the columns to read that are there; refuses names that occur twice, or too many."""
    if len(names) > _MOST_COLUMNS:
        raise SurveyDataError(
            f"{source}: {len(names):,} columns, at most {_MOST_COLUMNS:,} are read"
        )
    refuse_repeated(names, source)
    return None if include is None else [name for name in include if name in names]


def _require_memory(source: str, need: int) -> None:
    free = free_memory()
    if need > free:
        raise SurveyDataError(
            f"{source}: would take at least {need / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB "
            "are free; split the file, or keep only the rows and columns you need"
        )


def _read_parquet(path: Path, include: list[str] | None) -> pd.DataFrame:
    with parquet.ParquetFile(path) as file:
        names = _present(include, file.schema_arrow.names, path.name)
        about, width = file.metadata, len(file.schema_arrow) if names is None else len(names)
        packed = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        _require_memory(path.name, max(8 * width * about.num_rows, packed if names is None else 0))
        texts = [field.name for field in file.schema_arrow if is_text_type(field.type)]
    # A text that occurs often is held once: a small file could stand for gigabytes.
    with parquet.ParquetFile(path, read_dictionary=texts) as file:
        table = file.read(columns=names)
    table.validate(full=True)  # text that is no UTF-8
    index = [name for name in table.column_names if re.fullmatch(r"__index_level_\d+__", name)]
    return frame_of(table.drop_columns(index))


def is_text_type(kind: pa.DataType) -> bool:
    """Whether a column of Arrow holds text.

    Example:
        >>> is_text_type(pa.string()), is_text_type(pa.int64())
        (True, False)
    """
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def frame_of(table: pa.Table) -> pd.DataFrame:
    """Rows of Arrow for pandas; whole numbers with gaps stay whole, whatever their size.

    Example:
        >>> frame_of(pa.table({"cell": [2**60 + 1, None]}))["cell"].tolist()
        [1152921504606846977, <NA>]
    """
    gaps = {
        column.type: _WHOLE[str(column.type)]()
        for column in table.columns
        if column.null_count and str(column.type) in _WHOLE
    }
    # What pandas notes in the file is not needed, and might say anything.
    return table.replace_schema_metadata(None).to_pandas(types_mapper=gaps.get)


def _require_our_csv(start: bytes, source: str) -> None:
    """Say it in plain words where the first bytes are of another kind of text."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or start[:64].count(0) > 16:
        raise SurveyDataError(f"{source}: no UTF-8 but UTF-16, or no text; save it as UTF-8")
    header = start.partition(b"\n")[0]
    for mark, name in ((b";", "';'"), (b"\t", "tabs")):
        if mark in header and b"," not in header:
            raise SurveyDataError(
                f"{source}: columns are separated by {name}, expected ',' (and '.' for decimals)"
            )


def _read_csv(path: Path, include: list[str] | None) -> pd.DataFrame:
    _require_memory(path.name, _unpacked(path))
    include = _present(include, names := _header(path), path.name)

    def read(types: dict[str, pa.DataType], newlines: bool = False) -> pd.DataFrame:
        options = csv.ConvertOptions(
            column_types=types,
            include_columns=include,
            strings_can_be_null=True,
            auto_dict_encode=True,
            auto_dict_max_cardinality=10_000,
        )
        parse = csv.ParseOptions(newlines_in_values=newlines)
        return csv.read_csv(path, convert_options=options, parse_options=parse).to_pandas()

    try:
        return read(_TYPES)
    except pa.ArrowInvalid:
        # A value does not fit its column, or holds a newline: read all as text, more slowly, and
        # let the checks name the rows.
        return _numbers_where_possible(read(dict.fromkeys(names, pa.string()), newlines=True))


def _header(path: Path) -> list[str]:
    """The column names. Arrow's ``open_csv`` would tell them, and was seen to hang (version 18)."""
    with pa.input_stream(str(path)) as stream:
        start = stream.read(_HEADER_BYTES)
    text = start.decode("utf-8-sig", errors="replace")  # Arrow says where it is no UTF-8
    lines = python_csv.reader(io.StringIO(text, newline=""))
    header = next((line for line in lines if line), None)
    if header is None:
        raise ValueError("there is no header")
    return header


def _unpacked(path: Path) -> int:
    """Bytes of a file once unpacked, counted until they would not fit into the memory."""
    if path.suffix not in (".gz", ".bz2", ".zst", ".lz4", ".br"):
        return path.stat().st_size
    count, free = 0, free_memory()
    with pa.input_stream(str(path)) as stream:
        while count <= free and (part := stream.read(1 << 20)):
            count += len(part)
    return count


def _numbers_where_possible(frame: pd.DataFrame) -> pd.DataFrame:
    for name in frame.columns:
        values = pd.to_numeric(frame[name], errors="coerce")
        if (values.notna() | frame[name].isna()).all():
            frame[name] = values
    return frame
