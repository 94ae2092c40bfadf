"""Climate, soil and land of the virtual Europe: smooth functions of latitude and longitude.

Every field depends on the seed and the place alone, so all that is made from one
:class:`VirtualFields` agrees. The continent has no coast and copies no real map.
"""

import numpy as np
from scipy.special import expit

EARTH_RADIUS_KM = 6371.0088
_LAT_RANGE, _LON_RANGE = (37.0, 68.0), (-9.0, 29.0)

FIELD_UNITS = {
    "elevation": "m",
    "temperature": "degrees Celsius, mean of the year",
    "temperature_range": "degrees Celsius, July minus January",
    "precipitation": "mm a year",
    "summer_dryness": "0 wet summers to 1 dry summers",
    "ph": "soil pH in water",
    "clay": "share of the fine soil, 0 to 1",
    "sand": "share of the fine soil, 0 to 1",
    "wetness": "0 dry ground to 1 wet ground",
    "openness": "0 closed forest to 1 open land",
    "human": "0 wilderness to 1 city",
}
"""The names that :meth:`VirtualFields.values` knows, with their units."""

# Length (km) and number of waves of each wave field; a satellite patch of 1.28 km shows the finest.
_WAVES = {
    "relief_broad": (260.0, 48), "relief_fine": (18.0, 48), "warmth": (300.0, 32),
    "continentality": (400.0, 32), "rain": (150.0, 32), "dryness": (250.0, 32),
    "ph_broad": (45.0, 48), "ph_fine": (3.0, 32), "clay": (30.0, 32), "sand": (30.0, 32),
    "wet_broad": (9.0, 32), "wet_fine": (0.9, 32), "open_broad": (7.0, 32), "open_fine": (0.7, 32),
    "human_broad": (60.0, 48), "human_fine": (5.0, 32), "history_0": (10.0, 48),
    "history_1": (13.0, 48), "history_2": (17.0, 48), "history_3": (8.0, 48),
}  # fmt: skip

# Middle and width of what the species respond to; rain as its natural logarithm.
_NICHE_SCALES = {
    "temperature": (9.0, 4.0),
    "precipitation": (6.7, 0.35),
    "summer_dryness": (0.35, 0.35),
    "ph": (6.2, 1.0),
    "wetness": (0.5, 0.2),
    "openness": (0.5, 0.25),
    "human": (0.3, 0.2),
}

# Rough middles; a place belongs to the nearest one.
_COUNTRIES = {
    "Austria": (47.5, 14.2), "Belgium": (50.6, 4.6), "Croatia": (45.3, 16.2),
    "Czech Republic": (49.8, 15.4), "Denmark": (56.0, 9.8), "Finland": (63.0, 26.5),
    "France": (46.5, 2.4), "Germany": (51.2, 10.2), "Greece": (39.2, 22.4),
    "Hungary": (47.2, 19.4), "Italy": (42.8, 12.6), "Netherlands": (52.3, 5.5),
    "Norway": (62.0, 9.0), "Poland": (52.1, 19.4), "Romania": (45.8, 25.0),
    "Spain": (40.2, -3.6), "Sweden": (61.5, 15.6), "Switzerland": (46.8, 8.2),
    "United Kingdom": (53.0, -1.6),
}  # fmt: skip


