"""What to build from: the data sets, how each is read, and what they have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tighnari_graph.columns import is_text, text_codes
from tighnari_graph.distributed.chunks import Chunk, Reading
from tighnari_graph.distributed.source import DataSet, Source, refuse_unknown
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.surveys import REQUIRED
from tighnari_graph.vocabulary import vocabulary_of

_TAKEN = (
    "survey_id", "row", "species", "cut", "surveys", "halo", "edges", "isolates", "most_neighbors",
    "labels", "without_species", "without_region", "largest_feature", "near_survey", "near_po",
    "gfv_species", "gfv_value", "list_species",
)  # fmt: skip
NAMES = {"survey": "surveys", "test": "test surveys", "po": "PO surveys"}


@dataclass(frozen=True, eq=False)
class Request:
    """Data sets and what their columns mean; see `build`.

    Attributes:
        source, test, presence_only: where they are.
        match: columns that both ends of an edge share.
        columns: new names.
        species_ids: the vocabulary, if it is given.
    """

    source: Source
    test: Source | None
    presence_only: Source | None
    match: tuple[str, ...]
    columns: dict[str, str]
    species_ids: np.ndarray | None

    def data_sets(self, piece_rows: int) -> dict[str, DataSet]:
        """The data sets by kind, checked against each other.

        Raises:
            SurveyDataError: if a column of ``match`` or ``columns`` is missing, or one of ``match``
                is called as one of the results; some have a region and others not; PO surveys
                without test surveys, or without species.
        """
        if taken := [name for name in self.match if name in _TAKEN]:
            raise SurveyDataError(
                f"build: match= asks for {', '.join(taken)}, as columns of the results are called; "
                "rename with columns={'yours': 'other'}"
            )
        if self.presence_only is not None and self.test is None:
            raise SurveyDataError("build: presence-only surveys attach to test surveys; give test=")
        given = {"survey": self.source, "test": self.test, "po": self.presence_only}
        more = tuple(name for name in self.match if name not in ("year", "region"))
        optional = {
            "survey": ("region", "speciesId", *more), "test": ("region", *more),
            "po": ("speciesId",),
        }  # fmt: skip
        data = {
            kind: DataSet.find(where, optional[kind], self.columns, piece_rows)
            for kind, where in given.items()
            if where is not None
        }
        refuse_unknown(self.columns, *data.values())
        for kind in ("survey", "test"):
            lacking = [n for n in more if kind in data and n not in data[kind].columns]
            if lacking:
                raise SurveyDataError(
                    f"{data[kind].name}: no column {', '.join(lacking)}, which match= asks for"
                )
        divided = {kind: "region" in data[kind].columns for kind in data if kind != "po"}
        if "region" in self.match and len(set(divided.values())) > 1:
            raise SurveyDataError(
                f"build: the {NAMES['survey' if divided['survey'] else 'test']} have a region "
                'column and the others have none; give both one, or match=("year",)'
            )
        if "po" in data and "speciesId" not in data["po"].columns:
            raise SurveyDataError(f"{data['po'].name}: no column speciesId")
        return data

    def keys(self, kind: str, data: DataSet) -> tuple[str, ...]:
        """The columns that make a group; PO surveys have no region."""
        of_po = kind == "po"
        return tuple(n for n in self.match if n in (REQUIRED if of_po else data.columns))

    def reading(self, kind: str, data: DataSet) -> Reading:
        """How one of the data sets is read."""
        described = ("region",) if kind != "po" and "region" in data.columns else ()
        return Reading(
            tuple(self.columns.items()), self.keys(kind, data), described,
            None if kind == "test" else self.species_ids,
        )  # fmt: skip

    def vocabulary(self, chunks: Mapping[str, list[Chunk]]) -> tuple[np.ndarray, np.ndarray | None]:
        """The species of surveys and PO surveys, ascending, or those given.

        Raises:
            SurveyDataError: if some data sets name species, others number them.
        """
        if self.species_ids is not None:
            return vocabulary_of(self.species_ids, "build")
        lists = [c.vocabulary for kind in ("survey", "po") for c in chunks.get(kind, [])]
        found = [pd.Series(one).drop_duplicates() for one in lists if one]
        if len({is_text(one) for one in found}) > 1:
            raise SurveyDataError("build: some data sets name species, others number them")
        if not found:
            return np.zeros(0, dtype=np.int64), None
        return vocabulary_of(np.unique(np.concatenate(found)), "build")


def categories(chunks: list[Chunk], reading: Reading, name: str) -> dict[str, tuple[Any, ...]]:
    """For every coded column the names in all chunks, sorted; none where there are no rows.

    Raises:
        SurveyDataError: if a column holds text and numbers, or numbers above 2^63.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for column in dict.fromkeys((*reading.match, *reading.described)):
        if column == "year":
            continue
        values = [value for chunk in chunks for value in chunk.names[column]]
        try:
            found[column] = tuple(text_codes(pd.Series(values, dtype=object))[1].tolist())
        except TypeError as error:
            raise SurveyDataError(f"{name}: {column} holds mixed values ({error})") from error
        large = [v for v in found[column] if isinstance(v, int) and v >= 2**63]
        if large:
            raise SurveyDataError(
                f"{name}: {column} holds {len(large)} numbers above 2^63, first {large[0]}"
            )
    return found
