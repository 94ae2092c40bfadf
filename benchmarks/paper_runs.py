"""Train the models behind the rows of the paper's tables, once each, resumable at every epoch."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from benchmarks.paper_rows import SIZES, Row, Size
from tighnari_graph.files import written_whole
from tighnari_graph.splits import block_folds
from tighnari_graph.virtual import virtual_europe
from tighnari_models.config import TighnariConfig
from tighnari_models.data.batch import PAPER_MODALITIES
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.data.prepared import PreparedArrays
from tighnari_models.fit import fit
from tighnari_models.prediction import average_logits, predict
from tighnari_models.run_folder import data_record, write_json
from tighnari_models.tighnari import Tighnari

_study: "Study"  # of a process that trains for another
_PARTS = 10  # where a single fold is held out, it is one of so many


@dataclass(frozen=True)
class Study:
    """One size of the experiments on one data set; everything is found again in ``out``.

    Attributes:
        data: the data folder.
        out: where models and tables go.
        size: a key of `SIZES`.
        folds: block folds that are held out in turn; 1 holds out one of ten.
        seeds: how often each model is trained.
        limit: use this many surveys, of whole blocks.
        epochs: instead of those of the size.
        members: fold models of a cross-fusion, instead of those of the size.
        pretrained: whether image encoders start from published weights, instead of the size's.
    """

    data: Path
    out: Path
    size: str = "small"
    folds: int = 3
    seeds: int = 3
    limit: int | None = None
    epochs: int | None = None
    members: int | None = None
    pretrained: bool | None = None

    @cached_property
    def settings(self) -> Size:
        """The size, with what was set otherwise."""
        size = SIZES[self.size]
        given = {"max_epochs": self.epochs, "folds": self.members}
        if self.epochs is not None:
            given["fine_tune_epochs"] = min(self.epochs, size.preset.fine_tune_epochs)
        changes: dict[str, object] = {n: value for n, value in given.items() if value is not None}
        if self.pretrained is not None:
            changes["model"] = {**size.preset.model, "pretrained": self.pretrained}
        return replace(size, preset=replace(size.preset, **changes))

    @cached_property
    def with_gfv(self) -> SurveyDataModule:
        """The surveys with all modalities; a folder that lacks one is refused."""
        return self._read(PAPER_MODALITIES)

    @cached_property
    def without_gfv(self) -> SurveyDataModule:
        """The same without graph features, which then take no time either."""
        return self._read(tuple(name for name in PAPER_MODALITIES if name != "gfv"))

    def _read(self, modalities: tuple[str, ...]) -> SurveyDataModule:
        data = SurveyDataModule.from_folder(
            self.data, self.out / "prepared", modalities, limit=self.limit,
            batch_size=self.settings.preset.batch_size,
        )  # fmt: skip
        pixels = self.settings.patch_pixels
        if pixels is not None:
            data.arrays = _shrunk(data.arrays, self.out / "patches_train.npy", pixels)
            data.test_arrays = _shrunk(data.test_arrays, self.out / "patches_test.npy", pixels)
        return data

    @cached_property
    def fold_of(self) -> np.ndarray:
        r"""The fold in which each survey is held out, :math:`(N,)`; −1 if in none."""
        parts = self.folds if self.folds > 1 else _PARTS
        fold = block_folds(self.with_gfv.surveys, parts)
        return np.where(fold < self.folds, fold, -1)

    def claim(self) -> None:
        """Refuse a folder that holds another study; more seeds and other rows may be added.

        Raises:
            ValueError: naming what differs.
        """
        asked = {"size": self.size, "folds": self.folds, **asdict(self.settings)}
        asked["data"] = data_record(self.with_gfv)
        asked = json.loads(json.dumps(asked))
        path = self.out / "study.json"
        held = json.loads(path.read_text()) if path.exists() else asked
        differ = [name for name in asked if held.get(name) != asked[name]]
        if differ:
            raise ValueError(
                f"{self.out}: holds a study that differs in {', '.join(differ)}; choose another "
                "folder or delete this one"
            )
        write_json(path, asked)

    def members_of(self, row: Row, fold: int, seed: int) -> list[Path]:
        """Folders of the models of a row: one, or those of all folds of a cross-fusion."""
        folder = self.out / "runs" / row.trained / f"held_out_{fold}_seed_{seed}"
        number = self.settings.preset.folds if row.fused else 1
        return [folder / f"fold_{member:02d}" for member in range(number)]

    def logits(self, row: Row, fold: int, seed: int, of: str) -> np.ndarray:
        r"""Mean logits of a row's models on the "held_out" or "test" surveys, float32."""
        return average_logits([p / f"{of}.npy" for p in self.members_of(row, fold, seed)])


