"""Graph-only prediction: the neighbours' votes as shares, shrunk towards what grows in the region.

A graph feature vector is no probability: it grows with the number of neighbours, and is zero for
an isolate. As a share, (Σ w y + λ · prior) / (Σ w + λ), it is one: of the weight around a survey,
how much saw the species. λ is the weight, in kilometres, that the prior has beside the neighbours.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from torch_geometric.data import HeteroData
from torch_geometric.utils import scatter

from tighnari_graph.gfv import graph_feature_vectors
from tighnari_graph.sparse import scipy_csr
from tighnari_graph.surveys import SurveyTable

LEVELS = ("region", "country")
LEVEL_SURVEYS = 20.0


@dataclass(frozen=True, eq=False)
class FrequencyPrior:
    r"""How often each species occurs in a survey's region and country, coarse to fine.

    Every level shrinks towards the coarser one: with n surveys of a group and the coarser frequency
    q, the frequency is :math:`(\sum y + m\,q) / (n + m)`. The coarsest is all surveys together. A
    survey whose region or country was never seen keeps the frequency of the coarser level.

    Attributes:
        frequency: :math:`(G, S)` float32, a row per group.
        group: :math:`(N,)` int64, row of each target survey.

    Example:
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": 45., "lon": 7., "year": 2020,
        ...     "region": ["ALPINE", "ALPINE", "BOREAL"], "speciesId": [5, 5, 9]})
        >>> table = SurveyTable.from_long(rows)
        >>> prior = FrequencyPrior.fit(table, table, levels=("region",), surveys=1.0)
        >>> prior.rows(np.array([0, 2])).round(2)
        array([[0.89, 0.11],
               [0.33, 0.67]], dtype=float32)
    """

    frequency: np.ndarray
    group: np.ndarray

    @classmethod
    def fit(
        cls,
        train: SurveyTable,
        target: SurveyTable,
        levels: tuple[str, ...] = LEVELS,
        surveys: float = LEVEL_SURVEYS,
    ) -> "FrequencyPrior":
        """Count the species of training surveys, and place the target surveys.

        Args:
            train: labelled surveys.
            target: the surveys to predict.
            levels: columns from coarse to fine; those that a table lacks are passed over.
            surveys: m, how many surveys the coarser frequency counts for.
        """
        labels = train.known_labels()
        everywhere = np.asarray(labels.sum(axis=0), dtype=np.float64).ravel()
        frequency = (everywhere / max(len(train), 1))[None, :]
        train_group = np.zeros(len(train), dtype=np.int64)
        target_group = np.zeros(len(target), dtype=np.int64)
        for level in levels:
            if not (_has(train, level) and _has(target, level)):
                continue
            finer = np.stack([train_group, _codes(train, target, level)[0]], axis=1)
            keys, finer_group = np.unique(finer, axis=0, return_inverse=True)
            finer_group = finer_group.ravel()
            num = np.bincount(finer_group, minlength=len(keys))[:, None]
            member = sparse.csr_matrix(
                (np.ones(len(train)), (finer_group, np.arange(len(train)))),
                shape=(len(keys), len(train)),
            )
            counts = (member @ labels).toarray()
            finer_frequency = (counts + surveys * frequency[keys[:, 0]]) / (num + surveys)
            row_of = {tuple(key): len(frequency) + row for row, key in enumerate(keys.tolist())}
            wanted = np.stack([target_group, _codes(train, target, level)[1]], axis=1)
            asked, inverse = np.unique(wanted, axis=0, return_inverse=True)
            rows = np.array([row_of.get(tuple(key), key[0]) for key in asked.tolist()], dtype=int)
            if len(rows):
                target_group = rows[inverse.ravel()]
            train_group = finer_group + len(frequency)
            frequency = np.concatenate([frequency, finer_frequency])
        return cls(frequency.astype(np.float32), target_group)

    def rows(self, which: np.ndarray | slice) -> np.ndarray:
        """Prior of some target surveys, [n, S]."""
        return self.frequency[self.group[which]]


def _has(table: SurveyTable, level: str) -> bool:
    return level in table.meta or (level == "region" and table.region is not None)


def _codes(train: SurveyTable, target: SurveyTable, level: str) -> tuple[np.ndarray, np.ndarray]:
    """Codes of one column, the same for both tables; −1 is missing and a group like any other."""
    a, b = train.column(level).astype(object), target.column(level).astype(object)
    number = {value: code for code, value in enumerate(sorted(a.dropna().unique()))}
    unseen = len(number)
    codes = [c.map(number).fillna(unseen).where(c.notna(), -1).astype(np.int64) for c in (a, b)]
    return codes[0].to_numpy(), codes[1].to_numpy()


@dataclass(frozen=True, eq=False)
class NeighborShares:
    r"""What the neighbours of each target survey say: weighted species counts, and the weight.

    Attributes:
        weighted: :math:`(N, S)` scipy CSR, :math:`\sum_j w_{ij} y_j`.
        weight: :math:`(N,)` float32, :math:`\sum_j w_{ij}`, kilometres.
        prior: frequencies to shrink towards.

    Example:
        >>> from scipy import sparse
        >>> shares = NeighborShares(
        ...     sparse.csr_matrix([[6.0, 2.0]]), np.array([8.0], dtype=np.float32),
        ...     FrequencyPrior(np.array([[0.5, 0.1]], dtype=np.float32), np.array([0])))
        >>> shares.rows(slice(None), strength=2.0)
        array([[0.7 , 0.22]])
    """

    weighted: sparse.csr_matrix
    weight: np.ndarray
    prior: FrequencyPrior

    @classmethod
    def of_test(cls, hetero: HeteroData, prior: FrequencyPrior) -> "NeighborShares":
        """The shares of the test nodes of an attached graph.

        The graph feature vector is :math:`\\sum_j w_{ij} y_j / \\sqrt{D_i}` (eq. 1); times the
        root of the degree it is the sum of votes again.
        """
        edges = hetero["survey", "near", "test"]
        num = len(hetero["test"].survey_id)
        features = scipy_csr(graph_feature_vectors(hetero, target="test", normalize=None))
        degree = np.bincount(edges.edge_index[1].numpy(force=True), minlength=num)
        weight = scatter(edges.edge_weight, edges.edge_index[1], dim_size=num, reduce="sum")
        weighted = sparse.diags_array(np.sqrt(degree).astype(np.float32)) @ features
        return cls(sparse.csr_matrix(weighted), weight.numpy(force=True), prior)

    def rows(self, which: slice, strength: float) -> np.ndarray:
        r"""Probabilities of some surveys, :math:`(n, S)` float32; ``strength`` is λ in km."""
        votes = self.weighted[which].toarray() + np.float32(strength) * self.prior.rows(which)
        return votes / (self.weight[which, None] + np.float32(strength))
