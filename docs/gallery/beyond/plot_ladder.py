"""
The steps of the graph-only prediction
======================================

From the frequency of all surveys to the neighbours' shares, on held-out blocks; circles are what
random folds would have claimed.
"""

from tighnari_graph import SurveyTable, block_folds, random_folds
from tighnari_graph.ladder import climb
from tighnari_graph.plots import plot_ladder
from tighnari_graph.virtual import virtual_europe

surveys = SurveyTable.from_long(virtual_europe(800, 50, 50, 120).pa_train)
blocks = climb(surveys, block_folds(surveys, 3)).table["samples-F1"]
claimed = climb(surveys, random_folds(surveys, 3)).table["samples-F1"]
ax = plot_ladder(blocks.to_dict(), claimed.to_dict())
