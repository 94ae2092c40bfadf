"""What every task of a build needs to know, kept in the output folder, where workers read it."""

import json
from dataclasses import dataclass
from functools import lru_cache
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tighnari_graph.distributed.chunks import Chunk, open_chunk
from tighnari_graph.distributed.parts import NOT_AS_WRITTEN, read_part
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.files import written_whole
from tighnari_graph.neighbor_reach import Reach
from tighnari_graph.spec import GraphSpec

FORM = "tighnari distributed survey graph 1"


@dataclass(frozen=True, eq=False)
class Job:
    """A build, as its tasks see it.

    Attributes:
        out: folder of the results.
        specs: kind of survey → names, and the vocabulary, of its data set.
        keys: kind → columns that make up the key of a group.
        pieces: kind → number of its chunks.
        gfv: how graph feature vectors are made, or None.
        lists: how species lists are made, or None.
    """

    out: Path
    specs: dict[str, GraphSpec]
    keys: dict[str, tuple[str, ...]]
    pieces: dict[str, int]
    gfv: dict[str, Any] | None
    lists: dict[str, Any] | None

    def chunk_paths(self, kind: str) -> tuple[Path, ...]:
        """Where all chunks of a kind are."""
        return tuple(chunk_path(self.out, kind, i) for i in range(self.pieces.get(kind, 0)))

    def chunks(self, kind: str) -> list[Chunk]:
        """All chunks of a kind."""
        return [open_chunk(path) for path in self.chunk_paths(kind)]

    def write(self) -> None:
        """Store it, for `read_job`."""
        spec = self.specs["survey"]
        write_species(spec, self.out)
        about = {
            "form": FORM,
            "categories": {kind: one.categories for kind, one in self.specs.items()},
            "radius_km": spec.radius_km,
            "earth_radius_km": spec.earth_radius_km,
            "match": spec.match,
            "keys": self.keys,
            "pieces": self.pieces,
            "gfv": self.gfv,
            "lists": self.lists,
        }
        with written_whole(self.out / "job.json") as part:
            part.write_text(json.dumps(about))


def chunk_path(out: Path, kind: str, number: int) -> Path:
    """Where a chunk is."""
    return out / "work" / f"{kind}-{number:06d}.arrow"


def read_job(out: Path) -> Job:
    """The build in a folder.

    Raises:
        FileNotFoundError: if there is none.
        SurveyDataError: if the file is of another form, or that of the species is damaged.
    """
    path = Path(out) / "job.json"
    if not path.exists():
        raise FileNotFoundError(f"{out}: holds no distributed survey graph")
    return _read(path, _state(path), _state(path.parent / "species.parquet"))


def _state(path: Path) -> tuple[int, ...]:
    """Other numbers as soon as a file is another one."""
    if not path.exists():
        return ()
    about = path.stat()
    return (about.st_ino, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: Path, job_state: tuple[int, ...], species_state: tuple[int, ...]) -> Job:
    ids, names = read_species(path.parent)
    try:
        about = json.loads(path.read_text())
        if about["form"] != FORM:
            raise ValueError(f"form {about['form']!r}, expected {FORM!r}")
        reach = Reach(float(about["radius_km"]), float(about["earth_radius_km"]))
        specs = {
            kind: GraphSpec(
                reach.radius_km, reach.earth_radius_km, texts(about["match"]),
                {name: scalars(values) for name, values in categories.items()},
                *((np.zeros(0, dtype=np.int64), None) if kind == "test" else (ids, names)),
            )
            for kind, categories in about["categories"].items()
        }  # fmt: skip
        keys = {kind: texts(columns) for kind, columns in about["keys"].items()}
        for kind in ("survey", *specs):
            _refuse_unknown_keys(specs[kind], keys[kind])
        pieces = {kind: index(count) for kind, count in about["pieces"].items()}
        gfv, lists = about["gfv"], about["lists"]
        if not isinstance(gfv, dict | None) or not isinstance(lists, dict | None):
            raise TypeError("gfv and lists are options by name, or null")
        return Job(path.parent, specs, keys, pieces, gfv, lists)
    except NOT_AS_WRITTEN as error:
        raise SurveyDataError(f"{path}: no distributed survey graph ({error!r})") from error


def _refuse_unknown_keys(spec: GraphSpec, keys: tuple[str, ...]) -> None:
    known = ("year", *spec.categories)
    if set(keys) - set(known) or set(keys) - set(spec.match):
        raise ValueError(f"surveys share {', '.join(keys)}, known are {', '.join(known)}")


def texts(values: Any) -> tuple[str, ...]:
    """A list of texts as JSON holds it.

    Raises:
        TypeError: on anything else.

    Example:
        >>> texts(["year", "region"])
        ('year', 'region')
    """
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise TypeError(f"{values!r:.40} is no list of texts")
    return tuple(values)


def scalars(values: Any) -> tuple[Any, ...]:
    """A list of texts, numbers, truth values and nulls, as JSON holds it.

    Raises:
        TypeError: on anything else.

    Example:
        >>> scalars([2020, None])
        (2020, None)
    """
    plain = (str, int, float, type(None))
    if not isinstance(values, list) or not all(isinstance(one, plain) for one in values):
        raise TypeError(f"{values!r:.40} is no list of texts or numbers")
    return tuple(values)


def write_species(spec: GraphSpec, out: Path) -> None:
    """The columns of labels and features, as a table."""
    columns = {"species_id": pa.array(spec.species_ids)}
    if spec.species_names is not None:
        columns["species_name"] = pa.array(spec.species_names, type=pa.string())
    with written_whole(out / "species.parquet") as part:
        pq.write_table(pa.table(columns), part)


def read_species(out: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Ids and names, if there are some.

    Raises:
        SurveyDataError: if the file is missing or damaged.
    """
    path = out / "species.parquet"
    ids = np.array(read_part(path, {"species_id": pa.int64()})["species_id"])
    if repeated := len(ids) - len(np.unique(ids)):
        raise SurveyDataError(f"{path}: damaged: {repeated:,} species ids are repeated")
    if "species_name" not in pq.read_schema(path).names:
        return ids, None
    names = read_part(path, {"species_name": pa.string()})["species_name"]
    return ids, np.array(names.to_pylist(), dtype=object)
