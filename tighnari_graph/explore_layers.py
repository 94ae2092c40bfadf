"""What the page of `explore` is told of each layer: surveys, test nodes, presence-only surveys."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.geodesy import unit_vectors
from tighnari_graph.neighbors import radius_edges, radius_edges_between
from tighnari_graph.spec import GraphSpec, match_groups

FIRST_SPECIES = 5


@dataclass(frozen=True, eq=False)
class Layer:
    r"""Nodes of one kind, as arrays.

    Attributes:
        survey_id: :math:`(N,)` int64.
        lat, lon: :math:`(N,)` float64, degrees.
        year, region: :math:`(N,)` int32; a missing region is −1.
        group: :math:`(N,)` int32, equal where surveys and test nodes may have an edge.
        po_group: :math:`(N,)` int32, equal where presence-only surveys and test nodes may.
        degree: :math:`(N,)` int32; of a presence-only survey, the test nodes it reaches.
        richness: :math:`(N,)` int32, species found; −1 where labels are hidden.
        first: :math:`(N, F)` int32, the first species, −1 where there are no more.
    """

    survey_id: np.ndarray
    lat: np.ndarray
    lon: np.ndarray
    year: np.ndarray
    region: np.ndarray
    group: np.ndarray
    po_group: np.ndarray
    degree: np.ndarray
    richness: np.ndarray
    first: np.ndarray

    def to_json(self) -> dict[str, dict[str, str]]:
        """Every array as dtype and base64, and the unit vectors, on which edges are decided."""
        arrays = {**vars(self), "vector": unit_vectors(self.lat, self.lon)}
        return {name: _binary(array) for name, array in arrays.items()}


def layers_of(
    nodes: Mapping[str, Any], edges: Mapping[tuple[str, str], Any], spec: GraphSpec
) -> tuple[dict[str, Layer], list[str]]:
    """The layers, and the names of the species that ``first`` counts.

    Args:
        nodes: attributes of "survey", and perhaps "test" and "po".
        edges: edge_index of (source, target).
    """
    group = _groups(nodes, ("survey", "test"), spec.match_attributes)
    po_group = _groups(nodes, ("test", "po"), ("year",) if "year" in spec.match else ())
    first = {kind: _first_species(store) for kind, store in nodes.items()}
    used = np.unique(np.concatenate([columns.ravel() for columns in first.values()]))
    used = used[used >= 0]
    layers = {}
    for kind, store in nodes.items():
        lat, lon = store["pos"].numpy(force=True).T
        columns = first[kind]
        layers[kind] = Layer(
            survey_id=store["survey_id"].numpy(force=True),
            lat=lat,
            lon=lon,
            year=_int32(store["year"]),
            region=_int32(store["region_code"]),
            group=group.get(kind, np.full(len(lat), -1, dtype=np.int32)),
            po_group=po_group.get(kind, np.full(len(lat), -1, dtype=np.int32)),
            degree=_degree(kind, edges, len(lat)),
            richness=_richness(store, len(lat)),
            first=np.where(columns < 0, -1, np.searchsorted(used, columns)).astype(np.int32),
        )
    if spec.species_names is None:
        return layers, [f"species {number}" for number in spec.species_ids[used].tolist()]
    return layers, [str(name) for name in spec.species_names[used].tolist()]


def check_edges(
    layers: Mapping[str, Layer], edges: Mapping[tuple[str, str], Any], spec: GraphSpec
) -> None:
    """Raise `SurveyDataError` unless every edge_index is what position, group and radius give."""
    for (src, dst), edge_index in edges.items():
        key = "po_group" if src == "po" else "group"
        one, other = layers[src], layers[dst]
        ends = one.lat, one.lon, getattr(one, key)
        radii = spec.radius_km, spec.earth_radius_km
        if src == dst:
            found, _ = radius_edges(*ends, *radii)
        else:
            found, _ = radius_edges_between(
                *ends, other.lat, other.lon, getattr(other, key), *radii
            )
        if not np.array_equal(found, edge_index.numpy(force=True)):
            raise SurveyDataError(
                f"explore: the {edge_index.shape[1]} edges {src} → {dst} are not the "
                f"{found.shape[1]} that the positions, {' and '.join(spec.match) or 'no column'} "
                f"and the radius of {spec.radius_km:g} km give, and the page would show those; "
                "explore the graph as from_surveys and attach make it"
            )


def _groups(
    nodes: Mapping[str, Any], kinds: tuple[str, ...], keys: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Group numbers that mean the same in all of these kinds of nodes."""
    kinds = tuple(kind for kind in kinds if kind in nodes)
    sizes = [len(nodes[kind]["survey_id"]) for kind in kinds]
    if not kinds:
        return {}
    columns = {key: np.concatenate([_int64(nodes[kind][key]) for kind in kinds]) for key in keys}
    group = match_groups(columns, sum(sizes)).astype(np.int32)
    return dict(zip(kinds, np.split(group, np.cumsum(sizes)[:-1]), strict=True))


def _degree(kind: str, edges: Mapping[tuple[str, str], Any], num: int) -> np.ndarray:
    """Edges at each node: surveys count surveys, test nodes surveys, PO surveys test nodes."""
    ends = {"survey": (("survey", "survey"), 1), "test": (("survey", "test"), 1)}
    pair, row = ends.get(kind, (("po", "test"), 0))
    if pair not in edges:
        return np.zeros(num, dtype=np.int32)
    return np.bincount(edges[pair][row].numpy(force=True), minlength=num).astype(np.int32)


def _richness(store: Any, num: int) -> np.ndarray:
    if "y" not in store:
        return np.full(num, -1, dtype=np.int32)
    return np.diff(_int32(store["y"].crow_indices()))


def _first_species(store: Any) -> np.ndarray:
    """Columns of each survey's first species, [N, FIRST_SPECIES], −1 where there are no more."""
    if "y" not in store:
        return np.full((len(store["survey_id"]), FIRST_SPECIES), -1)
    begin = _int64(store["y"].crow_indices())
    columns = np.append(_int64(store["y"].col_indices()), -1)
    place = begin[:-1, None] + np.arange(FIRST_SPECIES)
    beyond = place >= begin[1:, None]
    return columns[np.where(beyond, len(columns) - 1, place)]


def _int64(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.numpy(force=True), dtype=np.int64)


def _int32(tensor: Any) -> np.ndarray:
    values = np.asarray(tensor.numpy(force=True))
    if (beyond := np.abs(values) >= 2**31).any():
        raise SurveyDataError(
            f"explore: {beyond.sum()} of {len(values)} surveys have a year or code beyond 2^31, "
            f"which the page cannot hold ({values[beyond][0]})"
        )
    return values.astype(np.int32)


def _binary(array: np.ndarray) -> dict[str, str]:
    """An array for a typed array of the page, little-endian as every browser is."""
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
    return {
        "dtype": array.dtype.name,
        "data": base64.b64encode(little.tobytes()).decode("ascii"),
    }
