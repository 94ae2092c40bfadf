"""`MultiScale` on disk: one safetensors file, tensors and a JSON header, no pickle."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy import sparse

from tighnari_graph.covariates import Covariates
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.files import written_whole
from tighnari_graph.kernel_conv import KernelChain, KernelConv
from tighnari_graph.multiscale import MultiScale
from tighnari_graph.pyramid import Pyramid

_HEADER = "tighnari multi-scale features 1"
_CSR = ("indptr", "indices", "data")


def save_multiscale(model: MultiScale, path: str | Path) -> None:
    """Write parameters, surveys and cells; `load_multiscale` opens them without the tables."""
    arrays: dict[str, np.ndarray] = {"species_ids": model.species_ids}
    about: dict[str, Any] = {"opening": model.opening, "relations": {}}
    for name, pyramid in model.pyramids.items():
        conv = model.chain.convs[name]
        numbers = {}
        for item in fields(Pyramid):
            value = getattr(pyramid, item.name)
            if sparse.issparse(value):
                arrays |= {f"{name}.{item.name}.{part}": getattr(value, part) for part in _CSR}
            elif isinstance(value, np.ndarray):
                arrays[f"{name}.{item.name}"] = value
            else:
                numbers[item.name] = value
        about["relations"][name] = {
            "covariates": model.covariates[name].to_dict(),
            "kernel": conv.kernel,
            "incomplete": conv.incomplete,
            **numbers,
        }
    tensors = {key: torch.from_numpy(np.ascontiguousarray(a)) for key, a in arrays.items()}
    tensors |= {f"chain.{key}": t.contiguous() for key, t in model.chain.state_dict().items()}
    tensors["history"] = torch.tensor(model.history["loss"].to_numpy(), dtype=torch.float64)
    try:
        header = json.dumps(about)
    except TypeError as error:
        what = f"save: a covariate holds values that are no text ({error})"
        raise SurveyDataError(what) from error
    with written_whole(path) as part:
        save_file(tensors, part, metadata={_HEADER: header})


def load_multiscale(path: str | Path) -> MultiScale:
    """Open what `save_multiscale` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        SurveyDataError: if it is anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if _HEADER not in header:
                raise SurveyDataError(f"{path}: a safetensors file, but no multi-scale features")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        about = json.loads(header[_HEADER])
        arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
        state = {k[len("chain.") :]: t for k, t in tensors.items() if k.startswith("chain.")}
        num_species = len(arrays["species_ids"])
        pyramids, covariates, convs = {}, {}, {}
        for name, told in about["relations"].items():
            pyramids[name] = _pyramid(name, arrays, told, num_species)
            covariates[name] = Covariates.from_dict(told["covariates"])
            bandwidth = state[f"convs.{name}.log_bandwidth"]
            comparisons = len(covariates[name].comparisons)
            convs[name] = KernelConv(
                (1.0,) * len(bandwidth), comparisons, told["kernel"], told["incomplete"]
            )
            _check(pyramids[name], covariates[name])
        if "survey" not in pyramids or not pyramids["survey"].num_surveys:
            raise ValueError("no surveys")
        chain = KernelChain(convs)
        chain.load_state_dict(state)
        if not 0 <= about["opening"] < np.inf:
            raise ValueError(f"opening is {about['opening']}")
        losses = arrays["history"]
        history = pd.DataFrame({"step": range(len(losses)), "loss": losses})
        return MultiScale(
            chain, pyramids, covariates, arrays["species_ids"], float(about["opening"]), history
        )
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        if isinstance(error, SurveyDataError):
            raise
        raise SurveyDataError(f"{path}: no saved multi-scale features ({error})") from error


def _pyramid(
    name: str, arrays: dict[str, np.ndarray], told: dict[str, Any], num_species: int
) -> Pyramid:
    values: dict[str, Any] = {}
    for item in fields(Pyramid):
        key = f"{name}.{item.name}"
        if f"{key}.indptr" in arrays:
            indptr, indices, data = (arrays[f"{key}.{part}"] for part in _CSR)
            matrix = sparse.csr_matrix(
                (data, indices, indptr), shape=(len(indptr) - 1, num_species)
            )
            matrix.check_format()
            values[item.name] = matrix
        elif key in arrays:
            values[item.name] = arrays[key]
        else:
            values[item.name] = told[item.name]
    return Pyramid(**values)


def _check(pyramid: Pyramid, covariates: Covariates) -> None:
    """Refuse arrays that are not of one pyramid: what they number is looked up unasked later."""
    nodes, num = pyramid.num_nodes, pyramid.num_surveys
    children, first = pyramid.children, pyramid.first_child
    whole = ("block", "children", "codes", "first_child", "top")
    shapes = {
        "vectors": (nodes, 3), "radius_km": (nodes,), "weight": (nodes,), "block": (nodes,),
        "numeric": (nodes, len(covariates.numeric)), "codes": (nodes, len(covariates.categories)),
        "first_child": (nodes + 1,), "children": children.shape[:1], "top": pyramid.top.shape[:1],
        "labels": pyramid.labels.shape, "richness": pyramid.labels.shape,
    }  # fmt: skip
    for name, shape in shapes.items():
        array = getattr(pyramid, name)
        if array.shape != shape or array.dtype.kind != ("i" if name in whole else "f"):
            raise ValueError(f"{name} is {array.shape} {array.dtype}, expected {shape}")
    roots = np.concatenate([children, pyramid.top])
    rules = {
        "labels have other nodes": pyramid.labels.shape[0] == nodes,
        "surveys are no part of the nodes": 0 <= num <= nodes,
        "children do not begin at 0, ascend and end": (
            first[0] == 0 and (np.diff(first) >= 0).all() and first[-1] == len(children)
        ),
        "surveys have children": (first[: num + 1] == 0).all(),
        "children and top are not every node once": np.array_equal(
            np.sort(roots), np.arange(nodes)
        ),
        "blocks are not numbered": (
            (pyramid.block >= -1).all() and (pyramid.block < nodes).all()
            and (pyramid.block[:num] >= 0).all()
        ),
    }  # fmt: skip
    if broken := [rule for rule, held in rules.items() if not held]:
        raise ValueError("; ".join(broken))
    if not (children < np.repeat(np.arange(nodes), np.diff(first))).all():
        raise ValueError("a cell is part of itself")
