"""Models given as such or as folders, checked against a data set, ready to compute."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from tighnari_graph.errors import SurveyDataError
from tighnari_models.data.dataset import SurveyDataset
from tighnari_models.tighnari import Tighnari

Model: TypeAlias = Tighnari | str | Path


@contextmanager
def evaluating(models: list[Tighnari], device: torch.device) -> Iterator[None]:
    """Models on the device and without dropout; afterwards as and where they were."""
    before = [(model.training, next(model.parameters()).device) for model in models]
    try:
        for model in models:
            model.to(device).eval()
        yield
    finally:
        for model, (training, home) in zip(models, before, strict=True):
            model.to(home).train(training)


def open_models(models: Model | Sequence[Model]) -> list[Tighnari]:
    """The models, those given as folders read from disk; ValueError if there are none."""
    given = [models] if isinstance(models, Tighnari | str | Path) else list(models)
    opened: list[Tighnari] = []
    for model in given:
        if isinstance(model, Tighnari):
            opened.append(model)
        else:
            opened += [Tighnari.from_pretrained(folder) for folder in _model_folders(Path(model))]
    if not opened:
        raise ValueError("there are no models to predict with")
    return opened


def _model_folders(folder: Path) -> list[Path]:
    """The folder itself, that of a run inside, or those of all folds."""
    for found in ([folder], [folder / "model"], sorted(folder.glob("fold_*/model"))):
        found = [path for path in found if (path / "config.json").exists()]
        if found:
            return found
    raise SurveyDataError(
        f"{folder}: no saved model; expected config.json in it, in model/ or in fold_*/model/"
    )


def seen_by(model: Tighnari, dataset: SurveyDataset) -> SurveyDataset:
    """The surveys through the preprocessing that the model was trained with, where it has one."""
    if model.preprocessing is None or model.preprocessing is dataset.preprocessing:
        return dataset
    return dataset.with_preprocessing(model.preprocessing)


def refuse_other_species(model: Tighnari, species_ids: np.ndarray) -> None:
    """Raise ValueError unless the model's columns stand for these species."""
    if model.config.num_species != len(species_ids):
        raise ValueError(
            f"the model knows {model.config.num_species} species, the data set {len(species_ids)}"
        )
    if model.species_ids is not None and not np.array_equal(model.species_ids, species_ids):
        differing = int((np.asarray(model.species_ids) != species_ids).sum())
        raise ValueError(
            f"{differing} of {len(species_ids)} columns stand for another species in the model "
            "than in the data set: read both with one vocabulary (species_ids=)"
        )
