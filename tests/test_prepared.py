"""Arrays of prepared files: what is in them, what stops and resumes, and their scaling."""

import errno
import json
import logging
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.test_files import FILES, jpeg, needs_files, saved, written
from tighnari_graph import SurveyDataError
from tighnari_models.data import prepared as module
from tighnari_models.data.cubes import find_cubes, read_cube
from tighnari_models.data.patches import find_patches, read_patch
from tighnari_models.data.prepared import PreparedArrays, prepare
from tighnari_models.data.scaling import ChannelScaler
from tighnari_models.data.sources import Source

IDS = np.array([12, 7, 1234567, 30, 105, 8, 9, 11, 13, 17, 19])


def patch_file(folder: Path, survey: int, band: str) -> Path:
    text = str(survey)
    nested = Path(text[-2:]) / text[-4:-2] / f"{survey}.jpeg"
    return (
        folder / f"PA_Train_SatellitePatches_{band}" / f"pa_train_patches_{band.lower()}" / nested
    )


def cube_file(folder: Path, survey: int, kind: str) -> Path:
    name = {"landsat": "landsat_time_series", "bioclim": "bioclimatic_monthly"}[kind]
    parts = folder / "TimeSeries-Cubes" / "TimeSeries-Cubes" / f"GLC24-PA-train-{name}"
    return parts / f"GLC24-PA-train-{name}_{survey}_cube.pt"


def write_survey(folder: Path, survey: int) -> None:
    written(patch_file(folder, survey, "RGB"), jpeg(13, 11, "RGB", survey % 251))
    written(patch_file(folder, survey, "NIR"), jpeg(13, 11, "L", survey % 241))
    for kind, shape in (("landsat", (6, 4, 21)), ("bioclim", (4, 19, 12))):
        values = torch.arange(np.prod(shape), dtype=torch.float32).reshape(shape) + survey
        written(cube_file(folder, survey, kind), saved(values))


@pytest.fixture
def data(tmp_path) -> Path:
    for survey in IDS.tolist():
        write_survey(tmp_path / "data", survey)
    return tmp_path / "data"


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".lock"}


def test_every_row_is_what_the_loader_reads(data, tmp_path):
    done = prepare(data, tmp_path / "out", IDS, "train")
    patches, cubes = find_patches(data, "train").paths(), find_cubes(data, "landsat", "train")
    assert done.survey_id.tolist() == IDS.tolist()
    assert {name: array.shape for name, array in done.arrays.items()} == {
        "image": (11, 4, 13, 11), "landsat": (11, 6, 4, 20), "bioclim": (11, 4, 18, 12),
    }  # fmt: skip
    for row, survey in enumerate(IDS.tolist()):
        np.testing.assert_array_equal(done.arrays["image"][row], read_patch(*patches[survey]))
        cube = read_cube(cubes[survey], "landsat")
        np.testing.assert_array_equal(done.arrays["landsat"][row], cube)
    assert all(found.all() for found in done.found.values())
    assert done.notes == {}
    assert isinstance(done.arrays["image"], np.memmap)


@needs_files
def test_the_real_files_are_prepared(tmp_path):
    ids = list(find_patches(FILES / "jrc_data_subset", "train").paths())
    done = prepare(FILES / "jrc_data_subset", tmp_path / "jrc", ids, "train")
    assert done.arrays["image"].shape == (17, 4, 128, 128)
    assert done.notes == {f"no {kind} files of train surveys": 1 for kind in ("landsat", "bioclim")}
    one = prepare(FILES / "glc24_pre_extracted", tmp_path / "2024", [1322301], "train")
    assert (one.arrays["landsat"].min(), one.arrays["landsat"].max()) == (4, 93)
    pytest.importorskip("tifffile")
    new = prepare(FILES / "glc25_pre_extracted", tmp_path / "2025", [5000108], "test")
    assert (new.arrays["image"].dtype, new.arrays["image"].shape) == (np.int16, (1, 4, 64, 64))


# --- missing and corrupt


