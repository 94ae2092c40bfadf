"""What `attach` returns as one PyG `Data`, and back."""

from dataclasses import dataclass, field
from typing import Any

import torch
from scipy import sparse
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from tighnari_graph.conversions import EdgeType
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.sparse import csr_rows, scipy_csr, torch_csr
from tighnari_graph.spec import GraphSpec


@dataclass(frozen=True, eq=False)
class HomogeneousSpec:
    """What `from_homogeneous` needs beside the tensors.

    Attributes:
        node_types, edge_types: names, in the order of the numbers in ``node_type``, ``edge_type``.
        present: for each node type or edge type the attributes that it has.
        others: what is no tensor with a row per node or edge, as ``out_of_reach``.
        graph: how the survey graph was built; None if the hetero graph does not say.
    """

    node_types: tuple[str, ...]
    edge_types: tuple[EdgeType, ...]
    present: dict[str | EdgeType, tuple[str, ...]]
    others: dict[str | EdgeType, dict[str, Any]] = field(default_factory=dict)
    graph: GraphSpec | None = None

    def __repr__(self) -> str:
        return f"HomogeneousSpec({', '.join(self.node_types)}; {len(self.edge_types)} edge types)"


def to_homogeneous(hetero: HeteroData) -> Data:
    """All node types in one list and all edge types in another, with the number of their type.

    PyG's own ``hetero.to_homogeneous()`` cannot do it, because torch cannot join sparse CSR tensors
    and types differ in their attributes. Where a type lacks one, it gets −1 in codes (as for a
    missing value), False in masks, 0 in numbers, and empty rows in ``y``. A test node's
    empty row means unknown, not nothing found.

    Shapes:
        - **node_type:** :math:`(M,)` int64, position in ``data.spec.node_types``
        - **edge_type:** :math:`(E,)` int64, position in ``data.spec.edge_types``
        - **survey_id, pos, year, region_code, y, …:** :math:`(M, …)`, types one after the other
        - **edge_index, edge_distance_km, edge_weight:** types one after the other

    Units: as in the hetero graph.

    Raises:
        SurveyDataError: if types differ in the dtype or width of an attribute, or nodes and edges
            have one of the same name.

    Example:
        >>> import pandas as pd
        >>> from tighnari_graph import SurveyGraph, SurveyTable
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 3], "lat": [45.0, 45.05, 45.02], "lon": 7.0,
        ...     "year": 2020, "speciesId": [5, 9, None]})
        >>> graph = SurveyGraph.from_surveys(SurveyTable.from_long(rows[:2]))
        >>> data = to_homogeneous(graph.attach(test=SurveyTable.from_long(rows[2:])))
        >>> data.survey_id, data.node_type
        (tensor([1, 2, 3]), tensor([0, 0, 1]))
    """
    node_types, edge_types = list(hetero.node_types), list(hetero.edge_types)
    counts = {name: int(hetero[name].num_nodes or 0) for name in node_types}
    begin = dict(zip(node_types, _begins(list(counts.values())), strict=True))
    data = Data()
    data.num_nodes = sum(counts.values())
    device = hetero[node_types[0]].survey_id.device
    data.node_type = _type_numbers(list(counts.values())).to(device)
    numbers = {edge_type: hetero[edge_type].edge_index.size(1) for edge_type in edge_types}
    data.edge_type = _type_numbers(list(numbers.values())).to(device)
    shifted = [
        hetero[kind].edge_index + torch.tensor([[begin[kind[0]]], [begin[kind[2]]]], device=device)
        for kind in edge_types
    ]
    data.edge_index = torch.cat(shifted, dim=1)
    present: dict[Any, tuple[str, ...]] = {}
    others: dict[Any, dict[str, Any]] = {}
    for rows in (counts, numbers):
        for kind, num in rows.items():
            store = hetero[kind]
            keys = [k for k in store if k not in ("edge_index", "num_nodes")]
            present[kind] = tuple(k for k in keys if _has_rows(store[k], num))
            others[kind] = {k: store[k] for k in keys if k not in present[kind]}
        for key in dict.fromkeys(key for kind in rows for key in present[kind]):
            parts = {k: hetero[k][key] if key in present[k] else None for k in rows}
            if key in data:
                raise SurveyDataError(f"to_homogeneous: nodes and edges both have a {key!r}")
            data[key] = _joined(key, parts, rows)
    data.spec = HomogeneousSpec(
        tuple(node_types), tuple(edge_types), present, others, hetero.get("spec")
    )
    return data


