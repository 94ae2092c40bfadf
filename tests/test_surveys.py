"""`SurveyTable.from_long`: what is refused, and what is said of what is kept."""

import numpy as np
import pandas as pd
import pytest

from tighnari_graph import SurveyDataError, SurveyTable


def rows(**changes: object) -> pd.DataFrame:
    """Three surveys, five rows; rows of survey 41 are not adjacent."""
    values: dict[str, object] = {
        "surveyId": [41, 97, 41, 1203, 41],
        "lat": [45.0, 46.0, 45.0, 47.0, 45.0],
        "lon": [7.0, 8.0, 7.0, 9.0, 7.0],
        "year": [2017, 2018, 2017, 2019, 2017],
        "region": ["ALPINE", "ALPINE", "ALPINE", "BOREAL", "ALPINE"],
        "speciesId": [5.0, 9.0, 2.0, 5.0, 5.0],
        "areaInM2": [100.0, np.nan, 100.0, -np.inf, 100.0],
    }
    return pd.DataFrame({**values, **changes})


BAD = {
    "latitude too large": ({"lat": [95.0, 46.0, 95.0, 47.0, 95.0]}, r"3 of 5 rows have latitude outside \[-90, 90\] \(surveyId 41\)"),
    "latitude missing": ({"lat": [45.0, np.nan, 45.0, 47.0, 45.0]}, r"1 of 5 rows have no latitude \(surveyId 97\)"),
    "latitude infinite": ({"lat": [45.0, np.inf, 45.0, 47.0, 45.0]}, r"1 of 5 rows have latitude outside"),
    "longitude too small": ({"lon": [7.0, 8.0, 7.0, -180.5, 7.0]}, r"1 of 5 rows have longitude outside \[-180, 180\] \(surveyId 1203\)"),
    "latitude as text": ({"lat": ["45,0", "46,0", "45,0", "47,0", "45,0"]}, r"5 of 5 rows have a lat that is no number: '45,0'"),
    "two positions": ({"lon": [7.0, 8.0, 7.0, 9.0, 7.5]}, r"1 of 5 rows have a second position \(surveyId 41\)"),
    "two years": ({"year": [2017, 2018, 2018, 2019, 2017]}, r"1 of 5 rows have a second year \(surveyId 41\)"),
    "two regions": ({"region": ["ALPINE", "ALPINE", None, "BOREAL", "ALPINE"]}, r"1 of 5 rows have a second region \(surveyId 41\)"),
    "year as text": ({"year": ["2017", "MMXVIII", "2017", "2019", "2017"]}, r"1 of 5 rows have a year that is no number: 'MMXVIII' \(surveyId 97\)"),
    "year as digits in text": ({"year": ["2017", "2018", "2017", "2019", "2017"]}, r"column year is .*, not numbers \(5 of 5 rows, first '2017'\)"),
    "year missing": ({"year": [2017, None, 2017, 2019, 2017]}, r"1 of 5 rows have no year \(surveyId 97\)"),
    "year a fraction": ({"year": [2017.0, 2018.5, 2017.0, 2019.0, 2017.0]}, r"year that is not a whole number: 2018.5"),
    "survey id missing": ({"surveyId": [41, None, 41, 1203, 41]}, r"1 of 5 rows have no surveyId"),
    "survey id as text": ({"surveyId": ["a", "b", "a", "c", "a"]}, r"5 of 5 rows have a surveyId that is no number: 'a'"),
    "species a fraction": ({"speciesId": [5.0, 9.5, 2.0, 5.0, 5.0]}, r"1 of 5 rows have a speciesId that is not a whole number: 9.5 \(surveyId 97\)"),
    "species negative": ({"speciesId": [5, -9, 2, 5, 5]}, r"1 of 5 rows have a speciesId below 0: -9 \(surveyId 97\)"),
    "species infinite": ({"speciesId": [5.0, np.inf, 2.0, 5.0, 5.0]}, r"speciesId that is not a whole number: inf"),
    "species partly text": ({"speciesId": [5, "Abies alba", 2, 5, 5]}, r"1 of 5 rows have a speciesId that is no number: 'Abies alba'"),
    "species as digits in text": ({"speciesId": ["5", "9", "2", "5", "5"]}, r"5 of 5 rows have a speciesId that is a number stored as text"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_rows_are_refused_by_column_count_and_survey(case):
    changes, message = BAD[case]
    with pytest.raises(SurveyDataError, match=message):
        SurveyTable.from_long(rows(**changes))


def test_missing_columns_are_named_beside_those_present():
    with pytest.raises(SurveyDataError, match=r"no column lat, year among surveyId, lon"):
        SurveyTable.from_long(rows()[["surveyId", "lon"]])


def test_a_column_that_occurs_twice_is_refused():
    frame = pd.concat([rows(), rows()[["lat"]]], axis=1)
    with pytest.raises(SurveyDataError, match="column names occur twice: lat"):
        SurveyTable.from_long(frame)


def test_renaming_an_absent_column_is_refused():
    with pytest.raises(SurveyDataError, match="columns= renames decimalLatitude, not among"):
        SurveyTable.from_long(rows(), columns={"decimalLatitude": "lat"})


def test_only_frames_are_taken():
    with pytest.raises(TypeError):
        SurveyTable.from_long([1, 2])  # type: ignore[arg-type]


def test_species_outside_the_vocabulary_are_counted_and_named():
    with pytest.raises(ValueError, match=r"2 of 5 rows have one of 2 species outside .* \(2, 9\)"):
        SurveyTable.from_long(rows(), species_ids=[5, 7])


def test_a_vocabulary_with_a_species_twice_is_refused():
    with pytest.raises(ValueError, match="species_ids repeats 1 species, first 5"):
        SurveyTable.from_long(rows(), species_ids=[5, 2, 5, 9])


def test_names_and_numbers_of_species_do_not_mix():
    named = rows(speciesId=["Abies alba", "Acer", "Acer", "Abies alba", "Abies alba"])
    with pytest.raises(ValueError, match="speciesId is text .* species_ids are numbers"):
        SurveyTable.from_long(named, species_ids=[1, 2])
    with pytest.raises(ValueError, match="speciesId is numbers, species_ids are names"):
        SurveyTable.from_long(rows(), species_ids=["Abies alba"])
    table = SurveyTable.from_long(named, species_ids=["Acer", "Betula", "Abies alba"])
    assert table.species_names.tolist() == ["Acer", "Betula", "Abies alba"]
    assert table.labels.toarray().tolist() == [[1, 0, 1], [1, 0, 0], [0, 0, 1]]
    with pytest.raises(ValueError, match=r"one of 1 species outside species_ids \(Abies alba\)"):
        SurveyTable.from_long(named, species_ids=["Acer"])


def test_labels_count_distinct_survey_species_rows():
    frame = rows()
    table = SurveyTable.from_long(frame)
    assert table.labels.nnz == len(frame[["surveyId", "speciesId"]].drop_duplicates()) == 4
    assert table.notes["repeated rows"] == 1


def test_infinite_and_missing_areas_are_missing_and_counted():
    table = SurveyTable.from_long(rows())
    assert table.meta["areaInM2"].isna().tolist() == [False, True, True]
    assert table.notes["surveys with infinite areaInM2 (made missing)"] == 1
    assert table.notes["surveys with missing areaInM2"] == 2


def test_a_column_that_varies_within_a_survey_keeps_its_first_row_and_is_counted():
    table = SurveyTable.from_long(rows(day=[1, 1, 2, 1, 1]))
    assert table.meta["day"].tolist() == [1, 1, 1]
    assert table.notes["surveys whose day varies (first row kept)"] == 1


@pytest.mark.parametrize("dtype", ["category", "string", object])
def test_text_comes_in_any_dtype(dtype):
    frame = rows(speciesId=["Abies", "Acer", None, "Abies", "Abies"])
    frame["region"], frame["speciesId"] = (
        frame["region"].astype(dtype),
        frame["speciesId"].astype(dtype),
    )
    table = SurveyTable.from_long(frame)
    assert table.region.tolist() == ["ALPINE", "ALPINE", "BOREAL"]
    assert table.species_names.tolist() == ["Abies", "Acer"]
    assert table.notes["rows without a species"] == 1


@pytest.mark.parametrize("dtype", ["int32", "uint64", "Int64", "float32"])
def test_numbers_come_in_any_dtype(dtype):
    frame = rows()
    frame[["surveyId", "year", "speciesId"]] = frame[["surveyId", "year", "speciesId"]].astype(
        dtype
    )
    table = SurveyTable.from_long(frame)
    assert table.survey_id.dtype == table.year.dtype == table.species_ids.dtype == np.int64
    assert table.survey_id.tolist() == [41, 97, 1203]


def test_subset_keeps_rows_of_every_part_together():
    table = SurveyTable.from_long(rows())
    part = table.subset(np.array([2, 0]))
    assert part.survey_id.tolist() == [1203, 41]
    assert part.region.tolist() == ["BOREAL", "ALPINE"]
    assert part.labels.toarray().tolist() == [[0, 1, 0], [1, 1, 0]]
    assert part.meta["areaInM2"].isna().tolist() == [True, False]
    assert table.subset(np.array([True, False, True])).survey_id.tolist() == [41, 1203]


def test_an_unknown_column_is_named_beside_those_present():
    with pytest.raises(SurveyDataError, match="no column 'habitat'; it has year, region, areaInM2"):
        SurveyTable.from_long(rows()).column("habitat")


def test_a_table_without_species_has_no_labels_to_give():
    with pytest.raises(SurveyDataError, match="no labels"):
        SurveyTable.from_long(rows().drop(columns="speciesId")).known_labels()
