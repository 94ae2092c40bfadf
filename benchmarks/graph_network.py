"""Does a graph neural network beat the chain of kernels? Both on held-out blocks.

Label attention mixes the species lists of a survey's neighbours by learned weights. Masked labels
passes vectors of places and of species lists over two layers, with the lists of whole blocks hidden
while it trains. Both begin at the regional frequency, or at the chain's own probabilities. Chain
predictions of each fold are kept in ``--out``, so that a second run is short.
"""

import argparse
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import logit
from tqdm import tqdm

from benchmarks.graph_network_model import LEAST
from benchmarks.graph_network_training import (
    ATTENTION,
    MASKED,
    Options,
    Prior,
    label_attention,
    masked_labels,
)
from tighnari_graph.bootstrap import block_interval
from tighnari_graph.files import written_whole
from tighnari_graph.folder import DataFolder
from tighnari_graph.multiscale import MultiScale
from tighnari_graph.readers import read_glc24_pa
from tighnari_graph.scale_rows import ScaleRows
from tighnari_graph.shares import FrequencyPrior
from tighnari_graph.splits import block_folds, block_ids, some_blocks
from tighnari_graph.surveys import SurveyTable
from tighnari_models.comparison import compare_all
from tighnari_models.evaluation import evaluate_predictions

CHAIN, REGION = "chain", "regional frequency"
_PARTS = ("data", "indices", "indptr")  # of a CSR matrix


def regional(train: SurveyTable, target: SurveyTable, parts: int = 10) -> Prior:
    """Frequencies of region and country; those of training surveys are of other blocks."""
    begin = time.perf_counter()
    near = np.empty(train.known_labels().shape, dtype=np.float32)
    parts = min(parts, len(np.unique(block_ids(train.lat, train.lon))))
    part = block_folds(train, parts)
    for number in range(parts):
        rows = part == number
        near[rows] = FrequencyPrior.fit(train.subset(~rows), train.subset(rows)).rows(slice(None))
    far = FrequencyPrior.fit(train, target).rows(slice(None))
    return Prior(near, far, time.perf_counter() - begin)


def chained(train: SurveyTable, target: SurveyTable) -> tuple[ScaleRows, ScaleRows, float]:
    """The chain's probabilities of training surveys (own block unseen) and others, and seconds."""
    begin = time.perf_counter()
    model = MultiScale.fit(train)
    near, far = model.predict_training(train), model.predict(target)
    return near, far, time.perf_counter() - begin


def spread(rows: ScaleRows) -> np.ndarray:
    """Dense probabilities: what a row does not list shares its remainder."""
    dense = rows.probabilities.toarray()
    listed = np.diff(rows.probabilities.indptr)
    rest = rows.remainder / np.maximum(dense.shape[1] - listed, 1)
    return np.where(dense > 0, dense, rest[:, None]).astype(np.float32)


Network: TypeAlias = Callable[[SurveyTable, SurveyTable, Prior, Options], np.ndarray]
NETWORKS: dict[str, tuple[Network, Options]] = {
    "label attention": (label_attention, ATTENTION),
    "masked labels": (masked_labels, MASKED),
}


def compare(
    surveys: SurveyTable,
    folds: np.ndarray,
    out: Path,
    networks: Mapping[str, tuple[Network, Options]] = NETWORKS,
) -> pd.DataFrame:
    r"""A row per way, beside the chain: samples-F1, difference with its interval, seconds.

    Args:
        surveys: labelled surveys.
        folds: fold in which each is held out, :math:`(N,)`.
        out: where predictions of each fold are kept; to be emptied when a network changes.
        networks: name → how it is trained and with what.
    """
    begins = {CHAIN: _chain, REGION: _region}
    shape = surveys.known_labels().shape
    names = [*begins, *(f"{one}, from the {by}" for by in reversed(begins) for one in networks)]
    found = {name: np.empty(shape, dtype=np.float32) for name in names}
    seconds = dict.fromkeys(names, 0.0)
    for number in tqdm(np.unique(folds), "folds", disable=None, leave=False):
        held_out = folds == number
        train = surveys.subset(~held_out)
        target = replace(surveys.subset(held_out), labels=None)
        for by, begin in begins.items():
            prior = begin(train, target, out)
            found[by][held_out] = prior.target
            seconds[by] += prior.seconds
            for one, (network, options) in networks.items():
                name = f"{one}, from the {by}"
                path = out / f"{_mark(train, target, name, str(options))}.npz"
                if not path.exists():
                    begun = time.perf_counter()
                    p = network(train, target, prior, options)
                    spent = np.array(prior.seconds + time.perf_counter() - begun)
                    _keep(path, {"p": p, "seconds": spent})
                with np.load(path) as kept:
                    found[name][held_out] = kept["p"]
                    seconds[name] += float(kept["seconds"])
    labels = surveys.known_labels()
    table = compare_all(
        [
            evaluate_predictions(p, surveys, folds, name=name, seconds=seconds[name])
            for name, p in found.items()
        ]
    )
    blocks = block_ids(surveys.lat, surveys.lon)
    losses = {name: cross_entropy(p, labels) for name, p in found.items()}
    table["cross-entropy"] = [loss.mean() for loss in losses.values()]
    apart = [block_interval(loss - losses[CHAIN], blocks) for loss in losses.values()]
    table["cross-entropy difference from"], table["cross-entropy difference to"] = zip(
        *apart, strict=True
    )
    return table.drop(columns="random folds")