def spoil(data: Path) -> None:
    patch_file(data, 12, "NIR").unlink()
    short = patch_file(data, 7, "RGB")
    short.write_bytes(short.read_bytes()[:-100])
    written(patch_file(data, 8, "RGB"), jpeg(9, 9))
    written(patch_file(data, 8, "NIR"), jpeg(9, 9, "L"))
    cube_file(data, 30, "bioclim").unlink()
    cube_file(data, 105, "bioclim").write_bytes(saved(torch.ones(4, 18, 12)))


def test_bad_files_are_counted_flagged_and_become_the_training_mean(data, tmp_path, caplog):
    spoil(data)
    values = torch.load(cube_file(data, 9, "landsat"), weights_only=True)
    values[1, 2, 3] = torch.nan
    cube_file(data, 9, "landsat").write_bytes(saved(values))
    with caplog.at_level(logging.WARNING, "tighnari_models"):
        done = prepare(data, tmp_path / "out", IDS, "train", max_bad_share=0.3)
    assert done.notes == {
        "image missing": 1, "image corrupt": 2, "bioclim missing": 1, "bioclim corrupt": 1,
    }  # fmt: skip
    assert done.survey_id[~done.found["image"]].tolist() == [12, 7, 8]
    assert done.survey_id[~done.found["bioclim"]].tolist() == [30, 105]
    assert done.found["landsat"].all()
    for text in (
        "3 of 11 surveys (27.3%) have no readable image file (1 missing, 2 corrupt)",
        "surveyId 12: no image file",
        "7.jpeg: cannot be read as an image",
        "8.jpeg: uint8 (4, 9, 9), most others are uint8 (4, 13, 11)",
        "bioclim cube of shape (4, 18, 12), not (4, 19, 12)",
    ):
        assert text in caplog.text
    assert not done.arrays["image"][:2].any()
    assert np.isnan(done.arrays["bioclim"][3:5]).all()
    assert np.isnan(done.arrays["landsat"][6]).sum() == 1
    for name, array in done.arrays.items():
        scaler = ChannelScaler().fit(array, found=done.found[name])
        bad = ~done.found[name]
        out = scaler.transform(torch.from_numpy(array.copy()), torch.from_numpy(done.found[name]))
        assert out.isfinite().all()
        assert not out[torch.from_numpy(bad)].any()
        assert out[torch.from_numpy(~bad)].mean().abs() < 1e-5


def test_too_many_bad_files_are_an_error_until_they_are_mended(data, tmp_path):
    spoil(data)
    text = (
        r"3 of 11 surveys \(27.3%\) have no readable image file \(1 missing, 2 corrupt\): "
        r"surveyId 12: no image file, or not of all bands; surveyId 7: .*7.jpeg: cannot .*at most 5.0% are allowed"
    )
    for _ in range(2):
        with pytest.raises(SurveyDataError, match=text):
            prepare(data, tmp_path / "out", IDS, "train")
    for survey in IDS.tolist():
        write_survey(data, survey)
    done = prepare(data, tmp_path / "out", IDS, "train")
    assert all(found.all() for found in done.found.values())
    other = prepare(data, tmp_path / "other", IDS, "train")
    np.testing.assert_array_equal(done.arrays["image"], other.arrays["image"])


def test_a_limit_that_was_met_before_and_is_lowered_is_an_error(data, tmp_path):
    spoil(data)
    prepare(data, tmp_path / "out", IDS, "train", max_bad_share=0.3)
    with pytest.raises(SurveyDataError, match="at most 20.0% are allowed"):
        prepare(data, tmp_path / "out", IDS, "train", max_bad_share=0.2)


def test_no_readable_patch_at_all_is_an_error(data, tmp_path):
    for survey in IDS.tolist():
        patch_file(data, survey, "RGB").write_bytes(b"")
    with pytest.raises(
        SurveyDataError, match="none of 11 patches looked at can be read: .*12.jpeg"
    ):
        prepare(data, tmp_path / "out", IDS, "train", max_bad_share=1)


