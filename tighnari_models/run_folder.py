"""What a folder of a run records of itself, so that another run never continues it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.files import written_whole
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.options import TrainingOptions

# what a run, or a fold of one, has once an epoch is done
_BEGUN = ("last.ckpt", "done.json", "fold_*/last.ckpt", "fold_*/done.json")
_FREE = (
    "accelerator",
    "devices",
    "num_nodes",
    "strategy",
    "progress",
)  # may differ when a run is resumed


def claim(out: Path, record: Mapping[str, Any], shared: bool = False) -> None:
    """Write ``run.json`` into a folder, or compare the record with that of the run it holds.

    A run that never finished an epoch may be replaced: say, one whose weights were not found. Not
    one that processes share, of which another may be at work.

    Raises:
        ValueError: if the folder holds a run with other settings or data; names the first.
        SurveyDataError: if the record of the run it holds is damaged.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> claim(folder, {"seed": 0})
        >>> (folder / "done.json").touch()
        >>> claim(folder, {"seed": 1})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: ...: holds a run with seed = 0, asked for 1; choose another folder or ...
    """
    path = Path(out) / "run.json"
    begun = shared or any(any(path.parent.glob(name)) for name in _BEGUN)
    if path.exists() and begun:
        compare(out, record)
    else:
        write_json(path, record)


def compare(out: Path, record: Mapping[str, Any]) -> None:
    """Compare a record with that of the run that a folder holds.

    Raises:
        ValueError: if they differ; names the first difference.
        SurveyDataError: if the record there is damaged.
    """
    path, asked = Path(out) / "run.json", json.loads(json.dumps(record))
    remedy = f"delete the folder {out} to start anew, or choose another"
    held, asked = _flat(read_json(path, {}, remedy)), _flat(asked)
    for name in [*asked, *held]:
        if held.get(name) != asked.get(name):
            raise ValueError(
                f"{out}: holds a run with {name} = {held.get(name)!r}, asked for "
                f"{asked.get(name)!r}; choose another folder or delete this one"
            )


def write_json(path: Path, value: object) -> None:
    """Write plain numbers, lists and text, whole."""
    with written_whole(path) as part:
        part.write_text(json.dumps(value, indent=1) + "\n")


def read_json(path: Path, fields: Mapping[str, type], remedy: str) -> dict[str, Any]:
    """A JSON object that `write_json` wrote, with at least these fields of these types.

    Raises:
        SurveyDataError: if it is damaged; names the file and the remedy.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no text
        raise SurveyDataError(f"{path}: damaged, {error}; {remedy}") from error
    if not isinstance(value, dict):
        raise SurveyDataError(f"{path}: damaged, a JSON object was expected; {remedy}")
    for name, kind in fields.items():
        if not isinstance(value.get(name), kind):
            raise SurveyDataError(f"{path}: damaged, {name} is no {kind.__name__}; {remedy}")
    return value


def training_record(options: TrainingOptions) -> dict[str, Any]:
    """The options that decide what comes out, not on which devices or how visibly.

    Example:
        >>> record = training_record(TrainingOptions(lr=1e-3, devices=2))
        >>> record["lr"], "devices" in record
        (0.001, False)
    """
    return {name: value for name, value in asdict(options).items() if name not in _FREE}


def data_record(data: SurveyDataModule) -> dict[str, Any]:
    """What the surveys and their labels amount to, as short digests."""
    surveys, po = data.surveys, data.scale_models.presence_only
    return {
        "survey_id": digest(surveys.survey_id),
        "position and year": digest(surveys.lat, surveys.lon, surveys.year),
        "species_ids": digest(surveys.species_ids),
        "labels": digest(surveys.known_labels()),
        "modalities": list(data.modalities),
        "batch_size": data.batch_size,
        "degree": data.degree,
        "exclude_block": data.exclude_block,
        "presence-only": None if po is None else digest(po.survey_id, po.known_labels()),
    }


def split_record(data: SurveyDataModule) -> dict[str, Any]:
    """Who trains, who validates, and what the preprocessing found."""
    if data.split is None or data.preprocessing is None:
        raise ValueError("the data module has no split yet: data.with_split(train, val)")
    state = json.dumps(data.preprocessing.to_json(), sort_keys=True)
    return {
        "train": digest(data.split.train),
        "val": digest(data.split.val),
        "preprocessing": hashlib.sha256(state.encode()).hexdigest()[:12],
    }


def weights_digest(model: nn.Module) -> str:
    """Twelve letters that change with any weight."""
    return digest(*(value.numpy(force=True) for value in model.state_dict().values()))


def digest(*arrays: Any) -> str:
    """Twelve letters that change with any value of numpy arrays or scipy CSR matrices.

    Example:
        >>> digest(np.arange(3)) == digest(np.arange(3)), digest(np.arange(3)) == digest(np.ones(3))
        (True, False)
    """
    total = hashlib.sha256()
    for array in arrays:
        dense = isinstance(array, np.ndarray)
        parts = [array] if dense else [array.indptr, array.indices, array.data]
        for part in parts:
            part = part.astype(np.int64) if part.dtype == np.int32 else part  # scipy takes either
            total.update(f"{part.dtype}{part.shape}".encode())
            total.update(np.ascontiguousarray(part).tobytes())
    return total.hexdigest()[:12]


def _flat(record: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{before}{name}.")
        else:
            flat[before + name] = value
    return flat
