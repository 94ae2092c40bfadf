"""Species as a table names them → label columns."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from tighnari_graph.columns import is_text, text_codes, whole_numbers
from tighnari_graph.errors import refuse


def vocabulary_of(
    species_ids: Sequence[int] | Sequence[str] | np.ndarray, source: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """A given vocabulary as ids and names; names are None where it came as numbers.

    Raises:
        ValueError: if entries are missing or repeated.
        SurveyDataError: on ids that are no whole numbers from 0 up.

    Example:
        >>> vocabulary_of(["Abies alba", "Fagus sylvatica"], "survey table")
        (array([0, 1]), array(['Abies alba', 'Fagus sylvatica'], dtype=object))
    """
    given = pd.Series(np.asarray(species_ids))
    if given.isna().any():
        raise ValueError(f"{source}: species_ids has {given.isna().sum()} missing entries")
    repeated = given[given.duplicated()]
    if len(repeated):
        raise ValueError(
            f"{source}: species_ids repeats {len(repeated)} species, first {repeated.iloc[0]}"
        )
    if len(given) and is_text(given):
        return np.arange(len(given)), given.to_numpy(dtype=object)
    return whole_numbers(given, f"{source}: species_ids", None, minimum=0)[0], None


def species_columns(
    species: pd.Series,
    vocabulary: np.ndarray | None,
    names: np.ndarray | None,
    source: str,
    row_id: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Label column of each row (−1 for none), the vocabulary, and its names if species are text.

    Raises:
        SurveyDataError: on ids that are no whole numbers, or numbers among names.
        ValueError: on species outside the vocabulary, or names where it has numbers.
    """
    if is_text(species):
        _refuse_numbers_as_text(species, source, row_id)
        codes, found = text_codes(species)
        if vocabulary is None:
            return codes, np.arange(len(found)), found
        if names is None and len(vocabulary):
            raise ValueError(
                f"{source}: speciesId is text ({found[0]!r}, …), species_ids are numbers; a "
                "vocabulary of names is shared as species_ids=table.species_names"
            )
        names = np.zeros(0, dtype=object) if names is None else names
        position = pd.Index(names).get_indexer(pd.Index(found, dtype=object))
        _refuse_unknown(found[position < 0], codes, position, source, row_id)
        return np.append(position, -1)[codes], np.arange(len(names)), names
    if names is not None and species.notna().any():
        raise ValueError(f"{source}: speciesId is numbers, species_ids are names ({names[0]!r}, …)")
    ids, missing = whole_numbers(species, source, row_id, minimum=0)
    codes, found = pd.factorize(ids)
    if vocabulary is None:
        vocabulary = np.unique(ids[~missing])
    position = pd.Index(vocabulary).get_indexer(pd.Index(found))
    used = np.bincount(codes[~missing], minlength=len(found)) > 0
    position_checked = np.where(used, position, 0)
    _refuse_unknown(found[position_checked < 0], codes, position_checked, source, row_id)
    return np.where(missing, -1, position[codes]), vocabulary, names


def label_matrix(
    survey: np.ndarray, column: np.ndarray, shape: tuple[int, int]
) -> sparse.csr_matrix:
    """Rows of survey × label column as a matrix of 0/1; −1 is no species, a pair counts once.

    Example:
        >>> label_matrix(np.array([0, 0, 1]), np.array([1, 1, -1]), (2, 2)).toarray()
        array([[0., 1.],
               [0., 0.]], dtype=float32)
    """
    found = column >= 0
    ones = np.ones(int(found.sum()), dtype=np.float32)
    labels = sparse.csr_matrix((ones, (survey[found], column[found])), shape=shape)
    labels.data[:] = 1  # what stood twice was summed
    return labels


def _refuse_numbers_as_text(species: pd.Series, source: str, row_id: np.ndarray) -> None:
    """Names and numbers in one column: whichever are fewer are taken for the mistake."""
    present = species.notna().to_numpy()
    numeric = pd.to_numeric(species.astype("string"), errors="coerce").notna().to_numpy()
    odd = present & ~numeric
    if 0 < odd.sum() < numeric.sum():
        what = f"a speciesId that is no number: {species[odd].iloc[0]!r}"
        refuse(source, odd, row_id, what)
    refuse(source, numeric, row_id, "a speciesId that is a number stored as text")


def _refuse_unknown(
    unknown: np.ndarray, codes: np.ndarray, position: np.ndarray, source: str, row_id: np.ndarray
) -> None:
    if len(unknown):
        some = ", ".join(map(str, sorted(unknown)[:5])) + (", …" if len(unknown) > 5 else "")
        bad = (codes >= 0) & (np.append(position, 0)[codes] < 0)
        what = f"one of {len(unknown)} species outside species_ids ({some})"
        refuse(source, bad, row_id, what)
