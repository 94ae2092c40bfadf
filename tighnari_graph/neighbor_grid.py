"""Neighbour search on a grid, in torch: the same code on a CPU and on a GPU.

Every source in the windows of a target is a candidate; the squared chord decides. Candidates are
measured and sorted a bounded number at a time, by ascending target, so that no more memory is
needed than for the edges themselves. Nothing depends on the order in which a device does its work:
the edges are the same at each run and on every device.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from tighnari_graph.neighbor_memory import check_edges_fit
from tighnari_graph.neighbor_reach import Reach
from tighnari_graph.neighbor_windows import Sources, Windows, sources_and_windows

_CHUNK = 1 << 18  # candidates at once on a CPU: stays in the cache
_GPU_CHUNK = 1 << 23  # on a GPU: about a gigabyte


def grid_edges(
    points: Float64[Tensor, "N 3"], group: Int64[Tensor, " N"], reach: Reach
) -> tuple[Int64[Tensor, "2 E"], Float32[Tensor, " E"]]:
    r"""All pairs of the same group within the radius, in both directions, on the points' device.

    Shapes:
        - **points:** :math:`(N, 3)` float64, unit vectors
        - **group:** :math:`(N,)` int64; −1 matches nothing
        - **output:** edge_index :math:`(2, E)` int64, sorted by (target, source), and the
          distances :math:`(E,)` float32, kilometres

    Raises:
        ValueError: if a coordinate is not finite.

    Example:
        >>> points = torch.eye(3, dtype=torch.float64)
        >>> grid_edges(points, torch.tensor([0, 0, 1]), Reach(10_010.0))
        (tensor([[1, 0],
                [0, 1]]), tensor([10007.5576, 10007.5576]))
    """
    sources, windows = sources_and_windows(points, group, points, group, reach.angle, same=True)
    return _edges(sources, points, windows, reach)


def grid_edges_between(
    src: Float64[Tensor, "N 3"],
    src_group: Int64[Tensor, " N"],
    dst: Float64[Tensor, "M 3"],
    dst_group: Int64[Tensor, " M"],
    reach: Reach,
) -> tuple[Int64[Tensor, "2 E"], Float32[Tensor, " E"]]:
    r"""All pairs source → target of the same group within the radius, on the points' device.

    Shapes:
        - **src, src_group:** :math:`(N, 3)` float64, :math:`(N,)` int64
        - **dst, dst_group:** :math:`(M, 3)` float64, :math:`(M,)` int64
        - **output:** as of `grid_edges`

    Raises:
        ValueError: if a coordinate is not finite.

    Example:
        >>> points, group = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
        >>> grid_edges_between(points, group, points[:1], group[:1], Reach(10.0))
        (tensor([[0],
                [0]]), tensor([0.]))
    """
    sources, windows = sources_and_windows(src, src_group, dst, dst_group, reach.angle, same=False)
    return _edges(sources, dst, windows, reach)


def _edges(sources: Sources, dst: Tensor, windows: Windows, reach: Reach) -> tuple[Tensor, Tensor]:
    """Measure the candidates, a bounded number of them at a time, and sort what is within."""
    begin = torch.nn.functional.pad(windows.count.sum(dim=1).cumsum(0), (1, 0))
    step, total = _CHUNK if dst.device.type == "cpu" else _GPU_CHUNK, int(begin[-1])
    marks = torch.arange(step, total + step, step, device=dst.device).clamp(max=total)
    cuts = torch.searchsorted(begin, marks).unique()
    cuts = torch.stack([cuts, begin[cuts]], dim=1).tolist()
    axes = dst.T.contiguous().unbind(0)

    def parts() -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
        start, before = 0, 0
        for stop, after in cuts:
            rows = slice(start, stop)
            part = Windows(windows.first[rows], windows.count[rows])
            of_rows = [axis[rows] for axis in axes]
            yield start, *_within(sources, of_rows, part, after - before, reach.chord_square)
            start, before = stop, after

    if dst.device.type == "cpu":  # a GPU says itself that its memory is full
        check_edges_fit(reach, lambda: total, lambda: sum(len(part[-1]) for part in parts()))
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for start, target, source, square in parts():
        key, order = (target * len(sources.order) + source).sort()
        distance = _km(square.index_select(0, order), reach)
        found.append(((key % len(sources.order)).int(), (target + start).int(), distance))
    num = sum(len(distance) for *_, distance in found)
    edge_index = torch.empty((2, num), dtype=torch.int64, device=dst.device)
    if not found:
        return edge_index, torch.empty(0, dtype=torch.float32, device=dst.device)
    for row in (0, 1):
        torch.cat([part[row] for part in found], out=edge_index[row])
    return edge_index, torch.cat([distance for *_, distance in found])


def _within(
    sources: Sources, dst_axes: list[Tensor], windows: Windows, size: int, chord_square: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Target, source and squared chord of the candidates within, by ascending target."""
    device = windows.count.device
    count = windows.count.flatten()
    shift = (windows.first.flatten() - (count.cumsum(0) - count)).int()
    place = torch.repeat_interleave(shift, count, output_size=size)
    place += torch.arange(size, dtype=torch.int32, device=device)
    target = torch.repeat_interleave(
        torch.arange(len(windows.count), dtype=torch.int32, device=device),
        windows.count.sum(dim=1), output_size=size,
    )  # fmt: skip
    square = torch.zeros(size, dtype=torch.float64, device=device)
    for a, b in zip(sources.axes, dst_axes, strict=True):
        difference = a.index_select(0, place)
        difference -= b.index_select(0, target)
        square += difference.square_()
    near = (square <= chord_square).nonzero().squeeze(1)
    source = sources.order.index_select(0, place.index_select(0, near))
    return target.index_select(0, near).long(), source, square.index_select(0, near)


def _km(square: Tensor, reach: Reach) -> Tensor:
    """The arc over a squared chord, as `geodesy.km_of_chord`, at most the radius; float32."""
    arc = 2 * torch.asin((square.sqrt() / 2).clamp(max=1))
    if reach.chord_square > 2:
        far = np.pi - 2 * torch.asin((1 - square / 4).clamp(min=0).sqrt())
        arc = torch.where(square > 2, far, arc)
    return (arc * reach.earth_radius_km).clamp(max=reach.radius_km).float()
