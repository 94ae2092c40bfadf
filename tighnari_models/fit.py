"""Train one model in a folder of its own: resumable to the bit, never twice."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.seed import isolate_rng
from safetensors.torch import load_model

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.splits import block_folds
from tighnari_models.config import TighnariConfig
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.epochs import HISTORY, EpochRecords
from tighnari_models.options import TrainingOptions
from tighnari_models.run_folder import (
    claim,
    compare,
    data_record,
    read_json,
    split_record,
    training_record,
    weights_digest,
    write_json,
)
from tighnari_models.tighnari import Tighnari
from tighnari_models.trainer import (
    hold_for_run,
    interruptible,
    is_first_process,
    quiet,
    quiet_trainer,
)
from tighnari_models.training import TighnariTraining, seed_all
from tighnari_models.warm_start import check_start, new_model

_FOLDS = 10  # where the data module has no split, one of so many block folds validates
_DEFAULTS = TrainingOptions()
_NOTHING: Mapping[str, Any] = {}
_log = logging.getLogger("tighnari_models")


@dataclass(frozen=True, eq=False)
class FitResult:
    """A trained model and how it came about.

    Attributes:
        model: with the weights of the best epoch, on the CPU, in eval mode.
        history: a row per epoch: epoch (from 0), train_loss, val_loss, val_f1, val_f1_micro,
            val_f1_macro, lr (mean over the epoch's steps), seconds.
        best_epoch: whose weights these are.
        paths: "model" (folder for `Tighnari.from_pretrained`), "history" and "log" (CSV).
    """

    model: Tighnari
    history: pd.DataFrame
    best_epoch: int
    paths: dict[str, Path]


def fit(
    config: TighnariConfig,
    datamodule: SurveyDataModule,
    out_dir: str | Path,
    max_epochs: int = 10,
    seed: int = 0,
    training: TrainingOptions = _DEFAULTS,
    start: Tighnari | None = None,
) -> FitResult:
    """Train a model, validate after every epoch, keep the best epoch's weights.

    A run that was interrupted is resumed after its last whole epoch and gives the very numbers of
    an uninterrupted one (on the same machine; a GPU sums in no fixed order); a finished run is read
    from its folder. The random state of the caller is left alone.

    Args:
        config: the model; the width of the table is taken from the data.
        datamodule: surveys with a split; without one, the first of ten block folds validates.
        out_dir: folder of this run.
        max_epochs: where the learning rate arrives at zero; early stopping may end before.
        seed: of initial weights, order, mixup, augmentation and dropout.
        training: everything else about the training.
        start: a model whose weights to start from, for fine-tuning: of another fold, or pre-trained
            on presence-only surveys by `pretrain`.

    Raises:
        ValueError: if the folder holds another run (names what differs), the config does not fit
            the data, or ``start`` is of another config or learned from other table columns.
        FolderInUseError: if another process trains in the folder.
        SurveyDataError: if a loss is not finite (names the batch's surveys), or a file of the
            folder is damaged.

    Source: Liu et al. 2024, section 3.6.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from tighnari_graph import SurveyTable
        >>> rows = pd.DataFrame({"surveyId": range(8), "lat": np.linspace(45, 52, 8), "lon": 7.0,
        ...     "year": 2020, "region": "ALPINE", "speciesId": [5, 9] * 4})
        >>> train = np.arange(8) < 6
        >>> data = SurveyDataModule(SurveyTable.from_long(rows)).with_split(train, ~train)
        >>> config = TighnariConfig(2, modalities=data.modalities, fusion="concat")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = fit(config, data, folder, max_epochs=2)
        >>> result.history["epoch"].tolist(), result.model.species_ids
        ([0, 1], array([5, 9]))
    """
    data = split_for_run(datamodule, seed, start)
    return fit_split(config, data, Path(out_dir), max_epochs, seed, training, start)


def fit_split(
    config: TighnariConfig,
    data: SurveyDataModule,
    out: Path,
    max_epochs: int,
    seed: int,
    training: TrainingOptions,
    start: Tighnari | None = None,
    frozen: Sequence[str] = (),
    record: Mapping[str, Any] = _NOTHING,
) -> FitResult:
    """`fit` on a data module that `split_for_run` made and that no other run uses.

    Args:
        config: as in `fit`, and so are ``max_epochs``, ``seed``, ``training`` and ``start``.
        data: of this run alone.
        out: folder of this run.
        frozen: modalities whose encoders stay as they are.
        record: what else tells this run from another one.
    """
    if max_epochs < 1:
        raise ValueError(f"max_epochs must be at least 1, got {max_epochs}")
    config = data.complete(config)
    if start is not None:
        check_start(start, data, config)
    record = {
        "config": asdict(config), "training": training_record(training),
        "max_epochs": max_epochs, "seed": seed,
        "start": None if start is None else weights_digest(start),
        "data": data_record(data), "split": split_record(data), **record,
    }  # fmt: skip
    with isolate_rng():
        if (out / "done.json").exists():
            claim(out, record)
        else:
            with hold_for_run(out, "model", options=training) as first:
                if first:
                    claim(out, record)
                if not (out / "done.json").exists():  # nor did another run finish it just now
                    seed_all(seed)
                    with quiet(), interruptible():
                        model = new_model(config, data, start)
                        _train(model, data, out, max_epochs, seed, training, frozen, record)
        return _finished(out)


class _SameRun(Callback):
    """Processes that have joined do the same: their records are those of the first."""

    def __init__(self, out: Path, record: Mapping[str, Any]) -> None:
        self.out, self.record = out, record

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            compare(self.out, self.record)


def _train(
    model: Tighnari,
    data: SurveyDataModule,
    out: Path,
    max_epochs: int,
    seed: int,
    options: TrainingOptions,
    frozen: Sequence[str],
    record: Mapping[str, Any],
) -> None:
    epochs = EpochRecords(out, options.monitor)
    trainer = quiet_trainer(out, options, max_epochs, epochs, _SameRun(out, record))
    steps = _steps_per_epoch(data, trainer.world_size)
    trainer.log_every_n_steps = min(50, steps)  # type: ignore[attr-defined]
    module = TighnariTraining(model, options, max_epochs, steps, seed, frozen)
    last = out / "last.ckpt"
    if last.exists():
        _log.info("%s: resuming after its last whole epoch", out)
    trainer.fit(
        module, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=True
    )
    if trainer.is_global_zero:
        load_model(model, out / "best.safetensors")
        model.preprocessing, model.species_ids = data.preprocessing, data.species_ids
        model.surveys, model.multiscale = data.surveys, data.multiscale_model()
        model.cpu().save_pretrained(out / "model")
        write_json(out / "done.json", {"best_epoch": epochs.best_epoch, "history": epochs.rows})
    trainer.strategy.barrier()


def _steps_per_epoch(data: SurveyDataModule, num_devices: int) -> int:
    """Batches that each device gets in an epoch."""
    loader = data.train_dataloader()
    rows = -(-len(loader.dataset) // num_devices)  # type: ignore[arg-type]
    size = data.batch_size
    steps = rows // size if loader.drop_last else -(-rows // size)
    if steps < 1:
        raise ValueError(
            f"{rows} training surveys for each of {num_devices} devices do not fill a batch of "
            f"{size}: lower batch_size"
        )
    return steps


def split_for_run(
    datamodule: SurveyDataModule, seed: int, start: Tighnari | None
) -> SurveyDataModule:
    """The data module for this run alone: it keeps the Trainer, and a seed for its order."""
    if datamodule.split is None:
        val = block_folds(datamodule.surveys, _FOLDS, seed=seed) == 0
        fitted = None if start is None else start.preprocessing
        data = datamodule.with_split(~val, val, fitted)
    else:
        data = copy.copy(datamodule)
    if not (data.split and data.split.val.any()):
        raise ValueError("nobody validates: with_split(train, val) needs validation surveys")
    data.seed = seed
    return data


def _finished(out: Path) -> FitResult:
    """The result as its folder holds it."""
    path, remedy = out / "done.json", "delete it to train this run anew"
    done = read_json(path, {"best_epoch": int, "history": list}, remedy)
    history = pd.DataFrame(done["history"])  # exact, which a CSV file need not be
    lacking = [name for name in ("epoch", *HISTORY) if name not in history]
    if lacking:
        raise SurveyDataError(f"{path}: damaged, its history lacks {', '.join(lacking)}; {remedy}")
    paths = {"model": out / "model", "history": out / "history.csv", "log": out / "log"}
    model = Tighnari.from_pretrained(paths["model"]).eval()
    for name in ("last.ckpt", "best.safetensors"):  # several times the size of the model
        if is_first_process() and (out / name).exists():
            (out / name).unlink(missing_ok=True)
    return FitResult(model, history, done["best_epoch"], paths)
