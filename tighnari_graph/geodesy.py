"""The sphere: degrees → unit vectors, kilometres ↔ chords, great-circle distances."""

import numpy as np

EARTH_RADIUS_KM = 6371.0088  # mean radius (IUGG)
EARTH_RADIUS_PAPER_KM = 6731.0  # as printed in eq. 2, probably two digits swapped


def unit_vectors(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Points of the unit sphere; neither the poles nor the antimeridian are special there.

    Shapes:
        - **lat, lon:** :math:`(N,)`
        - **output:** :math:`(N, 3)` float64

    Units: degrees in, Earth radii out.

    Example:
        >>> unit_vectors(np.array([0.0, 90.0]), np.array([0.0, 45.0])).round(6) + 0.0
        array([[1., 0., 0.],
               [0., 0., 1.]])
    """
    phi, lam = np.radians(lat), np.radians(lon)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)


def chord_of_km(distance_km: float, earth_radius_km: float = EARTH_RADIUS_KM) -> float:
    """The straight line through the unit sphere under an arc; 2 from half way round on.

    Example:
        >>> round(chord_of_km(10.0) * EARTH_RADIUS_KM, 6)  # the chord is 1 mm shorter
        9.999999
    """
    return float(2 * np.sin(min(distance_km / earth_radius_km, np.pi) / 2))


def km_of_chord(chord_squared: np.ndarray, earth_radius_km: float = EARTH_RADIUS_KM) -> np.ndarray:
    """The arc over a chord whose square is given, in kilometres.

    Beyond a right angle the arc is taken from the antipode, where the arcsine loses no digits.

    Example:
        >>> km_of_chord(np.array([0.0, 4.0])).round(3)
        array([    0.   , 20015.114])
    """
    arc = 2 * np.arcsin(np.minimum(np.sqrt(chord_squared) / 2, 1))
    far = chord_squared > 2
    if far.any():
        arc[far] = np.pi - 2 * np.arcsin(np.sqrt(np.maximum(1 - chord_squared[far] / 4, 0)))
    return arc * earth_radius_km


def great_circle_km(
    lat1: np.ndarray,
    lon1: np.ndarray,
    lat2: np.ndarray,
    lon2: np.ndarray,
    earth_radius_km: float = EARTH_RADIUS_KM,
) -> np.ndarray:
    """Distance over the ground between points, pair by pair.

    Shapes:
        - **lat1, lon1, lat2, lon2:** :math:`(M,)` each
        - **output:** :math:`(M,)` float64

    Units: degrees in, kilometres out.

    Source: Liu et al. 2024, eq. 2 (Rad × radius).

    Example:
        A degree of latitude is 111.195 km anywhere.

        >>> great_circle_km(np.array([45.0]), np.array([7.0]), np.array([46.0]), np.array([7.0]))
        array([111.19508023])
    """
    return vectors_km(unit_vectors(lat1, lon1), unit_vectors(lat2, lon2), earth_radius_km)


def vectors_km(
    one: np.ndarray, other: np.ndarray, earth_radius_km: float = EARTH_RADIUS_KM
) -> np.ndarray:
    """Distance over the ground between unit vectors, pair by pair.

    Shapes:
        - **one, other:** :math:`(M, 3)`
        - **output:** :math:`(M,)` float64

    Example:
        >>> vectors_km(np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 1.0, 0.0]])).round()
        array([10008.])
    """
    difference = one - other
    return km_of_chord(np.einsum("ij,ij->i", difference, difference), earth_radius_km)
