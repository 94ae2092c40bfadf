"""What the neighbours in a survey graph contributed to shares and species lists."""

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
    placeless_parts,
    shown_species,
)
from tighnari_graph.inspection import Neighborhood
from tighnari_graph.shares import LEVEL_SURVEYS, LEVELS
from tighnari_graph.sparse import scipy_csr
from tighnari_graph.species_lists import SOURCES
from tighnari_graph.surveys import SurveyTable


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
        probability, top: as in `explain_feature`.

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
    priors = placeless_parts("prior", names, np.stack(frequency) * (strength / total))
    parts = Parts.joined([neighbor_parts(here, "survey", weight / total), priors])
    shown = shown_species(parts.predicted(len(here.spec.species_ids)), probability, top)
    return explained_node(here, survey_id, "share of neighbours and prior", "", parts, shown)


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
    ``probability`` and ``top`` as in `explain_feature`.

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
    parts = Parts.joined([neighbor_parts(n, k, np.ones(len(n.source))) for k, n in near.items()])
    here = next(iter(near.values()))
    shown = shown_species(parts.predicted(len(here.spec.species_ids)), probability, top)
    method = "nearest surveys with the species"
    found = explained_node(here, survey_id, method, "surveys", parts, shown)
    table = found.species.copy()
    listed = np.zeros(len(table), dtype=bool)
    for kind, (_, exceed) in asked.items():
        count = table[kind] if kind in table else np.zeros(len(table))
        table[f"needed_{kind}"] = exceed + 1
        listed |= np.asarray(count > exceed)
    return replace(found, species=table.assign(listed=listed))


def neighbor_parts(here: Neighborhood, kind: str, weight: np.ndarray) -> Parts:
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


def explained_node(
    here: Neighborhood,
    survey_id: int,
    method: str,
    unit: str,
    parts: Parts,
    shown: tuple[np.ndarray, np.ndarray | None],
) -> Explanation:
    """The tables, with the node's place, the graph's radius and the species' names."""
    lat, lon = here.targets.pos.numpy(force=True)[here.node].tolist()
    return explained(
        (int(survey_id), lat, lon), method, unit, here.spec.radius_km, parts, shown,
        here.spec.species_ids, here.spec.species_names,
    )  # fmt: skip
