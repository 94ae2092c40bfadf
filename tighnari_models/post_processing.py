"""What each step of the post-processing is worth, with K and θ chosen on other surveys."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import expit

from tighnari_graph.bootstrap import block_interval
from tighnari_graph.community_f1 import CommunityF1
from tighnari_graph.decisions import cross_fitted
from tighnari_graph.metrics import survey_f1
from tighnari_graph.species_sets import KS, ThresholdTopK

# θ = 0 is plain Top-K. The paper's range starts at 0.1; rare species are worth less than that.
MODEL_THRESHOLDS = np.concatenate([[0.0], np.arange(0.02, 0.501, 0.01)])
PLAIN_K = 25  # the baseline's list length


@dataclass(frozen=True, eq=False)
class PostProcessing:
    r"""Scores of the steps, and the rule that the last one found.

    Attributes:
        table: a row per step with its samples-F1 and the 95 % interval over blocks.
        rule: Threshold Top-K fitted on all the surveys, with the scores of every K and θ.
        community: `CommunityF1` fitted on all of them; None where there is no richness, or where
            Threshold Top-K scores higher.
        survey_f1: step → :math:`(n,)` F1 of every survey.
    """

    table: pd.DataFrame
    rule: ThresholdTopK
    survey_f1: dict[str, np.ndarray]
    community: CommunityF1 | None = None


def post_processing(
    logits: np.ndarray,
    labels: sparse.csr_matrix,
    groups: np.ndarray,
    blocks: np.ndarray,
    lists: sparse.csr_matrix | None = None,
    graph_only: np.ndarray | None = None,
    richness: sparse.csr_matrix | None = None,
) -> PostProcessing:
    r"""Score plain Top-K, tuned K, Threshold Top-K and the correction with PO lists.

    Whatever is chosen for the surveys of one group was chosen on the other groups.

    Args:
        logits: of surveys that the models never saw.
        labels: their species.
        groups: fold of each survey, or parts of one held-out fold; whole blocks together.
        blocks: 10 km block of each survey, which intervals are drawn over.
        lists: species lists of PO surveys, merged in the last step.
        graph_only: F1 of every survey as the survey graph alone predicts it.
        richness: of the multi-scale rows, for sets of whole communities (`ScaleRows.richness`).

    Shapes:
        - **logits, labels, lists, richness:** :math:`(n, S)`
        - **groups, blocks, graph_only:** :math:`(n,)`

    Raises:
        ValueError: if there is one group only.

    Source: Liu et al. 2024, section 3.7, table 3.

    Example:
        >>> logits = np.array([[2.0, -3.0], [1.0, -2.0], [3.0, -3.0]])
        >>> labels = sparse.csr_matrix([[1.0, 0.0]] * 3)
        >>> scored = post_processing(logits, labels, np.array([0, 0, 1]), np.array([0, 1, 2]))
        >>> float(scored.table.loc["Threshold Top-K", "samples-F1"])
        1.0
    """
    numbers = np.unique(groups)
    if len(numbers) < 2:
        raise ValueError("K and θ need two groups of surveys or more: one to choose, one to score")
    fitted = [
        ThresholdTopK.fit(_share(logits[groups == g]), labels[groups == g], KS, MODEL_THRESHOLDS)
        for g in numbers
    ]
    sizes = np.array([(groups == g).sum() for g in numbers])
    sums = np.stack([rule.scores for rule in fitted]) * sizes[:, None, None]
    f1 = {} if graph_only is None else {"survey graph alone": graph_only}
    names = [f"Top-K, K = {PLAIN_K}", "Top-K", "Threshold Top-K"]
    names += [] if lists is None else ["Threshold Top-K and PO lists"]
    f1 |= {name: np.empty(len(groups)) for name in names}
    for position, number in enumerate(numbers):
        rows = np.flatnonzero(groups == number)
        others = np.delete(sums, position, axis=0).sum(axis=0)
        plain = ThresholdTopK(int(KS[int(others[:, 0].argmax())]), 0.0)
        rules = [ThresholdTopK(PLAIN_K, 0.0), plain, _rule(others)]
        probabilities = _share(logits[rows])
        for name, rule in zip(names[:3], rules, strict=True):
            f1[name][rows] = survey_f1(rule.predict(probabilities), labels[rows])
        if lists is not None:
            sets = rules[-1].predict(probabilities, add=lists[rows])
            f1[names[-1]][rows] = survey_f1(sets, labels[rows])
    community = None
    if richness is not None:
        p = listed_probabilities(logits, richness)
        sets = cross_fitted(CommunityF1.fit, p, labels, groups, richness)
        f1["sets of communities"] = survey_f1(sets, labels)
        community = CommunityF1.fit(p, labels, richness)
    best = _rule(sums.sum(axis=0))
    rule = ThresholdTopK(
        best.k, best.threshold, "intersection", np.asarray(KS), MODEL_THRESHOLDS,
        sums.sum(axis=0) / sizes.sum(),
    )  # fmt: skip
    if community is not None and f1["sets of communities"].mean() < f1["Threshold Top-K"].mean():
        community = None
    scores = {name: _with_interval(values, blocks) for name, values in f1.items()}
    table = pd.DataFrame.from_dict(
        scores, orient="index", columns=["samples-F1", "from", "to"]
    ).rename_axis("step")
    return PostProcessing(table, rule, f1, community)


def listed_probabilities(logits: np.ndarray, listed: sparse.csr_matrix) -> sparse.csr_matrix:
    """A model's probabilities of the species that another matrix has entries of.

    Example:
        >>> listed_probabilities(np.zeros((1, 3)), sparse.csr_matrix([[7.0, 0.0, 5.0]])).toarray()
        array([[0.5, 0. , 0.5]], dtype=float32)
    """
    rows = np.repeat(np.arange(listed.shape[0]), np.diff(listed.indptr))
    p = _share(logits[rows, listed.indices])
    return sparse.csr_matrix((p, listed.indices, listed.indptr), shape=listed.shape)


def _with_interval(scores: np.ndarray, blocks: np.ndarray) -> tuple[float, float, float]:
    return (float(scores.mean()), *block_interval(scores, blocks))


def _share(logits: np.ndarray) -> np.ndarray:
    return expit(np.asarray(logits, dtype=np.float32))


def _rule(sums: np.ndarray) -> ThresholdTopK:
    k, threshold = np.unravel_index(int(sums.argmax()), sums.shape)
    return ThresholdTopK(int(KS[int(k)]), float(MODEL_THRESHOLDS[threshold]))
