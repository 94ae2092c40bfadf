"""Surveys of one piece of a data set on disk, sorted so that any tile of them is a few runs.

A chunk is an uncompressed Arrow file, of which a reader touches what it takes, and a JSON file
beside it, written last, that says which group begins where.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from tighnari_graph.columns import text_codes
from tighnari_graph.distributed.cubes import cube_numbers
from tighnari_graph.distributed.source import Piece, their_name
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.files import write_array, written_whole
from tighnari_graph.geodesy import unit_vectors
from tighnari_graph.surveys import SurveyTable

Key: TypeAlias = tuple[Any, ...]  # year, region, …: what the surveys of a group share

BUCKETS = 256  # parts of all survey ids, by their last bits well mixed
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True, eq=False)
class Reading:
    """How the rows of a data set become surveys.

    Attributes:
        columns: new names, as `SurveyTable.from_long` takes them.
        match: columns whose values a group shares.
        described: other columns to keep of each survey.
        species_ids: the vocabulary, if it is given.
    """

    columns: tuple[tuple[str, str], ...]
    match: tuple[str, ...]
    described: tuple[str, ...] = ()
    species_ids: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Chunk:
    """What is in a chunk; the surveys themselves stay on disk.

    Attributes:
        path: of the Arrow file.
        groups: key → first survey and the one after the last.
        names: column → names of its codes in this chunk.
        vocabulary: species of the codes in this chunk, ids or names.
        surveys: how many there are.
        buckets: where each bucket of ids begins, and the end.
        notes: what its rows were, as `SurveyTable.notes` counts it.
    """

    path: Path
    groups: dict[Key, tuple[int, int]]
    names: dict[str, list[Any]]
    vocabulary: list[Any]
    surveys: int
    buckets: list[int]
    notes: dict[str, int]

    def rows(self) -> pa.RecordBatch:
        """The surveys, mapped into memory."""
        with pa.memory_map(str(self.path)) as file:
            return pa.ipc.open_file(file).get_batch(0)

    def group_numbers(self, key: Key) -> np.ndarray:
        """Cube numbers of a group's surveys, ascending; still on disk."""
        first, last = self.groups[key]
        return self.rows()["number"].to_numpy()[first:last]

    def ids(self, first: int, last: int) -> np.ndarray:
        """Ids of the surveys in some buckets, and a digest of place, year and the rest, [n, 2]."""
        mapped = np.load(self.path.with_suffix(".npy"), mmap_mode="r")
        return np.array(mapped[self.buckets[first] : self.buckets[last]])


def write_chunk(piece: Piece, path: Path, reading: Reading) -> None:
    """Read a piece, check it, and write its surveys; nothing is done if that has been done.

    Raises:
        SurveyDataError: if the rows break a rule of `SurveyTable.from_long`, or a survey has two
            values of a column that groups share.
        ValueError: on species outside the vocabulary.
    """
    if path.with_suffix(".json").exists():
        return
    frame = piece.read()
    table = SurveyTable.from_long(
        frame,
        reading.species_ids,
        {old: new for old, new in reading.columns if old in frame},
        source=piece.path,
    )
    _refuse_varying(table.notes, reading.match, piece.path)
    first_row = np.flatnonzero(
        ~frame[their_name(dict(reading.columns), "surveyId")].duplicated().to_numpy()
    )
    names: dict[str, list[Any]] = {}
    columns = {"year": table.year}
    for name in dict.fromkeys((*reading.match, *reading.described)):
        if name != "year":
            columns[name], found = text_codes(table.column(name))
            names[name] = found.tolist()
    number = cube_numbers(unit_vectors(table.lat, table.lon))
    order = np.lexsort((number, *(columns[name] for name in reading.match[::-1])))
    columns = {name: values[order] for name, values in columns.items()}
    labels = table.labels
    arrays = {
        "survey_id": table.survey_id[order],
        "lat": table.lat[order],
        "lon": table.lon[order],
        "row": piece.first_row + first_row[order],
        "number": number[order],
        **{f"in_{name}": values for name, values in columns.items()},
    }
    fields = {name: pa.array(values) for name, values in arrays.items()}
    if labels is not None:
        labels = labels[order]
        fields["species"] = pa.ListArray.from_arrays(
            pa.array(labels.indptr.astype(np.int32)), pa.array(labels.indices.astype(np.int32))
        )
    batch = pa.RecordBatch.from_pydict(fields)
    with written_whole(path) as part, pa.ipc.new_file(str(part), batch.schema) as writer:
        writer.write_batch(batch)
    buckets = _write_ids(path, arrays, columns, names)
    vocabulary = table.species_ids if table.species_names is None else table.species_names
    about = {
        "groups": _groups({name: columns[name] for name in reading.match}, names, len(table)),
        "names": names,
        "vocabulary": vocabulary.tolist(),
        "surveys": len(table),
        "buckets": buckets,
        "notes": table.notes,
    }
    with written_whole(path.with_suffix(".json")) as part:
        part.write_text(json.dumps(about))


