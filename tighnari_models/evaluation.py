"""Evaluation people can trust: a method held out by blocks, beside what random folds would claim.

A method sees the labels of its training surveys only. The rule that turns its probabilities into
species sets is fitted on other folds than it is used on. Intervals draw whole blocks.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from inspect import signature
from typing import TypeAlias

import numpy as np

from tighnari_graph.decisions import DecisionRule, cross_fitted
from tighnari_graph.evaluation_result import BLOCK_FOLDS, RANDOM_FOLDS, Evaluation
from tighnari_graph.metrics import survey_f1
from tighnari_graph.richness import RichnessTopK
from tighnari_graph.sparse import Labels
from tighnari_graph.species_sets import ThresholdTopK
from tighnari_graph.splits import block_folds, block_ids, random_folds
from tighnari_graph.surveys import SurveyTable
from tighnari_models.held_out import (
    RICHNESS,
    HeldOut,
    Method,
    checked_folds,
    checked_rows,
    hold_out,
)
from tighnari_models.post_processing import MODEL_THRESHOLDS

RuleFit: TypeAlias = Callable[..., DecisionRule]
"""Probabilities and labels, and if it has a parameter ``richness`` that too → a fitted rule."""

THRESHOLD_TOP_K: RuleFit = partial(ThresholdTopK.fit, thresholds=MODEL_THRESHOLDS)


def evaluate(
    method: Method,
    surveys: SurveyTable,
    *,
    rule: RuleFit = THRESHOLD_TOP_K,
    num_folds: int = 6,
    block_km: float = 10.0,
    seed: int = 0,
    random: bool = True,
    name: str | None = None,
) -> Evaluation:
    """Hold out fold after fold, of whole blocks and (for comparison) at random.

    Args:
        method: called with the training surveys and the held-out ones, which have
            ``labels=None``; gives probabilities [held-out surveys, species], dense or sparse, or
            what has ``probabilities`` and ``richness``, such as `ScaleRows`.
        surveys: labelled surveys.
        rule: fits what turns probabilities into species sets, as ``ThresholdTopK.fit`` does. If the
            method gives richness, a rule that takes it beside each species, such as
            ``CommunityF1.fit``, gets it.
        num_folds: how many folds.
        block_km: side of a block.
        seed: of both kinds of folds.
        random: whether to try random folds too, which doubles the time.
        name: of the method; by default the function's own.

    Raises:
        ValueError: naming the fold, if the method gives probabilities of another shape, not finite
            or negative; if there are fewer blocks than folds.
        SurveyDataError: if the surveys have no labels.

    Example:
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"surveyId": range(8), "lat": np.arange(8) // 2 + 40.0, "lon": 7.0,
        ...     "year": 2020, "speciesId": [5, 5, 5, 9, 5, 5, 5, 5]})
        >>> def frequency(train, held_out):
        ...     return np.tile(train.labels.toarray().mean(axis=0), (len(held_out), 1))
        >>> found = evaluate(frequency, SurveyTable.from_long(rows), num_folds=2)
        >>> found.name, found.score, found.table.loc["samples-F1", "block folds"]["value"]
        ('frequency', 0.875, np.float64(0.875))
    """
    name = _name_of(method) if name is None else name
    folds = {BLOCK_FOLDS: block_folds(surveys, num_folds, block_km, seed)}
    if random:
        folds[RANDOM_FOLDS] = random_folds(surveys, num_folds, seed)
    blocks = block_ids(surveys.lat, surveys.lon, block_km)
    found = []
    for kind, fold in folds.items():
        rows = hold_out(method, surveys, fold, f"{name}, {kind}")
        found.append(_scored(name, kind, surveys, rows, rule, fold, blocks))
    return replace(found[0], random=found[1]) if random else found[0]


def evaluate_predictions(
    probabilities: Labels,
    surveys: SurveyTable,
    folds: np.ndarray,
    *,
    rule: RuleFit = THRESHOLD_TOP_K,
    block_km: float = 10.0,
    name: str = "predictions",
    seconds: float = math.nan,
    richness: Labels | None = None,
) -> Evaluation:
    r"""Evaluate probabilities that were made elsewhere, such as those of a trained model.

    Whether the folds are of whole blocks is seen from them, and said in ``kind``. That nobody saw
    the labels of the fold that was predicted is for the caller to see to.

    Args:
        probabilities: of every survey, from a model that learned from the other folds.
        surveys: labelled surveys.
        folds: fold in which each survey was held out.
        rule: as for `evaluate`.
        block_km: side of the blocks that intervals draw.
        name: of the method.
        seconds: that it took.
        richness: expected richness of a survey that has the species, for rules that take it.

    Shapes:
        - **probabilities, richness:** :math:`(N, S)`
        - **folds:** :math:`(N,)`

    Raises:
        ValueError: on another shape, numbers that are not finite or negative, or one fold only.
    """
    folds = checked_folds(folds, len(surveys))
    shape = (len(surveys), len(surveys.species_ids))
    beside = None if richness is None else checked_rows(richness, shape, name, RICHNESS)
    rows = HeldOut(checked_rows(probabilities, shape, name), beside, seconds)
    blocks = block_ids(surveys.lat, surveys.lon, block_km)
    split = len(np.unique(np.stack([blocks, folds]), axis=1).T) > len(np.unique(blocks))
    kind = RANDOM_FOLDS if split else BLOCK_FOLDS
    return _scored(name, kind, surveys, rows, rule, folds, blocks)


def _scored(
    name: str,
    kind: str,
    surveys: SurveyTable,
    rows: HeldOut,
    rule: RuleFit,
    folds: np.ndarray,
    blocks: np.ndarray,
) -> Evaluation:
    labels = surveys.known_labels()
    richness = rows.richness if _takes_richness(rule) else None
    sets = cross_fitted(rule, rows.probabilities, labels, folds, richness)
    return Evaluation(
        name, kind, surveys, rows.probabilities, sets, survey_f1(sets, labels), folds, blocks,
        rows.seconds, richness=rows.richness,
    )  # fmt: skip


def _takes_richness(rule: RuleFit) -> bool:
    """Whether a rule takes richness beside each species; `RichnessTopK` takes one a survey."""
    inner = rule.func if isinstance(rule, partial) else rule
    one_each = getattr(inner, "__self__", None) is RichnessTopK
    return "richness" in signature(rule).parameters and not one_each


def _name_of(method: Method) -> str:
    inner = method.func if isinstance(method, partial) else method
    return getattr(inner, "__name__", type(inner).__name__)
