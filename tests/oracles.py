"""Slow, obvious reference implementations: plain loops, nothing of ours imported.

Every function here is written from the design text and the paper (Liu et al. 2024), so that a
mistake in the library cannot hide in its own test. Surveys are plain tuples, edges are
``(source, target, distance_km)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

EARTH_RADIUS_KM = 6371.0088

Edge = tuple[int, int, float]


class Survey(NamedTuple):
    """One place visited in one year, with the species seen there."""

    survey_id: int
    lat: float
    lon: float
    year: int
    region: str | None
    species: frozenset[Any]


def is_missing(value: object) -> bool:
    """None or NaN: the two ways a table writes that it does not know."""
    return value is None or value != value


# --- tables ---------------------------------------------------------------------------------------


def group_rows(rows: Iterable[Mapping[str, Any]]) -> list[Survey]:
    """Long rows (one per survey and species) to surveys, in first-seen order."""
    surveys: dict[int, Survey] = {}
    for row in rows:
        survey_id = int(row["surveyId"])
        region = row.get("region")
        species = row.get("speciesId")
        if survey_id not in surveys:
            surveys[survey_id] = Survey(
                survey_id,
                float(row["lat"]),
                float(row["lon"]),
                int(row["year"]),
                None if is_missing(region) else region,
                frozenset(),
            )
        if not is_missing(species):
            seen = surveys[survey_id]
            surveys[survey_id] = seen._replace(species=seen.species | {int(species)})
    return list(surveys.values())


def label_matrix(surveys: Sequence[Survey], species_ids: Sequence[int]) -> np.ndarray:
    """0/1 labels [surveys, species], column by column as ``species_ids`` says."""
    labels = np.zeros((len(surveys), len(species_ids)))
    for row, survey in enumerate(surveys):
        for column, species in enumerate(species_ids):
            if int(species) in survey.species:
                labels[row, column] = 1.0
    return labels


# --- distances and edges --------------------------------------------------------------------------


def great_circle_km(
    lat1: float, lon1: float, lat2: float, lon2: float, earth_radius_km: float = EARTH_RADIUS_KM
) -> float:
    """Haversine distance between two points given in degrees."""
    phi1, phi2 = math.radians(lat1), math.radians(lat2)
    half_lat = math.sin((phi2 - phi1) / 2)
    half_lon = math.sin(math.radians(lon2 - lon1) / 2)
    haversine = half_lat * half_lat + math.cos(phi1) * math.cos(phi2) * half_lon * half_lon
    return 2 * earth_radius_km * math.asin(math.sqrt(min(1.0, haversine)))


def survey_distance_km(a: Survey, b: Survey, earth_radius_km: float = EARTH_RADIUS_KM) -> float:
    return great_circle_km(a.lat, a.lon, b.lat, b.lon, earth_radius_km)


def agree(a: Survey, b: Survey, match: Sequence[str]) -> bool:
    """Equal in every key of ``match``; a missing value equals nothing, not even a missing one."""
    for key in match:
        left, right = getattr(a, key), getattr(b, key)
        if is_missing(left) or is_missing(right) or left != right:
            return False
    return True


def sort_edges(edges: Iterable[Edge]) -> list[Edge]:
    return sorted(edges, key=lambda edge: (edge[1], edge[0]))


def survey_edges(
    surveys: Sequence[Survey],
    radius_km: float = 10.0,
    earth_radius_km: float = EARTH_RADIUS_KM,
    match: Sequence[str] = ("year", "region"),
) -> list[Edge]:
    """Algorithm 1: both directions, never a survey with itself, sorted by (target, source)."""
    edges = []
    for i, target in enumerate(surveys):
        for j, source in enumerate(surveys):
            if i == j or not agree(source, target, match):
                continue
            distance = survey_distance_km(source, target, earth_radius_km)
            if distance <= radius_km:
                edges.append((j, i, distance))
    return sort_edges(edges)


def bipartite_edges(
    sources: Sequence[Survey],
    targets: Sequence[Survey],
    radius_km: float = 10.0,
    earth_radius_km: float = EARTH_RADIUS_KM,
    match: Sequence[str] = ("year", "region"),
) -> list[Edge]:
    """Survey → test edges: from every source to every target near enough, same match keys."""
    edges = []
    for i, target in enumerate(targets):
        for j, source in enumerate(sources):
            distance = survey_distance_km(source, target, earth_radius_km)
            if agree(source, target, match) and distance <= radius_km:
                edges.append((j, i, distance))
    return sort_edges(edges)


def po_edges(
    po: Sequence[Survey],
    test: Sequence[Survey],
    radius_km: float = 10.0,
    earth_radius_km: float = EARTH_RADIUS_KM,
) -> list[Edge]:
    """Presence-only → test edges: year and distance only, presence-only records have no region."""
    return bipartite_edges(po, test, radius_km, earth_radius_km, match=("year",))


def edge_weights(edges: Iterable[Edge], radius_km: float = 10.0) -> list[float]:
    """Equation 2: radius − distance."""
    return [radius_km - distance for _, _, distance in edges]


def smallest_margin_km(
    sources: Sequence[Survey],
    targets: Sequence[Survey],
    radius_km: float,
    earth_radius_km: float = EARTH_RADIUS_KM,
) -> float:
    """How close any distance comes to the radius; if tiny, rounding decides about the edge."""
    margin = math.inf
    for a in sources:
        for b in targets:
            margin = min(margin, abs(survey_distance_km(a, b, earth_radius_km) - radius_km))
    return margin


# --- graph feature vectors ------------------------------------------------------------------------


def gfv(
    labels: np.ndarray,
    edges: Iterable[tuple[int, int, float]],
    num_targets: int,
    degree: str = "count",
    visible: Sequence[bool] | None = None,
) -> np.ndarray:
    """Equation 1 on ``(source, target, weight)`` edges: Σ w y / √D, zeros without a neighbour.

    A source that is not visible is treated as if it were not in the graph: it gives no labels and
    does not count in the degree.
    """
    sums = np.zeros((num_targets, labels.shape[1]))
    degrees = [0.0] * num_targets
    for source, target, weight in edges:
        if visible is not None and not visible[source]:
            continue
        degrees[target] += 1.0 if degree == "count" else weight
        for column in range(labels.shape[1]):
            sums[target, column] += weight * labels[source, column]
    for target in range(num_targets):
        for column in range(labels.shape[1]):
            if degrees[target] > 0:
                sums[target, column] /= math.sqrt(degrees[target])
            else:
                sums[target, column] = 0.0
    return sums


def with_weights(edges: Iterable[Edge], radius_km: float = 10.0) -> list[tuple[int, int, float]]:
    """``(source, target, distance)`` to ``(source, target, weight)``."""
    return [(source, target, radius_km - distance) for source, target, distance in edges]


def largest_visible_entry(features: np.ndarray, visible: Sequence[bool] | None = None) -> float:
    """The one number of ``normalize="max"``; 0 where there is nothing to look at."""
    largest = 0.0
    for row in range(features.shape[0]):
        if visible is None or visible[row]:
            for value in features[row]:
                largest = max(largest, float(value))
    return largest


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Every row divided by its Euclidean length; rows of zeros stay zeros."""
    out = features.copy()
    for row in range(out.shape[0]):
        length = math.sqrt(sum(value * value for value in out[row]))
        if length > 0:
            out[row] = out[row] / length
    return out


