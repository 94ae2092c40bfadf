"""Generated surveys at the size of the real data set: clustered, over years and regions."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from tighnari_graph import SurveyTable

REGIONS = np.array(["ALPINE", "ATLANTIC", "CONTINENTAL", "MEDITERRANEAN", "PANNONIAN"])


class Points(NamedTuple):
    """Where and when surveys were made: latitude, longitude, year, region code, cluster."""

    lat: np.ndarray
    lon: np.ndarray
    year: np.ndarray
    region: np.ndarray
    cluster: np.ndarray


def clustered_points(
    num: int, per_cluster: int = 220, radius_km: float = 9.0, seed: int = 0
) -> Points:
    """``num`` surveys in clusters over Europe.

    With 88,987 surveys and the defaults the graph has about 12 million directed edges, as the
    real data set.
    """
    rng = np.random.default_rng(seed)
    clusters = max(num // per_cluster, 1)
    cluster = rng.integers(0, clusters, num)
    lat0, lon0 = rng.uniform(38, 60, clusters), rng.uniform(-8, 28, clusters)
    lat = lat0[cluster] + rng.normal(0, radius_km / 2 / 111.2, num)
    lon = lon0[cluster] + rng.normal(0, radius_km / 2 / 111.2, num) / np.cos(np.radians(lat))
    year = 2017 + rng.integers(0, 5, clusters)[cluster]
    elsewhen = rng.random(num) < 0.1
    year[elsewhen] = rng.integers(2017, 2022, elsewhen.sum())
    region = rng.integers(0, len(REGIONS), clusters)[cluster]
    return Points(lat.round(6), lon.round(6), year, region, cluster)


def clustered_labels(
    cluster: np.ndarray,
    num_species: int = 11_255,
    mean: float = 17.0,
    pool: int = 160,
    seed: int = 0,
) -> sparse.csr_matrix:
    """About ``mean`` species a survey, drawn from the pool of species of its cluster.

    Pools are drawn with a Zipf tail, and within a pool commonness falls as one over the rank, so
    that a survey's neighbours share species: its graph feature has about 130 non-zeros, as on the
    real data set.
    """
    rng = np.random.default_rng(seed)
    num_clusters = int(cluster.max()) + 1
    share = np.cumsum(1.0 / (np.arange(num_species) + 30.0))
    pools = np.searchsorted(share, rng.random((num_clusters, pool)) * share[-1])
    rank = np.cumsum(1.0 / (np.arange(pool) + 5.0))
    count = rng.poisson(mean * 1.25, len(cluster))
    species = np.searchsorted(rank, rng.random(count.sum()) * rank[-1])
    survey = np.repeat(np.arange(len(cluster)), count)
    cell = np.unique(survey * num_species + pools[cluster[survey], species])
    row, column = np.divmod(cell, num_species)
    indptr = np.searchsorted(row, np.arange(len(cluster) + 1))
    ones = np.ones(len(cell), dtype=np.float32)
    return sparse.csr_matrix((ones, column, indptr), shape=(len(cluster), num_species))


def survey_table(
    num: int, num_species: int = 11_255, seed: int = 0, per_cluster: int = 220
) -> SurveyTable:
    """A table of ``num`` clustered surveys with labels."""
    points = clustered_points(num, per_cluster, seed=seed)
    return SurveyTable(
        np.arange(num), points.lat, points.lon, points.year,
        REGIONS.astype(object)[points.region],
        clustered_labels(points.cluster, num_species, seed=seed), np.arange(num_species),
    )  # fmt: skip


def po_rows(
    num_rows: int, num_surveys: int, num_species: int = 11_255, seed: int = 0
) -> pd.DataFrame:
    """Presence-only rows as in the competition's file, shuffled, one row per survey × species."""
    rng = np.random.default_rng(seed)
    survey = np.concatenate(
        [np.arange(num_surveys), rng.integers(0, num_surveys, num_rows - num_surveys)]
    )
    rng.shuffle(survey)
    points = clustered_points(num_surveys, per_cluster=2000, radius_km=60, seed=seed)
    uncertainty = rng.integers(1, 100, num_rows).astype(float)
    uncertainty[rng.random(num_rows) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "publisher": np.array(["iNaturalist", "Pl@ntNet", "Artportalen"])[survey % 3],
            "year": points.year[survey],
            "month": 1 + survey % 12,
            "lat": points.lat[survey],
            "lon": points.lon[survey],
            "geoUncertaintyInM": uncertainty,
            "speciesId": rng.integers(0, num_species, num_rows),
            "surveyId": survey + 10_000_000,
        }
    )
