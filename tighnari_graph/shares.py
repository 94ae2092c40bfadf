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
from tighnari_graph.species_sets import top_species
from tighnari_graph.surveys import SurveyTable

LEVELS = ("region", "country")
LEVEL_SURVEYS = 20.0
TOP = 100  # longest list of species that shares are exact for: the largest K that is tried


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
            if not (train.has(level) and target.has(level)):
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

    def top(self, num: int = TOP) -> sparse.csr_matrix:
        r"""The ``num`` most frequent species of every target survey, :math:`(N, S)` scipy CSR."""
        columns, values = top_species(self.frequency, num)
        indptr = np.arange(len(values) + 1) * values.shape[1]
        shape = self.frequency.shape
        groups = sparse.csr_matrix((values.ravel(), columns.ravel(), indptr), shape=shape)
        groups.sort_indices()
        return sparse.csr_matrix(groups[self.group])


def _codes(train: SurveyTable, target: SurveyTable, level: str) -> tuple[np.ndarray, np.ndarray]:
    """Codes of one column, the same for both tables; −1 is missing and a group like any other."""
    a, b = train.column(level).astype(object), target.column(level).astype(object)
    number = {value: code for code, value in enumerate(sorted(a.dropna().unique()))}
    unseen = len(number)
    codes = [c.map(number).fillna(unseen).where(c.notna(), -1).astype(np.int64) for c in (a, b)]
    return codes[0].to_numpy(), codes[1].to_numpy()


@dataclass(frozen=True, eq=False)
class NeighborShares:
    r"""The neighbours' votes for each target survey, beside the prior, for the species that matter.

    Those are the species that some neighbour has, and the most frequent ones of the region: no
    other can be among a survey's `TOP` most probable. So a row holds some hundreds of entries
    instead of *S*, and is exact for every list of at most `TOP` species.

    Attributes:
        votes: :math:`(N, S)` scipy CSR, :math:`\sum_j w_{ij} y_j`, with stored zeros where only
            the prior speaks.
        frequency: the prior at each stored entry of ``votes``.
        weight: :math:`(N,)` float32, :math:`\sum_j w_{ij}`, kilometres.

    Example:
        >>> shares = NeighborShares(
        ...     sparse.csr_matrix([[6.0, 2.0]]), np.array([0.5, 0.1]), np.array([8.0]))
        >>> shares.probabilities(strength=2.0).toarray().round(2)
        array([[0.7 , 0.22]])
    """

    votes: sparse.csr_matrix
    frequency: np.ndarray
    weight: np.ndarray

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

        stored = sparse.csr_matrix(features.astype(bool) + prior.top().astype(bool))
        row, features_row = _rows_of(stored), _rows_of(features)
        votes = np.zeros(stored.nnz, dtype=np.float32)
        place = np.searchsorted(
            row * stored.shape[1] + stored.indices,
            features_row * stored.shape[1] + features.indices,
        )
        votes[place] = features.data * np.sqrt(degree).astype(np.float32)[features_row]
        frequency = prior.frequency[prior.group[row], stored.indices]
        stored = sparse.csr_matrix((votes, stored.indices, stored.indptr), shape=stored.shape)
        return cls(stored, frequency, weight.numpy(force=True))

    def probabilities(self, strength: float) -> sparse.csr_matrix:
        r"""Shares of the species that matter, :math:`(N, S)` scipy CSR; ``strength`` is λ in km."""
        row = _rows_of(self.votes)
        shares = self.votes.data + np.asarray(strength, self.frequency.dtype) * self.frequency
        shares /= (self.weight + np.asarray(strength, self.weight.dtype))[row]
        parts = (shares, self.votes.indices, self.votes.indptr)
        return sparse.csr_matrix(parts, shape=self.votes.shape)


def _rows_of(matrix: sparse.csr_matrix) -> np.ndarray:
    """Row of each stored entry."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
