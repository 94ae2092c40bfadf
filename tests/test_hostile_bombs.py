"""Images, cubes and models that are small on the disk, and huge in the memory or in time."""

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from tests.fuzz_limits import within_limits
from tests.fuzz_targets import encoded, saved_model
from tests.test_files import jpeg, saved, tiff, written
from tests.test_prepared import write_survey
from tighnari_graph import SurveyDataError, read_glc24_pa
from tighnari_graph.files import read_array
from tighnari_models import Tighnari, TighnariConfig
from tighnari_models.data import patches
from tighnari_models.data.cubes import read_cube
from tighnari_models.data.patches import read_patch
from tighnari_models.data.prepared import PreparedArrays, prepare


def pair(folder: Path, content: bytes) -> tuple[Path, Path]:
    """An image as red, green and blue, beside a sound near-infrared one."""
    return written(folder / "rgb.jpeg", content), written(folder / "nir.jpeg", jpeg(8, 8, "L"))


def huge_jpeg(height: int, width: int) -> bytes:
    content = bytearray(jpeg(16, 16))
    start = content.index(b"\xff\xc0")
    content[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def huge_png() -> bytes:
    """30,000 × 30,000 black pixels in three kilobytes of PNG under the name of a JPEG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(3_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (huge_jpeg(65_500, 65_500), "rgb"),
        (huge_jpeg(1, 65_535), "65535 × 1 pixels, expected at most 1024"),
        (huge_jpeg(0, 0), "rgb"),
        (huge_png(), "it is no JPEG"),
        (encoded(Image.new("RGB", (8, 8)), "GIF"), "it is no JPEG"),
        (encoded(Image.new("RGB", (8, 8)), "TIFF"), "it is no JPEG"),
        (jpeg(8, 8) + bytes(2**24), "16777.* bytes, expected an image"),
    ],
    ids=("65,500 a side", "one row", "no size", "PNG", "GIF", "TIFF", "16 MB"),
)
def test_images_of_absurd_size_or_kind_are_not_decoded(tmp_path, content, text):
    paths = pair(tmp_path, content)
    with within_limits(tmp_path), pytest.raises(SurveyDataError, match=text):
        read_patch(*paths)


def test_a_jpeg_of_a_hundred_thousand_scans_is_refused_at_once(tmp_path):
    whole = encoded(Image.new("L", (1024, 1024), 9), "JPEG", progressive=True)
    last, end = whole.rindex(b"\xff\xda"), whole.rindex(b"\xff\xd9")
    many = whole[:end] + whole[last:end] * 100_000 + whole[end:]  # 70 seconds of decoding
    paths = pair(tmp_path, many)
    with (
        within_limits(tmp_path),
        pytest.raises(SurveyDataError, match="100006 scans, at most 100"),
    ):
        read_patch(*paths)
    few = whole[:end] + whole[last:end] * 90 + whole[end:]
    grey = written(tmp_path / "nir.jpeg", few)
    rgb = written(tmp_path / "rgb.jpeg", jpeg(1024, 1024))
    assert read_patch(rgb, grey).shape == (4, 1024, 1024)


def test_a_tiff_that_would_unpack_to_much_more_is_refused(tmp_path):
    values = np.zeros((64, 64, 4), np.int16)
    path = tiff(tmp_path / "7.tiff", values, planarconfig="contig", compression="zlib")
    np.testing.assert_array_equal(read_patch(path), values.transpose(2, 0, 1))
    whole, bomb = path.read_bytes(), zlib.compress(bytes(2**27), 9)
    strip = zlib.compress(values.tobytes(), 6)
    at = whole.index(strip[:20])
    entry = whole.index(struct.pack("<HHI", 279, 4, 1))  # the length of the strip
    long = whole[: entry + 8] + struct.pack("<I", len(bomb)) + whole[entry + 12 : at] + bomb
    path.write_bytes(long)
    assert len(long) < 200_000
    with (
        within_limits(tmp_path),
        pytest.raises(SurveyDataError, match="unpack to more than 16777216"),
    ):
        read_patch(path)


def test_a_tiff_packed_in_another_way_is_refused(tmp_path):
    path = tiff(tmp_path / "7.tiff", np.zeros((8, 8, 4), np.int16), planarconfig="contig")
    whole = path.read_bytes()
    entry = whole.index(struct.pack("<HHI", 259, 3, 1))
    for packing in (34925, 50000, 7):  # LZMA, Zstandard, JPEG
        path.write_bytes(whole[: entry + 8] + struct.pack("<H", packing) + whole[entry + 10 :])
        with pytest.raises(SurveyDataError, match="expected LZW, deflate or none"):
            read_patch(path)


def test_a_tiff_whose_parts_lie_upon_each_other_is_refused(tmp_path):
    """All strips are one: unpacked, a small file would stand for any number of them."""
    values = np.random.default_rng(0).integers(0, 9000, (64, 64, 4)).astype(np.int16)
    path = tiff(tmp_path / "7.tiff", values, planarconfig="contig", rowsperstrip=16)
    with pytest.importorskip("tifffile").TiffFile(path) as file:
        offsets, lengths = (file.pages[0].tags[tag].valueoffset for tag in (273, 279))
        assert file.pages[0].tags[279].dtype_name == "SHORT"
    whole = bytearray(path.read_bytes())
    first = struct.unpack_from("<I", whole, offsets)[0]
    struct.pack_into("<4I", whole, offsets, *[first] * 4)
    struct.pack_into("<4H", whole, lengths, *[len(whole) - first] * 4)
    path.write_bytes(whole)
    with pytest.raises(SurveyDataError, match=r"7\.tiff: .* its parts lie upon each other"):
        read_patch(path)


def test_a_tiff_that_is_not_of_the_size_it_says_is_refused(tmp_path):
    """Found by the fuzz: an image of no width."""
    path = tiff(tmp_path / "7.tiff", np.zeros((16, 16, 4), np.int16), planarconfig="contig")
    whole = path.read_bytes()
    entry = whole.index(struct.pack("<HHI", 256, 4, 1))
    path.write_bytes(whole[: entry + 8] + struct.pack("<I", 0) + whole[entry + 12 :])
    with pytest.raises(SurveyDataError, match=r"7\.tiff: cannot be read as a TIFF: it says"):
        read_patch(path)


def archive(pickled: bytes) -> bytes:
    """A cube as `torch.save` writes it, with another pickle in it."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved(torch.ones(6, 4, 21)))) as given,
        zipfile.ZipFile(buffer, "w") as parts,
    ):
        for name in given.namelist():
            parts.writestr(name, pickled if name.endswith("data.pkl") else given.read(name))
    return buffer.getvalue()


