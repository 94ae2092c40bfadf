"""Read presence-only (PO) rows and group them, one entry a survey."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from benchmarks.case import Case, CpuClock, Limit, Peer
from tighnari_graph import SurveyTable, read_glc24_po

NUM_SPECIES = 11_255
PANDAS_SHARE = 0.05  # of the surveys, of each of which pandas makes a list


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """As pandas would, in a tenth of the time; a missing number is an empty cell."""
    csv.write_csv(pa.Table.from_pandas(frame, preserve_index=False), path)


def reading_case(frame: pd.DataFrame, folder: Path) -> Case:
    """Rows of survey × species → a row a survey, with its species."""
    whole, part = folder / "po.csv", folder / "part.csv"
    some = frame[frame["surveyId"] % round(1 / PANDAS_SHARE) == 0]
    write_csv(frame, whole)
    write_csv(some, part)
    return Case(
        "read and group PO rows",
        f"{len(frame):,} rows, {whole.stat().st_size / 1e6:,.0f} MB",
        lambda: read_glc24_po(whole, np.arange(NUM_SPECIES)),
        {
            "pandas read_csv + groupby": Peer(
                lambda: pandas_surveys(part),
                len(some) / len(frame),
                lambda _, theirs: same_surveys(read_glc24_po(part), theirs),
                "≥ 5×",
            ),
            "polars read_csv + group_by": Peer(lambda: polars_surveys(whole)),
        },
        Limit("read the file once", read_seconds(whole)),
        check=same_surveys,
    )


def read_seconds(path: Path) -> float:
    """Seconds to read a file that is cached already, best of three."""
    clock = CpuClock()
    return min(clock.time(lambda: len(path.read_bytes())).seconds for _ in range(3))


def pandas_surveys(path: Path) -> pd.DataFrame:
    """First position and year and the list of unique species of each survey, by pandas."""
    rows = pd.read_csv(path).drop_duplicates(["surveyId", "speciesId"])
    grouped = rows.groupby("surveyId", sort=False)
    first = grouped[["lat", "lon", "year"]].first()
    return first.assign(species=grouped["speciesId"].agg(list)).reset_index()


def polars_surveys(path: Path) -> Any:
    """The same by polars, as a frame of its own."""
    import polars

    first = [polars.col(name).first() for name in ("lat", "lon", "year")]
    species = polars.col("speciesId").unique().alias("species")
    return polars.read_csv(path).group_by("surveyId").agg(*first, species)


def same_surveys(ours: SurveyTable, theirs: Any) -> str:
    """What differs between our table and a frame of surveys, pandas' or polars', with lists."""
    if len(ours) != len(theirs):
        return f"{len(ours)} and {len(theirs)} surveys"
    order, place = np.argsort(ours.survey_id), np.argsort(theirs["surveyId"].to_numpy())
    columns = {"surveyId": ours.survey_id, "lat": ours.lat, "lon": ours.lon, "year": ours.year}
    for name, values in columns.items():
        wrong = int((values[order] != theirs[name].to_numpy()[place]).sum())
        if wrong:
            return f"{name} of {wrong} surveys"
    long = theirs[["surveyId", "species"]].explode("species")
    other = long["surveyId"].to_numpy() * NUM_SPECIES + long["species"].to_numpy().astype(np.int64)
    labels = ours.known_labels().tocoo()
    cells = ours.survey_id[labels.row] * NUM_SPECIES + ours.species_ids[labels.col]
    return "" if np.array_equal(np.sort(cells), np.sort(other)) else "species of some surveys"
