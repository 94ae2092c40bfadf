"""Generated inputs, and benchmarks of results that have no test file of their own."""

from pathlib import Path

import numpy as np

from benchmarks import presence_only
from benchmarks.inputs import REGIONS, clustered_points, po_rows, survey_table
from benchmarks.leaderboard_data import virtual


def test_inputs_are_those_of_the_seed():
    a, b, c = (
        clustered_points(500, seed=1),
        clustered_points(500, seed=1),
        clustered_points(500, seed=2),
    )
    assert (a.lat == b.lat).all()
    assert (a.lat != c.lat).any()
    assert a.region.max() < len(REGIONS)
    table = survey_table(500)
    assert 10 < table.labels.nnz / 500 < 25
    assert po_rows(300, 200)["surveyId"].nunique() == 200


def test_every_switch_for_presence_only_surveys_is_compared_with_all_of_them():
    table = presence_only.table_of(virtual(Path(), limit=120), folds=2, steps=4)
    assert set(presence_only.WAYS) == set(table.index)
    assert table.loc["no PO surveys", "PO surveys"] == 0
    assert 0 < table.loc["lists of 5 species or more", "PO surveys"] < 1200
    assert table["difference"].isna().tolist() == [way == presence_only.ALL for way in table.index]
    scores, base = table["samples-F1"], table.loc[presence_only.ALL, "samples-F1"]
    np.testing.assert_allclose(table["difference"].fillna(0), scores - base, atol=1e-12)
