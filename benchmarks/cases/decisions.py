"""Probabilities → species sets: expected F1, and the search for K and θ."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.metrics import f1_score

from benchmarks.case import Case, Limit, Peer
from benchmarks.machine import Speed
from tighnari_graph import ExpectedF1, ThresholdTopK
from tighnari_graph.expected_f1 import DEPTH
from tighnari_graph.species_sets import KS, THRESHOLDS

SURVEYS, NUM_SPECIES, MEAN = 8_900, 11_255, 17.0
SMALL = 40, 300
LOOPED = 16  # surveys of the plain loop for expected F1
SEARCHED, PAIRS = 200, 40  # surveys and pairs of the plain loop for K and θ
MOST = 192  # species of a survey, of which the plain loop keeps the chances
TOLERANCE = {"exact": 1e-6, "fast": 0.02}  # of expected F1


class Expected(NamedTuple):
    """Of each survey its species, most probable first, and expected F1 of 0, 1, 2 … of them."""

    order: np.ndarray
    value: np.ndarray


def cases(small: bool, speed: Speed) -> Iterator[Case]:
    """Both rules on dense float32 probabilities."""
    num, num_species = SMALL if small else (SURVEYS, NUM_SPECIES)
    p, labels = probabilities(num, num_species)
    size = f"{num:,} × {num_species:,}, float32"
    limit = Limit("read the probabilities once", speed.read(p.nbytes))
    some = p[:LOOPED]
    loop = partial(expected_loop, some)
    for method in ("exact", "fast"):
        yield Case(
            f"sets of highest expected F1, {method}",
            size,
            partial(ExpectedF1(method=method).predict, p),
            {"plain loop": Peer(loop, len(some) / num, partial(near_best, TOLERANCE[method]))},
            limit,
            "≤ 5 s, memory ≤ 3,000 MB",
        )
    yield search_case(p, labels, size, limit)


def probabilities(num: int, num_species: int) -> tuple[np.ndarray, sparse.csr_matrix]:
    """Calibrated probabilities with a Zipf tail, about 17 species a survey, and labels of them."""
    rng = np.random.default_rng(0)
    p = np.exp(1.5 * rng.standard_normal((num, num_species), dtype=np.float32))
    p /= rng.permutation(num_species).astype(np.float32) + 30
    p *= MEAN / p.sum(axis=1, keepdims=True)
    np.minimum(p, 0.95, out=p)
    labels = rng.random(p.shape, dtype=np.float32) < p
    return p, sparse.csr_matrix(labels, dtype=np.float32)


def search_case(p: np.ndarray, labels: sparse.csr_matrix, size: str, limit: Limit) -> Case:
    """Samples-F1 of every pair of K and θ."""
    few, truth = p[:SEARCHED], labels[:SEARCHED]
    known, place = truth.toarray().astype(bool), ranks(few)
    chosen = np.linspace(0, len(KS) * len(THRESHOLDS) - 1, PAIRS).astype(int)
    pairs = [(k, t) for k in KS for t in THRESHOLDS]

    def check(_: ThresholdTopK, theirs: np.ndarray) -> str:
        scores = ThresholdTopK.fit(few, truth).scores.ravel()[chosen]
        away = np.abs(scores - theirs).max()
        return f"scores differ by {away:.2g}" if away > 1e-6 else ""

    return Case(
        f"search for K and θ, {len(KS)} × {len(THRESHOLDS)} pairs",
        size,
        partial(ThresholdTopK.fit, p, labels),
        {
            "plain loop with scikit-learn's f1_score, sorting left out": Peer(
                lambda: np.array([pair_score(few, place, known, *pairs[i]) for i in chosen]),
                len(few) / len(p) * len(chosen) / len(pairs),
                check,
            )
        },
        limit,
        "≤ 2 s, memory ≤ 3,000 MB",
    )


def ranks(p: np.ndarray) -> np.ndarray:
    """The place of each species in the order of its survey, from 0."""
    return np.argsort(np.argsort(-p, axis=1, kind="stable"), axis=1)


def pair_score(
    p: np.ndarray, place: np.ndarray, truth: np.ndarray, k: int, threshold: float
) -> float:
    """Samples-F1 of the K most probable species above θ."""
    sets = (place < k) & (p > np.float64(threshold))
    return f1_score(truth, sets, average="samples", zero_division=1.0)


def expected_loop(p: np.ndarray) -> list[Expected]:
    """Expected F1 of every prefix, survey by survey, from the chances of how many species occur."""
    return [expected_of(row.astype(np.float64)) for row in p]


def expected_of(p: np.ndarray) -> Expected:
    """Of one survey, E[2 · hits / (k + occurring)], species by species."""
    order = np.argsort(-p, kind="stable")
    best, rest = p[order[:DEPTH]], p[order[DEPTH:]]
    others = chances(np.ones(1), rest)
    gain = np.zeros((len(best) + 1, len(best)))  # of a set of k species, each species' part
    k = np.arange(len(best) + 1)[:, None]
    for i, chance in enumerate(best):
        number = chances(others, np.delete(best, i))
        gain[:, i] = 2 * chance * (number / (k + 1 + np.arange(len(number)))).sum(axis=1)
    value = np.array([gain[size, :size].sum() for size in range(len(best) + 1)])
    value[0] = chances(others, best)[0]  # nothing chosen, nothing there
    return Expected(order, value)


def chances(start: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Chances of 0, 1, 2 … species, after each of these is added to those counted before."""
    for chance in p:
        start = np.convolve(start, (1 - chance, chance))[:MOST]
    return start


def near_best(tolerance: float, ours: sparse.csr_matrix, theirs: list[Expected]) -> str:
    """What differs: a set that is no prefix, or whose expected F1 is not the highest."""
    for row, (order, value) in enumerate(theirs):
        chosen = ours.indices[ours.indptr[row] : ours.indptr[row + 1]]
        if set(chosen.tolist()) != set(order[: len(chosen)].tolist()):
            return f"the {len(chosen)} species of survey {row} are not the most probable ones"
        if value[len(chosen)] < value.max() - tolerance:
            return f"expected F1 of survey {row}: {value[len(chosen)]:.4f}, best {value.max():.4f}"
    return ""
