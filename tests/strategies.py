"""Hypothesis strategies for small, nasty survey tables, and tables for examples worked by hand.

Frames are long, as the competition's files are: one row per survey and species, rows of one survey
not adjacent, some rows twice, ``speciesId`` a float, the index as the shuffle left it. Places are
clustered around a few anchors (among them the poles and both sides of the antimeridian), so that
edges exist and points coincide.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from hypothesis import Phase, assume, settings
from hypothesis import strategies as st

from tests import oracles

# few examples, and no explain phase: a failing run must not take minutes either
SOME = settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
)
SPECIES = (3, 17, 42, 1000, 11254)
YEARS = (2017, 2018)
REGIONS = ("ALPINE", "ATLANTIC", None)
RADII_KM = (3.0, 10.0, 25.0)
EARTH_RADII_KM = (oracles.EARTH_RADIUS_KM, 6731.0)
MARGIN_KM = 1e-6

ANCHORS = (
    (46.5, 7.5),
    (46.55, 7.5),
    (0.0, 0.0),
    (-33.9, 18.4),
    (61.2, 180.0),
    (61.2, -180.0),
    (61.22, 179.95),
    (90.0, 0.0),
    (90.0, 123.0),
    (89.97, -120.0),
    (-90.0, 45.0),
    (-89.96, 60.0),
)
Place = tuple[float, float]


def moved(place: Place, north_km: float, east_km: float) -> Place:
    """A place about this far away, over a pole or the antimeridian if need be."""
    lat, lon = place
    # 111 is deliberately not a kilometre exactly, so that whole offsets do not land on whole radii
    east_degrees = east_km / (111.0 * max(math.cos(math.radians(lat)), 1e-3))
    lat, lon = lat + north_km / 111.0, lon + east_degrees
    if abs(lat) > 90:
        lat, lon = math.copysign(180 - abs(lat), lat), lon + 180
    if not -180 <= lon <= 180:
        lon = (lon + 180) % 360 - 180
    return round(lat, 7), round(lon, 7)


@st.composite
def places(draw: st.DrawFn, anchors: Sequence[Place], count: int) -> list[Place]:
    """``count`` places: an anchor, an earlier place again, or up to 14 km off an anchor."""
    offset = st.integers(-140, 140).map(lambda tenth: tenth / 10)
    found: list[Place] = []
    for _ in range(count):
        kind = draw(st.sampled_from(("near", "near", "anchor", "again")))
        if kind == "again" and found:
            found.append(draw(st.sampled_from(found)))
            continue
        place = draw(st.sampled_from(list(anchors)))
        found.append(place if kind == "anchor" else moved(place, draw(offset), draw(offset)))
    return found


@st.composite
def survey_frames(
    draw: st.DrawFn,
    *,
    anchors: Sequence[Place] | None = None,
    min_surveys: int = 0,
    max_surveys: int = 12,
    region: bool = True,
    species: bool = True,
) -> pd.DataFrame:
    """A long frame of few surveys; PO files have no ``region``, test files no ``species``."""
    if anchors is None:
        anchors = draw(st.lists(st.sampled_from(ANCHORS), min_size=1, max_size=3, unique=True))
    count = draw(st.integers(min_surveys, max_surveys))
    survey_ids = draw(
        st.lists(st.integers(1, 20_000_000), min_size=count, max_size=count, unique=True)
    )
    rows: list[dict[str, object]] = []
    for survey_id, (lat, lon) in zip(survey_ids, draw(places(anchors, count)), strict=True):
        row: dict[str, object] = {
            "surveyId": survey_id,
            "lat": lat,
            "lon": lon,
            "year": draw(st.sampled_from(YEARS)),
            "areaInM2": draw(st.sampled_from((25.0, math.nan, -math.inf))),
        }
        if region:
            row["region"] = draw(st.sampled_from(REGIONS))
        found: list[float] = [math.nan]
        if species:
            found = draw(st.lists(st.sampled_from(SPECIES), max_size=4)) or found
        repeats = 2 if draw(st.booleans()) else 1
        rows += [row | ({"speciesId": float(name)} if species else {}) for name in found] * repeats
    frame = _frame(rows, region=region, species=species)
    order = np.random.default_rng(draw(st.integers(0, 1000))).permutation(len(frame))
    frame = frame.iloc[order]
    surveys = oracles.group_rows(records(frame))
    assume(clear_of_radii(surveys, surveys))
    return frame


class Frames(NamedTuple):
    """Training, test and presence-only rows around the same few places."""

    train: pd.DataFrame
    test: pd.DataFrame
    po: pd.DataFrame


@st.composite
def attached_frames(
    draw: st.DrawFn, min_train: int = 0, min_test: int = 0, min_po: int = 0
) -> Frames:
    anchors = draw(st.lists(st.sampled_from(ANCHORS), min_size=1, max_size=2, unique=True))
    frames = Frames(
        draw(survey_frames(anchors=anchors, min_surveys=min_train, max_surveys=9)),
        draw(survey_frames(anchors=anchors, min_surveys=min_test, max_surveys=4, species=False)),
        draw(survey_frames(anchors=anchors, min_surveys=min_po, max_surveys=9, region=False)),
    )
    train, test, po = (oracles.group_rows(records(frame)) for frame in frames)
    assume(clear_of_radii(train + po, test))
    return frames


def clear_of_radii(a: Sequence[oracles.Survey], b: Sequence[oracles.Survey]) -> bool:
    """No distance so near to a radius in use that rounding would decide about the edge."""
    return all(
        oracles.smallest_margin_km(a, b, radius, earth_radius) > MARGIN_KM
        for radius in RADII_KM
        for earth_radius in EARTH_RADII_KM
    )


def records(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Rows as plain dictionaries, for the oracles."""
    return frame.to_dict("records")


def _frame(rows: list[dict[str, object]], *, region: bool, species: bool) -> pd.DataFrame:
    """A frame that has its columns and types even when it has no rows."""
    types = {"surveyId": "int64", "lat": "float64", "lon": "float64", "year": "int64"}
    types |= {"areaInM2": "float64"}
    if region:
        types["region"] = "object"
    if species:
        types["speciesId"] = "float64"
    return pd.DataFrame({name: [row[name] for row in rows] for name in types}).astype(types)


# --- hand examples --------------------------------------------------------------------------------

KM_PER_DEGREE = math.pi * oracles.EARTH_RADIUS_KM / 180  # 111.195 km along a meridian


def on_a_meridian(
    *surveys: tuple[int, float, Iterable[int]],
    year: int = 2020,
    region: str | None = "ALPINE",
    lat: float = 46.0,
    lon: float = 7.0,
) -> pd.DataFrame:
    """Long rows of surveys ``(id, km to the north, species)``: distances are differences."""
    rows: list[dict[str, object]] = []
    for survey_id, north_km, species in surveys:
        place = {"surveyId": survey_id, "lat": lat + north_km / KM_PER_DEGREE, "lon": lon}
        row = place | {"year": year, "region": region}
        rows += [row | {"speciesId": float(name)} for name in list(species) or [math.nan]]
    names = ["surveyId", "lat", "lon", "year", "region", "speciesId"]
    return pd.DataFrame(rows, columns=names)
