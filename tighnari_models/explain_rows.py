"""What a model can be shown in place of each modality of a survey, and what it then predicts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor
from tqdm import tqdm

from tighnari_graph.errors import refuse
from tighnari_graph.gfv import GFVScaler
from tighnari_models.data.batch import SurveyBatch
from tighnari_models.data.dataset import SurveyDataset
from tighnari_models.opened_models import seen_by
from tighnari_models.tighnari import Tighnari

_NOTHING = torch.zeros(0)


@dataclass(frozen=True, eq=False)
class Choices:
    r"""Rows to choose from for each modality of one model, encoded once.

    Row 0 is the explained survey's own, the next ones are those of background surveys; of graph
    features there may be more, made of some of the survey's neighbours.

    Attributes:
        model: that takes them, in eval mode and on the device that computes.
        survey_id: of the explained survey.
        encoded: modality → what the model's encoder makes of its rows.
        scales, scales_rest: the multi-scale rows as they are, dense, for the model's offset; empty
            without them.
    """

    model: Tighnari
    survey_id: int
    encoded: dict[str, Tensor]
    scales: Tensor
    scales_rest: Tensor

    @classmethod
    def of(
        cls,
        model: Tighnari,
        survey: SurveyDataset,
        background: SurveyDataset,
        device: torch.device,
        features: Tensor | None = None,
    ) -> "Choices":
        """Read the rows, as the model was trained to see them, and encode them.

        Args:
            model: what is explained.
            survey: the one survey.
            background: where absent modalities come from.
            device: where the model is.
            features: further graph feature vectors, sparse CSR, not on the model's scale yet.

        Raises:
            ValueError: if the surveys lack a modality of the model.
        """
        own, others = (_batch(model, data).to(device) for data in (survey, background))
        with torch.inference_mode():
            parts = model.encode(own), model.encode(others)
            encoded = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            steps = model.preprocessing or survey.preprocessing
            if features is not None and "gfv" in encoded and steps is not None:
                more = (steps.gfv or GFVScaler(None)).transform(features).to(device)
                encoded["gfv"] = torch.cat([encoded["gfv"], model.encoders["gfv"](more)])
        rows = [(part.scales, part.scales_rest) for part in (own, others)]
        scales = torch.cat([best.to_dense() for best, _ in rows if best is not None] or [_NOTHING])
        rest = torch.cat([rest for _, rest in rows if rest is not None] or [_NOTHING])
        return cls(model, int(own.survey_id[0]), encoded, scales, rest)

    def logits(self, rows: dict[str, Tensor]) -> Tensor:
        r"""Logits, :math:`(R, S)`, with these rows, :math:`(R,)` each, of the modalities."""
        encoded = {name: values[rows[name]] for name, values in self.encoded.items()}
        num = len(next(iter(rows.values())))
        batch = SurveyBatch(torch.full((num,), self.survey_id))
        if "scales" in encoded:
            at = rows["scales"]
            batch = batch.replace(scales=self.scales[at], scales_rest=self.scales_rest[at])
        return self.model.decode(encoded, batch).float()


def probabilities(
    choices: Sequence[Choices], rows: dict[str, np.ndarray], device: torch.device
) -> np.ndarray:
    r"""Probabilities of the mean logits.

    Shapes:
        - **rows:** :math:`(R,)` each, which row of each modality
        - **output:** :math:`(R, S)` float64

    Raises:
        SurveyDataError: if logits are not finite.
    """
    chosen = {name: torch.from_numpy(row).to(device) for name, row in rows.items()}
    with torch.inference_mode():
        each = [one.logits(chosen) for one in choices]
        logits = (torch.stack(each).sum(0) / len(each)).double().cpu().numpy()
    ids = np.full(len(logits), choices[0].survey_id)
    refuse("explain_model", ~np.isfinite(logits).all(axis=1), ids, "logits that are not finite")
    return np.asarray(expit(logits))


def mean_probabilities(
    choices: Sequence[Choices],
    rows: dict[str, np.ndarray],
    group: np.ndarray,
    weight: np.ndarray,
    columns: np.ndarray,
    batch_size: int,
    device: torch.device,
) -> np.ndarray:
    r"""Weighted sums of probabilities over the rows of each group, of some species.

    Shapes:
        - **rows, group, weight:** :math:`(R,)` each; **columns:** :math:`(C,)`
        - **output:** :math:`(G, C)`
    """
    sums = np.zeros((int(group.max()) + 1, len(columns)))
    starts = range(0, len(group), batch_size)
    for start in tqdm(starts, "explaining", delay=2, disable=None, leave=False):
        part = slice(start, start + batch_size)
        p = probabilities(choices, {name: row[part] for name, row in rows.items()}, device)
        np.add.at(sums, group[part], p[:, columns] * weight[part, None])
    return sums


def _batch(model: Tighnari, data: SurveyDataset) -> SurveyBatch:
    return seen_by(model, data).__getitems__(list(range(len(data))))
