"""Environment tables and the tabular modality: found, merged, cleaned, filled, standardised."""

import json
import logging
import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from tests.real_data import GLC24, needs_glc24
from tighnari_graph import SurveyDataError, SurveyTable, read_glc24_pa, read_glc24_test
from tighnari_graph.virtual import VirtualEurope, virtual_europe
from tighnari_models.data.environment import read_environment, survey_frame
from tighnari_models.data.table import TablePreprocessor

FEATURES = {
    "bioclimatic": 19,
    "elevation": 1,
    "human_footprint": 16,
    "landcover": 13,
    "soilgrids": 9,
}


@pytest.fixture(scope="module")
def world() -> VirtualEurope:
    return virtual_europe(num_surveys=307, num_test=101, num_po=11, num_species=53, seed=3)


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory) -> Path:
    return world.write(tmp_path_factory.mktemp("virtual"))


@pytest.fixture(scope="module")
def frames(folder) -> tuple[pd.DataFrame, pd.DataFrame]:
    train = read_glc24_pa(folder / "GLC24_PA_metadata_train.csv")
    test = read_glc24_test(folder / "GLC24_PA_metadata_test.csv")
    train_frame = survey_frame(train, read_environment(folder, "train").frame)
    return train_frame, survey_frame(test, read_environment(folder, "test").frame)


def put(folder: Path, name: str, **columns: object) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def surveys(ids: list[int], **columns: object) -> SurveyTable:
    rows = pd.DataFrame({"surveyId": ids, "lat": 43.0, "lon": 3.0, "year": 2020, **columns})
    return SurveyTable.from_long(rows)


# Finding and reading


def test_the_tables_of_the_virtual_europe_come_back_as_written(world, folder):
    for split in ("train", "test"):
        environment = read_environment(folder, split)
        assert list(environment.found) == list(FEATURES)
        assert environment.missing == ()
        assert environment.frame.shape[1] == sum(FEATURES.values())
        assert (environment.frame.dtypes == np.float64).all()
        for name, tables in world.environment.items():
            wanted = tables[split].set_index("surveyId").sort_index()
            np.testing.assert_array_equal(environment.frame[wanted.columns], wanted)
            assert environment.notes[f"surveys in {name}"] == len(wanted)


@pytest.mark.parametrize(
    "names",
    [
        ("GLC24-PA-train-human_footprint.csv", "GLC24-PA-train-bioclimatic.csv"),
        ("GLC24_PA_train_human-footprint.csv", "GLC24_PA_train_bioclimatic_average.csv"),
        ("PA-train-human-footprint.csv", "PA-train-bioclimatic-average.csv"),
        ("GLC25-PA-train-Human_Footprint.csv", "deep/er/GLC25-PA-train-bioclimatic.csv"),
    ],
)
def test_underscores_hyphens_and_releases_are_found_alike(tmp_path, names):
    put(tmp_path, names[0], surveyId=[1, 2], **{"HumanFootprint-Roads": [3.0, 4.0]})
    put(tmp_path, names[1], surveyId=[1, 2], Bio1=[5.0, 6.0])
    put(tmp_path, "GLC24-PA-train-landsat_time_series-red.csv", surveyId=[1], b=[1.0])
    put(tmp_path, "GLC24-PA-test-elevation.csv", surveyId=[1], Elevation=[1.0])
    put(tmp_path, "GLC24-PO-train-elevation.csv", surveyId=[1], Elevation=[1.0])
    environment = read_environment(tmp_path, "train")
    assert list(environment.found) == ["bioclimatic", "human_footprint"]
    assert environment.frame.columns.tolist() == ["Bio1", "HumanFootprint-Roads"]
    assert environment.missing == ("elevation", "landcover", "soilgrids")


def test_parquet_and_float_ids_are_read_and_row_numbers_left_out(tmp_path):
    rows = pd.DataFrame(
        {"Unnamed: 0": [0, 1], "surveyId": [9.0, 4.0], "Elevation": [1, 2], "lat": 5.0}
    )
    rows.to_parquet(tmp_path / "GLC24-PA-test-elevation.parquet")
    environment = read_environment(tmp_path, "test")
    assert environment.frame["Elevation"].to_dict() == {4: 2.0, 9: 1.0}
    assert environment.frame.index.dtype == np.int64
    assert environment.frame.columns.tolist() == ["Elevation"]
    assert environment.notes["columns of elevation left out ('Unnamed: 0', 'lat')"] == 2


