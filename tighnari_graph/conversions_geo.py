"""Survey graphs and geopandas: nodes as points, edges as lines, points as a table."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from torch_geometric.data import HeteroData

from tighnari_graph.conversions import (
    SURVEY_EDGES,
    EdgeType,
    edge_columns,
    edges_of,
    geo_package,
    node_columns,
    nodes_of,
    spec_of,
    species_per_survey,
    table_of_surveys,
)
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.long_table import renamed
from tighnari_graph.surveys import SurveyTable

if TYPE_CHECKING:
    import geopandas

WGS84 = "EPSG:4326"


def to_geodataframe(
    graph: SurveyGraph | HeteroData,
    what: str = "nodes",
    node_type: str = "survey",
    edge_type: EdgeType | None = None,
    undirected: bool = False,
    species: bool = False,
) -> "geopandas.GeoDataFrame":
    """Nodes as points, or edges as lines, in longitude and latitude (EPSG:4326).

    Nodes, in the order of the graph: survey_id; year; region and every other coded column by name,
    None where missing; further attributes, matrices as ``name_0``, ``name_1``, …; ``degree``,
    the edges into the node from surveys; ``num_species``, for node types with labels. ``attrs``
    holds how the graph was built: ``SurveyGraph.from_surveys(table, **points.attrs)``.
    Edges, in the order of the graph: source and target (survey ids), distance_km, weight and
    further attributes. A line runs from source to target; surveys at one place give a line of
    length 0. Across the antimeridian it runs the long way round on a map; distance_km is right.

    Args:
        graph: a survey graph, or what `SurveyGraph.attach` returned.
        what: "nodes" or "edges".
        node_type: which nodes: "survey", "test" or "po".
        edge_type: which edges; by default those between surveys.
        undirected: keep one of the two edges of a pair of surveys, the one whose source stands
            first. Edges into test nodes have one direction anyway.
        species: add ``species``, a list for each survey of names, or ids where there are no names;
            `from_geodataframe` reads it.

    Units: degrees for the geometry; kilometres for distance_km and weight.

    Raises:
        ImportError: without geopandas (``pip install '.[geo]'`` in the checkout).
        ValueError: on another ``what``, or a type that the graph does not have.

    Example:
        >>> rows = pd.DataFrame({"surveyId": [1, 2], "lat": [45.0, 45.05], "lon": 7.0,
        ...     "year": 2020, "region": "ALPINE", "speciesId": [5, 9]})
        >>> graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows))
        >>> to_geodataframe(graph)[["survey_id", "region", "degree", "geometry"]]
           survey_id  region  degree         geometry
        0          1  ALPINE       1     POINT (7 45)
        1          2  ALPINE       1  POINT (7 45.05)
        >>> to_geodataframe(graph, "edges", undirected=True).geometry.iloc[0].wkt
        'LINESTRING (7 45, 7 45.05)'
    """
    if what == "nodes":
        return _points(graph, node_type, species)
    if what == "edges":
        return _lines(graph, SURVEY_EDGES if edge_type is None else edge_type, undirected)
    raise ValueError(f'what must be "nodes" or "edges", got {what!r}')


def _points(graph: SurveyGraph | HeteroData, node_type: str, species: bool) -> Any:
    geopandas, shapely = geo_package("geopandas"), geo_package("shapely")
    nodes, spec = nodes_of(graph, node_type), spec_of(graph)
    columns = node_columns(nodes, spec)
    lat, lon = columns.pop("lat"), columns.pop("lon")
    into = ("survey", "near", node_type)
    columns["degree"] = np.zeros(len(lat), dtype=np.int64)
    if isinstance(graph, SurveyGraph) or into in graph.edge_types:
        target = edges_of(graph, into).edge_index[1].numpy(force=True)
        columns["degree"] = np.bincount(target, minlength=len(lat))
    if "y" in nodes:
        columns["num_species"] = nodes.y.crow_indices().diff().numpy(force=True)
        if species:
            columns["species"] = pd.Series(species_per_survey(nodes, spec), dtype=object)
    frame = geopandas.GeoDataFrame(columns, geometry=shapely.points(lon, lat), crs=WGS84)
    frame.attrs = {
        "radius_km": spec.radius_km, "earth_radius_km": spec.earth_radius_km, "match": spec.match,
    }  # fmt: skip
    return frame


def _lines(graph: SurveyGraph | HeteroData, edge_type: EdgeType, undirected: bool) -> Any:
    geopandas, shapely = geo_package("geopandas"), geo_package("shapely")
    edges = edges_of(graph, edge_type)
    ends = nodes_of(graph, edge_type[0]), nodes_of(graph, edge_type[2])
    columns = edge_columns(edges, ends[0].survey_id, ends[1].survey_id)
    source, target = edges.edge_index.numpy(force=True)
    if undirected and edge_type[0] == edge_type[2]:
        once = source < target
        source, target = source[once], target[once]
        columns = {key: value[once] for key, value in columns.items()}
    place = [end.pos.numpy(force=True)[:, ::-1] for end in ends]  # longitude first
    lines = shapely.linestrings(np.stack([place[0][source], place[1][target]], axis=1))
    return geopandas.GeoDataFrame(columns, geometry=lines, crs=WGS84)


def from_geodataframe(
    gdf: "geopandas.GeoDataFrame",
    species_ids: Sequence[int] | Sequence[str] | np.ndarray | None = None,
    columns: Mapping[str, str] | None = None,
    *,
    source: str = "GeoDataFrame",
) -> SurveyTable:
    """Points with surveys → `SurveyTable`; the way back from the nodes of `to_geodataframe`.

    Args:
        gdf: points in any coordinate system, brought to longitude and latitude (EPSG:4326);
            columns survey_id or surveyId, year, optionally region; ``species`` with a list in
            each row, or ``speciesId`` with a row per survey × species. Others go to ``meta``.
        species_ids: the vocabulary, as in `SurveyTable.from_long`; give ``graph.species_ids`` or
            ``graph.species_names`` to keep species that no survey has.
        columns: new names, such as ``{"plot": "surveyId"}``.
        source: what errors call it.

    Raises:
        ImportError: without geopandas (``pip install '.[geo]'`` in the checkout).
        TypeError: if it is no GeoDataFrame.
        SurveyDataError: without geometry or coordinate system, on geometries that are no points,
            and all that `SurveyTable.from_long` refuses.

    Example:
        >>> import geopandas
        >>> points = geopandas.points_from_xy([7.0, 7.0], [45.0, 45.05], crs="EPSG:4326")
        >>> gdf = geopandas.GeoDataFrame({"survey_id": [1, 2], "year": 2020,
        ...     "species": [[5, 9], []]}, geometry=points)
        >>> from_geodataframe(gdf.to_crs("EPSG:3035"))
        SurveyTable(surveys=2, species=2, labels=2, years=2020–2020)
    """
    geopandas, shapely = geo_package("geopandas"), geo_package("shapely")
    if not isinstance(gdf, geopandas.GeoDataFrame):
        raise TypeError(f"{source}: expected a GeoDataFrame, got {type(gdf).__name__}")
    if gdf.active_geometry_name is None:
        raise SurveyDataError(f"{source}: has no geometry column; gdf.set_geometry(...) names one")
    if gdf.crs is None:
        raise SurveyDataError(
            f"{source}: has no coordinate system; say which with gdf.set_crs(...), as "
            'gdf.set_crs("EPSG:4326") for degrees'
        )
    shapes = gdf.geometry.to_numpy()
    bad = (shapely.get_type_id(shapes) != 0) | shapely.is_empty(shapes)  # 0 is a point
    if bad.any():
        kinds = pd.Series(gdf.geometry.geom_type)[bad].fillna("missing").unique().tolist()
        raise SurveyDataError(
            f"{source}: {bad.sum()} of {len(gdf)} geometries are no points with a position "
            f"({', '.join(kinds)}), first in row {gdf.index[bad][0]}; gdf.centroid makes points"
        )
    points = gdf.geometry.to_crs(WGS84)
    frame = pd.DataFrame(gdf.drop(columns=gdf.geometry.name)).reset_index(drop=True)
    frame = renamed(frame, columns or {}, source)
    frame["lat"], frame["lon"] = points.y.to_numpy(), points.x.to_numpy()
    return table_of_surveys(frame, species_ids, source)
