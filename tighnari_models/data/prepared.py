"""Many small files → one array on disk per modality, made once and resumed where it stopped."""

import errno
import logging
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from tighnari_graph.errors import SurveyDataError
from tighnari_models.data.prepared_arrays import (
    CORRUPT,
    MISSING,
    OK,
    TODO,
    PreparedArrays,
    bad_counts,
    create_array,
    named,
    open_arrays,
    read_manifest,
    write_manifest,
)
from tighnari_models.data.sources import Source, changed, find_source

__all__ = ["MODALITIES", "PreparedArrays", "prepare"]

MODALITIES = ("image", "landsat", "bioclim")
"""What is read from one file, or one pair of files, per survey."""

_CHUNK = 512  # surveys that are read before they are on disk for good
_NAMED = 5

logger = logging.getLogger("tighnari_models")


def prepare(
    folder: str | Path,
    out: str | Path,
    survey_id: Sequence[int] | np.ndarray,
    split: str,
    modalities: Sequence[str] = MODALITIES,
    max_bad_share: float = 0.05,
    workers: int | None = None,
) -> PreparedArrays:
    """Write the files of each survey into arrays on disk, so that an epoch reads no small files.

    A run that was stopped at any point goes on where it stopped; a finished one is reopened at
    once. Missing and corrupt files are counted, logged, and looked at again by a later run only
    if they are too many; delete ``out`` to read everything again. Two runs at a time wait for
    each other.

    Args:
        folder: the data folder, in any of the layouts that `find_cubes` and `find_patches` know.
        out: folder for the arrays of these surveys.
        survey_id: the surveys, in the order of the rows.
        split: "train" or "test".
        modalities: of "image", "landsat", "bioclim". One without any file for the split is logged,
            noted, and left out.
        max_bad_share: the largest share of surveys without a readable file.
        workers: threads that read; by default one per processor core, at most 16.

    Raises:
        FileNotFoundError: if there is no such data folder.
        OSError: if the arrays do not fit on the disk.
        SurveyDataError: if too many files are missing or corrupt; if ``out`` holds other surveys,
            or other data than ``folder``.
        ValueError: on unknown modalities or splits, or if a survey id occurs twice.
    """
    folder, out, ids = Path(folder).absolute(), Path(out), _checked_ids(survey_id)
    for name in modalities:
        if name not in MODALITIES:
            raise ValueError(f"modalities must be of {', '.join(MODALITIES)}, got {name!r}")
    manifest = read_manifest(out)
    if manifest is not None:
        _require_same(manifest, folder, out, ids, split)
    todo = [name for name in modalities if not _is_finished(out, manifest, name, max_bad_share)]
    sources = {name: find_source(folder, split, name) for name in todo}
    absent = [name for name in todo if not sources[name].paths]
    for name in absent:
        logger.warning("%s: no %s files of %s surveys; left out", folder, name, split)
        del sources[name]
    if sources or manifest is None:
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / ".lock"):
            _prepare(folder, out, ids, split, sources, max_bad_share, workers)
    done = PreparedArrays.open(out, [name for name in modalities if name not in absent])
    done.notes.update({f"no {name} files of {split} surveys": 1 for name in absent})
    return done


def _checked_ids(survey_id: Sequence[int] | np.ndarray) -> np.ndarray:
    ids = np.asarray(survey_id)
    if ids.ndim != 1 or not (ids.dtype.kind in "iu" or ids.size == 0):
        raise ValueError(f"survey_id must be a list of whole numbers, got {ids.dtype} {ids.shape}")
    values, counts = np.unique(ids, return_counts=True)
    if len(values) < len(ids):
        twice = values[counts > 1]
        raise ValueError(f"{len(twice)} survey ids occur more than once ({named(twice)})")
    return ids.astype(np.int64)


def _require_same(
    manifest: dict[str, Any], folder: Path, out: Path, ids: np.ndarray, split: str
) -> None:
    """Refuse arrays of other surveys or of other data."""
    again = f"; delete {out} to prepare again, or choose another folder"
    if manifest["split"] != split or manifest["survey_id"] != ids.tolist():
        raise SurveyDataError(
            f"{out}: holds {len(manifest['survey_id'])} {manifest['split']} surveys, not the "
            f"{len(ids)} {split} surveys asked for, in their order{again}"
        )
    for name, layout in manifest["modalities"].items():
        differ, there = changed(folder, layout["checksums"])
        if differ:
            raise SurveyDataError(
                f"{out}: was prepared from other files: {len(differ)} of {there} {name} files "
                f"looked at in {folder} have changed since ({differ[0]}, …){again}"
            )
        if not there and layout["checksums"] and manifest["source"] != str(folder):
            raise SurveyDataError(f"{out}: was prepared from {manifest['source']}{again}")


