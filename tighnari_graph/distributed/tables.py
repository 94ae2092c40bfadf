"""Surveys, features and lists as columns of Parquet files, and back."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.files import written_whole
from tighnari_graph.spec import GraphSpec
from tighnari_graph.surveys import SurveyTable

_BYTES_APART = ("source", "target", "distance_km", "survey_id", "row", "lat", "lon")


def write_columns(out: Path, what: str, name: str, columns: Mapping[str, pa.Array]) -> None:
    """One file of a tile, whole or not at all: ``out/what/part-000000.parquet``."""
    table = pa.table(dict(columns))
    apart = {
        field.name: "BYTE_STREAM_SPLIT"
        for field in table.schema
        if field.name in _BYTES_APART and _is_number(field.type)
    }
    coded = [
        f"{column}.list.element" if pa.types.is_large_list(table[column].type) else column
        for column in table.column_names
        if column not in (*apart, "remainder") and not column.endswith("value")
    ]
    with written_whole(out / what / f"{name}.parquet") as part:
        pq.write_table(
            table, part, compression="zstd", compression_level=1, use_dictionary=coded,
            column_encoding=apart, write_statistics=["survey_id", "source", "target", "year"],
            row_group_size=1 << 20,
        )  # fmt: skip


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def survey_columns(table: SurveyTable, row: np.ndarray, spec: GraphSpec) -> dict[str, pa.Array]:
    """What is known of surveys, species as a list of ids; columns of one type in all files."""
    columns = {
        "survey_id": pa.array(table.survey_id),
        "lat": pa.array(table.lat),
        "lon": pa.array(table.lon),
        "year": pa.array(table.year),
    }
    for name, names in spec.categories.items():
        kind = pa.array(names).type if names else pa.string()
        values = table.column(name).to_numpy(dtype=object)
        columns[name] = pa.array(values, type=kind, from_pandas=True)
    columns["row"] = pa.array(row)
    labels = table.known_labels()
    columns["species"] = _lists(labels, table.species_ids[labels.indices])
    return columns


def survey_table(columns: pa.Table, spec: GraphSpec) -> SurveyTable:
    """The surveys back, with the vocabulary of the whole data set."""
    labels = feature_matrix(columns.select(["species"]), spec)
    named = {name: np.array(columns[name].to_pylist(), dtype=object) for name in spec.categories}
    region = named.pop("region", None)
    survey_id, lat, lon, year = (
        np.array(columns[name]) for name in ("survey_id", "lat", "lon", "year")
    )
    return SurveyTable(
        survey_id, lat, lon, year, region, labels, spec.species_ids, spec.species_names,
        pd.DataFrame(named, dtype=object),
    )  # fmt: skip


def feature_columns(
    features: sparse.csr_matrix, species_ids: np.ndarray, prefix: str = ""
) -> dict[str, pa.Array]:
    """Rows of a sparse matrix as two lists each: species and values."""
    return {
        f"{prefix}species": _lists(features, species_ids[features.indices]),
        f"{prefix}value": _lists(features, features.data),
    }


def feature_matrix(columns: pa.Table, spec: GraphSpec, prefix: str = "") -> sparse.csr_matrix:
    """The matrix back, float32; ones where there are no values.

    Raises:
        SurveyDataError: on species outside the vocabulary.
    """
    lists = columns[f"{prefix}species"].combine_chunks()
    species = pd.Index(spec.species_ids).get_indexer(pd.Index(np.array(lists.flatten())))
    if (species < 0).any():
        raise SurveyDataError(f"{(species < 0).sum()} species are not in species.parquet")
    values = np.ones(len(species), dtype=np.float32)
    if f"{prefix}value" in columns.column_names:
        values = np.array(columns[f"{prefix}value"].combine_chunks().flatten())
    indptr = np.concatenate([[0], np.cumsum(np.array(lists.value_lengths(), dtype=np.int64))])
    return sparse.csr_matrix((values, species, indptr), (len(lists), len(spec.species_ids)))


def _lists(matrix: sparse.csr_matrix, values: np.ndarray) -> pa.Array:
    return pa.LargeListArray.from_arrays(pa.array(matrix.indptr.astype(np.int64)), pa.array(values))
