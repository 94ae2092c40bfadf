"""Multi-scale features on generated surveys: seconds, edges and memory, beside dense kernels.

Run `python -m benchmarks.bench_multiscale` (88,987 surveys × 11,255 species), or with
``--surveys N``. Up to 5,000 surveys the peer runs too: the same chain over all pairs in torch,
which holds every kernel as a matrix. Beyond, an all-pairs matrix would not fit into memory.
"""

import argparse
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.inputs import survey_table
from tighnari_graph import SurveyTable
from tighnari_graph.geodesy import EARTH_RADIUS_KM, km_of_chord
from tighnari_graph.multiscale import MAX_EDGES, MultiScale

REAL_SIZE = 88_987
TARGETS = 4_716
MINIBATCH = 64
BATCH = 209  # surveys of a step of fitting on 5,000
PEER_UP_TO = 5_000


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    value: float
    unit: str

    def __str__(self) -> str:
        shown = f"{self.value:,.2f}" if self.value < 1000 else f"{self.value:,.0f}"
        return f"{self.what:<58} {shown:>12} {self.unit}"


class DenseChain:
    """The peer: all pairs, kernel by kernel, with the parameters of a fitted model."""

    def __init__(self, model: MultiScale, train: SurveyTable) -> None:
        self.model = model
        self.labels = torch.from_numpy(train.known_labels().toarray())
        pyramid = model.pyramids["survey"]
        self.vectors = pyramid.vectors[: len(train)]
        self.values, self.codes = model.covariates["survey"].encode(train)
        self.block = torch.from_numpy(pyramid.block[: len(train)])

    def probabilities(self, rows: np.ndarray) -> torch.Tensor:
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
        strengths = torch.nn.functional.softplus(conv.raw_strength)
        for scale in range(self.model.chain.num_scales):
            strength = self.model.chain.strength(scale, p)
            exponent = km / conv.log_bandwidth[scale].exp()
            exponent = exponent + (strengths[scale] @ differences).view(km.shape)
            weight = seen * (-exponent).exp()
            p = (weight @ self.labels + strength * p) / (weight.sum(1, keepdim=True) + strength)
        return p

    def step(self, rows: np.ndarray) -> None:
        """One step of fitting: the loss and its gradients."""
        p = self.probabilities(rows).clamp(1e-7, 1 - 1e-7)
        torch.nn.functional.binary_cross_entropy(p, self.labels[rows]).backward()


def compare_with_dense(model: MultiScale, train: SurveyTable, steps: int = 3) -> list[Row]:
    """Seconds of a step of fitting, ours and the peer's; raises if the probabilities differ."""
    rows = np.arange(len(train))[:BATCH]
    some, blocks = train.subset(rows), model.pyramids["survey"].block[rows]
    dense = DenseChain(model, train)
    with torch.no_grad():
        expected = dense.probabilities(rows)
        exact = replace(model, opening=0.0).probabilities(some, blocks)
        cells = (expected - model.probabilities(some, blocks)).abs().max()
    difference = float((expected - exact).abs().max())
    if difference > 1e-4:
        raise RuntimeError(f"exact probabilities differ by {difference:.2g}")
    truth = dense.labels[rows]
    seconds: dict[str, list[float]] = {"ours": [], "dense": []}
    for _ in range(steps):
        begin = time.perf_counter()
        p = model.probabilities(some, blocks).clamp(1e-7, 1 - 1e-7)
        torch.nn.functional.binary_cross_entropy(p, truth).backward()
        seconds["ours"].append(time.perf_counter() - begin)
        begin = time.perf_counter()
        dense.step(rows)
        seconds["dense"].append(time.perf_counter() - begin)
    ours, peer = (min(values) for values in seconds.values())
    return [
        Row(f"step of fitting, {len(rows)} surveys", ours, "s"),
        Row("the same over dense all-pairs kernels in torch", peer, "s"),
        Row("dense, as multiple of ours", peer / ours, "×"),
        Row("largest difference of a probability, for the cells", float(cells), ""),
    ]


def measure(num: int = REAL_SIZE, num_species: int = 11_255, steps: int = 96) -> Iterator[Row]:
    """Fit on generated surveys, predict others; a row as soon as it is measured."""
    train = survey_table(num, num_species)
    target = survey_table(TARGETS, num_species, seed=1)
    begin, worked = time.perf_counter(), time.process_time()
    model = MultiScale.fit(train, steps=steps)
    fit, work = time.perf_counter() - begin, time.process_time() - worked
    yield Row(f"fit, {num:,} surveys, {steps} steps", fit, "s")
    yield Row("the same, seconds of processor, of all cores", work, "s")
    pyramid = model.pyramids["survey"]
    rng = np.random.default_rng(0)
    some = rng.permutation(num)[:256]
    own, vectors = pyramid.block[some], pyramid.vectors[some]
    edges = len(pyramid.edges(vectors, None, model.opening)[0]) / len(some)
    unseen = len(pyramid.edges(vectors, own, model.opening)[0]) / len(some)
    yield Row("opening (0 is exact)", model.opening, "")
    yield Row("nodes, surveys and cells", pyramid.num_nodes, "")
    yield Row("edges a survey", edges, "")
    yield Row("edges a survey, own block unseen", unseen, "")
    yield Row(f"edges of all, own block unseen ({MAX_EDGES:,} allowed)", unseen * num, "")
    begin = time.perf_counter()
    model.predict(target)
    predict = time.perf_counter() - begin
    yield Row(f"predict, {TARGETS:,} surveys, 256 species each", predict, "s")
    few = train.subset(some[:MINIBATCH])
    begin = time.perf_counter()
    with torch.no_grad():
        model.probabilities(few, own[:MINIBATCH])
    yield Row(f"rows of a minibatch of {MINIBATCH}", time.perf_counter() - begin, "s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    yield Row("peak memory of the process, inputs included", peak, "GB")
    if num <= PEER_UP_TO:
        yield from compare_with_dense(model, train)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--surveys", type=int, default=REAL_SIZE, help="number of surveys")
    parser.add_argument("--steps", type=int, default=96, help="steps of fitting")
    arguments = parser.parse_args()
    for row in measure(arguments.surveys, steps=arguments.steps):
        print(row, flush=True)


if __name__ == "__main__":
    main()
