"""What the neighbours in a survey graph contributed: to features, shares and species lists."""

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import sparse
from torch import Tensor
from torch_geometric.data import HeteroData

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.explanation import (
    IN_WORDS,
    TOP,
    Explanation,
    Parts,
    contributor_rows,
    entry_rows,
    explained,
    prior_parts,
    shown_species,
)
from tighnari_graph.gfv import (
    GFVConv,
    GFVScaler,
    block_numbers,
    graph_feature_vectors,
    visible_mask,
)
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.inspection import Neighborhood
from tighnari_graph.shares import LEVEL_SURVEYS, LEVELS
from tighnari_graph.sparse import scipy_csr
from tighnari_graph.species_lists import SOURCES
from tighnari_graph.surveys import SurveyTable


def explain(
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
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45.0, 45.05, 45.01], "lon": 7.0,
        ...     "year": 2020, "region": "ALPINE", "speciesId": [5, 9, 9]})
        >>> graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows))
        >>> explain(graph, 1).by_neighbor[["contributor", "species", "share"]].round(2)
          contributor  species  share
        0    survey 3        9   6.28
        1    survey 2        9   3.14
    """
    conv, scaler = GFVConv(degree), GFVScaler(normalize)  # they know what may be asked for
    here = Neighborhood.of(graph, survey_id, "survey", target)
    seen = np.ones(len(here.source), dtype=bool)
    mask = visible_mask(visible, here.sources.y)
    if mask is not None:
        seen &= mask.numpy(force=True)[here.source]
    if exclude_block is not None and here.kind == "survey":
        block = block_numbers(exclude_block, here.sources.pos).numpy(force=True)
        seen &= block[here.source] != block[here.node]
    here = here.only(seen)
    weight = here.weight.astype(np.float64)
    divisor = np.sqrt(len(weight) if conv.degree == "count" else weight.sum()) or np.inf
    parts = _parts(here, "survey", weight / divisor)
    predicted = parts.predicted(len(here.spec.species_ids))
    scale = 1.0
    if normalize == "l2":
        scale = float(np.linalg.norm(predicted)) or 1.0
    elif normalize == "max":
        raw = graph_feature_vectors(
            graph, visible=visible, normalize=None, degree=degree, exclude_block=exclude_block
        )
        scale = scaler.fit(raw, mask).scale
    parts = Parts(parts.contributors, parts.entries.assign(share=parts.entries["share"] / scale))
    unit = "km / √neighbours" if degree == "count" else "√km"
    unit = f"normalised, {normalize}" if normalize else unit
    shown = shown_species(predicted / scale, probability, top)
    return _explained(here, survey_id, "graph feature vector", unit, parts, shown)


def explain_shares(
    hetero: HeteroData,
    survey_id: int,
    train: SurveyTable,
    target: SurveyTable,
    strength: float,
    levels: tuple[str, ...] = LEVELS,
    surveys: float = LEVEL_SURVEYS,
    probability: np.ndarray | Tensor | None = None,
    top: int | None = TOP,
) -> Explanation:
    r"""Which neighbours, and which region's frequencies, a share of `NeighborShares` comes from.

    A neighbour adds :math:`w_{ij} y_j / (\sum_j w_{ij} + \lambda)`; the prior's part is divided
    among the surveys of the country, of the region, and all surveys (`FrequencyPrior`).

    Args:
        hetero: ``SurveyGraph.from_surveys(train).attach(target)``.
        survey_id: of a survey in ``target``.
        train, target, levels, surveys: as in `FrequencyPrior.fit`.
        strength: λ in kilometres.
        probability, top: as in `explain`.

    Raises:
        SurveyDataError: if no test node has the id, or ``train`` is not the graph's table.
        ValueError: if λ is negative, or 0 where there are no neighbours.
    """
    here = Neighborhood.of(hetero, survey_id, "survey", "test")
    if not np.array_equal(here.sources.survey_id.numpy(force=True), train.survey_id):
        raise SurveyDataError("explain_shares: train is not the table that the graph is of")
    row = np.flatnonzero(target.survey_id == survey_id)
    if not len(row):
        raise SurveyDataError(f"explain_shares: no survey {survey_id} in target")
    weight = here.weight.astype(np.float64)
    total = weight.sum() + strength
    if not strength >= 0 or total == 0:
        raise ValueError(f"strength must be from 0 up, above it for an isolate, got {strength}")
    labels = train.known_labels()
    inside = np.ones(len(train), dtype=bool)
    names = ["all surveys"]
    frequency = [_sums(labels, inside) / max(len(train), 1)]
    for level in levels:
        if not (train.has(level) and target.has(level)):
            continue
        column, value = train.column(level), target.column(level)[row[0]]
        inside &= (column.isna() if pd.isna(value) else column == value).to_numpy(dtype=bool)
        if not inside.any():  # never seen: the coarser frequency stays
            break
        shrunk = surveys / (inside.sum() + surveys)
        own = _sums(labels, inside) / (inside.sum() + surveys)
        frequency = [*(part * shrunk for part in frequency), own]
        names.append(f"{level} {'missing' if pd.isna(value) else value}")
    priors = prior_parts(names, np.stack(frequency) * (strength / total))
    parts = Parts.joined([_parts(here, "survey", weight / total), priors])
    shown = shown_species(parts.predicted(len(here.spec.species_ids)), probability, top)
    return _explained(here, survey_id, "share of neighbours and prior", "", parts, shown)


def explain_lists(
    hetero: HeteroData,
    survey_id: int,
    num_neighbors: int = 5,
    min_count: int = 4,
    num_po: int = 10,
    min_po_count: int = 8,
    source: str = "po",
    probability: np.ndarray | Tensor | None = None,
    top: int | None = TOP,
) -> Explanation:
    """Which of the nearest surveys put a species on the list of a test node (algorithm 2).

    A share is 1 for each of the nearest surveys that has the species; ``predicted`` is how many
    have it. The table of species also says how many were needed (``needed_po``,
    ``needed_survey``) and whether the species is ``listed``. Arguments as in `species_lists`;
    ``probability`` and ``top`` as in `explain`.

    Raises:
        SurveyDataError: if no test node has the id.
        ValueError: on an unknown source, or one that is not attached.

    Source: Liu et al. 2024, section 3.2, algorithm 2.
    """
    if source not in SOURCES:
        raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {source!r}")
    if min(num_neighbors, num_po) < 0:
        raise ValueError(f"num_neighbors and num_po are counts, got {num_neighbors}, {num_po}")
    rules = {"survey": (num_neighbors, min_count), "po": (num_po, min_po_count)}
    asked = {kind: rule for kind, rule in rules.items() if source in (kind, "both")}
    nodes = {kind: Neighborhood.of(hetero, survey_id, kind, "test") for kind in asked}
    near = {kind: node.only(node.nearest()[: asked[kind][0]]) for kind, node in nodes.items()}
    parts = Parts.joined([_parts(n, kind, np.ones(len(n.source))) for kind, n in near.items()])
    here = next(iter(near.values()))
    shown = shown_species(parts.predicted(len(here.spec.species_ids)), probability, top)
    found = _explained(here, survey_id, "nearest surveys with the species", "surveys", parts, shown)
    table = found.species.copy()
    listed = np.zeros(len(table), dtype=bool)
    for kind, (_, exceed) in asked.items():
        count = table[kind] if kind in table else np.zeros(len(table))
        table[f"needed_{kind}"] = exceed + 1
        listed |= np.asarray(count > exceed)
    return replace(found, species=table.assign(listed=listed))


def _parts(here: Neighborhood, kind: str, weight: np.ndarray) -> Parts:
    """Neighbours as contributors, each of its species times the weight."""
    ids = here.survey_id
    told = IN_WORDS[kind] + pd.Series(ids, dtype=str)
    pos = here.sources.pos.numpy(force=True)[here.source]
    labels = scipy_csr(here.sources.y)[here.source].tocoo()
    return Parts(
        contributor_rows(kind, ids, told, here.distance_km, pos),
        entry_rows(labels.row, labels.col, weight[labels.row] * labels.data),
    )


def _sums(labels: sparse.csr_matrix, inside: np.ndarray) -> np.ndarray:
    return np.asarray(labels[inside].sum(axis=0), dtype=np.float64).ravel()


def _explained(
    here: Neighborhood,
    survey_id: int,
    method: str,
    unit: str,
    parts: Parts,
    shown: tuple[np.ndarray, np.ndarray | None],
) -> Explanation:
    lat, lon = here.targets.pos.numpy(force=True)[here.node].tolist()
    return explained(
        (int(survey_id), lat, lon), method, unit, here.spec.radius_km, parts, shown,
        here.spec.species_ids, here.spec.species_names,
    )  # fmt: skip
