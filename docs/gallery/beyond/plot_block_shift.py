"""
The block shift
===============

Held-out surveys have fewer neighbours than training surveys: their block is gone with them. Hiding
the own block of training surveys (dashed) makes them alike.
"""

from tighnari_graph import SurveyGraph, SurveyTable, block_folds
from tighnari_graph.plots import plot_block_shift
from tighnari_graph.virtual import virtual_europe

surveys = SurveyTable.from_long(virtual_europe(1500).pa_train)
axes = plot_block_shift(SurveyGraph.from_surveys(surveys), block_folds(surveys, 5))
