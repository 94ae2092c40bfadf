"""`GFVConv`: what an edge means, and the fast path that does the same at once."""

import importlib.util

import numpy as np
import pytest
import torch
from scipy import sparse
from torch_geometric.utils import scatter, segment

from benchmarks.inputs import survey_table
from tighnari_graph import GFVConv, GFVScaler, SurveyGraph, graph_feature_vectors
from tighnari_graph.sparse import torch_csr


def small(seed: int = 0, num_src: int = 11, num_dst: int = 7, num_edges: int = 29) -> tuple:
    """A random bipartite graph, unsorted, with an isolated target, and 5 species."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(num_src, (num_edges,), generator=generator)
    target = torch.randint(num_dst - 1, (num_edges,), generator=generator)
    weight = torch.rand(num_edges, generator=generator) * 10
    y = (torch.rand(num_src, 5, generator=generator) < 0.4).float()
    return y, torch.stack([source, target]), weight, (num_src, num_dst)


@pytest.mark.parametrize("degree", ["count", "weight"])
@pytest.mark.parametrize("weighted", [True, False])
def test_message_and_the_fused_path_and_sparse_labels_agree(degree, weighted):
    y, edge_index, weight, size = small()
    weight = weight if weighted else None
    fused = GFVConv(degree)(y, edge_index, weight, size=size)
    slow = GFVConv(degree)
    slow.fuse = False
    torch.testing.assert_close(slow(y, edge_index, weight, size=size), fused)
    thin = GFVConv(degree)(y.to_sparse_csr(), edge_index, weight, size=size)
    assert thin.layout == torch.sparse_csr
    torch.testing.assert_close(thin.to_dense(), fused)
    assert torch.equal(fused[-1], torch.zeros(5))  # the isolate


def test_weights_can_be_learned_through_the_layer():
    y, edge_index, weight, size = small()
    weight.requires_grad_()
    GFVConv()(y, edge_index, weight, size=size).sum().backward()
    assert weight.grad is not None
    assert (weight.grad > 0).any()
    with pytest.raises(ValueError, match="need dense labels"):
        GFVConv()(y.to_sparse_csr(), edge_index, weight, size=size)


def test_boolean_labels_and_a_pair_of_labels_are_taken():
    y, edge_index, weight, size = small()
    expected = GFVConv()(y, edge_index, weight, size=size)
    torch.testing.assert_close(GFVConv()(y.bool(), edge_index, weight, size=size), expected)
    pair = (y, torch.zeros(7, 5))
    torch.testing.assert_close(GFVConv()(pair, edge_index, weight), expected)
    torch.testing.assert_close(GFVConv()((y, None), edge_index, weight, size=size), expected)


def test_shapes_that_do_not_fit_are_refused():
    y, edge_index, weight, size = small()
    with pytest.raises(ValueError, match="28 edge weights for 29 edges"):
        GFVConv()(y, edge_index, weight[1:].clone(), size=size)
    with pytest.raises(ValueError, match="size says 12 sources, y has 11 rows"):
        GFVConv()(y, edge_index, weight, size=(12, 7))
    with pytest.raises(ValueError, match="1 edges have a source outside the 11 there are"):
        GFVConv()(y, torch.tensor([[11, 0], [0, 0]]), size=size)
    with pytest.raises(ValueError, match="2 edges have a target outside the 7 there are"):
        GFVConv()(y.to_sparse_csr(), torch.tensor([[1, 0], [7, -1]]), size=size)
    with pytest.raises(ValueError, match="give size="):
        GFVConv()((y, None), edge_index, weight)
    with pytest.raises(ValueError, match="degree must be one of count, weight"):
        GFVConv(degree="mean")


def test_edges_of_no_weight_give_zeros_and_no_division_by_zero():
    y = torch.ones(2, 1)
    edge_index = torch.tensor([[0, 1], [1, 0]])
    assert torch.equal(GFVConv("weight")(y, edge_index, torch.zeros(2)), torch.zeros(2, 1))


def test_scaler_by_hand():
    features = torch_csr(sparse.csr_matrix([[3.0, 4.0], [0.0, 0.0], [0.0, 8.0]]))
    largest = GFVScaler("max").fit(features, rows=torch.tensor([True, True, False]))
    assert largest.scale == 4.0
    assert largest.transform(features).to_dense().tolist() == [[0.75, 1.0], [0, 0], [0, 2.0]]
    unit = GFVScaler("l2").fit(features).transform(features).to_dense()
    torch.testing.assert_close(unit, torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.0, 1.0]]))
    assert (
        GFVScaler(None).fit(features).transform(features).to_dense().tolist()
        == features.to_dense().tolist()
    )
    with pytest.raises(ValueError, match="normalize must be"):
        GFVScaler("sum")


@pytest.mark.parametrize("visible", [np.ones(3, bool), np.ones(60, int), torch.ones(60)])
def test_a_mask_that_is_none_is_refused(visible):
    graph = SurveyGraph.from_surveys(survey_table(60, num_species=5))
    with pytest.raises(ValueError, match="visible must be a bool mask of the 60 surveys"):
        graph_feature_vectors(graph, visible=visible)


def test_test_nodes_are_asked_only_of_attached_graphs():
    graph = SurveyGraph.from_surveys(survey_table(60, num_species=5))
    with pytest.raises(ValueError, match=r"target 'test' is not in this graph.*graph.attach"):
        graph_feature_vectors(graph, target="test")
    with pytest.raises(ValueError, match="target 'po' is not in this graph, which has survey"):
        graph_feature_vectors(graph, target="po")


def test_features_are_the_same_in_blocks_and_threads_as_in_one_product():
    graph = SurveyGraph.from_surveys(survey_table(3000, num_species=211))
    assert graph.num_edges > 1 << 16  # so that blocks are used
    source, target = graph.edge_index.numpy()
    near = sparse.csr_matrix((graph.edge_weight.numpy(), (target, source)), shape=(3000, 3000))
    degree = np.maximum(np.bincount(target, minlength=3000), 1)
    expected = (near @ graph.y.to_dense().numpy()) / np.sqrt(degree)[:, None]
    features = graph_feature_vectors(graph, normalize=None).to_dense().numpy()
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(
    importlib.util.find_spec("torch_scatter") is None,
    reason="torch-scatter is not installed: pip install -e '.[scatter]'",
)
def test_torch_scatter_changes_no_sum():
    """`torch_geometric.utils` reaches torch-scatter where it is installed; results must agree."""
    import torch_geometric.typing

    values, place = torch.rand(1000), torch.randint(17, (1000,)).sort().values
    pointer = torch.searchsorted(place, torch.arange(18))
    results = []
    for installed in (True, False):
        torch_geometric.typing.WITH_TORCH_SCATTER = installed
        y, edge_index, weight, size = small()
        results.append(
            (
                scatter(values, place, dim_size=17, reduce="sum"),
                segment(values, pointer, reduce="sum"),
                GFVConv("weight")(y, edge_index, weight, size=size),
            )
        )
    torch_geometric.typing.WITH_TORCH_SCATTER = True
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_features_of_the_cpu():
    graph = SurveyGraph.from_surveys(survey_table(3000, num_species=211))
    expected = graph_feature_vectors(graph).to_dense()
    there = graph_feature_vectors(graph.clone().to("cuda"))
    torch.testing.assert_close(there.cpu().to_dense(), expected, rtol=1e-4, atol=1e-5)