def _is_finished(
    out: Path, manifest: dict[str, Any] | None, name: str, max_bad_share: float
) -> bool:
    if manifest is None or name not in manifest["modalities"]:
        return False
    if not all((out / f"{name}{end}.npy").is_file() for end in ("", "_status")):
        return False
    _, status = open_arrays(out, manifest, name, "r")
    return not _rows_to_read(status, max_bad_share).size


def _rows_to_read(status: np.ndarray, max_bad_share: float) -> np.ndarray:
    bad = (status == MISSING) | (status == CORRUPT)
    # Too many stop the run below, so the files may have been mended or fetched since.
    return np.flatnonzero((status == TODO) | (bad & (bad.sum() > max_bad_share * len(bad))))


def _prepare(
    folder: Path,
    out: Path,
    ids: np.ndarray,
    split: str,
    sources: dict[str, Source],
    max_bad_share: float,
    workers: int | None,
) -> None:
    for part in out.glob(".*.part"):  # of a run that was killed while it made a file
        part.unlink()
    manifest = read_manifest(out)
    if manifest is None:
        manifest = {"split": split, "source": str(folder), "survey_id": ids.tolist()}
        manifest["modalities"] = {}
    else:  # another process may have made it while this one waited
        _require_same(manifest, folder, out, ids, split)
    for name, source in sources.items():
        if name not in manifest["modalities"]:
            manifest["modalities"][name] = source.layout(ids)
    _require_space(out, manifest, list(sources))
    write_manifest(out, manifest)
    for source in sources.values():
        _fill(out, manifest, source, ids, max_bad_share, workers)


def _require_space(out: Path, manifest: dict[str, Any], names: list[str]) -> None:
    need, rows = 0, len(manifest["survey_id"])
    for name in names:
        layout = manifest["modalities"][name]
        if not (out / f"{name}.npy").exists():
            need += rows * int(np.prod(layout["shape"])) * np.dtype(layout["dtype"]).itemsize
    free = shutil.disk_usage(out).free
    logger.info("%s: %.2f GB to write, %.2f GB free", out, need / 1e9, free / 1e9)
    if need > free:
        raise OSError(
            errno.ENOSPC,
            f"{out}: {', '.join(names)} of {rows} surveys take {need / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB are free",
        )


def _fill(
    out: Path,
    manifest: dict[str, Any],
    source: Source,
    ids: np.ndarray,
    max_bad_share: float,
    workers: int | None,
) -> None:
    name, layout = source.name, manifest["modalities"][source.name]
    if not (out / f"{name}.npy").exists():
        (out / f"{name}_status.npy").unlink(missing_ok=True)
        create_array(out / f"{name}.npy", (len(ids), *layout["shape"]), layout["dtype"])
    if not (out / f"{name}_status.npy").exists():
        create_array(out / f"{name}_status.npy", (len(ids),), "|u1")
    array, status = open_arrays(out, manifest, name, "r+")
    nothing = np.nan if array.dtype.kind == "f" else 0

    def read(row: int) -> int:
        try:
            array[row] = source.read_like(int(ids[row]), array[row])
        except (FileNotFoundError, SurveyDataError) as error:
            array[row] = nothing
            return MISSING if isinstance(error, FileNotFoundError) else CORRUPT
        return OK

    rows = _rows_to_read(status, max_bad_share)
    threads = workers or min(16, os.cpu_count() or 1)
    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=len(rows), desc=f"reading {name} files", unit=" surveys", delay=2,
             disable=None, leave=False) as bar,
    ):  # fmt: skip
        for start in range(0, len(rows), _CHUNK):
            some = rows[start : start + _CHUNK]
            result = list(pool.map(read, some.tolist()))
            # Values reach the disk before the status says so: whatever stops this run, also the
            # power, a row that counts as read has been written.
            array.flush()
            status[some] = result
            status.flush()
            bar.update(len(some))
    _report_bad(source, ids, status, array, max_bad_share)


def _report_bad(
    source: Source, ids: np.ndarray, status: np.ndarray, array: np.ndarray, max_bad_share: float
) -> None:
    counts = bad_counts(status)
    if not counts:
        return
    bad = np.flatnonzero(status != OK)
    reasons = []
    for row in bad[:_NAMED].tolist():
        try:
            source.read_like(int(ids[row]), array[row])
        except (FileNotFoundError, SurveyDataError) as error:
            reasons.append(f"surveyId {ids[row]}: {error}")
    share = len(bad) / len(ids)
    text = (
        f"{source.folder}: {len(bad)} of {len(ids)} surveys ({share:.1%}) have no readable "
        f"{source.name} file ({', '.join(f'{n} {what}' for what, n in counts.items())}): "
        f"{'; '.join(reasons)}{'; …' if len(bad) > _NAMED else ''}"
    )
    if share > max_bad_share:
        raise SurveyDataError(f"{text}; at most {max_bad_share:.1%} are allowed")
    logger.warning("%s; they count as not found", text)
