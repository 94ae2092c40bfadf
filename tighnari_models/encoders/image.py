"""Satellite patches → tokens, with a timm backbone on four channels."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tighnari_models.encoders.pretrained import create_pretrained
from tighnari_models.encoders.timm_tokens import TimmTokens, backbone_config, create_backbone


def drop_path_options(name: str, rate: float) -> dict[str, float]:
    """The option of timm for stochastic depth; none where the rate is 0 and the model has none.

    Left out where the model has it, timm's own default would hold: 0.1 for Swin.

    Example:
        >>> drop_path_options("test_vit", 0.0), drop_path_options("densenet121", 0.0)
        ({'drop_path_rate': 0.0}, {})
    """
    if rate == 0:
        try:
            with torch.device("meta"):
                create_backbone(name, drop_path_rate=0.0)
        except ValueError:  # whatever else is wrong will be said when the model is made
            return {}
    return {"drop_path_rate": rate}


class ImageEncoder(nn.Module):
    r"""A timm backbone on red, green, blue and near-infrared, giving its feature map as tokens.

    Patches of another size than ``image_size`` are resized (bilinear, smoothed when made smaller):
    from 128 to 224, as the paper does. Models of a fixed input size (Swin, ViT) are built for
    ``image_size``; position embeddings loaded are then resized.

    Args:
        name: any timm model: "swin_tiny_patch4_window7_224", "vit_base_patch16_224",
            "convnext_base", "efficientnet_b0", …
        in_chans: channels of a patch.
        image_size: rows and columns that the backbone sees, in pixels.
        pretrained: load the weights that timm publishes, from cache or hub.
        weights: a local .safetensors or .pth file of this model, instead of the hub.
        drop_path_rate: stochastic depth; a model that has none needs 0.

    Shapes:
        - **x:** :math:`(B, in\_chans, H, W)`, any H and W
        - **output:** :math:`(B, num\_features)`; ``forward_features``:
          :math:`(B, num\_tokens, num\_features)`. At 224 pixels: Swin-T 49 × 768, ViT-B/16
          196 × 768, ConvNeXt-B 49 × 1024, EfficientNet-B0 49 × 1280

    Raises:
        ValueError: if timm has no such model, the size does not suit it, it has no stochastic depth
            but is asked for some, the weights do not fit or cannot be reached, or patches have
            another number of channels.

    Source: Liu et al. 2024, section 3.4, eq. 5; `docs/decisions/0015-near-infrared-weights.md`.

    Example:
        >>> encoder = ImageEncoder("test_efficientnet", image_size=64)
        >>> encoder.forward_features(torch.zeros(3, 4, 32, 32)).shape
        torch.Size([3, 4, 256])
    """

    def __init__(
        self,
        name: str = "swin_tiny_patch4_window7_224",
        in_chans: int = 4,
        image_size: int = 224,
        pretrained: bool = False,
        weights: str | Path | None = None,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.name = name
        self.in_chans = in_chans
        self.image_size = image_size
        shape = (in_chans, image_size, image_size)
        options: dict[str, object] = {"in_chans": in_chans}
        if backbone_config(name).fixed_input_size:
            options["img_size"] = image_size
        with torch.device("meta"):
            probe = create_backbone(name, **options)
        options |= drop_path_options(name, drop_path_rate)
        if pretrained or weights is not None:
            model = create_pretrained(name, weights, **options)
        else:
            model = create_backbone(name, **options)
        self.tokens = TimmTokens(model, probe, shape)
        self.num_features = self.tokens.num_features
        self.num_tokens = self.tokens.num_tokens
        self.grid_size = self.tokens.grid_size

    def forward_features(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """Tokens of the feature map, row by row."""
        if x.size(1) != self.in_chans:
            raise ValueError(f"patches have {x.size(1)} channels, expected {self.in_chans}")
        size = (self.image_size, self.image_size)
        if tuple(x.shape[2:]) != size:
            smaller = x.size(2) > size[0] or x.size(3) > size[1]
            x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=smaller)
        return self.tokens(x)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Mean of the tokens."""
        return self.forward_features(x).mean(1)
