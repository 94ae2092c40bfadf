"""The leaderboard as records and as Markdown: scores, what each step added, decision rules."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.leaderboard_data import BoardData
from benchmarks.leaderboard_rows import CHAIN, MOST_SPECIES, PLAIN, Row
from tighnari_graph.community_f1 import CommunityF1
from tighnari_graph.decisions import FixedK, Threshold
from tighnari_graph.expected_f1 import ExpectedF1
from tighnari_graph.richness import RichnessTopK
from tighnari_graph.species_sets import ThresholdTopK
from tighnari_models.comparison import compare
from tighnari_models.evaluation import (
    THRESHOLD_TOP_K,
    Evaluation,
    RuleFit,
    evaluate_predictions,
)
from tighnari_models.post_processing import MODEL_THRESHOLDS

USUAL = "Threshold Top-K, both"
RULES: dict[str, RuleFit] = {
    USUAL: THRESHOLD_TOP_K,
    "Threshold Top-K, either": partial(
        ThresholdTopK.fit, thresholds=MODEL_THRESHOLDS, rule="union"
    ),
    "fixed K": FixedK.fit,
    "threshold": partial(Threshold.fit, thresholds=MODEL_THRESHOLDS),
    "K from expected richness": RichnessTopK.fit,
    "expected F1, exact": ExpectedF1.fit,
    "expected F1, fast": partial(ExpectedF1.fit, method="fast"),
    "expected F1, exact, no temperature": partial(ExpectedF1.fit, calibrate=False),
    "expected F1 of communities": CommunityF1.fit,
    "expected F1 of communities, richness not known": lambda p, y: CommunityF1.fit(p, y),
}
_STEPS = {"better": "helps", "worse": "hurts"}  # what a verdict is called between steps


def records(rows: Sequence[Row], found: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    """A record per finished row: scores with intervals and the difference from two other rows.

    One is the row that it builds on; the other the best of the plain methods, whose choice favours
    them, for rows that are not cheap and see no PO surveys.
    """
    there = [name for name in PLAIN if name in found]
    plain = max(there, key=lambda name: found[name].score) if there else None
    made = []
    for row in rows:
        if row.name not in found:
            continue
        one = found[row.name]
        base = next((name for name in row.builds_on if name in found), None)
        record = {
            "row": row.name, "po": row.po, "samples-F1": one.score,
            "from": one.interval[0], "to": one.interval[1],
            "random folds": math.nan if one.random is None else one.random.score,
            "AUC": mean_auc(one), "seconds": one.seconds,
        }  # fmt: skip
        record |= _difference("builds on", one, found.get(base or ""))
        other = None
        if plain is not None and row.name not in PLAIN and not (row.cheap or row.po):
            other = found[plain]
        made.append(record | _difference("plain", one, other))
    return made


def rule_records(chain: Evaluation) -> list[dict[str, Any]]:
    """A record per decision rule, fitted on other folds than used on, on the same probabilities."""
    found = {
        name: evaluate_predictions(
            chain.probabilities,
            chain.surveys,
            chain.folds,
            rule=rule,
            name=name,
            richness=chain.richness,
        )
        for name, rule in RULES.items()
    }
    return [
        {
            "row": name, "samples-F1": one.score, "from": one.interval[0], "to": one.interval[1],
            "species": one.sets.nnz / one.sets.shape[0],
            **_difference("usual", one, None if name == USUAL else found[USUAL]),
        }
        for name, one in found.items()
    ]  # fmt: skip


def mean_auc(found: Evaluation) -> float:
    """Mean over folds and species of the area under the ROC curve; NaN where species are many.

    Each fold is ranked by itself, since frequencies of the other folds are low where its own are
    high; species that all or none of its surveys have are left out.
    """
    labels = found.labels.toarray()
    if labels.shape[1] > MOST_SPECIES:
        return math.nan
    p = found.probabilities
    dense = p if isinstance(p, np.ndarray) else p.toarray()
    areas = []
    for fold in np.unique(found.folds):
        y, q = labels[found.folds == fold], dense[found.folds == fold]
        varied = (y.min(axis=0) == 0) & (y.max(axis=0) == 1)
        if varied.any():
            areas.append(np.atleast_1d(roc_auc_score(y[:, varied], q[:, varied], average=None)))
    return float(np.concatenate(areas).mean()) if areas else math.nan


def _difference(key: str, one: Evaluation, other: Evaluation | None) -> dict[str, Any]:
    if other is None:
        return {key: None}
    found = compare(one, other)
    return {
        key: found.against,
        f"{key} difference": found.difference,
        f"{key} from": found.interval[0],
        f"{key} to": found.interval[1],
        f"{key} verdict": found.verdict,
    }


def as_markdown(
    data: BoardData,
    folds: int,
    table: Sequence[Mapping[str, Any]],
    rules: Sequence[Mapping[str, Any]],
    left_out: Mapping[str, str],
) -> str:
    """The section of one data set."""
    blocks = [
        f"### {data.title}",
        f"{folds} folds of 10 km blocks; intervals of 95 % draw blocks, differences are paired. "
        "“Helps”, “hurts”, “better” and “worse” mean that the interval excludes 0.",
    ]
    without = [one for one in table if not one["po"]]
    with_po = [one for one in table if one["po"]]
    blocks.append(_scores(without))
    if with_po:
        blocks += [f"With presence-only (PO) surveys. {data.po_note}", _scores(with_po)]
    against = [one for one in table if one["plain"] is not None]
    if against:
        name = against[0]["plain"]
        heads = [f"against the best plain method ({name})", "difference (95 %)", "as measured"]
        blocks.append(_table(heads, [[_marked(one), *_gain(one, "plain")] for one in against]))
    if rules:
        heads = [f"decision rule, on “{CHAIN}”", "samples-F1 (95 %)", "species a set"]
        heads += [f"difference from “{USUAL}” (95 %)", "as measured"]
        lines = [
            [one["row"], _score(one), f"{one['species']:.1f}", *_gain(one, "usual")]
            for one in rules
        ]
        blocks.append(_table(heads, lines))
    if left_out:
        blocks.append("\n".join(f"- {name}: left out, {why}." for name, why in left_out.items()))
    return "\n\n".join(blocks) + "\n"


def _scores(table: Sequence[Mapping[str, Any]]) -> str:
    auc = any(not math.isnan(one["AUC"]) for one in table)
    heads = ["row", "samples-F1 (95 %)", "random folds", *(["mean AUC"] if auc else [])]
    heads += ["builds on", "difference (95 %)", "as measured", "seconds"]
    lines = []
    for one in table:
        cells = [_marked(one), _score(one), _number(one["random folds"])]
        cells += [_number(one["AUC"])] if auc else []
        gain, verdict = _gain(one, "builds on")
        cells += [one["builds on"] or "", gain, _STEPS.get(verdict, verdict)]
        cells.append(f"{one['seconds']:.0f}")
        lines.append(cells)
    return _table(heads, lines)


def _marked(one: Mapping[str, Any]) -> str:
    return f"{one['row']} †" if one["po"] else str(one["row"])


def _score(one: Mapping[str, Any]) -> str:
    return f"{one['samples-F1']:.4f} ({one['from']:.3f}–{one['to']:.3f})"


def _gain(one: Mapping[str, Any], key: str) -> list[str]:
    if one[key] is None:
        return ["", ""]
    low, high = one[f"{key} from"], one[f"{key} to"]
    return [f"{one[f'{key} difference']:+.4f} ({low:+.4f} to {high:+.4f})", one[f"{key} verdict"]]


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
