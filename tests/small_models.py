"""Surveys and models small enough to be trained within a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from scipy import sparse

from tighnari_graph import SurveyTable
from tighnari_models.config import TighnariConfig
from tighnari_models.data.cubes import BIOCLIM_SHAPE, LANDSAT_SHAPE
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.data.prepared import PreparedArrays
from tighnari_models.options import TrainingOptions

SPECIES = 7
MODALITIES = ("table", "gfv")
QUIET = TrainingOptions(lr=1e-2, warmup_epochs=0.5, accelerator="cpu", progress=False)


def surveys(blocks: int = 12, per_block: int = 4, seed: int = 0) -> SurveyTable:
    """Surveys in blocks half a degree apart; what grows there depends on the latitude."""
    rng = np.random.default_rng(seed)
    num = blocks * per_block
    block = np.repeat(np.arange(blocks), per_block)
    lat = 45 + 0.5 * block + rng.uniform(0, 0.02, num)
    share = 1 / (1 + np.exp(np.subtract.outer(lat - 48, np.linspace(-3, 3, SPECIES)) * 2))
    labels = sparse.csr_matrix((rng.random((num, SPECIES)) < share).astype(np.float32))
    return SurveyTable(
        np.arange(num) * 3 + 100, lat, 7 + rng.uniform(0, 0.02, num), np.full(num, 2020),
        np.full(num, "ALPINE", dtype=object), labels, np.arange(SPECIES) * 10 + 5,
    )  # fmt: skip


def relabelled(table: SurveyTable, rows: np.ndarray) -> SurveyTable:
    """The same surveys; in these rows, what was there is not and what was not is."""
    labels = table.known_labels().toarray()
    labels[rows] = 1 - labels[rows]
    return SurveyTable(
        table.survey_id, table.lat, table.lon, table.year, table.region,
        sparse.csr_matrix(labels), table.species_ids,
    )  # fmt: skip


def small_data(table: SurveyTable | None = None, **options: Any) -> SurveyDataModule:
    options = {"modalities": MODALITIES, "batch_size": 8} | options
    return SurveyDataModule(surveys() if table is None else table, **options)


def split_data(table: SurveyTable | None = None, **options: Any) -> SurveyDataModule:
    """The last quarter of the surveys validates."""
    data = small_data(table, **options)
    val = np.arange(len(data.surveys)) >= len(data.surveys) * 3 // 4
    return data.with_split(~val, val)


def prepared(folder: Path, table: SurveyTable, seed: int = 0) -> PreparedArrays:
    """Images and cubes of noise; surveys with the same labels and place get the same."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {"image": (4, 16, 16), "landsat": LANDSAT_SHAPE, "bioclim": BIOCLIM_SHAPE}
    _, place = np.unique(table.lat, return_inverse=True)
    arrays, found = {}, {}
    for name, shape in shapes.items():
        kind = np.uint8 if name == "image" else np.float32
        noise = np.random.default_rng(seed).normal(100, 30, (place.max() + 1, *shape))
        array = open_memmap(folder / f"{name}.npy", "w+", kind, (len(table), *shape))
        array[:] = noise.clip(0, 255)[place].astype(kind)
        arrays[name], found[name] = array, np.ones(len(table), bool)
    return PreparedArrays(folder, table.survey_id, arrays, found)


def every_modality(**fields: Any) -> TighnariConfig:
    """Hierarchical cross-attention over the smallest encoders that there are."""
    fields = {"drop_rate": 0.0, "drop_path_rate": 0.0} | fields
    return TighnariConfig(
        SPECIES, image_encoder="test_vit.r160_in1k", image_size=32, temporal_embed_dim=12,
        temporal_depths=(1, 1), temporal_heads=(2, 2), table_dim=16, gfv_dim=16, gfv_tokens=2,
        fusion_dim=16, fusion_heads=2, **fields,
    )  # fmt: skip


def small_config(**fields: Any) -> TighnariConfig:
    fields = {"num_species": SPECIES, "modalities": MODALITIES, "fusion": "concat"} | fields
    return TighnariConfig(table_dim=16, gfv_dim=16, **fields)
