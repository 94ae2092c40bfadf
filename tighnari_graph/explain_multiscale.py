"""What near and far surveys contributed to a probability of `MultiScale`."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor
from torch_geometric.data import HeteroData

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.explanation import (
    IN_WORDS,
    NO_ID,
    TOP,
    Explanation,
    Parts,
    contributor_rows,
    entry_rows,
    explained,
    placeless_parts,
    shown_species,
)
from tighnari_graph.geodesy import unit_vectors
from tighnari_graph.kernel_conv import KernelConv
from tighnari_graph.kernel_graph import KERNEL, NODE_TYPES, kernel_graph
from tighnari_graph.multiscale import MultiScale
from tighnari_graph.pyramid import Pyramid
from tighnari_graph.surveys import SurveyTable


def explain_multiscale(
    model: MultiScale,
    target: SurveyTable,
    survey_id: int | None = None,
    *,
    hide_block: bool = False,
    train: SurveyTable | None = None,
    presence_only: SurveyTable | None = None,
    probability: np.ndarray | Tensor | None = None,
    top: int | None = TOP,
) -> Explanation:
    r"""Which surveys and cells, seen at which scale, a probability of `MultiScale` comes from.

    With :math:`\lambda_h` at hand the chain is linear: neighbour j adds at scale h

    .. math:: \frac{k_h s_h y_{js}}{m_h + \lambda_h}
        \prod_{h' > h} \frac{\lambda_{h'}}{m_{h'} + \lambda_{h'}}

    (finer scales are later), and what remains is the frequency among all surveys. Where a
    probability was cut at 1, all that led to it is cut in proportion.

    Args:
        model: fitted.
        target: surveys to predict; their labels are not looked at.
        survey_id: which of them; not needed if there is one.
        hide_block: explain `MultiScale.predict_training`: nothing of the survey's own block of
            10 km is seen.
        train, presence_only: the tables that the model was fitted on. The model itself knows no
            survey ids and species names; without them ``neighbor`` is the row of the table.
        probability, top: as in `explain_feature`.

    Raises:
        SurveyDataError: on an unknown id, a table that the model was not fitted on, or with
            ``hide_block`` a survey at whose place none was fitted.
        ValueError: if ``survey_id`` is needed and not given.

    Example:
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45.0, 45.001, 48.0], "lon": 7.0,
        ...     "year": 2020, "speciesId": [5, 9, 9]})
        >>> table = SurveyTable.from_long(rows)
        >>> model = MultiScale.fit(table, scales_km=(100.0, 10.0), steps=8)
        >>> found = explain_multiscale(model, table, 1, train=table)
        >>> sums = found.by_neighbor.groupby("species")["share"].sum().to_numpy()
        >>> bool(np.allclose(sums, model.predict(table).probabilities.toarray()[0]))
        True
    """
    one = _the_one(target, survey_id)
    place = float(one.lat[0]), float(one.lon[0])
    blocks = _own_block(model, one) if hide_block else None
    names = {"survey": train, "po": presence_only}
    for name, table in names.items():
        _check_fitted_on(model, name, table)
    hetero = kernel_graph(model, one, blocks)
    seen = {name: _Seen.of(model, hetero, name) for name in model.pyramids}
    mass, votes = (
        np.sum([getattr(s, w) for s in seen.values()], axis=0) for w in ("mass", "votes")
    )
    prior = model._prior(blocks).double().numpy().reshape(-1)
    p, after, carry = _chain(model, votes, mass, prior)
    shown = shown_species(p, probability, top)
    columns = shown[0]
    all_surveys = np.zeros((1, len(p)))
    all_surveys[0, columns] = (prior * carry)[columns]
    parts = [one.parts(after, columns, names[name]) for name, one in seen.items()]
    parts.append(placeless_parts("prior", ["all surveys"], all_surveys))
    return explained(
        (int(one.survey_id[0]), *place), "multi-scale probability", "", None,
        Parts.joined(parts), shown, model.species_ids,
        None if train is None else train.species_names,
    )  # fmt: skip


def _the_one(target: SurveyTable, survey_id: int | None) -> SurveyTable:
    if survey_id is None:
        if len(target) != 1:
            raise ValueError(f"survey_id says which of the {len(target)} surveys to explain")
        return target
    found = np.flatnonzero(target.survey_id == survey_id)
    if not len(found):
        raise SurveyDataError(f"no survey {survey_id} among {len(target):,} surveys")
    return target.subset(found)


def _own_block(model: MultiScale, one: SurveyTable) -> np.ndarray:
    """The block of the fitted surveys at the same place."""
    pyramid = model.pyramids["survey"]
    here = pyramid.vectors[: pyramid.num_surveys] == unit_vectors(one.lat, one.lon)
    found = np.flatnonzero(here.all(axis=1))
    if not len(found):
        raise SurveyDataError(
            f"hide_block: the model was fitted on no survey at the place of {one.survey_id[0]}"
        )
    return pyramid.block[found[:1]]


def _check_fitted_on(model: MultiScale, name: str, table: SurveyTable | None) -> None:
    if table is None:
        return
    pyramid = model.pyramids.get(name)
    fitted = None if pyramid is None else pyramid.vectors[: pyramid.num_surveys]
    if fitted is None or not np.array_equal(unit_vectors(table.lat, table.lon), fitted):
        what = "train" if name == "survey" else "presence_only"
        raise SurveyDataError(f"explain_multiscale: {what} is not what the model was fitted on")


def _chain(
    model: MultiScale, votes: np.ndarray, mass: np.ndarray, prior: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities [S], what a vote adds at each scale [K, S], and the part of the prior [S]."""
    p, kept, added = prior, [], []
    for scale in range(model.chain.num_scales):
        with torch.no_grad():
            strength = model.chain.strength(scale, torch.from_numpy(p)).numpy()
        total = mass[scale] + strength
        ratio = (votes[scale] + strength * p) / total
        cut = 1 / np.maximum(ratio, 1)
        p = ratio * cut
        kept.append(strength / total * cut)
        added.append(cut / total)
    finer = np.cumprod(np.stack([*kept, np.ones_like(prior)])[::-1], axis=0)[::-1]
    return p, np.stack(added) * finer[1:], finer[0]


