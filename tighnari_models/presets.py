"""Settings that go together: the paper's, a light one, and one that a laptop can try."""

from dataclasses import dataclass, field
from typing import Any

from tighnari_models.config import TighnariConfig, hcam_lacks
from tighnari_models.options import TrainingOptions


@dataclass(frozen=True)
class Preset:
    """A model, how it is trained and how often.

    Attributes:
        model: fields of `TighnariConfig` beside the number of species.
        training: optimisation.
        folds: models of the cross-fusion.
        max_epochs: of a model trained from scratch.
        fine_tune_epochs: of a model that starts from the first.
        warm_start: whether models 2, 3, … start from the first, as the paper's do. Their own
            validation surveys were then seen by it, so only the tuning surveys are honest.
        batch_size: surveys a step.
        multiscale: whether the model sees multi-scale rows and starts from what they say.
    """

    model: dict[str, Any] = field(default_factory=dict)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    folds: int = 10
    max_epochs: int = 10
    fine_tune_epochs: int = 3
    warm_start: bool = True
    batch_size: int = 64
    multiscale: bool = False

    def config(self, num_species: int, modalities: tuple[str, ...]) -> TighnariConfig:
        """The model for these modalities; where HCAM lacks one that it needs, concatenation."""
        fields = {"num_species": num_species, "modalities": modalities, **self.model}
        if not hcam_possible(modalities):
            fields["fusion"] = "concat"
        if "image" not in modalities:  # nothing to load
            fields["pretrained"] = False
        return TighnariConfig(**fields)


def hcam_possible(modalities: tuple[str, ...]) -> bool:
    """Whether there is an image, a cube, a table and a graph to attend to.

    Example:
        >>> hcam_possible(("table", "gfv"))
        False
    """
    return not hcam_lacks(modalities)


PRESETS = {
    "paper": Preset(model={"pretrained": True}),
    "light": Preset(model={"pretrained": True, "image_encoder": "efficientnet_b0"}),
    "demo": Preset(
        model={
            "image_encoder": "test_vit.r160_in1k",
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
        training=TrainingOptions(lr=1e-3, patience=5),
        folds=4,  # and one to tune on: the folds of `python -m tighnari_graph`
        max_epochs=20,
        warm_start=False,
        batch_size=32,
        multiscale=True,
    ),
}
