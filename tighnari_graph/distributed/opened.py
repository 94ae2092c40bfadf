"""A survey graph on disk, opened a part at a time."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import torch
from jaxtyping import Float
from scipy import sparse
from torch import Tensor

from tighnari_graph.distributed.job import FORM, Job, read_job, scalars
from tighnari_graph.distributed.parts import IDS, NOT_AS_WRITTEN, VALUES, read_part
from tighnari_graph.distributed.tables import feature_matrix, survey_table
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.gfv import GFVScaler
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.neighbors import radius_edges
from tighnari_graph.sparse import torch_csr
from tighnari_graph.spec import GraphSpec, edge_attributes, survey_nodes
from tighnari_graph.surveys import SurveyTable

_SURVEYS = {
    "survey_id": pa.int64(), "lat": pa.float64(), "lon": pa.float64(), "year": pa.int64(),
    "row": pa.int64(), "species": IDS,
}  # fmt: skip
_EDGES = {"source": pa.int64(), "target": pa.int64(), "distance_km": pa.float32()}
_COUNTS = ("surveys", "halo", "edges", "isolates", "labels")


@dataclass(frozen=True, eq=False, repr=False)
class DistributedGraph:
    """What `build` made: partitions of a survey graph, each opened when it is asked for.

    Attributes:
        out: the folder.
        job: how it was built.
        partitions: a row per partition: what its surveys share, and counts. ``halo`` counts the
            neighbours that lie in other partitions.
        test_partitions: the same of the test surveys.
        notes: kind of survey → what its rows were, as `SurveyTable.notes` counts it.
    """

    out: Path
    job: Job
    partitions: pd.DataFrame
    test_partitions: pd.DataFrame
    notes: dict[str, dict[str, int]]

    @classmethod
    def open(cls, out: str | Path) -> "DistributedGraph":
        """The graph in a folder; only its list of partitions is read.

        Raises:
            FileNotFoundError: if there is none.
            SurveyDataError: if the build there is not finished, damaged, or something else.
        """
        out = Path(out).absolute()
        job = read_job(out)
        path = out / "manifest.json"
        if not path.exists():
            raise SurveyDataError(f"{out}: the build is not finished; call build again to go on")
        try:
            done = json.loads(path.read_text())
            if done["form"] != FORM:
                raise ValueError(f"form {done['form']!r}, expected {FORM!r}")
            features = () if job.gfv is None else ("largest_feature",)
            tiles = _partitions(done["tiles"], job.keys["survey"], (*_COUNTS, *features))
            test_tiles = _partitions(done["test"] or [], job.keys.get("test", ()), ("surveys",))
            notes = {
                kind: {what: index(count) for what, count in counts.items()}
                for kind, counts in done["notes"].items()
            }
        except NOT_AS_WRITTEN as error:
            raise SurveyDataError(f"{path}: no list of partitions ({error!r})") from error
        return cls(out, job, tiles, test_tiles, notes)

    @property
    def spec(self) -> GraphSpec:
        """Radius, columns, names and vocabulary, as of a graph built at once."""
        return self.job.specs["survey"]

    def __len__(self) -> int:
        return len(self.partitions)

    def __repr__(self) -> str:
        count = self.partitions[["surveys", "edges", "isolates", "labels"]].sum()
        mean = count["edges"] / max(count["surveys"], 1)
        return (
            f"DistributedGraph(surveys={count['surveys']:,}, edges={count['edges']:,}, "
            f"mean degree={mean:.1f}, isolates={count['isolates']:,}, "
            f"labels={count['labels']:,}, species={len(self.spec.species_ids):,}, "
            f"partitions={len(self):,}, halo={self.partitions['halo'].sum():,})"
        )

    def partition(self, number: int) -> SurveyGraph:
        """The surveys of a partition, their neighbours in others, and all edges among them.

        ``graph.owned`` marks the surveys of the partition: they have all their neighbours. The
        others, the halo, have only those that are here. Without a halo the graph is the part of
        the whole that this year and region are.

        Raises:
            IndexError: on a number that no partition has.
            SurveyDataError: if a file of the partition is missing or damaged.
        """
        parts = [self._surveys("surveys", number)]
        if self.partitions["halo"].iloc[number]:
            parts.append(self._surveys("halo", number))
        try:
            columns = pa.concat_tables(parts)
            order = np.argsort(np.array(columns["row"]))
            table = survey_table(columns.take(pa.array(order)), self.spec)
            nodes, spec = survey_nodes(table, self.spec)
        except ValueError as error:
            self._refuse("surveys", number, str(error))
        owned = order < len(parts[0])
        edge_index, distance = self._edges(number, table.survey_id)
        if not owned.all():
            edge_index, distance = _with_edges_of_halo(edge_index, distance, owned, table, spec)
        graph = SurveyGraph(
            **nodes, y=torch_csr(table.known_labels()),
            **edge_attributes(edge_index, distance, spec.radius_km), spec=spec,
        )  # fmt: skip
        graph.owned = torch.from_numpy(owned)
        return graph

    def features(
        self, number: int, normalize: str | None = "max", target: str = "survey"
    ) -> Float[Tensor, "n s"]:
        r"""Graph feature vectors of a partition's own surveys, in the order of their rows.

        Args:
            number: of the partition.
            normalize: as of `graph_feature_vectors`, over the whole graph.
            target: "survey", or "test" for a partition of the test surveys.

        Shapes:
            - **output:** :math:`(n, S)` sparse CSR float32

        Raises:
            IndexError: on a number that no partition has.
            SurveyDataError: if the file of the partition is missing or damaged.
            ValueError: if the build made none, or on another target.
        """
        if target not in ("survey", "test"):
            raise ValueError(f"target must be 'survey' or 'test', got {target!r}")
        if self.job.gfv is None:
            raise ValueError(f"{self.out}: built with gfv=False")
        scaler = GFVScaler(normalize)
        largest = float(self.partitions["largest_feature"].max())
        if normalize == "max" and largest > 0:
            scaler.scale = largest
        what, prefix = ("test", "gfv_") if target == "test" else ("gfv", "")
        return scaler.transform(torch_csr(self._matrix(what, number, prefix)))

    def lists(self, number: int) -> Float[Tensor, "n s"]:
        r"""Species lists of a partition of the test surveys, 0/1, as of `species_lists`.

        Shapes:
            - **output:** :math:`(n, S)` sparse CSR float32

        Raises:
            IndexError: on a number that no partition of the test surveys has.
            SurveyDataError: if the file of the partition is missing or damaged.
        """
        return torch_csr(self._matrix("test", number, "list_"))

    def edges(self) -> ds.Dataset:
        """All edges: source and target (survey ids) and distance_km; nothing is read yet.

        The weight is ``radius_km - distance_km``.
        """
        return self._dataset("edges")

    def surveys(self) -> ds.Dataset:
        """All surveys, each once; nothing is read yet."""
        return self._dataset("surveys")

    def gfv(self) -> ds.Dataset:
        """Graph feature vectors, not normalised: a list of species and one of values a survey."""
        return self._dataset("gfv")

    def test(self) -> ds.Dataset:
        """Test surveys with features and lists; nothing is read yet."""
        return self._dataset("test")

    def _dataset(self, what: str) -> ds.Dataset:
        if not (self.out / what).is_dir():
            raise ValueError(f"{self.out}: was built without {what}")
        return ds.dataset(self.out / what, format="parquet")

    def _surveys(self, what: str, number: int) -> pa.Table:
        """Own surveys of a partition, or its halo."""
        kinds = _SURVEYS | dict.fromkeys(self.spec.categories)
        columns = self._read(what, number, kinds, what)
        for name, limit in (("lat", 90), ("lon", 180)):
            if beyond := int((~(np.abs(np.array(columns[name])) <= limit)).sum()):
                self._refuse(what, number, f"{beyond:,} values of {name} lie beyond ±{limit}")
        return columns

    def _edges(self, number: int, survey_id: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Edges of a partition between positions of these ids, and their distances."""
        edges = self._read("edges", number, _EDGES, "edges")
        at = pd.Index(survey_id)
        if repeated := len(at) - at.nunique():
            self._refuse("surveys", number, f"{repeated:,} survey ids are repeated")
        ends = [at.get_indexer(pd.Index(np.array(edges[end]))) for end in ("source", "target")]
        edge_index = np.stack(ends).astype(np.int64)
        if unknown := int((edge_index < 0).any(axis=0).sum()):
            self._refuse("edges", number, f"{unknown:,} edges name surveys that are not there")
        distance = edges["distance_km"].to_numpy().copy()  # torch asks for one that it may write
        if beyond := int((~((distance >= 0) & (distance <= self.spec.radius_km * 1.001))).sum()):
            self._refuse("edges", number, f"{beyond:,} edges are longer than the radius")
        return edge_index, distance

    def _matrix(self, what: str, number: int, prefix: str) -> sparse.csr_matrix:
        """Features, or lists, of a partition."""
        kinds = {f"{prefix}species": IDS} | (
            {} if prefix == "list_" else {f"{prefix}value": VALUES}
        )
        columns = self._read(what, number, kinds, "surveys")
        try:
            return feature_matrix(columns, self.spec, prefix)
        except ValueError as error:
            self._refuse(what, number, str(error))

    def _read(
        self, what: str, number: int, kinds: Mapping[str, pa.DataType | None], count: str
    ) -> pa.Table:
        """Columns of a file with as many rows as the list of partitions says."""
        frame = self.test_partitions if what == "test" else self.partitions
        if not 0 <= number < len(frame):
            raise IndexError(f"no partition {number} among {len(frame)}")
        return read_part(self._path(what, number), kinds, int(frame[count].iloc[number]))

    def _path(self, what: str, number: int) -> Path:
        return self.out / what / f"part-{number:06d}.parquet"

    def _refuse(self, what: str, number: int, problem: str) -> NoReturn:
        raise SurveyDataError(f"{self._path(what, number)}: damaged: {problem}")


