"""Surveys as a map-style data set that hands out whole batches."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from scipy import sparse
from torch.utils.data import Dataset, Sampler
from torch.utils.data.distributed import DistributedSampler

from tighnari_models.data.batch import FILES, MODALITIES, SurveyBatch
from tighnari_models.data.graph_rows import GraphRows
from tighnari_models.data.prepared import PreparedArrays
from tighnari_models.data.preprocessing import Preprocessing
from tighnari_models.data.scale_rows import ScaleFeatures
from tighnari_models.trainer import several_processes


@dataclass(frozen=True, eq=False)
class SurveyInputs:
    """Everything known of some surveys, raw, in one order; None for what there is not.

    Attributes:
        survey_id: :math:`(N,)` int64.
        species_ids: :math:`(S,)` int64, the vocabulary of labels and graph features.
        frame: metadata and environment, a row per survey, from `survey_frame`.
        arrays: prepared images and cubes; they may hold more surveys than these.
        graph: graph features of these surveys.
        labels: :math:`(N, S)` scipy CSR of 0/1.
        scales: multi-scale rows of these surveys.
    """

    survey_id: np.ndarray
    species_ids: np.ndarray
    frame: pd.DataFrame | None = None
    arrays: PreparedArrays | None = None
    graph: GraphRows | None = None
    labels: sparse.csr_matrix | None = None
    scales: ScaleFeatures | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that are there."""
        there = set() if self.arrays is None else set(self.arrays.arrays)
        there |= {"table"} if self.frame is not None else set()
        there |= {"gfv"} if self.graph is not None else set()
        there |= {"scales"} if self.scales is not None else set()
        return tuple(name for name in MODALITIES if name in there)


class SurveyDataset(Dataset[SurveyBatch]):
    """Surveys ready for a model: raw inputs and the preprocessing that a model was trained with.

    A whole batch is read at once (`__getitems__`, which torch's loader calls), from memory maps and
    sparse rows; there is no loop over its surveys.

    Args:
        inputs: what is known of the surveys.
        preprocessing: how each modality is brought to scale; modalities that it lacks are left
            out. None: to be given by `with_preprocessing`, as `predict` does for each model.
        rows: positions to keep, in this order; all by default.

    Raises:
        ValueError: if the preprocessing knows a modality that the inputs lack, or a batch is asked
            for without any.

    Example:
        >>> inputs = SurveyInputs(np.array([7, 9]), np.array([1]),
        ...     labels=sparse.csr_matrix([[1.0], [0.0]]))
        >>> batch = SurveyDataset(inputs, Preprocessing())[0]
        >>> batch.survey_id, batch.y
        (tensor([7]), tensor([[1.]]))
    """

    def __init__(
        self,
        inputs: SurveyInputs,
        preprocessing: Preprocessing | None = None,
        rows: np.ndarray | None = None,
    ) -> None:
        wanted = () if preprocessing is None else preprocessing.modalities
        lacking = [name for name in wanted if name not in inputs.modalities]
        if lacking:
            raise ValueError(
                f"the model was trained with {', '.join(lacking)}, which these surveys lack; "
                f"they have {', '.join(inputs.modalities) or 'nothing'}"
            )
        self.inputs = inputs
        self.preprocessing = preprocessing
        self.rows = np.arange(len(inputs.survey_id)) if rows is None else np.asarray(rows)
        self._at = None
        if inputs.arrays is not None and set(FILES) & set(wanted):
            self._at = inputs.arrays.rows(self.survey_id)
        self._table = None
        if preprocessing is not None and preprocessing.table is not None:
            frame = inputs.frame.iloc[self.rows]  # type: ignore[union-attr]
            self._table = torch.from_numpy(preprocessing.table.transform(frame))

    @property
    def survey_id(self) -> np.ndarray:
        r"""Ids of the surveys, :math:`(n,)` int64."""
        return self.inputs.survey_id[self.rows]

    @property
    def species_ids(self) -> np.ndarray:
        r"""Species of the columns, :math:`(S,)` int64."""
        return self.inputs.species_ids

    @property
    def labels(self) -> sparse.csr_matrix | None:
        r"""Labels, :math:`(n, S)` scipy CSR; None for surveys to predict."""
        return None if self.inputs.labels is None else self.inputs.labels[self.rows]

    @property
    def modalities(self) -> tuple[str, ...]:
        """What its batches carry."""
        return () if self.preprocessing is None else self.preprocessing.modalities

    def with_preprocessing(self, preprocessing: Preprocessing) -> "SurveyDataset":
        """The same surveys, brought to scale as another model needs them."""
        return SurveyDataset(self.inputs, preprocessing, self.rows)

    def subset(self, rows: np.ndarray) -> "SurveyDataset":
        """The surveys at these positions (or where a bool mask is true)."""
        return SurveyDataset(self.inputs, self.preprocessing, self.rows[rows])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> SurveyBatch:
        if not -len(self) <= index < len(self):
            raise IndexError(f"survey {index} of {len(self)}")
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> SurveyBatch:
        steps = self.preprocessing
        if steps is None:
            raise ValueError(
                "these surveys have no preprocessing yet: with_preprocessing(model.preprocessing)"
            )
        places = np.asarray(indices, dtype=np.int64)
        rows = self.rows[places]
        fields: dict[str, Any] = {}
        fields["survey_id"] = torch.from_numpy(self.inputs.survey_id[rows])
        if self._at is not None and self.inputs.arrays is not None:
            at = self._at[places]
            found = torch.ones(len(rows), len(FILES), dtype=torch.bool)
            for column, name in enumerate(FILES):
                scaler = getattr(steps, name)
                if scaler is None:
                    continue
                there = torch.from_numpy(self.inputs.arrays.found[name][at])
                raw = torch.from_numpy(np.asarray(self.inputs.arrays.arrays[name][at]))
                fields[name] = scaler.transform(raw, there)
                found[:, column] = there
            fields["found"] = found
        if self._table is not None:
            fields["table"] = self._table[torch.from_numpy(places)]
        if steps.gfv is not None and self.inputs.graph is not None:
            near = self.inputs.graph.batch(rows, steps.gfv)
            fields["gfv" if isinstance(near, torch.Tensor) else "neighborhood"] = near
        if steps.scales is not None and self.inputs.scales is not None:
            fields["scales"], fields["scales_rest"] = self.inputs.scales.batch(rows)
        if self.inputs.labels is not None:
            labels = self.inputs.labels[rows].toarray()
            fields["y"] = torch.from_numpy(labels.astype(np.float32, copy=False))
        return SurveyBatch(**fields)


