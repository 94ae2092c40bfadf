"""The Tighnari model: encoders of every modality, fusion, logits of all species."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.multiscale import MultiScale
from tighnari_graph.surveys import SurveyTable
from tighnari_models.config import TighnariConfig
from tighnari_models.data.batch import MODALITIES, SurveyBatch
from tighnari_models.data.preprocessing import Preprocessing
from tighnari_models.encoders import GraphEncoder, ScaleEncoder, keep_rows
from tighnari_models.encoders.make import make_encoder
from tighnari_models.fusion import HCAM, Concat
from tighnari_models.offset import log_odds
from tighnari_models.saved_shapes import require_shapes
from tighnari_models.saving import CONFIG, WEIGHTS, SavedModel, read_folder, write_folder

_CUBES = ("landsat", "bioclim")
_GRAPHS = {"gfv": GraphEncoder, "scales": ScaleEncoder}
_RAREST = 1e-5  # frequency that a species never seen is taken to have


class Tighnari(nn.Module):
    r"""A batch of surveys in, a logit for every species out.

    In eval mode a survey's logits do not depend on the other surveys of its batch. With multi-scale
    rows and ``scales_offset``, the network learns what to add to their log-odds, from zero on.

    Args:
        config: what it is made of.

    Attributes:
        config: as given.
        preprocessing: how raw files become its batches; None unless trained or loaded.
        species_ids: :math:`(S,)` int64, column → speciesId; None likewise.
        surveys: the labelled surveys whose labels graph features are made of; None likewise.
        multiscale: the model that makes multi-scale rows of new surveys; None likewise, or if the
            model takes none.

    Shapes:
        - **batch:** B surveys with the modalities of the config; others are ignored
        - **output:** :math:`(B, S)` logits

    Raises:
        ValueError: if the batch lacks a modality, or widths do not fit.

    Source: Liu et al. 2024, section 3 (figure 9), equations 4–8.

    Example:
        >>> config = TighnariConfig(3, modalities=("table", "gfv"), fusion="concat")
        >>> batch = SurveyBatch(torch.tensor([7, 9]), table=torch.zeros(2, 5), gfv=torch.eye(2, 3))
        >>> Tighnari(config)(batch).shape
        torch.Size([2, 3])
    """

    def __init__(self, config: TighnariConfig) -> None:
        super().__init__()
        self.config = config
        self.preprocessing: Preprocessing | None = None
        self.species_ids: np.ndarray | None = None
        self.surveys: SurveyTable | None = None
        self.multiscale: MultiScale | None = None
        self.modalities = tuple(name for name in MODALITIES if name in config.modalities)
        self.graphs = tuple(name for name in self.modalities if name in _GRAPHS)
        self.encoders = nn.ModuleDict()
        for name in self.modalities:
            if name not in _GRAPHS:
                self.encoders[name] = make_encoder(name, config)
        widths: dict[str, int] = {
            name: encoder.num_features  # type: ignore[misc]
            for name, encoder in self.encoders.items()
        }
        self.fusion: HCAM | Concat
        if config.fusion == "hcam":
            self.fusion = HCAM(
                tuple(widths[name] for name in _CUBES if name in widths),
                widths["table"],
                widths["image"],
                config.fusion_dim,
                config.fusion_heads,
                config.gfv_tokens,
                config.tokens,
            )
            graph_dim = self.fusion.graph_dim
        else:
            graph_dim = config.gfv_dim
            graph = (graph_dim,) * len(self.graphs)
            self.fusion = Concat((*widths.values(), *graph), 3 * config.fusion_dim)
        for name in self.graphs:
            self.encoders[name] = _GRAPHS[name](
                config.num_species, config.gfv_dim, graph_dim, config.drop_rate
            )
        self.drop = nn.Dropout(config.drop_rate)
        self.head = nn.Linear(self.fusion.num_features, config.num_species)
        self.offset = config.scales_offset and "scales" in self.modalities
        if self.offset:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def forward(self, batch: SurveyBatch) -> Float[Tensor, "b s"]:
        """Logits of every species; see the class."""
        return self.decode(self.encode(batch), batch)

    def decode(self, encoded: dict[str, Tensor], batch: SurveyBatch) -> Float[Tensor, "b s"]:
        """Logits of what `encode` made; of the batch only multi-scale rows are looked at."""
        logits = self.head(self.drop(self.fuse(encoded)))
        if self.offset and batch.scales is not None and batch.scales_rest is not None:
            return logits + log_odds(batch.scales, batch.scales_rest)
        return logits

    def forward_features(self, batch: SurveyBatch) -> Float[Tensor, "b d"]:
        r"""The fused vector of each survey, :math:`(B, 3 \cdot fusion\_dim)`."""
        return self.fuse(self.encode(batch))

    def encode(self, batch: SurveyBatch) -> dict[str, Tensor]:
        """What the encoder of each modality makes of it: vectors, of images and cubes tokens."""
        lacking = [name for name in self.modalities if name not in batch.modalities]
        if lacking:
            raise ValueError(
                f"the batch lacks {', '.join(lacking)}; the model takes "
                f"{', '.join(self.modalities)}, the batch has "
                f"{', '.join(batch.modalities) or 'no modality'}"
            )
        inputs = {
            name: self._graph_rows(batch) if name == "gfv" else getattr(batch, name)
            for name in self.modalities
        }
        if isinstance(self.fusion, Concat):
            return {name: self.encoders[name](x) for name, x in inputs.items()}
        encoded = {}
        for name in (name for name in (*_CUBES, "table", "image", *self.graphs) if name in inputs):
            encoder = self.encoders[name]
            many = name == "image" or name in _CUBES  # tokens
            encode = encoder.forward_features if many else encoder
            encoded[name] = encode(inputs[name])  # type: ignore[operator]
        return encoded

    def fuse(self, encoded: dict[str, Tensor]) -> Float[Tensor, "b d"]:
        """The fused vector of what `encode` made."""
        if isinstance(self.fusion, Concat):
            return self.fusion([encoded[name] for name in self.modalities])
        return self.fusion(
            [encoded[name] for name in _CUBES if name in encoded],
            encoded["table"],
            encoded["image"],
            torch.cat([encoded[name] for name in self.graphs], dim=-1),
        )

    def _graph_rows(self, batch: SurveyBatch) -> Tensor:
        rows = batch.graph_rows()
        if self.training and self.config.gfv_drop:
            seen = torch.rand(len(batch), device=rows.device) >= self.config.gfv_drop
            return keep_rows(rows, seen)
        return rows

    @torch.no_grad()
    def init_output_bias(self, frequency: np.ndarray | Tensor) -> None:
        r"""Start each species at the log-odds of its frequency, as if nothing else were known.

        Frequencies are kept 1e-5 away from 0 and 1. Multi-scale log-odds that are added to the
        logits hold the frequencies already: the bias then stays at zero.

        Shapes:
            - **frequency:** :math:`(S,)` share of surveys with each species

        Raises:
            ValueError: if their number is another, or some are outside [0, 1].

        Example:
            >>> model = Tighnari(TighnariConfig(2, modalities=("gfv",), fusion="concat"))
            >>> model.init_output_bias(np.array([0.5, 0.0]))
            >>> model.head.bias.detach()
            tensor([  0.0000, -11.5129])
        """
        share = torch.as_tensor(frequency, dtype=torch.float64, device="cpu")
        if share.shape != (self.config.num_species,) or not ((share >= 0) & (share <= 1)).all():
            raise ValueError(
                f"frequency must be {self.config.num_species} numbers from 0 to 1, got shape "
                f"{tuple(share.shape)}"
            )
        if not self.offset:
            self.head.bias.copy_(share.clamp(_RAREST, 1 - _RAREST).logit())

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config, weights, and what else the attributes hold.

        Raises:
            ValueError: if the width of the table is not known yet, because no batch was seen, or
                species ids, surveys or multi-scale model are not those of the model.

        Example:
            >>> import tempfile
            >>> model = Tighnari(TighnariConfig(2, modalities=("gfv",), fusion="concat")).eval()
            >>> batch = SurveyBatch(torch.tensor([7]), gfv=torch.ones(1, 2))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     model.save_pretrained(folder)
            ...     again = Tighnari.from_pretrained(folder)
            >>> torch.equal(again(batch), model(batch))
            True
        """
        config = self.config
        if "table" in self.modalities:
            width = self.encoders["table"].num_features_in
            if width is None:
                raise ValueError(
                    "the width of the table is not known yet: give num_table_features, or run the "
                    "model on a batch, before saving"
                )
            config = replace(config, num_table_features=int(width))  # type: ignore[arg-type]
        saved = SavedModel(
            config, self.state_dict(), self.preprocessing, self.species_ids, self.surveys,
            self.multiscale,
        )  # fmt: skip
        write_folder(saved, folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "Tighnari":
        """A saved model on the CPU, in eval mode; nothing is downloaded and no pickle is read.

        Raises:
            SurveyDataError: if the folder holds no saved model, or a file is missing, broken or
                of another version; names the file.
        """
        saved = read_folder(folder)
        config = replace(saved.config, pretrained=False, weights=None)
        try:
            require_shapes(config, saved.weights, lambda: cls(config))
            with torch.random.fork_rng(devices=[]):  # drawing weights to replace: nobody's business
                model = cls(config)
        except (ArithmeticError, MemoryError, RuntimeError, TypeError, ValueError) as error:
            raise SurveyDataError(
                f"{Path(folder) / CONFIG}: no model can be built of it ({error})"
            ) from error
        try:
            model.load_state_dict(saved.weights)
        except RuntimeError as error:
            raise SurveyDataError(
                f"{Path(folder) / WEIGHTS}: not the weights of the model in the config beside it "
                f"({error})"
            ) from error
        model.preprocessing, model.species_ids = saved.preprocessing, saved.species_ids
        model.surveys, model.multiscale = saved.surveys, saved.multiscale
        return model.eval()
