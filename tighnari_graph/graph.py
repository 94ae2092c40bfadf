"""`SurveyGraph`: labelled surveys and the edges between them, as PyG `Data`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.utils import scatter

from tighnari_graph.attach import attach
from tighnari_graph.check import broken_rules
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.explore import ExploreMap, explore
from tighnari_graph.explore_basemap import Basemap
from tighnari_graph.geodesy import EARTH_RADIUS_KM
from tighnari_graph.inspection import as_html, components, in_short, is_whole, neighbors_of
from tighnari_graph.neighbors import radius_edges
from tighnari_graph.sparse import torch_csr
from tighnari_graph.spec import (
    DEFAULT_MATCH,
    GraphSpec,
    edge_attributes,
    match_groups,
    survey_nodes,
)
from tighnari_graph.storage import read_graph, write_graph
from tighnari_graph.summary import GraphSummary, summarize
from tighnari_graph.survey_data import SurveyData
from tighnari_graph.surveys import SurveyTable

if TYPE_CHECKING:
    import geopandas
    import libpysal.graph
    import networkx

    from tighnari_graph.explanation import Explanation


class SurveyGraph(SurveyData):
    r"""Surveys of plants as nodes; an edge where two are near, of the same year and region.

    Edge weight is :math:`w_{ij} = r - d_{ij}` with the radius *r* and the great-circle distance
    *d* (eq. 2). Build one with `from_surveys`; the constructor is PyG's and checks nothing.

    Shapes:
        - **edge_index:** :math:`(2, E)` int64, row 0 source, row 1 target; both directions, no
          self-loops, sorted by (target, source)
        - **edge_distance_km, edge_weight:** :math:`(E,)` float32
        - **pos:** :math:`(N, 2)` float64, latitude and longitude
        - **year, region_code, survey_id:** :math:`(N,)` int64; a missing region is −1
        - **y:** :math:`(N, S)` sparse CSR float32 of 0/1

    Units: kilometres; degrees for ``pos``.

    Source: Liu et al. 2024, section 3.2, algorithm 1.

    Example:
        Two surveys 5.6 km apart, and a third in another year.

        >>> import pandas as pd
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45.0, 45.05, 45.0], "lon": 7.0,
        ...     "year": [2020, 2020, 2021], "region": "ALPINE", "speciesId": [5, 9, 5]})
        >>> graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows))
        >>> graph.edge_index.tolist(), graph.edge_weight
        ([[1, 0], [0, 1]], tensor([4.4402, 4.4402]))
        >>> graph.isolates().tolist()
        [False, False, True]
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> "SurveyGraph":
        return self.clone()  # torch cannot deep-copy sparse CSR tensors

    def __repr__(self) -> str:
        return in_short(self) if is_whole(self) else super().__repr__()

    def _repr_html_(self) -> str:
        return as_html(self) if is_whole(self) else f"<pre>{super().__repr__()}</pre>"

    @classmethod
    def from_surveys(
        cls,
        table: SurveyTable,
        radius_km: float = 10.0,
        earth_radius_km: float = EARTH_RADIUS_KM,
        match: tuple[str, ...] = DEFAULT_MATCH,
        backend: str = "kdtree",
        device: str | torch.device = "cpu",
    ) -> "SurveyGraph":
        """Find all pairs within the radius and make the graph.

        Args:
            table: the surveys; without labels, ``y`` has no entries.
            radius_km: longest edge, closed (a pair at the radius has an edge of weight 0).
            earth_radius_km: 6371.0088 by default; the paper's eq. 2 prints 6731.
            match: columns that both ends share: year, region or any in ``table.meta``. ``()`` is
                distance alone. A missing value matches nothing; a table without a region column
                is not divided by region.
            backend: "kdtree", "balltree" or "grid"; they give the same edges.
            device: where "grid" searches, as "cuda"; the graph is in the host's memory.

        Raises:
            TypeError: if ``table`` is no `SurveyTable`.
            SurveyDataError: if a column in ``match`` does not exist.
            ValueError: on a radius that is not positive, an unknown back end, or a device other
                than the CPU for a tree.
            MemoryError: if the edges would not fit; says how many there are.

        Source: Liu et al. 2024, section 3.2, eq. 2, algorithm 1 (CreateEdges).
        """
        if not isinstance(table, SurveyTable):
            raise TypeError(f"from_surveys takes a SurveyTable, got {type(table).__name__}")
        match = (match,) if isinstance(match, str) else tuple(match)
        spec = GraphSpec(
            float(radius_km), float(earth_radius_km), match,
            species_ids=table.species_ids, species_names=table.species_names,
        )  # fmt: skip
        nodes, spec = survey_nodes(table, spec)
        group = match_groups({key: nodes[key].numpy() for key in spec.match_attributes}, len(table))
        edge_index, distance = radius_edges(
            table.lat, table.lon, group, radius_km, earth_radius_km, backend, device
        )
        labels = table.labels
        if labels is None:
            labels = sparse.csr_matrix((len(table), len(table.species_ids)), dtype=np.float32)
        edges = edge_attributes(edge_index, distance, float(radius_km))
        return cls(**nodes, y=torch_csr(labels), **edges, spec=spec)

    def degree(self, weighted: bool = False) -> Tensor:
        r"""Number of neighbours of each survey, or the sum of its edge weights.

        Shapes:
            - **output:** :math:`(N,)` int64, or float32 kilometres if weighted
        """
        value = self.edge_weight if weighted else torch.ones_like(self.edge_index[1])
        return scatter(value, self.edge_index[1], dim_size=self.num_nodes, reduce="sum")

    def isolates(self) -> Tensor:
        r"""Surveys without a neighbour, :math:`(N,)` bool."""
        return self.degree() == 0

    def components(self) -> Tensor:
        r"""Connected component of each survey, :math:`(N,)` int64; 0 is the largest."""
        return components(self)

    def neighbors_of(self, survey_id: int) -> pd.DataFrame:
        """The neighbours of a survey, nearest first; see `tighnari_graph.neighbors_of`."""
        return neighbors_of(self, survey_id)

    def explore(
        self,
        path: str | Path | None = None,
        color: str = "degree",
        basemap: Basemap | None = None,
    ) -> ExploreMap:
        """The surveys on a map in a browser; see `tighnari_graph.explore.explore`."""
        return explore(self, path, color, basemap)

    def explain(self, survey_id: int, **options: Any) -> "Explanation":
        """Which neighbours a survey's graph feature vector comes from.

        Options as in `tighnari_graph.explain_feature`.
        """
        from tighnari_graph.explain_feature import explain_feature

        return explain_feature(self, survey_id, **options)

    def to_geodataframe(self, what: str = "nodes", **options: Any) -> "geopandas.GeoDataFrame":
        """Nodes as points, or edges as lines; see `tighnari_graph.to_geodataframe`."""
        from tighnari_graph.conversions_geo import to_geodataframe

        return to_geodataframe(self, what, **options)

    def write_geoparquet(self, folder: str | Path) -> None:
        """Write a folder that geopandas, QGIS, DuckDB and R read; see the function."""
        from tighnari_graph.conversions_parquet import write_geoparquet

        write_geoparquet(self, folder)

    def to_networkx(self) -> "networkx.DiGraph":
        """The graph as a networkx `DiGraph`; see `tighnari_graph.to_networkx`."""
        from tighnari_graph.conversions_networkx import to_networkx

        return to_networkx(self)

    def to_libpysal(self, weight: str = "weight") -> "libpysal.graph.Graph":
        """The graph as libpysal's `Graph`; see `tighnari_graph.to_libpysal`."""
        from tighnari_graph.conversions_libpysal import to_libpysal

        return to_libpysal(self, weight)

    def summary(self) -> GraphSummary:
        """Counts, degrees, isolates, components, and a row per year and region."""
        return summarize(self)

    def validate(self, raise_on_error: bool = True) -> bool:
        """Check every rule of a survey graph: shapes, codes, labels, order, symmetry, distances,
        weights, and that no pair within the radius is left without an edge.

        Raises:
            SurveyDataError: naming each broken rule and how many nodes or edges break it, unless
                ``raise_on_error`` is False, which returns False instead.
        """
        problems = broken_rules(self)
        if problems and raise_on_error:
            raise SurveyDataError("survey graph: " + "; ".join(problems))
        return not problems

    def attach(
        self,
        test: SurveyTable | None = None,
        presence_only: SurveyTable | None = None,
        backend: str = "kdtree",
        device: str | torch.device = "cpu",
    ) -> HeteroData:
        """Surveys to predict, and presence-only surveys near them, beside the graph.

        See `tighnari_graph.attach.attach`. The graph itself stays as it is.
        """
        return attach(self, test, presence_only, backend, device)

    def save(self, path: str | Path) -> None:
        """Write the graph as one safetensors file, whole or not at all.

        Raises:
            SurveyDataError: on an attribute that cannot be stored; nothing is left out.
        """
        write_graph(self, path)

    @classmethod
    def load(cls, path: str | Path) -> "SurveyGraph":
        """Read a graph that `save` wrote; nothing in the file is ever executed.

        Raises:
            FileNotFoundError: if there is no such file.
            SurveyDataError: if it is no saved graph, or breaks a rule of `validate`.
        """
        try:
            graph = cls(**read_graph(path))
            problems = broken_rules(graph)
        except (AttributeError, IndexError, RuntimeError, TypeError) as error:
            raise SurveyDataError(f"{path}: no saved survey graph ({error})") from error
        if problems:
            raise SurveyDataError(
                f"{path}: breaks the rules of a survey graph: {'; '.join(problems)}"
            )
        return graph
