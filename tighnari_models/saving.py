"""A trained model on disk: JSON, safetensors, npy and Parquet; no pickle."""

import json
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy import sparse
from torch import Tensor

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.files import read_array, write_array, written_together, written_whole
from tighnari_graph.multiscale import MultiScale
from tighnari_graph.surveys import SurveyTable
from tighnari_models.config import TighnariConfig
from tighnari_models.data.preprocessing import Preprocessing

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
PREPROCESSING = "preprocessing.json"
SPECIES = "species_ids.npy"
SURVEYS = "surveys.parquet"
MULTISCALE = "multiscale.safetensors"
_FILES = (WEIGHTS, PREPROCESSING, SPECIES, SURVEYS, MULTISCALE, CONFIG)
_HEADER = b"tighnari labelled surveys 1"
_CORE = ("survey_id", "lat", "lon", "year")
_LABELS = "species_columns"
_META = "meta."
# Numpy parses the header of an array as Python, hence the syntax; JSON may be too deep.
_BROKEN = (
    SafetensorError, LookupError, TypeError, ValueError, AttributeError, OSError, EOFError,
    ArithmeticError, MemoryError, RuntimeError, SyntaxError, TokenError,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class SavedModel:
    """What a folder of a saved model holds; see `Tighnari` for the attributes."""

    config: TighnariConfig
    weights: dict[str, Tensor]
    preprocessing: Preprocessing | None = None
    species_ids: np.ndarray | None = None
    surveys: SurveyTable | None = None
    multiscale: MultiScale | None = None


def write_folder(saved: SavedModel, folder: str | Path) -> None:
    """Write all files, then put them in their places, the config last: with it all are there.

    What is not written, say on a full disk, leaves a model that was saved there before as it was.

    Raises:
        ValueError: if species ids, surveys or the multi-scale model are not those of the model.
        SurveyDataError: if there is a file of that name, or surveys cannot be saved.
        OSError: if the disk is full.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise SurveyDataError(f"{folder}: a file; a model is saved as a folder")
    species_ids = _checked_species(saved)
    with written_together(folder, _FILES) as new:
        with written_whole(new[WEIGHTS]) as part:
            weights = {key: v.detach().cpu().contiguous() for key, v in saved.weights.items()}
            save_file(weights, part)
        if saved.preprocessing is not None:
            with written_whole(new[PREPROCESSING]) as part:
                part.write_text(json.dumps(saved.preprocessing.to_json(), indent=1))
        if species_ids is not None:
            write_array(new[SPECIES], species_ids)
        if saved.surveys is not None:
            write_surveys(saved.surveys, new[SURVEYS])
        if saved.multiscale is not None:
            saved.multiscale.save(new[MULTISCALE])
        with written_whole(new[CONFIG]) as part:
            part.write_text(saved.config.to_json())


def read_folder(folder: str | Path) -> SavedModel:
    """Read what `write_folder` wrote; what is neither config nor weights may be absent.

    Raises:
        SurveyDataError: if the folder holds no saved model, or a file is broken; names the file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        kind = "a file, not a folder with" if folder.exists() else "no such folder, expected"
        raise SurveyDataError(f"{folder}: {kind} a saved model ({CONFIG}, {WEIGHTS})")
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise SurveyDataError(f"{folder}: no saved model, it lacks {' and '.join(missing)}")
    try:
        name = CONFIG
        config = TighnariConfig.from_json((folder / name).read_text(encoding="utf-8"))
        name = WEIGHTS
        weights = load_file(folder / name)
        name = PREPROCESSING
        preprocessing = species_ids = surveys = multiscale = None
        if (folder / name).exists():
            state = json.loads((folder / name).read_text(encoding="utf-8"))
            if not isinstance(state, dict):
                raise TypeError(f"expected a JSON object, got {type(state).__name__}")
            preprocessing = Preprocessing.from_json(state)
        name = SPECIES
        if (folder / name).exists():
            species_ids = read_array(folder / name)
            _check_ids(species_ids, config.num_species)
        name = SURVEYS
        if (folder / name).exists():
            surveys = read_surveys(folder / name, species_ids)
        name = MULTISCALE
        if (folder / name).exists():
            multiscale = MultiScale.load(folder / name)
            _check_ids(multiscale.species_ids, config.num_species)
    except _BROKEN as error:
        where = folder / name
        text = str(error)
        if text.startswith(str(where)):
            raise
        raise SurveyDataError(f"{where}: not a part of a saved model ({text})") from error
    return SavedModel(config, weights, preprocessing, species_ids, surveys, multiscale)


def write_surveys(surveys: SurveyTable, path: str | Path) -> None:
    """A table of surveys as one Parquet file, a row per survey, its species as a list of columns.

    ``species_ids`` are kept beside it; ``notes`` are not kept.

    Raises:
        SurveyDataError: if a column of ``meta`` holds values of several kinds.

    Example:
        >>> import tempfile
        >>> rows = pd.DataFrame({"surveyId": [7, 3], "lat": 43.1, "lon": 3.2, "year": 2020,
        ...     "speciesId": [5, 9], "areaInM2": [4.0, None]})
        >>> table = SurveyTable.from_long(rows)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_surveys(table, Path(folder, "surveys.parquet"))
        ...     read_surveys(Path(folder, "surveys.parquet"), table.species_ids)
        SurveyTable(surveys=2, species=2, labels=2, years=2020–2020)
    """
    columns: dict[str, object] = {name: getattr(surveys, name) for name in _CORE}
    if surveys.region is not None:
        columns["region"] = surveys.region
    for name in surveys.meta:
        columns[f"{_META}{name}"] = surveys.meta[name].reset_index(drop=True)
    try:
        table = pa.Table.from_pandas(pd.DataFrame(columns), preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise SurveyDataError(f"{path}: surveys cannot be saved ({error})") from error
    if surveys.labels is not None:
        labels = sparse.csr_matrix(surveys.labels, copy=True)
        labels.eliminate_zeros()
        lists = pa.ListArray.from_arrays(
            pa.array(labels.indptr, pa.int32()), pa.array(labels.indices, pa.int32())
        )
        table = table.append_column(_LABELS, lists)
    names = None if surveys.species_names is None else surveys.species_names.tolist()
    header = {_HEADER: json.dumps({"species_names": names}).encode()}
    with written_whole(path) as part:
        parquet.write_table(
            table.replace_schema_metadata({**(table.schema.metadata or {}), **header}), part
        )


def read_surveys(path: str | Path, species_ids: np.ndarray | None) -> SurveyTable:
    r"""The surveys that `write_surveys` wrote.

    Shapes:
        - **species_ids:** :math:`(S,)` int64

    Raises:
        SurveyDataError: if the file is none, or its labels name a species that there is not.
    """
    path = Path(path)
    ids = np.zeros(0, dtype=np.int64) if species_ids is None else species_ids
    try:
        _refuse_long_lists(path, len(ids))
        table = parquet.read_table(path)
        table.validate(full=True)  # text that is no UTF-8
    except (pa.ArrowException, OSError) as error:
        raise SurveyDataError(f"{path}: not a Parquet file of surveys ({error})") from error
    header = (table.schema.metadata or {}).get(_HEADER)
    if header is None or not {*_CORE} <= set(table.column_names):
        raise SurveyDataError(f"{path}: a Parquet file, but no surveys of a saved model")
    labels = None
    if _LABELS in table.column_names:
        lists = table.column(_LABELS).combine_chunks()
        start = np.concatenate([[0], np.cumsum(lists.value_lengths().to_numpy())])
        column = lists.flatten().to_numpy()
        if len(column) and (column.min() < 0 or column.max() >= len(ids)):
            raise SurveyDataError(f"{path}: labels of other species than the {len(ids)} there are")
        labels = sparse.csr_matrix(
            (np.ones(len(column), dtype=np.float32), column, start), (len(table), len(ids))
        )
        table = table.drop_columns([_LABELS])
    frame = table.to_pandas()
    region = frame["region"].astype(object) if "region" in frame else None
    names = json.loads(header)["species_names"]
    meta = frame[[name for name in frame if name.startswith(_META)]]
    return SurveyTable(
        **{name: frame[name].to_numpy() for name in _CORE},
        region=None if region is None else region.where(region.notna(), None).to_numpy(),
        labels=labels,
        species_ids=ids,
        species_names=None if names is None else np.array(names, dtype=object),
        meta=meta.rename(columns=lambda name: name.removeprefix(_META)),
    )


def _refuse_long_lists(path: Path, num_species: int) -> None:
    """No survey has more labels than there are species; a small file could stand for gigabytes."""
    about = parquet.read_metadata(path)
    for group in (about.row_group(number) for number in range(about.num_row_groups)):
        for column in (group.column(number) for number in range(group.num_columns)):
            most = group.num_rows * max(num_species, 1)
            if column.path_in_schema.startswith(_LABELS) and column.num_values > most:
                raise SurveyDataError(
                    f"{path}: {column.num_values:,} labels of {group.num_rows:,} surveys and "
                    f"{num_species:,} species"
                )


def _checked_species(saved: SavedModel) -> np.ndarray | None:
    """Species ids of the model, of its surveys or of its multi-scale model; they must agree."""
    ids = None if saved.species_ids is None else np.asarray(saved.species_ids)
    parts = {"surveys have": saved.surveys, "the multi-scale model has": saved.multiscale}
    for name, part in parts.items():
        if part is None:
            continue
        ids = part.species_ids if ids is None else ids
        if not np.array_equal(ids, part.species_ids):
            raise ValueError(
                f"{name} {len(part.species_ids)} species, not the {len(ids)} of species_ids in "
                "their order: read both with one vocabulary"
            )
    if ids is not None:
        _check_ids(ids, saved.config.num_species)
    return ids


def _check_ids(ids: np.ndarray, num_species: int) -> None:
    if ids.shape != (num_species,) or ids.dtype.kind not in "iu":
        raise ValueError(
            f"species_ids are {ids.dtype} of shape {ids.shape}, not {num_species} whole numbers"
        )
