"""
Surveys by their number of neighbours
=====================================

Dense and lonely places; isolates have no neighbour, test surveys are crosses. Below, the same
surveys in an interactive map, test surveys as a layer of their own.
"""

import numpy as np

from tighnari_graph import SurveyGraph, SurveyTable, hetero_explore
from tighnari_graph.plots import plot_survey_map
from tighnari_graph.virtual import virtual_europe

world = virtual_europe(1500, 300)
graph = SurveyGraph.from_surveys(SurveyTable.from_long(world.pa_train))
test = SurveyTable.from_long(world.pa_test)
ax = plot_survey_map(graph, np.stack([test.lat, test.lon], axis=1))

# %%
# In a browser: point at a survey to see its neighbours, search by survey id, zoom in to see edges.
# ``hetero_explore(graph.attach(test), "map.html")`` writes it as one file that needs no network;
# ``graph.explore()`` is the map without test surveys.
page = hetero_explore(graph.attach(test))
