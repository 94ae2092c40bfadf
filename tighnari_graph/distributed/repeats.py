"""Survey ids that stand for two surveys, found without holding all ids at once."""

from itertools import pairwise
from pathlib import Path

import numpy as np

from tighnari_graph.distributed.chunks import BUCKETS, Chunk, open_chunk, survey_count
from tighnari_graph.errors import SurveyDataError

IDS_AT_ONCE = 4_000_000


def id_buckets(chunks: list[Chunk]) -> list[tuple[int, int]]:
    """Runs of buckets to look through together, a bounded number of ids in each.

    Example:
        >>> id_buckets([])
        [(0, 256)]
    """
    parts = min(max(survey_count(chunks) // IDS_AT_ONCE, 1), BUCKETS)
    marks = np.linspace(0, BUCKETS, parts + 1).astype(int).tolist()
    return list(pairwise(marks))


def refuse_repeats(run: tuple[int, int], paths: tuple[Path, ...], name: str) -> None:
    """Refuse ids of some buckets that several pieces place differently.

    Args:
        run: first bucket, and the one after the last.
        paths: of the chunks.
        name: what the error calls the data set.

    Raises:
        SurveyDataError: naming how many, and the first of them.
    """
    if not paths:
        return
    found = np.concatenate([open_chunk(path).ids(*run) for path in paths])
    order = np.lexsort((found[:, 1], found[:, 0]))
    ids, digest = found[order].T
    differs = (ids[1:] == ids[:-1]) & (digest[1:] != digest[:-1])
    if differs.any():
        twice = np.unique(ids[1:][differs])
        first = ", ".join(map(str, twice[:5].tolist())) + (", …" if len(twice) > 5 else "")
        raise SurveyDataError(
            f"{name}: {len(twice)} survey ids stand for surveys at two positions, years or regions "
            f"in different files or row groups (surveyId {first}); a survey's rows must agree"
        )
