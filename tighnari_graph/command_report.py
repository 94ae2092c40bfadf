"""The report of the main job: what was read, the graph made of it, and what it predicts."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from tighnari_graph.evaluation_report import add_evaluation
from tighnari_graph.evaluation_result import Evaluation
from tighnari_graph.figures import plot_locations, plot_species_frequency
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.ladder import Ladder
from tighnari_graph.plots import (
    plot_block_shift,
    plot_degrees,
    plot_ladder,
    plot_survey_map,
    plot_threshold_top_k,
)
from tighnari_graph.recipe import HeldOutScales
from tighnari_graph.report import Report, key_values
from tighnari_graph.splits import fold_report
from tighnari_graph.summary import GraphSummary
from tighnari_graph.surveys import SurveyTable


@dataclass(frozen=True, eq=False)
class Findings:
    r"""What the job read and found.

    Attributes:
        train, test, po: the surveys; None without presence-only ones.
        graph: of the labelled surveys.
        block: :math:`(N,)` block fold of each of them.
        ladder, random: every step on block folds and on random folds.
        scales: multi-scale features on the same block folds, by name; None where not tried.
    """

    train: SurveyTable
    test: SurveyTable
    po: SurveyTable | None
    graph: SurveyGraph
    block: np.ndarray
    ladder: Ladder
    random: Ladder
    scales: dict[str, HeldOutScales] | None

    @property
    def evaluation(self) -> Evaluation:
        """Of the method that made the submission, on block folds."""
        if not self.scales:
            return self.ladder.evaluation
        return list(self.scales.values())[-1].evaluation

    @cached_property
    def summary(self) -> GraphSummary:
        """Of the graph."""
        return self.graph.summary()


def write_report(path: Path, subtitle: str, found: Findings, summary: dict[str, object]) -> None:
    """Result, surveys, graph, block shift, scores and where they hold, in one HTML file."""
    report = Report("Survey graph and graph-only prediction", subtitle)
    report.add("Result", table=key_values(list(summary.items())))
    _add_surveys(report, found)
    _add_graph(report, found)
    _add_scores(report, found)
    report.write(path)


def _add_surveys(report: Report, found: Findings) -> None:
    report.add(
        "Where surveys are",
        "Presence–absence surveys with labels (PA), presence-only ones (PO) and those to predict.",
        figure=plot_locations(found.train, found.test, found.po),
    )
    report.add(
        "Species",
        "Most species are rare: the commonest stand left. The number of species in a survey shows "
        "where K is to be sought.",
        figure=plot_species_frequency(found.train)[0],
    )


def _add_graph(report: Report, found: Findings) -> None:
    graph = found.graph
    report.add("The graph", table=found.summary.to_frame())
    report.add(
        "Neighbours",
        "Colour is the number of neighbours of the same year and region within the radius; "
        "an isolate has none.",
        figure=plot_survey_map(graph, np.stack([found.test.lat, found.test.lon], axis=1)),
    )
    report.add(
        "Degrees",
        "Features are divided by √degree, which is spread more evenly than the degree itself.",
        figure=plot_degrees(graph)[0],
    )
    report.add(
        "The block shift",
        "Held-out blocks have fewer training neighbours than training surveys have among "
        "themselves, as the competition's test surveys do.",
        table=fold_report(graph, found.block).round(3),
        figure=plot_block_shift(graph, found.block)[0],
        index=True,
    )
    report.add("Years and regions", "Training surveys.", found.summary.groups.reset_index())


def _add_scores(report: Report, found: Findings) -> None:
    table = found.ladder.table.assign(**{"random folds": found.random.table["samples-F1"]})
    if found.scales is not None:
        table = pd.concat([table, *(scales.table for scales in found.scales.values())])
    report.add(
        "The ladder",
        "Samples-F1 on held-out 10 km blocks, with K, θ and λ chosen on the other folds; beside "
        "it the best that the same folds could give, and what random folds would have claimed.",
        table=table.round(4),
        figure=plot_ladder(table["samples-F1"].to_dict(), table["random folds"].dropna().to_dict()),
        index=True,
    )
    report.add(
        "K and θ",
        "Samples-F1 of every pair on the block folds; θ = 0 is plain Top-K.",
        figure=plot_threshold_top_k(found.ladder.rule),
    )
    add_evaluation(report, found.evaluation, "held-out blocks")
