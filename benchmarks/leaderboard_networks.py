"""The leaderboard's methods that train a network: two perceptrons and Tighnari."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from sklearn.neural_network import MLPClassifier
from torch import nn
from torch.nn import functional as F

from benchmarks.leaderboard_methods import Settings, best_species, table_features
from tighnari_graph.scale_rows import ScaleRows
from tighnari_graph.sparse import Labels
from tighnari_graph.splits import block_folds
from tighnari_graph.surveys import SurveyTable
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.fit import fit
from tighnari_models.held_out import Predicted
from tighnari_models.post_processing import listed_probabilities
from tighnari_models.prediction import predict
from tighnari_models.presets import PRESETS

EPOCH_SETTINGS = (5, 10, 20, 40)
SCIKIT_SETTINGS = (5, 10, 20)
_BATCH = 64
_WIDTH = 256
_DROP = 0.3
_RAREST = 1e-5
_PARTS = 10  # Tighnari's best epoch is chosen on one of so many block folds


def scikit_perceptron(
    environment: pd.DataFrame | None,
    train: SurveyTable,
    held_out: SurveyTable,
    settings: Settings,
) -> Iterator[Labels]:
    """Scikit-learn's perceptron of one hidden layer; a setting is the number of epochs.

    Epochs are counted one by one: its own early stopping looks at whole sets that are right, of
    which there are none among thousands of species.
    """
    labels = train.known_labels().toarray().astype(np.int64)
    near, far = table_features(train, held_out, environment)
    batch = min(_BATCH, len(near))
    model = MLPClassifier((_WIDTH,), alpha=1e-3, batch_size=batch, random_state=0)
    for epoch in range(1, max(settings) + 1):
        model.partial_fit(near, labels, classes=np.arange(labels.shape[1]))
        if epoch in settings:
            yield model.predict_proba(far)


def torch_perceptron(
    environment: pd.DataFrame | None,
    train: SurveyTable,
    held_out: SurveyTable,
    settings: Settings,
    seed: int = 0,
) -> Iterator[Labels]:
    """Two hidden layers with dropout, AdamW with weight decay; a setting is the number of epochs.

    Species start at the log-odds of their frequency.
    """
    labels = train.known_labels()
    near, far = (torch.from_numpy(x) for x in table_features(train, held_out, environment))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        last = nn.Linear(_WIDTH, labels.shape[1])
        model = nn.Sequential(
            nn.Linear(near.shape[1], _WIDTH), nn.ReLU(), nn.Dropout(_DROP),
            nn.Linear(_WIDTH, _WIDTH), nn.ReLU(), nn.Dropout(_DROP),
            last,
        )  # fmt: skip
        share = torch.from_numpy(np.asarray(labels.mean(axis=0), dtype=np.float32)).ravel()
        with torch.no_grad():
            last.bias.copy_(share.clamp(_RAREST, 1 - _RAREST).logit())
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
        for epoch in range(1, max(settings) + 1):
            for rows in torch.randperm(len(near)).split(_BATCH):
                y = torch.from_numpy(labels[rows.numpy()].toarray())
                loss = F.binary_cross_entropy_with_logits(model(near[rows]), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if epoch in settings:
                model.eval()
                with torch.no_grad():
                    p = model(far).sigmoid().numpy()
                model.train()
                yield p


def tighnari(
    environment: pd.DataFrame | None,
    presence_only: SurveyTable | None,
    modalities: tuple[str, ...],
    train: SurveyTable,
    held_out: SurveyTable,
    epochs: int | None = None,
) -> Labels | Predicted:
    """One model of the demo preset; a tenth of the training surveys chooses the best epoch.

    Graph features and multi-scale rows of the held-out surveys see all training surveys. Multi-
    scale rows also say how rich surveys with a species are expected to be, as the command uses it.
    """
    preset = PRESETS["demo"]
    data = SurveyDataModule(
        train, held_out, environment, modalities=modalities, batch_size=preset.batch_size,
        presence_only=presence_only,
    )  # fmt: skip
    val = block_folds(train, _PARTS, seed=1) == 0
    split = data.with_split(~val, val)
    config = preset.config(len(data.species_ids), data.modalities)
    options = replace(preset.training, progress=False)
    with tempfile.TemporaryDirectory() as folder:
        model = fit(config, split, Path(folder), epochs or preset.max_epochs, 0, options).model
        unseen = split.test_dataset(model.preprocessing)
        if unseen is None:
            raise ValueError("there are no surveys to predict")
        logits = predict(model, unseen)
    scales = unseen.inputs.scales
    if scales is None or scales.rows.richness is None:
        return best_species(expit(logits))
    p = listed_probabilities(logits, scales.rows.richness)
    rest = expit(logits).sum(axis=1) - np.asarray(p.sum(axis=1)).ravel()
    return ScaleRows(p, rest, scales.rows.richness)
