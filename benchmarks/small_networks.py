"""Two small networks, made known to timm by importing this module: a Swin and an Xception.

timm has small test networks of most families, but of these two none that 2 cores could train a
hundred times over.
"""

from typing import Any

from timm.models import build_model_with_cfg, register_model
from timm.models.swin_transformer import SwinTransformer
from timm.models.xception_aligned import XceptionAligned

# What timm asks of every model that it knows. There are no weights to load.
default_cfgs: dict[str, dict[str, Any]] = {
    "small_swin": {
        "input_size": (3, 64, 64),
        "fixed_input_size": True,
        "first_conv": "patch_embed.proj",
        "classifier": "head.fc",
    },
    "small_xception": {
        "input_size": (3, 64, 64),
        "first_conv": "stem.0.conv",
        "classifier": "head.fc",
    },
}


@register_model
def small_swin(pretrained: bool = False, **options: Any) -> SwinTransformer:
    """Swin of three narrow stages; of 64 pixels it makes 16 × 16, 8 × 8 and 4 × 4 tokens."""
    sizes = {"img_size": 64, "patch_size": 4, "window_size": 4, "embed_dim": 24}
    sizes |= {"depths": (2, 2, 2), "num_heads": (2, 4, 8)}
    return build_model_with_cfg(SwinTransformer, "small_swin", pretrained, **(sizes | options))


@register_model
def small_xception(pretrained: bool = False, **options: Any) -> XceptionAligned:
    """Xception41 with an eighth of the channels, and two middle blocks in place of eight."""
    blocks = [
        {"in_chs": 64, "out_chs": 64, "stride": 2},
        {"in_chs": 64, "out_chs": 96, "stride": 2},
        {"in_chs": 96, "out_chs": 96, "stride": 2},
        *([{"in_chs": 96, "out_chs": 96, "stride": 1}] * 2),
        {"in_chs": 96, "out_chs": (96, 128, 128), "stride": 2},
        {
            "in_chs": 128, "out_chs": (192, 192, 256), "stride": 1,
            "no_skip": True, "start_with_relu": False,
        },
    ]  # fmt: skip
    sizes: dict[str, Any] = {"block_cfg": blocks}
    return build_model_with_cfg(XceptionAligned, "small_xception", pretrained, **(sizes | options))
