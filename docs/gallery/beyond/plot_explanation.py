"""
What a prediction is the sum of
===============================

A map of the surveys that a prediction is made of, sized by their share, and the first species as
stacked bars.
"""

from tighnari_graph import SurveyGraph, SurveyTable, explain
from tighnari_graph.virtual import virtual_europe

surveys = SurveyTable.from_long(virtual_europe(1500, 50, 50, 120).pa_train)
graph = SurveyGraph.from_surveys(surveys)
several = int((graph.degree() - 6).abs().argmin())  # a survey with about six neighbours
found = explain(graph, int(graph.survey_id[several]))
figure = found.plot()
