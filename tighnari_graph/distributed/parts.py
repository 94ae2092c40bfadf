"""Files of a finished result, opened as what they were written as, or refused by name."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tighnari_graph.errors import SurveyDataError

NOT_AS_WRITTEN = (
    pa.ArrowException, ArithmeticError, AttributeError, LookupError, OSError, RecursionError,
    TypeError, ValueError,
)  # fmt: skip
"""What opening anything but the file that was expected may raise."""
IDS = pa.large_list(pa.int64())
VALUES = pa.large_list(pa.float32())


def read_part(
    path: Path, columns: Mapping[str, pa.DataType | None], rows: int | None = None
) -> pa.Table:
    """Columns of one file of a result.

    Args:
        path: of the file.
        columns: name → type, with a value in every row; None is any number, text or truth value,
            or none.
        rows: how many there must be, if that is known.

    Raises:
        SurveyDataError: if the file is missing or damaged, or holds anything else.
    """
    if not path.is_file():
        raise SurveyDataError(f"{path}: no such file; the results are not whole")
    try:
        with pq.ParquetFile(path) as file:
            table = file.read(list(columns)).select(list(columns))
        table.validate(full=True)
        problems = [one for name, kind in columns.items() if (one := _problem(table, name, kind))]
    except NOT_AS_WRITTEN as error:
        raise SurveyDataError(f"{path}: damaged, cannot be read: {error}") from error
    if rows is not None and len(table) != rows:
        problems.append(f"{len(table):,} rows, expected {rows:,}")
    if problems:
        raise SurveyDataError(f"{path}: damaged: {'; '.join(problems)}")
    return table.replace_schema_metadata(None)


def _problem(table: pa.Table, name: str, kind: pa.DataType | None) -> str:
    """What is wrong with a column, or nothing."""
    column = table[name]
    if kind is None:
        return "" if _is_plain(column.type) else f"column {name} is {column.type}"
    if column.type != kind:
        return f"column {name} is {column.type}, expected {kind}"
    missing = column.null_count
    if pa.types.is_large_list(kind):
        missing += pc.list_flatten(column).null_count
    return f"{missing:,} values of {name} are missing" if missing else ""


def _is_plain(kind: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_string, pa.types.is_boolean,
             pa.types.is_null)  # fmt: skip
    return any(test(kind) for test in tests)
