"""Batches from prepared arrays, by several processes and brought to a GPU, beside raw files."""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from torch.utils.data import DataLoader, Dataset

from benchmarks.case import Case, Peer
from benchmarks.cases.gpu_bench import Bench, Throughput
from benchmarks.cases.gpu_steps import PaperStep
from benchmarks.cases.network import from_files, written_and_prepared
from benchmarks.inputs import survey_table
from tighnari_models import SurveyBatch, SurveyDataModule, SurveyDataset
from tighnari_models.data.cubes import CUBE_SHAPES
from tighnari_models.data.dataset import collate
from tighnari_models.data.prepared import PreparedArrays
from tighnari_models.data.prepared_arrays import OK, write_manifest
from tighnari_models.data.sources import Source

PIXELS = 128
TURNS = 4  # how often raw files are read in a run


def cases(bench: Bench) -> Iterator[Case]:
    """An epoch with few and with many processes."""
    sizes, step = bench.sizes, PaperStep(bench)
    step.run(2)
    with tempfile.TemporaryDirectory() as folder:
        arrays = noise_arrays(Path(folder) / "arrays", sizes.prepared)
        surveys = survey_table(sizes.prepared, sizes.species)
        module = SurveyDataModule(surveys, arrays=arrays, batch_size=sizes.batch)
        everyone = np.ones(sizes.prepared, dtype=bool)
        split = module.with_split(everyone, ~everyone)
        raw = raw_files(Path(folder), sizes.files)
        epoch = sizes.prepared // sizes.batch * sizes.batch
        for workers in sizes.workers:
            split.num_workers = workers
            ours = split.train_dataloader()
            some = np.random.default_rng(0).permutation(np.arange(sizes.files * TURNS))
            files = DataLoader(
                raw, sizes.batch, sampler=some.tolist(), collate_fn=collate, drop_last=True,
                num_workers=workers, persistent_workers=True, pin_memory=ours.pin_memory,
            )  # fmt: skip
            for loader in (files, ours):  # processes start
                read(loader, bench)
            read_of_files = len(files) * sizes.batch
            yield Throughput(
                f"an epoch of batches from prepared arrays, {workers} processes",
                f"{epoch:,} surveys in batches of {sizes.batch}, {PIXELS} pixels, cached by the "
                "system, all modalities, brought to the device",
                partial(read, ours, bench),
                {
                    "training steps of the paper preset": Peer(
                        partial(step.run, sizes.steps), sizes.steps * sizes.batch / epoch,
                        aim="≥ 1.5×",
                    ),
                    "raw small files, images and cubes only": Peer(
                        partial(read, files, bench), read_of_files / epoch
                    ),
                },
                surveys=epoch,
            )  # fmt: skip


def read(loader: DataLoader[SurveyBatch], bench: Bench) -> None:
    """All batches, to the device."""
    for batch in loader:
        batch.to(bench.device, non_blocking=True)


def noise_arrays(folder: Path, num: int) -> PreparedArrays:
    """Images and cubes of noise, as `prepare` would have written them."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    shapes = {"image": ((4, PIXELS, PIXELS), "|u1")}
    shapes |= {name: (shape, "<f4") for name, shape in CUBE_SHAPES.items()}
    layouts = {
        name: {"shape": list(shape), "dtype": kind, "checksums": {}}
        for name, (shape, kind) in shapes.items()
    }
    for name, (shape, kind) in shapes.items():
        array = open_memmap(folder / f"{name}.npy", "w+", np.dtype(kind), (num, *shape))
        for rows in np.array_split(np.arange(num), max(1, num // 512)):
            array[rows] = rng.integers(0, 256, (len(rows), *shape), dtype=np.uint8)
        array.flush()
        np.save(folder / f"{name}_status.npy", np.full(num, OK, dtype=np.uint8))
    ids = list(range(num))
    write_manifest(
        folder, {"split": "train", "source": "noise", "survey_id": ids, "modalities": layouts}
    )
    return PreparedArrays.open(folder)


class RawFiles(Dataset[SurveyBatch]):
    """Batches of the files of some surveys as they come, again and again."""

    def __init__(self, dataset: SurveyDataset, sources: dict[str, Source]) -> None:
        self.dataset, self.sources = dataset, sources

    def __getitems__(self, rows: list[int]) -> SurveyBatch:
        there = [row % len(self.dataset) for row in rows]
        return from_files(self.dataset, self.sources, there)

    def __getitem__(self, row: int) -> SurveyBatch:
        return self.__getitems__([row])


def raw_files(folder: Path, num: int) -> RawFiles:
    """A virtual Europe written as files, and how each modality is brought to scale."""
    return RawFiles(*written_and_prepared(folder, num))
