"""The surveys that the leaderboard is run on: GeoLifeCLEF, Swiss trees and a virtual Europe."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tighnari_graph.folder import DataFolder
from tighnari_graph.readers import read_glc24_pa, read_glc24_po, species_vocabulary
from tighnari_graph.splits import some_blocks
from tighnari_graph.surveys import SurveyTable
from tighnari_graph.table_files import read_frame
from tighnari_graph.virtual import virtual_europe

SWISS_FILES = ("SWItest_pa_env.parquet", "SWI_train_po.parquet")
SWISS_COVARIATES = (
    "bcc", "calc", "ccc", "ddeg", "nutri", "pday", "precyy", "sfroyy", "slope", "sradyy", "swb",
    "tavecc", "topo",
)  # fmt: skip
_PLACE = ["surveyId", "lat", "lon", "year", "region"]
_VIRTUAL_SURVEYS = 800


@dataclass(frozen=True, eq=False)
class BoardData:
    """One set of surveys.

    Attributes:
        name: a key of `SOURCES`.
        title: what it is, with its size.
        surveys: labelled surveys.
        presence_only: PO surveys of the same vocabulary; None if there are none.
        po_note: what a reader must know of rows with PO.
        environment: covariates by survey id, beside the metadata; None if there are none.
    """

    name: str
    title: str
    surveys: SurveyTable
    presence_only: SurveyTable | None = None
    po_note: str = ""
    environment: pd.DataFrame | None = None


def glc24(folder: Path, limit: int | None = None) -> BoardData:
    """Real surveys of GeoLifeCLEF 2024; environment tables are not read.

    Raises:
        FileNotFoundError: if the folder has no PA metadata.
    """
    found = DataFolder.find(folder / "glc24")
    sources = [found.pa] if found.po is None else [found.pa, found.po]
    species = species_vocabulary(*sources)
    surveys = _some(read_glc24_pa(found.pa, species), limit)
    po = None if found.po is None else read_glc24_po(found.po, species)
    note = (
        "The PO file is derived from the same pool of surveys, also inside the held-out blocks: it "
        "flatters, and says nothing of real PO data."
    )
    return BoardData("glc24", f"GeoLifeCLEF 2024, {_size(surveys, po)}", surveys, po, note)


def swiss(folder: Path, limit: int | None = None) -> BoardData:
    """Swiss forest trees: 13 covariates, one year and one region.

    Raises:
        FileNotFoundError: if a file is not there.
    """
    place = folder / "disdat_swi"
    pa, po = (read_frame(place / name)[0] for name in SWISS_FILES)
    species = sorted(name for name in pa if name.startswith("swi"))
    surveys = SurveyTable.from_long(_swiss_lists(pa, species), species, source=SWISS_FILES[0])
    surveys = _some(surveys, limit)
    rows = _swiss_places(po).assign(speciesId=po["spid"])
    presence_only = SurveyTable.from_long(rows, species, source=SWISS_FILES[1])
    environment = surveys.meta[list(SWISS_COVARIATES)].set_axis(surveys.survey_id)
    title = f"Swiss forest trees, {_size(surveys, presence_only)}"
    note = "PO sites lie inside the held-out blocks too, none of them where a PA site lies."
    return BoardData("swiss", title, surveys, presence_only, note, environment)


def virtual(folder: Path, limit: int | None = None) -> BoardData:
    """A virtual Europe, with the covariates of the metadata; ``folder`` is not looked at."""
    world = virtual_europe(limit or _VIRTUAL_SURVEYS, num_test=0)
    species = species_vocabulary(world.pa_train, world.po)
    surveys, po = read_glc24_pa(world.pa_train, species), read_glc24_po(world.po, species)
    note = "PO lists are made from the same truth as the surveys, with gaps."
    return BoardData("virtual", f"Virtual Europe, {_size(surveys, po)}", surveys, po, note)


SOURCES: dict[str, Callable[[Path, int | None], BoardData]] = {
    "glc24": glc24,
    "swiss": swiss,
    "virtual": virtual,
}


def _swiss_places(frame: pd.DataFrame) -> pd.DataFrame:
    """Where and what a site is, a row per row."""
    places = frame.rename(columns={"siteid": "surveyId"}).assign(year=2000, region="Switzerland")
    return places[[*_PLACE, *SWISS_COVARIATES]]


def _swiss_lists(pa: pd.DataFrame, species: list[str]) -> pd.DataFrame:
    """A row per site × species that grows there, and one for a site where none does."""
    places = _swiss_places(pa)
    site, column = np.nonzero(pa[species].to_numpy())
    found = places.iloc[site].assign(speciesId=np.array(species, dtype=object)[column])
    empty = places[~pa[species].any(axis=1).to_numpy()].assign(speciesId=None)
    return pd.concat([found, empty.astype({"speciesId": object})], ignore_index=True)


def _some(surveys: SurveyTable, limit: int | None) -> SurveyTable:
    return surveys if limit is None else some_blocks(surveys, limit)


def _size(surveys: SurveyTable, po: SurveyTable | None) -> str:
    listed = surveys.known_labels()
    text = f"{len(surveys):,} surveys of {int((listed.sum(axis=0) > 0).sum()):,} species"
    return text if po is None else f"{text}, {len(po):,} PO surveys"
