"""The leaderboard's methods that need no network: tables of features, and the graph package.

Settings are chosen inside the training surveys: on one of five block folds of them, by samples-F1
of the best K and θ. All methods hand over the 256 most probable species of a survey at most.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.neighbors import NearestNeighbors

from tighnari_graph.geodesy import EARTH_RADIUS_KM, unit_vectors
from tighnari_graph.gfv import graph_feature_vectors
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.multiscale import MultiScale
from tighnari_graph.ranking import top_species
from tighnari_graph.shares import FrequencyPrior, NeighborShares
from tighnari_graph.sparse import Labels, scipy_csr
from tighnari_graph.species_sets import ThresholdTopK
from tighnari_graph.splits import block_folds
from tighnari_graph.surveys import SurveyTable
from tighnari_models.data.environment import survey_frame
from tighnari_models.data.table import TablePreprocessor
from tighnari_models.held_out import Predicted
from tighnari_models.post_processing import MODEL_THRESHOLDS

TOP = 256
DIRECT = 64  # up to so many species a forest is grown on the labels themselves
_INNER_FOLDS = 5

Settings: TypeAlias = Sequence[Any]
Candidates: TypeAlias = Callable[[SurveyTable, SurveyTable, Settings], Iterator[Labels]]
"""Training surveys, surveys to predict and settings → probabilities for each of the settings."""


@dataclass(frozen=True, eq=False)
class Tuned:
    """A method that chooses its setting inside the training surveys, then learns from all of them.

    Attributes:
        candidates: gives probabilities for each of some settings, in their order.
        settings: what is tried.

    Example:
        >>> from tighnari_graph import SurveyTable
        >>> rows = pd.DataFrame({"surveyId": range(6), "lat": np.arange(6) + 40.0, "lon": 7.0,
        ...     "year": 2020, "speciesId": [5, 9, 5, 5, 5, 5]})
        >>> table = SurveyTable.from_long(rows)
        >>> def constants(train, held_out, settings):
        ...     return (np.full((len(held_out), 2), value) for value in settings)
        >>> Tuned(constants, (0.0, 0.5))(table, replace(table, labels=None)).toarray()[0]
        array([0.5, 0.5])
    """

    candidates: Candidates
    settings: Settings

    def __call__(self, train: SurveyTable, held_out: SurveyTable) -> sparse.csr_matrix:
        """The method, as `evaluate` calls it."""
        inner = block_folds(train, _INNER_FOLDS, seed=1) == 0
        part = train.subset(inner)
        rest, truth = train.subset(~inner), part.known_labels()
        found = self.candidates(rest, replace(part, labels=None), self.settings)
        scores = [_best_score(best_species(p), truth) for p in found]
        chosen = self.settings[int(np.argmax(scores))]
        return best_species(next(self.candidates(train, held_out, (chosen,))))


def _best_score(p: sparse.csr_matrix, truth: sparse.csr_matrix) -> float:
    return float(ThresholdTopK.fit(p, truth, thresholds=MODEL_THRESHOLDS).scores.max())


def best_species(p: Labels, top: int = TOP) -> sparse.csr_matrix:
    r"""The ``top`` most probable species of every survey, :math:`(N, S)` scipy CSR.

    Example:
        >>> best_species(np.array([[0.2, 0.5, 0.1]]), top=2).toarray()
        array([[0.2, 0.5, 0. ]])
    """
    columns, values = top_species(p, top)
    kept = values > 0
    indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    found = sparse.csr_matrix((values[kept], columns[kept], indptr), shape=tuple(p.shape))
    found.sort_indices()
    return found


def frequency(levels: tuple[str, ...], train: SurveyTable, held_out: SurveyTable) -> Labels:
    """How often each species occurs: everywhere, or in the survey's region and country."""
    return FrequencyPrior.fit(train, held_out, levels).top(TOP)


def nearest(
    environment: pd.DataFrame | None,
    train: SurveyTable,
    held_out: SurveyTable,
    settings: Settings,
) -> Iterator[Labels]:
    """Mean of the k nearest surveys, weights 1 / (1 + km).

    A setting is k and how many kilometres a standard deviation of a covariate counts; 0 leaves the
    covariates out.
    """
    labels = train.known_labels()
    places = [EARTH_RADIUS_KM * unit_vectors(table.lat, table.lon) for table in (train, held_out)]
    covariates = table_features(train, held_out, environment, place=False)
    for k, km in settings:
        near, far = (
            np.hstack([place, km * values]) if km else place
            for place, values in zip(places, covariates, strict=True)
        )
        index = NearestNeighbors(n_neighbors=min(k, len(train))).fit(near)
        distance, neighbor = index.kneighbors(far)
        weight = 1 / (1 + distance)
        weight /= weight.sum(axis=1, keepdims=True)
        indptr = np.arange(len(weight) + 1) * weight.shape[1]
        shape = (len(held_out), len(train))
        yield sparse.csr_matrix((weight.ravel(), neighbor.ravel(), indptr), shape=shape) @ labels


