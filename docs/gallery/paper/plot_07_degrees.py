"""
Figure 7: degrees
=================

How many neighbours surveys have, on a logarithmic scale, and the square root of it, rounded, by
which graph features are divided.
"""

from tighnari_graph import SurveyGraph, SurveyTable
from tighnari_graph.plots import plot_degrees
from tighnari_graph.virtual import virtual_europe

graph = SurveyGraph.from_surveys(SurveyTable.from_long(virtual_europe(1500).pa_train))
axes = plot_degrees(graph)