def test_an_absent_modality_is_named_left_out_and_taken_up_when_it_comes(data, tmp_path, caplog):
    shutil.move(data / "TimeSeries-Cubes", tmp_path / "later")
    with caplog.at_level(logging.WARNING, "tighnari_models"):
        done = prepare(data, tmp_path / "out", IDS, "train")
    assert list(done.arrays) == ["image"]
    assert set(done.notes) == {f"no {m} files of train surveys" for m in ("landsat", "bioclim")}
    assert "no landsat files of train surveys; left out" in caplog.text
    shutil.move(tmp_path / "later", data / "TimeSeries-Cubes")
    assert list(prepare(data, tmp_path / "out", IDS, "train").arrays) == list(module.MODALITIES)
    some = prepare(data, tmp_path / "out", IDS, "train", modalities=("bioclim",))
    assert (list(some.arrays), some.notes) == (["bioclim"], {})


def test_nothing_at_all_and_no_surveys(data, tmp_path):
    (tmp_path / "empty").mkdir()
    nothing = prepare(tmp_path / "empty", tmp_path / "a", IDS, "train")
    assert (nothing.arrays, len(nothing.notes)) == ({}, 3)
    none = prepare(data, tmp_path / "b", [], "train")
    assert none.arrays["image"].shape == (0, 4, 13, 11)
    with pytest.raises(ValueError, match=r"1 of 1 surveys were not prepared \(surveyId 7\)"):
        none.rows([7])


def landsat_tables(folder: Path, cubes: dict[int, np.ndarray]) -> None:
    names = [f"{year}_{quarter}" for year in range(2000, 2021) for quarter in range(1, 5)]
    for number, band in enumerate(("red", "green", "blue", "nir", "swir1", "swir2")):
        rows = {survey: cube[number].T.reshape(-1) for survey, cube in cubes.items()}
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=names)
        path = folder / f"GLC24-PA-train-landsat_time_series-{band}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.rename_axis("surveyId").reset_index().to_csv(path, index=False)


def test_landsat_tables_take_the_place_of_cubes(data, tmp_path):
    before = prepare(data, tmp_path / "cubes", IDS, "train", modalities=("landsat",))
    whole = {
        survey: torch.load(path, weights_only=True).numpy()
        for survey, path in find_cubes(data, "landsat", "train").items()
    }
    tables = data / "PA-train-landsat_time_series"
    landsat_tables(tables, whole)
    shutil.rmtree(cube_file(data, 1, "landsat").parent)
    done = prepare(data, tmp_path / "out", IDS, "train")
    np.testing.assert_array_equal(done.arrays["landsat"], before.arrays["landsat"])
    del whole[8]
    whole[7][2, 3, 5] = np.nan
    landsat_tables(tables, whole)
    with pytest.raises(SurveyDataError, match="6 of 6 landsat files looked at .* have changed"):
        prepare(data, tmp_path / "out", IDS, "train")
    done = prepare(data, tmp_path / "again", IDS, "train", max_bad_share=0.2)
    assert done.survey_id[~done.found["landsat"]].tolist() == [8]
    assert np.argwhere(np.isnan(done.arrays["landsat"][1])).tolist() == [[2, 3, 5]]
    (tables / "GLC24-PA-train-landsat_time_series-nir.csv").unlink()
    with pytest.raises(SurveyDataError, match="train surveys lack the bands nir"):
        prepare(data, tmp_path / "third", IDS, "train")


def test_a_landsat_table_without_a_quarter_is_refused(data, tmp_path):
    shutil.rmtree(cube_file(data, 1, "landsat").parent)
    landsat_tables(data, {7: np.ones((6, 4, 21))})
    path = data / "GLC24-PA-train-landsat_time_series-blue.csv"
    pd.read_csv(path).rename(columns={"2003_2": "spring"}).to_csv(path, index=False)
    with pytest.raises(SurveyDataError, match=r"blue.csv: 1 of 81 columns are missing \(2003_2\)"):
        prepare(data, tmp_path / "out", IDS, "train")
    pd.read_csv(path).rename(columns={"spring": "2003_2"}).loc[[0, 0]].to_csv(path, index=False)
    with pytest.raises(
        SurveyDataError, match=r"blue.csv: 1 of 2 rows have .* before \(surveyId 7\)"
    ):
        prepare(data, tmp_path / "out", IDS, "train")


# --- stopping and resuming


