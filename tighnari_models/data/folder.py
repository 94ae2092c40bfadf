"""Read a GeoLifeCLEF folder as downloaded: surveys, environment, prepared images and cubes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tighnari_graph.folder import DataFolder
from tighnari_graph.readers import read_glc24_pa, read_glc24_test, species_vocabulary
from tighnari_graph.splits import some_blocks
from tighnari_graph.surveys import SurveyTable
from tighnari_models.data.batch import FILES
from tighnari_models.data.environment import common_columns, read_environment
from tighnari_models.data.prepared import PreparedArrays, prepare


@dataclass(frozen=True, eq=False)
class FolderInputs:
    """What a folder holds; the arguments of `SurveyDataModule` of the same names."""

    surveys: SurveyTable
    test: SurveyTable
    environment: pd.DataFrame | None
    arrays: PreparedArrays | None
    test_arrays: PreparedArrays | None


def read_folder(
    folder: str | Path,
    prepared: str | Path,
    modalities: Sequence[str] | None = None,
    limit: int | None = None,
    max_bad_share: float = 0.05,
    monthly: bool = False,
    seed: int = 0,
) -> FolderInputs:
    """Read the tables, and prepare images and cubes once; see `SurveyDataModule.from_folder`."""
    found = DataFolder.find(folder)
    vocabulary = species_vocabulary(found.pa, *([] if found.po is None else [found.po]))
    surveys, test = read_glc24_pa(found.pa, vocabulary), read_glc24_test(found.test)
    if limit is not None:
        surveys = some_blocks(surveys, limit, seed)
    files = tuple(name for name in FILES if modalities is None or name in modalities)
    arrays: list[PreparedArrays | None] = [None, None]
    if files:
        some = "" if limit is None else f"_{limit}"  # another selection has arrays of its own
        arrays = [
            prepare(folder, Path(prepared) / place, table.survey_id, split, files, max_bad_share)
            for place, split, table in (
                (f"train{some}", "train", surveys),
                ("test", "test", test),
            )
        ]
    return FolderInputs(surveys, test, _environment(folder, monthly), *arrays)


def _environment(folder: str | Path, monthly: bool) -> pd.DataFrame | None:
    """Both splits' tables below each other, columns that both have."""
    train, test = (read_environment(folder, split, monthly).frame for split in ("train", "test"))
    train, test = common_columns(train, test)
    return pd.concat([train, test]) if len(train.columns) else None
