"""Time series cubes of the virtual Europe: monthly climate, and what Landsat sees each quarter.

Both come from the fields that the species answer to. The weather of a month is the same all over
the continent, warmer or wetter than usual by as much everywhere. Landsat also shows one of the
hidden ``history`` fields: where land was given up, it has turned greener since 2000.
"""

import io
import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int
from scipy.special import expit
from tqdm import tqdm

from tighnari_graph.files import written_whole
from tighnari_graph.virtual_fields import VirtualFields

CLIMATE_VARIABLES = ("pr", "tas", "tasmax", "tasmin")
"""First axis of a bioclim cube; the others are the years 2000–2018 and the months."""

LANDSAT_BANDS = ("red", "green", "blue", "nir", "swir1", "swir2")
"""First axis of a Landsat cube; the others are the quarters and the years 2000–2020."""

_CLIMATE_YEARS, _LANDSAT_YEARS = 19, 21
_YEARS = np.arange(2000, 2000 + _LANDSAT_YEARS)
_CHUNK = 512
# How bright each ground is in the bands above, as stored: 0 black to 255 white.
_GROUNDS = np.array(
    [
        [9, 12, 4, 82, 38, 15],  # leaves of a forest
        [13, 18, 6, 100, 62, 28],  # green grass and crops
        [26, 22, 12, 45, 52, 36],  # bare trees
        [50, 40, 24, 66, 88, 66],  # dry grass and bare soil
        [44, 41, 32, 54, 58, 52],  # town
        [190, 195, 200, 175, 25, 20],  # snow
    ]
)
_DARKENED_BY_WATER = np.array([0.2, 0.2, 0.1, 0.35, 0.6, 0.6])  # share lost on the wettest ground
_NOISE = 1.5


def bioclim_cubes(
    fields: VirtualFields, survey_id: Int[np.ndarray, " N"], lat: np.ndarray, lon: np.ndarray
) -> Float32[np.ndarray, "N 4 19 12"]:
    """Rain and temperatures of each month, whole numbers in the way CHELSA 2 stores them.

    About every twentieth survey lacks the end of the last year (NaN in all variables).

    Shapes: ``survey_id``, ``lat`` and ``lon`` [N] → [N, variable, year, month], variables as in
    :data:`CLIMATE_VARIABLES`, years 2000–2018.

    Units: degrees; rain in hundredths of a millimetre, temperatures in tenths of a kelvin.

    Example:
        >>> where = np.array([7]), np.array([48.0]), np.array([11.0])
        >>> cube = bioclim_cubes(VirtualFields(0), *where)[0]
        >>> bool((cube[2] > cube[1]).all() and (cube[1] > cube[3]).all())
        True
    """
    monthly = fields.monthly_climate(lat, lon)
    warmer, wetter = _weather(fields.seed)
    usual = np.stack([monthly[name] for name in CLIMATE_VARIABLES], axis=1)[:, :, None]
    rain = 100 * usual[:, :1] * wetter[:_CLIMATE_YEARS]
    kelvin = usual[:, 1:] + warmer[:_CLIMATE_YEARS] + 273.15
    cubes = np.rint(np.concatenate([rain, 10 * kelvin], axis=1)).astype(np.float32)
    chance = np.array([_stream(fields, 4, i).random(2) for i in survey_id]).reshape(-1, 2)
    missing = (chance[:, :1] < 0.05) & (np.arange(12) >= 12 * chance[:, 1:])
    cubes[:, :, -1] = np.where(missing[:, None], np.float32(np.nan), cubes[:, :, -1])
    return cubes


def landsat_cubes(
    fields: VirtualFields, survey_id: Int[np.ndarray, " N"], lat: np.ndarray, lon: np.ndarray
) -> Float32[np.ndarray, "N 6 4 21"]:
    """What Landsat saw of each place, whole numbers from 0 to 255.

    The ground is a mixture of forest, open land, town and snow, and leaves come and go with the
    warmth and rain of the quarter. All bands of a quarter are missing (NaN) in 1 % of the quarters
    of 2000–2019 and 12 % of those of 2020.

    Shapes: ``survey_id``, ``lat`` and ``lon`` [N] → [N, band, quarter, year], bands as in
    :data:`LANDSAT_BANDS`, quarters from January–March on, years 2000–2020.

    Units: degrees; brightness without unit.

    Example:
        >>> where = np.array([7]), np.array([48.0]), np.array([11.0])
        >>> landsat_cubes(VirtualFields(0), *where).shape
        (1, 6, 4, 21)
    """
    shape = (len(LANDSAT_BANDS), 4, _LANDSAT_YEARS)
    draws = [_stream(fields, 5, i) for i in survey_id]
    noise = np.array([rng.normal(0, _NOISE, shape) for rng in draws]).reshape(-1, *shape)
    chance = np.array([rng.random(shape[1:]) for rng in draws]).reshape(-1, *shape[1:])
    brightness = _ground(fields, lat, lon) @ _GROUNDS  # [N, quarter, year, band]
    wet = fields.values(lat, lon, ("wetness",))["wetness"][:, None, None, None]
    brightness *= 1 - wet**2 * _DARKENED_BY_WATER
    cubes = np.rint(np.clip(np.moveaxis(brightness, -1, 1) + noise, 0, 255)).astype(np.float32)
    missing = chance < np.where(np.arange(_LANDSAT_YEARS) < _LANDSAT_YEARS - 1, 0.01, 0.12)
    return np.where(missing[:, None], np.float32(np.nan), cubes)


