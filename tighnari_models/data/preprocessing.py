"""How raw files become what a model saw in training: fitted once, saved with the model."""

from dataclasses import dataclass
from typing import Any

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.gfv import GFVScaler
from tighnari_models.data.batch import MODALITIES
from tighnari_models.data.scaling import ChannelScaler
from tighnari_models.data.table import TablePreprocessor

_VERSION = 1


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """The fitted steps of every modality; None for one that the training data lacked.

    Attributes:
        table: imputation, one-hot columns and standardisation of metadata and environment.
        image: mean and spread of the four channels.
        landsat: the same of the six bands.
        bioclim: the same of the four climate variables.
        gfv: the scale of graph feature vectors.
        radius_km: longest edge of the survey graph.
        degree: "count" or "weight", see `GFVConv`.
        scales: how many best species a multi-scale row has; None without such rows.

    Source: Liu et al. 2024, section 3.1.

    Example:
        >>> scaler = GFVScaler("max")
        >>> scaler.scale = 8.0
        >>> state = Preprocessing(gfv=scaler).to_json()
        >>> Preprocessing.from_json(state).gfv.scale
        8.0
    """

    table: TablePreprocessor | None = None
    image: ChannelScaler | None = None
    landsat: ChannelScaler | None = None
    bioclim: ChannelScaler | None = None
    gfv: GFVScaler | None = None
    radius_km: float = 10.0
    degree: str = "count"
    scales: int | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that were fitted."""
        return tuple(name for name in MODALITIES if getattr(self, name) is not None)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain numbers, lists and text."""
        state: dict[str, Any] = {"version": _VERSION}
        for name in ("table", "image", "landsat", "bioclim"):
            step = getattr(self, name)
            state[name] = None if step is None else step.to_json()
        state["gfv"] = None
        if self.gfv is not None:
            state["gfv"] = {"normalize": self.gfv.normalize, "scale": float(self.gfv.scale)}
        state |= {"radius_km": self.radius_km, "degree": self.degree}
        if self.scales is not None:  # so that what was saved without stays as it was
            state["scales"] = self.scales
        return state

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> "Preprocessing":
        """The steps as they were saved.

        Raises:
            SurveyDataError: if the state is of another version or incomplete.
        """
        if state.get("version") != _VERSION:
            raise SurveyDataError(
                f"preprocessing of version {state.get('version')!r}; expected {_VERSION}"
            )
        try:
            table = state["table"]
            scalers: dict[str, Any] = {
                name: None if state[name] is None else ChannelScaler.from_json(state[name])
                for name in ("image", "landsat", "bioclim")
            }
            gfv = None
            if state["gfv"] is not None:
                gfv = GFVScaler(state["gfv"]["normalize"])
                gfv.scale = float(state["gfv"]["scale"])
            radius_km, degree = float(state["radius_km"]), str(state["degree"])
            scales = None if state.get("scales") is None else int(state["scales"])
        except (KeyError, TypeError) as error:
            raise SurveyDataError(f"preprocessing lacks {error}") from error
        return cls(
            table=None if table is None else TablePreprocessor.from_json(table),
            gfv=gfv,
            radius_km=radius_km,
            degree=degree,
            scales=scales,
            **scalers,
        )
