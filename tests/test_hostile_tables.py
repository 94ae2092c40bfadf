"""Tables as no program should write them: for each oddity, what happens, and that it is said."""

import gzip
import os

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.fuzz_limits import within_limits
from tests.fuzz_targets import ROWS, TARGETS
from tighnari_graph import SurveyDataError, check_submission, read_glc24_pa, species_vocabulary
from tighnari_graph.table_files import read_frame
from tighnari_models.data.environment import read_environment

HEAD = "surveyId,lat,lon,year,region,speciesId\n"
FIRST, SECOND = "7,43.1,3.2,2020,ALPINE,5\n", "3,44.0,3.0,2021,ATLANTIC,9\n"
ROW = HEAD + FIRST + SECOND


def first(**cells: str) -> str:
    """The table, with other text in the first row."""
    given = dict(zip(HEAD.strip().split(","), FIRST.strip().split(","), strict=True))
    return HEAD + ",".join((given | cells).values()) + "\n" + SECOND


READ = {
    "a UTF-8 byte order mark": b"\xef\xbb\xbf" + ROW.encode(),
    "Windows line ends": ROW.replace("\n", "\r\n"),
    "old Mac line ends": ROW.replace("\n", "\r"),
    "two kinds of line ends": HEAD.replace("\n", "\r\n") + FIRST + SECOND,
    "empty lines": HEAD + "\n" + FIRST + SECOND + "\n\n",
    "no last line end": ROW.rstrip("\n"),
    "quoted newlines": first(region='"ALP\nINE"'),
    "a NUL byte in text": first(region="ALP\0INE"),
    "letters of other alphabets": first(region="Gävle 山"),
    "a field of half a megabyte": first(region="A" * 500_000),
    "a path as text": first(region="../../x"),
    "a formula as text": first(region="=1+1"),
    "a number with an exponent": first(lat="4.31e1"),
    "a fraction that is whole": first(surveyId="7.0"),
    "an id with an exponent": first(surveyId="7e0"),
}

REFUSED = {
    "UTF-16": (ROW.encode("utf-16"), "save it as UTF-8"),
    "UTF-16 without its mark": (ROW.encode("utf-16-be"), "save it as UTF-8"),
    "Latin-1": (first(region="Gävle").encode("latin-1"), "invalid UTF8"),
    "Latin-1 in the header": (ROW.replace("region", "région").encode("latin-1"), "utf-8"),
    "two encodings": (ROW.encode() + "8,44,3,2020,Gävle,5\n".encode("latin-1"), "invalid UTF8"),
    "semicolons": (ROW.replace(",", ";"), "columns are separated by ';', expected ','"),
    "semicolons, decimal commas": (first(lat="43,1").replace(",", ";"), "'.' for decimals"),
    "tabs": (ROW.replace(",", "\t"), "columns are separated by tabs"),
    "quoted decimal commas": (first(lat='"43,1"'), "1 of 2 rows have a lat that is no number: '43,1'"),
    "a comma for thousands": (first(year='"2,020"'), "a year that is no number: '2,020'"),
    "an underscore in a number": (first(surveyId="1_000"), "a surveyId that is no number: '1_000'"),
    "a path as id": (first(surveyId="../../x"), "a surveyId that is no number: '../../x'"),
    "an absolute path as species": (first(speciesId="/etc/passwd"), "a speciesId that is a number stored as text"),
    "a NUL byte in a number": (first(lat="43\0.1"), "a lat that is no number"),
    "NUL bytes at the end": (ROW + "\0" * 99, "cannot be read as a table"),
    "infinite latitude": (first(lat="inf"), "1 of 2 rows have latitude outside"),
    "no latitude": (first(lat="NaN"), "1 of 2 rows have no latitude"),
    "infinite id": (first(surveyId="inf"), "not a whole number: inf"),
    "no id": (first(surveyId="nan"), "1 of 2 rows have no surveyId"),
    "an id beyond 64 bits": (first(surveyId="9" * 30), "surveyId of 2^53 or more"),
    "a negative species": (first(speciesId="-5"), "a speciesId below 0: -5"),
    "an empty file": ("", "the file is empty"),
    "line ends only": ("\n\n", "cannot be read as a table"),
    "a byte order mark only": (b"\xef\xbb\xbf", "cannot be read as a table"),
    "a header only": (HEAD, "a header and no rows"),
    "a column twice": (ROW.replace("region", "lat"), "column names occur twice: lat"),
    "an unused column twice": (
        "a,a," + HEAD + "1,2," + FIRST + "1,2," + SECOND, "column names occur twice: a"
    ),
    "a row too short": (ROW + "8,44\n", "Expected 6 columns, got 2"),
    "a row too long": (ROW + "8,44,3,2020,A,5,6\n", "Expected 6 columns, got 7"),
    "a quote that never ends": (first(region='"ALPINE'), "cannot be read as a table"),
    "a field of three megabytes": (first(region="A" * 3_000_000), "cannot be read as a table"),
    "a header of three megabytes": (ROW.replace("region", "r" * 3_000_000), "cannot be read"),
    "names with spaces": (ROW.replace(",lat", ", lat"), "no column lat among"),
}  # fmt: skip


