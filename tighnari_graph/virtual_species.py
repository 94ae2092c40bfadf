"""Species of the virtual Europe: their niches and ranges, and what grows at a place."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tighnari_graph.virtual_fields import EARTH_RADIUS_KM, VirtualFields, anywhere, unit_vectors

_TYPICAL_RICHNESS = 17.0
_FILL = 0.65  # a plot holds at most this share of the species that thrive around it
_PO_ONLY_SHARE = 0.08
_CHUNK = 1024  # surveys × species are never held at once


@dataclass(frozen=True)
class VirtualSpecies:
    """What each species needs and where it lives.

    A species is commonest where the land is at its optimum and within ``range_km`` of its home;
    further out it is a rare stray. ``loading`` says how it answers to the hidden local history.
    Species with ``po_only`` (garden plants, say) are reported by observers but not by surveys.

    Shapes: one row per species; ``optimum`` and ``tolerance`` [S, 7] on
    :meth:`VirtualFields.niche_axes`, ``loading`` [S, 4].

    Units: degrees, kilometres; optimum and tolerance in niche axes.

    Example:
        >>> rng, fields = np.random.default_rng(0), VirtualFields(0)
        >>> species = VirtualSpecies.make(rng, fields, num=100)
        >>> meadow = pd.DataFrame({"lat": [48.0], "lon": [11.0], "richness": 1.0, "single": False})
        >>> place, which = species.draw(rng, fields, meadow, observers=False)
        >>> 5 < which.size < 30
        True
    """

    species_id: np.ndarray
    home_lat: np.ndarray
    home_lon: np.ndarray
    range_km: np.ndarray
    optimum: np.ndarray
    tolerance: np.ndarray
    loading: np.ndarray
    commonness: np.ndarray
    po_only: np.ndarray

    @classmethod
    def make(cls, rng: np.random.Generator, fields: VirtualFields, num: int) -> "VirtualSpecies":
        """Species whose optimum is near the land of their home, a few common and most rare."""
        lat, lon = anywhere(rng, num)
        axes = fields.niche_axes(lat, lon)
        rank = np.arange(num) / num  # 0 the commonest; rare species are also narrowly spread
        po_only = np.zeros(num, dtype=bool)
        # Taken from the commoner half: else observers would hardly meet them.
        po_only[rng.permutation(num // 2)[: max(1, round(_PO_ONLY_SHARE * num))]] = True
        return cls(
            species_id=rng.permutation(num),
            home_lat=lat,
            home_lon=lon,
            range_km=np.exp(rng.normal(np.log(700), 0.4, num)) * (1 - 0.93 * rank),
            optimum=axes + 0.5 * rng.standard_normal(axes.shape),
            tolerance=np.exp(rng.normal(np.log(1.6), 0.35, axes.shape)),
            loading=1.8 * rng.standard_normal((num, 4)),
            # Zipf's law, thinner at the rare end, where most plants are met once or twice.
            commonness=(np.arange(num) + 5.0) ** -0.8 * np.exp(-6 * rank**4),
            po_only=po_only,
        )

    def log_suitability(
        self, fields: VirtualFields, lat: np.ndarray, lon: np.ndarray
    ) -> np.ndarray:
        """Natural logarithm of relative abundance, float32 [N, S]."""
        axes, history = fields.niche_axes(lat, lon), fields.history(lat, lon)
        # The squared distance from the optimum, multiplied out, is one matrix product: no
        # [N, S, axes] array is needed.
        precision = self.tolerance**-2
        known = np.concatenate([axes**2, axes, history, np.ones((len(axes), 1))], axis=1)
        constant = np.log(self.commonness) - 0.5 * (precision * self.optimum**2).sum(axis=1)
        weights = np.concatenate(
            [-0.5 * precision, precision * self.optimum, self.loading, constant[:, None]], axis=1
        )
        score = known.astype(np.float32) @ weights.T.astype(np.float32)
        homes = unit_vectors(self.home_lat, self.home_lon).astype(np.float32)
        cosine = unit_vectors(lat, lon).astype(np.float32) @ homes.T
        score[cosine < np.cos(self.range_km / EARTH_RADIUS_KM).astype(np.float32)] -= 10.0
        return score

    def draw(
        self,
        rng: np.random.Generator,
        fields: VirtualFields,
        places: pd.DataFrame,
        observers: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """What grows at the places: rows of the presences and their species' rows.

        A species is present with probability 0.65 · (1 − exp(−k · suitability)); k is set for each
        place so that about 17 · richness species are expected (17 or a quarter of all species,
        whichever is less). Every place gets at least one.

        Args:
            rng: Source of chance.
            fields: The land.
            places: ``lat`` and ``lon``; ``richness``, the expected number of species as a multiple
                of the typical one; and ``single``, where just one species is listed.
            observers: Whether the species that only observers report are counted.
        """
        num_species = len(self.species_id)
        typical = min(_TYPICAL_RICHNESS, num_species / 4)
        # Not more than half of what can grow, or there might be no k to be found below.
        wanted = typical * places["richness"].to_numpy() / _FILL
        thriving = np.minimum(wanted, num_species / 2).astype(np.float32)[:, None]
        lat, lon, single = (places[name].to_numpy() for name in ("lat", "lon", "single"))
        rows, columns = [], []
        for start in range(0, max(len(places), 1), _CHUNK):
            part = slice(start, start + _CHUNK)
            score = self.log_suitability(fields, lat[part], lon[part])
            if not observers:
                score[:, self.po_only] = -np.inf
            # The floor keeps float32 from reaching zero where nearly nothing is at home.
            rate = np.exp(np.maximum(score - score.max(axis=1, keepdims=True), -40))
            rate[np.isneginf(score)] = 0
            # Expected richness is concave in k, so Newton's steps from below never overshoot.
            k = thriving[part] / rate.sum(axis=1, keepdims=True)
            for _ in range(8):
                absent = np.exp(-k * rate)
                missing = thriving[part] - (1 - absent).sum(axis=1, keepdims=True)
                k += missing / (rate * absent).sum(axis=1, keepdims=True)
            present = rng.random(rate.shape, dtype=np.float32) < _FILL * (1 - np.exp(-k * rate))
            lonely = single[part] | ~present.any(axis=1)
            present[lonely] = False
            present[lonely, rate[lonely].argmax(axis=1)] = True
            row, column = np.nonzero(present)
            rows.append(row + start)
            columns.append(column)
        return np.concatenate(rows), np.concatenate(columns)
