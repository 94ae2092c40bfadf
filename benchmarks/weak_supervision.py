"""What pre-training on presence-only (PO) surveys is worth, loss by loss, on held-out blocks.

Models of table and graph feature (the demo preset) are trained on the same folds from the same
seeds: on presence–absence (PA) surveys alone, on PO surveys alone, and on PO then PA. Of the PA
surveys outside a fold a tenth, of whole blocks, chooses the best epoch; the fold takes part in
nothing. With shared/data/glc24 this flatters PO surveys: that file is made of further PA surveys of
the same pool, as precise as those and also inside the held-out blocks, thinned to a third of their
species.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from tighnari_graph.bootstrap import block_interval
from tighnari_graph.folder import DataFolder
from tighnari_graph.readers import read_glc24_pa, read_glc24_po, species_vocabulary
from tighnari_graph.splits import block_folds, block_ids, some_blocks
from tighnari_graph.surveys import SurveyTable
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.fit import FitResult, fit
from tighnari_models.post_processing import post_processing
from tighnari_models.prediction import predict
from tighnari_models.presets import PRESETS
from tighnari_models.pretraining import pretrain

STEP = "Threshold Top-K"
ALONE = "PA alone"
AGAIN = "PA, then PA again"  # two trainings, as PO then PA, and no PO survey
LOSSES: dict[str, dict[str, Any]] = {
    "bce": {},
    "negatives weigh 0.3": {"loss": "weak", "negative_weight": 0.3},
    "negatives are 0.002": {"loss": "weak", "negative_target": 0.002},
    "negatives are 0.05": {"loss": "weak", "negative_target": 0.05},
    "positives weigh 10": {"loss": "weak", "positive_weight": 10.0},
}


@dataclass(frozen=True, eq=False)
class Trial:
    """How the models are trained.

    Attributes:
        losses: name → fields of `TrainingOptions` for the PO surveys.
        folds: block folds held out in turn.
        seeds: how often each model is trained.
        epochs: of each training, instead of the preset's.
    """

    losses: Mapping[str, Mapping[str, Any]]
    folds: int = 3
    seeds: int = 1
    epochs: int | None = None


def compare(surveys: SurveyTable, po: SurveyTable, trial: Trial) -> pd.DataFrame:
    """A row per way: samples-F1 and its difference from PA alone with a 95 % interval.

    K and θ of a fold are chosen on the other folds; differences are paired survey by survey, their
    interval is drawn over 10 km blocks.
    """
    blocks, folds = block_ids(surveys.lat, surveys.lon), block_folds(surveys, trial.folds)
    labels = surveys.known_labels()
    data = SurveyDataModule(surveys, batch_size=PRESETS["demo"].batch_size)
    f1: dict[str, list[np.ndarray]] = {}
    seconds: dict[str, float] = {}
    bar = tqdm(total=trial.seeds * trial.folds, desc="folds", disable=None, leave=False)
    for seed in range(trial.seeds):
        logits: dict[str, np.ndarray] = {}
        for fold in range(trial.folds):
            held_out = folds == fold
            for way, result, spent in _trained(data, po, held_out, trial, seed):
                unseen = data.dataset(held_out, ~held_out, result.model.preprocessing)
                rows = logits.setdefault(way, np.empty(labels.shape, dtype=np.float32))
                rows[held_out] = predict(result.model, unseen)
                seconds[way] = seconds.get(way, 0.0) + spent
            bar.update()
        for way, rows in logits.items():
            found = post_processing(rows, labels, folds, blocks)
            f1.setdefault(way, []).append(found.survey_f1[STEP])
    bar.close()
    means = {way: np.mean(scores, axis=0) for way, scores in f1.items()}
    table = []
    for way, scores in means.items():
        gain = scores - means[ALONE]
        low, high = block_interval(gain, blocks)
        table.append(
            {
                "way": way, "samples-F1": scores.mean(), "difference": gain.mean(), "from": low,
                "to": high, "seconds a fold": seconds[way] / trial.folds / trial.seeds,
            }
        )  # fmt: skip
    return pd.DataFrame(table).set_index("way")


def _trained(
    data: SurveyDataModule, po: SurveyTable, held_out: np.ndarray, trial: Trial, seed: int
) -> Iterator[tuple[str, FitResult, float]]:
    """Every way's model for one fold, and the seconds that it took from scratch."""
    preset = PRESETS["demo"]
    options = replace(preset.training, progress=False)
    epochs = trial.epochs or preset.max_epochs
    rest = np.flatnonzero(~held_out)
    val = np.zeros(len(held_out), dtype=bool)
    val[rest] = block_folds(data.surveys.subset(rest), 10, seed=seed) == 0
    split = data.with_split(~held_out & ~val, val)
    config = preset.config(len(data.species_ids), data.modalities)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        begin = time.perf_counter()
        alone = fit(config, split, out / "pa", epochs, seed, options)
        first = time.perf_counter() - begin
        yield ALONE, alone, first
        begin = time.perf_counter() - first
        again = fit(config, split, out / "again", epochs, seed, options, alone.model)
        yield AGAIN, again, time.perf_counter() - begin
        for number, (name, loss) in enumerate(trial.losses.items()):
            begin = time.perf_counter()
            weak = replace(options, **loss)
            start = pretrain(config, po, split, out / f"po_{number}", epochs, seed, weak)
            first = time.perf_counter() - begin
            yield f"PO alone, {name}", start, first
            begin = time.perf_counter() - first
            fine = fit(config, split, out / f"fine_{number}", epochs, seed, options, start.model)
            yield f"PO ({name}), then PA", fine, time.perf_counter() - begin


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a GeoLifeCLEF 2024 folder")
    parser.add_argument("--folds", type=int, default=3, help="block folds held out in turn")
    parser.add_argument("--seeds", type=int, default=1, help="models per fold")
    parser.add_argument("--epochs", type=int, help="instead of the demo preset's")
    parser.add_argument("--limit", type=int, help="use this many surveys, of whole blocks")
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    given = parser.parse_args()
    folder = DataFolder.find(given.data)
    if folder.po is None:
        parser.error(f"{given.data}: no presence-only file")
    species = species_vocabulary(folder.pa, folder.po)
    surveys = read_glc24_pa(folder.pa, species)
    surveys = some_blocks(surveys, given.limit or len(surveys))
    po = read_glc24_po(folder.po, species)
    losses = {name: LOSSES[name] for name in given.losses}
    found = compare(surveys, po, Trial(losses, given.folds, given.seeds, given.epochs))
    print(
        f"{len(surveys):,} PA surveys, {len(po):,} PO surveys, {given.folds} block folds, "
        f"{given.seeds} seeds\nsamples-F1 ({STEP}), difference from {ALONE} with 95 % interval\n"
    )
    print(found.round(4).to_string())


if __name__ == "__main__":
    main()
