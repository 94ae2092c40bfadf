"""Survey graphs of tens of millions of surveys, built by Dask from Parquet, opened part by part."""

from tighnari_graph.distributed.build import build
from tighnari_graph.distributed.opened import DistributedGraph
from tighnari_graph.distributed.predicted import PredictedRows, predict

__all__ = ["DistributedGraph", "PredictedRows", "build", "predict"]