def test_a_cube_whose_pickle_asks_for_gigabytes_is_refused(tmp_path):
    """PyTorch's safe loading allows `bytearray`, of any length: 3 GB, filled, out of 2 kB."""
    length = b"\x8a\x05" + (3 * 10**9).to_bytes(5, "little")
    for name in (b"__builtin__\nbytearray", b"builtins\nbytearray", b"torch\nTensor"):
        path = written(
            tmp_path / "7_cube.pt", archive(b"\x80\x02c" + name + b"\n" + length + b"\x85R.")
        )
        with within_limits(tmp_path), pytest.raises(SurveyDataError, match="no part of a tensor"):
            read_cube(path, "landsat")


ODD_CUBES = {
    "on no device": (torch.ones(6, 4, 21, device="meta"), "cannot be read"),
    "nested": (None, "cannot be read"),
    "a million squared": (torch.ones(1).expand(10**6, 10**6), r"shape \(1000000, 1000000\)"),
    "bits": (torch.ones(6, 4, 21, dtype=torch.uint8).view(torch.bits8), "cannot be read"),
}


@pytest.mark.parametrize("name", ODD_CUBES)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_tensors_that_are_no_cubes_are_refused(tmp_path, name):
    values, text = ODD_CUBES[name]
    if values is None:
        values = torch.nested.nested_tensor([torch.ones(6, 4, 21)])
    path = written(tmp_path / "7_cube.pt", saved(values))
    with within_limits(tmp_path), pytest.raises(SurveyDataError, match=text):
        read_cube(path, "landsat")


def test_cubes_saved_in_unusual_ways_are_read(tmp_path):
    values = torch.arange(504.0).reshape(6, 4, 21)
    for odd in (torch.nn.Parameter(values), torch._neg_view(-values), values.to(torch.int16),
                values.transpose(0, 1).contiguous().transpose(0, 1)):  # fmt: skip
        cube = read_cube(written(tmp_path / "7_cube.pt", saved(odd)), "landsat")
        np.testing.assert_array_equal(cube, values[..., :20])


def test_an_archive_whose_parts_lie_about_their_size_is_refused(tmp_path):
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved(torch.ones(6, 4, 21)))) as given,
        zipfile.ZipFile(buffer, "w") as parts,
    ):
        for name in given.namelist():
            parts.writestr(name, b"\0" * 4 if name.endswith("data/0") else given.read(name))
    with pytest.raises(SurveyDataError, match="cannot be read"):
        read_cube(written(tmp_path / "7_cube.pt", buffer.getvalue()), "landsat")


@pytest.mark.parametrize("shape", [(10**12,), (3, 10**18)])
def test_an_array_that_says_it_is_huge_is_refused(tmp_path, shape):
    folder = saved_model(tmp_path)
    text = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
    (folder / "species_ids.npy").write_bytes(head + b"\0" * 24)
    with within_limits(tmp_path), pytest.raises(SurveyDataError, match=r"species_ids\.npy"):
        Tighnari.from_pretrained(folder)