def write_cubes(
    folder: str | os.PathLike[str],
    fields: VirtualFields,
    split: str,
    survey_id: Int[np.ndarray, " N"],
    lat: np.ndarray,
    lon: np.ndarray,
) -> None:
    """Write both cubes of each survey below ``TimeSeries-Cubes``, named as in GeoLifeCLEF 2024.

    The files are PyTorch's own (``torch.load(path, weights_only=True)``), one float32 tensor each.

    Args:
        folder: The data folder.
        fields: The land.
        split: ``"train"`` or ``"test"``.
        survey_id: Surveys, [N].
        lat: Degrees, [N].
        lon: Degrees, [N].
    """
    root = Path(folder) / "TimeSeries-Cubes" / "TimeSeries-Cubes"
    # The competition puts hyphens into the file names of this one series.
    series = "landsat-time-series" if split == "train" else "landsat_time_series"
    landsat = f"GLC24-PA-{split}-landsat_time_series/GLC24-PA-{split}-{series}"
    bioclim = f"GLC24-PA-{split}-bioclimatic_monthly/GLC24-PA-{split}-bioclimatic_monthly"
    with tqdm(
        total=len(survey_id), desc=f"writing {split} cubes", unit=" surveys", delay=2,
        disable=None, leave=False,
    ) as progress:  # fmt: skip
        for start in range(0, len(survey_id), _CHUNK):
            part = slice(start, start + _CHUNK)
            where = survey_id[part], lat[part], lon[part]
            both = zip(bioclim_cubes(fields, *where), landsat_cubes(fields, *where), strict=True)
            for survey, (climate, seen) in zip(survey_id[part], both, strict=True):
                _write_tensor(root / f"{bioclim}_{survey}_cube.pt", climate)
                _write_tensor(root / f"{landsat}_{survey}_cube.pt", seen)
                progress.update()


def _write_tensor(path: Path, values: np.ndarray) -> None:
    # Saved to memory first: a saved file holds its own name, and that is temporary here.
    buffer = io.BytesIO()
    torch.save(torch.from_numpy(values.copy()), buffer)  # a slice would be saved as the whole
    with written_whole(path) as part:
        part.write_bytes(buffer.getbuffer())


def _stream(fields: VirtualFields, number: int, survey: np.integer) -> np.random.Generator:
    """A survey's own source of chance: its files do not depend on what else is written."""
    return np.random.default_rng([fields.seed, number, int(survey)])


def _weather(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How much warmer (°C) and how many times as wet each month was, both [year, month]."""
    rng = np.random.default_rng([seed, 3])
    yearly = 0.03 * (_YEARS - 2010) + rng.normal(0, 0.4, _LANDSAT_YEARS)
    warmer = yearly[:, None] + rng.normal(0, 1.0, (_LANDSAT_YEARS, 12))
    return warmer, np.exp(rng.normal(-0.08, 0.4, (_LANDSAT_YEARS, 12)))


def _ground(fields: VirtualFields, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Share of each ground of ``_GROUNDS``, [N, quarter, year, ground]; about 1 in sum."""
    names = ("temperature", "wetness", "openness", "human", "ph")
    v = {name: x[:, None, None] for name, x in fields.values(lat, lon, names).items()}
    given_up = fields.history(lat, lon)[:, 0, None, None]
    monthly = fields.monthly_climate(lat, lon)
    warmer, wetter = (by_year.reshape(-1, 4, 3).mean(axis=2).T for by_year in _weather(fields.seed))
    tas = monthly["tas"].reshape(-1, 4, 3).mean(axis=2)[:, :, None] + warmer
    rain = monthly["pr"].reshape(-1, 4, 3).mean(axis=2)[:, :, None] * wetter
    growing = expit((tas - 6) / 3)
    evergreen = expit((6 - v["temperature"]) / 2)
    thirst = (40 - rain) / 15 - 2 * (v["wetness"] - 0.5) + 0.1 * (tas - 15)
    greening = 0.08 * given_up * (_YEARS - 2010) / 10
    leafy = evergreen + (1 - evergreen) * growing
    green = np.clip(growing * expit(-thirst) + greening, 0, 1)
    town = expit(10 * (v["human"] - 0.6))
    forest, land = (1 - town) * (1 - v["openness"]), (1 - town) * v["openness"]
    snow = expit((-2 - tas) / 1.5) * land  # trees and towns hide it
    land = land - snow
    chalk = 1 + 0.12 * (v["ph"] - 6.2)  # pale soils are limy
    shares = [
        forest * leafy,
        land * green,
        forest * (1 - leafy),
        land * (1 - green) * chalk,
        town,
        snow,
    ]
    return np.stack(np.broadcast_arrays(*shares), axis=-1)
