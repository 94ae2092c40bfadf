"""Models that predict plant species from surveys, images, time series and the survey graph.

The first of them needs no training at all: the survey graph alone (`python -m tighnari_graph`).
What turns probabilities into a submission is re-exported here.
"""

from tighnari_graph import ThresholdTopK, samples_f1, write_submission

__all__ = ["ThresholdTopK", "samples_f1", "write_submission"]
