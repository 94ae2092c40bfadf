"""One tile of the graph: its surveys, their edges and features, written to Parquet."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tighnari_graph.distributed.cubes import cube_level, runs_around
from tighnari_graph.distributed.job import Job, read_job
from tighnari_graph.distributed.memory import check_tile_fits
from tighnari_graph.distributed.plan import Tile
from tighnari_graph.distributed.surveys import TileSurveys, tile_surveys
from tighnari_graph.distributed.tables import feature_columns, survey_columns, write_columns
from tighnari_graph.files import written_whole
from tighnari_graph.gfv import graph_feature_vectors
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.neighbor_reach import Reach
from tighnari_graph.sparse import scipy_csr


def build_tile(tile: Tile, out: Path) -> dict[str, Any]:
    """Find the edges into the surveys of a tile, and write all that is known of them.

    The graph of its surveys and of those around them is the single-machine one; kept are the edges
    into its own surveys, so that each edge is kept by one tile. Nothing is done if that has been
    done.

    Returns:
        Counts of what was written.

    Raises:
        SurveyDataError: if the edges would not fit into memory.
    """
    done = out / "tiles" / f"{tile.name}.json"
    if done.exists():
        return dict(json.loads(done.read_text()))
    job = read_job(out)
    spec = job.specs["survey"]
    surveys = _with_halo(tile, job)
    table = surveys.table
    own = (surveys.number >= tile.begin) & (surveys.number < tile.end)
    if tile.matches:
        check_tile_fits(surveys, spec, tile)
    graph = SurveyGraph.from_surveys(
        table, spec.radius_km, spec.earth_radius_km, job.keys["survey"]
    )
    source, target = graph.edge_index.numpy()
    kept = own[target]
    degree = np.bincount(target[kept], minlength=len(table))[own]
    halo = np.zeros(len(table), dtype=bool)
    halo[source[kept]] = True
    halo &= ~own
    species = graph.y.crow_indices().diff().numpy()[own]
    counts: dict[str, Any] = {
        "tile": tile.number,
        "key": list(tile.key),
        "cut": tile.cut,
        "surveys": len(degree),
        "halo": int(halo.sum()),
        "edges": int(kept.sum()),
        "isolates": int((degree == 0).sum()),
        "most_neighbors": int(degree.max(initial=0)),
        "labels": int(species.sum()),
        "without_species": int((species == 0).sum()),
        "without_region": 0 if table.region is None else int(pd.isna(table.region[own]).sum()),
    }
    edges = {
        "source": table.survey_id[source[kept]],
        "target": table.survey_id[target[kept]],
        "distance_km": graph.edge_distance_km.numpy()[kept],
    }
    write_columns(
        out, "edges", tile.name, {name: pa.array(values) for name, values in edges.items()}
    )
    del source, target, kept, edges
    if job.gfv is not None:
        features = scipy_csr(graph_feature_vectors(graph, normalize=None, **job.gfv))[own]
        counts["largest_feature"] = float(features.data.max(initial=0))
        ids = {"survey_id": pa.array(table.survey_id[own])}
        write_columns(out, "gfv", tile.name, ids | feature_columns(features, spec.species_ids))
    if tile.cut:
        columns = survey_columns(table.subset(halo), surveys.row[halo], spec)
        write_columns(out, "halo", tile.name, columns)
    write_columns(
        out, "surveys", tile.name, survey_columns(table.subset(own), surveys.row[own], spec)
    )
    with written_whole(done) as part:
        part.write_text(json.dumps(counts))
    return counts


def _with_halo(tile: Tile, job: Job) -> TileSurveys:
    """The surveys of a tile, and those of its group that can be within the radius of them."""
    chunks, spec = job.chunks("survey"), job.specs["survey"]
    runs = np.array([[tile.begin, tile.end]])
    if tile.cut and tile.matches:
        level = cube_level(Reach(spec.radius_km, spec.earth_radius_km).chord)
        numbers = [c.group_numbers(tile.key) for c in chunks if tile.key in c.groups]
        cuts = [part.searchsorted(runs[0]) for part in numbers]
        own = np.concatenate([part[slice(*cut)] for part, cut in zip(numbers, cuts, strict=True)])
        runs = np.concatenate([runs, runs_around(own, level, tile.begin, tile.end)])
    return tile_surveys(chunks, tile.key, runs, spec)
