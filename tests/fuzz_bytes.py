"""Hypothesis strategies for bytes that files should not hold: whole files changed, odd tables."""

import io
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from pyarrow import parquet

_NUMBERS = (b"\x00", b"\xff", b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f",
            b"\x00" * 8, b"\xff" * 8, b"\x80" + b"\x00" * 7)  # fmt: skip
_COLUMNS = ("surveyId", "lat", "lon", "year", "region", "country", "areaInM2", "geoUncertaintyInM",
            "speciesId", "predictions", "Elevation", "2000_1", "", " lat", "LAT", "a;b", "é")  # fmt: skip
_CELLS = ("7", "8", "43.1", "-91", "2020", "ALPINE", "", "NaN", "nan", "inf", "-inf", "1e3", "1_000",
          "1e400", "9223372036854775808", "-1", "0x1F", "46,1", "../../x", "true", "2020-05-01",
          "\x00", "é", "٣", '"', "'", "a\nb", "=1+1", " 7 ", "7.0", "NULL", "#N/A")  # fmt: skip


def mutated(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """A file with up to six changes: bytes overwritten, put in, cut out, doubled, or cut off."""
    place = st.floats(0, 1, exclude_max=True)
    change = st.tuples(
        st.sampled_from(("flip", "over", "in", "out", "twice", "off")),
        place,
        st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from(_NUMBERS)),
        st.integers(1, 64),
    )
    changes = st.lists(change, min_size=1, max_size=6)
    return st.builds(_changed, st.sampled_from(list(seeds)), changes)


def _changed(data: bytes, changes: list[tuple[str, float, bytes, int]]) -> bytes:
    for kind, place, some, length in changes:
        at = int(place * len(data))
        if kind == "flip":
            mask = some[0] or 1
            data = data[:at] + bytes(byte ^ mask for byte in data[at : at + 1]) + data[at + 1 :]
        elif kind == "over":
            data = data[:at] + some + data[at + len(some) :]
        elif kind == "in":
            data = data[:at] + some + data[at:]
        elif kind == "out":
            data = data[:at] + data[at + length :]
        elif kind == "twice":
            data = data[:at] + data[at : at + length] * 2 + data[at + length :]
        else:
            data = data[:at]
    return data


def csv_files() -> st.SearchStrategy[bytes]:
    """Few columns and rows of odd cells, any separator, line end, quoting and encoding."""
    cell = st.one_of(st.sampled_from(_CELLS), st.text(max_size=5))
    row = st.lists(cell, min_size=1, max_size=7)
    return st.builds(
        _csv,
        st.lists(st.sampled_from(_COLUMNS), min_size=1, max_size=7),
        st.booleans(),
        st.lists(row, max_size=5),
        st.sampled_from((",", ",", ",", ";", "\t")),
        st.sampled_from(("\n", "\r\n", "\r")),
        st.sampled_from(("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252")),
        st.booleans(),
    )


def _csv(
    names: list[str],
    whole: bool,
    rows: list[list[str]],
    comma: str,
    end: str,
    code: str,
    quote: bool,
) -> bytes:
    if whole:  # so that values are looked at too, not only the header
        names = [*_COLUMNS[:5], "speciesId", *names][: max(7, len(names))]
        rows = [(row * len(names))[: len(names)] for row in rows]

    def line(cells: list[str]) -> str:
        return comma.join('"' + c.replace('"', '""') + '"' if quote else c for c in cells)

    return end.join([line(names), *map(line, rows), ""]).encode(code, "replace")


_TYPES = (
    pa.int64(), pa.int8(), pa.uint64(), pa.float64(), pa.float16(), pa.float32(), pa.bool_(),
    pa.string(), pa.large_string(), pa.binary(), pa.date32(), pa.timestamp("s"),
    pa.timestamp("ns", "UTC"), pa.time64("us"), pa.duration("s"), pa.decimal128(30, 3), pa.null(),
    pa.list_(pa.int64()), pa.struct([("a", pa.int64())]), pa.map_(pa.string(), pa.int64()),
    pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int8(), pa.int64()),
)  # fmt: skip


