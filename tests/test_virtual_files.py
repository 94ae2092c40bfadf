from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.real_data import DATA
from tests.test_virtual import digests
from tighnari_graph.virtual import VirtualEurope, virtual_europe
from tighnari_graph.virtual_cubes import bioclim_cubes, landsat_cubes, write_cubes
from tighnari_graph.virtual_fields import VirtualFields
from tighnari_graph.virtual_patches import satellite_patches, write_patches

REAL = DATA / "glc24_files" / "glc24_pre_extracted"
CUBES = "TimeSeries-Cubes/TimeSeries-Cubes"
LANDSAT = {
    "train": f"{CUBES}/GLC24-PA-train-landsat_time_series/GLC24-PA-train-landsat-time-series",
    "test": f"{CUBES}/GLC24-PA-test-landsat_time_series/GLC24-PA-test-landsat_time_series",
}
BIOCLIM = {
    split: f"{CUBES}/GLC24-PA-{split}-bioclimatic_monthly/GLC24-PA-{split}-bioclimatic_monthly"
    for split in ("train", "test")
}
SIZES = {"num_surveys": 41, "num_test": 13, "num_po": 11, "num_species": 31}


def cube_paths(split: str, survey: int) -> set[str]:
    return {f"{name}_{survey}_cube.pt" for name in (LANDSAT[split], BIOCLIM[split])}


def patch_paths(split: str, survey: int) -> set[str]:
    digits = str(survey)
    below = f"{digits[-2:]}/{digits[-4:-2]}/{digits}.jpeg"
    return {
        f"PA_{split.title()}_SatellitePatches_{kind}/pa_{split}_patches_{kind.lower()}/{below}"
        for kind in ("RGB", "NIR")
    }


