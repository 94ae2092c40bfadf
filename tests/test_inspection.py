"""Neighbours, components and the short forms of a survey graph, beside plain loops."""

import time

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from torch_geometric.loader import DataLoader

from benchmarks.inputs import survey_table
from tests import oracles
from tests.strategies import SOME, attached_frames, on_a_meridian, records, survey_frames
from tighnari_graph import SurveyDataError, SurveyGraph, SurveyTable, neighbors_of


def graph_of(frame: pd.DataFrame) -> SurveyGraph:
    return SurveyGraph.from_surveys(SurveyTable.from_long(frame))


def small() -> SurveyGraph:
    """Surveys at 0, 4, 4 and 9 km, one alone at 200 km."""
    return graph_of(
        on_a_meridian((7, 0, [3]), (9, 4, [3, 17]), (8, 4, []), (2, 9, [42]), (5, 200, [3]))
    )


def wanted(sources, edges, target: int) -> list[tuple]:
    near = sorted(
        (d, sources[j].survey_id, sources[j].year, sources[j].region, len(sources[j].species))
        for j, i, d in edges
        if i == target
    )
    return [(i, year, region, num) for _, i, year, region, num in near]


def found(frame: pd.DataFrame) -> list[tuple]:
    region = [None if pd.isna(x) else x for x in frame["region"]]
    columns = (frame["survey_id"].tolist(), frame["year"].tolist(), region)
    return list(zip(*columns, frame["species"].tolist(), strict=True))


# --- neighbours ----------------------------------------------------------------------------------


def test_neighbours_by_hand_nearest_first_equal_ones_by_id():
    near = small().neighbors_of(7)
    assert list(near) == ["survey_id", "distance_km", "weight", "year", "region", "species"]
    assert near["survey_id"].tolist() == [8, 9, 2]
    np.testing.assert_allclose(near["distance_km"], [4, 4, 9], atol=1e-4)
    np.testing.assert_allclose(near["weight"], [6, 6, 1], atol=1e-4)
    assert near["species"].tolist() == [0, 2, 1]
    assert near["region"].tolist() == ["ALPINE"] * 3
    alone = small().neighbors_of(5)
    assert alone.empty
    assert list(alone) == list(near)


@SOME
@given(survey_frames(min_surveys=1))
def test_neighbours_are_those_of_the_oracle(frame):
    surveys = oracles.group_rows(records(frame))
    if oracles.has_near_ties(surveys, surveys):
        return
    graph, edges = graph_of(frame), oracles.survey_edges(surveys)
    for target, survey in enumerate(surveys):
        near = graph.neighbors_of(survey.survey_id)
        assert sorted(found(near)) == sorted(wanted(surveys, edges, target))
        assert (np.diff(near["distance_km"]) >= 0).all()


@SOME
@given(attached_frames(min_train=1, min_test=1, min_po=1))
def test_neighbours_of_test_nodes_are_those_of_the_oracle(frames):
    train, test, po = (oracles.group_rows(records(frame)) for frame in frames)
    vocabulary = sorted({s for survey in train + po for s in survey.species})
    tables = [SurveyTable.from_long(f, vocabulary) for f in (frames.train, frames.po)]
    graph = SurveyGraph.from_surveys(tables[0])
    hetero = graph.attach(SurveyTable.from_long(frames.test), tables[1])
    edges = {
        "survey": (train, oracles.bipartite_edges(train, test)),
        "po": ([s._replace(region=None) for s in po], oracles.po_edges(po, test)),
    }
    for target, survey in enumerate(test):
        for kind, (sources, between) in edges.items():
            near = neighbors_of(hetero, survey.survey_id, kind, target="test")
            assert sorted(found(near)) == sorted(wanted(sources, between, target))


def test_an_id_that_is_train_and_test_means_the_test_node_unless_told():
    rows = on_a_meridian((1, 0, [3]), (2, 3, [3]))
    new = on_a_meridian((1, 4, [])).drop(columns="speciesId")
    hetero = graph_of(rows).attach(SurveyTable.from_long(new))
    assert neighbors_of(hetero, 1)["survey_id"].tolist() == [2, 1]
    assert neighbors_of(hetero, 1, target="survey")["survey_id"].tolist() == [2]
    assert neighbors_of(hetero, 2)["survey_id"].tolist() == [1]


def test_what_is_not_there_is_named():
    graph = small()
    with pytest.raises(SurveyDataError, match="no survey 77 among 5 survey nodes"):
        graph.neighbors_of(77)
    with pytest.raises(ValueError, match="no po → survey edges.*graph.attach"):
        neighbors_of(graph, 7, "po")
    with pytest.raises(ValueError, match="target 'test' is not in this graph"):
        neighbors_of(graph, 7, target="test")
    batch = next(iter(DataLoader([graph, graph], batch_size=2)))
    with pytest.raises(SurveyDataError, match="survey 7 is there 2 times"):
        batch.neighbors_of(7)


