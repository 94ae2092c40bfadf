"""How the model learns: options, loss, and the Lightning module around it."""

import math
import numbers
import random
from dataclasses import dataclass
from types import UnionType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
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
from tighnari_models.mixup import mixup
from tighnari_models.tighnari import Tighnari

MONITORS = {"val_loss": "min", "val_f1": "max"}
PRECISIONS = (  # Lightning's
    "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true",
    "32", "16", "bf16", "64", "transformer-engine", "transformer-engine-float16",
)  # fmt: skip
VALIDATION_THRESHOLD = 0.2  # θ of the F1 scores shown while training
_NUMBERS = ("lr", "weight_decay", "warmup_epochs", "mixup_alpha", "ema_decay", "clip")
_SWITCHES = ("compile", "augment", "progress")
_NAMES = ("monitor", "precision", "accelerator", "strategy")
_OR_NONE = ("ema_decay", "clip", "patience", "progress")
_NO_DECAY = ("*relative_position_bias_table", "*pos_embed", "*cls_token")


@dataclass(frozen=True)
class TrainingOptions:
    """What of the training can be chosen.

    Attributes:
        lr: highest learning rate, reached after the warm-up; then it falls as a cosine to zero.
        weight_decay: of AdamW; none on biases, norms and position tables.
        warmup_epochs: epochs (or a fraction of one) over which the learning rate rises.
        mixup_alpha: λ of a batch is drawn from Beta(α, α); 0 switches mixup off.
        ema_decay: of the moving average of the weights, which is what is validated and saved; it
            starts lower, so that short runs profit too. None: the last weights themselves.
        clip: largest norm of a gradient; None does not clip.
        patience: epochs without improvement after which training stops; None never stops.
        monitor: "val_loss" or "val_f1", what counts as improvement.
        precision: as Lightning's; "auto" is bf16-mixed on a GPU, 32-true elsewhere.
        compile: whether to speed the model up by `torch.compile`.
        augment: whether to turn and mirror images at random.
        accelerator: as Lightning's, and so are ``devices`` and ``strategy``.
        progress: whether to show a progress bar; None shows it on a terminal.

    Raises:
        TypeError: if a field is of another type.
        ValueError: on a number outside its range, or an unknown monitor or precision.

    Example:
        >>> TrainingOptions(lr=1e-3).patience
        3
        >>> TrainingOptions(lr=-1)
        Traceback (most recent call last):
        ...
        ValueError: lr must be a positive number, got -1
    """

    lr: float = 2.5e-4
    weight_decay: float = 0.01
    warmup_epochs: float = 1.0
    mixup_alpha: float = 0.4
    ema_decay: float | None = 0.999
    clip: float | None = 1.0
    patience: int | None = 3
    monitor: str = "val_loss"
    precision: str = "auto"
    compile: bool = False
    augment: bool = True
    accelerator: str = "auto"
    devices: int | str | list[int] = "auto"
    strategy: str = "auto"
    progress: bool | None = None

    def __post_init__(self) -> None:
        self._check_types()
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr must be a positive number, got {self.lr}")
        for name in ("weight_decay", "warmup_epochs", "mixup_alpha"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be 0 or more, got {value}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay must be between 0 and 1 or None, got {self.ema_decay}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be positive or None, got {self.clip}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience must be at least 1 or None, got {self.patience}")
        if self.monitor not in MONITORS:
            raise ValueError(f"monitor must be one of {', '.join(MONITORS)}, got {self.monitor!r}")
        if self.precision not in ("auto", *PRECISIONS):
            raise ValueError(
                f"precision must be auto or one of {', '.join(PRECISIONS)}, got {self.precision!r}"
            )
        for name in (*_NUMBERS, "patience"):  # numpy's numbers are none for JSON
            value = getattr(self, name)
            if value is not None:
                plain = int(value) if name == "patience" else float(value)
                object.__setattr__(self, name, plain)

    def _check_types(self) -> None:
        kinds: dict[str, tuple[type | UnionType, str]] = {
            **dict.fromkeys(_NUMBERS, (numbers.Real, "a number")),
            **dict.fromkeys(_SWITCHES, (bool, "True or False")),
            **dict.fromkeys(_NAMES, (str, "a name")),
            "patience": (numbers.Integral, "a whole number"),
            "devices": (int | str | list, "a number, a name or a list of numbers"),
        }
        for name, (kind, words) in kinds.items():
            value = getattr(self, name)
            if value is None and name in _OR_NONE:
                continue
            if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
                more = " or None" if name in _OR_NONE else ""
                raise TypeError(f"{name} must be {words}{more}, got {value!r}")


def bce(logits: Float[Tensor, "b s"], y: Float[Tensor, "b s"]) -> Float[Tensor, ""]:
    r"""Binary cross-entropy of logits, averaged over species and surveys, in 32 bits.

    Shapes:
        - **logits, y:** :math:`(B, S)`

    Source: Liu et al. 2024, equation 11.

    Example:
        Probability 1/2 costs log 2, whatever the truth.

        >>> bce(torch.zeros(2, 3), torch.eye(2, 3))
        tensor(0.6931)
    """
    return F.binary_cross_entropy_with_logits(logits.float(), y.float())


class TighnariTraining(LightningModule):
    """One model in training: mixup, loss, moving average, and the metrics of validation.

    Dropout, mixup and augmentation are drawn anew in every step from seed, epoch, step and rank,
    so that an epoch has the same course whether or not the run was interrupted before it.

    Validation logs the loss, and F1 of the sets at θ = 0.2: averaged over surveys (as
    `tighnari_graph.samples_f1` does it), over all cells (micro), and over the species that occur
    or are predicted (macro).

    Args:
        model: what is trained, in place.
        options: how.
        max_epochs: where the learning rate arrives at zero.
        steps_per_epoch: batches of an epoch, on one device.
        seed: of everything that is drawn.
    """

    def __init__(
        self,
        model: Tighnari,
        options: TrainingOptions,
        max_epochs: int,
        steps_per_epoch: int,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model, self.options, self.seed = model, options, seed
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
        loss = bce(*self._blended_logits(batch, draw))
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
        groups = param_groups_weight_decay(self.model, self.options.weight_decay, True, _NO_DECAY)
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
    bad = {name: ~torch.isfinite(value.flatten(1)).all(1) for name, value in inputs.items()}
    bad = {name: rows for name, rows in bad.items() if rows.any()}
    for name, rows in bad.items():
        first = ", ".join(str(i) for i in batch.survey_id[rows][:5].tolist())
        text += f"{name} of {int(rows.sum())} surveys is not finite (surveyId {first}); "
    if not bad:
        text += "all inputs are finite, so weights diverged: lower lr, or precision='32-true'; "
    ids = ", ".join(str(i) for i in batch.survey_id.tolist())
    return SurveyDataError(f"{text}the batch holds surveyId {ids}")
