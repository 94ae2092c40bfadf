"""The rows of the paper's Tables 1, 2 and 3, and which network stands for which at small size."""

from dataclasses import dataclass, replace
from typing import Any

from benchmarks import small_networks  # noqa: F401 - timm knows them from now on
from tighnari_models.options import TrainingOptions
from tighnari_models.post_processing import PLAIN_K
from tighnari_models.presets import PRESETS, Preset

FIXED_K = f"Top-K, K = {PLAIN_K}"  # the steps of `post_processing`
TOP_K, THRESHOLD, PO_LISTS = "Top-K", "Threshold Top-K", "Threshold Top-K and PO lists"


@dataclass(frozen=True)
class Row:
    """A row of a table: what is trained, how its logits become species, what the paper found.

    Attributes:
        name: as the paper writes it.
        image: image encoder, a key of `Size.image`.
        temporal: temporal encoder, a key of `Size.temporal`.
        gfv: whether graph features are an input.
        fusion: "concat" or "hcam".
        fused: whether the logits of all fold models are averaged, or the first model is alone.
        step: post-processing.
        against: the row that it adds something to.
        paper: the paper's validation, public and private score, validation and training loss and
            seconds an epoch; None where it prints none.
    """

    name: str
    image: str = "Swin-T-Tiny"
    temporal: str = "ResNet18"
    gfv: bool = False
    fusion: str = "concat"
    fused: bool = False
    step: str = TOP_K
    against: str | None = "Baseline"
    paper: tuple[float | None, ...] = (None,) * 6

    @property
    def trained(self) -> str:
        """Name of the folder of its models, which rows and tables share."""
        parts = [self.image, self.temporal, "gfv" if self.gfv else "", self.fusion]
        return "_".join(part for part in parts if part).lower()


def _compared(column: str, paper: dict[str, tuple[float, ...]], first: str) -> tuple[Row, ...]:
    against = {name: None if name == first else first for name in paper}
    return tuple(
        replace(Row(name, against=against[name], paper=scores), **{column: name})
        for name, scores in paper.items()
    )


_SWIN = Row("", temporal="Swin-T")
_GRAPH = replace(_SWIN, gfv=True)
_FULL = replace(_GRAPH, fusion="hcam")
_FINAL = replace(_FULL, fused=True)
_BOTH = "10 Fold Cross Fusion with HCAM and GFV"

TABLES: dict[int, tuple[Row, ...]] = {
    1: _compared(
        "image",
        {
            "Swin-T-Tiny": (0.42110, 0.32774, 0.32816, 0.00379, 0.00353, 271),
            "ViT-Base": (0.42645, 0.33376, 0.33280, 0.00379, 0.00349, 550),
            "ConvNeXt-Base": (0.42066, 0.33104, 0.32792, 0.00381, 0.00361, 705),
            "EfficientNet-B0": (0.41114, 0.33316, 0.33085, 0.00393, 0.00338, 130),
        },
        "Swin-T-Tiny",
    ),
    2: _compared(
        "temporal",
        {
            "ResNet18": (0.42110, 0.32774, 0.32816, 0.00379, 0.00353, 271),
            "Swin-T": (0.42319, 0.33428, 0.33476, 0.00377, 0.00362, 279),
            "ViT": (0.41794, 0.31680, 0.31772, 0.00390, 0.00339, 277),
            "EfficientNet-B0": (0.42083, 0.31940, 0.31996, 0.00381, 0.00344, 292),
            "MobileNet-V3": (0.41479, 0.31435, 0.31649, 0.00390, 0.00339, 284),
            "Xception41": (0.42737, 0.32488, 0.32216, 0.00377, 0.00331, 302),
        },
        "ResNet18",
    ),
    3: (
        Row(
            f"Official baseline (K = {PLAIN_K})", step=FIXED_K, against=None,
            paper=(None, None, 0.31626, None, None, None),
        ),
        Row(
            "Official baseline, Top-K tuned", against=f"Official baseline (K = {PLAIN_K})",
            paper=(None, None, 0.32359, None, None, None),
        ),
        Row("Baseline", against=None, paper=(0.42110, 0.32774, 0.32816, None, None, 271)),
        replace(
            _SWIN, name="Swin-T replace ResNet",
            paper=(0.42319, 0.33428, 0.33476, None, None, 279),
        ),
        Row(
            "EfficientNet replace Swin-Transformer-Tiny", image="EfficientNet-B0",
            paper=(0.41114, 0.33316, 0.33085, None, None, 130),
        ),
        replace(
            _SWIN, name="EfficientNet and Swin-T", image="EfficientNet-B0",
            against="Swin-T replace ResNet", paper=(0.40824, 0.30872, 0.31349, None, None, 137),
        ),
        replace(
            _GRAPH, name="Graph Modal Feature Vector (GFV)", against="Swin-T replace ResNet",
            paper=(0.43950, 0.32251, 0.32543, None, None, 290),
        ),
        replace(
            _FULL, name="HCAM with GFV", against="Graph Modal Feature Vector (GFV)",
            paper=(0.42489, 0.33186, 0.33358, None, None, 292),
        ),
        replace(
            _SWIN, name="10 Fold Cross Fusion without HCAM and GFV", fused=True,
            against="Swin-T replace ResNet", paper=(0.49120, 0.34790, 0.34625, None, None, None),
        ),
        replace(
            _FINAL, name=_BOTH, against="HCAM with GFV",
            paper=(0.50455, 0.35170, 0.34994, None, None, None),
        ),
        replace(
            _FINAL, name="Threshold Top-K", step=THRESHOLD, against=_BOTH,
            paper=(0.52655, 0.36428, 0.36121, None, None, None),
        ),
        replace(
            _FINAL, name="Output Correction (Final Model)", step=PO_LISTS,
            against="Threshold Top-K", paper=(None, 0.36478, 0.36242, None, None, None),
        ),
    ),
}  # fmt: skip