def test_tables_of_different_surveys_are_joined_by_id(tmp_path):
    put(tmp_path, "GLC24-PA-train-elevation.csv", surveyId=["7", "3.0"], Elevation=[1, "inf"])
    put(tmp_path, "GLC24-PA-train-landcover.csv", surveyId=[5, 3], LandCover=["Forest", "Bog"])
    frame = read_environment(tmp_path, "train").frame
    assert frame.index.tolist() == [3, 5, 7]
    assert frame["Elevation"].tolist()[::2] == [math.inf, 1.0]
    assert frame["LandCover"].tolist()[:2] == ["Bog", "Forest"]
    assert frame.isna().to_numpy().tolist() == [[False, False], [True, False], [False, True]]


def test_monthly_climate_is_read_on_request_only(tmp_path):
    names = [
        f"Bio-{v}_{m:02}_{y}"
        for v in ("pr", "tas", "tasmin", "tasmax")
        for y in range(2000, 2019)
        for m in range(1, 13)
    ]
    values = dict(zip(names, np.arange(2.0 * 912).reshape(912, 2), strict=True))
    put(
        tmp_path,
        "EnvironmentalRasters/GLC24-PA-train-bioclimatic_monthly.csv",
        surveyId=[1, 2],
        **values,
    )
    put(
        tmp_path,
        "EnvironmentalRasters/GLC24-PA-train-elevation.csv",
        surveyId=[1, 2],
        Elevation=1.0,
    )
    without = read_environment(tmp_path, "train")
    assert without.frame.shape == (2, 1)
    assert "environment tables left unread" not in without.notes
    environment = read_environment(tmp_path, "train", monthly=True)
    assert environment.frame.shape == (2, 913)
    assert TablePreprocessor().fit(environment.frame).num_features == 913


def test_a_folder_without_tables_gives_an_empty_frame(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "tighnari_models"):
        environment = read_environment(tmp_path, "train")
    assert environment.frame.shape == (0, 0)
    assert "no table of bioclimatic, elevation" in caplog.text
    frame = survey_frame(surveys([3, 1]), environment.frame)
    assert frame.columns.tolist() == ["lat", "lon", "year"]


def test_unknown_tables_are_counted(tmp_path, caplog):
    put(tmp_path, "EnvironmentalValues/PA-train-snow.csv", surveyId=[1], scd=[1.0])
    assert read_environment(tmp_path, "train").notes == {"environment tables left unread": 1}
    assert "PA-train-snow.csv" in caplog.text