def train(study: Study, row: Row, fold: int, seed: int) -> None:
    """Train the models of a row that are not there yet, and predict with them.

    The held-out fold takes part in nothing. The other surveys are cut into as many parts as a
    cross-fusion has models; in model m, part m chooses the epoch and the others are learned from.
    A row with a single model has the first of them.
    """
    data = study.with_gfv if row.gfv else study.without_gfv
    preset = study.settings.preset
    held_out = study.fold_of == fold
    part = np.full(len(held_out), -1)
    part[~held_out] = block_folds(data.surveys.subset(~held_out), preset.folds, seed=seed)
    # All models of a cross-fusion share it, but for the scale of graph features (made of labels).
    shared = data.fit_preprocessing(~held_out, gfv=False)
    config = TighnariConfig(len(data.species_ids), data.modalities, **study.settings.model(row))
    places = study.members_of(row, fold, seed)
    for member, place in enumerate(places):
        if (place / "test.npy").exists():
            continue
        split = data.with_split(~held_out & (part != member), part == member, shared)
        start, epochs = None, preset.max_epochs
        if member and preset.warm_start:
            start = Tighnari.from_pretrained(places[0] / "model")
            epochs = preset.fine_tune_epochs
        chosen = 1000 * seed + member
        model = fit(config, split, place, epochs, chosen, preset.training, start).model
        unseen = data.dataset(held_out, ~held_out, model.preprocessing)
        predict(model, unseen, out=place / "held_out.npy")
        predict(model, data.test_dataset(model.preprocessing), out=place / "test.npy")


def train_all(study: Study, rows: tuple[Row, ...], jobs: int = 1) -> None:
    """Train everything that rows need, in ``jobs`` processes of one thread each if several."""
    needed = {row.trained: row for row in sorted(rows, key=lambda row: row.fused)}
    todo = [
        (row, fold, seed)
        for fold in range(study.folds)
        for seed in range(study.seeds)
        for row in sorted(needed.values(), key=lambda row: not row.fused)  # the long ones first
        if not all((p / "test.npy").exists() for p in study.members_of(row, fold, seed))
    ]
    log = logging.getLogger("tighnari_models")
    level = log.level
    log.setLevel(logging.ERROR)  # what is to be said of the data was said when they were read
    try:
        with tqdm(total=len(todo), desc="training", unit=" runs", disable=None, leave=False) as bar:
            for _ in _finished(study, todo, jobs):
                bar.update()
    finally:
        log.setLevel(level)


def _finished(study: Study, todo: list[tuple[Row, int, int]], jobs: int) -> Iterator[None]:
    if jobs == 1 or len(todo) < 2:
        yield from (train(study, *job) for job in todo)
        return
    empty = replace(study)  # without the data, which every process opens for itself
    with ProcessPoolExecutor(jobs, get_context("spawn"), _begin, (empty,)) as pool:
        futures = [pool.submit(_train_here, *job) for job in todo]
        try:
            yield from (future.result() for future in as_completed(futures))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _begin(study: Study) -> None:
    global _study
    _study = study
    torch.set_num_threads(1)
    logging.getLogger("tighnari_models").setLevel(logging.ERROR)


def _train_here(row: Row, fold: int, seed: int) -> None:
    train(_study, row, fold, seed)


def training_figures(study: Study, row: Row) -> dict[str, float]:
    """Training loss of the chosen epochs; seconds an epoch of models that start from scratch."""
    losses, seconds = [], []
    for fold in range(study.folds):
        for seed in range(study.seeds):
            for member, place in enumerate(study.members_of(row, fold, seed)):
                history = pd.read_csv(place / "history.csv")
                losses.append(history["train_loss"][history["val_loss"].idxmin()])
                if member == 0:
                    seconds.extend(history["seconds"])
    return {"training loss": float(np.mean(losses)), "seconds per epoch": float(np.median(seconds))}


def virtual_folder(out: Path, num_surveys: int, seed: int = 0) -> Path:
    """A virtual Europe with cubes and patches below ``out``, written once."""
    folder = out / f"virtual_europe_{num_surveys}"
    if not (folder / "complete").exists():
        world = virtual_europe(num_surveys, max(num_surveys // 4, 1), seed=seed)
        world.write(folder, cubes=True, patches=True)
        (folder / "complete").touch()
    return folder


def _shrunk(arrays: PreparedArrays, path: Path, pixels: int) -> PreparedArrays:
    """Patches averaged to fewer pixels, in a file beside them."""
    image = arrays.arrays["image"]
    step = image.shape[-1] // pixels
    if step < 2:
        return arrays
    if not path.exists():
        cut = image[..., : step * pixels, : step * pixels]
        means = cut.reshape(*image.shape[:2], pixels, step, pixels, step).mean((3, 5))
        with written_whole(path) as part, part.open("wb") as file:
            np.save(file, means.round().astype(image.dtype))
    smaller = np.load(path, mmap_mode="r")
    return replace(arrays, arrays=arrays.arrays | {"image": smaller})
