"""Score against the labels of test surveys, which only synthetic data have."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from tighnari_graph.metrics import samples_f1
from tighnari_graph.readers import species_vocabulary
from tighnari_graph.surveys import SurveyTable
from tighnari_graph.table_files import read_frame


def true_score(
    path: Path, test: SurveyTable, predicted: sparse.csr_matrix, species_ids: np.ndarray
) -> float:
    r"""Samples-F1 of predicted sets; the labels may hold species that training never saw.

    Args:
        path: table of the true labels, columns surveyId and speciesId.
        test: the surveys that were predicted.
        predicted: :math:`(N, S)` 0/1, in the order of ``test``.
        species_ids: :math:`(S,)`, column → speciesId.
    """
    asked = pd.DataFrame({"surveyId": test.survey_id, "lat": test.lat, "lon": test.lon})
    rows = asked.assign(year=test.year).merge(read_frame(path)[0], on="surveyId", how="left")
    species = np.union1d(species_ids, species_vocabulary(path))
    truth = SurveyTable.from_long(rows, species, source=path.name).known_labels()
    columns = np.searchsorted(species, species_ids)[predicted.indices]
    wider = sparse.csr_matrix((predicted.data, columns, predicted.indptr), shape=truth.shape)
    return samples_f1(wider, truth)