def cross_entropy(p: np.ndarray, labels: sparse.csr_matrix) -> np.ndarray:
    r"""Binary cross-entropy of each survey, summed over species, :math:`(N,)`."""
    p = p.clip(LEAST, 1 - LEAST)
    present = np.asarray(labels.multiply(logit(p)).sum(axis=1), dtype=np.float64).ravel()
    return -np.log1p(-p, dtype=np.float64).sum(axis=1) - present


def _region(train: SurveyTable, target: SurveyTable, out: Path) -> Prior:
    return regional(train, target)


def _chain(train: SurveyTable, target: SurveyTable, out: Path) -> Prior:
    """The chain's predictions, from ``out`` if they were made of the same surveys before."""
    path = out / f"{_mark(train, target, CHAIN)}.npz"
    if not path.exists():
        near, far, seconds = chained(train, target)
        arrays = {"seconds": np.array(seconds)}
        for name, rows in (("train", near), ("target", far)):
            parts = {part: getattr(rows.probabilities, part) for part in _PARTS}
            parts["remainder"] = rows.remainder
            arrays |= {f"{name} {key}": part for key, part in parts.items()}
        _keep(path, arrays)
    with np.load(path) as kept:
        dense = []
        for name, table in (("train", train), ("target", target)):
            shape = (len(table), len(train.species_ids))
            matrix = sparse.csr_matrix(
                tuple(kept[f"{name} {part}"] for part in _PARTS), shape=shape
            )
            rows = ScaleRows(matrix, kept[f"{name} remainder"])
            dense.append(spread(rows))
        return Prior(dense[0], dense[1], float(kept["seconds"]))


def _mark(train: SurveyTable, target: SurveyTable, *what: str) -> str:
    """Name of a file, another one for other surveys, labels or options."""
    labels = train.known_labels()
    parts = (train.survey_id, target.survey_id, labels.indptr, labels.indices)
    text = " ".join(what).encode()
    return hashlib.sha256(b"".join([text, *(part.tobytes() for part in parts)])).hexdigest()[:20]


def _keep(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with written_whole(path) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def main() -> None:
    """Print the table and write it to ``--out``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a GeoLifeCLEF 2024 folder")
    parser.add_argument("--out", type=Path, default=Path("out/graph_network"))
    parser.add_argument("--folds", type=int, default=6, help="block folds held out in turn")
    parser.add_argument("--seed", type=int, default=0, help="of the folds")
    parser.add_argument("--limit", type=int, help="use this many surveys, of whole blocks")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    given = parser.parse_args()
    surveys = read_glc24_pa(DataFolder.find(given.data).pa)
    surveys = some_blocks(surveys, given.limit or len(surveys))
    folds = block_folds(surveys, given.folds, seed=given.seed)
    table = compare(surveys, folds, given.out, {name: NETWORKS[name] for name in given.networks})
    with written_whole(given.out / "graph_network.csv") as part:
        table.to_csv(part)
    print(
        f"{len(surveys):,} surveys, {given.folds} block folds (seed {given.seed}); "
        f"differences from the {CHAIN} with 95 % interval\n\n{table.round(4).T.to_string()}"
    )


if __name__ == "__main__":
    main()
