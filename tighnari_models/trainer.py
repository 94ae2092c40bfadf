"""Lightning's Trainer as a run uses it: precise about files, silent about the rest."""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, RichProgressBar
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from tighnari_graph.files import written_whole
from tighnari_graph.holding import hold
from tighnari_models.options import MONITORS, TrainingOptions

_LOG = logging.getLogger(__name__)

_DEFAULTS = TrainingOptions()


def quiet_trainer(
    out: Path, options: TrainingOptions, max_epochs: int, *callbacks: Callback
) -> Trainer:
    """A Trainer that writes below ``out`` only, with early stopping, and a bar on a terminal."""
    return Trainer(
        default_root_dir=out,
        accelerator=options.accelerator,
        devices=options.devices,
        strategy=options.strategy,
        num_nodes=options.num_nodes,
        precision=_precision(options),  # type: ignore[arg-type]
        max_epochs=max_epochs,
        gradient_clip_val=options.clip,
        callbacks=[*callbacks, *_callbacks(options)],
        plugins=[_WholeCheckpoints()],
        logger=CSVLogger(out, name="log"),
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=_shows_progress(options),
    )


class _WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints written where they go; Lightning alone takes the way through /tmp."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        with written_whole(path) as part, part.open("wb") as file:
            torch.save(checkpoint, file)


def _callbacks(options: TrainingOptions) -> list[Callback]:
    callbacks: list[Callback] = []
    if options.patience is not None:
        callbacks.append(
            EarlyStopping(
                options.monitor,
                patience=options.patience,
                mode=MONITORS[options.monitor],
                check_on_train_epoch_end=True,
            )
        )
    if _shows_progress(options):
        callbacks.append(RichProgressBar())
    return callbacks


def _shows_progress(options: TrainingOptions) -> bool:
    return sys.stdout.isatty() if options.progress is None else options.progress


def _precision(options: TrainingOptions) -> str:
    if options.precision != "auto":
        return options.precision
    gpu = options.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if gpu and torch.cuda.is_bf16_supported() else "32-true"


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning without its announcements, and without the advice that does not apply here."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        # how many processes read is the data module's choice: batches are slices of memory maps
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        # an accelerator that was asked for is the one to use
        warnings.filterwarnings("ignore", ".*available but not used.*")
        # Lightning 2.6 uses a class of torch's that torch 2.11 deprecates
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def several_processes() -> bool:
    """Whether Lightning has joined this process to others, one per device."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def is_first_process() -> bool:
    """Whether this process writes what only one may write: alone, or the first of several.

    Example:
        >>> is_first_process()
        True
    """
    return not several_processes() or torch.distributed.get_rank() == 0


def wait_for_all() -> None:
    """Go on when all processes have come this far; alone, at once."""
    if several_processes():
        nccl = torch.distributed.get_backend() == "nccl"
        devices = [torch.cuda.current_device()] if nccl else None
        torch.distributed.barrier(device_ids=devices)


@contextmanager
def hold_for_run(
    folder: Path, *inside: str, options: TrainingOptions = _DEFAULTS
) -> Iterator[bool]:
    """Hold a folder for this run: by its first process, with which those of further devices enter.

    Tells whether this process holds it; no other writes what the first may be clearing away.
    Errors are those of `tighnari_graph.holding.hold`.

    Args:
        folder: as for `hold`, and so is ``inside``.
        options: of the run.
    """
    first = is_alone(options) or _comes_first(options)
    with hold(folder, *inside) if first else nullcontext():
        yield first


def _comes_first(options: TrainingOptions) -> bool:
    """What `is_first_process` will say, known before Lightning joins the processes."""
    if options.num_nodes > 1 and os.environ.get("NODE_RANK", "0") != "0":
        return False  # Lightning counts the devices of each machine from 0 until then
    return getattr(rank_zero_only, "rank", 0) == 0


def is_alone(options: TrainingOptions) -> bool:
    """Whether one process trains, on one device.

    Example:
        >>> is_alone(TrainingOptions(devices=1)), is_alone(TrainingOptions(devices=1, num_nodes=2))
        (True, False)
    """
    return options.devices in (1, "1") and options.num_nodes == 1


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C stays a KeyboardInterrupt: Lightning ends the process and ignores Ctrl-C from then.

    After SIGTERM, which Lightning takes for a good end, the process ends with 143.
    """
    try:
        yield
    except SIGTERMException as error:
        _LOG.warning("ended by SIGTERM; the same call goes on from here")
        raise SystemExit(128 + signal.SIGTERM) from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from error
        raise
