"""What a model is made of: one frozen object, checked when it is made, saved as JSON."""

import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tighnari_models.data.batch import MODALITIES, PAPER_MODALITIES

FUSIONS = ("hcam", "concat")
_VERSION = 1
_COUNTS = (
    "num_species", "in_chans", "image_size", "temporal_embed_dim", "table_dim", "gfv_dim",
    "gfv_tokens", "fusion_dim", "fusion_heads",
)  # fmt: skip
_SHARES = ("drop_rate", "drop_path_rate", "gfv_drop")
_SWITCHES = ("tokens", "pretrained", "temporal_pad_window", "scales_offset")


@dataclass(frozen=True)
class TighnariConfig:
    """A `Tighnari` model; the defaults are the paper's, as far as it gives them.

    Attributes:
        num_species: columns of labels, graph features and logits.
        modalities: those that the model sees, of image, landsat, bioclim, table, gfv and scales
            (rows of `tighnari_graph.multiscale.MultiScale`); the paper's are all but the last.
        image_encoder: a timm model.
        temporal_encoder: "swin", "vit", or a timm model; one of its own for each cube.
        fusion: "hcam", which needs image, table, a cube and gfv or scales, or "concat", which takes
            any.
        tokens: whether HCAM attends to the tokens of feature maps; False has a single vector per
            modality, the literal reading of the equations, where attention has one key only.
        in_chans: channels of the image: 4, the only number that a `SurveyBatch` has.
        image_size: rows and columns that the image encoder sees, in pixels.
        pretrained: start the image encoder from the weights that timm publishes.
        weights: start it from a local file instead.
        num_table_features: columns of the table; None takes them from the first batch.
        temporal_embed_dim: width of the first stage of a temporal encoder.
        temporal_depths: blocks of its two stages.
        temporal_heads: attention heads of its two stages.
        temporal_pad_window: see `TemporalSwin`.
        table_dim: width of F′.
        gfv_dim: width of the first layer on graph feature vectors, and of that on multi-scale rows.
        gfv_tokens: tokens of G′ made of either, with ``tokens``.
        fusion_dim: width of each attention; the fused vector is three times as wide.
        fusion_heads: heads of the second, multi-head attention.
        drop_rate: dropout in table and graph encoder and before the last layer.
        drop_path_rate: stochastic depth of image and temporal encoders; a timm model that has none
            needs 0.
        gfv_drop: share of training surveys whose graph features are hidden from the model.
        scales_offset: with modality scales, whether their log-odds are added to the logits. The
            last layer then starts at zero, so that an untrained model is the multi-scale model.

    Raises:
        TypeError: if a field is of another type.
        ValueError: if a value is out of range, or fields do not go together.

    Source: Liu et al. 2024, sections 3.3–3.5.

    Example:
        >>> config = TighnariConfig(num_species=7, modalities=("table", "gfv"), fusion="concat")
        >>> TighnariConfig.from_json(config.to_json()) == config
        True
        >>> TighnariConfig(num_species=7, modalities=("image", "table", "gfv"))
        Traceback (most recent call last):
        ...
        ValueError: fusion 'hcam' needs image, table, landsat or bioclim (or both) and gfv or scales; modalities lack landsat or bioclim; fusion='concat' takes any
    """  # noqa: E501

    num_species: int
    modalities: tuple[str, ...] = PAPER_MODALITIES
    image_encoder: str = "swin_tiny_patch4_window7_224"
    temporal_encoder: str = "swin"
    fusion: str = "hcam"
    tokens: bool = True
    in_chans: int = 4
    image_size: int = 224
    pretrained: bool = False
    weights: str | Path | None = None
    num_table_features: int | None = None
    temporal_embed_dim: int = 96
    temporal_depths: tuple[int, ...] = (2, 6)
    temporal_heads: tuple[int, ...] = (12, 24)
    temporal_pad_window: bool = True
    table_dim: int = 256
    gfv_dim: int = 512
    gfv_tokens: int = 8
    fusion_dim: int = 256
    fusion_heads: int = 8
    drop_rate: float = 0.1
    drop_path_rate: float = 0.1
    gfv_drop: float = 0.0
    scales_offset: bool = True

    def __post_init__(self) -> None:
        for name in _COUNTS:
            self._set(name, _count(name, getattr(self, name)))
        if self.in_chans != 4:
            raise ValueError(
                "in_chans must be 4 (red, green, blue, near-infrared), as images of a batch have, "
                f"got {self.in_chans}"
            )
        if self.num_table_features is not None:
            self._set("num_table_features", _count("num_table_features", self.num_table_features))
        for name in _SHARES:
            self._set(name, _share(name, getattr(self, name)))
        for name in _SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, got {getattr(self, name)!r}")
        for name in ("image_encoder", "temporal_encoder", "fusion"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise TypeError(f"{name} must be a name, got {getattr(self, name)!r}")
        if isinstance(self.weights, Path):
            self._set("weights", str(self.weights))
        if not isinstance(self.weights, str | None) or self.weights == "":
            raise TypeError(f"weights must be a path or None, got {self.weights!r}")
        self._check_temporal()
        self._check_modalities()

    def _check_temporal(self) -> None:
        for name in ("temporal_depths", "temporal_heads"):
            pair = getattr(self, name)
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise ValueError(f"{name} must be two numbers, one for each stage, got {pair!r}")
            self._set(name, tuple(_count(name, value) for value in pair))
        if self.temporal_encoder not in ("swin", "vit"):
            return
        first = self.temporal_embed_dim * (2 if self.temporal_encoder == "vit" else 1)
        widths = (first, 2 * self.temporal_embed_dim)
        stages = 1 if self.temporal_encoder == "vit" else 2
        for width, heads in list(zip(widths, self.temporal_heads, strict=True))[:stages]:
            if width % heads:
                raise ValueError(
                    f"temporal_heads: {heads} heads do not divide a width of {width} "
                    f"(temporal_embed_dim {self.temporal_embed_dim})"
                )

    def _check_modalities(self) -> None:
        if not isinstance(self.modalities, list | tuple):
            raise TypeError(f"modalities must be a tuple of names, got {self.modalities!r}")
        self._set("modalities", tuple(self.modalities))
        unknown = [name for name in self.modalities if name not in MODALITIES]
        if unknown:
            raise ValueError(
                f"modalities are {', '.join(MODALITIES)}; unknown: {', '.join(map(str, unknown))}"
            )
        if not self.modalities or len(set(self.modalities)) < len(self.modalities):
            raise ValueError(f"modalities must be one or more, each once, got {self.modalities}")
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}, got {self.fusion!r}")
        if self.fusion == "hcam":
            lacking = hcam_lacks(self.modalities)
            if lacking:
                raise ValueError(
                    "fusion 'hcam' needs image, table, landsat or bioclim (or both) and gfv or "
                    "scales; "
                    f"modalities lack {', '.join(lacking)}; fusion='concat' takes any"
                )
            if self.fusion_dim % self.fusion_heads:
                raise ValueError(
                    f"fusion_heads: {self.fusion_heads} heads do not divide a width of "
                    f"{self.fusion_dim} (fusion_dim)"
                )
        if "image" not in self.modalities and (self.pretrained or self.weights is not None):
            raise ValueError(
                "pretrained weights are for the image encoder, but modalities have no image"
            )

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def to_json(self) -> str:
        """All fields as text, with the version of this form."""
        return json.dumps({"version": _VERSION, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, state: str | Mapping[str, Any]) -> "TighnariConfig":
        """The config back from its text, or from what JSON made of it.

        Raises:
            ValueError: if it is no JSON object, of another version, or has unknown fields.
            TypeError: if a field is of another type or ``num_species`` is missing.
        """
        values = json.loads(state) if isinstance(state, str) else state
        if not isinstance(values, Mapping):
            raise ValueError(f"a config is a JSON object, got {type(values).__name__}")
        if values.get("version") != _VERSION:
            raise ValueError(f"config of version {values.get('version')!r}; expected {_VERSION}")
        values = {name: value for name, value in values.items() if name != "version"}
        unknown = sorted(set(values) - {item.name for item in fields(cls)})
        if unknown:
            raise ValueError(f"config has unknown fields: {', '.join(unknown)}")
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**given)


def hcam_lacks(modalities: Sequence[str]) -> list[str]:
    """What hierarchical cross-attention needs and these modalities do not have.

    Example:
        >>> hcam_lacks(("image", "bioclim", "gfv"))
        ['table']
    """
    needed = (("image",), ("table",), ("landsat", "bioclim"), ("gfv", "scales"))
    return [" or ".join(any_of) for any_of in needed if not set(any_of) & set(modalities)]


def _count(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")
    return number


def _share(name: str, value: Any) -> float:
    if isinstance(value, bool | str):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value)
    except TypeError:
        raise TypeError(f"{name} must be a number, got {value!r}") from None
    if not 0 <= number < 1:
        raise ValueError(f"{name} must be at least 0 and less than 1, got {number}")
    return number
