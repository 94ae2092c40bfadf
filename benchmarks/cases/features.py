"""Graph feature vectors: all at once, of a minibatch, and the first layer that takes them."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from benchmarks.case import Case, Limit, Peer
from benchmarks.cases.network import (
    BATCH,
    FEW_SPECIES,
    NON_ZEROS,
    NUM_SPECIES,
    random_rows,
    training_step_of_64,
)
from benchmarks.inputs import survey_table
from benchmarks.machine import Speed
from tighnari_graph import GFVScaler, SurveyGraph, graph_feature_vectors
from tighnari_graph.sparse import scipy_csr
from tighnari_models.data.graph_rows import WAYS, GraphRows
from tighnari_models.encoders.graph import SparseLinear

SURVEYS, WIDTH = 88_987, 512
SMALL = 500
MESSAGES = 250_000_000  # bytes that the generic path may hold
STORED = 4_096  # rows of the dense store
CLOSE = 1e-4


def cases(small: bool, speed: Speed) -> Iterator[Case]:
    """The full matrix, a minibatch of it, the first layer."""
    sizes = (SMALL, FEW_SPECIES) if small else (SURVEYS, NUM_SPECIES)
    graph = SurveyGraph.from_surveys(survey_table(*sizes))
    yield full_case(graph, speed)
    step = training_step_of_64(small)
    yield from minibatch_cases(graph, step, speed)
    del graph
    yield layer_case(speed)


def full_case(graph: SurveyGraph, speed: Speed) -> Case:
    """Features of all surveys."""
    num_nonzero = len(graph_feature_vectors(graph, normalize=None).values())
    few = min(graph.num_edges, MESSAGES // (4 * graph.y.size(1)))
    targets = int(graph.edge_index[1, few - 1])  # the last may lack edges: it is left out
    edges = int(torch.searchsorted(graph.edge_index[1], torch.tensor(targets)))
    return Case(
        "graph feature vectors of all surveys",
        f"{graph.num_nodes:,} surveys, {graph.num_edges:,} edges, "
        f"{num_nonzero / graph.num_nodes:.0f} non-zeros a row",
        partial(graph_feature_vectors, graph, normalize=None),
        {
            "scipy CSR · CSR": Peer(partial(scipy_product, graph), aim="≥ 4× on 2 cores"),
            "torch CSR · CSR": Peer(partial(torch_product, graph)),
            "PyG's generic message path": Peer(
                partial(message_path, graph, targets, edges), edges / graph.num_edges, same_first
            ),
        },
        Limit("write the features once", speed.write(12 * num_nonzero)),
        check=same_features,
    )


def minibatch_cases(graph: SurveyGraph, step: Peer, speed: Speed) -> Iterator[Case]:
    """Rows of 64 surveys, both ways."""
    rng = np.random.default_rng(0)
    rows = rng.permutation(graph.num_nodes)[:BATCH]
    scaler, everyone = GFVScaler(None), np.ones(graph.num_nodes, dtype=bool)
    full = graph_feature_vectors(graph, normalize=None)
    wanted = scipy_csr(full)[rows]
    # As many rows as fit; the rows asked for among them, spread at random.
    store = torch.zeros(min(STORED, graph.num_nodes), graph.y.size(1))
    places = torch.from_numpy(rng.permutation(len(store))[: len(rows)])
    store[places] = torch.from_numpy(wanted.toarray())
    fewer = "" if len(store) == graph.num_nodes else f" ({len(store):,} rows of it)"
    for way in WAYS:
        near = GraphRows(
            graph.y, graph.edge_index, graph.edge_weight, graph.num_nodes, everyone, way
        )
        yield Case(
            f"graph features of a minibatch, {way.replace('_', ' ')}",
            f"{len(rows)} of {graph.num_nodes:,} surveys",
            partial(rows_of, near, rows, scaler),
            {
                "training step of the paper preset, 64 surveys, CPU": Peer(
                    step.run, step.share, aim="≥ 50×: 2 % of the step"
                ),
                f"dense row store{fewer}": Peer(lambda: store[places], check=same_dense),
            },
            Limit("read the entries once", speed.read(12 * wanted.nnz)),
        )


def rows_of(near: GraphRows, rows: np.ndarray, scaler: GFVScaler) -> Tensor:
    """The features of some surveys, as the model would get them."""
    batch = near.batch(rows, scaler)
    return batch if isinstance(batch, Tensor) else batch.rows()


def layer_case(speed: Speed) -> Case:
    """The first layer on graph features, forward and backward."""
    rows = random_rows(BATCH, NUM_SPECIES)
    dense_rows = rows.to_dense()
    dense = nn.Linear(NUM_SPECIES, WIDTH)
    ours = SparseLinear(NUM_SPECIES, WIDTH).load_linear(dense)
    return Case(
        "first layer on sparse rows, forward and backward",
        f"{BATCH} rows of {NON_ZEROS} non-zeros, {NUM_SPECIES:,} → {WIDTH}",
        partial(forward_backward, ours, rows),
        {"dense Linear": Peer(partial(forward_backward, dense, dense_rows), aim="≥ 10×")},
        Limit("write the weight's gradient once", speed.write(4 * NUM_SPECIES * WIDTH)),
        check=same_gradients,
    )


def forward_backward(layer: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Output, and the gradient of its squared sum."""
    layer.zero_grad()
    output = layer(rows)
    output.square().sum().backward()
    return output.detach(), layer.weight.grad


