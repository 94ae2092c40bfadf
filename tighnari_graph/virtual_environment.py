"""Environment tables of the virtual Europe: climate, elevation, people, land cover and soil."""

import numpy as np
import pandas as pd
from scipy.special import expit

from tighnari_graph.virtual_fields import VirtualFields

_FOOTPRINT_LAYERS = (
    "Built1994", "Built2009", "croplands1992", "croplands2005", "HFP1993", "HFP2009", "Lights1994",
    "Lights2009", "NavWater1994", "NavWater2009", "Pasture1993", "Pasture2009", "Popdensity1990",
    "Popdensity2010", "Railways", "Roads",
)  # fmt: skip
# How many codes each of the 13 layers has.
_LAND_COVER_CLASSES = (17, 16, 11, 9, 12, 101, 101, 101, 43, 11, 40, 10, 2)


def bioclimatic_variables(monthly: dict[str, np.ndarray]) -> np.ndarray:
    """Bio1 to Bio19 by their usual definitions, as integers in the way CHELSA 2 stores them.

    Shapes: the monthly arrays of :meth:`VirtualFields.monthly_climate`, [N, 12] → float [N, 19].

    Units: tenths. Bio1, 5, 6 and 8–11 are tenths of a kelvin, Bio2 and 7 tenths of a degree, Bio4 a
    tenth of 100 × the standard deviation, Bio3 and 15 tenths of a percent, Bio12–14 and 16–19
    tenths of a millimetre.

    Example:
        >>> flat = np.full((1, 12), 10.0)
        >>> monthly = {"tas": flat, "tasmin": flat - 5, "tasmax": flat + 5, "pr": flat}
        >>> bioclimatic_variables(monthly)[0, [0, 1, 11]].tolist()
        [2832.0, 100.0, 1200.0]
    """
    tas, tasmin, tasmax, pr = (monthly[name] for name in ("tas", "tasmin", "tasmax", "pr"))
    quarter_tas = (tas + np.roll(tas, -1, axis=1) + np.roll(tas, -2, axis=1)) / 3
    quarter_pr = pr + np.roll(pr, -1, axis=1) + np.roll(pr, -2, axis=1)
    # The wettest, driest, warmest and coldest quarter of each place.
    quarters = [quarter_pr.argmax(axis=1), quarter_pr.argmin(axis=1)]
    quarters += [quarter_tas.argmax(axis=1), quarter_tas.argmin(axis=1)]
    rows = np.arange(len(tas))
    warmth = [quarter_tas[rows, quarter] for quarter in quarters]
    rain = [quarter_pr[rows, quarter] for quarter in quarters]
    daily, hottest, frost = (tasmax - tasmin).mean(axis=1), tasmax.max(axis=1), tasmin.min(axis=1)
    isothermality = 100 * daily / (hottest - frost)
    rain_spread = 100 * pr.std(axis=1) / pr.mean(axis=1)
    columns = [tas.mean(axis=1), daily, isothermality, 100 * tas.std(axis=1), hottest, frost]
    columns += [hottest - frost, *warmth, pr.sum(axis=1), pr.max(axis=1), pr.min(axis=1)]
    bio = np.stack([*columns, rain_spread, *rain], axis=1)
    bio[:, [0, 4, 5, 7, 8, 9, 10]] += 273.15
    return np.rint(10 * bio)


def environment_tables(
    fields: VirtualFields, lat: np.ndarray, lon: np.ndarray
) -> dict[str, pd.DataFrame]:
    """The five environment tables of the places, complete (:func:`with_gaps` puts gaps in).

    Land cover is thirteen legends of the same land, each an integer code. Human footprint lies
    between 0 and 255.

    Shapes: ``lat`` and ``lon`` [N] → frames of N rows.

    Units: ``bioclimatic`` see :func:`bioclimatic_variables`; ``elevation`` m; ``soilgrids`` as
    SoilGrids maps them (bdod cg/cm³, cec mmol(c)/kg, cfvo cm³/dm³, clay, sand and silt g/kg,
    nitrogen cg/kg, phh2o pH × 10, soc dg/kg).

    Example:
        >>> tables = environment_tables(VirtualFields(0), np.array([48.0]), np.array([11.0]))
        >>> {name: table.shape[1] for name, table in tables.items()}
        {'bioclimatic': 19, 'elevation': 1, 'human_footprint': 16, 'landcover': 13, 'soilgrids': 9}
    """
    v = fields.values(lat, lon)
    # The weights of layers and legends are part of the world, not of the places asked for.
    rng = np.random.default_rng([fields.seed, 2])
    pressure = rng.uniform(0.3, 1.0, (2, len(_FOOTPRINT_LAYERS)))
    farmed = v["openness"] * (1 - v["elevation"] / 4500)
    people = 255 * v["human"][:, None] ** (2 * pressure[0])
    footprint = people * farmed[:, None] ** (1 - pressure[1])
    land = np.stack(
        [v["openness"], v["wetness"], v["human"], v["ph"] / 10, v["elevation"] / 3000], axis=1
    )
    legends = rng.dirichlet(np.ones(land.shape[1]), len(_LAND_COVER_CLASSES))
    codes = np.floor(expit(9 * (land @ legends.T - 0.42)) * _LAND_COVER_CLASSES)
    carbon = 250 + 500 * v["wetness"] * (1 - 0.5 * v["openness"])
    soil = {
        "bdod": 160 - 0.05 * carbon,
        "cec": 60 + 400 * v["clay"] + 0.15 * carbon,
        "cfvo": 60 + 250 * np.tanh(v["elevation"] / 2000),
        "clay": 1000 * v["clay"],
        "nitrogen": 80 + 0.7 * carbon,
        "phh2o": 10 * v["ph"],
        "sand": 1000 * v["sand"],
        "silt": 1000 * (1 - v["clay"] - v["sand"]),
        "soc": carbon,
    }
    bio = bioclimatic_variables(fields.monthly_climate(lat, lon))
    tables = {
        "bioclimatic": pd.DataFrame(bio, columns=[f"Bio{i}" for i in range(1, 20)]),
        "elevation": pd.DataFrame({"Elevation": v["elevation"]}),
        "human_footprint": pd.DataFrame(footprint, columns=_FOOTPRINT_LAYERS).add_prefix(
            "HumanFootprint-"
        ),
        "landcover": pd.DataFrame(codes, columns=[f"LandCover-{i}" for i in range(1, 14)]),
        "soilgrids": pd.DataFrame(soil).add_prefix("Soilgrid-"),
    }
    return {name: table.round() for name, table in tables.items()}


def with_gaps(rng: np.random.Generator, table: pd.DataFrame, sentinels: bool) -> pd.DataFrame:
    """A copy with missing, infinite and, on request, sentinel values in about 2 % of the rows.

    Example:
        >>> table = pd.DataFrame({"Elevation": [5.0, 6.0, 7.0, 8.0]})
        >>> gappy = with_gaps(np.random.default_rng(0), table, sentinels=False)
        >>> int(np.isfinite(gappy["Elevation"]).sum())
        1
    """
    values = table.to_numpy(copy=True)
    marks = [np.nan, np.inf, -np.inf]
    if sentinels:
        marks += [-1.0, 60000.0, float(np.finfo(np.float32).max)]
    rows = rng.permutation(len(values))[: max(len(marks), round(0.02 * len(values)))]
    columns = rng.integers(0, values.shape[1], rows.size)
    values[rows, columns] = np.resize(marks, rows.size)
    return pd.DataFrame(values, columns=table.columns)
