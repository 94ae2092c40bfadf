"""How the model learns: the Lightning module around it."""

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from timm.optim import param_groups_weight_decay
from timm.utils import ModelEmaV3
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.classification import MultilabelStatScores
from torchmetrics.functional.classification import binary_f1_score

from tighnari_graph.errors import SurveyDataError
from tighnari_models.augment import turned
from tighnari_models.data.batch import SurveyBatch
from tighnari_models.losses import bce, training_loss
from tighnari_models.mixup import mixup
from tighnari_models.options import TrainingOptions
from tighnari_models.tighnari import Tighnari

VALIDATION_THRESHOLD = 0.2  # θ of the F1 scores shown while training
_NO_DECAY = ("*relative_position_bias_table", "*pos_embed", "*cls_token")


class TighnariTraining(LightningModule):
    """One model in training: mixup, loss, moving average, and the metrics of validation.

    Dropout, mixup and augmentation are drawn anew in every step from seed, epoch, step and rank,
    so that an epoch has the same course whether or not the run was interrupted before it.

    Training minimises the loss of the options. Validation logs binary cross-entropy, and F1 of the
    sets at θ = 0.2: averaged over surveys (as `tighnari_graph.samples_f1` does it), over all cells
    (micro), and over the species that occur or are predicted (macro).

    Args:
        model: what is trained, in place.
        options: how.
        max_epochs: where the learning rate arrives at zero.
        steps_per_epoch: batches of an epoch, on one device.
        seed: of everything that is drawn.
        frozen: modalities whose encoders stay as they are.
    """

    def __init__(
        self,
        model: Tighnari,
        options: TrainingOptions,
        max_epochs: int,
        steps_per_epoch: int,
        seed: int = 0,
        frozen: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.model, self.options, self.seed = model, options, seed
        self._loss = training_loss(options)
        self.max_epochs, self.steps_per_epoch = max_epochs, steps_per_epoch
        self.ema = None
        if options.ema_decay is not None:
            self.ema = ModelEmaV3(model, decay=options.ema_decay, use_warmup=True)
            self.ema.requires_grad_(False)  # so that no other device waits for its gradients
        # not the model itself, which would be a second submodule with the same weights
        self._logits = torch.compile(model.forward) if options.compile else model.__call__
        num_species = model.config.num_species
        self.val_loss, self.val_f1 = MeanMetric(), MeanMetric()
        self.val_counts = MultilabelStatScores(
            num_species, threshold=VALIDATION_THRESHOLD, average="none", validate_args=False
        )
        self.train()  # Lightning trains in the mode that it finds; a saved model comes in eval mode
        self._frozen = [model.encoders[name].requires_grad_(False) for name in frozen]

    @property
    def averaged(self) -> Tighnari:
        """The model that is validated and saved: the moving average where there is one."""
        return self.model if self.ema is None else self.ema.module

    def forward(self, batch: SurveyBatch) -> Tensor:
        r"""Logits of the averaged model, :math:`(B, S)`, as validation sees them."""
        return self.averaged(batch)

    def predict_step(self, batch: SurveyBatch, batch_idx: int = 0) -> Tensor:
        r"""Logits, :math:`(B, S)` float32, for Lightning's ``Trainer.predict``."""
        return self(batch).float()

    def training_step(self, batch: SurveyBatch, batch_idx: int) -> Tensor:
        """Draw, blend, predict, compare."""
        draw = np.random.default_rng([self.seed, self.current_epoch, batch_idx, self.global_rank])
        seed_all(int(draw.integers(2**32)))
        loss = self._loss(*self._blended_logits(batch, draw))
        if not torch.isfinite(loss):
            raise _not_finite(batch, loss.item(), self.current_epoch, f"training step {batch_idx}")
        rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        num = len(batch)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=num, sync_dist=True)
        self.log("lr", rate, on_step=False, on_epoch=True, batch_size=num, sync_dist=True)
        self.log("step_loss", loss, on_step=True, on_epoch=False, prog_bar=True, batch_size=num)
        return loss

    def _blended_logits(
        self, batch: SurveyBatch, draw: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        options = self.options
        if options.augment and batch.image is not None:
            way = torch.from_numpy(draw.integers(8, size=len(batch))).to(batch.image.device)
            batch = batch.replace(image=turned(batch.image, way))
        if options.mixup_alpha > 0:
            lam = float(draw.beta(options.mixup_alpha, options.mixup_alpha))
            partner = torch.from_numpy(draw.permutation(len(batch))).to(batch.survey_id.device)
            batch = mixup(batch, lam, partner)
        return self._logits(batch), _labels(batch)

    def on_train_epoch_start(self) -> None:
        """Let no frozen encoder take statistics of batches."""
        for encoder in self._frozen:
            encoder.eval()

    def on_train_batch_end(self, *_: Any) -> None:
        """Move the average towards the weights."""
        if self.ema is not None:
            self.ema.update(self.model, step=self.global_step)

    def validation_step(self, batch: SurveyBatch, batch_idx: int) -> None:
        """Compare the averaged model's predictions with the labels."""
        logits, y = self.averaged(batch).float(), _labels(batch)
        loss = bce(logits, y)
        if not torch.isfinite(loss):
            where = f"validation step {batch_idx}"
            raise _not_finite(batch, loss.item(), self.current_epoch, where)
        probabilities, truth = logits.sigmoid(), y.int()
        f1 = binary_f1_score(
            probabilities, truth, threshold=VALIDATION_THRESHOLD, multidim_average="samplewise",
            zero_division=1, validate_args=False,
        )  # fmt: skip
        self.val_loss.update(loss, len(batch))
        self.val_f1.update(f1)
        self.val_counts.update(probabilities, truth)

    def on_validation_epoch_end(self) -> None:
        """Log what was gathered."""
        hits, false, _, missed, _ = self.val_counts.compute().double().unbind(-1)
        total = 2 * hits + false + missed
        met = total > 0
        values = {
            "val_loss": self.val_loss.compute(),
            "val_f1": self.val_f1.compute(),
            "val_f1_micro": 2 * hits.sum() / total.sum() if met.any() else torch.ones(()),
            "val_f1_macro": (2 * hits / total)[met].mean() if met.any() else torch.ones(()),
        }
        for metric in (self.val_loss, self.val_f1, self.val_counts):
            metric.reset()
        for name, value in values.items():
            value = value.to(self.device, torch.float32)  # of all devices already
            self.log(name, value, prog_bar=name == "val_f1", sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW; its learning rate rises, then falls as a cosine, step by step."""
        groups = param_groups_weight_decay(
            self.model, self.options.weight_decay, no_weight_decay_list=_NO_DECAY
        )
        optimizer = torch.optim.AdamW(groups, lr=self.options.lr)
        warm = min(self.options.warmup_epochs, self.max_epochs) * self.steps_per_epoch
        total = self.max_epochs * self.steps_per_epoch

        def share(step: int) -> float:
            if step < warm:
                return (step + 1) / (warm + 1)
            return 0.5 + 0.5 * math.cos(math.pi * min((step - warm) / max(total - warm, 1), 1))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def seed_all(seed: int) -> None:
    """Seed Python, numpy and torch on all devices.

    Example:
        >>> seed_all(3); a = torch.rand(1); seed_all(3); bool(a == torch.rand(1))
        True
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - others' layers may draw from it
    torch.manual_seed(seed)


def _labels(batch: SurveyBatch) -> Tensor:
    if batch.y is None:
        raise ValueError("surveys without labels cannot train or validate a model")
    return batch.y


def _not_finite(batch: SurveyBatch, loss: float, epoch: int, where: str) -> SurveyDataError:
    """What is wrong: inputs that are no numbers, or a model that diverged."""
    text = f"epoch {epoch}, {where}: the loss is {loss}; "
    inputs = {name: getattr(batch, name) for name in batch.modalities if name != "gfv"}
    inputs |= {"gfv": batch.graph_rows().to_dense()} if "gfv" in batch.modalities else {}
    dense = {name: value.to_dense().flatten(1) for name, value in inputs.items()}
    bad = {name: ~torch.isfinite(value).all(1) for name, value in dense.items()}
    bad = {name: rows for name, rows in bad.items() if rows.any()}
    for name, rows in bad.items():
        first = ", ".join(str(i) for i in batch.survey_id[rows][:5].tolist())
        text += f"{name} of {int(rows.sum())} surveys is not finite (surveyId {first}); "
    if not bad:
        text += "all inputs are finite, so weights diverged: lower lr, or precision='32-true'; "
    ids = ", ".join(str(i) for i in batch.survey_id.tolist())
    return SurveyDataError(f"{text}the batch holds surveyId {ids}")