def open_chunk(path: Path) -> Chunk:
    """What is in a chunk that `write_chunk` wrote."""
    return _opened(path, path.with_suffix(".json").stat().st_mtime_ns)


@lru_cache(maxsize=4096)
def _opened(path: Path, changed: int) -> Chunk:
    about = json.loads(path.with_suffix(".json").read_text())
    groups = {tuple(key): (first, last) for key, first, last in about["groups"]}
    rest = (about[name] for name in ("names", "vocabulary", "surveys", "buckets", "notes"))
    return Chunk(path, groups, *rest)


def survey_count(chunks: Iterable[Chunk]) -> int:
    """Surveys of several chunks; one that stands in two of them counts twice."""
    return sum(chunk.surveys for chunk in chunks)


def _refuse_varying(notes: dict[str, int], match: tuple[str, ...], source: str) -> None:
    """Which row comes first would depend on how the data set is cut into pieces."""
    for name in match:
        if varying := notes.get(f"surveys whose {name} varies (first row kept)"):
            raise SurveyDataError(
                f"{source}: {varying} surveys have several values of {name}, which match= asks "
                "for; a survey's rows must agree"
            )


def _groups(
    columns: dict[str, np.ndarray], names: dict[str, list[Any]], num: int
) -> list[tuple[list[Any], int, int]]:
    """Key, first and last of each run of surveys with equal codes; a missing value is None."""
    new = np.zeros(num, dtype=bool)
    new[:1] = True
    for values in columns.values():
        new[1:] |= values[1:] != values[:-1]
    first = np.flatnonzero(new)
    keys = []
    for name, values in columns.items():
        at = values[first]
        if name == "year":
            keys.append(at.tolist())
        else:
            keys.append(np.array([*names[name], None], dtype=object)[at].tolist())
    last = np.append(first, num)[1:]
    each = zip(*keys, strict=True) if keys else [()] * len(first)
    return [
        (list(key), a, b) for key, a, b in zip(each, first.tolist(), last.tolist(), strict=True)
    ]


def _write_ids(
    path: Path, arrays: dict[str, np.ndarray], columns: dict[str, np.ndarray], names: dict[str, Any]
) -> list[int]:
    """Ids by bucket, each with a digest of what a second survey of that id must share."""
    ids = arrays["survey_id"]
    with np.errstate(over="ignore"):
        digest = _mixed((arrays["lat"] + 0.0).view(np.uint64))  # −0 and 0 are one place
        digest = _mixed(digest ^ (arrays["lon"] + 0.0).view(np.uint64))
        for name, values in columns.items():
            shared = values if name == "year" else _text_digest(names[name])[values]
            digest = _mixed(digest ^ shared.astype(np.uint64))
        bucket = _mixed(ids.view(np.uint64)) >> np.uint64(56)
    order = np.argsort(bucket, kind="stable")
    write_array(path.with_suffix(".npy"), np.stack([ids, digest.view(np.int64)], axis=1)[order])
    count = np.bincount(bucket.astype(np.int64), minlength=BUCKETS)
    return [0, *np.cumsum(count).tolist()]


def _text_digest(values: list[Any]) -> np.ndarray:
    """A number of each name that is the same in every chunk; the last is that of a missing one."""
    whole = [int(v) if isinstance(v, float) and v.is_integer() else v for v in values]
    texts = pd.Series([repr(value) for value in whole] + ["missing"], dtype=object)
    return pd.util.hash_array(texts.to_numpy(), categorize=False)


def _mixed(bits: np.ndarray) -> np.ndarray:
    """Each number scattered over all 64 bits, one to one."""
    bits = (bits + _MIX[0]) ^ (bits >> np.uint64(30))
    bits = bits * _MIX[1]
    bits = (bits ^ (bits >> np.uint64(27))) * _MIX[2]
    return bits ^ (bits >> np.uint64(31))