def test_neighbours_after_subgraph():
    part = small().subgraph(torch.tensor([0, 2, 3]))
    assert part.neighbors_of(7)["survey_id"].tolist() == [8, 2]
    assert part.components().tolist() == [0, 0, 0]


# --- components ----------------------------------------------------------------------------------


def test_components_by_hand_largest_first_equal_ones_by_first_survey():
    graph = graph_of(
        on_a_meridian(
            (1, 900, [3]), (2, 500, [3]), (3, 504, [3]), (4, 0, [3]), (5, 8, [3]), (6, 16, [3])
        )
    )
    assert graph.components().tolist() == [2, 1, 1, 0, 0, 0]
    assert graph.components().dtype == torch.int64
    none = graph.subgraph(torch.zeros(6, dtype=torch.bool))
    assert none.components().tolist() == []
    assert graph.subgraph(torch.tensor([0])).components().tolist() == [0]


def test_components_are_those_of_a_search():
    graph = SurveyGraph.from_surveys(survey_table(150, num_species=5, per_cluster=4))
    near = {i: set() for i in range(150)}
    for a, b in graph.edge_index.T.tolist():
        near[a].add(b)
    group, sizes = {}, []
    for start in range(150):
        if start in group:
            continue
        todo, members = [start], {start}
        while todo:
            new = near[todo.pop()] - members
            members |= new
            todo += new
        group |= dict.fromkeys(members, start)
        sizes.append((-len(members), start))
    order = {first: number for number, (_, first) in enumerate(sorted(sizes))}
    assert graph.components().tolist() == [order[group[i]] for i in range(150)]
    assert len(sizes) == graph.summary().components > 3


# --- short forms ---------------------------------------------------------------------------------


def test_repr_says_what_it_is():
    text = repr(small())
    assert text == (
        "SurveyGraph(5 surveys, 3 species, 12 edges up to 10 km in the same year and region)"
    )
    free = SurveyGraph.from_surveys(survey_table(5, num_species=2), match=(), radius_km=2.5)
    assert repr(free).endswith("edges up to 2.5 km)")
    assert repr(small().subgraph(torch.tensor([0, 1]))).startswith("SurveyGraph(2 surveys")
    assert repr(small().subgraph(torch.tensor([4]))).startswith("SurveyGraph(1 surveys")


def test_what_is_no_whole_graph_keeps_the_repr_of_pyg():
    graph = small()
    batch = next(iter(DataLoader([graph, graph], batch_size=2)))
    assert repr(batch).startswith("SurveyGraphBatch(survey_id=[10]")
    assert repr(SurveyGraph()) == "SurveyGraph()"
    del graph.edge_weight
    for one in (graph, batch, SurveyGraph()):
        assert "=[" in repr(one) or repr(one) == "SurveyGraph()"
        assert one._repr_html_().startswith("<pre>SurveyGraph")
    dense = small()
    dense.y = dense.y.to_dense()
    assert "survey_id=[5]" in repr(dense)
    assert "survey_id=[5]" in dense._repr_html_()


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [4], []])
def test_html_counts(rows):
    text = small().subgraph(torch.tensor(rows, dtype=torch.int64))._repr_html_()
    alone = {5: "1 (20.0 %)", 1: "1 (100.0 %)", 0: "0 (0.0 %)"}[len(rows)]
    assert f"<td>{alone}</td>" in text
    assert f"<td>{len(rows)}</td>" in text
    assert ("12 directed, up to 10 km" if len(rows) == 5 else "0 directed") in text
    assert "<td>same year and region</td>" in text


@pytest.mark.alone
def test_html_takes_no_five_seconds_on_the_largest_graph():
    num, each = 90_000, 136
    target = torch.arange(num).repeat_interleave(each)
    graph = SurveyGraph.from_surveys(survey_table(num, num_species=5, per_cluster=1))
    graph.edge_index = torch.stack([(target + 1) % num, target])
    graph.edge_distance_km = graph.edge_weight = torch.ones(num * each)
    start = time.perf_counter()
    assert "12,240,000" in graph._repr_html_()
    assert "12,240,000" in repr(graph)
    assert time.perf_counter() - start < 5


def test_surveys_without_a_region_are_not_said_to_share_one():
    graph = graph_of(on_a_meridian((7, 0, [3]), (9, 4, [3])).drop(columns="region"))
    assert repr(graph).endswith("in the same year)")
    assert graph.summary().match == ("year",)
    assert "same year<" in graph._repr_html_() and "not given" in graph._repr_html_()
    assert "same year<" in graph.summary()._repr_html_()


def test_a_missing_region_is_none_beside_others_and_alone():
    rows = pd.DataFrame(
        {"surveyId": [1, 2, 3], "lat": [45.0, 45.01, 45.02], "lon": 7.0, "year": 2020}
    )
    for region in (["A", None, "A"], [None] * 3):
        table = SurveyTable.from_long(rows.assign(region=region))
        graph = SurveyGraph.from_surveys(table, match=("year",))
        assert neighbors_of(graph, 1)["region"].tolist() == region[1:]
