"""A Parquet data set as pieces of bounded size: which row groups of which file, and what of them.

Only footers are read here; a worker reads the rows of one piece.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.surveys import REQUIRED

Source: TypeAlias = str | Path | Sequence[str | Path]

PIECE_ROWS = 1_000_000
MAX_GROUP_ROWS = 20_000_000  # a row group is read as a whole: about 3 GB


@dataclass(frozen=True)
class Piece:
    """Some row groups of one file.

    Attributes:
        path: of the file.
        row_groups: their numbers.
        first_row: number of its first row in the whole data set.
        rows: how many rows it has.
        wanted: columns to read, under the file's names.
        keys: column → value, from names of folders such as ``year=2020``.
    """

    path: str
    row_groups: tuple[int, ...]
    first_row: int
    rows: int
    wanted: tuple[str, ...]
    keys: tuple[tuple[str, Any], ...]

    def read(self) -> pd.DataFrame:
        """Its rows.

        Raises:
            SurveyDataError: if the file cannot be read.
        """
        try:
            with pq.ParquetFile(self.path) as file:
                frame = file.read_row_groups(list(self.row_groups), list(self.wanted)).to_pandas()
        except (pa.ArrowException, OSError) as error:
            raise SurveyDataError(f"{self.path}: cannot be read: {error}") from error
        return frame.assign(**dict(self.keys))


@dataclass(frozen=True)
class DataSet:
    """The pieces of a data set, and what tells it from another.

    Attributes:
        name: what errors call it.
        pieces: in the order of the rows.
        columns: that it has and that were asked for, under our names.
        files: path, bytes and time of change of each file.
    """

    name: str
    pieces: tuple[Piece, ...]
    columns: frozenset[str]
    files: tuple[tuple[str, int, int], ...]

    @classmethod
    def find(
        cls,
        source: Source,
        optional: Sequence[str],
        columns: Mapping[str, str] | None,
        piece_rows: int,
    ) -> "DataSet":
        """Read the footers of all files.

        Args:
            source: a Parquet file, a folder of them (names such as ``year=2020`` are columns), or
                a list of files.
            optional: columns to read besides those that every survey must have.
            columns: new names, as `SurveyTable.from_long` takes them.
            piece_rows: rows of a piece, unless a row group has more.

        Raises:
            FileNotFoundError: if there is no such file or folder.
            SurveyDataError: on no or unreadable files, missing columns, columns that only some
                files have, or that are text in some and numbers in others.
        """
        name = str(source) if isinstance(source, str | Path) else f"{len(source)} files"
        fragments = _fragments(source, name)
        ours = dict(columns or {})
        theirs = {new: old for old, new in ours.items()}
        asked = {theirs.get(column, column) for column in (*REQUIRED, *optional)}
        pieces: list[Piece] = []
        kinds: dict[str, dict[str, list[str]]] = {column: {} for column in sorted(asked)}
        files, row = [], 0
        for fragment in fragments:
            keys = dict(ds.get_partition_keys(fragment.partition_expression))
            footer = _footer(fragment.path)
            schema = footer.schema.to_arrow_schema()
            twice = sorted({n for n in schema.names if schema.names.count(n) > 1} & asked)
            if twice:
                raise SurveyDataError(
                    f"{fragment.path}: column names occur twice: {', '.join(twice)}"
                )
            for column, seen in kinds.items():
                seen.setdefault(_kind(schema, keys, column), []).append(fragment.path)
            wanted = tuple(n for n in schema.names if n in asked)
            folder = tuple((k, v) for k, v in keys.items() if k in asked and k not in wanted)
            for groups, rows in _grouped(footer, fragment.path, piece_rows):
                pieces.append(Piece(fragment.path, groups, row, rows, wanted, folder))
                row += rows
            state = Path(fragment.path).stat()
            files.append((fragment.path, state.st_size, state.st_mtime_ns))
        present = _checked(kinds, {theirs.get(c, c) for c in REQUIRED}, name)
        found = frozenset(ours.get(column, column) for column in present)
        return cls(name, tuple(pieces), found, tuple(files))


def _fragments(source: Source, name: str) -> list[Any]:
    one = isinstance(source, str | Path)
    paths = [Path(source)] if isinstance(source, str | Path) else [Path(path) for path in source]
    gone = [str(path) for path in paths if not path.exists()]
    if gone:
        raise FileNotFoundError(f"{gone[0]}: no such file or folder ({len(gone)} are missing)")
    where = str(paths[0]) if one else [str(path) for path in paths]
    try:
        found = list(ds.dataset(where, format="parquet", partitioning="hive").get_fragments())
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SurveyDataError(f"{name}: no Parquet data set: {error}") from error
    if not found:
        raise SurveyDataError(f"{name}: holds no Parquet files")
    return found


def _footer(path: str) -> pq.FileMetaData:
    try:
        return pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise SurveyDataError(f"{path}: no Parquet file: {error}") from error


def _grouped(
    footer: pq.FileMetaData, path: str, piece_rows: int
) -> list[tuple[tuple[int, ...], int]]:
    """Row groups that follow each other, up to ``piece_rows`` rows together."""
    parts: list[tuple[tuple[int, ...], int]] = []
    for number in range(footer.num_row_groups):
        rows = footer.row_group(number).num_rows
        if rows > MAX_GROUP_ROWS:
            raise SurveyDataError(
                f"{path}: row group {number} has {rows:,} rows and would take about "
                f"{rows * 150 / 1e9:.0f} GB; write the file with row groups of a million rows"
            )
        if parts and parts[-1][1] + rows <= piece_rows:
            parts[-1] = ((*parts[-1][0], number), parts[-1][1] + rows)
        else:
            parts.append(((number,), rows))
    return parts


def _kind(schema: pa.Schema, keys: Mapping[str, Any], column: str) -> str:
    """What a file holds under a name: "number", "text", another type, "missing", or "nothing"."""
    if column not in schema.names:
        if column not in keys:
            return "missing"
        if keys[column] is None:
            return "nothing"
        return "text" if isinstance(keys[column], str) else "number"
    kind = schema.field(column).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind):
        return "nothing"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    return "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else str(kind)


def _checked(
    kinds: Mapping[str, Mapping[str, list[str]]], required: set[str], name: str
) -> list[str]:
    """The columns that are there, of one kind in all files."""
    present = []
    for column, seen in kinds.items():
        real = {kind: paths for kind, paths in seen.items() if kind != "nothing"}
        if set(real) == {"missing"} and column not in required:
            continue
        if "missing" in real:
            lacking = real["missing"]
            raise SurveyDataError(
                f"{name}: {len(lacking)} of {sum(map(len, seen.values()))} files have no column "
                f"{column}, first {lacking[0]} (rename with columns={{'yours': 'ours'}})"
            )
        if len(real) > 1:
            said = " and ".join(
                f"{kind} in {len(paths)} (first {paths[0]})" for kind, paths in real.items()
            )
            raise SurveyDataError(f"{name}: column {column} is {said} of its files")
        present.append(column)
    return present
