"""Generated data sets in Parquet, and what a graph built in tiles is compared with."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import torch

from benchmarks.inputs import clustered_points
from tighnari_graph import SurveyGraph, SurveyTable, graph_feature_vectors
from tighnari_graph.distributed import DistributedGraph

IN_PROCESS = {
    "processes": False, "n_workers": 1, "threads_per_worker": 2, "dashboard_address": "127.0.0.1:0",
}  # fmt: skip


def write(frame: pd.DataFrame, folder: Path, files: int = 3, rows: int = 4) -> Path:
    """Rows as they stand, in several files of small row groups."""
    folder.mkdir(parents=True)
    for number, part in enumerate(np.array_split(np.arange(len(frame)), files)):
        path = folder / f"{number}.parquet"
        frame.iloc[part].to_parquet(path, row_group_size=rows, index=False)
    return folder


def at_once(folder: Path) -> pd.DataFrame:
    if (folder / "0.parquet").exists():
        return pd.concat([pd.read_parquet(path) for path in sorted(folder.iterdir())])
    return ds.dataset(folder, partitioning="hive").to_table().to_pandas()


def assert_same(found: DistributedGraph, table: SurveyTable, **options) -> None:
    """Surveys, edges and features of all partitions are those of the single-machine graph."""
    gfv = options.pop("gfv", {})
    graph = SurveyGraph.from_surveys(table, **options)
    features = graph_feature_vectors(graph, **gfv).to_dense()
    place = pd.Index(table.survey_id)
    surveys, edges = [], []
    for number in range(len(found)):
        part = found.partition(number)
        part.validate()
        own = part.owned.numpy()
        at = torch.from_numpy(place.get_indexer(part.survey_id.numpy()).astype(np.int64))
        assert (at.diff() > 0).all()  # the order is that of the rows
        surveys.append(at[own])
        for key in graph.to_dict():
            if key.endswith("_code") or key in ("pos", "year"):
                assert torch.equal(part[key], graph[key][at]), key
        assert torch.equal(part.y.to_dense(), graph.y.to_dense()[at])
        into = part.owned[part.edge_index[1]]
        ends = at[part.edge_index[:, into]]
        edges.append((ends, part.edge_distance_km[into], part.edge_weight[into]))
        assert torch.equal(found.features(number).to_dense(), features[at[own]])
        assert part._spec.categories == graph._spec.categories
        assert np.array_equal(part.species_ids, graph.species_ids)
    surveys, ends = torch.cat([torch.zeros(0, dtype=torch.long), *surveys]), torch.zeros(2, 0)
    assert sorted(surveys.tolist()) == list(range(len(table)))
    if not edges:
        return
    ends, distance, weight = (torch.cat(parts, dim=-1) for parts in zip(*edges, strict=True))
    order = np.lexsort(ends.numpy())
    assert torch.equal(ends[:, order], graph.edge_index)
    assert torch.equal(distance[order], graph.edge_distance_km)
    assert torch.equal(weight[order], graph.edge_weight)
    assert found.partitions["edges"].sum() == graph.num_edges
    assert found.partitions["isolates"].sum() == graph.isolates().sum()
    assert found.partitions["labels"].sum() == len(graph.y.col_indices())


def clustered_rows(num: int, seed: int = 0) -> pd.DataFrame:
    """Surveys with no or several species, in any order of rows; some without a region."""
    rng = np.random.default_rng(seed)
    points = clustered_points(num, seed=seed)
    count = np.maximum(rng.integers(0, 5, num), 1)
    names = np.array(list("abcdefgh"), dtype=object)
    frame = pd.DataFrame(
        {
            "surveyId": rng.permutation(10**6)[:num],
            "lat": points.lat,
            "lon": points.lon,
            "year": points.year,
            "region": np.where(rng.random(num) < 0.02, None, names[points.region % 8]),
        }
    )
    frame = frame.loc[np.repeat(np.arange(num), count)].reset_index(drop=True)
    frame["speciesId"] = rng.integers(0, 300, len(frame)).astype(float)
    frame.loc[rng.random(len(frame)) < 0.1, "speciesId"] = np.nan
    return frame.iloc[rng.permutation(len(frame))]
