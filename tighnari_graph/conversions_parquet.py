"""Survey graphs as a folder of GeoParquet and Parquet files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tighnari_graph.check import broken_rules
from tighnari_graph.conversions import (
    edge_columns,
    geo_package,
    node_columns,
    require_survey_graph,
)
from tighnari_graph.conversions_geo import WGS84
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.files import half_written, written_together, written_whole
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.sparse import torch_csr
from tighnari_graph.spec import EDGE_ATTRIBUTES, NODE_ATTRIBUTES, GraphSpec
from tighnari_graph.vocabulary import label_matrix

FORM = "tighnari survey graph, GeoParquet 1"
FILES = ("nodes.parquet", "edges.parquet", "labels.parquet", "species.parquet", "spec.json")


def write_geoparquet(graph: SurveyGraph, folder: str | Path) -> None:
    """Write a survey graph as a folder that geopandas, QGIS, DuckDB and R read.

    - ``nodes.parquet``, GeoParquet: survey_id, year, codes and their names, further attributes,
      points in EPSG:4326; in the order of the graph.
    - ``edges.parquet``: source and target (survey ids), distance_km, weight, further attributes.
    - ``labels.parquet``: survey_id, species_id; a row per survey × species.
    - ``species.parquet``: species_id, and species_name if there are names; columns of ``y``.
    - ``spec.json``: radius, Earth radius, match, categories.

    All files are written before they take the place of an earlier graph, ``spec.json`` last: a
    folder without it is not whole.

    Units: degrees; kilometres.

    Raises:
        ImportError: without geopandas (``pip install '.[geo]'`` in the checkout).
        FileExistsError: if the folder holds anything but such a graph.
        FolderInUseError: if another process or thread writes there.
        OSError: if the disk is full; an earlier graph stays.
        SurveyDataError: on an attribute that is no dense vector; nothing is left out.
        TypeError: on anything but a `SurveyGraph`.

    Example:
        >>> rows = pd.DataFrame({"surveyId": [1, 2], "lat": [45.0, 45.05], "lon": 7.0,
        ...     "year": 2020, "speciesId": [5, 9]})
        >>> import tempfile
        >>> from tighnari_graph.surveys import SurveyTable
        >>> graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_geoparquet(graph, Path(folder) / "graph")
        ...     read_geoparquet(Path(folder) / "graph").edge_weight
        tensor([4.4402, 4.4402])
    """
    require_survey_graph(graph, "write_geoparquet")
    folder = Path(folder)
    _refuse_others(folder)
    geopandas, shapely = geo_package("geopandas"), geo_package("shapely")
    codes = {k: v.numpy(force=True) for k, v in graph.to_dict().items() if k.endswith("_code")}
    nodes = node_columns(graph, graph._spec) | codes
    edges = edge_columns(graph, graph.survey_id, graph.survey_id)
    known = (*NODE_ATTRIBUTES, *EDGE_ATTRIBUTES, "spec", *codes)
    more = [key for key in graph.to_dict() if key not in known]
    for key in more:
        if key not in nodes and key not in edges:
            raise SurveyDataError(
                f"write_geoparquet: attribute {key!r} ({type(graph[key]).__name__}) is no dense "
                "vector with an entry for each survey or edge and would be lost; delete it first "
                f"(del graph.{key}) or store it elsewhere"
            )
    if (graph.y.values() != 1).any():
        raise SurveyDataError("write_geoparquet: y has stored entries other than 1")
    points = shapely.points(nodes.pop("lon"), nodes.pop("lat"))
    species: dict[str, Any] = {"species_id": graph.species_ids}
    if graph.species_names is not None:
        species["species_name"] = pa.array(graph.species_names, pa.string())
    count = graph.y.crow_indices().diff().numpy(force=True)
    labels = {
        "survey_id": np.repeat(graph.survey_id.numpy(force=True), count),
        "species_id": graph.species_ids[graph.y.col_indices().numpy(force=True)],
    }
    spec = {
        "form": FORM,
        "node_attributes": [k for k in more if k in nodes],
        "edge_attributes": [k for k in more if k in edges],
        "spec": json.loads(graph._spec.to_json()) | {"species_names": None},
    }
    with written_together(folder, FILES) as new:
        with written_whole(new[FILES[0]]) as part:
            geopandas.GeoDataFrame(nodes, geometry=points, crs=WGS84).to_parquet(part)
        for name, columns in zip(FILES[1:4], (edges, labels, species), strict=True):
            with written_whole(new[name]) as part:
                pq.write_table(pa.table(columns), part)
        with written_whole(new[FILES[4]]) as part:
            part.write_text(json.dumps(spec, indent=1, ensure_ascii=False), "utf-8")


def _refuse_others(folder: Path) -> None:
    """Refuse a folder that holds anything but a graph."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder}: a file, not a folder")
    ours = {folder / name for name in FILES} | half_written(folder, FILES)
    other = sorted(p.name for p in folder.iterdir() if p.is_dir() or p not in ours)
    if other:
        raise FileExistsError(f"{folder}: holds other files ({', '.join(other[:5])})")