def test_a_finished_folder_is_reopened_without_a_look_at_the_files(data, tmp_path, monkeypatch):
    prepare(data, tmp_path / "out", IDS, "train")
    shutil.rmtree(data)
    before = content(tmp_path / "out")
    monkeypatch.setattr(module, "find_source", None)
    assert prepare(data, tmp_path / "out", IDS, "train").found["image"].all()
    assert content(tmp_path / "out") == before


def test_a_run_stopped_at_any_read_resumes_to_the_same_bytes(data, tmp_path, monkeypatch):
    spoil(data)
    prepare(data, tmp_path / "whole", IDS, "train", max_bad_share=0.3)
    monkeypatch.setattr(module, "_CHUNK", 2)
    read_like, reads = Source.read_like, []

    def interrupted(self, survey, like):
        reads.append((self.name, survey))
        if len(reads) in (3, 9, 16, 23, 30, 41):
            raise KeyboardInterrupt
        return read_like(self, survey, like)

    monkeypatch.setattr(Source, "read_like", interrupted)
    stops = 0
    while True:
        try:
            prepare(data, tmp_path / "out", IDS, "train", max_bad_share=0.3, workers=1)
            break
        except KeyboardInterrupt:
            stops += 1
            with pytest.raises(SurveyDataError, match="not prepared yet; run prepare again"):
                PreparedArrays.open(tmp_path / "out")
    assert stops == 6
    assert len(reads) < 33 + 5 + 2 * stops + 5  # all rows, the report's reads, the stopped chunks
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.parametrize(
    "lost", [("image.npy",), ("image_status.npy",), ("image.npy", "bioclim.npy")]
)
def test_whatever_file_is_not_there_yet_is_made(data, tmp_path, lost):
    prepare(data, tmp_path / "out", IDS, "train")
    before = content(tmp_path / "out")
    for name in lost:
        (tmp_path / "out" / name).unlink()
    (tmp_path / "out" / ".image.npy.x7.part").write_bytes(b"of a run killed while it made the file")
    prepare(data, tmp_path / "out", IDS, "train")
    assert content(tmp_path / "out") == before


@pytest.mark.slow
def test_a_killed_process_leaves_what_another_run_finishes(tmp_path):
    for survey in range(600):
        write_survey(tmp_path / "data", survey)
    prepare(tmp_path / "data", tmp_path / "whole", np.arange(600), "train")
    code = f"""
import os, signal, sys
import numpy as np
from tighnari_models.data import prepared, sources
prepared._CHUNK = 8
read, reads = sources.Source.read, []
def dying(self, survey):
    reads.append(survey)
    if len(reads) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return read(self, survey)
sources.Source.read = dying
prepared.prepare({str(tmp_path / "data")!r}, {str(tmp_path / "out")!r}, np.arange(600), "train")
"""

    def rows_done() -> int:
        files = (tmp_path / "out").glob("*_status.npy")
        return sum(int((np.load(file) != 0).sum()) for file in files)

    reached = [0]
    for number in (100, 300, 700):  # of a read: in the image, again in the image, in the cubes
        process = subprocess.run([sys.executable, "-c", code, str(number)])
        assert process.returncode == -signal.SIGKILL
        reached.append(rows_done())
    # whole chunks of 8, and no row twice; 16 files of each kind are looked at before all others
    assert reached == [0, 48, 48 + 296, 48 + 296 + 696]
    prepare(tmp_path / "data", tmp_path / "out", np.arange(600), "train")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_at_once_do_not_disturb_each_other(data, tmp_path):
    code = f"""
from tighnari_models.data.prepared import prepare
prepare({str(data)!r}, {str(tmp_path / "out")!r}, {IDS.tolist()}, "train")
"""
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    prepare(data, tmp_path / "whole", IDS, "train")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


# --- what is refused