TITLES = {
    1: "Table 1: image encoders",
    2: "Table 2: temporal encoders",
    3: "Table 3: the ablation",
}


@dataclass(frozen=True)
class Size:
    """Which networks the names of the tables mean, and how they are trained.

    Attributes:
        image: name in the tables → timm model.
        temporal: name in the tables → what `make_temporal` takes.
        preset: the other fields of the model, training, fold models and epochs.
        patch_pixels: patches are averaged to this size once, before training; None leaves them.
    """

    image: dict[str, str]
    temporal: dict[str, str]
    preset: Preset
    patch_pixels: int | None = None

    def model(self, row: Row) -> dict[str, Any]:
        """Fields of `TighnariConfig` for a row, beside species and modalities."""
        names = {
            "image_encoder": self.image[row.image],
            "temporal_encoder": self.temporal[row.temporal],
            "fusion": row.fusion,
        }
        return self.preset.model | names


SIZES = {
    "paper": Size(
        image={
            "Swin-T-Tiny": "swin_tiny_patch4_window7_224",
            "ViT-Base": "vit_base_patch16_224",
            "ConvNeXt-Base": "convnext_base",
            "EfficientNet-B0": "efficientnet_b0",
        },
        temporal={
            "ResNet18": "resnet18",
            "Swin-T": "swin",
            "ViT": "vit",
            "EfficientNet-B0": "efficientnet_b0",
            "MobileNet-V3": "mobilenetv3_large_100",
            "Xception41": "xception41",
        },
        preset=PRESETS["paper"],
    ),
    "small": Size(
        image={
            "Swin-T-Tiny": "small_swin",
            "ViT-Base": "test_vit",
            "ConvNeXt-Base": "test_convnext",
            "EfficientNet-B0": "test_efficientnet",
        },
        temporal={
            "ResNet18": "test_resnet",
            "Swin-T": "swin",
            "ViT": "vit",
            "EfficientNet-B0": "test_efficientnet",
            "MobileNet-V3": "mobilenetv3_small_050",
            "Xception41": "small_xception",
        },
        preset=Preset(
            model={
                "image_size": 64,
                "temporal_embed_dim": 48,
                "temporal_depths": (2, 2),
                "temporal_heads": (3, 6),
                "fusion_dim": 64,
                "fusion_heads": 4,
                "table_dim": 256,
                "gfv_dim": 256,
                "drop_rate": 0.3,
                "gfv_drop": 0.5,
            },
            training=TrainingOptions(lr=1e-3, patience=None, progress=False),
            folds=10,
            max_epochs=10,
            fine_tune_epochs=2,
            warm_start=True,
            batch_size=32,
        ),
        patch_pixels=64,
    ),
}
