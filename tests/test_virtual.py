"""Virtual Europe: exact sizes, layout and gaps of the real files, patterns a model can learn."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tighnari_graph.virtual import VirtualEurope, virtual_europe
from tighnari_graph.virtual_environment import bioclimatic_variables
from tighnari_graph.virtual_fields import (
    FIELD_UNITS,
    VirtualFields,
    WaveField,
    hold_out_blocks,
    unit_vectors,
)

PLACE_COLUMNS = ["lon", "lat", "year", "geoUncertaintyInM", "areaInM2", "region", "country"]
PA_TEST_COLUMNS = [*PLACE_COLUMNS, "surveyId"]
PA_TRAIN_COLUMNS = [*PLACE_COLUMNS, "speciesId", "surveyId"]
PO_COLUMNS = ["publisher", "year", "month", "day", "lat", "lon", "geoUncertaintyInM", "taxonRank"]
PO_COLUMNS += ["date", "dayOfYear", "speciesId", "surveyId"]
RASTERS = "EnvironmentalRasters/EnvironmentalRasters"
LAYOUT = {
    "GLC24_PA_metadata_train.csv",
    "GLC24_PA_metadata_test.csv",
    "GLC24_P0_metadata_train.csv",
    "GLC24_SAMPLE_SUBMISSION.csv",
    f"{RASTERS}/Climate/Average 1981-2010/GLC24-PA-train-bioclimatic.csv",
    f"{RASTERS}/Climate/Average 1981-2010/GLC24-PA-test-bioclimatic.csv",
    f"{RASTERS}/Elevation/GLC24-PA-train-elevation.csv",
    f"{RASTERS}/Elevation/GLC24-PA-test-elevation.csv",
    f"{RASTERS}/Human Footprint/GLC24-PA-train-human_footprint.csv",
    f"{RASTERS}/Human Footprint/GLC24-PA-test-human_footprint.csv",
    f"{RASTERS}/LandCover/GLC24-PA-train-landcover.csv",
    f"{RASTERS}/LandCover/GLC24-PA-test-landcover.csv",
    f"{RASTERS}/SoilGrids/GLC24-PA-train-soilgrids.csv",
    f"{RASTERS}/SoilGrids/GLC24-PA-test-soilgrids.csv",
    "virtual_truth/GLC24_PA_labels_test.csv",
    "virtual_truth/README.txt",
}
TINY = {"num_surveys": 61, "num_test": 23, "num_po": 37, "num_species": 53}


@pytest.fixture(scope="module")
def world() -> VirtualEurope:
    return virtual_europe(num_surveys=701, num_test=149, num_po=503, num_species=307, seed=3)


def surveys_of(world: VirtualEurope) -> pd.DataFrame:
    return world.pa_train.drop_duplicates("surveyId").reset_index(drop=True)


def label_matrix(long: pd.DataFrame, survey_ids: np.ndarray, num_species: int) -> np.ndarray:
    row = pd.Series(np.arange(len(survey_ids)), survey_ids)[long["surveyId"]].to_numpy()
    matrix = np.zeros((len(survey_ids), num_species), dtype=bool)
    matrix[row, long["speciesId"].astype(int)] = True
    return matrix


def mean_f1(predicted: np.ndarray, truth: np.ndarray) -> float:
    return float((2 * (predicted & truth).sum(1) / (predicted.sum(1) + truth.sum(1))).mean())


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_one_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert virtual_europe(**TINY, seed=seed).write(tmp_path / name) == tmp_path / name
    first, again, other = (digests(tmp_path / name) for name in "abc")
    assert first == again
    assert all(other[name] != digest for name, digest in first.items())


def test_written_tree_is_the_layout_of_the_real_data(tmp_path: Path) -> None:
    world = virtual_europe(**TINY)
    for _ in range(2):  # writing again replaces, and leaves no temporary file
        world.write(tmp_path)
        assert set(digests(tmp_path)) == LAYOUT
    train = pd.read_csv(tmp_path / "GLC24_PA_metadata_train.csv")
    pd.testing.assert_frame_equal(train, world.pa_train, check_dtype=False)
    sample = pd.read_csv(tmp_path / "GLC24_SAMPLE_SUBMISSION.csv")
    assert list(sample) == ["surveyId", "predictions"]
    assert set(sample["predictions"]) == {" ".join(map(str, range(25)))}
    assert sample["surveyId"].tolist() == world.pa_test["surveyId"].tolist()
    readme = (tmp_path / "virtual_truth/README.txt").read_text()
    assert "Synthetic" in readme
    assert "seed 0" in readme


@pytest.mark.parametrize(
    ("surveys", "test", "po", "species"), [(1, 1, 1, 10), (7, 3, 0, 11), (13, 0, 5, 40)]
)
def test_counts_are_met_exactly_at_the_smallest_sizes(
    surveys: int, test: int, po: int, species: int, tmp_path: Path
) -> None:
    world = virtual_europe(surveys, test, po, species)
    world.write(tmp_path)
    assert world.pa_train["surveyId"].nunique() == surveys
    assert len(world.pa_test) == test
    assert world.test_labels["surveyId"].nunique() == test
    assert world.po["surveyId"].nunique() == po


def test_few_species_and_many_surveys_raise_no_numerical_warning() -> None:
    world = virtual_europe(num_surveys=997, num_test=11, num_po=101, num_species=10, seed=8)
    assert world.pa_train.groupby("surveyId").size().between(1, 9).all()


def test_counts_columns_and_types(world: VirtualEurope) -> None:
    assert list(world.pa_train) == PA_TRAIN_COLUMNS
    assert list(world.pa_test) == PA_TEST_COLUMNS
    assert list(world.po) == PO_COLUMNS
    assert list(world.test_labels) == ["surveyId", "speciesId"]
    assert world.pa_train["speciesId"].dtype == np.float64
    assert world.po["speciesId"].dtype == np.int64
    assert world.pa_train["surveyId"].nunique() == 701
    assert world.pa_test["surveyId"].is_unique
    assert len(world.pa_test) == 149
    assert world.po["surveyId"].nunique() == 503
    assert set(world.test_labels["surveyId"]) == set(world.pa_test["surveyId"])
    assert not world.pa_train.duplicated(["surveyId", "speciesId"]).any()
    assert not world.pa_train.drop_duplicates(PA_TEST_COLUMNS).duplicated("surveyId").any()
    ids = [set(frame["surveyId"]) for frame in (world.pa_train, world.pa_test, world.po)]
    assert len(set.union(*ids)) == sum(map(len, ids))
    for long in (world.pa_train, world.po, world.test_labels):
        assert long["speciesId"].between(0, 306).all()


def test_environment_tables_match_the_surveys(world: VirtualEurope) -> None:
    widths = {
        "bioclimatic": 19,
        "elevation": 1,
        "human_footprint": 16,
        "landcover": 13,
        "soilgrids": 9,
    }
    assert {name: splits["train"].shape[1] - 1 for name, splits in world.environment.items()} == (
        widths
    )
    for splits in world.environment.values():
        assert list(splits["train"]) == list(splits["test"])
        assert splits["train"].columns[0] == "surveyId"
        assert set(splits["train"]["surveyId"]) == set(world.pa_train["surveyId"])
        assert set(splits["test"]["surveyId"]) == set(world.pa_test["surveyId"])
    bio = world.environment["bioclimatic"]["train"]
    assert list(bio)[1:] == [f"Bio{i}" for i in range(1, 20)]
    usable = bio[np.isfinite(bio).all(axis=1)]
    assert (usable["Bio5"] >= usable["Bio10"]).all()
    assert (usable["Bio10"] >= usable["Bio11"]).all()
    assert (usable["Bio16"] >= usable["Bio17"]).all()


def test_traps_of_the_real_files_are_there(world: VirtualEurope) -> None:
    surveys = surveys_of(world)
    for frame in (surveys, world.pa_test):
        assert frame["areaInM2"].isna().any()
        assert np.isneginf(frame["areaInM2"]).any()
        assert frame["geoUncertaintyInM"].isna().any()
        assert frame["region"].notna().all()
    changes = (np.diff(world.pa_train["surveyId"]) != 0).sum() + 1
    assert changes > 10 * len(surveys)  # rows of one survey are scattered
    assert set(world.po["speciesId"]) - set(world.pa_train["speciesId"].astype(int))
    assert (world.pa_train.groupby("surveyId").size() == 1).sum() >= 2
    for name, splits in world.environment.items():
        for table in splits.values():
            values = table.drop(columns="surveyId").to_numpy()
            assert np.isnan(values).any(), name
            assert np.isinf(values).any(), name
            assert np.isfinite(values).mean() > 0.9, name
    footprint = world.environment["human_footprint"]["train"].drop(columns="surveyId").to_numpy()
    finite = footprint[np.isfinite(footprint)]
    assert (finite == -1).any()
    assert (finite == 60000).any()
    assert (finite > 1e38).any()


def test_presence_only_dates_agree_with_their_parts(world: VirtualEurope) -> None:
    date = pd.to_datetime(world.po["date"])
    assert (date.dt.year == world.po["year"]).all()
    assert (date.dt.month == world.po["month"]).all()
    assert (date.dt.day == world.po["day"]).all()
    assert (date.dt.day_of_year == world.po["dayOfYear"]).all()


def test_blocks_are_held_out_whole_and_observers_walk_in_them(world: VirtualEurope) -> None:
    train, test, po = (
        set(hold_out_blocks(frame["lat"].to_numpy(), frame["lon"].to_numpy()))
        for frame in (world.pa_train, world.pa_test, world.po)
    )
    assert len(test) > 5
    assert not train & test
    assert po & test
    assert po & train


def test_blocks_are_ten_kilometres_wide_and_high() -> None:
    # From 55° N 10° E, 200 m apart over 100 km: 10 or 11 blocks each way, whatever the start.
    lat, lon = np.full(501, 55.0), np.full(501, 10.0)
    step = np.degrees(np.arange(501) * 0.2 / 6371.0088)
    assert np.unique(hold_out_blocks(lat + step, lon)).size in (10, 11, 12)
    eastwards = hold_out_blocks(lat, lon + step / np.cos(np.radians(55)))
    assert np.unique(eastwards).size in (10, 11)
    assert np.unique(eastwards, return_counts=True)[1].max() in (50, 51)


def test_surveys_are_clustered_with_repeats_isolates_and_years(world: VirtualEurope) -> None:
    surveys = surveys_of(world)
    points = unit_vectors(surveys["lat"].to_numpy(), surveys["lon"].to_numpy())
    near = 6371.0088 * np.arccos(np.clip(points @ points.T, -1, 1)) < 10
    year, region = surveys["year"].to_numpy(), surveys["region"].to_numpy()
    alike = (year[:, None] == year) & (region[:, None] == region)
    degree = (near & alike).sum(axis=1) - 1
    assert 4 < degree.mean() < 40
    assert (degree == 0).any()
    assert (near & ~alike).any()
    assert surveys.duplicated(["lat", "lon"]).any()
    assert set(year) == set(range(2017, 2022))
    assert surveys["region"].nunique() >= 4


@pytest.mark.parametrize("name", FIELD_UNITS)
def test_fields_are_smooth_finite_and_the_same_in_any_shape(name: str) -> None:
    fields = VirtualFields(seed=2)
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(37, 68, 200), rng.uniform(-9, 29, 200)
    here = fields.values(lat, lon, (name,))[name]
    metre = 1 / 111_195
    moved = fields.values(lat + metre, lon + metre, (name,))[name]
    assert np.isfinite(here).all()
    assert here.std() > 0
    assert np.abs(moved - here).max() < 0.02 * here.std()
    folded = fields.values(lat.reshape(20, 10), lon.reshape(20, 10), (name,))[name]
    np.testing.assert_allclose(folded.ravel(), here, rtol=1e-12)


def test_wave_field_has_the_asked_length_and_no_seam() -> None:
    # Many independent fields at one pair of places: the correlation at one length is exp(−1/2).
    length_km = 50.0
    one_length = np.degrees(length_km / 6371.0088)
    lat, lon = np.array([50.0, 50.0 + one_length]), np.array([5.0, 5.0])
    values = np.array(
        [WaveField(np.random.default_rng(i), length_km, 16)(lat, lon) for i in range(2000)]
    )
    assert abs(values.mean()) < 0.1
    assert abs(values.std() - 1) < 0.1
    assert abs(np.corrcoef(values.T)[0, 1] - np.exp(-0.5)) < 0.06
    field = WaveField(np.random.default_rng(0), length_km)
    west, east = field(np.array([50.0, 50.0]), np.array([-180.0, 180.0]))
    assert west == pytest.approx(east, abs=1e-8)


def test_bioclimatic_variables_of_a_year_worked_by_hand() -> None:
    # Ten degrees, but 16 in July; rain of 10 mm a month, but 40 in January.
    tas, pr = np.full((1, 12), 10.0), np.full((1, 12), 10.0)
    tas[0, 6], pr[0, 0] = 16, 40
    bio = bioclimatic_variables({"tas": tas, "tasmin": tas - 4, "tasmax": tas + 4, "pr": pr})[0]
    assert bio.shape == (19,)
    expected = {1: 2836.5, 2: 80, 5: 2931.5, 6: 2791.5, 7: 140, 10: 2851.5, 12: 1500, 13: 400}
    expected |= {14: 100, 16: 600, 17: 300, 18: 300}
    for number, value in expected.items():
        assert bio[number - 1] == pytest.approx(value, abs=0.51), number


def test_bigger_plots_list_more_species() -> None:
    world = virtual_europe(num_surveys=900, num_test=0, num_po=0, num_species=200, seed=1)
    surveys = surveys_of(world).set_index("surveyId")
    surveys["richness"] = world.pa_train.groupby("surveyId").size()
    sized = surveys[np.isfinite(surveys["areaInM2"])]
    small = sized.loc[sized["areaInM2"] <= 10, "richness"].median()
    large = sized.loc[sized["areaInM2"] >= 200, "richness"].median()
    assert large > 1.3 * small
    assert 12 <= surveys["richness"].median() <= 22


def test_lists_and_places_of_observers_thin_out_away_from_towns() -> None:
    world = virtual_europe(num_surveys=50, num_test=0, num_po=2000, num_species=100, seed=1)
    lists = world.po.groupby("surveyId").agg(
        lat=("lat", "first"), lon=("lon", "first"), rows=("speciesId", "size")
    )
    effort = world.observer_effort(lists["lat"].to_numpy(), lists["lon"].to_numpy())
    assert lists["rows"][effort > 0.5].mean() > 1.3 * lists["rows"][effort < 0.2].mean()
    # Evenly spread places for comparison: observers are far more often near a town.
    rng = np.random.default_rng(0)
    even = world.observer_effort(rng.uniform(37, 68, 5000), rng.uniform(-9, 29, 5000))
    assert (effort > 0.5).mean() > 5 * (even > 0.5).mean()
    lists_of = world.po.groupby("publisher")["surveyId"].nunique()
    assert lists_of.max() > 2 * lists_of.min()


def test_species_have_a_long_rare_tail(world: VirtualEurope) -> None:
    counts = world.pa_train["speciesId"].value_counts()
    assert counts.max() > 20 * counts.quantile(0.1)
    assert (counts == 1).any()


def test_neighbours_predict_better_than_the_commonest_species(world: VirtualEurope) -> None:
    surveys, test = surveys_of(world), world.pa_test
    known = label_matrix(world.pa_train, surveys["surveyId"].to_numpy(), 307)
    truth = label_matrix(world.test_labels, test["surveyId"].to_numpy(), 307)
    cosine = (
        unit_vectors(test["lat"].to_numpy(), test["lon"].to_numpy())
        @ unit_vectors(surveys["lat"].to_numpy(), surveys["lon"].to_numpy()).T
    )
    nearest = known[np.argsort(-cosine, axis=1)[:, :10]].sum(axis=1)
    by_neighbours = np.zeros_like(truth)
    np.put_along_axis(by_neighbours, np.argsort(-nearest, axis=1)[:, :17], True, axis=1)
    commonest = np.zeros_like(truth)
    commonest[:, np.argsort(-known.sum(axis=0))[:20]] = True
    assert mean_f1(by_neighbours, truth) > 1.3 * mean_f1(commonest, truth)
    assert mean_f1(by_neighbours, truth) < 0.7


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_surveys", 0),
        ("num_test", -1),
        ("num_po", True),
        ("num_species", 9),
        ("seed", -3),
    ],
)
def test_bad_arguments_are_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"{name}.*{value!r}"):
        virtual_europe(**{name: value})  # type: ignore[arg-type]


def test_unknown_field_is_named() -> None:
    with pytest.raises(ValueError, match="snow"):
        VirtualFields(0).values(np.zeros(1), np.zeros(1), ("snow",))
