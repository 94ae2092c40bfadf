"""The one exception of the package, and the sentence that every bad-input error is made of."""

import numpy as np

_NAMED = 5  # survey ids that an error names


class SurveyDataError(ValueError):
    """A table, file or graph breaks a stated rule; the text says what, where and how many.

    Example:
        >>> issubclass(SurveyDataError, ValueError)
        True
    """


def refuse(source: str, bad: np.ndarray, survey_id: np.ndarray | None, what: str) -> None:
    """Raise `SurveyDataError` if any row is bad, naming the count and the first survey ids.

    Shapes:
        - **bad:** :math:`(R,)` bool
        - **survey_id:** :math:`(R,)`, or None where ids are not known yet

    Raises:
        SurveyDataError: if any entry of ``bad`` is true.

    Example:
        >>> refuse("a.csv", np.array([False, True]), np.array([4, 7]), "no year")
        Traceback (most recent call last):
        ...
        tighnari_graph.errors.SurveyDataError: a.csv: 1 of 2 rows have no year (surveyId 7)
    """
    if not bad.any():
        return
    where = ""
    if survey_id is not None:
        first = list(dict.fromkeys(survey_id[np.flatnonzero(bad)[:1000]].tolist()))
        more = ", …" if len(first) > _NAMED or bad.sum() > 1000 else ""
        where = f" (surveyId {', '.join(str(i) for i in first[:_NAMED])}{more})"
    raise SurveyDataError(f"{source}: {bad.sum()} of {bad.size} rows have {what}{where}")