def places(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.arange(600, 600 + num), rng.uniform(37, 68, num), rng.uniform(-9, 29, num)


def explained(inputs: np.ndarray, wanted: np.ndarray) -> float:
    """Share of the variance that a ridge regression explains of places it has not seen."""
    model = make_pipeline(StandardScaler(), Ridge(1.0))
    return float(cross_val_score(model, inputs, wanted, cv=5, scoring="r2").mean())


@pytest.fixture(scope="module")
def world() -> VirtualEurope:
    return virtual_europe(**SIZES, seed=2)


@pytest.fixture(scope="module")
def written(world: VirtualEurope, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.write(tmp_path_factory.mktemp("whole"), cubes=True, patches=True)


def test_flags_add_exactly_the_files_of_the_real_layout(
    world: VirtualEurope, written: Path, tmp_path: Path
) -> None:
    tables, whole = digests(world.write(tmp_path)), digests(written)
    wanted = set(tables)
    for split, frame in (("train", world.pa_train), ("test", world.pa_test)):
        for survey in frame["surveyId"].unique():
            wanted |= cube_paths(split, survey) | patch_paths(split, survey)
    assert set(whole) == wanted
    assert {name: whole[name] for name in tables} == tables
    assert len(tables) == 16


def test_one_flag_writes_one_kind(world: VirtualEurope, tmp_path: Path) -> None:
    for name, kind in (("cubes", ".pt"), ("patches", ".jpeg")):
        paths = digests(world.write(tmp_path / name, **{name: True}))
        assert {Path(path).suffix for path in paths} == {".csv", ".txt", kind}


def test_one_seed_gives_the_same_bytes_and_another_seed_does_not(
    written: Path, tmp_path: Path
) -> None:
    virtual_europe(**SIZES, seed=2).write(tmp_path / "again", cubes=True, patches=True)
    assert digests(tmp_path / "again") == digests(written)
    where = places(3)
    for name, seed in (("a", 5), ("b", 6)):
        write_cubes(tmp_path / name, VirtualFields(seed), "test", *where)
        write_patches(tmp_path / name, VirtualFields(seed), "test", *where)
    first, other = digests(tmp_path / "a"), digests(tmp_path / "b")
    assert len(first) == 12
    assert first.keys() == other.keys()
    assert all(other[name] != digest for name, digest in first.items())


def test_files_of_a_survey_do_not_depend_on_the_others() -> None:
    fields, where = VirtualFields(1), places(150)
    some = np.array([149, 3, 77])
    for make in (bioclim_cubes, landsat_cubes):
        np.testing.assert_array_equal(
            make(fields, *(x[some] for x in where)), make(fields, *where)[some]
        )
    among = np.r_[some, :60]
    alone, first = (satellite_patches(fields, *(x[i] for x in where)) for i in (some, among))
    np.testing.assert_allclose(alone.astype(int), first[:3], atol=1)


def test_written_cubes_are_what_was_made_and_load_safely(
    world: VirtualEurope, written: Path
) -> None:
    surveys = world.pa_train.drop_duplicates("surveyId")
    where = [surveys[name].to_numpy() for name in ("surveyId", "lat", "lon")]
    for paths, make in ((BIOCLIM, bioclim_cubes), (LANDSAT, landsat_cubes)):
        for survey, made in zip(where[0], make(world.fields, *where), strict=True):
            path = written / f"{paths['train']}_{survey}_cube.pt"
            cube = torch.load(path, weights_only=True)
            assert cube.dtype == torch.float32
            np.testing.assert_array_equal(cube.numpy(), made)
            assert path.stat().st_size < 8000  # one cube, not the storage that it is a part of


def test_cubes_have_the_real_shapes_ranges_and_gaps() -> None:
    fields, where = VirtualFields(3), places(499)
    climate, seen = bioclim_cubes(fields, *where), landsat_cubes(fields, *where)
    assert climate.shape == (499, 4, 19, 12)
    assert seen.shape == (499, 6, 4, 21)
    assert climate.dtype == seen.dtype == np.float32
    rain, tas, tasmax, tasmin = np.moveaxis(climate[:, :, :-1], 1, 0)
    assert (rain >= 0).all()
    assert ((tasmin < tas) & (tas < tasmax)).all()
    assert tas.min() > 2300
    assert tas.max() < 3150
    assert 0.01 < np.isnan(climate[:, :, -1]).any(axis=(1, 2)).mean() < 0.12
    assert np.nanmin(seen) >= 0
    assert np.nanmax(seen) <= 255
    gaps = np.isnan(seen)
    assert (gaps.all(axis=1) == gaps.any(axis=1)).all()
    assert 0 < gaps[..., :-1].mean() < 0.03 < gaps[..., -1].mean() < 0.25


def test_the_weather_of_a_month_is_the_same_everywhere() -> None:
    climate = bioclim_cubes(VirtualFields(3), *places(37))
    usual = np.nanmean(climate[:, 1], axis=1, keepdims=True)
    warmer = (climate[:, 1] - usual)[:, :-1]
    assert warmer.std(axis=0).max() < 1.5  # rounding, and a gap in the mean
    assert warmer.mean(axis=0).std() > 5


def test_patches_are_jpegs_and_little_changed_by_it(world: VirtualEurope, written: Path) -> None:
    surveys = world.pa_test
    where = [surveys[name].to_numpy() for name in ("surveyId", "lat", "lon")]
    patches = satellite_patches(world.fields, *where)
    assert patches.shape == (13, 128, 128, 4)
    assert patches.dtype == np.uint8
    assert patches.std(axis=(1, 2)).min() > 1
    for survey, patch in zip(where[0], patches, strict=True):
        for path in patch_paths("test", survey):
            with Image.open(written / path) as image:
                assert image.format == "JPEG"
                pixels = np.asarray(image)
            made = patch[..., :3] if "RGB" in path else patch[..., 3]
            assert pixels.shape == made.shape
            np.testing.assert_allclose(pixels.mean((0, 1)), made.mean((0, 1)), atol=2)


def test_one_patch_in_two_hundred_is_missing_from_both_folders(tmp_path: Path) -> None:
    fields, where = VirtualFields(0), places(400)
    write_patches(tmp_path, fields, "train", *where)
    kinds = [{path.stem for path in folder.rglob("*.jpeg")} for folder in tmp_path.iterdir()]
    assert len(kinds) == 2
    assert kinds[0] == kinds[1]
    assert len(kinds[0]) == 398
    assert (tmp_path / next(iter(patch_paths("train", 634)))).parent.name == "6"
    write_patches(tmp_path / "few", fields, "train", *(x[:199] for x in where))
    assert len(digests(tmp_path / "few")) == 398


def test_neighbouring_patches_show_the_same_land_shifted() -> None:
    # Of a patch 640 m further east the west half is the east half of this one; so to the north.
    fields, (_, lat, lon) = VirtualFields(2), places(60)
    step = np.degrees(0.64 / 6371.0088)
    survey = np.full(60, 7)
    here = satellite_patches(fields, survey, lat, lon)
    east = satellite_patches(fields, survey, lat, lon + step / np.cos(np.radians(lat)))
    north = satellite_patches(fields, survey, lat + step, lon)

    def alike(mine: np.ndarray, other: np.ndarray) -> float:
        # Squares of 320 m: the strips on the land are not the same in two patches.
        rows, columns = mine.shape[1] // 32, mine.shape[2] // 32
        coarse = [x.reshape(60, rows, 32, columns, 32, 4).mean((2, 4)) for x in (mine, other)]
        relief = [(x - x.mean(axis=(1, 2), keepdims=True)).ravel() for x in coarse]
        return float(np.corrcoef(*relief)[0, 1])

    for mine, other in ((here[:, :, 64:], east[:, :, :64]), (here[:, :64], north[:, 64:])):
        mirrored = max(alike(mine[:, ::-1], other), alike(mine[:, :, ::-1], other))
        assert alike(mine, other) > max(0.9, mirrored + 0.1)


def test_the_middle_of_a_patch_shows_the_place() -> None:
    fields, (survey, lat, lon) = VirtualFields(4), places(300)
    lat = 48 + (lat - 37) / 15  # in one climate, so that colour tells of the ground alone
    patches = satellite_patches(fields, survey, lat, lon).astype(float)
    open_here = fields.values(lat, lon, ("openness",))["openness"]
    middle = explained(patches[:, 48:80, 48:80].mean((1, 2)), open_here)
    assert middle > 0.4
    for corner in (patches[:, :32, :32], patches[:, -32:, :32], patches[:, :32, -32:]):
        assert middle > explained(corner.mean((1, 2)), open_here) + 0.1


def test_every_modality_tells_about_the_land() -> None:
    num = 400
    fields, where = VirtualFields(0), places(num)
    names = ("temperature", "precipitation", "summer_dryness", "openness", "wetness", "human")
    land = fields.values(where[1], where[2], names)
    land["given_up"], land["old_farmland"] = fields.history(where[1], where[2])[:, :2].T
    climate = bioclim_cubes(fields, *where)[:, :, :-1].mean(axis=2).reshape(num, -1)
    seen = landsat_cubes(fields, *where)
    early, late = np.nanmean(seen[..., :10], axis=(2, 3)), np.nanmean(seen[..., 11:], axis=(2, 3))
    landsat = np.concatenate([np.nanmean(seen, axis=3).reshape(num, -1), late - early], axis=1)
    patches = satellite_patches(fields, *where).astype(float)
    for name in ("temperature", "precipitation", "summer_dryness"):
        assert explained(climate, land[name]) > 0.9, name
    for name in ("temperature", "openness", "wetness", "human", "given_up"):
        assert explained(landsat, land[name]) > 0.5, name
    spread = np.log(patches.std(axis=(1, 2)))
    colour = np.concatenate([patches.mean(axis=(1, 2)), spread], axis=1)
    for name in ("temperature", "openness", "wetness", "human"):
        assert explained(colour, land[name]) > 0.4, name
    # The width of the strips: where between coarse and fine the power of the spectrum lies.
    power = np.abs(np.fft.rfft2(patches.mean(axis=3))) ** 2
    size = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128)).ravel()
    band = np.digitize(size, np.geomspace(0.02, 0.25, 12))
    powers = np.stack([power.reshape(num, -1)[:, band == i].sum(axis=1) for i in range(13)], axis=1)
    assert explained(np.log(powers), land["old_farmland"]) > 0.3


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real cubes and patches at {REAL}")
def test_values_lie_where_the_real_ones_do() -> None:
    fields, where = VirtualFields(0), places(300)
    for paths, make in ((BIOCLIM, bioclim_cubes), (LANDSAT, landsat_cubes)):
        cube = torch.load(REAL / f"{paths['train']}_1322301_cube.pt", weights_only=True).numpy()
        made = make(fields, *where)
        assert cube.shape == made.shape[1:]
        usual, mean = np.nanmean(made, axis=(2, 3)), cube.mean(axis=(1, 2))
        assert ((usual.min(axis=0) < mean) & (mean < usual.max(axis=0))).all()
    means = satellite_patches(fields, *where).mean(axis=(1, 2))
    for path in patch_paths("train", 1322301):
        with Image.open(REAL / path) as image:
            mean = np.asarray(image).mean((0, 1))
        usual = means[:, :3] if "RGB" in path else means[:, 3]
        assert ((usual.min(axis=0) < mean) & (mean < usual.max(axis=0))).all()
