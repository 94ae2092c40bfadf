"""Files as people have them: whole, broken, oddly encoded."""

import multiprocessing
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.inputs import po_rows
from tests.real_data import GLC24, needs_glc24
from tighnari_graph import (
    SurveyDataError,
    read_glc24_pa,
    read_glc24_po,
    read_glc24_test,
    species_vocabulary,
)
from tighnari_graph.folder import DataFolder

HEADER = "lon,lat,year,geoUncertaintyInM,areaInM2,region,country,speciesId,surveyId\n"
ROWS = "10.6,46.1,2020,6.0,150.0,ALPINE,Italy,4008.0,37\n6.2,53.5,2017,,-inf,ATLANTIC,Netherlands,5420.0,16\n"


def written(folder: Path, content: str | bytes, name: str = "pa.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_csv_and_the_same_parquet_give_the_same_table(tmp_path):
    path = written(tmp_path, HEADER + ROWS)
    pd.read_csv(path).to_parquet(tmp_path / "pa.parquet")
    a, b = read_glc24_pa(path), read_glc24_pa(tmp_path / "pa.parquet")
    assert a.survey_id.tolist() == b.survey_id.tolist() == [37, 16]
    assert (a.labels != b.labels).nnz == 0
    assert a.notes == b.notes
    assert a.meta["areaInM2"].isna().tolist() == b.meta["areaInM2"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\xef\xbb\xbf" + (HEADER + ROWS).encode(), "bom.csv"),
        ((HEADER + ROWS).replace("\n", "\r\n"), "windows.csv"),
        ((HEADER + ROWS).rstrip("\n"), "no_last_newline.csv"),
        (HEADER + ROWS.replace(",37\n", ",37.0\n"), "float_ids.csv"),
    ],
)
def test_usual_variants_of_csv_are_read(tmp_path, content, name):
    assert read_glc24_pa(written(tmp_path, content, name)).survey_id.tolist() == [37, 16]


def test_a_column_whole_in_its_first_megabyte_may_hold_fractions_later(tmp_path):
    line = "10.6,46.1,2020,6,150,ALPINE,Italy,4008,37\n"
    path = written(tmp_path, HEADER + line * 40_000 + line.replace(",6,", ",6.5,"))
    assert read_glc24_pa(path).labels.nnz == 1


