"""Logits of saved or trained models, averaged, in memory or streamed to disk."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.lib.format import open_memmap
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from tighnari_graph.errors import SurveyDataError, refuse
from tighnari_graph.files import new_memmap, written_whole
from tighnari_graph.memory import refuse_what_does_not_fit
from tighnari_models.data.batch import SurveyBatch
from tighnari_models.data.dataset import SurveyDataset, collate
from tighnari_models.opened_models import (
    Model,
    evaluating,
    open_models,
    refuse_other_species,
    seen_by,
)
from tighnari_models.tighnari import Tighnari

Logits: TypeAlias = np.ndarray | Tensor | str | Path
_CHUNK = 1 << 24  # logits averaged at once


def predict(
    models: Model | Sequence[Model],
    dataset: SurveyDataset,
    batch_size: int = 128,
    out: str | Path | None = None,
    device: str | torch.device | None = None,
    num_workers: int = 0,
) -> Float[np.ndarray, "n s"]:
    r"""Logits of every survey, the mean over all models, in the order of the data set.

    Each model sees the surveys through the preprocessing that it was trained with. A GPU computes
    in bfloat16 where it can, as in validation, the CPU in 32 bits. Where several processes call it,
    each predicts all surveys.

    Args:
        models: models, or folders of saved ones (a folder of ``fold_00``, ``fold_01``, … stands for
            all of them).
        dataset: surveys.
        batch_size: surveys at a time.
        out: a ``.npy`` file, written batch by batch in 16 bits, for logits that memory cannot hold.
            A file of that name appears when it is whole.
        device: where to compute; by default the GPU if there is one.
        num_workers: processes that read batches, shared by the models, each of which has at least
            one unless this is 0.

    Shapes:
        - **output:** :math:`(N, S)` float32; with ``out`` its memory map, float16

    Raises:
        ValueError: if models were trained for other species than the data set's, there are none,
            or ``batch_size`` is less than 1.
        MemoryError: if logits in memory would not fit; ``out`` writes them to a file.
        SurveyDataError: if a folder holds no model, or logits are not finite (names the surveys).

    Source: Liu et al. 2024, section 3.6, equation 10.

    Example:
        >>> import pandas as pd
        >>> from tighnari_graph import SurveyTable
        >>> from tighnari_models import SurveyDataModule, TighnariConfig
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45.0, 45.05, 47.0], "lon": 7.0,
        ...     "year": 2020, "region": "ALPINE", "speciesId": [5, 9, 5]})
        >>> train = np.array([True, True, False])
        >>> data = SurveyDataModule(SurveyTable.from_long(rows)).with_split(train, ~train)
        >>> config = TighnariConfig(2, modalities=("table", "gfv"), fusion="concat")
        >>> model = Tighnari(data.complete(config))
        >>> predict(model, data.dataset(rows=~train, visible=train)).shape
        (1, 2)
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    chosen = open_models(models)
    width = len(dataset.species_ids)
    for model in chosen:
        refuse_other_species(model, dataset.species_ids)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    shape = (len(dataset), width)
    if out is None:
        refuse_what_does_not_fit(
            4 * len(dataset) * width,
            f"predict: {len(dataset):,} surveys × {width:,} species in memory",
            "give a file to write them to (out=)",
        )
        logits = np.empty(shape, dtype=np.float32)
        _fill(logits, chosen, dataset, batch_size, place, num_workers)
        return logits
    with written_whole(out) as part:
        if len(dataset):
            stream = new_memmap(part, shape, np.dtype(np.float16))
            _fill(stream, chosen, dataset, batch_size, place, num_workers)
            stream.flush()
        else:  # nothing to map
            with part.open("wb") as file:
                np.save(file, np.empty(shape, dtype=np.float16))
    return np.load(out, mmap_mode="r" if len(dataset) else None)


