"""How far an edge may reach: the radius, as the chord that every back end compares with."""

from dataclasses import dataclass

import numpy as np

from tighnari_graph.geodesy import EARTH_RADIUS_KM, chord_of_km

BOUNDARY_KM = 1e-9


@dataclass(frozen=True)
class Reach:
    """One radius on one sphere.

    Whether a pair is within is decided by its squared chord, a sum of three squares in float64.
    That is the same number on every machine; an arcsine is not.

    Attributes:
        radius_km: the longest edge; a pair beyond it by up to `BOUNDARY_KM`, the rounding of
            coordinates in float64, counts as at the radius.
        earth_radius_km: of the sphere.

    Raises:
        ValueError: on a radius that is not positive.

    Example:
        >>> round(Reach(10.0).chord_square ** 0.5 * EARTH_RADIUS_KM, 6)
        9.999999
    """

    radius_km: float
    earth_radius_km: float = EARTH_RADIUS_KM

    def __post_init__(self) -> None:
        radius_km, earth_radius_km = self.radius_km, self.earth_radius_km
        if not (np.isfinite(radius_km) and radius_km > 0):
            raise ValueError(f"radius_km must be a positive number of kilometres, got {radius_km}")
        if not (np.isfinite(earth_radius_km) and earth_radius_km > 0):
            raise ValueError(f"earth_radius_km must be positive, got {earth_radius_km}")

    @property
    def chord_square(self) -> float:
        """The largest squared chord of an edge, in Earth radii; infinite from half way round on."""
        if self.radius_km + BOUNDARY_KM >= np.pi * self.earth_radius_km:
            return np.inf
        return self.edge_chord**2

    @property
    def chord(self) -> float:
        """The chord that candidates are searched within, a little beyond the radius."""
        return chord_of_km(self.radius_km, self.earth_radius_km) * (1 + 1e-9) + 1e-12

    @property
    def edge_chord(self) -> float:
        """The longest chord of an edge, in Earth radii: what edges are counted within."""
        farthest = self.radius_km + BOUNDARY_KM
        if farthest >= np.pi * self.earth_radius_km:
            return self.chord  # every pair
        return chord_of_km(farthest, self.earth_radius_km)

    @property
    def angle(self) -> float:
        """The angle that candidates are searched within, radians, a little beyond the radius."""
        return float(min(self.radius_km / self.earth_radius_km * (1 + 1e-6) + 1e-9, np.pi))
