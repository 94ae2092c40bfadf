"""What the probabilities of trained models are the sum of: modalities, neighbours in a graph."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.explanation import (
    TOP,
    Explanation,
    Parts,
    explained,
    placeless_parts,
    shown_species,
)
from tighnari_graph.graph import SurveyGraph
from tighnari_models.data.batch import MODALITIES
from tighnari_models.data.dataset import SurveyDataset
from tighnari_models.explain_neighbors import NeighborGroups
from tighnari_models.explain_rows import Choices, mean_probabilities, probabilities
from tighnari_models.explain_shapley import Game
from tighnari_models.opened_models import Model, evaluating, open_models, refuse_other_species

WORDS = {
    "image": "satellite image",
    "landsat": "Landsat cube",
    "bioclim": "climate cube",
    "table": "table",
    "gfv": "survey graph",
    "scales": "multi-scale rows",
}


def explain_model(
    models: Model | Sequence[Model],
    dataset: SurveyDataset,
    survey_id: int,
    *,
    background: SurveyDataset | None = None,
    num_background: int = 16,
    graph: SurveyGraph | HeteroData | None = None,
    visible: Tensor | np.ndarray | None = None,
    exclude_block: float | Tensor | np.ndarray | None = None,
    neighbors: int = 6,
    top: int | None = TOP,
    batch_size: int = 128,
    device: str | torch.device | None = None,
    seed: int = 0,
) -> Explanation:
    r"""What the modalities of a survey, and the neighbours in its graph, add to a prediction.

    A modality that is absent is another survey's. The value of some modalities is the mean
    probability over background surveys that stand in for the others; with none of them it is what
    the explanation starts from, with all of them what `predict` gives, through the logistic
    function. A share is the Shapley value: what a modality adds, on the average over all orders in
    which they can come, computed from all :math:`2^M` coalitions. Start and shares sum to the
    probability.

    With ``graph``, the share of graph features is divided among the neighbours as their Owen
    values: the same with the neighbours as players within that modality, :math:`2^g` coalitions
    more. A neighbour that is absent has no edge; if all are, the background's feature is there.
    Parts sum to the share. Multi-scale rows are not divided.

    Args:
        models: as in `predict`.
        dataset: surveys, as in `predict`.
        survey_id: one of them.
        background: surveys that stand in for what is absent; by default the others of ``dataset``.
        num_background: how many of them are drawn.
        graph: the survey graph, for surveys of the graph; for others what `SurveyGraph.attach`
            returned. Without it neighbours are not told apart.
        visible, exclude_block: as graph features in ``dataset`` were made, see
            `tighnari_graph.graph_feature_vectors`.
        neighbors: how many of the nearest ones are told apart; the others are one group.
        top: how many species to show, the most probable ones; None is all.
        batch_size: rows at a time.
        device: where to compute; by default the GPU if there is one. Always in 32 bits.
        seed: of the draw of background surveys.

    Raises:
        ValueError: if models do not fit the data set, or a number is out of its range.
        SurveyDataError: if the survey is not there once, there is no background, or neighbours do
            not make the graph feature in ``dataset``.

    Source: Shapley 1953; Owen 1977, *Values of games with a priori unions*.

    Example:
        >>> import pandas as pd
        >>> from tighnari_graph import SurveyTable
        >>> from tighnari_models import SurveyDataModule, Tighnari, TighnariConfig
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3, 4], "lat": [45.0, 45.05, 47.0, 47.05],
        ...     "lon": 7.0, "year": 2020, "region": "ALPINE", "speciesId": [5, 9, 5, 9]})
        >>> train = np.array([True, True, True, False])
        >>> data = SurveyDataModule(SurveyTable.from_long(rows)).with_split(train, ~train)
        >>> config = TighnariConfig(2, modalities=("table", "gfv"), fusion="concat")
        >>> model = Tighnari(data.complete(config))
        >>> seen = data.dataset(np.ones(4, dtype=bool), visible=train)
        >>> found = explain_model(model, seen, 4, graph=data.graph, visible=train)
        >>> found.neighbors["contributor"].sort_values().tolist()
        ['3 background surveys', 'survey 3', 'table']
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    opened = open_models(models)
    for model in opened:
        refuse_other_species(model, dataset.species_ids)
    survey = _the_survey(dataset, survey_id)
    others = _background(
        dataset if background is None else background, survey, num_background, seed
    )
    players = tuple(n for n in MODALITIES if any(n in model.modalities for model in opened))
    near = None
    if graph is not None and "gfv" in players:
        near = NeighborGroups.of(survey, graph, visible, exclude_block, neighbors)
    groups = near.num if near is not None else 0
    features = near.features() if near is not None else None
    game = Game(players, max(groups, 1) if "gfv" in players else 0, len(others))
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with evaluating(opened, place):
        choices = [Choices.of(model, survey, others, place, features) for model in opened]
        own = {name: np.zeros(1, dtype=np.int64) for name in players}
        predicted = probabilities(choices, own, place)[0]
        shown = shown_species(predicted, None, top)
        rows, group, weight = game.rows()
        value = mean_probabilities(choices, rows, group, weight, shown[0], batch_size, place)
    base, shares, of_groups = game.shares(value)

    def all_species(part: np.ndarray) -> np.ndarray:
        whole = np.zeros((len(part), len(predicted)))
        whole[:, shown[0]] = part
        return whole

    whole = [i for i, name in enumerate(game.order) if not (groups and name == "gfv")]
    words = [WORDS[game.order[i]] for i in whole]
    start = f"{len(others)} background survey" + ("s" if len(others) > 1 else "")
    parts = [placeless_parts("prior", [start], all_species(base))]
    parts.append(placeless_parts("modality", words, all_species(shares[whole])))
    if near is not None and groups:
        parts.append(near.parts(all_species(of_groups)))
    method = "probability" + (f", mean of {len(opened)} models" if len(opened) > 1 else "")
    names = None if opened[0].surveys is None else opened[0].surveys.species_names
    radius = None
    if near is not None:
        radius, names = near.here.spec.radius_km, near.here.spec.species_names
    return explained(
        (int(survey_id), *_place(survey, near)), method, "", radius, Parts.joined(parts), shown,
        dataset.species_ids, names,
    )  # fmt: skip


def _the_survey(dataset: SurveyDataset, survey_id: int) -> SurveyDataset:
    found = np.flatnonzero(dataset.survey_id == survey_id)
    if len(found) != 1:
        raise SurveyDataError(
            f"survey {survey_id} is {len(found)} times among the {len(dataset):,} surveys of the "
            "data set; expected once"
        )
    return dataset.subset(found)


def _background(
    dataset: SurveyDataset, survey: SurveyDataset, num: int, seed: int
) -> SurveyDataset:
    if num < 1:
        raise ValueError(f"num_background must be at least 1, got {num}")
    other = np.flatnonzero(~np.isin(dataset.survey_id, survey.survey_id))
    if not len(other):
        raise SurveyDataError(
            f"no survey but {survey.survey_id[0]} to stand in for what is absent: give background="
        )
    rng = np.random.default_rng(seed)
    return dataset.subset(np.sort(rng.choice(other, min(num, len(other)), replace=False)))


def _place(survey: SurveyDataset, near: NeighborGroups | None) -> tuple[float, float]:
    """Latitude and longitude, where the graph or the table knows them."""
    if near is not None:
        lat, lon = near.here.targets.pos.numpy(force=True)[near.here.node].tolist()
        return lat, lon
    frame = survey.inputs.frame
    if frame is None:
        return float("nan"), float("nan")
    row = frame.iloc[survey.rows[0]]
    return float(row["lat"]), float(row["lon"])
