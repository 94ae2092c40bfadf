"""`explore`: a survey graph as an interactive map, one HTML file that needs no network."""

import html as html_text
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch_geometric.data import HeteroData

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.explore_basemap import Basemap
from tighnari_graph.explore_layers import check_edges, layers_of
from tighnari_graph.files import written_whole
from tighnari_graph.neighbor_reach import Reach
from tighnari_graph.spec import GraphSpec

if TYPE_CHECKING:
    from tighnari_graph.graph import SurveyGraph

COLORS = ("degree", "year", "region", "richness")
_TEMPLATE = "explore_template.html"
_SCRIPTS = {
    "GRAPH_SCRIPT": "explore_graph.js",
    "PANEL_SCRIPT": "explore_panel.js",
    "VIEW_SCRIPT": "explore_view.js",
    "GROUND_SCRIPT": "explore_ground.js",
    "POINTS_SCRIPT": "explore_points.js",
    "EDGES_SCRIPT": "explore_edges.js",
    "GESTURES_SCRIPT": "explore_gestures.js",
    "MAP_SCRIPT": "explore_map.js",
}


@dataclass(frozen=True, eq=False)
class ExploreMap:
    """A map as one HTML page; shows itself in a notebook.

    Attributes:
        html: the whole page, scripts and data included.
        path: where it was written, or None.
    """

    html: str = field(repr=False)
    path: Path | None = None

    def save(self, path: str | Path) -> "ExploreMap":
        """Write the page as one file, whole or not at all, and say where it is."""
        with written_whole(path) as part:
            part.write_text(self.html, encoding="utf-8")
        return ExploreMap(self.html, Path(path))

    def _repr_html_(self) -> str:
        page = html_text.escape(self.html)
        style = "width:100%;height:640px;border:0"
        return f'<iframe title="Survey graph" style="{style}" srcdoc="{page}"></iframe>'


def explore(
    graph: "SurveyGraph",
    path: str | Path | None = None,
    color: str = "degree",
    basemap: Basemap | None = None,
) -> ExploreMap:
    """The surveys on a map in a browser: hover, search by survey id, neighbours, edges.

    The page is one file with the drawing library inside. Without a basemap it asks nothing of
    any network, and with one only for the tiles, of that server alone. Edges
    are not stored: the page finds them again from position, group and radius, by the rule that
    made the graph (same squared chord, closed at the radius), for the survey under the pointer
    and, at close zoom, for all surveys in view.

    Args:
        path: where to write the page; None writes nothing.
        color: "degree", "year", "region" or "richness" at first; the page can switch.
        basemap: the tile server to draw behind the surveys, then in Web Mercator; None asks none.

    Raises:
        ValueError: on an unknown ``color``.
        SurveyDataError: if the edges are not those of position, group and radius, since the page
            would show others; or ``color="region"`` without a region column.
        ImportError: without plotly (``pip install '.[explore]'`` in the checkout).

    Example:
        >>> import pandas as pd
        >>> from tighnari_graph import SurveyGraph, SurveyTable
        >>> rows = pd.DataFrame({"surveyId": [1, 2], "lat": [45.0, 45.05], "lon": 7.0,
        ...     "year": 2020, "region": "ALPINE", "speciesId": [5, 9]})
        >>> graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows))
        >>> explore(graph, color="year")
        ExploreMap(path=None)
    """
    edges = {("survey", "survey"): graph.edge_index}
    return _page({"survey": graph}, edges, graph._spec, path, color, basemap)


def hetero_explore(
    hetero: HeteroData,
    path: str | Path | None = None,
    color: str = "degree",
    basemap: Basemap | None = None,
) -> ExploreMap:
    """As `explore`, for what `attach` returns: test nodes and PO surveys as layers besides.

    Args:
        path: where to write the page; None writes nothing.
        color: of the surveys: "degree", "year", "region" or "richness" at first.
        basemap: as `explore`.

    Raises:
        ValueError, SurveyDataError, ImportError: as `explore`; and SurveyDataError if ``hetero``
            is not what `attach` returns.

    Example:
        >>> import pandas as pd
        >>> from tighnari_graph import SurveyGraph, SurveyTable
        >>> rows = pd.DataFrame({"surveyId": [1, 2], "lat": [45.0, 45.05], "lon": 7.0,
        ...     "year": 2020, "region": "ALPINE", "speciesId": [5, 9]})
        >>> graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows))
        >>> test = SurveyTable.from_long(rows[["surveyId", "lat", "lon", "year", "region"]])
        >>> hetero_explore(graph.attach(test=test))
        ExploreMap(path=None)
    """
    spec = getattr(hetero, "spec", None)
    if not isinstance(spec, GraphSpec) or "survey" not in hetero.node_types:
        raise SurveyDataError("hetero_explore takes what attach returned: no survey nodes or spec")
    nodes = {kind: hetero[kind] for kind in ("survey", "test", "po") if kind in hetero.node_types}
    edges = {(src, dst): hetero[src, how, dst].edge_index for src, how, dst in hetero.edge_types}
    return _page(nodes, edges, spec, path, color, basemap)


def _page(
    nodes: Mapping[str, Any],
    edges: Mapping[tuple[str, str], Any],
    spec: GraphSpec,
    path: str | Path | None,
    color: str,
    basemap: Basemap | None,
) -> ExploreMap:
    if color not in COLORS:
        raise ValueError(f"color must be one of {', '.join(COLORS)}, got {color!r}")
    divided = "region" in spec.categories
    if color == "region" and not divided:
        raise SurveyDataError('explore: color="region", but the graph has no region column')
    layers, species = layers_of(nodes, edges, spec)
    check_edges(layers, edges, spec)
    square = Reach(spec.radius_km, spec.earth_radius_km).chord_square
    values = {
        "radius_km": spec.radius_km,
        "earth_radius_km": spec.earth_radius_km,
        "chord_square": min(square, 5.0),  # JSON knows no infinity, and no chord is longer than 2
        "match": " and ".join(spec.shared),
        "color": color,
        "colors": [name for name in COLORS if divided or name != "region"],
        "regions": [str(name) for name in spec.region_names],
        "species": species,
        "basemap": None if basemap is None else vars(basemap),
        "layers": {kind: layer.to_json() for kind, layer in layers.items()},
    }
    text = json.dumps(values, ensure_ascii=False).replace("<", "\\u003c")  # no tag can begin
    allowed = "" if basemap is None else f" {basemap.origin}"
    parts = {"DATA": text, "PLOTLY": _plotly_script(), "TILE_ORIGIN": allowed}
    made = ExploreMap(_filled(parts))
    return made if path is None else made.save(path)


def _filled(parts: dict[str, str]) -> str:
    """The template with its ``%%NAME%%`` replaced, in one pass: what is put in stays as it is."""
    folder = resources.files("tighnari_graph")
    for name, file in _SCRIPTS.items():
        parts[name] = folder.joinpath(file).read_text(encoding="utf-8")
    template = folder.joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return re.sub("%%([A-Z_]+)%%", lambda found: parts[found[1]], template)


def _plotly_script() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ImportError(
            "explore draws with plotly; in the checkout: pip install '.[explore]'"
        ) from error
    return str(get_plotlyjs())
