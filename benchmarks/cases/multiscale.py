"""Multi-scale features: the fit, its steps beside dense kernels, rows of a minibatch."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.case import Case, Peer
from benchmarks.cases.network import BATCH, training_step_of_64
from benchmarks.inputs import survey_table
from benchmarks.machine import Speed
from tighnari_graph import MultiScale, SurveyTable
from tighnari_graph.geodesy import EARTH_RADIUS_KM, km_of_chord

TARGETS = 4_716
SIZES, NUM_SPECIES, STEPS = (5_000, 88_987), 11_255, 96
SMALL = (300, 900), 500, 2
FEW_TARGETS = 40
FITTED = 209  # surveys of a step of the fit
CLOSE = 1e-4


def cases(small: bool, speed: Speed) -> Iterator[Case]:
    """At 5,000 surveys the dense way too; beyond, an all-pairs matrix would not fit in memory."""
    sizes, num_species, steps = SMALL if small else (SIZES, NUM_SPECIES, STEPS)
    network = training_step_of_64(small)
    target = survey_table(FEW_TARGETS if small else TARGETS, num_species, seed=1)
    for num in sizes:
        train = survey_table(num, num_species)
        fitted: list[MultiScale] = []
        yield Case(
            f"fit of multi-scale features, {steps} steps",
            f"{num:,} surveys, {num_species:,} species",
            lambda train=train, fitted=fitted: fitted.append(MultiScale.fit(train, steps=steps)),
            aim="≤ 60 s" if num == sizes[0] else f"≤ 60 s × {num:,} / {sizes[0]:,}",
        )
        model = fitted[-1]
        if num == sizes[0]:
            yield step_case(model, train)
        rows = np.random.default_rng(0).permutation(num)[:BATCH]
        some, own = train.subset(rows), model.pyramids["survey"].block[rows]
        yield Case(
            "multi-scale rows of a minibatch, own blocks unseen",
            f"{len(rows)} of {num:,} surveys",
            partial(rows_of, model, some, own),
            {
                "training step of the paper preset, 64 surveys, CPU": Peer(
                    network.run, network.share, aim="≥ 20×: 5 % of the step"
                )
            },
        )
        yield Case(
            "multi-scale prediction, the best 256 species each",
            f"{len(target):,} surveys from {num:,}",
            partial(model.predict, target),
        )


def step_case(model: MultiScale, train: SurveyTable) -> Case:
    """One step of fitting, ours and over all pairs; the exact probabilities are compared."""
    rows = np.arange(len(train))[:FITTED]
    some, blocks = train.subset(rows), model.pyramids["survey"].block[rows]
    dense = DenseChain(model, train)
    truth = dense.labels[rows]
    exact = rows_of(replace(model, opening=0.0), some, blocks)
    return Case(
        "a step of the fit, forward and backward",
        f"{len(rows)} of {len(train):,} surveys",
        lambda: loss_step(model.probabilities(some, blocks), truth),
        {
            "dense all-pairs kernels in torch": Peer(
                lambda: loss_step(dense.probabilities(rows), truth),
                check=lambda _, theirs: _differ(exact, theirs),
            )
        },
    )


@torch.no_grad()
def rows_of(model: MultiScale, some: SurveyTable, own: np.ndarray) -> Tensor:
    """Probabilities of some training surveys, as if their own blocks were not there."""
    return model.probabilities(some, own)


def loss_step(probabilities: Tensor, truth: Tensor) -> Tensor:
    """The loss and its gradients; returns the probabilities."""
    F.binary_cross_entropy(probabilities.clamp(1e-7, 1 - 1e-7), truth).backward()
    return probabilities.detach()


class DenseChain:
    """The peer: all pairs, kernel by kernel, with the parameters of a fitted model."""

    def __init__(self, model: MultiScale, train: SurveyTable) -> None:
        self.model = model
        self.labels = torch.from_numpy(train.known_labels().toarray())
        pyramid = model.pyramids["survey"]
        self.vectors = pyramid.vectors[: len(train)]
        self.values, self.codes = model.covariates["survey"].encode(train)
        self.block = torch.from_numpy(pyramid.block[: len(train)])

    def probabilities(self, rows: np.ndarray) -> Tensor:
        """Of some training surveys, their own blocks unseen."""
        conv, num = self.model.chain.convs["survey"], len(self.vectors)
        chord = np.maximum(2 - 2 * self.vectors[rows] @ self.vectors.T, 0)
        km = torch.from_numpy(km_of_chord(chord, EARTH_RADIUS_KM).astype(np.float32))
        one, other = np.tile(np.arange(num), len(rows)), np.repeat(rows, num)
        differences = torch.from_numpy(
            self.model.covariates["survey"].compare(
                self.values[one], self.codes[one], self.values[other], self.codes[other]
            )
        )
        seen = (self.block[rows][:, None] != self.block).float()
        p = seen @ self.labels / seen.sum(dim=1, keepdim=True).clamp(min=1)
        strengths = F.softplus(conv.raw_strength)
        for scale in range(self.model.chain.num_scales):
            strength = self.model.chain.strength(scale, p)
            exponent = km / conv.log_bandwidth[scale].exp()
            exponent = exponent + (strengths[scale] @ differences).view(km.shape)
            weight = seen * (-exponent).exp()
            p = (weight @ self.labels + strength * p) / (weight.sum(1, keepdim=True) + strength)
        return p


def _differ(ours: Tensor, theirs: Tensor) -> str:
    away = float((ours - theirs).abs().max())
    return f"exact probabilities differ by {away:.2g}" if away > CLOSE else ""
