"""What of the training can be chosen, checked when it is made."""

import math
import numbers
from dataclasses import dataclass
from types import UnionType

MONITORS = {"val_loss": "min", "val_f1": "max"}
LOSSES = ("bce", "weak")
PRECISIONS = (  # Lightning's
    "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true",
    "32", "16", "bf16", "64", "transformer-engine", "transformer-engine-float16",
)  # fmt: skip
_WEAK = {"negative_weight": 1.0, "negative_target": 0.0, "positive_weight": 1.0}  # nothing set
_NUMBERS = ("lr", "weight_decay", "warmup_epochs", "mixup_alpha", "ema_decay", "clip", *_WEAK)
_SWITCHES = ("compile", "augment", "progress")
_NAMES = ("loss", "monitor", "precision", "accelerator", "strategy")
_OR_NONE = ("ema_decay", "clip", "patience", "progress")


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
        loss: what is minimised in training, "bce" or "weak", for presence-only surveys, where an
            absence is no more than a species that nobody reported. Validation is always "bce".
        negative_weight: what an absence counts in the loss "weak", see `weak_bce`.
        negative_target: the probability that a species is there all the same; likewise.
        positive_weight: what a presence counts; likewise.
        patience: epochs without improvement after which training stops; None never stops.
        monitor: "val_loss" or "val_f1", what counts as improvement.
        precision: as Lightning's; "auto" is bf16-mixed on a GPU, 32-true elsewhere.
        compile: whether to speed the model up by `torch.compile`.
        augment: whether to turn and mirror images at random.
        accelerator: as Lightning's, and so are ``devices`` (of each machine), ``strategy`` and
            ``num_nodes`` (machines).
        progress: whether to show a progress bar; None shows it on a terminal.

    Raises:
        TypeError: if a field is of another type.
        ValueError: on a number outside its range, an unknown loss, monitor or precision, or weights
            of the loss "weak" without it, or it without any.

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
    loss: str = "bce"
    negative_weight: float = 1.0
    negative_target: float = 0.0
    positive_weight: float = 1.0
    patience: int | None = 3
    monitor: str = "val_loss"
    precision: str = "auto"
    compile: bool = False
    augment: bool = True
    accelerator: str = "auto"
    devices: int | str | list[int] = "auto"
    strategy: str = "auto"
    num_nodes: int = 1
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
        self._check_loss()
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience must be at least 1 or None, got {self.patience}")
        if self.num_nodes < 1:
            raise ValueError(f"num_nodes must be at least 1, got {self.num_nodes}")
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

    def _check_loss(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {self.loss!r}")
        if not 0 < self.negative_weight <= 1:
            raise ValueError(
                f"negative_weight must be more than 0 and at most 1, got {self.negative_weight}"
            )
        if not 0 <= self.negative_target < 1:
            raise ValueError(
                f"negative_target must be at least 0 and less than 1, got {self.negative_target}"
            )
        if not (math.isfinite(self.positive_weight) and self.positive_weight > 0):
            raise ValueError(
                f"positive_weight must be a positive number, got {self.positive_weight}"
            )
        chosen = [name for name, neutral in _WEAK.items() if getattr(self, name) != neutral]
        if chosen and self.loss == "bce":
            raise ValueError(f"{', '.join(chosen)}: only with loss='weak', got loss='bce'")
        if self.loss == "weak" and not chosen:
            raise ValueError(f"loss='weak' must have one of {', '.join(_WEAK)}, else it is 'bce'")

    def _check_types(self) -> None:
        kinds: dict[str, tuple[type | UnionType, str]] = {
            **dict.fromkeys(_NUMBERS, (numbers.Real, "a number")),
            **dict.fromkeys(_SWITCHES, (bool, "True or False")),
            **dict.fromkeys(_NAMES, (str, "a name")),
            "patience": (numbers.Integral, "a whole number"),
            "num_nodes": (numbers.Integral, "a whole number"),
            "devices": (int | str | list, "a number, a name or a list of numbers"),
        }
        for name, (kind, words) in kinds.items():
            value = getattr(self, name)
            if value is None and name in _OR_NONE:
                continue
            if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
                more = " or None" if name in _OR_NONE else ""
                raise TypeError(f"{name} must be {words}{more}, got {value!r}")
