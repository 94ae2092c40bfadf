"""Build a survey graph on many workers, from a data set that need not fit into memory."""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tighnari_graph.distributed.attached import build_test_tile
from tighnari_graph.distributed.chunks import Chunk, Reading, open_chunk, write_chunk
from tighnari_graph.distributed.cluster import connected, done_by
from tighnari_graph.distributed.folder import claimed
from tighnari_graph.distributed.job import FORM, Job, chunk_path
from tighnari_graph.distributed.opened import DistributedGraph
from tighnari_graph.distributed.options import Options, gfv_options, list_options
from tighnari_graph.distributed.plan import plan_tiles
from tighnari_graph.distributed.repeats import id_buckets, refuse_repeats
from tighnari_graph.distributed.request import NAMES, Request, categories
from tighnari_graph.distributed.source import PIECE_ROWS, DataSet, Piece, Source, refuse_within
from tighnari_graph.distributed.tile import build_tile
from tighnari_graph.files import written_whole
from tighnari_graph.geodesy import EARTH_RADIUS_KM
from tighnari_graph.spec import DEFAULT_MATCH, GraphSpec

if TYPE_CHECKING:
    from distributed import Client


def build(
    source: Source,
    out: str | Path,
    *,
    radius_km: float = 10.0,
    earth_radius_km: float = EARTH_RADIUS_KM,
    match: tuple[str, ...] = DEFAULT_MATCH,
    columns: Mapping[str, str] | None = None,
    species_ids: Sequence[int] | Sequence[str] | np.ndarray | None = None,
    test: Source | None = None,
    presence_only: Source | None = None,
    gfv: bool = True,
    degree: str = "count",
    exclude_block: float | None = None,
    lists: Mapping[str, Any] | None = None,
    max_surveys: int = 500_000,
    piece_rows: int = PIECE_ROWS,
    client: "Client | None" = None,
) -> DistributedGraph:
    """The survey graph of a Parquet data set of any size, as `SurveyGraph.from_surveys` makes it.

    Rows are those of `SurveyTable.from_long`, one per survey × species. One task makes the edges
    of one group (year, region); a group of more than ``max_surveys`` is cut into tiles, each of
    which looks at the surveys within the radius around it too. The edges into a survey are kept by
    the tile that the survey is in.

    The same call after an interruption goes on where it stopped; after it has finished, it opens
    the result.

    Args:
        source: a Parquet file, a folder of them (``year=2020/region=ALPINE/…`` or any other), or
            a list of files. All workers must see them, and ``out``, under the same path. Links to
            files are read, links to folders are refused; names in a folder that begin with ``_`` or
            ``.`` are passed over, as Spark and Arrow do.
        out: folder of the results; new, empty, or of the same build.
        radius_km, earth_radius_km, match: as for `SurveyGraph.from_surveys`.
        columns: new names, such as ``{"decimalLatitude": "lat"}``.
        species_ids: the vocabulary; by default the species of ``source`` and ``presence_only``.
        test: surveys to predict; they get features and species lists, and no edge among each other.
        presence_only: PO surveys, for the species lists of ``test``.
        gfv: whether to make graph feature vectors.
        degree, exclude_block: of `graph_feature_vectors`; a block is given by its kilometres.
        lists: options of `species_lists`, as ``{"num_po": 10}``; by default PO surveys alone if
            there are some, else surveys.
        max_surveys: of a tile; a worker needs about 3 kB for each survey of mean degree ten.
        piece_rows: rows that a worker reads at once, unless a row group has more; 150 bytes each.
        client: of a Dask cluster; by default a `LocalCluster` of a process for each core. A script
            then calls this under ``if __name__ == "__main__":``, as Dask asks.

    Raises:
        ImportError: without Dask (``pip install '.[distributed]'`` in the checkout).
        FileNotFoundError: if there is no such source.
        FileExistsError: if ``out`` holds anything else.
        FolderInUseError: if another process builds there.
        RuntimeError: if a task takes several workers down with it, all workers are gone for five
            minutes, or the scheduler is.
        SurveyDataError: on rows that `SurveyTable.from_long` refuses, an id that stands for two
            surveys, or a tile that does not fit into memory.
        TypeError: on options that are no numbers, or of no `species_lists`.
        ValueError: if ``out`` lies in a folder of the source, on options out of range or without
            effect, or species outside ``species_ids``.

    Source: Liu et al. 2024, section 3.2, algorithms 1 and 2.

    Example:
        >>> import pandas as pd
        >>> from distributed import Client
        >>> from tempfile import TemporaryDirectory
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45.0, 45.05, 47.0], "lon": 7.0,
        ...     "year": 2020, "speciesId": [5, 9, 5]})
        >>> with (TemporaryDirectory() as folder,
        ...         Client(processes=False, dashboard_address=None) as client):
        ...     rows.to_parquet(f"{folder}/surveys.parquet")
        ...     graph = build(f"{folder}/surveys.parquet", f"{folder}/graph", client=client)
        ...     graph.partitions[["year", "surveys", "edges", "isolates"]]
        ...     graph.partition(0).edge_distance_km
           year  surveys  edges  isolates
        0  2020        3      2         1
        tensor([5.5598, 5.5598])
    """
    options = Options(
        float(radius_km), float(earth_radius_km), gfv_options(gfv, degree, exclude_block),
        list_options(lists, test is not None, presence_only is not None),
        index(max_surveys), index(piece_rows),
    )  # fmt: skip
    match = (match,) if isinstance(match, str) else tuple(dict.fromkeys(match))
    given = None if species_ids is None else np.asarray(species_ids)
    request = Request(source, test, presence_only, match, dict(columns or {}), given)
    out = Path(out).absolute()
    refuse_within(out, *(one for one in (source, test, presence_only) if one is not None))
    data = request.data_sets(options.piece_rows)
    settings = {
        "form": FORM, "match": list(request.match), "columns": request.columns,
        "species_ids": None if given is None else given.tolist(), **asdict(options),
        "files": {kind: [list(file) for file in one.files] for kind, one in data.items()},
    }  # fmt: skip
    with claimed(out, settings):
        if not (out / "manifest.json").exists():
            with connected(client) as workers:
                _build(out, request, data, options, workers)
        shutil.rmtree(out / "work", ignore_errors=True)
    return DistributedGraph.open(out)