def put(folder, content, name="pa.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("case", READ)
def test_odd_tables_that_are_read(tmp_path, case):
    path = put(tmp_path, READ[case])
    with within_limits(tmp_path):
        table = read_glc24_pa(path)
    assert table.survey_id.tolist() == [7, 3]
    assert table.lat.tolist() == [43.1, 44.0]
    assert table.species_ids.tolist() == [5, 9]
    assert table.region[1] == "ATLANTIC"


@pytest.mark.parametrize("case", REFUSED)
def test_odd_tables_that_are_refused(tmp_path, case):
    content, text = REFUSED[case]
    path = put(tmp_path, content)
    with within_limits(tmp_path), pytest.raises(SurveyDataError) as caught:
        read_glc24_pa(path)
    assert "pa.csv: " in str(caught.value)
    assert text in str(caught.value)


def test_a_name_that_occurs_twice_is_refused_by_every_reader_of_tables(tmp_path):
    ids, twice = pa.array([7, 3]), ["surveyId", "speciesId", "speciesId"]
    parquet.write_table(pa.table([ids] * 3, names=twice), tmp_path / "a.parquet")
    put(tmp_path, "surveyId,speciesId,speciesId\n7,5,5\n", "a.csv")
    for name in ("a.parquet", "a.csv"):
        with pytest.raises(SurveyDataError, match="column names occur twice: speciesId"):
            species_vocabulary(tmp_path / name)
    put(tmp_path, "surveyId,Elevation,Elevation\n7,5,5\n", "GLC24-PA-train-elevation.csv")
    with pytest.raises(SurveyDataError, match="column names occur twice: Elevation"):
        read_environment(tmp_path, "train")


def test_what_pandas_noted_in_a_parquet_file_is_not_believed(tmp_path):
    """An index of its own becomes a column or goes; a note that makes no sense does no harm."""
    frame = pd.DataFrame({"surveyId": [7, 3, 8], "speciesId": [5, 9, 9]})
    path = tmp_path / "a.parquet"
    frame.set_index("surveyId").to_parquet(path)
    assert species_vocabulary(path).tolist() == [5, 9]
    assert list(read_frame(path)[0].columns) == ["speciesId", "surveyId"]
    frame.set_axis([4, 9, 1]).to_parquet(path)
    assert list(read_frame(path)[0].columns) == ["surveyId", "speciesId"]
    for note in (b"", b"[]", b'{"columns": 3}', b'{"index_columns": [3]}'):
        table = pa.Table.from_pandas(frame, preserve_index=False)
        parquet.write_table(table.replace_schema_metadata({b"pandas": note}), path)
        assert species_vocabulary(path).tolist() == [5, 9]


FOUND = {  # by the fuzz: reader, and the bytes that made it fail with an error of its own
    "an environment value that is no UTF-8": (
        "environment CSV", b"surveyId,LandCover,b\n7,urban,1.5\x00\x80\n", "a b that is no number"
    ),
    "a Landsat survey that is no UTF-8": (
        "Landsat table",
        ("surveyId," + ",".join(f"{y}_{q}" for y in range(2000, 2021) for q in range(1, 5))).encode()
        + b"\n7\xb0" + b",30" * 84 + b"\n",
        "invalid UTF8 data",
    ),
    "a Landsat survey without id": (
        "Landsat table",
        ("surveyId," + ",".join(f"{y}_{q}" for y in range(2000, 2021) for q in range(1, 5))
         + "\n" + ",30" * 84 + "\n").encode(),
        "1 of 1 rows have no surveyId",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FOUND)
def test_tables_that_a_fuzz_found(tmp_path, case):
    name, content, text = FOUND[case]
    (tmp_path / "data").mkdir()
    path, _ = TARGETS[name].setup(tmp_path / "data")
    path.write_bytes(content)
    with pytest.raises(SurveyDataError, match=text):
        TARGETS[name].read(tmp_path / "data", path)


def test_a_text_column_without_a_value_is_missing_numbers_or_no_ids(tmp_path):
    """Found by the fuzz: such a column is text by its type alone."""
    text = pa.array([None, None], pa.string())
    path = tmp_path / "GLC24-PA-train-elevation.parquet"
    parquet.write_table(pa.table({"surveyId": pa.array([7, 3]), "Elevation": text}), path)
    assert read_environment(tmp_path, "train").frame["Elevation"].isna().all()
    parquet.write_table(pa.table({"surveyId": text, "Elevation": pa.array([1.0, 2.0])}), path)
    with pytest.raises(SurveyDataError, match="2 of 2 rows have no surveyId"):
        read_environment(tmp_path, "train")


# --- tables that would fill the memory, ids that would leave the folder


def test_a_parquet_bomb_is_refused_by_its_size_once_unpacked(tmp_path, monkeypatch):
    path, rows = tmp_path / "bomb.parquet", 10_000_000
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array([43.0]))
    parquet.write_table(pa.table({"surveyId": column, "speciesId": column}), path)
    assert path.stat().st_size < 100_000
    small = psutil.virtual_memory()._replace(available=100_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: small)
    with pytest.raises(
        SurveyDataError, match=r"bomb\.parquet: would take at least 0\.2 GB of memory"
    ):
        read_glc24_pa(path)


def test_a_packed_csv_bomb_is_refused_before_it_is_unpacked_whole(tmp_path, monkeypatch):
    path = put(tmp_path, gzip.compress(ROW.encode() + b"1" * 30_000_000), "bomb.csv.gz")
    assert path.stat().st_size < 100_000
    small = psutil.virtual_memory()._replace(available=5_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: small)
    with pytest.raises(SurveyDataError, match=r"bomb\.csv\.gz: would take at least 0\.0 GB"):
        read_glc24_pa(path)
    path = put(tmp_path, gzip.compress(ROW.encode()), "pa.csv.gz")
    assert read_glc24_pa(path).survey_id.tolist() == [7, 3]


def test_a_pipe_or_device_is_no_table(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    for name in ("pipe.csv", "zero.csv"):
        with within_limits(tmp_path), pytest.raises(SurveyDataError, match="no regular file"):
            read_glc24_pa(tmp_path / name)


def test_a_submission_is_a_file_never_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for address in ("https://localhost/s.csv", "s3://bucket/s.csv", "file:///etc/hostname"):
        with pytest.raises(FileNotFoundError):
            check_submission(address, [7], [5])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("surveyId,predictions\n../../x,5\n", "1 missing, 1 not asked for"),
        ("surveyId,predictions\n7,5 ../x\n", "1 predictions are no numbers"),
        ("surveyId;predictions\n7;5\n", "header is"),
        ("\ufeffsurveyId,predictions\n7,5\n", None),
        ("surveyId,predictions\r\n7,5\r\n", None),
        ("surveyId,predictions\n7,5\n7,5\n", "1 surveys repeated"),
        ("surveyId,predictions\n7,5 5\n", "predicted twice"),
        ("surveyId,predictions\n7,inf\n", "outside the vocabulary"),
    ],
)
def test_a_submission_of_odd_text(tmp_path, content, text):
    path = put(tmp_path, content, "s.csv")
    if text is None:
        check_submission(path, [7], [5])
        return
    with pytest.raises(SurveyDataError, match=text):
        check_submission(path, [7], [5])


def test_the_rows_that_others_are_made_of_are_sound(tmp_path):
    """Else every case above would be refused for another reason."""
    ROWS.to_csv(tmp_path / "pa.csv", index=False)
    assert len(read_glc24_pa(tmp_path / "pa.csv")) == 4
