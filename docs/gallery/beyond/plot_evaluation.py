"""
An evaluation
=============

A method on held-out blocks, its score by region and by degree, how reliable its probabilities are,
and a map of the score. Random folds stand beside: what they would have claimed.
"""

from tighnari_graph import CommunityF1, MultiScale, SurveyTable
from tighnari_graph.virtual import virtual_europe
from tighnari_models import (
    evaluate,
    plot_evaluation,
    plot_f1_by,
    plot_f1_map,
    plot_reliability,
)


def chain(train, held_out):
    """Multi-scale features, fitted in a hurry."""
    return MultiScale.fit(train, steps=8).predict(held_out)


surveys = SurveyTable.from_long(virtual_europe(800, 50, 50, 120).pa_train)
found = evaluate(chain, surveys, rule=CommunityF1.fit, num_folds=3)
figure = plot_evaluation(found)

# %%
# How far its probabilities can be trusted:
curve = plot_reliability(found)

# %%
# By region, with intervals over blocks:
by_region = plot_f1_by(found, "region")

# %%
# By number of training neighbours; isolates apart:
by_degree = plot_f1_by(found, "degree")

# %%
# Where it is good:
f1_map = plot_f1_map(found, cell_km=100)
