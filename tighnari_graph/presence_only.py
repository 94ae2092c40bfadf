"""How far presence-only (PO) surveys can be trusted: observer effort, and selection by criteria.

A PO survey lists what somebody reported. Who made a long list looked for everything, so what it
lacks is likely to be absent. A list of one species says nothing about the others.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tighnari_graph.columns import numbers
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.surveys import SurveyTable

PUBLISHER, UNCERTAINTY = "publisher", "geoUncertaintyInM"
HALF_SPECIES = 5.0


def observer_effort(
    po: SurveyTable, by: Sequence[str] | None = None, half_species: float = HALF_SPECIES
) -> np.ndarray:
    r"""How much each PO survey says about the species that it does not list, as a weight.

    .. math:: w_i = \frac{m_i}{m_i + h}, \qquad m_i = \sqrt{n_i \, \bar n_{g(i)}}

    :math:`n_i` is the number of species that the survey lists, :math:`\bar n_g` the mean of its
    group, such as its publisher, and *h* the ``half_species``. A publisher of single records so
    lowers its rare long lists a little, and its single records weigh least of all.

    Args:
        po: presence-only surveys; one without any species counts as if it listed one.
        by: columns that make groups. None groups by publisher if the table has that column; ``()``
            does not group. A missing value is a group like any other.
        half_species: the list length at which the weight is one half.

    Shapes:
        - **output:** :math:`(N,)` float64, more than 0 and less than 1

    Raises:
        SurveyDataError: if the table has no species, or lacks a column of ``by``.
        ValueError: if ``half_species`` is not positive.

    Example:
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 2, 2, 2], "lat": 45.0, "lon": 7.0,
        ...     "year": 2020, "publisher": ["A", "B", "B", "B", "B"], "speciesId": [5, 5, 6, 7, 8]})
        >>> observer_effort(SurveyTable.from_long(rows), half_species=4.0)
        array([0.2, 0.5])
    """
    if not (np.isfinite(half_species) and half_species > 0):
        raise ValueError(f"half_species must be a positive number, got {half_species}")
    if by is None:
        by = (PUBLISHER,) if po.has(PUBLISHER) else ()
    listed = np.maximum(_num_species(po), 1.0)
    group = np.zeros(len(po), dtype=np.int64)
    for name in (by,) if isinstance(by, str) else by:
        codes = pd.factorize(po.column(name), use_na_sentinel=False)[0]
        group = pd.factorize(group * (codes.max(initial=0) + 1) + codes)[0]
    mean = np.bincount(group, weights=listed) / np.maximum(np.bincount(group), 1)
    typical = np.sqrt(listed * mean[group])
    return np.asarray(typical / (typical + half_species))


def trustworthy(
    po: SurveyTable,
    min_species: int = 1,
    publishers: Sequence[str] | None = None,
    max_uncertainty_m: float | None = None,
    keep_unknown: bool = False,
) -> np.ndarray:
    r"""Which PO surveys meet all criteria that were asked for.

    `selection_report` says, for the same arguments, how many each criterion removes.

    Args:
        po: presence-only surveys.
        min_species: the shortest list.
        publishers: the names to keep; None keeps all, and surveys without one.
        max_uncertainty_m: the largest uncertainty of the position; None keeps all.
        keep_unknown: whether a survey passes whose publisher or uncertainty is asked for and
            missing. By default it does not.

    Shapes:
        - **output:** :math:`(N,)` bool

    Units: metres.

    Raises:
        SurveyDataError: if the table has no species, or lacks the publisher or geoUncertaintyInM
            column that a criterion needs.
        ValueError: on a publisher that the table does not know, or a limit below zero.

    Example:
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 2, 3, 3], "lat": 45.0, "lon": 7.0, "year": 2020,
        ...     "geoUncertaintyInM": [5.0, 8.0, 8.0, 900.0, 900.0], "speciesId": [5, 5, 9, 5, 9]})
        >>> trustworthy(SurveyTable.from_long(rows), min_species=2, max_uncertainty_m=100.0)
        array([False,  True, False])
    """
    failed = _failed(po, min_species, publishers, max_uncertainty_m, keep_unknown)
    return ~np.any(list(failed.values()), axis=0)


def selection_report(
    po: SurveyTable,
    min_species: int = 1,
    publishers: Sequence[str] | None = None,
    max_uncertainty_m: float | None = None,
    keep_unknown: bool = False,
) -> pd.DataFrame:
    """What each criterion of `trustworthy` removes; arguments and errors are the same.

    Returns:
        A row per criterion, and a last one for what is kept. Columns are the surveys that fail the
        criterion, those that fail it and no other, and the surveys and the records (survey ×
        species) that are left after this criterion and those above it.

    Example:
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 2, 3, 3], "lat": 45.0, "lon": 7.0, "year": 2020,
        ...     "geoUncertaintyInM": [5.0, 8.0, 8.0, 900.0, 900.0], "speciesId": [5, 5, 9, 5, 9]})
        >>> po = SurveyTable.from_long(rows)
        >>> selection_report(po, min_species=2, max_uncertainty_m=100.0)["surveys left"].to_dict()
        {'fewer than 2 species': 2, 'uncertainty above 100 m': 1, 'no uncertainty': 1, 'kept': 1}
    """
    failed = _failed(po, min_species, publishers, max_uncertainty_m, keep_unknown)
    times = np.sum(list(failed.values()), axis=0)
    listed = _num_species(po)
    left = np.ones(len(po), dtype=bool)
    rows = {}
    for name, bad in failed.items():
        left &= ~bad
        alone = int((bad & (times == 1)).sum())
        rows[name] = (int(bad.sum()), alone, int(left.sum()), int(listed[left].sum()))
    rows["kept"] = (0, 0, int(left.sum()), int(listed[left].sum()))
    columns = ["surveys that fail", "fail only this", "surveys left", "records left"]
    report = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return report.rename_axis("criterion")


def _failed(
    po: SurveyTable,
    min_species: int,
    publishers: Sequence[str] | None,
    max_uncertainty_m: float | None,
    keep_unknown: bool,
) -> dict[str, np.ndarray]:
    """Criterion → the surveys that fail it; a missing value is a criterion of its own."""
    if min_species < 0:
        raise ValueError(f"min_species must be 0 or more, got {min_species}")
    failed = {f"fewer than {min_species} species": _num_species(po) < min_species}
    if publishers is not None:
        names = po.column(PUBLISHER).astype(object)
        wanted = [publishers] if isinstance(publishers, str) else list(publishers)
        known = names.dropna().unique()
        unknown = sorted(set(wanted) - set(known))
        if unknown:
            raise ValueError(
                f"publishers: {len(unknown)} of {len(wanted)} name no survey's publisher, first "
                f"{unknown[0]!r}; the table has {', '.join(map(str, sorted(known)[:10]))}"
            )
        failed["another publisher"] = (names.notna() & ~names.isin(wanted)).to_numpy()
        if not keep_unknown:
            failed["no publisher"] = names.isna().to_numpy()
    if max_uncertainty_m is not None:
        if not max_uncertainty_m >= 0:
            raise ValueError(f"max_uncertainty_m must be 0 or more, got {max_uncertainty_m}")
        values = numbers(po.column(UNCERTAINTY), "presence-only table", po.survey_id)
        failed[f"uncertainty above {max_uncertainty_m:g} m"] = values > max_uncertainty_m
        if not keep_unknown:
            failed["no uncertainty"] = np.isnan(values)
    return failed


def _num_species(po: SurveyTable) -> np.ndarray:
    """Species that each survey lists."""
    if po.labels is None:
        raise SurveyDataError("presence-only table: has no speciesId column, so nothing was seen")
    return np.diff(po.labels.indptr).astype(np.float64)
