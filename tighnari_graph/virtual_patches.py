"""Satellite patches of the virtual Europe: 128 × 128 pixels of 10 m about each survey.

Colour and near-infrared in midsummer, north up, from the fields that the species answer to. The
width of the fields' strips also shows one of the hidden ``history`` fields: old farmland was cut
into narrower strips.
"""

import io
import os
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image
from scipy.special import expit
from tqdm import tqdm

from tighnari_graph.files import written_whole
from tighnari_graph.virtual_fields import EARTH_RADIUS_KM, VirtualFields

_PIXELS, _WIDTH_KM = 128, 1.28
_KNOTS = 17  # the fields are asked for every 80 m and smooth in between
_CHUNK = 64
_MISSING_SHARE, _MISSING_FROM = 0.005, 200
# How bright each ground is in red, green, blue and near-infrared, as stored: 0 to 255.
_BROADLEAF = np.array([48, 66, 50, 165.0])
_CONIFER = np.array([40, 52, 46, 115.0])
_MACCHIA = np.array([60, 64, 42, 138.0])  # evergreen bush of dry summers
_MEADOW = np.array([80, 102, 66, 190.0])
_HEATH = np.array([104, 88, 86, 150.0])
_DRY_LAND = np.array([136, 118, 86, 155.0])
_TOWN = np.array([122, 120, 116, 108.0])
_DARKENED_BY_WATER = np.array([0.25, 0.2, 0.1, 0.45])  # share lost on the wettest ground


def satellite_patches(
    fields: VirtualFields, survey_id: Int[np.ndarray, " N"], lat: np.ndarray, lon: np.ndarray
) -> UInt8[np.ndarray, "N 128 128 4"]:
    """Red, green, blue and near-infrared of 1.28 km about each place, first row in the north.

    Shapes: ``survey_id``, ``lat`` and ``lon`` [N] → [N, row, column, band].

    Units: degrees; brightness from 0 to 255 without unit.

    Example:
        >>> where = np.array([7]), np.array([48.0]), np.array([11.0])
        >>> satellite_patches(VirtualFields(0), *where).shape
        (1, 128, 128, 4)
    """
    colour, rough, town, strips = _ground(fields, lat, lon)
    # Midpoints of the pixels between the knots: each lies between two, and takes of both.
    middle = (np.arange(_PIXELS) + 0.5) * (_KNOTS - 1) / _PIXELS
    enlarge = np.clip(1 - np.abs(middle[:, None] - np.arange(_KNOTS)), 0, None).astype(np.float32)
    maps = np.concatenate([colour, np.stack([rough, town, strips], axis=1)], axis=1)
    maps = enlarge @ maps.astype(np.float32) @ enlarge.T
    grain, houses, furrows = _texture(fields, survey_id, lat, lon)
    texture = maps[:, 4] * grain + maps[:, 5] * houses + maps[:, 6] * furrows
    bands = maps[:, :4] * (1 + texture[:, None])
    return np.moveaxis(np.clip(np.rint(bands), 0, 255).astype(np.uint8), 1, -1)


def write_patches(
    folder: str | os.PathLike[str],
    fields: VirtualFields,
    split: str,
    survey_id: Int[np.ndarray, " N"],
    lat: np.ndarray,
    lon: np.ndarray,
) -> None:
    """Write a colour and a near-infrared JPEG for each survey, named as in GeoLifeCLEF 2024.

    As in life some surveys have neither: 0.5 % where there are at least 200 surveys.

    Args:
        folder: The data folder.
        fields: The land.
        split: ``"train"`` or ``"test"``.
        survey_id: Surveys, [N].
        lat: Degrees, [N].
        lon: Degrees, [N].
    """
    rgb, nir = (
        Path(folder)
        / f"PA_{split.title()}_SatellitePatches_{kind}"
        / f"pa_{split}_patches_{kind.lower()}"
        for kind in ("RGB", "NIR")
    )
    kept = np.flatnonzero(~np.isin(survey_id, _without_patches(fields, survey_id)))
    with tqdm(
        total=len(kept), desc=f"writing {split} patches", unit=" surveys", delay=2,
        disable=None, leave=False,
    ) as progress:  # fmt: skip
        for start in range(0, len(kept), _CHUNK):
            rows = kept[start : start + _CHUNK]
            patches = satellite_patches(fields, survey_id[rows], lat[rows], lon[rows])
            for survey, patch in zip(survey_id[rows], patches, strict=True):
                digits = str(survey)
                name = f"{digits[-2:]}/{digits[-4:-2]}/{digits}.jpeg"
                _write_jpeg(rgb / name, patch[..., :3])
                _write_jpeg(nir / name, patch[..., 3])
                progress.update()


