"""One model per fold, the later ones fine-tuned from the first, their logits averaged."""

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.files import write_array
from tighnari_graph.holding import FolderInUseError, hold
from tighnari_graph.splits import block_folds, random_folds
from tighnari_models.config import TighnariConfig
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.data.dataset import SurveyDataset
from tighnari_models.fit import FitResult, fit
from tighnari_models.options import TrainingOptions
from tighnari_models.prediction import predict
from tighnari_models.run_folder import (
    claim,
    data_record,
    read_json,
    training_record,
    weights_digest,
    write_json,
)
from tighnari_models.tighnari import Tighnari
from tighnari_models.trainer import hold_for_run, is_alone, is_first_process, wait_for_all

GROUPS = ("block", "random")
_LOG = logging.getLogger(__name__)
_DEFAULTS = TrainingOptions()
_PAUSE = 0.5  # seconds between looks at folds that other processes train


@dataclass(frozen=True, eq=False)
class FusionResult:
    r"""The models of all folds, and what they say about surveys that they did not learn from.

    Attributes:
        folds: one result per fold.
        tuning_rows: :math:`(N,)` bool, surveys that no model has seen in any way: K and θ are
            chosen on them.
        logits: :math:`(N_{tuning}, S)` float32, mean over all models, in table order.
        fold_of: :math:`(N,)` int64, the fold that a survey validates; −1 for tuning surveys.
        validation_logits: per fold :math:`(N_{fold}, S)` float16 memory map, its own model on its
            validation surveys, in table order. With a warm start that model descends from one
            that learned from them.
    """

    folds: list[FitResult]
    tuning_rows: np.ndarray
    logits: np.ndarray
    fold_of: np.ndarray
    validation_logits: list[np.ndarray]


def cross_fusion(
    config: TighnariConfig,
    datamodule: SurveyDataModule,
    out_dir: str | Path,
    folds: int = 10,
    warm_start: bool = True,
    group: str = "block",
    max_epochs: int = 10,
    fine_tune_epochs: int = 3,
    seed: int = 0,
    training: TrainingOptions = _DEFAULTS,
    shared: bool = False,
) -> FusionResult:
    r"""Train a model per fold and average their logits; finished folds are not trained again.

    .. math:: L = \frac1k \sum_i M_i(x), \quad M_i = \mathrm{Train}(D \smallsetminus D_i)

    The surveys fall into one fold more than there are models. The last one is kept back: its labels
    reach no weight, no graph feature and no preprocessing of any model, and its graph features see
    the labels of all other surveys, as those of test surveys do. Within a fold, graph features and
    their scale see the labels of its training surveys only; the table and the images, which hold no
    labels, are brought to scale on all surveys but the tuning ones, once, so that all models share
    their columns.

    Logits are kept with a digest of the models that made them, and made anew for other models. On
    several devices every process goes through all folds, the first writes the logits, and the
    others wait for it, as long as Lightning lets them (30 minutes).

    With ``shared=True``, processes of one or several machines that make this call with the same
    arguments and folder train folds side by side: each takes one that nobody has taken, takes over
    that of a process that ended, and returns the whole result once all folds are there. Models 2 …
    k of a warm start wait for the first. Graph features and multi-scale rows are made by each.

    Args:
        config: of every model.
        datamodule: labelled surveys; its split, if any, is not used.
        out_dir: gets a folder per fold.
        folds: number of models, :math:`k`.
        warm_start: whether models 2 … k start from model 1, as in the paper.
        group: "block" keeps surveys of a 10 km block together, "random" does not.
        max_epochs: of a model that starts from scratch.
        fine_tune_epochs: of one that starts from the first.
        seed: of the folds and of every model.
        training: see `TrainingOptions`.
        shared: whether other processes may train folds of this folder at the same time.

    Raises:
        ValueError: on an unknown group, fewer than two folds, a folder that holds another run, or
            ``shared`` with more than one device or machine for a process.
        FolderInUseError: if another process works in the folder and they do not share it.

    Source: Liu et al. 2024, section 3.6, equation 10.
    """
    if group not in GROUPS:
        raise ValueError(f"group must be one of {', '.join(GROUPS)}, got {group!r}")
    if folds < 2 or fine_tune_epochs < 1:
        raise ValueError(
            f"folds must be at least 2 and fine_tune_epochs at least 1, got {folds} and "
            f"{fine_tune_epochs}"
        )
    if shared and not is_alone(training):
        raise ValueError(
            "shared=True trains a fold on one device: give TrainingOptions(devices=1), got devices="
            f"{training.devices!r}, num_nodes={training.num_nodes}"
        )
    out = Path(out_dir)
    divide = block_folds if group == "block" else random_folds
    fold_of = divide(datamodule.surveys, folds + 1, seed=seed)
    tuning = fold_of == folds
    fold_of = np.where(tuning, -1, fold_of)
    record = {
        "folds": folds, "warm_start": warm_start, "group": group, "max_epochs": max_epochs,
        "fine_tune_epochs": fine_tune_epochs, "seed": seed,
        "config": asdict(config), "training": training_record(training),
        "data": data_record(datamodule),
    }  # fmt: skip
    if shared:
        with hold(out, wait=True):
            claim(out, record, shared)
    # without the scale of graph features, which is made of labels: every fold fits its own
    shared_steps = datamodule.fit_preprocessing(~tuning, gfv=False)
    workers = datamodule.num_workers

    def train(number: int, first: Tighnari | None) -> tuple[FitResult, np.ndarray]:
        held_out = fold_of == number
        learned = ~tuning & ~held_out
        data = datamodule.with_split(learned, held_out, shared_steps)
        epochs = max_epochs if first is None else fine_tune_epochs
        place = out / f"fold_{number:02d}"
        result = fit(config, data, place, epochs, seed + number, training, first)
        seen = partial(data.dataset, held_out, learned)
        path = place / "validation_logits.npy"
        return result, _kept(path, [result.model], seen, workers, half=True)

    with nullcontext(False) if shared else hold_for_run(out, options=training) as first:
        if first:
            claim(out, record)
        found = _all_folds(train, folds, warm_start, shared)
        results = [result for result, _ in found]
        models = [result.model for result in results]
        unseen = partial(datamodule.dataset, tuning, ~tuning, models[0].preprocessing)
        path = out / "tuning_logits.npy"
        logits = np.array(_kept(path, models, unseen, workers, half=False, held=not shared))
    return FusionResult(results, tuning, logits, fold_of, [logits for _, logits in found])


