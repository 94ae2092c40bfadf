"""A Parquet data set as pieces of bounded size: which row groups of which file, and what of them.

Only footers are read here; a worker reads the rows of one piece.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tighnari_graph.columns import refuse_repeated
from tighnari_graph.distributed.parts import NOT_AS_WRITTEN
from tighnari_graph.distributed.source_files import folder_keys, source_files
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.surveys import REQUIRED
from tighnari_graph.table_files import frame_of, is_text_type

Source: TypeAlias = str | Path | Sequence[str | Path]

PIECE_ROWS = 1_000_000
_KINDS = ("number", "text", "bool")
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
            SurveyDataError: if the file cannot be read, or has other rows than its footer said.
        """
        try:
            frame = self._read()
        except SurveyDataError:
            raise
        except NOT_AS_WRITTEN as error:
            raise SurveyDataError(f"{self.path}: cannot be read: {error}") from error
        frame = frame.reindex(range(self.rows))  # pandas forgets them where no column is read
        return frame.assign(**dict(self.keys))

    def _read(self) -> pd.DataFrame:
        wanted = list(self.wanted)
        texts = [field.name for field in pq.read_schema(self.path) if is_text_type(field.type)]
        # A text that occurs often is held once: a small file could stand for gigabytes.
        with pq.ParquetFile(self.path, read_dictionary=texts) as file:
            table = file.read_row_groups(list(self.row_groups), wanted).select(wanted)
        if len(table) != self.rows:
            raise SurveyDataError(
                f"{self.path}: has {len(table):,} rows where its footer says {self.rows:,}"
            )
        table.validate(full=True)  # text that is no UTF-8
        for place, column in enumerate(table.schema):
            if pa.types.is_decimal(column.type):  # a number like any other
                values = table[column.name].cast(pa.float64())
                table = table.set_column(place, column.name, values)
        return frame_of(table)

    def only(self, column: str) -> "Piece":
        """The same rows with one column, under the file's name."""
        wanted = tuple(name for name in self.wanted if name == column)
        return replace(self, wanted=wanted, keys=tuple(k for k in self.keys if k[0] == column))


@dataclass(frozen=True)
class DataSet:
    """The pieces of a data set, and what tells it from another.

    Attributes:
        name: what errors call it.
        pieces: in the order of the rows.
        columns: that it has and that were asked for, under our names.
        names: of all columns that some file has, under its own names.
        files: path, bytes and time of change of each file.
    """

    name: str
    pieces: tuple[Piece, ...]
    columns: frozenset[str]
    names: frozenset[str]
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
            SurveyDataError: on no or unreadable files, links to folders, pipes and devices among
                them, missing columns, columns that only some files have, that are text in some and
                numbers in others, or neither in any, and on names that occur twice once columns
                are renamed.
        """
        name = str(source) if isinstance(source, str | Path) else f"{len(source)} files"
        paths = source_files(source, name)
        ours = dict(columns or {})
        required = {their_name(ours, column) for column in REQUIRED}
        asked = required | {their_name(ours, column) for column in optional}
        pieces: list[Piece] = []
        kinds: dict[str, dict[str, list[str]]] = {column: {} for column in sorted(asked)}
        files, row = [], 0
        names: set[str] = set()
        for path, keys in zip(paths, folder_keys(paths), strict=True):
            footer, schema = _footer(path)
            here = [*schema.names, *(key for key in keys if key not in schema.names)]
            final = [ours.get(n, n) for n in here]
            refuse_repeated([n for n in final if n in (*REQUIRED, *optional)], path)
            names.update(here)
            for column, seen in kinds.items():
                seen.setdefault(_kind(schema, keys, column), []).append(path)
            wanted = tuple(n for n in schema.names if n in asked)
            folder = tuple((k, v) for k, v in keys.items() if k in asked and k not in wanted)
            for groups, rows in _grouped(footer, path, piece_rows):
                pieces.append(Piece(path, groups, row, rows, wanted, folder))
                row += rows
            state = Path(path).stat()
            files.append((path, state.st_size, state.st_mtime_ns))
        present = _checked(kinds, required, name)
        found = frozenset(ours.get(column, column) for column in present)
        return cls(name, tuple(pieces), found, frozenset(names), tuple(files))


def refuse_within(out: Path, *sources: Source) -> None:
    """Refuse a folder for results among what is read: the next run would read them too.

    Raises:
        ValueError: naming both.
    """
    for source in sources:
        for path in [source] if isinstance(source, str | Path) else source:
            if out.resolve().is_relative_to(Path(path).resolve()):
                raise ValueError(f"{out} lies in {path}, which is read; choose another folder")


def refuse_unknown(columns: Mapping[str, str] | None, *data: DataSet) -> None:
    """Refuse new names for columns that no data set has.

    Raises:
        SurveyDataError: naming them.
    """
    there = frozenset[str]().union(*(one.names for one in data))
    if unknown := [name for name in columns or {} if name not in there]:
        raise SurveyDataError(
            f"{' and '.join(one.name for one in data)}: columns= renames {', '.join(unknown)}, not "
            f"among {', '.join(sorted(there))}"
        )


def their_name(columns: Mapping[str, str] | None, ours: str) -> str:
    """What the files call a column.

    Example:
        >>> their_name({"plot": "surveyId"}, "surveyId"), their_name(None, "lat")
        ('plot', 'lat')
    """
    return next((old for old, new in (columns or {}).items() if new == ours), ours)


def _footer(path: str) -> tuple[pq.FileMetaData, pa.Schema]:
    try:
        footer = pq.read_metadata(path)
        return footer, footer.schema.to_arrow_schema()
    except NOT_AS_WRITTEN as error:
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
    """What a file holds under a name: one of `_KINDS`, another type, "missing", or "nothing"."""
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
    return "text" if is_text_type(kind) else str(kind)


def _checked(
    kinds: Mapping[str, Mapping[str, list[str]]], required: set[str], name: str
) -> list[str]:
    """The columns that are there, of one kind in all files."""
    present = []
    for column, seen in kinds.items():
        real = {kind: paths for kind, paths in seen.items() if kind != "nothing"}
        if set(seen) == {"missing"} and column not in required:
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
        if odd := [kind for kind in real if kind not in _KINDS]:
            raise SurveyDataError(
                f"{name}: column {column} is {odd[0]} (first {real[odd[0]][0]}), expected numbers "
                "or text; convert it before it is written"
            )
        present.append(column)
    return present
