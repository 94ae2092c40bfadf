"""Options of a build, checked before anything is read, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np

from tighnari_graph.gfv import DEGREES
from tighnari_graph.neighbor_reach import Reach
from tighnari_graph.species_lists import list_rules
from tighnari_graph.splits import block_ids


@dataclass(frozen=True)
class Options:
    """What a build makes and in which portions; see `build`.

    Attributes:
        radius_km, earth_radius_km: of `SurveyGraph.from_surveys`.
        gfv: options of `graph_feature_vectors`, or None.
        lists: options of `species_lists`, or None.
        max_surveys: of a tile.
        piece_rows: that a worker reads at once.
    """

    radius_km: float
    earth_radius_km: float
    gfv: dict[str, Any] | None
    lists: dict[str, Any] | None
    max_surveys: int
    piece_rows: int

    def __post_init__(self) -> None:
        Reach(self.radius_km, self.earth_radius_km)  # raises
        for name in ("max_surveys", "piece_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def gfv_options(gfv: bool, degree: str, exclude_block: float | None) -> dict[str, Any] | None:
    """How graph feature vectors are made, None where they are not.

    Raises:
        ValueError: on an unknown degree, a block that is not positive, or one without features.

    Example:
        >>> gfv_options(True, "count", 10)
        {'degree': 'count', 'exclude_block': 10.0}
    """
    if degree not in DEGREES:
        raise ValueError(f"degree must be one of {', '.join(DEGREES)}, got {degree!r}")
    if exclude_block is not None:
        if not gfv:
            raise ValueError("exclude_block= is of graph feature vectors; gfv=False makes none")
        exclude_block = float(exclude_block)
        block_ids(np.zeros(0), np.zeros(0), exclude_block)  # raises
    return {"degree": degree, "exclude_block": exclude_block} if gfv else None


def list_options(
    lists: Mapping[str, Any] | None, test: bool, presence_only: bool
) -> dict[str, Any] | None:
    """How species lists are made, None without test surveys.

    Args:
        lists: options of `species_lists`; by default PO surveys alone are asked if there are some.
        test: whether there are test surveys.
        presence_only: whether there are PO surveys.

    Raises:
        TypeError: on an option that `species_lists` does not have, or a number that is not whole.
        ValueError: on options out of range, lists of PO surveys that are not given, or lists for
            test surveys that are not given.

    Example:
        >>> list_options({"num_po": 3}, test=True, presence_only=True)
        {'source': 'po', 'num_po': 3}
    """
    if not test:
        if lists is not None:
            raise ValueError("lists= are made for test surveys; give test=")
        return None
    asked = {"source": "po" if presence_only else "survey", **(lists or {})}
    asked = {name: value if name == "source" else index(value) for name, value in asked.items()}
    if "po" in list_rules(**asked) and not presence_only:
        raise ValueError(f"lists from {asked['source']!r} need PO surveys; give presence_only=")
    return asked