# --- Algorithm 2 ----------------------------------------------------------------------------------


def frequent_species(
    sources: Sequence[Survey], edges: Iterable[Edge], target: int, num: int, min_count: int
) -> set[int]:
    """Species in more than ``min_count`` of the ``num`` nearest sources; ties by survey id."""
    near = []
    for source, edge_target, distance in edges:
        if edge_target == target:
            near.append((distance, sources[source].survey_id, source))
    near.sort()
    counts: dict[int, int] = {}
    for _, _, source in near[:num]:
        for species in sources[source].species:
            counts[species] = counts.get(species, 0) + 1
    return {species for species, count in counts.items() if count > min_count}


def species_lists(
    surveys: Sequence[Survey],
    test: Sequence[Survey],
    po: Sequence[Survey],
    radius_km: float = 10.0,
    num_neighbors: int = 5,
    min_count: int = 4,
    num_po: int = 10,
    min_po_count: int = 8,
    source: str = "po",
) -> list[set[int]]:
    """Algorithm 2: one set of species ids for every test node."""
    from_surveys = bipartite_edges(surveys, test, radius_km)
    from_po = po_edges(po, test, radius_km)
    lists = []
    for target in range(len(test)):
        species: set[int] = set()
        if source in ("survey", "both"):
            species |= frequent_species(surveys, from_surveys, target, num_neighbors, min_count)
        if source in ("po", "both"):
            species |= frequent_species(po, from_po, target, num_po, min_po_count)
        lists.append(species)
    return lists


def has_near_ties(
    sources: Sequence[Survey], targets: Sequence[Survey], gap_km: float = 1e-5
) -> bool:
    """Whether two distances to one target differ by rounding only; equal ones are true ties."""
    for target in targets:
        distances = sorted(survey_distance_km(source, target) for source in sources)
        for near, far in pairwise(distances):
            if 0 < far - near < gap_km:
                return True
    return False


# --- species sets and score -----------------------------------------------------------------------


def threshold_top_k(row: Sequence[float], k: int, threshold: float, rule: str) -> set[int]:
    """Equation 14 for one survey: columns with p > θ, and (or) the k largest; equal p by column."""
    order = sorted(range(len(row)), key=lambda column: (-float(row[column]), column))
    top = set(order[:k])
    above = {column for column in range(len(row)) if row[column] > threshold}
    return top & above if rule == "intersection" else top | above


def samples_f1(predicted: Sequence[set[int]], true: Sequence[set[int]]) -> float:
    """Equations 12–13: mean of TP / (TP + (FP + FN) / 2); both empty → 1, one empty → 0."""
    total = 0.0
    for guess, truth in zip(predicted, true, strict=True):
        if not guess and not truth:
            total += 1.0
        elif guess and truth:
            tp, fp, fn = len(guess & truth), len(guess - truth), len(truth - guess)
            total += tp / (tp + (fp + fn) / 2)
    return total / len(predicted)


def rows_to_sets(matrix: np.ndarray) -> list[set[int]]:
    """0/1 matrix to one set of columns per row."""
    return [
        {c for c in range(matrix.shape[1]) if matrix[r, c] != 0} for r in range(matrix.shape[0])
    ]
