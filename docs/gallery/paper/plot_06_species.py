"""
Figure 6: how often species occur
=================================

Most species are rare, and surveys list few or many. The K of Top-K is to be sought in the range
of the lower half.
"""

from tighnari_graph import SurveyTable
from tighnari_graph.figures import plot_species_frequency
from tighnari_graph.virtual import virtual_europe

surveys = SurveyTable.from_long(virtual_europe(1500, 50, 50, 400).pa_train)
axes = plot_species_frequency(surveys)
