"""One modality in, tokens or one vector per survey out.

Every encoder has ``num_features``, ``forward_features(x)`` → tokens ``[B, n, num_features]`` and
``forward(x)`` → ``[B, num_features]``, the mean of the tokens. No encoder mixes surveys in eval
mode; in training only the batch norms of convolutional backbones do.
"""

from tighnari_models.encoders.graph import GraphEncoder, ScaleEncoder, SparseLinear, keep_rows
from tighnari_models.encoders.image import ImageEncoder
from tighnari_models.encoders.tabular import TabularEncoder
from tighnari_models.encoders.temporal import TemporalViT, TimmTemporal, make_temporal
from tighnari_models.encoders.temporal_swin import TemporalSwin

__all__ = [
    "GraphEncoder",
    "ImageEncoder",
    "ScaleEncoder",
    "SparseLinear",
    "TabularEncoder",
    "TemporalSwin",
    "TemporalViT",
    "TimmTemporal",
    "keep_rows",
    "make_temporal",
]
