"""Presence-only (PO) records over the area of a satellite patch, as labels and as surveys."""

import numpy as np
import pandas as pd
from scipy import sparse

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.geodesy import EARTH_RADIUS_KM
from tighnari_graph.neighbors import BOUNDARY_KM, radius_edges_between
from tighnari_graph.products import csr_product
from tighnari_graph.splits import block_ids
from tighnari_graph.surveys import SurveyTable

PATCH_KM = 1.28  # 128 pixels of 10 m, as the satellite patches of GeoLifeCLEF


def pseudo_labels(
    po: SurveyTable,
    at: SurveyTable,
    side_km: float = PATCH_KM,
    same_year: bool = False,
    weights: np.ndarray | None = None,
) -> sparse.csr_matrix:
    r"""In how many PO surveys, within the square around each survey, each species was recorded.

    Args:
        po: presence-only surveys, with labels.
        at: surveys in the middle of the squares; their labels are not looked at.
        side_km: side of the squares, which point north; closed.
        same_year: whether only PO surveys of the survey's own year count.
        weights: what each PO survey counts, such as its `observer_effort`; by default 1.

    Shapes:
        - **weights:** :math:`(N_{po},)`
        - **output:** :math:`(N, S)` scipy CSR float32, S species of the PO table

    Units: kilometres.

    Raises:
        SurveyDataError: if PO has no species, or both tables have species and not the same.
        ValueError: on a side that is not positive, or weights that are negative, not finite or not
            one per PO survey.

    Example:
        The second record lies 0.78 km to the north, outside a square of 1.28 km.

        >>> rows = pd.DataFrame({"surveyId": [1, 2], "lat": [45.001, 45.007], "lon": 7.0,
        ...     "year": 2020, "speciesId": [5, 9]})
        >>> here = pd.DataFrame({"surveyId": [7], "lat": 45.0, "lon": 7.0, "year": 2021})
        >>> po, at = SurveyTable.from_long(rows), SurveyTable.from_long(here)
        >>> pseudo_labels(po, at).toarray(), pseudo_labels(po, at, side_km=2.0).toarray()
        (array([[1., 0.]], dtype=float32), array([[1., 1.]], dtype=float32))
    """
    labels = _labels(po)
    _check_species(po, at)
    if not (np.isfinite(side_km) and side_km > 0):
        raise ValueError(f"side_km must be a positive number of kilometres, got {side_km}")
    weight = np.ones(len(po)) if weights is None else np.asarray(weights)
    if weight.shape != (len(po),):
        raise ValueError(f"weights are of shape {weight.shape}, there are {len(po)} PO surveys")
    bad = ~(np.isfinite(weight) & (weight >= 0))
    if bad.any():
        raise ValueError(
            f"weights must be finite and 0 or more; {bad.sum()} of {len(po)} are not, the first is "
            f"{weight[bad][0]}"
        )
    year = np.zeros(len(po) + len(at), dtype=np.int64)
    if same_year:
        both = np.concatenate([po.year, at.year])
        year = np.unique(both, return_inverse=True)[1].astype(np.int64)
    (source, target), _ = radius_edges_between(
        po.lat, po.lon, year[: len(po)], at.lat, at.lon, year[len(po) :],
        _corner_km(at.lat, side_km),
    )  # fmt: skip
    inside = _in_square(po, at, source, target, side_km)
    source, target = source[inside], target[inside]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(target, minlength=len(at)))])
    parts = (weight[source].astype(np.float32), source, indptr)
    near = sparse.csr_matrix(parts, shape=(len(at), len(po)))
    return csr_product(near, labels, "pseudo-labels").astype(np.float32)