def average_logits(
    runs: Sequence[Logits], weights: Sequence[float] | None = None
) -> Float[np.ndarray, "n s"]:
    r"""Mean of the logits of several models or runs, optionally weighted.

    Args:
        runs: arrays, tensors or ``.npy`` files of equal shape; files are read in parts.
        weights: one per run, 0 or more; only their proportions count.

    Shapes:
        - **runs:** :math:`(N, S)` each
        - **output:** :math:`(N, S)` float32

    Raises:
        ValueError: if shapes differ, there are no runs, weights do not fit, or logits are not
            finite (says how many and in which run).
        SurveyDataError: if a file is no whole ``.npy`` file of numbers; names it.

    Source: Liu et al. 2024, section 3.6, equation 10, and section 5.

    Example:
        >>> average_logits([np.array([[0.0, 4.0]]), torch.tensor([[2.0, 0.0]])])
        array([[1., 2.]], dtype=float32)
    """
    arrays = [_array(run) for run in runs]
    if not arrays:
        raise ValueError("there are no logits to average")
    share = np.ones(len(arrays)) if weights is None else np.asarray(weights, dtype=np.float64)
    if share.shape != (len(arrays),) or not np.isfinite(share).all() or (share < 0).any():
        raise ValueError(f"weights must be {len(arrays)} numbers from 0 up, got {weights}")
    if share.sum() == 0:
        raise ValueError("all weights are 0")
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2:
        listed = ", ".join(str(shape) for shape in shapes)
        raise ValueError(f"logits must all be [surveys, species] of one shape, got {listed}")
    share = share / share.sum()
    mean = np.empty(shapes[0], dtype=np.float32)
    unfit = np.zeros(len(arrays), dtype=np.int64)
    step = max(1, _CHUNK // max(shapes[0][1], 1))
    for start in range(0, len(mean), step):
        rows = slice(start, start + step)
        total = np.zeros(mean[rows].shape)
        for number, (part, array) in enumerate(zip(share, arrays, strict=True)):
            finite = np.isfinite(array[rows])
            unfit[number] += finite.size - np.count_nonzero(finite)
            total += np.where(finite, array[rows], 0) * part
        mean[rows] = total
    if unfit.any():
        said = ", ".join(
            f"{count} of {mean.size} in {run if isinstance(run, str | Path) else f'run {number}'}"
            for number, (run, count) in enumerate(zip(runs, unfit, strict=True), start=1)
            if count
        )
        raise ValueError(f"logits must be finite numbers; not so: {said}")
    return mean


def _fill(
    into: np.ndarray,
    models: list[Tighnari],
    dataset: SurveyDataset,
    batch_size: int,
    device: torch.device,
    num_workers: int,
) -> None:
    """Write the mean logits of all models, batch by batch."""
    starts = range(0, len(dataset), batch_size)
    cuts = pairwise([*starts, len(dataset)])
    half = device.type == "cuda" and torch.cuda.is_bf16_supported()
    precision = torch.autocast(device.type, torch.bfloat16, enabled=half)
    with evaluating(models, device), torch.inference_mode(), precision:
        share = -(-num_workers // len(models))
        batches = [_batches(model, dataset, batch_size, share) for model in models]
        rounds = zip(cuts, *batches, strict=True)
        bar = tqdm(rounds, "predicting", len(starts), delay=2, disable=None, leave=False)
        for (begin, end), *seen in bar:
            total = torch.zeros(end - begin, into.shape[1], device=device)
            for model, batch in zip(models, seen, strict=True):
                total += model(batch.to(device, non_blocking=True)).float()
            mean = (total / len(models)).cpu().numpy()
            unfit = ~(np.abs(mean) <= np.finfo(into.dtype).max).all(axis=1)
            refuse("predict", unfit, dataset.survey_id[begin:end], f"logits beyond {into.dtype}")
            into[begin:end] = mean


def _batches(
    model: Tighnari, dataset: SurveyDataset, batch_size: int, num_workers: int
) -> DataLoader[SurveyBatch]:
    return DataLoader(
        seen_by(model, dataset), batch_size, collate_fn=collate, num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
    )  # fmt: skip


def _array(run: Logits) -> np.ndarray:
    if isinstance(run, str | Path):
        try:
            array = open_memmap(run, mode="r")
        except (ValueError, EOFError) as error:  # no array, or half of one
            raise SurveyDataError(f"{run}: no whole .npy file of logits ({error})") from error
        if array.dtype.kind not in "fiu":
            raise SurveyDataError(f"{run}: no .npy file of numbers but of {array.dtype}")
        return array
    if isinstance(run, Tensor):
        return run.detach().float().numpy(force=True)
    return np.asarray(run)
