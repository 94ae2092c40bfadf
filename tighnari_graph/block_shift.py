"""How training surveys differ from held-out ones in what the graph tells of them: the block shift.

A training survey has neighbours next door. A survey of a held-out block has them beyond the edge of
the block, if at all. A model that learned from the first kind of graph feature meets the second.
`exclude_block=` of `graph_feature_vectors` makes training features of the second kind.
"""

import numpy as np
import pandas as pd
from tqdm import tqdm

from tighnari_graph.gfv import graph_feature_vectors
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.sparse import scipy_csr
from tighnari_graph.splits import blocks_to_exclude

HELD_OUT, TRAINING, EXCLUDED = "held out", "training", "training, own block excluded"
MEASURES = ("degree", "species", "sum", "norm", "largest")
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def shift_rows(
    graph: SurveyGraph, folds: np.ndarray, exclude_block: float | np.ndarray | None = None
) -> pd.DataFrame:
    r"""What the graph tells of every survey, as held out and as training survey of each fold.

    Args:
        graph: labelled surveys.
        folds: fold of each survey, from `block_folds`.
        exclude_block: kilometres or block numbers; training surveys then appear a second time, as
            if their own block were unseen.

    Shapes:
        - **folds:** :math:`(N,)`

    Units: km / √neighbours for sum, norm and largest, which are of the feature before any scale.

    Returns:
        A row per survey, fold and kind, with fold, surveys (held out, training, or training with
        own block excluded), degree (neighbours that may be seen), species (entries of the feature
        above zero), and sum, norm and largest entry of the feature.

    Raises:
        ValueError: if folds are not one per survey, or there is one fold only.

    Example:
        >>> from tighnari_graph import SurveyTable, block_ids
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45.0, 45.01, 47.0], "lon": 7.0,
        ...     "year": 2020, "region": "ALPINE", "speciesId": [5, 9, 5]})
        >>> graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows))
        >>> found = shift_rows(graph, np.array([0, 0, 1]), exclude_block=10.0)
        >>> found.groupby("surveys", sort=False)["degree"].mean()
        surveys
        held out                        0.000000
        training                        0.666667
        training, own block excluded    0.000000
        Name: degree, dtype: float64
    """
    folds = np.asarray(folds)
    if folds.shape != (graph.num_nodes,):
        raise ValueError(f"folds are of shape {folds.shape}, the graph has {graph.num_nodes} nodes")
    numbers = np.unique(folds)
    if len(numbers) < 2:
        raise ValueError("the block shift needs two folds or more")
    kinds: dict[str, np.ndarray | None] = {TRAINING: None}
    if exclude_block is not None:
        lat, lon = graph.pos.numpy(force=True).T
        kinds[EXCLUDED] = blocks_to_exclude(exclude_block, lat, lon)
    parts = []
    for number in tqdm(numbers, "block shift", delay=2, disable=None, leave=False):
        held_out = folds == number
        for kind, blocks in kinds.items():
            told = _told(graph, ~held_out, blocks)
            if kind == TRAINING:
                parts.append(told[held_out].assign(fold=number, surveys=HELD_OUT))
            parts.append(told[~held_out].assign(fold=number, surveys=kind))
    return pd.concat(parts, ignore_index=True)[["fold", "surveys", *MEASURES]]


def feature_shift(
    graph: SurveyGraph, folds: np.ndarray, exclude_block: float | np.ndarray | None = None
) -> pd.DataFrame:
    r"""Degree and feature of held-out and of training surveys, as quantiles, mean over folds.

    Arguments, shapes, units and errors are those of `shift_rows`.

    Returns:
        A column per kind of survey. A row for the share without neighbours, quantiles of every
        measure, and the distance of each measure's distribution from that of held-out surveys:
        0 if they are the same, 1 if they do not overlap (Kolmogorov–Smirnov).

    Example:
        >>> from tighnari_graph import SurveyTable
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45.0, 45.01, 47.0], "lon": 7.0,
        ...     "year": 2020, "region": "ALPINE", "speciesId": [5, 9, 5]})
        >>> graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows))
        >>> shift = feature_shift(graph, np.array([0, 0, 1]), exclude_block=10.0)
        >>> shift.loc["without neighbours"].tolist()
        [1.0, 0.5, 1.0]
    """
    rows = shift_rows(graph, folds, exclude_block)
    per_fold = [_summary(part) for _, part in rows.groupby("fold")]
    mean = sum(per_fold[1:], per_fold[0]) / len(per_fold)
    return mean[list(rows["surveys"].unique())].rename_axis(index="measure", columns=None)


def _told(graph: SurveyGraph, visible: np.ndarray, blocks: np.ndarray | None) -> pd.DataFrame:
    """What visible surveys tell of each survey: its degree, and its feature in numbers."""
    features = scipy_csr(
        graph_feature_vectors(graph, visible=visible, normalize=None, exclude_block=blocks)
    )
    source, target = graph.edge_index.numpy(force=True)
    near = visible[source]
    if blocks is not None:
        near &= blocks[source] != blocks[target]
    square = features.multiply(features).sum(axis=1)
    return pd.DataFrame(
        {
            "degree": np.bincount(target[near], minlength=len(visible)),
            "species": np.diff(features.indptr),
            "sum": np.asarray(features.sum(axis=1)).ravel(),
            "norm": np.sqrt(np.asarray(square).ravel()),
            "largest": features.max(axis=1).toarray().ravel() if features.shape[1] else 0.0,
        }
    )


def _summary(rows: pd.DataFrame) -> pd.DataFrame:
    """One fold: a column per kind, a row per number."""
    held_out = rows[rows["surveys"] == HELD_OUT]
    columns = {}
    for kind, part in rows.groupby("surveys"):
        found = {"without neighbours": float((part["degree"] == 0).mean())}
        for measure in MEASURES:
            for share in QUANTILES:
                found[f"{measure}, {share:.0%}"] = float(part[measure].quantile(share))
            distance = _distance(part[measure].to_numpy(), held_out[measure].to_numpy())
            found[f"{measure}, distance"] = distance
        columns[kind] = found
    return pd.DataFrame(columns)


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Kolmogorov–Smirnov: the largest gap between the shares of values up to any value."""
    at = np.concatenate([a, b])
    shares = [np.searchsorted(np.sort(x), at, side="right") / len(x) for x in (a, b)]
    return float(np.abs(shares[0] - shares[1]).max())
