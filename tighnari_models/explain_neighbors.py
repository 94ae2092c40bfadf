"""The neighbours of a survey as players: what the graph feature is with some of them only."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor
from torch_geometric.data import HeteroData

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.explain_feature import seen_neighbors
from tighnari_graph.explanation import IN_WORDS, NO_ID, Parts, contributor_rows, entry_rows
from tighnari_graph.gfv import GFVConv, GFVScaler
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.inspection import Neighborhood
from tighnari_graph.sparse import scipy_csr, torch_csr
from tighnari_models.data.dataset import SurveyDataset
from tighnari_models.explain_shapley import coalition_sizes

MOST = 12  # neighbours one by one: each doubles the work


@dataclass(frozen=True, eq=False)
class NeighborGroups:
    r"""The neighbours of a survey: the nearest one by one, all others as one group.

    Attributes:
        here: the neighbours whose labels its graph feature is made of, nearest first.
        group: :math:`(n,)` number of each neighbour's group; groups are numbered by distance.
        degree: of the feature, see `GFVConv`.
    """

    here: Neighborhood
    group: np.ndarray
    degree: str

    @classmethod
    def of(
        cls,
        survey: SurveyDataset,
        graph: SurveyGraph | HeteroData,
        visible: Tensor | np.ndarray | None,
        exclude_block: float | Tensor | np.ndarray | None,
        one_by_one: int,
    ) -> "NeighborGroups":
        """The neighbours of a survey, checked against the graph feature in its data set.

        Raises:
            SurveyDataError: if they do not make that feature, or the graph has no such survey.
        """
        if not 0 <= one_by_one <= MOST:
            raise ValueError(f"neighbors must be from 0 to {MOST}, got {one_by_one}")
        survey_id, rows = int(survey.survey_id[0]), survey.inputs.graph
        if rows is None:
            raise SurveyDataError("graph is given, but the data set has no graph features")
        here = seen_neighbors(graph, survey_id, None, visible, exclude_block)
        here = here.only(here.nearest())
        group = np.minimum(np.arange(len(here.source)), one_by_one)
        found = cls(here, group, rows.degree)
        expected = rows.batch(survey.rows, GFVScaler(None))
        expected = expected if isinstance(expected, Tensor) else expected.rows()
        everyone = found._features(np.ones((1, len(group)), dtype=bool))
        if everyone.shape != expected.shape or not torch.allclose(
            everyone.to_dense(), expected.to_dense(), rtol=1e-4, atol=1e-6
        ):
            raise SurveyDataError(
                f"survey {survey_id}: its {len(group)} neighbours in the graph do not make the "
                "graph feature in the data set; give the graph, visible= and exclude_block= that "
                "it was made with"
            )
        return found

    @property
    def num(self) -> int:
        """How many groups."""
        return int(self.group[-1]) + 1 if len(self.group) else 0

    def features(self) -> Tensor | None:
        r"""Graph features with the edges of some groups only, of coalitions 1, 2, … but the whole.

        Bit *i* of a coalition's number says whether group *i* is in; others' edges are taken away.

        Shapes:
            - **output:** :math:`(2^g - 2, S)` sparse CSR, None without such coalitions
        """
        coalition = np.arange(1, len(coalition_sizes(self.num)) - 1)
        if not len(coalition):
            return None
        return self._features((coalition[:, None] >> self.group & 1).astype(bool))

    def parts(self, share: np.ndarray) -> Parts:
        r"""Groups as contributors, the last one in the mean place of its surveys.

        Shapes:
            - **share:** :math:`(g, S)`
        """
        size = np.bincount(self.group)
        first = np.searchsorted(self.group, np.arange(self.num))
        alone = size == 1
        ids = np.where(alone, self.here.survey_id[first], NO_ID)
        home = self.here.targets.pos.numpy(force=True)[self.here.node]
        away = self.here.sources.pos.numpy(force=True)[self.here.source] - home
        away[:, 1] = _around(away[:, 1])  # neighbours lie on both sides of the antimeridian
        mean = sparse.csr_matrix((1 / size[self.group], (self.group, np.arange(len(self.group)))))
        farther = pd.Series(size).astype(str) + " farther surveys"
        told = farther.where(~alone, IN_WORDS["survey"] + pd.Series(ids, dtype=str))
        source, column = np.nonzero(share)
        pos = mean @ away + home
        pos[:, 1] = _around(pos[:, 1])
        return Parts(
            contributor_rows(
                np.where(alone, "survey", "cell").astype(object), ids, told,
                mean @ self.here.distance_km, pos,
            ),
            entry_rows(source, column, share[source, column]),
        )  # fmt: skip

    def _features(self, member: np.ndarray) -> Tensor:
        """Graph features of the neighbours that are in, [features, n] bool."""
        target, neighbor = (torch.from_numpy(part) for part in np.nonzero(member))
        labels = torch_csr(scipy_csr(self.here.sources.y)[self.here.source])
        weight = torch.from_numpy(self.here.weight)[neighbor]
        size = (len(self.group), len(member))
        return GFVConv(self.degree)(labels, torch.stack([neighbor, target]), weight, size=size)


def _around(degrees: np.ndarray) -> np.ndarray:
    """Degrees of longitude from −180 up to 180."""
    return (degrees + 180) % 360 - 180