def test_a_folder_of_other_surveys_or_other_data_is_refused(data, tmp_path):
    out = tmp_path / "out"
    prepare(data, out, IDS, "train")
    with pytest.raises(SurveyDataError, match=r"out: holds 11 train surveys, not the 10 train"):
        prepare(data, out, IDS[1:], "train")
    with pytest.raises(SurveyDataError, match="in their order; delete .*out to prepare again"):
        prepare(data, out, IDS[::-1], "train")
    with pytest.raises(SurveyDataError, match="holds 11 train surveys, not the 11 test surveys"):
        prepare(data, out, IDS, "test")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(SurveyDataError, match=f"was prepared from {data}"):
        prepare(tmp_path / "elsewhere", out, IDS, "train")
    moved = shutil.move(data, tmp_path / "moved")
    assert prepare(moved, out, IDS, "train").found["image"].all()
    for survey in IDS.tolist():
        written(patch_file(moved, survey, "NIR"), jpeg(13, 11, "L", 3))
    with pytest.raises(SurveyDataError, match="from other files: 11 of 22 image files looked at"):
        prepare(moved, out, IDS, "train")


def test_a_broken_folder_is_refused(data, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(SurveyDataError, match="holds no prepared arrays"):
        PreparedArrays.open(out)
    prepare(data, out, IDS, "train")
    whole = (out / "image.npy").read_bytes()
    (out / "image.npy").write_bytes(whole[:-1000])
    with pytest.raises(SurveyDataError, match=r"image\.npy: cannot be read: .*; delete"):
        PreparedArrays.open(out)
    np.save(out / "image.npy", np.zeros((11, 4, 13, 13), np.uint8))
    with pytest.raises(
        SurveyDataError, match=r"\(11, 4, 13, 13\), expected uint8 \(11, 4, 13, 11\)"
    ):
        prepare(data, out, IDS, "train")
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps(manifest | {"version": 9}))
    with pytest.raises(SurveyDataError, match="version 9 of prepared arrays, expected 1"):
        PreparedArrays.open(out)
    for text in ("{", "[]", "{}"):
        (out / "manifest.json").write_text(text)
        with pytest.raises(SurveyDataError, match=r"manifest\.json: cannot be read; delete"):
            PreparedArrays.open(out)