def collate(batch: Any) -> SurveyBatch:
    """What torch's loader calls: the data set has made the batch already."""
    if not isinstance(batch, SurveyBatch):
        raise TypeError(f"expected the SurveyBatch of a SurveyDataset, got {type(batch).__name__}")
    return batch


class EpochShuffle(DistributedSampler[int]):
    """An order that depends on seed and epoch alone, so that a resumed run meets the same batches.

    Lightning calls `set_epoch`. Of several processes each takes every so-manieth of the order, so
    that their batches together are those of one process; the first surveys come again where the
    processes would not have equally many.

    Example:
        >>> order = EpochShuffle(5, seed=0)
        >>> first = list(order)
        >>> order.set_epoch(1)
        >>> sorted(order) == sorted(first) == [0, 1, 2, 3, 4], list(order) == first
        (True, False)
    """

    def __init__(self, num: int, seed: int) -> None:
        super().__init__(range(num), *_processes(), seed=seed)  # type: ignore[arg-type]
        self.num = num

    def __iter__(self) -> Any:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.num)
        return iter(np.resize(order, self.total_size)[self.rank :: self.num_replicas].tolist())


def own_share(data: SurveyDataset) -> Sampler[int] | None:
    """Of several processes, every so-manieth survey; all of them once, where Lightning repeats.

    Raises:
        ValueError: if there are fewer surveys than processes.
    """
    num, rank = _processes()
    if num == 1:
        return None
    if len(data) < num:
        raise ValueError(
            f"{len(data)} surveys to validate or predict for {num} processes, which need one each; "
            "use fewer devices"
        )
    return UnrepeatedDistributedSampler(data, num, rank, shuffle=False)


def _processes() -> tuple[int, int]:
    """How many Lightning has joined, one per device, and which of them this is."""
    if not several_processes():
        return 1, 0
    return torch.distributed.get_world_size(), torch.distributed.get_rank()
