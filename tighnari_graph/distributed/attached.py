"""One tile of test surveys: their graph feature vectors and species lists."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tighnari_graph.distributed.chunks import Key
from tighnari_graph.distributed.cubes import cube_level, runs_around
from tighnari_graph.distributed.job import Job, read_job
from tighnari_graph.distributed.plan import Tile
from tighnari_graph.distributed.surveys import tile_surveys
from tighnari_graph.distributed.tables import feature_columns, survey_columns, write_columns
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.files import written_whole
from tighnari_graph.gfv import graph_feature_vectors
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.neighbor_reach import Reach
from tighnari_graph.sparse import scipy_csr, torch_csr
from tighnari_graph.spec import edge_attributes, survey_nodes
from tighnari_graph.species_lists import species_lists
from tighnari_graph.surveys import SurveyTable


def build_test_tile(tile: Tile, out: Path) -> dict[str, Any]:
    """Attach the test surveys of a tile to the surveys and PO surveys around them.

    What a test survey gets depends on edges into it alone, so the surveys around the tile are
    enough; `attach`, `graph_feature_vectors` and `species_lists` do the rest. Nothing is done if
    that has been done.

    Returns:
        Counts of what was written.

    Raises:
        SurveyDataError: if the edges into its surveys would not fit into memory.
    """
    done = out / "tiles" / f"test-{tile.name}.json"
    if done.exists():
        return dict(json.loads(done.read_text()))
    job = read_job(out)
    spec = job.specs["survey"]
    own = np.array([[tile.begin, tile.end]])
    test = tile_surveys(job.chunks("test"), tile.key, own, job.specs["test"])
    runs = runs_around(test.number, cube_level(Reach(spec.radius_km, spec.earth_radius_km).chord))
    nowhere = np.zeros((0, 2), dtype=np.int64)
    near = tile_surveys(job.chunks("survey"), tile.key, runs if tile.matches else nowhere, spec)
    po = None
    if "po" in job.pieces:
        po = tile_surveys(job.chunks("po"), _po_key(tile.key, job), runs, job.specs["po"]).table
    try:
        hetero = _without_edges(near.table, job).attach(test.table, po)
    except MemoryError as error:
        raise SurveyDataError(f"test {tile}: {error}") from error
    columns = survey_columns(test.table, test.row, job.specs["test"])
    counts: dict[str, Any] = {"tile": tile.number, "key": list(tile.key), "surveys": len(test.row)}
    for source in ("survey", "po"):
        if (source, "near", "test") in hetero.edge_types:
            into = hetero[source, "near", "test"].edge_index[1].numpy()
            degree = np.bincount(into, minlength=len(test.row))
            columns[f"near_{source}"] = pa.array(degree)
            counts[f"near_{source}"] = int(degree.sum())
    if job.gfv is not None:
        options = {"degree": job.gfv["degree"]}
        features = graph_feature_vectors(hetero, target="test", normalize=None, **options)
        columns |= feature_columns(scipy_csr(features), spec.species_ids, "gfv_")
    if job.lists is not None:
        lists = scipy_csr(species_lists(hetero, **job.lists))
        columns["list_species"] = feature_columns(lists, spec.species_ids)["species"]
    write_columns(out, "test", tile.name, columns)
    with written_whole(done) as part:
        part.write_text(json.dumps(counts))
    return counts


def _po_key(key: Key, job: Job) -> Key:
    """PO surveys share the year only."""
    value = dict(zip(job.keys["test"], key, strict=True))
    return tuple(value[name] for name in job.keys["po"])


def _without_edges(table: SurveyTable, job: Job) -> SurveyGraph:
    nodes, spec = survey_nodes(table, job.specs["survey"])
    none = edge_attributes(
        np.zeros((2, 0), dtype=np.int64), np.zeros(0, dtype=np.float32), spec.radius_km
    )
    return SurveyGraph(**nodes, y=torch_csr(table.known_labels()), **none, spec=spec)
