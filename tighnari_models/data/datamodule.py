"""From a data folder to training batches: tables, graph, prepared arrays, folds."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from tighnari_graph.gfv import GFVScaler
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.multiscale import MultiScale
from tighnari_graph.scale_rows import TOP
from tighnari_graph.splits import block_ids
from tighnari_graph.surveys import SurveyTable
from tighnari_models.config import TighnariConfig
from tighnari_models.data.batch import FILES, SurveyBatch
from tighnari_models.data.dataset import (
    EpochShuffle,
    SurveyDataset,
    SurveyInputs,
    collate,
    own_share,
)
from tighnari_models.data.environment import common_columns, survey_frame
from tighnari_models.data.folder import read_folder
from tighnari_models.data.graph_rows import GraphRows
from tighnari_models.data.modalities import chosen_modalities, fit_scaler
from tighnari_models.data.prepared import PreparedArrays
from tighnari_models.data.preprocessing import Preprocessing
from tighnari_models.data.scale_rows import ScaleFeatures, ScaleModels
from tighnari_models.data.table import TablePreprocessor


@dataclass(frozen=True, eq=False)
class Split:
    r"""Which labelled surveys train and which validate, :math:`(N,)` bool each, disjoint."""

    train: np.ndarray
    val: np.ndarray


class SurveyDataModule(LightningDataModule):
    r"""Labelled surveys, surveys to predict and all their modalities, for Lightning and `fit`.

    A split decides who trains; graph features see the labels of those surveys only, so neither a
    validation survey's labels nor a survey's own ever enter a feature. Splits share all data.

    Args:
        surveys: labelled surveys.
        test: surveys to predict.
        environment: environment tables by survey id of either, from `read_environment`.
        arrays: prepared images and cubes of the labelled surveys; ``test_arrays`` of the others.
        modalities: which to use; by default every one that both sets of surveys have.
        gfv: "sliced" hands out rows of the finished feature matrix, "on_the_fly" the neighbourhood.
        normalize: scale of graph features, see `GFVScaler`.
        degree: see `GFVConv`.
        radius_km: longest edge of the graph.
        batch_size: surveys in a training batch; twice as many where nothing is learned.
        num_workers: processes that read batches.
        outliers: rules for the table, see `TablePreprocessor`.
        fit_on: "train" fits imputation and scales on training surveys only; "all" fits those of the
            table on the surveys to predict too, as the paper does (their labels are never used).
        cube_fill: what stands in for missing cube values, see `ChannelScaler`.
        seed: of the order of training surveys.
        exclude_block: kilometres. Graph features of training surveys are then made as if their own
            block of this size were unseen, as those of a held-out block are. Validation and test
            surveys keep theirs, but for the scale, which training surveys give.
        multiscale: whether multi-scale rows (modality "scales") are made besides; where
            ``modalities`` names them they always are. A `MultiScale` model is fitted on the
            training surveys of each split, when its first batch is asked for. Training surveys get
            rows as if their own 10 km block were unseen.
        presence_only: presence-only surveys that the multi-scale models see too.

    Raises:
        ValueError: on a modality that the data lack, labels that are missing, or a block size that
            is not positive.

    Source: Liu et al. 2024, sections 3.1–3.4.

    Example:
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45.0, 45.05, 47.0], "lon": 7.0,
        ...     "year": 2020, "region": "ALPINE", "speciesId": [5, 9, 5]})
        >>> data = SurveyDataModule(SurveyTable.from_long(rows), batch_size=2)
        >>> data = data.with_split(np.array([True, True, False]), np.array([False, False, True]))
        >>> batch = next(iter(data.val_dataloader()))
        >>> batch.modalities, batch.y
        (('table', 'gfv'), tensor([[1., 0.]]))
    """

    def __init__(
        self,
        surveys: SurveyTable,
        test: SurveyTable | None = None,
        environment: pd.DataFrame | None = None,
        arrays: PreparedArrays | None = None,
        test_arrays: PreparedArrays | None = None,
        modalities: Sequence[str] | None = None,
        gfv: str = "sliced",
        normalize: str | None = "max",
        degree: str = "count",
        radius_km: float = 10.0,
        batch_size: int = 64,
        num_workers: int = 0,
        outliers: str | dict[str, str] = "impossible",
        fit_on: str = "train",
        cube_fill: str = "channel",
        seed: int = 0,
        exclude_block: float | None = None,
        multiscale: bool = False,
        presence_only: SurveyTable | None = None,
    ) -> None:
        super().__init__()
        surveys.known_labels()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if fit_on not in ("train", "all"):
            raise ValueError(f"fit_on must be 'train' or 'all', got {fit_on!r}")
        self.surveys, self.test, self.fit_on = surveys, test, fit_on
        self.gfv, self.normalize, self.degree, self.radius_km = gfv, normalize, degree, radius_km
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.outliers, self.cube_fill = outliers, cube_fill
        self.exclude_block = exclude_block
        self._block: np.ndarray | None = None
        if exclude_block is not None:
            self._block = block_ids(surveys.lat, surveys.lon, exclude_block)
        self.split: Split | None = None
        self.preprocessing: Preprocessing | None = None
        self._seen: GraphRows | None = None  # as the training surveys' labels make them
        self.arrays, self.test_arrays = arrays, test_arrays
        self.graph = SurveyGraph.from_surveys(surveys, radius_km)
        self.frame = survey_frame(surveys, environment)
        self.test_frame = None
        if test is not None:
            self.frame, self.test_frame = common_columns(
                self.frame, survey_frame(test, environment)
            )
        self.modalities = chosen_modalities(
            modalities, arrays, test_arrays, test is not None, multiscale
        )
        self.scale_models = ScaleModels(surveys, presence_only)
        self._scales: ScaleFeatures | None = None  # of the split, once they are asked for

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        prepared: str | Path,
        modalities: Sequence[str] | None = None,
        limit: int | None = None,
        max_bad_share: float = 0.05,
        monthly: bool = False,
        **options: Any,
    ) -> "SurveyDataModule":
        r"""Read a GeoLifeCLEF folder as downloaded, and prepare its images and cubes once.

        Args:
            folder: the data set.
            prepared: where prepared arrays go; found there, they are opened instead.
            modalities: which to use; by default all that are there.
            limit: use this many training surveys, of whole blocks.
            max_bad_share: share of missing or broken files from which on it is an error.
            monthly: whether the 912 monthly climate columns enter the table.
            options: arguments of the class.

        Raises:
            FileNotFoundError: if the folder lacks the PA metadata.
            SurveyDataError: on a table or file that breaks a rule.
        """
        read = read_folder(
            folder, prepared, modalities, limit, max_bad_share, monthly, int(options.get("seed", 0))
        )
        return cls(
            read.surveys, read.test, read.environment, read.arrays, read.test_arrays, modalities,
            **options,
        )  # fmt: skip

    @property
    def species_ids(self) -> np.ndarray:
        r"""Species of the columns, :math:`(S,)` int64."""
        return self.surveys.species_ids

    @property
    def num_table_features(self) -> int | None:
        """Columns of the table once it is preprocessed, None without a table or a split."""
        if self.preprocessing is None or self.preprocessing.table is None:
            return None
        return self.preprocessing.table.num_features

    def with_split(
        self, train: np.ndarray, val: np.ndarray, preprocessing: Preprocessing | None = None
    ) -> "SurveyDataModule":
        r"""The same data with these training and validation surveys.

        Args:
            train: learned from, and the only labels that graph features see.
            val: predicted after every epoch.
            preprocessing: fitted before; by default on the training surveys. Where it has no scale
                of graph features, that alone is fitted on them; multi-scale rows need nothing.

        Shapes:
            - **train, val:** :math:`(N,)` bool

        Raises:
            ValueError: if masks have another length, overlap, or nobody trains.
        """
        train, val = self._mask(train, "train"), self._mask(val, "val")
        if (train & val).any():
            raise ValueError(f"{(train & val).sum()} surveys both train and validate")
        if not train.any():
            raise ValueError("nobody trains")
        other = copy.copy(self)
        other.split, other._scales = Split(train, val), None
        other._seen = self._graph_rows(train) if "gfv" in self.modalities else None
        other.preprocessing = preprocessing or other._fit(train, other._seen)
        if other.preprocessing.gfv is None and other._seen is not None:
            scaler = other._seen.fit_scaler(GFVScaler(self.normalize), train)
            other.preprocessing = replace(other.preprocessing, gfv=scaler)
        if "scales" in self.modalities:
            other.preprocessing = replace(other.preprocessing, scales=TOP)
        return other

    def fit_preprocessing(self, rows: np.ndarray, gfv: bool = True) -> Preprocessing:
        r"""Fit every step on some labelled surveys, :math:`(N,)` bool.

        Args:
            rows: the surveys.
            gfv: whether to fit the scale of graph features, which alone is made of labels; without
                it, `with_split` fits that on the training surveys of each split.
        """
        rows = self._mask(rows, "rows")
        wanted = gfv and "gfv" in self.modalities
        return self._fit(rows, self._graph_rows(rows) if wanted else None)

    def complete(self, config: TighnariConfig) -> TighnariConfig:
        """The config with the width of the table filled in, checked against the data.

        Raises:
            ValueError: if the model wants another number of species, or a modality that is lacking.
        """
        if config.num_species != len(self.species_ids):
            raise ValueError(
                f"the config has {config.num_species} species, the data {len(self.species_ids)}"
            )
        lacking = [name for name in config.modalities if name not in self.modalities]
        if lacking:
            raise ValueError(
                f"the config wants {', '.join(lacking)}; the data have {', '.join(self.modalities)}"
            )
        return replace(config, num_table_features=self.num_table_features)

    def frequency(self, rows: np.ndarray) -> np.ndarray:
        r"""Share of surveys that have each species, :math:`(S,)` float64."""
        labels = self.surveys.known_labels()[self._mask(rows, "rows")]
        return np.asarray(labels.sum(axis=0, dtype=np.float64)).ravel() / labels.shape[0]

    def dataset(
        self, rows: np.ndarray, visible: np.ndarray, preprocessing: Preprocessing | None = None
    ) -> SurveyDataset:
        r"""Labelled surveys, with graph features that see the labels of ``visible`` only.

        Shapes:
            - **rows, visible:** :math:`(N,)` bool
        """
        visible = self._mask(visible, "visible")
        rows, steps = self._mask(rows, "rows"), preprocessing or self._fitted()
        seen = self._graph_rows(visible) if "gfv" in self.modalities else None
        scales = None
        if "scales" in self.modalities:
            scales = self.scale_models.rows(rows, visible)
        return self._dataset(rows, seen, steps, scales)

    def multiscale_model(self) -> MultiScale | None:
        """The one that sees all labelled surveys, for new ones; None if there is no need of it."""
        if "scales" not in self.modalities:
            return None
        return self.scale_models.of(np.ones(len(self.surveys), dtype=bool))

    def test_dataset(self, preprocessing: Preprocessing | None = None) -> SurveyDataset | None:
        """The surveys to predict, all labelled surveys visible; None if there are none.

        Without a split or ``preprocessing`` they are raw, for `predict` to bring to each model's
        scale.
        """
        if self.test is None:
            return None
        graph = None
        if "gfv" in self.modalities:
            graph = GraphRows.of_new(self.graph, self.test, self.gfv, self.degree)
        model = self.multiscale_model()
        inputs = SurveyInputs(
            self.test.survey_id, self.species_ids, self.test_frame, self.test_arrays, graph,
            scales=None if model is None else ScaleFeatures.of_new(model, self.test),
        )  # fmt: skip
        return SurveyDataset(inputs, preprocessing or self.preprocessing)

    def test_dataloader(self) -> DataLoader[SurveyBatch]:
        """Batches of the surveys to predict, in table order.

        Raises:
            ValueError: if there are none, or nothing is fitted yet.
        """
        data = self.test_dataset(self._fitted())
        if data is None:
            raise ValueError("the data module has no surveys to predict: give test=")
        return self._in_order(data)

    predict_dataloader = test_dataloader

    def train_dataloader(self) -> DataLoader[SurveyBatch]:
        """Batches of the training surveys; the last is left out where it is not full."""
        split = self._chosen_split()
        data = self._dataset(split.train, self._seen, self._fitted(), self._split_scales())
        order = EpochShuffle(len(data), self.seed)
        if self.trainer is not None:  # worker processes read ahead before Lightning sets the epoch
            progress = self.trainer.fit_loop.epoch_progress.current
            order.set_epoch(progress.processed)  # type: ignore[attr-defined]
        return DataLoader(
            data, batch_size=self.batch_size, sampler=order, collate_fn=collate,
            drop_last=len(data) > self.batch_size, **self._loading(),
        )  # fmt: skip

    def val_dataloader(self) -> DataLoader[SurveyBatch]:
        """Batches of the validation surveys, in table order."""
        split = self._chosen_split()
        data = self._dataset(split.val, self._seen, self._fitted(), self._split_scales())
        return self._in_order(data)

    def _in_order(self, data: SurveyDataset) -> DataLoader[SurveyBatch]:
        share, size = own_share(data), 2 * self.batch_size
        return DataLoader(
            data, batch_size=size, sampler=share, collate_fn=collate, **self._loading()
        )

    def _loading(self) -> dict[str, Any]:
        return {
            "num_workers": self.num_workers,
            "pin_memory": torch.cuda.is_available(),
            "persistent_workers": self.num_workers > 0,
        }

    def _graph_rows(self, visible: np.ndarray) -> GraphRows:
        graph = self.graph
        return GraphRows(
            graph.y, graph.edge_index, graph.edge_weight, len(self.surveys), visible,
            self.gfv, self.degree, self._block,
        )  # fmt: skip

    def _split_scales(self) -> ScaleFeatures | None:
        """Multi-scale rows of the surveys that train or validate."""
        if self._scales is None and "scales" in self.modalities:
            split = self._chosen_split()
            self._scales = self.scale_models.rows(split.train | split.val, split.train)
        return self._scales

    def _dataset(
        self,
        rows: np.ndarray,
        graph: GraphRows | None,
        preprocessing: Preprocessing,
        scales: ScaleFeatures | None,
    ) -> SurveyDataset:
        inputs = SurveyInputs(
            self.surveys.survey_id, self.species_ids, self.frame, self.arrays, graph,
            self.surveys.known_labels(), scales,
        )  # fmt: skip
        return SurveyDataset(inputs, preprocessing, np.flatnonzero(rows))

    def _fit(self, rows: np.ndarray, graph: GraphRows | None) -> Preprocessing:
        frame = self.frame[rows]
        if self.fit_on == "all" and self.test_frame is not None:
            frame = pd.concat([frame, self.test_frame])
        fitted: dict[str, Any] = {
            name: fit_scaler(self.arrays, name, self.surveys.survey_id[rows], self.cube_fill)
            for name in self.modalities
            if name in FILES and self.arrays is not None
        }
        if "table" in self.modalities:
            fitted["table"] = TablePreprocessor(outliers=self.outliers).fit(frame)
        if "scales" in self.modalities:
            fitted["scales"] = TOP
        if graph is not None:
            fitted["gfv"] = graph.fit_scaler(GFVScaler(self.normalize), rows)
        return Preprocessing(radius_km=self.radius_km, degree=self.degree, **fitted)

    def _mask(self, mask: np.ndarray, what: str) -> np.ndarray:
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != (len(self.surveys),):
            raise ValueError(
                f"{what} must be a bool mask of the {len(self.surveys)} surveys, "
                f"got {mask.dtype} of shape {mask.shape}"
            )
        return mask

    def _chosen_split(self) -> Split:
        if self.split is None:
            raise ValueError("the data module has no split yet: data.with_split(train, val)")
        return self.split

    def _fitted(self) -> Preprocessing:
        if self.preprocessing is None:
            raise ValueError("nothing is fitted yet: data.with_split(train, val)")
        return self.preprocessing
