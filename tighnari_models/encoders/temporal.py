"""Time-series cubes → tokens: which encoder, and those that are not Temporal-Swin."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from tighnari_models.data.cubes import BIOCLIM_SHAPE, LANDSAT_SHAPE
from tighnari_models.encoders.image import drop_path_options
from tighnari_models.encoders.temporal_swin import TemporalSwin, pad_to_patches
from tighnari_models.encoders.timm_tokens import (
    TimmTokens,
    backbone_config,
    create_backbone,
    num_cells,
    run_probe,
)


class CubeSizes(NamedTuple):
    """Shape of a cube (channels, months or seasons, years), and the paper's patch and window."""

    in_shape: tuple[int, int, int]
    patch_size: tuple[int, int]
    window_size: tuple[int, int]


CUBES = {
    "landsat": CubeSizes(LANDSAT_SHAPE, (2, 5), (2, 3)),
    "bioclim": CubeSizes(BIOCLIM_SHAPE, (3, 3), (3, 2)),
}


class TemporalViT(nn.Module):
    r"""A Vision Transformer on the patches of a cube, every patch attending to all others.

    timm's blocks, with learned positions and without a class token, since the tokens themselves go
    on. A cube that its patches do not divide is padded with zeros at the end.

    Args:
        in_shape: channels, rows and columns of the cube.
        patch_size: rows and columns of a patch.
        embed_dim: width, ``num_features``.
        depth: blocks.
        num_heads: attention heads; they must divide the width.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0.

    Shapes:
        - **x:** :math:`(B, C, H, W)`
        - **output:** :math:`(B, embed)`; ``forward_features``: :math:`(B, n, embed)`, 24 tokens of
          the bioclimatic cube with patch (3, 3), 8 of the Landsat cube with patch (2, 5)

    Raises:
        ValueError: if sizes do not fit.

    Source: Liu et al. 2024, section 3.3 (Temporal-ViT; its sizes are not given).

    Example:
        >>> vit = TemporalViT((6, 4, 20), (2, 5), embed_dim=24, depth=1)
        >>> vit.forward_features(torch.zeros(3, 6, 4, 20)).shape
        torch.Size([3, 8, 24])
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        patch_size: tuple[int, int],
        embed_dim: int = 192,
        depth: int = 8,
        num_heads: int = 12,
        drop_path_rate: float = 0.1,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"{num_heads} attention heads do not divide a width of {embed_dim}")
        self.in_shape = in_shape
        self.patch_size = patch_size
        self.num_features = embed_dim
        rows, columns = (math.ceil(s / p) for s, p in zip(in_shape[1:], patch_size, strict=True))
        self.grid_sizes = ((rows, columns),)
        self.model = VisionTransformer(
            img_size=(rows * patch_size[0], columns * patch_size[1]),
            patch_size=patch_size,
            in_chans=in_shape[0],
            num_classes=0,
            global_pool="avg",
            fc_norm=False,  # the norm belongs to the tokens
            class_token=False,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            drop_path_rate=drop_path_rate,
        )

    def forward_features(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """One token per patch, row by row."""
        return self.model.forward_features(pad_to_patches(x, self.in_shape, self.patch_size))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Mean of the tokens."""
        return self.forward_features(x).mean(1)


