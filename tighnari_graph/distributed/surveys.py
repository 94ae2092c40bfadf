"""The surveys of a tile, taken from all chunks, as a `SurveyTable` in the order of the rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from tighnari_graph.distributed.chunks import Chunk, Key
from tighnari_graph.distributed.cubes import END
from tighnari_graph.spec import GraphSpec
from tighnari_graph.surveys import SurveyTable
from tighnari_graph.vocabulary import label_matrix

WHOLE = np.array([[0, END]])


@dataclass(frozen=True, eq=False)
class TileSurveys:
    r"""Some surveys of one group, by the number of their first row.

    Attributes:
        table: the surveys, with the vocabulary of the whole data set.
        row: :math:`(N,)` number of each one's first row in the data set, ascending.
        number: :math:`(N,)` cube numbers.
    """

    table: SurveyTable
    row: np.ndarray
    number: np.ndarray


def tile_surveys(
    chunks: Sequence[Chunk], key: Key, runs: np.ndarray, spec: GraphSpec
) -> TileSurveys:
    r"""The surveys of a group whose cube numbers lie in some runs; a survey's pieces are joined.

    Args:
        chunks: all chunks of the data set.
        key: of the group.
        runs: :math:`(R, 2)`, first number and the one after the last; `WHOLE` is the group.
        spec: names and vocabulary of the whole data set.
    """
    parts = [_part(chunk, key, runs, spec) for chunk in chunks if key in chunk.groups]
    parts = [part for part in parts if len(part["survey_id"])] or [_nothing(spec)]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    count, species = whole.pop("count"), whole.pop("species")
    order = np.argsort(whole["row"], kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    survey, survey_id = pd.factorize(whole["survey_id"][order])
    first = np.flatnonzero(~pd.Series(survey).duplicated().to_numpy())
    whole = {name: values[order][first] for name, values in whole.items()}
    of = np.repeat(survey[place], count) if len(count) else count
    labels = label_matrix(of, species, (len(survey_id), len(spec.species_ids)))
    named = {
        name: np.array([*names, None], dtype=object)[whole[f"in_{name}"]]
        for name, names in spec.categories.items()
    }
    region = named.pop("region", None)
    table = SurveyTable(
        whole["survey_id"], whole["lat"], whole["lon"], whole["in_year"], region, labels,
        spec.species_ids, spec.species_names, pd.DataFrame(named, dtype=object),
    )  # fmt: skip
    return TileSurveys(table, whole["row"], whole["number"])


def _part(chunk: Chunk, key: Key, runs: np.ndarray, spec: GraphSpec) -> dict[str, np.ndarray]:
    """Columns of the surveys in one chunk, with codes of the whole data set."""
    batch = chunk.rows()
    start, stop = chunk.groups[key]
    numbers = batch["number"].to_numpy()[start:stop]
    first, last = (start + numbers.searchsorted(edge) for edge in runs.T)
    count = last - first
    at = np.repeat(first - count.cumsum() + count, count) + np.arange(count.sum())
    taken = batch.take(pa.array(at))
    columns = {name: np.array(taken[name]) for name in taken.schema.names if name != "species"}
    for name, names in spec.categories.items():
        known = pd.Index(names, dtype=object).get_indexer(pd.Index(chunk.names[name], dtype=object))
        columns[f"in_{name}"] = np.append(known, -1)[columns[f"in_{name}"]]
    columns["count"] = columns["species"] = np.zeros(0, dtype=np.int64)
    if len(spec.species_ids) and "species" in taken.schema.names:
        lists = taken["species"]
        vocabulary = spec.species_ids if spec.species_names is None else spec.species_names
        known = pd.Index(vocabulary).get_indexer(pd.Index(chunk.vocabulary, dtype=vocabulary.dtype))
        columns["count"] = np.array(lists.value_lengths())
        columns["species"] = known[np.array(lists.flatten())]
    return columns


def _nothing(spec: GraphSpec) -> dict[str, np.ndarray]:
    whole = ("survey_id", "row", "number", "in_year", "count", "species")
    codes = tuple(f"in_{name}" for name in spec.categories)
    columns = {name: np.zeros(0, dtype=np.int64) for name in (*whole, *codes)}
    return columns | {name: np.zeros(0) for name in ("lat", "lon")}
