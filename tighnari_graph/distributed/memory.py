"""How much memory a tile would take, estimated before it does."""

import numpy as np

from tighnari_graph.distributed.cubes import BITS, cube_level
from tighnari_graph.distributed.plan import Tile
from tighnari_graph.distributed.surveys import TileSurveys
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.memory import free_memory
from tighnari_graph.neighbor_memory import EDGE_BYTES
from tighnari_graph.neighbor_reach import Reach
from tighnari_graph.neighbors import count_edges
from tighnari_graph.spec import GraphSpec


def check_tile_fits(surveys: TileSurveys, spec: GraphSpec, tile: Tile) -> None:
    """Refuse a tile whose edges would take more memory than there is.

    Edges join surveys of the same cube, as wide as the radius, or of two that touch: at most 27
    times the sum of squares of surveys a cube. Only where that is too much are they counted.

    Raises:
        SurveyDataError: with the count, and what to do.
    """
    free = free_memory()
    level = cube_level(Reach(spec.radius_km, spec.earth_radius_km).chord)
    count = np.unique(surveys.number >> 3 * (BITS - level), return_counts=True)[1]
    if 27.0 * float((count.astype(np.float64) ** 2).sum()) * EDGE_BYTES <= free:
        return
    table = surveys.table
    nobody_apart = np.zeros(len(table), dtype=np.int64)
    edges = count_edges(table.lat, table.lon, nobody_apart, spec.radius_km, spec.earth_radius_km)
    if edges * EDGE_BYTES > free:
        raise SurveyDataError(
            f"{tile}: {len(table):,} surveys have "
            f"{edges:,} edges, which take about {edges * EDGE_BYTES / 1e9:,.1f} GB while they are "
            f"made, and {max(free, 0) / 1e9:,.1f} GB are free; use a smaller max_surveys or "
            "radius_km, fewer workers, or workers with more memory"
        )
