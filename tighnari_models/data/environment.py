"""Find and read the environment tables: climate, elevation, soil, people and land cover."""

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from tighnari_graph.columns import is_text, numbers, whole_numbers
from tighnari_graph.errors import SurveyDataError, refuse
from tighnari_graph.surveys import SurveyTable
from tighnari_graph.table_files import read_frame

_log = logging.getLogger("tighnari_models")

# A table's name and how Kaggle (underscores) and the GeoPlant releases (hyphens) spell it.
_TABLES = {
    "bioclimatic": r"bioclimatic([-_]average)?",
    "elevation": r"elevation",
    "human_footprint": r"human[-_]?footprint",
    "landcover": r"land[-_]?cover",
    "soilgrids": r"soil[-_]?grids",
}
_MONTHLY = {"bioclimatic_monthly": r"bioclimatic[-_]monthly"}
_FILE = r"(GLC\d\d[-_])?PA[-_]{split}[-_](?P<table>.+)\.(csv|parquet)"
# What `survey_frame` takes from the survey table; other columns of it (dates, publishers) are not
# used, and a copy of these in an environment table is not read.
_METADATA = ("lat", "lon", "year", "areaInM2", "geoUncertaintyInM", "region", "country")


@dataclass(frozen=True, eq=False)
class EnvironmentTables:
    """The environment of surveys, one row per survey, values as the files hold them.

    Attributes:
        frame: rows by surveyId, ascending; float columns, or text for land cover given as words.
        found: table → its file; a table that is not there is not in it.
        notes: surveys of each table, columns left out, tables left unread, as counts.
    """

    frame: pd.DataFrame
    found: dict[str, Path]
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[str, ...]:
        """The tables that the folder does not hold (monthly climate aside)."""
        return tuple(name for name in _TABLES if name not in self.found)


