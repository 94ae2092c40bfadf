"""Time series of a survey as cubes: what Landsat saw each quarter, and the monthly climate."""

import io
import pickletools
import re
import zipfile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from tighnari_graph.errors import SurveyDataError
from tighnari_models.data.file_search import content_of, files_of_split, one_per_survey

LANDSAT_SHAPE = (6, 4, 20)
"""Band (red, green, blue, near-infrared, two short-wave infrared) × quarter × year from 2000 on."""

BIOCLIM_SHAPE = (4, 18, 12)
"""Variable (rain, mean, highest, lowest temperature) × year from 2000 on × month."""

CUBE_SHAPES = {"landsat": LANDSAT_SHAPE, "bioclim": BIOCLIM_SHAPE}
_YEAR_AXIS = {"landsat": 2, "bioclim": 1}
_NAMES = {
    "landsat": re.compile(r"(?i)landsat.*_(?P<id>\d{1,18})_cube\.pt$"),
    "bioclim": re.compile(r"(?i)bioclim.*_(?P<id>\d{1,18})_cube\.pt$"),
}
# Folders of patches are named by two digits; the other kind of cubes has a folder of its own.
_ELSEWHERE = {
    "landsat": re.compile(r"(?i)^\d{1,2}$|bioclim"),
    "bioclim": re.compile(r"(?i)^\d{1,2}$|landsat"),
}
_MAX_BYTES = 2**20  # a cube takes four kilobytes
# All that a saved tensor names. PyTorch's own list is longer: `bytearray` fills any memory.
_NAMED = re.compile(
    r"collections OrderedDict|torch \w+Storage|torch (float|u?int|bfloat)\w+|torch Size|"
    r"torch\._utils _rebuild_(tensor(_v[23])?|parameter|sparse_tensor)|"
    r"torch\.serialization _get_layout"
)


def find_cubes(folder: str | Path, kind: str, split: str) -> dict[int, Path]:
    """Survey id → cube file, wherever below ``folder`` it lies.

    Files are told by their names, ``…landsat…_<surveyId>_cube.pt`` and
    ``…bioclimatic…_<surveyId>_cube.pt``, with hyphens or underscores, of the 2024 and 2025 data.

    Args:
        folder: the data folder.
        kind: "landsat" or "bioclim".
        split: "train" or "test".

    Raises:
        FileNotFoundError: if there is no such folder.
        SurveyDataError: if a survey has two files.
        ValueError: on another kind or split.
    """
    _require_kind(kind)
    found = files_of_split(folder, split, _NAMES[kind], _ELSEWHERE[kind])
    return one_per_survey([(int(match["id"]), path) for match, path in found], f"{kind} cubes")


def read_cube(path: str | Path, kind: str) -> Float32[np.ndarray, "channels height width"]:
    """One cube without its last year; what is missing is NaN.

    The last year has many gaps, and leaving it out makes both axes divisible. Infinite values
    become NaN. Nothing in the file is executed.

    Args:
        path: file that `torch.save` wrote of one tensor.
        kind: "landsat" (6, 4, 21) or "bioclim" (4, 19, 12).

    Shapes:
        - **output:** (6, 4, 20) or (4, 18, 12)

    Units: as stored; Landsat 0–255, bioclim as in CHELSA (rain, tenths of kelvin).

    Raises:
        FileNotFoundError: if there is no such file.
        SurveyDataError: if it is cut off, holds anything but one tensor of numbers, or a tensor of
            another shape.
        ValueError: on another kind.

    Source: Liu et al. 2024, section 3.1.

    Example:
        >>> file = io.BytesIO()
        >>> torch.save(torch.zeros(6, 4, 21), file)
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "GLC24-PA-train-landsat-time-series_7_cube.pt"
        ...     _ = path.write_bytes(file.getvalue())
        ...     found = find_cubes(folder, "landsat", "train")
        ...     read_cube(found[7], "landsat").shape
        (6, 4, 20)
    """
    _require_kind(kind)
    path, axis = Path(path), _YEAR_AXIS[kind]
    shape = tuple(size + (i == axis) for i, size in enumerate(CUBE_SHAPES[kind]))
    expected = f"one tensor of shape {shape}"
    values = _tensor(path, expected)
    if tuple(values.shape) != shape:
        raise SurveyDataError(f"{path}: {kind} cube of shape {tuple(values.shape)}, not {shape}")
    try:
        numbers = values.to(torch.float32).resolve_neg().numpy()
    except (RuntimeError, TypeError) as error:
        raise SurveyDataError(f"{path}: cannot be read, expected {expected}: {error}") from error
    cube = numbers.take(range(shape[axis] - 1), axis)
    cube[~np.isfinite(cube)] = np.nan
    return cube


def _tensor(path: Path, expected: str) -> torch.Tensor:
    data = content_of(path, _MAX_BYTES, expected)
    # Whatever goes wrong in bytes of unknown origin, the file is what is wrong.
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as parts:
            unpacked = sum(part.file_size for part in parts.infolist())
            if unpacked > _MAX_BYTES:
                raise ValueError(f"it would unpack to {unpacked} bytes")
            for name in parts.namelist():
                if name.endswith("data.pkl"):
                    _require_tensor_only(parts.read(name))
        values = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except MemoryError:
        raise
    except Exception as error:
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        raise SurveyDataError(f"{path}: cannot be read, expected {expected}: {text}") from error
    if not isinstance(values, torch.Tensor):
        raise SurveyDataError(f"{path}: holds a {type(values).__name__}, expected {expected}")
    if values.layout != torch.strided or values.dtype.is_complex or values.is_quantized:
        raise SurveyDataError(
            f"{path}: holds {values.layout} of {values.dtype}, expected {expected} of real numbers"
        )
    return values.detach()


def _require_tensor_only(pickled: bytes) -> None:
    """Refuse a pickle that names anything but the parts of a tensor; none of it is executed."""
    for code, value, _ in pickletools.genops(pickled):
        if code.name in ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"):
            raise ValueError(f"it holds the pickle code {code.name}")
        if code.name == "GLOBAL" and not _NAMED.fullmatch(str(value)):
            raise ValueError(f"it names {value}, which is no part of a tensor")


def _require_kind(kind: str) -> None:
    if kind not in CUBE_SHAPES:
        raise ValueError(f"kind must be one of {', '.join(CUBE_SHAPES)}, got {kind!r}")
