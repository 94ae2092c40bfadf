"""`Covariates`: how columns become numbers, and how two surveys differ."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import SOME
from tighnari_graph import SurveyDataError, SurveyTable
from tighnari_graph.covariates import MISSING, Covariates, NumericColumn


def table(num: int | None = None, **columns: object) -> SurveyTable:
    """Surveys at one place with these columns."""
    size = num if num is not None else len(next(iter(columns.values())))
    rows = pd.DataFrame({"surveyId": np.arange(size), "lat": 45.0, "lon": 7.0, "year": 2020})
    return SurveyTable.from_long(rows.assign(**columns))


def test_numbers_are_centred_and_divided_by_their_spread():
    raw = [3.0, 5.0, None, 10.0]
    covariates = Covariates.fit(table(height=raw))
    values, codes = covariates.encode(table(height=raw))
    known = np.array([3.0, 5.0, 10.0])
    expected = (known - known.mean()) / known.std()
    assert not covariates.numeric[0].logarithm
    np.testing.assert_allclose(values[[0, 1, 3], 0], expected, rtol=1e-6)
    assert np.isnan(values[2, 0])
    assert codes.shape == (4, 0)
    new = covariates.encode(table(height=[6.0]))[0]  # by the moments of the fit
    np.testing.assert_allclose(new, [[0.0]], atol=1e-6)


@pytest.mark.parametrize(
    ("raw", "logarithm"),
    [
        ([1.0, 10.0, 100.0], True),
        ([2.0, 10.0, 99.0], False),  # less than a factor of 50
        ([0.0, 1.0, 1000.0], True),  # zeros are measured as any other value
        ([-1.0, 1.0, 1000.0], False),  # no logarithm of negative numbers
        ([0.0, 0.0, 7.0], False),
    ],
)
def test_positive_numbers_that_span_a_factor_of_50_are_compared_by_their_logarithm(raw, logarithm):
    covariates = Covariates.fit(table(area=raw))
    assert covariates.numeric[0].logarithm == logarithm
    measured = np.array([math.log(1 + x) if logarithm else x for x in raw])
    expected = (measured - measured.mean()) / measured.std()
    values = covariates.encode(table(area=raw))[0]
    np.testing.assert_allclose(values[:, 0], expected, atol=1e-5)


def test_numbers_below_zero_count_as_zero_where_the_logarithm_is_taken():
    covariates = Covariates.fit(table(area=[1.0, 10.0, 100.0]))
    values = covariates.encode(table(area=[-5.0, 0.0]))[0]
    assert values[0, 0] == values[1, 0]


def test_unseen_text_is_one_further_value_and_missing_text_another():
    covariates = Covariates.fit(table(country=["Italy", "France", None]))
    new = table(country=["Italy", "France", "Malta", "Spain", None])
    codes = covariates.encode(new)[1][:, 0]
    assert codes.tolist() == [1, 0, 2, 2, MISSING]
    unequal = covariates.compare(
        np.zeros((5, 0)), codes[:, None], np.zeros((5, 0)), codes[[2]].repeat(5)[:, None]
    )
    assert unequal[0].tolist() == [1, 1, 0, 0, 1]


@pytest.mark.parametrize(
    "column",
    [
        pd.Categorical(["b", "a", None]),
        pd.Categorical([4, 3, None]),
        pd.array(["b", "a", None], dtype="string"),
        np.array(["b", "a", None], dtype=object),
    ],
)
def test_categories_come_in_any_type(column):
    by = Covariates.fit(table(kind=column), ("kind",))
    assert by.names == ("kind",)
    assert by.encode(table(kind=column))[1][:, 0].tolist() == [1, 0, MISSING]
    assert by.encode(table(kind=column).subset(np.zeros(0, dtype=int)))[1].shape == (0, 1)


def test_nullable_numbers_are_numbers():
    column = pd.array([1, None, 3], dtype="Int64")
    values = Covariates.fit(table(n=column)).encode(table(n=column))[0][:, 0]
    np.testing.assert_allclose(values, [-1, np.nan, 1])


def test_by_default_every_column_that_tells_surveys_apart_is_compared():
    num = 70
    surveys = table(
        num,
        region=["ALPINE", None] * 35,
        year=[2019, 2020] * 35,
        same=1.0,
        place=[f"plot {i}" for i in range(num)],  # more than 64 names
        few=[f"plot {i % 64}" for i in range(num)],
        flag=[True, False] * 35,
        day=pd.to_datetime(["2020-01-01", "2020-01-02"] * 35),
        area=np.arange(num) / 7,
    )
    assert Covariates.fit(surveys).names == ("year", "area", "few")
    assert Covariates.fit(surveys, ("place", "area", "place")).names == ("area", "place")
    both = replace(surveys, region=np.array(["ALPINE", "BOREAL"] * 35, dtype=object))
    assert Covariates.fit(both).names == ("year", "area", "region", "few")


def test_columns_that_cannot_be_compared_are_refused_by_name():
    surveys = table(flag=[True, False, True], same=[1.0, 1.0, None], none=[None] * 3)
    with pytest.raises(SurveyDataError, match="no column 'altitude'"):
        Covariates.fit(surveys, ("altitude",))
    with pytest.raises(SurveyDataError, match="'flag' holds neither numbers nor text"):
        Covariates.fit(surveys, ("flag",))
    for name in ("same", "none", "year"):
        with pytest.raises(SurveyDataError, match=f"'{name}' holds fewer than two values"):
            Covariates.fit(surveys, (name,))


def test_a_table_without_the_columns_is_refused():
    covariates = Covariates.fit(table(area=[1.0, 2.0], country=["a", "b"], year=[2019, 2020]))
    with pytest.raises(SurveyDataError, match="lacks area, country, by which"):
        covariates.encode(table(height=[1.0]))
    with pytest.raises(SurveyDataError, match="area"):
        covariates.encode(table(area=["wide"], country=["a"]))


def test_a_round_trip_through_json_and_a_selection_of_columns():
    surveys = table(
        area=[1.0, 20.0, 500.0], height=[1.0, 2.0, None], country=["a", "b", None],
        soil=["x", "x", "y"],
    )  # fmt: skip
    covariates = Covariates.fit(surveys)
    again = Covariates.from_dict(json.loads(json.dumps(covariates.to_dict())))
    assert again == covariates
    others = table(height=[3.0, 4.0], soil=["x", "y"], width=[1.0, 2.0])
    some = covariates.shared_with(others)
    assert some.names == ("height", "soil")
    assert some.comparisons == ("height: gap", "height: known", "soil: differs")
    values, codes = covariates.encode(surveys)
    np.testing.assert_array_equal(some.encode(surveys)[0], values[:, [1]])
    np.testing.assert_array_equal(some.encode(surveys)[1], codes[:, [1]])
    assert covariates.shared_with(table(1)).encode(surveys)[0].shape == (3, 0)


def test_inequality_and_gaps_are_compared_where_they_can_say_something():
    """A difference that is the same for all pairs would only scale their weights."""
    raw = np.arange(200) / 7
    surveys = table(few=[1.0, 2.0] * 100, gaps=np.where(raw > 20, np.nan, raw), many=raw)
    covariates = Covariates.fit(surveys)
    assert covariates.comparisons == (
        "few: gap", "few: differs", "gaps: gap", "gaps: known", "many: gap",
    )  # fmt: skip
    others = table(few=[1.0, 2.0], gaps=[1.0, 2.0], many=[1.0, np.nan])
    assert covariates.shared_with(others).comparisons[-2:] == ("many: gap", "many: known")
    values, codes = covariates.encode(others)
    unknown = covariates.compare(values[[1]], codes[[1]], values[[0]], codes[[0]])[-1]
    assert unknown.tolist() == [0.0]  # nobody lacked it in the fit: as equal


NUMBER = st.one_of(st.just(math.nan), st.sampled_from([-1.5, 0.0, 0.25, 2.0]))


@SOME
@given(st.data(), st.integers(0, 6), st.integers(0, 3), st.integers(0, 2))
def test_differences_are_those_of_a_loop(data, num, numeric, text):
    one, other = (
        np.array(
            data.draw(st.lists(NUMBER, min_size=num * numeric, max_size=num * numeric))
        ).reshape(num, numeric)
        for _ in range(2)
    )
    codes, other_codes = (
        np.array(
            data.draw(st.lists(st.integers(-1, 2), min_size=num * text, max_size=num * text)),
            dtype=np.int64,
        ).reshape(num, text)
        for _ in range(2)
    )
    expected = np.array(
        [
            [x for c in range(numeric) for x in by_hand(one[e, c], other[e, c])]
            + [float(codes[e, d] != other_codes[e, d]) for d in range(text)]
            for e in range(num)
        ]
    ).reshape(num, 3 * numeric + text)
    columns = tuple(NumericColumn(f"n{c}", repeats=True, missing=True) for c in range(numeric))
    covariates = Covariates(columns, tuple((f"t{c}", ("a",)) for c in range(text)))
    found = covariates.compare(one, codes, other, other_codes)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.T)
    np.testing.assert_array_equal(found, covariates.compare(other, other_codes, one, codes))


def by_hand(a: float, b: float) -> tuple[float, float, float]:
    """Squared gap, whether they differ, and whether just one of them is missing."""
    if math.isnan(a) and math.isnan(b):
        return 0.0, 0.0, 0.0
    if math.isnan(a) or math.isnan(b):
        return 0.0, 0.0, 1.0
    return (a - b) ** 2, float(a != b), 0.0
