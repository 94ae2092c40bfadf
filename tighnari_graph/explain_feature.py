"""What the neighbours in a survey graph contributed to a graph feature vector."""

import numpy as np
from torch import Tensor
from torch_geometric.data import HeteroData

from tighnari_graph.explain_graph import explained_node, neighbor_parts
from tighnari_graph.explanation import TOP, Explanation, Parts, shown_species
from tighnari_graph.gfv import (
    GFVConv,
    GFVScaler,
    block_numbers,
    graph_feature_vectors,
    visible_mask,
)
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.inspection import Neighborhood


def explain_feature(
    graph: SurveyGraph | HeteroData,
    survey_id: int,
    *,
    target: str | None = None,
    visible: Tensor | np.ndarray | None = None,
    normalize: str | None = None,
    degree: str = "count",
    exclude_block: float | Tensor | np.ndarray | None = None,
    probability: np.ndarray | Tensor | None = None,
    top: int | None = TOP,
) -> Explanation:
    r"""Which neighbours a graph feature vector comes from: :math:`w_{ij} y_{js} / \sqrt{D_i}`.

    Args:
        graph: a survey graph, or what `SurveyGraph.attach` returned.
        survey_id: of a labelled survey, whose own labels are not looked at, or of a test node.
        target: "survey" or "test"; by default a test node if there is one of this id.
        visible, normalize, degree, exclude_block: as in `graph_feature_vectors`; give the same.
            With "max" the features of all surveys are made, for their largest entry.
        probability: a model's probabilities of this survey, to be shown beside the shares.
        top: how many species to show, the most probable ones if there are probabilities, else
            those of most share; None is all.

    Shapes:
        - **visible:** :math:`(N,)` bool; **probability:** :math:`(S,)`

    Units: km / √neighbours if not normalised.

    Raises:
        SurveyDataError: if no node has the id.
        ValueError: on a bad mask, probability, degree, normalisation or target.

    Source: Liu et al. 2024, section 3.2, equations 1–2.

    Example:
        >>> import pandas as pd
        >>> from tighnari_graph.surveys import SurveyTable
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45.0, 45.05, 45.01], "lon": 7.0,
        ...     "year": 2020, "region": "ALPINE", "speciesId": [5, 9, 9]})
        >>> graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows))
        >>> explain_feature(graph, 1).by_neighbor[["contributor", "species", "share"]].round(2)
          contributor  species  share
        0    survey 3        9   6.28
        1    survey 2        9   3.14
    """
    conv, scaler = GFVConv(degree), GFVScaler(normalize)  # they know what may be asked for
    here = seen_neighbors(graph, survey_id, target, visible, exclude_block)
    weight = here.weight.astype(np.float64)
    divisor = np.sqrt(len(weight) if conv.degree == "count" else weight.sum()) or np.inf
    parts = neighbor_parts(here, "survey", weight / divisor)
    predicted = parts.predicted(len(here.spec.species_ids))
    scale = 1.0
    if normalize == "l2":
        scale = float(np.linalg.norm(predicted)) or 1.0
    elif normalize == "max":
        raw = graph_feature_vectors(
            graph, visible=visible, normalize=None, degree=degree, exclude_block=exclude_block
        )
        scale = scaler.fit(raw, visible_mask(visible, here.sources.y)).scale
    parts = Parts(parts.contributors, parts.entries.assign(share=parts.entries["share"] / scale))
    unit = "km / √neighbours" if degree == "count" else "√km"
    unit = f"normalised, {normalize}" if normalize else unit
    shown = shown_species(predicted / scale, probability, top)
    return explained_node(here, survey_id, "graph feature vector", unit, parts, shown)


def seen_neighbors(
    graph: SurveyGraph | HeteroData,
    survey_id: int,
    target: str | None = None,
    visible: Tensor | np.ndarray | None = None,
    exclude_block: float | Tensor | np.ndarray | None = None,
) -> Neighborhood:
    """The neighbours that the graph feature of a survey is made of; see `explain_feature`."""
    here = Neighborhood.of(graph, survey_id, "survey", target)
    seen = np.ones(len(here.source), dtype=bool)
    mask = visible_mask(visible, here.sources.y)
    if mask is not None:
        seen &= mask.numpy(force=True)[here.source]
    if exclude_block is not None and here.kind == "survey":
        block = block_numbers(exclude_block, here.sources.pos).numpy(force=True)
        seen &= block[here.source] != block[here.node]
    return here.only(seen)
