"""Who records plants in the virtual Europe: clustered surveys, and observers near their towns."""

import numpy as np
import pandas as pd

from tighnari_graph.virtual_fields import (
    EARTH_RADIUS_KM,
    VirtualFields,
    anywhere,
    hold_out_blocks,
    unit_vectors,
)
from tighnari_graph.virtual_species import VirtualSpecies

_YEARS = np.arange(2017, 2022)
_YEAR_SHARES = np.array([0.29, 0.26, 0.26, 0.08, 0.11])
_PLOT_AREAS_M2 = np.array([1, 4, 9, 10, 16, 25, 50, 79, 100, 200, 400, 707, 1000], dtype=float)
_PLOT_SHARES = np.array([1, 11, 6, 6, 5, 8, 4, 30, 8, 5, 5, 8, 3]) / 100
_UNCERTAINTIES_M = np.array([0, 1, 3, 4, 5, 10, 20, 50, 100], dtype=float)
_UNCERTAINTY_SHARES = np.array([9, 13, 22, 3, 6, 41, 3, 2, 1]) / 100
_PUBLISHERS = np.array(
    ["Virtual Naturalists", "Virtual Flora Network", "Virtual Herbarium", "Virtual Garden Walks"]
)
_PUBLISHER_SHARES = np.array([0.55, 0.25, 0.12, 0.08])  # of the lists
_DETECTION = np.array([0.12, 0.45, 0.06, 0.25])  # share of what grows there that a list holds
_PO_COLUMNS = ["publisher", "year", "month", "day", "lat", "lon", "geoUncertaintyInM", "taxonRank"]
_PO_COLUMNS += ["date", "dayOfYear", "speciesId", "surveyId"]


def make_hubs(rng: np.random.Generator, fields: VirtualFields, num: int = 20) -> pd.DataFrame:
    """Towns of the observers, where the land is peopled; the first has the most observers."""
    lat, lon = anywhere(rng, 1000)
    people = fields.values(lat, lon, ("human",))["human"] ** 4
    chosen = rng.choice(lat.size, num, replace=False, p=people / people.sum())
    return pd.DataFrame({"lat": lat[chosen], "lon": lon[chosen], "weight": _zipf(num)})


def make_surveys(
    rng: np.random.Generator, fields: VirtualFields, num_train: int, num_test: int
) -> pd.DataFrame:
    """Clustered surveys, training rows first; no block holds surveys of both.

    Columns beyond the real ones: ``richness``, the expected number of species as a multiple of the
    typical one (bigger plots hold more), and ``single``, where just one species was listed.
    """
    total = num_train + num_test
    needed = 2 * total + 200
    while True:  # seldom more than once: draw more clusters until both quotas are filled
        places = _clustered_places(rng, needed)
        number = hold_out_blocks(places["lat"].to_numpy(), places["lon"].to_numpy())
        blocks, block = np.unique(number, return_inverse=True)
        held_out = (rng.random(blocks.size) < num_test / total)[block]
        train, test = np.flatnonzero(~held_out)[:num_train], np.flatnonzero(held_out)[:num_test]
        if train.size == num_train and test.size == num_test:
            break
        needed *= 2
    order = np.concatenate([rng.permutation(train), rng.permutation(test)])
    surveys = places.iloc[order].reset_index(drop=True)
    lat, lon = surveys["lat"].to_numpy(), surveys["lon"].to_numpy()
    area = surveys["areaInM2"].to_numpy(copy=True)
    richness = (area / 50) ** 0.2 * np.exp(rng.normal(0, 0.5, total))
    uncertainty = rng.choice(_UNCERTAINTIES_M, total, p=_UNCERTAINTY_SHARES)
    single = np.zeros(total, dtype=bool)
    for part in (np.arange(num_train), np.arange(num_train, total)):
        single[_some(rng, part, 0.012)] = True
        uncertainty[_some(rng, part, 0.01)] = np.nan
        area[_some(rng, part, 0.125)] = np.nan
        area[_some(rng, part, 0.03)] = -np.inf
    return surveys.assign(
        region=fields.regions(lat, lon),
        country=fields.countries(lat, lon),
        surveyId=_new_ids(rng, total, first=600),
        geoUncertaintyInM=uncertainty,
        areaInM2=area,
        richness=richness,
        single=single,
    )