BROKEN = {
    "repeated": ({"surveyId": [1, 2, 1], "Elevation": 0.0}, r"2 of 3 rows .*repeats \(surveyId 1\)"),
    "no id column": ({"id": [1], "Elevation": [0.0]}, "no column surveyId among id, Elevation"),
    "no id": ({"surveyId": [1, None], "Elevation": 0.0}, "1 of 2 rows have no surveyId"),
    "text": ({"surveyId": [1, 8], "Elevation": [0.0, "high"]}, r"no number: 'high' \(surveyId 8\)"),
    "fraction": ({"surveyId": [1, 2.5], "Elevation": 0.0}, "not a whole number: 2.5"),
    "column of another": ({"surveyId": [1], "Bio1": [0.0]}, "column Bio1 is in .*bioclimatic.csv too"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_tables_are_named_with_what_is_wrong(tmp_path, case):
    columns, message = BROKEN[case]
    put(tmp_path, "GLC24-PA-train-bioclimatic.csv", surveyId=[1], Bio1=[1.0])
    put(tmp_path, "GLC24-PA-train-elevation.csv", **columns)
    with pytest.raises(SurveyDataError, match=f"GLC24-PA-train-elevation.csv: .*{message}"):
        read_environment(tmp_path, "train")


def test_wrong_folders_and_doubles_are_refused(tmp_path):
    with pytest.raises(ValueError, match="split must be 'train' or 'test', got 'val'"):
        read_environment(tmp_path, "val")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_environment(tmp_path / "nowhere", "train")
    first = put(tmp_path, "a/PA-train-elevation.csv", surveyId=[1], Elevation=[1.0])
    with pytest.raises(SurveyDataError, match="expected the folder"):
        read_environment(first, "train")
    put(tmp_path, "b/GLC24-PA-train-elevation.csv", surveyId=[1], Elevation=[1.0])
    with pytest.raises(SurveyDataError, match="found two tables of elevation: a/PA.*, b/GLC24"):
        read_environment(tmp_path, "train")


# One row per survey


def test_rows_follow_the_surveys_and_missing_ones_are_counted(caplog):
    table = surveys([7, 3, 5], areaInM2=[1.0, -np.inf, 4.0], region=["B", None, "A"], date="today")
    environment = pd.DataFrame({"Bio1": [30.0, 70.0, 90.0]}, index=[3, 7, 9])
    frame = survey_frame(table, environment)
    assert frame.columns.tolist() == ["lat", "lon", "year", "areaInM2", "region", "Bio1"]
    assert frame.index.tolist() == [7, 3, 5]
    assert frame["Bio1"].tolist()[:2] == [70.0, 30.0]
    assert np.isnan(frame["Bio1"].iloc[2])
    assert frame.attrs["notes"] == {"surveys without an environment row": 1}
    assert "1 of 3 surveys have no row in the environment tables (surveyId 5)" in caplog.text


def test_an_environment_that_cannot_be_joined_is_refused():
    twice = pd.DataFrame({"Bio1": [1.0, 2.0]}, index=[3, 3])
    with pytest.raises(SurveyDataError, match=r"environment: 2 of 2 rows .* \(surveyId 3\)"):
        survey_frame(surveys([3]), twice)
    with pytest.raises(SurveyDataError, match="columns of the survey table: lat"):
        survey_frame(surveys([3]), pd.DataFrame({"lat": [1.0]}, index=[3]))


# Cleaning, filling, standardising


def by_hand(train: list[float | None], rows: list[float | None]) -> list[float]:
    """Mean in the gaps, then the standard score by the population's standard deviation."""
    known = [v for v in train if v is not None]
    mean = sum(known) / len(known)
    filled = [mean if v is None else v for v in train]
    center = sum(filled) / len(filled)
    spread = math.sqrt(sum((v - center) ** 2 for v in filled) / len(filled))
    return [((mean if v is None else v) - center) / spread for v in rows]


def test_every_step_agrees_with_the_calculation_by_hand():
    inf, nan = math.inf, math.nan
    train = pd.DataFrame(
        {
            "year": [2017, 2018, 2021, 2021, 2019],
            "areaInM2": [100.0, -inf, 0.0, nan, 4.0],
            "geoUncertaintyInM": [0.0, 7.0, -3.0, 3.4e38, inf],
            "HumanFootprint-Roads": [-1.0, 3.4e38, 40.0, inf, 256.0],
            "Soilgrid-clay": [-32768.0, 200.0, nan, 310.0, 0.0],
            "region": ["B", "A", None, "B", "B"],
            "LandCover": [5.0, 11.0, inf, 5.0, nan],
        },
        index=pd.Index([11, 12, 13, 14, 15], name="surveyId"),
    )
    table = TablePreprocessor().fit(train)
    assert table.feature_names == [
        "year", "HumanFootprint-Roads", "Soilgrid-clay", "areaInM2", "geoUncertaintyInM",
        "region=A", "region=B", "LandCover=11", "LandCover=5",
    ]  # fmt: skip
    assert table.notes == {
        "missing areaInM2 (training mean)": 3,
        "outliers of areaInM2 (made missing)": 2,
        "missing geoUncertaintyInM (training mean)": 3,
        "outliers of geoUncertaintyInM (made missing)": 3,
        "HumanFootprint-Roads below 0 (made 1)": 1,
        "HumanFootprint-Roads above 255 (made 255)": 2,
        "outliers of HumanFootprint-Roads (made missing)": 1,
        "missing HumanFootprint-Roads (training mean)": 1,
        "outliers of Soilgrid-clay (made missing)": 1,
        "missing Soilgrid-clay (training mean)": 2,
        "missing region (all zeros)": 1,
        "outliers of LandCover (made missing)": 1,
        "missing LandCover (all zeros)": 2,
    }
    log = math.log
    columns = [
        [2017, 2018, 2021, 2021, 2019],
        [1.0, 255.0, 40.0, None, 255.0],
        [None, 200.0, None, 310.0, 0.0],
        [log(101), None, None, None, log(5)],
        [0.0, log(8), None, None, None],
    ]
    wanted = np.array([by_hand(column, column) for column in columns]).T
    features = table.transform(train)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[:, :5], wanted, rtol=1e-6, atol=1e-7)
    assert features[:, 5:7].tolist() == [[0, 1], [1, 0], [0, 0], [0, 1], [0, 1]]
    assert features[:, 7:].tolist() == [[0, 1], [1, 0], [0, 0], [0, 1], [0, 0]]
    # A row of another set is treated by the training's numbers.
    row = train.iloc[[0]].assign(**{"Soilgrid-clay": -1.0, "areaInM2": 1e3, "year": 2030})
    got = table.transform(row)[0, [0, 2, 3]]
    wanted = [by_hand(columns[i], [v])[0] for i, v in ((0, 2030), (2, None), (3, log(1001)))]
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-7)