def read_environment(folder: str | Path, split: str, monthly: bool = False) -> EnvironmentTables:
    """Read every environment table of a split that lies below a folder, merged by survey.

    The tables are those of average climate, elevation, human footprint, land cover and SoilGrids,
    by their names on Kaggle (``GLC24-PA-train-human_footprint.csv``) or in the GeoPlant releases
    (``PA-train-human-footprint.csv``), CSV or Parquet. A survey that only some tables hold has NaN
    in the others' columns. A folder with none of them gives an empty frame. Columns of the land
    cover table are named ``LandCover…`` if they are not already.

    Args:
        folder: the data set, or any folder in it.
        split: "train" or "test".
        monthly: also read the monthly climate, 912 columns: about 0.7 GB for all real surveys.

    Raises:
        ValueError: if there is no such split.
        FileNotFoundError: if there is no such folder.
        SurveyDataError: if a table is there twice or cannot be read, if it has no surveyId, a
            surveyId twice, a column of another table, or text where numbers are expected.

    Source: Liu et al. 2024, section 3.1 ("we merge all tables by Survey ID").

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rows = pd.DataFrame({"surveyId": [7.0, 3.0], "Elevation": [-2.0, np.inf]})
        ...     rows.to_csv(Path(folder) / "GLC24-PA-train-elevation.csv", index=False)
        ...     environment = read_environment(folder, "train")
        >>> environment.frame["Elevation"].to_dict(), list(environment.found)
        ({3: inf, 7: -2.0}, ['elevation'])
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    folder = Path(folder)
    found, unread = _find(folder, split, _TABLES | (_MONTHLY if monthly else {}))
    notes = {"environment tables left unread": len(unread)} if unread else {}
    tables = {name: _read(path, name, notes) for name, path in found.items()}
    environment = EnvironmentTables(_merged(tables, found), found, notes)
    for name, table in tables.items():
        notes[f"surveys in {name}"] = len(table)
    if unread:
        _log.warning("%s: environment tables left unread: %s", folder, ", ".join(unread))
    if environment.missing:
        _log.warning("%s: no table of %s (%s)", folder, ", ".join(environment.missing), split)
    return environment


def survey_frame(table: SurveyTable, environment: pd.DataFrame | None) -> pd.DataFrame:
    """Surveys with their metadata and environment, a row each, in the order of the table.

    Columns are lat, lon, year, and where the table has them areaInM2, geoUncertaintyInM, region and
    country, then those of the environment. A survey without a row there gets missing values; how
    many do is logged and kept in ``frame.attrs["notes"]``.

    Args:
        table: the surveys.
        environment: ``read_environment(...).frame``, rows by surveyId, or None.

    Units: degrees for lat and lon, m² for areaInM2, m for geoUncertaintyInM.

    Raises:
        SurveyDataError: if the environment has a survey twice, or a column of the metadata.

    Source: Liu et al. 2024, section 3.1 (tabular features F).

    Example:
        >>> rows = pd.DataFrame({"surveyId": [7, 3], "lat": 43.1, "lon": 3.2, "year": 2020})
        >>> environment = pd.DataFrame({"Elevation": [5.0, 6.0]}, index=[3, 4])
        >>> survey_frame(SurveyTable.from_long(rows), environment)["Elevation"].tolist()
        [nan, 5.0]
    """
    columns: dict[str, np.ndarray | pd.Series] = {"lat": table.lat, "lon": table.lon}
    for name in _METADATA:
        if table.has(name):
            columns[name] = table.column(name).to_numpy()
    index = pd.Index(table.survey_id, name="surveyId")
    frame = pd.DataFrame(columns, index=index)
    if environment is None or environment.columns.empty:
        return frame
    ids = environment.index.to_numpy()
    refuse("environment", environment.index.duplicated(keep=False), ids, "a surveyId that repeats")
    twice = [name for name in environment.columns if name in frame]
    if twice:
        raise SurveyDataError(f"environment: holds columns of the survey table: {', '.join(twice)}")
    lacking = ~index.isin(environment.index)
    joined = pd.concat([frame, environment.reindex(index)], axis=1)
    if lacking.any():
        first = ", ".join(map(str, index[lacking][:5]))
        text = "%d of %d surveys have no row in the environment tables (surveyId %s)"
        _log.warning(text, lacking.sum(), len(index), first)
    joined.attrs["notes"] = {"surveys without an environment row": int(lacking.sum())}
    return joined


def _find(folder: Path, split: str, tables: dict[str, str]) -> tuple[dict[str, Path], list[str]]:
    """The file of each table, and files of environment folders that are none of them."""
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise SurveyDataError(f"{folder}: a file; expected the folder that holds the data set")
    found: dict[str, Path] = {}
    unread = []
    for path in _files(folder):
        match = re.fullmatch(_FILE.format(split=split), path.name, re.IGNORECASE)
        if match is None:
            continue
        table = match["table"]
        names = [n for n, spelt in tables.items() if re.fullmatch(spelt, table, re.IGNORECASE)]
        known = names or any(re.fullmatch(m, table, re.IGNORECASE) for m in _MONTHLY.values())
        if not known and "environmental" in str(path.relative_to(folder)).lower():
            unread.append(path.name)
        for name in names:
            if name in found:
                both = ", ".join(str(p.relative_to(folder)) for p in (found[name], path))
                raise SurveyDataError(f"{folder}: found two tables of {name}: {both}")
            found[name] = path
    return {name: found[name] for name in tables if name in found}, unread


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        # Folders of one or two digits hold patches: 90,000 files that are no tables.
        folders[:] = sorted(name for name in folders if not re.fullmatch(r"\d\d?", name))
        yield from (Path(place, name) for name in sorted(files))


def _read(path: Path, name: str, notes: dict[str, int]) -> pd.DataFrame:
    """One table by surveyId, float columns."""
    rows, source = read_frame(path)
    if "surveyId" not in rows:
        raise SurveyDataError(f"{source}: no column surveyId among {', '.join(rows.columns[:20])}")
    ids, absent = whole_numbers(rows["surveyId"], source, None)
    refuse(source, absent, None, "no surveyId")
    refuse(source, pd.Index(ids).duplicated(keep=False), ids, "a surveyId that repeats")
    # Row numbers that pandas wrote, and metadata, which the survey table holds.
    left_out = [c for c in rows if re.fullmatch(r"|Unnamed: \d+", c) or c in _METADATA]
    if left_out:
        notes[f"columns of {name} left out ({', '.join(map(repr, left_out))})"] = len(left_out)
    columns = {}
    for column in rows.columns.drop(["surveyId", *left_out]):
        title = column
        if name == "landcover" and not column.lower().startswith("landcover"):
            title = f"LandCover-{column}"
        if name == "landcover" and is_text(rows[column]):
            columns[title] = rows[column].astype(object).to_numpy()
        else:
            columns[title] = numbers(rows[column], source, ids)
    return pd.DataFrame(columns, index=pd.Index(ids, name="surveyId"))


def _merged(tables: dict[str, pd.DataFrame], found: dict[str, Path]) -> pd.DataFrame:
    owner: dict[str, str] = {}
    index = pd.Index([], dtype=np.int64, name="surveyId")
    for name, table in tables.items():
        twice = [column for column in table if column in owner]
        if twice:
            raise SurveyDataError(
                f"{found[name].name}: column {twice[0]} is in {found[owner[twice[0]]].name} too"
            )
        owner |= dict.fromkeys(table, name)
        index = index.union(table.index)
    index = index.sort_values().rename("surveyId")
    if not tables:
        return pd.DataFrame(index=index)
    return pd.concat([table.reindex(index) for table in tables.values()], axis=1)


def common_columns(train: pd.DataFrame, test: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables with the columns that both have; the others are counted and logged.

    Example:
        >>> train = pd.DataFrame({"Elevation": [5.0], "Bio1": [281.0]})
        >>> [list(t) for t in common_columns(train, train[["Bio1"]])]
        [['Bio1'], ['Bio1']]
    """
    common = [name for name in train if name in test]
    single = sorted(map(str, {*train, *test} - set(common)))
    if single:
        _log.warning(
            "table: %d columns are of training or of test surveys only and left out (%s)",
            len(single), ", ".join(single[:5]),
        )  # fmt: skip
    return train[common], test[common]
