"""Train the graph neural networks of `graph_network_model` on surveys whose own block is unseen."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from benchmarks.graph_network_model import LabelAttention, MaskedLabels, Neighbors
from tighnari_graph.covariates import Covariates
from tighnari_graph.geodesy import unit_vectors
from tighnari_graph.sparse import torch_csr
from tighnari_graph.splits import block_ids
from tighnari_graph.surveys import SurveyTable


@dataclass(frozen=True)
class Options:
    """How a network is trained.

    Attributes:
        steps: of the optimiser.
        lr: highest learning rate.
        neighbors: of each survey.
        batch: targets of a step (label attention).
        share: of blocks that are hidden in a step (masked labels).
        decay: of the weights.
        seed: of weights, minibatches and hidden blocks.
    """

    steps: int
    lr: float
    neighbors: int
    batch: int = 256
    share: float = 1 / 6
    decay: float = 1e-2
    seed: int = 0


ATTENTION = Options(steps=120, lr=1e-2, neighbors=512)
MASKED = Options(steps=80, lr=2e-3, neighbors=32, decay=0.1)


@dataclass(frozen=True, eq=False)
class Prior:
    r"""Where a network begins.

    Attributes:
        train: :math:`(N_{train}, S)` probabilities of training surveys, own block unseen.
        target: :math:`(N, S)` those of the surveys to predict.
        seconds: that they took.
    """

    train: np.ndarray
    target: np.ndarray
    seconds: float


def label_attention(
    train: SurveyTable, target: SurveyTable, prior: Prior, options: Options = ATTENTION
) -> np.ndarray:
    r"""Train `LabelAttention` on surveys whose own block is unseen; :math:`(N, S)`."""
    labels, blocks = train.known_labels(), block_ids(train.lat, train.lon)
    covariates = Covariates.fit(train)
    near = Neighbors.find(train, train, covariates, options.neighbors, blocks)
    far = Neighbors.find(train, target, covariates, options.neighbors)
    y = torch_csr(sparse.csr_matrix(labels.T))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = LabelAttention(labels.shape[1], near.attributes.shape[-1])

        def loss(rows: np.ndarray) -> Tensor:
            logits = model(y, *near.edges(rows), torch.from_numpy(prior.train[rows]))
            truth = torch.from_numpy(labels[rows].toarray())
            return F.binary_cross_entropy_with_logits(logits, truth)

        def some(rng: np.random.Generator) -> np.ndarray:
            return rng.permutation(len(train))[: options.batch]

        _descend(model, loss, some, options)
    found = []
    with torch.no_grad():
        for rows in np.array_split(np.arange(len(target)), -(-len(target) // options.batch)):
            logits = model(y, *far.edges(rows), torch.from_numpy(prior.target[rows]))
            found.append(logits.sigmoid().numpy())
    return np.concatenate(found)


def masked_labels(
    train: SurveyTable, target: SurveyTable, prior: Prior, options: Options = MASKED
) -> np.ndarray:
    r"""Train `MaskedLabels`, random blocks hidden in every step; :math:`(N, S)`."""
    labels, blocks = train.known_labels(), block_ids(train.lat, train.lon)
    covariates = Covariates.fit(train)
    near = Neighbors.find(train, train, covariates, options.neighbors, blocks)
    far = Neighbors.find(train, target, covariates, options.neighbors)
    places = place_features(train, covariates), place_features(target, covariates)
    index, attributes = near.edges(np.arange(len(train)))
    beyond, more = far.edges(np.arange(len(target)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = MaskedLabels(labels.shape[1], places[0].shape[1], attributes.shape[1])
        y = torch_csr(labels)

        def loss(rows: np.ndarray) -> Tensor:
            asked = torch.zeros(len(train), dtype=torch.bool)
            asked[torch.from_numpy(rows)] = True
            start = torch.from_numpy(prior.train[rows])
            logits = model(places[0], y, ~asked, index, attributes, asked, start)
            truth = torch.from_numpy(labels[rows].toarray())
            return F.binary_cross_entropy_with_logits(logits, truth)

        def some(rng: np.random.Generator) -> np.ndarray:
            hidden = rng.random(int(blocks.max()) + 1) < options.share
            hidden[blocks[rng.integers(len(blocks))]] = True
            return np.flatnonzero(hidden[blocks])

        _descend(model, loss, some, options)
    nothing = sparse.csr_matrix((len(target), labels.shape[1]), dtype=np.float32)
    everyone = torch_csr(sparse.csr_matrix(sparse.vstack([labels, nothing])))
    asked = torch.arange(len(train) + len(target)) >= len(train)
    beyond = beyond + torch.tensor([[0], [len(train)]])
    model.eval()
    with torch.no_grad():
        logits = model(
            torch.cat(places), everyone, ~asked, torch.cat([index, beyond], dim=1),
            torch.cat([attributes, more]), asked, torch.from_numpy(prior.target),
        )  # fmt: skip
    return logits.sigmoid().numpy()


def place_features(table: SurveyTable, covariates: Covariates) -> Tensor:
    """Position, numbers (0 where missing), which are missing, and a column per value of text."""
    values, codes = covariates.encode(table)
    kinds = [len(known) + 2 for _, known in covariates.categories]
    texts = [np.eye(num)[code] for num, code in zip(kinds, codes.T, strict=True)]
    position = unit_vectors(table.lat, table.lon) * 4
    parts = [position, np.nan_to_num(values), np.isnan(values), *texts]
    return torch.from_numpy(np.hstack(parts).astype(np.float32))


def _descend(
    model: torch.nn.Module,
    loss: Callable[[np.ndarray], Tensor],
    some: Callable[[np.random.Generator], np.ndarray],
    options: Options,
) -> None:
    """AdamW with one cycle of the learning rate."""
    optimizer = torch.optim.AdamW(model.parameters(), options.lr, weight_decay=options.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.lr, total_steps=options.steps)
    rng = np.random.default_rng(options.seed)
    model.train()
    for _ in tqdm(range(options.steps), "steps", delay=2, disable=None, leave=False):
        found = loss(some(rng))
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
        schedule.step()