@pytest.mark.parametrize(
    "sizes",
    [
        {"gfv_dim": 10**9},
        {"gfv_dim": 60_000, "table_dim": 60_000},
        {"num_table_features": 10**9},
        {"gfv_dim": 2**62},
        {"num_species": 10**9},
        {"temporal_depths": [10**9, 2], "modalities": ["table", "gfv", "landsat"]},
        {"image_size": 10**6, "modalities": ["table", "gfv", "image"]},
        {"image_size": 8192, "modalities": ["image"], "image_encoder": "test_vit.r160_in1k"},
        {"image_encoder": "hf-hub:someone/model", "modalities": ["image"]},
    ],
    ids=str,
)
def test_a_model_that_says_it_is_huge_is_not_built(tmp_path, sizes):
    folder = saved_model(tmp_path)
    (folder / "species_ids.npy").unlink()
    (folder / "surveys.parquet").unlink()
    state = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(state | sizes))
    with (
        within_limits(tmp_path),
        pytest.raises(SurveyDataError, match=r"config\.json: no model can"),
    ):
        Tighnari.from_pretrained(folder)


def test_a_large_model_is_built_from_its_own_weights(tmp_path):
    config = TighnariConfig(
        3, modalities=("gfv",), fusion="concat", gfv_dim=3000, gfv_tokens=1, num_table_features=1
    )
    Tighnari(config).save_pretrained(tmp_path / "model")
    assert Tighnari.from_pretrained(tmp_path / "model").config.gfv_dim == 3000


FOUND = {  # by the fuzz: headers that numpy parses as Python, which has errors of its own
    "a bracket that never ends": b"{'descr': '<i8', 'fortran_order': False, 'shape3,), }",
    "a NUL byte": b"{'descr': '<i8', \0 'fortran_order': False, 'shape': (3,), }",
    "no Python": b"{\x01",
}


@pytest.mark.parametrize("case", FOUND)
def test_array_headers_that_a_fuzz_found(tmp_path, case):
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(FOUND[case])) + FOUND[case] + bytes(24)
    folder = saved_model(tmp_path)
    (folder / "species_ids.npy").write_bytes(head)
    with pytest.raises(SurveyDataError, match=r"species_ids\.npy: not a part of a saved model"):
        Tighnari.from_pretrained(folder)
    write_survey(tmp_path / "data", 12)
    prepare(tmp_path / "data", tmp_path / "out", [12], "train", ("landsat",))
    (tmp_path / "out/landsat_status.npy").write_bytes(head)
    with pytest.raises(SurveyDataError, match=r"landsat_status\.npy: cannot be read"):
        PreparedArrays.open(tmp_path / "out")


def test_an_archive_under_the_name_of_an_array_is_not_opened(tmp_path):
    np.savez(tmp_path / "a.npz", arr_0=np.arange(3))
    with pytest.raises(ValueError, match="magic"):
        read_array(tmp_path / "a.npz")


def test_json_nested_a_hundred_thousand_deep_is_refused(tmp_path):
    folder = saved_model(tmp_path)
    for name in ("preprocessing.json", "config.json"):
        (folder / name).write_text("[" * 100_000)
        with (
            within_limits(tmp_path),
            pytest.raises(SurveyDataError, match=name.replace(".", r"\.")),
        ):
            Tighnari.from_pretrained(folder)


def test_the_limits_of_files_are_far_from_real_ones():
    assert patches._MAX_PIXELS >= 8 * 128
    assert patches._MAX_BYTES >= 4 * 2 * patches._MAX_PIXELS**2


def test_a_text_of_a_megabyte_in_every_row_is_held_once(tmp_path):
    """Eight kilobytes that stand for 2.5 GB: Parquet stores the text once."""
    n = 2500
    region = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), ["A" * 1_000_000])
    table = pa.table({
        "surveyId": range(n), "lat": np.full(n, 45.0), "lon": np.full(n, 7.0),
        "year": np.full(n, 2020), "region": region, "speciesId": np.arange(n) % 5,
    })  # fmt: skip
    parquet.write_table(table, tmp_path / "b.parquet", compression="zstd", store_schema=False)
    with within_limits(tmp_path):
        assert len(read_glc24_pa(tmp_path / "b.parquet")) == n


def test_fifty_thousand_columns_are_refused_at_once(tmp_path):
    names = ["surveyId", "lat", "lon", "year", "region", "speciesId", *map(str, range(50_000))]
    row = ["7", "43", "3", "2020", "A", "5", *["1"] * 50_000]
    (tmp_path / "w.csv").write_text(",".join(names) + "\n" + ",".join(row) + "\n")
    with (
        within_limits(tmp_path),
        pytest.raises(SurveyDataError, match=r"w\.csv: 50,006 columns, at most 10,000 are read"),
    ):
        read_glc24_pa(tmp_path / "w.csv")


def test_surveys_of_a_model_with_more_labels_than_species_are_refused(tmp_path):
    """Five kilobytes that stand for 240 million labels."""
    folder = saved_model(tmp_path)
    path = folder / "surveys.parquet"
    table = parquet.read_table(path)
    ends = np.linspace(0, 2**26, len(table) + 1).astype(np.int32)
    lists = pa.ListArray.from_arrays(ends, np.zeros(2**26, np.int32))
    place = table.column_names.index("species_columns")
    table = table.set_column(place, "species_columns", lists)
    parquet.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 100_000
    with within_limits(folder), pytest.raises(SurveyDataError, match=r"67,108,864 labels of"):
        Tighnari.from_pretrained(folder)
