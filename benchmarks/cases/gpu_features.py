"""Graph features on a GPU: all of them, those of a minibatch, and the first layer on them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from benchmarks.case import Case, Limit, Peer
from benchmarks.cases.features import WIDTH, forward_backward, same_features, scipy_product
from benchmarks.cases.gpu_bench import Bench
from benchmarks.cases.gpu_steps import PaperStep
from benchmarks.cases.network import random_rows
from benchmarks.inputs import survey_table
from tighnari_graph import GFVScaler, ScaleRows, SurveyGraph, graph_feature_vectors
from tighnari_models.data.graph_rows import WAYS, GraphRows
from tighnari_models.data.scale_rows import ScaleFeatures
from tighnari_models.encoders.graph import SparseLinear

REPEATED = 20  # times that the layer is run together
CLOSE = 1e-4


def full_cases(bench: Bench) -> Iterator[Case]:
    """Features of all surveys."""
    here = SurveyGraph.from_surveys(survey_table(bench.sizes.surveys, bench.sizes.species))
    there = here.clone().to(bench.device)
    num_nonzero = len(graph_feature_vectors(here, normalize=None).values())
    yield Case(
        "graph feature vectors of all surveys",
        f"{here.num_nodes:,} surveys, {here.num_edges:,} edges, "
        f"{num_nonzero / here.num_nodes:.0f} non-zeros a row",
        partial(graph_feature_vectors, there, normalize=None),
        {
            "ours on the CPU": Peer(partial(graph_feature_vectors, here, normalize=None)),
            "scipy CSR · CSR": Peer(partial(scipy_product, here)),
        },
        Limit("write the features once", bench.speed.write(12 * num_nonzero)),
        f"the features take {12 * num_nonzero / 1e6:,.0f} MB",
        same_features,
    )


def layer_cases(bench: Bench) -> Iterator[Case]:
    """The first layer, forward and backward, several times in a row."""
    sizes = bench.sizes
    rows = random_rows(sizes.batch, sizes.species, sizes.non_zeros).to(bench.device)
    dense = nn.Linear(sizes.species, WIDTH)
    ours = SparseLinear(sizes.species, WIDTH).load_linear(dense).to(bench.device)
    dense = dense.to(bench.device)
    dense_rows = rows.to_dense()
    yield Case(
        "first layer on sparse rows, forward and backward",
        f"{REPEATED} × {sizes.batch} rows of {sizes.non_zeros} non-zeros, "
        f"{sizes.species:,} → {WIDTH}, float32",
        partial(often, REPEATED, forward_backward, ours, rows),
        {
            "dense Linear": Peer(
                partial(often, REPEATED, forward_backward, dense, dense_rows), aim="≥ 3×"
            ),
            "dense Linear, rows made dense": Peer(
                partial(often, REPEATED, made_dense, dense, rows)
            ),
        },
        Limit(
            "write the weight's gradient as often",
            REPEATED * bench.speed.write(4 * sizes.species * WIDTH),
        ),
        check=same_gradients,
    )


def made_dense(layer: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """What a dense layer has to do with sparse rows."""
    return forward_backward(layer, rows.to_dense())


def same_gradients(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> str:
    """What differs between outputs or gradients of the weight, one of which is transposed."""
    pairs = (ours[0], theirs[0]), (ours[1], theirs[1].T)
    far = [float((a - b).abs().max() / b.abs().max()) for a, b in pairs]
    return f"entries differ by {max(far):.2g} of the largest" if max(far) > CLOSE else ""


def rows_cases(bench: Bench) -> Iterator[Case]:
    """Rows of a minibatch, brought to the device, beside a training step."""
    sizes = bench.sizes
    graph = SurveyGraph.from_surveys(survey_table(sizes.surveys, sizes.species))
    rng = np.random.default_rng(0)
    rows = rng.permutation(graph.num_nodes)[: sizes.batch]
    scaler, everyone = GFVScaler(None), np.ones(graph.num_nodes, dtype=bool)
    step = PaperStep(bench)
    step.run(2)
    name = f"{sizes.steps} training steps of the paper preset"
    peer = Peer(partial(step.run, sizes.steps))
    size = f"{sizes.steps} × {len(rows)} of {graph.num_nodes:,} surveys, brought to the device"
    for way in WAYS:
        near = GraphRows(
            graph.y, graph.edge_index, graph.edge_weight, graph.num_nodes, everyone, way
        )
        yield Case(
            f"graph features of a minibatch, {way.replace('_', ' ')}",
            size,
            partial(often, sizes.steps, graph_rows_of, near, rows, scaler, bench.device),
            {name: replace(peer, aim="≥ 50×: 2 % of the step")},
        )
    del near
    scales = random_scales(graph.num_nodes, sizes.species, sizes.best)
    yield Case(
        f"multi-scale rows of a minibatch, the best {sizes.best} species each",
        size,
        partial(often, sizes.steps, scale_rows_of, scales, rows, bench.device),
        {name: replace(peer, aim="≥ 20×: 5 % of the step")},
    )


def often(times: int, work: Callable[..., Any], *given: Any) -> Any:
    """So many times; the last result."""
    for _ in range(times):
        result = work(*given)
    return result


def graph_rows_of(
    near: GraphRows, rows: np.ndarray, scaler: GFVScaler, device: torch.device
) -> Tensor:
    """The features of some surveys, as the model would get them."""
    batch = near.batch(rows, scaler).to(device)
    return batch if isinstance(batch, Tensor) else batch.rows()


def scale_rows_of(
    scales: ScaleFeatures, rows: np.ndarray, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Probabilities and remainders of some surveys."""
    best, rest = scales.batch(rows)
    return best.to(device), rest.to(device)


def random_scales(num: int, num_species: int, best: int) -> ScaleFeatures:
    """Multi-scale rows of noise: each survey has a run of species, ascending."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, num_species - best + 1, num)
    columns = (first[:, None] + np.arange(best)).ravel()
    values = rng.random(num * best, dtype=np.float32)
    indptr = np.arange(0, num * best + 1, best)
    rows = sparse.csr_matrix((values, columns, indptr), (num, num_species))
    return ScaleFeatures(ScaleRows(rows, rng.random(num)), np.arange(num))
