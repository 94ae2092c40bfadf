"""The report of a training: what the model sees, what was reached, and how it came about."""

from pathlib import Path

import numpy as np
import pandas as pd

from tighnari_graph.evaluation_report import add_evaluation
from tighnari_graph.figure_columns import plot_boxes, plot_correlations
from tighnari_graph.figure_style import OKABE_ITO
from tighnari_graph.plots import plot_threshold_top_k
from tighnari_graph.report import Report, key_values
from tighnari_models.config import TighnariConfig
from tighnari_models.cross_fusion import FusionResult
from tighnari_models.data.batch import FILES
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.figure_architecture import plot_architecture
from tighnari_models.figure_tokens import plot_token_grids
from tighnari_models.figures import plot_cubes, plot_patch
from tighnari_models.plots import plot_history, plot_steps
from tighnari_models.scoring import Scores

_COLUMNS = 80  # of the table, in the figures of it
_MONTHLY = r"Bio-[a-z]+_\d\d_\d{4}"


def write_report(
    path: Path,
    subtitle: str,
    data: SurveyDataModule,
    fusion: FusionResult,
    scores: Scores,
    summary: dict[str, object],
) -> None:
    """Result, data, model, loss curves, scores and epochs, in one HTML file."""
    report = Report("Tighnari: training, cross-fusion and submission", subtitle)
    report.add("Result", table=key_values(list(summary.items())))
    _add_scores(report, scores)
    histories = {f"fold {i}": fold.history for i, fold in enumerate(fusion.folds)}
    report.add(
        "Loss curves",
        "Loss over the epochs, with mixup in training; a mark shows whose weights were kept.",
        figure=plot_history(
            histories, {f"fold {i}": f.best_epoch for i, f in enumerate(fusion.folds)}
        ),
    )
    _add_model(report, fusion.folds[0].model.config)
    _add_files(report, data)
    if "table" in data.modalities:
        _add_table(report, data.frame)
    table = pd.concat(histories, names=["fold"]).reset_index(level=0)
    table["epoch"] += 1
    report.add("Epochs", table=table.round(5))
    report.write(path)


def _add_scores(report: Report, scores: Scores) -> None:
    report.add(
        "Post-processing",
        "Samples-F1 of the averaged logits on the tuning surveys, which no model has seen, K and θ "
        "chosen on other blocks of them; 95 % intervals over blocks. The first row is what the "
        "survey graph predicts without a model.",
        table=scores.tuning.table.round(4),
        figure=plot_steps(scores.tuning.table),
        index=True,
    )
    found = scores.evaluation
    if scores.all_folds is not None:
        report.add(
            "All block folds",
            "Every survey as predicted by a model that did not learn from its fold (it did choose "
            "that model's best epoch), K and θ chosen on the other folds.",
            table=scores.all_folds.table.round(4),
            figure=plot_steps(scores.all_folds.table),
            index=True,
        )
    # of the tuning surveys not all neighbours are among them
    which = "tuning surveys" if scores.all_folds is None else "surveys of all block folds"
    add_evaluation(report, found, which, degrees=scores.all_folds is not None)
    report.add(
        "K and θ",
        "Samples-F1 of every pair on the tuning surveys; θ = 0 is plain Top-K.",
        figure=plot_threshold_top_k(scores.tuning.rule),
    )


def _add_model(report: Report, config: TighnariConfig) -> None:
    report.add("The model", "From its own configuration.", figure=plot_architecture(config))
    if set(FILES) & set(config.modalities):
        report.add(
            "Tokens",
            "How images and cubes are cut into what the attention of their encoders sees.",
            figure=plot_token_grids(config),
        )


def _add_files(report: Report, data: SurveyDataModule) -> None:
    """The first survey whose image or cubes could be read, as the files hold them."""
    arrays = data.arrays
    if arrays is None:
        return
    first = {name: int(np.argmax(found)) for name, found in arrays.found.items() if found.any()}
    cubes = {name: np.array(arrays.arrays[name][row]) for name, row in first.items()}
    image = cubes.pop("image", None)
    if cubes:
        surveys = ", ".join(f"{name} of survey {arrays.survey_id[first[name]]}" for name in cubes)
        report.add("Time series", f"An example: {surveys}.", figure=plot_cubes(**cubes))
    if image is not None:
        survey = arrays.survey_id[first["image"]]
        report.add("Satellite image", f"An example: survey {survey}.", figure=plot_patch(image))


def _add_table(report: Report, frame: pd.DataFrame) -> None:
    """How the numbers of the table go together, and how they differ between regions."""
    numbers = frame.select_dtypes("number").dropna(axis=1, how="all")
    numbers = numbers.loc[:, ~numbers.columns.str.fullmatch(_MONTHLY)]
    columns = list(numbers.columns[:_COLUMNS])
    left_out = len(numbers.columns) - len(columns)
    text = f" {left_out} columns more are not shown." if left_out else ""
    report.add(
        "Correlations of the table",
        "Columns that go together stand together; monthly climate is left out." + text,
        figure=plot_correlations(frame, columns=columns),
    )
    if "region" in frame and frame["region"].notna().any():
        shown = frame["region"].value_counts().index[: len(OKABE_ITO)]
        others = frame["region"].nunique() - len(shown)
        text = f" {others} regions with fewer surveys are not shown." if others else ""
        report.add(
            "The table by region",
            "Boxes hold the middle half of the surveys, whiskers nine tenths." + text,
            figure=plot_boxes(frame, frame["region"].where(frame["region"].isin(shown)), columns),
        )
