"""Training steps of the paper preset, by hand and inside Lightning, and of its bare backbone."""

import time
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import timm
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from timm.models.swin_transformer import WindowAttention
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader

from benchmarks.cases.gpu_bench import Bench, Sizes
from benchmarks.cases.network import TABLE, random_batch
from tighnari_models import SurveyBatch, Tighnari, TighnariConfig, mixup
from tighnari_models.augment import turned
from tighnari_models.data.batch import PAPER_MODALITIES
from tighnari_models.losses import bce
from tighnari_models.presets import PRESETS
from tighnari_models.trainer import quiet
from tighnari_models.training import TighnariTraining

STEPS_PER_EPOCH = 1_000  # of the schedule of the learning rate; it costs nothing
WARM = 5  # steps inside Lightning before the watch starts


def paper_config(sizes: Sizes) -> TighnariConfig:
    """The paper preset without published weights; if small, with a tiny image encoder."""
    config = PRESETS["paper"].config(sizes.species, PAPER_MODALITIES)
    config = replace(config, pretrained=False, num_table_features=TABLE)
    if not sizes.small:
        return config
    return replace(
        config, image_encoder="test_vit.r160_in1k", image_size=160, drop_path_rate=0.0,
        temporal_depths=(1, 2),
    )  # fmt: skip


def paper_batch(bench: Bench, num: int, pixels: int | None = None) -> SurveyBatch:
    """Noise, on the device; images are of the encoder's size by default."""
    pixels = pixels or paper_config(bench.sizes).image_size
    return random_batch(num, bench.sizes.species, pixels).to(bench.device)


def bare_backbone(bench: Bench) -> nn.Module:
    """What timm has by the name of the preset's image encoder, four channels, no classifier."""
    name = paper_config(bench.sizes).image_encoder
    backbone = timm.create_model(name, pretrained=False, in_chans=4, num_classes=0)
    return backbone.to(bench.device)


class PaperStep:
    """The network of the paper preset, its optimizer and moving average, and one batch.

    A step does what a step of the trainer does, Lightning aside: turn images, mixup, forward under
    autocast, loss, backward, clip, AdamW, schedule, moving average.

    Args:
        bench: where and how large.
        compiled: whether the forward pass goes through `torch.compile`, as the trainer's option.
        channels_last: whether images and convolutions have their channels last in memory.
        fused_attention: whether windows attend by torch's fused kernel, which timm leaves off.
        fused_optimizer: whether AdamW is one kernel for all weights.
        dense_rows: whether graph features come dense, so that mixup need not merge sparse rows, and
            `torch.compile` sees no sparse tensor, at which it would break the graph.
    """

    def __init__(
        self,
        bench: Bench,
        compiled: bool = False,
        channels_last: bool = False,
        fused_attention: bool = False,
        fused_optimizer: bool = False,
        dense_rows: bool = False,
    ) -> None:
        torch.manual_seed(0)
        self.bench, self.options = bench, PRESETS["paper"].training
        self.model = Tighnari(paper_config(bench.sizes)).to(bench.device)
        self.batch = paper_batch(bench, bench.sizes.batch)
        if channels_last:
            last = torch.channels_last
            self.model = self.model.to(memory_format=last)
            image = self.batch.image.contiguous(memory_format=last)
            self.batch = self.batch.replace(image=image)
        if dense_rows:
            self.batch = self.batch.replace(gfv=self.batch.graph_rows().to_dense())
        for module in self.model.modules():
            if fused_attention and isinstance(module, WindowAttention):
                module.fused_attn = True
        self.training = TighnariTraining(self.model, self.options, 1, STEPS_PER_EPOCH)
        (self.optimizer,), (schedule,) = self.training.configure_optimizers()
        self.schedule = schedule["scheduler"]
        for group in self.optimizer.param_groups:
            group["fused"] = fused_optimizer or group["fused"]
        self.forward: Any = self.model
        if compiled:
            backend = "eager" if bench.sizes.small else "inductor"
            self.forward = torch.compile(self.model.forward, backend=backend)
        self.draw = np.random.default_rng(0)
        self.done = 0

    def run(self, steps: int) -> None:
        """So many steps, one after the other."""
        for _ in range(steps):
            self._step()

    def _step(self) -> None:
        batch, device, options = self.batch, self.bench.device, self.options
        way = torch.from_numpy(self.draw.integers(8, size=len(batch))).to(device)
        batch = batch.replace(image=turned(batch.image, way))
        lam = float(self.draw.beta(options.mixup_alpha, options.mixup_alpha))
        partner = torch.from_numpy(self.draw.permutation(len(batch))).to(device)
        batch = mixup(batch, lam, partner)
        with self.bench.autocast:
            loss = bce(self.forward(batch), batch.y)
        self.optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(self.model.parameters(), options.clip)
        self.optimizer.step()
        self.schedule.step()
        self.done += 1
        self.training.ema.update(self.model, step=self.done)


class BackboneStep:
    """The bare backbone and AdamW on the images of the same batch: no mixup, clip or average."""

    def __init__(self, bench: Bench) -> None:
        torch.manual_seed(0)
        self.bench, self.model = bench, bare_backbone(bench).train()
        self.image = paper_batch(bench, bench.sizes.batch).image
        self.optimizer = torch.optim.AdamW(self.model.parameters(), PRESETS["paper"].training.lr)

    def run(self, steps: int) -> None:
        """So many steps, one after the other."""
        for _ in range(steps):
            with self.bench.autocast:
                loss = self.model(self.image).float().square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()


class Watch(Callback):
    """Seconds of the steps between two of Lightning's, as the device has finished them."""

    def __init__(self, bench: Bench, first: int, last: int) -> None:
        self.bench, self.marks, self.times = bench, (first, last), []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Look at the watch before the first of the steps, and after the last."""
        if batch_idx in self.marks:
            if self.bench.device.type == "cuda":
                torch.cuda.synchronize()
            self.times.append(time.perf_counter())


def lightning_seconds(bench: Bench, steps: int) -> float:
    """Seconds of so many steps of `TighnariTraining` inside Lightning's Trainer, nothing logged."""
    step, gpu = PaperStep(bench), bench.device.type == "cuda"
    watch = Watch(bench, WARM, WARM + steps)
    with quiet():
        warnings.filterwarnings("ignore", ".*no `val_dataloader`.*")  # there is nothing to validate
        trainer = Trainer(
            accelerator="gpu" if gpu else "cpu", devices=1,
            precision="bf16-mixed" if bench.half else "32-true", max_epochs=1,
            gradient_clip_val=step.options.clip, callbacks=[watch], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        batches = DataLoader([step.batch] * (WARM + steps + 1), batch_size=None)
        trainer.fit(step.training, batches)
    first, last = watch.times
    return last - first
