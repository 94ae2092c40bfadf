"""One way in to the explanations of what the graph predicts without a network."""

from typing import Any

from torch_geometric.data import HeteroData

from tighnari_graph.explain_feature import explain_feature
from tighnari_graph.explain_multiscale import explain_multiscale
from tighnari_graph.explanation import Explanation
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.multiscale import MultiScale
from tighnari_graph.surveys import SurveyTable


def explain(
    source: SurveyGraph | HeteroData | MultiScale,
    survey_id: int,
    table: SurveyTable | None = None,
    **options: Any,
) -> Explanation:
    """What a prediction for one survey is the sum of, whichever of these made it.

    A trained network is explained by `tighnari_models.explain_model`; shares of neighbours and
    priors by `explain_shares`, species lists by `explain_lists`, since they take more than this.

    Args:
        source: what predicted: a survey graph, or what `SurveyGraph.attach` returned, for a graph
            feature vector (`explain_feature`); a fitted `MultiScale` for its probability
            (`explain_multiscale`).
        survey_id: of the survey or test node.
        table: the surveys that a `MultiScale` predicted; a graph holds its own.
        options: as those two take them.

    Raises:
        TypeError: if ``source`` is anything else.
        ValueError: if ``table`` is lacking with a `MultiScale`, or given with a graph.
        SurveyDataError: if no survey has the id.

    Example:
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45.0, 45.05, 45.01], "lon": 7.0,
        ...     "year": 2020, "region": "ALPINE", "speciesId": [5, 9, 9]})
        >>> surveys = SurveyTable.from_long(rows)
        >>> explain(SurveyGraph.from_surveys(surveys), 1).species.round(2)
           species  predicted  survey  neighbors
        0        9       9.42    9.42          2
        >>> explain(MultiScale.fit(surveys, steps=8), 1, surveys, train=surveys).method
        'multi-scale probability'
    """
    if isinstance(source, MultiScale):
        if table is None:
            raise ValueError("a MultiScale holds no surveys to predict: explain(model, id, table)")
        return explain_multiscale(source, table, survey_id, **options)
    if not isinstance(source, SurveyGraph | HeteroData):
        raise TypeError(
            f"explain takes a SurveyGraph, its HeteroData or a MultiScale, got "
            f"{type(source).__name__}; a trained network: tighnari_models.explain_model"
        )
    if table is not None:
        raise ValueError("a graph holds its surveys: no table is needed")
    return explain_feature(source, survey_id, **options)
