"""Names and links that lead elsewhere: nothing outside is written, and what is read is stated."""

import json
import os

import pandas as pd
import pytest

from tests.fuzz_limits import snapshot, within_limits
from tests.test_files import jpeg, written
from tests.test_prepared import cube_file, write_survey
from tighnari_graph import SurveyDataError
from tighnari_graph.distributed.source import DataSet
from tighnari_graph.files import written_whole
from tighnari_graph.folder import DataFolder
from tighnari_models import Tighnari, TighnariConfig
from tighnari_models.data.cubes import read_cube
from tighnari_models.data.patches import find_patches, read_patch
from tighnari_models.data.prepared import PreparedArrays, prepare

# --- names that lead elsewhere


@pytest.mark.parametrize(
    "entry",
    [
        {"modalities": {"../../secret": {"shape": [1], "dtype": "<f4", "checksums": {}}}},
        {"modalities": {"landsat": {"shape": [-1], "dtype": "<f4", "checksums": {}}}},
        {"modalities": {"landsat": {"shape": [6, 4, 20], "dtype": "O", "checksums": {}}}},
        {"modalities": [["landsat"]]},
        {"survey_id": ["../../x"]},
        {"survey_id": [1.5]},
        {"survey_id": 12},
        {"source": None},
    ],
)
def test_a_manifest_of_prepared_arrays_with_odd_entries_is_refused(tmp_path, entry):
    write_survey(tmp_path / "data", 12)
    prepare(tmp_path / "data", tmp_path / "out", [12], "train", ("landsat",))
    path = tmp_path / "out/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entry))
    for action in (
        lambda: PreparedArrays.open(tmp_path / "out"),
        lambda: prepare(tmp_path / "data", tmp_path / "out", [12], "train", ("landsat",)),
    ):
        with pytest.raises(
            SurveyDataError, match=r"manifest\.json: (damaged|cannot be read); delete"
        ):
            action()


def test_a_model_of_another_place_is_not_looked_for(monkeypatch):
    """timm takes addresses and folders as names; here only its own models are names."""
    monkeypatch.setattr("timm.create_model", None)
    for name in ("hf-hub:someone/model", "local-dir:/tmp/model", "../../model", "timm/resnet18"):
        config = TighnariConfig(3, modalities=("image",), fusion="concat", image_encoder=name)
        with pytest.raises(ValueError, match="timm has no model"):
            Tighnari(config)


def test_only_digits_name_a_survey(tmp_path):
    folder = tmp_path / "pa_train_patches_rgb"
    for name in (
        "..jpeg",
        "-7.jpeg",
        "7 .jpeg",
        "7.jpeg.exe",
        "7\n.jpeg",
        "x7.jpeg",
        "1" * 19 + ".jpeg",
    ):
        written(folder / name, jpeg(8, 8))
    assert find_patches(tmp_path, "train").rgb == {}
    written(folder / "7.jpeg", jpeg(8, 8))
    assert list(find_patches(tmp_path, "train").rgb) == [7]


# --- links and what is no file


def test_links_out_of_the_data_folder_are_read_and_never_written_through(tmp_path):
    """A data set may be linked together from several disks."""
    write_survey(tmp_path / "one_disk", 12)
    write_survey(tmp_path / "other_disk", 7)
    link = cube_file(tmp_path / "data", 12, "bioclim")
    link.parent.mkdir(parents=True)
    link.symlink_to(cube_file(tmp_path / "one_disk", 12, "bioclim"))
    (tmp_path / "data/more").symlink_to(tmp_path / "other_disk", target_is_directory=True)
    before = {disk: snapshot(tmp_path / disk) for disk in ("one_disk", "other_disk", "data")}
    done = prepare(tmp_path / "data", tmp_path / "out", [7, 12], "train", ("bioclim",))
    assert done.found["bioclim"].all()
    assert {disk: snapshot(tmp_path / disk) for disk in before} == before


def test_an_output_that_is_a_link_is_replaced_not_followed(tmp_path):
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.csv").symlink_to(victim)
    with written_whole(tmp_path / "out/a.csv") as part:
        part.write_text("new")
    assert victim.read_text() == "mine"
    assert not (tmp_path / "out/a.csv").is_symlink()


def test_pipes_devices_circles_and_dead_links_are_passed_over(tmp_path):
    folder = tmp_path / "pa_train_patches_rgb"
    folder.mkdir()
    os.mkfifo(folder / "7.jpeg")
    (folder / "8.jpeg").symlink_to("/dev/zero")
    (folder / "9.jpeg").symlink_to(tmp_path / "nowhere")
    (folder / "10.jpeg").symlink_to("10.jpeg")
    (folder / "circle").symlink_to(tmp_path, target_is_directory=True)
    written(folder / "11.jpeg", jpeg(8, 8))
    with within_limits(tmp_path):
        assert list(find_patches(tmp_path, "train").rgb) == [11]
    for name in ("7.jpeg", "8.jpeg"):
        with within_limits(tmp_path), pytest.raises(SurveyDataError, match="no regular file"):
            read_patch(folder / name, folder / "11.jpeg")
    with within_limits(tmp_path), pytest.raises(SurveyDataError, match="no regular file"):
        read_cube(folder / "7.jpeg", "landsat")


def test_tables_behind_links_to_folders_are_not_looked_for(tmp_path):
    text = "surveyId,lat,lon,year,region,speciesId\n"
    for name in ("train", "test"):
        written(tmp_path / f"elsewhere/GLC24_PA_metadata_{name}.csv", text.encode())
    (tmp_path / "data").mkdir()
    (tmp_path / "data/linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(FileNotFoundError, match="no PA metadata"):
        DataFolder.find(tmp_path / "data")
    for name in ("train", "test"):
        link = tmp_path / f"data/GLC24_PA_metadata_{name}.csv"
        link.symlink_to(tmp_path / f"elsewhere/GLC24_PA_metadata_{name}.csv")
    assert DataFolder.find(tmp_path / "data").pa.is_symlink()


def test_a_folder_of_parquet_files_follows_links_to_files_alone(tmp_path):
    """Behind a link to a folder there may be a circle; left out unsaid, surveys would be missing."""
    rows = pd.DataFrame({"surveyId": [1], "lat": 45.0, "lon": 7.0, "year": 2020})
    rows.to_parquet(tmp_path / "elsewhere.parquet")
    folder = tmp_path / "in"
    (folder / "deep/_hidden").mkdir(parents=True)
    (folder / "deep/a.parquet").symlink_to(tmp_path / "elsewhere.parquet")
    (folder / "deep/_hidden/b.parquet").touch()
    (folder / "deep/.circle").symlink_to(folder, target_is_directory=True)

    def found(source: object) -> list[str]:
        with within_limits(tmp_path):
            return [path for path, _, _ in DataSet.find(source, (), None, 10).files]

    assert found(folder) == [str(folder / "deep/a.parquet")]
    odd = folder / "deep/odd"
    for put in (
        lambda: odd.symlink_to(folder, target_is_directory=True),
        lambda: odd.symlink_to(odd),
        lambda: odd.symlink_to(tmp_path / "nowhere"),
        lambda: odd.symlink_to("/dev/zero"),
        lambda: os.mkfifo(odd),
    ):
        put()
        with pytest.raises(
            SurveyDataError, match=r"in: 1 of 2 names are no files \(first .*/odd\)"
        ):
            found(folder)
        if odd.exists():
            with pytest.raises(SurveyDataError, match=r"1 of 1 names are no files"):
                found([odd])
        odd.unlink()
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    assert found(tmp_path / "link") == [str(tmp_path / "link/deep/a.parquet")]