def _begins(counts: list[int]) -> list[int]:
    return [sum(counts[:position]) for position in range(len(counts))]


def _type_numbers(counts: list[int]) -> Tensor:
    return torch.repeat_interleave(
        torch.arange(len(counts)), torch.tensor(counts, dtype=torch.int64)
    )


def _has_rows(value: Any, num: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and value.size(0) == num


def _joined(key: str, parts: dict[Any, Tensor | None], rows: dict[Any, int]) -> Tensor:
    """One tensor of all types; a type without it gets rows that say nothing."""
    first = next(part for part in parts.values() if part is not None)
    for kind, part in parts.items():
        if part is not None and (part.dtype, part.layout, part.shape[1:]) != (
            first.dtype, first.layout, first.shape[1:],
        ):  # fmt: skip
            raise SurveyDataError(
                f"to_homogeneous: {key} of {kind} is {part.dtype} {tuple(part.shape[1:])} per row, "
                f"others are {first.dtype} {tuple(first.shape[1:])}"
            )
    if first.layout == torch.sparse_csr:
        width = first.size(1)
        matrices = [
            sparse.csr_matrix((rows[kind], width), dtype="float32")
            if part is None
            else scipy_csr(part)
            for kind, part in parts.items()
        ]
        return torch_csr(sparse.vstack(matrices, format="csr")).to(first.device)
    empty = -1 if key.endswith("_code") else 0
    filled = [
        first.new_full((rows[kind], *first.shape[1:]), empty) if part is None else part
        for kind, part in parts.items()
    ]
    return torch.cat(filled)


def from_homogeneous(data: Data) -> HeteroData:
    """The hetero graph back from `to_homogeneous`, bit by bit; attributes added since come along.

    Nodes and edges may have been left out or put in another order since, as ``data.subgraph`` does.

    Raises:
        SurveyDataError: if ``data`` is not from `to_homogeneous`, or edges join other types of
            nodes than their own type says.

    Example:
        >>> import pandas as pd
        >>> from tighnari_graph import SurveyGraph, SurveyTable
        >>> rows = pd.DataFrame({"surveyId": [1, 2], "lat": 45.0, "lon": 7.0, "year": 2020})
        >>> hetero = SurveyGraph.from_surveys(SurveyTable.from_long(rows)).attach()
        >>> from_homogeneous(to_homogeneous(hetero))["survey"].survey_id
        tensor([1, 2])
    """
    spec = data.get("spec")
    if not isinstance(spec, HomogeneousSpec):
        raise SurveyDataError("from_homogeneous: this Data has no spec that to_homogeneous wrote")
    hetero = HeteroData()
    position = torch.zeros_like(data.node_type)
    for number, name in enumerate(spec.node_types):
        mine = (data.node_type == number).nonzero().flatten()
        position[mine] = torch.arange(len(mine), device=mine.device)
        _fill(hetero[name], data, mine, spec, name)
    for number, kind in enumerate(spec.edge_types):
        mine = (data.edge_type == number).nonzero().flatten()
        ends = data.edge_index[:, mine]
        of_source, of_target = (spec.node_types.index(kind[side]) for side in (0, 2))
        types = data.node_type[ends]
        wrong = (types[0] != of_source) | (types[1] != of_target)
        if wrong.any():
            raise SurveyDataError(
                f"from_homogeneous: {int(wrong.sum())} edges of type {kind} join nodes of others"
            )
        hetero[kind].edge_index = position[ends]
        _fill(hetero[kind], data, mine, spec, kind)
    if spec.graph is not None:
        hetero.spec = spec.graph
    return hetero


def _fill(store: Any, data: Data, rows: Tensor, spec: HomogeneousSpec, kind: Any) -> None:
    """The attributes of one type: those that it had, and those that are new since."""
    known = {key for keys in spec.present.values() for key in keys}
    known |= {"node_type", "edge_type", "edge_index", "spec", "num_nodes"}
    belongs = data.is_edge_attr if isinstance(kind, tuple) else data.is_node_attr
    added = [key for key in data.keys() if key not in known and belongs(key)]  # noqa: SIM118
    for key in (*spec.present[kind], *added):
        value = data[key]
        store[key] = csr_rows(value, rows) if value.layout == torch.sparse_csr else value[rows]
    for key, value in spec.others.get(kind, {}).items():
        store[key] = value
