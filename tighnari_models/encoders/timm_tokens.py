"""Any timm backbone as a source of tokens, whatever the layout of its feature map."""

import difflib
from typing import Any

import timm
import torch
from jaxtyping import Float
from timm.layers import RmsNorm
from timm.models import PretrainedCfg
from torch import Tensor, nn


def backbone_config(name: str) -> PretrainedCfg:
    """What timm knows about a model's weights: their address, input size, first layer.

    Raises:
        ValueError: if timm has no model or no published weights of this name.

    Example:
        >>> backbone_config("swin_tiny_patch4_window7_224").fixed_input_size
        True
    """
    try:
        config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError as error:  # the part after the point
        raise ValueError(f"timm has no model {name!r}: {error}") from error
    if config is None:
        near = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else "; see timm.list_models()"
        raise ValueError(f"timm has no model {name!r}{hint}")
    return config


def create_backbone(name: str, **kwargs: Any) -> nn.Module:
    """A timm model without its classifier; None among the options means timm's own default.

    Raises:
        ValueError: if timm has no such model, or the model does not take one of the options.

    Example:
        >>> create_backbone("test_resnet", in_chans=4).num_features
        96
    """
    backbone_config(name)
    try:
        return timm.create_model(name, num_classes=0, **kwargs)
    except TypeError as error:
        hint = "; it needs drop_path_rate=0" if "drop_path_rate" in str(error) else ""
        raise ValueError(
            f"timm model {name!r} does not take these options: {error}{hint}"
        ) from error


class TimmTokens(nn.Module):
    r"""The feature map of a timm model, as tokens.

    Takes maps [B, C, h, w] (convolutional networks) and [B, h, w, C] (Swin), and tokens [B, n, C]
    (ViT), whose class and register tokens are left out. A layer norm that timm keeps in the head
    (ConvNeXt, some ViT) is applied to each token; what else only the head would use is removed, so
    that every parameter takes part. To find it, and the map's size, a copy without values
    (``probe``, built on torch's meta device) is run once.

    Args:
        model: a timm model without classifier.
        probe: the same model, built under ``torch.device("meta")``.
        in_shape: channels, rows and columns of the input.

    Shapes:
        - **x:** :math:`(B, C, H, W)`
        - **output:** :math:`(B, n, num\_features)`

    Raises:
        ValueError: if the model cannot take the input, or gives no feature map.

    Source: Liu et al. 2024, section 3.4, eq. 5 (S is "the feature map of output").

    Example:
        >>> with torch.device("meta"):
        ...     probe = create_backbone("test_resnet")
        >>> tokens = TimmTokens(create_backbone("test_resnet"), probe, (3, 64, 64))
        >>> tokens.grid_size, tokens.num_tokens, tokens.num_features
        ((2, 2), 4, 96)
    """

    def __init__(self, model: nn.Module, probe: nn.Module, in_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.model = model
        self.norm = _head_norm(model) or nn.Identity()
        self.num_prefix_tokens = int(getattr(model, "num_prefix_tokens", 0))
        self.channels_last = _channels_last(model)
        self.grid_size: tuple[int, int] | None = None  # rows and columns, where there are any
        shape = self._drop_unused(probe.eval(), in_shape)
        self.num_tokens = num_cells(model, shape)
        if len(shape) == 4:
            self.grid_size = (shape[1], shape[2]) if self.channels_last else (shape[2], shape[3])
        self.num_features = shape[1 if len(shape) == 4 and not self.channels_last else -1]

    def _drop_unused(self, probe: nn.Module, in_shape: tuple[int, int, int]) -> torch.Size:
        features = run_probe(probe, in_shape)
        features.sum().backward()
        for name, child in probe.named_children():
            parameters = list(child.parameters())
            if parameters and all(p.grad is None for p in parameters):
                setattr(self.model, name, nn.Identity())
        unused = {key for key, p in probe.named_parameters() if p.grad is None}
        for key, parameter in self.model.named_parameters():
            if key in unused:  # beside others that are used: kept, but not trained
                parameter.requires_grad_(False)
        return features.shape

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """Tokens, row by row."""
        x = self.norm(self.model.forward_features(x))  # type: ignore[operator]
        if x.ndim == 3:
            return x[:, self.num_prefix_tokens :]
        return x.flatten(1, 2) if self.channels_last else x.flatten(2).transpose(1, 2)


def _head_norm(model: nn.Module) -> nn.Module | None:
    """The layer norm that timm applies after pooling, cut out of the model; None without one."""
    for owner, key in ((model, "fc_norm"), (getattr(model, "head", None), "norm")):
        norm = getattr(owner, key, None)
        if isinstance(norm, nn.LayerNorm | nn.RMSNorm | RmsNorm):
            setattr(owner, key, nn.Identity())
            return norm
    return None


def run_probe(probe: nn.Module, in_shape: tuple[int, int, int]) -> Tensor:
    """Features of two inputs without values, in timm's own layout.

    Raises:
        ValueError: if the model cannot take the input, or gives no feature map.

    Example:
        >>> with torch.device("meta"):
        ...     probe = create_backbone("test_resnet").eval()
        >>> run_probe(probe, (3, 64, 32)).shape
        torch.Size([2, 96, 2, 1])
    """
    name = type(probe).__name__
    try:
        features = probe.forward_features(torch.empty(2, *in_shape, device="meta"))  # type: ignore[operator]
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(f"{name} cannot take an input of shape {in_shape}: {error}") from error
    if not isinstance(features, Tensor) or features.ndim not in (3, 4) or not features.numel():
        raise ValueError(f"{name} gives no feature map for an input of shape {in_shape}")
    return features


def num_cells(model: nn.Module, shape: torch.Size) -> int:
    """Tokens in timm's features of this shape, class and register tokens not counted.

    Example:
        >>> num_cells(create_backbone("test_vit"), torch.Size([2, 101, 64]))
        100
    """
    if len(shape) == 3:
        return shape[1] - int(getattr(model, "num_prefix_tokens", 0))
    return shape[1] * shape[2] if _channels_last(model) else shape[2] * shape[3]


def _channels_last(model: nn.Module) -> bool:
    return getattr(model, "output_fmt", "NCHW") == "NHWC"
