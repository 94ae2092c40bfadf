"""The levels of a pyramid: surveys, and cells of growing size that merge those of one class."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.cluster import MiniBatchKMeans

from tighnari_graph.covariates import MISSING
from tighnari_graph.geodesy import vectors_km
from tighnari_graph.splits import block_ids

SEVERAL = -1  # block of a cell that holds surveys of more than one
_TO_A_CLASS = 4  # surveys that a class should hold on average
_CLUSTERS = 64


@dataclass(frozen=True, eq=False)
class Level:
    """The nodes of one level; ``group`` numbers the classes of which cells hold one."""

    vectors: np.ndarray
    radius_km: np.ndarray
    weight: np.ndarray
    numeric: np.ndarray
    codes: np.ndarray
    labels: sparse.csr_matrix
    richness: sparse.csr_matrix
    block: np.ndarray
    group: np.ndarray


def survey_classes(values: np.ndarray, codes: np.ndarray, bins: int) -> np.ndarray:
    """Number of each survey's class: text covariates, bins of numeric ones, what is missing.

    Where so many covariates leave hardly two surveys in a class, classes are clusters instead.
    """
    text = _same(list(codes.T), len(codes))
    while bins > 1:
        group = _same([text, *(_bin(column, bins) for column in values.T)], len(codes))
        if group.max(initial=0) < len(group) / _TO_A_CLASS:
            return group
        bins //= 2
    known = np.isfinite(values)
    clusters = min(_CLUSTERS, len(values))
    means = MiniBatchKMeans(clusters, random_state=0, n_init=1)
    cluster = (
        means.fit_predict(np.where(known, values, 0)) if values.shape[1] and clusters else text
    )
    return _same([text, *known.T, cluster], len(codes))


def _bin(column: np.ndarray, bins: int) -> np.ndarray:
    known = np.isfinite(column)
    cuts = np.quantile(column[known], np.arange(1, bins) / bins) if known.any() else []
    return np.where(known, np.searchsorted(cuts, column), MISSING)


def _same(parts: list[np.ndarray], num: int) -> np.ndarray:
    """One number per survey, equal where all parts are."""
    group = np.zeros(num, dtype=np.int64)
    for part in parts:
        code, different = pd.factorize(part)
        group = pd.factorize(group * len(different) + code)[0]
    return group


def parent_cells(level: Level, size_km: float, block_km: float) -> np.ndarray:
    """Parent of each node: nodes of one class whose centres share a square of a grid."""
    xyz = level.vectors / np.maximum(np.linalg.norm(level.vectors, axis=1, keepdims=True), 1e-12)
    lat = np.degrees(np.arcsin(np.clip(xyz[:, 2], -1, 1)))
    lon = np.degrees(np.arctan2(xyz[:, 1], xyz[:, 0]))
    square = level.block if size_km == block_km else block_ids(lat, lon, size_km)
    keys = [level.group, square] + ([level.block] if size_km < block_km else [])
    return _same(keys, len(lat))


def merged(level: Level, parent: np.ndarray, within_block: bool) -> Level:
    """The next level: nodes of one parent, [N], become one cell; weights and labels add up."""
    num = int(parent.max()) + 1
    member = sparse.csr_matrix(
        (np.ones(len(parent)), (parent, np.arange(len(parent)))), shape=(num, len(parent))
    )
    weight = member @ level.weight
    share = np.where(weight[parent] > 0, level.weight / np.maximum(weight[parent], 1e-300), 0.0)
    first = np.zeros(num, dtype=np.int64)
    first[parent[::-1]] = np.arange(len(parent))[::-1]
    vectors = member @ (level.vectors * share[:, None])
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.where(length > 1e-9, vectors / np.maximum(length, 1e-9), level.vectors[first])
    reach = level.radius_km + vectors_km(level.vectors, vectors[parent])
    radius = np.zeros(num)
    np.maximum.at(radius, parent, reach)
    return replace(
        level,
        vectors=vectors,
        radius_km=radius,
        weight=weight,
        numeric=member @ (level.numeric * share[:, None]),  # a class misses a value or has it
        codes=level.codes[first],
        labels=sparse.csr_matrix(member @ level.labels),
        richness=sparse.csr_matrix(member @ level.richness),
        block=level.block[first] if within_block else np.full(num, SEVERAL),
        group=level.group[first],
    )