def forest(
    environment: pd.DataFrame | None,
    train: SurveyTable,
    held_out: SurveyTable,
    settings: Settings,
) -> Iterator[Labels]:
    """Random forest of all species at once; a setting is the least number of surveys in a leaf.

    There are 200 trees, or 50 where several settings are compared. With more than 64 species they
    are grown on the 64 leading singular directions of the labels; leaves then hold the mean labels
    of their surveys, all species, as sparse products. So memory is that of the leaves' members, not
    trees × leaves × species.
    """
    labels = train.known_labels()
    near, far = table_features(train, held_out, environment)
    if labels.shape[1] <= DIRECT:
        target = labels.toarray()
    else:
        components = min(DIRECT, len(train) - 1)
        target = TruncatedSVD(components, random_state=0).fit_transform(labels)
    trees = 200 if len(settings) == 1 else 50
    for leaf in settings:
        grown = RandomForestRegressor(
            trees, min_samples_leaf=leaf, max_features=1 / 3, random_state=0
        ).fit(near, target)
        nodes = max(tree.tree_.node_count for tree in grown.estimators_)
        members = _leaves(grown.apply(near), nodes)
        sizes = np.maximum(np.asarray(members.sum(axis=0)).ravel(), 1)
        reached = _leaves(grown.apply(far), nodes) @ sparse.diags_array(1 / sizes / trees)
        yield (reached @ members.T) @ labels


def _leaves(found: np.ndarray, nodes: int) -> sparse.csr_matrix:
    """Which leaf of each tree a survey fell into, [surveys, trees × nodes]."""
    num, trees = found.shape
    columns = (found + np.arange(trees) * nodes).ravel()
    indptr = np.arange(num + 1) * trees
    return sparse.csr_matrix((np.ones(len(columns)), columns, indptr), (num, trees * nodes))


def boosting(
    environment: pd.DataFrame | None,
    train: SurveyTable,
    held_out: SurveyTable,
    settings: Settings,
) -> Iterator[Labels]:
    """Gradient boosting of one species after the other; a setting is the number of trees of each.

    Scikit-learn boosts one target at a time, so there is a loop over species here.
    """
    labels = train.known_labels().toarray()
    near, far = table_features(train, held_out, environment)
    p = np.tile(labels.mean(axis=0), (len(settings), len(far), 1))
    varied = np.flatnonzero((labels.min(axis=0) == 0) & (labels.max(axis=0) == 1))
    for species in varied:
        model = HistGradientBoostingClassifier(
            learning_rate=0.05, max_iter=max(settings), max_leaf_nodes=15, early_stopping=False
        ).fit(near, labels[:, species])
        stages = list(islice(model.staged_predict_proba(far), max(settings)))
        for place, stage in enumerate(settings):
            p[place, :, species] = stages[stage - 1][:, 1]
    yield from p


def graph_features(train: SurveyTable, held_out: SurveyTable) -> Labels:
    """The paper's GFV; an isolate gets the frequencies of its region instead of nothing."""
    hetero = SurveyGraph.from_surveys(train).attach(held_out)
    features = scipy_csr(graph_feature_vectors(hetero, target="test"))
    isolated = sparse.diags_array((np.diff(features.indptr) == 0).astype(np.float32))
    prior = FrequencyPrior.fit(train, held_out, ("region",))
    return best_species(sparse.csr_matrix(features + isolated @ prior.top(TOP)))


def shares(train: SurveyTable, held_out: SurveyTable, settings: Settings) -> Iterator[Labels]:
    """The neighbours' votes as shares; a setting is the strength of the prior in kilometres."""
    hetero = SurveyGraph.from_surveys(train).attach(held_out)
    found = NeighborShares.of_test(hetero, FrequencyPrior.fit(train, held_out))
    return (found.probabilities(strength) for strength in settings)


def chain(
    covariates: tuple[str, ...] | None,
    presence_only: SurveyTable | None,
    train: SurveyTable,
    held_out: SurveyTable,
) -> Labels | Predicted:
    """`MultiScale` as it comes."""
    model = MultiScale.fit(train, presence_only, covariates=covariates)
    return model.predict(held_out, TOP)


def table_features(
    train: SurveyTable,
    held_out: SurveyTable,
    environment: pd.DataFrame | None,
    place: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    r"""What Tighnari's table holds, and 0/1 columns that say which numbers are missing.

    Args:
        train: what means and spreads are learned from.
        held_out: the surveys to predict.
        environment: covariates by survey id.
        place: whether latitude and longitude are among the features.

    Shapes:
        - **output:** :math:`(N_{train}, F)` and :math:`(N, F)` float32
    """
    frames = [survey_frame(table, environment) for table in (train, held_out)]
    if not place:
        frames = [frame.drop(columns=["lat", "lon"]) for frame in frames]
    steps = TablePreprocessor().fit(frames[0])
    gaps = [name for name in frames[0] if frames[0][name].isna().any()]
    near, far = (
        np.hstack([steps.transform(frame), frame[gaps].isna().to_numpy(dtype=np.float32)])
        for frame in frames
    )
    return near, far
