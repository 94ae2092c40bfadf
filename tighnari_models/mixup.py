"""Mixup: two surveys of a batch blended in every input and in their labels."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tighnari_graph.sparse import csr_rows
from tighnari_models.data.batch import SurveyBatch

_INPUTS = ("image", "landsat", "bioclim", "table", "scales_rest", "y")


def mixup(batch: SurveyBatch, lam: float, permutation: Int[Tensor, " b"]) -> SurveyBatch:
    r"""Every survey blended with another of its batch, one :math:`\lambda` for all.

    .. math:: x_{mix} = \lambda x + (1 - \lambda) \tilde x, \quad
              L_{mix} = \lambda L + (1 - \lambda) \tilde L

    Images, cubes, table, graph features, multi-scale rows and labels are all blended with the same
    partner. Sparse rows stay sparse; a neighbourhood is turned into graph features first. A species
    that is among the best of one of the two only counts as 0 for the other, whose remainder is
    blended whole. The blended survey keeps the id of the first of the two, and a file counts as
    found where both had it.

    Args:
        batch: surveys, with or without labels.
        lam: share of the survey itself; the rest is its partner's.
        permutation: position of each survey's partner.

    Shapes:
        - **permutation:** :math:`(B,)` int64, on the device of the batch

    Raises:
        ValueError: if ``lam`` is outside [0, 1] or there is not one partner a survey.

    Source: Liu et al. 2024, section 3.6, equation 9.

    Example:
        >>> batch = SurveyBatch(torch.tensor([7, 9]), table=torch.tensor([[0.0], [4.0]]))
        >>> mixup(batch, 0.75, torch.tensor([1, 0])).table
        tensor([[1.],
                [3.]])
    """
    if not 0 <= lam <= 1:
        raise ValueError(f"lam must be from 0 to 1, got {lam}")
    if len(permutation) != len(batch):
        raise ValueError(f"{len(permutation)} partners for {len(batch)} surveys")
    changed: dict[str, Tensor | None] = {}
    for name in _INPUTS:
        value = getattr(batch, name)
        if value is not None:
            changed[name] = lam * value + (1 - lam) * value[permutation]
    if "gfv" in batch.modalities:
        changed["gfv"] = mix_rows(batch.graph_rows(), lam, permutation)
        changed["neighborhood"] = None
    if batch.scales is not None:
        changed["scales"] = mix_rows(batch.scales, lam, permutation)
    if batch.found is not None:
        changed["found"] = batch.found & batch.found[permutation]
    return replace(batch, **changed)  # type: ignore[arg-type]


def mix_rows(
    rows: Float[Tensor, "b s"], lam: float, permutation: Int[Tensor, " b"]
) -> Float[Tensor, "b s"]:
    r""":math:`\lambda A + (1 - \lambda) A_\pi`, sparse CSR if :math:`A` is: shared columns merge.

    Shapes:
        - **rows, output:** :math:`(B, S)`, sparse CSR or dense
        - **permutation:** :math:`(B,)` int64

    Example:
        >>> rows = torch.tensor([[4.0, 0.0], [8.0, 4.0]])
        >>> mix_rows(rows, 0.5, torch.tensor([1, 0]))
        tensor([[6., 2.],
                [6., 2.]])
    """
    if rows.layout != torch.sparse_csr:
        return lam * rows + (1 - lam) * rows[permutation]
    places, values = [], []
    for part, share in ((rows, lam), (csr_rows(rows, permutation), 1 - lam)):
        crow = part.crow_indices()
        number = torch.arange(len(crow) - 1, device=crow.device)
        row = torch.repeat_interleave(number, crow[1:] - crow[:-1])
        places.append(torch.stack([row, part.col_indices()]))
        values.append(share * part.values())
    both = torch.sparse_coo_tensor(torch.cat(places, dim=1), torch.cat(values), rows.shape)
    return both.coalesce().to_sparse_csr()
