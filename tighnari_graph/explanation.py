"""`Explanation`: what a prediction for one survey is the sum of, species by species."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOWHERE = ("modality", "prior")  # contributors without a place
KINDS = ("survey", "cell", "po", "po_cell", *NOWHERE)
TOP = 20  # species shown
_SHOWN = 10  # contributors in a notebook
IN_WORDS = {"survey": "survey ", "po": "PO survey "}  # before an id
NO_ID = -1  # of a cell, a modality or a prior


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    r"""What a prediction for one survey is the sum of; prints as text, shows as tables.

    ``by_neighbor`` adds up, species by species, to ``species["predicted"]``. Only the species in
    ``species`` are shown, and ``neighbors`` sums over them; ``top=None`` shows all.

    Attributes:
        survey_id: of the survey or test node.
        lat: latitude; NaN where that is not known.
        lon: longitude; likewise.
        method: what was predicted, in words.
        unit: of the shares, "" if they are pure numbers.
        radius_km: longest edge of the graph; None where there is none.
        by_neighbor: a row per contributor, scale and species: ``neighbor`` (survey id, −1 for
            all others), ``contributor`` (in words), ``kind`` ("survey", "po", "cell", "po_cell",
            "modality" or "prior"), ``distance_km``, ``scale_km`` (NaN without scales), ``species``,
            ``name`` (where known), ``share``, below 0 where a contributor of a network lowers the
            probability. Contributions of 0 are left out.
        species: a row per species, the first ones first: ``species``, ``name``, ``predicted``,
            the part of it that each kind contributed, ``neighbors`` (how many contributors that
            have a place), ``probability`` (where one was given).
        neighbors: a row per contributor, the largest first, whatever its sign: ``neighbor``,
            ``contributor``, ``kind``, ``distance_km``, ``lat``, ``lon``, ``share``, ``species``
            (how many).

    Units: degrees, kilometres.
    """

    survey_id: int
    lat: float
    lon: float
    method: str
    unit: str
    radius_km: float | None
    by_neighbor: pd.DataFrame
    species: pd.DataFrame
    neighbors: pd.DataFrame

    @property
    def title(self) -> str:
        """What is explained, in one line."""
        return f"survey {self.survey_id}: {self.method}" + (f" ({self.unit})" if self.unit else "")

    def __repr__(self) -> str:
        kinds = self.neighbors["kind"].value_counts()
        counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
        told = self.species.round(4).to_string(index=False)
        return f"Explanation of {self.title}; from {counts or 'nothing'}\n{told}"

    def _repr_html_(self) -> str:
        first = self.neighbors.head(_SHOWN).round(4)
        rest = len(self.neighbors) - len(first)
        return (
            f"<h4>{self.title}</h4>{self.species.round(4).to_html(index=False, border=0)}"
            f"<h5>contributors</h5>{first.to_html(index=False, border=0)}"
            + (f"<p>and {rest:,} more</p>" if rest else "")
        )

    def plot(self) -> "Figure":
        """The neighbourhood as a map, and the species as bars; see `plot_explanation`."""
        from tighnari_graph.explanation_plot import plot_explanation

        return plot_explanation(self)


def shown_species(
    predicted: np.ndarray, probability: np.ndarray | Tensor | None, top: int | None
) -> tuple[np.ndarray, np.ndarray | None]:
    r"""Columns to show: the most probable ones, or, without a probability, the most predicted.

    Shapes:
        - **predicted, probability:** :math:`(S,)`
        - **output:** columns, and the probability as an array

    Raises:
        ValueError: if ``probability`` is not one finite number a species, or ``top`` below 1.

    Example:
        >>> shown_species(np.array([0.2, 0.0, 0.7]), None, 20)[0]
        array([2, 0])
    """
    if top is not None and top < 1:
        raise ValueError(f"top must be at least 1, got {top}")
    order_by = predicted
    if probability is not None:
        given = probability.numpy(force=True) if isinstance(probability, Tensor) else probability
        probability = order_by = np.asarray(given, dtype=np.float64)
        if probability.shape != predicted.shape or not np.isfinite(probability).all():
            raise ValueError(
                f"probability must be {len(predicted)} finite numbers, one a species, got shape "
                f"{probability.shape}"
            )
    columns = np.argsort(-order_by, kind="stable")[:top]
    return columns[order_by[columns] > 0], probability


@dataclass(frozen=True, eq=False)
class Parts:
    r"""Contributors of a prediction, and what each adds to which species.

    Attributes:
        contributors: a row each: neighbor, contributor, kind, distance_km, lat, lon.
        entries: row of contributor (``source``), ``column`` of species, ``scale_km``, ``share``.
    """

    contributors: pd.DataFrame
    entries: pd.DataFrame

    @classmethod
    def joined(cls, parts: "list[Parts]") -> "Parts":
        """Those of several kinds of contributors."""
        sizes = np.cumsum([0, *(len(part.contributors) for part in parts)])
        moved = [
            part.entries.assign(source=part.entries["source"] + start)
            for part, start in zip(parts, sizes[:-1], strict=True)
        ]
        known = [part.contributors for part in parts if len(part.contributors)]
        filled = [entries for entries in moved if len(entries)]
        return cls(
            pd.concat(known, ignore_index=True) if known else parts[0].contributors,
            pd.concat(filled, ignore_index=True) if filled else moved[0],
        )

    def predicted(self, num_species: int) -> np.ndarray:
        """What they add up to, a number per species."""
        column, share = self.entries["column"].to_numpy(), self.entries["share"].to_numpy()
        return np.bincount(column, share, minlength=num_species)


def contributor_rows(
    kind: str | np.ndarray,
    neighbor: np.ndarray,
    contributor: pd.Series,
    distance_km: np.ndarray,
    pos: np.ndarray,
) -> pd.DataFrame:
    """Contributors, as `Parts` take them; ``pos`` is [n, 2] in degrees."""
    return pd.DataFrame(
        {
            "neighbor": np.asarray(neighbor, dtype=np.int64),
            "contributor": contributor.to_numpy(dtype=object),
            "kind": np.full(len(neighbor), kind, dtype=object),
            "distance_km": np.asarray(distance_km, dtype=np.float64),
            "lat": pos[:, 0],
            "lon": pos[:, 1],
        }
    )


def placeless_parts(kind: str, names: list[str], share: np.ndarray) -> Parts:
    r"""Priors or modalities as contributors without a place; ``share`` is :math:`(P, S)`."""
    nowhere = np.full(len(names), np.nan)
    rows = contributor_rows(
        kind, np.full(len(names), NO_ID), pd.Series(names, dtype=object), nowhere,
        np.stack([nowhere, nowhere], axis=1),
    )  # fmt: skip
    source, column = np.nonzero(share)
    return Parts(rows, entry_rows(source, column, share[source, column]))


def entry_rows(
    source: np.ndarray, column: np.ndarray, share: np.ndarray, scale_km: np.ndarray | None = None
) -> pd.DataFrame:
    """Contributions, as `Parts` take them."""
    return pd.DataFrame(
        {
            "source": np.asarray(source, dtype=np.int64),
            "column": np.asarray(column, dtype=np.int64),
            "scale_km": np.full(len(source), np.nan) if scale_km is None else scale_km,
            "share": np.asarray(share, dtype=np.float64),
        }
    )


def explained(
    survey: tuple[int, float, float],
    method: str,
    unit: str,
    radius_km: float | None,
    parts: Parts,
    shown: tuple[np.ndarray, np.ndarray | None],
    species_ids: np.ndarray,
    species_names: np.ndarray | None,
) -> Explanation:
    """Make the tables; ``shown`` is what `shown_species` chose, ``survey`` id and place."""
    columns, probability = shown
    rank = np.full(len(species_ids), -1)
    rank[columns] = np.arange(len(columns))
    entries = parts.entries.assign(rank=rank[parts.entries["column"]])
    entries = entries[(entries["rank"] >= 0) & (entries["share"] != 0)]
    entries = entries.sort_values(["rank", "share"], ascending=[True, False], kind="stable")
    names = {} if species_names is None else {"name": species_names[columns]}
    about = pd.DataFrame({"species": species_ids[columns], **names})
    contributors = parts.contributors
    told = contributors[["neighbor", "contributor", "kind", "distance_km"]]
    by_neighbor = pd.concat(
        [
            told.iloc[entries["source"]].reset_index(drop=True),
            entries[["scale_km"]].reset_index(drop=True),
            about.iloc[entries["rank"]].reset_index(drop=True),
            entries[["share"]].reset_index(drop=True),
        ],
        axis=1,
    )
    kinds = contributors["kind"].to_numpy()
    kind = kinds[entries["source"]]
    place, share = entries["rank"].to_numpy(), entries["share"].to_numpy()
    table = about.assign(predicted=np.bincount(place, share, minlength=len(columns)))
    for one in (one for one in KINDS if (kinds == one).any()):
        of_kind = kind == one
        table[one] = np.bincount(place[of_kind], share[of_kind], minlength=len(columns))
    pairs = entries[["source", "rank"]].drop_duplicates()
    has_place = ~np.isin(kinds[pairs["source"]].astype(str), NOWHERE)
    table["neighbors"] = np.bincount(pairs["rank"][has_place], minlength=len(columns))
    if probability is not None:
        table["probability"] = probability[columns]
    num = len(contributors)
    neighbors = contributors.assign(
        share=np.bincount(entries["source"], share, minlength=num),
        species=np.bincount(pairs["source"], minlength=num),
    )
    first = np.lexsort((neighbors["distance_km"], -neighbors["share"].abs()))
    neighbors = neighbors.iloc[first].reset_index(drop=True)
    return Explanation(*survey, method, unit, radius_km, by_neighbor, table, neighbors)
