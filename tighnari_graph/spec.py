"""What a survey graph is made of: how it was built, and the attributes of nodes and edges."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tighnari_graph.columns import text_codes
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.geodesy import EARTH_RADIUS_KM
from tighnari_graph.surveys import SurveyTable

DEFAULT_MATCH = ("year", "region")
NODE_ATTRIBUTES = ("survey_id", "pos", "year", "region_code", "y")
EDGE_ATTRIBUTES = ("edge_index", "edge_distance_km", "edge_weight")


@dataclass(frozen=True, eq=False)
class GraphSpec:
    """What a graph needs to be checked, extended with new surveys, and read by people.

    One object, because PyG takes lists and tensors on a `Data` for attributes of nodes or edges
    whenever their length fits.

    Attributes:
        radius_km: the longest edge.
        earth_radius_km: the sphere on which distances are measured.
        match: columns that both ends of an edge share.
        categories: for every coded column the names, in the order of the codes. "region" is there
            if the table had one.
        species_ids: :math:`(S,)` int64, column of ``y`` → speciesId.
        species_names: :math:`(S,)` text, or None.
    """

    radius_km: float = 10.0
    earth_radius_km: float = EARTH_RADIUS_KM
    match: tuple[str, ...] = DEFAULT_MATCH
    categories: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    species_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    species_names: np.ndarray | None = None

    def __repr__(self) -> str:
        match = ", ".join(self.match) or "distance alone"
        return f"GraphSpec({self.radius_km:g} km; {match}; {len(self.species_ids)} species)"

    @property
    def region_names(self) -> tuple[str, ...]:
        """Region of each ``region_code``; empty if the table had no region column."""
        return self.categories.get("region", ())

    @property
    def shared(self) -> tuple[str, ...]:
        """The columns of ``match`` that divide the surveys, without region if they have none."""
        absent = () if "region" in self.categories else ("region",)
        return tuple(name for name in self.match if name not in absent)

    @property
    def match_attributes(self) -> tuple[str, ...]:
        """The node attribute that holds each column of ``match``."""
        return tuple("year" if name == "year" else f"{name}_code" for name in self.match)

    def codes(self, table: SurveyTable, name: str) -> tuple[np.ndarray, tuple[Any, ...]]:
        """Codes of one column in a table; values unseen so far get the codes after the known ones.

        A missing value is −1. A table without a region column has all its surveys in region 0.

        Shapes:
            - **output:** :math:`(N,)` int64, and the names, known ones first

        Raises:
            SurveyDataError: if the column is text here and was numbers there, or the reverse.
        """
        if name == "region" and table.region is None:
            return np.zeros(len(table), dtype=np.int64), self.region_names
        found, values = text_codes(table.column(name))
        names = self.categories.get(name, ())
        if len({isinstance(value, str) for value in (*names, *values)}) > 1:
            raise SurveyDataError(
                f"{name} is text in one table and numbers in the other, so nothing would match; "
                "read both in the same way"
            )
        number = {value: code for code, value in enumerate(names)}
        for value in values.tolist():
            number.setdefault(value, len(number))
        lookup = np.array([number[value] for value in values.tolist()] + [-1], dtype=np.int64)
        return lookup[found], tuple(number)

    def to_json(self) -> str:
        """The spec as text, without ``species_ids``, which are stored as a tensor."""
        names = None if self.species_names is None else self.species_names.tolist()
        values = {
            "radius_km": self.radius_km,
            "earth_radius_km": self.earth_radius_km,
            "match": self.match,
            "categories": self.categories,
            "species_names": names,
        }
        try:
            return json.dumps(values)
        except TypeError as error:
            raise SurveyDataError(
                f"save: a column of match ({', '.join(self.match)}) holds values that are neither "
                f"text nor numbers ({error}); turn them into text before building the graph"
            ) from error

    @classmethod
    def from_json(cls, text: str, species_ids: np.ndarray) -> "GraphSpec":
        """The spec back from its text; ValueError, KeyError or TypeError on any other."""
        values = json.loads(text)
        names = values["species_names"]
        if not isinstance(values["categories"], dict) or not isinstance(names, list | None):
            raise TypeError("categories or species_names of the header are of another form")
        return cls(
            radius_km=float(values["radius_km"]),
            earth_radius_km=float(values["earth_radius_km"]),
            match=tuple(str(name) for name in values["match"]),
            categories={k: tuple(v) for k, v in values["categories"].items()},
            species_ids=species_ids,
            species_names=None if names is None else np.array(names, dtype=object),
        )


def survey_nodes(table: SurveyTable, spec: GraphSpec) -> tuple[dict[str, Tensor], GraphSpec]:
    """Node attributes of a table (without labels), and the spec with names the table adds."""
    nodes = {
        "survey_id": torch.from_numpy(table.survey_id.astype(np.int64)),
        "pos": torch.from_numpy(np.stack([table.lat, table.lon], axis=1).astype(np.float64)),
        "year": torch.from_numpy(table.year.astype(np.int64)),
    }
    categories = dict(spec.categories)
    for name in dict.fromkeys(("region", *spec.match)):
        if name != "year":
            codes, names = spec.codes(table, name)
            nodes[f"{name}_code"] = torch.from_numpy(codes)
            if name != "region" or table.region is not None:
                categories[name] = names
    return nodes, replace(spec, categories=categories)


def edge_attributes(
    edge_index: np.ndarray, distance_km: np.ndarray, radius_km: float
) -> dict[str, Tensor]:
    """Edge attributes as tensors; the weight is radius − distance (eq. 2)."""
    distance = torch.from_numpy(distance_km)
    return {
        "edge_index": torch.from_numpy(edge_index),
        "edge_distance_km": distance,
        "edge_weight": torch.clamp(radius_km - distance, min=0.0),
    }


def match_groups(columns: Mapping[str, np.ndarray], num: int) -> np.ndarray:
    """One number per survey, equal where all columns are; −1 where a code is missing (−1).

    Args:
        columns: node attributes of `GraphSpec.match_attributes`; a year is never missing.
        num: how many surveys there are, should no column be given.

    Example:
        >>> match_groups({"year": np.array([5, 5, 6]), "region_code": np.array([0, 0, -1])}, 3)
        array([ 0,  0, -1])
    """
    group = np.zeros(num, dtype=np.int64)
    for name, column in columns.items():
        codes, values = pd.factorize(column)
        missing = (group < 0) | ((column < 0) if name != "year" else False)
        group = np.where(missing, -1, group * len(values) + codes)
        group[~missing] = pd.factorize(group[~missing])[0]
    return group


def check_same_vocabulary(spec: GraphSpec, table: SurveyTable, what: str) -> None:
    """Raise `SurveyDataError` unless the table's species are the graph's, in the same order."""
    ids = np.array_equal(spec.species_ids, table.species_ids)
    names = np.array_equal(np.asarray(spec.species_names), np.asarray(table.species_names))
    if ids and names:
        return
    raise SurveyDataError(
        f"{what}: its {len(table.species_ids)} species are not the {len(spec.species_ids)} species "
        "of the graph; read both tables with one vocabulary: "
        "species_ids=species_vocabulary(survey_file, po_file)"
    )
