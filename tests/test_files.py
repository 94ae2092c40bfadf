"""Loaders of patches and cubes: the real sample files, and files as people should not have them."""

import io
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.real_data import DATA
from tighnari_graph import SurveyDataError
from tighnari_models.data.cubes import BIOCLIM_SHAPE, LANDSAT_SHAPE, find_cubes, read_cube
from tighnari_models.data.patches import find_patches, read_patch

FILES = DATA / "glc24_files"
GLC24_FILES, GLC25_FILES, JRC = (
    FILES / name for name in ("glc24_pre_extracted", "glc25_pre_extracted", "jrc_data_subset")
)
needs_files = pytest.mark.skipif(not FILES.is_dir(), reason=f"no real modality files at {FILES}")


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def jpeg(height: int, width: int, mode: str = "RGB", value: int = 90) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), (value,) * 3 if mode == "RGB" else value).save(buffer, "JPEG")
    return buffer.getvalue()


def saved(values: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return buffer.getvalue()


# --- the real files


@needs_files
@pytest.mark.parametrize(
    ("kind", "shape", "low", "high"),
    [("bioclim", BIOCLIM_SHAPE, 328, 21042), ("landsat", LANDSAT_SHAPE, 4, 93)],
)
def test_the_real_cubes_load_without_their_last_year(kind, shape, low, high):
    path = find_cubes(GLC24_FILES, kind, "train")[1322301]
    whole = torch.load(path, weights_only=True)
    assert (whole.dtype, whole.min(), whole.max()) == (torch.float32, low, high)
    cube = read_cube(path, kind)
    assert cube.shape == shape
    assert cube.dtype == np.float32
    kept = whole[:, :18] if kind == "bioclim" else whole[:, :, :20]
    np.testing.assert_array_equal(cube, kept.numpy())
    assert find_cubes(GLC24_FILES, kind, "test") == {}


@needs_files
def test_the_real_patches_of_2024_load():
    files = find_patches(GLC24_FILES, "train").paths()
    assert files.keys() == {1322301}
    patch = read_patch(*files[1322301])
    assert (patch.shape, patch.dtype) == ((4, 128, 128), np.uint8)
    assert patch.min((1, 2)).tolist() == [53, 63, 53, 87]
    assert patch.max((1, 2)).tolist() == [129, 125, 119, 186]
    with Image.open(files[1322301][0]) as rgb, Image.open(files[1322301][1]) as nir:
        assert (rgb.mode, nir.mode) == ("RGB", "L")
        np.testing.assert_array_equal(patch[0], np.asarray(rgb)[..., 0])
        np.testing.assert_array_equal(patch[3], np.asarray(nir))


@needs_files
def test_the_other_folder_layout_of_2024_is_found():
    files = find_patches(JRC, "train").paths()
    assert len(files) == 17
    below = [path.relative_to(JRC).as_posix() for path in files[1610000]]
    assert below == [f"PA_Train_SatellitePatches/{b}/00/00/1610000.jpeg" for b in ("rgb", "nir")]
    assert len(find_patches(JRC / "PA_Train_SatellitePatches", "train")) == 17
    assert {read_patch(*paths).shape for paths in files.values()} == {(4, 128, 128)}
    assert len(find_patches(JRC, "test")) == 0


@needs_files
def test_the_real_files_of_2025_load():
    tifffile = pytest.importorskip("tifffile")
    files = find_patches(GLC25_FILES, "test").paths()
    assert files.keys() == {5000108}
    patch = read_patch(*files[5000108])
    assert (patch.shape, patch.dtype) == ((4, 64, 64), np.int16)
    assert patch.min((1, 2)).tolist() == [219, 343, 202, 1595]
    assert patch.max((1, 2)).tolist() == [1294, 1043, 731, 5308]
    np.testing.assert_allclose(patch.mean((1, 2)), [585.516, 675.901, 411.428, 3653.902], atol=1e-3)
    for kind, shape in (("landsat", LANDSAT_SHAPE), ("bioclim", BIOCLIM_SHAPE)):
        assert read_cube(find_cubes(GLC25_FILES, kind, "test")[5000108], kind).shape == shape
    try:
        whole = tifffile.imread(files[5000108][0])
    except ValueError:
        return  # the package imagecodecs, which tifffile asks for here and we do not, is not there
    np.testing.assert_array_equal(patch, whole.transpose(2, 0, 1))


# --- finding


def test_files_belong_to_the_split_and_band_that_the_nearest_folder_names(tmp_path):
    root = tmp_path / "train and test"
    for split, number in (("Train", 1), ("Test", 12)):
        for band in ("RGB", "NIR"):
            folder = root / f"PA_{split}_SatellitePatches_{band}"
            nearest = folder / f"pa_{split.lower()}_patches_{band.lower()}" / "01" / "2"
            written(nearest / f"{number}.jpeg", jpeg(8, 8, "RGB" if band == "RGB" else "L"))
    written(root / "PO_Train_SatellitePatches_RGB" / "rgb" / "1.jpeg", b"presence-only")
    written(root / "PA_Train_SatellitePatches_RGB" / "._1.jpeg", b"what macOS leaves behind")
    written(root / "PA_Train_SatellitePatches_RGB" / "5.jpeg", jpeg(8, 8))
    written(root / "PA_Train_logo" / "6.jpeg", jpeg(8, 8))
    train, test = find_patches(root, "train"), find_patches(root, "test")
    assert (train.paths().keys(), test.paths().keys()) == ({1}, {12})
    assert train.notes == {
        "patches without near-infrared": 1,
        "JPEG files that are neither rgb nor nir": 1,
    }


@pytest.mark.parametrize(
    "name",
    [
        "GLC24-PA-train-landsat_time_series/GLC24-PA-train-landsat-time-series_{}_cube.pt",
        "GLC24-PA-train-landsat-time-series_{}_cube.pt",
        "SateliteTimeSeries-Landsat/cubes/PA-train/GLC25-PA-train-landsat_time_series_{}_cube.pt",
        "pa_train/landsat_{}_cube.pt",
    ],
)
def test_every_spelling_of_a_cube_is_found(tmp_path, name):
    written(tmp_path / "data" / name.format(123), b"")
    assert find_cubes(tmp_path / "data", "landsat", "train").keys() == {123}
    assert find_cubes(tmp_path / "data", "landsat", "test") == {}
    assert find_cubes(tmp_path / "data", "bioclim", "train") == {}


def test_links_to_folders_are_followed_and_circles_are_not(tmp_path):
    real = tmp_path / "elsewhere" / "PA-train-landsat"
    written(real / "landsat_7_cube.pt", b"")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    (real / "back").symlink_to(tmp_path / "data")
    assert find_cubes(tmp_path / "data", "landsat", "train").keys() == {7}


def test_two_files_of_one_survey_are_refused(tmp_path):
    for copy in ("a", "b"):
        written(tmp_path / copy / "PA-train-bioclim" / "bioclim_7_cube.pt", b"")
        written(tmp_path / copy / "PA_Train_rgb" / "07" / "7.jpeg", b"")
    with pytest.raises(
        SurveyDataError, match=r"two bioclim cubes.*surveyId 7 has .*/a/.* and .*/b/"
    ):
        find_cubes(tmp_path, "bioclim", "train")
    with pytest.raises(SurveyDataError, match="1 of 1 surveys have two rgb patches"):
        find_patches(tmp_path, "train")


def test_patches_of_both_layouts_at_once_are_refused(tmp_path):
    written(tmp_path / "PA-train" / "rgb" / "7.jpeg", b"")
    written(tmp_path / "PA-train" / "8.tiff", b"")
    with pytest.raises(SurveyDataError, match="1 JPEG patches .* and 1 TIFF patches"):
        find_patches(tmp_path, "train")


def test_wrong_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="kind must be one of landsat, bioclim, got 'image'"):
        find_cubes(tmp_path, "image", "train")
    with pytest.raises(ValueError, match="split must be one of train, test, got 'val'"):
        find_patches(tmp_path, "val")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_patches(tmp_path / "nowhere", "train")


