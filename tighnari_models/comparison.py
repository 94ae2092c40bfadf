"""Is one method better than another: paired draws of whole blocks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tighnari_graph.bootstrap import DRAWS, block_interval, drawn_ratios
from tighnari_graph.evaluation_result import Evaluation


@dataclass(frozen=True)
class Comparison:
    """The difference in samples-F1 of two methods on the same surveys and folds.

    Attributes:
        name: the one.
        against: the other.
        difference: samples-F1 of the one less that of the other.
        interval: 95 % of the draws of blocks lie in it.
        share_above: share of the draws in which the one is better.
    """

    name: str
    against: str
    difference: float
    interval: tuple[float, float]
    share_above: float

    @property
    def verdict(self) -> str:
        """Better or worse if the interval excludes zero; otherwise no difference was seen."""
        low, high = self.interval
        return "better" if low > 0 else "worse" if high < 0 else "no difference seen"


def compare(a: Evaluation, b: Evaluation, draws: int = DRAWS, seed: int = 0) -> Comparison:
    """Is ``a`` better than ``b``: the difference of every survey's F1, by blocks.

    Both are drawn together, so a block that is hard for both does not widen the interval.

    Raises:
        ValueError: if surveys, labels, folds or blocks differ.

    Example:
        >>> from tighnari_graph import SurveyTable
        >>> from tighnari_models.evaluation import evaluate_predictions
        >>> rows = pd.DataFrame({"surveyId": range(4), "lat": [40.0, 41.0, 42.0, 43.0], "lon": 7.0,
        ...     "year": 2020, "speciesId": [5, 5, 5, 9]})
        >>> table, folds = SurveyTable.from_long(rows), np.array([0, 0, 1, 1])
        >>> right = evaluate_predictions(table.labels, table, folds, name="right")
        >>> wrong = evaluate_predictions(1 - table.labels.toarray(), table, folds, name="wrong")
        >>> found = compare(right, wrong)
        >>> found.difference, found.interval, found.verdict
        (1.0, (1.0, 1.0), 'better')
    """
    _refuse_unlike(a, b)
    gain = a.survey_f1 - b.survey_f1
    drawn = drawn_ratios(gain[:, None], np.ones((len(gain), 1)), a.blocks, draws, seed)
    return Comparison(
        a.name,
        b.name,
        float(gain.mean()),
        block_interval(gain, a.blocks, draws, seed),
        float((drawn > 0).mean()),
    )


def compare_all(evaluations: Sequence[Evaluation], against: str | None = None) -> pd.DataFrame:
    """Every method beside one of them.

    Args:
        evaluations: on the same surveys and folds, each of another name.
        against: name of the one that the others are compared with; by default the first.

    Returns:
        A row per evaluation, with samples-F1 and its interval, samples-F1 on random folds,
        difference and its interval, share of draws above zero, verdict and seconds.

    Raises:
        ValueError: on names that repeat or an unknown one, or evaluations that cannot be compared.
    """
    names = [one.name for one in evaluations]
    if len(set(names)) < len(names) or not names:
        raise ValueError(f"evaluations need names that differ, got {', '.join(names) or 'none'}")
    against = names[0] if against is None else against
    if against not in names:
        raise ValueError(f"no evaluation is called {against!r}, only {', '.join(names)}")
    baseline = evaluations[names.index(against)]
    rows = []
    for one in evaluations:
        row: dict[str, float | str] = {
            "samples-F1": one.score,
            "from": one.interval[0],
            "to": one.interval[1],
            "random folds": np.nan if one.random is None else one.random.score,
        }
        if one is not baseline:
            found = compare(one, baseline)
            row |= {
                "difference": found.difference,
                "difference from": found.interval[0],
                "difference to": found.interval[1],
                "share above": found.share_above,
                "verdict": found.verdict,
            }
        rows.append(row | {"seconds": one.seconds})
    columns = ["samples-F1", "from", "to", "random folds", "difference", "difference from"]
    columns += ["difference to", "share above", "verdict", "seconds"]
    return pd.DataFrame(rows, index=pd.Index(names, name="evaluation"), columns=columns)


def _refuse_unlike(a: Evaluation, b: Evaluation) -> None:
    """Raise ValueError unless both were made of the same surveys, folds and blocks."""
    pair = f"{a.name} and {b.name} cannot be compared: "
    if not np.array_equal(a.surveys.survey_id, b.surveys.survey_id):
        raise ValueError(
            f"{pair}their {len(a.surveys)} and {len(b.surveys)} surveys are not the same, or not "
            "in the same order"
        )
    if a.labels.shape != b.labels.shape or (a.labels != b.labels).nnz:
        raise ValueError(f"{pair}the surveys are the same, their labels are not")
    for what, one, other in (("folds", a.folds, b.folds), ("blocks", a.blocks, b.blocks)):
        numbers, others = pd.factorize(one)[0], pd.factorize(other)[0]
        if not np.array_equal(numbers, others):
            raise ValueError(
                f"{pair}{what} differ for {int((numbers != others).sum())} of {len(one)} surveys"
            )
