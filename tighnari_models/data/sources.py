"""The raw files of one modality: which survey has one, and what an array of them looks like."""

import logging
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tighnari_graph.errors import SurveyDataError
from tighnari_models.data.cubes import CUBE_SHAPES, find_cubes, read_cube
from tighnari_models.data.landsat_tables import find_landsat_tables, read_landsat_tables
from tighnari_models.data.patches import find_patches, read_patch

logger = logging.getLogger("tighnari_models")

_CHECKED = 2**16  # bytes of a file that enter its checksum
_SAMPLE = 16  # files that are read to learn the size of patches, and to know the source again


@dataclass(frozen=True, eq=False)
class Source:
    """Files of one modality and split.

    Attributes:
        name: "image", "landsat" or "bioclim".
        folder: the data folder.
        paths: survey id → the files that hold it.
        cubes: survey id → its cube, where it comes from tables that are read as a whole.
    """

    name: str
    folder: Path
    paths: dict[int, tuple[Path, ...]]
    cubes: dict[int, np.ndarray] = field(default_factory=dict)

    def read(self, survey: int) -> np.ndarray:
        """The patch or cube of a survey.

        Raises:
            FileNotFoundError: if it has none.
            SurveyDataError: if it cannot be read.
        """
        paths = self.paths.get(survey)
        if paths is None:
            bands = ", or not of all bands" if self.name == "image" else ""
            raise FileNotFoundError(f"no {self.name} file{bands}")
        if survey in self.cubes:
            return self.cubes[survey]
        return read_patch(*paths) if self.name == "image" else read_cube(paths[0], self.name)

    def read_like(self, survey: int, like: np.ndarray) -> np.ndarray:
        """The same, of the shape and type of ``like``.

        Raises:
            FileNotFoundError: if the survey has no file.
            SurveyDataError: if it cannot be read, or is another shape or type.
        """
        values = self.read(survey)
        if values.shape != like.shape or values.dtype != like.dtype:
            raise SurveyDataError(
                f"{self.paths[survey][0]}: {values.dtype} {values.shape}, most others are "
                f"{like.dtype} {like.shape}"
            )
        return values

    def layout(self, survey_id: np.ndarray) -> dict[str, Any]:
        """Shape and type of one survey, and checksums of a few files.

        The size of patches is what most of 16 surveys have, spread over all.

        Raises:
            SurveyDataError: if none of the patches looked at can be read.
        """
        of_these = [survey for survey in survey_id.tolist() if survey in self.paths]
        surveys = of_these or sorted(self.paths)
        some = np.unique(np.linspace(0, len(surveys) - 1, _SAMPLE).astype(int))
        read: dict[int, tuple[tuple[int, ...], str]] = {}
        reason = ""
        for survey in (surveys[i] for i in some):
            try:
                values = self.read(survey)
            except SurveyDataError as error:
                reason = reason or str(error)
            else:
                read[survey] = values.shape, values.dtype.str
        shape: tuple[int, ...]
        if self.name in CUBE_SHAPES:
            shape, kind = CUBE_SHAPES[self.name], np.dtype(np.float32).str
        elif read:
            shape, kind = Counter(read.values()).most_common(1)[0][0]
        else:
            raise SurveyDataError(f"none of {len(some)} patches looked at can be read: {reason}")
        usual = [survey for survey, layout in read.items() if layout == (shape, kind)]
        files = dict.fromkeys(path for survey in usual for path in self.paths[survey])
        checksums = {str(path.relative_to(self.folder)): _checksum(path) for path in files}
        return {"shape": list(shape), "dtype": kind, "checksums": checksums}


def find_source(folder: str | Path, split: str, name: str) -> Source:
    """The files of a modality, whose ``paths`` are empty if there are none.

    Raises:
        FileNotFoundError: if there is no such folder.
        SurveyDataError: if a survey has two files of a kind, or Landsat tables are broken.
    """
    top = Path(folder).absolute()
    if name == "image":
        patches = find_patches(top, split)
        for text, count in patches.notes.items():
            logger.warning("%s: %d %s, left out (%s surveys)", folder, count, text, split)
        return Source(name, top, patches.paths())
    cubes = find_cubes(top, name, split)
    if name == "landsat" and not cubes and (tables := find_landsat_tables(top, split)):
        logger.info("%s: no Landsat cubes of %s surveys, tables instead", folder, split)
        ids, values = read_landsat_tables(tables)
        paths = dict.fromkeys(ids.tolist(), tuple(tables.values()))
        return Source(name, top, paths, dict(zip(ids.tolist(), values, strict=True)))
    return Source(name, top, {survey: (path,) for survey, path in cubes.items()})


def changed(folder: Path, checksums: dict[str, int]) -> tuple[list[str], int]:
    """Which of the files differ from their checksums, and how many are there at all."""
    there = {name: folder / name for name in checksums if (folder / name).is_file()}
    differ = [name for name, path in there.items() if _checksum(path) != checksums[name]]
    return differ, len(there)


def _checksum(path: Path) -> int:
    with path.open("rb") as file:
        return zlib.crc32(file.read(_CHECKED), path.stat().st_size)