def _clustered_places(rng: np.random.Generator, num: int) -> pd.DataFrame:
    """Up to ``num`` places with year and plot area, cluster after cluster."""
    clusters = num // 6 + 20
    programmes = anywhere(rng, 12)  # country surveyed by a programme holds many clusters
    programme = rng.choice(12, clusters, p=_zipf(12))
    surveyed = _around(rng, programmes[:, programme], np.full(clusters, 90.0))
    middle = np.where(rng.random(clusters) < 0.6, surveyed, anywhere(rng, clusters))
    size = np.where(rng.random(clusters) < 0.5, 1, 2 + rng.geometric(1 / 14, clusters))
    share_in_main_year = np.where(rng.random(clusters) < 0.7, 0.95, 0.0)
    spread_km = rng.uniform(0.4, 3.0, clusters)
    main_year = rng.choice(_YEARS, clusters, p=_YEAR_SHARES)
    usual_area = rng.choice(_PLOT_AREAS_M2, clusters, p=_PLOT_SHARES)

    cluster = np.repeat(np.arange(clusters), size)[:num]
    count = cluster.size
    lat, lon = _around(rng, middle[:, cluster], spread_km[cluster])
    # A repeated plot takes the place of the last new plot before it in its cluster.
    repeated = (rng.random(count) < 0.12) & (cluster == np.concatenate([[-1], cluster[:-1]]))
    source = np.maximum.accumulate(np.where(repeated, 0, np.arange(count)))
    any_year = rng.choice(_YEARS, count, p=_YEAR_SHARES)
    any_area = rng.choice(_PLOT_AREAS_M2, count, p=_PLOT_SHARES)
    in_main_year = rng.random(count) < share_in_main_year[cluster]
    return pd.DataFrame(
        {
            "lon": lon[source].round(6),
            "lat": lat[source].round(6),
            "year": np.where(in_main_year, main_year[cluster], any_year),
            "areaInM2": np.where(rng.random(count) < 0.8, usual_area[cluster], any_area),
        }
    )


def make_po(
    rng: np.random.Generator,
    fields: VirtualFields,
    species: VirtualSpecies,
    hubs: pd.DataFrame,
    surveys: pd.DataFrame,
    num: int,
) -> pd.DataFrame:
    """Observers' lists: near towns, in surveyed country (test blocks too) and, seldom, anywhere."""
    town = hubs[["lat", "lon"]].to_numpy().T[:, rng.choice(len(hubs), num, p=hubs["weight"])]
    surveyed = surveys[["lat", "lon"]].to_numpy().T[:, rng.integers(0, len(surveys), num)]
    near_town = _around(rng, town, 20 * rng.exponential(1.0, num))
    choices = [near_town, _around(rng, surveyed, np.full(num, 2.0)), anywhere(rng, num)]
    lat, lon = np.choose(rng.choice(3, num, p=[0.5, 0.4, 0.1]), choices).round(5)
    places = pd.DataFrame({"lat": lat, "lon": lon})
    there = places.assign(richness=1.6, single=False)
    row, column = species.draw(rng, fields, there, observers=True)
    publisher = rng.choice(len(_PUBLISHERS), num, p=_PUBLISHER_SHARES)
    keenness = _DETECTION[publisher] * (0.4 + 1.2 * observer_effort(hubs, lat, lon))
    conspicuous = rng.beta(3, 2, len(species.species_id)) / 0.6
    surprise = rng.random(row.size) / (keenness[row] * conspicuous[column])
    easiest = pd.Series(surprise).groupby(row).transform("min").to_numpy()
    # A list is only filed when something is on it: the plant easiest to see, if nothing else.
    listed = (surprise < 1) | (surprise == easiest)

    year = rng.choice(_YEARS, num, p=_YEAR_SHARES)
    day_of_year = np.clip(np.rint(rng.normal(170, 40, num)), 1, 365).astype(int)
    new_year = (year - 1970).astype("datetime64[Y]").astype("datetime64[D]")
    date = pd.Series(new_year + (day_of_year - 1))
    uncertainty = np.rint(np.exp(rng.normal(np.log(25), 1.2, num)))
    uncertainty[_some(rng, np.arange(num), 0.03)] = np.nan
    lists = places.assign(
        publisher=_PUBLISHERS[publisher],
        year=year,
        month=date.dt.month,
        day=date.dt.day,
        geoUncertaintyInM=uncertainty,
        taxonRank="SPECIES",
        date=date.dt.strftime("%Y-%m-%d"),
        dayOfYear=day_of_year,
        surveyId=_new_ids(rng, num, first=max(10_000_000, int(surveys["surveyId"].max()) + 1)),
    )
    long = lists.iloc[row[listed]].assign(speciesId=species.species_id[column[listed]])
    return long[_PO_COLUMNS].iloc[rng.permutation(len(long))].reset_index(drop=True)


def observer_effort(hubs: pd.DataFrame, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """How keenly observers look, [N]: 1 in a hub, falling by the factor e every 60 km."""
    towns = unit_vectors(hubs["lat"].to_numpy(), hubs["lon"].to_numpy())
    cosine = (unit_vectors(lat, lon) @ towns.T).max(axis=-1)
    return np.exp(-EARTH_RADIUS_KM * np.arccos(np.clip(cosine, -1, 1)) / 60)


def _some(rng: np.random.Generator, rows: np.ndarray, share: float) -> np.ndarray:
    """A random share of the rows, but at least one where there is any."""
    return rng.permutation(rows)[: max(1, round(share * rows.size))]


def _around(rng: np.random.Generator, middle: np.ndarray, spread_km: np.ndarray) -> np.ndarray:
    """Places scattered about the middles with this standard deviation each way, [2, N]."""
    steps = np.degrees(spread_km / EARTH_RADIUS_KM) * rng.standard_normal(middle.shape)
    steps[1] /= np.cos(np.radians(middle[0]))
    return middle + steps


def _zipf(num: int) -> np.ndarray:
    weight = 1 / np.arange(1, num + 1)
    return weight / weight.sum()


def _new_ids(rng: np.random.Generator, num: int, first: int) -> np.ndarray:
    return rng.permutation(first + np.cumsum(rng.integers(1, 40, num)))