class TimmTemporal(nn.Module):
    r"""Any timm backbone on a cube, with its stem slowed down so that a feature map is left.

    Image backbones make 32 pixels one, and the cubes have at most 20, so unchanged they give one
    token. Here the first convolution steps by 1 and a max-pool in the stem is left out, as the
    competition's ResNet18 baseline did. Where one token is left even so, or the stem is a patch
    embedding whose step is its size (ConvNeXt), the cube is enlarged by the smallest power of two
    that gives more. Models of a fixed input size (ViT, Swin) get the cube at that size.

    Args:
        name: any timm model: "resnet18", "efficientnet_b0", "mobilenetv3_large_100", "xception41".
        in_shape: channels, rows and columns of the cube.
        drop_path_rate: stochastic depth; a model that has none needs 0.

    Shapes:
        - **x:** :math:`(B, C, H, W)`
        - **output:** :math:`(B, num\_features)`; ``forward_features``:
          :math:`(B, num\_tokens, num\_features)`, for (6, 4, 20) and (4, 18, 12): ResNet18 1 × 3
          and 3 × 2 tokens, the other three 1 × 2 and 2 × 1

    Raises:
        ValueError: if timm has no such model, it cannot take the cube, or it has no stochastic
            depth but is asked for some.

    Source: Liu et al. 2024, section 3.3 (comparative backbones), table 2;
    `docs/decisions/0014-timm-backbones-on-cubes.md`.

    Example:
        >>> resnet = TimmTemporal("resnet18", (6, 4, 20))
        >>> resnet.grid_size, resnet.input_size
        ((1, 3), (4, 20))
    """

    def __init__(
        self, name: str, in_shape: tuple[int, int, int], drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.name = name
        self.in_shape = in_shape
        channels, rows, columns = in_shape
        options = drop_path_options(name, drop_path_rate)
        model = _slow_stem(create_backbone(name, in_chans=channels, **options))
        config = backbone_config(name)
        sizes = [(rows * 2**power, columns * 2**power) for power in range(6)]
        if config.fixed_input_size:
            sizes = [(int(config.input_size[1]), int(config.input_size[2]))]
        with torch.device("meta"):
            probe = _slow_stem(create_backbone(name, in_chans=channels)).eval()
        self.input_size = next(
            (s for s in sizes if _leaves_a_map(probe, (channels, *s))), sizes[-1]
        )
        self.tokens = tokens = TimmTokens(model, probe, (channels, *self.input_size))
        self.num_features = tokens.num_features
        self.num_tokens = tokens.num_tokens
        self.grid_size = tokens.grid_size

    def forward_features(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """Tokens of the feature map, row by row."""
        if tuple(x.shape[1:]) != self.in_shape:
            raise ValueError(f"cubes have the shape {tuple(x.shape[1:])}, expected {self.in_shape}")
        if self.input_size != self.in_shape[1:]:
            x = F.interpolate(x, self.input_size, mode="bilinear", align_corners=False)
        return self.tokens(x)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Mean of the tokens."""
        return self.forward_features(x).mean(1)


def _leaves_a_map(probe: nn.Module, in_shape: tuple[int, int, int]) -> bool:
    """Whether a backbone gives more than one token; some refuse inputs that are too small."""
    try:
        return num_cells(probe, run_probe(probe, in_shape).shape) > 1
    except ValueError:
        return False


def _slow_stem(model: nn.Module) -> nn.Module:
    """First convolution at step 1 and no max-pool, unless the stem cuts patches."""
    first: str | tuple[str, ...] = model.pretrained_cfg["first_conv"]  # type: ignore[index, assignment]
    stem = model.get_submodule(first if isinstance(first, str) else first[0])
    if isinstance(stem, nn.Conv2d) and stem.kernel_size[0] > stem.stride[0]:
        stem.stride = (1, 1)
        if isinstance(getattr(model, "maxpool", None), nn.MaxPool2d):
            model.maxpool = nn.Identity()
    return model


def make_temporal(
    name: str,
    kind: str,
    embed_dim: int = 96,
    depths: tuple[int, int] = (2, 6),
    num_heads: tuple[int, int] = (12, 24),
    drop_path_rate: float = 0.1,
    pad_window: bool = True,
) -> TemporalSwin | TemporalViT | TimmTemporal:
    """The temporal encoder of a cube, by name.

    "vit" is as wide as the last stage of "swin" and as deep as both of its stages together, with
    the heads of the first. The sizes mean nothing to timm's backbones.

    Args:
        name: "swin", "vit", or any timm model.
        kind: "landsat" or "bioclim".
        embed_dim: width of the first stage.
        depths: blocks of the two stages.
        num_heads: attention heads of the two stages.
        drop_path_rate: stochastic depth; a timm model that has none needs 0.
        pad_window: see `TemporalSwin`.

    Shapes:
        - **output:** an encoder of :math:`(B, 6, 4, 20)` or :math:`(B, 4, 18, 12)` cubes

    Raises:
        ValueError: if the name or the cube is not known, or sizes do not fit.

    Source: Liu et al. 2024, section 3.3, table 2.

    Example:
        >>> [make_temporal("swin", kind).num_features for kind in ("landsat", "bioclim")]
        [192, 192]
    """
    if kind not in CUBES:
        raise ValueError(f"kind of cube must be one of {', '.join(CUBES)}, got {kind!r}")
    in_shape, patch_size, window_size = CUBES[kind]
    if name == "swin":
        return TemporalSwin(
            in_shape,
            patch_size,
            window_size,
            embed_dim=embed_dim,
            depths=depths,
            num_heads=num_heads,
            drop_path_rate=drop_path_rate,
            pad_window=pad_window,
        )
    if name == "vit":
        return TemporalViT(
            in_shape,
            patch_size,
            embed_dim=2 * embed_dim,
            depth=sum(depths),
            num_heads=num_heads[0],
            drop_path_rate=drop_path_rate,
        )
    return TimmTemporal(name, in_shape, drop_path_rate=drop_path_rate)
