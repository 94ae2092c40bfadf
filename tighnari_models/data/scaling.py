"""Bring the channels of patches and cubes to mean 0 and spread 1, as training surveys have them."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

FILLS = ("channel", "tensor")
_CHUNK_VALUES = 2**23


class ChannelScaler:
    r"""Standardise each channel: (value − mean) / standard deviation over training surveys.

    Missing values (NaN, infinite) do not count in the fit. In `transform` they become the mean of
    their channel over training surveys ("channel"), or the mean of all values of their own survey
    ("tensor", as in the paper); a survey without any value, or without a file, becomes the training
    mean, which is zero. A channel that never varies is only centred.

    Args:
        fill: "channel" or "tensor".

    Shapes:
        - **array:** :math:`(N, C, \ldots)`
        - **output:** :math:`(B, C, \ldots)`

    Units: the output in standard deviations.

    Raises:
        ValueError: on another fill, other numbers of channels, or if a channel has no value in any
            training survey.

    Source: Liu et al. 2024, section 3.1.

    Example:
        Channel 0 has mean 2 and standard deviation 1, channel 1 is constant.

        >>> cubes = np.array([[[1., 3.], [5., 5.]], [[2., 9.], [5., 7.]]], dtype=np.float32)
        >>> scaler = ChannelScaler().fit(cubes, rows=np.array([True, False]))
        >>> scaler.mean, scaler.std
        (array([2., 5.]), array([1., 1.]))
        >>> scaler.transform(torch.tensor([[[4., torch.nan], [5., 6.]]]))
        tensor([[[2., 0.], [0., 1.]]])
    """

    def __init__(self, fill: str = "channel") -> None:
        if fill not in FILLS:
            raise ValueError(f"fill must be one of {', '.join(FILLS)}, got {fill!r}")
        self.fill = fill
        self.mean: np.ndarray | None = None
        self.std: np.ndarray | None = None

    def fit(
        self,
        array: np.ndarray,
        rows: np.ndarray | None = None,
        found: np.ndarray | None = None,
    ) -> "ChannelScaler":
        """Take mean and standard deviation of each channel, a few surveys in memory at a time.

        Args:
            array: [N, C, …] in memory or on disk.
            rows: bool [N], the training surveys; by default all.
            found: bool [N], surveys that have a file; by default all.
        """
        use = np.ones(len(array), dtype=bool)
        for name, mask in (("rows", rows), ("found", found)):
            if mask is not None:
                mask = np.asarray(mask)
                if mask.dtype != bool or mask.shape != use.shape:
                    got = f"{mask.dtype} {list(mask.shape)}"
                    raise ValueError(f"{name} must be bool [{len(array)}], got {got}")
                use &= mask
        places = np.flatnonzero(use)
        size = max(1, _CHUNK_VALUES // max(1, int(np.prod(array.shape[1:]))))
        count = np.zeros(array.shape[1], dtype=np.int64)
        mean, square = np.zeros((2, array.shape[1]))
        for start in range(0, len(places), size):
            chunk = np.asarray(array[places[start : start + size]])
            n, m, s = _moments(chunk.reshape(len(chunk), array.shape[1], -1))
            # Two sets of values become one (Chan et al. 1983): nothing large is ever subtracted.
            total = np.maximum(count + n, 1)
            delta = m - mean
            square += s + delta**2 * count * n / total
            mean += delta * n / total
            count += n
        if (count == 0).any():
            raise ValueError(
                f"channels {np.flatnonzero(count == 0).tolist()} have no value in any of "
                f"{len(places)} training surveys"
            )
        std = np.sqrt(square / count)
        # What rounding leaves of a constant is no spread.
        constant = std <= 1e-7 * np.abs(mean)
        self.mean, self.std = mean, np.where(constant, 1.0, std)
        return self

    def transform(
        self, x: Tensor, found: Bool[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b c *size"]:
        """Standardise a batch, on the device where it is; see the class."""
        if self.mean is None or self.std is None:
            raise ValueError("ChannelScaler: fit it before it transforms")
        if x.dim() < 2 or x.size(1) != len(self.mean):
            raise ValueError(f"x of shape {tuple(x.shape)}, expected (B, {len(self.mean)}, …)")
        shape = (1, -1, *[1] * (x.dim() - 2))
        mean = torch.tensor(self.mean, dtype=torch.float32, device=x.device).view(shape)
        std = torch.tensor(self.std, dtype=torch.float32, device=x.device).view(shape)
        x = x.to(torch.float32)
        if self.fill == "tensor":
            values = torch.where(x.isfinite(), x, torch.nan)
            own = values.flatten(1).nanmean(1).view(-1, *[1] * (x.dim() - 1))
            x = torch.where(x.isfinite(), x, own)
        x = ((x - mean) / std).nan_to_num(0.0, 0.0, 0.0)
        if found is not None:
            x = torch.where(found.view(-1, *[1] * (x.dim() - 1)), x, 0.0)
        return x

    def to_json(self) -> dict[str, Any]:
        """What was fitted, as plain numbers."""
        if self.mean is None or self.std is None:
            raise ValueError("ChannelScaler: fit it before it is saved")
        return {"fill": self.fill, "mean": self.mean.tolist(), "std": self.std.tolist()}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> "ChannelScaler":
        """The scaler as it was saved.

        Raises:
            KeyError: if the state lacks a part.
            ValueError: if its numbers do not fit together.
        """
        scaler = cls(state["fill"])
        mean, std = (np.array(state[name], dtype=np.float64) for name in ("mean", "std"))
        if mean.ndim != 1 or mean.shape != std.shape or not (std > 0).all():
            raise ValueError(f"ChannelScaler: mean {mean.shape} and std {std.shape} do not fit")
        scaler.mean, scaler.std = mean, std
        return scaler

    def __repr__(self) -> str:
        channels = "not fitted" if self.mean is None else f"{len(self.mean)} channels"
        return f"ChannelScaler(fill={self.fill!r}, {channels})"


def _moments(chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, mean and sum of squared deviations of each channel of [n, C, K], NaN left out."""
    if chunk.dtype == np.uint8:
        return _moments_of_bytes(chunk)
    values = chunk.astype(np.float64)
    finite = np.isfinite(values)
    count = finite.sum(axis=(0, 2))
    mean = np.where(finite, values, 0).sum(axis=(0, 2)) / np.maximum(count, 1)
    away = np.where(finite, values - mean[:, None], 0)
    return count, mean, np.einsum("nck,nck->c", away, away)


def _moments_of_bytes(chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same, exactly, from how often each of 256 values occurs."""
    value = np.arange(256.0)
    often = np.stack([np.bincount(c.ravel(), minlength=256) for c in chunk.swapaxes(0, 1)])
    count = often.sum(axis=1)
    mean = often @ value / np.maximum(count, 1)
    return count, mean, (often * (value - mean[:, None]) ** 2).sum(axis=1)
