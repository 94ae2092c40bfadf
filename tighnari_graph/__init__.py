"""Survey graphs of plant species: build, inspect, attach, and predict from the neighbours.

Source: Liu et al. 2024, *Tighnari: Multi-modal Plant Species Prediction Based on Hierarchical
Cross-Attention Using Graph-Based and Vision Backbone-Extracted Features*, CLEF 2024.
"""

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.gfv import GFVConv, GFVScaler, graph_feature_vectors
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.metrics import samples_f1, survey_f1
from tighnari_graph.readers import (
    read_glc24_pa,
    read_glc24_po,
    read_glc24_test,
    species_vocabulary,
)
from tighnari_graph.species_lists import species_lists
from tighnari_graph.species_sets import ThresholdTopK
from tighnari_graph.splits import block_folds, block_ids, fold_report, random_folds
from tighnari_graph.submission import check_submission, write_submission
from tighnari_graph.summary import GraphSummary
from tighnari_graph.surveys import SurveyTable

__version__ = "0.2.0"

__all__ = [
    "GFVConv",
    "GFVScaler",
    "GraphSummary",
    "SurveyDataError",
    "SurveyGraph",
    "SurveyTable",
    "ThresholdTopK",
    "block_folds",
    "block_ids",
    "check_submission",
    "fold_report",
    "graph_feature_vectors",
    "random_folds",
    "read_glc24_pa",
    "read_glc24_po",
    "read_glc24_test",
    "samples_f1",
    "species_lists",
    "species_vocabulary",
    "survey_f1",
    "write_submission",
]