def _partitions(
    tiles: list[dict[str, Any]], keys: tuple[str, ...], counts: tuple[str, ...]
) -> pd.DataFrame:
    """A row per tile; ValueError, KeyError or TypeError where one lacks a count or a key."""
    rows = []
    for tile in tiles:
        if odd := [n for n in counts if not math.isfinite(tile[n]) or not 0 <= tile[n] < 2**63]:
            raise ValueError(f"{odd[0]} is {tile[odd[0]]}")
        shared = dict(zip(keys, scalars(tile["key"]), strict=True))
        rows.append(shared | {k: v for k, v in tile.items() if k not in ("key", "tile")})
    return (
        pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*keys, *_COUNTS, "largest_feature"])
    )


def _with_edges_of_halo(
    edge_index: np.ndarray,
    distance: np.ndarray,
    owned: np.ndarray,
    table: SurveyTable,
    spec: GraphSpec,
) -> tuple[np.ndarray, np.ndarray]:
    """Besides the edges into own surveys those into the halo, from own surveys and among it."""
    back = ~owned[edge_index[0]]
    halo = np.flatnonzero(~owned)
    among, km = radius_edges(
        table.lat[halo], table.lon[halo], np.zeros(len(halo), dtype=np.int64),
        spec.radius_km, spec.earth_radius_km,
    )  # fmt: skip
    edge_index = np.concatenate([edge_index, edge_index[::-1, back], halo[among]], axis=1)
    distance = np.concatenate([distance, distance[back], km])
    order = np.lexsort(edge_index)
    return edge_index[:, order], distance[order]
