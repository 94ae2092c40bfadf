"""Scores of a cross-fusion on surveys that the models behind their logits have not seen."""

import numpy as np
from scipy import sparse

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.ladder import climb, po_lists
from tighnari_graph.scale_rows import ScaleRows
from tighnari_graph.shares import LEVELS
from tighnari_graph.splits import block_folds, block_ids
from tighnari_graph.surveys import SurveyTable
from tighnari_models.cross_fusion import FusionResult
from tighnari_models.data.scale_rows import ScaleModels
from tighnari_models.post_processing import PostProcessing, post_processing

_PARTS = 5


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


def graph_only_f1(surveys: SurveyTable, fusion: FusionResult) -> np.ndarray:
    """F1 of every survey as the survey graph alone predicts it, on the same folds."""
    fold_of = np.where(fusion.fold_of < 0, fusion.fold_of.max() + 1, fusion.fold_of)
    levels = tuple(level for level in LEVELS if surveys.has(level))
    return climb(surveys, fold_of, levels=levels).survey_f1


def score_tuning(
    surveys: SurveyTable,
    fusion: FusionResult,
    po: SurveyTable | None,
    graph_only: np.ndarray,
    parts: np.ndarray,
    scales: ScaleModels | None = None,
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


def score_out_of_fold(
    surveys: SurveyTable,
    fusion: FusionResult,
    graph_only: np.ndarray,
    scales: ScaleModels | None = None,
) -> PostProcessing:
    """Every fold by the one model that did not learn from it; the tuning fold by all models."""
    logits = np.empty((len(surveys), len(surveys.species_ids)), dtype=np.float16)
    logits[fusion.tuning_rows] = fusion.logits
    for number, part in enumerate(fusion.validation_logits):
        logits[fusion.fold_of == number] = part
    blocks = block_ids(surveys.lat, surveys.lon)
    richness = None if scales is None else _richness(fusion, scales)
    return post_processing(
        logits, surveys.known_labels(), fusion.fold_of, blocks, None, graph_only, richness
    )


def _richness(fusion: FusionResult, scales: ScaleModels) -> sparse.csr_matrix | None:
    """Of all surveys in table order, each by the multi-scale model that did not see its fold."""
    parts, order = [], []
    for number in np.unique(fusion.fold_of):  # of the tuning surveys it is −1
        held_out = fusion.fold_of == number
        parts.append(scales.rows(held_out, ~held_out & ~fusion.tuning_rows).rows)
        order.append(np.flatnonzero(held_out))
    back = np.argsort(np.concatenate(order))
    return ScaleRows.stacked(parts, len(scales.surveys.species_ids)).at(back).richness
