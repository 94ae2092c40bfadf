"""What a training will cost, from one step that was really made."""

import time
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage

import psutil
import torch

from tighnari_models.config import TighnariConfig
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.presets import Preset
from tighnari_models.tighnari import Tighnari
from tighnari_models.training import bce

_COPIES = 5  # weights, gradients, two moments of AdamW, moving average


@dataclass(frozen=True)
class Estimate:
    """Time, memory and disk of a cross-fusion.

    Units: seconds; bytes.
    """

    parameters: int
    step_seconds: float
    seconds: float
    memory: int
    memory_free: int
    disk: int
    disk_free: int

    def __str__(self) -> str:
        minutes = self.seconds / 60
        return (
            f"{self.parameters / 1e6:.1f} M parameters, {self.step_seconds:.2f} s a step; at most "
            f"about {minutes:,.0f} min, {self.memory / 1e9:.1f} of {self.memory_free / 1e9:.1f} GB "
            f"memory, {self.disk / 1e9:.1f} of {self.disk_free / 1e9:.1f} GB disk"
        )

    def refuse_what_does_not_fit(self) -> None:
        """Say so before hours are spent.

        Raises:
            MemoryError: if memory or disk will not do.
        """
        way_out = "take a smaller --batch-size, --folds or --preset, or --limit N surveys"
        if self.memory > self.memory_free:
            raise MemoryError(f"{self}: too little memory; {way_out}")
        if self.disk > self.disk_free:
            raise MemoryError(f"{self}: too little disk; {way_out}")


def estimate(config: TighnariConfig, data: SurveyDataModule, preset: Preset, out: Path) -> Estimate:
    """Make one training step on a real batch, on the device that will train, and add up.

    Args:
        config: complete, with the width of the table.
        data: with a split; its first batch is used.
        preset: how many folds and epochs.
        out: where results go; its disk is looked at.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = Tighnari(config).to(device).train()
    batch = next(iter(data.train_dataloader())).to(device)
    before = psutil.Process().memory_info().rss
    for _ in range(2):  # the first call also chooses kernels
        begin = time.perf_counter()
        bce(model(batch), batch.y).backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        step = time.perf_counter() - begin
    parameters = sum(p.numel() for p in model.parameters())
    epochs = preset.max_epochs * preset.folds
    if preset.warm_start:
        epochs = preset.max_epochs + preset.fine_tune_epochs * (preset.folds - 1)
    share = preset.folds / (preset.folds + 1)
    surveys = len(data.surveys)
    predicted = (0 if data.test is None else len(data.test)) + surveys / (preset.folds + 1)
    # A pass without gradients costs about a third of a step.
    passes = epochs * surveys * share + (predicted * preset.folds + epochs * surveys * 0.1) / 3
    activations = psutil.Process().memory_info().rss - before
    memory_free = psutil.virtual_memory().available
    if device.type == "cuda":
        activations = torch.cuda.max_memory_allocated()
        memory_free = torch.cuda.mem_get_info()[0] + activations
    logits = 6 * config.num_species * predicted
    return Estimate(
        parameters=parameters,
        step_seconds=step,
        seconds=1.15 * step * passes / len(batch),
        memory=int(4 * _COPIES * parameters + max(activations, 0) + 4 * logits),
        memory_free=int(memory_free),
        disk=int(4 * parameters * (preset.folds + _COPIES) + logits),
        disk_free=disk_usage(out).free,
    )
