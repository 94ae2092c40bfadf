"""Surveys, and cells of growing size that sum them up: near things singly, far things together.

A prediction from all surveys would need all pairs. Seen from afar, the surveys of a cell that
resemble each other are one point with the sum of their labels; so a survey looks at some hundred
cells instead of all other surveys (Barnes and Hut 1986, *Nature* 324, do so with stars).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from tighnari_graph.geodesy import EARTH_RADIUS_KM, km_of_chord, unit_vectors, vectors_km
from tighnari_graph.pyramid_levels import SEVERAL, Level, merged, parent_cells, survey_classes
from tighnari_graph.splits import block_ids

__all__ = ["SEVERAL", "Pyramid"]

_SMALLEST_KM = 1.25
_LARGEST_KM = 5120.0
_SHRINKS = 0.9  # a level is kept if it has at most this share of the nodes of the finer one


@dataclass(frozen=True, eq=False)
class Pyramid:
    r"""Nodes: first the surveys, then cells, finer ones first. A cell holds surveys of one class.

    Attributes:
        vectors: :math:`(M, 3)` unit vectors of the nodes; of a cell the mean of its surveys.
        radius_km: :math:`(M,)` no survey of the node is farther from it; 0 for surveys.
        weight: :math:`(M,)` how many surveys it stands for (or the sum of their weights).
        numeric: :math:`(M, C)` numeric covariates, of a cell the mean; NaN is missing.
        codes: :math:`(M, D)` codes of text covariates.
        labels: :math:`(M, S)` scipy CSR, weighted sums of labels.
        richness: the same entries, each label times the number of species of its survey.
        block: :math:`(M,)` block of 10 km, −1 for a cell that may hold several.
        first_child: :math:`(M + 1,)`, children of node m are
            ``children[first_child[m] : first_child[m + 1]]``.
        children: node numbers.
        top: nodes without a parent, which together hold all surveys.
        num_surveys: how many of the nodes are surveys.
        block_km: side of a block.
    """

    vectors: np.ndarray
    radius_km: np.ndarray
    weight: np.ndarray
    numeric: np.ndarray
    codes: np.ndarray
    labels: sparse.csr_matrix
    richness: sparse.csr_matrix
    block: np.ndarray
    first_child: np.ndarray
    children: np.ndarray
    top: np.ndarray
    num_surveys: int
    block_km: float

    @classmethod
    def build(
        cls,
        lat: np.ndarray,
        lon: np.ndarray,
        labels: sparse.csr_matrix,
        values: np.ndarray,
        codes: np.ndarray,
        weight: np.ndarray | None = None,
        bins: int = 8,
        block_km: float = 10.0,
    ) -> "Pyramid":
        r"""Merge surveys into cells, level by level.

        Args:
            lat, lon: degrees.
            labels: species of each survey.
            values: numeric covariates; surveys of a cell share the quantile bin of each.
            codes: text covariates; surveys of a cell share all of them.
            weight: of each survey; 1 by default.
            bins: quantile bins of each numeric covariate; fewer, or clusters, where there are many.
            block_km: cells up to this size hold surveys of one block only.

        Shapes:
            - **lat, lon, weight:** :math:`(N,)`
            - **labels:** :math:`(N, S)`; **values:** :math:`(N, C)`; **codes:** :math:`(N, D)`

        Example:
            Two surveys 100 m apart, and one farther north:

            >>> labels = sparse.csr_matrix([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
            >>> pyramid = Pyramid.build(np.array([45.0, 45.001, 48.0]), np.zeros(3), labels,
            ...     np.zeros((3, 0)), np.zeros((3, 0), dtype=int))
            >>> pyramid.labels.toarray()[3:]
            array([[2., 1.],
                   [0., 1.]], dtype=float32)
        """
        num = len(lat)
        weight = np.ones(num) if weight is None else np.asarray(weight, dtype=np.float64)
        level = Level(
            unit_vectors(lat, lon), np.zeros(num), weight, np.asarray(values, dtype=np.float64),
            np.asarray(codes, dtype=np.int64),
            sparse.csr_matrix(sparse.diags_array(weight) @ labels),
            sparse.csr_matrix(sparse.diags_array(weight * np.diff(labels.indptr)) @ labels),
            block_ids(lat, lon, block_km), survey_classes(values, codes, bins),
        )  # fmt: skip
        levels, parents = [level], []
        size = _SMALLEST_KM
        while size <= _LARGEST_KM and num:
            parent = parent_cells(level, size, block_km)
            if not levels[1:] or parent.max() + 1 <= _SHRINKS * len(parent):
                level = merged(level, parent, within_block=size <= block_km)
                levels.append(level)
                parents.append(parent)
            size *= 2
        return _stack(levels, parents, num, block_km)

    @property
    def num_nodes(self) -> int:
        """Surveys and cells."""
        return len(self.weight)

    def edges(
        self, vectors: np.ndarray, block: np.ndarray | None = None, opening: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        r"""What each target looks at: every survey once, singly or as part of a cell.

        A cell stands for its surveys if its radius is at most ``opening`` times its distance, and
        if none of them can lie in the target's block.

        Args:
            vectors: unit vectors of the targets.
            block: block of each target, whose surveys are left out; None leaves none out.
            opening: 0 looks at every survey singly.

        Shapes:
            - **vectors:** :math:`(n, 3)`; **block:** :math:`(n,)`
            - **output:** source node, target and distance in kilometres, each :math:`(E,)`, sorted
              by (target, source)
        """
        if opening == 0:
            return self._all_surveys(vectors, block)
        node = np.tile(self.top, len(vectors))
        target = np.repeat(np.arange(len(vectors)), len(self.top))
        taken = []
        while len(node):
            km = vectors_km(self.vectors[node], vectors[target])
            single = node < self.num_surveys
            take = single | (self.radius_km[node] <= opening * km)
            if block is not None:  # a cell of several blocks is opened where one is the own
                take &= single | ~self._holds(node, block[target])
            keep = take if block is None else take & (self.block[node] != block[target])
            taken.append((node[keep], target[keep], km[keep].astype(np.float32)))
            node, target = self._opened(node[~take], target[~take])
        if not taken:
            return np.zeros(0, dtype=int), np.zeros(0, dtype=int), np.zeros(0, dtype=np.float32)
        source, target, km = (np.concatenate(part) for part in zip(*taken, strict=True))
        order = np.argsort(target * self.num_nodes + source)
        return source[order], target[order], km[order]

    @cached_property
    def _held(self) -> np.ndarray:
        """Cell of several blocks × block that it holds, as sorted numbers."""
        num_blocks = int(self.block.max(initial=0)) + 1
        parent = np.full(self.num_nodes, -1)
        parent[self.children] = np.repeat(np.arange(self.num_nodes), np.diff(self.first_child))
        keys = np.unique((parent * num_blocks + self.block)[(self.block >= 0) & (parent >= 0)])
        found, keys = [], keys[self.block[keys // num_blocks] == SEVERAL]
        while len(keys):
            found.append(keys)
            above = parent[keys // num_blocks]
            keys = np.unique((above * num_blocks + keys % num_blocks)[above >= 0])
        return np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *found]))

    def _holds(self, node: np.ndarray, block: np.ndarray) -> np.ndarray:
        keys = node * (int(self.block.max(initial=0)) + 1) + block
        at = np.minimum(np.searchsorted(self._held, keys), max(len(self._held) - 1, 0))
        return self._held[at] == keys if len(self._held) else np.zeros(len(keys), dtype=bool)

    def _all_surveys(
        self, vectors: np.ndarray, block: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        cosine = vectors @ self.vectors[: self.num_surveys].T
        km = km_of_chord(np.maximum(2 - 2 * cosine, 0), EARTH_RADIUS_KM).astype(np.float32)
        seen = np.ones(km.shape, dtype=bool)
        if block is not None:
            seen = block[:, None] != self.block[None, : self.num_surveys]
        target, source = np.nonzero(seen)
        return source, target, km[seen]

    def _opened(self, node: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, count = self.first_child[node], np.diff(self.first_child)[node]
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return self.children[np.repeat(first, count) + within], np.repeat(target, count)


def _stack(levels: list[Level], parents: list[np.ndarray], num: int, block_km: float) -> Pyramid:
    sizes = np.array([len(level.weight) for level in levels])
    start = np.concatenate([[0], np.cumsum(sizes)])
    counts, children = [np.zeros(num, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for depth, parent in enumerate(parents):
        counts.append(np.bincount(parent, minlength=sizes[depth + 1]))
        children.append(np.argsort(parent, kind="stable") + start[depth])
    first_child = np.concatenate([[0], np.cumsum(np.concatenate(counts))])

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(level, name) for level in levels])

    def summed(name: str) -> sparse.csr_matrix:
        parts = [getattr(level, name) for level in levels]
        return sparse.csr_matrix(sparse.vstack(parts), dtype=np.float32)

    return Pyramid(
        joined("vectors"), joined("radius_km"), joined("weight").astype(np.float32),
        joined("numeric").astype(np.float32), joined("codes"),
        summed("labels"),
        summed("richness"),
        joined("block"), first_child, np.concatenate(children),
        np.arange(start[-2], start[-1]), num, block_km,
    )  # fmt: skip
