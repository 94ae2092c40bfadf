"""Learn from presence-only surveys first: `pretrain`, then `fit` with its model as the start."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tighnari_graph.neighbors import radius_edges_between
from tighnari_graph.spec import edge_attributes
from tighnari_graph.splits import block_ids
from tighnari_graph.surveys import SurveyTable
from tighnari_models.config import TighnariConfig
from tighnari_models.data.batch import FILES, SurveyBatch
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.data.dataset import EpochShuffle, SurveyDataset, SurveyInputs, collate
from tighnari_models.data.environment import survey_frame
from tighnari_models.data.graph_rows import GraphRows
from tighnari_models.fit import FitResult, fit_split, split_for_run
from tighnari_models.options import TrainingOptions
from tighnari_models.run_folder import digest

_SOFT = TrainingOptions(loss="weak", negative_target=0.002)
_log = logging.getLogger("tighnari_models")


def pretrain(
    config: TighnariConfig,
    po: SurveyTable,
    datamodule: SurveyDataModule,
    out_dir: str | Path,
    max_epochs: int = 10,
    seed: int = 0,
    training: TrainingOptions = _SOFT,
    environment: pd.DataFrame | None = None,
) -> FitResult:
    """Train a model on presence-only (PO) surveys, and validate it on presence–absence ones.

    The model that comes back is what `fit` takes as ``start``, to be fine-tuned on the
    presence–absence (PA) surveys of the same data module with the same config.

    - Labels: the species that were reported. The others count as ``training.loss`` says, and the
      best epoch is the one that predicts the validation PA surveys best, by plain `bce`.
    - Graph features: neighbours are training PA surveys of the same year within the radius (PO
      surveys have no region). Validation PA surveys are hidden, as in `fit`, and so is a PO
      survey's own block with ``exclude_block``. PO surveys are nobody's neighbours here.
    - Table: the columns of training and its fitted preprocessing. A column that PO surveys lack
      holds missing values: the training mean of a number, no category.
    - Image and cubes: PO surveys have none, so the training mean stands in (0 on the scale of the
      model), and the encoders of these modalities keep their weights. What is learned is table and
      graph encoder, fusion and last layer.

    A folder is resumed, or read when it is finished, as in `fit`. All PO surveys are held in
    memory: select or aggregate millions of them before.

    Args:
        config: the model; the width of the table is taken from the data.
        po: presence-only surveys, read with the vocabulary of the data module.
        datamodule: PA surveys with a split; without one, the first of ten block folds validates.
        out_dir: folder of this run, not that of the fine-tuning.
        max_epochs: passes over the PO surveys; early stopping may end before.
        seed: of initial weights, order, mixup and dropout.
        training: everything else about the training. By default an absence is a presence with
            probability 0.002, the best of five losses tried with 2,700 species (and not shown to be
            better than `bce`); far larger ones add more species than a survey has.
        environment: environment of the PO surveys by survey id, where it is known.

    Raises:
        ValueError: if species are not those of the data module, there is no PO survey, the model
            sees nothing that PO surveys have, or as in `fit`.
        SurveyDataError: if ``po`` has no labels, or as in `fit`.

    Example:
        >>> import tempfile
        >>> rows = pd.DataFrame({"surveyId": range(8), "lat": np.linspace(45, 52, 8), "lon": 7.0,
        ...     "year": 2020, "region": "ALPINE", "speciesId": [5, 9] * 4})
        >>> data = SurveyDataModule(SurveyTable.from_long(rows))
        >>> train = np.arange(8) < 6
        >>> data = data.with_split(train, ~train)
        >>> po = SurveyTable.from_long(rows.drop(columns="region").assign(lat=48.0), [5, 9])
        >>> config = TighnariConfig(2, modalities=data.modalities, fusion="concat")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     start = pretrain(config, po, data, folder, max_epochs=1).model
        >>> start.species_ids
        array([5, 9])
    """
    if not np.array_equal(po.species_ids, datamodule.species_ids):
        raise ValueError(
            f"the {len(po.species_ids)} species of the presence-only surveys are not the "
            f"{len(datamodule.species_ids)} of the data module: read both with one vocabulary "
            "(species_ids=species_vocabulary(survey_file, po_file))"
        )
    if len(po) == 0:
        raise ValueError("there are no presence-only surveys to learn from")
    frozen = tuple(name for name in config.modalities if name in FILES)
    if len(frozen) == len(config.modalities):
        raise ValueError(
            f"the model sees {', '.join(frozen)} only, which presence-only surveys lack; they have "
            "table and gfv"
        )
    data = PretrainingData(split_for_run(datamodule, seed, None), po, environment)
    record = {
        "presence-only": {
            "survey_id": digest(po.survey_id),
            "position and year": digest(po.lat, po.lon, po.year),
            "table": digest(pd.util.hash_pandas_object(data.po_frame, index=False).to_numpy()),
            "labels": digest(po.known_labels()),
        }
    }
    return fit_split(
        config, data, Path(out_dir), max_epochs, seed, training, frozen=frozen, record=record
    )


class PretrainingData(SurveyDataModule):
    """A data module with presence-only surveys in place of those that train; see `pretrain`.

    Everything else is that of the given data module: who validates, preprocessing, species.

    Attributes:
        po_frame: metadata and environment of the presence-only surveys, in training's columns.

    Args:
        data: with a split.
        po: with its vocabulary.
        environment: of the presence-only surveys, by survey id.
    """

    def __init__(
        self, data: SurveyDataModule, po: SurveyTable, environment: pd.DataFrame | None = None
    ) -> None:
        vars(self).update(vars(data))
        frame = survey_frame(po, environment)
        lacking = [str(name) for name in self.frame if name not in frame]
        single = [str(name) for name in frame if name not in self.frame]
        self.po_frame = frame.reindex(columns=self.frame.columns)
        graph = None
        if "gfv" in self.modalities:
            graph = _near_training_surveys(data, po, self._chosen_split().train)
        inputs = SurveyInputs(
            po.survey_id, po.species_ids, self.po_frame, None, graph, po.known_labels()
        )
        absent = [name for name in FILES if name in self.modalities]
        steps = replace(self._fitted(), **dict.fromkeys(absent))  # type: ignore[arg-type]
        shapes = {name: self.arrays.arrays[name].shape[1:] for name in absent}  # type: ignore[union-attr]
        self._po: Dataset[SurveyBatch] = _WithoutFiles(SurveyDataset(inputs, steps), shapes)
        _log.info(
            "pre-training on %d presence-only surveys; missing: %s; unknown in training: %s",
            len(po), ", ".join([*absent, *lacking]) or "nothing", ", ".join(single) or "nothing",
        )  # fmt: skip

    def train_dataloader(self) -> DataLoader[SurveyBatch]:
        """Batches of the presence-only surveys; the last is left out where it is not full."""
        num = len(self._po)  # type: ignore[arg-type]
        order = EpochShuffle(num, self.seed)
        if self.trainer is not None:  # as in `SurveyDataModule`
            progress = self.trainer.fit_loop.epoch_progress.current
            order.set_epoch(progress.processed)  # type: ignore[attr-defined]
        return DataLoader(
            self._po, self.batch_size, sampler=order, collate_fn=collate,
            drop_last=num > self.batch_size, **self._loading(),
        )  # fmt: skip


class _WithoutFiles(Dataset[SurveyBatch]):
    """Surveys with the training mean for every image and cube, and none of them found."""

    def __init__(self, surveys: SurveyDataset, shapes: dict[str, tuple[int, ...]]) -> None:
        self.surveys, self.shapes = surveys, shapes

    def __len__(self) -> int:
        return len(self.surveys)

    def __getitems__(self, indices: list[int]) -> SurveyBatch:
        batch = self.surveys.__getitems__(indices)
        if not self.shapes:
            return batch
        fields: dict[str, Tensor] = {
            name: torch.zeros(len(batch), *shape) for name, shape in self.shapes.items()
        }
        found = torch.zeros(len(batch), len(FILES), dtype=torch.bool)
        return batch.replace(**fields, found=found)


def _near_training_surveys(
    data: SurveyDataModule, po: SurveyTable, visible: np.ndarray
) -> GraphRows:
    """Graph features of presence-only surveys, made of the visible surveys of a data module."""
    surveys, graph, num = data.surveys, data.graph, len(data.surveys)
    year = np.zeros(num + len(po), dtype=np.int64)
    if "year" in graph.match:
        both = np.concatenate([surveys.year, po.year])
        year = np.unique(both, return_inverse=True)[1].astype(np.int64)
    edges, distance = radius_edges_between(
        surveys.lat, surveys.lon, year[:num], po.lat, po.lon, year[num:], graph.radius_km
    )
    if data.exclude_block is not None:
        lat, lon = np.concatenate([surveys.lat, po.lat]), np.concatenate([surveys.lon, po.lon])
        block = block_ids(lat, lon, data.exclude_block)
        apart = block[edges[0]] != block[num + edges[1]]
        edges, distance = edges[:, apart], distance[apart]
    found: dict[str, Any] = edge_attributes(edges, distance, graph.radius_km)
    return GraphRows(
        graph.y, found["edge_index"], found["edge_weight"], len(po), visible, data.gfv, data.degree
    )