def test_unknown_categories_are_zeros_and_counted(caplog):
    train = pd.DataFrame({"region": ["A", "B"], "LandCover-1": [3, 9]})
    table = TablePreprocessor().fit(train)
    rows = pd.DataFrame({"region": ["C", "A", None, ""], "LandCover-1": [9.0, 3.5, 4.0, np.nan]})
    with caplog.at_level("INFO", logger="tighnari_models"):
        features = table.transform(rows)
    assert table.feature_names == ["region=A", "region=B", "LandCover-1=3", "LandCover-1=9"]
    assert features.tolist() == [[0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert table.notes == {
        "missing region (all zeros)": 2,
        "unknown region (all zeros)": 1,
        "missing LandCover-1 (all zeros)": 1,
        "unknown LandCover-1 (all zeros)": 2,
    }
    assert "1 × unknown region" in caplog.text


def test_categories_may_be_numbers_text_or_pandas_categories():
    train = pd.DataFrame({"LandCover": ["7", "12"], "country": pd.Categorical(["F", "D"])})
    table = TablePreprocessor().fit(train)
    assert table.feature_names == ["LandCover=12", "LandCover=7", "country=D", "country=F"]
    rows = pd.DataFrame({"LandCover": [7.0, 12.0], "country": ["D", "F"]})
    assert table.transform(rows).tolist() == [[0, 1, 1, 0], [1, 0, 0, 1]]


def test_percentages_among_land_cover_are_numbers_and_year_may_be_one_hot():
    frame = pd.DataFrame({"LandCover-6": np.arange(60.0), "LandCover-1": 2.0, "LandCover-2": 0.5})
    frame["year"] = 2020 + np.arange(60) % 2
    table = TablePreprocessor(categorical=("landcover*", "year")).fit(frame)
    assert table.feature_names == [
        "LandCover-6",
        "LandCover-2",
        "LandCover-1=2",
        "year=2020",
        "year=2021",
    ]
    assert table.notes["category columns taken as numbers"] == 2


def test_rules_for_outliers_are_named_per_column():
    values = np.append(np.arange(9.0), [100.0, np.inf])
    frame = pd.DataFrame({"Bio1": values, "Bio2": values, "Elevation": values})
    table = TablePreprocessor({"Bio1": "iqr", "Elevation": "none"}).fit(frame)
    outliers = {name: note for name, note in table.notes.items() if "outliers" in name}
    assert outliers == {
        "outliers of Bio1 (made missing)": 2,
        "outliers of Bio2 (made missing)": 1,
        "outliers of Elevation (made missing)": 1,
    }
    far = pd.DataFrame({"Bio1": [99.0], "Bio2": [7e4], "Elevation": [1e9]})
    assert table.transform(far)[0, :2].tolist() == pytest.approx([0, 0], abs=1e-7)
    assert table.transform(far)[0, 2] > 1e6


def test_the_quartile_rule_works_on_the_logarithm_and_spares_flat_columns():
    frame = pd.DataFrame(
        {"areaInM2": [1.0, 10.0, 100.0, 1000.0, 1e4, 1e12], "Bio1": [5.0] * 5 + [6.0]}
    )
    table = TablePreprocessor("iqr").fit(frame)
    assert {n for n in table.notes if "outliers" in n} == {"outliers of areaInM2 (made missing)"}
    assert table.notes["outliers of areaInM2 (made missing)"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"outliers": "drop"}, "must be one of .*, got 'drop'"),
        ({"outliers": {"Bio*": "zscore"}}, r"outliers\['Bio\*'\] .* got 'zscore'"),
        ({"max_codes": 0}, "max_codes 0"),
        ({"iqr_reach": math.nan}, "iqr_reach nan"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        TablePreprocessor(**arguments)


def test_bad_frames_are_named():
    good = pd.DataFrame(
        {"Bio1": [1.0, 2.0], "Bio2": [1.0, 2.0], "region": ["A", "B"]}, index=[41, 42]
    )
    table = TablePreprocessor()
    with pytest.raises(NotFittedError, match="fit it on training rows first"):
        table.transform(good)
    with pytest.raises(NotFittedError):
        table.to_json()
    with pytest.raises(SurveyDataError, match="no rows to fit on"):
        table.fit(good.iloc[:0])
    with pytest.raises(SurveyDataError, match="no column has a usable value in 2 training rows"):
        table.fit(good[["Bio1"]] * np.inf)
    with pytest.raises(SurveyDataError, match=r"Bio1 holds text \('a', …\), expected numbers"):
        table.fit(good.assign(Bio1=["a", "b"]))
    with pytest.raises(SurveyDataError, match="occur twice: Bio1"):
        table.fit(good[["Bio1", "Bio1"]])
    with pytest.raises(ValueError, match=r"'Soil\*' matches none of Bio1, Bio2, region"):
        TablePreprocessor({"Soil*": "iqr"}).fit(good)
    table.fit(good)
    with pytest.raises(SurveyDataError, match="2 columns of training are missing: Bio2, region"):
        table.transform(good[["Bio1"]])
    huge = TablePreprocessor("none").fit(good)
    with pytest.raises(SurveyDataError, match=r"1 of 2 rows .* Bio2 too large .* \(surveyId 42\)"):
        huge.transform(good.assign(Bio2=[1.0, 1e300]))


def test_columns_of_no_use_are_left_out_and_counted(caplog):
    train = pd.DataFrame(
        {"Bio1": [1.0, 2.0], "Bio2": [np.nan, np.inf], "region": [None, None], "Bio3": 4.0}
    )
    table = TablePreprocessor().fit(train)
    assert table.notes["columns without a usable training value (left out)"] == 2
    assert "left out: Bio2, region" in caplog.text
    rows = pd.DataFrame({"snow": [1.0], "Bio3": [9.0], "Bio1": [np.nan]})
    assert table.transform(rows).tolist() == [[0.0, 5.0]]
    assert table.feature_names == ["Bio1", "Bio3"]
    assert table.notes["columns without a part in training (left out)"] == 1


def test_no_rows_give_no_features(frames):
    table = TablePreprocessor().fit(frames[0])
    assert table.transform(frames[1].iloc[:0]).shape == (0, table.num_features)


# The virtual Europe, whole


def test_training_statistics_never_depend_on_test_rows(frames):
    train, test = frames
    everything = pd.concat([train, test])
    fitted = TablePreprocessor("iqr").fit(everything.iloc[: len(train)])
    before = fitted.to_json()
    features = fitted.transform(train)
    odd = test.select_dtypes("number") * 1e6 + 17
    everything.iloc[len(train) :, everything.columns.get_indexer(odd.columns)] = odd.to_numpy()
    fitted.transform(everything.iloc[len(train) :])
    again = TablePreprocessor("iqr").fit(everything.iloc[: len(train)])
    assert fitted.to_json() == again.to_json() == before
    np.testing.assert_array_equal(fitted.transform(train), features)
    np.testing.assert_array_equal(again.transform(everything)[: len(train)], features)


@pytest.mark.parametrize("outliers", ["none", "iqr", {"Bio*": "iqr", "HumanFootprint*": "none"}])
def test_a_saved_preprocessor_gives_bit_equal_features(frames, outliers, tmp_path):
    table = TablePreprocessor(outliers).fit(frames[0])
    path = tmp_path / "table.json"
    path.write_text(json.dumps(table.to_json(), allow_nan=False, sort_keys=True))
    same = TablePreprocessor.from_json(json.loads(path.read_text()))
    assert same.feature_names == table.feature_names
    assert same.num_features == table.num_features
    for frame in frames:
        np.testing.assert_array_equal(same.transform(frame), table.transform(frame))
        assert same.notes == table.notes
    assert same.to_json() == table.to_json()


def test_other_json_is_refused(frames):
    state = TablePreprocessor().fit(frames[0]).to_json()
    for broken in (
        {},
        {**state, "limits": 3},
        {**state, "learned": {}},
        {**state, "options": {"x": 1}},
    ):
        with pytest.raises(SurveyDataError, match="no saved TablePreprocessor"):
            TablePreprocessor.from_json(broken)
    with pytest.raises(SurveyDataError, match="fill has shape"):
        TablePreprocessor.from_json({**state, "limits": state["limits"][1:]})


def test_features_of_the_virtual_europe_are_standardised_and_whole(frames):
    train, test = frames
    table = TablePreprocessor().fit(train)
    features = table.transform(train).astype(np.float64)
    one_hot = np.array(["=" in name for name in table.feature_names])
    assert np.isfinite(table.transform(test)).all()
    np.testing.assert_allclose(features[:, ~one_hot].mean(axis=0), 0, atol=1e-6)
    spread = features[:, ~one_hot].std(axis=0)
    np.testing.assert_allclose(spread[spread > 0], 1, rtol=1e-5)
    assert set(np.unique(features[:, one_hot])) == {0, 1}
    # A row's features do not depend on the rows beside it.
    np.testing.assert_array_equal(
        table.transform(train.iloc[[5]])[0], features[5].astype(np.float32)
    )
    shuffled = test.sample(frac=1, random_state=0)[test.columns[::-1]]
    order = test.index.get_indexer(shuffled.index)
    np.testing.assert_array_equal(table.transform(shuffled), table.transform(test)[order])


def test_the_notes_count_the_gaps_that_were_written(world, frames):
    table = TablePreprocessor().fit(frames[0])
    written = world.environment["soilgrids"]["train"].drop(columns="surveyId")
    for name, column in written.items():
        outliers = int((np.isinf(column) | (column < 0)).sum())
        assert table.notes.get(f"outliers of {name} (made missing)", 0) == outliers
        missing = outliers + int(column.isna().sum())
        assert table.notes.get(f"missing {name} (training mean)", 0) == missing


@needs_glc24
def test_the_real_surveys_give_a_table_without_environment():
    train = survey_frame(read_glc24_pa(GLC24 / "GLC24_PA_metadata_train.csv"), None)
    test = survey_frame(read_glc24_test(GLC24 / "GLC24_PA_metadata_test.csv"), None)
    table = TablePreprocessor().fit(train)
    assert table.feature_names[:5] == ["lat", "lon", "year", "areaInM2", "geoUncertaintyInM"]
    features = table.transform(test)
    assert features.shape == (832, table.num_features)
    assert np.isfinite(features).all()


@pytest.mark.alone
def test_all_real_surveys_take_a_few_seconds(frames):
    rows = np.random.default_rng(0).integers(0, len(frames[0]), 88_987)
    frame = frames[0].iloc[rows].reset_index(drop=True)
    start = time.perf_counter()
    table = TablePreprocessor().fit(frame)
    features = table.transform(frame)
    assert time.perf_counter() - start < 15
    assert features.shape == (88_987, table.num_features)
