"""Surveys that a saved model is to predict, from a data folder and the model alone."""

from pathlib import Path

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.folder import find_test
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.readers import read_glc24_test
from tighnari_models.data.batch import FILES
from tighnari_models.data.dataset import SurveyDataset, SurveyInputs
from tighnari_models.data.environment import read_environment, survey_frame
from tighnari_models.data.graph_rows import GraphRows
from tighnari_models.data.prepared import prepare
from tighnari_models.data.scale_rows import ScaleFeatures
from tighnari_models.tighnari import Tighnari

_MONTHLY = ("Bio-pr_", "Bio-tas")  # how monthly climate columns begin


def new_surveys(
    model: Tighnari,
    folder: str | Path,
    prepared: str | Path,
    max_bad_share: float = 0.05,
) -> SurveyDataset:
    """The test surveys of a folder, as this model was trained to see surveys.

    The folder needs the test metadata and the files of the model's modalities, and no training
    data: the surveys that graph features are made of are saved with the model, and so is the
    multi-scale model.

    Args:
        model: from `Tighnari.from_pretrained`.
        folder: a data set in any layout that the readers know.
        prepared: where its prepared images and cubes go; found there, they are opened instead.
        max_bad_share: share of missing or broken files from which on it is an error.

    Raises:
        FileNotFoundError: if the folder has no test metadata.
        SurveyDataError: if the model was saved without preprocessing or surveys, or on a file that
            breaks a rule.
    """
    steps = model.preprocessing
    if steps is None or model.species_ids is None:
        raise SurveyDataError("the model was saved without preprocessing or species ids")
    surveys = read_glc24_test(find_test(folder))
    graph = None
    if "gfv" in steps.modalities:
        if model.surveys is None:
            raise SurveyDataError("the model needs graph features and was saved without surveys")
        known = SurveyGraph.from_surveys(model.surveys, steps.radius_km)
        graph = GraphRows.of_new(known, surveys, degree=steps.degree)
    scales = None
    if steps.scales is not None:
        if model.multiscale is None:
            raise SurveyDataError(
                "the model needs multi-scale rows and was saved without the model that makes them"
            )
        scales = ScaleFeatures.of_new(model.multiscale, surveys, steps.scales)
    frame = None
    if steps.table is not None:
        monthly = any(name.startswith(_MONTHLY) for name in steps.table.columns)
        frame = survey_frame(surveys, read_environment(folder, "test", monthly).frame)
    files = tuple(name for name in FILES if name in steps.modalities)
    arrays = None
    if files:
        arrays = prepare(folder, prepared, surveys.survey_id, "test", files, max_bad_share)
    inputs = SurveyInputs(surveys.survey_id, model.species_ids, frame, arrays, graph, scales=scales)
    return SurveyDataset(inputs, steps)
