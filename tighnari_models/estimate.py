"""What a training will cost, from one step that was really made."""

import resource
import time
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import disk_usage

import numpy as np
import torch

from tighnari_graph.memory import free_memory
from tighnari_models.config import TighnariConfig
from tighnari_models.data.batch import SurveyBatch
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.losses import bce
from tighnari_models.presets import Preset
from tighnari_models.tighnari import Tighnari

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


def estimate(
    config: TighnariConfig, data: SurveyDataModule, preset: Preset, out: Path, seed: int = 0
) -> Estimate:
    """Make one training step on a real batch, on the device that will train, and add up.

    Args:
        config: the model; the width of the table is taken from the batch.
        data: labelled surveys and surveys to predict.
        preset: how many folds and epochs.
        out: where results go; its disk is looked at.
        seed: of the surveys in the batch.
    """
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    batch = _batch(data, preset.batch_size, seed).to(device)
    with torch.random.fork_rng():
        model = Tighnari(replace(config, pretrained=False, weights=None)).to(device).train()
        peak = _peak(gpu)
        for _ in range(2):  # the first call also chooses kernels
            begin = time.perf_counter()
            with torch.autocast("cuda", torch.bfloat16, enabled=gpu):
                loss = bce(model(batch), batch.y)  # type: ignore[arg-type]
            loss.backward()
            if gpu:
                torch.cuda.synchronize()
            step = time.perf_counter() - begin
        activations = _peak(gpu) - peak
    parameters = sum(p.numel() for p in model.parameters())
    surveys, folds = len(data.surveys), preset.folds
    epochs = preset.max_epochs * folds
    if preset.warm_start:
        epochs = preset.max_epochs + preset.fine_tune_epochs * (folds - 1)
    tuning, test = surveys // (folds + 1), 0 if data.test is None else len(data.test)
    # A pass without gradients costs about a third of a step.
    validated = epochs * surveys / (folds + 1) + surveys + folds * (tuning + test)
    passes = epochs * surveys * (folds - 1) / (folds + 1) + validated / 3
    held = 4 * config.num_species * (2 * tuning + 2 * test)
    if not preset.warm_start:
        held += 2 * config.num_species * surveys
    trained = 4 * _COPIES * parameters + activations
    free = torch.cuda.mem_get_info()[0] if gpu else int(free_memory())
    return Estimate(
        parameters=parameters,
        step_seconds=step,
        seconds=1.15 * step * passes / len(batch),
        memory=int(trained if gpu else trained + held),
        memory_free=int(free),
        disk=int(4 * parameters * (folds + _COPIES) + 2 * config.num_species * (surveys + test)),
        disk_free=disk_usage(out).free,
    )


def _batch(data: SurveyDataModule, size: int, seed: int) -> SurveyBatch:
    """Some labelled surveys; the preprocessing is fitted on them alone, which is quick."""
    rows = np.zeros(len(data.surveys), dtype=bool)
    chosen = np.random.default_rng(seed).permutation(len(rows))[:size]
    rows[chosen] = True
    some = data.dataset(rows, rows, data.fit_preprocessing(rows))
    return some.__getitems__(list(range(len(some))))


def _peak(gpu: bool) -> int:
    """Largest memory of the device so far, bytes."""
    if gpu:
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