def test_bad_arguments_are_refused(data, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(
        ValueError, match="modalities must be of image, landsat, bioclim, got 'table'"
    ):
        prepare(data, out, IDS, "train", modalities=("table",))
    with pytest.raises(ValueError, match=r"2 survey ids occur more than once \(surveyId 7, 8\)"):
        prepare(data, out, [7, 8, 7, 8, 9], "train")
    with pytest.raises(ValueError, match="survey_id must be a list of whole numbers"):
        prepare(data, out, np.array([1.5]), "train")
    with pytest.raises(FileNotFoundError):
        prepare(tmp_path / "nowhere", out, IDS, "train")
    assert not out.exists()


def test_a_full_disk_is_said_before_anything_is_read(data, tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    with pytest.raises(
        OSError, match=r"image, landsat, bioclim of 11 surveys take 0\.0 GB"
    ) as error:
        prepare(data, tmp_path / "out", IDS, "train")
    assert error.value.errno == errno.ENOSPC
    assert content(tmp_path / "out") == {}


def test_an_error_of_the_machine_stops_the_run_and_marks_nothing(data, tmp_path, monkeypatch):
    read = Source.read

    def failing(self, survey):
        if survey == 105 and self.name == "landsat":
            raise OSError(errno.EMFILE, "Too many open files")
        return read(self, survey)

    with monkeypatch.context() as patched:
        patched.setattr(Source, "read", failing)
        with pytest.raises(OSError, match="Too many open files"):
            prepare(data, tmp_path / "out", IDS, "train")
    assert all(
        found.all() for found in prepare(data, tmp_path / "out", IDS, "train").found.values()
    )


def test_rows_of_surveys_and_travelling_to_other_processes(data, tmp_path):
    done = prepare(data, tmp_path / "out", IDS, "train", modalities=("image", "landsat"))
    assert done.rows([9, 12, 9]).tolist() == [6, 0, 6]
    assert done.rows(IDS).tolist() == list(range(11))
    with pytest.raises(
        ValueError, match=r"2 of 3 surveys were not prepared \(surveyId 1, 9999999\)"
    ):
        done.rows([1, 7, 9999999])
    sent = pickle.dumps(done)
    assert len(sent) < 1000
    assert list(pickle.loads(sent).arrays) == ["image", "landsat"]


# --- scaling


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8])
def test_mean_and_spread_are_those_of_the_training_surveys_with_files(dtype, monkeypatch):
    monkeypatch.setattr("tighnari_models.data.scaling._CHUNK_VALUES", 200)  # five surveys at a time
    rng = np.random.default_rng(0)
    middle = np.array([100, 50, 150])[:, None, None]
    x = rng.normal(middle, 9, (23, 3, 5, 2)).clip(0, 255).astype(dtype)
    if dtype == np.float32:
        x[rng.random(x.shape) < 0.1] = np.nan
        x[0, 0, 0, 0], x[:5, 1], x[9] = np.inf, np.nan, np.nan
    rows, found = rng.random(23) < 0.7, rng.random(23) < 0.8
    scaler = ChannelScaler().fit(x, rows, found)
    used = np.where(np.isfinite(x), x.astype(np.float64), np.nan)[rows & found]
    np.testing.assert_allclose(scaler.mean, np.nanmean(used, (0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(scaler.std, np.nanstd(used, (0, 2, 3)), rtol=1e-12)
    hidden = np.where((rows & found)[:, None, None, None], x, np.zeros_like(x) + 7)
    again = ChannelScaler().fit(hidden, rows, found)
    assert (again.mean.tolist(), again.std.tolist()) == (scaler.mean.tolist(), scaler.std.tolist())


def test_missing_values_become_the_mean_of_the_channel_or_of_the_cube():
    x = torch.tensor([[[1.0, 2.0], [10.0, torch.nan]], [[3.0, 4.0], [30.0, 30.0]]])
    channel = ChannelScaler("channel").fit(x.numpy())
    assert channel.transform(x)[0, 1, 1] == 0
    tensor = ChannelScaler("tensor").fit(x.numpy())
    expected = ((1 + 2 + 10) / 3 - tensor.mean[1]) / tensor.std[1]
    torch.testing.assert_close(tensor.transform(x)[0, 1, 1].item(), expected, rtol=1e-5, atol=0)
    nothing = torch.full((1, 2, 2), torch.nan)
    assert not tensor.transform(nothing).any()
    infinite = torch.tensor([[[torch.inf, 1.0], [-torch.inf, 1.0]]])
    assert channel.transform(infinite)[0, :, 0].tolist() == [0, 0]


def test_surveys_without_a_file_are_zero_whatever_stands_in_the_array():
    x = torch.tensor([[[0, 0]], [[3, 5]]], dtype=torch.uint8)
    scaler = ChannelScaler().fit(x.numpy(), found=np.array([False, True]))
    out = scaler.transform(x, torch.tensor([False, True]))
    assert out.tolist() == [[[0, 0]], [[-1, 1]]]
    assert out.dtype == torch.float32


def test_a_scaler_survives_json_exactly():
    x = np.random.default_rng(0).random((7, 3, 5)).astype(np.float32)
    scaler = ChannelScaler("tensor").fit(x)
    again = ChannelScaler.from_json(json.loads(json.dumps(scaler.to_json())))
    assert again.fill == "tensor"
    assert torch.equal(again.transform(torch.from_numpy(x)), scaler.transform(torch.from_numpy(x)))


def test_what_a_scaler_refuses():
    x = np.zeros((4, 2, 3), dtype=np.float32)
    with pytest.raises(ValueError, match="fill must be one of channel, tensor, got 'zero'"):
        ChannelScaler("zero")
    with pytest.raises(ValueError, match=r"channels \[0, 1\] have no value in any of 0 training"):
        ChannelScaler().fit(x, rows=np.zeros(4, dtype=bool))
    with pytest.raises(ValueError, match=r"rows must be bool \[4\], got int64 \[2\]"):
        ChannelScaler().fit(x, rows=np.array([0, 1]))
    with pytest.raises(ValueError, match="fit it before it transforms"):
        ChannelScaler().transform(torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="fit it before it is saved"):
        ChannelScaler().to_json()
    with pytest.raises(ValueError, match=r"x of shape \(1, 3, 3\), expected \(B, 2, …\)"):
        ChannelScaler().fit(x).transform(torch.zeros(1, 3, 3))
    with pytest.raises(ValueError, match="do not fit"):
        ChannelScaler.from_json({"fill": "channel", "mean": [1.0], "std": [0.0]})
