"""Arrays of patches and cubes on disk, one row per survey, as `prepare` writes them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib.format import open_memmap

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.files import new_memmap, written_whole

TODO, OK, MISSING, CORRUPT = range(4)  # what the status of a row means
_VERSION = 1
_NAMED = 5


@dataclass(frozen=True, eq=False)
class PreparedArrays:
    """The files of a set of surveys as arrays on disk, one row per survey.

    A survey whose file is missing or corrupt has zeros (image) or NaN (cubes) and ``found`` False.

    Attributes:
        folder: where `prepare` wrote them.
        survey_id: :math:`(N,)` int64.
        arrays: modality → memory map :math:`(N, …)`: "image" uint8 or int16, cubes float32.
        found: modality → bool :math:`(N,)`.
        notes: missing and corrupt files, and absent modalities, counted.
    """

    folder: Path
    survey_id: np.ndarray
    arrays: dict[str, np.memmap]
    found: dict[str, np.ndarray]
    notes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def open(cls, out: str | Path, modalities: Sequence[str] | None = None) -> "PreparedArrays":
        """What `prepare` wrote to ``out``, without reading it into memory.

        Args:
            out: the folder.
            modalities: those to open; by default all that are there.

        Raises:
            SurveyDataError: if it is no such folder, unfinished, or its files do not fit together.
        """
        folder = Path(out)
        manifest = read_manifest(folder)
        if manifest is None:
            raise SurveyDataError(f"{folder}: holds no prepared arrays (no manifest.json)")
        arrays, found = {}, {}
        notes: dict[str, int] = {}
        for name in manifest["modalities"] if modalities is None else modalities:
            array, status = open_arrays(folder, manifest, name, "r")
            todo = int((status == TODO).sum())
            if todo:
                raise SurveyDataError(
                    f"{folder}: {todo} of {len(status)} rows of {name} are not prepared yet; "
                    "run prepare again, it goes on where it stopped"
                )
            arrays[name], found[name] = array, np.asarray(status == OK)
            notes |= {f"{name} {what}": n for what, n in bad_counts(status).items()}
        return cls(folder, np.array(manifest["survey_id"], np.int64), arrays, found, notes)

    def rows(self, survey_id: Sequence[int] | np.ndarray) -> np.ndarray:
        """The row of each survey.

        Raises:
            ValueError: on surveys that were not prepared, naming them.
        """
        wanted = np.asarray(survey_id, dtype=np.int64)
        order = np.argsort(self.survey_id)
        place = np.searchsorted(self.survey_id, wanted, sorter=order)
        known = place < len(order)
        known[known] = self.survey_id[order[place[known]]] == wanted[known]
        if not known.all():
            raise ValueError(
                f"{self.folder}: {(~known).sum()} of {len(wanted)} surveys were not prepared "
                f"({named(wanted[~known])})"
            )
        return order[place]

    def __reduce__(self) -> tuple[Any, ...]:
        # Sent to another process, a memory map would be a copy of all that it holds.
        return PreparedArrays.open, (self.folder, list(self.arrays))


def named(ids: np.ndarray) -> str:
    """The first survey ids, for an error.

    Example:
        >>> named(np.arange(7))
        'surveyId 0, 1, 2, 3, 4, …'
    """
    more = ", …" if len(ids) > _NAMED else ""
    return f"surveyId {', '.join(map(str, ids[:_NAMED].tolist()))}{more}"


def bad_counts(status: np.ndarray) -> dict[str, int]:
    """How many files are missing and corrupt, where any are.

    Example:
        >>> bad_counts(np.array([OK, MISSING, OK]))
        {'missing': 1}
    """
    counts = {"missing": (status == MISSING).sum(), "corrupt": (status == CORRUPT).sum()}
    return {what: int(count) for what, count in counts.items() if count}


def create_array(path: Path, shape: tuple[int, ...], dtype: str) -> None:
    """A file of zeros that takes its whole place on the disk from the start.

    Raises:
        OSError: if it does not fit.
    """
    with written_whole(path) as part:
        new_memmap(part, shape, np.dtype(dtype))


def open_arrays(
    folder: Path, manifest: dict[str, Any], name: str, mode: Literal["r", "r+"]
) -> tuple[np.memmap, np.memmap]:
    """Values [N, …] and status [N] of a modality.

    Raises:
        SurveyDataError: if a file is not there, cut off, or not as the manifest says.
    """
    if name not in manifest["modalities"]:
        raise SurveyDataError(f"{folder}: {name} was not prepared")
    layout, rows = manifest["modalities"][name], len(manifest["survey_id"])
    expected = {
        folder / f"{name}.npy": ((rows, *layout["shape"]), np.dtype(layout["dtype"])),
        folder / f"{name}_status.npy": ((rows,), np.dtype(np.uint8)),
    }
    opened = []
    for path, (shape, dtype) in expected.items():
        try:
            array = open_memmap(path, mode)
        except FileNotFoundError as error:
            raise SurveyDataError(
                f"{path}: not prepared yet; run prepare again, it goes on where it stopped"
            ) from error
        except Exception as error:  # numpy parses the header as Python: errors of many kinds
            raise SurveyDataError(f"{path}: cannot be read: {error}; delete {folder}") from error
        if array.shape != shape or array.dtype != dtype:
            raise SurveyDataError(
                f"{path}: {array.dtype} {array.shape}, expected {dtype} {shape}; delete {folder}"
            )
        opened.append(array)
    return opened[0], opened[1]


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What is in a folder of prepared arrays; None if there is nothing yet.

    Raises:
        SurveyDataError: if it cannot be read, or is of another version.
    """
    path = folder / "manifest.json"
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["version"]
        whole = version == _VERSION and _is_whole(manifest)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError,
            ValueError) as error:  # fmt: skip
        raise SurveyDataError(f"{path}: cannot be read; delete {folder}") from error
    if version == _VERSION and not whole:
        raise SurveyDataError(f"{path}: damaged; delete {folder}")
    if not whole:
        raise SurveyDataError(
            f"{path}: version {version} of prepared arrays, expected {_VERSION}; delete {folder}"
        )
    return manifest


def _is_whole(manifest: dict[str, Any]) -> bool:
    """Whether every entry is of the kind that `prepare` writes; names lead to no other folder."""
    ids = np.array(manifest["survey_id"])
    layouts: dict[str, dict[str, Any]] = manifest["modalities"]
    return (
        isinstance(manifest["split"], str)
        and isinstance(manifest["source"], str)
        and ids.ndim == 1
        and (ids.dtype.kind == "i" or not ids.size)
        and all(name.isidentifier() for name in layouts)
        and all(
            np.dtype(layout["dtype"]).kind in "iuf"
            and all(isinstance(size, int) and size > 0 for size in layout["shape"])
            and all(isinstance(crc, int) for crc in layout["checksums"].values())
            for layout in layouts.values()
        )
    )


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write what is, or is going to be, in the folder."""
    with written_whole(folder / "manifest.json") as part:
        part.write_text(json.dumps({"version": _VERSION, **manifest}), encoding="utf-8")
