"""Every reader of the library beside the files that it is fuzzed with."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz_bytes import (
    csv_files,
    json_files,
    mutated,
    odd_or_changed,
    parquet_files,
    safetensors_files,
)
from tests.fuzz_distributed import DISTRIBUTED
from tests.real_data import DATA, GLC24
from tighnari_graph import (
    GFVScaler,
    MultiScale,
    SurveyDataError,
    SurveyGraph,
    SurveyTable,
    check_submission,
    read_glc24_pa,
    read_glc24_po,
    read_glc24_test,
    species_vocabulary,
)
from tighnari_graph.conversions_parquet import read_geoparquet, write_geoparquet
from tighnari_models import Tighnari, TighnariConfig
from tighnari_models.data.cubes import read_cube
from tighnari_models.data.environment import read_environment
from tighnari_models.data.landsat_tables import BANDS, find_landsat_tables, read_landsat_tables
from tighnari_models.data.patches import read_patch
from tighnari_models.data.prepared import PreparedArrays, prepare
from tighnari_models.data.preprocessing import Preprocessing
from tighnari_models.encoders.pretrained import load_weights
from tighnari_models.encoders.timm_tokens import create_backbone

_BACKBONE = create_backbone("test_resnet")

Case = tuple[Path, st.SearchStrategy[bytes]]


@dataclass(frozen=True)
class Target:
    """A reader under test.

    Attributes:
        setup: fills a folder; the file to put bytes in, and a strategy for them.
        read: reads that file, given the folder and the file.
        errors: what the reader says that it raises.
    """

    setup: Callable[[Path], Case]
    read: Callable[[Path, Path], object]
    errors: tuple[type[Exception], ...] = (SurveyDataError, FileNotFoundError)


ROWS = pd.DataFrame({
    "surveyId": [7, 3, 7, 9, 4], "lat": [43.1, 43.11, 43.1, 45.0, 43.12], "lon": 3.0,
    "year": [2020, 2020, 2020, 2021, 2020], "region": ["ALPINE", "ALPINE", "ALPINE", None, "ALPINE"],
    "areaInM2": [4.0, np.nan, 4.0, -np.inf, 9.0], "speciesId": [5.0, 9.0, 29.0, np.nan, 5.0],
})  # fmt: skip


def table() -> SurveyTable:
    return SurveyTable.from_long(ROWS, species_ids=[5, 9, 29])


def _csv_seeds() -> list[bytes]:
    seeds = [ROWS.to_csv(index=False).encode()]
    if GLC24.is_dir():
        with (GLC24 / "GLC24_PA_metadata_train.csv").open("rb") as file:
            seeds.append(b"".join(file.readline() for _ in range(30)))
    return seeds


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


# --- tables


def _made_csv(folder: Path) -> Case:
    return folder / "pa.csv", csv_files()


def _changed_csv(folder: Path) -> Case:
    return folder / "pa.csv", mutated(_csv_seeds())


def _made_parquet(folder: Path) -> Case:
    return folder / "pa.parquet", parquet_files()


def _changed_parquet(folder: Path) -> Case:
    return folder / "pa.parquet", mutated([parquet_bytes(ROWS)])


def _read_tables(folder: Path, path: Path) -> None:
    failed = 0
    for read in (read_glc24_pa, read_glc24_po, read_glc24_test, species_vocabulary):
        try:
            read(path)
        except SurveyDataError:
            failed += 1
    if failed == 4:
        raise SurveyDataError("all four")


def _environment(suffix: str) -> Callable[[Path], Case]:
    def setup(folder: Path) -> Case:
        (folder / "GLC24-PA-train-soilgrids.csv").write_text("surveyId,Soilgrid-soc\n7,3.5\n")
        frame = pd.DataFrame({"surveyId": [7, 3], "LandCover": ["urban", "wood"], "b": [1.5, None]})
        seed = frame.to_csv(index=False).encode() if suffix == "csv" else parquet_bytes(frame)
        made = csv_files() if suffix == "csv" else parquet_files()
        return folder / f"GLC24-PA-train-landcover.{suffix}", st.one_of(mutated([seed]), made)

    return setup


def _landsat_table(folder: Path) -> Case:
    names = [f"{year}_{quarter}" for year in range(2000, 2021) for quarter in range(1, 5)]
    frame = pd.DataFrame({"surveyId": [7, 3], **dict.fromkeys(names, 30.0)})
    folder = folder / "PA-train-landsat_time_series"
    folder.mkdir()
    for band in BANDS:
        frame.to_csv(folder / f"GLC24-PA-train-landsat_time_series-{band}.csv", index=False)
    path = folder / "GLC24-PA-train-landsat_time_series-nir.csv"
    ids = st.lists(
        st.sampled_from(("7", "3", "", "x", "7.5", "1e400", "nan", "9" * 19)),
        min_size=1,
        max_size=3,
    )
    line = ",30" * len(names) + "\n"
    head = ",".join(["surveyId", *names]) + "\n"
    made = ids.map(lambda some: (head + "".join(f"{i}{line}" for i in some)).encode())
    return path, st.one_of(mutated([path.read_bytes()]), made)


def _submission(folder: Path) -> Case:
    return folder / "s.csv", st.one_of(
        mutated([b"surveyId,predictions\n7,5 9\n3,\n"]), csv_files(),
        csv_files().map(lambda data: b"surveyId,predictions\n" + data),
    )  # fmt: skip


# --- images and cubes


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _real(pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((DATA / "glc24_files").glob(pattern))[:1]]


def _noise(bands: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 255, (24, 24, bands), dtype=np.uint8)
    return Image.fromarray(values if bands == 3 else values[..., 0])


def _jpeg(folder: Path) -> Case:
    (folder / "nir.jpeg").write_bytes(encoded(Image.new("L", (128, 128)), "JPEG"))
    seeds = [encoded(_noise(3), "JPEG"), encoded(_noise(3), "JPEG", progressive=True)]
    return folder / "rgb.jpeg", mutated(seeds + _real("glc24*/**/*RGB*/**/*.jpeg"))


def _png(folder: Path) -> Case:
    (folder / "nir.jpeg").write_bytes(encoded(Image.new("L", (24, 24)), "JPEG"))
    return folder / "rgb.jpeg", mutated([encoded(_noise(3), "PNG"), encoded(_noise(3), "GIF")])


def _tiff(folder: Path) -> Case:
    import tifffile

    seeds = _real("glc25*/**/*.tiff")
    values = np.random.default_rng(0).integers(0, 9000, (16, 16, 4)).astype(np.int16)
    for packed in (None, "zlib"):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, values, compression=packed, photometric="minisblack",
                         planarconfig="contig")  # fmt: skip
        seeds.append(buffer.getvalue())
    return folder / "7.tiff", mutated(seeds)


def _cube(kind: str) -> Callable[[Path], Case]:
    def setup(folder: Path) -> Case:
        shape = {"landsat": (6, 4, 21), "bioclim": (4, 19, 12)}[kind]
        buffer = io.BytesIO()
        torch.save(torch.ones(shape), buffer)
        return folder / "7_cube.pt", mutated([buffer.getvalue(), *_real(f"glc24*/**/*{kind}*.pt")])

    return setup


# --- what the library wrote itself


def _graph(folder: Path) -> Case:
    path = folder / "graph.safetensors"
    SurveyGraph.from_surveys(table()).save(path)
    seed = path.read_bytes()
    return path, st.one_of(mutated([seed]), safetensors_files(seed))


def _multiscale(folder: Path) -> Case:
    path = folder / "multiscale.safetensors"
    lat = 43 + np.arange(30) * 0.2
    rows = pd.DataFrame({"surveyId": np.arange(30), "lat": lat, "lon": 3.0, "year": 2020,
                         "speciesId": np.arange(30) % 3})  # fmt: skip
    MultiScale.fit(SurveyTable.from_long(rows), scales_km=(100.0, 30.0), steps=1).save(path)
    seed = path.read_bytes()
    return path, st.one_of(mutated([seed]), safetensors_files(seed))


def _geoparquet(name: str) -> Callable[[Path], Case]:
    def setup(folder: Path) -> Case:
        write_geoparquet(SurveyGraph.from_surveys(table()), folder / "graph")
        path = folder / "graph" / name
        return path, odd_or_changed(path)

    return setup


def saved_model(folder: Path) -> Path:
    config = TighnariConfig(
        3, modalities=("table", "gfv"), fusion="concat", num_table_features=2, table_dim=4, gfv_dim=4,
        gfv_tokens=2,
    )  # fmt: skip
    model = Tighnari(config)
    model.preprocessing, model.surveys = Preprocessing(gfv=GFVScaler("max")), table()
    model.species_ids = model.surveys.species_ids
    model.save_pretrained(folder / "model")
    return folder / "model"


def _model(name: str) -> Callable[[Path], Case]:
    def setup(folder: Path) -> Case:
        path = saved_model(folder) / name
        seed = path.read_bytes()
        odd = {".json": json_files, ".safetensors": safetensors_files}.get(path.suffix)
        if path.suffix == ".parquet":
            return path, st.one_of(mutated([seed]), parquet_files())
        return path, st.one_of(mutated([seed]), *([odd(seed)] if odd else []))

    return setup


def _weights(folder: Path) -> Case:
    buffer = io.BytesIO()
    torch.save({"conv1.0.weight": torch.ones(4, 4), "a": torch.ones(2)}, buffer)
    return folder / "weights.pth", mutated([buffer.getvalue()])


def _prepared(name: str) -> Callable[[Path], Case]:
    def setup(folder: Path) -> Case:
        for survey in (7, 8):
            place = folder / "cubes" / f"GLC24-PA-train-landsat_time_series_{survey}_cube.pt"
            place.parent.mkdir(exist_ok=True)
            torch.save(torch.ones(6, 4, 21), place)
        prepare(folder / "cubes", folder / "out", [7, 8], "train", ("landsat",))
        path = folder / "out" / name
        seed = path.read_bytes()
        odd = [json_files(seed)] if path.suffix == ".json" else []
        return path, st.one_of(mutated([seed]), *odd)

    return setup


def _open_prepared(folder: Path, path: Path) -> None:
    PreparedArrays.open(folder / "out")


TARGETS = {
    "survey CSV, made up": Target(_made_csv, _read_tables),
    "survey CSV, changed": Target(_changed_csv, _read_tables),
    "survey Parquet, made up": Target(_made_parquet, _read_tables),
    "survey Parquet, changed": Target(_changed_parquet, _read_tables),
    "environment CSV": Target(_environment("csv"), lambda d, p: read_environment(d, "train")),
    "environment Parquet": Target(_environment("parquet"), lambda d, p: read_environment(d, "train")),
    "Landsat table": Target(
        _landsat_table, lambda d, p: read_landsat_tables(find_landsat_tables(d, "train"))
    ),
    "submission": Target(_submission, lambda d, p: check_submission(p, [7, 3], [5, 9])),
    "JPEG": Target(_jpeg, lambda d, p: read_patch(p, d / "nir.jpeg")),
    "PNG and GIF as JPEG": Target(_png, lambda d, p: read_patch(p, d / "nir.jpeg")),
    "TIFF": Target(
        _tiff, lambda d, p: read_patch(p), (SurveyDataError, FileNotFoundError, ImportError)
    ),
    "Landsat cube": Target(_cube("landsat"), lambda d, p: read_cube(p, "landsat")),
    "bioclim cube": Target(_cube("bioclim"), lambda d, p: read_cube(p, "bioclim")),
    "graph": Target(_graph, lambda d, p: SurveyGraph.load(p)),
    "multi-scale model": Target(_multiscale, lambda d, p: MultiScale.load(p)),
    **{
        f"GeoParquet {name}": Target(_geoparquet(name), lambda d, p: read_geoparquet(p.parent))
        for name in ("nodes.parquet", "edges.parquet", "labels.parquet", "spec.json")
    },
    **{
        f"model {name}": Target(_model(name), lambda d, p: Tighnari.from_pretrained(p.parent))
        for name in ("config.json", "model.safetensors", "preprocessing.json", "species_ids.npy",
                     "surveys.parquet")
    },
    "timm weights": Target(
        _weights, lambda d, p: load_weights(_BACKBONE, p), (ValueError,)
    ),
    **{
        f"prepared {name}": Target(_prepared(name), _open_prepared)
        for name in ("manifest.json", "landsat.npy", "landsat_status.npy")
    },
    **{name: Target(setup, read) for name, (setup, read) in DISTRIBUTED.items()},
}  # fmt: skip