def unit_vectors(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Places in degrees, [...], as points of the unit sphere, [..., 3]; no seam at the date line.

    Example:
        >>> unit_vectors(np.array([0.0]), np.array([90.0])).round(6).tolist()
        [[0.0, 1.0, 0.0]]
    """
    phi, lam = np.radians(lat), np.radians(lon)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def hold_out_blocks(lat: np.ndarray, lon: np.ndarray, block_km: float = 10.0) -> np.ndarray:
    """Number of the block that each place (degrees) lies in, int64 [N].

    Blocks are bands of latitude, cut into columns as wide in the middle as the band is high.

    Example:
        >>> blocks = hold_out_blocks(np.array([50.04, 50.05, 50.23]), np.array([5.1, 5.1, 5.1]))
        >>> (blocks == blocks[0]).tolist()
        [True, True, False]
    """
    km_per_degree = np.pi * EARTH_RADIUS_KM / 180
    row = np.floor(np.asarray(lat) * km_per_degree / block_km).astype(np.int64)
    middle = np.radians((row + 0.5) * block_km / km_per_degree)
    column = np.floor(np.asarray(lon) * km_per_degree * np.cos(middle) / block_km).astype(np.int64)
    return row * 1_000_000 + column


def anywhere(rng: np.random.Generator, num: int) -> np.ndarray:
    """Latitudes and longitudes in degrees, spread evenly over the continent, [2, num].

    Example:
        >>> lat, lon = anywhere(np.random.default_rng(0), 100)
        >>> bool(lat.min() > 37 and lat.max() < 68)
        True
    """
    south, north = np.sin(np.radians(_LAT_RANGE))
    lat = np.degrees(np.arcsin(rng.uniform(south, north, num)))
    return np.stack([lat, rng.uniform(*_LON_RANGE, num)])


class WaveField:
    """A smooth random function of position with mean 0 and variance 1: a sum of plane waves.

    Two places at distance d have, nearly, the correlation exp(−d² / 2·length²).

    Args:
        rng: Source of the waves.
        length_km: The length above.
        num_waves: More waves bring the values nearer to a normal distribution and take longer.

    Example:
        >>> hills = WaveField(np.random.default_rng(0), length_km=20.0)
        >>> here, one_metre_north = hills(np.array([50.0, 50.00001]), np.array([5.0, 5.0]))
        >>> bool(abs(here - one_metre_north) < 0.001)
        True
    """

    def __init__(self, rng: np.random.Generator, length_km: float, num_waves: int = 48) -> None:
        self.waves = rng.standard_normal((3, num_waves)) * (EARTH_RADIUS_KM / length_km)
        self.phases = rng.uniform(0, 2 * np.pi, num_waves)

    def __call__(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        """Values at the places, same shape as ``lat``."""
        angles = unit_vectors(lat, lon) @ self.waves + self.phases
        return np.sqrt(2 / self.phases.size) * np.cos(angles).sum(axis=-1)


class VirtualFields:
    """The land of one virtual Europe; ask for any field at any place.

    Temperature falls northwards and uphill, the yearly range grows eastwards, summers are dry in
    the south, and soil, wetness, openness and human use vary over kilometres. The ``history``
    fields stand for what no table holds (past land use, seed arrival) but neighbours share.

    Args:
        seed: Fixes every field.

    Units: see :data:`FIELD_UNITS`.

    Example:
        >>> fields = VirtualFields(seed=0)
        >>> lat, lon = np.array([40.0, 66.0]), np.array([10.0, 10.0])
        >>> warmth = fields.values(lat, lon, names=("temperature",))["temperature"]
        >>> bool(warmth[0] > warmth[1])
        True
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        # One stream per field: a field added later leaves the others as they were.
        self._waves = {
            name: WaveField(np.random.default_rng([seed, 1, i]), length_km, num_waves)
            for i, (name, (length_km, num_waves)) in enumerate(_WAVES.items())
        }

    def values(
        self, lat: np.ndarray, lon: np.ndarray, names: tuple[str, ...] = tuple(FIELD_UNITS)
    ) -> dict[str, np.ndarray]:
        """The named fields at the places; each has the shape of ``lat``. Naming few saves time."""
        unknown = sorted(set(names) - set(FIELD_UNITS))
        if unknown:
            raise ValueError(f"names: unknown fields {unknown}; known are {sorted(FIELD_UNITS)}")
        lat, lon = np.asarray(lat, dtype=float), np.asarray(lon, dtype=float)
        return {name: self._value(name, lat, lon) for name in names}

    def history(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        """Hidden local history, [..., 4], mean 0 and variance 1; in no table."""
        return np.stack([self._waves[f"history_{i}"](lat, lon) for i in range(4)], axis=-1)

    def niche_axes(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        """Warmth, rain, dryness, pH, wetness, openness and people, [..., 7], each about 1 wide."""
        v = self.values(lat, lon, tuple(_NICHE_SCALES))
        v["precipitation"] = np.log(v["precipitation"])
        axes = [(v[name] - middle) / width for name, (middle, width) in _NICHE_SCALES.items()]
        return np.stack(axes, axis=-1)

    def regions(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        """Biogeographic region of each place, read from the climate."""
        v = self.values(
            lat, lon, ("elevation", "temperature", "temperature_range", "summer_dryness")
        )
        return np.select(
            [
                v["elevation"] > 900,
                v["temperature"] < 4.5,
                v["summer_dryness"] > 0.55,
                v["temperature_range"] < 16.5,
                (v["temperature_range"] > 22) & (v["elevation"] < 220) & (v["temperature"] > 8),
            ],
            ["ALPINE", "BOREAL", "MEDITERRANEAN", "ATLANTIC", "PANNONIAN"],
            "CONTINENTAL",
        )

    def countries(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        """Country of each place: the one whose middle is nearest."""
        middles = unit_vectors(*np.array(list(_COUNTRIES.values())).T)
        nearest = (unit_vectors(lat, lon) @ middles.T).argmax(axis=-1)
        return np.array(list(_COUNTRIES))[nearest]

    def monthly_climate(self, lat: np.ndarray, lon: np.ndarray) -> dict[str, np.ndarray]:
        """Monthly ``tas``, ``tasmin``, ``tasmax`` (°C) and ``pr`` (mm), each [..., 12]."""
        names = ("temperature", "temperature_range", "precipitation", "summer_dryness")
        v = {name: value[..., None] for name, value in self.values(lat, lon, names).items()}
        summer = np.cos(2 * np.pi * (np.arange(12) - 6) / 12)  # 1 in July, −1 in January
        tas = v["temperature"] + v["temperature_range"] / 2 * summer
        half_day = 3.5 + 1.5 * v["summer_dryness"] + 1.2 * summer
        pr = v["precipitation"] / 12 * (1 + (0.3 - 1.1 * v["summer_dryness"]) * summer)
        return {"tas": tas, "tasmin": tas - half_day, "tasmax": tas + half_day, "pr": pr}

    def _value(self, name: str, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        def wave(name: str) -> np.ndarray:
            return self._waves[name](lat, lon)

        def field(name: str) -> np.ndarray:
            return self._value(name, lat, lon)

        match name:
            case "elevation":
                height = 230 * np.exp(wave("relief_broad") + 0.4 * wave("relief_fine"))
                return 4500 * np.tanh(height / 4500)
            case "temperature":
                return 17.5 - 0.48 * (lat - 38) - 0.006 * field("elevation") + 0.8 * wave("warmth")
            case "temperature_range":
                return 11 + 17 * expit((lon - 11) / 8) + 1.2 * wave("continentality")
            case "precipitation":
                rise = 0.0003 * field("elevation") - 0.02 * (field("temperature_range") - 18)
                return np.exp(6.55 + rise + 0.25 * wave("rain"))
            case "summer_dryness":
                return expit((45 - lat + 1.5 * wave("dryness")) / 1.8)
            case "ph":
                return 6.2 + 2.2 * np.tanh(0.5 * wave("ph_broad") + 0.2 * wave("ph_fine"))
            case "clay":
                return 0.45 * expit(wave("clay"))
            case "sand":
                return (1 - field("clay")) * expit(1.2 * wave("sand"))
            case "wetness":
                return expit(0.8 * wave("wet_broad") + 0.5 * wave("wet_fine"))
            case "openness":
                return expit(1.1 * wave("open_broad") + 0.8 * wave("open_fine"))
            case "human":
                people = wave("human_broad") + 0.6 * wave("human_fine")
                return expit(1.2 * people - 1 - 0.001 * field("elevation"))
        raise AssertionError(name)
