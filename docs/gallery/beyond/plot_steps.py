"""
What each step of the post-processing is worth
==============================================

Top-K, tuned K, Threshold Top-K, with intervals over blocks.
"""

from scipy.special import logit

from tighnari_graph import MultiScale, SurveyTable, block_folds, block_ids
from tighnari_graph.virtual import virtual_europe
from tighnari_models.plots import plot_steps
from tighnari_models.post_processing import post_processing

surveys = SurveyTable.from_long(virtual_europe(800, 50, 50, 120).pa_train)
unseen = MultiScale.fit(surveys, steps=8).predict_training(surveys)
logits = logit(unseen.probabilities.toarray().clip(1e-6, 1 - 1e-6))
blocks = block_ids(surveys.lat, surveys.lon)
steps = post_processing(logits, surveys.labels, block_folds(surveys, 3), blocks)
ax = plot_steps(steps.table)
