"""Scores of a cross-fusion on surveys that the models behind their logits have not seen."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import sparse
from scipy.special import expit

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.evaluation_result import Evaluation
from tighnari_graph.ladder import climb, po_lists
from tighnari_graph.scale_rows import ScaleRows
from tighnari_graph.shares import LEVELS
from tighnari_graph.species_sets import KS, ThresholdTopK
from tighnari_graph.splits import block_folds, block_ids
from tighnari_graph.surveys import SurveyTable
from tighnari_models.cross_fusion import FusionResult
from tighnari_models.data.scale_rows import ScaleModels
from tighnari_models.evaluation import evaluate_predictions
from tighnari_models.post_processing import MODEL_THRESHOLDS, PostProcessing, post_processing

_PARTS = 5
_NAME = "trained model, Threshold Top-K"


@dataclass(frozen=True, eq=False)
class Scores:
    """What the models of a cross-fusion reach on surveys that they have not seen.

    Attributes:
        tuning: every step on the tuning surveys, which no model has seen in any way.
        all_folds: every step on all surveys, each by the model that did not learn from it; None
            after a warm start, where every model descends from one that did.
        evaluation: Threshold Top-K on the surveys of ``all_folds``, else on the tuning surveys,
            for figures by region and place.
    """

    tuning: PostProcessing
    all_folds: PostProcessing | None
    evaluation: Evaluation


def score(
    surveys: SurveyTable,
    fusion: FusionResult,
    po: SurveyTable | None,
    parts: np.ndarray,
    scales: ScaleModels | None,
    warm_start: bool,
) -> Scores:
    r"""Score a cross-fusion, and the survey graph alone beside it.

    Args:
        surveys: the labelled surveys.
        fusion: what `cross_fusion` returned for them.
        po: presence-only surveys, for the correction with their lists; or None.
        parts: :math:`(N_{tuning},)` from `tuning_parts`.
        scales: the multi-scale models, where the fold models read their rows.
        warm_start: whether the later models descend from the first.
    """
    graph_only = _graph_only_f1(surveys, fusion)
    tuning = _score_tuning(surveys, fusion, po, graph_only, parts, scales)
    rule = partial(ThresholdTopK.fit, ks=KS, thresholds=MODEL_THRESHOLDS)
    if warm_start:
        held_out = surveys.subset(fusion.tuning_rows)
        evaluation = evaluate_predictions(
            _shares(fusion.logits), held_out, parts, rule=rule, name=_NAME
        )
        return Scores(tuning, None, evaluation)
    logits = _out_of_fold(surveys, fusion)
    richness = None if scales is None else _richness(fusion, scales)
    labels, blocks = surveys.known_labels(), block_ids(surveys.lat, surveys.lon)
    all_folds = post_processing(logits, labels, fusion.fold_of, blocks, None, graph_only, richness)
    evaluation = evaluate_predictions(
        _shares(logits), surveys, _fold_numbers(fusion), rule=rule, name=_NAME
    )
    return Scores(tuning, all_folds, evaluation)


def tuning_parts(surveys: SurveyTable, folds: int, seed: int) -> np.ndarray:
    """Parts of whole blocks of the tuning surveys, so that K and θ are scored where not chosen.

    Raises:
        SurveyDataError: before anything is trained, if there are too few blocks.
    """
    if folds < 2:
        raise SurveyDataError(f"--folds must be at least 2, got {folds}")
    tuning = surveys.subset(block_folds(surveys, folds + 1, seed=seed) == folds)
    blocks = len(np.unique(block_ids(tuning.lat, tuning.lon)))
    if blocks < 2:
        raise SurveyDataError(
            f"{len(surveys)} surveys leave {blocks} block to choose K and θ on when {folds} folds "
            "train; take fewer --folds or a larger --limit"
        )
    return block_parts(tuning)


def block_parts(surveys: SurveyTable) -> np.ndarray:
    """Parts of whole blocks of a held-out fold: K and θ for one are chosen on the others."""
    blocks = len(np.unique(block_ids(surveys.lat, surveys.lon)))
    return block_folds(surveys, min(_PARTS, blocks))


def _graph_only_f1(surveys: SurveyTable, fusion: FusionResult) -> np.ndarray:
    """F1 of every survey as the survey graph alone predicts it, on the same folds."""
    levels = tuple(level for level in LEVELS if surveys.has(level))
    return climb(surveys, _fold_numbers(fusion), levels=levels).evaluation.survey_f1


def _score_tuning(
    surveys: SurveyTable,
    fusion: FusionResult,
    po: SurveyTable | None,
    graph_only: np.ndarray,
    parts: np.ndarray,
    scales: ScaleModels | None,
) -> PostProcessing:
    """Post-processing of the averaged logits on the tuning surveys, which no model has seen."""
    tuning = surveys.subset(fusion.tuning_rows)
    blocks = block_ids(surveys.lat, surveys.lon)[fusion.tuning_rows]
    lists = None if po is None else po_lists(tuning, po)
    labels, alone = tuning.known_labels(), graph_only[fusion.tuning_rows]
    richness = None
    if scales is not None:
        richness = scales.rows(fusion.tuning_rows, ~fusion.tuning_rows).rows.richness
    return post_processing(fusion.logits, labels, parts, blocks, lists, alone, richness)


def _out_of_fold(surveys: SurveyTable, fusion: FusionResult) -> np.ndarray:
    """Every fold by the one model that did not learn from it; the tuning fold by all models."""
    logits = np.empty((len(surveys), len(surveys.species_ids)), dtype=np.float16)
    logits[fusion.tuning_rows] = fusion.logits
    for number, part in enumerate(fusion.validation_logits):
        logits[fusion.fold_of == number] = part
    return logits


def _fold_numbers(fusion: FusionResult) -> np.ndarray:
    """The fold of each survey, the tuning surveys as one more."""
    return np.where(fusion.fold_of < 0, fusion.fold_of.max() + 1, fusion.fold_of)


def _shares(logits: np.ndarray) -> np.ndarray:
    return expit(np.asarray(logits, dtype=np.float32))


def _richness(fusion: FusionResult, scales: ScaleModels) -> sparse.csr_matrix | None:
    """Of all surveys in table order, each by the multi-scale model that did not see its fold."""
    parts, order = [], []
    for number in np.unique(fusion.fold_of):  # of the tuning surveys it is −1
        held_out = fusion.fold_of == number
        parts.append(scales.rows(held_out, ~held_out & ~fusion.tuning_rows).rows)
        order.append(np.flatnonzero(held_out))
    back = np.argsort(np.concatenate(order))
    return ScaleRows.stacked(parts, len(scales.surveys.species_ids)).at(back).richness