# --- cubes


class Bomb:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def torch_file_of(pickled: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as parts:
        parts.writestr("cube/data.pkl", pickled)
        parts.writestr("cube/version", "3\n")
    return buffer.getvalue()


def test_missing_values_of_a_cube_are_nan(tmp_path):
    values = torch.full((4, 19, 12), 5.0)
    values[0, 0, 0], values[1, 2, 3], values[2, 4, 6] = torch.nan, torch.inf, -torch.inf
    cube = read_cube(written(tmp_path / "a.pt", saved(values)), "bioclim")
    assert np.argwhere(np.isnan(cube)).tolist() == [[0, 0, 0], [1, 2, 3], [2, 4, 6]]
    assert np.nanmin(cube) == np.nanmax(cube) == 5


@pytest.mark.parametrize("dtype", [torch.int16, torch.uint8, torch.float64, torch.bfloat16])
def test_cubes_of_other_numbers_are_read_as_float32(tmp_path, dtype):
    cube = read_cube(
        written(tmp_path / "a.pt", saved(torch.ones(6, 4, 21, dtype=dtype))), "landsat"
    )
    assert cube.dtype == np.float32
    assert (cube == 1).all()


BAD_CUBES = {
    "shape": (saved(torch.ones(6, 4, 20)), r"landsat cube of shape \(6, 4, 20\), not \(6, 4, 21\)"),
    "other kind": (saved(torch.ones(4, 19, 12)), r"shape \(4, 19, 12\), not \(6, 4, 21\)"),
    "dictionary": (saved({"cube": torch.ones(6, 4, 21)}), "holds a dict"),
    "numpy": (saved(np.ones((6, 4, 21))), "cannot be read"),
    "sparse": (saved(torch.ones(6, 4, 21).to_sparse()), "holds torch.sparse_coo"),
    "complex": (saved(torch.ones(6, 4, 21, dtype=torch.complex64)), "complex64, expected .* of real"),
    "cut off": (saved(torch.ones(6, 4, 21))[:900], "cannot be read, expected one tensor of shape"),
    "empty": (b"", "cannot be read"),
    "text": (b"<html>not found</html>", "cannot be read"),
    "bare pickle": (pickle.dumps([1, 2, 3]), "cannot be read"),
    "large": (saved(torch.ones(700, 6, 4, 21)), "bytes, expected one tensor of shape"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")  # of torch 2.15
@pytest.mark.parametrize("name", BAD_CUBES)
def test_a_bad_cube_is_refused_with_its_name(tmp_path, name):
    content, text = BAD_CUBES[name]
    with pytest.raises(SurveyDataError, match=rf"7_cube\.pt: .*{text}"):
        read_cube(written(tmp_path / "landsat_7_cube.pt", content), "landsat")


def test_a_cube_that_would_unpack_to_much_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr("cube/data/0", bytes(50_000_000))
    assert len(buffer.getvalue()) < 100_000
    with pytest.raises(SurveyDataError, match="would unpack to 50000000 bytes"):
        read_cube(written(tmp_path / "a.pt", buffer.getvalue()), "landsat")


def test_code_in_a_cube_is_never_executed(tmp_path):
    touched = tmp_path / "executed"
    bomb = pickle.dumps(Bomb(touched), protocol=2)
    for content in (torch_file_of(bomb), bomb):
        with pytest.raises(SurveyDataError, match="cannot be read"):
            read_cube(written(tmp_path / "a.pt", content), "landsat")
    assert not touched.exists()
    pickle.loads(bomb)
    assert touched.exists()  # it would have gone off


def test_a_cube_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_cube(tmp_path / "a.pt", "landsat")


# --- patches

BAD_PATCHES = {
    "cut off": (jpeg(128, 128)[:-200], jpeg(128, 128, "L"), "rgb.*cannot be read.*truncated"),
    "cut off nir": (jpeg(128, 128), jpeg(128, 128, "L")[:-200], "nir.*cannot be read.*(?i:truncated)"),
    "empty": (b"", jpeg(8, 8, "L"), "rgb.*it is no JPEG"),
    "text": (jpeg(8, 8), b"<html>", "nir.*it is no JPEG"),
    "sizes differ": (jpeg(8, 8), jpeg(8, 16, "L"), "nir.jpeg: 16 × 8 pixels, but 8 × 8 in"),
    "large": (jpeg(8, 1025), jpeg(8, 1025, "L"), "rgb.jpeg: 1025 × 8 pixels, expected at most 1024"),
    "grey as RGB": (jpeg(8, 8, "L"), jpeg(8, 8, "L"), "rgb.*mode L, expected RGB"),
    "RGB as nir": (jpeg(8, 8), jpeg(8, 8), "nir.*mode RGB, expected L"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_PATCHES)
def test_a_bad_patch_is_refused_with_its_name(tmp_path, name):
    rgb, nir, text = BAD_PATCHES[name]
    with pytest.raises(SurveyDataError, match=text):
        read_patch(written(tmp_path / "rgb.jpeg", rgb), written(tmp_path / "nir.jpeg", nir))


def test_an_image_that_would_fill_the_memory_is_not_decoded(tmp_path):
    content = bytearray(jpeg(16, 16))
    start = content.index(b"\xff\xc0")  # height and width stand five bytes on
    content[start + 5 : start + 9] = b"\xff\xdc\xff\xdc"  # 65500 × 65500 pixels
    path = written(tmp_path / "rgb.jpeg", bytes(content))
    with pytest.raises(SurveyDataError, match=r"rgb\.jpeg"):
        read_patch(path, path)


@pytest.mark.parametrize("count", [0, 3])
def test_a_patch_is_one_or_two_files(tmp_path, count):
    with pytest.raises(ValueError, match=f"{count} paths; expected RGB and near-infrared"):
        read_patch(*[tmp_path / "a.jpeg"] * count)


def tiff(path: Path, values: np.ndarray, **options: object) -> Path:
    pytest.importorskip("tifffile").imwrite(path, values, photometric="minisblack", **options)
    return path


def test_a_tiff_is_read_in_either_order_of_its_axes(tmp_path):
    values = np.arange(4 * 5 * 7, dtype=np.int16).reshape(5, 7, 4) - 50
    for name, stored, order in (
        ("a", values, "contig"),
        ("b", values.transpose(2, 0, 1), "separate"),
    ):
        patch = read_patch(tiff(tmp_path / f"{name}.tiff", stored, planarconfig=order))
        np.testing.assert_array_equal(patch, values.transpose(2, 0, 1))


@pytest.mark.parametrize("predictor", [None, 2])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_packed_tiffs_are_unpacked(tmp_path, byteorder, predictor):
    pytest.importorskip("imagecodecs", reason="tifffile writes LZW with the package imagecodecs")
    values = np.random.default_rng(0).integers(-9, 9000, (37, 29, 4)).astype(np.int16)
    path = tiff(
        tmp_path / "a.tiff", values, planarconfig="contig", compression="lzw", rowsperstrip=16,
        predictor=predictor, byteorder=byteorder,
    )  # fmt: skip
    np.testing.assert_array_equal(read_patch(path), values.transpose(2, 0, 1))


def test_bad_tiffs_are_refused_with_their_names(tmp_path):
    values = np.zeros((8, 8, 4), dtype=np.int16)
    whole = tiff(tmp_path / "whole.tiff", values, planarconfig="contig").read_bytes()
    bad = {
        written(tmp_path / "a.tiff", whole[:-40]): "cannot be read as a TIFF",
        written(tmp_path / "b.tiff", whole[:30]): "cannot be read as a TIFF",
        written(tmp_path / "c.tiff", b"II*\0"): "cannot be read as a TIFF",
        tiff(tmp_path / "d.tiff", values[..., :3].copy(), planarconfig="contig"): "expected int16",
        tiff(tmp_path / "e.tiff", values.astype(np.float32), planarconfig="contig"): "of float32",
        tiff(
            tmp_path / "f.tiff", np.zeros((2, 1025, 4), np.int16), planarconfig="contig"
        ): "at most",
    }
    for path, text in bad.items():
        with pytest.raises(SurveyDataError, match=rf"{path.name}: .*{text}"):
            read_patch(path)


@needs_files
@pytest.mark.slow
def test_a_real_tiff_needs_no_imagecodecs_and_names_the_extra_without_tifffile():
    path = find_patches(GLC25_FILES, "test").tiff[5000108]
    code = f"""
import sys
sys.modules["imagecodecs"] = None
from tighnari_models.data.patches import read_patch
print(read_patch({str(path)!r}).max((1, 2)).tolist())
sys.modules["tifffile"] = None
try:
    read_patch({str(path)!r})
except ImportError as error:
    print(error)
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[1294, 1043, 731, 5308]" in shown.stdout
    assert "in the checkout: pip install '.[tiff]'" in shown.stdout
