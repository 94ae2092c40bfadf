"""
Figure 11: K and θ
==================

Samples-F1 of every K and threshold that were tried on held-out blocks, and the pair that is
chosen.
"""

from tighnari_graph import MultiScale, SurveyTable, ThresholdTopK
from tighnari_graph.plots import plot_threshold_top_k
from tighnari_graph.virtual import virtual_europe

surveys = SurveyTable.from_long(virtual_europe(800, 50, 50, 120).pa_train)
unseen = MultiScale.fit(surveys, steps=8).predict_training(surveys)
rule = ThresholdTopK.fit(unseen.probabilities, surveys.labels)
ax = plot_threshold_top_k(rule)
