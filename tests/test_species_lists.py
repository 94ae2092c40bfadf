"""Algorithm 2 where many surveys lie at the same distance, against plain loops."""

import numpy as np
import pandas as pd
import pytest

from tighnari_graph import SurveyGraph, SurveyTable, species_lists


def crowded(seed: int) -> tuple[SurveyTable, SurveyTable, SurveyTable]:
    """Surveys, test nodes and PO surveys on a few spots, so that most distances occur often."""
    rng = np.random.default_rng(seed)

    def table(num: int, first_id: int) -> SurveyTable:
        spots = rng.integers(0, 4, num)
        ids = first_id + rng.permutation(num)
        rows = pd.DataFrame({"surveyId": ids, "lat": 45 + spots / 50, "lon": 7.0, "year": 2020,
                             "region": "ALPINE"})  # fmt: skip
        rows = rows.loc[rows.index.repeat(4)].reset_index(drop=True)
        rows["speciesId"] = rng.integers(0, 6, len(rows))
        return SurveyTable.from_long(rows, species_ids=range(6))

    return table(60, 100), table(9, 1000), table(70, 2000)


def loops(near: SurveyTable, test: SurveyTable, num: int, exceed: int) -> list[set[int]]:
    """Species on more than ``exceed`` of the ``num`` nearest lists; of equals, lower ids."""
    lists = []
    for lat in test.lat:
        km = np.abs(near.lat - lat).round(6)  # on a meridian, in degrees: what order needs
        order = sorted(range(len(near)), key=lambda i: (km[i], near.survey_id[i]))[:num]
        counted = near.known_labels()[order].toarray().sum(axis=0)
        lists.append(set(np.flatnonzero(counted > exceed).tolist()))
    return lists


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("num", "exceed"), [(1, 0), (5, 2), (10, 5), (40, 25), (500, 40)])
def test_the_nearest_are_chosen_by_id_where_distances_are_equal(seed, num, exceed):
    surveys, test, po = crowded(seed)
    hetero = SurveyGraph.from_surveys(surveys).attach(test, po)
    counts = {"num_neighbors": num, "min_count": exceed, "num_po": num, "min_po_count": exceed}
    for source, near in (("survey", surveys), ("po", po)):
        found = species_lists(hetero, **counts, source=source).to_dense().numpy()
        rows = [set(np.flatnonzero(row).tolist()) for row in found]
        assert rows == loops(near, test, num, exceed)


def test_nobody_is_on_the_list_where_no_neighbor_is_asked_for():
    surveys, test, po = crowded(0)
    hetero = SurveyGraph.from_surveys(surveys).attach(test, po)
    assert species_lists(hetero, num_po=0, min_po_count=0).values().sum() == 0
