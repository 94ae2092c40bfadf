"""The network of the paper preset: a training step, prediction, and what feeds them."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.case import Case, Limit, Peer
from benchmarks.machine import Speed
from tighnari_graph.sparse import torch_csr
from tighnari_graph.virtual import virtual_europe
from tighnari_models import SurveyBatch, SurveyDataModule, Tighnari, mixup
from tighnari_models.data.batch import FILES, PAPER_MODALITIES
from tighnari_models.data.cubes import CUBE_SHAPES
from tighnari_models.data.dataset import SurveyDataset
from tighnari_models.data.sources import Source, find_source
from tighnari_models.losses import bce
from tighnari_models.presets import PRESETS

NUM_SPECIES, BATCH, MEASURED = 11_255, 64, 8
FEW_SPECIES = 300  # of the smallest size
TABLE = 60  # columns, about as many as the real tables give
NON_ZEROS = 134  # of a graph feature
SURVEYS = 192  # of the virtual Europe, whose files are read


def cases(small: bool, speed: Speed) -> Iterator[Case]:
    """Training step, prediction, reading batches."""
    model, batch = paper_step(small)
    name = model.config.image_encoder
    backbone = timm.create_model(name, pretrained=False, in_chans=4, num_classes=0)
    size = f"{len(batch)} surveys, {batch.image.size(-1)} pixels, float32, {name}"
    yield Case(
        "training step of the paper preset, without the optimizer",
        size,
        partial(training_step, model, batch),
        {"bare backbone, forward and backward": Peer(partial(backbone_step, backbone, batch))},
        Limit("multiply 3 × forward of the backbone", speed.multiply(3 * flops(backbone, batch))),
        "≥ 85 % of the backbone's surveys a second on a GPU: ≥ 0.85×",
    )
    yield Case(
        "prediction of the paper preset, one model",
        size,
        partial(predicted, model.eval(), batch),
        {"bare backbone, forward": Peer(partial(predicted, backbone.eval(), batch.image))},
        Limit("multiply forward of the backbone", speed.multiply(flops(backbone, batch))),
        "≥ 85 % of the backbone's surveys a second on a GPU: ≥ 0.85×",
    )
    del model, backbone
    with tempfile.TemporaryDirectory() as folder:
        yield loading_case(Path(folder), 24 if small else SURVEYS, speed)


def training_step_of_64(small: bool) -> Peer:
    """A training step of the paper preset as a measure for what feeds it, from a few surveys."""
    model, batch = paper_step(small)
    return Peer(partial(training_step, model, batch), len(batch) / BATCH)


def paper_step(small: bool) -> tuple[Tighnari, SurveyBatch]:
    """The paper's network without published weights, and a batch; if small, a tiny encoder."""
    num_species = FEW_SPECIES if small else NUM_SPECIES
    config = PRESETS["paper"].config(num_species, PAPER_MODALITIES)
    config = replace(config, pretrained=False, num_table_features=TABLE)
    if small:
        config = replace(config, image_encoder="test_vit.r160_in1k", image_size=160,
                         drop_path_rate=0.0)  # fmt: skip
    torch.manual_seed(0)
    batch = random_batch(2 if small else MEASURED, num_species, config.image_size)
    return Tighnari(config), batch


def random_batch(num: int, num_species: int, pixels: int) -> SurveyBatch:
    """Inputs and labels of noise, graph features as sparse as real ones."""
    generator = torch.Generator().manual_seed(0)
    noise = partial(torch.randn, generator=generator)
    return SurveyBatch(
        torch.arange(num),
        image=noise(num, 4, pixels, pixels),
        landsat=noise(num, *CUBE_SHAPES["landsat"]),
        bioclim=noise(num, *CUBE_SHAPES["bioclim"]),
        table=noise(num, TABLE),
        gfv=random_rows(num, num_species),
        y=(torch.rand(num, num_species, generator=generator) < 17 / num_species).float(),
    )


