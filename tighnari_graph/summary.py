"""What there is to know of a survey graph at a glance."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from tighnari_graph.graph import SurveyGraph

QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True, eq=False, repr=False)
class GraphSummary:
    """Counts of a survey graph; prints as text, shows as a table in a notebook.

    Attributes:
        surveys: nodes.
        species: columns of ``y``.
        labels: entries of ``y``.
        species_seen: species with at least one label.
        edges: directed edges.
        radius_km: longest edge allowed.
        match: columns that both ends share; no region if the surveys have none.
        degree_quantiles: number of neighbours at 0, 25, 50, 75, 95 and 100 % of the surveys.
        mean_degree: edges per survey.
        isolates: surveys without a neighbour.
        components: connected components, isolates included.
        largest_component: surveys in the largest one.
        missing_regions: surveys without a region, which match nothing if region is in ``match``.
        groups: a row per year and region: surveys, edges, isolates, mean degree.

    Example:
        >>> from tighnari_graph import SurveyGraph, SurveyTable
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45.0, 45.05, 46.0], "lon": 7.0,
        ...     "year": 2020, "speciesId": [5, 9, 9]})
        >>> summary = SurveyGraph.from_surveys(SurveyTable.from_long(rows)).summary()
        >>> summary.to_frame().set_index("figure").loc["degree", "value"]
        '0 to 1, mean 0.7; quartiles 0.5, 1, 1; 95 % have at most 1'
    """

    surveys: int
    species: int
    species_seen: int
    labels: int
    edges: int
    radius_km: float
    match: tuple[str, ...]
    degree_quantiles: pd.Series
    mean_degree: float
    isolates: int
    components: int
    largest_component: int
    missing_regions: int
    groups: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """The summary as a table of two columns, figure and value, both text."""
        share = self.isolates / max(self.surveys, 1)
        least, *quartiles, most_have, most = (f"{v:g}" for v in self.degree_quantiles)
        rows = {
            "surveys": f"{self.surveys:,}",
            "species": f"{self.species:,} ({self.species_seen:,} with a label)",
            "labels": f"{self.labels:,} ({self.labels / max(self.surveys, 1):.1f} a survey)",
            "edges": f"{self.edges:,} directed, up to {self.radius_km:g} km, "
            + (f"same {' and '.join(self.match)}" if self.match else "distance alone"),
            "degree": f"{least} to {most}, mean {self.mean_degree:.1f}; quartiles "
            f"{', '.join(quartiles)}; 95 % have at most {most_have}",
            "isolates": f"{self.isolates:,} ({100 * share:.1f} %)",
            "components": f"{self.components:,}, largest {self.largest_component:,} surveys",
            "missing regions": f"{self.missing_regions:,}",
        }
        return pd.DataFrame({"figure": list(rows), "value": list(rows.values())})

    def __repr__(self) -> str:
        lines = [f"{r.figure:<16} {r.value}" for r in self.to_frame().itertuples()]
        return "\n".join(["SurveyGraph", *lines, "", self.groups.to_string()])

    def _repr_html_(self) -> str:
        groups = self.groups.reset_index().to_html(index=False, border=0)
        top = self.to_frame().to_html(index=False, header=False, border=0)
        return f"<h4>SurveyGraph</h4>{top}{groups}"


def summarize(graph: "SurveyGraph") -> GraphSummary:
    """Count; see `GraphSummary`."""
    degree = graph.degree().numpy(force=True)
    source, target = graph.edge_index.numpy(force=True)
    num = graph.num_nodes
    ones = np.ones(len(source), dtype=np.int8)
    near = sparse.csr_array((ones, (target, source)), shape=(num, num))
    components, member = (
        connected_components(near, directed=False) if num else (0, np.zeros(0, int))
    )
    region = graph.region_code.numpy(force=True)
    divided = "region" in graph._spec.categories
    names = np.array([*graph.region_names, "(missing)"] if divided else ["(all)"])
    frame = pd.DataFrame(
        {
            "year": graph.year.numpy(force=True),
            "region": names[region],
            "surveys": 1,
            "edges": degree,
            "isolates": (degree == 0).astype(int),
        }
    )
    groups = frame.groupby(["year", "region"]).sum()
    groups["mean degree"] = (groups["edges"] / groups["surveys"]).round(1)
    quantiles = np.quantile(degree, QUANTILES) if num else np.zeros(len(QUANTILES))
    return GraphSummary(
        surveys=num,
        species=graph.y.size(1),
        species_seen=len(graph.y.col_indices().unique()),
        labels=len(graph.y.col_indices()),
        edges=len(source),
        radius_km=graph.radius_km,
        match=graph._spec.shared,
        degree_quantiles=pd.Series(quantiles, index=pd.Index(QUANTILES, name="quantile")),
        mean_degree=len(source) / max(num, 1),
        isolates=int((degree == 0).sum()),
        components=int(components),
        largest_component=int(np.bincount(member).max()) if num else 0,
        missing_regions=int((region < 0).sum()),
        groups=groups,
    )
