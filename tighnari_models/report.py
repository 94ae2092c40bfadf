"""The report of a training: what was reached, and how it came about."""

from pathlib import Path

import pandas as pd

from tighnari_graph.plots import plot_threshold_top_k
from tighnari_graph.report import Report, key_values
from tighnari_models.cross_fusion import FusionResult
from tighnari_models.plots import plot_history, plot_steps
from tighnari_models.post_processing import PostProcessing


def write_report(
    path: Path,
    subtitle: str,
    fusion: FusionResult,
    scored: PostProcessing,
    unseen: PostProcessing | None,
    summary: dict[str, object],
) -> None:
    """Loss curves, the steps of the post-processing, K × θ and epochs, in one HTML file."""
    report = Report(
        "Tighnari: training, cross-fusion and submission",
        subtitle,
    )
    report.add("Result", table=key_values(list(summary.items())))
    histories = {f"fold {i}": fold.history for i, fold in enumerate(fusion.folds)}
    report.add(
        "Loss curves",
        "Binary cross-entropy over the epochs; a dot marks the epoch whose weights were kept.",
        figure=plot_history(histories),
    )
    report.add(
        "Post-processing",
        "Samples-F1 of the averaged logits on the tuning surveys, which no model has seen, K and θ "
        "chosen on other blocks of them; 95 % intervals over blocks. The first row is what the "
        "survey graph predicts without a model.",
        table=scored.table.round(4),
        figure=plot_steps(scored.table),
        index=True,
    )
    if unseen is not None:
        report.add(
            "All block folds",
            "Every survey as predicted by a model that did not learn from its fold (it did choose "
            "that model's best epoch), K and θ chosen on the other folds.",
            table=unseen.table.round(4),
            figure=plot_steps(unseen.table),
            index=True,
        )
    report.add(
        "K and θ",
        "Samples-F1 of every pair on the tuning surveys; θ = 0 is plain Top-K.",
        figure=plot_threshold_top_k(scored.rule),
    )
    table = pd.concat(histories, names=["fold"]).reset_index(level=0)
    report.add("Epochs", table=table.round(5))
    report.write(path)
