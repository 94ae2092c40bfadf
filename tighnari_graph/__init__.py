"""Survey graphs of plant species: build, inspect, attach, and predict from the neighbours.

Source: Liu et al. 2024, *Tighnari: Multi-modal Plant Species Prediction Based on Hierarchical
Cross-Attention Using Graph-Based and Vision Backbone-Extracted Features*, CLEF 2024.
"""

from tighnari_graph.block_shift import feature_shift
from tighnari_graph.calibration import Temperature, calibration_error, reliability
from tighnari_graph.community_f1 import CommunityF1
from tighnari_graph.conversions_geo import from_geodataframe, to_geodataframe
from tighnari_graph.conversions_homogeneous import from_homogeneous, to_homogeneous
from tighnari_graph.conversions_libpysal import from_libpysal, to_libpysal
from tighnari_graph.conversions_networkx import from_networkx, to_networkx
from tighnari_graph.conversions_parquet import read_geoparquet, write_geoparquet
from tighnari_graph.covariates import Covariates
from tighnari_graph.decisions import DecisionRule, FixedK, Threshold, cross_fitted
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.expected_f1 import ExpectedF1
from tighnari_graph.explain_feature import explain_feature
from tighnari_graph.explain_graph import explain_lists, explain_shares
from tighnari_graph.explain_multiscale import explain_multiscale
from tighnari_graph.explain_prediction import explain
from tighnari_graph.explanation import Explanation
from tighnari_graph.explore import ExploreMap, hetero_explore
from tighnari_graph.explore_basemap import Basemap
from tighnari_graph.gfv import GFVConv, GFVScaler, graph_feature_vectors
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.inspection import neighbors_of
from tighnari_graph.kernel_conv import KernelChain, KernelConv, KernelEdges
from tighnari_graph.kernel_graph import kernel_graph
from tighnari_graph.metrics import samples_f1, survey_f1
from tighnari_graph.multiscale import MultiScale
from tighnari_graph.presence_only import observer_effort, selection_report, trustworthy
from tighnari_graph.pseudo_labels import aggregate_patches, pseudo_labels
from tighnari_graph.pyramid import Pyramid
from tighnari_graph.readers import (
    read_glc24_pa,
    read_glc24_po,
    read_glc24_test,
    species_vocabulary,
)
from tighnari_graph.richness import RichnessTopK
from tighnari_graph.scale_rows import ScaleRows
from tighnari_graph.species_lists import species_lists
from tighnari_graph.species_sets import ThresholdTopK
from tighnari_graph.splits import block_folds, block_ids, fold_report, random_folds
from tighnari_graph.submission import check_submission, write_submission
from tighnari_graph.summary import GraphSummary
from tighnari_graph.surveys import SurveyTable

__version__ = "0.3.0"

__all__ = [
    "Basemap",
    "CommunityF1",
    "Covariates",
    "DecisionRule",
    "ExpectedF1",
    "Explanation",
    "ExploreMap",
    "FixedK",
    "GFVConv",
    "GFVScaler",
    "GraphSummary",
    "KernelChain",
    "KernelConv",
    "KernelEdges",
    "MultiScale",
    "Pyramid",
    "RichnessTopK",
    "ScaleRows",
    "SurveyDataError",
    "SurveyGraph",
    "SurveyTable",
    "Temperature",
    "Threshold",
    "ThresholdTopK",
    "aggregate_patches",
    "block_folds",
    "block_ids",
    "calibration_error",
    "check_submission",
    "cross_fitted",
    "explain",
    "explain_feature",
    "explain_lists",
    "explain_multiscale",
    "explain_shares",
    "feature_shift",
    "fold_report",
    "from_geodataframe",
    "from_homogeneous",
    "from_libpysal",
    "from_networkx",
    "graph_feature_vectors",
    "hetero_explore",
    "kernel_graph",
    "neighbors_of",
    "observer_effort",
    "pseudo_labels",
    "random_folds",
    "read_geoparquet",
    "read_glc24_pa",
    "read_glc24_po",
    "read_glc24_test",
    "reliability",
    "samples_f1",
    "selection_report",
    "species_lists",
    "species_vocabulary",
    "survey_f1",
    "to_geodataframe",
    "to_homogeneous",
    "to_libpysal",
    "to_networkx",
    "trustworthy",
    "write_geoparquet",
    "write_submission",
]
