"""Every score of some predictions, with its interval over blocks: the table of an evaluation."""

import numpy as np
import pandas as pd
from scipy import sparse

from tighnari_graph.bootstrap import DRAWS, block_members, divided, ratio_intervals
from tighnari_graph.calibration import calibration_error
from tighnari_graph.survey_scores import are_shares, survey_ratios

RARE_SURVEYS = 10  # a species of at most so many surveys is rare
_NORMAL = 1.96  # standard errors on either side of an interval of 95 %
COLUMNS = ("value", "from", "to", "count")


def score_table(
    probabilities: np.ndarray | sparse.csr_matrix,
    sets: sparse.csr_matrix,
    labels: sparse.csr_matrix,
    blocks: np.ndarray,
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    r"""All scores of some predictions: value, 95 % interval over blocks, and what they are over.

    - *samples-F1*: mean F1 of the surveys; *micro-F1*: of all cells together; *macro-F1*: mean F1
      of the species that occur or are predicted; *rare species F1*: of those in 1 to 10 surveys.
    - *precision* and *recall at K*: of the K most probable species. A species without probability
      is no hit. Recall leaves out surveys without species.
    - *predicted* and *observed species*: mean size of the sets and of the true lists.
    - *Brier score* and *cross-entropy* (natural logarithm): per cell of survey and species.
      *Calibration error*: per occurrence, without an interval. All three are missing if numbers
      exceed 1, so are no probabilities.

    ``count`` is the number of surveys, species, cells or occurrences that the value is over.

    Shapes:
        - **probabilities, sets, labels:** :math:`(N, S)`
        - **blocks:** :math:`(N,)`

    Example:
        >>> p, y = np.array([[0.8, 0.3], [0.6, 0.4]]), sparse.csr_matrix([[1.0, 0.0], [1.0, 1.0]])
        >>> sets = sparse.csr_matrix([[1.0, 0.0], [1.0, 0.0]])
        >>> table = score_table(p, sets, y, np.array([0, 1]))
        >>> table.loc[["samples-F1", "macro-F1", "recall at 5"], "value"].round(3).tolist()
        [0.833, 0.5, 1.0]
    """
    ratios = survey_ratios(probabilities, sets, labels)
    numerator = np.stack([ratio.numerator for ratio in ratios.values()], axis=1)
    denominator = np.stack([ratio.denominator for ratio in ratios.values()], axis=1)
    value = divided(numerator.sum(axis=0), denominator.sum(axis=0))
    intervals = ratio_intervals(numerator, denominator, blocks, draws, seed)
    cells = np.array([name in ("Brier score", "cross-entropy") for name in ratios])
    count = np.where(cells, denominator.sum(axis=0), (denominator > 0).sum(axis=0))
    table = pd.DataFrame(
        np.column_stack([value, intervals, count]), index=list(ratios), columns=list(COLUMNS)
    )
    table = pd.concat([table, species_scores(sets, labels, blocks)])
    known = labels.nnz > 0 and are_shares(probabilities)
    error = calibration_error(probabilities, labels) if known else np.nan
    table.loc["calibration error"] = [error, np.nan, np.nan, labels.nnz]
    first = ["samples-F1", "micro-F1", "macro-F1", "rare species F1"]
    table = table.loc[[*first, *table.index.drop(first)]].rename_axis("measure")
    return table.astype({"count": np.int64})


def species_scores(
    sets: sparse.csr_matrix, labels: sparse.csr_matrix, blocks: np.ndarray
) -> pd.DataFrame:
    r"""Mean F1 of the species that occur or are predicted, of all and of the rare ones.

    A draw of blocks leaves rare species out, so the mean over the drawn ones is another thing. The
    interval is therefore ± 1.96 standard errors, from how much each block moves the mean to first
    order: :math:`\sum_s (2\,TP_{bs} - F_s\,n_{bs}) / n_s` over the number of species, with
    :math:`n` predicted and true occurrences together.

    Shapes:
        - **sets, labels:** :math:`(N, S)`
        - **blocks:** :math:`(N,)`
    """
    members = block_members(blocks)
    hits, total = (members @ m for m in (sets.multiply(labels), sets + labels))
    species_hits, species_total = (np.asarray(m.sum(axis=0)).ravel() for m in (hits, total))
    surveys = np.asarray(labels.sum(axis=0)).ravel()
    known = species_total > 0
    chosen = np.stack([known, (surveys > 0) & (surveys <= RARE_SURVEYS)], axis=1)
    count = chosen.sum(axis=0)
    f1 = 2 * species_hits / np.maximum(species_total, 1)
    value = divided(f1 @ chosen, count)

    weight = chosen / np.maximum(species_total, 1)[:, None] / np.maximum(count, 1)
    moved = 2 * (hits @ weight) - total @ (f1[:, None] * weight)
    num = len(moved)
    several = ((total @ chosen.astype(np.float64)) > 0).sum(axis=0) > 1
    error = np.sqrt(num / max(num - 1, 1) * np.square(moved).sum(axis=0))
    half = np.where(several, _NORMAL * error, np.nan)
    return pd.DataFrame(
        {
            "value": value,
            "from": np.maximum(value - half, 0),
            "to": np.minimum(value + half, 1),
            "count": count,
        },
        index=["macro-F1", "rare species F1"],
    )