@dataclass(frozen=True, eq=False)
class _Seen:
    """The surveys and cells of one relation that the target looks at.

    ``node`` [E] is that of the pyramid, of a cell that holds one survey the survey; ``weight`` is
    [E, K], ``labels`` [E, S]; ``mass`` [K] and ``votes`` [K, S] are their sums.
    """

    name: str
    pyramid: Pyramid
    node: np.ndarray
    distance_km: np.ndarray
    pos: np.ndarray
    surveys: np.ndarray
    weight: np.ndarray
    labels: sparse.csr_matrix
    bandwidth_km: np.ndarray
    mass: np.ndarray
    votes: np.ndarray

    @classmethod
    def of(cls, model: MultiScale, hetero: HeteroData, name: str) -> "_Seen":
        pyramid, conv = model.pyramids[name], cast(KernelConv, model.chain.convs[name])
        first = (0, pyramid.num_surveys)
        node, km, pos, weight = [], [], [], []
        for kind, start in zip(NODE_TYPES[name], first, strict=True):
            edges = hetero[kind, KERNEL, "test"]
            source = edges.edge_index[0].numpy()
            node.append(source + start)
            km.append(edges.edge_distance_km.numpy())
            pos.append(hetero[kind].pos.numpy()[source])
            weight.append(edges.edge_weight.numpy().astype(np.float64))
        looked_at, weights = np.concatenate(node), np.concatenate(weight)
        labels, surveys = pyramid.labels[looked_at], pyramid.weight[looked_at].astype(np.float64)
        rate = conv.log_rate.detach().double().exp().numpy() if conv.incomplete else 1.0
        return cls(
            name, pyramid, _the_only_survey(pyramid, looked_at), np.concatenate(km),
            np.concatenate(pos), surveys, weights, labels,
            conv.log_bandwidth.detach().double().exp().numpy(),
            rate * (weights.T @ surveys), (labels.T @ weights).T,
        )  # fmt: skip

    def parts(self, after: np.ndarray, columns: np.ndarray, table: SurveyTable | None) -> Parts:
        """Contributors, and what they add at every scale to some species."""
        single = self.node < self.pyramid.num_surveys
        row = np.where(single, self.node, 0)
        ids = np.where(single, row if table is None else table.survey_id[row], NO_ID)
        cells = _cell_names(self.name, self.surveys, self.pos)
        told = cells.where(~single, IN_WORDS[self.name] + pd.Series(ids, dtype=str))
        kind = np.where(single, *np.array(NODE_TYPES[self.name], dtype=object)[:, None])
        found = self.labels[:, columns].tocoo()
        column, num = columns[found.col], len(self.bandwidth_km)
        share = found.data[:, None] * self.weight[found.row] * after[:, column].T
        return Parts(
            contributor_rows(kind, ids, told, self.distance_km, self.pos),
            entry_rows(
                np.repeat(found.row, num), np.repeat(column, num), share.ravel(),
                np.tile(self.bandwidth_km, len(column)),
            ),
        )  # fmt: skip


def _the_only_survey(pyramid: Pyramid, node: np.ndarray) -> np.ndarray:
    """The survey of every cell that holds a single one; other nodes as they are."""
    node, count = node.copy(), np.diff(pyramid.first_child)
    below = node.copy()
    narrow = count[below] == 1
    while narrow.any():
        below[narrow] = pyramid.children[pyramid.first_child[below[narrow]]]
        narrow = count[below] == 1
    return np.where(below < pyramid.num_surveys, below, node)


def _cell_names(name: str, weight: np.ndarray, pos: np.ndarray) -> pd.Series:
    """A cell in words: how many surveys, around which place."""
    count = pd.Series(weight.round(1)).map("{:g}".format).astype(str)
    lat, lon = (pd.Series(np.abs(part)).map("{:.2f}° ".format).astype(str) for part in pos.T)
    north = pd.Series(np.where(pos[:, 0] < 0, "S", "N"))
    east = pd.Series(np.where(pos[:, 1] < 0, "W", "E"))
    what = f" {IN_WORDS[name]}".rstrip() + "s around "
    named: pd.Series = "cell of " + count + what + lat + north + ", " + lon + east
    return named