def read_geoparquet(folder: str | Path) -> SurveyGraph:
    """Read a graph that `write_geoparquet` wrote; equal to it bit by bit.

    Edges may stand in any order.

    Raises:
        ImportError: without geopandas (``pip install '.[geo]'`` in the checkout).
        FileNotFoundError: if there is no such folder.
        SurveyDataError: if files are missing or of another form, an edge or label names an unknown
            survey or species, or the graph breaks a rule of `SurveyGraph.validate`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    absent = [name for name in FILES if not (folder / name).exists()]
    if absent:
        raise SurveyDataError(f"{folder}: no saved survey graph, {', '.join(absent)} is not there")
    geo_package("geopandas")
    try:
        graph = _read(folder)
        problems = broken_rules(graph)
    except SurveyDataError:
        raise
    except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError,
            ValueError) as error:  # fmt: skip
        raise SurveyDataError(f"{folder}: no saved survey graph ({error})") from error
    if problems:
        raise SurveyDataError(
            f"{folder}: breaks the rules of a survey graph: {'; '.join(problems)}"
        )
    return graph


def _read(folder: Path) -> SurveyGraph:
    described = json.loads((folder / FILES[4]).read_text("utf-8"))
    if described.get("form") != FORM:
        raise SurveyDataError(f"{folder / FILES[4]}: its form is not {FORM!r}")
    gdf = geo_package("geopandas").read_parquet(folder / FILES[0])
    if gdf.crs != WGS84:
        raise SurveyDataError(f"{folder / FILES[0]}: not in {WGS84}")
    edges, labels, species = (pq.read_table(folder / name).to_pandas() for name in FILES[1:4])
    species_ids = species["species_id"].to_numpy(dtype=np.int64)
    spec = GraphSpec.from_json(json.dumps(described["spec"]), species_ids)
    if "species_name" in species:
        object.__setattr__(spec, "species_names", species["species_name"].to_numpy(dtype=object))
    survey_id = gdf["survey_id"].to_numpy()
    row = _positions(survey_id, labels["survey_id"], folder / FILES[2], "surveys")
    column = _positions(species_ids, labels["species_id"], folder / FILES[2], "species")
    source = _positions(survey_id, edges["source"], folder / FILES[1], "surveys")
    target = _positions(survey_id, edges["target"], folder / FILES[1], "surveys")
    # several times faster than sorting by two keys, and faster still where it is sorted already
    order = np.argsort(target * max(len(survey_id), 1) + source, kind="stable")
    values: dict[str, Any] = {
        "survey_id": survey_id,
        "pos": np.stack([gdf.geometry.y, gdf.geometry.x], axis=1),
        "year": gdf["year"].to_numpy(),
        "edge_index": np.stack([source, target])[:, order],
        "edge_distance_km": edges["distance_km"].to_numpy()[order],
        "edge_weight": edges["weight"].to_numpy()[order],
    }
    values |= {name: gdf[name].to_numpy() for name in gdf if name.endswith("_code")}
    values |= {name: gdf[name].to_numpy() for name in described["node_attributes"]}
    values |= {name: edges[name].to_numpy()[order] for name in described["edge_attributes"]}
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in values.items()}
    y = torch_csr(label_matrix(row, column, (len(survey_id), len(species_ids))))
    return SurveyGraph(**tensors, y=y, spec=spec)


def _positions(ids: np.ndarray, wanted: pd.Series, path: Path, what: str) -> np.ndarray:
    index = pd.Index(ids)
    if not index.is_unique:
        raise SurveyDataError(f"{path.parent}: {len(index) - index.nunique()} {what} repeat an id")
    found = index.get_indexer(pd.Index(wanted.to_numpy()))
    if (found < 0).any():
        first = wanted.to_numpy()[found < 0][0]
        raise SurveyDataError(
            f"{path}: {(found < 0).sum()} of {len(found)} rows name {what} that are not there, "
            f"the first is {first}"
        )
    return found.astype(np.int64)
