"""The graph built in tiles by Dask is the graph built at once, edge for edge."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import SOME, attached_frames, survey_frames
from tighnari_graph import (
    SurveyDataError,
    SurveyGraph,
    SurveyTable,
    graph_feature_vectors,
    species_lists,
)
from tighnari_graph.readers import species_vocabulary

pytest.importorskip("distributed")
from tests.distributed_cases import (
    assert_same,
    at_once,
    clustered_rows,
    write,
)
from tighnari_graph.distributed import build

FEW = settings(SOME, max_examples=12)
# threads of Dask may ask Python for a random number while Hypothesis draws
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")


@FEW
@given(
    frame=survey_frames(max_surveys=30),
    max_surveys=st.sampled_from([1, 2, 5, 100]),
    radius_km=st.sampled_from([3.0, 10.0, 25.0]),
    piece_rows=st.sampled_from([1, 10, 1000]),
)
def test_tiles_anywhere_give_the_graph_built_at_once(
    client, tmp_path_factory, frame, max_surveys, radius_km, piece_rows
):
    """Over the poles, the antimeridian and the edges of tiles, whatever the pieces."""
    folder = write(frame, tmp_path_factory.mktemp("data") / "in")
    options = {"radius_km": radius_km, "max_surveys": max_surveys, "piece_rows": piece_rows}
    found = build(folder, folder.parent / "out", client=client, **options)
    assert_same(found, SurveyTable.from_long(at_once(folder)), radius_km=radius_km)


@pytest.fixture(scope="module")
def surveys(tmp_path_factory) -> Path:
    return write(clustered_rows(1500), tmp_path_factory.mktemp("surveys") / "in", rows=300)


def test_thousands_of_surveys_in_tiles_and_threads(client, surveys, tmp_path):
    table = SurveyTable.from_long(at_once(surveys))
    found = build(surveys, tmp_path / "out", max_surveys=100, piece_rows=600, client=client)
    assert_same(found, table)
    assert found.partitions["cut"].sum() > 10
    assert found.partitions["halo"].sum() > 100
    graph = SurveyGraph.from_surveys(table)
    edges = found.edges().to_table().to_pandas()
    assert len(edges) == graph.num_edges
    ids = table.survey_id[graph.edge_index.numpy()]
    assert set(zip(edges["source"], edges["target"], strict=True)) == set(zip(*ids, strict=True))
    assert sorted(found.surveys().to_table()["survey_id"].to_pylist()) == sorted(table.survey_id)
    assert f"edges={graph.num_edges:,}" in repr(found)
    assert not (tmp_path / "out/work").exists()


@pytest.mark.parametrize(
    ("options", "gfv"),
    [
        ({"match": ()}, {}),
        ({"match": ("year",), "earth_radius_km": 6731.0}, {"degree": "weight"}),
        ({"match": ("region", "country"), "radius_km": 2.5}, {"exclude_block": 5.0}),
    ],
)
def test_other_ways_to_match_and_to_weigh(client, tmp_path, options, gfv):
    frame = clustered_rows(600, seed=1)
    frame["country"] = frame["surveyId"] % 3
    folder = write(frame, tmp_path / "in", rows=100)
    found = build(folder, tmp_path / "out", max_surveys=90, client=client, **options, **gfv)
    assert_same(found, SurveyTable.from_long(at_once(folder)), gfv=gfv, **options)


def test_names_of_species_other_columns_and_no_region(client, tmp_path):
    frame = clustered_rows(300, seed=2).drop(columns="region")
    named = frame["speciesId"].map(lambda i: None if np.isnan(i) else f"Planta {i:.0f}")
    frame = frame.assign(speciesId=named).rename(columns={"lat": "decimalLatitude"})
    folder = write(frame, tmp_path / "in", rows=100)
    columns = {"decimalLatitude": "lat"}
    found = build(folder, tmp_path / "out", columns=columns, max_surveys=50, client=client)
    table = SurveyTable.from_long(at_once(folder), columns=columns)
    assert_same(found, table)
    assert found.partition(0).species_names.tolist() == table.species_names.tolist()


def test_a_hive_of_years_and_regions_is_the_same_as_one_file(client, tmp_path):
    frame = clustered_rows(500, seed=3).dropna(subset="region")
    frame.to_parquet(tmp_path / "in", partition_cols=["year", "region"], index=False)
    found = build(tmp_path / "in", tmp_path / "out", client=client)
    whole = at_once(tmp_path / "in").astype({"region": object, "year": int})
    assert_same(found, SurveyTable.from_long(whole))
    assert len(found) == len(whole[["year", "region"]].drop_duplicates())
    assert not found.partitions["cut"].any()


def test_a_given_vocabulary_is_kept_and_guards(client, surveys, tmp_path):
    ids = np.arange(299, -1, -1)
    found = build(surveys, tmp_path / "out", species_ids=ids, client=client)
    assert_same(found, SurveyTable.from_long(at_once(surveys), ids))
    with pytest.raises(ValueError, match="species outside species_ids"):
        build(surveys, tmp_path / "small", species_ids=ids[50:], client=client)


@FEW
@given(frames=attached_frames(min_train=1), max_surveys=st.sampled_from([1, 3, 100]))
def test_test_surveys_get_the_lists_and_features_of_one_machine(
    client, tmp_path_factory, frames, max_surveys
):
    folder = tmp_path_factory.mktemp("attached")
    train, test, po = (write(f, folder / str(i)) for i, f in enumerate(frames))
    lists = {"num_neighbors": 3, "min_count": 1, "num_po": 2, "min_po_count": 0, "source": "both"}
    found = build(
        train, folder / "out", test=test, presence_only=po, lists=lists, max_surveys=max_surveys,
        client=client,
    )  # fmt: skip
    frames = [at_once(source) for source in (train, test, po)]
    vocabulary = species_vocabulary(frames[0], frames[2])
    tables = [
        SurveyTable.from_long(frames[0], vocabulary), SurveyTable.from_long(frames[1]),
        SurveyTable.from_long(frames[2].drop(columns="region", errors="ignore"), vocabulary),
    ]  # fmt: skip
    hetero = SurveyGraph.from_surveys(tables[0]).attach(*tables[1:])
    expected = species_lists(hetero, **lists).to_dense()
    features = graph_feature_vectors(hetero, target="test").to_dense()
    place = pd.Index(tables[1].survey_id)
    ids = [found.test().to_table()["survey_id"].to_pylist()] if len(tables[1]) else [[]]
    assert sorted(ids[0]) == sorted(tables[1].survey_id)
    start = 0
    for number in range(len(found.test_partitions)):
        got = found.lists(number).to_dense()
        at = place.get_indexer(ids[0][start : start + len(got)])
        assert torch.equal(got, expected[at])
        assert torch.equal(found.features(number, target="test").to_dense(), features[at])
        start += len(got)


def test_a_survey_in_two_files_is_one_and_must_agree(client, tmp_path):
    rows = clustered_rows(60, seed=4)
    folder = write(pd.concat([rows, rows.assign(speciesId=7.0)]), tmp_path / "in", rows=10)
    found = build(folder, tmp_path / "out", piece_rows=5, max_surveys=9, client=client)
    assert_same(found, SurveyTable.from_long(at_once(folder)))
    moved = rows.assign(lat=np.where(rows["surveyId"] % 2 == 0, rows["lat"] + 0.1, rows["lat"]))
    twice = rows.loc[rows["surveyId"] % 2 == 0, "surveyId"].nunique()
    folder = write(pd.concat([rows, moved]), tmp_path / "other", rows=10)
    with pytest.raises(SurveyDataError, match=f"{twice} survey ids stand for surveys at two pos"):
        build(folder, tmp_path / "refused", piece_rows=5, client=client)
