"""Species that stand on the lists of nearly all nearest surveys: algorithm 2."""

import numpy as np
from jaxtyping import Float
from scipy import sparse
from torch import Tensor
from torch_geometric.data import HeteroData

from tighnari_graph.sparse import scipy_csr, torch_csr

SOURCES = ("po", "survey", "both")


def species_lists(
    hetero: HeteroData,
    num_neighbors: int = 5,
    min_count: int = 4,
    num_po: int = 10,
    min_po_count: int = 8,
    source: str = "po",
) -> Float[Tensor, "n_test s"]:
    r"""For every test node, the species found again and again at its nearest surveys.

    Among the ``num_neighbors`` nearest surveys a species must occur **more than** ``min_count``
    times, among the ``num_po`` nearest PO surveys more than ``min_po_count`` times. Equal
    distances are ordered by survey id, so the result does not depend on the order of rows.

    Args:
        hetero: what `SurveyGraph.attach` returned.
        num_neighbors: N of algorithm 2.
        min_count: L of algorithm 2, to be exceeded.
        num_po: A of algorithm 2.
        min_po_count: M of algorithm 2, to be exceeded.
        source: "po" (steadier, section 3.7), "survey", or "both" merged (algorithm 2).

    Shapes:
        - **output:** :math:`(N_{test}, S)` sparse CSR float32 of 0/1

    Raises:
        ValueError: on an unknown source, or one that is not attached.

    Source: Liu et al. 2024, section 3.2, algorithm 2; section 3.7 (PO alone).

    Example:
        Two PO surveys near one test node agree on species 9.

        >>> import pandas as pd
        >>> from tighnari_graph import SurveyGraph, SurveyTable
        >>> rows = pd.DataFrame({"surveyId": [1, 2, 2], "lat": 45.0, "lon": 7.0, "year": 2020,
        ...     "region": "ALPINE", "speciesId": [9, 5, 9]})
        >>> surveys = SurveyTable.from_long(rows)
        >>> po = SurveyTable.from_long(rows.drop(columns="region"))
        >>> test = SurveyTable.from_long(rows[:1].assign(surveyId=3).drop(columns="speciesId"))
        >>> hetero = SurveyGraph.from_surveys(surveys).attach(test, po)
        >>> species_lists(hetero, num_po=2, min_po_count=1).to_dense()
        tensor([[0., 1.]])
    """
    rules = list_rules(num_neighbors, min_count, num_po, min_po_count, source)
    if not isinstance(hetero, HeteroData):
        raise TypeError(
            f"species_lists takes what graph.attach returns, got {type(hetero).__name__}"
        )
    lists = None
    for node_type, (num, exceed) in rules.items():
        if (node_type, "near", "test") not in hetero.edge_types:
            raise ValueError(f"no {node_type} → test edges; graph.attach(...) adds them")
        counted = _nearest(hetero, node_type, num) @ scipy_csr(hetero[node_type].y)
        counted.data = (counted.data > exceed).astype(counted.dtype)
        counted.eliminate_zeros()
        lists = counted if lists is None else lists.maximum(counted)
    return torch_csr(lists)


def list_rules(
    num_neighbors: int = 5,
    min_count: int = 4,
    num_po: int = 10,
    min_po_count: int = 8,
    source: str = "po",
) -> dict[str, tuple[int, int]]:
    """Node type → how many of the nearest are asked, and how many must be exceeded.

    Raises:
        ValueError: on an unknown source or a negative number of surveys.

    Example:
        >>> list_rules(source="both")
        {'survey': (5, 4), 'po': (10, 8)}
    """
    if source not in SOURCES:
        raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {source!r}")
    if min(num_neighbors, num_po) < 0:
        raise ValueError(f"num_neighbors and num_po are counts, got {num_neighbors}, {num_po}")
    rules = {"survey": (num_neighbors, min_count), "po": (num_po, min_po_count)}
    return {name: rule for name, rule in rules.items() if source in (name, "both")}


def _nearest(hetero: HeteroData, node_type: str, num: int) -> sparse.csr_matrix:
    """Which sources are among the nearest ``num`` of each test node, [N_test, N_src] of 0/1."""
    store = hetero[node_type, "near", "test"]
    source, target = store.edge_index.numpy(force=True)
    distance = np.ascontiguousarray(store.edge_distance_km.numpy(force=True))
    num_test, num_src = len(hetero["test"].survey_id), len(hetero[node_type].survey_id)

    # Of each test node keep what is no farther than its num-th nearest.
    bits = distance.view(np.int32)  # distances from 0 up are in order as their bits
    first = np.searchsorted(target, np.arange(num_test + 1))  # edges are sorted by target
    near = np.flatnonzero(bits <= np.repeat(_bound(bits, first, num), np.diff(first)))
    source, target, bits = source[near], target[near], bits[near]
    first = np.searchsorted(target, np.arange(num_test + 1))
    ordered = np.sort((target << 32) | bits)
    some = first[:-1] < first[1:]
    limit = np.full(num_test, -1, dtype=np.int64)
    if num:
        limit[some] = ordered[np.minimum(first[:-1] + num, first[1:])[some] - 1] & 0xFFFFFFFF
    near = np.flatnonzero(bits <= limit[target])
    source, target, bits = source[near], target[near], bits[near]

    # Equal distances can make them too many: there the order of ids decides.
    count = np.bincount(target, minlength=num_test)
    tied = np.flatnonzero((count > num)[target])
    survey_id = hetero[node_type].survey_id.numpy(force=True)[source[tied]]
    tied = tied[np.lexsort((survey_id, bits[tied], target[tied]))]
    rank = np.arange(len(tied)) - np.searchsorted(target[tied], target[tied])
    kept = np.ones(len(target), dtype=bool)
    kept[tied[rank >= num]] = False
    source, target = source[kept], target[kept]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(target, minlength=num_test))])
    ones = np.ones(len(source), dtype=np.float32)
    return sparse.csr_matrix((ones, source, indptr), shape=(num_test, num_src))


def _bound(bits: np.ndarray, first: np.ndarray, num: int) -> np.ndarray:
    """No less than the num-th smallest number of each run, without sorting.

    A run is cut into num parts; the largest of their minima is that of one of num, or beyond.
    """
    count = np.diff(first)
    bound = np.full(len(count), np.iinfo(bits.dtype).max, dtype=bits.dtype)
    long = np.flatnonzero(count > num)
    if num and len(long):
        cuts = first[long, None] + count[long, None] * np.arange(num + 1) // num
        cuts = np.minimum(cuts, len(bits) - 1)
        bound[long] = np.minimum.reduceat(bits, cuts.ravel()).reshape(cuts.shape)[:, :-1].max(1)
    return bound
