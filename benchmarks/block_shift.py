"""What the block shift is, and what `exclude_block=` does to a trained model, on held-out blocks.

Models of table and graph feature (the demo preset) are trained with and without the switch, with
the same seeds, splits and order of surveys. What is held out takes part in nothing.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from tighnari_graph.block_shift import EXCLUDED, TRAINING, feature_shift
from tighnari_graph.bootstrap import block_interval
from tighnari_graph.folder import DataFolder
from tighnari_graph.readers import read_glc24_pa
from tighnari_graph.splits import block_folds, block_ids, some_blocks
from tighnari_graph.surveys import SurveyTable
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.fit import fit
from tighnari_models.post_processing import post_processing
from tighnari_models.prediction import predict
from tighnari_models.presets import PRESETS

STEP = "Threshold Top-K"
BLOCK_KM = 10.0


@dataclass(frozen=True)
class Trial:
    """How the models are trained.

    Attributes:
        folds: block folds held out in turn.
        seeds: how often each model is trained.
        epochs: instead of the preset's.
        gfv_drop: share of training surveys whose graph feature is hidden, instead of the preset's.
    """

    folds: int = 3
    seeds: int = 2
    epochs: int | None = None
    gfv_drop: float | None = None


def held_out_f1(
    surveys: SurveyTable, trial: Trial, exclude_block: float | None, out: Path
) -> np.ndarray:
    r"""F1 of every survey while it was held out, mean over seeds, :math:`(N,)`.

    K and θ of a fold are chosen on the other folds.
    """
    preset = PRESETS["demo"]
    folds = block_folds(surveys, trial.folds)
    data = SurveyDataModule(surveys, batch_size=preset.batch_size, exclude_block=exclude_block)
    config = preset.config(len(data.species_ids), data.modalities)
    if trial.gfv_drop is not None:
        config = replace(config, gfv_drop=trial.gfv_drop)
    options = replace(preset.training, progress=False)
    epochs = trial.epochs or preset.max_epochs
    scores = []
    runs = [(seed, fold) for seed in range(trial.seeds) for fold in range(trial.folds)]
    logits = np.empty((len(surveys), len(data.species_ids)), dtype=np.float32)
    for seed, fold in tqdm(runs, f"exclude_block={exclude_block}", disable=None, leave=False):
        held_out = folds == fold
        part = np.full(len(surveys), -1)
        part[~held_out] = block_folds(surveys.subset(~held_out), preset.folds, seed=seed)
        split = data.with_split(~held_out & (part != 0), part == 0)
        place = out / f"{exclude_block}_{trial.gfv_drop}" / f"seed_{seed}_fold_{fold}"
        model = fit(config, split, place, epochs, seed, options).model
        unseen = data.dataset(held_out, ~held_out, model.preprocessing)
        logits[held_out] = predict(model, unseen)
        if fold == trial.folds - 1:
            blocks = block_ids(surveys.lat, surveys.lon)
            found = post_processing(logits, surveys.known_labels(), folds, blocks)
            scores.append(found.survey_f1[STEP])
    return np.mean(scores, axis=0)


def compare(surveys: SurveyTable, trials: Sequence[Trial], out: Path) -> pd.DataFrame:
    """Samples-F1 with and without the switch, and the difference with its 95 % interval."""
    blocks = block_ids(surveys.lat, surveys.lon)
    rows = []
    for trial in trials:
        begin = time.perf_counter()
        plain, excluded = (held_out_f1(surveys, trial, km, out) for km in (None, BLOCK_KM))
        low, high = block_interval(excluded - plain, blocks)
        drop = PRESETS["demo"].model["gfv_drop"] if trial.gfv_drop is None else trial.gfv_drop
        rows.append(
            {
                "share of graph features hidden": drop, TRAINING: plain.mean(),
                EXCLUDED: excluded.mean(), "difference": (excluded - plain).mean(),
                "from": low, "to": high, "seconds": time.perf_counter() - begin,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def main() -> None:
    """Print the distributions before and after, then the scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a GeoLifeCLEF 2024 folder")
    parser.add_argument("--folds", type=int, default=3, help="block folds held out in turn")
    parser.add_argument("--seeds", type=int, default=2, help="models per fold")
    parser.add_argument("--epochs", type=int, help="instead of the demo preset's")
    parser.add_argument("--limit", type=int, help="use this many surveys, of whole blocks")
    parser.add_argument(
        "--gfv-drop", type=float, nargs="+", default=[0.5, 0.0],
        help="shares of training surveys whose graph feature is hidden",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, help="where models go, to be resumed; by default none")
    given = parser.parse_args()
    surveys = read_glc24_pa(DataFolder.find(given.data).pa)
    surveys = some_blocks(surveys, given.limit or len(surveys))
    data = SurveyDataModule(surveys)
    shift = feature_shift(data.graph, block_folds(surveys, given.folds), BLOCK_KM)
    print(f"{len(surveys):,} surveys, {given.folds} block folds\n\n{shift.round(2).to_string()}\n")
    trials = [Trial(given.folds, given.seeds, given.epochs, drop) for drop in given.gfv_drop]
    with tempfile.TemporaryDirectory() as folder:
        found = compare(surveys, trials, given.out or Path(folder))
    print(f"samples-F1 ({STEP}, mean of {given.seeds} seeds), difference with 95 % interval\n")
    print(found.round(4).to_string(index=False))


if __name__ == "__main__":
    main()
