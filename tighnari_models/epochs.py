"""What a training run keeps of every epoch."""

import time
from pathlib import Path
from typing import Any

import pandas as pd
from lightning import Trainer
from lightning.pytorch.callbacks import Checkpoint
from safetensors.torch import save_model

from tighnari_graph.files import written_whole
from tighnari_models.options import MONITORS

HISTORY = ("train_loss", "val_loss", "val_f1", "val_f1_micro", "val_f1_macro", "lr")


class EpochRecords(Checkpoint):
    """After every epoch: its row of the history, the best weights, and all that resuming needs.

    Lightning's own checkpoint callback would keep optimizer states with the best weights, and warns
    where a folder is not empty, as that of a resumed run never is.
    """

    def __init__(self, out: Path, monitor: str) -> None:
        self.out, self.monitor = out, monitor
        self.rows: list[dict[str, float]] = []
        self.best_epoch, self.stopped = -1, False
        self._began = 0.0

    def state_dict(self) -> dict[str, Any]:
        """What `last.ckpt` keeps of this."""
        return {"rows": self.rows, "best_epoch": self.best_epoch, "stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where `last.ckpt` ends."""
        self.rows, self.best_epoch = state_dict["rows"], state_dict["best_epoch"]
        self.stopped = state_dict["stopped"]

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Train no further where early stopping had its say."""
        trainer.should_stop = self.stopped

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write down the epoch."""
        seen = trainer.callback_metrics
        row = {"epoch": trainer.current_epoch, **{name: float(seen[name]) for name in HISTORY}}
        self.rows.append(row | {"seconds": time.perf_counter() - self._began})
        sign = 1 if MONITORS[self.monitor] == "min" else -1
        best = min(range(len(self.rows)), key=lambda epoch: sign * self.rows[epoch][self.monitor])
        improved, self.best_epoch = best == trainer.current_epoch, best
        self.stopped = trainer.should_stop
        if trainer.is_global_zero:
            if improved:
                with written_whole(self.out / "best.safetensors") as part:
                    save_model(pl_module.averaged, str(part))
            with written_whole(self.out / "history.csv") as part:
                pd.DataFrame(self.rows).to_csv(part, index=False)
        trainer.save_checkpoint(self.out / "last.ckpt")  # asked of all devices, written by one
