"""What a model sees of a few surveys at once: one typed object, checked when it is made."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from tighnari_graph.gfv import GFVConv, GFVScaler
from tighnari_models.data.cubes import CUBE_SHAPES

PAPER_MODALITIES = ("image", "landsat", "bioclim", "table", "gfv")
MODALITIES = (*PAPER_MODALITIES, "scales")
FILES = ("image", "landsat", "bioclim")  # the columns of `SurveyBatch.found`
_SHAPES: dict[str, tuple[int | None, ...]] = {
    "survey_id": (None,),
    "image": (None, 4, None, None),
    **{name: (None, *shape) for name, shape in CUBE_SHAPES.items()},
    "table": (None, None),
    "gfv": (None, None),
    "y": (None, None),
    "found": (None, len(FILES)),
    "scales": (None, None),
    "scales_rest": (None,),
}
_TYPES = {"survey_id": torch.int64, "found": torch.bool}  # all others are fractions


@dataclass(frozen=True, eq=False)
class Neighborhood:
    r"""The neighbours of a batch's surveys with their labels, for `GFVConv` inside the model.

    Attributes:
        y: :math:`(N_{src}, S)` sparse CSR labels of the surveys that are a neighbour of any.
        edge_index: :math:`(2, E)`, row 0 row of ``y``, row 1 row of the batch.
        edge_weight: :math:`(E,)` kilometres.
        num_dst: surveys in the batch.
        degree: "count" or "weight", see `GFVConv`.
        normalize: "max", "l2" or None, see `GFVScaler`.
        scale: what "max" divides by.

    Example:
        >>> from scipy import sparse
        >>> from tighnari_graph.sparse import torch_csr
        >>> near = Neighborhood(torch_csr(sparse.csr_matrix([[0.0, 1.0]])),
        ...     torch.tensor([[0], [1]]), torch.tensor([4.0]), num_dst=2, scale=8.0)
        >>> near.rows().to_dense()
        tensor([[0.0000, 0.0000],
                [0.0000, 0.5000]])
    """

    y: Tensor
    edge_index: Tensor
    edge_weight: Tensor
    num_dst: int
    degree: str = "count"
    normalize: str | None = "max"
    scale: float = 1.0

    def rows(self) -> Tensor:
        r"""Graph feature vectors of the batch, :math:`(B, S)` sparse CSR."""
        size = (self.y.size(0), self.num_dst)
        features = GFVConv(self.degree)(self.y, self.edge_index, self.edge_weight, size=size)
        scaler = GFVScaler(self.normalize)
        scaler.scale = self.scale
        return scaler.transform(features)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Neighborhood":
        """The same on another device."""
        return _each_tensor(self, lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Neighborhood":
        """The same in page-locked memory."""
        return _each_tensor(self, _pinned)


@dataclass(frozen=True, eq=False)
class SurveyBatch:
    r"""Some surveys with all that is known of them; a modality that is not there is None.

    Attributes:
        survey_id: :math:`(B,)` int64.
        image: :math:`(B, 4, H, W)` float, red, green, blue and near-infrared, standardised; of any
            size, since the image encoder brings it to its own.
        landsat: :math:`(B, 6, 4, 20)` float, band × quarter × year, standardised.
        bioclim: :math:`(B, 4, 18, 12)` float, variable × year × month, standardised.
        table: :math:`(B, F)` float, metadata and environment, standardised.
        gfv: :math:`(B, S)` float graph feature vectors, sparse CSR (dense is taken too).
        neighborhood: what ``gfv`` would be made of, in its place.
        y: :math:`(B, S)` float 0/1 labels (between them after mixup).
        found: :math:`(B, 3)` bool, whether the survey's own image, Landsat and bioclim file was
            there; where not, the training mean stands in.
        scales: :math:`(B, S)` float probabilities of the best species of each survey by
            `tighnari_graph.multiscale.MultiScale`, sparse CSR (dense is taken too).
        scales_rest: :math:`(B,)` float, how many of all other species are expected; goes with
            ``scales``.

    Raises:
        TypeError: if a field is no tensor, or of whole numbers where fractions belong.
        ValueError: if shapes do not fit, both ``gfv`` and ``neighborhood`` are given, or only one
            of ``scales`` and ``scales_rest``.

    Example:
        >>> batch = SurveyBatch(torch.tensor([7, 9]), table=torch.zeros(2, 5))
        >>> len(batch), batch.modalities
        (2, ('table',))
        >>> SurveyBatch(torch.tensor([7, 9]), table=torch.zeros(3, 5))
        Traceback (most recent call last):
        ...
        ValueError: table has 3 rows for 2 surveys
    """

    survey_id: Tensor
    image: Tensor | None = None
    landsat: Tensor | None = None
    bioclim: Tensor | None = None
    table: Tensor | None = None
    gfv: Tensor | None = None
    neighborhood: Neighborhood | None = None
    y: Tensor | None = None
    found: Tensor | None = None
    scales: Tensor | None = None
    scales_rest: Tensor | None = None

    def __post_init__(self) -> None:
        for name, shape in _SHAPES.items():
            value = getattr(self, name)
            if value is None and name != "survey_id":
                continue
            if not isinstance(value, Tensor):
                raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
            if value.dim() != len(shape) or any(
                want not in (None, have) for want, have in zip(shape, value.shape, strict=True)
            ):
                wanted = ", ".join("B" if i == 0 else str(n or "·") for i, n in enumerate(shape))
                raise ValueError(f"{name} must be [{wanted}], got {tuple(value.shape)}")
            wanted_type = _TYPES.get(name)
            if wanted_type is not None and value.dtype != wanted_type:
                raise TypeError(f"{name} must be {wanted_type}, got {value.dtype}")
            if wanted_type is None and not value.is_floating_point():
                raise TypeError(f"{name} must be of floating point, got {value.dtype}")
            if value.size(0) != len(self.survey_id):
                raise ValueError(f"{name} has {value.size(0)} rows for {len(self)} surveys")
        if self.neighborhood is not None:
            if self.gfv is not None:
                raise ValueError("give gfv or the neighborhood it is made of, not both")
            if self.neighborhood.num_dst != len(self):
                raise ValueError(
                    f"the neighborhood is of {self.neighborhood.num_dst} surveys, "
                    f"the batch has {len(self)}"
                )
        if (self.scales is None) != (self.scales_rest is None):
            raise ValueError("scales and scales_rest go together, got only one of them")
        wide = {"gfv": self._graph_species(), "scales": self.scales, "y": self.y}
        (first, width), *others = [
            (name, value.size(1)) for name, value in wide.items() if value is not None
        ] or [("y", 0)]
        for name, other in others:
            if other != width:
                raise ValueError(f"{first} has {width} species, {name} has {other}")

    def __len__(self) -> int:
        return self.survey_id.size(0)

    @property
    def num_species(self) -> int | None:
        """Species of the graph features or multi-scale rows, None without either."""
        graph = self._graph_species()
        rows = self.scales if graph is None else graph
        return None if rows is None else rows.size(1)

    def _graph_species(self) -> Tensor | None:
        return self.neighborhood.y if self.neighborhood is not None else self.gfv

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that are there, in the usual order."""
        there = {name for name in MODALITIES if getattr(self, name) is not None}
        if self.neighborhood is not None:
            there.add("gfv")
        return tuple(name for name in MODALITIES if name in there)

    def graph_rows(self) -> Tensor:
        r"""Graph feature vectors :math:`(B, S)`: as given, or made of the neighbourhood.

        Raises:
            ValueError: if the batch has neither.
        """
        if self.neighborhood is not None:
            return self.neighborhood.rows()
        if self.gfv is None:
            raise ValueError("the batch has no graph features: neither gfv nor neighborhood")
        return self.gfv

    def replace(self, **changes: Any) -> "SurveyBatch":
        """A copy with other fields, checked again."""
        return replace(self, **changes)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "SurveyBatch":
        """The same on another device."""
        return _each_tensor(self, lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "SurveyBatch":
        """The same in page-locked memory, from where a GPU copies without waiting."""
        return _each_tensor(self, _pinned)


def _each_tensor(part: Any, change: Any) -> Any:
    changed = {}
    for item in fields(part):
        value = getattr(part, item.name)
        if isinstance(value, Tensor):
            changed[item.name] = change(value)
        elif isinstance(value, Neighborhood):
            changed[item.name] = _each_tensor(value, change)
    return replace(part, **changed)


def _pinned(tensor: Tensor) -> Tensor:
    if tensor.layout != torch.sparse_csr:
        return tensor.pin_memory()
    parts = (tensor.crow_indices(), tensor.col_indices(), tensor.values())
    crow, col, values = (part.pin_memory() for part in parts)
    return torch.sparse_csr_tensor(crow, col, values, size=tensor.shape)