def _all_folds(
    train: Callable[[int, Tighnari | None], tuple[FitResult, np.ndarray]],
    folds: int,
    warm_start: bool,
    shared: bool,
) -> list[tuple[FitResult, np.ndarray]]:
    """Train every fold, the first before all others if they start from it.

    Where folds are shared, one that another process trains is looked at again later.
    """
    done: dict[int, tuple[FitResult, np.ndarray]] = {}
    waited_for: set[int] = set()
    while len(done) < folds:
        before = len(done)
        for number in range(folds):
            if number in done or (warm_start and number > 0 and 0 not in done):
                continue
            try:
                done[number] = train(number, done[0][0].model if warm_start and number else None)
            except FolderInUseError as error:
                if not shared:
                    raise
                if number not in waited_for:
                    _LOG.info("fold %d: %s", number, error)
                waited_for.add(number)
        if len(done) == before:
            time.sleep(_PAUSE)
    return [done[number] for number in range(folds)]


def _kept(
    path: Path,
    models: list[Tighnari],
    dataset: Callable[[], SurveyDataset],
    num_workers: int,
    half: bool,
    held: bool = False,
) -> np.ndarray:
    """Logits in a file, in 16 or 32 bits; written first unless those in it are of these models.

    Another process that writes them is waited for; ``held`` says that there is none.
    """
    beside = path.with_suffix(".json")
    digests = [weights_digest(model) for model in models]
    if is_first_process() and not _is_of(path, digests):
        with nullcontext() if held else hold(path.parent, wait=True):
            if not _is_of(path, digests):
                beside.unlink(missing_ok=True)  # of other models, whatever happens next
                if half:
                    predict(models, dataset(), out=path, num_workers=num_workers)
                else:
                    write_array(path, predict(models, dataset(), num_workers=num_workers))
                write_json(beside, {"models": digests})
    wait_for_all()
    return open_memmap(path, mode="r")


def _is_of(path: Path, digests: list[str]) -> bool:
    """Whether there are logits of these models; none where nothing tells of which they are."""
    try:
        beside = read_json(path.with_suffix(".json"), {"models": list}, "")
        open_memmap(path, mode="r")
    except (FileNotFoundError, SurveyDataError):
        return False
    except Exception as error:  # numpy parses the header as Python: errors of many kinds
        _LOG.warning("%s: cannot be read (%s); predicted again", path, error)
        return False
    return bool(beside["models"] == digests)