BROKEN = {
    "empty": (b"", "pa.csv: the file is empty"),
    "header only": (HEADER.encode(), "pa.csv: the file holds a header and no rows"),
    "cut off": ((HEADER + ROWS)[:-40].encode(), "pa.csv: cannot be read as a table: .*9 columns"),
    "binary": (np.arange(256, dtype=np.uint8).tobytes() * 20, "pa.csv: "),
    "parquet cut off": (b"PAR1" + b"\x00" * 50, "pa.csv: cannot be read as a table"),
    "latin-1": ((HEADER + ROWS).replace("Italy", "Österreich").encode("latin-1"), "pa.csv: .*UTF"),
    "utf-16": ((HEADER + ROWS).encode("utf-16"), "pa.csv: "),
    "semicolons": ((HEADER + ROWS).replace(",", ";").encode(), "pa.csv: columns are separated by ';'"),
    "text as year": ((HEADER + ROWS.replace("2017", "MMXVII")).encode(),
                     r"pa.csv: 1 of 2 rows have a year that is no number: 'MMXVII' \(surveyId 16\)"),
    "decimal comma": ((HEADER + ROWS.replace("46.1", '"46,1"')).encode(),
                      r"pa.csv: 1 of 2 rows have a lat that is no number: '46,1' \(surveyId 37\)"),
    "text as species": ((HEADER + ROWS.replace("4008.0", "Abies").replace("5420.0", "Acer")).encode(),
                        r"pa.csv: speciesId holds text \('Abies'"),
    "column twice": ((HEADER.replace("country", "region") + ROWS).encode(), "names occur twice: region"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_named_with_what_is_wrong(tmp_path, case):
    content, message = BROKEN[case]
    with pytest.raises(SurveyDataError, match=message):
        read_glc24_pa(written(tmp_path, content))


@pytest.mark.parametrize("column", ["region", "speciesId", "lat", "surveyId"])
def test_a_missing_column_is_named_with_the_file(tmp_path, column):
    frame = pd.read_csv(written(tmp_path, HEADER + ROWS)).drop(columns=column)
    frame.to_csv(tmp_path / "pa.csv", index=False)
    with pytest.raises(SurveyDataError, match=rf"pa.csv: no column {column} among"):
        read_glc24_pa(tmp_path / "pa.csv")


def test_the_vocabulary_needs_a_species_column(tmp_path):
    path = written(tmp_path, "surveyId,lat\n1,2\n")
    with pytest.raises(SurveyDataError, match=r"pa.csv: .*speciesId"):
        species_vocabulary(path)


def test_a_species_column_in_a_test_table_is_left_unread_and_noted(tmp_path):
    table = read_glc24_test(written(tmp_path, HEADER + ROWS))
    assert table.labels is None
    assert table.notes["speciesId column left unread"] == 1


def test_files_are_found_under_either_spelling(tmp_path):
    deeper = tmp_path / "deeper"
    deeper.mkdir()
    for name in (
        "GLC24-PA-metadata-train.csv",
        "GLC24-PA-metadata-test.csv",
        "GLC24-PO-metadata-train.csv",
    ):
        written(deeper, "x", name)
    found = DataFolder.find(tmp_path)
    assert (found.layout, found.po.name) == ("GeoPlant (hyphens)", "GLC24-PO-metadata-train.csv")
    written(tmp_path, "x", "GLC24_P0_metadata_train.csv")
    with pytest.raises(SurveyDataError, match="found 2 files for one"):
        DataFolder.find(tmp_path)


def test_a_folder_without_surveys_is_refused_by_what_it_lacks(tmp_path):
    with pytest.raises(FileNotFoundError, match="no PA metadata of train and test below it"):
        DataFolder.find(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        DataFolder.find(tmp_path / "nowhere")
    with pytest.raises(SurveyDataError, match="a file; expected the folder"):
        DataFolder.find(written(tmp_path, "x"))


@needs_glc24
def test_the_real_files_hold_what_their_documentation_says():
    pa, po = GLC24 / "GLC24_PA_metadata_train.csv", GLC24 / "GLC24_P0_metadata_train.csv"
    vocabulary = species_vocabulary(pa, po)
    train, test, observed = (
        read_glc24_pa(pa, vocabulary),
        read_glc24_test(GLC24 / "GLC24_PA_metadata_test.csv"),
        read_glc24_po(po, vocabulary),
    )
    raw = pd.read_csv(pa)
    assert len(train) == raw["surveyId"].nunique() == 3284
    assert train.labels.nnz == len(raw[["surveyId", "speciesId"]].drop_duplicates()) == 58381
    assert len(species_vocabulary(pa)) == 2700
    assert (len(test), test.labels) == (832, None)
    assert len(observed) == 992
    assert observed.region is None
    infinite = raw.drop_duplicates("surveyId")["areaInM2"].eq(-np.inf).sum()
    assert train.notes["surveys with infinite areaInM2 (made missing)"] == infinite


@pytest.mark.alone
def test_five_million_po_rows_are_read_and_grouped_within_a_minute_and_6_gb(tmp_path):
    path = tmp_path / "po.csv"
    po_rows(5_079_797, 3_845_533).to_csv(path, index=False)
    result = multiprocessing.get_context("spawn").Queue()
    worker = multiprocessing.get_context("spawn").Process(target=_read_po, args=(path, result))
    begin = time.perf_counter()
    worker.start()
    surveys, labels, peak_kb = result.get(timeout=200)
    worker.join()
    assert surveys == 3_845_533
    assert labels <= 5_079_797
    assert time.perf_counter() - begin < 60
    assert peak_kb < 6e6


def _read_po(path: Path, result: multiprocessing.Queue) -> None:
    table = read_glc24_po(path)
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result.put((len(table), int(table.labels.nnz), peak_kb))