def _write_jpeg(path: Path, pixels: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="JPEG")
    with written_whole(path) as part:
        part.write_bytes(buffer.getbuffer())


def _without_patches(fields: VirtualFields, survey_id: np.ndarray) -> np.ndarray:
    """Ids of the surveys whose patches are missing, whatever the order of the surveys."""
    if len(survey_id) < _MISSING_FROM:
        return survey_id[:0]
    chance = np.random.default_rng([fields.seed, 6]).permutation(np.sort(survey_id))
    return chance[: round(_MISSING_SHARE * len(survey_id))]


def _ground(
    fields: VirtualFields, lat: np.ndarray, lon: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Brightness at the knots, [N, band, row, column], and how much texture of each kind there is.

    The three textures (crowns, houses, strips) are [N, row, column], as shares of the brightness.
    """
    step = np.degrees(np.linspace(-_WIDTH_KM / 2, _WIDTH_KM / 2, _KNOTS) / EARTH_RADIUS_KM)
    north, east = -step[:, None], step / np.cos(np.radians(lat))[:, None, None]
    knots = np.broadcast_arrays(lat[:, None, None] + north, lon[:, None, None] + east)
    names = ("openness", "wetness", "human", "ph", "elevation")
    v = fields.values(knots[0], knots[1], names)
    climate = fields.values(lat, lon, ("temperature", "precipitation", "summer_dryness"))
    temperature, rain, dryness = (value[:, None, None] for value in climate.values())
    town = expit(10 * (v["human"] - 0.6))
    forest, land = (1 - town) * (1 - v["openness"]), (1 - town) * v["openness"]
    cold = expit((6 - temperature) / 2)
    mild = 1 - cold
    green = expit(4 * (v["wetness"] - 0.5) + 3 * (np.log(rain) - 6.4) - 2.5 * (dryness - 0.3))
    chalk = 1 + 0.2 * (v["ph"] - 6.2)  # pale soils are limy
    shares = [
        (_BROADLEAF, forest * mild * (1 - dryness)),
        (_MACCHIA, forest * mild * dryness),
        (_CONIFER, forest * cold),
        (_MEADOW, land * green * mild),
        (_HEATH, land * green * cold),
        (_DRY_LAND, land * (1 - green) * chalk),
        (_TOWN, town),
    ]
    colour = sum(share[:, None] * ground[:, None, None] for ground, share in shares)
    colour *= 1 - v["wetness"][:, None] ** 2 * _DARKENED_BY_WATER[:, None, None]
    # The morning sun stands in the east, where slopes that fall eastwards are lit.
    slope = np.gradient(v["elevation"], 1000 * _WIDTH_KM / (_KNOTS - 1), axis=2)
    colour *= 1 - 1.5 * np.clip(slope, -0.1, 0.1)[:, None]
    return colour, 0.03 + 0.07 * forest, 0.12 * town, 0.12 * land


def _texture(
    fields: VirtualFields, survey_id: np.ndarray, lat: np.ndarray, lon: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grain, houses of 40 m and strips of farmland, each [N, row, column] and about 1 in size."""
    streams = [np.random.default_rng([fields.seed, 7, int(survey)]) for survey in survey_id]
    size, blocks = (_PIXELS, _PIXELS), (_PIXELS // 4, _PIXELS // 4)
    grain = np.array([rng.standard_normal(size, dtype=np.float32) for rng in streams])
    houses = np.array([rng.standard_normal(blocks, dtype=np.float32) for rng in streams])
    houses = houses.repeat(4, axis=1).repeat(4, axis=2)
    angle, phase = 2 * np.pi * np.array([rng.random(2) for rng in streams], dtype=np.float32).T
    old = fields.history(lat, lon)[:, 1]
    waves = (2 * np.pi / 14 * np.exp(0.35 * old)).astype(np.float32)  # radians a pixel
    pixel = np.arange(_PIXELS, dtype=np.float32)
    across, down = (waves * turn(angle) for turn in (np.cos, np.sin))
    furrows = np.sin(
        across[:, None, None] * pixel + down[:, None, None] * pixel[:, None] + phase[:, None, None]
    )
    return grain, houses, furrows
