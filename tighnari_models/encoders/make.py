"""The encoder of a modality, as a config describes it."""

from torch import nn

from tighnari_models.config import TighnariConfig
from tighnari_models.encoders.image import ImageEncoder
from tighnari_models.encoders.tabular import TabularEncoder
from tighnari_models.encoders.temporal import make_temporal


def make_encoder(name: str, config: TighnariConfig) -> nn.Module:
    """Of image, table, landsat or bioclim; the width of graph encoders depends on the fusion.

    Example:
        >>> make_encoder("table", TighnariConfig(7, table_dim=16)).num_features
        16
    """
    if name == "image":
        return ImageEncoder(
            config.image_encoder, config.in_chans, config.image_size,
            config.pretrained, config.weights, config.drop_path_rate,
        )  # fmt: skip
    if name == "table":
        return TabularEncoder(
            config.num_table_features, 2 * config.table_dim, config.table_dim, config.drop_rate
        )
    return make_temporal(
        config.temporal_encoder,
        name,
        config.temporal_embed_dim,
        config.temporal_depths,  # type: ignore[arg-type]  # checked to be pairs
        config.temporal_heads,  # type: ignore[arg-type]
        config.drop_path_rate,
        config.temporal_pad_window,
    )
