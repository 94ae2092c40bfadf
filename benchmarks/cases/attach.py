"""Presence-only (PO) surveys: read them, attach them to test nodes, list species near those."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.neighbors import BallTree
from torch import Tensor
from torch_geometric.data import HeteroData

from benchmarks.case import Case, Limit, Peer
from benchmarks.cases.graph import CLOSE_KM, RADIUS_KM
from benchmarks.cases.reading import NUM_SPECIES, reading_case
from benchmarks.inputs import po_rows, survey_table
from benchmarks.machine import Speed
from tighnari_graph import SurveyGraph, SurveyTable, read_glc24_po, species_lists
from tighnari_graph.geodesy import EARTH_RADIUS_KM
from tighnari_graph.sparse import scipy_csr

SURVEYS, TEST, ROWS, PO = 88_987, 4_716, 5_079_797, 3_845_533
SMALL = (900, 60, 6_000, 4_500)

# ids of source and target, sorted by the rows of target and then source, and kilometres
Pairs = tuple[np.ndarray, np.ndarray]


def cases(small: bool, speed: Speed) -> Iterator[Case]:
    """Reading, attaching, species lists."""
    surveys, test, rows, po = SMALL if small else (SURVEYS, TEST, ROWS, PO)
    frame = po_rows(rows, po, NUM_SPECIES)
    with tempfile.TemporaryDirectory() as folder:
        yield reading_case(frame, Path(folder))
    table = read_glc24_po(frame, np.arange(NUM_SPECIES))
    del frame
    everyone = survey_table(surveys + test, NUM_SPECIES)
    held_out = np.random.default_rng(0).permutation(surveys + test) < test
    graph = SurveyGraph.from_surveys(everyone.subset(~held_out), RADIUS_KM)
    new = everyone.subset(held_out)
    yield attaching_case(graph, new, table, speed)
    hetero = graph.attach(test=new, presence_only=table)
    del table
    edges = sum(hetero[name, "near", "test"].edge_index.size(1) for name in ("survey", "po"))
    yield Case(
        "species lists of test nodes, from surveys and PO surveys",
        f"{test:,} test nodes, {edges:,} edges",
        lambda: species_lists(hetero, source="both"),
        {"dictionary loops as in Algorithm 2": Peer(lambda: dictionary_lists(hetero), aim="≥ 50×")},
        check=same_lists,
    )


def attaching_case(graph: SurveyGraph, test: SurveyTable, po: SurveyTable, speed: Speed) -> Case:
    """Edges from surveys and from PO surveys to test nodes."""
    both = (
        (SurveyEnd.of_graph(graph), SurveyEnd.of_test(graph, test)),
        (SurveyEnd(po.survey_id, po.lat, po.lon, po.year),
         SurveyEnd(test.survey_id, test.lat, test.lon, test.year)),
    )  # fmt: skip
    size = sum(part.nbytes for part in (po.lat, po.lon, po.year))
    return Case(
        "attach PO surveys to test nodes",
        f"{len(po):,} PO surveys, {graph.num_nodes:,} surveys, {len(test):,} test nodes",
        lambda: graph.attach(test=test, presence_only=po),
        {
            f"BallTree on the {side} side": Peer(
                lambda s=side: tuple(balltree_between(*ends, s) for ends in both)
            )
            for side in ("source", "target")
        },
        Limit("read positions and years of PO surveys once", speed.read(size)),
        "≤ 3 s, memory ≤ 2,000 MB",
        same_pairs,
    )


class SurveyEnd(NamedTuple):
    """One end of edges: ids, positions in degrees, and the group in which a neighbour must be."""

    survey_id: np.ndarray
    lat: np.ndarray
    lon: np.ndarray
    group: np.ndarray

    @classmethod
    def of_graph(cls, graph: SurveyGraph) -> "SurveyEnd":
        """The surveys of a graph, grouped by year and region."""
        lat, lon = graph.pos.numpy().T
        group = graph.year.numpy() * 1000 + graph.region_code.numpy()
        return cls(graph.survey_id.numpy(), lat, lon, group)

    @classmethod
    def of_test(cls, graph: SurveyGraph, test: SurveyTable) -> "SurveyEnd":
        """Surveys to predict, grouped in the same way."""
        code = {name: number for number, name in enumerate(graph.region_names)}
        region = pd.Series(test.region).map(code).to_numpy()
        return cls(test.survey_id, test.lat, test.lon, test.year * 1000 + region)


def balltree_between(source: SurveyEnd, target: SurveyEnd, side: str) -> Pairs:
    """The pairs within the radius by a scikit-learn BallTree a group, on either side."""
    at = [np.radians(np.stack([end.lat, end.lon], axis=1)) for end in (source, target)]
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for group in np.unique(target.group):
        one, other = (np.flatnonzero(end.group == group) for end in (source, target))
        if not len(one):
            continue
        trees, asks = (one, other) if side == "source" else (other, one)
        tree_at, ask_at = at if side == "source" else at[::-1]
        near, angle = BallTree(tree_at[trees], metric="haversine").query_radius(
            ask_at[asks], RADIUS_KM / EARTH_RADIUS_KM, return_distance=True
        )
        ends = trees[np.concatenate(near)], np.repeat(asks, [len(n) for n in near])
        found.append((*(ends if side == "source" else ends[::-1]), np.concatenate(angle)))
    first, second, angle = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((first, second))
    ids = np.stack([source.survey_id[first[order]], target.survey_id[second[order]]])
    return ids, (angle[order] * EARTH_RADIUS_KM).astype(np.float32)


def same_pairs(ours: HeteroData, theirs: tuple[Pairs, Pairs]) -> str:
    """What differs between the edges of both relations, or their distances by over a metre."""
    for name, (ids, distance) in zip(("survey", "po"), theirs, strict=True):
        store = ours[name, "near", "test"]
        source, target = store.edge_index.numpy()
        found = ours[name].survey_id.numpy()[source], ours["test"].survey_id.numpy()[target]
        if not np.array_equal(np.stack(found), ids):
            return f"{len(source)} and {ids.shape[1]} edges from {name} nodes, not the same ones"
        if np.abs(store.edge_distance_km.numpy() - distance).max(initial=0) > CLOSE_KM:
            return f"distances from {name} nodes"
    return ""


def dictionary_lists(hetero: HeteroData) -> list[set[int]]:
    """Algorithm 2 as it is printed: neighbours sorted and species counted, node by node."""
    lists: list[set[int]] = [set() for _ in hetero["test"].survey_id]
    for name, nearest, exceed in (("survey", 5, 4), ("po", 10, 8)):
        store, ids = hetero[name, "near", "test"], hetero[name].survey_id.tolist()
        labels = scipy_csr(hetero[name].y)
        species_of: dict[int, list[int]] = {}
        neighbors: dict[int, list[tuple[float, int, int]]] = {}
        edges = zip(*store.edge_index.tolist(), store.edge_distance_km.tolist(), strict=True)
        for source, target, distance in edges:
            neighbors.setdefault(target, []).append((distance, ids[source], source))
        for target, near in neighbors.items():
            count: Counter[int] = Counter()
            for _, _, source in sorted(near)[:nearest]:
                if source not in species_of:
                    row = slice(labels.indptr[source], labels.indptr[source + 1])
                    species_of[source] = labels.indices[row].tolist()
                count.update(species_of[source])
            lists[target] |= {species for species, often in count.items() if often > exceed}
    return lists


def same_lists(ours: Tensor, theirs: list[set[int]]) -> str:
    """What differs: the sets of some test nodes."""
    found = scipy_csr(ours)
    rows = np.split(found.indices, found.indptr[1:-1])
    wrong = sum(set(row.tolist()) != other for row, other in zip(rows, theirs, strict=True))
    return f"lists of {wrong} test nodes" if wrong else ""