def scipy_product(graph: SurveyGraph) -> sparse.csr_matrix:
    """One CSR · CSR product on one core, then the root of the degree."""
    pointer, source, weight = adjacency(graph)
    shape = (graph.num_nodes, graph.num_nodes)
    near = sparse.csr_matrix((weight.numpy(), source.numpy(), pointer.numpy()), shape=shape)
    scale = sparse.diags_array(root_of_degree(pointer).numpy())
    return sparse.csr_matrix(scale @ (near @ scipy_csr(graph.y)))


def torch_product(graph: SurveyGraph) -> Tensor:
    """The same by torch."""
    pointer, source, weight = adjacency(graph)
    weight = weight * root_of_degree(pointer).repeat_interleave(pointer.diff())
    size = (graph.num_nodes, graph.num_nodes)
    return torch.sparse_csr_tensor(pointer, source, weight, size=size) @ graph.y


class Messages(MessagePassing):
    """The layer as PyG's page on creating layers would have it: a message on every edge."""

    def __init__(self) -> None:
        super().__init__(aggr="sum")

    def forward(self, y: Tensor, edge_index: Tensor, weight: Tensor, num: int) -> Tensor:
        """Dense labels in, dense features out."""
        return self.propagate(edge_index, y=y, weight=weight, size=(len(y), num))

    def message(self, y_j: Tensor, weight: Tensor) -> Tensor:
        """What a neighbour adds."""
        return weight[:, None] * y_j


def message_path(graph: SurveyGraph, targets: int, edges: int) -> Tensor:
    """Features of the first surveys, whose labels alone are made dense."""
    edge_index, weight = graph.edge_index[:, :edges], graph.edge_weight[:edges]
    kept, source = edge_index[0].unique(return_inverse=True)
    dense = graph.y.index_select(0, kept).to_dense()
    summed = Messages()(dense, torch.stack([source, edge_index[1]]), weight, targets)
    degree = torch.bincount(edge_index[1], minlength=targets)
    return summed / degree.clamp(min=1).sqrt()[:, None]


def adjacency(graph: SurveyGraph) -> tuple[Tensor, Tensor, Tensor]:
    """Row pointers, sources and weights of the edges, which are sorted by target."""
    source, target = graph.edge_index
    pointer = torch.searchsorted(target.contiguous(), torch.arange(graph.num_nodes + 1))
    return pointer, source.contiguous(), graph.edge_weight


def root_of_degree(pointer: Tensor) -> Tensor:
    """One over the root of the number of neighbours; 1 without any."""
    return pointer.diff().clamp(min=1).float().rsqrt()


def same_features(ours: Tensor, theirs: Tensor | sparse.csr_matrix) -> str:
    """What differs: an entry, by more than rounding."""
    away = abs(scipy_csr(ours) - scipy_csr(theirs))
    return _differ(float(away.max()), float(ours.values().max()))


def same_first(ours: Tensor, theirs: Tensor) -> str:
    """The same for the first rows, dense."""
    first = scipy_csr(ours)[: len(theirs)].toarray()
    return _differ(float(np.abs(first - theirs.numpy()).max()), float(ours.values().max()))


def same_dense(ours: Tensor, theirs: Tensor) -> str:
    """The same for rows of which one side is dense."""
    away = (ours.to_dense() - theirs).abs().max()
    return _differ(float(away), float(theirs.max()))


def same_gradients(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> str:
    """What differs between outputs or gradients of the weight, one of which is transposed."""
    pairs = (ours[0], theirs[0]), (ours[1], theirs[1].T)
    told = [_differ(float((a - b).abs().max()), float(b.abs().max())) for a, b in pairs]
    return " and ".join(text for text in told if text)


def _differ(away: float, largest: float) -> str:
    return f"entries differ by {away:.2g}" if away > CLOSE * largest else ""
