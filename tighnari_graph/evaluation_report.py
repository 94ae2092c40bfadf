"""The sections of a report that show where a prediction holds."""

from tighnari_graph.evaluation_result import Evaluation
from tighnari_graph.figure_scores import plot_f1_by, plot_f1_map, plot_reliability
from tighnari_graph.report import Report


def add_evaluation(report: Report, found: Evaluation, which: str, degrees: bool = True) -> None:
    """F1 by region, by degree and on the map, and calibration.

    Args:
        report: to add to.
        found: what is shown.
        which: surveys, in words.
        degrees: whether all training neighbours of the surveys are known.

    Example:
        >>> import numpy as np
        >>> import pandas as pd
        >>> from scipy import sparse
        >>> from tighnari_graph import SurveyTable, survey_f1
        >>> rows = pd.DataFrame({"surveyId": range(4), "lat": [40.0, 41.0, 42.0, 43.0], "lon": 7.0,
        ...     "year": 2020, "speciesId": [5, 5, 5, 9]})
        >>> table, folds = SurveyTable.from_long(rows), np.array([0, 0, 1, 1])
        >>> p, sets = np.full((4, 2), 0.5), sparse.csr_matrix(np.ones((4, 2), dtype=np.float32))
        >>> f1 = survey_f1(sets, table.labels)
        >>> found = Evaluation("all", "block folds", table, p, sets, f1, folds, np.arange(4))
        >>> report = Report("Scores", "of a constant")
        >>> add_evaluation(report, found, "made-up surveys")
        >>> "<h2>F1 by degree</h2>" in report.to_html()
        True
    """
    if found.surveys.has("region"):
        text = f"{found.name}, on {which}; intervals of 95 % over blocks."
        report.add("F1 by region", text, figure=plot_f1_by(found, "region"))
    if degrees:
        text = "The same surveys by their number of training neighbours within 10 km."
        report.add("F1 by degree", text, figure=plot_f1_by(found, "degree"))
    report.add("F1 on the map", figure=plot_f1_map(found))
    report.add(
        "Calibration",
        "How often species of about equal probability occur; on the grey line, probabilities mean "
        "what they say.",
        figure=plot_reliability(found),
    )