def random_rows(num: int, num_species: int, non_zeros: int = NON_ZEROS) -> Tensor:
    """Graph rows with so many entries each."""
    rng = np.random.default_rng(0)
    columns = np.argsort(rng.random((num, num_species)), axis=1)[:, :non_zeros]
    indptr = np.arange(0, num * non_zeros + 1, non_zeros)
    values = rng.random(num * non_zeros, dtype=np.float32)
    return torch_csr(sparse.csr_matrix((values, columns.ravel(), indptr), (num, num_species)))


def training_step(model: Tighnari, batch: SurveyBatch) -> None:
    """Mixup, forward, loss, backward."""
    model.train().zero_grad()
    blended = mixup(batch, 0.7, torch.arange(len(batch)).flip(0))
    bce(model(blended), blended.y).backward()


def backbone_step(backbone: nn.Module, batch: SurveyBatch) -> None:
    """Forward and backward of the image backbone alone."""
    backbone.train().zero_grad()
    backbone(batch.image).square().mean().backward()


@torch.no_grad()
def predicted(model: nn.Module, batch: SurveyBatch | Tensor) -> Tensor:
    """Forward in eval mode."""
    return model(batch)


def flops(backbone: nn.Module, batch: SurveyBatch) -> float:
    """Operations of one forward of the backbone, two for each multiplication."""
    with FlopCounterMode(display=False) as counter:
        predicted(backbone.eval(), batch.image)
    return float(counter.get_total_flops())


def loading_case(folder: Path, num: int, speed: Speed) -> Case:
    """A batch of images and cubes, from prepared arrays and from the files as they come."""
    dataset, sources = written_and_prepared(folder, num)
    arrays = dataset.inputs.arrays.arrays
    rows = np.random.default_rng(0).permutation(num)[:BATCH].tolist()
    read = sum(arrays[name][rows].nbytes for name in FILES)
    return Case(
        "read a batch of images and cubes, prepared arrays",
        f"{len(rows)} surveys of {num}, 128 pixels, standardised",
        lambda: dataset.__getitems__(rows),
        {"raw small files": Peer(partial(from_files, dataset, sources, rows))},
        Limit("read the bytes once", speed.read(read)),
        check=same_batch,
    )


def written_and_prepared(folder: Path, num: int) -> tuple[SurveyDataset, dict[str, Source]]:
    """A virtual Europe of files: its images and cubes prepared, and where the files are."""
    europe = virtual_europe(num, num_test=4, num_po=10, num_species=50)
    data = europe.write(folder / "data", cubes=True, patches=True)
    module = SurveyDataModule.from_folder(
        data, folder / "prepared", modalities=FILES, max_bad_share=0.5
    )
    everyone = np.ones(len(module.surveys), dtype=bool)
    dataset = module.with_split(everyone, ~everyone).dataset(everyone, everyone, None)
    return dataset, {name: find_source(data, "train", name) for name in FILES}


def from_files(dataset: SurveyDataset, sources: dict[str, Source], rows: list[int]) -> SurveyBatch:
    """The same batch by reading the files of its surveys."""
    fields = {}
    for name, source in sources.items():
        scaler = getattr(dataset.preprocessing, name)
        shape = dataset.inputs.arrays.arrays[name].shape[1:]
        blank = np.full(shape, np.nan if name in CUBE_SHAPES else 0)
        ids = dataset.survey_id[rows].tolist()
        found = torch.tensor([survey in source.paths for survey in ids])
        raw = [source.read(survey) if survey in source.paths else blank for survey in ids]
        fields[name] = scaler.transform(torch.from_numpy(np.stack(raw)), found)
    return SurveyBatch(torch.from_numpy(dataset.survey_id[rows]), **fields)


def same_batch(ours: SurveyBatch, theirs: SurveyBatch) -> str:
    """What differs: a modality."""
    for name in FILES:
        if not torch.equal(getattr(ours, name), getattr(theirs, name)):
            return f"{name} of some surveys"
    return ""
