"""What every task of a build needs to know, kept in the output folder, where workers read it."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tighnari_graph.distributed.chunks import Chunk, open_chunk
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.files import written_whole
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
        SurveyDataError: if the file is of another form.
    """
    path = Path(out) / "job.json"
    if not path.exists():
        raise FileNotFoundError(f"{out}: holds no distributed survey graph")
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: Path, changed: int) -> Job:
    try:
        about = json.loads(path.read_text())
        if about["form"] != FORM:
            raise ValueError(f"form {about['form']!r}, expected {FORM!r}")
        ids, names = read_species(path.parent)
        specs = {
            kind: GraphSpec(
                about["radius_km"], about["earth_radius_km"], tuple(about["match"]),
                {name: tuple(values) for name, values in categories.items()},
                *((np.zeros(0, dtype=np.int64), None) if kind == "test" else (ids, names)),
            )
            for kind, categories in about["categories"].items()
        }  # fmt: skip
        keys = {kind: tuple(columns) for kind, columns in about["keys"].items()}
        return Job(path.parent, specs, keys, about["pieces"], about["gfv"], about["lists"])
    except (ValueError, KeyError, TypeError, AttributeError, pa.ArrowException, OSError) as error:
        raise SurveyDataError(f"{path}: no distributed survey graph ({error})") from error


def write_species(spec: GraphSpec, out: Path) -> None:
    """The columns of labels and features, as a table."""
    columns = {"species_id": pa.array(spec.species_ids)}
    if spec.species_names is not None:
        columns["species_name"] = pa.array(spec.species_names, type=pa.string())
    with written_whole(out / "species.parquet") as part:
        pq.write_table(pa.table(columns), part)


def read_species(out: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Ids and names, if there are some."""
    table = pq.read_table(out / "species.parquet")
    ids = np.array(table["species_id"], dtype=np.int64)
    if "species_name" not in table.column_names:
        return ids, None
    return ids, np.array(table["species_name"].to_pylist(), dtype=object)
