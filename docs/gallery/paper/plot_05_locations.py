"""
Figure 5: where surveys are
===========================

Presence-only lists (PO) lie where observers live, presence–absence surveys (PA) in clusters, and
those to predict in blocks of their own.
"""

from tighnari_graph import SurveyTable
from tighnari_graph.figures import plot_locations
from tighnari_graph.virtual import virtual_europe

world = virtual_europe(1500, 300, 1200, 60)
tables = [SurveyTable.from_long(rows) for rows in (world.pa_train, world.pa_test, world.po)]
ax = plot_locations(*tables)