def _build(
    out: Path,
    request: Request,
    data: dict[str, DataSet],
    options: Options,
    workers: "Client",
) -> None:
    """Read, check, plan, build; what is done is written last of all."""
    for kind, one in data.items():
        items = [(piece, chunk_path(out, kind, i)) for i, piece in enumerate(one.pieces)]
        done_by(workers, _read, items, f"reading {NAMES[kind]}", request.reading(kind, one))
    chunks = {
        kind: [open_chunk(chunk_path(out, kind, i)) for i in range(len(one.pieces))]
        for kind, one in data.items()
    }
    ids, names = request.vocabulary(chunks)
    specs = {
        kind: GraphSpec(
            options.radius_km, options.earth_radius_km, request.match,
            categories(chunks[kind], request.reading(kind, one), one.name),
            *((np.zeros(0, dtype=np.int64), None) if kind == "test" else (ids, names)),
        )
        for kind, one in data.items()
    }  # fmt: skip
    job = Job(
        out, specs, {kind: request.keys(kind, one) for kind, one in data.items()},
        {kind: len(one.pieces) for kind, one in data.items()}, options.gfv, options.lists,
    )  # fmt: skip
    job.write()
    for kind, one in data.items():
        done_by(
            workers, refuse_repeats, id_buckets(chunks[kind]), f"ids of {NAMES[kind]}",
            job.chunk_paths(kind), one.name,
        )  # fmt: skip
    done: dict[str, Any] = {"form": FORM, "test": None}
    tiles = plan_tiles(chunks["survey"], options.max_surveys)
    done["tiles"] = done_by(workers, build_tile, tiles, "edges", out)
    if "test" in data:
        tiles = plan_tiles(chunks["test"], options.max_surveys)
        done["test"] = done_by(workers, build_test_tile, tiles, "test surveys", out)
    done["notes"] = {kind: _notes(chunks[kind]) for kind in data}
    done["notes"]["survey"] |= _notes_of_whole(done["notes"]["survey"], done["tiles"])
    with written_whole(out / "manifest.json") as part:
        part.write_text(json.dumps(done))


def _notes(chunks: list[Chunk]) -> dict[str, int]:
    """What was said of rows; a survey whose rows stand in two pieces may count twice."""
    total: Counter[str] = Counter()
    for chunk in chunks:
        total.update(chunk.notes)
    return dict(total)


def _notes_of_whole(notes: dict[str, int], tiles: list[dict[str, Any]]) -> dict[str, int]:
    """The notes that are exact once the rows of each survey are together."""
    told = "labels" if "rows without a species" in notes else "surveys"  # one by each other row
    found = {
        "repeated rows": notes.get("rows", 0) - notes.get("rows without a species", 0)
        - sum(tile[told] for tile in tiles),
        "surveys without species": sum(tile["without_species"] for tile in tiles),
        "surveys without region": sum(tile["without_region"] for tile in tiles),
    }  # fmt: skip
    return {name: count for name, count in found.items() if name in notes}


def _read(item: tuple[Piece, Path], reading: Reading) -> None:
    write_chunk(*item, reading)
