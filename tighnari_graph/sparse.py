"""Sparse rows between scipy and torch, which PyG carries."""

import warnings
from typing import TypeAlias

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

# torch says once a process that sparse CSR is in beta; hear it here, where nobody is disturbed.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)
    torch.sparse_csr_tensor([0], [], [], size=(0, 0))

Labels: TypeAlias = Tensor | np.ndarray | sparse.spmatrix | sparse.sparray


def torch_csr(matrix: sparse.sparray | sparse.spmatrix) -> Tensor:
    """A scipy matrix as a torch sparse CSR tensor of float32, columns ascending in every row.

    Example:
        >>> torch_csr(sparse.csr_matrix([[0.0, 2.0]])).to_dense()
        tensor([[0., 2.]])
    """
    matrix = sparse.csr_matrix(matrix)
    matrix.sort_indices()
    return torch.sparse_csr_tensor(
        torch.from_numpy(matrix.indptr.astype(np.int64)),
        torch.from_numpy(matrix.indices.astype(np.int64)),
        torch.from_numpy(matrix.data.astype(np.float32)),
        size=matrix.shape,
    )


def scipy_csr(matrix: Labels) -> sparse.csr_matrix:
    """Any matrix, dense or sparse, torch or numpy, as scipy CSR; shares memory where it can.

    Raises:
        ValueError: if it is not a matrix.

    Example:
        >>> scipy_csr(torch.tensor([[0.0, 2.0]])).toarray()
        array([[0., 2.]], dtype=float32)
    """
    if isinstance(matrix, Tensor):
        if matrix.layout == torch.strided:
            short = matrix.dtype == torch.bfloat16  # unknown to numpy
            matrix = (matrix.float() if short else matrix).numpy(force=True)
        else:
            matrix = (matrix if matrix.layout == torch.sparse_csr else matrix.to_sparse_csr()).cpu()
            parts = (matrix.values(), matrix.col_indices(), matrix.crow_indices())
            arrays = tuple(part.detach().numpy() for part in parts)
            return sparse.csr_matrix(arrays, shape=tuple(matrix.shape))
    if not sparse.issparse(matrix) and np.ndim(matrix) != 2:
        raise ValueError(f"expected a matrix [surveys, species], got shape {np.shape(matrix)}")
    return sparse.csr_matrix(matrix)


def zero_one(matrix: Labels, what: str) -> sparse.csr_matrix:
    """A matrix of 0/1 as scipy CSR of bool, without stored zeros.

    Raises:
        ValueError: if it holds anything else, such as probabilities; ``what`` names it.

    Example:
        >>> zero_one(np.array([[0.3, 1.0]]), "sets")
        Traceback (most recent call last):
        ...
        ValueError: sets must be 0 or 1; 1 entries are not, the first is 0.3
    """
    given = scipy_csr(matrix)
    odd = ~((given.data == 0) | (given.data == 1))
    if odd.any():
        raise ValueError(
            f"{what} must be 0 or 1; {odd.sum()} entries are not, the first is {given.data[odd][0]}"
        )
    found = given.astype(bool)
    found.eliminate_zeros()
    found.sum_duplicates()
    return found


def csr_rows(matrix: Tensor, rows: Tensor) -> Tensor:
    """Rows of a torch sparse CSR tensor, by bool mask or positions; ``matrix[rows]`` calls it.

    Example:
        >>> y = torch_csr(sparse.csr_matrix([[0.0, 2.0], [3.0, 0.0]]))
        >>> csr_rows(y, torch.tensor([1, 1])).to_dense()
        tensor([[3., 0.],
                [3., 0.]])
    """
    if rows.dtype == torch.bool:
        if len(rows) != matrix.size(0):
            raise IndexError(f"a mask of {len(rows)} for {matrix.size(0)} rows")
        rows = rows.nonzero().flatten()
    rows = rows.to(matrix.device)
    crow, col, values = matrix.crow_indices(), matrix.col_indices(), matrix.values()
    count = (crow[1:] - crow[:-1])[rows]
    new_crow = torch.zeros(len(rows) + 1, dtype=crow.dtype, device=crow.device)
    torch.cumsum(count, 0, out=new_crow[1:])
    shift = torch.repeat_interleave(crow[:-1][rows] - new_crow[:-1], count)
    take = torch.arange(len(shift), device=crow.device) + shift
    size = (len(rows), matrix.size(1))
    return torch.sparse_csr_tensor(new_crow, col[take], values[take], size=size)


def _index_select(matrix: Tensor, dim: int, index: Tensor) -> Tensor:
    if dim % 2 != 0:
        raise NotImplementedError("columns of a sparse CSR tensor cannot be selected")
    return csr_rows(matrix, index)


def _index(matrix: Tensor, indices: list[Tensor | None]) -> Tensor:
    if len(indices) != 1 or indices[0] is None or indices[0].dim() != 1:
        raise NotImplementedError("a sparse CSR tensor takes one mask or vector of rows")
    return csr_rows(matrix, indices[0])


def _teach_torch_rows() -> torch.library.Library:
    """Give torch the row access that its CSR tensors lack: ``y[mask]``, ``y[rows]``, index_select.

    PyG's subgraphs and transforms, and people, take rows that way. A kernel that torch itself has
    one day is left alone.
    """
    library = torch.library.Library("aten", "IMPL")
    for key in ("SparseCsrCPU", "SparseCsrCUDA"):
        for name, kernel in (("index_select", _index_select), ("index.Tensor", _index)):
            if not torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{name}", key):
                library.impl(name, kernel, key)
    return library


_KERNELS = _teach_torch_rows()  # kept: torch forgets the kernels with the library
