"""How `MultiScale` is fitted: how far cells are opened, and descent on its parameters."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from tqdm import tqdm

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.geodesy import unit_vectors
from tighnari_graph.pyramid import Pyramid
from tighnari_graph.surveys import SurveyTable
from tighnari_graph.targets import Targets

if TYPE_CHECKING:
    from tighnari_graph.multiscale import MultiScale

_OPENINGS = (0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0)
_COUNTED = 256  # targets whose edges are counted to choose the opening
_RUNS = 4  # runs of targets in a step
_EPSILON = 1e-7


def choose_opening(
    pyramids: dict[str, Pyramid], train: SurveyTable, exact: int, wanted: int, most: int
) -> float:
    """The smallest opening with which all training surveys keep to the wanted edges.

    It is 0, and the result exact, where all pairs are at most ``exact``. Where the coarsest cells
    need more edges than wanted, they are taken as long as they keep to ``most``.

    Raises:
        SurveyDataError: if they do not.
    """
    if sum(p.num_surveys for p in pyramids.values()) * len(train) <= exact:
        return 0.0
    some = np.random.default_rng(0).permutation(len(train))[:_COUNTED]
    vectors = unit_vectors(train.lat[some], train.lon[some])
    own = pyramids["survey"].block[some]
    for opening in _OPENINGS:
        counts = [
            len(pyramid.edges(vectors, own if name == "survey" else None, opening)[0])
            for name, pyramid in pyramids.items()
        ]
        edges = sum(counts) / len(some) * len(train)
        if edges <= wanted:
            break
    if edges > most:
        raise SurveyDataError(
            f"MultiScale: {len(train):,} surveys need {edges:,.0f} edges even with the coarsest "
            f"cells, more than max_edges = {most:,}; give a larger max_edges, which takes longer"
        )
    return opening


def descend(
    model: "MultiScale", train: SurveyTable, some: np.ndarray, steps: int, lr: float, seed: int
) -> pd.DataFrame:
    """Adam on the binary cross-entropy of surveys whose own block is unseen; the losses.

    Args:
        model: its chain is changed in place.
        train: labelled surveys.
        some: those of them that the loss is taken over.
        steps, lr, seed: see `MultiScale.fit`.
    """
    learned = [p for p in model.chain.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.21)
    truth, blocks = train.known_labels(), model._own_blocks(np.arange(len(train)))
    targets = Targets.of(train, model.covariates)
    runs = targets.runs(some)
    rng = np.random.default_rng(seed)
    waiting: list[int] = []
    losses = []
    for _ in tqdm(range(steps), "fitting scales", delay=2, disable=None, leave=False):
        while len(waiting) < _RUNS:
            waiting += rng.permutation(len(runs)).tolist()
        taken, waiting = [runs[i] for i in waiting[:_RUNS]], waiting[_RUNS:]
        optimizer.zero_grad()
        total = 0.0
        for rows in taken:
            own = blocks[rows]
            p = model.chain(model._edges(targets.at(rows), own), model._prior(own))
            y = torch.from_numpy(truth[rows].toarray())
            loss = F.binary_cross_entropy(p.clamp(_EPSILON, 1 - _EPSILON), y) / len(taken)
            loss.backward()
            total += float(loss.detach())
        optimizer.step()
        schedule.step()
        losses.append(total)
    return pd.DataFrame({"step": range(steps), "loss": losses})
