"""Survey graphs on disk: one safetensors file, tensors and a JSON header, no pickle."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.files import written_whole
from tighnari_graph.spec import GraphSpec

if TYPE_CHECKING:
    from tighnari_graph.graph import SurveyGraph

_HEADER = "tighnari survey graph 1"  # one key only: safetensors writes several in any order


def write_graph(graph: "SurveyGraph", path: str | Path) -> None:
    """Write all attributes of a graph; see `SurveyGraph.save`."""
    tensors: dict[str, Tensor] = {}
    for key, value in graph.to_dict().items():
        if key == "spec":
            continue
        if key == "y":
            if (value.values() != 1).any():
                raise SurveyDataError("save: y has stored entries other than 1")
            tensors["y.crow"], tensors["y.col"] = value.crow_indices(), value.col_indices()
        elif isinstance(value, Tensor) and value.layout == torch.strided:
            tensors[key] = value
        else:
            raise SurveyDataError(
                f"save: attribute {key!r} ({type(value).__name__}) is no dense tensor and would be "
                f"lost; delete it first (del graph.{key}) or store it elsewhere"
            )
    tensors["species_ids"] = torch.from_numpy(graph.species_ids)
    tensors = {key: value.cpu().clone().contiguous() for key, value in tensors.items()}
    with written_whole(path) as part:
        save_file(tensors, part, metadata={_HEADER: graph._spec.to_json()})


def read_graph(path: str | Path) -> dict[str, Any]:
    """The attributes of a saved graph; see `SurveyGraph.load`."""
    path = Path(path)
    if path.is_dir():
        raise SurveyDataError(f"{path}: a folder, not a saved survey graph")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if _HEADER not in header:
                raise SurveyDataError(f"{path}: a safetensors file, but no saved survey graph")
            values: dict[str, Any] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        species_ids = values.pop("species_ids").numpy()
        if species_ids.dtype != np.int64 or species_ids.ndim != 1 or "num_nodes" in values:
            raise ValueError("species_ids are no whole numbers, or num_nodes is stored")
        crow, col = values.pop("y.crow"), values.pop("y.col")
        size = (len(values["survey_id"]), len(species_ids))
        values["y"] = torch.sparse_csr_tensor(
            crow, col, torch.ones(len(col)), size=size, check_invariants=True
        )
        values["spec"] = GraphSpec.from_json(header[_HEADER], species_ids)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        if isinstance(error, SurveyDataError):
            raise
        raise SurveyDataError(f"{path}: not a saved survey graph ({error})") from error
    return values