def aggregate_patches(po: SurveyTable, side_km: float = PATCH_KM) -> SurveyTable:
    r"""PO surveys of one square of a grid and one year, merged into one pseudo-survey each.

    What several people recorded in the square is a longer list than each of them made. Surveys of
    different regions stay apart, if the table has regions.

    Args:
        po: presence-only surveys, with labels.
        side_km: side of the squares of the grid, see `block_ids`.

    Returns:
        A pseudo-survey per square and year, in the order of the first survey of each, with that
        survey's id, the mean position, and every species that any of them lists. ``meta`` has
        ``num_surveys`` and ``num_records`` (survey × species); other columns have no meaning for a
        square and are left out.

    Units: kilometres.

    Raises:
        SurveyDataError: if the table has no species.
        ValueError: on a side that is not positive.

    Example:
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45.0, 45.001, 45.0], "lon": 7.0,
        ...     "year": [2020, 2020, 2021], "speciesId": [5, 9, 9]})
        >>> merged = aggregate_patches(SurveyTable.from_long(rows))
        >>> merged.survey_id, merged.column("num_surveys").tolist(), merged.labels.toarray()
        (array([1, 3]), [2, 1], array([[1., 1.],
               [0., 1.]], dtype=float32))
    """
    labels = _labels(po)
    square = block_ids(po.lat, po.lon, side_km)
    for values in (po.year, po.region):
        if values is not None:
            codes = pd.factorize(pd.Series(values), use_na_sentinel=False)[0]
            square = square * (codes.max(initial=0) + 1) + codes
    group, _ = pd.factorize(square)  # numbered as first seen
    num = int(group.max(initial=-1)) + 1
    first = np.full(num, len(po))
    np.minimum.at(first, group, np.arange(len(po)))
    size = np.bincount(group, minlength=num)
    indptr = np.concatenate([[0], np.cumsum(size)])
    ones = np.ones(len(po), dtype=np.float32)
    members = sparse.csr_matrix((ones, np.argsort(group, kind="stable"), indptr), (num, len(po)))
    union = csr_product(members, labels, "merging surveys")
    records = np.asarray(union.sum(axis=1)).ravel().astype(np.int64)
    union.data = np.ones(union.nnz, dtype=np.float32)
    return SurveyTable(
        po.survey_id[first],
        np.bincount(group, weights=po.lat, minlength=num) / size,
        np.bincount(group, weights=po.lon, minlength=num) / size,
        po.year[first],
        None if po.region is None else po.region[first],
        union, po.species_ids, po.species_names,
        pd.DataFrame({"num_surveys": size, "num_records": records}),
        {"surveys": len(po), "surveys merged into another": len(po) - num},
    )  # fmt: skip


def _labels(po: SurveyTable) -> sparse.csr_matrix:
    if po.labels is None:
        raise SurveyDataError("presence-only table: has no speciesId column, so nothing was seen")
    return po.labels


def _check_species(po: SurveyTable, at: SurveyTable) -> None:
    if at.labels is None:
        return
    ids = np.array_equal(po.species_ids, at.species_ids)
    names = np.array_equal(np.asarray(po.species_names), np.asarray(at.species_names))
    if not (ids and names):
        raise SurveyDataError(
            f"pseudo-labels: the {len(po.species_ids)} species of the presence-only table are not "
            f"the {len(at.species_ids)} of the surveys; read both tables with one vocabulary: "
            "species_ids=species_vocabulary(survey_file, po_file)"
        )


def _corner_km(lat: np.ndarray, side_km: float) -> float:
    r"""A radius that holds every square, corners too.

    East is measured at the latitude of the middle. Nearer to the equator a degree is longer, so a
    corner lies up to :math:`\tfrac12 \sqrt{2 + h / \cos \varphi}` sides away, with half a side *h*
    in Earth radii; near a pole, no point of the square is farther than one and a half sides. A
    hundredth more makes up for the arc over its chord.
    """
    half = side_km / 2 / EARTH_RADIUS_KM
    narrowest = float(np.cos(np.radians(lat)).min(initial=1.0))
    return float(1.01 * side_km / 2 * np.sqrt(2 + min(half / max(narrowest, 1e-12), 7.0)))


def _in_square(
    po: SurveyTable, at: SurveyTable, source: np.ndarray, target: np.ndarray, side_km: float
) -> np.ndarray:
    """Which PO survey lies in the square of which survey."""
    km_per_degree = np.pi / 180 * EARTH_RADIUS_KM
    lat = at.lat[target]
    north = (po.lat[source] - lat) * km_per_degree
    turned = (po.lon[source] - at.lon[target] + 180) % 360 - 180  # the short way round
    east = turned * km_per_degree * np.cos(np.radians(lat))
    return np.asarray(np.maximum(np.abs(north), np.abs(east)) <= side_km / 2 + BOUNDARY_KM)
