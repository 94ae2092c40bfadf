"""A survey graph on disk, opened a part at a time."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from torch import Tensor

from tighnari_graph.distributed.job import FORM, Job, read_job
from tighnari_graph.distributed.tables import feature_matrix, survey_table
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.gfv import GFVScaler
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.neighbors import radius_edges
from tighnari_graph.sparse import torch_csr
from tighnari_graph.spec import GraphSpec, edge_attributes, survey_nodes
from tighnari_graph.surveys import SurveyTable


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
            SurveyDataError: if the build there is not finished, or it is something else.
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
            tiles = _partitions(done["tiles"], job.keys["survey"])
            test_tiles = _partitions(done["test"] or [], job.keys.get("test", ()))
            notes = {kind: dict(counts) for kind, counts in done["notes"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SurveyDataError(f"{path}: no list of partitions ({error})") from error
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
        """
        columns = self._read("surveys", number)
        num = len(columns)
        if self.partitions["halo"].iloc[number]:
            columns = pa.concat_tables([columns, self._read("halo", number)])
        order = np.argsort(np.array(columns["row"]))
        table = survey_table(columns.take(pa.array(order)), self.spec)
        owned = order < num
        nodes, spec = survey_nodes(table, self.spec)
        edges = self._read("edges", number)
        at = pd.Index(table.survey_id)
        ends = [at.get_indexer(pd.Index(np.array(edges[end]))) for end in ("source", "target")]
        edge_index = np.stack(ends).astype(np.int64)
        distance = edges["distance_km"].to_numpy().copy()
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
        if target == "test":
            matrix = feature_matrix(self._read("test", number), self.spec, "gfv_")
        else:
            matrix = feature_matrix(self._read("gfv", number), self.spec)
        return scaler.transform(torch_csr(matrix))

    def lists(self, number: int) -> Float[Tensor, "n s"]:
        r"""Species lists of a partition of the test surveys, 0/1, as of `species_lists`.

        Shapes:
            - **output:** :math:`(n, S)` sparse CSR float32

        Raises:
            IndexError: on a number that no partition of the test surveys has.
        """
        return torch_csr(feature_matrix(self._read("test", number), self.spec, "list_"))

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

    def _read(self, what: str, number: int) -> pa.Table:
        frame = self.test_partitions if what == "test" else self.partitions
        if not 0 <= number < len(frame):
            raise IndexError(f"no partition {number} among {len(frame)}")
        return pq.read_table(self.out / what / f"part-{number:06d}.parquet", partitioning=None)


def _partitions(counts: list[dict[str, Any]], keys: tuple[str, ...]) -> pd.DataFrame:
    shared = [dict(zip(keys, one["key"], strict=True)) for one in counts]
    rest = [{k: v for k, v in one.items() if k not in ("key", "tile")} for one in counts]
    named = ["surveys", "halo", "edges", "isolates", "labels", "largest_feature"]
    frame = pd.DataFrame([a | b for a, b in zip(shared, rest, strict=True)])
    return frame if len(frame) else pd.DataFrame(columns=[*keys, *named])


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
