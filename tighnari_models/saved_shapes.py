"""Whether a model of a saved config has the shapes of the weights beside it, before it is built."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from tighnari_models.config import TighnariConfig

_WIDTH, _SPECIES, _IMAGE, _BLOCKS = 2048, 2**15, 1024, 64  # what models of these data have at most
_MOST_BLOCKS, _MOST_PIXELS = 1024, 2**14


def require_shapes(
    config: TighnariConfig, weights: Mapping[str, Tensor], build: Callable[[], nn.Module]
) -> None:
    """Refuse a model that is not that of the weights, if building it might fill the memory.

    A model of usual sizes is left to `torch.nn.Module.load_state_dict`, which says more. One of
    other sizes is built without values first, and compared.

    Args:
        config: what the file says.
        weights: what the other file holds.
        build: makes the model.

    Raises:
        ValueError: if a size is out of all bounds, or a shape another.

    Example:
        >>> config = TighnariConfig(3, modalities=("gfv",), fusion="concat", gfv_dim=10**7)
        >>> require_shapes(config, {"weight": torch.ones(2)}, lambda: nn.Linear(10**7, 10**7))
        Traceback (most recent call last):
        ...
        ValueError: weight is (10000000, 10000000) in the model and (2,) in the file
    """
    widths = (
        config.table_dim, config.gfv_dim, config.gfv_tokens, config.fusion_dim,
        config.temporal_embed_dim, config.num_table_features or 0,
    )  # fmt: skip
    blocks = max(config.temporal_depths)
    if (
        max(widths) <= _WIDTH
        and config.num_species <= _SPECIES
        and config.image_size <= _IMAGE
        and blocks <= _BLOCKS
    ):
        return
    if blocks > _MOST_BLOCKS or config.image_size > _MOST_PIXELS:
        raise ValueError(
            f"{blocks} blocks and {config.image_size} pixels a side, at most {_MOST_BLOCKS} and "
            f"{_MOST_PIXELS} are built"
        )
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in build().state_dict().items()}
    for name, shape in wanted.items():
        held = tuple(weights[name].shape) if name in weights else "absent"
        if shape != held:
            raise ValueError(f"{name} is {shape} in the model and {held} in the file")
