"""Multi-scale rows for minibatches: each survey's best species, by models of visible surveys."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from tighnari_graph.multiscale import MultiScale
from tighnari_graph.scale_rows import TOP, ScaleRows
from tighnari_graph.sparse import torch_csr
from tighnari_graph.surveys import SurveyTable


@dataclass(frozen=True, eq=False)
class ScaleFeatures:
    r"""The multi-scale rows of some surveys, by the position of the survey.

    Attributes:
        rows: as `MultiScale` gave them.
        at: :math:`(N,)` which of the rows is that of each survey; −1 where there is none.

    Example:
        >>> rows = ScaleRows.best(np.array([[0.2, 0.5]]), np.array([[9.0, 8.0]]), top=1)
        >>> best, rest = ScaleFeatures(rows, np.array([-1, 0])).batch(np.array([1, 1]))
        >>> best.to_dense(), rest
        (tensor([[0.0000, 0.5000],
                [0.0000, 0.5000]]), tensor([0.2000, 0.2000]))
    """

    rows: ScaleRows
    at: np.ndarray

    @classmethod
    def of_new(cls, model: MultiScale, surveys: SurveyTable, top: int = TOP) -> "ScaleFeatures":
        """Rows of surveys that the model was not fitted on; their labels are not looked at."""
        rows = model.predict(replace(surveys, labels=None), top)
        return cls(rows, np.arange(len(surveys)))

    @classmethod
    def of_known(
        cls, model: MultiScale, surveys: SurveyTable, visible: np.ndarray, wanted: np.ndarray
    ) -> "ScaleFeatures":
        r"""Rows of labelled surveys, of which the model was fitted on some.

        Those are seen as if their own block were not there, the others as new ones.

        Args:
            model: fitted on the visible surveys, in table order.
            surveys: all labelled surveys.
            visible: :math:`(N,)` bool.
            wanted: :math:`(N,)` bool, the surveys to make rows of.
        """
        parts = []
        if (wanted & visible).any():
            own = model.predict_training(surveys.subset(visible), TOP)
            parts.append(own.at(wanted[visible]))
        if (wanted & ~visible).any():
            hidden = surveys.subset(wanted & ~visible)
            parts.append(model.predict(replace(hidden, labels=None), TOP))
        order = np.concatenate(
            [np.flatnonzero(wanted & visible), np.flatnonzero(wanted & ~visible)]
        )
        at = np.full(len(surveys), -1)
        at[order] = np.arange(len(order))
        return cls(ScaleRows.stacked(parts, len(surveys.species_ids)), at)

    def batch(self, positions: np.ndarray) -> tuple[Tensor, Tensor]:
        r"""Probabilities, :math:`(B, S)` sparse CSR, and remainders, :math:`(B,)`, of some surveys.

        Raises:
            IndexError: if there is no row of one of them.
        """
        at = self.at[positions]
        if (at < 0).any():
            raise IndexError(f"no multi-scale rows of {(at < 0).sum()} of {len(at)} surveys")
        rest = self.rows.remainder[at].astype(np.float32, copy=False)
        return torch_csr(self.rows.probabilities[at]), torch.from_numpy(rest)


@dataclass(frozen=True, eq=False)
class ScaleModels:
    """A `MultiScale` model for each set of visible surveys, fitted when it is first asked for.

    Attributes:
        surveys: all labelled surveys.
        presence_only: further surveys, which every model sees.
    """

    surveys: SurveyTable
    presence_only: SurveyTable | None = None
    _fitted: dict[bytes, MultiScale] = field(default_factory=dict, repr=False)

    def of(self, visible: np.ndarray) -> MultiScale:
        r"""The model fitted on these surveys, :math:`(N,)` bool, and on no label of another."""
        key = np.packbits(visible).tobytes()
        if key not in self._fitted:
            train = self.surveys.subset(visible)
            self._fitted[key] = MultiScale.fit(train, self.presence_only)
        return self._fitted[key]

    def rows(self, wanted: np.ndarray, visible: np.ndarray) -> ScaleFeatures:
        r"""Multi-scale rows of the surveys in ``wanted``, :math:`(N,)` bool."""
        return ScaleFeatures.of_known(self.of(visible), self.surveys, visible, wanted)