def parquet_files(surveys: bool = False) -> st.SearchStrategy[bytes]:
    """Columns of our names and any type, some values missing, with odd notes for pandas.

    Args:
        surveys: only numbers where surveys have numbers, text as regions: values are looked at.
    """
    column = st.tuples(st.sampled_from(_COLUMNS), st.sampled_from(_TYPES))
    plain = st.sampled_from((pa.int64(), pa.float64(), pa.string(), pa.int64()))
    usual = st.tuples(*(st.one_of(plain, st.sampled_from(_TYPES)) for _ in range(6)))
    number = st.sampled_from([kind for kind in _TYPES if _is_number(kind)])
    text = st.sampled_from((pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())))
    if surveys:
        usual = st.tuples(number, number, number, number, text, number)
    usual = usual.map(lambda kinds: list(zip((*_COLUMNS[:5], "speciesId"), kinds, strict=True)))
    return st.builds(
        _parquet,
        usual if surveys else st.one_of(st.lists(column, max_size=5), usual),
        st.integers(0, 4),
        st.integers(0, 2**32),
        st.sampled_from((None, b"", b"{}", b'{"columns": 3}', b'{"index_columns": ["surveyId"]}',
                         b'{"index_columns": [{"kind": "range", "start": 0, "stop": 9e99, "step": 1}],'
                         b' "columns": [], "column_indexes": []}')),
    )  # fmt: skip


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _parquet(
    columns: list[tuple[str, pa.DataType]], rows: int, seed: int, notes: bytes | None
) -> bytes:
    rng = np.random.default_rng(seed)
    arrays = [_array(kind, rng, rows) for _, kind in columns]
    schema = pa.schema(
        [pa.field(name, array.type) for (name, _), array in zip(columns, arrays, strict=True)]
    )
    table = pa.Table.from_arrays(arrays, schema=schema)
    if notes is not None:
        table = table.replace_schema_metadata({b"pandas": notes})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()


def _array(kind: pa.DataType, rng: np.random.Generator, rows: int) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return _array(kind.value_type, rng, rows).dictionary_encode()
    whole = rng.choice([0, 1, 7, 43, 100], rows).tolist()
    values: list[object] = whole
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        values = [_CELLS[i % len(_CELLS)] for i in rng.integers(0, 99, rows)]
    elif pa.types.is_floating(kind):
        values = rng.choice([0.5, 7.0, np.nan, np.inf, -np.inf, 43.1], rows).tolist()
        if kind == pa.float16():
            values = [np.float16(value) for value in values]
    elif pa.types.is_boolean(kind):
        values = [value > 7 for value in whole]
    elif pa.types.is_list(kind):
        values = [[value] for value in whole]
    elif pa.types.is_struct(kind):
        values = [{"a": value} for value in whole]
    elif pa.types.is_map(kind):
        values = [[("a", value)] for value in whole]
    elif pa.types.is_timestamp(kind) and kind.unit == "s":
        values = [value * 10**13 for value in whole]  # beyond what pandas holds
    elif pa.types.is_decimal(kind):
        return pa.array(whole, pa.int64()).cast(kind)
    if not pa.types.is_null(kind):
        values = [None if rng.random() < 0.1 else value for value in values]
    else:
        values = [None] * rows
    return pa.array(values, kind)


def safetensors_files(seed: bytes) -> st.SearchStrategy[bytes]:
    """A safetensors file whose header says something else, in one to three places."""
    size = struct.unpack("<Q", seed[:8])[0]
    header, rest = json.loads(seed[8 : 8 + size]), seed[8 + size :]
    odd = st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64), st.floats(), st.text(max_size=3),
        st.lists(st.integers(-1, 2**40), max_size=3), st.just({}),
        st.sampled_from(("F32", "F64", "I64", "U8", "BF16", "BOOL", "I32")),
    )  # fmt: skip
    change = st.tuples(st.integers(0, 2**16), st.integers(0, 3), odd)
    return st.lists(change, min_size=1, max_size=3).map(
        lambda changes: _other_header(header, rest, changes)
    )


def _other_header(header: dict, rest: bytes, changes: list[tuple[int, int, object]]) -> bytes:
    header = json.loads(json.dumps(header))
    for number, field, value in changes:
        names = sorted(header)
        name = names[number % len(names)]
        if field == 3 or not isinstance(header[name], dict):
            header.pop(name)
        elif name == "__metadata__":
            key = next(iter(header[name]))
            header[name][key] = odd_json(header[name][key], number, value)
        else:
            header[name][("dtype", "shape", "data_offsets")[field]] = value
        if not header:
            break
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def odd_json(text: str, number: int, value: object) -> str:
    """JSON text with one of its values replaced."""
    state = json.loads(text)
    places = list(_places(state))
    if not places:
        return json.dumps(value)
    parent, key = places[number % len(places)]
    parent[key] = value
    return json.dumps(state)


def _places(state: object) -> list[tuple]:
    pairs = (
        state.items()
        if isinstance(state, dict)
        else enumerate(state)
        if isinstance(state, list)
        else ()
    )
    found = []
    for key, value in list(pairs):
        found += [(state, key), *_places(value)]
    return found


def json_files(seed: bytes) -> st.SearchStrategy[bytes]:
    """A JSON file of which one value is another."""
    odd = st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64), st.floats(), st.text(max_size=3),
        st.just([]), st.just({}), st.just([[1]]),
    )  # fmt: skip
    return st.tuples(st.integers(0, 2**16), odd).map(
        lambda change: odd_json(seed.decode(), *change).encode()
    )


def odd_or_changed(path: Path) -> st.SearchStrategy[bytes]:
    """In place of a JSON or Parquet file: itself with other bytes, or one made up."""
    seed = path.read_bytes()
    odd = json_files(seed) if path.suffix == ".json" else parquet_files()
    return st.one_of(mutated([seed]), odd)
