"""The multimodal model: from surveys, images, time series and the survey graph to species.

Read a data folder into a `SurveyDataModule`, describe a model by a `TighnariConfig`, train it by
`fit` or as folds by `cross_fusion`, and `predict`. What turns probabilities into a submission is
re-exported from `tighnari_graph`.
"""

from tighnari_graph import ThresholdTopK, samples_f1, write_submission
from tighnari_graph.evaluation_result import Evaluation
from tighnari_graph.figure_scores import plot_f1_by, plot_f1_map, plot_reliability
from tighnari_models.comparison import Comparison, compare, compare_all
from tighnari_models.config import TighnariConfig
from tighnari_models.cross_fusion import FusionResult, cross_fusion
from tighnari_models.data.batch import SurveyBatch
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.data.dataset import SurveyDataset
from tighnari_models.data.new_surveys import new_surveys
from tighnari_models.evaluation import evaluate, evaluate_predictions
from tighnari_models.explain_model import explain_model
from tighnari_models.figure_architecture import plot_architecture
from tighnari_models.figure_tokens import plot_token_grids
from tighnari_models.figures import plot_cubes, plot_patch
from tighnari_models.fit import FitResult, fit
from tighnari_models.mixup import mixup
from tighnari_models.options import TrainingOptions
from tighnari_models.plots import plot_evaluation, plot_history
from tighnari_models.prediction import average_logits, predict
from tighnari_models.pretraining import pretrain
from tighnari_models.tighnari import Tighnari

__all__ = [
    "Comparison",
    "Evaluation",
    "FitResult",
    "FusionResult",
    "SurveyBatch",
    "SurveyDataModule",
    "SurveyDataset",
    "ThresholdTopK",
    "Tighnari",
    "TighnariConfig",
    "TrainingOptions",
    "average_logits",
    "compare",
    "compare_all",
    "cross_fusion",
    "evaluate",
    "evaluate_predictions",
    "explain_model",
    "fit",
    "mixup",
    "new_surveys",
    "plot_architecture",
    "plot_cubes",
    "plot_evaluation",
    "plot_f1_by",
    "plot_f1_map",
    "plot_history",
    "plot_patch",
    "plot_reliability",
    "plot_token_grids",
    "predict",
    "pretrain",
    "samples_f1",
    "write_submission",
]
