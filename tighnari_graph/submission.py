"""The competition's file of predictions: written, and checked as a stranger would."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.files import written_whole
from tighnari_graph.sparse import Labels, zero_one

HEADER = ["surveyId", "predictions"]


def write_submission(
    path: str | Path,
    survey_ids: Sequence[int] | np.ndarray,
    sets: Labels,
    species_ids: Sequence[int] | np.ndarray,
) -> Path:
    r"""Write species sets as CSV, a line per survey: its id, and species ids ascending.

    Shapes:
        - **survey_ids:** :math:`(N,)`
        - **sets:** :math:`(N, S)` 0/1
        - **species_ids:** :math:`(S,)`, column → speciesId

    Raises:
        ValueError: if lengths do not fit, an id is repeated, a fraction, or text of more than
            letters and digits (which another reader would part), or ``sets`` holds anything but 0
            and 1.

    Source: GeoLifeCLEF 2024, submission format.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_submission(f"{folder}/s.csv", [7], np.array([[1, 0, 1]]), [9, 5, 4])
        ...     print(path.read_text())
        surveyId,predictions
        7,4 9
        <BLANKLINE>
    """
    chosen = zero_one(sets, "sets")
    survey_ids, species_ids = np.asarray(survey_ids), np.asarray(species_ids)
    if chosen.shape != (len(survey_ids), len(species_ids)):
        raise ValueError(
            f"sets are {chosen.shape}, expected ({len(survey_ids)} surveys, "
            f"{len(species_ids)} species)"
        )
    for what, given in (("survey", survey_ids), ("species", species_ids)):
        if given.size and given.dtype.kind not in "iuUOT":
            raise ValueError(f"{what} ids must be whole numbers, got {given.dtype}")
        if given.dtype.kind not in "iu" and any(not str(one).isalnum() for one in given):
            raise ValueError(f"{what} ids must be whole numbers, or text of letters and digits")
        ids, count = np.unique(given, return_counts=True)
        if (count > 1).any():
            some = ", ".join(map(str, ids[count > 1][:5]))
            raise ValueError(f"{(count > 1).sum()} {what} ids are repeated ({some})")
    rows = np.split(species_ids[chosen.indices], chosen.indptr[1:-1])
    text = [" ".join(map(str, np.sort(row).tolist())) for row in rows]
    if len(survey_ids) == 0:
        text = []
    frame = pd.DataFrame({HEADER[0]: survey_ids, HEADER[1]: text})
    with written_whole(path) as part:
        frame.to_csv(part, index=False, lineterminator="\n")
    return Path(path)


def check_submission(
    path: str | Path,
    survey_ids: Sequence[int] | np.ndarray,
    species_ids: Sequence[int] | np.ndarray,
) -> None:
    """Read a submission back: every survey once, the header, every species in the vocabulary.

    Raises:
        FileNotFoundError: if there is no such file.
        SurveyDataError: naming what is wrong and how often.
    """
    name = Path(path).name
    try:
        with Path(path).open("rb") as file:  # pandas itself would fetch what is an address
            frame = pd.read_csv(file, dtype={HEADER[1]: "string"}, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise SurveyDataError(f"{name}: no table of two columns ({error})") from error
    if list(frame.columns) != HEADER:
        raise SurveyDataError(
            f"{name}: header is {','.join(frame.columns)}, expected {','.join(HEADER)}"
        )
    found = frame["surveyId"].to_numpy()
    repeated = len(found) - len(np.unique(found))
    absent = np.setdiff1d(survey_ids, found)
    strange = np.setdiff1d(found, survey_ids)
    if repeated or len(absent) or len(strange):
        raise SurveyDataError(
            f"{name}: {repeated} surveys repeated, {len(absent)} missing, "
            f"{len(strange)} not asked for"
        )
    words = frame["predictions"].str.split().explode().dropna()
    predicted = pd.to_numeric(words, errors="coerce")
    if predicted.isna().any():
        raise SurveyDataError(f"{name}: {predicted.isna().sum()} predictions are no numbers")
    outside = ~predicted.isin(np.asarray(species_ids))
    if outside.any():
        raise SurveyDataError(f"{name}: {outside.sum()} predictions are outside the vocabulary")
    if pd.DataFrame({"survey": predicted.index, "species": predicted}).duplicated().any():
        raise SurveyDataError(f"{name}: a species is predicted twice for one survey")
