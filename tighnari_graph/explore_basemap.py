"""`Basemap`: the tile server that the map of `explore` may ask, when one is asked for."""

import re
from dataclasses import dataclass

# What stands in the page's security policy, so nothing but a scheme, a host and a port.
_ORIGIN = re.compile(r"https?://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?(?=/)")
_DEEPEST = 24


@dataclass(frozen=True)
class Basemap:
    r"""Map tiles to draw behind the surveys: whose, and from where.

    The page asks this one server for tiles of the part in view, so the server learns where the
    reader looks. Choose one whose terms allow it; many want a key in the URL, which everyone who
    has the file can read.

    Attributes:
        url: of one tile, with ``{z}``, ``{x}`` and ``{y}`` in the usual order of Web Mercator
            tiles, 256 pixels a side.
        attribution: whose map it is, shown on the map as plain text; most terms ask for it.
        max_zoom: the deepest level the server has, 0 to 24; closer views enlarge its tiles.

    Raises:
        ValueError: unless ``url`` begins with ``http://`` or ``https://`` and a plain host name,
            has each of ``{z}``, ``{x}``, ``{y}`` once or more and no other braces; on an empty
            ``attribution``; on another ``max_zoom``.

    Example:
        >>> tiles = Basemap("https://tiles.example.org/{z}/{x}/{y}.png", "© Example Maps")
        >>> tiles.origin
        'https://tiles.example.org'
    """

    url: str
    attribution: str
    max_zoom: int = 19

    def __post_init__(self) -> None:
        if _ORIGIN.match(self.url) is None:
            raise ValueError(
                "Basemap: url must begin with http:// or https://, a plain host name and /, "
                f"got {self.url!r}"
            )
        braced = re.findall(r"\{[^{}]*\}|[{}]", self.url)
        if set(braced) != {"{z}", "{x}", "{y}"} or "{" in self.origin:
            raise ValueError(
                f"Basemap: url must have {{z}}, {{x}} and {{y}} and no other braces, "
                f"got {self.url!r}"
            )
        if not self.attribution.strip():
            raise ValueError("Basemap: attribution is empty; say whose map it is")
        if not 0 <= self.max_zoom <= _DEEPEST:
            raise ValueError(f"Basemap: max_zoom must be 0 to {_DEEPEST}, got {self.max_zoom}")

    @property
    def origin(self) -> str:
        """All that the page may speak with, namely a scheme, a host and a port."""
        found = _ORIGIN.match(self.url)
        return "" if found is None else found[0]
