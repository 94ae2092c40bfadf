"""Multi-scale features of any number of new surveys, worked out piece by piece."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import index
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from tighnari_graph.columns import whole_numbers
from tighnari_graph.distributed.cluster import connected, done_by
from tighnari_graph.distributed.folder import claimed
from tighnari_graph.distributed.parts import IDS, NOT_AS_WRITTEN, VALUES, read_part
from tighnari_graph.distributed.source import (
    DataSet,
    Piece,
    Source,
    refuse_unknown,
    refuse_within,
    their_name,
)
from tighnari_graph.distributed.tables import feature_columns, feature_matrix, write_columns
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.files import written_whole
from tighnari_graph.multiscale import MultiScale
from tighnari_graph.scale_rows import TOP, ScaleRows
from tighnari_graph.spec import GraphSpec
from tighnari_graph.surveys import SurveyTable

if TYPE_CHECKING:
    from distributed import Client

PIECE_ROWS = 50_000
FORM = "tighnari multi-scale rows 1"
_MODEL = "model.safetensors"
_KINDS = ("probability", "richness")
_COLUMNS = {
    "survey_id": pa.int64(), "remainder": pa.float32(),
    **{f"{kind}_species": IDS for kind in _KINDS}, **{f"{kind}_value": VALUES for kind in _KINDS},
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class PredictedRows:
    """Multi-scale features on disk, in the order of the surveys' rows.

    Attributes:
        out: the folder.
        parts: how many files there are.
        species_ids: columns of the matrices.
    """

    out: Path
    parts: int
    species_ids: np.ndarray

    @classmethod
    def open(cls, out: str | Path) -> "PredictedRows":
        """What `predict` wrote to a folder.

        Raises:
            SurveyDataError: if nothing is there, or it is not finished.
        """
        out = Path(out).absolute()
        path = out / "manifest.json"
        try:
            about = json.loads(path.read_text())
            if about["form"] != FORM:
                raise ValueError(f"form {about['form']!r}, expected {FORM!r}")
            return cls(out, _count(about["parts"]), _different(about["species_ids"]))
        except NOT_AS_WRITTEN as error:
            raise SurveyDataError(f"{path}: no finished multi-scale rows ({error!r})") from error

    def part(self, number: int) -> tuple[np.ndarray, ScaleRows]:
        """Survey ids of a part, and its rows as `MultiScale.predict` gives them.

        Raises:
            IndexError: on a number that no part has.
            SurveyDataError: if the file of the part is missing or damaged.
        """
        if not 0 <= number < self.parts:
            raise IndexError(f"no part {number} among {self.parts}")
        path = self.out / "rows" / f"part-{number:06d}.parquet"
        table = read_part(path, _COLUMNS)
        spec = GraphSpec(species_ids=self.species_ids)
        try:
            probabilities, richness = (feature_matrix(table, spec, f"{kind}_") for kind in _KINDS)
        except ValueError as error:
            raise SurveyDataError(f"{path}: damaged: {error}") from error
        ids, remainder = (table[name].to_numpy() for name in ("survey_id", "remainder"))
        return ids, ScaleRows(probabilities, remainder, richness)

    def dataset(self) -> ds.Dataset:
        """All rows; nothing is read yet."""
        return ds.dataset(self.out / "rows", format="parquet")


def _count(value: Any) -> int:
    if index(value) < 0:
        raise ValueError(f"{value} parts")
    return index(value)


def _different(ids: Any) -> np.ndarray:
    """Species ids as JSON holds them."""
    found = np.array([index(one) for one in ids], dtype=np.int64)
    if repeated := len(found) - len(np.unique(found)):
        raise ValueError(f"{repeated} species ids are repeated")
    return found


def predict(
    model: MultiScale,
    source: Source,
    out: str | Path,
    *,
    columns: dict[str, str] | None = None,
    training: bool = False,
    top: int = TOP,
    piece_rows: int = PIECE_ROWS,
    client: "Client | None" = None,
) -> PredictedRows:
    """`MultiScale.predict` or `predict_training` on the workers, for any number of surveys.

    The model is fitted before, on one machine, and every worker opens its own copy. Parts that are
    finished are not worked out again.

    Args:
        model: fitted.
        source: surveys in Parquet, as for `build`, one row each; a speciesId is not read.
        out: folder of the results; new, empty, or of the same prediction.
        columns: new names.
        training: the surveys are some that the model was fitted on; each is predicted as if its
            own block were unseen, for the features that another model learns from.
        top: species of each survey to keep.
        piece_rows: surveys of a file of the result.
        client: of a Dask cluster; by default a `LocalCluster`.

    Raises:
        ImportError: without Dask (``pip install '.[distributed]'`` in the checkout).
        FileNotFoundError: if there is no such source.
        FileExistsError: if ``out`` holds anything else.
        FolderInUseError: if another process works there.
        SurveyDataError: on rows that `SurveyTable.from_long` refuses, a column that the model
            compares and the surveys lack, a survey in two rows, or surveys for training that the
            model was not fitted on.
        ValueError: on options out of range, or if ``out`` lies in a folder of the source.
        RuntimeError: as for `build`, where workers or the scheduler are gone.

    Source: Liu et al. 2024, section 5 (weights of neighbours learned instead of set).

    Example:
        >>> import pandas as pd
        >>> from distributed import Client
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45.0, 45.05, 47.0], "lon": 7.0,
        ...     "year": 2020, "speciesId": [5, 9, 5]})
        >>> model = MultiScale.fit(SurveyTable.from_long(rows), steps=1)
        >>> with (TemporaryDirectory() as folder,
        ...         Client(processes=False, dashboard_address=None) as client):
        ...     rows.drop(columns="speciesId").to_parquet(f"{folder}/new.parquet")
        ...     found = predict(model, f"{folder}/new.parquet", f"{folder}/out", client=client)
        ...     ids, part = found.part(0)
        >>> ids, part.probabilities.shape
        (array([1, 2, 3]), (3, 2))
    """
    for name, value in (("top", top), ("piece_rows", piece_rows)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    out, columns = Path(out).absolute(), dict(columns or {})
    names = {name for one in model.covariates.values() for name in one.names} - {"year"}
    refuse_within(out, source)
    data = DataSet.find(source, sorted(names | {"region"}), columns, piece_rows)
    refuse_unknown(columns, data)
    lacking = sorted(names - data.columns)
    if lacking:
        raise SurveyDataError(
            f"{data.name}: no column {', '.join(lacking)}, by which the model compares surveys"
        )
    settings = {
        "form": FORM, "columns": columns, "top": int(top),
        "piece_rows": int(piece_rows),
        "training": training, "files": [list(file) for file in data.files],
        "model": _fingerprint(model),
    }  # fmt: skip
    if not (out / "manifest.json").exists():
        _refuse_twice(data, columns)
    with claimed(out, settings):
        if not (out / "manifest.json").exists():
            model.save(out / _MODEL)
            (out / "rows").mkdir(exist_ok=True)  # also of no surveys
            with connected(client) as workers:
                items = list(enumerate(data.pieces))
                given = (out, columns, top, training)
                done_by(workers, _predict_piece, items, "multi-scale", *given)
            about = {
                "form": FORM, "parts": len(data.pieces), "species_ids": model.species_ids.tolist(),
            }  # fmt: skip
            with written_whole(out / "manifest.json") as part:
                part.write_text(json.dumps(about))
    return PredictedRows.open(out)


def _predict_piece(
    item: tuple[int, Piece], out: Path, columns: dict[str, str], top: int, training: bool
) -> None:
    number, piece = item
    name = f"part-{number:06d}"
    if (out / "rows" / f"{name}.parquet").exists():
        return
    frame = piece.read()
    renames = {old: new for old, new in columns.items() if old in frame}
    table = SurveyTable.from_long(frame, columns=renames, source=piece.path)
    path = out / _MODEL
    model = _model(path, path.stat().st_mtime_ns)
    rows = model.predict_training(table, top) if training else model.predict(table, top)
    found: dict[str, Any] = {"survey_id": pa.array(table.survey_id)}
    for kind, matrix in zip(_KINDS, (rows.probabilities, rows.richness), strict=True):
        found |= feature_columns(matrix, model.species_ids, f"{kind}_")
    found["remainder"] = pa.array(rows.remainder)
    write_columns(out, "rows", name, found)


@lru_cache(maxsize=1)
def _model(path: Path, changed: int) -> MultiScale:
    return MultiScale.load(path)


def _fingerprint(model: MultiScale) -> str:
    """Of all that is saved of it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / _MODEL
        model.save(path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_twice(data: DataSet, columns: Mapping[str, str]) -> None:
    """A survey in two rows, before anything is predicted."""
    column = their_name(columns, "surveyId")
    ids = [np.zeros(0, dtype=np.int64)]
    for piece in data.pieces:
        values, missing = whole_numbers(piece.only(column).read()[column], piece.path, None)
        ids.append(values[~missing])
    found, count = np.unique(np.concatenate(ids), return_counts=True)
    if (count > 1).any():
        first = ", ".join(map(str, found[count > 1][:5].tolist()))
        raise SurveyDataError(
            f"{data.name}: {(count > 1).sum()} survey ids stand in several rows (surveyId "
            f"{first}); give new surveys one row each"
        )
