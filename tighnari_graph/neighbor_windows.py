"""The grid of the neighbour search: which sources may lie within the radius of each target.

The sphere is cut into bands of latitude as high as the radius, and bands into slots of longitude.
Points sorted by group, band and slot make every search a few runs of that order: in the target's
band and the two beside it, the slots that the radius can reach. That is 1.6 candidates for each
edge where points lie evenly; the 27 cubes around a point hold about twice as many.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_SLOTS = 1 << 20  # slots of longitude in a band: 38 m on the equator
_MOST_BANDS = 1 << 16


@dataclass(frozen=True, eq=False)
class Sources:
    """Points in the order of the grid, [N].

    Attributes:
        key: group, band and slot as one number, ascending.
        order: each point's position before sorting.
        axes: x, y and z.
    """

    key: Tensor
    order: Tensor
    axes: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Windows:
    """The candidates of each target: runs of sources, [M, W]. A run may be empty.

    Attributes:
        first: where the run begins.
        count: how long it is.
    """

    first: Tensor
    count: Tensor


@dataclass(frozen=True, eq=False)
class _Cells:
    """Where points lie on the grid, [N]: latitude from the south pole, radians; band; slot."""

    latitude: Tensor
    band: Tensor
    slot: Tensor

    @classmethod
    def of(cls, points: Tensor, bands: int) -> "_Cells":
        x, y, z = points.unbind(1)
        latitude = torch.atan2(z, torch.hypot(x, y)) + np.pi / 2
        longitude = torch.atan2(y, x) + np.pi
        band = (latitude * (bands / np.pi)).long().clamp(0, bands - 1)
        slot = (longitude * (_SLOTS / (2 * np.pi))).long().clamp(0, _SLOTS - 1)
        return cls(latitude, band, slot)


def sources_and_windows(
    src: Tensor, src_group: Tensor, dst: Tensor, dst_group: Tensor, angle: float, same: bool
) -> tuple[Sources, Windows]:
    """Sort the sources, and find the windows of the targets; points are unit vectors.

    Args:
        angle: the radius as an angle, a little enlarged.
        same: the targets are the sources; no window holds the target itself.

    Raises:
        ValueError: if a coordinate is not finite.
    """
    for points in (src, dst):
        finite = torch.isfinite(points).all(dim=1)
        if not finite.all():
            raise ValueError(f"coordinates of {int((~finite).sum())} surveys are not finite")
    bands = max(1, min(int(np.pi / angle), _MOST_BANDS))
    # Numbers of groups without gaps, so that a key fits into 64 bits.
    number = torch.unique(torch.cat([src_group, dst_group]), return_inverse=True)[1]
    rows = torch.where(src_group < 0, -1, number[: len(src)])
    cells = _Cells.of(src, bands)
    key = (rows * bands + cells.band) * _SLOTS + cells.slot
    key, order = torch.where(rows < 0, -1, key).sort()
    axes = src.index_select(0, order).T.contiguous().unbind(0)
    sources = Sources(key, order.int(), axes)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    rows = torch.where(dst_group < 0, -1, number[len(src) :])
    cells = cells if same else _Cells.of(dst, bands)
    return sources, _windows(sources, cells, rows, bands, angle, place if same else None)


def _windows(
    sources: Sources, cells: _Cells, group: Tensor, bands: int, angle: float, place: Tensor | None
) -> Windows:
    """Runs of sources around each target in its band and the two beside.

    Two points at latitudes a and b are within an angle t where
    sin²(t/2) ≥ sin²((a − b)/2) + cos a cos b sin²(Δ/2); this bounds their difference Δ in
    longitude.

    Args:
        place: of each target among the sources, to leave it out of its own run.
    """
    height = np.pi / bands
    runs: list[tuple[Tensor, Tensor]] = []
    for step in (-1, 0, 1):
        band = cells.band + step
        bottom = band.double() * height
        gap = torch.maximum(bottom - cells.latitude, cells.latitude - bottom - height).clamp(min=0)
        inside = (group >= 0) & (band >= 0) & (band < bands) & (gap <= angle)
        narrowest = torch.minimum(torch.sin(bottom), torch.sin(bottom + height)).clamp(min=0)
        room = (np.sin(angle / 2) ** 2 - torch.sin(gap / 2) ** 2).clamp(min=0)
        room = room / (torch.sin(cells.latitude) * narrowest).clamp(min=1e-30)
        width = 2 * torch.asin(room.sqrt().clamp(max=1)) * (_SLOTS / (2 * np.pi))
        width = width.ceil().long() + 1
        west, east = cells.slot - width, cells.slot + width
        base = (group * bands + band) * _SLOTS

        a, b = west.clamp(min=0), east.clamp(max=_SLOTS - 1)
        first, after = _run(sources.key, base, a, b, inside)
        if step == 0 and place is not None:
            runs += [(first, torch.minimum(after, place)), (place + 1, after)]
        else:
            runs.append((first, after))
        # Beyond the antimeridian: the slots at the other end of the band that are not yet in.
        a = torch.where(west < 0, torch.maximum(west + _SLOTS, east + 1), 0)
        b = torch.where(west < 0, _SLOTS - 1, torch.minimum(east - _SLOTS, west - 1))
        if (inside & (a <= b)).any():
            runs.append(_run(sources.key, base, a, b, inside))
    first = torch.stack([a for a, _ in runs], dim=1)
    after = torch.stack([b for _, b in runs], dim=1)
    return Windows(first, (after - first).clamp(min=0))


def _run(
    key: Tensor, base: Tensor, first: Tensor, last: Tensor, inside: Tensor
) -> tuple[Tensor, Tensor]:
    """Where the slots first to last of a band begin and end among the sources."""
    begin = torch.searchsorted(key, base + first)
    end = torch.searchsorted(key, base + last, right=True)
    return begin, torch.where(inside & (first <= last), end, begin)
