"""Mixup by hand, and its sparse rows against dense arithmetic."""

import numpy as np
import pytest
import torch
from scipy import sparse

from tighnari_graph.sparse import torch_csr
from tighnari_models.augment import turned
from tighnari_models.data.batch import Neighborhood, SurveyBatch
from tighnari_models.mixup import mix_rows, mixup


def rows(num: int = 7, width: int = 13, density: float = 0.3, seed: int = 0) -> torch.Tensor:
    matrix = sparse.random(num, width, density, "csr", np.float32, np.random.default_rng(seed))
    return torch_csr(matrix)


def test_a_batch_of_two_by_hand():
    batch = SurveyBatch(
        torch.tensor([3, 5]),
        image=torch.stack([torch.zeros(4, 2, 2), torch.full((4, 2, 2), 8.0)]),
        landsat=torch.stack([torch.zeros(6, 4, 20), torch.ones(6, 4, 20)]),
        bioclim=torch.stack([torch.ones(4, 18, 12), -torch.ones(4, 18, 12)]),
        table=torch.tensor([[1.0, 2.0], [5.0, 2.0]]),
        gfv=torch_csr(sparse.csr_matrix([[4.0, 0.0, 0.0], [8.0, 0.0, 4.0]])),
        y=torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]),
        found=torch.tensor([[True, True, False], [True, False, False]]),
    )
    mixed = mixup(batch, 0.75, torch.tensor([1, 0]))
    assert mixed.survey_id.tolist() == [3, 5]
    assert mixed.image.flatten(1).unique(dim=1).tolist() == [[2.0], [6.0]]
    assert mixed.landsat.flatten(1).unique(dim=1).tolist() == [[0.25], [0.75]]
    assert mixed.bioclim.flatten(1).unique(dim=1).tolist() == [[0.5], [-0.5]]
    assert mixed.table.tolist() == [[2.0, 2.0], [4.0, 2.0]]
    assert mixed.gfv.layout == torch.sparse_csr
    assert mixed.gfv.to_dense().tolist() == [[5.0, 0.0, 1.0], [7.0, 0.0, 3.0]]
    assert mixed.y.tolist() == [[0.75, 0.0, 1.0], [0.25, 0.0, 1.0]]
    assert mixed.found.tolist() == [[True, False, False], [True, False, False]]
    assert batch.table.tolist() == [[1.0, 2.0], [5.0, 2.0]]  # the batch itself is untouched


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5, 6], [6, 0, 3, 3, 1, 2, 5]])
def test_sparse_rows_equal_dense_arithmetic(lam, order):
    sparse_rows, permutation = rows(), torch.tensor(order)
    dense = sparse_rows.to_dense()
    mixed = mix_rows(sparse_rows, lam, permutation)
    torch.testing.assert_close(
        mixed.to_dense(), lam * dense + (1 - lam) * dense[permutation], rtol=1e-6, atol=0
    )
    torch.testing.assert_close(mix_rows(dense, lam, permutation), mixed.to_dense())
    for row in range(7):  # columns merged: no column twice in a row
        columns = mixed.col_indices()[mixed.crow_indices()[row] : mixed.crow_indices()[row + 1]]
        assert len(columns.unique()) == len(columns)


def test_empty_rows_and_an_empty_batch():
    nothing = rows(density=0.0)
    assert mix_rows(nothing, 0.5, torch.arange(7)).to_dense().sum() == 0
    nobody = mix_rows(rows(num=0), 0.5, torch.arange(0))
    assert nobody.shape == (0, 13)
    assert nobody.layout == torch.sparse_csr


def test_a_neighbourhood_is_mixed_as_its_graph_features():
    near = Neighborhood(
        torch_csr(sparse.csr_matrix([[0.0, 1.0], [1.0, 1.0]])),
        torch.tensor([[0, 1], [0, 1]]), torch.tensor([2.0, 4.0]), num_dst=2, normalize=None,
    )  # fmt: skip
    batch = SurveyBatch(torch.tensor([1, 2]), neighborhood=near)
    mixed = mixup(batch, 0.5, torch.tensor([1, 0]))
    assert mixed.neighborhood is None
    assert mixed.gfv.to_dense().tolist() == [[2.0, 3.0], [2.0, 3.0]]


def test_what_does_not_fit_is_refused():
    batch = SurveyBatch(torch.tensor([1, 2]), table=torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"lam must be from 0 to 1, got 1\.5"):
        mixup(batch, 1.5, torch.tensor([1, 0]))
    with pytest.raises(ValueError, match="3 partners for 2 surveys"):
        mixup(batch, 0.5, torch.tensor([1, 0, 1]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_mixes_as_the_cpu():
    permutation = torch.tensor([6, 0, 3, 3, 1, 2, 5])
    there = mix_rows(rows().to("cuda"), 0.3, permutation.to("cuda"))
    torch.testing.assert_close(
        there.cpu().to_dense(), mix_rows(rows(), 0.3, permutation).to_dense()
    )


def test_an_image_is_turned_in_all_eight_ways_that_a_square_has():
    image = torch.arange(9.0).view(1, 1, 3, 3).expand(8, 2, 3, 3)
    ways = turned(image, torch.arange(8))
    assert torch.equal(ways[0], image[0])
    assert len(ways.flatten(1).unique(dim=0)) == 8
    assert torch.equal(ways[3], image[0].rot90(2, dims=(-2, -1)))
    assert torch.equal(ways[6], image[0].rot90(-1, dims=(-2, -1)))
    wide = torch.arange(6.0).view(1, 1, 2, 3).expand(8, 1, 2, 3)
    assert len(turned(wide, torch.arange(8)).flatten(1).unique(dim=0)) == 4
